// ReadAhead: where the page cache is too small for what is streamed, asks the device for tiles
// before they are wanted, in the order that the plan's residency rows give, and drops them from the
// cache once they are used: else the system would drop what is wanted next.
//
// Where the cache is large enough this does nothing: the system's own reading ahead is better at
// filling it (it makes large folios, which are faster to read from later).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "runtime/storage/blob_pages.h"

namespace llmsql {

/// A tile in the order in which a pass reads them.
struct ScheduledTile {
    int64_t rowid = 0;
    bool once = false;  // held: read in the first pass only
};

/// Thread-safe.
class ReadAhead {
  public:
    /// Does nothing unless `wanted`.
    ReadAhead(const BlobPages& pages, const std::vector<ScheduledTile>& schedule, bool wanted);
    ReadAhead(const ReadAhead&) = delete;
    ReadAhead& operator=(const ReadAhead&) = delete;
    ~ReadAhead();

    /// A tile is about to be read.
    void reading(int64_t rowid);

  private:
    struct Place {
        FileRange leaf, chain;
        bool once;
        bool asked = false;     // and not dropped since; of what is read once only, ever
        bool used = false;      // and not dropped since
        uint64_t last_use = 0;  // uses_ then
        uint64_t bytes() const { return leaf.bytes + chain.bytes; }
    };
    std::vector<FileRange> next_request();
    void drop_oldest();
    void advise();

    const ModelFile& file_;
    std::vector<Place> places_;
    std::unordered_map<int64_t, size_t> place_of_;  // by rowid
    std::mutex mutex_;
    std::deque<size_t> used_;       // places in the order in which they were used, not dropped yet
    std::vector<FileRange> later_;  // dropped from the list, not from the cache yet
    size_t at_ = 0;                 // the place used last
    uint64_t uses_ = 0;             // of all places so far
    bool stopping_ = false;
    std::condition_variable changed_;
    std::thread adviser_;  // gives it: making room in the page cache takes time that workers need
};

}  // namespace llmsql
