// SPDX-License-Identifier: MIT
// Connection: a database of SQLite's, opened in one place: the name as SQLite wants it, the flags,
// what a schema from elsewhere may not do, and the words in which its errors are told.
//
// HOW IT WORKS. Every use of a database names it and says how its errors read, once, when it is
// opened; statements and queries (statement.h) made from the connection fail in those words:
//
//     Connection db("notes.db", {.access = Access::write, .explain = explain_notes});
//     db.execute("BEGIN");
//     Query note(db, "SELECT text FROM note WHERE day = ? AND author = ?", day, author);
//     while (note.next()) print(note.text(0));
//
// `explain_notes` gets SQLite's result code and text and returns one line: what, where, what to do.
// Statements are kept with their connection by their text, so that the second Query of a text
// prepares nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "sqlite/api.h"

namespace llmsql {

/// What SQLite says of a call that failed.
struct SqliteFault {
    int code = 0;           // the result code without its extension: SQLITE_BUSY, …
    std::string says = {};  // SQLite's text
    int system_errno = 0;   // the system's error behind it; 0: none is known
};

/// The line in which a fault is told; `name` says where. It may throw another exception instead.
using Explain = std::string (*)(const std::string& name, const SqliteFault& fault);

/// "NAME: what SQLite says".
std::string explain_plainly(const std::string& name, const SqliteFault& fault);

enum class Access {
    read,
    write,
    make,      // like write; made where there is none
    as_it_is,  // read as the file's bytes lie there, without locks and without any trace
};

struct Opening {
    Access access = Access::read;
    Explain explain = explain_plainly;
    std::string name = {};      // what errors call it; empty: the path
    int patience = 0;           // milliseconds to wait for other programs' locks
    bool ours = false;          // we make the file: nothing in its schema is a stranger's
    bool triggers = false;      // its triggers run; who opens it makes sure that they are ours
    const char* vfs = nullptr;  // the name of another than SQLite's default
};

class Statement;
namespace sqlite_detail {
struct Kept;
}

/// Used by one thread at a time, as are its statements. Errors are Errors (common/error.h), or
/// std::bad_alloc where memory ran out. Moving it leaves its statements valid.
class Connection {
  public:
    /// None: false.
    Connection() = default;

    /// Opens the file at `path`, or ":memory:"; a name that starts with "file:" is a name, no URI.
    /// Unless it is ours, functions of a schema that are not innocuous, views, triggers and what
    /// could damage the file by SQL are off.
    explicit Connection(const std::filesystem::path& path, const Opening& opening = {});

    /// A connection of somebody else's, who closes it after this.
    static Connection borrowed(sqlite3* db, std::string name, Explain explain);

    Connection(Connection&&) noexcept = default;
    Connection& operator=(Connection&&) noexcept = default;
    ~Connection() = default;

    explicit operator bool() const { return static_cast<bool>(db_); }
    sqlite3* get() const { return db_.get(); }
    const std::string& name() const;

    /// Ends its kept statements and closes it. Statements of others keep the file open.
    void close();

    /// Runs statements, one or several, whose rows nobody wants.
    void execute(const std::string& sql) const;

    /// A statement that stays prepared for its owner.
    Statement prepare(std::string_view sql) const;

    /// The first column of a statement's first row as an integer; nothing if there is no row.
    std::optional<int64_t> integer(std::string_view sql) const;

    /// What SQLite says that a table of the main schema is: "table", "view", "virtual"; empty if
    /// there is none. In place of a table that is read, the others would run what a stranger wrote.
    std::string table_type(std::string_view table) const;

    /// Whether another file has the database's name by now, or none has.
    bool has_moved() const;

    /// Rows that the last statement changed, and the id of the row that it inserted.
    int64_t changed() const { return sqlite3_changes(get()); }
    int64_t inserted() const { return sqlite3_last_insert_rowid(get()); }
    bool in_transaction() const { return sqlite3_get_autocommit(get()) == 0; }

    /// Fails unless `code` says that a call went well. `doing` comes behind the name.
    void check(int code, std::string_view doing = {}) const {
        if (code != SQLITE_OK) fail_by_sqlite(code, doing);
    }
    /// Fails with what SQLite says of the last call, which returned `code`.
    [[noreturn]] void fail_by_sqlite(int code, std::string_view doing = {}) const;

  private:
    friend class Statement;
    friend class Query;

    struct Closer {
        Closer() : ours(true) {}
        explicit Closer(bool closes) : ours(closes) {}
        bool ours;
        void operator()(sqlite3* db) const {
            if (ours) sqlite3_close_v2(db);
        }
    };
    // The words of errors, shared with statements, which may be used when this has been moved.
    struct Words {
        std::string name;
        Explain explain = explain_plainly;
    };
    [[noreturn]] static void fail_in(const Words& words, sqlite3* db, int code,
                                     std::string_view doing);

    std::shared_ptr<const Words> words_;
    std::unique_ptr<sqlite3, Closer> db_;
    std::shared_ptr<sqlite_detail::Kept> kept_;  // statements by their text; they go first
};

/// What SQLite says of the last call on a connection; where it speaks of itself, of the statement.
std::string message_of(sqlite3* db);

}  // namespace llmsql
