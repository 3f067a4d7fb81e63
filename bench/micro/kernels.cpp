// SPDX-License-Identifier: MIT
// What the kernels reach out of the caches: multiplications a second of `linear` by type, matrix
// and number of tokens, and cache positions a second of attention, for each instruction set that
// the processor has. Built with -DLLMSQL_BENCHMARKS=ON; build/bin/bench_kernels
// --benchmark_filter=avx512
#include "runtime/kernels/kernels.h"

#include <benchmark/benchmark.h>

#include <limits>
#include <random>
#include <string>
#include <vector>

#include "common/half.h"
#include "common/types.h"

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
    const auto stride = static_cast<int64_t>(tensor_row_bytes(TensorType::q8, cols));
    std::vector<std::byte> x(static_cast<size_t>(stride * tokens));
    const std::vector<float> activations(static_cast<size_t>(cols), 0.5f);
    for (int64_t t = 0; t < tokens; ++t)
        kernels.quantize(activations.data(), cols,
                         quantized_row(x.data() + t * stride, block_count(cols), 0));
    std::vector<float> out(static_cast<size_t>(rows * tokens));
    const auto run = type == WeightType::q8 ? kernels.linear_q8 : kernels.linear_q4;
    // Eight strips at a time, as evaluation cuts matrices.
    constexpr int64_t kStrips = 8;
    const size_t step = kStrips * strip_bytes(type, cols);
    for (auto _ : state)
        for (int64_t s = 0; s * kStrips * kStripRows < rows; ++s)
            run(weights.data() + static_cast<size_t>(s) * step, kStrips, block_count(cols),
                x.data(), stride, tokens, out.data() + s * kStrips * kStripRows, rows);
    state.counters["GMAC/s"] = benchmark::Counter(static_cast<double>(rows * cols * tokens) * 1e-9,
                                                  benchmark::Counter::kIsIterationInvariantRate);
}

void attend(benchmark::State& state, const Kernels& kernels, int64_t width, int64_t heads) {
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
    state.counters["GMAC/s"] =
        benchmark::Counter(static_cast<double>(2 * heads * width * kKvBlock) * 1e-9,
                           benchmark::Counter::kIsIterationInvariantRate);
}

void add(const Kernels& kernels) {
    const std::string name(kernels.name);
    for (const WeightType type : {WeightType::q8, WeightType::q4})
        for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{512, 896}, {128, 4864}})
            for (const int64_t tokens : {1, 8, 64})
                benchmark::RegisterBenchmark(
                    (name + "/linear_" + std::string(name_of(type)) + "/" + std::to_string(rows) +
                     "x" + std::to_string(cols) + "/tokens:" + std::to_string(tokens))
                        .c_str(),
                    [&kernels, type, rows = rows, cols = cols, tokens](benchmark::State& state) {
                        linear(state, kernels, type, rows, cols, tokens);
                    });
    for (const int64_t heads : {1, 3, 7, 8})
        benchmark::RegisterBenchmark(
            (name + "/attend_f16/width:64/heads:" + std::to_string(heads)).c_str(),
            [&kernels, heads](benchmark::State& state) { attend(state, kernels, 64, heads); });
}

}  // namespace
}  // namespace llmsql

int main(int argc, char** argv) {
    for (const llmsql::Kernels* kernels : llmsql::usable_kernels()) llmsql::add(*kernels);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
}
