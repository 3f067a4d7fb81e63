// SPDX-License-Identifier: MIT
// The comparison of messages that other tests make: it must refuse what is not as they say.
#include "tests/unit/says.h"

namespace llmsql::test {
namespace {

TEST(Says, APatternIsThePartsThatMatterInTheirOrder) {
    EXPECT_SAYS("", "");
    EXPECT_SAYS("1:5 'a' is no b", "1:5 'a' is no b");
    EXPECT_SAYS("1:5 'a' is no b", "1:5 … b");
    EXPECT_SAYS("1:5 'a' is no b, but b", "1:5 'a' … b");
    EXPECT_SAYS("1:5 'a', no b: none", "1:5 'a' … b … none");
    EXPECT_SAYS("1:5 'a' is no b", "… 'a' …");
    EXPECT_SAYS("one\ntwo 2\n", "one\ntwo …");
}

TEST(Says, EverythingElseIsRefused) {
    const struct {
        const char *actual, *pattern;
    } kCases[] = {
        {"", "…x"},
        {"1:5 'a' is no b", ""},
        {"1:5 'a' is no b", "'a' … b"},            // not from the start
        {"1:5 'a' is no b", "1:5 … 'a'"},          // not to the end
        {"1:5 'a' is no b", "1:5 … b … 'a' …"},    // in another order
        {"1:5 'a' is no b", "1:5 … 'a' … 'a' …"},  // once only
        {"1:5 'a'\n2:1 b", "1:5 'a'"},             // more lines
        {"1:5 'a'", "1:5 'a'\n2:1 b"},             // fewer
        {"1:5 'a'\n2:1 b", "1:5 … b"},             // nothing stands for a line end
    };
    for (const auto& c : kCases) EXPECT_FALSE(says(c.actual, c.pattern)) << c.pattern;
}

}  // namespace
}  // namespace llmsql::test
