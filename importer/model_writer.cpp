// SPDX-License-Identifier: MIT
// Writes model databases. See model_writer.h; docs/model-db.md is the format.
//
// The database is written without a journal and without flushing, as fast as SQLite can append,
// into a temporary file that nobody else knows; only the finished file, flushed once, gets the
// output's name.
#include "importer/model_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <vector>

#include "common/error.h"
#include "common/model_format.h"
#include "common/page_cache.h"
#include "database/model_digest.h"
#include "database/output.h"

namespace llmsql {
namespace {

constexpr const char* kSettings = R"(
PRAGMA auto_vacuum = NONE;
PRAGMA encoding = 'UTF-8';
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -16384;
)";

constexpr const char* kSchema = R"(
BEGIN;
CREATE TABLE llm_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE llm_param(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
                       rows INTEGER, cols INTEGER NOT NULL, tile_rows INTEGER NOT NULL);
CREATE TABLE llm_tile (id INTEGER PRIMARY KEY, param INTEGER NOT NULL, first_row INTEGER NOT NULL,
                       checksums BLOB NOT NULL, data BLOB NOT NULL);
CREATE TABLE llm_token(id INTEGER PRIMARY KEY, piece BLOB NOT NULL, kind INTEGER NOT NULL,
                       score REAL NOT NULL);
CREATE TABLE llm_merge(left INTEGER, right INTEGER, rank INTEGER NOT NULL, merged INTEGER NOT NULL,
                       PRIMARY KEY(left, right)) WITHOUT ROWID;
)";

// Made last: while rows are inserted in order, tables only grow at their ends and the pages of a
// tile lie one after the other.
constexpr const char* kIndexes = R"(
CREATE INDEX llm_tile_param   ON llm_tile(param, first_row);
CREATE INDEX llm_token_piece  ON llm_token(piece);
CREATE INDEX llm_token_special ON llm_token(kind) WHERE kind IN (3, 4);
COMMIT;
)";

constexpr int kOpcodesBetweenChecks = 100000;

int is_cancelled(void* cancelled) {
    return static_cast<const std::atomic<bool>*>(cancelled)->load() ? 1 : 0;
}

}  // namespace

ModelWriter::ModelWriter(const std::filesystem::path& output, const std::atomic<bool>& cancelled)
    : output_(fresh_output_path(output, kModelDatabase)), cancelled_(&cancelled), file_(output_) {
    open();
}

void ModelWriter::open() {
    sqlite3* raw = nullptr;
    const int code = sqlite3_open_v2(file_.name().c_str(), &raw,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    db_.reset(raw);
    if (code != SQLITE_OK) fail_write(code);
    sqlite3_progress_handler(db_.get(), kOpcodesBetweenChecks, is_cancelled,
                             const_cast<std::atomic<bool>*>(cancelled_));
    execute(fmt::format("PRAGMA page_size = {};", kModelPageBytes));
    execute(kSettings);
    execute(fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {};",
                        kModelApplicationId, kModelFormatVersion));
    execute(kSchema);
    meta_ = prepare("INSERT INTO llm_meta(key, value) VALUES (?, ?)");
    param_ = prepare(
        "INSERT INTO llm_param(id, name, type, rows, cols, tile_rows) "
        "VALUES (?, ?, ?, ?, ?, ?)");
    tile_ = prepare(
        "INSERT INTO llm_tile(id, param, first_row, checksums, data) "
        "VALUES (?, ?, ?, ?, ?)");
    token_ = prepare("INSERT INTO llm_token(id, piece, kind, score) VALUES (?, ?, ?, ?)");
    merge_ = prepare(
        "INSERT OR IGNORE INTO llm_merge(left, right, rank, merged) "
        "VALUES (?, ?, ?, ?)");
}

void ModelWriter::fail_write(int code) const {
    const int why = sqlite3_system_errno(db_.get());
    switch (code & 0xff) {
        case SQLITE_NOMEM:
            throw std::bad_alloc();
        case SQLITE_INTERRUPT:
            fail("{}: interrupted, nothing was written", output_.string());
        case SQLITE_FULL:
            fail("{}: cannot write: the disk is full", output_.string());
        case SQLITE_IOERR:
            // A file at its limit is told by a short write, without an error of the system.
            fail("{}: cannot write: {}", output_.string(),
                 why != 0 ? std::strerror(why) : "is the disk full, or the file at its limit?");
        default:
            fail("{}: cannot write: {}", output_.string(), sqlite3_errmsg(db_.get()));
    }
}

void ModelWriter::check(int code) const {
    if (code != SQLITE_OK) fail_write(code);
}

void ModelWriter::execute(const std::string& sql) {
    check(sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr));
}

ModelWriter::Statement ModelWriter::prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    check(sqlite3_prepare_v2(db_.get(), sql, -1, &statement, nullptr));
    return Statement(statement);
}

void ModelWriter::step(Statement& statement) {
    if (cancelled_->load()) fail_write(SQLITE_INTERRUPT);
    const int code = sqlite3_step(statement.get());
    if (code != SQLITE_DONE) fail_write(code);
    sqlite3_reset(statement.get());
}

void ModelWriter::meta(std::string_view key, std::string_view value) {
    check(sqlite3_bind_text64(meta_.get(), 1, key.data(), key.size(), SQLITE_STATIC, SQLITE_UTF8));
    check(sqlite3_bind_text64(meta_.get(), 2, value.data(), value.size(), SQLITE_STATIC,
                              SQLITE_UTF8));
    step(meta_);
}

void ModelWriter::meta(std::string_view key, int64_t value) {
    check(sqlite3_bind_text64(meta_.get(), 1, key.data(), key.size(), SQLITE_STATIC, SQLITE_UTF8));
    check(sqlite3_bind_int64(meta_.get(), 2, value));
    step(meta_);
}

void ModelWriter::param(int64_t id, const ParamEntry& entry) {
    sqlite3_stmt* statement = param_.get();
    const std::string_view type = name_of(entry.type);
    check(sqlite3_bind_int64(statement, 1, id));
    check(sqlite3_bind_text64(statement, 2, entry.name.data(), entry.name.size(), SQLITE_STATIC,
                              SQLITE_UTF8));
    check(sqlite3_bind_text64(statement, 3, type.data(), type.size(), SQLITE_STATIC, SQLITE_UTF8));
    if (entry.shape.rows)
        check(sqlite3_bind_int64(statement, 4, *entry.shape.rows));
    else
        check(sqlite3_bind_null(statement, 4));
    check(sqlite3_bind_int64(statement, 5, entry.shape.cols));
    check(sqlite3_bind_int64(statement, 6, tile_rows(entry.type, entry.shape)));
    step(param_);
}

void ModelWriter::tile(int64_t param, int64_t first_row, std::span<const std::byte> data,
                       size_t strips) {
    std::vector<uint64_t> checksums(strips);
    const size_t bytes = data.size() / strips;
    for (size_t i = 0; i < strips; ++i) checksums[i] = hash64(data.data() + i * bytes, bytes);
    tiles_.add_integer(param);
    tiles_.add_integer(first_row);
    tiles_.add_blob(
        {reinterpret_cast<const char*>(checksums.data()), checksums.size() * sizeof(uint64_t)});
    sqlite3_stmt* statement = tile_.get();
    check(sqlite3_bind_int64(statement, 1, next_tile_++));
    check(sqlite3_bind_int64(statement, 2, param));
    check(sqlite3_bind_int64(statement, 3, first_row));
    check(sqlite3_bind_blob64(statement, 4, checksums.data(), checksums.size() * sizeof(uint64_t),
                              SQLITE_STATIC));
    check(sqlite3_bind_blob64(statement, 5, data.data(), data.size(), SQLITE_STATIC));
    step(tile_);
}

void ModelWriter::token(int64_t id, std::string_view piece, int kind, double score) {
    sqlite3_stmt* statement = token_.get();
    check(sqlite3_bind_int64(statement, 1, id));
    if (piece.empty())  // a null pointer would be NULL
        check(sqlite3_bind_zeroblob(statement, 2, 0));
    else
        check(sqlite3_bind_blob64(statement, 2, piece.data(), piece.size(), SQLITE_STATIC));
    check(sqlite3_bind_int(statement, 3, kind));
    check(sqlite3_bind_double(statement, 4, score));
    step(token_);
}

void ModelWriter::merge(int64_t left, int64_t right, int64_t rank, int64_t merged) {
    sqlite3_stmt* statement = merge_.get();
    check(sqlite3_bind_int64(statement, 1, left));
    check(sqlite3_bind_int64(statement, 2, right));
    check(sqlite3_bind_int64(statement, 3, rank));
    check(sqlite3_bind_int64(statement, 4, merged));
    step(merge_);
}

// Leaves the file in the page cache in huge pages, not as SQLite wrote it page by page: weights are
// streamed from them up to twice as fast (docs/memory.md, "Reading"). Only a favour to the runs
// that follow: whether it works does not matter.
void ModelWriter::read_back(int fd, uint64_t bytes) const {
    const long pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
    if (pages < 0 || page < 0 ||
        bytes > static_cast<uint64_t>(pages) / 2 * static_cast<uint64_t>(page))
        return;  // it would not stay
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    fill_page_cache(fd, bytes, [this] { return cancelled_ && cancelled_->load(); });
}

// That of llm_meta last: it is over the others too.
void ModelWriter::write_digests() {
    meta(std::string(kDigestKey) + "llm_tile", tiles_.hex());
    for (const std::string_view table : kDigestedTables)
        meta(std::string(kDigestKey) + std::string(table),
             table_digest(db_.get(), table, output_.string()));
}

InstalledPlans ModelWriter::keep_plans(std::string_view catalogue) {
    replaced_ = plans_installed_in(output_);
    if (replaced_->unreadable || replaced_->catalogue != catalogue) return *replaced_;
    if (replaced_->texts.empty()) return {};
    execute(kPlanTable);
    Statement insert = prepare("INSERT INTO llm_plan(name, sql) VALUES (?, ?)");
    for (const auto& [name, sql] : replaced_->texts) {
        sqlite3_bind_text64(insert.get(), 1, name.data(), name.size(), SQLITE_STATIC, SQLITE_UTF8);
        sqlite3_bind_text64(insert.get(), 2, sql.data(), sql.size(), SQLITE_STATIC, SQLITE_UTF8);
        step(insert);
    }
    return {};
}

uint64_t ModelWriter::finish() {
    write_digests();
    execute(kIndexes);
    for (Statement* statement : {&meta_, &param_, &tile_, &token_, &merge_}) statement->reset();
    check(sqlite3_close(db_.get()));
    db_.release();
    const Descriptor file(::open(file_.name().c_str(), O_RDONLY | O_CLOEXEC));
    struct stat info {};
    if (file.get() < 0 || ::fstat(file.get(), &info) != 0 || ::fsync(file.get()) != 0)
        fail("{}: cannot write: {}", output_.string(), std::strerror(errno));
    read_back(file.get(), static_cast<uint64_t>(info.st_size));
    return static_cast<uint64_t>(info.st_size);
}

void ModelWriter::require_publishable() {
    if (!no_writers_) no_writers_.emplace(output_);
    database_output_path(output_, kModelDatabase);  // importing takes its time
    if (replaced_ && plans_installed_in(output_) != *replaced_)
        fail("{}: a plan was installed in it meanwhile, so it stays as it is: import again",
             output_.string());
    if (cancelled_->load()) fail_write(SQLITE_INTERRUPT);
}

void ModelWriter::publish() {
    require_publishable();
    file_.publish();
    no_writers_.reset();
}

}  // namespace llmsql
