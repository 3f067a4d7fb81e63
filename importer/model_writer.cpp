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
#include <vector>

#include "common/error.h"
#include "common/machine.h"
#include "common/model_format.h"
#include "common/page_cache.h"
#include "common/types.h"
#include "database/model_digest.h"
#include "database/output.h"
#include "importer/huge_writes.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

constexpr const char* kSettings = R"(
PRAGMA auto_vacuum = NONE;
PRAGMA encoding = 'UTF-8';
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA temp_store = MEMORY;
)";

constexpr const char* kSchema = R"(
BEGIN;
CREATE TABLE llm_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE llm_param(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
                       rows INTEGER, cols INTEGER NOT NULL, tile_rows INTEGER NOT NULL);
CREATE TABLE llm_tile (id INTEGER PRIMARY KEY, param INTEGER NOT NULL, first_row INTEGER NOT NULL,
                       checksums BLOB NOT NULL, data BLOB NOT NULL);
CREATE INDEX llm_tile_param   ON llm_tile(param, first_row);
CREATE TABLE llm_token(id INTEGER PRIMARY KEY, piece BLOB NOT NULL, kind INTEGER NOT NULL,
                       score REAL NOT NULL);
CREATE TABLE llm_merge(left INTEGER, right INTEGER, rank INTEGER NOT NULL, merged INTEGER NOT NULL,
                       PRIMARY KEY(left, right)) WITHOUT ROWID;
)";

// Made last: sorted, which takes less than inserting in no order. That of the tiles, whose keys
// rise, grows at its end as its table does, and would have to read all of them.
constexpr const char* kIndexes = R"(
CREATE INDEX llm_token_piece  ON llm_token(piece);
CREATE INDEX llm_token_special ON llm_token(kind) WHERE kind IN (3, 4);
COMMIT;
)";

/// Whether a file of so many bytes may stay in the page cache.
bool would_stay_cached(uint64_t bytes) {
    const long pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 &&
           bytes <= static_cast<uint64_t>(pages) / 2 * static_cast<uint64_t>(page);
}

constexpr int kOpcodesBetweenChecks = 100000;
constexpr uint64_t kMostStretches = 8;  // of 2 MiB

int is_canceled(void* canceled) {
    return static_cast<const std::atomic<bool>*>(canceled)->load() ? 1 : 0;
}

std::string explain(const std::string& name, const SqliteFault& fault) {
    const int reason = fault.system_errno != 0 ? fault.system_errno : huge_writes_errno();
    switch (fault.code) {
        case SQLITE_INTERRUPT:
            return fmt::format("{}: interrupted, nothing was written", name);
        case SQLITE_FULL:
            return fmt::format("{}: cannot write: the disk is full", name);
        case SQLITE_IOERR:
            // A file at its limit is told by a short write, without an error of the system.
            return fmt::format("{}: cannot write: {}", name,
                               reason != 0 ? std::strerror(reason)
                                           : "is the disk full, or the file at its limit?");
        default:
            return fmt::format("{}: cannot write: {}", name, fault.says);
    }
}

}  // namespace

ModelWriter::ModelWriter(const std::filesystem::path& output, const std::atomic<bool>& canceled)
    : output_(fresh_output_path(output, kModelDatabase)), canceled_(&canceled), file_(output_) {
    open();
}

void ModelWriter::open() {
    db_ = Connection(file_.name(), {.access = Access::write,
                                    .explain = explain,
                                    .name = output_.string(),
                                    .ours = true,
                                    .vfs = huge_writes_vfs()});
    sqlite3_progress_handler(db_.get(), kOpcodesBetweenChecks, is_canceled,
                             const_cast<std::atomic<bool>*>(canceled_));
    db_.execute(fmt::format("PRAGMA page_size = {};", kModelPageBytes));
    db_.execute(kSettings);
    db_.execute(fmt::format("PRAGMA cache_size = -{};",  // in KiB; less where little is free
                            std::clamp<uint64_t>(free_memory() / 8, 2 << 20, 16 << 20) >> 10));
    db_.execute(fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {};",
                            kModelApplicationId, kModelFormatVersion));
    descriptor_ = Descriptor(::open(file_.name().c_str(), O_RDWR | O_CLOEXEC));
    if (descriptor_.get() < 0) fail("{}: cannot write: {}", output_.string(), std::strerror(errno));
    db_.check(write_hugely(db_.get(), descriptor_.get(),
                           std::min<uint64_t>(free_memory() / 32 / kHugePage, kMostStretches)));
    db_.execute(kSchema);
}

void ModelWriter::fail_canceled() const {
    fail("{}", explain(output_.string(), {.code = SQLITE_INTERRUPT}));
}

template<class... Values>
void ModelWriter::insert(std::string_view sql, const Values&... values) {
    if (canceled_->load()) fail_canceled();
    Query(db_, sql, values...).run();
}

void ModelWriter::meta(std::string_view key, std::string_view value) {
    insert("INSERT INTO llm_meta(key, value) VALUES (?, ?)", key, value);
}

void ModelWriter::meta(std::string_view key, int64_t value) {
    insert("INSERT INTO llm_meta(key, value) VALUES (?, ?)", key, value);
}

void ModelWriter::meta(std::string_view key, std::span<const std::byte> value) {
    insert("INSERT INTO llm_meta(key, value) VALUES (?, ?)", key, value);
}

void ModelWriter::param(int64_t id, const ParamEntry& entry) {
    insert("INSERT INTO llm_param(id, name, type, rows, cols, tile_rows) VALUES (?, ?, ?, ?, ?, ?)",
           id, entry.name, name_of(entry.type), entry.shape.rows, entry.shape.cols,
           tile_rows(entry.type, entry.shape));
}

std::vector<uint64_t> strip_checksums(std::span<const std::byte> data, size_t strips) {
    std::vector<uint64_t> checksums(strips);
    const size_t bytes = data.size() / strips;
    for (size_t i = 0; i < strips; ++i) checksums[i] = hash64(data.data() + i * bytes, bytes);
    return checksums;
}

void ModelWriter::tile(int64_t param, int64_t first_row, std::span<const std::byte> data,
                       std::span<const uint64_t> checksums) {
    const Bytes list = std::as_bytes(checksums);
    tiles_.add_integer(param);
    tiles_.add_integer(first_row);
    tiles_.add_blob({reinterpret_cast<const char*>(list.data()), list.size()});
    insert("INSERT INTO llm_tile(id, param, first_row, checksums, data) VALUES (?, ?, ?, ?, ?)",
           next_tile_++, param, first_row, list, data);
}

void ModelWriter::token(int64_t id, std::string_view piece, int kind, double score) {
    insert("INSERT INTO llm_token(id, piece, kind, score) VALUES (?, ?, ?, ?)", id, bytes_of(piece),
           kind, score);
}

void ModelWriter::merge(int64_t left, int64_t right, int64_t rank, int64_t merged) {
    insert("INSERT OR IGNORE INTO llm_merge(left, right, rank, merged) VALUES (?, ?, ?, ?)", left,
           right, rank, merged);
}

// Leaves the file in the page cache in huge pages, where writing has not made them: weights are
// streamed from them up to twice as fast (docs/memory.md, "Reading"). Only a favour to the runs
// that follow: whether it works does not matter.
void ModelWriter::read_back(uint64_t bytes) const {
    if (would_stay_cached(bytes) && !is_cached_huge(descriptor_.get(), 0, bytes))
        refill_page_cache(descriptor_.get(), 0, bytes, [this] { return canceled_->load(); });
}

// The digest of llm_meta comes last: it covers the other digests too.
void ModelWriter::write_digests() {
    meta(std::string(kDigestKey) + "llm_tile", tiles_.hex());
    for (const std::string_view table : kDigestedTables)
        meta(std::string(kDigestKey) + std::string(table), table_digest(db_, table));
}

InstalledPlans ModelWriter::keep_plans(std::string_view catalogue) {
    replaced_ = plans_installed_in(output_);
    if (replaced_->unreadable || replaced_->catalogue != catalogue) return *replaced_;
    if (replaced_->texts.empty()) return {};
    db_.execute(kPlanTable);
    for (const auto& [name, sql] : replaced_->texts)
        insert("INSERT INTO llm_plan(name, sql) VALUES (?, ?)", name, sql);
    return {};
}

uint64_t ModelWriter::finish() {
    write_digests();
    db_.execute(kIndexes);
    db_.close();
    struct stat info {};
    if (::fstat(descriptor_.get(), &info) != 0 || ::fsync(descriptor_.get()) != 0)
        fail("{}: cannot write: {}", output_.string(), std::strerror(errno));
    read_back(static_cast<uint64_t>(info.st_size));
    return static_cast<uint64_t>(info.st_size);
}

void ModelWriter::require_publishable() {
    if (!no_writers_) no_writers_.emplace(output_);
    database_output_path(output_, kModelDatabase);  // importing takes its time
    if (replaced_ && plans_installed_in(output_) != *replaced_)
        fail("{}: a plan was installed in it meanwhile, so it stays as it is: import again",
             output_.string());
    if (canceled_->load()) fail_canceled();
}

void ModelWriter::publish() {
    require_publishable();
    file_.publish();
    no_writers_.reset();
}

}  // namespace llmsql
