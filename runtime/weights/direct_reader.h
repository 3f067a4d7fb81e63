// SPDX-License-Identifier: MIT
// DirectReader: tiles read past the page cache (O_DIRECT), ahead of their use, in the order in
// which passes use them. See tile_reader.h.
//
// HOW IT WORKS. Tiles have ranks: the order in which they are expected to be scanned, over and
// over. `at_` is the rank scanned last, and a tile's distance is how many scans away it is: tiles
// of small distance are fetched, into slots that are empty or whose tile is farther away. With four
// tiles, three slots, and one thread that fetches:
//
//     worker scans     at_    slots        fetched meanwhile
//     A                0      A B C        B, C: distances 0 and 1
//     B                1      D B C        D: A's slot was free once all of A had been copied out
//     C                2      D A C        A, for the next pass, takes B's slot
//     D                3      D A B
//     A again: a pass has ended, as A was scanned in it already
//
// Two things make it more than a queue. Workers are not at one place: a tile whose rank is a little
// behind `at_` and that this pass has not scanned is overdue, and somebody is about to: it keeps
// its slot; `lag_` says how much "a little" is. And the schedule may be wrong: an expression that
// goes through two matrices in turn scans A0 B0 A1 B1, not A0 A1 B0 B1. So each pass puts the tiles
// that it used in the order in which it used them, for the next one; and in a first pass
// (`unknown_`), a jump from rank r leaves r in `other_`, and both places are read ahead of, as the
// scan may go on at either.
//
// Values do not depend on any of this: who wants a tile that is in no slot reads it itself.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <unordered_map>
#include <vector>

#include "runtime/weights/anonymous_memory.h"
#include "runtime/weights/page_reader.h"

namespace llmsql {

/// A ring of slots, each the pages of one tile. Threads fill free slots with the tiles that come
/// next; a worker that wants a tile waits for its slot, or, where it is in none, fills one itself.
/// Once all of a tile has been copied out, its slot is free.
///
/// The order is the schedule's at first. Expressions that scan two matrices in turn depart from it:
/// each pass puts the tiles that it used in the order in which it used them.
class DirectReader final : public TileReader {
  public:
    /// Whether what the plan leaves for reading is enough.
    static bool has_room(const TileReading& reading);

    /// Null where the system refuses to read the file past its page cache; fails without room, and
    /// where the system has no memory or no thread for it.
    static std::unique_ptr<DirectReader> of(std::unique_ptr<BlobPages>& pages,
                                            const TileReading& reading);
    DirectReader(const DirectReader&) = delete;
    DirectReader& operator=(const DirectReader&) = delete;
    ~DirectReader() override;

    IoMode mode() const override { return IoMode::direct; }
    void read(int worker, int64_t rowid, size_t offset, size_t bytes, std::byte* out,
              Use use) override;

    /// For tests: bytes of tiles that slots have been filled with so far, and what all slots take.
    uint64_t fetched() const;
    size_t memory_bytes() const { return memory_.size(); }

  private:
    // A tile of the schedule.
    struct Place {
        size_t blob = 0;
        bool once = false;
        bool contiguous = true;  // its chain has no jump, as far as is known
        bool verified = false;   // and that has been seen
        FileRange leaf, chain;   // what is read of the file: aligned; either may be empty
        size_t slot = SIZE_MAX;
        size_t asked = 0;        // bytes that this scan has asked for so far
        size_t taken = 0;        // of these, copied out
        uint64_t last_pass = 0;  // the pass that scanned it last, from 1
        size_t rank = 0;         // where it stands in order_
    };
    struct Slot {
        enum class State { empty, filling, full, failed };
        State state = State::empty;
        size_t place = 0;
        int users = 0;
        bool flat = false;  // holds the tile's bytes alone, not the pages that they lie on
        std::exception_ptr error;
    };
    // Slots that are filled by one request.
    static constexpr size_t kMostBatch = 4;
    struct Batch {
        std::array<size_t, kMostBatch> slots{};
        size_t count = 0;
    };
    struct Part;

    DirectReader(std::unique_ptr<BlobPages> pages, const TileReading& reading);
    Place place_of(const ScheduledTile& tile) const;
    void make_ring(size_t room);
    void serve();
    void stop();

    // With the lock held.
    Slot& acquire(size_t place, std::unique_lock<std::mutex>& lock);
    void note_use(size_t place);
    void end_pass();
    bool worth_fetching(const Place& place) const;
    Batch next_batch();
    bool is_overdue(const Place& place) const;
    size_t distance(const Place& place) const;
    bool is_free(const Slot& slot, size_t distance) const;
    size_t free_slot(size_t distance) const;
    size_t slot_for_now() const;
    void assign(size_t slot, size_t place);
    void vacate(size_t slot);

    // Without.
    void fill(const Batch& batch);
    bool read_parts(std::span<Part> parts);
    bool read_run(std::span<const Part> parts);
    bool chain_is_as_read(Place& place, const std::byte* chain);
    void copy_out(const Place& place, const Slot& slot, size_t offset, size_t bytes,
                  std::byte* out) const;
    std::byte* data(const Slot& slot) const;

    PageReader by_read_;  // for what is not scanned, and for chains with jumps
    BlobPages& pages_;
    ModelFile& file_;
    const int descriptor_;
    const uint64_t file_bytes_;
    std::unordered_map<int64_t, size_t> place_of_;  // by rowid
    size_t slot_bytes_ = 0;                         // a tile's chain, then its leaf page's part
    size_t batch_ = 1;
    size_t lag_ = 0;  // the farthest that a scan may be behind another, in tiles
    AnonymousMemory memory_;

    mutable std::mutex mutex_;  // of all below
    std::vector<Place> places_;
    std::vector<size_t> order_;  // places, as passes use them
    std::vector<Slot> slots_;
    std::vector<size_t> used_;  // places that this pass has used so far
    uint64_t pass_ = 1;
    size_t at_ = 0;            // rank of the place used last
    bool unknown_ = true;      // the pass before did not use it
    size_t other_ = SIZE_MAX;  // while so: where the scan came from when it last jumped, and may
                               // go on, as it does where it goes through two matrices in turn
    uint64_t fetched_ = 0;
    bool stopping_ = false;
    std::condition_variable full_, room_;  // for workers; for the threads
    std::vector<std::thread> threads_;
};

}  // namespace llmsql
