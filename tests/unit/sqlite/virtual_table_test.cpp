// SPDX-License-Identifier: MIT
// The bridge of virtual tables, and its two faces.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "common/error.h"
#include "sqlite/callbacks.h"
#include "sqlite/statement.h"
#include "sqlite/table.h"
#include "sqlite/table_function.h"
#include "tests/unit/error_of.h"
#include "tests/unit/says.h"

namespace llmsql {
namespace {

Connection host() {
    return Connection(":memory:", {.access = Access::make, .name = "test"});
}

using test::error_of;

// Rows 0 … 9 with their squares, and those that are inserted; it says how it was used.
class Squares final : public Table {
  public:
    explicit Squares(std::vector<std::string>& seen) : seen_(seen) {}

    const char* declaration() const override { return "CREATE TABLE x(n INTEGER, square)"; }
    Selected select(const Ranges& ranges) const override {
        Selected rows;
        for (int64_t n = 0; n < count_; ++n)
            if (ranges[0].contains(n)) rows.keys.push_back(n);
        seen_.push_back("select " + std::to_string(rows.keys.size()));
        return rows;
    }
    void column(const Selected&, int64_t key, int column, sqlite3_context* context) const override {
        if (key == 13) fail("13 has no square");
        sqlite3_result_int64(context, column == 0 ? key : key * key);
    }
    void insert(std::span<sqlite3_value*> values) override {
        count_ = integer_value(values[0], "squares.n") + 1;
    }
    void dropped() override { seen_.push_back("dropped"); }
    Mark mark() const override { return {0, static_cast<uint64_t>(count_)}; }
    void undo(const Mark& mark) override { count_ = static_cast<int64_t>(mark.rows); }

  private:
    std::vector<std::string>& seen_;
    int64_t count_ = 10;
};

struct WithSquares {
    std::vector<std::string> seen;
    bool declaring = false;
    Connection db = host();

    WithSquares() {
        register_table(db.get(), "squares",
                       {.make =
                            [this](const ModuleArguments& arguments) {
                                seen.push_back("made of " + arguments.text("colour"));
                                if (arguments.integer("size") < 0) fail("no such size");
                                return std::make_unique<Squares>(seen);
                            },
                        .transactions = true,
                        .declaring = &declaring,
                        .renamed =
                            [this](const TableName& before, const TableName& now) {
                                seen.push_back(before.table + " is " + now.table);
                            }});
        db.execute("CREATE VIRTUAL TABLE temp.s USING squares(colour='it''s', size = 3)");
    }
    int64_t count() const { return db.integer("SELECT count(*) FROM s").value_or(-1); }
};

TEST(Table, GivesTheRowsWithinTheRangesOfAStatement) {
    WithSquares with;
    EXPECT_EQ(with.seen, std::vector<std::string>{"made of it's"});
    const auto sum = [&](const std::string& where) {
        return with.db.integer("SELECT total(square) FROM s WHERE " + where);
    };
    EXPECT_EQ(sum("n = 3"), 9);
    EXPECT_EQ(with.seen.back(), "select 1");
    EXPECT_EQ(sum("n > 7 AND n <= 8.5"), 64);
    EXPECT_EQ(with.seen.back(), "select 1");
    EXPECT_EQ(sum("n BETWEEN 1 AND 2"), 5);
    EXPECT_EQ(sum("n < -9223372036854775808"), 0);
    EXPECT_EQ(sum("n > 9223372036854775807"), 0);
    EXPECT_EQ(sum("n = 2.5"), 0);
    EXPECT_EQ(sum("n = NULL"), 0);
    EXPECT_EQ(sum("n >= 1e300"), 0);
    EXPECT_EQ(sum("square = 16"), 16);  // not pushed down
    EXPECT_EQ(with.seen.back(), "select 10");
}

TEST(Table, ErrorsAreTheStatements) {
    WithSquares with;
    with.db.execute("INSERT INTO s(n) VALUES (20)");
    EXPECT_EQ(error_of([&] { with.db.execute("SELECT * FROM s"); }), "test: 13 has no square");
    EXPECT_CONTAINS(error_of([&] { with.db.execute("INSERT INTO s(n) VALUES ('x')"); }),
                    "squares.n must be an integer, not text");
    for (const auto& [given, said] : {std::pair("1e999", "inf"), {"0.5", "0.5"}})
        EXPECT_CONTAINS(
            error_of([&] { with.db.execute(fmt::format("INSERT INTO s(n) VALUES ({})", given)); }),
            fmt::format("squares.n must be an integer, not the number {}", said));
    EXPECT_CONTAINS(error_of([&] { with.db.execute("DELETE FROM s"); }), "inserted, not changed");
    const auto made = [&](const std::string& arguments) {
        return error_of([&] {
            with.db.execute("CREATE VIRTUAL TABLE temp.t USING squares(" + arguments + ")");
        });
    };
    EXPECT_CONTAINS(made("size=3"), "squares: 'colour' is missing");
    EXPECT_CONTAINS(made("colour=x, size=many"), "size = 'many' is not an integer");
    EXPECT_CONTAINS(made("colour=x, size=3, odd=1"), "there is no argument 'odd'");
    EXPECT_CONTAINS(made("colour=x, colour=y"), "'colour' is given twice");
    EXPECT_CONTAINS(made("colour"), "not of the form key=value");
    EXPECT_CONTAINS(made("colour=x, size=-1"), "no such size");
    EXPECT_FALSE(with.declaring);
}

TEST(Table, IsRolledBackToWhereItWas) {
    WithSquares with;
    with.db.execute(
        "BEGIN; INSERT INTO s(n) VALUES (11); SAVEPOINT a;"
        "INSERT INTO s(n) VALUES (12); SAVEPOINT b; INSERT INTO s(n) VALUES (14)");
    EXPECT_EQ(with.count(), 15);
    with.db.execute("ROLLBACK TO b");
    EXPECT_EQ(with.count(), 13);
    with.db.execute("ROLLBACK TO a");
    EXPECT_EQ(with.count(), 12);
    with.db.execute("RELEASE a; ROLLBACK");
    EXPECT_EQ(with.count(), 10);
}

TEST(Table, IsToldOfItsNameAndItsEnd) {
    WithSquares with;
    with.db.execute("ALTER TABLE temp.s RENAME TO other");
    EXPECT_EQ(with.seen.back(), "s is other");
    with.db.execute("DROP TABLE temp.other");
    EXPECT_EQ(with.seen.back(), "dropped");
}

// from … to, one at a time; at 5 it fails.
class Counted final : public Rows {
  public:
    Counted(int64_t from, int64_t to) : at_(from - 1), to_(to) {}
    bool next() override {
        if (++at_ == 5) fail("5 is not said");
        return at_ <= to_;
    }
    void column(int column, sqlite3_context* context) override {
        if (column == 3)
            result_text(context, "hidden");
        else
            sqlite3_result_int64(context, at_);
    }

  private:
    int64_t at_, to_;
};

constexpr TableFunction kCount{.name = "count_up",
                               .declaration =
                                   "CREATE TABLE x(n, first HIDDEN, last HIDDEN, "
                                   "word HIDDEN)",
                               .columns = 1,
                               .least = 1,
                               .most = 2};

TEST(TableFunction, MakesRowsAsTheyAreRead) {
    const Connection db = host();
    int calls = 0;
    register_table_function(
        db.get(), kCount, [&](std::span<sqlite3_value*> arguments) -> std::unique_ptr<Rows> {
            ++calls;
            const int64_t from = sqlite3_value_int64(arguments[0]);
            return std::make_unique<Counted>(
                from, arguments[1] ? sqlite3_value_int64(arguments[1]) : from + 2);
        });
    EXPECT_EQ(db.integer("SELECT sum(n) FROM count_up(1)"), 6);
    EXPECT_EQ(db.integer("SELECT sum(n) FROM count_up(1, 2)"), 3);
    EXPECT_EQ(db.integer("SELECT count(*) FROM count_up(2, 1)"), 0);
    EXPECT_EQ(db.integer("SELECT sum(n) FROM (SELECT n FROM count_up(3, 100) LIMIT 2)"), 7);
    EXPECT_EQ(db.integer("SELECT sum(b.n) FROM count_up(1, 2) a, count_up(a.n, 2) b"), 5);
    EXPECT_EQ(db.integer("SELECT word = 'hidden' FROM count_up(1)"), 1);
    const int before = calls;
    EXPECT_CONTAINS(error_of([&] { db.execute("SELECT * FROM count_up(4, 9)"); }), "5 is not said");
    EXPECT_CONTAINS(error_of([&] { db.execute("SELECT * FROM count_up"); }),
                    "count_up: 1 argument is needed");
    EXPECT_EQ(calls, before + 1);
}

}  // namespace
}  // namespace llmsql
