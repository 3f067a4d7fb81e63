// SPDX-License-Identifier: MIT
// The extension in a program of several threads, with connections of their own and with one for
// all: the answers are those that one thread gets. ThreadSanitizer watches (preset tsan).
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/runtime/tiny_plan.h"

namespace llmsql {
namespace {

using test::TemporaryFolder;
using test::TinyModel;

/// A database in memory that has loaded the extension.
class Connection {
  public:
    Connection() {
        sqlite3_open(":memory:", &db_);
        sqlite3_enable_load_extension(db_, 1);
        char* message = nullptr;
        EXPECT_EQ(sqlite3_load_extension(db_, LLMSQL_LIBRARY, nullptr, &message), SQLITE_OK)
            << message;
        sqlite3_free(message);
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() { EXPECT_EQ(sqlite3_close(db_), SQLITE_OK); }

    sqlite3* get() const { return db_; }

    /// The rows of a query, their columns one after the other, or what is wrong with it.
    std::string rows(const std::string& sql) const {
        std::string text;
        char* message = nullptr;
        const auto add = [](void* to, int count, char** values, char**) {
            for (int i = 0; i < count; ++i)
                *static_cast<std::string*>(to) += std::string(values[i] ? values[i] : "NULL") + "|";
            return 0;
        };
        if (sqlite3_exec(db_, sql.c_str(), add, &text, &message) != SQLITE_OK)
            text = std::string("error: ") + (message ? message : "none");
        sqlite3_free(message);
        return text;
    }

  private:
    sqlite3* db_ = nullptr;
};

/// The tiny model with a character for each token, and its plan.
class ExtensionThreads : public ::testing::Test {
  protected:
    ExtensionThreads() {
        test::tiny_model().write(folder_ / "tiny.db");
        sqlite3* db = nullptr;
        sqlite3_open((folder_ / "tiny.db").c_str(), &db);
        TinyModel::run(db,
                       "INSERT INTO llm_meta VALUES ('tokenizer.kind', 'bpe'),"
                       "  ('tokenizer.pre', 'gpt2'), ('tokenizer.bos', '0'),"
                       "  ('tokenizer.add_bos', '1');"
                       "INSERT INTO llm_token VALUES (0, CAST('<s>' AS BLOB), 3, 0);"
                       "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 49)"
                       "  INSERT INTO llm_token SELECT i, CAST(char(64 + i) AS BLOB), 1, 0 FROM n;"
                       "UPDATE llm_token SET kind = 3, piece = CAST(iif(id = 48, '<end>', '<bye>')"
                       "  AS BLOB) WHERE id > 47;"  // what the plan stops at
                       "CREATE INDEX llm_token_piece ON llm_token(piece);"
                       "CREATE INDEX llm_token_special ON llm_token(kind) WHERE kind IN (3, 4);");
        sqlite3_close(db);
        test::write_text(folder_ / "p.sql",
                         test::with_end(test::plan_start() + std::string(test::kPlanEnd)));
    }

    std::string load(const Connection& connection) const {
        return connection.rows("SELECT llm_load('" + (folder_ / "tiny.db").string() + "', '" +
                               (folder_ / "p.sql").string() + "', '{\"threads\": 2}') IS NOT NULL");
    }

    // One of each kind: alone, several together, chats, what needs no pass, and opening anew.
    static std::string answers(const Connection& connection) {
        return connection.rows(
            "SELECT llm_generate('AB', '{\"n_predict\": 12, \"temperature\": 0, "
            "\"ignore_eos\": true}');"
            "SELECT * FROM llm_batch('SELECT 1, ''A'' UNION ALL SELECT 2, ''BCD''', "
            "'{\"n_predict\": 8, \"seed\": 5, \"ignore_eos\": true}');"
            "SELECT count(*) FROM llm_stream('C', '{\"n_predict\": 5, \"ignore_eos\": true}');"
            "SELECT llm_tokenize('ABC'), llm_logprob('ABCABC');"
            "SELECT llm_unload() >= 0");
    }

    static void at_once(int count, const std::function<void()>& work) {
        std::vector<std::thread> threads;
        for (int i = 0; i < count; ++i) threads.emplace_back(work);
        for (std::thread& thread : threads) thread.join();
    }

    TemporaryFolder folder_;
};

TEST_F(ExtensionThreads, ConnectionsOfTheirOwnAnswerAsOneDoes) {
    const Connection first;
    ASSERT_EQ(load(first), "1|");
    const std::string expected = answers(first);
    ASSERT_EQ(expected.find("error"), std::string::npos) << expected;
    at_once(4, [&] {
        for (int round = 0; round < 3; ++round) {
            const Connection own;
            EXPECT_EQ(load(own), "1|");
            EXPECT_EQ(answers(own), expected);
        }
    });
}

TEST_F(ExtensionThreads, OneConnectionAnswersThemAll) {
    const Connection shared;
    ASSERT_EQ(load(shared), "1|");
    const std::string expected = answers(shared);
    at_once(3, [&] { EXPECT_EQ(answers(shared), expected); });
}

TEST_F(ExtensionThreads, AnotherThreadMayInterrupt) {
    const Connection connection;
    ASSERT_EQ(load(connection), "1|");
    std::atomic<bool> over{false};
    std::thread other([&] {
        while (!over) {
            sqlite3_interrupt(connection.get());
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    });
    const std::string got = connection.rows(
        "SELECT llm_generate('A', '{\"n_predict\": -1, \"ignore_eos\": true, \"keep\": 1}')");
    over = true;
    other.join();
    EXPECT_EQ(got, "error: interrupted");
}

}  // namespace
}  // namespace llmsql
