// Asking ahead along the schedule. See read_ahead.h.
#include "runtime/storage/read_ahead.h"

#include <algorithm>
#include <utility>

#include "runtime/workers/workers.h"

namespace llmsql {
namespace {

// Enough to keep a device busy that answers within milliseconds.
constexpr uint64_t kAhead = 16 << 20;
constexpr uint64_t kRequest = 2 << 20;

// Workers use tiles side by side, and an expression may scan two matrices in turn: what is dropped
// is so far behind that nobody is still reading it.
constexpr size_t kBehind = 16;

}  // namespace

ReadAhead::ReadAhead(const BlobPages& pages, const std::vector<ScheduledTile>& schedule,
                     bool wanted)
    : file_(pages.file()) {
    if (!wanted) return;
    file_.advise_random();
    places_.reserve(schedule.size());
    for (const ScheduledTile& tile : schedule) {
        const size_t index = pages.index_of(tile.rowid);
        place_of_.emplace(tile.rowid, places_.size());
        places_.push_back({pages.leaf_page(index), pages.likely_chain(index), tile.once});
    }
    const SignalsBlocked blocked;
    adviser_ = std::thread([this] { advise(); });
}

ReadAhead::~ReadAhead() {
    if (!adviser_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_one();
    adviser_.join();
}

void ReadAhead::reading(int64_t rowid) {
    const auto found = place_of_.find(rowid);
    if (found == place_of_.end()) return;
    const std::lock_guard lock(mutex_);
    Place& place = places_[found->second];
    if (place.used) return;  // another piece of it has been used just now
    place.used = true;
    place.last_use = ++uses_;
    used_.push_back(found->second);
    if (used_.size() > kBehind) drop_oldest();
    at_ = found->second;
    changed_.notify_one();
}

void ReadAhead::drop_oldest() {
    Place& place = places_[used_.front()];
    used_.pop_front();
    later_.push_back(place.leaf);
    later_.push_back(place.chain);
    place.used = false;
    place.asked = place.once;
}

// What to ask for next, from where the workers are now (they may have overtaken this thread):
// nothing while most of the next kAhead bytes has been asked for.
std::vector<FileRange> ReadAhead::next_request() {
    uint64_t bytes = 0, wanted_bytes = 0;
    std::vector<size_t> wanted;
    for (size_t i = 1; i < places_.size() && bytes < kAhead; ++i) {
        const size_t index = (at_ + i) % places_.size();
        const Place& next = places_[index];
        // An expression that scans two matrices in turn goes back and forth between them: what
        // lies ahead of one place may have been used and dropped from the other.
        const bool used = next.last_use > 0 && uses_ - next.last_use < places_.size() / 2;
        // What the pass has gone by without using is not scanned: an embedding's rows are picked.
        const bool passed = next.last_use == 0 && index < at_;
        if (used || passed || (next.once && next.asked)) continue;
        bytes += next.bytes();
        if (next.asked) continue;
        wanted_bytes += next.bytes();
        if (wanted_bytes <= kRequest) wanted.push_back(index);
    }
    if (wanted_bytes < kRequest) return {};
    std::vector<FileRange> ranges;
    for (const size_t index : wanted) {
        places_[index].asked = true;
        ranges.push_back(places_[index].leaf);
        ranges.push_back(places_[index].chain);
    }
    return ranges;
}

// The thread: room is made first; neighbours in the file become one request.
void ReadAhead::advise() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        std::vector<FileRange> soon = next_request();
        if (soon.empty()) {
            changed_.wait(lock);
            continue;
        }
        const std::vector<FileRange> later = std::exchange(later_, {});
        lock.unlock();
        for (const FileRange& range : later) file_.advise_later(range);
        std::ranges::sort(soon, {}, &FileRange::offset);
        FileRange request = soon.front();
        for (const FileRange& range : soon) {
            if (range.offset <= request.offset + request.bytes) {
                request.bytes =
                    std::max(request.bytes, range.offset + range.bytes - request.offset);
                continue;
            }
            file_.advise_soon(request);
            request = range;
        }
        file_.advise_soon(request);
        lock.lock();
    }
}

}  // namespace llmsql
