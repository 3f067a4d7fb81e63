// SPDX-License-Identifier: MIT
// Reading llm_plan. See plans.h.
#include "database/plans.h"

#include <new>

#include "common/error.h"
#include "common/files.h"
#include "sqlite/statement.h"

namespace llmsql {

InstalledPlans plans_installed_in(const std::filesystem::path& path) {
    InstalledPlans plans;
    std::error_code none;
    if (!std::filesystem::is_regular_file(path, none) ||
        std::filesystem::file_size(path, none) == 0)
        return plans;
    const Explain says = [](const std::string&, const SqliteFault& fault) { return fault.says; };
    try {
        const Connection db(path, {.access = Access::as_it_is, .explain = says});
        if (!db.integer("SELECT 1 FROM sqlite_master WHERE name = 'llm_plan'")) return plans;
        Query catalogue(db, "SELECT value FROM llm_meta WHERE key = 'catalogue'");
        if (catalogue.next()) plans.catalogue = catalogue.as_text(0);
        Query rows(db, "SELECT name, sql FROM llm_plan");
        while (rows.next()) plans.texts.emplace(rows.as_text(0), rows.as_text(1));
    } catch (const Error& error) {
        plans.unreadable = error.what();
    }
    return plans;
}

NoWriters::NoWriters(const std::filesystem::path& path) {
    constexpr size_t kReadVersion = 19;  // in the header: 2 with a write-ahead log
    constexpr int kPatienceMilliseconds = 1000;
    std::error_code none;
    if (!std::filesystem::is_regular_file(path, none)) return;
    const std::string start = read_start(path, kReadVersion + 1);
    if (start.size() <= kReadVersion || start[kReadVersion] != 1) return;
    int code = SQLITE_OK;
    try {
        reader_ = Connection(path, {.patience = kPatienceMilliseconds});
        code = sqlite3_exec(reader_.get(), "BEGIN; SELECT 1 FROM sqlite_master", nullptr, nullptr,
                            nullptr);
    } catch (const Error&) {
        return;  // nobody writes to what cannot be opened
    }
    if (code == SQLITE_NOMEM) throw std::bad_alloc();
    if ((code & 0xff) == SQLITE_BUSY)
        fail("{}: another program is writing to it, so it stays as it is: import again",
             path.string());
}

}  // namespace llmsql
