// SPDX-License-Identifier: MIT
// What llmsql-run takes whatever its plan says: counted by the compiler within a budget, and by the
// runtime when it checks that a plan's parts come to no more than the budget it names.
//
// Measured as VmHWM, RssAnon and RssFile of llmsql-run on x86-64 Linux (Debian 12: glibc 2.36,
// SQLite 3.40) over tiny models and the three real ones; rounded up.
#pragma once

#include <cstdint>

#include "common/types.h"

namespace llmsql {

/// RssFile: the program, SQLite, PCRE2, libstdc++, libc. 5.9 to 6.4 MiB where page faults map a
/// little around (Linux 6.1), 8.3 at most where they map the large folios of a file whole (6.18):
/// of that the other parts, which are rounded up, have had 1.5 MiB left.
inline constexpr int64_t kCodeBytes = 8 << 20;
inline constexpr int64_t kLeastCodeBytes = (6 << 20) + (768 << 10);
/// SQLite's two connections, their schemas, and what the C++ runtime allocates at the start.
inline constexpr int64_t kHeapBytes = 1 << 20;
/// The page cache over model.db: SQLite's default of 2,000 KiB, and the headers of its pages.
inline constexpr int64_t kPageCacheBytes = 2 << 20;
/// A worker's stack, allocator arena and connection for reading BLOBs.
inline constexpr int64_t kWorkerBytes = 512 << 10;
inline constexpr int64_t kMainStackBytes = 160 << 10;

/// Most tokens of a text that guesses are drawn from.
inline constexpr int64_t kMostDraftTokens = 65536;

/// What is kept of a text of so many tokens to guess from (runtime/generate/draft.h): the tokens,
/// and five tables of places, of as many entries as there are tokens, rounded up to a power of two.
constexpr int64_t draft_text_bytes(int64_t tokens) {
    const int64_t most = tokens < kMostDraftTokens ? tokens : kMostDraftTokens;
    int64_t entries = 64;
    while (entries < most) entries *= 2;
    return 4 * (entries + 5 * entries);
}

/// The least that a process takes besides its plan's weights, activations and cache.
constexpr int64_t process_bytes(int64_t workers) {
    return kLeastCodeBytes + kHeapBytes + kPageCacheBytes + kMainStackBytes +
           workers * (kWorkerBytes + static_cast<int64_t>(kTileBytes));
}

}  // namespace llmsql
