// SPDX-License-Identifier: MIT
// Which way of reading tiles is the faster one on this machine.
#pragma once

#include <memory>

#include "common/workers.h"
#include "runtime/weights/tile_reader.h"

namespace llmsql {

/// Where the page cache is too small for what is read, `direct`, if the plan and the system allow
/// it. Else `read`, unless `map` is allowed and better: where weights that are held would not fit
/// in memory beside the page cache, or where streaming a part of the schedule both ways, which
/// takes some ten milliseconds, shows windows to be faster. What is chosen so by itself never fails
/// for want of what `read` does not need: then that is chosen.
std::unique_ptr<TileReader> choose_tile_reader(const ModelDb& db, const TileReading& reading,
                                               Workers& workers);

}  // namespace llmsql
