// SPDX-License-Identifier: MIT
// Writing a database beside its place. See result_file.h.
#include "runtime/observe/result_file.h"

#include "common/error.h"

namespace llmsql {

ResultFile::ResultFile(const std::filesystem::path& path, const DatabaseKind& kind)
    : name_(path.string()), kind_(kind), file_(fresh_output_path(path, kind)) {
    db_ = Connection(file_.name(), {.access = Access::write, .name = name_, .ours = true});
    // Until it is renamed nobody knows of it: a journal would protect nothing.
    db_.execute("PRAGMA journal_mode = OFF");
    db_.execute(fmt::format("PRAGMA application_id = {}", kind.application_id));
    db_.execute("BEGIN");
}

void ResultFile::commit() {
    db_.execute("COMMIT");
    db_.close();
    database_output_path(name_, kind_);  // a run takes its time
    file_.publish();
}

}  // namespace llmsql
