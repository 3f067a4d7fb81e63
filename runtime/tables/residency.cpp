// `residency`: which tiles the plan holds in memory and which it streams. Rows of a plan compiled
// for a budget; without the table everything is held.
#include "common/error.h"
#include "runtime/program/engine.h"
#include "runtime/tables/table.h"

namespace llmsql {
namespace {

class ResidencyTable final : public Table {
  public:
    explicit ResidencyTable(Engine& engine) : engine_(engine) {}
    ~ResidencyTable() override {
        if (!engine_.by_hand()) return;
        engine_.budget.reset();
        engine_.residency.clear();
    }

    const char* declaration() const override {
        return "CREATE TABLE x(param INTEGER, first_tile INTEGER, last_tile INTEGER, held INTEGER, "
               "chosen INTEGER)";
    }

    std::vector<int64_t> select(const Ranges& ranges) const override {
        std::vector<int64_t> rows;
        for (size_t i = 0; i < engine_.residency.size(); ++i)
            if (ranges[0].contains(engine_.residency[i].param))
                rows.push_back(static_cast<int64_t>(i));
        return rows;
    }

    void column(int64_t row, int column, sqlite3_context* context) const override {
        const Residency& range = engine_.residency[static_cast<size_t>(row)];
        const int64_t values[] = {range.param, range.first_tile, range.last_tile, range.held,
                                  range.chosen};
        sqlite3_result_int64(context, values[column]);
    }

    // Each parameter's ranges come together, from the first tile to the last, without a gap.
    // Parameters come in the order in which a pass reads them: reading goes ahead by it.
    void insert(std::span<sqlite3_value*> values) override {
        const int64_t param = integer_value(values[0], "residency.param");
        const int64_t first = integer_value(values[1], "residency.first_tile");
        const int64_t last = integer_value(values[2], "residency.last_tile");
        const int64_t held = integer_value(values[3], "residency.held");
        if (param < 1 || param > static_cast<int64_t>(engine_.declared.size()))
            fail("residency: there is no parameter {}", param);
        seen_.resize(engine_.declared.size());
        if (next_tile_ > 0 ? param != current_ : seen_[static_cast<size_t>(param - 1)])
            fail("residency: parameter {} is covered {}", param,
                 next_tile_ > 0 ? fmt::format("before the tiles of {} are", current_) : "twice");
        seen_[static_cast<size_t>(param - 1)] = true;
        current_ = param;
        const ParamEntry& entry = engine_.declared[static_cast<size_t>(param - 1)];
        const int64_t tiles = tile_count(entry.type, entry.shape);
        if (first != next_tile_ || last < first || last >= tiles)
            fail("residency: {} has the tiles 0 to {}, and {} comes next: {} to {} does not fit",
                 entry.name, tiles - 1, next_tile_, first, last);
        if (held != 0 && held != 1) fail("residency.held must be 0 or 1");
        if (entry.shape.is_vector() && !held)
            fail("residency: {} is a vector; vectors are always held", entry.name);
        const bool chosen = sqlite3_value_type(values[4]) != SQLITE_NULL &&
                            integer_value(values[4], "residency.chosen") != 0;
        engine_.residency.push_back({static_cast<int>(param), first, last, held == 1, chosen});
        next_tile_ = last + 1 == tiles ? 0 : last + 1;
        if (next_tile_ == 0) ++engine_.budget->covered;
        if (held)
            for (int64_t tile = first; tile <= last; ++tile)
                engine_.budget->held += tile_bytes(entry.type, entry.shape, tile);
        if (engine_.budget->held > static_cast<uint64_t>(engine_.budget->pool))
            fail("residency: the held tiles come to more than the pool's {} bytes at {}",
                 engine_.budget->pool, entry.name);
    }

  private:
    Engine& engine_;
    std::vector<bool> seen_;  // by parameter: it has a range
    int64_t current_ = 0;     // the parameter of the last range
    int64_t next_tile_ = 0;   // of that parameter; 0: all its tiles are covered
};

}  // namespace

std::unique_ptr<Table> make_residency_table(Engine& engine, const ModuleArguments& arguments) {
    if (engine.budget) fail("the plan declares its residency twice");
    Budget budget;
    budget.bytes = arguments.integer("budget");
    budget.pool = arguments.integer("pool");
    budget.workers = arguments.integer("workers");
    budget.windows = arguments.integer("windows");
    if (budget.bytes < 1 || budget.pool < 0 || budget.windows < 0 || budget.workers < 1 ||
        budget.workers > 1024)
        fail("llm_residency: budget={}, pool={}, windows={}, workers={} cannot be", budget.bytes,
             budget.pool, budget.windows, budget.workers);
    if (budget.pool > budget.bytes || budget.windows > budget.bytes - budget.pool)
        fail("llm_residency: a pool of {} and windows of {} bytes are more than the budget of {}",
             budget.pool, budget.windows, budget.bytes);
    engine.budget = budget;
    return std::make_unique<ResidencyTable>(engine);
}

}  // namespace llmsql
