// SPDX-License-Identifier: MIT
// SessionFile: an SQLite database of sessions, opened to be written. docs/sessions.md has the
// format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "common/byte_lock.h"
#include "sqlite/statement.h"

namespace llmsql {

inline constexpr int64_t kSessionApplicationId = 0x6c6d7373;  // 'lmss'
inline constexpr int64_t kSessionFormatVersion = 2;

/// Not thread-safe. Errors name the file and say what to do; where memory ran out, std::bad_alloc.
class SessionFile {
  public:
    /// Opens the file, or makes it where `make` says so and there is none. Refuses what is no
    /// session file, one of another version, and one whose tables are not as they were made.
    SessionFile(const std::filesystem::path& path, bool make);
    SessionFile(const SessionFile&) = delete;
    SessionFile& operator=(const SessionFile&) = delete;

    std::string name() const { return path_.string(); }
    /// The connection, which queries are made of. Its errors are this file's.
    const Connection& db() const { return db_; }

    /// Begins to write, unless that has begun; what is written stays when commit() says so, and
    /// goes when the file is closed or roll_back() is called.
    void begin();
    void commit();
    void roll_back() noexcept;

  private:
    void make_tables();
    void check_tables(size_t count);
    void renew();

    std::filesystem::path path_;
    std::unique_ptr<const CopyLock> lock_;  // goes after the connection
    Connection db_;
};

}  // namespace llmsql
