// Whole files in and out: text read at once, output that is there entirely or not at all.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace llmsql {

/// The content of a regular file. Errors name the path: not found, a directory, unreadable.
std::string read_file(const std::filesystem::path& path);

/// Fails unless `path` is an existing regular file that can be opened for reading.
void require_readable_file(const std::filesystem::path& path);

/// Writes beside `path` under a temporary name, flushes to the disk, and renames: after a failure
/// or a kill, what was at `path` before is still there, whole. "-" writes to standard output, and
/// an existing device or pipe is written to as it is.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace llmsql
