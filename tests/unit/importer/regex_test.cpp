// SPDX-License-Identifier: MIT
// Oniguruma's expressions as PCRE2's.
#include "importer/regex.h"

#include <gtest/gtest.h>

#include "tests/unit/error_of.h"

namespace llmsql::test {
namespace {

TEST(Regex, WhatMeansTheSameStays) {
    for (const char* same :
         {"a+|b*?", "(?:x|y)", "\\p{L}+", "(?i:'s|'t)", "a{1,3}", "x(?!y)", "(?>a)b"})
        EXPECT_EQ(pcre2_of(same), same);
}

TEST(Regex, ClassesAreOfUnicode) {
    EXPECT_EQ(pcre2_of("\\s").find("\\x{180e}"), std::string::npos);
    EXPECT_NE(pcre2_of("[^\\s]"), pcre2_of("\\s"));
    EXPECT_EQ(pcre2_of("\\p{Han}"), "\\p{sc:Han}");
    EXPECT_EQ(pcre2_of("[a-c&&[^b]]"), "(?:(?=[\\x{61}-\\x{63}])[^\\x{62}])");
    EXPECT_EQ(pcre2_of("[x[yz]]"), "[\\x{78}\\x{79}\\x{7a}]");
    EXPECT_EQ(pcre2_of("[\\h]"), "[0-9A-Fa-f]");
    EXPECT_EQ(pcre2_of("a{,3}"), "a{0,3}");
    // Braces and a plus: repeated again, not without giving back.
    EXPECT_EQ(pcre2_of("x\\p{N}{1,3}+"), "x(?:\\p{N}{1,3})+");
    EXPECT_EQ(pcre2_of("x(?:a(b)){2}+|c"), "x(?:(?:a(b)){2})+|c");
    EXPECT_EQ(pcre2_of("[[:punct:]]"), "[\\p{P}\\p{S}]");
    EXPECT_EQ(pcre2_of("\\p{Punct}"), "\\p{P}");
    EXPECT_NE(pcre2_of("\\w").find("\\x{bc}-\\x{be}"), std::string::npos);
    EXPECT_NE(pcre2_of("\\p{Word}").find("\\x{bc}-\\x{be}"), std::string::npos);
    for (const char* within : {"[\\w]", "[^\\w]", "[\\W]", "[[:word:]]", "[\\p{Word}-]"})
        EXPECT_EQ(pcre2_of(within).find("\\x{bc}-\\x{be}"), std::string::npos) << within;
    EXPECT_EQ(pcre2_of("^a$"), "(?m:^)a(?m:$)");
    EXPECT_EQ(pcre2_of("(?m:.)"), "(?s:.)");
}

TEST(Regex, WhatHasNoCounterpartIsRefused) {
    for (const char* bad : {"(", "[a", "\\p{Nowhere}", "\\G", "(?x:a)", "[b-a]", "\\k<a>", "*"})
        EXPECT_NE(error_of([&] { pcre2_of(bad); }), "") << bad;
}

TEST(Regex, ATextIsTakenLiterally) {
    EXPECT_EQ(pcre2_literal("a.b"), "a\\x{2e}b");
}

}  // namespace
}  // namespace llmsql::test
