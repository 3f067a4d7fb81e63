// SPDX-License-Identifier: MIT
// ModelDb: a model.db opened for reading, with one read transaction held for its life.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/byte_lock.h"
#include "common/catalogue.h"
#include "common/model_format.h"
#include "runtime/weights/model_file.h"
#include "sqlite/connection.h"

namespace llmsql {

/// Ends statements on a connection that run on and on: pages of a damaged b-tree may lead to each
/// other, many times over.
struct StepLimit {
    sqlite3* db = nullptr;
    int64_t most = 0;                   // steps of SQLite's virtual machine in one run
    sqlite3_stmt* statement = nullptr;  // the one that ran when it was looked at last
    int run = 0;                        // which execution of it that was
    int64_t steps = 0;                  // of that run
    std::function<bool()> interrupted = nullptr;
};

/// The words of errors about a model database: where it is not as it was imported, what to do.
std::string explain_model_db(const std::string& name, const SqliteFault& fault);

/// Not thread-safe: one thread at a time. Errors name the file and what is wrong with it.
class ModelDb {
  public:
    /// Opens read-only and immutable-in-practice, through SQLite alone until it is known to be a
    /// model database (common/shared_file.h says why). Refuses a file that is none, is
    /// of another format version, is in write-ahead-log mode, or has a log or hot journal beside
    /// it; and one whose tables are not plain tables, since a view or a generated column is a
    /// program. Statements that step further than the file has rows are ended.
    explicit ModelDb(const std::filesystem::path& path);
    ModelDb(const ModelDb&) = delete;
    ModelDb& operator=(const ModelDb&) = delete;

    const std::filesystem::path& path() const { return path_; }

    /// What is asked now and then while a statement runs; true ends the statement, which then
    /// fails. Must not throw. Null: nothing is asked, as at first.
    void on_interrupt(std::function<bool()> interrupted) {
        steps_->interrupted = std::move(interrupted);
    }

    /// The read-only connection, for queries over the model's tables. Its errors say what to do.
    const Connection& connection() const { return db_; }

    /// The file as plain bytes: the one that the connection is on.
    const std::shared_ptr<ModelFile>& file() const { return file_; }

    /// By which rule its matrices are cut into tiles: that of its format.
    TileCut cut() const { return cut_of_format(format_); }

    /// llm_meta's value under a key, if there is one.
    std::optional<std::string> meta(const std::string& key) const;

    /// llm_param in id order.
    std::vector<ParamEntry> catalogue() const;

  private:
    std::filesystem::path path_;
    int64_t format_ = 0;  // its version
    std::shared_ptr<ModelFile> file_;
    std::unique_ptr<const ReadersLock> lock_;
    std::unique_ptr<StepLimit> steps_;  // outlives the connection
    Connection db_;
};

}  // namespace llmsql
