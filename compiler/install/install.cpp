// SPDX-License-Identifier: MIT
// Writing a plan into a model database. See install.h. The one place in compiler/ that knows
// SQLite.
#include "compiler/install/install.h"

#include <cstring>

#include "common/error.h"
#include "common/files.h"
#include "common/model_format.h"
#include "sqlite/statement.h"

namespace llmsql::compiler {
namespace {

constexpr int kPatienceMilliseconds = 1000;

std::string not_ours(const std::string& name) {
    return fmt::format("{}: not a model database (llmsql-import makes one)", name);
}

std::string explain(const std::string& name, const SqliteFault& fault) {
    switch (fault.code) {
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
            return fmt::format(
                "{}: the database is in use: end the programs that run it, then install again",
                name);
        case SQLITE_NOTADB:
            return not_ours(name);
        default:
            return fmt::format(
                "{}: cannot install the plan: {}", name,
                fault.system_errno != 0 ? std::strerror(fault.system_errno) : fault.says);
    }
}

std::string meta(const Connection& db, std::string_view key) {
    Query query(db, "SELECT value FROM llm_meta WHERE key = ?", key);
    return query.next() ? query.as_text(0) : std::string();
}

/// Where a transaction failed half-way, SQLite leaves what undoes it to whoever opens the file
/// next, which is best done at once. False where that fails too, or cannot be told.
bool is_undone(const std::filesystem::path& path) {
    try {
        if (!unfinished_log(path)) return true;
        const Connection db(path, {.access = Access::write});
        db.integer("SELECT count(*) FROM sqlite_master");
        return !unfinished_log(path);
    } catch (const Error&) {
        return false;
    }
}

}  // namespace

void install_plan(const std::filesystem::path& path, const std::string& name,
                  const std::string& sql, const PlanIdentity& identity) {
    require_readable_file(path);
    Connection db(path,
                  {.access = Access::write, .explain = explain, .patience = kPatienceMilliseconds});
    const std::optional<int64_t> version = db.integer("PRAGMA user_version");
    if (db.integer("PRAGMA application_id") != kModelApplicationId ||
        version < kOldestModelFormat || version > kModelFormatVersion)
        fail("{}", not_ours(path.string()));
    db.execute("BEGIN IMMEDIATE");
    const std::string model = meta(db, "model"), catalogue = meta(db, "catalogue");
    // Equal catalogues are of the same parameters, stored alike, whatever the models are called.
    if (catalogue != identity.catalogue)
        fail(
            "{}: holds the model '{}' (catalogue {}), but the plan is for '{}' (catalogue {}): "
            "install it in the database that was imported with its model file",
            path.string(), model, catalogue, identity.model, identity.catalogue);
    if (version < kCutSince && !identity.renumbered.empty())
        fail(
            "{}: is of an earlier format, which cuts {} into other tiles than this plan says: "
            "import the model again (llmsql-import)",
            path.string(), identity.renumbered);
    try {
        db.execute(kPlanTable);
        Query(db, "INSERT OR REPLACE INTO llm_plan(name, sql) VALUES (?, ?)", name, sql).run();
        db.execute("COMMIT");
    } catch (const Error& error) {
        db.close();
        if (!is_undone(path))
            fail(
                "{}; the database cannot be read until {}-journal has put it back as it was: "
                "install again, or open it once with sqlite3, when that is mended",
                error.what(), path.string());
        throw;
    }
    if (db.has_moved())
        fail(
            "{}: was replaced while the plan was being installed, by an import perhaps: install it "
            "again",
            path.string());
    if (model != identity.model)
        report(
            fmt::format("llmsqlc: note: {} holds a model of another name, '{}', with the same "
                        "parameters as '{}'\n",
                        printable(path.string()), printable(model), printable(identity.model)));
}

}  // namespace llmsql::compiler
