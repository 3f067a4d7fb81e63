// SPDX-License-Identifier: MIT
// The best fill of a budget, and how it is spread over the pass. See schedule.h.
#include "compiler/memory/schedule.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <utility>

namespace llmsql::compiler {
namespace {

/// A set of sums, from 0 to a limit.
class Sums {
  public:
    Sums() : words_{1} {}  // only the empty one

    /// Makes room for sums up to `limit`.
    void grow(int64_t limit) { words_.resize(static_cast<size_t>(limit / 64 + 1)); }

    bool contains(int64_t sum) const {
        return (words_[static_cast<size_t>(sum / 64)] >> (sum % 64) & 1) != 0;
    }

    /// Every sum, with up to `count` times `size` on top.
    void add(int64_t size, int64_t count) {
        for (int64_t part = 1; count > 0; part *= 2) {
            const int64_t taken = std::min(part, count);
            add_once(size * taken);
            count -= taken;
        }
    }

    /// The largest sum that is at most `limit`; 0 always is one.
    int64_t at_most(int64_t limit) const {
        while (!contains(limit)) --limit;
        return limit;
    }

  private:
    void add_once(int64_t shift) {
        const auto words = static_cast<size_t>(shift / 64);
        const auto bits = static_cast<unsigned>(shift % 64);
        for (size_t to = words_.size(); to-- > words;) {  // from the top: what is read is still old
            uint64_t moved = words_[to - words] << bits;
            if (bits > 0 && to > words) moved |= words_[to - words - 1] >> (64 - bits);
            words_[to] |= moved;
        }
    }

    std::vector<uint64_t> words_;
};

/// Classes that are scanned equally often, in units of the common divisor: which sums they reach.
class Level {
  public:
    Level(int64_t scans, int64_t limit) : scans(scans), limit_(limit), prefixes_(1) {}

    void add(size_t index, int64_t size, int64_t count) {
        total += size * count;
        members_.push_back({index, size, count, total});
        Sums sums = prefixes_.back();
        sums.grow(std::min(limit_, total));
        sums.add(size, count);
        prefixes_.push_back(std::move(sums));
    }

    int64_t at_most(int64_t most) const { return prefixes_.back().at_most(std::min(most, total)); }

    /// Takes tiles that come to `sum`, of every class about the same share.
    void take(int64_t sum, std::vector<int64_t>& held) const {
        for (size_t m = members_.size(); m-- > 0;) {
            const Member& member = members_[m];
            const int64_t before = member.total - member.size * member.count;
            const auto leaves = [&](int64_t count) {
                const int64_t rest = sum - count * member.size;
                return count >= 0 && count <= member.count && rest >= 0 && rest <= before &&
                       prefixes_[m].contains(rest);
            };
            const auto share =
                static_cast<int64_t>(static_cast<double>(member.count) * static_cast<double>(sum) /
                                     static_cast<double>(member.total));
            int64_t away = 0;
            while (!leaves(share + away) && !leaves(share - away)) ++away;
            const int64_t count = leaves(share + away) ? share + away : share - away;
            held[member.index] += count;
            sum -= count * member.size;
        }
    }

    int64_t scans;
    int64_t total = 0;  // of all sizes

  private:
    struct Member {
        size_t index;
        int64_t size, count;
        int64_t total;  // of the members up to this one
    };
    int64_t limit_;
    std::vector<Member> members_;
    std::vector<Sums> prefixes_;  // [m]: what the first m members reach
};

/// How much to take of each level: the more often scanned first, less of them only where that pays.
class LevelSearch {
  public:
    explicit LevelSearch(const std::vector<Level>& levels)
        : levels_(levels), taken_(levels.size()), best_(levels.size()) {}

    std::vector<int64_t> run(int64_t capacity) {
        search(0, capacity, 0);
        return best_;
    }

  private:
    void search(size_t l, int64_t room, int64_t saved) {
        if (l == levels_.size()) {
            if (saved > most_) {
                most_ = saved;
                best_ = taken_;
            }
            return;
        }
        const Level& level = levels_[l];
        // The less is taken here, the less all can save at best.
        const int64_t next = l + 1 < levels_.size() ? levels_[l + 1].scans : 0;
        for (int64_t sum = level.at_most(room);; sum = level.at_most(sum - 1)) {
            const int64_t here = saved + level.scans * sum;
            if (here + next * (room - sum) <= most_) return;
            taken_[l] = sum;
            search(l + 1, room - sum, here);
            if (sum == 0) return;
        }
    }

    const std::vector<Level>& levels_;
    std::vector<int64_t> taken_, best_;
    int64_t most_ = -1;
};

std::vector<size_t> by_scans(std::span<const TileClass> classes) {
    std::vector<size_t> order(classes.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order, std::ranges::greater{},
                             [&](size_t i) { return classes[i].scans; });
    return order;
}

/// Where the table of sums would be too large: holds this many bytes, or a little less, without
/// looking for the best. The most often scanned first; of the level that is cut, an even share.
void hold_blindly(std::span<const TileClass> classes, int64_t bytes, std::vector<int64_t>& held) {
    std::map<int64_t, int64_t, std::greater<>> levels;  // by scans: bytes
    for (const TileClass& c : classes) levels[c.scans] += c.bytes * c.count;
    for (const auto& [scans, total] : levels) {
        const double share = std::min(1.0, static_cast<double>(bytes) / static_cast<double>(total));
        for (size_t i = 0; i < classes.size(); ++i) {
            const TileClass& c = classes[i];
            if (c.scans != scans) continue;
            held[i] =
                share < 1 ? static_cast<int64_t>(share * static_cast<double>(c.count)) : c.count;
        }
        bytes -= std::min(bytes, total);
    }
}

/// What tiles save that may be held in part: no set saves more.
int64_t most_saved(std::span<const TileClass> classes, int64_t capacity) {
    int64_t saved = 0;
    for (const size_t i : by_scans(classes)) {
        const int64_t taken = std::min(capacity, classes[i].bytes * classes[i].count);
        saved += taken * classes[i].scans;
        capacity -= taken;
    }
    return saved;
}

}  // namespace

int64_t PassScans::scanned_bytes() const {
    int64_t bytes = 0;
    for (const int tile : scans) bytes += tiles[static_cast<size_t>(tile)].bytes;
    return bytes;
}

bool PassScans::has_choices() const {
    return std::ranges::any_of(tiles, [](const Tile& tile) { return tile.chosen != tile.of; });
}

int64_t PassScans::period() const {
    constexpr int64_t kLongest = 1 << 20;  // rounded beyond: the sums are of bytes times this
    int64_t period = 1;
    for (const Tile& tile : tiles) period = std::min(kLongest, std::lcm(period, tile.of));
    return period;
}

Fill best_fill(std::span<const TileClass> classes, int64_t capacity, int64_t most_bits) {
    Fill fill;
    fill.held.resize(classes.size());
    bool complete = true;  // every set was considered
    int64_t unit = 0, total = 0;
    for (const TileClass& c : classes) {
        unit = std::gcd(unit, c.bytes);
        total += c.bytes * c.count;
    }
    if (total <= capacity) {
        for (size_t i = 0; i < classes.size(); ++i) fill.held[i] = classes[i].count;
    } else if (capacity >= unit) {
        int64_t room = capacity / unit;
        const int64_t most_room = most_bits / static_cast<int64_t>(classes.size());
        if (room > most_room) {
            complete = false;
            hold_blindly(classes, (room - most_room) * unit, fill.held);
            for (size_t i = 0; i < classes.size(); ++i)
                room -= fill.held[i] * (classes[i].bytes / unit);
        }
        std::vector<Level> levels;
        for (const size_t i : by_scans(classes)) {
            const TileClass& c = classes[i];
            if (c.count == fill.held[i]) continue;
            if (levels.empty() || levels.back().scans != c.scans)
                levels.emplace_back(c.scans, room);
            levels.back().add(i, c.bytes / unit, c.count - fill.held[i]);
        }
        const std::vector<int64_t> sums = LevelSearch(levels).run(room);
        for (size_t l = 0; l < levels.size(); ++l) levels[l].take(sums[l], fill.held);
    }
    for (size_t i = 0; i < classes.size(); ++i) {
        fill.bytes += classes[i].bytes * fill.held[i];
        fill.saved += classes[i].bytes * fill.held[i] * classes[i].scans;
    }
    fill.most = complete ? fill.saved : most_saved(classes, capacity / unit * unit);
    return fill;
}

namespace {

struct ClassTiles {
    TileClass kind;
    std::vector<std::vector<size_t>> params;  // each parameter's tiles, in order
};

std::vector<ClassTiles> classify(const PassScans& pass) {
    std::vector<int64_t> scans(pass.tiles.size());
    const int64_t period = pass.period();
    for (const int tile : pass.scans)
        scans[static_cast<size_t>(tile)] +=
            pass.scans_in_period(pass.tiles[static_cast<size_t>(tile)], period);
    std::map<std::pair<int64_t, int64_t>, size_t> known;  // by size and scans
    std::map<std::pair<size_t, int>, size_t> places;      // by class and parameter
    std::vector<ClassTiles> classes;
    for (size_t i = 0; i < pass.tiles.size(); ++i) {
        const PassScans::Tile& tile = pass.tiles[i];
        const auto [found, made] = known.try_emplace({tile.bytes, scans[i]}, classes.size());
        if (made) classes.push_back({{tile.bytes, scans[i], 0}, {}});
        ClassTiles& of_class = classes[found->second];
        const auto [place, first] =
            places.try_emplace({found->second, tile.param}, of_class.params.size());
        if (first) of_class.params.emplace_back();
        of_class.params[place->second].push_back(i);
        ++of_class.kind.count;
    }
    for (ClassTiles& of_class : classes)
        for (std::vector<size_t>& tiles : of_class.params)
            std::ranges::stable_sort(tiles, {}, [&](size_t i) { return pass.tiles[i].index; });
    return classes;
}

/// Bytes saved by intervals of (bytes, length) if each may be held in part and all together may
/// take `area`, which is bytes times length.
double most_saved_by(std::vector<std::pair<int64_t, int64_t>> intervals, double area) {
    std::ranges::stable_sort(intervals, {}, &std::pair<int64_t, int64_t>::second);
    double saved = 0;
    for (const auto& [bytes, length] : intervals) {
        const double need = static_cast<double>(bytes) * static_cast<double>(length);
        const double share = std::min(1.0, area / need);
        saved += static_cast<double>(bytes) * share;
        area -= need * share;
        if (area <= 0) break;
    }
    return saved + 0.001;  // never less for having been computed in floating point
}

}  // namespace

int64_t interval_bound(const PassScans& pass, int64_t capacity) {
    const auto length = static_cast<int64_t>(pass.scans.size());
    // The last scan of a pass is followed by the first one of the next.
    std::vector<int64_t> previous(pass.tiles.size(), -1);
    for (int64_t at = 0; at < length; ++at)
        previous[static_cast<size_t>(pass.scans[static_cast<size_t>(at)])] = at - length;
    std::vector<std::pair<int64_t, int64_t>> intervals;
    for (int64_t at = 0; at < length; ++at) {
        const auto tile = static_cast<size_t>(pass.scans[static_cast<size_t>(at)]);
        if (pass.tiles[tile].bytes <= capacity)
            intervals.emplace_back(pass.tiles[tile].bytes, at - previous[tile]);
        previous[tile] = at;
    }
    const double saved = most_saved_by(std::move(intervals),
                                       static_cast<double>(capacity) * static_cast<double>(length));
    // Upwards: the average of many passes need not be a whole number.
    return std::max<int64_t>(0, pass.scanned_bytes() - static_cast<int64_t>(std::ceil(saved)));
}

int64_t interval_bound(std::span<const int> trace, std::span<const int64_t> bytes,
                       int64_t capacity) {
    std::map<int, int64_t> previous;
    std::vector<std::pair<int64_t, int64_t>> intervals;
    int64_t total = 0;
    for (size_t at = 0; at < trace.size(); ++at) {
        const int64_t size = bytes[static_cast<size_t>(trace[at])];
        total += size;
        const auto [last, first] = previous.try_emplace(trace[at], static_cast<int64_t>(at));
        if (!first && size <= capacity)
            intervals.emplace_back(size, static_cast<int64_t>(at) - last->second);
        last->second = static_cast<int64_t>(at);
    }
    // One moment after each access but the last.
    const double moments = static_cast<double>(std::max<size_t>(trace.size(), 1) - 1);
    const double saved =
        most_saved_by(std::move(intervals), static_cast<double>(capacity) * moments);
    return total - static_cast<int64_t>(saved);
}

Choice choose_held(const PassScans& pass, int64_t capacity, int64_t most_bits) {
    const std::vector<ClassTiles> classes = classify(pass);
    std::vector<TileClass> kinds;
    for (const ClassTiles& of_class : classes) kinds.push_back(of_class.kind);
    const Fill fill = best_fill(kinds, capacity, most_bits);

    Choice choice;
    choice.held.resize(pass.tiles.size());
    choice.held_bytes = fill.bytes;
    const int64_t period = pass.period();
    int64_t scanned = 0;  // in a period
    for (const int tile : pass.scans) {
        const PassScans::Tile& each = pass.tiles[static_cast<size_t>(tile)];
        scanned += each.bytes * pass.scans_in_period(each, period);
    }
    const auto in_a_pass = [&](int64_t bytes) { return (bytes + period - 1) / period; };
    choice.read_bytes = in_a_pass(scanned - fill.saved);
    // Scanned once a pass, whatever is not read in a pass was held, all at once, when it began.
    choice.lower_bound = pass.scans_each_once() ? in_a_pass(scanned - fill.most)
                         : pass.has_choices()   ? 0
                                                : interval_bound(pass, capacity);
    for (size_t c = 0; c < classes.size(); ++c) {
        // Of the first n tiles of a class, n * held / count rounded, so that no stretch of the pass
        // has much more or less than its share.
        int64_t seen = 0, given = 0;
        for (const std::vector<size_t>& tiles : classes[c].params) {
            seen += static_cast<int64_t>(tiles.size());
            const int64_t due = (2 * seen * fill.held[c] + kinds[c].count) / (2 * kinds[c].count);
            for (int64_t i = 0; i < due - given; ++i)
                choice.held[tiles[static_cast<size_t>(i)]] = true;
            given = due;
        }
    }
    return choice;
}

}  // namespace llmsql::compiler
