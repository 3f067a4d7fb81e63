// Filling the page cache and looking at it. See page_cache.h.
#include "runtime/storage/page_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <string>

#include "common/types.h"

#ifndef MADV_POPULATE_READ
constexpr int MADV_POPULATE_READ = 22;  // Linux 5.14
#endif

namespace llmsql {
namespace {

constexpr uint64_t kHuge = kMapWindow;
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

}  // namespace

int populate(std::span<const std::byte> range) {
    void* begin = const_cast<std::byte*>(range.data());  // madvise takes no const
    return madvise(begin, range.size(), MADV_POPULATE_READ) == 0 ? 0 : errno;
}

void fill_page_cache(const ModelFile& file, uint64_t room) {
    const uint64_t bytes = file.size();
    if (bytes < kHuge || bytes > room) return;
    // A mapping of its own, as advice stays with a mapping.
    void* mapped = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.descriptor(), 0);
    if (mapped == MAP_FAILED) return;
    auto* begin = static_cast<std::byte*>(mapped);
    if (cached_samples(begin, bytes) <= kMostCached) {
        madvise(mapped, bytes, MADV_HUGEPAGE);
        for (uint64_t at = 0; at < bytes; at += kHuge) {
            const uint64_t here = std::min(kHuge, bytes - at);
            if (populate({begin + at, here}) != 0) break;
            madvise(begin + at, here, MADV_DONTNEED);
        }
    }
    munmap(mapped, bytes);
}

bool is_mapped_huge(std::span<const std::byte> mapping) {
    const uint64_t windows = mapping.size() / kHuge;
    if (windows == 0) return false;
    const uint64_t samples = std::min<uint64_t>(windows, 16);
    for (uint64_t i = 0; i < samples; ++i)
        if (populate(mapping.subspan(windows * i / samples * kHuge, kHuge)) != 0) return false;
    // The line of the mapping, and what it has in huge pages.
    std::ifstream maps("/proc/self/smaps");
    const auto wanted = reinterpret_cast<uintptr_t>(mapping.data());
    bool here = false;
    for (std::string line; std::getline(maps, line);) {
        unsigned long begin = 0, end = 0, kib = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) here = begin == wanted;
        if (here && std::sscanf(line.c_str(), "FilePmdMapped: %lu kB", &kib) == 1)
            return (uint64_t{kib} << 10) >= samples * kHuge / 4 * 3;
    }
    return false;
}

}  // namespace llmsql
