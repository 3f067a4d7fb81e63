// SPDX-License-Identifier: MIT
// Locks of open files. See byte_lock.h.
#include "common/byte_lock.h"

#include <fcntl.h>

#include <cerrno>
#include <set>

#include "common/fork.h"

namespace llmsql {
namespace {

// Files end, and SQLite's locks lie, far below.
constexpr uint64_t kFirst = uint64_t{1} << 62, kCount = uint64_t{1} << 61;

int set_lock(int descriptor, uint64_t number, short type) {
    struct flock range {};
    range.l_type = type;
    range.l_whence = SEEK_SET;
    range.l_start = static_cast<off_t>(kFirst + number % kCount);
    range.l_len = 1;
    int code = 0;
    do code = ::fcntl(descriptor, F_OFD_SETLK, &range);
    while (code != 0 && errno == EINTR);
    return code == 0 ? 0 : errno;
}

// What this process holds: to the system, all its holders are one open file.
struct Held {
    ForkMutex mutex;
    std::set<std::pair<SharedFile::Identity, uint64_t>> locks;
    uint32_t generation = 0;

    static Held& all() {
        static Held& held = *new Held;
        return held;
    }
    // A child holds nothing of what its parent does.
    void forget_parents() {
        if (std::exchange(generation, fork_generation()) != generation) locks.clear();
    }
};

}  // namespace

TryLock try_lock_byte(int descriptor, uint64_t number) {
    switch (set_lock(descriptor, number, F_WRLCK)) {
        case 0:
            return TryLock::taken;
        case EAGAIN:
        case EACCES:
            return TryLock::held;
        default:
            return TryLock::unknown;
    }
}

void unlock_byte(int descriptor, uint64_t number) {
    set_lock(descriptor, number, F_UNLCK);
}

ByteLock::ByteLock(std::shared_ptr<SharedFile> file, uint64_t number, int descriptor)
    : file_(std::move(file)),
      number_(number),
      descriptor_(descriptor),
      generation_(fork_generation()) {}

std::optional<ByteLock> ByteLock::take(std::shared_ptr<SharedFile> file, uint64_t number) {
    const int descriptor = file->lock_descriptor();
    Held& held = Held::all();
    const std::lock_guard lock(held.mutex);
    held.forget_parents();
    const auto [place, fresh] = held.locks.emplace(file->identity(), number);
    if (!fresh) return std::nullopt;
    if (descriptor >= 0 && try_lock_byte(descriptor, number) == TryLock::held) {
        held.locks.erase(place);
        return std::nullopt;
    }
    return ByteLock(std::move(file), number, descriptor);
}

ByteLock::~ByteLock() {
    if (!file_ || generation_ != fork_generation()) return;
    Held& held = Held::all();
    const std::lock_guard lock(held.mutex);
    if (descriptor_ >= 0) unlock_byte(descriptor_, number_);
    held.locks.erase({file_->identity(), number_});
}

}  // namespace llmsql
