// SPDX-License-Identifier: MIT
// Connections, statements and queries: what they bind, read, keep and say.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "common/error.h"
#include "sqlite/statement.h"
#include "tests/unit/error_of.h"
#include "tests/unit/says.h"
#include "tests/unit/temporary_folder.h"

namespace llmsql {
namespace {

using test::TemporaryFolder;

std::string explain(const std::string& name, const SqliteFault& fault) {
    return name + " (" + std::to_string(fault.code) + "): " + fault.says + "\nfor ever";
}

Connection in_memory() {
    return Connection(":memory:",
                      {.access = Access::make, .explain = explain, .name = "the test's"});
}

using test::error_of;

TEST(Query, BindsAndReadsEveryType) {
    const Connection db = in_memory();
    db.execute("CREATE TABLE t(a, b, c, d, e, f, g)");
    const std::string text("ab\0c", 4);
    const std::optional<int64_t> none, some = 7;
    Query(db, "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", int64_t{1} << 40, 2.5, text,
          bytes_of("xyz"), none, some, Bytes())
        .run();
    Query row(db, "SELECT * FROM t");
    ASSERT_TRUE(row.next());
    EXPECT_EQ(row.columns(), 7);
    EXPECT_EQ(row.integer(0), int64_t{1} << 40);
    EXPECT_EQ(row.real(1), 2.5);
    EXPECT_EQ(row.text(2), text);
    EXPECT_EQ(row.blob(3).size(), 3u);
    EXPECT_TRUE(row.is_null(4));
    EXPECT_EQ(row.integer(5), 7);
    EXPECT_FALSE(row.is_null(6));  // no bytes, which are not NULL
    EXPECT_EQ(row.blob(6).size(), 0u);
    EXPECT_EQ(row.find_integer(1), std::nullopt);
    EXPECT_FALSE(row.find_blob(2));
    EXPECT_EQ(row.as_integer(4), 0);
    EXPECT_EQ(row.as_text(4), "");
    EXPECT_FALSE(row.next());
}

TEST(Query, AValueOfAnotherTypeIsSaidWithItsColumn) {
    const Connection db = in_memory();
    Query row(db, "SELECT 'x' AS word, 1 AS number");
    ASSERT_TRUE(row.next());
    EXPECT_SAYS(error_of([&] { row.integer(0); }), "the test's: … 'word' … another type …");
    EXPECT_SAYS(error_of([&] { row.blob(1); }), "the test's: … 'number' … another type …");
    EXPECT_EQ(row.real(1), 1.0);
}

TEST(Query, ErrorsAreInTheConnectionsWordsAndOfOneLine) {
    const Connection db = in_memory();
    db.execute("CREATE TABLE t(a UNIQUE)");
    db.execute("INSERT INTO t VALUES (1)");
    const std::string twice = error_of([&] { Query(db, "INSERT INTO t VALUES (?)", 1).run(); });
    EXPECT_SAYS(twice, "the test's (19): UNIQUE … t.a for ever");
    EXPECT_SAYS(error_of([&] { db.execute("SELECT nonsense"); }),
                "the test's (1): … nonsense for ever");
    EXPECT_CONTAINS(error_of([&] { db.check(SQLITE_ERROR, "doing so"); }),
                    "the test's: doing so (1)");
    EXPECT_EQ(twice.find('\n'), std::string::npos);
}

// What was bound before must not be read again, whose memory is gone.
TEST(Query, AKeptStatementForgetsWhatWasBound) {
    const Connection db = in_memory();
    constexpr char kSql[] = "SELECT ?, ?";
    Query(db, kSql, std::string(1000, 'x'), 2).run();
    Query again(db, kSql, std::optional<int>(), 3);
    ASSERT_TRUE(again.next());
    EXPECT_TRUE(again.is_null(0));
    EXPECT_EQ(again.integer(1), 3);
}

TEST(Query, OfOneTextMayRunInsideEachOther) {
    const Connection db = in_memory();
    db.execute("CREATE TABLE t(a)");
    db.execute("INSERT INTO t VALUES (1), (2), (3)");
    constexpr char kSql[] = "SELECT a FROM t WHERE a > ? ORDER BY a";
    int64_t sum = 0;
    Query outer(db, kSql, 0);
    while (outer.next()) {
        Query inner(db, kSql, outer.integer(0));
        while (inner.next()) sum += 10 * outer.integer(0) + inner.integer(0);
    }
    EXPECT_EQ(sum, 12 + 13 + 23);
}

TEST(Query, AStatementThatFailsCanBeAskedAgain) {
    const Connection db = in_memory();
    const Statement statement = db.prepare("SELECT abs(?)");
    EXPECT_CONTAINS(error_of([&] { Query(statement, std::numeric_limits<int64_t>::min()).run(); }),
                    "the test's (1): integer overflow");
    Query again(statement, -3);
    ASSERT_TRUE(again.next());
    EXPECT_EQ(again.integer(0), 3);
}

TEST(Connection, OfAStrangersFileRunsNothingOfItsSchema) {
    const TemporaryFolder folder;
    const std::filesystem::path path = folder / "theirs.db";
    {
        const Connection ours(path, {.access = Access::make, .ours = true});
        ours.execute(
            "CREATE TABLE t(a); CREATE TABLE log(a); CREATE VIEW v AS SELECT a FROM t;"
            "CREATE TRIGGER r AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.a); END;"
            "INSERT INTO t VALUES (1)");
        EXPECT_EQ(ours.integer("SELECT count(*) FROM log"), 1);
        EXPECT_EQ(ours.table_type("v"), "view");
        EXPECT_EQ(ours.table_type("T"), "table");
        EXPECT_EQ(ours.table_type("w"), "");
    }
    const Connection theirs(path, {.access = Access::write});
    theirs.execute("INSERT INTO t VALUES (2)");
    EXPECT_EQ(theirs.integer("SELECT count(*) FROM log"), 1);
    EXPECT_CONTAINS(error_of([&] { theirs.execute("SELECT * FROM v"); }), "view");
    const Connection with_triggers(path, {.access = Access::write, .triggers = true});
    with_triggers.execute("INSERT INTO t VALUES (3)");
    EXPECT_EQ(with_triggers.integer("SELECT count(*) FROM log"), 2);
}

TEST(Connection, NamesThatSqliteWouldTakeForAUriAreNames) {
    const TemporaryFolder folder;
    const std::filesystem::path before = std::filesystem::current_path();
    std::filesystem::current_path(folder.path());
    Connection("file:x?mode=memory", {.access = Access::make}).execute("CREATE TABLE t(a)");
    EXPECT_TRUE(std::filesystem::exists("file:x?mode=memory"));
    const Connection as_it_is("file:x?mode=memory", {.access = Access::as_it_is});
    EXPECT_EQ(as_it_is.table_type("t"), "table");
    std::filesystem::current_path(before);
}

TEST(Connection, SaysWhatIsWrongWithAFile) {
    const TemporaryFolder folder;
    EXPECT_CONTAINS(error_of([&] { Connection(folder / "none.db"); }), "none.db: unable to open");
    std::ofstream(folder / "text.db") << std::string(4096, 'x');
    const auto look = [&] {
        const Connection db(folder / "text.db", {.explain = explain});
        db.integer("SELECT count(*) FROM sqlite_master");
    };
    EXPECT_CONTAINS(error_of(look), "text.db (26): file is not a database");
}

TEST(Connection, HasMovedWhenItsNameIsAnothers) {
    const TemporaryFolder folder;
    const Connection db(folder / "a.db", {.access = Access::make});
    db.execute("CREATE TABLE t(a)");
    EXPECT_FALSE(db.has_moved());
    std::filesystem::rename(folder / "a.db", folder / "b.db");
    EXPECT_TRUE(db.has_moved());
}

TEST(Connection, IsClosedWithItsStatements) {
    const TemporaryFolder folder;
    Connection db(folder / "a.db", {.access = Access::make});
    db.execute("CREATE TABLE t(a)");
    db.execute("BEGIN IMMEDIATE");
    Query(db, "INSERT INTO t VALUES (?)", 1).run();
    db.close();  // which rolls back, and lets go of the lock
    EXPECT_FALSE(db);
    const Connection other(folder / "a.db", {.access = Access::write});
    other.execute("BEGIN EXCLUSIVE");
    EXPECT_EQ(other.integer("SELECT count(*) FROM t"), 0);
}

TEST(Blob, IsReadAndWrittenByParts) {
    const Connection db = in_memory();
    db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, data)");
    db.execute("INSERT INTO t VALUES (1, zeroblob(8)), (2, x'0102'), (3, NULL)");
    Blob blob;
    ASSERT_EQ(blob.open(db, "t", "data", 1, Access::write), SQLITE_OK);
    EXPECT_EQ(blob.bytes(), 8);
    EXPECT_EQ(blob.write(6, bytes_of("xy")), SQLITE_OK);
    EXPECT_NE(blob.write(7, bytes_of("xy")), SQLITE_OK);
    ASSERT_EQ(blob.reopen(2), SQLITE_OK);
    std::byte two[2];
    EXPECT_EQ(blob.read(0, two), SQLITE_OK);
    EXPECT_EQ(two[1], std::byte{2});
    blob.close();
    EXPECT_EQ(db.integer("SELECT data = CAST(x'0000000000007879' AS BLOB) FROM t"), 1);
    EXPECT_EQ(blob.open(db, "t", "data", 3, Access::read), SQLITE_ERROR);
}

}  // namespace
}  // namespace llmsql
