// SPDX-License-Identifier: MIT
// `param`: the catalogue that a plan expects, checked against the database's, and its weights.
#include "common/error.h"
#include "runtime/program/plan_state.h"
#include "runtime/program/table.h"

namespace llmsql {
namespace {

class ParamTable final : public Table {
  public:
    ParamTable(PlanState& state, std::shared_ptr<Catalogue> catalogue)
        : state_(state), catalogue_(std::move(catalogue)), stored_(catalogue_->db->catalogue()) {}

    const char* declaration() const override {
        return "CREATE TABLE x(id INTEGER, name TEXT, type TEXT, rows INTEGER, cols INTEGER, data)";
    }

    Selected select(const Ranges& ranges) const override {
        require_not_lost(state_, state_.params, catalogue_);
        std::vector<int64_t> ids;
        const int64_t low = std::max<int64_t>(1, ranges[0].low);
        const int64_t high =
            std::min(static_cast<int64_t>(catalogue_->entries.size()), ranges[0].high);
        for (int64_t id = low; id <= high; ++id) ids.push_back(id);
        return {std::move(ids), nullptr};
    }

    void column(const Selected&, int64_t row, int column, sqlite3_context* context) const override {
        if (row > static_cast<int64_t>(catalogue_->entries.size()))
            fail("the row of parameter {} has been rolled back", row);
        const ParamEntry& entry = catalogue_->entries[static_cast<size_t>(row - 1)];
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
                require_current();
                if (Compute* const compute = state_.ready())  // in init nothing is loaded yet
                    sqlite3_result_pointer(
                        context,
                        const_cast<Weight*>(&compute->weights->weight(static_cast<int>(row))),
                        kWeightPointer, nullptr);
        }
    }

    void insert(std::span<sqlite3_value*> values) override {
        require_current();
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
        auto& entries = catalogue_->entries;
        if (id != static_cast<int64_t>(entries.size()) + 1)
            fail("param.id must count from 1 without a gap: {} follows {}", id, entries.size());
        require_same(id, entry);
        entries.push_back(std::move(entry));
        state_.params.lost = false;
    }

    void dropped() override {
        if (state_.params != catalogue_) return;
        drop(state_.params);
        state_.compute.reset();
    }
    Mark mark() const override { return {0, catalogue_->entries.size()}; }
    void undo(const Mark& mark) override {
        if (mark.rows < catalogue_->entries.size()) catalogue_->entries.resize(mark.rows);
    }

  private:
    void require_current() const {
        if (current(state_, state_.params) != catalogue_)
            fail("this table `param` is no longer the plan's");
    }
    void require_same(int64_t id, const ParamEntry& entry) const {
        const std::string path = catalogue_->db->path().string();
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

    PlanState& state_;
    const std::shared_ptr<Catalogue> catalogue_;
    const std::vector<ParamEntry> stored_;
};

}  // namespace

std::unique_ptr<Table> make_param_table(PlanState& state, const ModuleArguments& arguments) {
    auto made = claim(state, state.params, arguments, "parameters");
    Catalogue catalogue;
    catalogue.model = arguments.text("model");
    catalogue.checksum = arguments.text("catalogue");
    if (!made) {
        catalogue.db = state.model_db();
        const std::string model = catalogue.db->meta("model").value_or("?");
        const std::string checksum = catalogue.db->meta("catalogue").value_or("?");
        // A plan for another model gets this answer; one for the same model stored otherwise is
        // told which parameter differs, when that row is inserted. With equal catalogues a plan can
        // be run, whatever the models are called.
        if (catalogue.model != model && catalogue.checksum != checksum)
            fail("the plan is for the model '{}' (catalogue {}), but {} holds '{}' (catalogue {})",
                 catalogue.model, catalogue.checksum, catalogue.db->path().string(), model,
                 checksum);
        made = std::make_shared<Catalogue>(std::move(catalogue));
        auto table = std::make_unique<ParamTable>(state, made);
        install(state, state.params, made, arguments);
        return table;
    }
    return std::make_unique<ParamTable>(state, std::move(made));
}

}  // namespace llmsql
