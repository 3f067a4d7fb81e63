// SPDX-License-Identifier: MIT
// Hashes of 128 bits. See hash.h.
#include "common/hash.h"

#include <fmt/core.h>
#include <xxhash.h>

namespace llmsql {

Hash128 hash128(const void* data, size_t bytes) {
    const XXH128_hash_t hash = XXH3_128bits(data, bytes);
    return {.high = hash.high64, .low = hash.low64};
}

std::string hex(const Hash128& hash) {
    return fmt::format("{:016x}{:016x}", hash.high, hash.low);
}

}  // namespace llmsql
