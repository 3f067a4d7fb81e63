// SPDX-License-Identifier: MIT
// PassTimes: where the time of passes went.
#pragma once

#include <cstdint>
#include <vector>

namespace llmsql {

/// Of one statement, all passes together. Seconds, means over the workers as below.
struct StatementTime {
    uint64_t runs = 0;
    uint64_t items = 0;  // pieces that workers took
    double computing = 0, reading = 0, sql = 0;
    uint64_t weight_bytes = 0;  // that it multiplied by
    uint64_t read_bytes = 0;    // of them and of rows that it picked: read from the database

    double total() const { return computing + reading + sql; }
};

/// Seconds; `total` is the sum of the four after it. Those are means over the workers: what one
/// thread does while another works counts by half where there are two.
struct PassTimes {
    uint64_t passes = 0;      // calls of forward()
    uint64_t tokens = 0;      // that they computed
    uint64_t statements = 0;  // that were stepped, in forward() and logits()
    uint64_t jobs = 0;        // that they gave the workers
    double total = 0;         // in forward() and logits()
    double computing = 0;
    double reading = 0;  // weights: copying them from the page cache, or waiting for a disk
    double sql = 0;      // SQLite, its tables, and operators building what is computed
    double waiting = 0;  // hand-offs: for a job to begin, or for others to end theirs
    /// In the order of the plan: `forward`, then `logits`. Empty unless ProgramOptions::profile.
    std::vector<StatementTime> by_statement;
};

inline StatementTime operator-(StatementTime a, const StatementTime& b) {
    a.runs -= b.runs;
    a.items -= b.items;
    a.computing -= b.computing;
    a.reading -= b.reading;
    a.sql -= b.sql;
    a.weight_bytes -= b.weight_bytes;
    a.read_bytes -= b.read_bytes;
    return a;
}

inline PassTimes operator-(PassTimes a, const PassTimes& b) {
    a.passes -= b.passes;
    a.tokens -= b.tokens;
    a.statements -= b.statements;
    a.jobs -= b.jobs;
    a.total -= b.total;
    a.computing -= b.computing;
    a.reading -= b.reading;
    a.sql -= b.sql;
    a.waiting -= b.waiting;
    if (a.by_statement.size() < b.by_statement.size()) a.by_statement.resize(b.by_statement.size());
    for (size_t i = 0; i < b.by_statement.size(); ++i)
        a.by_statement[i] = a.by_statement[i] - b.by_statement[i];
    return a;
}

inline PassTimes operator+(PassTimes a, const PassTimes& b) {
    return a - (PassTimes() - b);
}

}  // namespace llmsql
