// ReadAhead: where the page cache is too small for what is streamed, asks the device for tiles
// before they are wanted, in the order that the plan's residency rows give, and drops them from the
// cache once they are used: else the system would drop what is wanted next.
//
// Where the cache is large enough this does nothing: the system's own reading ahead is better at
// filling it (it makes large folios, which are faster to read from later).
#pragma once

#include <cstdint>
#include <mutex>
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

    /// A tile is about to be read.
    void reading(int64_t rowid);

  private:
    struct Place {
        FileRange leaf, chain;
        bool once;
        bool asked = false, dropped = false;  // ever
        bool counted = false;                 // in bytes_ahead_ now
        uint64_t bytes() const { return leaf.bytes + chain.bytes; }
    };
    void step();
    void ask();
    void drop(Place& place);

    const ModelFile& file_;
    std::vector<Place> places_;
    std::unordered_map<int64_t, size_t> place_of_;  // by rowid
    std::mutex mutex_;
    size_t at_ = 0;             // the place being read
    size_t ahead_ = 0;          // places from at_ on that have been looked at
    uint64_t bytes_ahead_ = 0;  // asked for, of these
};

}  // namespace llmsql
