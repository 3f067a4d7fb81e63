// SPDX-License-Identifier: MIT
// Fuzz target: a model file (TOML), loaded with the graph that it names, compiled into a plan, and
// written back.
#include "compiler/emit/compile.h"
#include "compiler/load/load.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace llmsql;
    using namespace llmsql::compiler;
    using namespace llmsql::fuzz;
    static const Folder folder;
    const auto path = folder.write("fuzz.toml", text_of(data, size));
    const std::vector<std::filesystem::path> graphs{LLMSQL_SOURCE_DIR "/graphs"};
    answers(
        [&] {
            const Model model = load_model(path, graphs);
            ++accepted;
            static_cast<void>(to_toml(model));
            const OpGraph graph = lower_model(path, graphs, model);
            static_cast<void>(plan_text(model, make_plan(model, graph, PlanSizes{})));
            MemoryBudget budget;
            budget.bytes = 64 << 20;
            static_cast<void>(plan_text(model, make_plan(model, graph, PlanSizes{}, budget)));
        },
        false);
    return 0;
}
