// SPDX-License-Identifier: MIT
// Locks that say who lives: between processes, within one, after a fork, beside SQLite's.
#include "common/byte_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "tests/unit/temporary_folder.h"

namespace llmsql {
namespace {

class ByteLockTest : public testing::Test {
  protected:
    std::optional<ByteLock> take(uint64_t number) const {
        return ByteLock::take(SharedFile::of(file_), number);
    }
    // What a child of this process, or one that has nothing of it, says.
    static bool in_child(const std::function<bool()>& ask) {
        const pid_t child = ::fork();
        if (child == 0) ::_exit(ask() ? 0 : 1);
        int status = 0;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }

    test::TemporaryFolder folder_;
    std::filesystem::path file_ = folder_.write("file", std::string(200, 'x'));
};

TEST_F(ByteLockTest, OneHolderOfEachNumber) {
    auto first = take(1);
    ASSERT_TRUE(first);
    EXPECT_FALSE(take(1)) << "within the process";
    EXPECT_TRUE(take(2));
    EXPECT_TRUE(take(~uint64_t{0}));
    EXPECT_FALSE(in_child([&] { return take(1).has_value(); }));
    EXPECT_TRUE(in_child([&] { return take(2).has_value(); }));
    first.reset();
    EXPECT_TRUE(take(1));
    EXPECT_TRUE(in_child([&] { return take(1).has_value(); }));
}

TEST_F(ByteLockTest, AChildLetsGoOfNothing) {
    auto held = take(1);
    ASSERT_TRUE(held);
    EXPECT_TRUE(in_child([&] {
        held.reset();
        return true;
    }));
    EXPECT_FALSE(in_child([&] { return take(1).has_value(); }));
}

TEST_F(ByteLockTest, GoesWithItsHolder) {
    EXPECT_TRUE(in_child([&] {
        static std::optional<ByteLock> held;
        held.emplace(std::move(*take(1)));
        return true;  // without giving it back
    }));
    EXPECT_TRUE(take(1));
}

TEST_F(ByteLockTest, MeetsNoOtherLock) {
    // The process's own, of the whole file as far as any program's lock goes, stay.
    const int other = ::open(file_.c_str(), O_RDWR | O_CLOEXEC);
    struct flock whole {};
    whole.l_type = F_WRLCK;
    whole.l_len = off_t{1} << 40;
    ASSERT_EQ(::fcntl(other, F_SETLK, &whole), 0);
    EXPECT_TRUE(in_child([&] { return take(1).has_value(); }));
    take(1).reset();
    EXPECT_TRUE(in_child([&] {
        struct flock asked = whole;
        return ::fcntl(other, F_GETLK, &asked) == 0 && asked.l_type == F_WRLCK;
    })) << "dropped";
    ::close(other);
}

// SQLite's writers lock all of the readers' bytes.
bool may_write(const std::filesystem::path& file) {
    const int descriptor = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
    struct flock readers {};
    readers.l_type = F_WRLCK;
    readers.l_start = 0x40000002;
    readers.l_len = 510;
    const bool taken = ::fcntl(descriptor, F_SETLK, &readers) == 0;
    ::close(descriptor);  // which drops it
    return taken;
}

TEST_F(ByteLockTest, ReadersKeepWritersOutWhateverTheProcessCloses) {
    auto first = std::make_unique<ReadersLock>(SharedFile::of(file_));
    const auto second = std::make_unique<ReadersLock>(SharedFile::of(file_));
    first.reset();
    ::close(::open(file_.c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_TRUE(in_child([&] { return !may_write(file_); }));
    EXPECT_FALSE(may_write(file_));
    EXPECT_TRUE(in_child([&] {
        ReadersLock of_child(SharedFile::of(file_));
        return true;
    }));
    EXPECT_TRUE(in_child([&] { return !may_write(file_); })) << "a child's end dropped it";
}

TEST_F(ByteLockTest, WritersComeWhereNoReaderIsLeft) {
    { const ReadersLock gone(SharedFile::of(file_)); }
    EXPECT_TRUE(in_child([&] { return may_write(file_); }));
}

TEST_F(ByteLockTest, OneCopyOfTheLibraryHasAFileAndOtherProcessesToo) {
    const CopyLock first(SharedFile::of(file_));
    const CopyLock second(SharedFile::of(file_));
    EXPECT_TRUE(in_child([&] {
        const CopyLock of_child(SharedFile::of(file_));
        return true;
    }));
}

}  // namespace
}  // namespace llmsql
