// Reading parts of tiles from model.db, three ways that give the same bytes:
//   blob   SQLite's incremental BLOB interface: portable, the reference
//   read   preadv over the BLOB's pages, found in the file's b-tree
//   map    a mapping of the file, used in place; what is streamed, through windows that are
//          populated, used and dropped
// docs/memory.md, "Reading", says what each is good for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/storage/model_db.h"
#include "runtime/storage/read_ahead.h"

namespace llmsql {

enum class IoMode { blob, read, map };
std::string_view name_of(IoMode mode);

/// What a reader may use, and will be asked for.
struct TileReading {
    int workers = 1;
    std::vector<ScheduledTile> schedule;  // what passes will read, in order
    /// Whether the page cache cannot hold what is read: then it is dropped from it behind.
    bool drop_behind = false;
    uint64_t held_bytes = 0, streamed_bytes = 0;  // of the tiles in the schedule
    /// map: bytes of the file that may be mapped at a time, at least mapped_bytes() of
    /// common/types.h; absent: all, for good.
    std::optional<uint64_t> windows;
    /// Whether a way that is chosen by itself may be `map`: the program has called
    /// guard_mappings().
    bool may_map = false;
};

class TileReader {
  public:
    virtual ~TileReader() = default;
    virtual IoMode mode() const = 0;

    /// Copies `bytes` of the BLOB `data` of llm_tile's row `rowid`, from `offset` on, to `out`.
    /// Thread-safe between different `worker`s (0 … workers - 1). Errors name file and tile.
    virtual void read(int worker, int64_t rowid, size_t offset, size_t bytes, std::byte* out) = 0;

    /// Where the same bytes lie in memory already: those from `offset` on that are in one piece, at
    /// least one; empty where there is no such place. Valid until the worker's next call.
    virtual std::span<const std::byte> view(int /*worker*/, int64_t /*rowid*/, size_t /*offset*/,
                                            size_t /*bytes*/) {
        return {};
    }

    /// The tile of the schedule that will be read next, so that a slow device is asked ahead.
    virtual void scanning(int64_t /*rowid*/) {}

    /// Fails if something read through view() since the reader was made was not the file's.
    virtual void check() const {}
};

/// `read` and `map` fall back to `blob` where the file's layout is not what they know.
std::unique_ptr<TileReader> make_tile_reader(const ModelDb& db, IoMode mode,
                                             const TileReading& reading);

}  // namespace llmsql
