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

}  // namespace llmsql
