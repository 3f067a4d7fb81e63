// SPDX-License-Identifier: MIT
// The one scanner of SQL: its pieces are the whole text, and it sees where strings, comments and
// statements end where SQLite does.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <array>
#include <random>
#include <vector>

#include "plan/sql_tokens.h"

namespace llmsql {
namespace {

using Kind = SqlToken::Kind;

std::vector<SqlScanner::Word> pieces(std::string_view sql) {
    std::vector<SqlScanner::Word> all;
    SqlScanner scanner(sql);
    for (SqlScanner::Word piece; scanner.next_piece(piece);) all.push_back(piece);
    return all;
}

/// "|" between the words.
std::string words(std::string_view sql) {
    std::string text;
    SqlScanner scanner(sql);
    for (SqlScanner::Word word; scanner.next(word);)
        text += (text.empty() ? "" : "|") + std::string(word.text);
    return text;
}

TEST(SqlScanner, Words) {
    EXPECT_EQ(words("SELECT a.b, 'it''s' /* c */ FROM \"t;\" -- d\n[x;y]"),
              "SELECT|a|.|b|,|'it''s'|FROM|\"t;\"|[x;y]");
    EXPECT_EQ(words("x<=:first||'a'>=1.5e-3<>0x1e-5"), "x|<=|:first||||'a'|>=|1.5e-3|<>|0x1e|-|5");
    EXPECT_EQ(words("1e--x\n2"), "1e|2");  // no digit follows: SQLite sees a comment there
    EXPECT_EQ(words("1e+5 1e+ 5"), "1e+5|1e|+|5");
    EXPECT_EQ(words("\xEF\xBB\xBF a\f\vb"), "a|b");
    EXPECT_EQ(words(""), "");
}

TEST(SqlScanner, WhatIsNotClosed) {
    for (const char* open : {"'", "'a''", "\"a", "`", "[a", "/*", "/*/", "/* * /"}) {
        const auto all = pieces(open);
        ASSERT_EQ(all.size(), 1u) << open;
        EXPECT_FALSE(all[0].closed) << open;
        EXPECT_EQ(all[0].text, open);
    }
    for (const char* whole : {"''", "'a'''", "\"\"", "``", "[]", "/**/", "-- '", "--"})
        EXPECT_TRUE(pieces(whole).at(0).closed) << whole;
}

TEST(SqlScanner, PiecesAreTheTextAndEndWhereSqliteSaysSo) {
    constexpr std::array kParts{
        "'", "''", "\"", "`",  "[",  "]", "--", "/*",  "*/", "\n",           ";",
        "a", " ",  "-",  "1e", ":p", "/", "*",  "1e-", "\t", "\xEF\xBB\xBF", "e"};
    std::mt19937 random(21);
    int complete = 0;
    for (int round = 0; round < 20000; ++round) {
        std::string sql;
        for (auto parts = 1 + random() % 12; parts > 0; --parts)
            sql += kParts[random() % kParts.size()];
        std::string whole;
        bool closed = true, ended = false;
        for (const SqlScanner::Word& piece : pieces(sql)) {
            EXPECT_FALSE(piece.text.empty());
            whole += piece.text;
            closed = closed && piece.closed;
            if (!piece.is_blank()) ended = piece.is(';');
            EXPECT_EQ(piece.kind == Kind::line_comment, piece.text.starts_with("--"));
        }
        EXPECT_EQ(whole, sql);
        // It takes a byte order mark for a name; SQLite proper, for a space.
        const bool says = sqlite3_complete(sql.c_str()) != 0;
        if (sql.find('\xEF') == std::string::npos) {
            EXPECT_EQ(says, closed && ended) << sql;
        }
        complete += says;
    }
    EXPECT_GT(complete, 500);
}

}  // namespace
}  // namespace llmsql
