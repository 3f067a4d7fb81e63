// PageReader: the BLOBs of llm_tile read straight from their pages. See tile_reader.h.
#pragma once

#include <memory>

#include "runtime/storage/tile_reader.h"

namespace llmsql {

/// Null where the file is not laid out as this reader knows it (an encoding, say, or pages with
/// reserved bytes are fine; a table without a b-tree of its own is not).
std::unique_ptr<TileReader> make_page_reader(const ModelDb& db);

}  // namespace llmsql
