// SPDX-License-Identifier: MIT
// Sizes of memory as people write them: "96MiB" in, "31.2 MiB" out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace llmsql {

/// The bytes of "96MiB", "0.5 GiB", "100MB" or "100000000": KiB, MiB, GiB (powers of 1024) and KB,
/// MB, GB (powers of 1000), in capitals or not; parts of a byte are dropped. Fails, naming `what`,
/// on anything else and above 2^50.
int64_t parse_bytes(std::string_view text, std::string_view what);

/// What parse_bytes takes for as many: "96 MiB", "100 MB", the largest unit of which it is a whole
/// number; else "38.1 MiB", "7.77 GiB", where two digits are enough, or "1000001 bytes".
std::string exact_bytes_text(int64_t bytes);

/// "31.2 MiB" to the nearest tenth, or, where it must not be less, to the next.
std::string mib_text(int64_t bytes);
std::string mib_text_up(int64_t bytes);

}  // namespace llmsql
