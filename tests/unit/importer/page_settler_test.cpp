// SPDX-License-Identifier: MIT
// Settling a file's pages while it is written: the file stays what was written, what is settled
// lies behind the end, and small files are left alone.
#include "importer/page_settler.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <random>
#include <string>
#include <thread>

#include "common/files.h"
#include "tests/unit/temporary_folder.h"

namespace llmsql::test {
namespace {

constexpr uint64_t kMega = 1 << 20;
constexpr PageSettler::Sizes kSizes{.part = 2 * kMega, .behind = 3 * kMega};

std::string noise(size_t bytes) {
    std::mt19937_64 random(5);
    std::string content(bytes, '\0');
    for (char& c : content) c = static_cast<char>(random());
    return content;
}

class PageSettlerTest : public testing::Test {
  protected:
    TemporaryFolder folder_;
    std::filesystem::path path_ = folder_.write("x", "");
    Descriptor file_ = Descriptor(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
};

TEST_F(PageSettlerTest, SettlesBehindTheEndAndChangesNothing) {
    const std::string content = noise(24 * kMega);
    PageSettler settler(file_.get(), content.size(), kSizes);
    uint64_t settled = 0;
    for (uint64_t at = 0; at < content.size(); at += kMega) {
        ASSERT_EQ(::pwrite(file_.get(), content.data() + at, kMega, static_cast<off_t>(at)),
                  static_cast<ssize_t>(kMega));
        settler.written(at + kMega);
        settled = settler.settled();
        EXPECT_EQ(settled % kSizes.part, 0u);
        EXPECT_TRUE(settled == 0 || settled + kSizes.behind <= at + kMega) << settled;
    }
    // All that it may have it settles by itself.
    constexpr uint64_t kMost = (24 * kMega - kSizes.behind) / kSizes.part * kSizes.part;
    for (int i = 0; i < 2000 && settler.settled() < kMost; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(settler.finish(), kMost);
    EXPECT_EQ(settler.finish(), 0u);
    EXPECT_TRUE(read_file(path_) == content);
}

TEST_F(PageSettlerTest, EndsInTheMiddle) {
    const std::string content = noise(8 * kMega);
    ASSERT_EQ(::pwrite(file_.get(), content.data(), content.size(), 0),
              static_cast<ssize_t>(content.size()));
    for (int run = 0; run < 20; ++run) {
        PageSettler settler(file_.get(), 100 * kMega, kSizes);
        settler.written(content.size());
        if (run % 2 == 0) {
            EXPECT_LE(settler.finish(), content.size() - kSizes.behind);
        }
    }
    EXPECT_TRUE(read_file(path_) == content);
}

TEST_F(PageSettlerTest, LeavesAlone) {
    PageSettler small(file_.get(), 9 * kMega, kSizes);
    small.written(9 * kMega);
    EXPECT_EQ(small.finish(), 0u);
    PageSettler huge(file_.get(), uint64_t{1} << 60, kSizes);  // more than memory holds
    huge.written(uint64_t{1} << 50);
    EXPECT_EQ(huge.finish(), 0u);
    PageSettler closed(-1, 100 * kMega, kSizes);
    closed.written(100 * kMega);
    EXPECT_EQ(closed.finish(), 0u);
}

}  // namespace
}  // namespace llmsql::test
