// SPDX-License-Identifier: MIT
// Merging neighbouring symbols, best first: the loop that byte-level BPE and SentencePiece share.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace llmsql {

/// A part of a word that has become one token, or not yet.
struct Symbol {
    int32_t token;   // its id; negative for anything that is not a token by itself
    uint32_t begin;  // offset in the word; it ends where the next symbol begins
};

/// What two neighbouring symbols may become.
struct Merge {
    int32_t token = -1;  // negative: none
    double order = 0;    // the lowest merges first, at equal order the leftmost
};

/// The merge of two neighbours whose text is [begin, end), if the vocabulary has one. It must
/// depend on that text alone.
using FindMerge =
    std::function<std::optional<Merge>(int32_t left, int32_t right, uint32_t begin, uint32_t end)>;

/// Merges in entry until no two neighbours merge: O(n log n) for n symbols, about 40 bytes each.
/// `end` is the word's length; `find` may be asked for a pair again.
void merge_symbols(std::vector<Symbol>& symbols, uint32_t end, const FindMerge& find);

/// Remembers lookups: a fixed number of entries, a newer one takes an older one's room. What common
/// words need stays in it, and no text, however long, makes it grow.
class MergeCache {
  public:
    /// For so many tokens: 0.25 MB, 0.5 MB of a large vocabulary, which has many scripts' pairs.
    explicit MergeCache(int64_t tokens = 0)
        : shift_(tokens > kMany ? 64 - kBits : 65 - kBits), entries_(size_t{2} << (64 - shift_)) {}

    /// The merge of (left, right), from the cache or else from `look_up(left, right)`. Its order as
    /// a float, which a rank is, and a score of 32 bits.
    template<class LookUp>
    std::optional<Merge> find(int32_t left, int32_t right, LookUp&& look_up) {
        const uint64_t key = (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) |
                             static_cast<uint32_t>(right);
        // Two entries a place, what was asked for last first.
        Entry* const place = &entries_[2 * ((key * 0x9E3779B97F4A7C15u) >> shift_)];
        const auto is = [&](const Entry& entry) {
            return entry.left == left && entry.right == right && entry.token != kEmpty;
        };
        if (!is(place[0])) {
            std::swap(place[0], place[1]);
            if (!is(place[0])) {
                const Merge found = look_up().value_or(Merge{});
                place[0] = {left, right, found.token, static_cast<float>(found.order)};
            }
        }
        if (place[0].token < 0) return std::nullopt;
        return Merge{place[0].token, place[0].order};
    }

  private:
    static constexpr int kBits = 14;  // of places, of a large vocabulary
    static constexpr int64_t kMany = 100'000;
    static constexpr int32_t kEmpty = -2;  // -1: looked up, and there is no such merge
    struct Entry {
        int32_t left = 0, right = 0;
        int32_t token = kEmpty;
        float order = 0;
    };
    int shift_;
    std::vector<Entry> entries_;
};

}  // namespace llmsql
