// SPDX-License-Identifier: MIT
// The machine's own read bandwidth: a large buffer on huge pages, read by some threads over and
// over.
//
//   llmsql-stream 2 1024
//
// reads 1024 MiB by 2 threads and prints the best of some passes in GB/s.
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr int kPasses = 12;
constexpr size_t kPiece = 1 << 20;  // what a thread takes at a time, in bytes

// Many sums at once, so that none waits for another: what is measured is memory.
uint64_t sum(std::span<const uint64_t> values) {
    constexpr size_t kLanes = 64;
    uint64_t lanes[kLanes] = {};
    for (size_t at = 0; at + kLanes <= values.size(); at += kLanes)
        for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += values[at + lane];
    uint64_t total = 0;
    for (const uint64_t lane : lanes) total += lane;
    return total;
}

double best_rate(std::span<const uint64_t> values, int threads) {
    constexpr size_t kEach = kPiece / sizeof(uint64_t);
    std::atomic<size_t> next{0};
    std::atomic<uint64_t> checksum{0};  // or the compiler would leave the reading out
    double best = 0;
    auto start = std::chrono::steady_clock::now();
    // Runs in one thread each time all have come to the barrier: at the start, and after each pass.
    const auto between = [&]() noexcept {
        const auto now = std::chrono::steady_clock::now();
        if (next > 0) {
            const double seconds = std::chrono::duration<double>(now - start).count();
            best = std::max(best, static_cast<double>(values.size_bytes()) / seconds);
        }
        next = 0;
        start = std::chrono::steady_clock::now();
    };
    std::barrier together(threads, between);
    const auto read = [&] {
        uint64_t own = 0;
        for (int pass = 0; pass <= kPasses; ++pass) {
            together.arrive_and_wait();
            if (pass == kPasses) break;
            for (size_t at = next.fetch_add(kEach); at < values.size(); at = next.fetch_add(kEach))
                own += sum(values.subspan(at, std::min(kEach, values.size() - at)));
        }
        checksum += own;
    };
    {
        std::vector<std::jthread> others;
        for (int i = 1; i < threads; ++i) others.emplace_back(read);
        read();
    }
    if (checksum == 0) std::fputs("llmsql-stream: nothing was read\n", stderr);
    return best;
}

bool parse(std::string_view text, int most, int& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() && value >= 1 && value <= most;
}

}  // namespace

int main(int argc, char** argv) {
    int threads = 0, mebibytes = 0;
    if (argc != 3 || !parse(argv[1], 1024, threads) || !parse(argv[2], 1 << 20, mebibytes)) {
        std::fputs("llmsql-stream: expected THREADS MEBIBYTES, like 2 1024\n", stderr);
        return 2;
    }
    const size_t bytes = static_cast<size_t>(mebibytes) << 20;
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        std::fprintf(stderr, "llmsql-stream: no memory for %d MiB\n", mebibytes);
        return 1;
    }
    madvise(memory, bytes, MADV_HUGEPAGE);  // only a hint
    std::memset(memory, 1, bytes);
    const auto* values = static_cast<const uint64_t*>(memory);
    std::printf("%.2f GB/s\n", best_rate({values, bytes / sizeof(uint64_t)}, threads) / 1e9);
    return 0;
}
