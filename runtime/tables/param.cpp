// `param`: the catalogue that a plan expects, checked against the database's, and its weights.
#include "common/error.h"
#include "runtime/program/engine.h"
#include "runtime/tables/table.h"

namespace llmsql {
namespace {

class ParamTable final : public Table {
  public:
    explicit ParamTable(Engine& engine) : engine_(engine), stored_(engine.db->catalogue()) {}
    // By hand, a table that is dropped can be made again.
    ~ParamTable() override {
        if (!engine_.by_hand()) return;
        engine_.model.clear();
        engine_.declared.clear();
        engine_.executor.reset();
    }

    const char* declaration() const override {
        return "CREATE TABLE x(id INTEGER, name TEXT, type TEXT, rows INTEGER, cols INTEGER, data)";
    }

    std::vector<int64_t> select(const Ranges& ranges) const override {
        std::vector<int64_t> ids;
        const int64_t low = std::max<int64_t>(1, ranges[0].low);
        const int64_t high =
            std::min(static_cast<int64_t>(engine_.declared.size()), ranges[0].high);
        for (int64_t id = low; id <= high; ++id) ids.push_back(id);
        return ids;
    }

    void column(int64_t row, int column, sqlite3_context* context) const override {
        const ParamEntry& entry = engine_.declared[static_cast<size_t>(row - 1)];
        switch (column) {
            case 0:
                return sqlite3_result_int64(context, row);
            case 1:
                return sqlite3_result_text(context, entry.name.c_str(), -1, SQLITE_TRANSIENT);
            case 2:
                return sqlite3_result_text(context, name_of(entry.type).data(), -1, SQLITE_STATIC);
            case 3:
                if (entry.shape.rows) sqlite3_result_int64(context, *entry.shape.rows);
                return;
            case 4:
                return sqlite3_result_int64(context, entry.shape.cols);
            default:
                if (!engine_.executor && !engine_.by_hand()) return;  // init: nothing is loaded yet
                sqlite3_result_pointer(context,
                                       const_cast<Weight*>(&executor_of(engine_).weights.weight(
                                           static_cast<int>(row))),
                                       kWeightPointer, nullptr);
        }
    }

    void insert(std::span<sqlite3_value*> values) override {
        if (engine_.executor) fail("parameters are declared in init alone");
        const int64_t id = integer_value(values[0], "param.id");
        ParamEntry entry;
        entry.name = text_value(values[1], "param.name");
        const std::string type = text_value(values[2], "param.type");
        const auto weight_type = weight_type_named(type);
        if (!weight_type) fail("parameter {} has the unknown type '{}'", entry.name, type);
        entry.type = *weight_type;
        if (sqlite3_value_type(values[3]) != SQLITE_NULL)
            entry.shape.rows = integer_value(values[3], "param.rows");
        entry.shape.cols = integer_value(values[4], "param.cols");
        if (id != static_cast<int64_t>(engine_.declared.size()) + 1)
            fail("param.id must count from 1 without a gap: {} follows {}", id,
                 engine_.declared.size());
        require_same(id, entry);
        engine_.declared.push_back(std::move(entry));
    }

  private:
    void require_same(int64_t id, const ParamEntry& entry) const {
        const std::string path = engine_.db->path().string();
        if (id > static_cast<int64_t>(stored_.size()))
            fail("the plan has a parameter {} {}, which {} lacks", entry.name, describe(entry),
                 path);
        const ParamEntry& stored = stored_[static_cast<size_t>(id - 1)];
        if (entry != stored)
            fail(
                "the plan's parameter {} is {} {}, but that of {} is {} {}: compile the plan for "
                "this model, or import the model with this plan's model file",
                id, entry.name, describe(entry), path, stored.name, describe(stored));
    }

    Engine& engine_;
    const std::vector<ParamEntry> stored_;
};

}  // namespace

std::unique_ptr<Table> make_param_table(Engine& engine, const ModuleArguments& arguments) {
    if (!engine.model.empty()) fail("the plan declares its parameters twice");
    if (engine.open) engine.open();
    engine.model = arguments.text("model");
    engine.catalogue = arguments.text("catalogue");
    const std::string model = engine.db->meta("model").value_or("?");
    const std::string catalogue = engine.db->meta("catalogue").value_or("?");
    // A plan for another model gets this answer; one for the same model stored otherwise is told
    // which parameter differs, when that row is inserted. With equal catalogues a plan can be run,
    // whatever the models are called.
    if (engine.model != model && engine.catalogue != catalogue)
        fail("the plan is for the model '{}' (catalogue {}), but {} holds '{}' (catalogue {})",
             engine.model, engine.catalogue, engine.db->path().string(), model, catalogue);
    return std::make_unique<ParamTable>(engine);
}

}  // namespace llmsql
