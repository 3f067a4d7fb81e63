// ModelDb: a model.db opened for reading, with one read transaction held for its life.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/catalogue.h"
#include "runtime/storage/sqlite_api.h"

namespace llmsql {

/// Not thread-safe: one thread at a time. Errors name the file and what is wrong with it.
class ModelDb {
  public:
    /// Opens read-only and immutable-in-practice: refuses a file that is not a model database, is
    /// of another format version, is in write-ahead-log mode, or has a log or hot journal beside
    /// it.
    explicit ModelDb(const std::filesystem::path& path);
    ModelDb(const ModelDb&) = delete;
    ModelDb& operator=(const ModelDb&) = delete;
    ~ModelDb();

    const std::filesystem::path& path() const { return path_; }

    /// The read-only connection, for prepared statements over llm_token, llm_merge and llm_meta.
    sqlite3* handle() const { return db_; }

    /// llm_meta's value under a key, if there is one.
    std::optional<std::string> meta(const std::string& key) const;

    /// llm_param in id order.
    std::vector<ParamEntry> catalogue() const;

  private:
    std::filesystem::path path_;
    sqlite3* db_ = nullptr;
};

}  // namespace llmsql
