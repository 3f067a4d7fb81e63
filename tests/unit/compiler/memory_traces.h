// SPDX-License-Identifier: MIT
// Traces for the tests of the schedule: random passes, and the best that any policy can do with
// them, by trying everything.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <span>
#include <vector>

#include "compiler/memory/schedule.h"

namespace llmsql::compiler::test {

/// A pass of a few parameters with some tiles each; sizes up to `largest`, all alike within a
/// parameter but for its last tile. If `scans` is more than 1, parameters are scanned up to so
/// often, their tiles in any order.
inline PassScans random_pass(std::mt19937& random, int params, int most_tiles, int64_t largest,
                             int scans = 1) {
    const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % n); };
    PassScans pass;
    std::vector<std::vector<int>> of_param;
    for (int p = 1; p <= params; ++p) {
        const int64_t tiles = 1 + below(most_tiles), bytes = 1 + below(largest);
        of_param.emplace_back();
        for (int64_t t = 0; t < tiles; ++t) {
            of_param.back().push_back(static_cast<int>(pass.tiles.size()));
            pass.tiles.push_back({p, t, t + 1 == tiles ? 1 + below(bytes) : bytes});
        }
    }
    for (int s = 0; s < scans; ++s)
        for (const std::vector<int>& tiles : of_param)
            if (s == 0 || below(2) == 0)
                pass.scans.insert(pass.scans.end(), tiles.begin(), tiles.end());
    if (scans > 1) std::ranges::shuffle(pass.scans, random);
    return pass;
}

/// The fewest bytes that any policy reads of a trace over a handful of tiles, with bypass, from an
/// empty memory or from the best of all that it could hold at first. Tries every set after every
/// access.
inline int64_t least_bytes(std::span<const int> trace, std::span<const int64_t> bytes,
                           int64_t capacity, bool from_empty) {
    constexpr int64_t kNever = INT64_MAX / 2;
    const uint32_t sets = 1u << bytes.size();
    std::vector<int64_t> size(sets);
    for (uint32_t set = 0; set < sets; ++set)
        for (size_t i = 0; i < bytes.size(); ++i)
            if (set >> i & 1) size[set] += bytes[i];
    std::vector<int64_t> cost(sets, kNever);
    for (uint32_t set = 0; set < sets; ++set)
        if (size[set] <= capacity && (set == 0 || !from_empty)) cost[set] = 0;
    for (const int tile : trace) {
        const uint32_t bit = 1u << tile;
        std::vector<int64_t> next(sets, kNever);
        for (uint32_t set = 0; set < sets; ++set) {
            if (cost[set] == kNever) continue;
            const int64_t here = cost[set] + (set & bit ? 0 : bytes[static_cast<size_t>(tile)]);
            // Whatever part of what is at hand fits may be kept.
            for (uint32_t kept = set | bit;; kept = (kept - 1) & (set | bit)) {
                if (size[kept] <= capacity) next[kept] = std::min(next[kept], here);
                if (kept == 0) break;
            }
        }
        cost = std::move(next);
    }
    return *std::ranges::min_element(cost);
}

inline std::vector<int64_t> sizes_of(const PassScans& pass) {
    std::vector<int64_t> bytes;
    for (const PassScans::Tile& tile : pass.tiles) bytes.push_back(tile.bytes);
    return bytes;
}

inline int64_t total_bytes(const PassScans& pass) {
    int64_t total = 0;
    for (const PassScans::Tile& tile : pass.tiles) total += tile.bytes;
    return total;
}

inline std::vector<int> repeated(const PassScans& pass, int times) {
    std::vector<int> trace;
    for (int i = 0; i < times; ++i) trace.insert(trace.end(), pass.scans.begin(), pass.scans.end());
    return trace;
}

}  // namespace llmsql::compiler::test
