// SPDX-License-Identifier: MIT
// Databases that are written beside their place and then take its name: what may be replaced.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace llmsql {

/// What one kind of database of ours is known by.
struct DatabaseKind {
    uint32_t application_id = 0;
    std::string_view name;                      // "a model database"
    std::span<const std::string_view> objects;  // "table llm_meta", "view layer_time", …
};

/// The database that llmsql-import writes.
extern const DatabaseKind kModelDatabase;

/// Where a database goes that is to replace what is at `path`: a symbolic link's target. Fails
/// unless nothing is there, or an empty file, or a database of this kind that holds no table, view,
/// index or trigger of anybody else's, and no log or journal beside it that has not been written
/// back (the new database would take it for its own). Writes nothing; takes no lock, and drops
/// none.
std::filesystem::path database_output_path(const std::filesystem::path& path,
                                           const DatabaseKind& kind);

/// Where a database goes, as database_output_path() says, and is about to be written: temporary
/// files beside it of this kind, which programs that were killed have left, are removed.
std::filesystem::path fresh_output_path(const std::filesystem::path& path,
                                        const DatabaseKind& kind);

}  // namespace llmsql
