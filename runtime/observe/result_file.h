// SPDX-License-Identifier: MIT
// ResultFile: an SQLite database that a run writes: there whole, or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "common/files.h"
#include "database/output.h"
#include "sqlite/statement.h"

namespace llmsql {

inline constexpr std::string_view kProfileObjects[] = {"table run",
                                                       "table phase",
                                                       "table statement",
                                                       "table statement_time",
                                                       "view slowest_operator",
                                                       "view layer_time",
                                                       "view io_wait"};
inline constexpr DatabaseKind kProfileDatabase{0x6c6d7072, "a profile", kProfileObjects};  // 'lmpr'

inline constexpr std::string_view kTraceObjects[] = {"table trace_step", "table trace_value"};
inline constexpr DatabaseKind kTraceDatabase{0x6c6d7472, "a trace", kTraceObjects};  // 'lmtr'

class ResultFile {
  public:
    /// Begins a database beside `path` under a temporary name. Fails where a file is already that
    /// is neither empty nor an earlier result of this kind (database/output.h).
    ResultFile(const std::filesystem::path& path, const DatabaseKind& kind);
    ResultFile(const ResultFile&) = delete;
    ResultFile& operator=(const ResultFile&) = delete;

    /// The connection; its errors name the path that the file is to get.
    const Connection& db() const { return db_; }

    /// All is written: ends the transaction, which flushes, and renames.
    void commit();

  private:
    std::string name_;
    DatabaseKind kind_;
    TemporaryFile file_;
    Connection db_;  // to it, closed before
};

}  // namespace llmsql
