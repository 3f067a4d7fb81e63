// SPDX-License-Identifier: MIT
// How the key-value cache is laid out: its types, its blocks, and how many of them a layer keeps.
//
// The compiler counts the cache's bytes and the runtime allocates them: both by these functions.
//
// The cache of a layer is cut into blocks of 32 positions, at absolute positions: which block a
// position lies in does not depend on how passes were cut. A block holds a part for each key-value
// head; in memory, the parts of one head come one after the other. A part:
//   f16   K f16[width][32 positions], V f16[32 positions][width]
//   q8    K int8[columns / 2][32 positions][2 columns],
//         its scales f16[columns / 8][32 positions],
//         V int8[16][columns][2 positions],
//         its scales f16[columns / 32, rounded up][32 positions]
// A layer whose values are the first elements of its keys is `shared`: it has the one row that is
// both, laid out as values are, and neither K nor its scales. What reads scores from such a block
// turns it into keys first (runtime/compute/attention.cpp).
//
// In q8, columns is width rounded up to a multiple of 8; what is padded is zero. A scale belongs to
// one position's group of 8 columns of a key or 32 of a value: value = scale * code, code in
// [-127, 127], scale = max|value| / 127. So scores and weighted sums run along vectors, in q8 two
// products to a lane; and storing one position never touches what is stored of another.
//
// Keys have the smaller groups because in groups of 32 they cost one model 1.3 % of perplexity, and
// values nothing: docs/memory.md has the measurements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace llmsql {

/// How keys and values are stored.
enum class KvType : uint8_t {
    f16,
    q8,  // 58 % of f16's bytes where the width is a multiple of 32
};

std::string_view name_of(KvType type);
std::optional<KvType> kv_type_named(std::string_view name);

/// Positions in a block: a row of the table `kv`.
inline constexpr int64_t kKvBlock = 32;
/// Columns that share a scale in q8. A head's width is rounded up to whole groups of a key.
inline constexpr int64_t kKvKeyGroup = 8;
inline constexpr int64_t kKvValueGroup = 32;

/// One head's part of a block. Scales are null in f16, keys where they are shared.
struct KvHead {
    const std::byte* keys = nullptr;
    const std::byte* key_scales = nullptr;
    const std::byte* values = nullptr;
    const std::byte* value_scales = nullptr;
};

/// Where the parts of a KvHead lie, in bytes from the head's first (which is that of its keys).
struct KvHeadLayout {
    int64_t key_scales = 0;
    int64_t values = 0;
    int64_t value_scales = 0;
    int64_t bytes = 0;  // of all, up to the next head
};

/// For a width of 1 to 2^20. `shared`: values are the first elements of keys.
KvHeadLayout kv_head_layout(KvType type, int64_t width, bool shared = false);

/// Blocks that hold `positions` positions from 0 on.
int64_t kv_blocks(int64_t positions);

/// Blocks that a layer keeps of one sequence when the context is full: all, or, with a window of
/// that many positions (0: none), what a pass of `chunk` rows can look back on and itself.
int64_t kv_blocks_kept(int64_t context, int64_t chunk, int64_t window);

}  // namespace llmsql
