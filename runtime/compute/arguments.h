// SPDX-License-Identifier: MIT
// The arguments of an operator's SQL function, checked and typed.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "runtime/compute/expr.h"
#include "runtime/state/kv_cache.h"
#include "runtime/state/recurrent.h"
#include "runtime/weights/weights.h"
#include "sqlite/api.h"

namespace llmsql {

// The type names of pointers that pass through SQLite (see sqlite3_bind_pointer).
inline constexpr char kExprPointer[] = "llm_expr";       // const ExprPtr*
inline constexpr char kWeightPointer[] = "llm_weight";   // const Weight*
inline constexpr char kBlockPointer[] = "llm_kv_block";  // const KvBlock*
inline constexpr char kStatePointer[] = "llm_state";     // const RecurrentState*

/// Hands an expression to SQLite as a function's result or a column's value.
void result_expr(sqlite3_context* context, ExprPtr expr);

/// The expression behind a value, or null.
ExprPtr value_expr(sqlite3_value* value);

class Arguments {
  public:
    Arguments(std::string_view function, sqlite3_value** values, int count)
        : function_(function), values_(values), count_(count) {}

    int count() const { return count_; }

    /// Whether an optional argument is there: in front of others NULL stands for one that is not.
    bool has(int index) const;

    /// An f32 or q8 value. Fails, as all of these do, by naming function, argument and what came.
    ExprPtr tensor(int index) const;
    /// A value that is stored: a row of `tensor` (or llm_rows of one), of this type.
    std::shared_ptr<const TensorExpr> stored(int index, TensorType type) const;
    /// Any value, llm_quantize and llm_concat among them.
    ExprPtr any_tensor(int index) const;
    const Weight* find_weight(int index) const;  // null if it is no parameter
    const Weight& matrix(int index) const;
    const Weight& vector(int index, int64_t elements) const;
    const KvBlock& block(int index) const;
    const RecurrentState& state(int index) const;
    double number(int index) const;  // finite
    int64_t integer(int index) const;
    /// Token ids: a JSON array as text, or a BLOB of little-endian int32.
    std::vector<int32_t> tokens(int index) const;

    /// Fails with "function: …".
    [[noreturn]] void refuse(const std::string& why) const;

  private:
    [[noreturn]] void wrong(int index, std::string_view wanted) const;

    std::string_view function_;
    sqlite3_value** values_;
    int count_;
};

}  // namespace llmsql
