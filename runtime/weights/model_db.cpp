// SPDX-License-Identifier: MIT
// Opening a model.db. See model_db.h; the format is docs/model-db.md.
#include "runtime/weights/model_db.h"

#include <cstring>

#include "common/error.h"
#include "common/files.h"
#include "common/model_format.h"
#include "common/weight_format.h"
#include "runtime/weights/model_file.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

int64_t pragma(const Connection& db, const char* sql) {
    const auto value = db.integer(sql);
    if (!value)
        fail(
            "{}: this SQLite was built with SQLITE_OMIT_SCHEMA_VERSION_PRAGMAS: llmsql cannot do "
            "without",
            db.name());
    return *value;
}

// A log or journal beside the file means that it is being written, or that a writer died: what a
// read-only connection would see of it is not what was imported.
void refuse_companions(const std::filesystem::path& path) {
    if (const auto log = unfinished_log(path))
        fail(
            "{}: a {} file lies beside it, so the database is being written or a writer "
            "died; open it once with sqlite3 to recover it, or repeat what was writing (llmsqlc "
            "--install, llmsql-import)",
            path.string(), log->string().ends_with("-wal") ? "-wal" : "-journal");
}

// Looks at the file's header before any statement is run: in write-ahead-log mode, one would make
// files beside it, or fail for want of the right to. Through SQLite's own handle, which takes no
// lock for that, and drops none.
void check_header(sqlite3* db, const std::string& name, const std::string& not_ours) {
    sqlite3_file* file = nullptr;
    unsigned char header[100];
    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK || !file ||
        !file->pMethods || file->pMethods->xRead(file, header, sizeof header, 0) != SQLITE_OK ||
        std::memcmp(header, "SQLite format 3", 16) != 0)
        fail("{}", not_ours);
    const auto number_at = [&](size_t at) {
        uint32_t value = 0;
        for (size_t i = 0; i < 4; ++i) value = value << 8 | header[at + i];
        return value;
    };
    if (number_at(68) != kModelApplicationId) fail("{}", not_ours);
    if (header[18] != 1 || header[19] != 1)  // the versions for writing and for reading
        fail(
            "{}: the database is in write-ahead-log mode, which weights that never change do not "
            "need: undo it with sqlite3 {} \"PRAGMA journal_mode = delete\", or import the model "
            "again",
            name, name);
}

// More than a strip of the longest rows, less than what a few damaged bytes can claim.
constexpr int kLongestValue = 64 << 20;

constexpr int kStepsBetween = 100'000;

// Called every so many steps: 0 to go on.
int watch_steps(void* limit) {
    auto& self = *static_cast<StepLimit*>(limit);
    if (self.interrupted && self.interrupted()) return 1;
    sqlite3_stmt* busy = nullptr;  // the outermost, where several are
    for (auto* each = sqlite3_next_stmt(self.db, nullptr); each;
         each = sqlite3_next_stmt(self.db, each))
        if (sqlite3_stmt_busy(each)) busy = each;
    const int run = busy ? sqlite3_stmt_status(busy, SQLITE_STMTSTATUS_RUN, 0) : 0;
    if (busy != self.statement || run != self.run) self.steps = 0;
    self.statement = busy;
    self.run = run;
    self.steps += kStepsBetween;
    return self.steps > self.most ? 1 : 0;
}

// A view or virtual table in a table's place, or a column that is computed, would run what a
// stranger wrote. What the schema says a table is, SQLite is asked: the text may say anything.
void require_plain_tables(const Connection& db) {
    for (const char* table :
         {"llm_meta", "llm_param", "llm_tile", "llm_token", "llm_merge", "llm_plan"}) {
        const std::string type = db.table_type(table);
        if (type.empty()) continue;  // what needs it says that it is missing
        if (type != "table")
            fail("{}: {} is a {}, not a table; import the model again", db.name(), table, type);
        Query computed(db, "SELECT name FROM pragma_table_xinfo(?) WHERE hidden <> 0",
                       std::string_view(table));
        if (computed.next())
            fail("{}: the column {} of {} is computed; import the model again", db.name(),
                 computed.as_text(0), table);
    }
}

}  // namespace

std::string explain_model_db(const std::string& name, const SqliteFault& fault) {
    switch (fault.code) {
        case SQLITE_INTERRUPT:  // only what watches over the database does that
            return fmt::format(
                "{}: the database file is damaged (a table does not end); import the model again",
                name);
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
            return fmt::format("{}: the database file is damaged ({}); import the model again",
                               name, fault.says);
        case SQLITE_ERROR:
        case SQLITE_ABORT:
            return fmt::format("{}: not what was imported ({}); import the model again", name,
                               fault.says);
        default:
            return explain_plainly(name, fault);
    }
}

ModelDb::ModelDb(const std::filesystem::path& path) : path_(path) {
    require_readable_file(path);
    refuse_companions(path);
    const std::string name = path.string();
    const std::string not_ours = name + ": not a model database (llmsql-import makes one)";
    db_ = Connection(path, {.explain = explain_model_db});
    sqlite3* const raw = db_.get();
    check_header(raw, name, not_ours);
    sqlite3_limit(raw, SQLITE_LIMIT_LENGTH, kLongestValue);
    sqlite3_limit(raw, SQLITE_LIMIT_ATTACHED, 0);
    // A row takes ten bytes at least, and no statement of ours that many steps a byte.
    const auto bytes = static_cast<int64_t>(bytes_of_file(path));
    steps_ = std::make_unique<StepLimit>(StepLimit{raw, 10'000'000 + 8 * bytes});
    sqlite3_progress_handler(raw, kStepsBetween, watch_steps, steps_.get());

    if (pragma(db_, "PRAGMA application_id") != kModelApplicationId) fail("{}", not_ours);
    format_ = pragma(db_, "PRAGMA user_version");
    if (format_ < kOldestModelFormat || format_ > kModelFormatVersion)
        fail(
            "{}: model database format {}, this program reads formats {} to {}; import the model "
            "again",
            name, format_, kOldestModelFormat, kModelFormatVersion);
    // One read transaction for life: a writer is told BUSY, and what was checked stays so.
    db_.execute("BEGIN");
    require_plain_tables(db_);
    db_.integer("SELECT 1 FROM llm_meta LIMIT 1");
    file_ = ModelFile::of(name);
    if (db_.has_moved() || !file_->is_at(name))
        fail("{}: was replaced while it was opened; try again", name);
    lock_ = file_->lock_out_writers();
}

std::optional<std::string> ModelDb::meta(const std::string& key) const {
    Query query(db_, "SELECT value FROM llm_meta WHERE key = ?", key);
    if (!query.next() || query.is_null(0)) return std::nullopt;
    return query.as_text(0);
}

std::vector<ParamEntry> ModelDb::catalogue() const {
    const std::string where = path_.string();
    Query query(db_, "SELECT id, name, type, rows, cols FROM llm_param ORDER BY id");
    std::vector<ParamEntry> entries;
    while (query.next()) {
        const std::string type = query.as_text(2);
        ParamEntry entry;
        entry.name = query.as_text(1);
        if (query.as_integer(0) != static_cast<int64_t>(entries.size()) + 1)
            fail("{}: llm_param: ids must run from 1 without a gap, import the model again", where);
        const auto weight_type = weight_type_named(type);
        if (!weight_type)
            fail("{}: parameter {} has the unknown type '{}'", where, entry.name, type);
        entry.type = *weight_type;
        if (const int64_t since = format_of(entry.type).since; format_ < since)
            fail(
                "{}: parameter {} is {} as model database format {} has it, this program reads it "
                "from format {} on; import the model again (llmsql-import)",
                where, entry.name, type, format_, since);
        if (!query.is_null(3)) entry.shape.rows = query.as_integer(3);
        entry.shape.cols = query.as_integer(4);
        if (!is_plausible(entry.shape))
            fail("{}: parameter {} has the impossible shape {}", where, entry.name,
                 describe(entry));
        entries.push_back(std::move(entry));
    }
    return entries;
}

}  // namespace llmsql
