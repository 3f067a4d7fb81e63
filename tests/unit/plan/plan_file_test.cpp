// SPDX-License-Identifier: MIT
// Cutting plans into sections and statements, and refusing what is no plan.
#include "plan/plan_file.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "common/error.h"
#include "tests/unit/runtime/tiny_model.h"
#include "tests/unit/says.h"

namespace llmsql {
namespace {

const std::string kPlan =
    "-- llmsql plan 1 · tiny\n"
    "--@ init\n"
    "-- a comment; with a semicolon\n"
    "SELECT 'a;b''--@ forward', \"c;\"  -- d;\n"
    ";\n"
    "--@ forward :tokens :position :sequence\n"
    "SELECT /* ; \n */ 2; SELECT 3;\n"
    "--@ logits :first :rows\n"
    "SELECT 4;\n"
    "--@ end 4\n";

std::string error_in(const std::string& text) {
    const test::TemporaryFolder folder;
    test::write_text(folder / "plan.sql", text);
    try {
        read_plan(folder / "plan.sql");
    } catch (const Error& error) {
        const std::string message = error.what();
        return message.substr(message.find("plan.sql") + 8);
    }
    return "";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    return text.replace(text.find(from), from.size(), to);
}

TEST(PlanFile, StatementsKeepTheirTextAndTheirLines) {
    const test::TemporaryFolder folder;
    test::write_text(folder / "plan.sql", kPlan);
    const PlanFile plan = read_plan(folder / "plan.sql");
    ASSERT_EQ(plan.sections.size(), 3u);
    const PlanSection& init = *plan.find("init");
    ASSERT_EQ(init.statements.size(), 1u);
    EXPECT_EQ(init.statements[0].line, 4);
    EXPECT_EQ(init.statements[0].sql, "SELECT 'a;b''--@ forward', \"c;\"  -- d;\n");
    const PlanSection& forward = *plan.find("forward");
    EXPECT_EQ(forward.parameters.size(), 3u);
    ASSERT_EQ(forward.statements.size(), 2u);
    EXPECT_EQ(forward.statements[0].line, 7);
    EXPECT_EQ(forward.statements[1].line, 8);
    EXPECT_EQ(plan.find("chat"), nullptr);
}

TEST(PlanFile, ErrorsNameTheLine) {
    EXPECT_SAYS(error_in(""), ": not a plan: … '-- llmsql plan 1 …");
    EXPECT_SAYS(error_in(replaced(kPlan, "plan 1", "plan 7")),
                ": … format 7, … format 1; compile the plan again");
    EXPECT_SAYS(error_in(replaced(kPlan, "--@ end 4\n", "")), ":11: … truncated … '--@ end N'");
    EXPECT_SAYS(error_in(replaced(kPlan, "SELECT 4;", "")), ":11: … 4 … 3 …");
    EXPECT_SAYS(error_in(replaced(kPlan, "SELECT 3;", "SELECT 3")), ":8: … ';' …");
    EXPECT_SAYS(error_in(replaced(kPlan, "\"c;\"", "\"c;")), ":4: … quote …");
    EXPECT_SAYS(error_in(replaced(kPlan, "*/", "")), ":7: … comment … '*/'");
    EXPECT_SAYS(error_in(replaced(kPlan, "--@ logits", "--@ logs")), ":9: … 'logs'");
    EXPECT_SAYS(error_in(replaced(kPlan, ":first :rows", ":rows")),
                ":9: … 'logits' … ':first :rows'");
    EXPECT_SAYS(error_in(replaced(kPlan, "--@ init", "SELECT 1;")), ":2: … before … section");
    EXPECT_SAYS(error_in(kPlan + "SELECT 5;\n"), ":12: … '--@ end'");
    EXPECT_SAYS(error_in(replaced(kPlan, "--@ init", "--@ chat")), ": … '--@ init' … missing");
}

TEST(PlanFile, WhatIsNoPlainTextSaysSo) {
    EXPECT_NE(error_in("\xef\xbb\xbf" + kPlan).find("byte order mark"), std::string::npos);
    EXPECT_NE(error_in("\xff\xfe" + kPlan).find("is UTF-16 text"), std::string::npos);
    EXPECT_NE(error_in("\xfe\xff" + kPlan).find("is UTF-16 text"), std::string::npos);
    for (const char* place : {"SELECT 'a", "-- a comment", "--@ logits", "--@ end 4"}) {
        const size_t at = kPlan.find(place);
        std::string text = kPlan;
        text.insert(at, 1, '\0');
        EXPECT_EQ(error_in(text),
                  fmt::format(":{}: there is a NUL byte (offset {}), which no plan has: compile it "
                              "again",
                              1 + std::count(kPlan.begin(),
                                             kPlan.begin() + static_cast<ptrdiff_t>(at), '\n'),
                              at));
    }
    EXPECT_NE(error_in(std::string(100, '\0')).find("not a plan"), std::string::npos);
}

TEST(PlanFile, TruncatedAnywhereItIsRefused) {
    for (size_t length = 0; length + 1 < kPlan.size(); ++length)
        EXPECT_NE(error_in(kPlan.substr(0, length)), "") << "cut at " << length;
}

}  // namespace
}  // namespace llmsql
