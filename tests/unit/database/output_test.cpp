// SPDX-License-Identifier: MIT
// What a database may replace.
#include "database/output.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>

#include "common/error.h"
#include "common/model_format.h"
#include "tests/unit/temporary_folder.h"

namespace llmsql {
namespace {

namespace fs = std::filesystem;

class DatabaseOutputTest : public testing::Test {
  protected:
    // Runs SQL on a database, which stays open while what is returned does.
    std::shared_ptr<sqlite3> run(const fs::path& path, const std::string& sql) const {
        sqlite3* raw = nullptr;
        sqlite3_open(path.c_str(), &raw);
        const std::shared_ptr<sqlite3> db(raw, sqlite3_close);
        EXPECT_EQ(sqlite3_exec(raw, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
            << sqlite3_errmsg(raw);
        return db;
    }

    // Why a model may not be written there; empty: it may.
    std::string refusal(const fs::path& path) const {
        try {
            database_output_path(path, kModelDatabase);
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }

    // With a model's tables and `more`.
    fs::path model(const std::string& more = "") const {
        fs::remove(path_ = folder_ / "m # 100%?.db");
        run(path_, "PRAGMA application_id = " + std::to_string(kModelApplicationId) +
                       "; CREATE TABLE llm_meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
                       "CREATE TABLE llm_tile(id INTEGER PRIMARY KEY, param, first_row);"
                       "CREATE TABLE llm_token(id INTEGER PRIMARY KEY, piece UNIQUE);"
                       "CREATE INDEX llm_tile_param ON llm_tile(param, first_row);" +
                       kPlanTable + ";" + more);
        return path_;
    }

    test::TemporaryFolder folder_;
    mutable fs::path path_;
};

TEST_F(DatabaseOutputTest, WhatIsOursIsReplaced) {
    EXPECT_EQ(refusal(folder_ / "none"), "");
    std::ofstream(folder_ / "empty").close();
    EXPECT_EQ(refusal(folder_ / "empty"), "");
    EXPECT_EQ(refusal(model()), "");
    EXPECT_EQ(refusal(model("ANALYZE")), "");
    EXPECT_EQ(refusal(model("PRAGMA journal_mode = WAL; PRAGMA journal_mode = DELETE")), "");
    // Also where somebody reads it, or keeps its journal.
    const auto reader = run(model(), "BEGIN; SELECT * FROM llm_meta");
    EXPECT_EQ(refusal(path_), "");
    run(model(), "PRAGMA journal_mode = PERSIST; INSERT INTO llm_meta VALUES (1, 2)");
    EXPECT_TRUE(fs::exists(path_.string() + "-journal"));
    EXPECT_EQ(refusal(path_), "");
}

TEST_F(DatabaseOutputTest, WhatIsOfSomebodyElsesStays) {
    std::ofstream(folder_ / "text") << std::string(2000, 'x');
    EXPECT_NE(refusal(folder_ / "text").find("is not a database"), std::string::npos);
    run(folder_ / "app.db", "CREATE TABLE note(text)");
    EXPECT_NE(refusal(folder_ / "app.db").find("is a database, but not a model database"),
              std::string::npos);
    // Tables alone do not make it ours.
    run(folder_ / "like.db", "CREATE TABLE llm_meta(key TEXT PRIMARY KEY, value)");
    EXPECT_NE(refusal(folder_ / "like.db").find("is a database, but not"), std::string::npos);
    for (const char* more :
         {"CREATE TABLE note(text)", "CREATE VIEW note AS SELECT 1",
          "CREATE INDEX note ON llm_tile(param)",
          "CREATE TRIGGER note AFTER INSERT ON llm_meta BEGIN SELECT 1; END",
          "CREATE TRIGGER llm_meta AFTER INSERT ON llm_meta BEGIN SELECT 1; END",
          "CREATE VIEW llm_param AS SELECT 1", "CREATE VIRTUAL TABLE note USING fts5(text)"}) {
        const std::string said = refusal(model(more));
        EXPECT_NE(said.find("of somebody else's"), std::string::npos) << more << ": " << said;
    }
}

TEST_F(DatabaseOutputTest, WhatCannotBeLookedIntoStays) {
    EXPECT_NE(refusal(folder_.path()).find("is a directory"), std::string::npos);
    ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
    EXPECT_NE(refusal(folder_ / "pipe").find("is not a regular file"), std::string::npos);
    // Ours by its header, and then nonsense.
    fs::resize_file(model(), 100);
    EXPECT_NE(refusal(path_).find("cannot be told"), std::string::npos) << refusal(path_);
    model();
    std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(100);
    file << std::string(1000, '\xff') << std::flush;
    EXPECT_NE(refusal(path_).find("cannot be told"), std::string::npos) << refusal(path_);
    // What a log holds may be anybody's.
    const auto writer = run(model(), "PRAGMA journal_mode = WAL; CREATE TABLE note(text)");
    EXPECT_NE(refusal(path_).find("-wal is beside it"), std::string::npos);
}

TEST_F(DatabaseOutputTest, ASymbolicLinkLeadsToWhatIsReplaced) {
    run(folder_ / "app.db", "CREATE TABLE note(text)");
    fs::create_symlink(folder_ / "app.db", folder_ / "link.db");
    EXPECT_NE(refusal(folder_ / "link.db"), "");
    fs::create_symlink(model(), folder_ / "ours.db");
    EXPECT_EQ(database_output_path(folder_ / "ours.db", kModelDatabase), fs::canonical(path_));
}

}  // namespace
}  // namespace llmsql
