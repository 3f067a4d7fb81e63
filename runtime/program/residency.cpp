// SPDX-License-Identifier: MIT
// `residency`: which tiles the plan holds in memory and which it streams. Rows of a plan compiled
// for a budget; without the table everything is held.
#include "common/error.h"
#include "common/model_format.h"
#include "common/sizes.h"
#include "runtime/program/plan_state.h"
#include "runtime/program/table.h"

namespace llmsql {
namespace {

class ResidencyTable final : public Table {
  public:
    ResidencyTable(PlanState& state, std::shared_ptr<ResidencyPlan> plan)
        : state_(state), plan_(std::move(plan)) {}

    const char* declaration() const override {
        return "CREATE TABLE x(param INTEGER, first_tile INTEGER, last_tile INTEGER, held INTEGER, "
               "chosen INTEGER)";
    }

    Selected select(const Ranges& ranges) const override {
        require_not_lost(state_, state_.residency, plan_);
        std::vector<int64_t> rows;
        for (size_t i = 0; i < plan_->rows.size(); ++i)
            if (ranges[0].contains(plan_->rows[i].param)) rows.push_back(static_cast<int64_t>(i));
        return {std::move(rows), nullptr};
    }

    void column(const Selected&, int64_t row, int column, sqlite3_context* context) const override {
        if (row >= static_cast<int64_t>(plan_->rows.size()))
            fail("residency: the row has been rolled back");
        const Residency& range = plan_->rows[static_cast<size_t>(row)];
        const int64_t values[] = {range.param, range.first_tile, range.last_tile, range.held,
                                  range.chosen};
        sqlite3_result_int64(context, values[column]);
    }

    void insert(std::span<sqlite3_value*> values) override {
        const int64_t param = integer_value(values[0], "residency.param");
        const int64_t first = integer_value(values[1], "residency.first_tile");
        const int64_t last = integer_value(values[2], "residency.last_tile");
        const int64_t held = integer_value(values[3], "residency.held");
        const bool chosen = sqlite3_value_type(values[4]) != SQLITE_NULL &&
                            integer_value(values[4], "residency.chosen") != 0;
        const auto& params = current(state_, state_.params);
        if (plan_ != current(state_, state_.residency))
            fail("this table `residency` is no longer the plan's");
        require_not_lost<Catalogue>(state_, params, params);
        if (!params || param < 1 || param > static_cast<int64_t>(params->entries.size()))
            fail("residency: there is no parameter {}", param);
        if (params->compute)
            fail(
                "residency: it must be declared before anything is computed: DROP TABLE param, "
                "and declare both anew");
        if (plan_->of && plan_->of != params)
            fail(
                "residency: its rows are of another table `param`: DROP TABLE residency and "
                "declare it again");
        if (held != 0 && held != 1) fail("residency.held must be 0 or 1");
        plan_->of = params;
        plan_->add({static_cast<int>(param), first, last, held == 1, chosen});
        state_.residency.lost = false;
    }

    void dropped() override {
        if (state_.residency == plan_) drop(state_.residency);
    }
    Mark mark() const override { return {0, plan_->rows.size()}; }
    void undo(const Mark& mark) override { plan_->keep(mark.rows); }

  private:
    PlanState& state_;
    const std::shared_ptr<ResidencyPlan> plan_;
};

}  // namespace

void ResidencyPlan::add(const Residency& row) {
    const auto param = static_cast<size_t>(row.param - 1);
    const ParamEntry& entry = of->entries.at(param);
    seen.resize(std::max(seen.size(), param + 1));
    if (next_tile > 0 ? row.param != rows.back().param : seen[param])
        fail(
            "residency: parameter {} is covered {}", row.param,
            next_tile > 0 ? fmt::format("before the tiles of {} are", rows.back().param) : "twice");
    require_cut(entry);
    const int64_t tiles = tile_count(entry.type, entry.shape, budget.cut);
    if (row.first_tile != next_tile || row.last_tile < row.first_tile || row.last_tile >= tiles)
        fail("residency: {} has the tiles 0 to {}, and {} comes next: {} to {} does not fit",
             entry.name, tiles - 1, next_tile, row.first_tile, row.last_tile);
    if (entry.shape.is_vector() && !row.held)
        fail("residency: {} is a vector; vectors are always held", entry.name);
    // All tiles but a parameter's last are of one size.
    int64_t bytes = 0;
    if (row.held)
        bytes = size_sum(
            size_product(row.last_tile - row.first_tile,
                         static_cast<int64_t>(
                             tile_bytes(entry.type, entry.shape, row.first_tile, budget.cut))),
            static_cast<int64_t>(tile_bytes(entry.type, entry.shape, row.last_tile, budget.cut)));
    if (size_sum(held, bytes) > budget.pool)
        fail("residency: the held tiles come to more than the pool's {} bytes at {}", budget.pool,
             entry.name);
    rows.push_back(row);
    seen[param] = true;
    held += bytes;
    next_tile = row.last_tile + 1 == tiles ? 0 : row.last_tile + 1;
    if (next_tile == 0) ++covered;
}

void ResidencyPlan::require_cut(const ParamEntry& entry) const {
    const TileCut stored = of->db->cut();
    if (stored == budget.cut || is_cut_alike(entry.type, entry.shape)) return;
    if (budget.cut == TileCut::format_1)
        fail(
            "residency: {} is cut into other tiles than were known when this plan was compiled; "
            "compile it again (llmsqlc)",
            entry.name);
    fail(
        "residency: {} is cut into tiles as model databases before format {} have them, for which "
        "this plan is not; import the model again (llmsql-import)",
        entry.name, kCutSince);
}

void ResidencyPlan::keep(size_t count) {
    if (count >= rows.size()) return;
    ResidencyPlan kept;
    kept.budget = budget;
    kept.of = of;
    for (size_t i = 0; i < count; ++i) kept.add(rows[i]);
    if (count == 0) kept.of.reset();
    *this = std::move(kept);
}

void ResidencyPlan::require_covered(size_t parameters, const std::string& where) const {
    if (next_tile == 0 && covered == static_cast<int64_t>(parameters)) return;
    fail("{}: the residency rows cover {} of its {} parameters", where, covered, parameters);
}

std::unique_ptr<Table> make_residency_table(PlanState& state, const ModuleArguments& arguments) {
    auto plan = claim(state, state.residency, arguments, "residency");
    Budget budget;
    budget.bytes = arguments.integer("budget");
    budget.pool = arguments.integer("pool");
    budget.workers = arguments.integer("workers");
    budget.windows = arguments.integer("windows");
    const int64_t tiles = arguments.integer_or("tiles", kOldestModelFormat);
    if (tiles < kOldestModelFormat || tiles > kModelFormatVersion)
        fail(
            "llm_residency: tiles={}, but this program knows how model databases of formats {} to "
            "{} are cut; compile the plan again (llmsqlc)",
            tiles, kOldestModelFormat, kModelFormatVersion);
    budget.cut = cut_of_format(tiles);
    if (budget.bytes < 1 || budget.pool < 0 || budget.windows < 0 || budget.workers < 1 ||
        budget.workers > 1024)
        fail("llm_residency: budget={}, pool={}, windows={}, workers={} cannot be", budget.bytes,
             budget.pool, budget.windows, budget.workers);
    if (budget.pool > budget.bytes || budget.windows > budget.bytes - budget.pool)
        fail("llm_residency: a pool of {} and windows of {} bytes are more than the budget of {}",
             budget.pool, budget.windows, budget.bytes);
    if (!plan) {
        plan = std::make_shared<ResidencyPlan>();
        plan->budget = budget;
        install(state, state.residency, plan, arguments);
    }
    return std::make_unique<ResidencyTable>(state, std::move(plan));
}

}  // namespace llmsql
