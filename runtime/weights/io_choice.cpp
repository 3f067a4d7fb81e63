// SPDX-License-Identifier: MIT
// Choosing by trying. See io_choice.h.
#include "runtime/weights/io_choice.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <new>
#include <vector>

#include "common/catalogue.h"
#include "common/error.h"
#include "common/machine.h"
#include "common/page_cache.h"
#include "common/types.h"
#include "runtime/weights/anonymous_memory.h"
#include "runtime/weights/blob_pages.h"
#include "runtime/weights/direct_reader.h"
#include "runtime/weights/map_reader.h"

namespace llmsql {
namespace {

// What is streamed each way, twice: together more than most caches hold.
constexpr uint64_t kSample = 24 << 20;

// Windows must gain this much, as they are the less common way.
constexpr double kWorthwhile = 0.95;

using Sample = std::vector<size_t>;  // indices of BLOBs

// Streamed tiles from place `from` of the schedule on, as many as make a sample.
Sample take_sample(const BlobPages& pages, const std::vector<ScheduledTile>& schedule,
                   size_t& from) {
    Sample sample;
    uint64_t bytes = 0;
    for (; from < schedule.size() && bytes < kSample; ++from) {
        if (schedule[from].once) continue;
        sample.push_back(pages.index_of(schedule[from].rowid));
        bytes += pages.blob(sample.back()).bytes;
    }
    return sample;
}

bool is_cached(std::span<const std::byte> mapping, const BlobPages& pages, const Sample& sample) {
    constexpr uint64_t kPage = 4096;
    return std::ranges::all_of(sample, [&](size_t tile) {
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
    workers.run(static_cast<int64_t>(sample.size()), [&](int64_t item, int worker) {
        const BlobPages::Blob& tile = pages.blob(sample[static_cast<size_t>(item)]);
        std::byte* buffer = buffers[static_cast<size_t>(worker)].data();
        for (size_t at = 0; at < tile.bytes;) {
            const size_t wanted = std::min(tile.bytes - at, buffers.front().size());
            auto data = reader.view(worker, tile.rowid, at, wanted);
            if (data.empty()) {
                reader.read(worker, tile.rowid, at, wanted, buffer, Use::scan);
                data = {buffer, wanted};
            }
            used.fetch_add(hash64(data.data(), data.size()), std::memory_order_relaxed);
            at += data.size();
        }
    });
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// What a way that is only tried gives; null where it fails, be it for want of memory or of threads.
// A file that is to blame fails the plain way again.
template<class Try>
std::unique_ptr<TileReader> if_possible(Try way) {
    try {
        return way();
    } catch (const Error&) {
        return nullptr;
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

// Tries both ways where weights are streamed; what it tried with is what it returns.
std::unique_ptr<TileReader> faster_reader(const ModelDb& db, const TileReading& reading,
                                          Workers& workers) {
    auto layout = BlobPages::of(db);
    if (!layout) return make_tile_reader(db, IoMode::blob, reading);
    auto by_read = std::make_unique<PageReader>(std::move(layout));
    BlobPages& pages = by_read->pages();
    size_t from = 0;
    const Sample a = take_sample(pages, reading.schedule, from);
    const Sample b = take_sample(pages, reading.schedule, from);
    // What is not cached would be read from the device now, and tells nothing.
    const auto mapping = pages.file().mapping()->bytes();
    if (b.empty() || !is_cached(mapping, pages, a) || !is_cached(mapping, pages, b)) return by_read;
    auto by_map = std::make_unique<MapReader>(BlobPages::of(db), reading);
    std::vector<AnonymousMemory> buffers;
    for (int i = 0; i < workers.count(); ++i) buffers.emplace_back(kTileBytes / 2, "tile buffers");
    const auto time = [&](TileReader& reader, const Sample& sample) {
        return time_of(reader, pages, sample, buffers, workers);
    };
    double read_seconds = 0, map_seconds = 0;
    for (int round = 0; round < 2; ++round) {
        read_seconds += time(*by_read, round == 0 ? a : b);
        map_seconds += time(*by_map, round == 0 ? b : a);
    }
    if (map_seconds < read_seconds * kWorthwhile) return by_map;
    return by_read;
}

}  // namespace

ChosenReader choose_tile_reader(const ModelDb& db, const TileReading& reading, Workers& workers) {
    const auto way = [&](IoMode mode) { return make_tile_reader(db, mode, reading); };
    const auto made = [&](IoMode mode) { return ChosenReader{way(mode), nullptr, nullptr}; };
    if (reading.scarce) {
        if (DirectReader::has_room(reading))
            if (auto direct = if_possible([&]() -> std::unique_ptr<TileReader> {
                    auto pages = BlobPages::of(db);
                    return pages ? DirectReader::of(pages, reading) : nullptr;
                }))
                return {std::move(direct), nullptr, nullptr};
        return made(IoMode::read);
    }
    // Kept while ways are tried, which then find it.
    const auto mapping = reading.may_map ? db.file()->mapping_if_possible() : nullptr;
    if (!mapping) return made(IoMode::read);
    // A budget that holds everything counts on memory of its own, and leaves no windows.
    const bool in_place = reading.streamed_bytes == 0 && !reading.windows;
    if (!in_place && reading.windows.value_or(0) < mapped_bytes(reading.workers))
        return made(IoMode::read);
    if (is_mapped_huge(mapping->bytes())) return made(IoMode::map);
    ChosenReader chosen;
    if (mapping->bytes().size() <= available_memory() / 4 * 3)
        chosen.refill = std::make_unique<PageRefill>(db.file());
    if (in_place) {
        chosen.reader = way(IoMode::map);
        return chosen;
    }
    chosen.reader = if_possible([&] { return faster_reader(db, reading, workers); });
    if (!chosen.reader) return made(IoMode::read);
    if (chosen.reader->mode() != IoMode::map)
        chosen.then = if_possible([&] { return way(IoMode::map); });
    return chosen;
}

}  // namespace llmsql
