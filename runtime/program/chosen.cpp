// SPDX-License-Identifier: MIT
// `chosen`: of each tensor, the columns in which some row is not 0. Joined with `param` by number,
// it finds the matrices that a pass needs, without a sorter, in rising order.
#include "common/error.h"
#include "runtime/program/plan_state.h"
#include "runtime/program/table.h"

namespace llmsql {
namespace {

class ChosenTable final : public Table {
  public:
    explicit ChosenTable(PlanState& state) : state_(state) {}

    const char* declaration() const override { return "CREATE TABLE x(id INTEGER, item INTEGER)"; }
    int integer_columns() const override { return 2; }

    Selected select(const Ranges& ranges) const override {
        const Current<Arena> held = current(state_, state_.arena);
        require_not_lost<Arena>(state_, state_.arena, held);
        if (!held) fail("there is no `tensor` table: the plan's init must create it first");
        const int64_t id = ranges[0].low;
        if (id != ranges[0].high) fail("chosen: say of which tensor: WHERE chosen.id = …");
        state_.operators.settle();
        const Arena& arena = *held;
        const TensorPlace& place = arena.place(id);
        if (place.type != TensorType::f32)
            fail("chosen: tensor {} '{}' must be f32", id, place.name);
        const int64_t rows = arena.rows_held(id), columns = place.elements();
        if (columns > kMostItems)
            fail("chosen: tensor {} '{}' has more than {} columns", id, place.name, kMostItems);
        std::vector<bool> found(static_cast<size_t>(columns));
        for (int64_t r = 0; r < rows; ++r) {
            const auto* row = reinterpret_cast<const float*>(arena.data(place) + r * place.stride);
            for (int64_t c = 0; c < columns; ++c)
                if (row[c] != 0) found[static_cast<size_t>(c)] = true;
        }
        std::vector<int64_t> keys;
        for (int64_t c = 0; c < columns; ++c)
            if (found[static_cast<size_t>(c)] && ranges[1].contains(c))
                keys.push_back(id << kItemBits | c);
        return {std::move(keys), nullptr};
    }

    void column(const Selected&, int64_t row, int column, sqlite3_context* context) const override {
        sqlite3_result_int64(
            context, column == 0 ? row >> kItemBits : row & ((int64_t{1} << kItemBits) - 1));
    }

    void insert(std::span<sqlite3_value*>) override {
        fail("chosen: its rows follow from the tensors");
    }

  private:
    static constexpr int kItemBits = 32;
    static constexpr int64_t kMostItems = 1 << 20;
    PlanState& state_;
};

}  // namespace

std::unique_ptr<Table> make_chosen_table(PlanState& state, const ModuleArguments&) {
    return std::make_unique<ChosenTable>(state);
}

}  // namespace llmsql
