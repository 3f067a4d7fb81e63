// SPDX-License-Identifier: MIT
// The cache: entries that are whole or not there, who may use them when, and its limit.
#include "driver/cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "common/error.h"
#include "tests/unit/error_of.h"
#include "tests/unit/says.h"
#include "tests/unit/temporary_folder.h"

namespace llmsql::driver {
namespace {

using test::error_of;

namespace fs = std::filesystem;

std::string key(char digit) {
    return std::string(32, digit);
}

class CacheTest : public testing::Test {
  protected:
    /// An entry of `bytes`, made unless it is there.
    UsedEntry use(char digit, uint64_t bytes = 10'000) {
        return cache().use(
            key(digit), std::string("/source/") + digit, [=](const fs::path&) { return bytes; },
            [&, bytes](const fs::path& folder) {
                ++made_;
                write_file_atomically(folder / "model.db", std::string(bytes, 'x'));
            },
            say());
    }
    std::function<void(const std::string&)> say() {
        return [this](const std::string& line) { said_ += line + "\n"; };
    }
    Cache cache() const { return Cache(folder_ / "llmsql"); }
    std::string keys() const {
        std::string all;
        for (const CacheEntry& entry : cache().entries()) all += entry.key[0];
        return all;
    }
    void age(char digit, int hours) {
        fs::last_write_time(folder_ / "llmsql" / key(digit) / "used",
                            fs::file_time_type::clock::now() - std::chrono::hours(hours));
    }

    test::TemporaryFolder folder_;
    std::string said_;
    int made_ = 0;
};

TEST_F(CacheTest, MadeOnceAndFoundAgain) {
    {
        const UsedEntry entry = use('a');
        EXPECT_EQ(read_file(entry.folder() / "model.db").size(), 10'000u);
        EXPECT_SAYS(said_, "… /source/a: … 9.8 KiB …");
        EXPECT_TRUE(cache().entries()[0].in_use);
        EXPECT_FALSE(cache().remove(key('a')));
        use('a');
    }
    said_.clear();
    use('a');
    EXPECT_EQ(made_, 1);
    EXPECT_EQ(said_, "");
    ASSERT_EQ(cache().entries().size(), 1u);
    EXPECT_EQ(cache().entries()[0].source, "/source/a");
    EXPECT_GE(cache().entries()[0].bytes, 10'000u);
    EXPECT_FALSE(cache().entries()[0].in_use);
    EXPECT_TRUE(cache().remove(key('a')));
    EXPECT_EQ(keys(), "");
    EXPECT_FALSE(fs::exists(folder_ / "llmsql" / (key('a') + ".lock")));
    use('a');
    EXPECT_EQ(made_, 2);
}

TEST_F(CacheTest, WhatFailsLeavesNothing) {
    const auto failing = [&] {
        cache().use(
            key('a'), "/source/a", [](const fs::path&) { return uint64_t{1}; },
            [](const fs::path& folder) {
                write_file_atomically(folder / "model.db", "half");
                fail("the source is damaged");
            },
            [](const std::string&) {});
    };
    EXPECT_SAYS(error_of(failing), "the source is damaged");
    EXPECT_EQ(keys(), "");
    EXPECT_FALSE(fs::exists(folder_ / "llmsql" / (key('a') + ".new")));
    use('a');
    EXPECT_EQ(made_, 1);
}

TEST_F(CacheTest, WhatAKilledMakerLeftIsSwept) {
    folder_.write("llmsql/" + key('a') + ".new/model.db", "half");
    folder_.write("llmsql/" + key('b') + ".new/expected", "1000000000000\n");
    folder_.write("llmsql/" + key('c') + ".lock", "");
    folder_.write("llmsql/notes.txt", "of the user's own");
    EXPECT_EQ(read_file(use('a').folder() / "model.db").size(), 10'000u);
    EXPECT_FALSE(fs::exists(folder_ / "llmsql" / (key('a') + ".new")));
    EXPECT_FALSE(fs::exists(folder_ / "llmsql" / (key('b') + ".new")));
    EXPECT_FALSE(fs::exists(folder_ / "llmsql" / (key('c') + ".lock")));
    EXPECT_TRUE(fs::exists(folder_ / "llmsql/notes.txt"));
}

TEST_F(CacheTest, TheLeastRecentlyUsedGoFirstAndNoneInUse) {
    for (const char digit : {'a', 'b', 'c'}) use(digit, 1'000'000);
    age('a', 3);
    age('b', 2);
    age('c', 1);
    EXPECT_EQ(keys(), "cba");
    cache().set_limit(3'400'000, say());
    EXPECT_EQ(keys(), "cba");
    {
        const UsedEntry kept = use('a', 1'000'000);
        age('a', 3);  // the oldest, but in use
        said_.clear();
        use('d', 1'000'000);
        EXPECT_EQ(keys(), "dca");
        EXPECT_SAYS(said_, "/source/b …\n… /source/d …");
        EXPECT_SAYS(error_of([&] { use('e', 2'900'000); }), "2.8 MiB … 3.2 MiB… in use: …limit…");
        EXPECT_EQ(keys(), "a");
    }
    EXPECT_SAYS(error_of([&] { use('e', 4'000'000); }), "3.8 MiB … 3.2 MiB… limit …");
    EXPECT_EQ(made_, 4);
    cache().set_limit(0, say());
    EXPECT_CONTAINS(said_, "/source/a (976.6 KiB), not used for longest, has left the cache\n");
    EXPECT_EQ(keys(), "");
    EXPECT_EQ(cache().limit(), 0u);
}

TEST_F(CacheTest, MoreThanTheDiskHasIsRefusedBeforeItBegins) {
    cache().set_limit(uint64_t{1} << 62, say());
    EXPECT_SAYS(error_of([&] { use('a', uint64_t{1} << 60); }),
                "…llmsql: … 1073741824.00 GiB … /source/a … free: …");
    EXPECT_EQ(made_, 0);
}

TEST_F(CacheTest, TwoAtOnceMakeItOnce) {
    std::atomic<bool> begun = false, go_on = false;
    std::string second;
    std::thread maker([&] {
        cache().use(
            key('a'), "/source/a", [](const fs::path&) { return uint64_t{1}; },
            [&](const fs::path& folder) {
                begun = true;
                while (!go_on) std::this_thread::yield();
                write_file_atomically(folder / "model.db", "whole");
            },
            [](const std::string&) {});
    });
    while (!begun) std::this_thread::yield();
    std::thread waiter([&] {
        const UsedEntry entry = cache().use(
            key('a'), "/source/a", [](const fs::path&) { return uint64_t{1}; },
            [&](const fs::path&) { second += "made again"; },
            [&](const std::string& line) {
                second += line;
                go_on = true;  // only once it is known that this one waits
            });
        second += "; " + read_file(entry.folder() / "model.db");
    });
    maker.join();
    waiter.join();
    EXPECT_SAYS(second, "another llmsql … /source/a …; whole");
}

TEST_F(CacheTest, LookingWritesNothing) {
    const Cache none(folder_ / "not" / "there", Cache::Purpose::looking);
    EXPECT_TRUE(none.entries().empty());
    EXPECT_EQ(none.limit(), Cache::kDefaultLimit);
    EXPECT_FALSE(fs::exists(folder_ / "not"));
    const UsedEntry kept = use('a', 1);
    for (const CacheEntry& entry : Cache(folder_ / "llmsql", Cache::Purpose::looking).entries())
        EXPECT_TRUE(entry.in_use);
    fs::remove(folder_ / "llmsql" / (key('a') + ".lock"));
    EXPECT_FALSE(cache().entries().front().in_use);
    EXPECT_FALSE(fs::exists(folder_ / "llmsql" / (key('a') + ".lock")));
}

TEST_F(CacheTest, FoldersThatCannotBeWrittenAreNamed) {
    const fs::path file = folder_.write("file", "");
    EXPECT_SAYS(error_of([&] { Cache(file / "llmsql"); }), "…file/llmsql: … XDG_CACHE_HOME …");
    EXPECT_SAYS(error_of([&] { Cache{file}; }), "…file: … XDG_CACHE_HOME …");
    EXPECT_SAYS(error_of([&] { Cache("/proc/llmsql"); }), "/proc/llmsql: … XDG_CACHE_HOME …");
}

}  // namespace
}  // namespace llmsql::driver
