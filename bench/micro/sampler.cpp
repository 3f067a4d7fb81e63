// SPDX-License-Identifier: MIT
// What picking a token takes: milliseconds by options, vocabulary and shape of the logits, beside
// what it takes to read the logits once, by one thread and by two. build/bin/bench_sampler
#include "runtime/text/sampler.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "common/workers.h"

namespace llmsql {
namespace {

// As a model's: most far below a few. Flat: all alike. Nearly flat: in disorder, but as good as
// alike. Rising: the likeliest last.
std::vector<float> logits_of(const std::string& shape, size_t count) {
    std::vector<float> logits(count);
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0, shape == "model" ? 3.0f : 1e-3f);
    for (float& logit : logits) logit = shape == "flat" ? 1.0f : normal(random);
    if (shape == "model")
        for (int i = 0; i < 8; ++i) logits[random() % count] = static_cast<float>(20 - i);
    if (shape == "rising") std::sort(logits.begin(), logits.end());
    return logits;
}

struct Case {
    const char* name;
    SamplerOptions options;
};

constexpr Case kCases[] = {
    {"default", {}},
    {"greedy", {.temperature = 0}},
    {"temperature + top_p", {.temperature = 0.7, .top_k = 0, .top_p = 0.9}},
    {"the same + min_p 0", {.temperature = 0.7, .top_k = 0, .top_p = 0.9, .min_p = 0}},
    {"the same + top_p 0.9999", {.temperature = 0.7, .top_k = 0, .top_p = 0.9999, .min_p = 0}},
    {"temperature alone", {.temperature = 0.7, .top_k = 0, .top_p = 1, .min_p = 0}},
    {"temperature 100", {.temperature = 100, .top_k = 0, .top_p = 1, .min_p = 0}},
    {"min_p alone", {.temperature = 0.7, .top_k = 0, .top_p = 1, .min_p = 0.05}},
    {"top_k 1000", {.top_k = 1000, .top_p = 1, .min_p = 0}},
    {"top_k 100000", {.top_k = 100000, .top_p = 1, .min_p = 0}},
    {"top_k 100000 + top_p", {.top_k = 100000, .top_p = 0.999, .min_p = 0}},
    {"top_p alone", {.temperature = 1, .top_k = 0, .top_p = 0.9, .min_p = 0}},
    {"repeat_penalty", {.top_k = 0, .top_p = 0.9, .min_p = 0, .repeat_penalty = 1.1}},
};

void sample(benchmark::State& state, const SamplerOptions& options, const std::string& shape,
            size_t count, int threads) {
    const std::vector<float> logits = logits_of(shape, count);
    std::vector<int32_t> history(64);
    std::iota(history.begin(), history.end(), 0);
    Sampler sampler(options, 1, {0});
    Workers workers(threads);
    for (auto _ : state) benchmark::DoNotOptimize(sampler.sample(logits, history, &workers));
}

void read(benchmark::State& state, size_t count) {
    const std::vector<float> logits = logits_of("model", count);
    for (auto _ : state) {
        float lanes[16] = {};
        for (size_t i = 0; i + 16 <= count; i += 16)
            for (size_t lane = 0; lane < 16; ++lane) lanes[lane] += logits[i + lane];
        benchmark::DoNotOptimize(lanes);
    }
}

}  // namespace
}  // namespace llmsql

int main(int argc, char** argv) {
    for (const size_t count : {152'000ul, 262'144ul}) {
        const auto add = [&](const std::string& name, auto run) {
            benchmark::RegisterBenchmark((name + '/' + std::to_string(count)).c_str(), run)
                ->Unit(benchmark::kMillisecond)
                ->UseRealTime();
        };
        add("read once", [=](benchmark::State& state) { llmsql::read(state, count); });
        for (const llmsql::Case& each : llmsql::kCases)
            for (const char* shape : {"model", "flat", "nearly flat", "rising"})
                for (const int threads : {1, 2})
                    add(fmt::format("{}/{}/threads:{}", each.name, shape, threads),
                        [=](benchmark::State& state) {
                            llmsql::sample(state, each.options, shape, count, threads);
                        });
    }
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
}
