// SPDX-License-Identifier: MIT
// Holding and streaming weights. See weights.h.
#include "runtime/weights/weights.h"

#include <algorithm>

#include "common/error.h"
#include "common/machine.h"
#include "common/stopwatch.h"
#include "runtime/weights/io_choice.h"
#include "runtime/weights/model_db.h"
#include "runtime/weights/model_file.h"
#include "sqlite/callbacks.h"

namespace llmsql {
namespace {

// Held tiles start at multiples of this, as vector loads like it.
constexpr size_t kTileAlignment = 32;

size_t index_of(int id) {
    return static_cast<size_t>(id - 1);
}

}  // namespace

std::span<const float> Weight::vector() const {
    return {reinterpret_cast<const float*>(pool->held(id)), static_cast<size_t>(entry.shape.cols)};
}

WeightPool::WeightPool(const ModelDb& db, const std::vector<Residency>& residency,
                       const PoolOptions& options, Workers& workers)
    : path_(db.path().string()),
      loaded_a_turn_(options.loaded_a_turn),
      loadable_(options.loaded_a_turn) {
    std::vector<ParamEntry> entries = db.catalogue();
    // Before the tiles' sizes are looked up, which reads a page of each.
    if (options.io != IoMode::direct) db.file()->fill_page_cache(options.interrupted);
    if (options.interrupted && options.interrupted()) throw Interrupted();
    std::vector<ParamTiles> map = read_tile_map(db, entries);
    weights_.reserve(entries.size());
    tiles_.reserve(entries.size());
    for (size_t i = 0; i < entries.size(); ++i) {
        const ParamEntry& entry = entries[i];
        if (entry.shape.is_vector() && entry.type != WeightType::f32)
            fail("{}: parameter {} is a vector and must be f32", path_, entry.name);
        Tiles& tiles = tiles_.emplace_back(Tiles{std::move(map[i]), {}, nullptr});
        tiles.known = std::make_unique<std::atomic<uint8_t>[]>(tiles.checksums.size());
        if (!entry.shape.is_vector())
            tiles.strips_each = tile_rows(entry.type, entry.shape, db.cut()) / kStripRows;
        weights_.push_back({static_cast<int>(i) + 1, std::move(entries[i]), this});
    }
    place_tiles(residency);

    const TileReading reading = reading_for(options, residency, workers.count());
    if (options.io) {
        reader_ = make_tile_reader(db, *options.io, reading);
    } else {
        ChosenReader chosen = choose_tile_reader(db, reading, workers);
        reader_ = std::move(chosen.reader);
        refill_ = std::move(chosen.refill);
        later_reader_ = std::move(chosen.then);
    }
    in_place_ = residency.empty() && reader_->mode() == IoMode::map;
    // Fewer TLB misses; only a hint. Vectors alone need few pages.
    if (!in_place_) madvise(memory_.data(), memory_.size(), MADV_HUGEPAGE);
    load_vectors();
    gradual_ = !reading.windows && !in_place_;
}

// Gives every held tile its place, one after the other. Vectors come first: they are read before
// anything else, by one thread, and scattered among matrices they would make the kernel zero most
// of the memory, a huge page each.
void WeightPool::place_tiles(const std::vector<Residency>& residency) {
    for (Tiles& tiles : tiles_) tiles.places.assign(tiles.tiles.size(), 0);
    for (const Residency& row : residency)
        for (int64_t tile = row.first_tile; tile <= row.last_tile; ++tile)
            if (!row.held)
                tiles_[index_of(row.param)].places[static_cast<size_t>(tile)] = kStreamed;
    size_t end = 0;
    const auto place = [&](Tiles& tiles) {
        for (size_t tile = 0; tile < tiles.tiles.size(); ++tile) {
            if (tiles.places[tile] == kStreamed) continue;
            tiles.places[tile] = end;
            held_bytes_ += tiles.tiles[tile].bytes;
            end += (tiles.tiles[tile].bytes + kTileAlignment - 1) / kTileAlignment * kTileAlignment;
        }
    };
    for (const bool vectors : {true, false})
        for (const Weight& weight : weights_)
            if (weight.entry.shape.is_vector() == vectors) place(tiles_[index_of(weight.id)]);
    memory_ = AnonymousMemory(end, "the model's weights");
}

TileReading WeightPool::reading_for(const PoolOptions& options,
                                    const std::vector<Residency>& residency, int workers) const {
    TileReading reading;
    reading.workers = workers;
    reading.windows = options.windows;
    reading.may_map = options.may_map;
    reading.held_bytes = held_bytes_;
    const auto schedule = [&](int id, size_t tile, bool held) {
        if (weights_[index_of(id)].entry.shape.is_vector()) return;  // no pass scans it
        const Tile& scheduled = tiles_[index_of(id)].tiles[tile];
        reading.schedule.push_back({scheduled.rowid, held});
        reading.longest_tile = std::max(reading.longest_tile, scheduled.bytes);
        if (!held) reading.streamed_bytes += scheduled.bytes;
    };
    for (const Residency& row : residency)
        for (int64_t tile = row.first_tile; !row.chosen && tile <= row.last_tile; ++tile)
            schedule(row.param, static_cast<size_t>(tile), row.held);
    if (residency.empty())
        for (const Weight& weight : weights_)
            for (size_t tile = 0; tile < tiles_[index_of(weight.id)].tiles.size(); ++tile)
                schedule(weight.id, tile, true);
    reading.scarce =
        reading.streamed_bytes > 0 && reading.streamed_bytes + held_bytes_ > available_memory();
    return reading;
}

const std::byte* WeightPool::held(int id) const {
    return memory_.data() + tiles_[index_of(id)].places.front();
}

void WeightPool::load_vectors() {
    StripBuffer buffer;
    for (const Weight& weight : weights_)
        if (weight.entry.shape.is_vector())
            load(weight, tiles_[index_of(weight.id)].tiles.front(), 0, 1, Use::embedding, buffer);
}

bool WeightPool::all_known(const Tiles& tiles, int64_t first, int64_t count) const {
    for (int64_t strip = first; strip < first + count; ++strip)
        if (!tiles.known[static_cast<size_t>(strip)].load(std::memory_order_acquire)) return false;
    return true;
}

// Reads strips of a held tile into their place.
void WeightPool::load(const Weight& weight, const Tile& tile, int64_t first, int64_t count, Use use,
                      StripBuffer& buffer) {
    const Stopwatch watch(buffer.timed ? &buffer.reading : nullptr);
    const Tiles& tiles = tiles_[index_of(weight.id)];
    const auto index = static_cast<size_t>(&tile - tiles.tiles.data());
    const size_t offset = static_cast<size_t>(first - tile.first_strip) * tiles.strip_bytes;
    const size_t bytes = static_cast<size_t>(count) * tiles.strip_bytes;
    std::byte* to = memory_.data() + tiles.places[index] + offset;
    size_t fresh = 0;  // an embedding may have read some of them before
    for (int64_t strip = first; strip < first + count; ++strip)
        fresh += all_known(tiles, strip, 1) ? 0 : 1;
    reader_->read(buffer.worker, tile.rowid, offset, bytes, to, use);
    buffer.bytes_read += bytes;
    verify(weight, first, {to, bytes});
    loaded_.fetch_add(fresh * tiles.strip_bytes, std::memory_order_relaxed);
}

// Strips that do not `stay` where they were read are verified again when they come again.
void WeightPool::verify(const Weight& weight, int64_t first_strip, std::span<const std::byte> data,
                        bool stays) {
    Tiles& tiles = tiles_[index_of(weight.id)];
    for (size_t at = 0; at < data.size(); at += tiles.strip_bytes, ++first_strip) {
        const auto strip = static_cast<size_t>(first_strip);
        if (tiles.known[strip].load(std::memory_order_relaxed)) continue;
        if (hash64(data.data() + at, tiles.strip_bytes) != tiles.checksums[strip]) {
            reader_->check();  // where a truncated file is the reason, that says so
            fail(
                "{}: parameter {} {} at row {} is damaged (checksum mismatch); import the model "
                "again",
                path_, weight.entry.name, describe(weight.entry), first_strip * kStripRows);
        }
        if (stays) tiles.known[strip].store(1, std::memory_order_release);
    }
}

// Whether strips of a held tile are in memory, or this turn may still read them into it.
bool WeightPool::may_load(const Tiles& tiles, int64_t first, int64_t count) {
    if (!gradual_ || all_known(tiles, first, 1)) return true;
    const auto bytes = count * static_cast<int64_t>(tiles.strip_bytes);
    return loadable_.fetch_sub(bytes, std::memory_order_relaxed) > 0;
}

bool WeightPool::improve() {
    if (gradual_) {
        gradual_ = loadable_ < loaded_a_turn_;  // else there was nothing to be read
        loadable_ = loaded_a_turn_;
    }
    if (!refill_) return false;
    const bool changes = refill_->after_turn() && later_reader_;
    if (changes) reader_ = std::move(later_reader_);
    if (refill_->ended()) refill_.reset();
    return changes;
}

// Strips that are held, over as many tiles as lie one after the other in memory.
WeightPool::Strips WeightPool::held_strips(const Weight& weight, size_t index, int64_t first,
                                           int64_t wanted, Use use, StripBuffer& buffer) {
    const Tiles& tiles = tiles_[index_of(weight.id)];
    const size_t begin = tiles.places[index];
    size_t end = begin;  // of what has been looked at so far
    int64_t next = first;
    // Scans share strips out; rows that an embedding picks may be of one strip.
    std::unique_lock<std::mutex> alone;
    for (size_t i = index; i < tiles.tiles.size() && next < first + wanted; ++i) {
        if (tiles.places[i] != end) break;
        const Tile& tile = tiles.tiles[i];
        const auto here = static_cast<int64_t>(tile.bytes / tiles.strip_bytes);
        const int64_t count = std::min(first + wanted, tile.first_strip + here) - next;
        if (use == Use::embedding && !alone.owns_lock() && !all_known(tiles, next, count))
            alone = std::unique_lock(embedding_load_);
        if (!all_known(tiles, next, count)) load(weight, tile, next, count, use, buffer);
        next += count;
        end += tile.bytes;
    }
    const auto in_tile = static_cast<size_t>(first - tiles.tiles[index].first_strip);
    return {memory_.data() + begin + in_tile * tiles.strip_bytes, next - first};
}

// Bytes of a tile, in the worker's own buffer.
const std::byte* WeightPool::copy(int64_t rowid, size_t offset, size_t bytes, Use use,
                                  StripBuffer& buffer) {
    if (buffer.memory.size() < bytes)
        buffer.memory = AnonymousMemory(std::max(bytes, kTileBytes), "a tile buffer");
    reader_->read(buffer.worker, rowid, offset, bytes, buffer.memory.data(), use);
    return buffer.memory.data();
}

std::span<const std::byte> WeightPool::part(const Weight& weight, int64_t strip, size_t offset,
                                            StripBuffer& buffer) {
    const Stopwatch watch(buffer.timed ? &buffer.reading : nullptr);
    const Tiles& tiles = tiles_[index_of(weight.id)];
    const Tile& tile = tiles.tiles[static_cast<size_t>(strip / tiles.strips_each)];
    const size_t bytes = tiles.strip_bytes - offset;
    offset += static_cast<size_t>(strip - tile.first_strip) * tiles.strip_bytes;
    const auto view = reader_->view(buffer.worker, tile.rowid, offset, bytes);
    if (!view.empty()) return view;
    return {copy(tile.rowid, offset, bytes, Use::scan, buffer), bytes};
}

WeightPool::Strips WeightPool::strips(const Weight& weight, int64_t first, int64_t wanted, Use use,
                                      StripBuffer& buffer, bool parts_will_do) {
    const Tiles& tiles = tiles_[index_of(weight.id)];
    const auto index = static_cast<size_t>(first / tiles.strips_each);
    const Tile& tile = tiles.tiles[index];
    const int64_t in_tile = first - tile.first_strip;
    const auto tile_strips = static_cast<int64_t>(tile.bytes / tiles.strip_bytes);
    int64_t count = std::min(wanted, tile_strips - in_tile);
    const size_t offset = static_cast<size_t>(in_tile) * tiles.strip_bytes;

    const bool held = tiles.places[index] != kStreamed;
    const bool in_memory = held && !in_place_;
    if (in_memory && (use == Use::embedding || may_load(tiles, first, count)))
        return held_strips(weight, index, first, wanted, use, buffer);

    // Larger buffers would fall out of the cache before they are used.
    const auto fitting = static_cast<int64_t>(kTileBytes / tiles.strip_bytes);
    count = std::min(count, std::max<int64_t>(1, fitting));
    const Stopwatch watch(buffer.timed ? &buffer.reading : nullptr);
    const std::byte* data = nullptr;
    bool in_parts = false;
    if (use == Use::scan) {
        const auto view = reader_->view(buffer.worker, tile.rowid, offset,
                                        static_cast<size_t>(count) * tiles.strip_bytes);
        if (view.size() >= tiles.strip_bytes) {
            data = view.data();
            count = static_cast<int64_t>(view.size() / tiles.strip_bytes);
        } else if (!view.empty()) {
            count = 1;  // this one lies across two pages, the next may not
            in_parts = parts_will_do && all_known(tiles, first, 1);
        }
    }
    const size_t bytes = static_cast<size_t>(count) * tiles.strip_bytes;
    if (!in_parts) {
        if (!data) data = copy(tile.rowid, offset, bytes, use, buffer);
        verify(weight, first, {data, bytes}, !in_memory);
    }
    if (!held || in_memory) buffer.bytes_read += bytes;
    if (!held)
        (use == Use::scan ? streamed_ : embedding_).fetch_add(bytes, std::memory_order_relaxed);
    return {data, count};
}

void WeightPool::verify_all(Workers& workers, const std::function<void()>& pulse) {
    loadable_ = INT64_MAX;
    std::vector<StripBuffer> buffers(static_cast<size_t>(workers.count()));
    for (size_t i = 0; i < buffers.size(); ++i) buffers[i].worker = static_cast<int>(i);
    for (const Weight& weight : weights_) {
        if (weight.entry.shape.is_vector()) continue;
        if (pulse) pulse();
        const Tiles& tiles = tiles_[index_of(weight.id)];
        workers.run(static_cast<int64_t>(tiles.tiles.size()), [&](int64_t item, int worker) {
            const Tile& tile = tiles.tiles[static_cast<size_t>(item)];
            const int64_t end =
                tile.first_strip + static_cast<int64_t>(tile.bytes / tiles.strip_bytes);
            for (int64_t strip = tile.first_strip; strip < end;)
                strip += strips(weight, strip, end - strip, Use::scan,
                                buffers[static_cast<size_t>(worker)])
                             .count;
        });
    }
    check();
}

Hash128 WeightPool::identity() const {
    std::vector<ParamEntry> entries;
    std::vector<uint64_t> sums;
    for (const Weight& weight : weights_) entries.push_back(weight.entry);
    for (const Tiles& tiles : tiles_)
        sums.insert(sums.end(), tiles.checksums.begin(), tiles.checksums.end());
    const std::string catalogue = catalogue_checksum(entries);
    sums.push_back(hash64(catalogue.data(), catalogue.size()));
    return hash128(sums.data(), sums.size() * sizeof(uint64_t));
}

PoolCounters WeightPool::counters() const {
    return {loaded_, streamed_, embedding_};
}

}  // namespace llmsql
