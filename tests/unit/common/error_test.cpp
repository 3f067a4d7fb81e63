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

}  // namespace
}  // namespace llmsql
