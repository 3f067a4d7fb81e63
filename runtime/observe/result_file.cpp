// SPDX-License-Identifier: MIT
// Writing a database beside its place. See result_file.h.
#include "runtime/observe/result_file.h"

#include "common/error.h"

namespace llmsql {

ResultFile::ResultFile(const std::filesystem::path& path, const DatabaseKind& kind)
    : name_(path.string()), kind_(kind), file_(fresh_output_path(path, kind)) {
    sqlite3* raw = nullptr;
    const int code = sqlite3_open_v2(file_.name().c_str(), &raw,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    connection_.reset(raw);
    if (code != SQLITE_OK) fail("{}: {}", name_, sqlite3_errstr(code));
    // Until it is renamed nobody knows of it: a journal would protect nothing.
    execute("PRAGMA journal_mode = OFF");
    execute(fmt::format("PRAGMA application_id = {}", kind.application_id).c_str());
    execute("BEGIN");
}

void ResultFile::execute(const char* sql) const {
    if (sqlite3_exec(db(), sql, nullptr, nullptr, nullptr) != SQLITE_OK)
        fail("{}: {}", name_, sqlite3_errmsg(db()));
}

void ResultFile::commit() {
    execute("COMMIT");
    connection_.reset();
    database_output_path(name_, kind_);  // a run takes its time
    file_.publish();
}

}  // namespace llmsql
