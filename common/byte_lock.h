// SPDX-License-Identifier: MIT
// Locks that tell whether their holder is still there: the system lets go of them when the holder's
// file is closed, however its process ends.
//
// They are on single bytes far beyond what a file can hold, so that they meet neither SQLite's
// locks nor anybody else's, and belong to the open file (F_OFD_SETLK), not to the process: closing
// another descriptor of the file does not drop them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "common/shared_file.h"

namespace llmsql {

enum class TryLock {
    taken,
    held,     // by another open file
    unknown,  // the system or the file system has no such locks
};

/// Takes lock `number` on an open file (descriptor opened for writing), without waiting.
TryLock try_lock_byte(int descriptor, uint64_t number);
void unlock_byte(int descriptor, uint64_t number);

/// A lock of a file that SQLite may have open as well, held until destruction by one at most of all
/// processes, and of all in this process; where there are no such locks, of those in this process.
/// Thread-safe.
class ByteLock {
  public:
    /// Nothing if it is held already.
    static std::optional<ByteLock> take(std::shared_ptr<SharedFile> file, uint64_t number);
    ByteLock(ByteLock&& other) noexcept = default;
    ByteLock& operator=(ByteLock&& other) noexcept {
        std::swap(file_, other.file_);
        std::swap(number_, other.number_);
        std::swap(descriptor_, other.descriptor_);
        std::swap(generation_, other.generation_);
        return *this;
    }
    ~ByteLock();

  private:
    ByteLock(std::shared_ptr<SharedFile> file, uint64_t number, int descriptor);

    std::shared_ptr<SharedFile> file_;  // null: moved from
    uint64_t number_;
    int descriptor_;  // the file's; -1: it may not be written, and only this process is kept out
    uint32_t generation_;  // in a child of the process that has taken it, it is not the child's
};

/// Keeps whoever writes to a database through SQLite from it while it lives, as SQLite's own lock
/// of a reader does, but also where that is lost: POSIX drops it when anybody else in the process,
/// as another SQLite, closes the file. Thread-safe.
class ReadersLock {
  public:
    /// Fails if the database is being written to. Where there are no such locks, none is taken.
    explicit ReadersLock(std::shared_ptr<SharedFile> file);
    ReadersLock(const ReadersLock&) = delete;
    ReadersLock& operator=(const ReadersLock&) = delete;
    ~ReadersLock();

  private:
    std::shared_ptr<SharedFile> file_;
    int descriptor_;
    uint32_t generation_;
};

/// Keeps other copies of this library in the same process from a file while it lives (the extension
/// is one, a library with a SQLite inside another): between them SQLite's locks, which are the
/// process's, keep nobody out. Other processes may use the file. Thread-safe.
class CopyLock {
  public:
    /// Fails if another copy has it. Where there are no such locks, none is taken.
    explicit CopyLock(std::shared_ptr<SharedFile> file);
    CopyLock(const CopyLock&) = delete;
    CopyLock& operator=(const CopyLock&) = delete;
    ~CopyLock();

  private:
    std::shared_ptr<SharedFile> file_;
    int descriptor_;
    uint32_t generation_;
    uint64_t number_;  // the byte that stands for this process
};

}  // namespace llmsql
