// SPDX-License-Identifier: MIT
// Evaluating deferred values into their places, shared out among the workers.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/compute/compute.h"
#include "runtime/compute/expr.h"
#include "runtime/state/kv_cache.h"
#include "runtime/state/recurrent.h"

namespace llmsql {

// What follows checks at once, and computes when all that was evaluated before is computed, at the
// latest when the workers are waited for.

/// Rows of a pass that a statement has besides those that it is stepped for: other sequences'.
struct RowsAround {
    int64_t before = 0, after = 0;  // tokens
};

/// Evaluates `expr` into a tensor. Fails where shapes or types do not fit, or where the tensor's
/// place is read by the expression other than element by element or head by head.
void evaluate_into(Compute& compute, const ExprPtr& expr, const TensorPlace& place, std::byte* data,
                   const RowsAround& around = {});

/// Evaluates keys and values and stores them in the cache from `position` on.
void evaluate_into_cache(Compute& compute, const ExprPtr& k, const ExprPtr& v, KvCache& cache,
                         int64_t sequence, int64_t layer, int64_t position);

/// Fails unless `expr` is a scan, and one that goes on from this state.
void require_scan(const Expr& expr, const RecurrentState& state);

/// Fails as evaluate_into() does.
void require_scan_fits(const ExprPtr& expr, const TensorPlace& place, const std::byte* data,
                       const RowsAround& around);

/// Floats of a token that a scan, for which require_scan() holds, reads.
int64_t scan_inputs(const Expr& expr);

/// Evaluates a scan, for which require_scan() and require_scan_fits() hold, into a tensor, and has
/// the state overwritten by what it leaves. Where there is `room`, for scan_inputs() of each row,
/// it leaves there what evaluate_scan_again() takes, and returns that; else null. Where there is
/// `kept`, it leaves there the state after so many rows.
ExprPtr evaluate_scan(Compute& compute, const ExprPtr& expr, const TensorPlace& place,
                      std::byte* data, const RecurrentState& state, const CutRoom& room = {},
                      const SnapshotRoom& kept = {});

/// From a state that is as it was before that: has it overwritten by what the first `rows` rows
/// leave.
void evaluate_scan_again(Compute& compute, const ExprPtr& expr, int64_t rows,
                         const RecurrentState& state);

/// Evaluates all of an expression into f32[rows][elements], on the calling thread.
std::vector<float> evaluate_to_vector(const ExprPtr& expr);

}  // namespace llmsql
