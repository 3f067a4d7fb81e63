// SPDX-License-Identifier: MIT
// PageSettler: while a file is written from front to back, has what lies well behind its end
// flushed to the disk, and its pages in the page cache replaced by huge ones (common/page_cache.h),
// so that the file's end is all that is left to do when it is whole.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

namespace llmsql {

/// Only a favour to whoever waits for the file and to the runs that follow: it does nothing of a
/// file that is small or would not stay in the page cache, where there is no thread to be had, or
/// where the system cannot do it. One thread calls it.
class PageSettler {
  public:
    /// What is settled at once, a multiple of 2 MiB, and how far behind what was written: more than
    /// SQLite's cache keeps unwritten.
    struct Sizes {
        uint64_t part, behind;
    };
    static constexpr Sizes kSizes{.part = 32 << 20, .behind = 48 << 20};

    /// `descriptor` must stay open as long as this lives; the file will have about `expected`
    /// bytes.
    PageSettler(int descriptor, uint64_t expected, Sizes sizes = kSizes);
    ~PageSettler();
    PageSettler(const PageSettler&) = delete;
    PageSettler& operator=(const PageSettler&) = delete;

    /// So many bytes from the start have been written by now, about.
    void written(uint64_t bytes);

    /// How much of the file from the start is settled.
    uint64_t settled();

    /// Ends it; as settled(), but nothing is if this was called before.
    uint64_t finish();

  private:
    void settle();

    int descriptor_;
    Sizes sizes_;
    std::mutex mutex_;
    std::condition_variable changed_;
    uint64_t written_ = 0, settled_ = 0;
    bool stop_ = false;
    std::thread thread_;
};

/// Whether a file of so many bytes may stay in the page cache.
bool would_stay_cached(uint64_t bytes);

}  // namespace llmsql
