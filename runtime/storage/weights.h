// WeightPool: the weights of an open model, as the kernels read them. It follows the plan's
// residency rows and decides nothing itself: tiles that are held are read once and stay in memory,
// the others are read each time they are used, by the worker that uses them, into its own buffer.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/catalogue.h"
#include "runtime/storage/anonymous_memory.h"
#include "runtime/storage/model_db.h"
#include "runtime/storage/tile_reader.h"
#include "runtime/storage/tiles.h"
#include "runtime/workers/workers.h"

namespace llmsql {

class WeightPool;

/// One parameter: what a row of the `param` table hands to operators.
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
};

/// Why strips are read: a pass scans every matrix once; embedding rows are counted apart.
enum class Use { scan, embedding };

/// One worker's place for what it streams. One thread at a time.
struct StripBuffer {
    int worker = 0;
    AnonymousMemory memory;
};

/// What has been read since the pool was made, in bytes of tiles.
struct PoolCounters {
    uint64_t loaded = 0;     // held tiles, read once
    uint64_t streamed = 0;   // other tiles, by scans
    uint64_t embedding = 0;  // other tiles, by embeddings
};

class WeightPool {
  public:
    /// Reads all held tiles. `residency` covers each tile of each parameter once, or is empty: then
    /// everything is held. Every strip is verified against its checksum when it is first read;
    /// fails on a missing, misshapen or damaged tile, naming parameter and row.
    WeightPool(const ModelDb& db, const std::vector<Residency>& residency, IoMode io,
               Workers& workers);
    WeightPool(const WeightPool&) = delete;
    WeightPool& operator=(const WeightPool&) = delete;

    /// By catalogue id, from 1 to size(); stable for the pool's life.
    const Weight& weight(int id) const { return weights_[static_cast<size_t>(id - 1)]; }
    int size() const { return static_cast<int>(weights_.size()); }

    struct Strips {
        const std::byte* data;
        int64_t count;
    };
    /// Strips of a matrix from `first` on, laid out as strip_bytes() says: as many of the `wanted`
    /// as lie in one piece, at least one. Valid until the buffer is used again. Thread-safe between
    /// different buffers; fails when reading does.
    Strips strips(const Weight& weight, int64_t first, int64_t wanted, Use use,
                  StripBuffer& buffer);

    const std::byte* held(int id) const { return memory_[static_cast<size_t>(id - 1)].data(); }

    /// Bytes of the tiles that are held.
    uint64_t held_bytes() const { return held_bytes_; }
    PoolCounters counters() const;

  private:
    struct Tiles : ParamTiles {
        std::vector<bool> held;                         // one a tile
        std::unique_ptr<std::atomic<uint8_t>[]> known;  // one a strip: it has been verified
    };

    void load_held(Workers& workers);
    void verify(int id, int64_t first_strip, std::span<const std::byte> data);

    std::string path_;
    std::vector<Weight> weights_;
    std::vector<Tiles> tiles_;
    std::vector<AnonymousMemory> memory_;  // a parameter's whole size; only held tiles are touched
    std::unique_ptr<TileReader> reader_;
    uint64_t held_bytes_ = 0;
    std::atomic<uint64_t> streamed_{0}, embedding_{0};
};

}  // namespace llmsql
