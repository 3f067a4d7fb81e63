// SPDX-License-Identifier: MIT
// The operators' SQL functions: what each family provides, and their registration.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

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
    std::function<void()> settle = [] {};

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

// element.cpp
ExprPtr op_add(OperatorState&, const Arguments&);
ExprPtr op_mul(OperatorState&, const Arguments&);
ExprPtr op_scale(OperatorState&, const Arguments&);
ExprPtr op_silu(OperatorState&, const Arguments&);
ExprPtr op_sigmoid(OperatorState&, const Arguments&);
ExprPtr op_gelu(OperatorState&, const Arguments&);
ExprPtr op_tanh(OperatorState&, const Arguments&);
// matrix.cpp
ExprPtr op_embed(OperatorState&, const Arguments&);
ExprPtr op_linear(OperatorState&, const Arguments&);
/// x times a matrix, x stored as its type needs it.
ExprPtr linear_of(std::shared_ptr<const TensorExpr> x, const Weight& weight);
// choice.cpp
std::unique_ptr<Aggregate> op_linear_each();
std::unique_ptr<Aggregate> op_linear_sum();
// head.cpp
ExprPtr op_rms_norm(OperatorState&, const Arguments&);
ExprPtr op_layer_norm(OperatorState&, const Arguments&);
ExprPtr op_rope(OperatorState&, const Arguments&);
// shares.cpp
ExprPtr op_softmax(OperatorState&, const Arguments&);
ExprPtr op_top(OperatorState&, const Arguments&);
ExprPtr op_normalize(OperatorState&, const Arguments&);
// place.cpp
ExprPtr op_quantize(OperatorState&, const Arguments&);
ExprPtr op_rows(OperatorState&, const Arguments&);
std::unique_ptr<Aggregate> op_concat();
// attention.cpp
std::unique_ptr<Aggregate> op_attention();
// inspect.cpp
std::string op_shape(OperatorState&, const Arguments&);
std::string op_stats(OperatorState&, const Arguments&);

/// Registers every operator of the operator table on a connection.
void register_operators(sqlite3* db, OperatorState& state);

}  // namespace llmsql
