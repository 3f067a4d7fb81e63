// Asking ahead along the schedule. See read_ahead.h.
#include "runtime/storage/read_ahead.h"

#include <algorithm>
#include <csignal>

namespace llmsql {
namespace {

// Enough to keep a device busy that answers within milliseconds.
constexpr uint64_t kAhead = 16 << 20;
constexpr uint64_t kRequest = 4 << 20;

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
    // It takes no signals: one that it took would not wake the thread that waits for it.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    adviser_ = std::thread([this] { advise(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
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
    used_.push_back(found->second);
    if (used_.size() > kBehind) drop_oldest();
    ask_from(found->second);
    if (!advice_.soon.empty()) changed_.notify_one();
}

// Asks for what is not asked for yet of the next kAhead bytes, when that is enough to make requests
// of a size that devices like.
void ReadAhead::ask_from(size_t place) {
    uint64_t bytes = 0, wanted_bytes = 0;
    std::vector<size_t> wanted;
    for (size_t i = 1; i < places_.size() && bytes < kAhead; ++i) {
        const size_t index = (place + i) % places_.size();
        const Place& next = places_[index];
        if (next.once && next.asked) continue;
        bytes += next.bytes();
        if (next.asked) continue;
        wanted.push_back(index);
        wanted_bytes += next.bytes();
    }
    const bool near = !wanted.empty() && wanted.front() == (place + 1) % places_.size();
    if (wanted_bytes < kRequest && !near) return;
    for (const size_t index : wanted) {
        places_[index].asked = true;
        advice_.soon.push_back(places_[index].leaf);
        advice_.soon.push_back(places_[index].chain);
    }
}

void ReadAhead::drop_oldest() {
    Place& place = places_[used_.front()];
    used_.pop_front();
    advice_.later.push_back(place.leaf);
    advice_.later.push_back(place.chain);
    place.used = false;
    place.asked = place.once;
}

// The thread: room is made first; neighbours in the file become one request.
void ReadAhead::advise() {
    for (;;) {
        Advice advice;
        {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [&] { return stopping_ || !advice_.soon.empty(); });
            if (stopping_) return;
            std::swap(advice, advice_);
        }
        for (const FileRange& range : advice.later) file_.advise_later(range);
        std::ranges::sort(advice.soon, {}, &FileRange::offset);
        FileRange request = advice.soon.front();
        for (const FileRange& range : advice.soon) {
            if (range.offset <= request.offset + request.bytes) {
                request.bytes =
                    std::max(request.bytes, range.offset + range.bytes - request.offset);
                continue;
            }
            file_.advise_soon(request);
            request = range;
        }
        file_.advise_soon(request);
    }
}

}  // namespace llmsql
