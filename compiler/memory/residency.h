// SPDX-License-Identifier: MIT
// Which tiles of a plan's weights are held in memory: the schedule, applied to a plan.
#pragma once

#include <cstdint>
#include <vector>

#include "compiler/ir/model.h"
#include "compiler/ir/plan.h"
#include "compiler/memory/schedule.h"

namespace llmsql::compiler {

/// What a steady decode pass scans: `forward`, then `logits`, each once, for one token. Every
/// matrix that a linear multiplies by, tile by tile; a matrix that two of them multiply by is
/// scanned twice. Tile::param is the catalogue id. Vectors are not in it, being held always, nor
/// are the rows that embed picks. A matrix of a table is in it with the chance that it is chosen,
/// each being as likely as any other.
PassScans pass_of(const Plan& plan, const std::vector<Param>& params);

/// Bytes of the vectors, which no budget can do without.
int64_t vector_bytes(const std::vector<Param>& params);

/// Holds vectors and, with the `capacity` bytes beyond them, the best set of tiles. Sets
/// everything of `plan.residency` but budget and workers.
void plan_residency(Plan& plan, const std::vector<Param>& params, int64_t capacity);

/// The first parameter that older formats of model.db cut into other tiles than the plan's rows
/// number (TileCut); null where there is none, or no such rows.
const Param* first_renumbered(const Plan& plan, const std::vector<Param>& params);

}  // namespace llmsql::compiler
