// Asking ahead along the schedule. See read_ahead.h.
#include "runtime/storage/read_ahead.h"

namespace llmsql {
namespace {

// Enough to keep a device busy that answers within milliseconds; asked for in halves.
constexpr uint64_t kAhead = 8 << 20;

// Workers use tiles of one statement side by side: what is dropped is so far behind that none is
// still reading it.
constexpr size_t kBehind = 8;

}  // namespace

ReadAhead::ReadAhead(const BlobPages& pages, const std::vector<ScheduledTile>& schedule,
                     bool wanted)
    : file_(pages.file()) {
    if (!wanted) return;
    places_.reserve(schedule.size());
    for (const ScheduledTile& tile : schedule) {
        const size_t index = pages.index_of(tile.rowid);
        place_of_.emplace(tile.rowid, places_.size());
        places_.push_back({pages.leaf_page(index), pages.likely_chain(index), tile.once});
    }
}

void ReadAhead::reading(int64_t rowid) {
    const auto found = place_of_.find(rowid);
    if (found == place_of_.end()) return;
    const size_t count = places_.size();
    const std::lock_guard lock(mutex_);
    const size_t steps = (found->second + count - at_) % count;
    if (steps > ahead_) {
        if (count - steps <= kBehind) return;  // a worker that is a little behind the others
        // Not where the last tile led: a pass was cut short, or the first one begins.
        while (ahead_ > 0) step();
        at_ = found->second;
    }
    while (at_ != found->second) step();
    if (bytes_ahead_ <= kAhead / 2) ask();
}

// Leaves the place being read for the next one.
void ReadAhead::step() {
    const size_t count = places_.size();
    Place& place = places_[at_];
    if (place.counted) bytes_ahead_ -= place.bytes();
    place.counted = false;
    if (ahead_ > 0) --ahead_;
    if (count > kBehind) drop(places_[(at_ + count - kBehind) % count]);
    at_ = (at_ + 1) % count;
}

void ReadAhead::ask() {
    for (; bytes_ahead_ < kAhead && ahead_ < places_.size(); ++ahead_) {
        Place& next = places_[(at_ + ahead_) % places_.size()];
        if (next.once && next.asked) continue;
        file_.advise_soon(next.leaf);
        file_.advise_soon(next.chain);
        bytes_ahead_ += next.bytes();
        next.asked = next.counted = true;
    }
}

void ReadAhead::drop(Place& place) {
    if (place.once && place.dropped) return;
    file_.advise_later(place.leaf);
    file_.advise_later(place.chain);
    place.dropped = true;
}

}  // namespace llmsql
