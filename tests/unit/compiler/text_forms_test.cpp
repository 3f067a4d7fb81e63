// SPDX-License-Identifier: MIT
// One tiny model in each of the compiler's representations, as text, against tests/golden/texts:
// what a pass changes shows there. LLMSQL_UPDATE_GOLDEN=1 writes those anew.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "common/files.h"
#include "compiler/emit/compile.h"
#include "compiler/fuse/fuse.h"
#include "compiler/load/load.h"
#include "compiler/passes/passes.h"

namespace llmsql::compiler {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = fs::path(LLMSQL_SOURCE_DIR) / "tests/golden/texts";
const PlanSizes kSizes{.context = 64, .chunk = 4, .logits_rows = 2};

void expect_golden(const char* name, const std::string& text) {
    if (std::getenv("LLMSQL_UPDATE_GOLDEN")) write_file_atomically(kFolder / name, text);
    EXPECT_EQ(read_file(kFolder / name), text)
        << "if this is what you want: LLMSQL_UPDATE_GOLDEN=1 and run this test again";
}

struct Tiny {
    Model model = load_model(kFolder / "tiny.toml", {kFolder});
    OpGraph graph = lower_model(kFolder / "tiny.toml", {kFolder}, model);
};

TEST(TextForms, OfTheCheckedGraph) {
    expect_golden("tiny.ast.txt", ast_text(kFolder / "tiny.graph"));
}

TEST(TextForms, OfTheOperators) {
    const Tiny tiny;
    expect_golden("tiny.operators.txt", to_text(tiny.graph, tiny.model.params));
}

TEST(TextForms, OfTheFusedPlan) {
    const Tiny tiny;
    expect_golden("tiny.fused.txt",
                  to_text(fuse(tiny.graph, tiny.model.params, kSizes), tiny.model.params));
}

TEST(TextForms, OfTheScheduledPlan) {
    const Tiny tiny;
    const MemoryBudget budget{
        .bytes = 24'000'000, .workers = 1, .keep_chunk = true, .keep_logits_rows = true};
    expect_golden("tiny.scheduled.txt",
                  to_text(make_plan(tiny.model, tiny.graph, kSizes, budget), tiny.model.params));
}

OpGraph passed(std::string_view name, OpGraph graph) {
    for (const GraphPass& pass : graph_passes())
        if (pass.name == name) return pass.run(std::move(graph), {});
    ADD_FAILURE() << "there is no pass " << name;
    return graph;
}

TEST(Passes, DropUnusedNumbersWhatIsLeft) {
    OpGraph graph;
    graph.values.resize(4);
    for (Value& value : graph.values) value.width = 8;
    const Operator* silu = find_operator("silu");
    graph.ops = {{find_operator("embed"), {ParamRef{1}, TokensRef{}}, 0},
                 {silu, {ValueRef{0}}, 1},
                 {silu, {ValueRef{0}}, 2},
                 {silu, {ValueRef{2}}, 3}};
    graph.output = 3;
    Param table;
    table.name = "table";
    EXPECT_EQ(to_text(passed("drop-unused", graph), {table}),
              "v0 = embed(table, tokens)                                -- [T, 8]\n"
              "v1 = silu(v0)                                            -- [T, 8]\n"
              "v2 = silu(v1)                                            -- [T, 8]\n"
              "return v2\n");
    EXPECT_EQ(to_text(passed("number-caches", graph), {table}), to_text(graph, {table}));
}

TEST(Passes, NumberCachesCountsWhatLooksBack) {
    OpGraph graph;
    graph.values.resize(4);
    const auto over = [](int q, int k) {
        return std::vector<Arg>{ValueRef{q}, ValueRef{k}, ValueRef{0}, 1.0, 0.0};
    };
    graph.ops = {{find_operator("embed"), {ParamRef{1}, TokensRef{}}, 0},
                 {find_operator("attention"), over(0, 0), 1},
                 {find_operator("attention"), over(0, 1), 2},
                 {find_operator("attention"), over(2, 0), 3}};
    graph.output = 3;
    const OpGraph numbered = passed("number-caches", graph);
    EXPECT_EQ(numbered.ops[0].cache, -1);
    EXPECT_EQ(numbered.ops[1].cache, 0);
    EXPECT_EQ(numbered.ops[2].cache, 1);
    EXPECT_EQ(numbered.ops[3].cache, 0);  // of the same keys and values
    graph.output = 1;
    EXPECT_EQ(run_passes(graph, {}).ops.size(), 2u);  // the others are not used
}

TEST(Passes, HaveNamesOfTheirOwn) {
    std::vector<std::string_view> names;
    for (const GraphPass& pass : graph_passes()) {
        EXPECT_EQ(std::ranges::find(names, pass.name), names.end()) << pass.name;
        names.push_back(pass.name);
    }
}

}  // namespace
}  // namespace llmsql::compiler
