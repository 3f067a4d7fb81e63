// SPDX-License-Identifier: MIT
// `state` and `scan`: what sequences carry from token to token, and the way to go on with it.
#include <algorithm>

#include "common/error.h"
#include "runtime/compute/evaluate.h"
#include "runtime/program/plan_state.h"
#include "runtime/program/table.h"

namespace llmsql {
namespace {

constexpr int kSequenceBits = 16;

// The present ones.
RecurrentStates& states_of(PlanState& state) {
    Current<RecurrentStates>& states = current(state, state.recurrent);
    if (!states) require_not_lost<RecurrentStates>(state, states, states);
    if (!states) fail("there is no `state` table: the plan's init must create it first");
    return *states;
}

// A row is one state of one sequence; its key packs the two.
class StateTable final : public Table {
  public:
    StateTable(PlanState& state, std::shared_ptr<RecurrentStates> states)
        : state_(state), states_(std::move(states)) {}

    const char* declaration() const override {
        return "CREATE TABLE x(id INTEGER, sequence INTEGER, name TEXT, heads INTEGER, "
               "rows INTEGER, width INTEGER, position INTEGER, data, inputs INTEGER)";
    }
    int integer_columns() const override { return 2; }

    Selected select(const Ranges& ranges) const override {
        require_not_lost(state_, state_.recurrent, states_);
        const auto count = static_cast<int64_t>(states_->shapes().size());
        std::vector<int64_t> keys;
        const int64_t last = std::min(count - 1, ranges[0].high);
        const int64_t last_sequence = std::min(states_->sequences() - 1, ranges[1].high);
        for (int64_t id = std::max<int64_t>(0, ranges[0].low); id <= last; ++id)
            for (int64_t sequence = std::max<int64_t>(0, ranges[1].low); sequence <= last_sequence;
                 ++sequence)
                keys.push_back((id << kSequenceBits) | sequence);
        return {std::move(keys), nullptr};
    }

    void column(const Selected&, int64_t row, int column, sqlite3_context* context) const override {
        const int64_t id = row >> kSequenceBits;
        const int64_t sequence = row & ((int64_t{1} << kSequenceBits) - 1);
        if (id >= static_cast<int64_t>(states_->shapes().size()))
            fail("state: the row of state {} has been rolled back", id);
        const RecurrentShape& shape = states_->shapes()[static_cast<size_t>(id)];
        switch (column) {
            case 0:
                return sqlite3_result_int64(context, id);
            case 1:
                return sqlite3_result_int64(context, sequence);
            case 2:
                return sqlite3_result_text(context, shape.name.c_str(), -1, SQLITE_TRANSIENT);
            case 3:
                return sqlite3_result_int64(context, shape.heads);
            case 4:
                return sqlite3_result_int64(context, shape.rows);
            case 5:
                return sqlite3_result_int64(context, shape.width);
            case 6:
                if (const int64_t position = states_->position(sequence, id); position >= 0)
                    sqlite3_result_int64(context, position);
                return;
            case 8:
                return sqlite3_result_int64(context, shape.inputs);
            default:
                sqlite3_result_pointer(
                    context, new RecurrentState(states_->state(sequence, id)), kStatePointer,
                    [](void* held) { delete static_cast<RecurrentState*>(held); });
        }
    }

    void insert(std::span<sqlite3_value*> values) override {
        if (sqlite3_value_type(values[1]) != SQLITE_NULL ||
            sqlite3_value_type(values[6]) != SQLITE_NULL ||
            sqlite3_value_type(values[7]) != SQLITE_NULL)
            fail(
                "state: a row declares id, name, heads, rows and width, and inputs where there are "
                "drafts; INSERT INTO scan goes on");
        if (&states_of(state_) != states_.get()) fail("this table `state` is no longer the plan's");
        const bool has_inputs = sqlite3_value_type(values[8]) != SQLITE_NULL;
        states_->declare(integer_value(values[0], "state.id"),
                         {.name = text_value(values[2], "state.name"),
                          .heads = integer_value(values[3], "state.heads"),
                          .rows = integer_value(values[4], "state.rows"),
                          .width = integer_value(values[5], "state.width"),
                          .inputs = has_inputs ? integer_value(values[8], "state.inputs") : 0});
        state_.recurrent.lost = false;
    }

    void dropped() override {
        if (state_.recurrent == states_) drop(state_.recurrent);
    }
    Mark mark() const override { return {0, states_->shapes().size()}; }
    void undo(const Mark& mark) override { states_->undeclare(mark.rows); }

  private:
    PlanState& state_;
    const std::shared_ptr<RecurrentStates> states_;
};

// Stores what a scan gives in a tensor, and the state that it ends with.
class ScanTable final : public Table {
  public:
    explicit ScanTable(PlanState& state) : state_(state) {}

    const char* declaration() const override {
        return "CREATE TABLE x(id INTEGER, state INTEGER, sequence INTEGER, position INTEGER, "
               "data)";
    }
    Selected select(const Ranges&) const override { return {}; }  // write only
    void column(const Selected&, int64_t, int, sqlite3_context*) const override {}

    void insert(std::span<sqlite3_value*> values) override {
        const int64_t id = integer_value(values[0], "scan.id");
        const int64_t of = integer_value(values[1], "scan.state");
        const int64_t sequence = integer_value(values[2], "scan.sequence");
        const int64_t position = integer_value(values[3], "scan.position");
        const ExprPtr expr = value_expr(values[4]);
        RecurrentStates& states = states_of(state_);
        require_not_lost<RecurrentStates>(state_, state_.recurrent, state_.recurrent);
        const RecurrentState state = states.state(sequence, of);
        if (!expr) fail("state {}: what is stored is not the result of an operator", of);
        if (position < 0 || position > kMostPosition)
            fail("state {}: the position must be 0 to {}, not {}", of, kMostPosition, position);
        require_scan(*expr, state);
        store_in_tensor(state_, id, expr,
                        [&](const TensorPlace& place, std::byte* data, const RowsAround& around) {
                            require_scan_fits(expr, place, data, around);
                            require_inputs_fit(states, of, *expr);
                            states.begin(sequence, of, position, expr->rows);
                            const ExprPtr again =
                                evaluate_scan(compute_of(state_), expr, place, data, state,
                                              states.cut_room(sequence, of),
                                              states.snapshot_room(sequence, of, position));
                            if (again) state_.cut_scans.push_back({sequence, of, again});
                        });
        if (state_.computes_at_once()) states.commit();
    }

    Mark mark() const override {
        return {state_.recurrent.number, state_.recurrent ? state_.recurrent->writes() : 0};
    }
    void undo(const Mark& mark) override {
        // Which tensors have been written since is not known here: they hold nothing any more.
        if (state_.arena) state_.arena->forget_since(0);
        if (state_.recurrent)
            state_.recurrent->forget_since(state_.recurrent.number == mark.state ? mark.rows : 0);
    }

  private:
    static constexpr int64_t kMostPosition = int64_t{1} << 40;

    // Where passes may be cut, there is room for what each scan reads.
    static void require_inputs_fit(const RecurrentStates& states, int64_t of, const Expr& scan) {
        const RecurrentShape& shape = states.shapes()[static_cast<size_t>(of)];
        if (states.drafts() > 0 && scan_inputs(scan) > shape.inputs)
            fail("state {} '{}': its scan reads {} values of a token, `state` says inputs={}", of,
                 shape.name, scan_inputs(scan), shape.inputs);
    }

    PlanState& state_;
};

}  // namespace

std::unique_ptr<Table> make_state_table(PlanState& state, const ModuleArguments& arguments) {
    auto states = claim(state, state.recurrent, arguments, "states");
    const int64_t sequences = arguments.integer("sequences");
    if (sequences < 1 || sequences > 1024)
        fail("llm_state: sequences={} must be 1 to 1024", sequences);
    const int64_t drafts = arguments.integer_or("drafts", 0);
    if (drafts < 0 || drafts > kMostDrafts)
        fail("llm_state: drafts={} must be 0 to {}", drafts, kMostDrafts);
    const int64_t snapshots = arguments.integer_or("snapshots", 0);
    if (snapshots < 0 || snapshots > kMostSnapshots)
        fail("llm_state: snapshots={} must be 0 to {}", snapshots, kMostSnapshots);
    if (!states) {
        states = std::make_shared<RecurrentStates>(sequences, drafts, snapshots);
        install(state, state.recurrent, states, arguments);
    }
    return std::make_unique<StateTable>(state, std::move(states));
}

std::unique_ptr<Table> make_scan_table(PlanState& state, const ModuleArguments&) {
    return std::make_unique<ScanTable>(state);
}

}  // namespace llmsql
