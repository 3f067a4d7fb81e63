// SPDX-License-Identifier: MIT
// Stop texts are found wherever they begin and never seen.
#include "runtime/text/stop_filter.h"

#include <gtest/gtest.h>

namespace llmsql {
namespace {

std::string filter(const std::vector<std::string>& stops, const std::string& text, size_t piece,
                   bool* stopped = nullptr) {
    StopFilter filter(stops);
    std::string out;
    for (size_t at = 0; at < text.size(); at += piece) out += filter.push(text.substr(at, piece));
    out += filter.finish();
    if (stopped) *stopped = filter.stopped();
    return out;
}

TEST(StopFilter, CutsAtAStopTextHoweverItArrives) {
    for (size_t piece = 1; piece < 12; ++piece) {
        bool stopped = false;
        EXPECT_EQ(filter({"END"}, "one EN two END three", piece, &stopped), "one EN two ");
        EXPECT_TRUE(stopped);
        EXPECT_EQ(filter({"END"}, "one EN", piece, &stopped), "one EN");
        EXPECT_FALSE(stopped);
        EXPECT_EQ(filter({"aab"}, "aaab", piece), "a");
        EXPECT_EQ(filter({"\n\nUser:", "xyz"}, "hi\n\nUsed xyz", piece), "hi\n\nUsed ");
        EXPECT_EQ(filter({}, "all", piece), "all");
        EXPECT_EQ(filter({""}, "all", piece), "all");
    }
}

TEST(StopFilter, HoldsBackNoMoreThanABeginning) {
    StopFilter filter({"stop"});
    EXPECT_EQ(filter.push("a s"), "a ");
    EXPECT_EQ(filter.push("t"), "");
    EXPECT_EQ(filter.push("range"), "strange");
    EXPECT_EQ(filter.push("x st"), "x ");
    EXPECT_EQ(filter.finish(), "st");
}

TEST(StopFilter, TheEarliestOfSeveralCounts) {
    EXPECT_EQ(filter({"cd", "b"}, "abcd", 4), "a");
    EXPECT_EQ(filter({"bcd", "bc"}, "abcd", 1), "a");
}

TEST(StopFilter, NothingAfterTheStop) {
    StopFilter filter({"."});
    EXPECT_EQ(filter.push("a.b"), "a");
    EXPECT_EQ(filter.push("c"), "");
    EXPECT_EQ(filter.finish(), "");
}

}  // namespace
}  // namespace llmsql
