// Choosing by trying. See io_choice.h.
#include "runtime/storage/io_choice.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "common/catalogue.h"
#include "common/types.h"
#include "runtime/storage/anonymous_memory.h"
#include "runtime/storage/blob_pages.h"
#include "runtime/storage/memory_limit.h"

namespace llmsql {
namespace {

// What is streamed each way, twice: together more than most caches hold.
constexpr uint64_t kSample = 24 << 20;

// Held weights that take more of the available memory than this are better left to the page cache.
constexpr double kMostHeld = 0.8;

// Windows must gain this much, as they are the less common way.
constexpr double kWorthwhile = 0.95;

struct Sample {
    std::vector<size_t> tiles;  // indices of BLOBs
};

// Streamed tiles from place `from` of the schedule on, as many as make a sample.
Sample take_sample(const BlobPages& pages, const std::vector<ScheduledTile>& schedule,
                   size_t& from) {
    Sample sample;
    uint64_t bytes = 0;
    for (; from < schedule.size() && bytes < kSample; ++from) {
        if (schedule[from].once) continue;
        sample.tiles.push_back(pages.index_of(schedule[from].rowid));
        bytes += pages.blob(sample.tiles.back()).bytes;
    }
    return sample;
}

bool is_cached(BlobPages& pages, const Sample& sample) {
    const std::span<const std::byte> mapping = pages.file().mapping();
    constexpr uint64_t kPage = 4096;
    return std::ranges::all_of(sample.tiles, [&](size_t tile) {
        const FileRange range = pages.likely_chain(tile);
        unsigned char resident = 0;
        const uint64_t middle = (range.offset + range.bytes / 2) / kPage * kPage;
        return middle < mapping.size() &&
               mincore(const_cast<std::byte*>(mapping.data() + middle), 1, &resident) == 0 &&
               (resident & 1) != 0;
    });
}

// Seconds for streaming a sample and using each byte once.
double time_of(TileReader& reader, const BlobPages& pages, const Sample& sample,
               std::vector<AnonymousMemory>& buffers, Workers& workers) {
    const auto start = std::chrono::steady_clock::now();
    std::atomic<uint64_t> used{0};
    workers.run(static_cast<int64_t>(sample.tiles.size()), [&](int64_t item, int worker) {
        const BlobPages::Blob& tile = pages.blob(sample.tiles[static_cast<size_t>(item)]);
        std::byte* buffer = buffers[static_cast<size_t>(worker)].data();
        for (size_t at = 0; at < tile.bytes;) {
            const size_t wanted = std::min(tile.bytes - at, buffers.front().size());
            auto data = reader.view(worker, tile.rowid, at, wanted);
            if (data.empty()) {
                reader.read(worker, tile.rowid, at, wanted, buffer);
                data = {buffer, wanted};
            }
            used.fetch_add(hash64(data.data(), data.size()), std::memory_order_relaxed);
            at += data.size();
        }
    });
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool windows_are_faster(const ModelDb& db, const TileReading& reading, Workers& workers) {
    const auto by_read = make_tile_reader(db, IoMode::read, reading);
    const auto by_map = make_tile_reader(db, IoMode::map, reading);
    if (by_map->mode() != IoMode::map) return false;
    const auto pages = BlobPages::of(db);
    size_t from = 0;
    const Sample a = take_sample(*pages, reading.schedule, from);
    const Sample b = take_sample(*pages, reading.schedule, from);
    // What is not cached would be read from the device now, and tells nothing.
    if (b.tiles.empty() || !is_cached(*pages, a) || !is_cached(*pages, b)) return false;
    std::vector<AnonymousMemory> buffers;
    for (int i = 0; i < workers.count(); ++i) buffers.emplace_back(kTileBytes / 2, "tile buffers");
    const auto time = [&](TileReader& reader, const Sample& sample) {
        return time_of(reader, *pages, sample, buffers, workers);
    };
    double read_seconds = 0, map_seconds = 0;
    for (int round = 0; round < 2; ++round) {
        read_seconds += time(*by_read, round == 0 ? a : b);
        map_seconds += time(*by_map, round == 0 ? b : a);
    }
    return map_seconds < read_seconds * kWorthwhile;
}

}  // namespace

std::unique_ptr<TileReader> choose_tile_reader(const ModelDb& db, const TileReading& reading,
                                               Workers& workers) {
    const auto made = [&](IoMode mode) { return make_tile_reader(db, mode, reading); };
    if (!reading.may_map) return made(IoMode::read);
    const bool streams = reading.streamed_bytes > 0;
    if (!streams) {
        const auto most = kMostHeld * static_cast<double>(available_memory());
        return made(static_cast<double>(reading.held_bytes) > most ? IoMode::map : IoMode::read);
    }
    if (reading.drop_behind || reading.windows.value_or(0) < mapped_bytes(reading.workers) ||
        !windows_are_faster(db, reading, workers))
        return made(IoMode::read);
    return made(IoMode::map);
}

}  // namespace llmsql
