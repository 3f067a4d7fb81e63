// SPDX-License-Identifier: MIT
// Looking at what is to be replaced. See output.h.
#include "database/output.h"

#include <sqlite3.h>

#include <algorithm>
#include <memory>
#include <string>

#include "common/error.h"
#include "common/files.h"
#include "common/model_format.h"

namespace llmsql {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kModelObjects[] = {
    "table llm_meta",       "table llm_param",       "table llm_tile",
    "table llm_token",      "table llm_merge",       "table llm_plan",
    "index llm_tile_param", "index llm_token_piece", "index llm_token_special",
};

// A name for SQLite that has it read the file as it is: no lock, no log, no file beside it.
std::string immutable_uri(const fs::path& path) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    std::string uri = "file:";
    for (const unsigned char c : fs::absolute(path).string()) {
        const bool plain = c == '/' || c == '.' || c == '-' || c == '_' || (c >= '0' && c <= '9') ||
                           (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (plain)
            uri += static_cast<char>(c);
        else
            uri += {'%', kDigits[c >> 4], kDigits[c & 15]};
    }
    return uri + "?immutable=1";
}

struct Closer {
    void operator()(sqlite3* db) const { sqlite3_close(db); }
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};

// SQLite's own tables and indexes, such as ANALYZE makes, belong to the tables that they are about.
bool is_of_kind(const DatabaseKind& kind, const std::string& type, const std::string& name) {
    return name.starts_with("sqlite_") ||
           std::ranges::find(kind.objects, type + " " + name) != kind.objects.end();
}

void require_kind(const fs::path& path, const DatabaseKind& kind) {
    const std::string name = path.string();
    sqlite3* raw = nullptr;
    int code = sqlite3_open_v2(immutable_uri(path).c_str(), &raw,
                               SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, nullptr);
    const std::unique_ptr<sqlite3, Closer> db(raw);
    const auto next_row = [&](const char* sql) {
        sqlite3_stmt* statement = nullptr;
        if (code == SQLITE_OK) code = sqlite3_prepare_v2(raw, sql, -1, &statement, nullptr);
        std::unique_ptr<sqlite3_stmt, Closer> query(statement);
        if (code == SQLITE_OK) code = sqlite3_step(statement);
        return query;
    };
    const auto text = [](sqlite3_stmt* row, int column) {
        const auto* value = reinterpret_cast<const char*>(sqlite3_column_text(row, column));
        return std::string(value ? value : "");
    };
    if (raw) sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    const auto id = next_row("PRAGMA application_id");
    if (code == SQLITE_NOTADB)
        fail("{}: is there already and is not a database: choose another name, or remove it first",
             name);
    if (code == SQLITE_ROW &&
        static_cast<uint32_t>(sqlite3_column_int64(id.get(), 0)) != kind.application_id)
        fail("{}: is a database, but not {}: choose another name", name, kind.name);
    if (code == SQLITE_ROW) code = SQLITE_OK;
    const auto query = next_row("SELECT type, name, tbl_name FROM sqlite_master");
    for (; code == SQLITE_ROW; code = sqlite3_step(query.get())) {
        const std::string type = text(query.get(), 0), object = text(query.get(), 1);
        if (!is_of_kind(kind, type, object))
            fail(
                "{}: is {}, but holds the {} {} of somebody else's: choose another name, or move "
                "that elsewhere first",
                name, kind.name, printable(type), printable(object));
    }
    if (code != SQLITE_DONE)
        fail(
            "{}: is there already, and whether all that it holds is ours cannot be told ({}): "
            "choose another name, or remove it first",
            name, raw ? sqlite3_errmsg(raw) : sqlite3_errstr(code));
}

}  // namespace

const DatabaseKind kModelDatabase{kModelApplicationId, "a model database", kModelObjects};

fs::path database_output_path(const fs::path& path, const DatabaseKind& kind) {
    require_no_log_name(path);
    std::error_code ignored;
    const fs::file_status status = fs::status(path, ignored);
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
    const fs::path target = fs::canonical(path);
    require_readable_file(target);
    if (fs::file_size(target) > 0) require_kind(target, kind);
    return target;
}

}  // namespace llmsql
