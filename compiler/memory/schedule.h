// SPDX-License-Identifier: MIT
// Which tiles of a cyclic pass to hold in memory so that the rest, which is read anew each pass, is
// as small as can be. Pure functions on traces: no plan, no model, no SQLite. docs/memory.md has
// the proofs.
//
// HOW IT WORKS. A decoder scans all its weights once a pass, in one order, over and over. On such a
// cycle a cache that keeps what was used last reads everything each time, as each tile has gone by
// the time that its turn comes; a fixed set of tiles reads what is not in it, and no policy reads
// less where each tile is scanned once. So what is left to choose is the set: tiles of few sizes,
// each saving its bytes times its scans, within a capacity.
//
//     pass A B C D, 1 MB each; capacity 2 MB     reads a pass
//     least recently used                        4 MB (each has gone before it is wanted)
//     held: A and C                              2 MB, which is the lower bound too
//
// best_fill() packs sizes into the capacity as a knapsack over classes of like tiles; choose_held()
// spreads the set over the pass, so that reading is spread, too; interval_bound() says what any
// policy must read, and a plan whose set reads just that is called optimal.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace llmsql::compiler {

/// What one steady pass reads: the tiles, and the order in which it scans them, over and over.
struct PassScans {
    struct Tile {
        int param = 0;      // whose tile it is
        int64_t index = 0;  // its place among the parameter's tiles
        int64_t bytes = 0;  // at least 1
        /// Of `of` passes as many as `chosen` scan it, as far as is known beforehand.
        int64_t chosen = 1, of = 1;
    };
    std::vector<Tile> tiles;  // each once, in the order of their first scans
    std::vector<int> scans;   // indices into `tiles`; each occurs at least once

    int64_t scanned_bytes() const;  // sum over `scans`, whatever is chosen
    bool has_choices() const;
    /// A number of passes in which every tile is scanned a whole number of times.
    int64_t period() const;
    int64_t scans_in_period(const Tile& tile, int64_t period) const {
        return period * tile.chosen / tile.of;
    }
    bool scans_each_once() const { return scans.size() == tiles.size(); }
};

/// Tiles that are alike.
struct TileClass {
    int64_t bytes = 0;  // of one
    int64_t scans = 0;  // of one in a pass (or period): holding it saves bytes * scans
    int64_t count = 0;
};

struct Fill {
    std::vector<int64_t> held;  // of each class
    int64_t bytes = 0;          // of what is held
    int64_t saved = 0;          // bytes a pass that need not be read
    int64_t most = 0;           // no set of tiles that fits saves more
    bool exact() const { return saved == most; }
};

/// The bits that best_fill may spend on tables of reachable sums: 64 MiB.
inline constexpr int64_t kMostFillBits = int64_t{1} << 29;

/// The set of tiles that fits in `capacity` and saves most; of such sets, one that takes about the
/// same share of every class. Exact wherever (capacity / greatest common divisor of the sizes)
/// times the number of classes is at most `most_bits`, and often beyond.
Fill best_fill(std::span<const TileClass> classes, int64_t capacity,
               int64_t most_bits = kMostFillBits);

struct Choice {
    std::vector<bool> held;   // of each tile of the pass
    int64_t held_bytes = 0;   // at most the capacity
    int64_t read_bytes = 0;   // of a steady pass: every scan of a tile that is not held
    int64_t lower_bound = 0;  // no policy whatever, with as much memory, reads less a pass
    bool optimal() const { return read_bytes == lower_bound; }
};

/// The best fixed set by best_fill, laid out as leading tiles of each parameter, evenly over the
/// pass.
Choice choose_held(const PassScans& pass, int64_t capacity, int64_t most_bits = kMostFillBits);

/// A number of bytes that any policy must read, per pass and on average, for an endless repetition
/// of the pass: for what it holds between two scans of a tile must fit, at every moment.
/// Relaxed: tiles may be held in part, and the capacity kept on average.
int64_t interval_bound(const PassScans& pass, int64_t capacity);

/// The bound for a trace that runs once, from an empty memory: `trace` holds indices into `bytes`.
int64_t interval_bound(std::span<const int> trace, std::span<const int64_t> bytes,
                       int64_t capacity);

}  // namespace llmsql::compiler
