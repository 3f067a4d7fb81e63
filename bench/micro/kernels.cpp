// SPDX-License-Identifier: MIT
// What the kernels reach: multiplications a second of `linear` out of the caches by format, matrix
// and number of tokens, bytes a second of it from memory beside those of a plain read, and cache
// positions a second of attention, for each instruction set that the processor has. Built with
// -DLLMSQL_BENCHMARKS=ON; build/bin/bench_kernels
// --benchmark_filter=avx512
#include "runtime/kernels/kernels.h"

#include <benchmark/benchmark.h>

#include <array>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "common/half.h"
#include "common/types.h"
#include "common/weight_format.h"
#include "runtime/state/kv_cache.h"

namespace llmsql {
namespace {

// Bytes of any weights: codes are random, scales (f16) small numbers.
std::vector<std::byte> weights_of(WeightType type, int64_t rows, int64_t cols) {
    std::vector<std::byte> bytes(static_cast<size_t>(strip_count(rows)) * strip_bytes(type, cols));
    std::mt19937 random(1);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() & 0x3f);
    return bytes;
}

void linear(benchmark::State& state, const Kernels& kernels, WeightType type, int64_t rows,
            int64_t cols, int64_t tokens) {
    const auto weights = weights_of(type, rows, cols);
    const TensorType wants = format_of(type).activations;
    const auto stride = static_cast<int64_t>(tensor_row_bytes(wants, cols));
    std::vector<std::byte> x(static_cast<size_t>(stride * tokens));
    const std::vector<float> activations(static_cast<size_t>(cols), 0.5f);
    for (int64_t t = 0; t < tokens; ++t) {
        std::byte* row = x.data() + t * stride;
        if (wants == TensorType::q8)
            kernels.quantize(activations.data(), cols, quantized_row(row, block_count(cols), 0));
        else
            std::memcpy(row, activations.data(), activations.size() * sizeof(float));
    }
    std::vector<float> out(static_cast<size_t>(rows * tokens));
    const auto run = kernel_of(kernels, type).strips;
    const int64_t blocks = format_of(type).blocks(cols);
    // Eight strips at a time, as evaluation cuts matrices.
    constexpr int64_t kStrips = 8;
    const size_t step = kStrips * strip_bytes(type, cols);
    for (auto _ : state)
        for (int64_t s = 0; s * kStrips * kStripRows < rows; ++s)
            run(weights.data() + static_cast<size_t>(s) * step, kStrips, blocks,
                {x.data(), stride, tokens, out.data() + s * kStrips * kStripRows, rows});
    state.counters["GMAC/s"] = benchmark::Counter(static_cast<double>(rows * cols * tokens) * 1e-9,
                                                  benchmark::Counter::kIsIterationInvariantRate);
}

// 512 MiB that no cache holds: weights of any format, as bytes that make small scales.
constexpr size_t kMemory = size_t{512} << 20;
const std::vector<std::byte>& memory() {
    static const std::vector<std::byte> bytes = [] {
        std::vector<std::byte> all(kMemory);
        std::mt19937 random(1);
        for (size_t i = 0; i < all.size(); i += 4) {
            const uint32_t four = random() & 0x1f1f1f1f;
            std::memcpy(all.data() + i, &four, 4);
        }
        return all;
    }();
    return bytes;
}

// Each thread has its part of the memory.
std::span<const std::byte> part_of(const benchmark::State& state) {
    const size_t each = kMemory / static_cast<size_t>(state.threads());
    return std::span(memory()).subspan(each * static_cast<size_t>(state.thread_index()), each);
}

void count_bytes(benchmark::State& state, size_t bytes) {
    state.counters["GB/s"] = benchmark::Counter(static_cast<double>(bytes) * 1e-9,
                                                benchmark::Counter::kIsIterationInvariantRate);
}

// A plain read, the measure of the others.
void read_memory(benchmark::State& state) {
    const auto part = part_of(state);
    for (auto _ : state) {
        std::array<uint64_t, 64> sums{};
        for (size_t at = 0; at + sizeof sums <= part.size(); at += sizeof sums) {
            std::array<uint64_t, 64> line;
            std::memcpy(line.data(), part.data() + at, sizeof line);
            for (size_t i = 0; i < line.size(); ++i) sums[i] += line[i];
        }
        benchmark::DoNotOptimize(sums);
    }
    count_bytes(state, part.size());
}

// A matrix that lies in memory, once.
void from_memory(benchmark::State& state, const Kernels& kernels, WeightType type, int64_t tokens) {
    constexpr int64_t kCols = 1536, kStrips = 16;
    const WeightFormat& format = format_of(type);
    const auto stride = static_cast<int64_t>(tensor_row_bytes(TensorType::q8, kCols));
    std::vector<std::byte> x(static_cast<size_t>(stride * tokens));
    const std::vector<float> activations(kCols, 0.5f);
    for (int64_t t = 0; t < tokens; ++t)
        kernels.quantize(activations.data(), kCols,
                         quantized_row(x.data() + t * stride, block_count(kCols), 0));
    std::vector<float> out(static_cast<size_t>(kStrips * kStripRows * tokens));
    const auto part = part_of(state);
    const size_t step = kStrips * strip_bytes(type, kCols), whole = part.size() / step * step;
    for (auto _ : state)
        for (size_t at = 0; at < whole; at += step)
            kernel_of(kernels, type)
                .strips(part.data() + at, kStrips, format.blocks(kCols),
                        {x.data(), stride, tokens, out.data(), kStrips * kStripRows});
    count_bytes(state, whole);
}

void count_products(benchmark::State& state, int64_t heads, int64_t width) {
    state.counters["GMAC/s"] =
        benchmark::Counter(static_cast<double>(2 * heads * width * kKvBlock) * 1e-9,
                           benchmark::Counter::kIsIterationInvariantRate);
}

void attend_f16(benchmark::State& state, const Kernels& kernels, int64_t width, int64_t heads) {
    const std::vector<uint16_t> kv(static_cast<size_t>(2 * kKvBlock * width), f32_to_f16(0.1f));
    const KvHead head{.keys = reinterpret_cast<const std::byte*>(kv.data()),
                      .key_scales = nullptr,
                      .values = reinterpret_cast<const std::byte*>(kv.data() + kKvBlock * width),
                      .value_scales = nullptr};
    const std::vector<float> queries(static_cast<size_t>(heads * width), 0.01f);
    std::vector<float> values(queries.size());
    std::vector<AttentionState> states;
    for (int64_t q = 0; q < heads; ++q)
        states.push_back({-std::numeric_limits<float>::infinity(), 0, values.data() + q * width});
    for (auto _ : state)
        kernels.attend_f16(queries.data(), heads, width, head, 0, kKvBlock, states.data());
    count_products(state, heads, width);
}

// The same of a q8 block.
void attend_q8(benchmark::State& state, const Kernels& kernels, int64_t width, int64_t heads) {
    KvCache cache({.context = kKvBlock, .chunk = kKvBlock, .type = KvType::q8});
    cache.declare(0, {.heads = 1, .width = width});
    cache.append(0, 0, 0, kKvBlock);
    std::mt19937 random(1);
    std::normal_distribution<float> any;
    std::vector<float> x(static_cast<size_t>(width));
    for (int64_t p = 0; p < kKvBlock; ++p) {
        for (float& value : x) value = any(random);
        cache.store_key(0, 0, p, 0, x.data());
        cache.store_value(0, 0, p, 0, x.data());
    }
    const int64_t groups = (width + kKvKeyGroup - 1) / kKvKeyGroup;
    std::vector<int16_t> codes(static_cast<size_t>(heads * groups * kKvKeyGroup));
    std::vector<float> scales(static_cast<size_t>(heads * groups));
    std::vector<float> values(static_cast<size_t>(heads * width));
    std::vector<AttentionState> states;
    for (int64_t q = 0; q < heads; ++q) {
        for (float& value : x) value = 0.1f * any(random);
        quantize_query(x.data(), width, codes.data() + q * groups * kKvKeyGroup,
                       scales.data() + q * groups);
        states.push_back({-std::numeric_limits<float>::infinity(), 0, values.data() + q * width});
    }
    const KvHead head = cache.block(0, 0, 0).head(0);
    for (auto _ : state)
        kernels.attend_q8(codes.data(), scales.data(), heads, width, head, 0, kKvBlock,
                          states.data());
    count_products(state, heads, width);
}

void add(const Kernels& kernels) {
    const std::string name(kernels.name);
    for (const WeightFormat& format : kWeightFormats)
        for (const int64_t tokens : {1, 4, 8, 16})
            if (format.quantized())
                benchmark::RegisterBenchmark(
                    (name + "/memory_" + std::string(format.name) +
                     "/tokens:" + std::to_string(tokens))
                        .c_str(),
                    [&kernels, type = format.type, tokens](benchmark::State& state) {
                        from_memory(state, kernels, type, tokens);
                    })
                    ->Threads(2)
                    ->UseRealTime();
    for (const WeightFormat& format : kWeightFormats)
        for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{512, 896}, {128, 4864}})
            for (const int64_t tokens : {1, 8, 64})
                benchmark::RegisterBenchmark(
                    (name + "/linear_" + std::string(format.name) + "/" + std::to_string(rows) +
                     "x" + std::to_string(cols) + "/tokens:" + std::to_string(tokens))
                        .c_str(),
                    [&kernels, type = format.type, rows = rows, cols = cols,
                     tokens](benchmark::State& state) {
                        linear(state, kernels, type, rows, cols, tokens);
                    });
    for (const int64_t width : {64, 128})
        for (const auto& [type, attend] : {std::pair{"f16", &attend_f16}, {"q8", &attend_q8}})
            for (const int64_t heads : {1, 2, 3, 4, 7, 8})
                benchmark::RegisterBenchmark(
                    (name + "/attend_" + type + "/width:" + std::to_string(width) +
                     "/heads:" + std::to_string(heads))
                        .c_str(),
                    [&kernels, run = attend, width = width, heads](benchmark::State& state) {
                        run(state, kernels, width, heads);
                    });
}

}  // namespace
}  // namespace llmsql

int main(int argc, char** argv) {
    benchmark::RegisterBenchmark("memory_read", llmsql::read_memory)->Threads(2)->UseRealTime();
    for (const llmsql::Kernels* kernels : llmsql::usable_kernels()) llmsql::add(*kernels);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
}
