// Holding and streaming weights. See weights.h.
#include "runtime/storage/weights.h"

#include <algorithm>

#include "common/error.h"

namespace llmsql {
namespace {

size_t index_of(int id) {
    return static_cast<size_t>(id - 1);
}

}  // namespace

std::span<const float> Weight::vector() const {
    return {reinterpret_cast<const float*>(pool->held(id)), static_cast<size_t>(entry.shape.cols)};
}

WeightPool::WeightPool(const ModelDb& db, const std::vector<Residency>& residency, IoMode io,
                       Workers& workers)
    : path_(db.path().string()), reader_(make_tile_reader(db, io, workers.count())) {
    std::vector<ParamEntry> entries = db.catalogue();
    std::vector<ParamTiles> map = read_tile_map(db, entries);
    weights_.reserve(entries.size());
    for (size_t i = 0; i < entries.size(); ++i) {
        const ParamEntry& entry = entries[i];
        if (entry.shape.is_vector() && entry.type != WeightType::f32)
            fail("{}: parameter {} is a vector and must be f32", path_, entry.name);
        Tiles& tiles = tiles_.emplace_back(Tiles{std::move(map[i]), {}, nullptr});
        tiles.held.assign(tiles.tiles.size(), true);
        tiles.known = std::make_unique<std::atomic<uint8_t>[]>(tiles.checksums.size());
        memory_.emplace_back(param_bytes(entry.type, entry.shape), "the model's weights");
        weights_.push_back({static_cast<int>(i) + 1, std::move(entries[i]), this});
    }
    for (const Residency& row : residency)
        for (int64_t tile = row.first_tile; tile <= row.last_tile; ++tile)
            tiles_[index_of(row.param)].held[static_cast<size_t>(tile)] = row.held;
    // Huge pages mean fewer TLB misses, but a range that is held in part would be rounded up.
    if (residency.empty())
        for (const AnonymousMemory& memory : memory_)
            madvise(memory.data(), memory.size(), MADV_HUGEPAGE);
    load_held(workers);
}

void WeightPool::load_held(Workers& workers) {
    struct Job {
        int id;
        size_t tile;
    };
    std::vector<Job> jobs;
    for (const Weight& weight : weights_) {
        const Tiles& tiles = tiles_[index_of(weight.id)];
        for (size_t tile = 0; tile < tiles.tiles.size(); ++tile)
            if (tiles.held[tile]) {
                jobs.push_back({weight.id, tile});
                held_bytes_ += tiles.tiles[tile].bytes;
            }
    }
    workers.run(static_cast<int64_t>(jobs.size()), [&](int64_t item, int worker) {
        const Job& job = jobs[static_cast<size_t>(item)];
        const Tiles& tiles = tiles_[index_of(job.id)];
        const Tile& tile = tiles.tiles[job.tile];
        std::byte* to = memory_[index_of(job.id)].data() +
                        static_cast<size_t>(tile.first_strip) * tiles.strip_bytes;
        reader_->read(worker, tile.rowid, 0, tile.bytes, to);
        verify(job.id, tile.first_strip, {to, tile.bytes});
    });
}

void WeightPool::verify(int id, int64_t first_strip, std::span<const std::byte> data) {
    Tiles& tiles = tiles_[index_of(id)];
    for (size_t at = 0; at < data.size(); at += tiles.strip_bytes, ++first_strip) {
        const auto strip = static_cast<size_t>(first_strip);
        if (tiles.known[strip].load(std::memory_order_relaxed)) continue;
        if (hash64(data.data() + at, tiles.strip_bytes) != tiles.checksums[strip]) {
            const ParamEntry& entry = weight(id).entry;
            fail(
                "{}: parameter {} {} at row {} is damaged (checksum mismatch); import the model "
                "again",
                path_, entry.name, describe(entry), first_strip * kStripRows);
        }
        tiles.known[strip].store(1, std::memory_order_relaxed);
    }
}

WeightPool::Strips WeightPool::strips(const Weight& weight, int64_t first, int64_t wanted, Use use,
                                      StripBuffer& buffer) {
    const Tiles& tiles = tiles_[index_of(weight.id)];
    const int64_t strips_each = tile_rows(weight.entry.type, weight.entry.shape) / kStripRows;
    const auto index = static_cast<size_t>(first / strips_each);
    const Tile& tile = tiles.tiles[index];
    const int64_t in_tile = first - tile.first_strip;
    const auto tile_strips = static_cast<int64_t>(tile.bytes / tiles.strip_bytes);
    int64_t count = std::min(wanted, tile_strips - in_tile);
    if (tiles.held[index])
        return {held(weight.id) + static_cast<size_t>(first) * tiles.strip_bytes, count};

    // Larger buffers would fall out of the cache before they are used.
    const auto fitting = static_cast<int64_t>(kTileBytes / tiles.strip_bytes);
    count = std::min(count, std::max<int64_t>(1, fitting));
    const size_t bytes = static_cast<size_t>(count) * tiles.strip_bytes;
    if (buffer.memory.size() < bytes)
        buffer.memory = AnonymousMemory(std::max(bytes, kTileBytes), "a tile buffer");
    reader_->read(buffer.worker, tile.rowid, static_cast<size_t>(in_tile) * tiles.strip_bytes,
                  bytes, buffer.memory.data());
    verify(weight.id, first, {buffer.memory.data(), bytes});
    (use == Use::scan ? streamed_ : embedding_).fetch_add(bytes, std::memory_order_relaxed);
    return {buffer.memory.data(), count};
}

PoolCounters WeightPool::counters() const {
    return {held_bytes_, streamed_, embedding_};
}

}  // namespace llmsql
