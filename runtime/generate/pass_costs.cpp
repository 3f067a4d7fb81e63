// SPDX-License-Identifier: MIT
// The least of the last times, and what lies between. See pass_costs.h.
#include "runtime/generate/pass_costs.h"

#include <algorithm>

namespace llmsql {
namespace {

// What a row costs beside the first, of what a pass of one takes, where nothing is known.
constexpr double kRow = 0.12;

// What has to be won at least: estimates err.
constexpr double kMargin = 1.02;

double shape(size_t rows) {
    return 1 + kRow * static_cast<double>(rows - 1);
}

}  // namespace

// Machines and texts change, and a first time may be a hiccup: what was found too dear is looked at
// again, soon at first and then more and more seldom.
void PassCosts::note(size_t rows, double time) {
    ++passes_;
    if (rows < 1 || rows > kMostRows || !(time > 0)) return;
    Times& times = times_[rows];
    if (times.count > 0 && times.stale(passes_)) {
        times.count = 0;
        times.life = std::min(2 * times.life, kLongestLife);
    }
    times.last[times.count++ % kKept] = time;
    times.when = passes_;
    estimate();
}

// Whatever else the machine does makes a pass longer, never shorter: of the last few, the least.
void PassCosts::estimate() {
    size_t known = 0;  // the last number of rows that is
    for (size_t rows = 1; rows <= kMostRows; ++rows) {
        const Times& times = times_[rows];
        if (times.count == 0 || times.stale(passes_)) continue;
        const double least = *std::min_element(
            times.last.begin(),
            times.last.begin() + static_cast<ptrdiff_t>(std::min(times.count, kKept)));
        for (size_t between = known + 1; between < rows; ++between) {
            const double part =
                static_cast<double>(between - known) / static_cast<double>(rows - known);
            expected_[between] = known > 0 ? expected_[known] + part * (least - expected_[known])
                                           : least * shape(between) / shape(rows);
        }
        expected_[rows] = least;
        known = rows;
    }
    for (size_t rows = known + 1; rows <= kMostRows; ++rows)
        expected_[rows] = known > 0 ? expected_[known] * shape(rows) / shape(known) : shape(rows);
}

double PassCosts::of(size_t rows) const {
    return rows <= kMostRows ? expected_[rows]
                             : expected_[kMostRows] / kMostRows * static_cast<double>(rows);
}

size_t PassCosts::worth_checking(size_t rows, std::span<const double> gains) const {
    const auto given = static_cast<double>(rows);
    double tokens = given, best = given / of(rows) * kMargin;
    size_t count = 0;
    for (size_t i = 0; i < gains.size(); ++i) {
        tokens += gains[i];
        const double speed = tokens / of(rows + i + 1);
        if (speed <= best) continue;
        best = speed;
        count = i + 1;
    }
    return count;
}

}  // namespace llmsql
