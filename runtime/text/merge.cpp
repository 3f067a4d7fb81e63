// SPDX-License-Identifier: MIT
// The merge loop: a linked list of symbols and a queue of the merges that are possible.
#include "runtime/text/merge.h"

#include <queue>
#include <utility>

namespace llmsql {
namespace {

// What it makes is looked up again when its turn comes: there are as many as bytes in a long word.
struct Candidate {
    double order;
    uint32_t left;  // index of the left symbol
    uint32_t end;   // where the merged text ends: tells whether the candidate is still current
};

struct LaterFirst {
    bool operator()(const Candidate& a, const Candidate& b) const {
        return a.order != b.order ? a.order > b.order : a.left > b.left;
    }
};

}  // namespace

void merge_symbols(std::vector<Symbol>& symbols, uint32_t end, const FindMerge& find) {
    const auto count = static_cast<uint32_t>(symbols.size());
    if (count < 2) return;

    // next[i] is the symbol after i, `count` at the end. A symbol that was merged into its left
    // neighbour points to itself.
    std::vector<uint32_t> next(count);
    std::vector<uint32_t> previous(count);
    for (uint32_t i = 0; i < count; ++i) {
        next[i] = i + 1;
        previous[i] = i - 1;  // of the first: never read
    }
    const auto begin_of = [&](uint32_t i) { return i == count ? end : symbols[i].begin; };

    const auto merge_of = [&](uint32_t left, uint32_t pair_end) {
        return find(symbols[left].token, symbols[next[left]].token, symbols[left].begin, pair_end);
    };
    // Each merge takes one away and adds at most two: room for all, so that it is never moved.
    std::vector<Candidate> room;
    room.reserve(size_t{3} * count);
    std::priority_queue<Candidate, std::vector<Candidate>, LaterFirst> queue(LaterFirst(),
                                                                             std::move(room));
    const auto consider = [&](uint32_t left) {
        const uint32_t right = next[left];
        if (right == count) return;
        const uint32_t pair_end = begin_of(next[right]);
        if (const auto merge = merge_of(left, pair_end)) queue.push({merge->order, left, pair_end});
    };
    for (uint32_t i = 0; i + 1 < count; ++i) consider(i);

    while (!queue.empty()) {
        const Candidate best = queue.top();
        queue.pop();
        const uint32_t left = best.left;
        const uint32_t right = next[left];
        // Out of date: the left symbol is gone, or it or its neighbour has grown since.
        if (right == left || right == count || begin_of(next[right]) != best.end) continue;

        const auto merge = merge_of(left, best.end);
        if (!merge) continue;
        symbols[left].token = merge->token;
        next[left] = next[right];
        if (next[left] != count) previous[next[left]] = left;
        next[right] = right;

        if (left != 0) consider(previous[left]);
        consider(left);
    }

    uint32_t kept = 0;
    for (uint32_t i = 0; i != count;) {
        const uint32_t after = next[i];
        symbols[kept++] = symbols[i];
        i = after;
    }
    symbols.resize(kept);
}

}  // namespace llmsql
