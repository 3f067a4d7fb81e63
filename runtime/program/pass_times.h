// PassTimes: where the time of passes went.
#pragma once

#include <cstdint>

namespace llmsql {

/// Seconds; `total` is the sum of the three after it. Those are means over the workers: what one
/// thread does while another works counts by half where there are two.
struct PassTimes {
    uint64_t passes = 0;      // calls of forward()
    uint64_t tokens = 0;      // that they computed
    uint64_t statements = 0;  // that were stepped, in forward() and logits()
    uint64_t jobs = 0;        // that they gave the workers
    double total = 0;         // in forward() and logits()
    double computing = 0;
    double sql = 0;      // SQLite, its tables, and operators building what is computed
    double waiting = 0;  // hand-offs: for a job to begin, or for others to end theirs
};

inline PassTimes operator-(PassTimes a, const PassTimes& b) {
    a.passes -= b.passes;
    a.tokens -= b.tokens;
    a.statements -= b.statements;
    a.jobs -= b.jobs;
    a.total -= b.total;
    a.computing -= b.computing;
    a.sql -= b.sql;
    a.waiting -= b.waiting;
    return a;
}

inline PassTimes operator+(PassTimes a, const PassTimes& b) {
    return a - (PassTimes() - b);
}

}  // namespace llmsql
