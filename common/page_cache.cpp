// SPDX-License-Identifier: MIT
// Filling the page cache and looking at it. See page_cache.h.
#include "common/page_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "common/types.h"

#ifndef MADV_POPULATE_READ
constexpr int MADV_POPULATE_READ = 22;  // Linux 5.14
#endif

namespace llmsql {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kSamples = 64;

// A file that is there in part, in whatever pages, is left as it is.
constexpr uint64_t kMostCached = kSamples / 16;

uint64_t cached_samples(const std::byte* file, uint64_t bytes) {
    uint64_t cached = 0;
    for (uint64_t i = 0; i < kSamples; ++i) {
        unsigned char resident = 0;
        const uint64_t at = bytes / kSamples * i / kPage * kPage;
        if (mincore(const_cast<std::byte*>(file + at), 1, &resident) != 0) return kSamples;
        cached += resident & 1;
    }
    return cached;
}

// For systems that cannot populate a mapping.
void read_through(int descriptor, uint64_t at, uint64_t bytes) {
    char buffer[64 << 10];
    const uint64_t end = at + bytes;
    for (ssize_t got = 1; at < end && got > 0;
         at += static_cast<uint64_t>(std::max<ssize_t>(got, 0)))
        got = pread(descriptor, buffer, sizeof buffer, static_cast<off_t>(at));
}

// A few small pages at the beginning, where SQLite has looked, would have the system read ahead in
// its own steps from there on, and these need not be huge. Pages that are still being read cannot
// be dropped: a few milliseconds are waited for them.
void drop_few(int descriptor, uint64_t from, std::span<const std::byte> mapping) {
    const size_t beginning = std::min<size_t>(mapping.size(), 16 << 20);
    std::vector<unsigned char> resident((beginning + kPage - 1) / kPage);
    for (int tries = 0; tries < 20; ++tries) {
        posix_fadvise(descriptor, static_cast<off_t>(from), static_cast<off_t>(mapping.size()),
                      POSIX_FADV_DONTNEED);
        void* const begin = const_cast<std::byte*>(mapping.data());
        if (mincore(begin, beginning, resident.data()) != 0 ||
            std::ranges::none_of(resident, [](unsigned char page) { return (page & 1) != 0; }))
            return;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

// Reads a range that begins at a multiple of 2 MiB; if it must be `absent`, not unless it is.
// Returns whether it was.
bool fill(int descriptor, uint64_t from, uint64_t bytes, const std::function<bool()>& stop,
          bool absent) {
    if (bytes < kHugePage) return false;
    // A mapping of its own, as advice stays with a mapping.
    void* mapped =
        mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, static_cast<off_t>(from));
    if (mapped == MAP_FAILED) return false;
    auto* begin = static_cast<std::byte*>(mapped);
    const bool was_absent = cached_samples(begin, bytes) <= kMostCached;
    const bool wanted = was_absent || !absent;
    if (was_absent) drop_few(descriptor, from, {begin, bytes});
    if (wanted) madvise(mapped, bytes, MADV_HUGEPAGE);
    for (uint64_t at = 0; wanted && at < bytes && !(stop && stop()); at += kHugePage) {
        const uint64_t here = std::min(kHugePage, bytes - at);
        if (populate({begin + at, here}) == 0)
            release({begin + at, here});
        else
            read_through(descriptor, from + at, here);
    }
    munmap(mapped, bytes);
    return was_absent;
}

// Bytes of the mapping that begins at `begin` which are mapped in huge pages now.
uint64_t huge_bytes(const std::byte* begin) {
    std::ifstream maps("/proc/self/smaps");
    const auto wanted = reinterpret_cast<uintptr_t>(begin);
    bool here = false;
    for (std::string line; std::getline(maps, line);) {
        unsigned long first = 0, end = 0, kib = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx ", &first, &end) == 2) here = first == wanted;
        if (here && std::sscanf(line.c_str(), "FilePmdMapped: %lu kB", &kib) == 1)
            return uint64_t{kib} << 10;
    }
    return 0;
}

}  // namespace

int populate(std::span<const std::byte> range) {
    void* begin = const_cast<std::byte*>(range.data());  // madvise takes no const
    return madvise(begin, range.size(), MADV_POPULATE_READ) == 0 ? 0 : errno;
}

void release(std::span<const std::byte> range) {
    madvise(const_cast<std::byte*>(range.data()), range.size(), MADV_DONTNEED);
}

void fill_page_cache(int descriptor, uint64_t bytes, const std::function<bool()>& stop) {
    fill(descriptor, 0, bytes, stop, true);
}

bool refill_page_cache(int descriptor, uint64_t from, uint64_t to,
                       const std::function<bool()>& stop) {
    posix_fadvise(descriptor, static_cast<off_t>(from), static_cast<off_t>(to - from),
                  POSIX_FADV_DONTNEED);
    return fill(descriptor, from, to - from, stop, false);
}

bool is_mapped_huge(std::span<const std::byte> mapping) {
    const uint64_t windows = mapping.size() / kHugePage;
    const uint64_t samples = std::min<uint64_t>(windows, 8);
    uint64_t huge = 0;
    for (uint64_t i = 0; i < samples; ++i) {
        const auto stretch = mapping.subspan(windows * i / samples * kHugePage, kHugePage);
        if (populate(stretch) != 0) return false;
        huge += huge_bytes(mapping.data()) >= kHugePage ? 1 : 0;
        release(stretch);
    }
    return samples > 0 && huge * 4 >= samples * 3;
}

bool is_cached_huge(int descriptor, uint64_t from, uint64_t to) {
    if (to <= from) return false;
    void* const mapped =
        mmap(nullptr, to - from, PROT_READ, MAP_SHARED, descriptor, static_cast<off_t>(from));
    if (mapped == MAP_FAILED) return false;
    madvise(mapped, to - from, MADV_HUGEPAGE);
    const bool huge = is_mapped_huge({static_cast<const std::byte*>(mapped), to - from});
    munmap(mapped, to - from);
    return huge;
}

}  // namespace llmsql
