// SPDX-License-Identifier: MIT
// A model.db with nothing in it but a small tokenizer, for the tests of this folder.
#pragma once

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "common/model_format.h"

namespace llmsql {

/// Made by SQL in a temporary file that goes away with it.
class VocabularyDb {
  public:
    explicit VocabularyDb(const std::string& sql) {
        static int count = 0;
        path_ = std::filesystem::temp_directory_path() /
                ("llmsql-text-" + std::to_string(::getpid()) + "-" + std::to_string(count++));
        sqlite3* db = nullptr;
        sqlite3_open(path_.c_str(), &db);
        run(db, "PRAGMA synchronous = OFF; BEGIN");
        run(db, "PRAGMA application_id = " + std::to_string(kModelApplicationId));
        run(db, "PRAGMA user_version = " + std::to_string(kModelFormatVersion));
        run(db,
            "CREATE TABLE llm_meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
            "CREATE TABLE llm_token(id INTEGER PRIMARY KEY, piece BLOB NOT NULL, kind INTEGER NOT "
            "NULL, score REAL NOT NULL);"
            "CREATE TABLE llm_merge(left INTEGER, right INTEGER, rank INTEGER NOT NULL, merged "
            "INTEGER NOT NULL, PRIMARY KEY(left, right)) WITHOUT ROWID;"
            "CREATE INDEX llm_token_piece ON llm_token(piece);"
            "CREATE INDEX llm_token_special ON llm_token(kind) WHERE kind IN (3, 4);");
        run(db, sql);
        run(db, "COMMIT");
        sqlite3_close(db);
    }
    VocabularyDb(const VocabularyDb&) = delete;
    VocabularyDb& operator=(const VocabularyDb&) = delete;
    ~VocabularyDb() { std::filesystem::remove(path_); }

    const std::filesystem::path& path() const { return path_; }

  private:
    static void run(sqlite3* db, const std::string& sql) {
        char* message = nullptr;
        sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &message);
        EXPECT_STREQ(message, nullptr) << sql;
        sqlite3_free(message);
    }

    std::filesystem::path path_;
};

}  // namespace llmsql
