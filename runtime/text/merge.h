// SPDX-License-Identifier: MIT
// Merging neighbouring symbols, best first: the loop that byte-level BPE and SentencePiece share.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
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

/// Remembers lookups: a fixed number of entries (0.4 MB), a newer one takes an older one's room.
/// What common words need stays in it, and no text, however long, makes it grow.
class MergeCache {
  public:
    MergeCache() : entries_(kEntries) {}

    /// The merge of (left, right), from the cache or else from `look_up(left, right)`.
    template<class LookUp>
    std::optional<Merge> find(int32_t left, int32_t right, LookUp&& look_up) {
        const uint64_t key = (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) |
                             static_cast<uint32_t>(right);
        Entry& entry = entries_[(key * 0x9E3779B97F4A7C15u) >> (64 - kBits)];
        if (entry.merge.token == kEmpty || entry.key != key)
            entry = {key, look_up().value_or(Merge{})};
        if (entry.merge.token < 0) return std::nullopt;
        return entry.merge;
    }

  private:
    static constexpr int kBits = 14;
    static constexpr size_t kEntries = size_t{1} << kBits;
    static constexpr int32_t kEmpty = -2;  // -1: looked up, and there is no such merge
    struct Entry {
        uint64_t key = 0;
        Merge merge{kEmpty, 0};
    };
    std::vector<Entry> entries_;
};

}  // namespace llmsql
