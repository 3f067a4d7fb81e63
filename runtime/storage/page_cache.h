// What of a model.db the page cache holds, and in which pages: streaming through a mapping is as
// fast as memory where the cache is made of huge pages, and half as fast where it is made of small
// ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/storage/model_file.h"

namespace llmsql {

/// Maps a range of a mapping in now, rather than page by page when it is used: 0, or errno. EINVAL:
/// the system has no such advice (Linux before 5.14).
int populate(std::span<const std::byte> range);

/// Reads a file into the page cache from start to end, in huge pages where the file system has
/// them, if hardly anything of it is there and it takes no more than `room` bytes. Only a hint:
/// does nothing where the system does not let it.
void fill_page_cache(const ModelFile& file, uint64_t room);

/// Whether a mapping of a file, at an address that is a multiple of 2 MiB, is mapped in huge pages:
/// populates a sample of it to find out.
bool is_mapped_huge(std::span<const std::byte> mapping);

}  // namespace llmsql
