// SPDX-License-Identifier: MIT
// KvCache: keys and values of past positions, as f16 or q8, in blocks of 32 positions.
//
// common/kv_layout.h has the layout of a head's block; a layer has all blocks of its first head one
// after the other, then those of the next: attention reads a head from its first position to its
// last, and memory is fast only in the order in which it lies. Blocks are at absolute positions:
// which block a position lies in does not depend on how passes were cut, which is what makes
// results independent of the chunk; and so does not what is stored of a position, each having
// scales of its own.
//
// WINDOWS, HOW IT WORKS. A layer whose attention sees the latest 64 positions need not keep more
// than those, and as many as a pass adds: its blocks are a ring. With passes of 32 rows, a window
// of 64 and blocks of 32, a position may look back into three blocks, so four are kept; block b
// lies in place b % 4:
//
//     positions   0 …  127   places  0 1 2 3 hold blocks  0 1 2 3
//     positions 128 …  159   block 4 takes place 0; first_held() is 32
//
// Reading a position older than first_held() fails; a cache cut back (rewind) to where the ring has
// gone on holds only what is still there, and what is missing is computed again or restored.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "common/kv_layout.h"
#include "runtime/weights/anonymous_memory.h"

namespace llmsql {

/// A row of the `kv_layer` table.
struct KvLayer {
    int64_t heads = 0;    // key-value heads
    int64_t width = 0;    // elements of one head
    int64_t window = 0;   // positions that attention looks back on, itself counted; 0: all
    bool shared = false;  // values are the first elements of keys: a position has one row
};

/// One block, as operators receive it.
struct KvBlock {
    int64_t sequence = 0, layer = 0;
    int64_t position = 0;  // of its first row: a multiple of 32
    int64_t rows = 0;      // positions stored in it, from the first on
    int64_t heads = 0, width = 0;
    KvType type = KvType::f16;
    bool shared = false;              // the layer's
    const std::byte* data = nullptr;  // of the first head; valid as long as the cache lives
    int64_t head_stride = 0;          // bytes from one head to the next

    KvHead head(int64_t head) const;
};

/// Not thread-safe, but that several threads may store rows of one append().
class KvCache {
  public:
    struct Config {
        int64_t context = 0;        // positions a sequence can hold
        int64_t chunk = 1;          // most positions that one append adds
        int64_t sequences = 1;      // sequences numbered 0 … sequences - 1
        int64_t drafts = 0;         // of an append, positions that may be taken back: a pass's
        KvType type = KvType::f16;  // how all layers are stored
    };
    explicit KvCache(Config config) : config_(config) {}

    const Config& config() const { return config_; }

    /// Makes it a cache for passes of `chunk` rows at most: of windows, more blocks are kept for
    /// longer passes. Fails where that is more than can be, or where something is stored already
    /// and there is no room for such passes beside it.
    void set_chunk(int64_t chunk);

    /// Layers are declared in order, before anything is stored.
    void declare(int64_t layer, KvLayer shape);
    const std::vector<KvLayer>& layers() const { return layers_; }

    /// Takes back all but the first `count` layers, and with them all that is stored. Blocks that
    /// were given out may be read as long as the cache lives.
    void undeclare(size_t count);

    /// Positions held: [first_held, length). first_held is 0 but in a windowed layer.
    int64_t length(int64_t sequence, int64_t layer) const;
    int64_t first_held(int64_t sequence, int64_t layer) const;

    /// Makes room for `count` rows at `position` (at most the present length: what was there is
    /// forgotten). Fails when the context is full or the position would leave a gap.
    void append(int64_t sequence, int64_t layer, int64_t position, int64_t count);

    /// Stores one head's key or value f32[width] of a position that append() made room for; in a
    /// shared layer a key is stored as a value. In q8, a group that is too large for its scale, 127
    /// * 65504, or not finite is read back as NaN.
    void store_key(int64_t sequence, int64_t layer, int64_t position, int64_t head,
                   const float* key);
    void store_value(int64_t sequence, int64_t layer, int64_t position, int64_t head,
                     const float* value);

    /// How often append() has made room.
    uint64_t writes() const { return writes_; }
    /// Forgets what the sequences hold that have been written to since writes() was that.
    void forget_since(uint64_t writes);

    /// The block that starts at `position`; fails where it is no longer held.
    KvBlock block(int64_t sequence, int64_t layer, int64_t position) const;

    /// Cuts every layer of a sequence to `length` positions at most.
    void truncate(int64_t sequence, int64_t length);

    /// The largest p <= position such that a pass may start at p: position itself, or 0 if some
    /// layer's window no longer reaches back far enough.
    int64_t rewind(int64_t sequence, int64_t position) const;

    /// Makes sequence `to` hold what `from` holds of its first `length` positions, from which a
    /// pass may then start there as in `from`: fails unless rewind(from, length) is `length`.
    void copy(int64_t from, int64_t to, int64_t length);

    /// Bytes of one block of a layer, all heads.
    int64_t block_bytes(int64_t layer) const;

    /// Fills `out` with a layer's block that starts at `position`, one head after the other. False
    /// where the layer does not hold its first `rows`; what is behind them says nothing.
    bool copy_block(int64_t sequence, int64_t layer, int64_t position, std::vector<std::byte>& out,
                    int64_t rows = kKvBlock) const;

    /// Makes every layer of a sequence as it is after `length` positions (at most the context), but
    /// for the content of its blocks: restore_block() brings that back.
    /// Until all of [first_held, length) of each layer is there, nothing may read the sequence.
    void begin_restore(int64_t sequence, int64_t length);

    /// Stores what copy_block() gave of the block that starts at `position`; fails where the layer
    /// does not hold it.
    void restore_block(int64_t sequence, int64_t layer, int64_t position,
                       std::span<const std::byte> bytes);

    /// Bytes that one sequence takes when its context is full; and all of them.
    int64_t bytes_per_sequence() const;
    int64_t bytes() const;

  private:
    struct Stored {
        AnonymousMemory memory;
        int64_t length = 0;    // positions [0, length) have been stored
        int64_t end = 0;       // the largest length ever: what the ring has overwritten follows
        uint64_t written = 0;  // writes() when that was
    };
    KvHeadLayout layout_of(const KvLayer& layer) const;
    int64_t block_bytes(const KvLayer& layer) const;
    int64_t blocks_kept(const KvLayer& layer) const;
    static int64_t bytes_of(const std::vector<KvLayer>& layers, const Config& config);
    int64_t head_stride(const KvLayer& layer) const;
    std::byte* block_data(const Stored& stored, int64_t layer, int64_t position) const;
    std::byte* head_data(int64_t sequence, int64_t layer, int64_t position, int64_t head);
    const Stored* find(int64_t sequence, int64_t layer) const;
    bool has_block(int64_t sequence, int64_t layer, int64_t position, int64_t rows) const;
    Stored& stored(int64_t sequence, int64_t layer);
    void make_room(int64_t sequence);

    Config config_;
    std::vector<KvLayer> layers_;
    std::map<int64_t, std::vector<Stored>> sequences_;
    std::vector<std::map<int64_t, std::vector<Stored>>> taken_back_;
    uint64_t writes_ = 0;
};

}  // namespace llmsql
