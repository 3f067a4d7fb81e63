// SPDX-License-Identifier: MIT
// Writing in pieces of 2 MiB. See huge_writes.h.
#include "importer/huge_writes.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bitset>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "common/types.h"

namespace llmsql {
namespace {

constexpr uint64_t kPart = 4096;  // SQLite's pages are multiples of it, or are passed on
constexpr size_t kParts = kHugePage / kPart;
constexpr int kWriteHugely = 0x6c6c6d;  // above 100, which are SQLite's own

// The system's error behind the last one of ours; SQLite asks for it unless a commit failed.
thread_local int last_errno = 0;

/// 2 MiB of the file, of which some parts are not written yet.
class Stretch {
  public:
    Stretch() : data_(static_cast<std::byte*>(std::aligned_alloc(kPart, kHugePage)), std::free) {
        if (!data_) throw std::bad_alloc();
    }

    void begin(uint64_t start) {
        start_ = start;
        waiting_.reset();
    }

    uint64_t start() const { return start_; }
    uint64_t last_use = 0;
    bool is_whole() const { return waiting_.all(); }

    /// Where the last part ends that is not written yet.
    uint64_t end() const {
        size_t part = kParts;
        while (part > 0 && !waiting_[part - 1]) --part;
        return start_ + part * kPart;
    }

    void put(uint64_t at, const void* from, size_t bytes) {
        std::memcpy(data_.get() + (at - start_), from, bytes);
        for (size_t i = 0; i < bytes / kPart; ++i) waiting_.set((at - start_) / kPart + i);
    }

    /// False unless all of it waits here.
    bool get(uint64_t at, void* to, size_t bytes) const {
        if (at < start_ || at + bytes > start_ + kHugePage) return false;
        for (uint64_t part = (at - start_) / kPart; part * kPart < at - start_ + bytes; ++part)
            if (!waiting_[part]) return false;
        std::memcpy(to, data_.get() + (at - start_), bytes);
        return true;
    }

    /// Writes what waits: SQLite's code.
    int write(int descriptor) const {
        for (size_t part = 0; part < kParts;) {
            size_t end = part;
            while (end < kParts && waiting_[end]) ++end;
            if (const int code = write(descriptor, part, end); code != SQLITE_OK) return code;
            part = end + 1;
        }
        return SQLITE_OK;
    }

  private:
    int write(int descriptor, size_t part, size_t end) const {
        for (uint64_t at = part * kPart; at < end * kPart;) {
            const ssize_t count = ::pwrite(descriptor, data_.get() + at, end * kPart - at,
                                           static_cast<off_t>(start_ + at));
            if (count > 0)
                at += static_cast<uint64_t>(count);
            else if (count == 0 || errno == ENOSPC || errno == EDQUOT)
                return SQLITE_FULL;
            else if (errno != EINTR)
                return SQLITE_IOERR_WRITE;
        }
        return SQLITE_OK;
    }

    uint64_t start_ = 0;
    std::unique_ptr<std::byte[], decltype(&std::free)> data_;
    std::bitset<kParts> waiting_;
};

/// Has the system begin to bring to the disk what was written there, without waiting for it.
void begin_to_flush(int descriptor, uint64_t from, uint64_t bytes) {
#ifdef SYNC_FILE_RANGE_WRITE
    ::sync_file_range(descriptor, static_cast<off_t>(from), static_cast<off_t>(bytes),
                      SYNC_FILE_RANGE_WRITE);
#else
    static_cast<void>(descriptor), static_cast<void>(from), static_cast<void>(bytes);
#endif
}

/// What SQLite has written and the system does not know yet: stretches that are being filled, and
/// those that leave, which a thread writes in their order, if there is one to be had.
class Stretches {
  public:
    Stretches(int descriptor, size_t most) : descriptor_(descriptor), most_(most) {
        free_.reserve(most);
        filling_.reserve(most);
        try {
            writer_ = std::thread([this] { write_those_that_leave(); });
        } catch (const std::system_error&) {
        }
    }
    Stretches(const Stretches&) = delete;
    Stretches& operator=(const Stretches&) = delete;
    ~Stretches() {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        changed_.notify_all();
        if (writer_.joinable()) writer_.join();
    }

    /// False: not what is kept here.
    static bool takes(uint64_t at, uint64_t bytes) {
        return at % kPart == 0 && bytes % kPart == 0 && bytes > 0 &&
               at / kHugePage == (at + bytes - 1) / kHugePage;
    }

    int put(uint64_t at, const void* from, size_t bytes) {
        const uint64_t start = at / kHugePage * kHugePage;
        auto stretch = std::ranges::find(filling_, start, &Stretch::start);
        if (stretch == filling_.end()) {
            if (const int code = begin(start); code != SQLITE_OK) return code;
            stretch = std::prev(filling_.end());
        }
        (*stretch)->put(at, from, bytes);
        (*stretch)->last_use = ++uses_;
        return (*stretch)->is_whole() ? leave(stretch) : SQLITE_OK;
    }

    bool get(uint64_t at, void* to, size_t bytes) {
        const auto has_it = [&](const auto& stretch) { return stretch->get(at, to, bytes); };
        if (std::ranges::any_of(filling_, has_it)) return true;
        const std::lock_guard lock(mutex_);
        return std::ranges::any_of(leaving_, has_it);
    }

    /// Writes all that waits there: SQLite's code, also of what left before.
    int flush(uint64_t at, uint64_t bytes) {
        for (size_t i = filling_.size(); i-- > 0;)
            if (filling_[i]->start() < at + bytes && at < filling_[i]->start() + kHugePage)
                leave(filling_.begin() + static_cast<std::ptrdiff_t>(i));
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return leaving_.empty(); });
        return result();
    }
    int flush() { return flush(0, UINT64_MAX / 2); }

    uint64_t end() {
        uint64_t end = 0;
        for (const auto& stretch : filling_) end = std::max(end, stretch->end());
        const std::lock_guard lock(mutex_);
        for (const auto& stretch : leaving_) end = std::max(end, stretch->end());
        return end;
    }

  private:
    using Place = std::vector<std::unique_ptr<Stretch>>::iterator;

    /// A stretch more that is being filled, at the end.
    int begin(uint64_t start) {
        if (filling_.size() >= std::max<size_t>(1, most_ / 2)) {
            const auto oldest = std::ranges::min_element(
                filling_, {}, [](const auto& stretch) { return stretch->last_use; });
            if (const int code = leave(oldest); code != SQLITE_OK) return code;
        }
        std::unique_lock lock(mutex_);
        const auto is_here = [&](const auto& stretch) { return stretch->start() == start; };
        // What leaves is written before what follows it in its place.
        changed_.wait(lock, [&] {
            return std::ranges::none_of(leaving_, is_here) &&
                   (!free_.empty() || filling_.size() + leaving_.size() < most_);
        });
        if (const int code = result(); code != SQLITE_OK) return code;
        if (free_.empty()) {
            filling_.push_back(std::make_unique<Stretch>());
        } else {
            filling_.push_back(std::move(free_.back()));
            free_.pop_back();
        }
        filling_.back()->begin(start);
        return SQLITE_OK;
    }

    int leave(Place stretch) {
        std::unique_lock lock(mutex_);
        leaving_.push_back(std::move(*stretch));
        filling_.erase(stretch);
        if (writer_.joinable()) {
            changed_.notify_all();
        } else {
            write_first(lock);
        }
        return result();
    }

    void write_those_that_leave() {
        std::unique_lock lock(mutex_);
        for (;;) {
            changed_.wait(lock, [&] { return stop_ || !leaving_.empty(); });
            if (stop_) return;
            write_first(lock);
        }
    }

    /// It can be read meanwhile. Once one could not be written none is.
    void write_first(std::unique_lock<std::mutex>& lock) {
        Stretch& stretch = *leaving_.front();
        if (code_ == SQLITE_OK) {
            lock.unlock();
            errno = 0;
            const int code = stretch.write(descriptor_), system_errno = errno;
            begin_to_flush(descriptor_, stretch.start(), kHugePage);
            lock.lock();
            code_ = code;
            errno_ = system_errno;
        }
        free_.push_back(std::move(leaving_.front()));
        leaving_.pop_front();
        changed_.notify_all();
    }

    int result() const {
        if (code_ != SQLITE_OK) last_errno = errno_;
        return code_;
    }

    int descriptor_;
    size_t most_;
    uint64_t uses_ = 0;
    std::vector<std::unique_ptr<Stretch>> filling_;  // the caller's thread's alone
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::unique_ptr<Stretch>> leaving_;  // in order; the first may be being written
    std::vector<std::unique_ptr<Stretch>> free_;
    int code_ = SQLITE_OK, errno_ = 0;
    bool stop_ = false;
    std::thread writer_;
};

/// What SQLite holds of an open file; the default VFS's follows it.
struct File : sqlite3_file {
    Stretches* stretches;
};

sqlite3_vfs* next() {
    static sqlite3_vfs* const found = sqlite3_vfs_find(nullptr);
    return found;
}

constexpr int kAhead = (sizeof(File) + alignof(std::max_align_t) - 1) / alignof(std::max_align_t) *
                       alignof(std::max_align_t);

File& of(sqlite3_file* file) {
    return *static_cast<File*>(file);
}

sqlite3_file* real(sqlite3_file* file) {
    return reinterpret_cast<sqlite3_file*>(reinterpret_cast<std::byte*>(file) + kAhead);
}

/// Nothing waits afterwards.
int flush(sqlite3_file* file) {
    return of(file).stretches ? of(file).stretches->flush() : SQLITE_OK;
}

int close(sqlite3_file* file) {
    // Of a transaction that ended nothing waits any more; what is left of another nobody wants.
    delete std::exchange(of(file).stretches, nullptr);
    return real(file)->pMethods->xClose(real(file));
}

int read(sqlite3_file* file, void* to, int bytes, sqlite3_int64 at) {
    if (Stretches* const stretches = of(file).stretches) {
        const auto from = static_cast<uint64_t>(at);
        const auto size = static_cast<size_t>(bytes);
        if (stretches->get(from, to, size)) return SQLITE_OK;
        if (const int code = stretches->flush(from, size); code != SQLITE_OK) return code;
    }
    return real(file)->pMethods->xRead(real(file), to, bytes, at);
}

int write(sqlite3_file* file, const void* from, int bytes, sqlite3_int64 at) {
    Stretches* const stretches = of(file).stretches;
    const auto to = static_cast<uint64_t>(at), size = static_cast<uint64_t>(bytes);
    try {
        if (stretches && Stretches::takes(to, size)) return stretches->put(to, from, size);
    } catch (const std::bad_alloc&) {
        // Then as without stretches.
    }
    if (stretches)
        if (const int code = stretches->flush(to, size); code != SQLITE_OK) return code;
    return real(file)->pMethods->xWrite(real(file), from, bytes, at);
}

int truncate(sqlite3_file* file, sqlite3_int64 size) {
    const int code = flush(file);
    return code == SQLITE_OK ? real(file)->pMethods->xTruncate(real(file), size) : code;
}

int sync(sqlite3_file* file, int flags) {
    const int code = flush(file);
    return code == SQLITE_OK ? real(file)->pMethods->xSync(real(file), flags) : code;
}

int size(sqlite3_file* file, sqlite3_int64* size) {
    const int code = real(file)->pMethods->xFileSize(real(file), size);
    if (code == SQLITE_OK && of(file).stretches)
        *size = std::max(*size, static_cast<sqlite3_int64>(of(file).stretches->end()));
    return code;
}

int lock(sqlite3_file* file, int level) {
    return real(file)->pMethods->xLock(real(file), level);
}

int unlock(sqlite3_file* file, int level) {
    return real(file)->pMethods->xUnlock(real(file), level);
}

int check_reserved(sqlite3_file* file, int* result) {
    return real(file)->pMethods->xCheckReservedLock(real(file), result);
}

struct HugeWrites {
    int descriptor;
    size_t stretches;
};

int control(sqlite3_file* file, int operation, void* value) {
    if (operation == kWriteHugely) {
        const auto& wanted = *static_cast<const HugeWrites*>(value);
        if (of(file).stretches || wanted.stretches == 0) return SQLITE_OK;
        try {
            of(file).stretches = new Stretches(wanted.descriptor, wanted.stretches);
        } catch (const std::bad_alloc&) {
            return SQLITE_NOMEM;
        }
        return SQLITE_OK;
    }
    // A transaction ends: SQLite asks so whether it syncs or not.
    if (operation == SQLITE_FCNTL_SYNC)
        if (const int code = flush(file); code != SQLITE_OK) return code;
    return real(file)->pMethods->xFileControl(real(file), operation, value);
}

int sector_size(sqlite3_file* file) {
    return real(file)->pMethods->xSectorSize(real(file));
}

int characteristics(sqlite3_file* file) {
    return real(file)->pMethods->xDeviceCharacteristics(real(file));
}

// Version 1: without shared memory, which a file that only one process knows needs not, and
// mapping, which would miss what waits.
constexpr sqlite3_io_methods kMethods = {.iVersion = 1,
                                         .xClose = close,
                                         .xRead = read,
                                         .xWrite = write,
                                         .xTruncate = truncate,
                                         .xSync = sync,
                                         .xFileSize = size,
                                         .xLock = lock,
                                         .xUnlock = unlock,
                                         .xCheckReservedLock = check_reserved,
                                         .xFileControl = control,
                                         .xSectorSize = sector_size,
                                         .xDeviceCharacteristics = characteristics,
                                         .xShmMap = nullptr,
                                         .xShmLock = nullptr,
                                         .xShmBarrier = nullptr,
                                         .xShmUnmap = nullptr,
                                         .xFetch = nullptr,
                                         .xUnfetch = nullptr};

int open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* got) {
    last_errno = 0;
    of(file).stretches = nullptr;
    of(file).pMethods = nullptr;
    const int code = next()->xOpen(next(), name, real(file), flags, got);
    if (real(file)->pMethods) of(file).pMethods = &kMethods;
    return code;
}

int last_error(sqlite3_vfs*, int bytes, char* text) {
    return last_errno != 0 ? last_errno : next()->xGetLastError(next(), bytes, text);
}

}  // namespace

const char* huge_writes_vfs() {
    static constexpr const char* kName = "llmsql-huge-writes";
    static sqlite3_vfs vfs = [] {
        sqlite3_vfs made = *next();  // all but files that are open, and errors, it does as that one
        made.szOsFile += kAhead;
        made.pNext = nullptr;
        made.zName = kName;
        made.xOpen = open;
        made.xGetLastError = last_error;
        return made;
    }();
    [[maybe_unused]] static const int registered = sqlite3_vfs_register(&vfs, 0);
    return kName;
}

int huge_writes_errno() {
    return last_errno;
}

int write_hugely(sqlite3* db, int descriptor, size_t stretches) {
    HugeWrites wanted{descriptor, stretches};
    return sqlite3_file_control(db, "main", kWriteHugely, &wanted);
}

}  // namespace llmsql
