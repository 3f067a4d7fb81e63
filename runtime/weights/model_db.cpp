// SPDX-License-Identifier: MIT
// Opening a model.db. See model_db.h; the format is docs/model-db.md.
#include "runtime/weights/model_db.h"

#include <cstring>

#include "common/error.h"
#include "common/files.h"
#include "common/model_format.h"
#include "runtime/weights/model_file.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

int64_t pragma(sqlite3* db, const char* sql, const std::string& where) {
    const Statement statement = prepare(db, sql, where);
    if (!step(statement.get(), where))
        fail(
            "{}: this SQLite was built with SQLITE_OMIT_SCHEMA_VERSION_PRAGMAS: llmsql cannot do "
            "without",
            where);
    return sqlite3_column_int64(statement.get(), 0);
}

// A log or journal beside the file means that it is being written, or that a writer died: what a
// read-only connection would see of it is not what was imported.
void refuse_companions(const std::filesystem::path& path) {
    if (const auto log = unfinished_log(path))
        fail(
            "{}: a {} file lies beside it, so the database is being written or a writer "
            "died; open it once with sqlite3 to recover it, or import it again",
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
void require_plain_tables(sqlite3* db, const std::string& where) {
    const Statement computed =
        prepare(db, "SELECT name FROM pragma_table_xinfo(?) WHERE hidden <> 0", where);
    for (const char* table :
         {"llm_meta", "llm_param", "llm_tile", "llm_token", "llm_merge", "llm_plan"}) {
        const ResetAtExit reset(computed.get());
        const std::string type = table_type(db, table, where);
        if (type.empty()) continue;  // what needs it says that it is missing
        if (type != "table")
            fail("{}: {} is a {}, not a table; import the model again", where, table, type);
        sqlite3_bind_text(computed.get(), 1, table, -1, SQLITE_STATIC);
        if (step(computed.get(), where))
            fail("{}: the column {} of {} is computed; import the model again", where,
                 column_text(computed.get(), 0), table);
    }
}

}  // namespace

ModelDb::ModelDb(const std::filesystem::path& path) : path_(path) {
    require_readable_file(path);
    refuse_companions(path);
    const std::string name = path.string();
    const std::string not_ours = name + ": not a model database (llmsql-import makes one)";
    sqlite3* raw = nullptr;
    const int code = sqlite3_open_v2(sqlite_name(name).c_str(), &raw,
                                     SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, nullptr);
    Connection connection(raw);
    if (code != SQLITE_OK) fail("{}: {}", name, raw ? sqlite3_errmsg(raw) : sqlite3_errstr(code));
    // The database comes from elsewhere: nothing in its schema may run code.
    sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_extended_result_codes(raw, 1);
    check_header(raw, name, not_ours);
    sqlite3_limit(raw, SQLITE_LIMIT_LENGTH, kLongestValue);
    sqlite3_limit(raw, SQLITE_LIMIT_ATTACHED, 0);
    // A row takes ten bytes at least, and no statement of ours that many steps a byte.
    const auto bytes = static_cast<int64_t>(bytes_of_file(path));
    steps_ = std::make_unique<StepLimit>(StepLimit{raw, 10'000'000 + 8 * bytes});
    sqlite3_progress_handler(raw, kStepsBetween, watch_steps, steps_.get());

    if (pragma(raw, "PRAGMA application_id", name) != kModelApplicationId) fail("{}", not_ours);
    const int64_t version = pragma(raw, "PRAGMA user_version", name);
    if (version != kModelFormatVersion)
        fail("{}: model database format {}, this program reads format {}; import the model again",
             name, version, kModelFormatVersion);
    // One read transaction for life: a writer is told BUSY, and what was checked stays so.
    step(prepare(raw, "BEGIN", name).get(), name);
    require_plain_tables(raw, name);
    step(prepare(raw, "SELECT 1 FROM llm_meta LIMIT 1", name).get(), name);
    file_ = ModelFile::of(name);
    int moved = 0;  // left so by what has no such question to answer
    sqlite3_file_control(raw, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (moved || !file_->is_at(name)) fail("{}: was replaced while it was opened; try again", name);
    db_ = connection.release();
}

ModelDb::~ModelDb() {
    sqlite3_close_v2(db_);
}

std::optional<std::string> ModelDb::meta(const std::string& key) const {
    const std::string where = path_.string();
    const Statement query = prepare(db_, "SELECT value FROM llm_meta WHERE key = ?", where);
    sqlite3_bind_text(query.get(), 1, key.c_str(), -1, SQLITE_STATIC);
    if (!step(query.get(), where) || sqlite3_column_type(query.get(), 0) == SQLITE_NULL)
        return std::nullopt;
    return column_text(query.get(), 0);
}

std::vector<ParamEntry> ModelDb::catalogue() const {
    const std::string where = path_.string();
    const Statement query =
        prepare(db_, "SELECT id, name, type, rows, cols FROM llm_param ORDER BY id", where);
    std::vector<ParamEntry> entries;
    while (step(query.get(), where)) {
        const std::string type = column_text(query.get(), 2);
        ParamEntry entry;
        entry.name = column_text(query.get(), 1);
        if (sqlite3_column_int64(query.get(), 0) != static_cast<int64_t>(entries.size()) + 1)
            fail("{}: llm_param: ids must run from 1 without a gap, import the model again", where);
        const auto weight_type = weight_type_named(type);
        if (!weight_type)
            fail("{}: parameter {} has the unknown type '{}'", where, entry.name, type);
        entry.type = *weight_type;
        if (sqlite3_column_type(query.get(), 3) != SQLITE_NULL)
            entry.shape.rows = sqlite3_column_int64(query.get(), 3);
        entry.shape.cols = sqlite3_column_int64(query.get(), 4);
        if (!is_plausible(entry.shape))
            fail("{}: parameter {} has the impossible shape {}", where, entry.name,
                 describe(entry));
        entries.push_back(std::move(entry));
    }
    return entries;
}

}  // namespace llmsql
