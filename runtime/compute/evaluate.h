// SPDX-License-Identifier: MIT
// Evaluating deferred values into their places, shared out among the workers.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/compute/expr.h"
#include "runtime/compute/workers.h"
#include "runtime/state/kv_cache.h"

namespace llmsql {

/// What evaluation needs besides the expression. One evaluation at a time.
struct Evaluator {
    explicit Evaluator(int threads)
        : workers(threads), scratch(static_cast<size_t>(workers.count())) {
        for (size_t i = 0; i < scratch.size(); ++i) scratch[i].strips.worker = static_cast<int>(i);
    }

    Workers workers;
    std::vector<Scratch> scratch;  // one a worker
    /// Where the statement stands that evaluates: what an error of its evaluation begins with.
    const std::string* statement = nullptr;
    uint64_t weight_bytes = 0;  // read by all evaluations so far
    /// Whether weights are read as fast as memory: all are held, or mapped.
    bool in_memory = true;
    /// What the statement's items take, one a worker; null: nobody wants to know.
    ItemTime* times = nullptr;

    /// Whether work from now on is timed, reading apart. Not at first.
    void keep_time(bool on) {
        workers.keep_time(on);
        for (Scratch& own : scratch) own.strips.timed = on;
    }
    /// Seconds spent reading weights, all workers together.
    double reading() const {
        double seconds = 0;
        for (const Scratch& own : scratch) seconds += own.strips.reading;
        return seconds;
    }
};

// What follows checks at once, and computes when all that was evaluated before is computed, at the
// latest when the workers are waited for.

/// Rows of a pass that a statement has besides those that it is stepped for: other sequences'.
struct RowsAround {
    int64_t before = 0, after = 0;  // tokens
};

/// Evaluates `expr` into a tensor. Fails where shapes or types do not fit, or where the tensor's
/// place is read by the expression other than element by element or head by head.
void evaluate_into(Evaluator& evaluator, const ExprPtr& expr, const TensorPlace& place,
                   std::byte* data, const RowsAround& around = {});

/// Evaluates keys and values and stores them in the cache from `position` on.
void evaluate_into_cache(Evaluator& evaluator, const ExprPtr& k, const ExprPtr& v, KvCache& cache,
                         int64_t sequence, int64_t layer, int64_t position);

/// Evaluates all of an expression into f32[rows][elements], on the calling thread.
std::vector<float> evaluate_to_vector(const ExprPtr& expr);

}  // namespace llmsql
