// SPDX-License-Identifier: MIT
// The outline of a plan, read from its text, against the plan that the text was printed from.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "common/error.h"
#include "compiler/emit/compile.h"
#include "compiler/emit/explain_page.h"
#include "compiler/memory/residency.h"
#include "compiler/page/compiled_json.h"
#include "page/page.h"
#include "plan/outline.h"
#include "tests/unit/compiler/fuse_graphs.h"

namespace llmsql::compiler::test {
namespace {

struct Made {
    Plan plan;
    Outline outline;
};

Made make(const GraphBuilder& b, const PlanSizes& sizes = {},
          const std::optional<MemoryBudget>& budget = {}) {
    Made made{make_plan(b.model, b.graph, sizes, budget), {}};
    made.outline = outline_of(parse_plan(plan_text(b.model, made.plan), "plan.sql"));
    return made;
}

void collect(const PlanExpr& e, std::set<int64_t>& tensors, std::set<int>& params) {
    if (e.kind == PlanExpr::Kind::tensor) tensors.insert(e.id);
    if (e.kind == PlanExpr::Kind::param)
        for (int id = e.id; id <= e.last; ++id) params.insert(id);
    for (const PlanExpr& arg : e.args) collect(arg, tensors, params);
}

void expect_agrees(const GraphBuilder& b, const Made& made) {
    const auto& [plan, outline] = made;
    EXPECT_EQ(outline.model, b.model.name);
    EXPECT_EQ(outline.context, plan.context);
    EXPECT_EQ(outline.chunk, plan.chunk);
    EXPECT_EQ(outline.arena_bytes, plan.arena_bytes);
    ASSERT_EQ(outline.params.size(), b.model.params.size());
    for (size_t i = 0; i < outline.params.size(); ++i)
        EXPECT_EQ(outline.params[i], static_cast<const ParamEntry&>(b.model.params[i]));
    ASSERT_EQ(outline.tensors.size(), plan.tensors.size());
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
        EXPECT_EQ(outline.tensors[i].offset, plan.tensors[i].offset);
        EXPECT_EQ(outline.tensors[i].slice_of.value_or(0), plan.tensors[i].view_of);
        EXPECT_EQ(outline.tensors[i].span(), (plan.tensors[i].rows - 1) * plan.tensors[i].stride +
                                                 plan.tensors[i].row_bytes());
    }
    // The last of the outline is the SELECT of the logits.
    ASSERT_EQ(outline.steps.size(), plan.forward.size() + plan.logits.size() + 1);
    std::set<std::string> names;
    EXPECT_TRUE(outline.steps.back().understood);
    EXPECT_EQ(outline.steps.back().reads, std::vector<int64_t>{plan.logits.back().target});
    for (size_t i = 0; i + 1 < outline.steps.size(); ++i) {
        const OutlineStep& step = outline.steps[i];
        const bool logits = i >= plan.forward.size();
        const PlanInsert& insert = logits ? plan.logits[i - plan.forward.size()] : plan.forward[i];
        std::set<int64_t> tensors;
        std::set<int> params;
        collect(insert.data, tensors, params);
        collect(insert.values, tensors, params);
        EXPECT_TRUE(step.understood) << step.sql;
        EXPECT_EQ(step.section, logits ? "logits" : "forward");
        EXPECT_EQ(step.layer, insert.layer) << step.sql;
        EXPECT_EQ(step.writes.value_or(0), insert.target) << step.sql;
        EXPECT_EQ(step.stores.value_or(-1), insert.appends() ? insert.cache : -1);
        EXPECT_EQ(step.looks_back.value_or(-1), insert.appends() ? -1 : insert.cache);
        EXPECT_EQ(std::set<int64_t>(step.reads.begin(), step.reads.end()), tensors) << step.sql;
        std::set<int> weights;
        for (const OutlineWeights& range : step.weights)
            for (int id = range.first; id <= range.last; ++id) weights.insert(id);
        EXPECT_EQ(weights, params) << step.sql;
        EXPECT_TRUE(names.insert(step.name).second) << step.name << " is not alone";
    }
    // What steps multiply by, and read, is what the schedule counts.
    int64_t bytes = 0, streamed = 0;
    for (const OutlineStep& step : outline.steps) {
        bytes += outline.weight_bytes(step);
        streamed += outline.streamed_bytes(step);
    }
    EXPECT_EQ(bytes, pass_of(plan, b.model.params).scanned_bytes());
    EXPECT_EQ(streamed, plan.residency ? plan.residency->read_bytes : 0);
}

TEST(Outline, SaysWhatThePlanIs) {
    for (const GraphBuilder& b : {small_llama(), small_qwen(3), small_gemma()})
        expect_agrees(b, make(b));
}

TEST(Outline, AndOfRandomOnes) {
    for (uint32_t seed = 1; seed <= 60; ++seed) {
        SCOPED_TRACE(seed);
        const GraphBuilder b = random_graph(seed);
        expect_agrees(b, make(b, {.context = 128, .chunk = 16}));
    }
}

TEST(Outline, AndWithinABudget) {
    const GraphBuilder b = small_llama(4);
    const auto fits = [&](int64_t bytes) {
        try {
            make(b, {}, MemoryBudget{.bytes = bytes});
            return true;
        } catch (const Error&) {
            return false;
        }
    };
    int64_t least = 1 << 20;
    while (!fits(least)) least += 16 << 10;
    const Made made = make(b, {}, MemoryBudget{.bytes = least});
    ASSERT_GT(made.plan.residency->read_bytes, 0);
    EXPECT_EQ(made.outline.budget->pool, made.plan.residency->pool);
    expect_agrees(b, made);
}

TEST(Outline, NoTwoTensorsLiveAtOnceInOnePlace) {
    for (const GraphBuilder& b : {small_llama(), small_qwen(3), small_gemma()}) {
        const Outline outline = make(b).outline;
        for (const OutlineTensor& one : outline.tensors)
            for (const OutlineTensor& other : outline.tensors) {
                if (one.id >= other.id || one.slice_of || other.slice_of) continue;
                const bool apart = one.offset + one.span() <= other.offset ||
                                   other.offset + other.span() <= one.offset;
                // The last reader may write in place what it reads.
                const bool after =
                    one.last_step <= other.first_step || other.last_step <= one.first_step;
                // Columns of one that were written in place, beside those that are still read.
                const bool columns = one.stride == other.stride && one.offset <= other.offset &&
                                     other.offset < one.offset + one.stride;
                EXPECT_TRUE(apart || after || columns) << one.id << " and " << other.id;
            }
    }
}

TEST(ExplainPage, NamesWhatIsReadAndWritten) {
    const Outline outline = make(small_llama()).outline;
    const std::string page = explain_page(outline, "layer.1.q,k,v");
    EXPECT_EQ(page,
              "12 layer.1.q,k,v · line 121 · forward\n"
              "  q, k, v = linear(h, attn_q … attn_v)  f32[T, 128]\n"
              "  reads   tensor 13 h  q8[T, 64], 16384 bytes at 98304, written by 11\n"
              "  weights parameter 12 layer.1.attn_q  q8[64, 64], 4352 bytes\n"
              "  weights parameter 13 layer.1.attn_k  q8[32, 64], 2176 bytes\n"
              "  weights parameter 14 layer.1.attn_v  q8[32, 64], 2176 bytes\n"
              "  writes  tensor 14 q, k, v  f32[T, 128], 65536 bytes at 0, read by 13, 14\n");
    EXPECT_NE(explain_page(outline, "layer.0.cache")
                  .find("writes  cache layer 0: 2 heads of 16, "
                        "f16, read by 6"),
              std::string::npos);
    // All statements are there, once.
    const std::string all = explain_page(outline, "all");
    for (const OutlineStep& step : outline.steps)
        EXPECT_NE(all.find(fmt::format("{} {} · line {}", step.number, step.name, step.line)),
                  std::string::npos);
}

TEST(Page, BudgetsAreThoseOfPlansCompiledForThem) {
    const GraphBuilder b = small_llama(4);
    const PlanSizes sizes;
    const Plan plan = make_plan(b.model, b.graph, sizes);
    const Json json = compiled_json(b.model, b.graph, plan, sizes, std::nullopt);
    const Json& budgets = json.at("budgets");
    ASSERT_GE(budgets.size(), 2u);
    int64_t last = INT64_MAX;
    for (const Json& one : budgets) {
        int64_t parts = 0;
        for (const Json& part : one.at("parts")) parts += part.at("bytes").get<int64_t>();
        EXPECT_EQ(one.at("peak"), parts);
        if (!one.contains("budget")) continue;  // no limit: the last
        const MemoryBudget budget{.bytes = one.at("budget").get<int64_t>()};
        EXPECT_LE(parts, budget.bytes);
        const Plan compiled = make_plan(b.model, b.graph, sizes, budget);
        EXPECT_EQ(one.at("schedule").at("read"), compiled.residency->read_bytes);
        EXPECT_EQ(one.at("chunk"), compiled.chunk);
        EXPECT_LE(compiled.residency->read_bytes, last);
        last = compiled.residency->read_bytes;
    }
    EXPECT_FALSE(budgets.back().contains("budget"));
    EXPECT_EQ(json.at("this").at("peak"), budgets.back().at("peak"));
}

TEST(Page, DataCannotEndItsElement) {
    GraphBuilder b = small_llama();
    b.model.name = "</script><img src=x onerror=alert(1)><!-- & {{style}}";
    b.model.chat.query = "SELECT '</SCRIPT>' || content FROM message";
    const PlanFile file = parse_plan(plan_text(b.model, make_plan(b.model, b.graph, {})), "p.sql");
    const Json data = plan_json(file, outline_of(file));
    const std::string html = page_html(data);
    EXPECT_TRUE(html.starts_with(kPageStart));
    EXPECT_EQ(html.find("<img"), std::string::npos);
    const std::string open = "<script id=\"data\" type=\"application/json\">";
    const size_t begin = html.find(open) + open.size();
    const size_t end = html.find("</script>", begin);
    EXPECT_EQ(Json::parse(html.substr(begin, end - begin)), data);
    EXPECT_EQ(html.find("{{title"), std::string::npos);
    EXPECT_EQ(
        html.find("http://") == std::string::npos ? 0u : html.find("http://www.w3.org/2000/svg"),
        html.find("http://") == std::string::npos ? 0u : html.find("http://"))
        << "the page must need nothing from elsewhere";
    EXPECT_EQ(html.find("https://"), std::string::npos);
}

}  // namespace
}  // namespace llmsql::compiler::test
