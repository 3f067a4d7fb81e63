// SPDX-License-Identifier: MIT
// Hashes by XXH3, of bytes as they lie in memory on a little-endian machine: against damage and
// mistakes, not against an enemy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace llmsql {

struct Hash128 {
    uint64_t high = 0, low = 0;
    bool operator==(const Hash128&) const = default;
};

/// XXH3-128.
Hash128 hash128(const void* data, size_t bytes);

/// 32 hexadecimal digits.
std::string hex(const Hash128& hash);

}  // namespace llmsql
