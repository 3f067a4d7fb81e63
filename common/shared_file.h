// SPDX-License-Identifier: MIT
// SharedFile: a file that is read as plain bytes while SQLite may have it open as well.
//
// POSIX drops all locks that a process has on a file, SQLite's among them, when *any* descriptor of
// that file is closed: others then write under a reader, and a journal that is in use is taken for
// a dead writer's. So there is one descriptor a file (device and inode) and process, whoever reads
// it, and it is closed only where no lock can hang on it:
//
// - what is no database, and nothing else in this process has open, is closed after its last use;
// - what is a database stays open, until it has no name left and nothing else here has it open.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace llmsql {

/// Thread-safe. Errors name the file.
class SharedFile {
  public:
    /// Opens the regular file at `path`, or finds it open already. Fails as
    /// require_readable_file() does.
    static std::shared_ptr<SharedFile> of(const std::filesystem::path& path);

    const std::string& path() const { return path_; }
    int descriptor() const { return descriptor_; }
    using Identity = std::pair<dev_t, ino_t>;
    Identity identity() const { return identity_; }
    uint64_t size() const;  // now

    /// Copies what there is of a range: fewer bytes only where the file ends.
    size_t read(uint64_t offset, void* out, size_t bytes) const;

    /// A second descriptor, for reading past the page cache (O_DIRECT is a property of an open
    /// file, so that the first cannot serve): opened once, closed with the first. -1 where the
    /// system refuses it. It leads to this file whatever has its name by now.
    int direct_descriptor();

    /// Another one, of this process alone, that locks of an open file can be taken on
    /// (byte_lock.h): opened once, closed with the first. -1 where the file may not be written;
    /// fails where that cannot be told.
    int lock_descriptor();

    /// The like for locks that a reader may take (ReadersLock): -1 where the system refuses it.
    int readers_lock_descriptor();

    SharedFile(const SharedFile&) = delete;
    SharedFile& operator=(const SharedFile&) = delete;
    ~SharedFile();

  private:
    friend struct SharedFiles;
    explicit SharedFile(std::string path);
    bool may_close() const;

    const std::string path_;
    bool is_own(int descriptor) const;

    int descriptor_ = -1;  // never changed once others know of it
    Identity identity_;
    std::optional<int> direct_;  // under the registry's lock, like what follows
    /// A descriptor that locks hang on, so that a child of the process makes another.
    struct OfLocks {
        std::optional<int> descriptor;
        uint32_t generation = 0;
    };
    int reopen(OfLocks& of_locks, int flags);
    OfLocks lock_, readers_lock_;
    std::vector<int> inherited_;  // of processes before a fork, whose locks hang on them
    size_t uses_ = 0;
};

}  // namespace llmsql
