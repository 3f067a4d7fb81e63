// SPDX-License-Identifier: MIT
// TileMap: where a model's tiles are, and the checksums of their strips. Read once, at opening,
// without reading any weights.
#pragma once

#include <cstdint>
#include <vector>

#include "common/catalogue.h"

namespace llmsql {

class ModelDb;

/// One row of llm_tile.
struct Tile {
    int64_t rowid = 0;
    int64_t first_strip = 0;  // within its parameter
    size_t bytes = 0;
};

/// A parameter's tiles, in order, and what its strips must hash to. A vector counts as one strip.
struct ParamTiles {
    std::vector<Tile> tiles;
    std::vector<uint64_t> checksums;  // one per strip
    size_t strip_bytes = 0;
};

/// By catalogue id - 1. Fails where tiles are missing, overlap, or are not of the size that the
/// catalogue and common/types.h say, and where they are not those that were imported, if the
/// database has a digest of them.
std::vector<ParamTiles> read_tile_map(const ModelDb& db, const std::vector<ParamEntry>& catalogue);

}  // namespace llmsql
