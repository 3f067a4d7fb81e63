// SPDX-License-Identifier: MIT
// Opening a session file, and its statements. See session_file.h.
#include "runtime/session/session_file.h"

#include <sys/stat.h>

#include <new>

#include "common/error.h"
#include "common/files.h"
#include "runtime/session/session_schema.h"

namespace llmsql {
namespace {

// How long to wait for another program that reads or writes the file.
constexpr int kPatienceMilliseconds = 10'000;

bool is_directory(const std::string& name) {
    struct stat info {};
    return ::stat(name.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace

SessionFile::SessionFile(const std::filesystem::path& path, bool make) : path_(path) {
    const std::string name = path.string();
    if (name.empty()) fail("option 'sessions': the name of a file is needed");
    if (is_directory(name)) fail("{}: is a directory, not a session file", name);
    // To SQLite ":memory:" is no file, and what it held would be lost.
    if (name.starts_with(':')) fail("{}: is no name of a file; put ./ before it", name);
    require_no_log_name(path);
    const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
    if (make && !is_directory(folder.string()))
        fail("{}: there is no folder {}", name, folder.string());
    sqlite3* raw = nullptr;
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (make ? SQLITE_OPEN_CREATE : 0);
    const int code = sqlite3_open_v2(sqlite_name(name).c_str(), &raw, flags, nullptr);
    db_.reset(raw);
    if (code == SQLITE_NOMEM || !raw) throw std::bad_alloc();
    if (code != SQLITE_OK) {
        struct stat info {};
        if (!make && ::stat(name.c_str(), &info) != 0) fail("{}: there is no such file", name);
        fail_by_sqlite();
    }
    if (sqlite3_db_readonly(raw, "main") == 1)
        fail("{}: the file may only be read, a session must be written", name);
    // The file may come from elsewhere: nothing in its schema may run code.
    sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_extended_result_codes(raw, 1);
    sqlite3_busy_timeout(raw, kPatienceMilliseconds);
    execute("PRAGMA cache_size = -512");  // KiB: within what llmsql-run counts for page caches
    execute("PRAGMA page_size = 16384");  // of a file that is made now
    if (pragma("SELECT count(*) FROM sqlite_master") == 0 && pragma("PRAGMA application_id") == 0) {
        if (!make) fail("{}: there is no session in it", name);
        make_tables();
    }
    if (pragma("PRAGMA application_id") != kSessionApplicationId)
        fail("{}: not a session file (llmsql-run --session and llm_chat make them)", name);
    const int64_t version = pragma("PRAGMA user_version");
    if (version != kSessionFormatVersion)
        fail(
            "{}: session file format {}, this program reads and writes format {}: begin a new "
            "session in another file, or go on with the version that made it",
            name, version, kSessionFormatVersion);
    check_tables();
    // Deleted once a commit is on the disk, and its folder synchronised: docs/sessions.md says why
    // no write-ahead log.
    execute("PRAGMA journal_mode = DELETE");
    execute("PRAGMA synchronous = EXTRA");
    execute("PRAGMA temp_store = MEMORY");
}

// All at once, or nothing.
void SessionFile::make_tables() {
    begin();
    // Another process may have been faster.
    if (pragma("SELECT count(*) FROM sqlite_master") == 0) {
        for (const char* sql : kSessionSchema) execute(sql);
        execute("PRAGMA application_id = 1819112307");  // kSessionApplicationId
        execute("PRAGMA user_version = 1");
    }
    commit();
}

// Statements of the schema run when tables are written: only those that we made may be there.
void SessionFile::check_tables() {
    static_assert(kSessionApplicationId == 1819112307 && kSessionFormatVersion == 1);
    size_t found = 0;
    Query schema(*this, "SELECT sql, type FROM sqlite_master WHERE sql IS NOT NULL");
    while (schema.next()) {
        const std::string sql = schema.text(0);
        bool known = false;
        for (const char* made : kSessionSchema) known = known || sql == made;
        if (!known)
            fail("{}: it has a {} that is none of a session file's: {}", name(), schema.text(1),
                 printable(sql));
        ++found;
    }
    if (found != kSessionSchema.size())
        fail("{}: its tables are not those of a session file: it has been changed", name());
}

void SessionFile::execute(std::string_view sql) {
    Query(*this, sql).run();
}

int64_t SessionFile::pragma(const char* sql) {
    Query query(*this, sql);
    return query.next() ? query.integer(0) : 0;
}

void SessionFile::check(int code) const {
    if (code != SQLITE_OK) fail_by_sqlite();
}

void SessionFile::fail_by_sqlite() const {
    const int code = sqlite3_errcode(db_.get()) & 0xff;
    const char* text = sqlite3_errmsg(db_.get());
    switch (code) {
        case SQLITE_NOMEM:
            throw std::bad_alloc();
        case SQLITE_NOTADB:
            fail("{}: not a session file (llmsql-run --session and llm_chat make them)", name());
        case SQLITE_CORRUPT:
            fail("{}: the session file is damaged ({}); sqlite3 {} .recover shows what can be read",
                 name(), text, name());
        case SQLITE_BUSY:
            fail("{}: another program is using it ({}); nothing since the last commit is kept",
                 name(), text);
        case SQLITE_FULL:
            fail(
                "{}: {}; nothing since the last commit is kept: make room, then go on with "
                "its last answer (llmsql-run --continue), or begin anew if nothing had been "
                "committed",
                name(), text);
        default:
            fail("{}: {}", name(), text);
    }
}

void SessionFile::begin() {
    if (sqlite3_get_autocommit(db_.get())) execute("BEGIN IMMEDIATE");
}

void SessionFile::commit() {
    if (!sqlite3_get_autocommit(db_.get())) execute("COMMIT");
}

void SessionFile::roll_back() noexcept {
    if (!sqlite3_get_autocommit(db_.get()))
        sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Query::open(std::string_view sql) {
    const auto known = file_.statements_.find(sql);
    if (known != file_.statements_.end()) {
        statement_ = known->second.get();
        sqlite3_clear_bindings(statement_);
        return;
    }
    sqlite3_stmt* raw = nullptr;
    file_.check(sqlite3_prepare_v3(file_.handle(), sql.data(), static_cast<int>(sql.size()),
                                   SQLITE_PREPARE_PERSISTENT, &raw, nullptr));
    statement_ = file_.statements_.emplace(sql, Statement(raw)).first->second.get();
}

Query::~Query() {
    sqlite3_reset(statement_);
}

bool Query::next() {
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    if (code != SQLITE_DONE) file_.fail_by_sqlite();
    return false;
}

bool Query::is_null(int column) const {
    return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

// Columns keep values of any type, whatever they are declared: a file may have been edited.
void Query::require_type(int column, int type) const {
    const int found = sqlite3_column_type(statement_, column);
    if (found == type || (type == SQLITE_FLOAT && found == SQLITE_INTEGER)) return;
    fail("{}: a value of '{}' is of another type than was written: the file has been changed",
         file_.name(), sqlite3_column_name(statement_, column));
}

std::optional<int64_t> Query::find_integer(int column) const {
    if (sqlite3_column_type(statement_, column) != SQLITE_INTEGER) return std::nullopt;
    return integer(column);
}

std::optional<std::span<const std::byte>> Query::find_blob(int column) const {
    if (sqlite3_column_type(statement_, column) != SQLITE_BLOB) return std::nullopt;
    return blob(column);
}

int64_t Query::integer(int column) const {
    require_type(column, SQLITE_INTEGER);
    return sqlite3_column_int64(statement_, column);
}

double Query::real(int column) const {
    require_type(column, SQLITE_FLOAT);
    return sqlite3_column_double(statement_, column);
}

std::string Query::text(int column) const {
    require_type(column, SQLITE_TEXT);
    return column_text(statement_, column);
}

std::span<const std::byte> Query::blob(int column) const {
    require_type(column, SQLITE_BLOB);
    const void* data = sqlite3_column_blob(statement_, column);
    if (!data) return {};
    return {static_cast<const std::byte*>(data),
            static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

void Query::bind(int parameter, int64_t value) {
    file_.check(sqlite3_bind_int64(statement_, parameter, value));
}

void Query::bind(int parameter, double value) {
    file_.check(sqlite3_bind_double(statement_, parameter, value));
}

void Query::bind(int parameter, const std::string& value) {
    file_.check(sqlite3_bind_text64(statement_, parameter, value.data(), value.size(),
                                    SQLITE_STATIC, SQLITE_UTF8));
}

void Query::bind(int parameter, std::span<const std::byte> value) {
    file_.check(
        sqlite3_bind_blob64(statement_, parameter, value.data(), value.size(), SQLITE_STATIC));
}

}  // namespace llmsql
