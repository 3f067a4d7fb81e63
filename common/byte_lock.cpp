// SPDX-License-Identifier: MIT
// Locks of open files. See byte_lock.h.
#include "common/byte_lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>

#include "common/error.h"
#include "common/fork.h"
#include "common/hash.h"

namespace llmsql {
namespace {

// Files end, and SQLite's locks lie, far below.
constexpr uint64_t kFirst = uint64_t{1} << 62, kCount = uint64_t{1} << 61;

// The bytes of which SQLite's readers lock one or all, and its writers all (its file format's
// description, "File Locking").
constexpr uint64_t kReaders = 0x40000002, kReadersCount = 510;

int set_lock(int descriptor, uint64_t first, uint64_t count, short type) {
    struct flock range {};
    range.l_type = type;
    range.l_whence = SEEK_SET;
    range.l_start = static_cast<off_t>(first);
    range.l_len = static_cast<off_t>(count);
    int code = 0;
    do code = ::fcntl(descriptor, F_OFD_SETLK, &range);
    while (code != 0 && errno == EINTR);
    return code == 0 ? 0 : errno;
}

int set_lock(int descriptor, uint64_t number, short type) {
    return set_lock(descriptor, kFirst + number % kCount, 1, type);
}

// What this process holds: to the system, all its holders are one open file.
struct Held {
    ForkMutex mutex;
    std::set<std::pair<SharedFile::Identity, uint64_t>> locks;
    std::map<SharedFile::Identity, size_t> readers;
    std::map<SharedFile::Identity, size_t> copies;
    uint32_t generation = 0;

    static Held& all() {
        static Held& held = *new Held;
        return held;
    }
    // A child holds nothing of what its parent does.
    void forget_parents() {
        if (std::exchange(generation, fork_generation()) == fork_generation()) return;
        locks.clear();
        readers.clear();
        copies.clear();
    }
};

// A number that is this process's, among those that may open a file: also where these have process
// ids of other namespaces. Sessions have small ones.
uint64_t number_of_process() {
    struct stat info {};
    const ino_t space = ::stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
    std::string status;
    try {
        std::ifstream file("/proc/self/stat");
        status.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    } catch (const std::ios_base::failure&) {
        // Without it two processes of one id in two namespaces may be taken for one.
    }
    status.erase(0, status.rfind(')') + 1);  // the name may hold anything
    size_t at = 0;
    for (int field = 3; field < 22 && at != std::string::npos; ++field)
        at = status.find(' ', at + 1);
    const std::string started =  // its 22nd field, and no other, is the same as long as it lives
        at == std::string::npos ? "" : status.substr(at, status.find(' ', at + 1) - at);
    const std::string text = fmt::format("{} {} {}", ::getpid(), space, started);
    return kCount / 2 + hash128(text.data(), text.size()).low % (kCount / 2);
}

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

ReadersLock::ReadersLock(std::shared_ptr<SharedFile> file)
    : file_(std::move(file)),
      descriptor_(file_->readers_lock_descriptor()),
      generation_(fork_generation()) {
    Held& held = Held::all();
    const std::lock_guard lock(held.mutex);
    held.forget_parents();
    size_t& count = held.readers[file_->identity()];
    if (count == 0 && descriptor_ >= 0) {
        const int error = set_lock(descriptor_, kReaders, kReadersCount, F_RDLCK);
        if (error == EAGAIN || error == EACCES)
            fail("{}: the database is being written to; try again", file_->path());
    }
    ++count;
}

ReadersLock::~ReadersLock() {
    if (generation_ != fork_generation()) return;
    Held& held = Held::all();
    const std::lock_guard lock(held.mutex);
    if (--held.readers[file_->identity()] > 0) return;
    if (descriptor_ >= 0) set_lock(descriptor_, kReaders, kReadersCount, F_UNLCK);
    held.readers.erase(file_->identity());
}

CopyLock::CopyLock(std::shared_ptr<SharedFile> file)
    : file_(std::move(file)),
      descriptor_(file_->lock_descriptor()),
      generation_(fork_generation()),
      number_(number_of_process()) {
    Held& held = Held::all();
    const std::lock_guard lock(held.mutex);
    held.forget_parents();
    size_t& count = held.copies[file_->identity()];
    if (count == 0 && descriptor_ >= 0 && try_lock_byte(descriptor_, number_) == TryLock::held)
        fail(
            "{}: another copy of llmsql in this process has it open (the loadable extension is "
            "one, "
            "what llmsql.Model is in another): close that first, or use another file",
            file_->path());
    ++count;
}

CopyLock::~CopyLock() {
    if (generation_ != fork_generation()) return;
    Held& held = Held::all();
    const std::lock_guard lock(held.mutex);
    if (--held.copies[file_->identity()] > 0) return;
    if (descriptor_ >= 0) unlock_byte(descriptor_, number_);
    held.copies.erase(file_->identity());
}

}  // namespace llmsql
