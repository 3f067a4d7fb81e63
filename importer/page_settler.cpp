// SPDX-License-Identifier: MIT
// Settles the pages of a file that is being written. See page_settler.h.
#include "importer/page_settler.h"

#include <fcntl.h>
#include <unistd.h>

#include <system_error>

#include "common/page_cache.h"

namespace llmsql {
namespace {

/// Waits until a range is on its way to the disk or there; false where the system cannot.
bool flush(int descriptor, uint64_t from, uint64_t bytes) {
#ifdef SYNC_FILE_RANGE_WRITE
    return ::sync_file_range(descriptor, static_cast<off_t>(from), static_cast<off_t>(bytes),
                             SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                 SYNC_FILE_RANGE_WAIT_AFTER) == 0;
#else
    static_cast<void>(descriptor), static_cast<void>(from), static_cast<void>(bytes);
    return false;
#endif
}

}  // namespace

bool would_stay_cached(uint64_t bytes) {
    const long pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 &&
           bytes <= static_cast<uint64_t>(pages) / 2 * static_cast<uint64_t>(page);
}

PageSettler::PageSettler(int descriptor, uint64_t expected, Sizes sizes)
    : descriptor_(descriptor), sizes_(sizes) {
    if (expected < 2 * (sizes.part + sizes.behind) || !would_stay_cached(expected)) return;
    try {
        thread_ = std::thread([this] { settle(); });
    } catch (const std::system_error&) {
        // No thread to be had: all is left to the end.
    }
}

PageSettler::~PageSettler() {
    finish();
}

void PageSettler::written(uint64_t bytes) {
    {
        const std::lock_guard lock(mutex_);
        written_ = bytes;
        if (written_ < settled_ + sizes_.part + sizes_.behind) return;
    }
    changed_.notify_one();
}

uint64_t PageSettler::settled() {
    const std::lock_guard lock(mutex_);
    return settled_;
}

uint64_t PageSettler::finish() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) thread_.join();
    const uint64_t settled = settled_;
    settled_ = 0;
    return settled;
}

void PageSettler::settle() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock,
                      [&] { return stop_ || written_ >= settled_ + sizes_.part + sizes_.behind; });
        if (stop_) return;
        const uint64_t from = settled_;
        lock.unlock();
        const bool flushed = flush(descriptor_, from, sizes_.part);
        if (flushed) refill_page_cache(descriptor_, from, from + sizes_.part);
        lock.lock();
        if (!flushed) return;
        settled_ += sizes_.part;
    }
}

}  // namespace llmsql
