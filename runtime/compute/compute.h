// SPDX-License-Identifier: MIT
// Compute: what computes. Threads, the memory that each of them works in, and the weights that they
// use, shared by all programs that run one plan over one model in this process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/workers.h"
#include "runtime/compute/expr.h"
#include "runtime/compute/turn.h"
#include "runtime/weights/weights.h"

namespace llmsql {

/// One evaluation at a time. Whoever evaluates, or has the workers do anything, holds `turn` from
/// the first statement of a pass until the workers have finished.
struct Compute {
    /// Threads without weights: enough for operators over tensors alone. `threads` 0: as many as
    /// the process may use physical cores.
    explicit Compute(int threads)
        : workers(threads), scratch(static_cast<size_t>(workers.count())) {
        for (size_t i = 0; i < scratch.size(); ++i) scratch[i].strips.worker = static_cast<int>(i);
    }
    /// Other arguments as WeightPool's.
    Compute(const ModelDb& db, const std::vector<Residency>& residency, const PoolOptions& options,
            int threads)
        : Compute(threads) {
        weights.emplace(db, residency, options, workers);
        all_held = residency.empty();
        in_memory = all_held || weights->io() == IoMode::map;
    }

    /// When a pass has ended: fails if what it read was not the file's, and makes the next ones
    /// faster where that pays.
    void end_pass() {
        weights->check();
        if (weights->improve()) in_memory = all_held || weights->io() == IoMode::map;
    }

    Workers workers;
    std::vector<Scratch> scratch;       // one per worker
    std::optional<WeightPool> weights;  // absent: only where it was made without
    TurnLock turn;
    /// Where the statement stands that evaluates: what an error of its evaluation begins with.
    const std::string* statement = nullptr;
    uint64_t weight_bytes = 0;  // read by all evaluations so far
    /// Whether weights are read as fast as memory: all are held, or mapped. Without a budget, all
    /// are held, and what a worker works in may be larger than the compiler counts.
    bool in_memory = true, all_held = true;
    /// What the statement's items take, one per worker; null: not collected.
    ItemTime* times = nullptr;

    /// Whether work from now on is timed, reading apart. Off by default.
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

}  // namespace llmsql
