// SPDX-License-Identifier: MIT
// Errors are of one line, whatever they quote.
#include "common/error.h"

#include <gtest/gtest.h>

namespace llmsql {
namespace {

TEST(Error, IsOfOneLineWhateverItQuotes) {
    try {
        fail("{}: unknown kind '{}'", "a\tb", "x\ny\r\x7f\xc3\xa9");
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "a b: unknown kind 'x y  \xc3\xa9'");
        return;
    }
    ADD_FAILURE() << "fail() returned";
}

TEST(Error, QuotesNoControlCharactersNorHalvesOfOthers) {
    EXPECT_EQ(one_line("a\xff\xc3 \xc2\x9b"
                       "b\xe6\x9d"),
              "a\uFFFD\uFFFD  b\uFFFD");
    EXPECT_EQ(printable("\x1b[2J\xff"), "?[2J\uFFFD");
    EXPECT_EQ(printable(std::string(99, 'a') + "\u00e9"), std::string(99, 'a') + "\uFFFD");
}

}  // namespace
}  // namespace llmsql
