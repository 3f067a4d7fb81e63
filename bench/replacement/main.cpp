// SPDX-License-Identifier: MIT
// bench_replacement MODEL.toml BUDGET: what a steady pass of a plan with this budget reads, and
// what replacement policies would read with the same memory for matrices.
#include <fmt/format.h>

#include "bench/replacement/replacement.h"
#include "common/byte_size.h"
#include "common/error.h"
#include "compiler/emit/compile.h"
#include "compiler/load/load.h"
#include "compiler/memory/residency.h"

namespace llmsql::compiler {
namespace {

void compare(const std::filesystem::path& model_file, const std::string& budget_text) {
    const std::vector<std::filesystem::path> graphs{LLMSQL_SOURCE_DIR "/graphs"};
    const Model model = load_model(model_file, graphs);
    const MemoryBudget budget{.bytes = parse_bytes(budget_text, "the budget")};
    const Plan plan = make_plan(model, lower_model(model_file, graphs, model), {}, budget);
    const PassScans pass = pass_of(plan, model.params);
    if (pass.has_choices()) fail("{}: tokens choose what is read: there is no trace", model.name);
    const int64_t capacity = matrix_capacity(plan, model.params);
    const auto line = [](const char* name, int64_t bytes) {
        fmt::print("{:<24}{:>15}\n", name, bytes);
    };
    line("memory for matrices", capacity);
    line("scans", pass.scanned_bytes());
    line("reads, by the schedule", plan.residency->read_bytes);
    line("lower bound", plan.residency->lower_bound);
    line("Belady", steady_bytes(pass, Policy::belady, capacity));
    line("LRU", steady_bytes(pass, Policy::lru, capacity));
    line("FIFO", steady_bytes(pass, Policy::fifo, capacity));
}

}  // namespace
}  // namespace llmsql::compiler

int main(int argc, char** argv) {
    if (argc != 3) {
        fmt::print(stderr, "bench_replacement MODEL.toml BUDGET, as in: … 96MiB\n");
        return 2;
    }
    try {
        llmsql::compiler::compare(argv[1], argv[2]);
        return 0;
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_replacement: {}\n", error.what());
        return 1;
    }
}
