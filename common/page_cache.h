// SPDX-License-Identifier: MIT
// What the page cache holds of a file, and in which pages: streaming through a mapping is as
// fast as memory where the cache is made of huge pages, and half as fast where it is made of small
// ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace llmsql {

/// Maps a range of a mapping in now, rather than page by page when it is used: 0, or errno. EINVAL:
/// the system has no such advice (Linux before 5.14).
int populate(std::span<const std::byte> range);

/// Takes a range of whole pages out of this process's memory again; the page cache keeps it.
void release(std::span<const std::byte> range);

/// Reads a file of `bytes` bytes into the page cache from start to end, in huge pages where the
/// file system has them, if hardly anything of it is there; until `stop`, asked every few MiB, says
/// so. Only a favour to who reads it later: errors do not matter.
void fill_page_cache(int descriptor, uint64_t bytes, const std::function<bool()>& stop = nullptr);

/// Drops what the page cache holds of a file from one byte to another, multiples of 2 MiB or the
/// file's end, as far as it is on the disk and mapped by nobody, and reads it again as above.
/// Returns whether it could be dropped.
bool refill_page_cache(int descriptor, uint64_t from, uint64_t to,
                       const std::function<bool()>& stop = nullptr);

/// Whether what lies in a file from one byte to another, the first of them a multiple of 2 MiB, is
/// mapped in huge pages, as far as a few samples tell. Reads these, if they are not in the page
/// cache.
bool is_cached_huge(int descriptor, uint64_t from, uint64_t to);

/// Whether a mapping of a file, at an address that is a multiple of 2 MiB and not in use yet, is
/// mapped in huge pages: tries a few windows of 2 MiB, one at a time.
bool is_mapped_huge(std::span<const std::byte> mapping);

}  // namespace llmsql
