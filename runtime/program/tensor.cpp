// SPDX-License-Identifier: MIT
// `tensor` and `slot`: the activations, and the way to write them.
#include "common/error.h"
#include "runtime/compute/evaluate.h"
#include "runtime/program/plan_state.h"
#include "runtime/program/table.h"

namespace llmsql {
namespace {

// The present one.
Arena& arena_of(PlanState& state) {
    const Current<Arena>& arena = current(state, state.arena);
    if (!arena) require_not_lost<Arena>(state, arena, arena);
    if (!arena) fail("there is no `tensor` table: the plan's init must create it first");
    return *arena;
}

struct ShownRows {
    int64_t first = 0, count = 0;
};

// The rows of a tensor, which holds `held`, that a statement for one sequence is shown: all without
// one.
ShownRows rows_of(const PlanState& state, const TensorPlace& place, int64_t held) {
    if (!state.shown) return {0, held};
    const SequenceRows& shown = *state.shown;
    if (held != shown.of * place.choices)
        fail("tensor {} '{}' holds {}, the pass has {}: it cannot be cut by sequence", place.id,
             place.name, counted(static_cast<uint64_t>(held), "row"), shown.of * place.choices);
    return {shown.first * place.choices, shown.rows * place.choices};
}

class TensorTable final : public Table {
  public:
    TensorTable(PlanState& state, std::shared_ptr<Arena> arena)
        : state_(state), arena_(std::move(arena)) {}

    const char* declaration() const override {
        return "CREATE TABLE x(id INTEGER, name TEXT, type TEXT, rows INTEGER, heads INTEGER, "
               "width INTEGER, stride INTEGER, offset INTEGER, slice_of INTEGER, choices INTEGER, "
               "data)";
    }

    Selected select(const Ranges& ranges) const override {
        require_not_lost(state_, state_.arena, arena_);
        std::vector<int64_t> ids;
        if (ranges[0].low == ranges[0].high) {
            if (arena_->find(ranges[0].low)) ids.push_back(ranges[0].low);
            return {std::move(ids), nullptr};
        }
        const auto& places = arena_->places();
        for (auto at = places.lower_bound(ranges[0].low);
             at != places.end() && at->first <= ranges[0].high; ++at)
            ids.push_back(at->first);
        return {std::move(ids), nullptr};
    }

    void column(const Selected&, int64_t row, int column, sqlite3_context* context) const override {
        const Arena& arena = *arena_;
        const TensorPlace& place = arena.place(row);
        switch (column) {
            case 0:
                return sqlite3_result_int64(context, place.id);
            case 1:
                return sqlite3_result_text(context, place.name.c_str(), -1, SQLITE_TRANSIENT);
            case 2:
                return sqlite3_result_text(context, name_of(place.type).data(), -1, SQLITE_STATIC);
            case 3:
                return sqlite3_result_int64(context, place.rows);
            case 4:
                return sqlite3_result_int64(context, place.heads);
            case 5:
                return sqlite3_result_int64(context, place.width);
            case 6:
                return sqlite3_result_int64(context, place.stride);
            case 7:
                return sqlite3_result_int64(context, place.offset);
            case 8:
                if (place.slice_of) sqlite3_result_int64(context, *place.slice_of);
                return;
            case 9:
                return sqlite3_result_int64(context, place.choices);
            default: {
                const ShownRows rows = rows_of(state_, place, arena.rows_held(row));
                return result_expr(
                    context, std::make_shared<TensorExpr>(
                                 place, arena.data(place) + rows.first * place.stride, rows.count));
            }
        }
    }

    void insert(std::span<sqlite3_value*> values) override {
        TensorPlace place;
        place.id = integer_value(values[0], "tensor.id");
        place.name = text_value(values[1], "tensor.name");
        const std::string type = text_value(values[2], "tensor.type");
        const auto tensor_type = tensor_type_named(type);
        if (!tensor_type) fail("tensor {} has the unknown type '{}'", place.id, type);
        place.type = *tensor_type;
        place.rows = integer_value(values[3], "tensor.rows");
        place.heads = integer_value(values[4], "tensor.heads");
        place.width = integer_value(values[5], "tensor.width");
        place.stride = integer_value(values[6], "tensor.stride");
        place.offset = integer_value(values[7], "tensor.offset");
        if (sqlite3_value_type(values[8]) != SQLITE_NULL)
            place.slice_of = integer_value(values[8], "tensor.slice_of");
        if (sqlite3_value_type(values[9]) != SQLITE_NULL)
            place.choices = integer_value(values[9], "tensor.choices");
        if (&arena_of(state_) != arena_.get()) fail("this table `tensor` is no longer the plan's");
        arena_->declare(std::move(place));
        state_.arena.lost = false;
    }

    void dropped() override {
        if (state_.arena == arena_) drop(state_.arena);
    }
    Mark mark() const override { return {0, arena_->places().size()}; }
    void undo(const Mark& mark) override { arena_->undeclare(mark.rows); }

  private:
    PlanState& state_;
    const std::shared_ptr<Arena> arena_;
};

class SlotTable final : public Table {
  public:
    explicit SlotTable(PlanState& state) : state_(state) {}

    const char* declaration() const override { return "CREATE TABLE x(id INTEGER, data)"; }
    Selected select(const Ranges&) const override { return {}; }  // write only
    void column(const Selected&, int64_t, int, sqlite3_context*) const override {}

    void insert(std::span<sqlite3_value*> values) override {
        const int64_t id = integer_value(values[0], "slot.id");
        const ExprPtr expr = value_expr(values[1]);
        store_in_tensor(state_, id, expr,
                        [&](const TensorPlace& place, std::byte* data, const RowsAround& around) {
                            evaluate_into(compute_of(state_), expr, place, data, around);
                        });
    }

    Mark mark() const override {
        return {state_.arena.number, state_.arena ? state_.arena->writes() : 0};
    }
    void undo(const Mark& mark) override {
        if (state_.arena)
            state_.arena->forget_since(state_.arena.number == mark.state ? mark.rows : 0);
    }

  private:
    PlanState& state_;
};

}  // namespace

void store_in_tensor(
    PlanState& state, int64_t id, const ExprPtr& expr,
    const std::function<void(const TensorPlace&, std::byte*, const RowsAround&)>& evaluate) {
    Arena& arena = arena_of(state);
    require_not_lost<Arena>(state, state.arena, state.arena);
    const TensorPlace& place = arena.place(id);
    if (!expr)
        fail("what is stored in tensor {} '{}' is not the result of an operator", id, place.name);
    const auto& shown = state.shown;
    const int64_t held = shown ? shown->of * place.choices : expr->rows;
    if (held > place.rows)
        fail("tensor {} '{}' has room for {}, not {}", id, place.name,
             counted(static_cast<uint64_t>(place.rows), "row"), held);
    const ShownRows rows = rows_of(state, place, held);
    if (rows.count != expr->rows)
        fail("tensor {} '{}' gets {} for the {} of this sequence", id, place.name,
             counted(static_cast<uint64_t>(expr->rows), "row"), rows.count);
    arena.require_writable(id);
    count_write(state);
    Compute& compute = compute_of(state);
    RowsAround around;
    if (shown) around = {shown->first, shown->of - shown->first - shown->rows};
    evaluate(place, arena.data(place) + rows.first * place.stride, around);
    state.after_store(compute);
    // Until its last rows are written the places that it overwrites still hold the others'.
    if (!shown || shown->last()) arena.note_written(id, held);
}

std::unique_ptr<Table> make_tensor_table(PlanState& state, const ModuleArguments& arguments) {
    auto arena = claim(state, state.arena, arguments, "tensors");
    const int64_t bytes = arguments.integer("arena");
    if (bytes < 0 || bytes > (int64_t{1} << 40)) fail("llm_tensor: arena={} is absurd", bytes);
    if (!arena) {
        arena = std::make_shared<Arena>(bytes);
        install(state, state.arena, arena, arguments);
    }
    return std::make_unique<TensorTable>(state, std::move(arena));
}

std::unique_ptr<Table> make_slot_table(PlanState& state, const ModuleArguments&) {
    return std::make_unique<SlotTable>(state);
}

}  // namespace llmsql
