// SPDX-License-Identifier: MIT
// Reading parts of tiles from model.db, four ways that give the same bytes:
//   blob   SQLite's incremental BLOB interface: portable, the reference
//   read   preadv over the BLOB's pages, found in the file's b-tree
//   map    a mapping of the file, used in place; what is streamed, through windows that are
//          populated, used and dropped
//   direct past the page cache, ahead of use, into a ring of buffers
// docs/memory.md, "Reading", says what each is good for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "common/types.h"

namespace llmsql {

class ModelDb;

enum class IoMode { blob, read, map, direct };
inline constexpr IoMode kIoModes[] = {IoMode::read, IoMode::map, IoMode::direct, IoMode::blob};
std::string_view name_of(IoMode mode);

/// Why a tile is read: a pass scans every matrix once, in the order of the schedule; embeddings
/// pick rows.
enum class Use { scan, embedding };

/// A tile in the order in which a pass scans them.
struct ScheduledTile {
    int64_t rowid = 0;
    bool once = false;  // held: read in the first pass only
};

/// What a reader may use, and will be asked for.
struct TileReading {
    int workers = 1;
    std::vector<ScheduledTile> schedule;  // what passes will scan, in order
    bool scarce = false;                  // the page cache cannot hold what passes read
    uint64_t held_bytes = 0, streamed_bytes = 0;
    size_t longest_tile = kTileBytes;
    /// Bytes that the plan leaves for reading. map: of the file, mapped at a time, at least
    /// mapped_bytes() of common/types.h; absent: all, for good. direct: for the ring, at least
    /// ring_bytes() of common/types.h; absent: mapped_bytes().
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
    virtual void read(int worker, int64_t rowid, size_t offset, size_t bytes, std::byte* out,
                      Use use) = 0;

    /// Where the same bytes lie in memory already: those from `offset` on that are in one piece, at
    /// least one; empty where there is no such place. They stay there as long as the reader.
    virtual std::span<const std::byte> view(int /*worker*/, int64_t /*rowid*/, size_t /*offset*/,
                                            size_t /*bytes*/) {
        return {};
    }

    /// Fails if something read through view() since the reader was made was not the file's.
    virtual void check() const {}
};

/// All fall back to `blob` where the file's layout is not what they know. Fails where the system,
/// or what the plan leaves for reading, does not allow the way.
std::unique_ptr<TileReader> make_tile_reader(const ModelDb& db, IoMode mode,
                                             const TileReading& reading);

}  // namespace llmsql
