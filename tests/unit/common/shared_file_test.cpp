// SPDX-License-Identifier: MIT
// Locks outlive whatever else of this process reads the file: asked by another process, as a
// process cannot see its own.
#include "common/shared_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "common/error.h"
#include "common/files.h"
#include "tests/unit/error_of.h"
#include "tests/unit/temporary_folder.h"

namespace llmsql {
namespace {

namespace fs = std::filesystem;
using test::error_of;

const std::string kDatabase = std::string("SQLite format 3\0", 16) + std::string(200, 'x');

class SharedFileTest : public testing::Test {
  protected:
    void SetUp() override {
        read_file(write("first", ""));  // what earlier tests have removed is closed now
    }

    fs::path write(const std::string& name, const std::string& content) const {
        return folder_.write(name, content);
    }

    static size_t descriptors() {
        return static_cast<size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), {}));
    }

    test::TemporaryFolder folder_;
};

// As SQLite holds one: on a descriptor of its own.
class Lock {
  public:
    explicit Lock(const fs::path& path) : fd_(::open(path.c_str(), O_RDWR | O_CLOEXEC)) {
        struct flock lock {};
        lock.l_type = F_WRLCK;
        EXPECT_EQ(::fcntl(fd_, F_SETLK, &lock), 0);
    }
    ~Lock() { ::close(fd_); }

  private:
    int fd_;
};

// Whether another process finds the file locked.
bool is_locked(const fs::path& path) {
    const pid_t child = ::fork();
    if (child == 0) {
        const int fd = ::open(path.c_str(), O_RDWR);
        struct flock lock {};
        lock.l_type = F_WRLCK;
        ::_exit(::fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? 1 : 0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WEXITSTATUS(status) == 1;
}

TEST_F(SharedFileTest, NothingThatReadsAFileDropsItsLocks) {
    const fs::path database = write("a.sql", kDatabase);
    fs::create_symlink(database, folder_ / "symbolic");
    fs::create_hard_link(database, folder_ / "hard");
    const Lock lock(database);
    ASSERT_TRUE(is_locked(database));
    for (const char* name : {"a.sql", "symbolic", "hard"}) {
        const fs::path path = folder_ / name;
        const std::function<void()> readers[] = {
            [&] { require_readable_file(path); },
            [&] { EXPECT_EQ(read_file(path), kDatabase); },
            [&] { EXPECT_EQ(read_start(path, 3), "SQL"); },
            [&] { EXPECT_NE(error_of([&] { output_path(path, "magic", "x"); }), ""); },
            [&] { EXPECT_NE(error_of([&] { output_path(path, "", "x"); }), ""); },
            [&] { EXPECT_NE(error_of([&] { regular_output_path(path, "magic", "x"); }), ""); },
            [&] { EXPECT_EQ(unfinished_log(path), std::nullopt); },
            [&] { SharedFile::of(path)->direct_descriptor(); },
        };
        for (const auto& read : readers) {
            read();
            EXPECT_TRUE(is_locked(database)) << name << " " << &read - readers;
        }
    }
}

// A database that has not been written yet, or one that is encrypted, does not look like one.
TEST_F(SharedFileTest, WhatAnotherHasOpenStaysOpen) {
    for (const std::string content : {"", "cipher"}) {
        const fs::path path = write("other", content);
        const size_t before = descriptors();
        {
            const Lock lock(path);
            EXPECT_EQ(read_file(path), content);
            EXPECT_TRUE(is_locked(path));
        }
        read_file(path);  // nobody has it open now
        EXPECT_EQ(descriptors(), before);
    }
}

TEST_F(SharedFileTest, OneDescriptorAFile) {
    const fs::path database = write("a.db", kDatabase);
    fs::create_hard_link(database, folder_ / "b.db");
    const size_t before = descriptors();
    const auto a = SharedFile::of(database), b = SharedFile::of(folder_ / "b.db");
    EXPECT_EQ(a, b);
    EXPECT_EQ(read_file(database), kDatabase);
    EXPECT_EQ(descriptors(), before + 1);
}

TEST_F(SharedFileTest, TextIsClosedAndDatabasesStay) {
    const size_t before = descriptors();
    for (int i = 0; i < 20; ++i) read_file(write(std::to_string(i), "text"));
    EXPECT_EQ(descriptors(), before);
    const fs::path database = write("a.db", kDatabase);
    for (int i = 0; i < 20; ++i) read_file(database);
    EXPECT_EQ(descriptors(), before + 1);
}

TEST_F(SharedFileTest, WithoutANameAndAUserAFileIsClosed) {
    const fs::path database = write("a.db", kDatabase), other = write("b", "text");
    const size_t before = descriptors();
    {
        const auto used = SharedFile::of(database);
        fs::remove(database);
        read_file(other);
        EXPECT_EQ(descriptors(), before + 1);
        char first = 0;
        EXPECT_EQ(used->read(0, &first, 1), 1u);
        EXPECT_EQ(first, 'S');
    }
    EXPECT_EQ(descriptors(), before);
    // One that loses its name after its last use is closed when the next file is asked for.
    read_file(write("a.db", kDatabase));
    fs::rename(write("new", kDatabase), database);
    EXPECT_EQ(descriptors(), before + 1);
    read_file(other);
    EXPECT_EQ(descriptors(), before);
    // But not while another has it open, whom its locks may serve.
    read_file(database);
    const int another = ::open(database.c_str(), O_RDONLY);
    fs::remove(database);
    read_file(other);
    EXPECT_EQ(descriptors(), before + 2);
    ::close(another);
    read_file(other);
    EXPECT_EQ(descriptors(), before);
}

TEST_F(SharedFileTest, TheSecondDescriptorIsOfTheSameFile) {
    const fs::path database = write("a.db", kDatabase);
    const auto file = SharedFile::of(database);
    fs::rename(write("other", "text"), database);
    const int direct = file->direct_descriptor();
    if (direct < 0) GTEST_SKIP() << "the file system has no O_DIRECT";
    struct stat first {
    }, second{};
    ::fstat(file->descriptor(), &first);
    ::fstat(direct, &second);
    EXPECT_EQ(first.st_ino, second.st_ino);
    EXPECT_EQ(file->direct_descriptor(), direct);
}

TEST_F(SharedFileTest, LogsThatAreNotFinished) {
    const fs::path database = write("a.db", kDatabase);
    fs::create_symlink(database, folder_ / "link.db");
    for (const char* name : {"a.db", "link.db"}) {
        const fs::path path = folder_ / name;
        EXPECT_EQ(unfinished_log(path), std::nullopt);
        const fs::path journal = write("a.db-journal", "");  // journal mode TRUNCATE
        EXPECT_EQ(unfinished_log(path), std::nullopt);
        write("a.db-journal", std::string(28, '\0') + "old pages");  // PERSIST
        EXPECT_EQ(unfinished_log(path), std::nullopt);
        write("a.db-journal", "\xd9\xd5\x05\xf9 pages");
        EXPECT_EQ(unfinished_log(path)->filename(), "a.db-journal");
        fs::remove(journal);
        write("a.db-wal", std::string(28, '\0'));  // nothing says that it has been written back
        EXPECT_EQ(unfinished_log(path)->filename(), "a.db-wal");
        fs::remove(folder_ / "a.db-wal");
    }
}

}  // namespace
}  // namespace llmsql
