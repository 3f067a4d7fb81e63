// SPDX-License-Identifier: MIT
// Whole files in and out, and what is left after a failure.
#include "common/files.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "common/error.h"
#include "tests/unit/error_of.h"
#include "tests/unit/says.h"
#include "tests/unit/temporary_folder.h"

namespace llmsql {
namespace {

namespace fs = std::filesystem;
using test::error_of;

class FilesTest : public testing::Test {
  protected:
    size_t files() const { return folder_.files().size(); }

    test::TemporaryFolder folder_;
};

TEST_F(FilesTest, WritesAndReads) {
    std::string content(200000, 'x');
    content[100] = '\0';
    write_file_atomically(folder_ / "a", content);
    EXPECT_EQ(read_file(folder_ / "a"), content);
    write_file_atomically(folder_ / "a", "");
    EXPECT_EQ(read_file(folder_ / "a"), "");
    EXPECT_EQ(files(), 1u);
    struct stat info {};
    ::stat((folder_ / "a").c_str(), &info);
    const mode_t mask = ::umask(0);
    ::umask(mask);
    EXPECT_EQ(info.st_mode & 0777, 0666 & ~mask);
}

TEST_F(FilesTest, ErrorsNameThePath) {
    const auto none = folder_ / "none";
    EXPECT_SAYS(error_of([&] { read_file(none); }), none.string() + ": No such file or directory");
    EXPECT_SAYS(error_of([&] { read_file(folder_.path()); }),
                folder_.path().string() + ": is a directory …");
    EXPECT_SAYS(error_of([&] { require_readable_file("/dev/null"); }), "/dev/null: … regular file");
    const auto pipe = folder_ / "pipe";
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    EXPECT_SAYS(error_of([&] { read_file(pipe); }), pipe.string() + ": … regular file");
    EXPECT_SAYS(error_of([&] { write_file_atomically(folder_.path(), "x"); }),
                folder_.path().string() + ": is a directory …");
    const auto nowhere = folder_ / "no/where";
    EXPECT_SAYS(error_of([&] { write_file_atomically(nowhere, "x"); }),
                nowhere.string() + ": … No such file or directory");
}

TEST_F(FilesTest, NoOutputTakesTheNameOfADatabasesLog) {
    // SQLite deletes what it takes for the journal of a database that it writes to.
    std::ofstream(folder_ / "m.db") << "SQLite format 3";
    for (const char* name : {"m.db-journal", "m.db-wal", "m.db-shm"})
        EXPECT_NE(error_of([&] { output_path(folder_ / name, "x", "an x"); }).find("a log of"),
                  std::string::npos)
            << name;
    for (const char* name : {"other.db-journal", "journal", "-wal", "m.db-log"})
        EXPECT_EQ(error_of([&] { output_path(folder_ / name, "x", "an x"); }), "") << name;
}

TEST_F(FilesTest, AFailedWriteLeavesWhatWasThere) {
    write_file_atomically(folder_ / "a", "before");
    struct rlimit old {};
    ::getrlimit(RLIMIT_FSIZE, &old);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit small { 1000, old.rlim_max };
    ::setrlimit(RLIMIT_FSIZE, &small);
    const std::string error =
        error_of([&] { write_file_atomically(folder_ / "a", std::string(5000, 'y')); });
    ::setrlimit(RLIMIT_FSIZE, &old);
    std::signal(SIGXFSZ, handler);
    EXPECT_EQ(error, (folder_ / "a").string() + ": cannot write: File too large");
    EXPECT_EQ(read_file(folder_ / "a"), "before");
    EXPECT_EQ(files(), 1u);
}

TEST_F(FilesTest, WhatTheDeadHaveLeftIsRemoved) {
    const auto remove = [&] {
        TemporaryFile::remove_dead(folder_ / "a",
                                   [](std::string_view start) { return start == "ours"; });
    };
    const std::string dead = "a.unfinished-abcde";
    folder_.write(dead + "1", "ours");
    folder_.write(dead + "2", "");
    remove();
    EXPECT_EQ(files(), 0u);
    const std::vector<std::string> others{
        dead, dead + "12", dead + "A", "a.unfinished-", "b.unfinished-abcde1", "a.abcdef", "a"};
    for (const std::string& other : others) folder_.write(other, "ours");
    folder_.write(dead + "3", "not");
    fs::create_directory(folder_ / (dead + "4"));
    fs::create_symlink(folder_ / "a", folder_ / (dead + "5"));
    // Files that live, of this process and of another.
    TemporaryFile own(folder_ / "a");
    const size_t before = files();
    int made[2], seen[2];
    ASSERT_EQ(::pipe(made), 0);
    ASSERT_EQ(::pipe(seen), 0);
    const pid_t child = ::fork();
    char byte = 0;
    if (child == 0) {
        const TemporaryFile living(folder_ / "a");
        ::_exit(::write(made[1], "x", 1) == 1 && ::read(seen[0], &byte, 1) == 1 ? 0 : 1);
    }
    ASSERT_EQ(::read(made[0], &byte, 1), 1);
    remove();
    EXPECT_EQ(files(), before + 1);
    EXPECT_TRUE(fs::exists(own.name()));
    ASSERT_EQ(::write(seen[1], "x", 1), 1);
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    // It has ended without removing it.
    EXPECT_EQ(files(), before + 1);
    remove();
    EXPECT_EQ(files(), before);
}

// In a process of its own, for no temporary file can be made there any more.
TEST_F(FilesTest, AbandonedFilesAreRemoved) {
    const auto abandon = [&] {
        const TemporaryFile one(folder_ / "one"), two(folder_ / "two");
        TemporaryFile done(folder_ / "done");
        done.publish();
        TemporaryFile::abandon_all();
        ::_exit(files() == 1 && fs::exists(folder_ / "done") ? 0 : 1);
    };
    EXPECT_EXIT(abandon(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace llmsql
