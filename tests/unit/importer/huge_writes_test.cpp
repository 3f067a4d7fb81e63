// SPDX-License-Identifier: MIT
// Writing a database in stretches of 2 MiB: the file is what SQLite writes without, whatever is
// read in between, and what cannot be written fails the transaction.
#include "importer/huge_writes.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "common/files.h"
#include "sqlite/connection.h"
#include "sqlite/statement.h"
#include "tests/unit/error_of.h"
#include "tests/unit/temporary_folder.h"

namespace llmsql::test {
namespace {

std::string explain_code(const std::string&, const SqliteFault& fault) {
    return "code " + std::to_string(fault.code) + ", errno " + std::to_string(huge_writes_errno());
}

class HugeWrites : public testing::Test {
  protected:
    /// A new database, with so many stretches; none: as without the VFS.
    Connection open(const std::string& name, size_t stretches, int flags = O_RDWR) {
        const std::filesystem::path path = folder_.write(name, "");
        descriptor_ = Descriptor(::open(path.c_str(), flags | O_CLOEXEC));
        Connection db(path, {.access = Access::write,
                             .explain = explain_code,
                             .ours = true,
                             .vfs = stretches > 0 ? huge_writes_vfs() : nullptr});
        db.execute(
            "PRAGMA page_size = 65536; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = 8");
        if (stretches > 0) db.check(write_hugely(db.get(), descriptor_.get(), stretches));
        return db;
    }

    TemporaryFolder folder_;
    Descriptor descriptor_;
};

/// Rows of all sizes, some of them changed, read and deleted while they are written.
std::string written(const Connection& db) {
    std::mt19937 random(3);
    std::string read;
    db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX i ON t(length(x))");
    for (int transaction = 0; transaction < 2; ++transaction) {
        db.execute("BEGIN");
        for (int i = 0; i < 60; ++i) {
            const size_t size = random() % (i % 10 == 0 ? 2'000'000 : 90'000);
            Query(db, "INSERT INTO t(x) VALUES (?)",
                  std::string(size, static_cast<char>('a' + i % 26)))
                .run();
            const auto any = static_cast<int64_t>(random() % 60);
            if (i % 7 == 0) Query(db, "UPDATE t SET x = x || 'more' WHERE id = ?", any).run();
            if (i % 11 == 0) Query(db, "DELETE FROM t WHERE id = ?", any).run();
            Query row(db, "SELECT substr(x, -3) || length(x) FROM t WHERE id = ?", any);
            if (row.next()) read += row.as_text(0);
        }
        db.execute("CREATE INDEX j" + std::to_string(transaction) + " ON t(id, length(x)); COMMIT");
    }
    return read + std::to_string(*db.integer("SELECT sum(length(x)) FROM t"));
}

TEST_F(HugeWrites, MakeTheSameFile) {
    const std::string read = written(open("plain", 0));
    const std::string plain = read_file(folder_.path() / "plain");
    EXPECT_GT(plain.size(), 8u << 20);
    for (const size_t stretches : {1, 2, 8}) {
        EXPECT_EQ(written(open("huge", stretches)), read) << stretches;
        EXPECT_TRUE(read_file(folder_.path() / "huge") == plain) << stretches;
    }
}

TEST_F(HugeWrites, AreWholeWhenATransactionHasEnded) {
    const Connection db = open("db", 8);
    db.execute("BEGIN; CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(3000000)); COMMIT");
    const std::string content = read_file(folder_.path() / "db");
    EXPECT_EQ(
        content.size(),
        *db.integer("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"));
    db.execute("BEGIN; UPDATE t SET x = 'other'; COMMIT");
    EXPECT_FALSE(read_file(folder_.path() / "db") == content);
}

TEST_F(HugeWrites, FailTheTransactionWhoseWritesFail) {
    for (const int blob : {1000, 30'000'000}) {
        const Connection db = open("db", 4, O_RDONLY);
        db.execute("BEGIN");
        const std::string error = error_of([&] {
            db.execute("CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(" + std::to_string(blob) +
                       ")); COMMIT");
        });
        EXPECT_EQ(error, "code 10, errno " + std::to_string(EBADF)) << blob;
    }
}

TEST_F(HugeWrites, AreRefusedOfAnotherVfs) {
    const Connection db(folder_.write("db", ""), {.access = Access::write, .ours = true});
    EXPECT_EQ(write_hugely(db.get(), 0, 4), SQLITE_NOTFOUND);
}

}  // namespace
}  // namespace llmsql::test
