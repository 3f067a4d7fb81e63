// SPDX-License-Identifier: MIT
// Reading the tile map. See tiles.h.
#include "runtime/weights/tiles.h"

#include <cstring>

#include "common/error.h"
#include "common/row_digest.h"
#include "runtime/weights/model_db.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

// Adds the tile in the query's row: id, first_row, length(checksums), length(data). Checksums are
// read once it is known that they are as long as they must be.
void add_tile(const Query& row, const Statement& checksums_of, const std::string& where,
              const ParamEntry& entry, TileCut cut, int64_t id, ParamTiles& param,
              RowDigest& digest) {
    const int64_t first_row = row.as_integer(1);
    const auto damaged = [&](const char* what) {
        fail("{}: parameter {} {} at row {} {}; import the model again", where, entry.name,
             describe(entry), first_row, what);
    };
    const auto index = static_cast<int64_t>(param.tiles.size());
    if (index >= tile_count(entry.type, entry.shape, cut)) damaged("has a tile too many");
    const int64_t expected_row =
        entry.shape.is_vector() ? 0 : index * tile_rows(entry.type, entry.shape, cut);
    if (first_row != expected_row) damaged("is missing its tile");
    const size_t bytes = tile_bytes(entry.type, entry.shape, index, cut);
    if (row.find_integer(3) != static_cast<int64_t>(bytes)) damaged("has a tile of the wrong size");
    const size_t strips = bytes / param.strip_bytes;
    Query list(checksums_of, row.as_integer(0));
    if (row.as_integer(2) != static_cast<int64_t>(strips * sizeof(uint64_t)) || !list.next())
        damaged("has a damaged checksum list");
    const Bytes checksums = list.as_bytes(0);
    if (checksums.size() != strips * sizeof(uint64_t)) damaged("has a damaged checksum list");
    digest.add_integer(id);
    digest.add_integer(first_row);
    digest.add_blob({reinterpret_cast<const char*>(checksums.data()), strips * sizeof(uint64_t)});
    param.tiles.push_back({row.as_integer(0), first_row / kStripRows, bytes});
    const size_t before = param.checksums.size();
    param.checksums.resize(before + strips);
    std::memcpy(param.checksums.data() + before, checksums.data(), strips * sizeof(uint64_t));
}

}  // namespace

std::vector<ParamTiles> read_tile_map(const ModelDb& db, const std::vector<ParamEntry>& catalogue) {
    const std::string where = db.path().string();
    const Statement tiles_of = db.connection().prepare(
        "SELECT id, first_row, length(checksums), length(data) "
        "FROM llm_tile WHERE param = ? ORDER BY first_row");
    const Statement checksums_of =
        db.connection().prepare("SELECT checksums FROM llm_tile WHERE id = ?");
    std::vector<ParamTiles> map;
    map.reserve(catalogue.size());
    RowDigest digest;
    for (const ParamEntry& entry : catalogue) {
        ParamTiles& param = map.emplace_back();
        param.strip_bytes = entry.shape.is_vector() ? param_bytes(entry.type, entry.shape)
                                                    : strip_bytes(entry.type, entry.shape.cols);
        Query tile(tiles_of, map.size());
        while (tile.next())
            add_tile(tile, checksums_of, where, entry, db.cut(), static_cast<int64_t>(map.size()),
                     param, digest);
        const int64_t tiles = tile_count(entry.type, entry.shape, db.cut());
        if (static_cast<int64_t>(param.tiles.size()) != tiles)
            fail("{}: parameter {} {} has only {} of its {} tiles; import the model again", where,
                 entry.name, describe(entry), param.tiles.size(), tiles);
    }
    // A strip's checksum says what its bytes are, not whose.
    const auto imported = db.meta(std::string(kDigestKey) + "llm_tile");
    if (imported && *imported != digest.hex())
        fail(
            "{}: its tiles are not where they were when it was imported (the digest of llm_tile is "
            "another); import the model again",
            where);
    return map;
}

}  // namespace llmsql
