// SPDX-License-Identifier: MIT
// The ring of slots, and O_DIRECT's whole pages. See direct_reader.h.
#include "runtime/weights/direct_reader.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "common/types.h"
#include "common/workers.h"

namespace llmsql {
namespace {

// What offsets, sizes and addresses of O_DIRECT are multiples of: as much as any usual device asks
// for, and a page of memory.
constexpr uint64_t kAligned = ModelFile::kDirectAlignment;

// What is read and not wanted, so that a tile takes one request: it takes less time than a request
// of its own.
constexpr uint64_t kMostHole = 16 << 10;

FileRange aligned(uint64_t begin, uint64_t end) {
    begin = begin / kAligned * kAligned;
    end = (end + kAligned - 1) / kAligned * kAligned;
    return {begin, end - begin};
}

}  // namespace

// What one request reads into one place of a slot.
struct DirectReader::Part {
    FileRange range;
    std::byte* to;
};

bool DirectReader::has_room(const TileReading& reading) {
    return !reading.windows ||
           *reading.windows >= ring_bytes(reading.workers, reading.longest_tile);
}

std::unique_ptr<DirectReader> DirectReader::of(std::unique_ptr<BlobPages>& pages,
                                               const TileReading& reading) {
    if (pages->file().direct_descriptor() < 0) return nullptr;
    return std::unique_ptr<DirectReader>(new DirectReader(std::move(pages), reading));
}

DirectReader::DirectReader(std::unique_ptr<BlobPages> pages, const TileReading& reading)
    : by_read_(std::move(pages)),
      pages_(by_read_.pages()),
      file_(pages_.file()),
      descriptor_(file_.direct_descriptor()),
      file_bytes_(file_.size()) {
    places_.reserve(reading.schedule.size());
    for (const ScheduledTile& tile : reading.schedule) {
        place_of_.emplace(tile.rowid, places_.size());
        places_.push_back(place_of(tile));
        places_.back().rank = order_.size();
        order_.push_back(order_.size());
    }
    if (!has_room(reading))
        fail(
            "{}: reading it past the page cache takes {} KiB, for which this plan's budget leaves "
            "{} KiB: use --io=read, or compile the plan with a larger --budget",
            file_.path(), ring_bytes(reading.workers, reading.longest_tile) >> 10,
            *reading.windows >> 10);
    make_ring(reading.windows.value_or(mapped_bytes(reading.workers)));
}

DirectReader::~DirectReader() {
    stop();
}

void DirectReader::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    room_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

DirectReader::Place DirectReader::place_of(const ScheduledTile& tile) const {
    Place place;
    place.blob = pages_.index_of(tile.rowid);
    place.once = tile.once;
    const BlobPages::Blob& blob = pages_.blob(place.blob);
    uint64_t leaf = blob.local_offset;
    if (const FileRange chain = pages_.likely_chain(place.blob); chain.bytes > 0) {
        place.chain = aligned(chain.offset, chain.offset + chain.bytes);
        place.contiguous = chain.offset + chain.bytes <= file_bytes_;
        // A leaf page usually follows the chain, the tile's part at its end.
        const uint64_t end = place.chain.offset + place.chain.bytes;
        if (leaf >= end && leaf - end <= kMostHole) leaf = end;
    }
    if (blob.local_bytes > 0) place.leaf = aligned(leaf, blob.local_offset + blob.local_bytes);
    return place;
}

// As many slots as there is room for; the threads that fill them take some.
void DirectReader::make_ring(size_t room) {
    for (const Place& place : places_)
        slot_bytes_ = std::max({slot_bytes_, place.chain.bytes + place.leaf.bytes,
                                aligned(0, pages_.blob(place.blob).bytes).bytes});
    if (slot_bytes_ == 0) return;  // there is nothing to scan
    const size_t ahead = (room - kReadingThreads * kReadingThread) / slot_bytes_;
    slots_.resize(std::min(ahead, places_.size()));
    lag_ = slots_.size();
    batch_ = std::clamp<size_t>(slots_.size() / (2 * kReadingThreads), 1, kMostBatch);
    memory_ = AnonymousMemory(slots_.size() * slot_bytes_, "reading past the page cache");
    madvise(memory_.data(), memory_.size(), MADV_HUGEPAGE);  // fewer pages to pin; only a hint
    const SignalsBlocked blocked;
    try {
        for (size_t i = 0; i < kReadingThreads; ++i) threads_.emplace_back([this] { serve(); });
    } catch (const std::system_error& error) {
        stop();
        fail("{}: cannot start a thread that reads ahead: {}; use --io=read", file_.path(),
             error.what());
    } catch (...) {  // threads that are not joined would end the process
        stop();
        throw;
    }
}

uint64_t DirectReader::fetched() const {
    const std::lock_guard lock(mutex_);
    return fetched_;
}

std::byte* DirectReader::data(const Slot& slot) const {
    return memory_.data() + static_cast<size_t>(&slot - slots_.data()) * slot_bytes_;
}

void DirectReader::read(int worker, int64_t rowid, size_t offset, size_t bytes, std::byte* out,
                        Use use) {
    const auto found = use == Use::scan ? place_of_.find(rowid) : place_of_.end();
    if (found == place_of_.end()) return by_read_.read(worker, rowid, offset, bytes, out, use);
    const size_t index = found->second;
    const size_t tile_bytes = pages_.blob(places_[index].blob).bytes;
    if (offset > tile_bytes || bytes > tile_bytes - offset)
        fail("{}: tile {} has {} bytes, fewer than are needed", file_.path(), rowid, tile_bytes);
    std::unique_lock lock(mutex_);
    Place& place = places_[index];
    if (place.asked == 0) note_use(index);
    place.asked += bytes;
    Slot& slot = acquire(index, lock);
    lock.unlock();
    copy_out(place, slot, offset, bytes, out);
    lock.lock();
    place.taken += bytes;  // not before: another worker may still wait for what it has asked for
    if (--slot.users > 0) return;
    if (place.taken >= tile_bytes) {
        place.asked = place.taken = 0;
        vacate(place.slot);
    } else {
        full_.notify_all();  // some worker may want the slot for another tile
    }
}

// The tile's slot, full, with one user more.
DirectReader::Slot& DirectReader::acquire(size_t index, std::unique_lock<std::mutex>& lock) {
    Place& place = places_[index];
    for (;;) {
        if (place.slot == SIZE_MAX) {
            const size_t free = slot_for_now();
            if (free != SIZE_MAX) {
                assign(free, index);
                slots_[free].users = 1;  // nobody else may take it away before it is used
                lock.unlock();
                fill({{free}, 1});
                lock.lock();
                --slots_[free].users;
                continue;
            }
        } else if (Slot& slot = slots_[place.slot]; slot.state == Slot::State::full) {
            ++slot.users;
            return slot;
        } else if (slot.state == Slot::State::failed) {
            const std::exception_ptr error = slot.error;
            vacate(place.slot);
            std::rethrow_exception(error);
        }
        full_.wait(lock);
    }
}

// A place is scanned anew. A pass has ended where that happens to one that it has scanned already.
void DirectReader::note_use(size_t index) {
    if (places_[index].last_pass == pass_) end_pass();
    Place& place = places_[index];
    unknown_ = place.last_pass == 0 || place.last_pass + 1 < pass_;
    if (!unknown_)
        other_ = SIZE_MAX;
    else if (place.rank < at_ || place.rank - at_ > lag_)
        other_ = at_;
    place.last_pass = pass_;
    at_ = place.rank;
    used_.push_back(index);
}

// What the pass has used takes the ranks that it has, in the order in which it was used; the others
// (in a prompt's passes, what logits alone scan) keep theirs.
void DirectReader::end_pass() {
    ++pass_;
    std::vector<size_t> ranks;
    ranks.reserve(used_.size());
    for (const size_t place : used_) ranks.push_back(places_[place].rank);
    std::ranges::sort(ranks);
    for (size_t i = 0; i < used_.size(); ++i) {
        places_[used_[i]].rank = ranks[i];
        order_[ranks[i]] = used_[i];
    }
    used_.clear();
}

// Whether others that come after a place have been scanned before it, as happens where workers are
// at different places: whoever scans it is about to.
bool DirectReader::is_overdue(const Place& place) const {
    return place.last_pass + 1 == pass_ && place.rank < at_ && at_ - place.rank <= lag_;
}

// How many scans away a place is from the one scanned last; as many as there are where it is not in
// sight: neither this pass nor the last one has scanned it, and this one is where the last was too.
size_t DirectReader::distance(const Place& place) const {
    if (place.asked > 0 || is_overdue(place)) return 0;
    const bool known = place.last_pass > 0 && place.last_pass + 1 >= pass_;
    if (known) return (place.rank + order_.size() - at_ - 1) % order_.size();
    size_t least = order_.size();
    if (!unknown_) return least;
    for (const size_t from : {at_, other_})
        if (place.rank > from) least = std::min(least, place.rank - from - 1);
    return least;
}

bool DirectReader::worth_fetching(const Place& place) const {
    if (place.slot != SIZE_MAX || distance(place) == order_.size()) return false;
    if (place.once && place.last_pass > 0) return false;
    return place.last_pass != pass_ || place.rank <= at_;  // for the next pass
}

// Takes slots for what comes next; none while there are too few for a request worth making.
DirectReader::Batch DirectReader::next_batch() {
    Batch batch;
    if (used_.empty()) return batch;  // nothing has been scanned yet
    std::array<size_t, kMostBatch> wanted{};
    size_t count = 0, last = 0, free = 0;
    const auto want = [&](size_t rank) {
        const size_t place = order_[rank % order_.size()];
        const auto end = wanted.begin() + static_cast<ptrdiff_t>(count);
        if (count == batch_ || !worth_fetching(places_[place])) return;
        if (std::find(wanted.begin(), end, place) != end) return;
        wanted[count++] = place;
        last = std::max(last, distance(places_[place]));
    };
    for (size_t i = 1; i <= order_.size() && count < batch_; ++i) {
        want(at_ + i);
        if (other_ < order_.size() - i && places_[order_[other_ + i]].last_pass != pass_)
            want(other_ + i);
    }
    for (const Slot& slot : slots_) free += is_free(slot, last) ? 1 : 0;
    if (free < count) return batch;
    for (; batch.count < count; ++batch.count) {
        batch.slots[batch.count] = free_slot(distance(places_[wanted[batch.count]]));
        assign(batch.slots[batch.count], wanted[batch.count]);
    }
    return batch;
}

// Whether a slot may be taken for a tile that is wanted in `distance` scans.
bool DirectReader::is_free(const Slot& slot, size_t distance) const {
    if (slot.state == Slot::State::empty) return true;
    if (slot.state == Slot::State::filling || slot.users > 0) return false;
    return this->distance(places_[slot.place]) > distance;
}

// An empty slot, else the one whose tile is wanted last; SIZE_MAX if none is free.
size_t DirectReader::free_slot(size_t distance) const {
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < slots_.size(); ++i) {
        if (!is_free(slots_[i], distance)) continue;
        if (slots_[i].state == Slot::State::empty) return i;
        distance = this->distance(places_[slots_[i].place]);
        best = i;
    }
    return best;
}

// A slot for a tile that is wanted now: a read that was begun has to give way, if no slot is free;
// one that a worker waits for, last of all.
size_t DirectReader::slot_for_now() const {
    size_t best = free_slot(0);
    for (const bool awaited : {false, true})
        for (size_t i = 0; i < slots_.size() && best == SIZE_MAX; ++i) {
            const Place& place = places_[slots_[i].place];
            if (slots_[i].state != Slot::State::filling && slots_[i].users == 0 &&
                (place.asked > place.taken) == awaited)
                best = i;
        }
    return best;
}

void DirectReader::assign(size_t slot, size_t place) {
    if (slots_[slot].state != Slot::State::empty) places_[slots_[slot].place].slot = SIZE_MAX;
    slots_[slot] = {Slot::State::filling, place, 0, false, nullptr};
    places_[place].slot = slot;
}

void DirectReader::vacate(size_t slot) {
    places_[slots_[slot].place].slot = SIZE_MAX;
    slots_[slot] = {};
    room_.notify_one();
    full_.notify_all();
}

// The threads.
void DirectReader::serve() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        const Batch batch = next_batch();
        if (batch.count == 0) {
            room_.wait(lock);
            continue;
        }
        room_.notify_one();  // there may be more to fill than this thread takes
        lock.unlock();
        fill(batch);
        lock.lock();
    }
}

// Reads the tiles of slots that are assigned; what fails is kept for the worker that wants it.
void DirectReader::fill(const Batch& batch) {
    std::array<Part, 2 * kMostBatch> parts;
    size_t count = 0;
    const std::span<const size_t> indices(batch.slots.data(), batch.count);
    for (const size_t index : indices) {
        const Slot& slot = slots_[index];
        const Place& place = places_[slot.place];
        if (!place.contiguous) continue;
        if (place.chain.bytes > 0) parts[count++] = {place.chain, data(slot)};
        if (place.leaf.bytes > 0) parts[count++] = {place.leaf, data(slot) + place.chain.bytes};
    }
    std::exception_ptr error;
    bool whole = false;
    try {
        whole = read_parts({parts.data(), count});
    } catch (...) {
        error = std::current_exception();
    }
    for (const size_t index : indices) {
        Slot& slot = slots_[index];
        Place& place = places_[slot.place];
        const BlobPages::Blob& blob = pages_.blob(place.blob);
        std::exception_ptr failed = place.contiguous ? error : nullptr;
        bool flat = false;
        try {
            flat = !failed && !(place.contiguous && whole && chain_is_as_read(place, data(slot)));
            if (flat) by_read_.read(0, blob.rowid, 0, blob.bytes, data(slot), Use::embedding);
        } catch (...) {
            failed = std::current_exception();
        }
        const std::lock_guard lock(mutex_);
        slot.flat = flat;
        slot.error = failed;
        slot.state = failed ? Slot::State::failed : Slot::State::full;
        if (!failed) fetched_ += blob.bytes;
    }
    full_.notify_all();
}

// Compares the page numbers at the heads of a chain's pages with where the pages lie.
bool DirectReader::chain_is_as_read(Place& place, const std::byte* chain) {
    const BlobPages::Blob& blob = pages_.blob(place.blob);
    const FileRange range = pages_.likely_chain(place.blob);
    for (uint32_t i = 0; i < blob.pages; ++i) {
        const std::byte* head =
            chain + (range.offset - place.chain.offset) + i * (range.bytes / blob.pages);
        const uint32_t next = i + 1 < blob.pages ? blob.first_page + i + 1 : 0;
        if (BlobPages::page_number(reinterpret_cast<const unsigned char*>(head)) == next) continue;
        if (place.verified) pages_.damaged("a chain of pages changed while it was in use");
        place.contiguous = false;
        return false;
    }
    place.verified = true;
    return true;
}

// False where the system does not read so after all.
bool DirectReader::read_parts(std::span<Part> parts) {
    std::ranges::sort(parts, {}, [](const Part& part) { return part.range.offset; });
    for (size_t begin = 0, end; begin < parts.size(); begin = end) {
        // Neighbours in the file are read at once, as devices like it.
        end = begin + 1;
        while (end < parts.size() &&
               parts[end].range.offset == parts[end - 1].range.offset + parts[end - 1].range.bytes)
            ++end;
        if (!read_run(parts.subspan(begin, end - begin))) return false;
    }
    return true;
}

bool DirectReader::read_run(std::span<const Part> parts) {
    std::array<iovec, 2 * kMostBatch> pieces;
    for (size_t i = 0; i < parts.size(); ++i) pieces[i] = {parts[i].to, parts[i].range.bytes};
    uint64_t offset = parts.front().range.offset;
    for (size_t first = 0; first < parts.size();) {
        const ssize_t got =
            ::preadv(descriptor_, pieces.data() + first, static_cast<int>(parts.size() - first),
                     static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EINVAL || errno == EOPNOTSUPP)) return false;
        if (got < 0) fail("{}: cannot read at {}: {}", file_.path(), offset, std::strerror(errno));
        if (got == 0) file_.fail_truncated();
        offset += static_cast<uint64_t>(got);
        if (offset >= file_bytes_) return true;  // what is left lies beyond the end: rounding
        if (offset % kAligned != 0) return false;
        auto done = static_cast<size_t>(got);
        for (; first < parts.size() && done >= pieces[first].iov_len; ++first)
            done -= pieces[first].iov_len;
        if (first == parts.size()) break;
        pieces[first].iov_base = static_cast<char*>(pieces[first].iov_base) + done;
        pieces[first].iov_len -= done;
    }
    return true;
}

// Bytes of the tile from the pages in its slot: from the leaf page's part first, then page by page.
void DirectReader::copy_out(const Place& place, const Slot& slot, size_t offset, size_t bytes,
                            std::byte* out) const {
    const BlobPages::Blob& blob = pages_.blob(place.blob);
    const std::byte* from = data(slot);
    if (slot.flat) {
        std::memcpy(out, from + offset, bytes);
        return;
    }
    if (offset < blob.local_bytes) {
        const size_t here = std::min(bytes, blob.local_bytes - offset);
        const std::byte* leaf = from + place.chain.bytes;
        std::memcpy(out, leaf + (blob.local_offset - place.leaf.offset) + offset, here);
        out += here;
        offset += here;
        bytes -= here;
    }
    if (bytes == 0) return;
    const FileRange chain = pages_.likely_chain(place.blob);
    from += (chain.offset - place.chain.offset);
    const size_t page_bytes = chain.bytes / blob.pages, per_page = pages_.chain_bytes();
    for (size_t at = offset - blob.local_bytes + blob.skipped; bytes > 0;) {
        const size_t here = std::min(bytes, per_page - at % per_page);
        std::memcpy(
            out, from + at / per_page * page_bytes + BlobPages::kChainHeader + at % per_page, here);
        out += here;
        at += here;
        bytes -= here;
    }
}

}  // namespace llmsql
