// ResultFile: an SQLite database that a run writes: there whole, or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "common/files.h"
#include "runtime/storage/sqlite.h"

namespace llmsql {

inline constexpr uint32_t kProfileApplicationId = 0x6c6d7072;  // 'lmpr'
inline constexpr uint32_t kTraceApplicationId = 0x6c6d7472;    // 'lmtr'

class ResultFile {
  public:
    /// Begins a database beside `path` under a temporary name. Fails where a file is already that
    /// is neither empty nor an earlier result of this kind (`application_id`).
    ResultFile(const std::filesystem::path& path, uint32_t application_id, std::string_view kind);
    ResultFile(const ResultFile&) = delete;
    ResultFile& operator=(const ResultFile&) = delete;

    sqlite3* db() const { return connection_.get(); }
    const std::string& name() const { return name_; }
    void execute(const char* sql) const;

    /// All is written: ends the transaction, which flushes, and renames.
    void commit();

  private:
    std::string name_;
    TemporaryFile file_;
    Connection connection_;  // to it, closed before
};

}  // namespace llmsql
