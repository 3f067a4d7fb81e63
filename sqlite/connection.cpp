// SPDX-License-Identifier: MIT
// Opening databases, and their errors. See connection.h.
#include "sqlite/connection.h"

#include <cstring>
#include <new>
#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

// A name for SQLite that has it read the file as it is.
std::string immutable_uri(const std::filesystem::path& path) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    std::string uri = "file:";
    for (const unsigned char c : absolute_path(path).string()) {
        const bool plain = c == '/' || c == '.' || c == '-' || c == '_' || (c >= '0' && c <= '9') ||
                           (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (plain)
            uri += static_cast<char>(c);
        else
            uri += {'%', kDigits[c >> 4], kDigits[c & 15]};
    }
    return uri + "?immutable=1";
}

// sqlite3_open_v2() may take "file:…" for a URI.
std::string plain_name(const std::filesystem::path& path) {
    std::string name = path.string();
    return name.starts_with("file:") ? "./" + name : name;
}

int flags_of(Access access) {
    switch (access) {
        case Access::read:
            return SQLITE_OPEN_READONLY;
        case Access::write:
            return SQLITE_OPEN_READWRITE;
        case Access::make:
            return SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
        case Access::as_it_is:
            return SQLITE_OPEN_READONLY | SQLITE_OPEN_URI;
    }
    return 0;
}

// What a stranger's schema, or a stranger's SQL, may not do.
void harden(sqlite3* db, bool triggers) {
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
    if (!triggers) sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
}

}  // namespace

std::string explain_plainly(const std::string& name, const SqliteFault& fault) {
    if (fault.code != SQLITE_CANTOPEN || fault.system_errno == 0) return name + ": " + fault.says;
    return fmt::format("{}: {}: {}", name, fault.says, std::strerror(fault.system_errno));
}

std::string message_of(sqlite3* db) {
    const std::string message = sqlite3_errmsg(db);
    if (message != "parser stack overflow") return message;
    return "brackets, expressions or subqueries are nested too deeply for SQLite (" + message + ")";
}

Connection::Connection(const std::filesystem::path& path, const Opening& opening)
    : words_(std::make_shared<const Words>(
          Words{opening.name.empty() ? path.string() : opening.name, opening.explain})),
      kept_(std::make_shared<sqlite_detail::Kept>()) {
    const std::string name =
        opening.access == Access::as_it_is ? immutable_uri(path) : plain_name(path);
    sqlite3* raw = nullptr;
    const int code = sqlite3_open_v2(name.c_str(), &raw,
                                     flags_of(opening.access) | SQLITE_OPEN_NOMUTEX, opening.vfs);
    db_.reset(raw);
    if (!raw) throw std::bad_alloc();
    if (code != SQLITE_OK) fail_in(*words_, raw, code, {});
    if (!opening.ours) harden(raw, opening.triggers);
    sqlite3_extended_result_codes(raw, 1);
    if (opening.patience > 0) sqlite3_busy_timeout(raw, opening.patience);
}

Connection Connection::borrowed(sqlite3* db, std::string name, Explain explain) {
    Connection connection;
    connection.words_ = std::make_shared<const Words>(Words{std::move(name), explain});
    connection.kept_ = std::make_shared<sqlite_detail::Kept>();
    connection.db_ = {db, Closer{false}};
    return connection;
}

const std::string& Connection::name() const {
    return words_->name;
}

void Connection::close() {
    kept_.reset();
    db_.reset();
}

void Connection::execute(const std::string& sql) const {
    check(sqlite3_exec(get(), sql.c_str(), nullptr, nullptr, nullptr));
}

Statement Connection::prepare(std::string_view sql) const {
    sqlite3_stmt* raw = nullptr;
    check(sqlite3_prepare_v3(get(), sql.data(), static_cast<int>(sql.size()),
                             SQLITE_PREPARE_PERSISTENT, &raw, nullptr));
    Statement statement(raw);
    statement.words_ = words_;
    return statement;
}

std::optional<int64_t> Connection::integer(std::string_view sql) const {
    const Statement statement = prepare(sql);
    Query query(statement);
    return query.next() ? std::optional(query.as_integer(0)) : std::nullopt;
}

std::string Connection::table_type(std::string_view table) const {
    // Before 3.37 SQLite says that nowhere. But it opens no schema whose rows do not say of what
    // their texts create whether it is a table or a view; the texts of tables begin alike, and no
    // other does.
    const Statement statement = prepare(
        sqlite3_libversion_number() >= 3037000
            ? "SELECT type FROM pragma_table_list(?) WHERE schema = 'main'"
            : "SELECT CASE WHEN type = 'table' AND substr(sql, 1, 13) <> 'CREATE TABLE ' THEN "
              "'virtual' ELSE type END "
              "FROM main.sqlite_master WHERE name = ? COLLATE nocase AND type IN ('table', "
              "'view')");
    Query type(statement, table);
    return type.next() ? type.as_text(0) : std::string();
}

bool Connection::has_moved() const {
    int moved = 0;  // left so by what has no such question to answer
    return sqlite3_file_control(get(), "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
           moved != 0;
}

void Connection::fail_by_sqlite(int code, std::string_view doing) const {
    fail_in(*words_, get(), code, doing);
}

void Connection::fail_in(const Words& words, sqlite3* db, int code, std::string_view doing) {
    if ((code & 0xff) == SQLITE_NOMEM) throw std::bad_alloc();
    const SqliteFault fault{code & 0xff, message_of(db), sqlite3_system_errno(db)};
    const std::string name = doing.empty() ? words.name : words.name + ": " + std::string(doing);
    if (fault.says.starts_with("no such table: pragma_"))
        fail("{}: this SQLite was built with SQLITE_OMIT_SCHEMA_PRAGMAS: llmsql cannot do without",
             name);
    fail("{}", words.explain(name, fault));
}

}  // namespace llmsql
