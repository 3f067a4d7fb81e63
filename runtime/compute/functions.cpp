// SPDX-License-Identifier: MIT
// Registering the operators with SQLite: the operator table's names, this folder's functions.
#include "runtime/compute/functions.h"

#include <array>
#include <new>
#include <string_view>
#include <utility>

#include "common/error.h"
#include "operators/operators.h"
#include "runtime/compute/rope_tables.h"
#include "sqlite/callbacks.h"

namespace llmsql {
namespace {

constexpr std::array kFamilies{attention_functions, choice_functions,  element_functions,
                               head_functions,      inspect_functions, matrix_functions,
                               place_functions,     scan_functions,    shares_functions};

/// The function of an operator's SQL name; null if no family has it.
const OperatorFunction* function_of(std::string_view sql) {
    for (const auto& family : kFamilies)
        for (const OperatorFunction& function : family())
            if (function.sql == sql) return &function;
    return nullptr;
}

// What a registered function finds behind sqlite3_user_data.
struct Registered {
    const Operator* op;
    const OperatorFunction* function;
    OperatorState* state;
};

const Registered& registered(sqlite3_context* context) {
    return *static_cast<const Registered*>(sqlite3_user_data(context));
}

void call_scalar(sqlite3_context* context, int count, sqlite3_value** values) {
    guard_function(context, [&] {
        const Registered& self = registered(context);
        const Arguments arguments(self.op->sql, values, count);
        if (self.function->scalar) {
            result_expr(context, self.function->scalar(*self.state, arguments));
            return;
        }
        self.state->settle();
        result_text(context, self.function->inspect(*self.state, arguments));
    });
}

void step_aggregate(sqlite3_context* context, int count, sqlite3_value** values) {
    guard_function(context, [&] {
        const Registered& self = registered(context);
        auto** state =
            static_cast<Aggregate**>(sqlite3_aggregate_context(context, sizeof(Aggregate*)));
        if (!state) throw std::bad_alloc();
        if (!*state) {
            if (self.function->looks) self.state->settle();
            *state = self.function->aggregate().release();
        }
        (*state)->step(Arguments(self.op->sql, values, count));
    });
}

void finish_aggregate(sqlite3_context* context) {
    auto** state = static_cast<Aggregate**>(sqlite3_aggregate_context(context, 0));
    guard_function(context, [&] {
        std::unique_ptr<Aggregate> aggregate(state ? std::exchange(*state, nullptr) : nullptr);
        if (!aggregate) aggregate = registered(context).function->aggregate();
        result_expr(context, aggregate->finish());
    });
}

void register_operator(sqlite3* db, const Operator& op, const OperatorFunction& function,
                       OperatorState& state) {
    const std::string name(op.sql);
    for (int count = min_args(op); count <= max_args(op); ++count) {
        auto* self = new Registered{&op, &function, &state};
        const int code = sqlite3_create_function_v2(
            db, name.c_str(), count, SQLITE_UTF8 | SQLITE_DIRECTONLY, self,
            op.aggregate ? nullptr : call_scalar, op.aggregate ? step_aggregate : nullptr,
            op.aggregate ? finish_aggregate : nullptr,
            [](void* held) { delete static_cast<Registered*>(held); });
        if (code != SQLITE_OK) fail("cannot register {}: {}", op.sql, sqlite3_errmsg(db));
    }
}

}  // namespace

OperatorState::OperatorState() : rope_(std::make_unique<RopeTables>()) {}
OperatorState::~OperatorState() = default;

void OperatorState::forget() {
    *rope_ = {};
}

void register_operators(sqlite3* db, OperatorState& state) {
    for (const Operator& op : operators()) {
        if (op.sql.empty()) continue;  // a view: never reaches the SQL
        const OperatorFunction* function = function_of(op.sql);
        if (!function) fail("operator {} has no function in this build", op.sql);
        register_operator(db, op, *function, state);
    }
}

}  // namespace llmsql
