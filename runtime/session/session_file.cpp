// SPDX-License-Identifier: MIT
// Opening a session file, and its statements. See session_file.h.
#include "runtime/session/session_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

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

std::string explain(const std::string& name, const SqliteFault& fault) {
    switch (fault.code) {
        case SQLITE_NOTADB:
            return fmt::format(
                "{}: not a session file (llmsql-run --session and llm_chat make them)", name);
        case SQLITE_CORRUPT:
            return fmt::format(
                "{}: the session file is damaged ({}); sqlite3 {} .recover shows what can be read",
                name, fault.says, name);
        case SQLITE_BUSY:
            return fmt::format(
                "{}: another program is using it ({}); nothing since the last commit is kept", name,
                fault.says);
        case SQLITE_FULL:
            return fmt::format(
                "{}: {}; nothing since the last commit is kept: make room, then go on with "
                "its last answer (llmsql-run --continue), or begin anew if nothing had been "
                "committed",
                name, fault.says);
        default:
            return explain_plainly(name, fault);
    }
}

// Before SQLite looks at the file: to it, the journal of another copy's transaction would be a dead
// writer's, and be rolled back. What is no file to be locked, SQLite refuses in its own words.
std::unique_ptr<const CopyLock> lock_out_other_copies(const std::string& name, bool make) {
    if (make) {
        // One that somebody else makes in between is his.
        const int made = ::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (made >= 0) ::close(made);
        // SQLite says of the reason only what comes last to it.
        if (made < 0 && (errno == EACCES || errno == EROFS || errno == ENOSPC || errno == EDQUOT))
            fail("{}: cannot be made: {}", name, std::strerror(errno));
    }
    struct stat info {};
    if (::stat(name.c_str(), &info) != 0 || !S_ISREG(info.st_mode) ||
        ::access(name.c_str(), R_OK) != 0)
        return nullptr;
    return std::make_unique<const CopyLock>(SharedFile::of(name));
}

}  // namespace

SessionFile::SessionFile(const std::filesystem::path& path, bool make) : path_(path) {
    const std::string name = path.string();
    if (name.empty()) fail("option 'sessions': the name of a file is needed");
    if (is_directory(name)) fail("{}: is a directory, not a session file", name);
    // To SQLite ":memory:" is no file, and what it held would be lost.
    if (name.starts_with(':'))
        fail(
            "'{0}': to SQLite a name that begins with ':' is no file, and a session is kept in "
            "one: "
            "'./{0}' names one",
            name);
    require_no_log_name(path);
    const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
    if (make && !is_directory(folder.string()))
        fail("{}: there is no folder {}", name, folder.string());
    struct stat info {};
    if (!make && ::stat(name.c_str(), &info) != 0) fail("{}: there is no such file", name);
    lock_ = lock_out_other_copies(name, make);
    db_ = Connection(path, {.access = make ? Access::make : Access::write,
                            .explain = explain,
                            .patience = kPatienceMilliseconds,
                            .triggers = true});  // check_tables() sees whose they are
    if (sqlite3_db_readonly(db_.get(), "main") == 1)
        fail("{}: the file may only be read, a session must be written", name);
    db_.execute("PRAGMA cache_size = -512");  // KiB: within what llmsql-run counts for page caches
    db_.execute("PRAGMA page_size = 16384");  // of a file that is made now
    if (db_.integer("SELECT count(*) FROM sqlite_master").value_or(0) == 0 &&
        db_.integer("PRAGMA application_id").value_or(0) == 0) {
        if (!make) fail("{}: there is no session in it", name);
        make_tables();
    }
    if (db_.integer("PRAGMA application_id").value_or(0) != kSessionApplicationId)
        fail("{}: not a session file (llmsql-run --session and llm_chat make them)", name);
    int64_t version = db_.integer("PRAGMA user_version").value_or(0);
    if (version == 1) {
        renew();
        version = db_.integer("PRAGMA user_version").value_or(0);
    }
    if (version != kSessionFormatVersion)
        fail(
            "{}: session file format {}, this program reads and writes format {}: begin a new "
            "session in another file, or go on with the version that made it",
            name, version, kSessionFormatVersion);
    check_tables(kSessionSchema.size());
    // Deleted once a commit is on the disk, and its folder synchronised: docs/sessions.md says why
    // no write-ahead log.
    db_.execute("PRAGMA journal_mode = DELETE");
    db_.execute("PRAGMA synchronous = EXTRA");
    db_.execute("PRAGMA temp_store = MEMORY");
}

// All at once, or nothing.
void SessionFile::make_tables() {
    begin();
    // Another process may have been faster.
    if (db_.integer("SELECT count(*) FROM sqlite_master").value_or(0) == 0) {
        for (const char* sql : kSessionSchema) db_.execute(sql);
        db_.execute("PRAGMA application_id = 1819112307");  // kSessionApplicationId
        db_.execute("PRAGMA user_version = 2");
    }
    commit();
}

// A file of version 1: what is new is added, all at once.
void SessionFile::renew() {
    begin();
    // Another process may have been faster.
    if (db_.integer("PRAGMA user_version").value_or(0) == 1) {
        constexpr size_t kOld = kSessionSchema.size() - kNewInVersion2;
        check_tables(kOld);
        for (size_t i = kOld; i < kSessionSchema.size(); ++i) db_.execute(kSessionSchema[i]);
        db_.execute("PRAGMA user_version = 2");
    }
    commit();
}

// Statements of the schema run when tables are written: only those that we made may be there.
void SessionFile::check_tables(size_t count) {
    static_assert(kSessionApplicationId == 1819112307 && kSessionFormatVersion == 2);
    size_t found = 0;
    Query schema(db_, "SELECT sql, type FROM sqlite_master WHERE sql IS NOT NULL");
    while (schema.next()) {
        const std::string sql = schema.text(0);
        bool known = false;
        for (size_t i = 0; i < count; ++i) known = known || sql == kSessionSchema[i];
        if (!known)
            fail("{}: it has a {} that is none of a session file's: {}", name(), schema.text(1),
                 printable(sql));
        ++found;
    }
    if (found != count)
        fail("{}: its tables are not those of a session file: it has been changed", name());
}

void SessionFile::begin() {
    if (!db_.in_transaction()) db_.execute("BEGIN IMMEDIATE");
}

void SessionFile::commit() {
    if (db_.in_transaction()) db_.execute("COMMIT");
}

void SessionFile::roll_back() noexcept {
    if (db_.in_transaction()) sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
}

}  // namespace llmsql
