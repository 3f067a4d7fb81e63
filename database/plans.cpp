// SPDX-License-Identifier: MIT
// Reading llm_plan. See plans.h.
#include "database/plans.h"

#include "common/error.h"
#include "common/files.h"
#include "database/as_it_is.h"

namespace llmsql {

InstalledPlans plans_installed_in(const std::filesystem::path& path) {
    InstalledPlans plans;
    std::error_code none;
    if (!std::filesystem::is_regular_file(path, none) ||
        std::filesystem::file_size(path, none) == 0)
        return plans;
    AsItIs db(path);
    const auto table = db.query("SELECT 1 FROM sqlite_master WHERE name = 'llm_plan'");
    if (db.code == SQLITE_DONE) return plans;
    if (db.code == SQLITE_ROW) db.code = SQLITE_OK;
    const auto catalogue = db.query("SELECT value FROM llm_meta WHERE key = 'catalogue'");
    if (db.code == SQLITE_ROW) plans.catalogue = AsItIs::text(catalogue, 0);
    if (db.code == SQLITE_ROW || db.code == SQLITE_DONE) db.code = SQLITE_OK;
    const auto rows = db.query("SELECT name, sql FROM llm_plan");
    for (; db.code == SQLITE_ROW; db.code = sqlite3_step(rows.get()))
        plans.texts.emplace(AsItIs::text(rows, 0), AsItIs::text(rows, 1));
    if (db.code != SQLITE_DONE) plans.unreadable = db.message();
    return plans;
}

NoWriters::NoWriters(const std::filesystem::path& path) {
    constexpr size_t kReadVersion = 19;  // in the header: 2 with a write-ahead log
    std::error_code none;
    if (!std::filesystem::is_regular_file(path, none)) return;
    const std::string start = read_start(path, kReadVersion + 1);
    if (start.size() <= kReadVersion || start[kReadVersion] != 1) return;
    sqlite3* raw = nullptr;
    int code = sqlite3_open_v2(sqlite_name(path).c_str(), &raw, SQLITE_OPEN_READONLY, nullptr);
    reader_.reset(raw);
    if (raw) sqlite3_busy_timeout(raw, 1000);
    if (code == SQLITE_OK)
        code = sqlite3_exec(raw, "BEGIN; SELECT 1 FROM sqlite_master", nullptr, nullptr, nullptr);
    if (code == SQLITE_BUSY)
        fail("{}: another program is writing to it, so it stays as it is: import again",
             path.string());
}

}  // namespace llmsql
