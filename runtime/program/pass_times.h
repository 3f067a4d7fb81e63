// PassTimes: where the time of passes went.
#pragma once

#include <cstdint>

namespace llmsql {

/// Seconds; `total` is the others' sum.
struct PassTimes {
    uint64_t passes = 0;      // calls of forward()
    uint64_t tokens = 0;      // that they computed
    uint64_t statements = 0;  // that were stepped, in forward() and logits()
    uint64_t handovers = 0;   // pieces of work shared out among the workers
    double total = 0;         // in forward() and logits()
    double computing = 0;     // workers at work together: their mean
    double alone = 0;         // work too small to share, done by one while the others wait
    double handoffs = 0;      // until a worker has begun, and until the last one has ended
    double sql = 0;  // the rest: SQLite, its tables, and operators building what is computed
};

inline PassTimes operator-(PassTimes a, const PassTimes& b) {
    a.passes -= b.passes;
    a.tokens -= b.tokens;
    a.statements -= b.statements;
    a.handovers -= b.handovers;
    a.total -= b.total;
    a.computing -= b.computing;
    a.alone -= b.alone;
    a.handoffs -= b.handoffs;
    a.sql -= b.sql;
    return a;
}

inline PassTimes operator+(PassTimes a, const PassTimes& b) {
    return a - (PassTimes() - b);
}

}  // namespace llmsql
