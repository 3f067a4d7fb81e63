// SPDX-License-Identifier: MIT
// Looking at what is to be replaced. See output.h.
#include "database/output.h"

#include <algorithm>
#include <string>

#include "common/error.h"
#include "common/files.h"
#include "common/model_format.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kModelObjects[] = {
    "table llm_meta",       "table llm_param",       "table llm_tile",
    "table llm_token",      "table llm_merge",       "table llm_plan",
    "index llm_tile_param", "index llm_token_piece", "index llm_token_special",
};

// SQLite's own tables and indexes, such as ANALYZE makes, belong to the tables that they are about.
bool is_of_kind(const DatabaseKind& kind, const std::string& type, const std::string& name) {
    return name.starts_with("sqlite_") ||
           std::ranges::find(kind.objects, type + " " + name) != kind.objects.end();
}

std::string explain(const std::string& name, const SqliteFault& fault) {
    if (fault.code == SQLITE_NOTADB)
        return fmt::format(
            "{}: is there already and is not a database: choose another name, or remove it first",
            name);
    return fmt::format(
        "{}: is there already, and whether all that it holds is ours cannot be told ({}): "
        "choose another name, or remove it first",
        name, fault.says);
}

void require_kind(const fs::path& path, const DatabaseKind& kind) {
    const std::string name = path.string();
    const Connection db(path, {.access = Access::as_it_is, .explain = explain});
    if (static_cast<uint32_t>(db.integer("PRAGMA application_id").value_or(0)) !=
        kind.application_id)
        fail("{}: is a database, but not {}: choose another name", name, kind.name);
    Query query(db, "SELECT type, name, tbl_name FROM sqlite_master");
    while (query.next()) {
        const std::string type = query.as_text(0), object = query.as_text(1);
        if (!is_of_kind(kind, type, object))
            fail(
                "{}: is {}, but holds the {} {} of somebody else's: choose another name, or move "
                "that elsewhere first",
                name, kind.name, printable(type), printable(object));
    }
}

// The application id as the first page has it.
bool is_of_kind(const DatabaseKind& kind, std::string_view start) {
    constexpr size_t kPlace = 68;
    uint32_t id = 0;
    if (start.size() < kPlace + sizeof id) return false;
    for (const char byte : start.substr(kPlace, sizeof id))
        id = id << 8 | static_cast<unsigned char>(byte);
    return start.starts_with(std::string_view("SQLite format 3\0", 16)) &&
           id == kind.application_id;
}

}  // namespace

const DatabaseKind kModelDatabase{kModelApplicationId, "a model database", kModelObjects};

fs::path database_output_path(const fs::path& path, const DatabaseKind& kind) {
    require_no_log_name(path);
    const fs::file_status status = status_of(path);
    if (fs::is_directory(status))
        fail("{}: is a directory, a file name is needed here", path.string());
    if (fs::exists(status) && !fs::is_regular_file(status))
        fail("{}: is not a regular file, one is needed here", path.string());
    if (const auto log = unfinished_log(path))
        fail(
            "{}: {} is beside it, so a program is writing to it or crashed; choose another output, "
            "or open and close the database once with sqlite3",
            path.string(), log->string());
    if (!fs::exists(status)) return path;
    const fs::path target = canonical_path(path);
    require_readable_file(target);
    if (bytes_of_file(target) > 0) require_kind(target, kind);
    return target;
}

fs::path fresh_output_path(const fs::path& path, const DatabaseKind& kind) {
    fs::path output = database_output_path(path, kind);
    TemporaryFile::remove_dead(output,
                               [&](std::string_view start) { return is_of_kind(kind, start); });
    return output;
}

}  // namespace llmsql
