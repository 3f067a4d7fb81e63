// SPDX-License-Identifier: MIT
// The operators' SQL functions: what each family provides, and their registration.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/workers.h"
#include "runtime/compute/arguments.h"
#include "sqlite/api.h"

namespace llmsql {

class RopeTables;

/// What operators keep between calls. Outlives the connection they are registered on.
class OperatorState {
  public:
    OperatorState();
    ~OperatorState();
    RopeTables& rope() { return *rope_; }
    /// Forgets what it keeps: for weights that are not those before.
    void forget();

    /// Waits until what has been stored in tensors is computed; called before values are looked at.
    void settle() const {
        if (workers) workers->wait();
    }
    Workers* workers = nullptr;  // that compute what is stored; null: it is computed at once

    /// Called by what takes long, between its pieces of work; throws where it must end.
    std::function<void()> pulse = [] {};

    /// Tokens that llm_embed takes: of a plan, as many as a pass has.
    int64_t most_rows = int64_t{1} << 20;

    /// Bytes of token lists that expressions hold; the threads that compute let go of them.
    const std::shared_ptr<std::atomic<int64_t>> token_bytes =
        std::make_shared<std::atomic<int64_t>>(0);

  private:
    std::unique_ptr<RopeTables> rope_;
};

/// One call of an aggregate: its rows, then its result.
class Aggregate {
  public:
    virtual ~Aggregate() = default;
    virtual void step(const Arguments& row) = 0;
    virtual ExprPtr finish() = 0;
};

/// What computes an operator: the SQL function's name, and one of three kinds of C++ function.
struct OperatorFunction {
    std::string_view sql;
    /// A value of its arguments.
    ExprPtr (*scalar)(OperatorState&, const Arguments&) = nullptr;
    /// A new call of an aggregate.
    std::unique_ptr<Aggregate> (*aggregate)() = nullptr;
    /// A text about values, which are computed by then.
    std::string (*inspect)(OperatorState&, const Arguments&) = nullptr;
    /// An aggregate that looks at values in its steps; they are computed by then.
    bool looks = false;
};

// What each family's file provides: the only lines outside the operator table that name operators.
std::span<const OperatorFunction> attention_functions();
std::span<const OperatorFunction> choice_functions();
std::span<const OperatorFunction> element_functions();
std::span<const OperatorFunction> head_functions();
std::span<const OperatorFunction> inspect_functions();
std::span<const OperatorFunction> matrix_functions();
std::span<const OperatorFunction> place_functions();
std::span<const OperatorFunction> scan_functions();
std::span<const OperatorFunction> shares_functions();

/// x times a matrix, x stored as its type needs it.
ExprPtr linear_of(std::shared_ptr<const TensorExpr> x, const Weight& weight);

/// Registers every operator of the operator table on a connection.
void register_operators(sqlite3* db, OperatorState& state);

}  // namespace llmsql
