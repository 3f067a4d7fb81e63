// SPDX-License-Identifier: MIT
// Replacement policies on traces: the optimum where tiles are of one size, and the usual policies
// that the schedule is compared with. For the tests and bench_replacement: the runtime follows the
// plan's rows and has no policy.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compiler/memory/schedule.h"

namespace llmsql::compiler {

/// Which accesses of a trace find their tile in memory. `trace` holds indices into `bytes`; memory
/// is empty at first. A tile may be used without being kept (bypass) where the policy says so or
/// where it is larger than the capacity.
///
/// belady: of what is held and the tile just used, drops what is used again last, until the rest
/// fits. Reads the least possible where all tiles are of one size.
std::vector<bool> belady_hits(std::span<const int> trace, std::span<const int64_t> bytes,
                              int64_t capacity);
/// Keeps every tile it uses; drops what was used longest ago.
std::vector<bool> lru_hits(std::span<const int> trace, std::span<const int64_t> bytes,
                           int64_t capacity);
/// Keeps every tile it uses; drops what came in longest ago.
std::vector<bool> fifo_hits(std::span<const int> trace, std::span<const int64_t> bytes,
                            int64_t capacity);

/// What the accesses from `from` on that miss have to read.
int64_t bytes_read(std::span<const int> trace, std::span<const int64_t> bytes,
                   const std::vector<bool>& hits, size_t from = 0);

enum class Policy { belady, lru, fifo };

/// Bytes of one pass once it has been repeated often enough to settle: the last of a few.
int64_t steady_bytes(const PassScans& pass, Policy policy, int64_t capacity);

}  // namespace llmsql::compiler
