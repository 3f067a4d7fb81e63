// SPDX-License-Identifier: MIT
// SQL's small print: strings, numbers, aliases, sizes, the chat query.
#include "compiler/emit/sql_text.h"

#include <gtest/gtest.h>

#include <clocale>
#include <cmath>
#include <limits>

#include "common/error.h"
#include "compiler/ir/text.h"

namespace llmsql::compiler {
namespace {

template<class Call>
std::string error_of(Call call) {
    try {
        call();
    } catch (const Error& e) {
        return e.what();
    }
    return "";
}

TEST(SqlText, Strings) {
    EXPECT_EQ(sql_string(""), "''");
    EXPECT_EQ(sql_string("it's"), "'it''s'");
    EXPECT_EQ(sql_string("ü\xe2\x96\x81"), "'ü\xe2\x96\x81'");
    EXPECT_EQ(sql_string("\n"), "char(10)");
    EXPECT_EQ(sql_string("a\n--@ init\n"), "'a' || char(10) || '--@ init' || char(10)");
    EXPECT_EQ(sql_literal("a'b", "x"), "'a''b'");
    EXPECT_EQ(error_of([] { sql_literal("a\nb", "the model's name"); }),
              "the model's name contains a control character");
    EXPECT_EQ(one_line("a\nb\tc"), "a b c");
}

TEST(SqlText, Numbers) {
    EXPECT_EQ(real_text(1e-5), "1e-05");
    EXPECT_EQ(real_text(100000), "100000.0");
    EXPECT_EQ(real_text(0.125), "0.125");
    EXPECT_EQ(real_text(-0.0), "-0.0");
    EXPECT_EQ(real_text(0.1 + 0.2), "0.30000000000000004");
    EXPECT_EQ(real_text(std::numeric_limits<double>::max()), "1.7976931348623157e+308");
    EXPECT_NE(error_of([] { real_text(INFINITY); }), "");
    EXPECT_NE(error_of([] { real_text(std::nan("")); }), "");
    if (std::setlocale(LC_ALL, "de_DE.UTF-8")) {
        EXPECT_EQ(real_text(0.5), "0.5");
    }
    std::setlocale(LC_ALL, "C");
}

TEST(SqlText, Bytes) {
    EXPECT_EQ(bytes_text(0), "0 bytes");
    EXPECT_EQ(bytes_text(999), "999 bytes");
    EXPECT_EQ(bytes_text(1000), "1.0 kB");
    EXPECT_EQ(bytes_text(1049), "1.0 kB");
    EXPECT_EQ(bytes_text(1050), "1.1 kB");
    EXPECT_EQ(bytes_text(144949999), "144.9 MB");
    EXPECT_EQ(bytes_text(144950000), "145.0 MB");
}

TEST(SqlText, AliasesAreNamesThatSqlTakes) {
    Aliases aliases;
    EXPECT_EQ(aliases.pick("x"), "x");
    EXPECT_EQ(aliases.pick("X"), "X2");  // SQL does not tell them apart
    EXPECT_EQ(aliases.pick("x"), "x3");
    EXPECT_EQ(aliases.pick("order"), "order2");
    EXPECT_EQ(aliases.pick("kv"), "kv2");
    EXPECT_EQ(aliases.pick("q, k, v"), "t");
    EXPECT_EQ(aliases.pick(""), "t2");
    EXPECT_EQ(aliases.pick("9lives"), "t3");
    EXPECT_EQ(aliases.pick("ffn_up2"), "ffn_up2");
}

TEST(SqlText, ChatQueriesAreOneStatement) {
    const auto text = [](const char* sql) { return single_statement(sql, "the chat query"); };
    EXPECT_EQ(text("  SELECT 1\n"), "SELECT 1;");
    EXPECT_EQ(text("SELECT 1;;"), "SELECT 1;");
    EXPECT_EQ(text("SELECT ';' -- one; two\n, \";\" /* ; */ FROM message ; -- end"),
              "SELECT ';' -- one; two\n, \";\" /* ; */ FROM message;");
    EXPECT_EQ(text("SELECT 'it''s'"), "SELECT 'it''s';");
    EXPECT_EQ(text("-- why\nSELECT 1"), "-- why\nSELECT 1;");
    const auto refusal = [&](const char* sql) { return error_of([&] { text(sql); }); };
    EXPECT_EQ(refusal(""), "the chat query: there is no statement");
    EXPECT_EQ(refusal(" -- nothing\n;"), "the chat query: there is no statement");
    EXPECT_EQ(refusal("SELECT 1; SELECT 2"), "the chat query: more than one statement");
    EXPECT_EQ(refusal("SELECT 'a"), "the chat query: a string or name is not closed");
    EXPECT_EQ(refusal("SELECT 1 /* a"), "the chat query: a comment is not closed");
    EXPECT_EQ(refusal("SELECT 1,\n --@ end 1\n2"),
              "the chat query: a line begins with --@, which starts a section of the plan");
}

}  // namespace
}  // namespace llmsql::compiler
