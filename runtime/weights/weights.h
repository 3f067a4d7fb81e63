// SPDX-License-Identifier: MIT
// WeightPool: the weights of an open model, as the kernels read them. It follows the plan's
// residency rows and decides nothing itself: tiles that are held are read when they are first used
// and stay in memory, the others are read each time, by the worker that uses them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "common/catalogue.h"
#include "common/hash.h"
#include "common/workers.h"
#include "runtime/weights/anonymous_memory.h"
#include "runtime/weights/page_refill.h"
#include "runtime/weights/tile_reader.h"
#include "runtime/weights/tiles.h"

namespace llmsql {

class ModelDb;
class WeightPool;

/// One parameter: what a row of the `param` table hands to operators. It belongs to its pool, and
/// references to it are valid as long as that lives.
struct Weight {
    int id = 0;  // catalogue id, from 1
    ParamEntry entry;
    WeightPool* pool = nullptr;

    /// A vector's values; vectors are always held.
    std::span<const float> vector() const;
};

/// A row of the plan's residency table.
struct Residency {
    int param = 0;
    int64_t first_tile = 0, last_tile = 0;
    bool held = true;
    bool chosen = false;  // read in the passes that choose it: when, only a pass itself knows
};

/// Where one worker's streamed strips lie while it computes with them. One thread at a time; what
/// strips() and part() return into it is valid until the next of these calls.
struct StripBuffer {
    int worker = 0;
    AnonymousMemory memory;
    bool timed = false;       // whether `reading` is kept
    double reading = 0;       // seconds spent reading, and verifying what is read first
    uint64_t bytes_read = 0;  // of the file
};

/// What has been read since the pool was made, in bytes of tiles.
struct PoolCounters {
    uint64_t loaded = 0;     // held tiles, each strip once
    uint64_t streamed = 0;   // other tiles, by scans
    uint64_t embedding = 0;  // other tiles, by embeddings
};

/// How a pool reads. `io` absent: the faster way, found by trying.
struct PoolOptions {
    std::optional<IoMode> io = IoMode::read;
    std::optional<uint64_t> windows;  // see TileReading
    bool may_map = false;             // see TileReading
    /// What a turn, at most and about, may read into memory where there is no budget: getting
    /// memory of a system takes longer than reading, and a first token need not wait for all of it.
    int64_t loaded_a_turn = 64 << 20;
    std::function<bool()> interrupted = nullptr;  // asked while the pool is made: true throws
                                                  // Interrupted
};

/// Used by several threads at once, each with a StripBuffer of its own; making it, check() between
/// passes and verify_all() are for one thread. It outlives every Weight& and pointer that it gives.
class WeightPool {
  public:
    /// `residency` covers each tile of each parameter once, in the order of a pass, or is empty:
    /// then everything is held. Only vectors are read now; a matrix's tiles when they are first
    /// used. Every strip is verified against its checksum when it is first read; fails on a
    /// missing or misshapen tile or a damaged strip, naming parameter and row.
    WeightPool(const ModelDb& db, const std::vector<Residency>& residency,
               const PoolOptions& options, Workers& workers);
    WeightPool(const WeightPool&) = delete;
    WeightPool& operator=(const WeightPool&) = delete;

    /// By catalogue id, from 1 to size(); stable for the pool's life.
    const Weight& weight(int id) const { return weights_[static_cast<size_t>(id - 1)]; }
    int size() const { return static_cast<int>(weights_.size()); }

    struct Strips {
        const std::byte* data;  // null: the strip, one, lies in parts
        int64_t count;
    };
    /// Strips of a matrix from `first` on, laid out as strip_bytes() says: as many of the `wanted`
    /// as lie in one piece, at least one. A strip that lies in parts is put together, or, where
    /// `parts_will_do`, left to part(). Valid until the buffer is used again. Thread-safe between
    /// different buffers and strips; fails when reading does.
    Strips strips(const Weight& weight, int64_t first, int64_t wanted, Use use, StripBuffer& buffer,
                  bool parts_will_do = false);

    /// Of a strip that lies in parts: the bytes from `offset` on that are in one piece. The last
    /// part is valid until the buffer is used again, those before it as long as the pool.
    std::span<const std::byte> part(const Weight& weight, int64_t strip, size_t offset,
                                    StripBuffer& buffer);

    /// The bytes of a vector, which is one tile and always held. Of a matrix there is no such
    /// thing: it may be in memory in part.
    const std::byte* held(int id) const;

    /// Reads whatever has not been read yet: every strip is verified. `pulse` is called before each
    /// matrix, and may throw.
    void verify_all(Workers& workers, const std::function<void()>& pulse = nullptr);

    /// Fails if mapped weights used so far were not the file's; call when a pass has ended.
    void check() const { reader_->check(); }

    /// Call after a turn, which is a pass or its logits, and after that has been checked: makes the
    /// next ones faster, a part at a time (PageRefill, PoolOptions::loaded_a_turn). True where the
    /// way of reading has changed thereby.
    bool improve();

    /// Bytes of the tiles that are held.
    uint64_t held_bytes() const { return held_bytes_; }
    PoolCounters counters() const;
    IoMode io() const { return reader_->mode(); }

    /// Of the catalogue and the checksums of all strips: equal for equal weights.
    Hash128 identity() const;

  private:
    // A tile's place in memory_, or kStreamed.
    static constexpr size_t kStreamed = SIZE_MAX;
    struct Tiles : ParamTiles {
        std::vector<size_t> places;                     // one per tile
        std::unique_ptr<std::atomic<uint8_t>[]> known;  // one per strip: it has been verified, and
                                                        // is in memory if its tile is held
        int64_t strips_each = 1;                        // of a full tile
    };

    void place_tiles(const std::vector<Residency>& residency);
    TileReading reading_for(const PoolOptions& options, const std::vector<Residency>& residency,
                            int workers) const;
    void load_vectors();
    bool may_load(const Tiles& tiles, int64_t first, int64_t count);
    Strips held_strips(const Weight& weight, size_t index, int64_t first, int64_t wanted, Use use,
                       StripBuffer& buffer);
    const std::byte* copy(int64_t rowid, size_t offset, size_t bytes, Use use, StripBuffer& buffer);
    void load(const Weight& weight, const Tile& tile, int64_t first, int64_t count, Use use,
              StripBuffer& buffer);
    bool all_known(const Tiles& tiles, int64_t first, int64_t count) const;
    void verify(const Weight& weight, int64_t first_strip, std::span<const std::byte> data,
                bool stays = true);

    std::string path_;
    std::vector<Weight> weights_;
    std::vector<Tiles> tiles_;
    AnonymousMemory memory_;  // the held tiles
    bool in_place_ = false;   // held matrices are used where they are mapped
    std::unique_ptr<TileReader> reader_, later_reader_;
    std::unique_ptr<PageRefill> refill_;
    // What this turn may still read into memory; the rest it only uses.
    const int64_t loaded_a_turn_;
    bool gradual_ = false;
    std::atomic<int64_t> loadable_;
    uint64_t held_bytes_ = 0;
    std::mutex embedding_load_;
    std::atomic<uint64_t> loaded_{0}, streamed_{0}, embedding_{0};
};

}  // namespace llmsql
