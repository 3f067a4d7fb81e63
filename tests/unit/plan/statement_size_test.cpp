// SPDX-License-Identifier: MIT
// How large a statement of a plan may be, told from its text.
#include "plan/statement_size.h"

#include <gtest/gtest.h>

#include <fmt/core.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "plan/plan_file.h"
#include "tests/unit/says.h"

namespace llmsql {
namespace {

std::string refusal_of(const std::string& sql, bool in_init = false) {
    return size_of_statement(sql, in_init).refusal;
}

std::string repeated(const std::string& text, int times, const std::string& between = "") {
    std::string all;
    for (int i = 0; i < times; ++i) all += (i ? between : "") + text;
    return all;
}

#define EXPECT_REFUSED(sql, part)                            \
    EXPECT_NE(refusal_of(sql).find(part), std::string::npos) \
        << std::string(sql).substr(0, 300) << "\n"           \
        << refusal_of(sql)

// A column of a subquery that is named `names` times, in `levels` levels.
std::string nested(int levels, int names) {
    std::string from = "(SELECT id AS d FROM message)";
    for (int i = 0; i < levels; ++i)
        from = "(SELECT coalesce(" + repeated("d", names, ", ") + ") AS d FROM " + from + ")";
    return "SELECT d FROM " + from;
}

TEST(StatementSize, ColumnsOfSubqueriesCountAsOftenAsTheyAreNamed) {
    EXPECT_EQ(refusal_of(nested(2, 30)), "");
    EXPECT_EQ(refusal_of(nested(6, 4)), "");
    EXPECT_REFUSED(nested(40, 2), "written out");
    EXPECT_REFUSED(nested(6, 50), "written out");
    // However the names are written, and wherever the subqueries stand.
    const auto levels = [](const std::string& start, const std::string& use, int count) {
        std::string from = start;
        for (int i = 0; i < count; ++i) {
            std::string next = use;
            next.replace(next.find('$'), 1, from);
            from = next;
        }
        return "SELECT 1 FROM " + from + " x";
    };
    const std::string start = "(SELECT 1 AS d)";
    for (const char* use : {
             "(SELECT x.d + x.d AS d FROM $ x)",
             "(SELECT \"d\" || [d] AS d FROM $)",
             "(SELECT x.'d' + x.'d' AS d FROM $ x)",
             "(select d+d as d from/**/ $)",
             "(SELECT d + d AS d, 1 IS DISTINCT FROM 2 AS e FROM $)",
             "(SELECT CASE WHEN d THEN d END AS d FROM $)",
             "(SELECT (SELECT d + d) AS d FROM $)",
             "(SELECT (SELECT e FROM (SELECT d + d AS e)) AS d FROM $)",
             "(SELECT d + d AS d FROM message m JOIN $ ON 1)",
             "(SELECT d + d AS d FROM message m, (message n JOIN $))",
             "(SELECT d + d AS d FROM message LEFT JOIN message n ON n.id = (SELECT 1), $)",
             "(SELECT d AS d, d AS e FROM $ WHERE d IN (d, d))",
             "(SELECT d FROM $ UNION ALL SELECT d FROM message)",
             "(SELECT d FROM message UNION ALL SELECT d + d FROM $)",
             "(SELECT *, * FROM $)",
             "(SELECT x.*, x.* FROM $ x)",
             "(SELECT m.id + m.id AS d FROM message m WHERE m.id = (SELECT d + d FROM $))",
             "(\xEF\xBB\xBFSELECT d + d AS d FROM $)",
         })
        EXPECT_REFUSED(levels(start, use, 45), "written out");
    // An alias of a result that is named again stands for all of it.
    std::string result = "d";
    for (int i = 0; i < 12; ++i) result += " + d";
    EXPECT_REFUSED("SELECT " + repeated(result, 100, "+") +
                       " AS a FROM (SELECT 1 AS d) WHERE a IN (" + repeated("a", 2000, ", ") + ")",
                   "written out");
    // Names that are no columns of subqueries cost nothing.
    EXPECT_EQ(refusal_of("VALUES " + repeated("('a', d)", 4000, ", ")), "");
}

TEST(StatementSize, EverythingThatRepeatsHasABound) {
    const auto within = [](const char* open, const char* close, int times) {
        return "SELECT " + repeated(open, times) + "1" + repeated(close, times);
    };
    const std::pair<const char*, const char*> kNested[] = {
        {"(", ")"},
        {"(SELECT ", ")"},
        {"llm_silu(", ")"},
        {"CASE 1 WHEN 1 THEN ", " END"},
        {"EXISTS (SELECT 1 WHERE ", ")"},
        {"1 IN (SELECT 1 WHERE ", ")"},
        {"1 IN (", ")"},
        {"(1, (", "))"},
        {"CAST(", " AS text)"},
        {"count(*) FILTER (WHERE ", ")"},
        {"1 BETWEEN 1 AND (", ")"},
        {"row_number() OVER (ORDER BY ", ")"},
    };
    for (const auto& [open, close] : kNested) {
        EXPECT_REFUSED(within(open, close, 101), "brackets nest more than 100 deep");
        EXPECT_EQ(refusal_of(within(open, close, 40)), "") << open;
    }
    EXPECT_REFUSED(
        "SELECT 1 FROM " + repeated("(SELECT 1 FROM ", 1000) + "message" + repeated(")", 1000),
        "brackets nest");
    EXPECT_REFUSED("SELECT 1 FROM " + repeated("(", 200) + "message" + repeated(")", 200),
                   "brackets nest");
    EXPECT_REFUSED("SELECT char(" + repeated("1", 101, ",") + ")", "more than 100 arguments");
    EXPECT_EQ(refusal_of("SELECT char(" + repeated("1", 100, ",") + ")"), "");
    EXPECT_REFUSED("SELECT 1 FROM " + repeated("message", 65, ", "), "more than 64 tables");
    EXPECT_REFUSED("SELECT 1 FROM message " + repeated("NATURAL JOIN message ", 64),
                   "more than 64 tables");
    EXPECT_REFUSED("SELECT 1 FROM message " + repeated("LEFT JOIN message ON 1 ", 64),
                   "more than 64 tables");
    EXPECT_EQ(refusal_of("SELECT 1 FROM " + repeated("message", 64, ", ")), "");
    EXPECT_REFUSED(repeated("SELECT 1", 101, " UNION "), "more than 100 SELECTs");
    EXPECT_EQ(refusal_of(repeated("SELECT 1", 100, " UNION ALL ")), "");
    EXPECT_REFUSED("SELECT 1" + repeated(" + (SELECT 1)", 600), "more than 500 SELECTs");
    EXPECT_REFUSED("SELECT 'a'" + repeated(" COLLATE nocase", 17), "COLLATE");
    EXPECT_REFUSED("SELECT 1 IN (" + repeated("1", 20000, ",") + ")", "more than 32768 words");
    EXPECT_REFUSED("SELECT '" + std::string(1 << 20, 'a') + "'", "bytes long, here it may be");
    EXPECT_REFUSED("UPDATE message SET role = 1" + repeated(" + 1", 200), "not SELECT, INSERT");
    EXPECT_REFUSED("\xEF\xBB\xBFWITH a AS (SELECT 1) SELECT 1 FROM a", "WITH");
    for (const char* parameter : {"$a", "@a", "#1", ":a('", ":a::b"})
        EXPECT_REFUSED(std::string("SELECT ") + parameter, "a parameter is ':' and a name");
    EXPECT_NE(refusal_of("CREATE VIRTUAL TABLE temp.param USING llm_param(model='" +
                             std::string(5000, 'a') + "')",
                         true),
              "");
}

// A column by column reading of brackets, quotes and comments as SQLite has them.
TEST(StatementSize, WhatIsQuotedIsNotCounted) {
    for (const char* sql : {"SELECT '((((', \"((\", [((], `((` -- ((((\n /* (((( */",
                            "SELECT 'with' AS \"with\", 1 AS without", "SELECT 1 AS \"case\""})
        EXPECT_EQ(refusal_of(sql), "") << sql;
}

// Plans of ours are far from all bounds.
TEST(StatementSize, CompiledPlansAndTemplatesAreFarBelow) {
    int plans = 0, templates = 0;
    const std::filesystem::path root = LLMSQL_SOURCE_DIR;
    for (const auto& entry : std::filesystem::directory_iterator(root / "tests/golden/plans")) {
        if (entry.path().extension() != ".sql") continue;
        ++plans;
        for (const PlanSection& section : read_plan(entry.path()).sections)
            for (const PlanStatement& statement : section.statements) {
                const StatementSize size = size_of_statement(statement.sql, section.name == "init");
                EXPECT_EQ(size.refusal, "");
                EXPECT_LT(size.written_out, 10'000) << statement.sql;
            }
    }
    for (const auto& entry : std::filesystem::directory_iterator(root / "models")) {
        std::ifstream file(entry.path());
        const std::string text(std::istreambuf_iterator<char>(file), {});
        const size_t at = text.find("template = '''");
        if (at == std::string::npos) continue;
        ++templates;
        const std::string sql = text.substr(at + 14, text.find("'''", at + 14) - at - 14);
        // Columns of subqueries that are used several times count as often: a quarter at most.
        EXPECT_LT(size_of_statement(sql, false).written_out, kMostWordsElsewhere / 4) << sql;
        EXPECT_EQ(refusal_of(sql), "") << sql;
    }
    EXPECT_GE(plans, 3);
    EXPECT_GE(templates, 5);
    // The catalogue of a mixture of experts of 60 layers, 384 experts and three matrices each.
    std::string rows;
    for (int i = 0; i < 60 * 384 * 3; ++i)
        rows += fmt::format("{}\n  ({}, 'layer.{}.ffn_gate.{}', 'q4', 2048, 7168)", i ? "," : "",
                            i + 1, i % 60, i % 384);
    EXPECT_EQ(refusal_of("INSERT INTO param(id, name, type, rows, cols) VALUES" + rows, true), "");
}

TEST(StatementSize, APlanIsBoundedAsAWhole) {
    const auto error_of = [](const std::string& init, const std::string& forward, int count) {
        try {
            parse_plan("-- llmsql plan 1 · x\n--@ init\n" + init +
                           "--@ forward :tokens :position :sequence\n" + forward +
                           "--@ logits :first :rows\nSELECT 1;\n--@ end " +
                           std::to_string(count + 1) + "\n",
                       "plan.sql");
        } catch (const std::exception& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    EXPECT_EQ(error_of("", repeated("VALUES (1);\n", 30000), 30000), "");
    EXPECT_SAYS(error_of("", repeated("VALUES (1);\n", 40000), 40000), "plan.sql:32772: … 32768 …");
    const std::string wide = "VALUES " + repeated("(1)", 8000, ",") + ";\n";
    EXPECT_NE(error_of("", repeated(wide, 70), 70).find("words outside of init"),
              std::string::npos);
    EXPECT_NE(error_of(repeated("VALUES " + repeated("(1)", 400'000, ",") + ";\n", 6), "", 6)
                  .find("words in init"),
              std::string::npos);
}

}  // namespace
}  // namespace llmsql
