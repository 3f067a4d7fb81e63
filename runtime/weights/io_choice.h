// SPDX-License-Identifier: MIT
// Which way of reading tiles is the faster one on this machine.
#pragma once

#include <memory>

#include "common/workers.h"
#include "runtime/weights/page_refill.h"
#include "runtime/weights/tile_reader.h"

namespace llmsql {

struct ChosenReader {
    std::unique_ptr<TileReader> reader;
    /// Where the page cache is made of small pages: what has them replaced; and what to read with
    /// instead when it has, unless that is null, too.
    std::unique_ptr<PageRefill> refill;
    std::unique_ptr<TileReader> then;
};

/// Where the page cache is too small for what is read, `direct`, if the plan and the system allow
/// it. Else `map` where that is allowed and, without a budget, all is held, so that a run begins
/// with nothing to be copied, or windows are as fast: the page cache is made of huge pages, or
/// streaming a part of the schedule both ways, which takes some ten milliseconds, shows it. Else
/// `read`. What is chosen so by itself never fails for want of what `read` does not need: then that
/// is chosen.
ChosenReader choose_tile_reader(const ModelDb& db, const TileReading& reading, Workers& workers);

}  // namespace llmsql
