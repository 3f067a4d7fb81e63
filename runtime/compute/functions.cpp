// SPDX-License-Identifier: MIT
// Registering the operators with SQLite: the operator table's names, this folder's functions.
#include "runtime/compute/functions.h"

#include <algorithm>
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

using Scalar = ExprPtr (*)(OperatorState&, const Arguments&);
using MakeAggregate = std::unique_ptr<Aggregate> (*)();
using Inspect = std::string (*)(OperatorState&, const Arguments&);

struct Implementation {
    std::string_view sql;
    Scalar scalar = nullptr;
    MakeAggregate aggregate = nullptr;
    Inspect inspect = nullptr;
    bool looks = false;  // an aggregate that looks at values at once
};

constexpr std::array kImplementations{
    Implementation{.sql = "llm_embed", .scalar = op_embed},
    Implementation{.sql = "llm_linear", .scalar = op_linear},
    Implementation{.sql = "llm_rms_norm", .scalar = op_rms_norm},
    Implementation{.sql = "llm_layer_norm", .scalar = op_layer_norm},
    Implementation{.sql = "llm_rope", .scalar = op_rope},
    Implementation{.sql = "llm_softmax", .scalar = op_softmax},
    Implementation{.sql = "llm_top", .scalar = op_top},
    Implementation{.sql = "llm_normalize", .scalar = op_normalize},
    Implementation{.sql = "llm_linear_each", .aggregate = op_linear_each, .looks = true},
    Implementation{.sql = "llm_linear_sum", .aggregate = op_linear_sum, .looks = true},
    Implementation{.sql = "llm_attention", .aggregate = op_attention},
    Implementation{.sql = "llm_add", .scalar = op_add},
    Implementation{.sql = "llm_mul", .scalar = op_mul},
    Implementation{.sql = "llm_scale", .scalar = op_scale},
    Implementation{.sql = "llm_silu", .scalar = op_silu},
    Implementation{.sql = "llm_sigmoid", .scalar = op_sigmoid},
    Implementation{.sql = "llm_gelu", .scalar = op_gelu},
    Implementation{.sql = "llm_tanh", .scalar = op_tanh},
    Implementation{.sql = "llm_quantize", .scalar = op_quantize},
    Implementation{.sql = "llm_concat", .aggregate = op_concat},
    Implementation{.sql = "llm_rows", .scalar = op_rows},
    Implementation{.sql = "llm_shape", .inspect = op_shape},
    Implementation{.sql = "llm_stats", .inspect = op_stats},
};

// What a registered function finds behind sqlite3_user_data.
struct Registered {
    const Operator* op;
    const Implementation* implementation;
    OperatorState* state;
};

const Registered& registered(sqlite3_context* context) {
    return *static_cast<const Registered*>(sqlite3_user_data(context));
}

void call_scalar(sqlite3_context* context, int count, sqlite3_value** values) {
    guard_function(context, [&] {
        const Registered& self = registered(context);
        const Arguments arguments(self.op->sql, values, count);
        if (self.implementation->scalar) {
            result_expr(context, self.implementation->scalar(*self.state, arguments));
            return;
        }
        self.state->settle();
        result_text(context, self.implementation->inspect(*self.state, arguments));
    });
}

void step_aggregate(sqlite3_context* context, int count, sqlite3_value** values) {
    guard_function(context, [&] {
        const Registered& self = registered(context);
        auto** state =
            static_cast<Aggregate**>(sqlite3_aggregate_context(context, sizeof(Aggregate*)));
        if (!state) throw std::bad_alloc();
        if (!*state) {
            if (self.implementation->looks) self.state->settle();
            *state = self.implementation->aggregate().release();
        }
        (*state)->step(Arguments(self.op->sql, values, count));
    });
}

void finish_aggregate(sqlite3_context* context) {
    auto** state = static_cast<Aggregate**>(sqlite3_aggregate_context(context, 0));
    guard_function(context, [&] {
        std::unique_ptr<Aggregate> aggregate(state ? std::exchange(*state, nullptr) : nullptr);
        if (!aggregate) aggregate = registered(context).implementation->aggregate();
        result_expr(context, aggregate->finish());
    });
}

void register_operator(sqlite3* db, const Operator& op, const Implementation& implementation,
                       OperatorState& state) {
    for (int count = min_args(op); count <= max_args(op); ++count) {
        auto* self = new Registered{&op, &implementation, &state};
        const int code = sqlite3_create_function_v2(
            db, std::string(op.sql).c_str(), count, SQLITE_UTF8 | SQLITE_DIRECTONLY, self,
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
        const auto found = std::ranges::find(kImplementations, op.sql, &Implementation::sql);
        if (found == kImplementations.end())
            fail("operator {} has no implementation in this build", op.sql);
        register_operator(db, op, *found, state);
    }
}

}  // namespace llmsql
