// Reading parts of tiles from model.db, two ways that give the same bytes:
//   blob   SQLite's incremental BLOB interface: portable, the reference
//   read   preadv over the BLOB's pages, found in the file's b-tree (docs/memory.md, "Reading")
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "runtime/storage/model_db.h"

namespace llmsql {

enum class IoMode { blob, read };

class TileReader {
  public:
    virtual ~TileReader() = default;

    /// Copies `bytes` of the BLOB `data` of llm_tile's row `rowid`, from `offset` on, to `out`.
    /// Thread-safe between different `worker`s (0 … workers - 1). Errors name file and tile.
    virtual void read(int worker, int64_t rowid, size_t offset, size_t bytes, std::byte* out) = 0;
};

/// `read` falls back to `blob` where the file's layout is not what it knows.
std::unique_ptr<TileReader> make_tile_reader(const ModelDb& db, IoMode mode, int workers);

}  // namespace llmsql
