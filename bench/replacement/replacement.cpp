// SPDX-License-Identifier: MIT
// Simulating replacement policies. See replacement.h.
#include "bench/replacement/replacement.h"

#include <algorithm>
#include <set>
#include <utility>

namespace llmsql::compiler {
namespace {

constexpr int kPasses = 4;

/// Tiles in memory, each with a rank; the one of the lowest rank goes first.
class Held {
  public:
    Held(std::span<const int64_t> bytes, int64_t capacity)
        : bytes_(bytes), capacity_(capacity), rank_(bytes.size(), kAbsent) {}

    bool contains(int tile) const { return rank(tile) != kAbsent; }

    void put(int tile, int64_t new_rank) {
        remove(tile);
        rank(tile) = new_rank;
        order_.emplace(new_rank, tile);
        size_ += size(tile);
    }

    /// Drops from the lowest rank on until the rest fits.
    void shrink() {
        while (size_ > capacity_) remove(order_.begin()->second);
    }

    int64_t size(int tile) const { return bytes_[static_cast<size_t>(tile)]; }

  private:
    static constexpr int64_t kAbsent = INT64_MIN;

    int64_t& rank(int tile) { return rank_[static_cast<size_t>(tile)]; }
    const int64_t& rank(int tile) const { return rank_[static_cast<size_t>(tile)]; }

    void remove(int tile) {
        if (!contains(tile)) return;
        order_.erase({rank(tile), tile});
        rank(tile) = kAbsent;
        size_ -= size(tile);
    }

    std::span<const int64_t> bytes_;
    int64_t capacity_;
    int64_t size_ = 0;
    std::vector<int64_t> rank_;
    std::set<std::pair<int64_t, int>> order_;
};

}  // namespace

std::vector<bool> belady_hits(std::span<const int> trace, std::span<const int64_t> bytes,
                              int64_t capacity) {
    const auto length = static_cast<int64_t>(trace.size());
    std::vector<int64_t> next_use(trace.size()), upcoming(bytes.size(), 2 * length);
    for (size_t at = trace.size(); at-- > 0;) {
        int64_t& next = upcoming[static_cast<size_t>(trace[at])];
        next_use[at] = std::exchange(next, static_cast<int64_t>(at));
    }
    Held held(bytes, capacity);
    std::vector<bool> hits;
    for (size_t at = 0; at < trace.size(); ++at) {
        hits.push_back(held.contains(trace[at]));
        if (held.size(trace[at]) > capacity) continue;
        held.put(trace[at], -next_use[at]);
        held.shrink();
    }
    return hits;
}

std::vector<bool> lru_hits(std::span<const int> trace, std::span<const int64_t> bytes,
                           int64_t capacity) {
    Held held(bytes, capacity);
    std::vector<bool> hits;
    for (size_t at = 0; at < trace.size(); ++at) {
        hits.push_back(held.contains(trace[at]));
        if (held.size(trace[at]) > capacity) continue;
        held.put(trace[at], static_cast<int64_t>(at));
        held.shrink();
    }
    return hits;
}

std::vector<bool> fifo_hits(std::span<const int> trace, std::span<const int64_t> bytes,
                            int64_t capacity) {
    Held held(bytes, capacity);
    std::vector<bool> hits;
    for (size_t at = 0; at < trace.size(); ++at) {
        hits.push_back(held.contains(trace[at]));
        if (hits.back() || held.size(trace[at]) > capacity) continue;
        held.put(trace[at], static_cast<int64_t>(at));
        held.shrink();
    }
    return hits;
}

int64_t bytes_read(std::span<const int> trace, std::span<const int64_t> bytes,
                   const std::vector<bool>& hits, size_t from) {
    int64_t read = 0;
    for (size_t at = from; at < trace.size(); ++at)
        if (!hits[at]) read += bytes[static_cast<size_t>(trace[at])];
    return read;
}

int64_t steady_bytes(const PassScans& pass, Policy policy, int64_t capacity) {
    std::vector<int64_t> bytes;
    for (const PassScans::Tile& tile : pass.tiles) bytes.push_back(tile.bytes);
    std::vector<int> trace;
    for (int i = 0; i < kPasses; ++i)
        trace.insert(trace.end(), pass.scans.begin(), pass.scans.end());
    // Bélády looks ahead, and a last pass after which nothing is used again would mislead it.
    const size_t last = policy == Policy::belady ? kPasses - 2 : kPasses - 1;
    const std::vector<bool> hits = policy == Policy::belady ? belady_hits(trace, bytes, capacity)
                                   : policy == Policy::lru  ? lru_hits(trace, bytes, capacity)
                                                            : fifo_hits(trace, bytes, capacity);
    const std::span whole(trace);
    const size_t end = (last + 1) * pass.scans.size();
    return bytes_read(whole.first(end), bytes, hits, last * pass.scans.size());
}

}  // namespace llmsql::compiler
