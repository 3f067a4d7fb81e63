// SPDX-License-Identifier: MIT
// What becomes a statement of its own, what nests, what shares a scan: one case a rule.
#include <gtest/gtest.h>

#include "common/error.h"
#include "compiler/emit/compile.h"
#include "compiler/emit/statements.h"
#include "compiler/fuse/split.h"
#include "tests/unit/compiler/fuse_graphs.h"

namespace llmsql::compiler::test {
namespace {

/// The comments of both sections, "--" between them: what each statement computes.
std::vector<std::string> summary(const GraphBuilder& b) {
    const Plan plan = make_plan(b.model, b.graph, {.context = 64, .chunk = 4, .logits_rows = 2});
    std::vector<std::string> lines;
    for (const PlanInsert& s : plan.forward)
        lines.push_back(statement_comment(plan, b.model.params, s, "T"));
    lines.push_back("--");
    for (const PlanInsert& s : plan.logits)
        lines.push_back(statement_comment(plan, b.model.params, s, "rows"));
    return lines;
}

using Lines = std::vector<std::string>;

TEST(Fuse, AModelWithoutAttention) {  // a bigram model: all but the embedding is row by row
    GraphBuilder b;
    const int table = b.matrix("table", 10, 32);
    b.linear(b.named("x", b.embed(table)), table);
    EXPECT_EQ(summary(b), (Lines{"x = embed(table, tokens)  f32[T, 32]", "--",
                                 "x = quantize(rows(x))  q8[rows, 32]",
                                 "logits = linear(x, table)  f32[rows, 10]"}));
}

TEST(Fuse, AnOutputThatEveryTokenNeedsIsCopied) {
    GraphBuilder b;
    b.named("x", b.embed(b.matrix("table", 10, 32)));
    EXPECT_EQ(summary(b),
              (Lines{"x = embed(table, tokens)  f32[T, 32]", "--", "x = rows(x)  f32[rows, 32]"}));
}

TEST(Fuse, DeadOperatorsAndViewsLeaveNoTrace) {
    GraphBuilder b;
    const int x = b.named("x", b.embed(b.matrix("table", 10, 32)));
    const int q = b.heads(x, 2);
    b.linear(b.attention(q, q, q), b.matrix("unused", 8, 32));
    b.graph.output = b.silu(x);
    EXPECT_EQ(summary(b), (Lines{"x = embed(table, tokens)  f32[T, 32]", "--",
                                 "logits = silu(rows(x))  f32[rows, 32]"}));
}

TEST(Fuse, AValueForQuantizedAndPlainWeightsIsStoredBothWays) {
    GraphBuilder b;
    const int x = b.named("x", b.embed(b.matrix("table", 10, 32)));
    const int q = b.heads(x, 1);
    const int h = b.named("h", b.silu(b.attention(q, q, q)));
    const int a = b.linear(h, b.matrix("a", 32, 32, WeightType::q4));
    const int c = b.linear(h, b.matrix("c", 32, 32, WeightType::f16));
    const int both = b.heads(b.add(a, c), 1);
    b.attention(both, both, both);
    EXPECT_EQ(
        summary(b),
        (Lines{"x = embed(table, tokens)  f32[T, 32]", "cache 0: x, x  f16[T, 32]",
               "h = attention(x, cache 0)  f32[T, 32]", "h = silu(h)  f32[T, 32], in place",
               "h = quantize(h)  q8[T, 32]", "add = linear(h, a) + linear(h, c)  f32[T, 32]",
               "cache 1: add, add  f16[T, 32]", "logits = attention(add, cache 1)  f32[T, 32]",
               "--", "logits = rows(logits)  f32[rows, 32]"}));
}

TEST(Fuse, NormOverALinearWaitsForIt) {
    GraphBuilder b;
    const int table = b.matrix("table", 32, 32, WeightType::f32);
    const int x = b.named("x", b.embed(table));
    const int y = b.rms_norm(b.linear(x, table), b.vector("norm", 32));
    b.add(b.linear(y, table), y);
    EXPECT_EQ(summary(b),
              (Lines{"x = embed(table, tokens)  f32[T, 32]", "--", "x = rows(x)  f32[rows, 32]",
                     "linear = linear(x, table)  f32[rows, 32]",
                     "rms_norm = rms_norm(linear, norm)  f32[rows, 32], in place",
                     "logits = linear(rms_norm, table) + rms_norm  f32[rows, 32]"}));
}

TEST(Fuse, LinearAndNormDoNotShareAnExpression) {
    GraphBuilder b;
    const int table = b.matrix("table", 32, 32);
    const int x = b.named("x", b.embed(table));
    b.add(b.rms_norm(x, b.vector("norm", 32)), b.linear(x, table));
    EXPECT_EQ(
        summary(b),
        (Lines{"x = embed(table, tokens)  f32[T, 32]", "--", "x = quantize(rows(x))  q8[rows, 32]",
               "linear = linear(x, table)  f32[rows, 32]",
               "logits = rms_norm(rows(x), norm) + linear  f32[rows, 32], in place"}));
}

TEST(Fuse, ALinearOfALinearIsQuantizedAtOnce) {
    GraphBuilder b;
    const int table = b.matrix("table", 32, 32);
    const int x = b.named("x", b.embed(table));
    b.linear(b.linear(x, table), table);
    EXPECT_EQ(summary(b).back(), "logits = linear(linear, table)  f32[rows, 32]");
    EXPECT_EQ(*(summary(b).end() - 2), "linear = linear(x, table)  q8[rows, 32]");
}

/// Three linears of one input, stored because an attention reads them, with these weights.
Lines three_linears(const std::vector<WeightType>& types, bool gap, bool biased, int64_t width) {
    GraphBuilder b;
    const int x = b.embed(b.matrix("table", 10, 32));
    std::vector<int> weights, values;
    for (size_t i = 0; i < 3; ++i) {
        weights.push_back(b.matrix("w" + std::to_string(i), width, 32, types[i]));
        if (gap && i == 0) b.vector("gap", 4);
    }
    for (size_t i = 0; i < 3; ++i)
        values.push_back(
            b.linear(x, weights[i], biased ? b.vector("b" + std::to_string(i), width) : 0));
    b.attention(values[0], values[1], values[2]);
    Lines lines;
    for (const std::string& line : summary(b))
        if (line.find("linear(") != std::string::npos) lines.push_back(line);
    return lines;
}

TEST(Fuse, LinearsInARowShareAScan) {
    constexpr auto q4 = WeightType::q4, q8 = WeightType::q8, f16 = WeightType::f16;
    EXPECT_EQ(three_linears({q8, q8, q8}, false, false, 48),
              (Lines{"linear, linear, linear = linear(embed, w0 … w2)  f32[T, 144]"}));
    EXPECT_EQ(three_linears({q4, q8, q4}, false, true, 48),
              (Lines{"linear, linear, linear = linear(embed, w0 … w2, b0 … b2)  f32[T, 144]"}));
    EXPECT_EQ(three_linears({q8, q8, q8}, true, false, 48),
              (Lines{"linear = linear(embed, w0)  f32[T, 48]",
                     "linear, linear = linear(embed, w1 … w2)  f32[T, 96]"}));
    EXPECT_EQ(three_linears({q8, f16, f16}, false, false, 48),
              (Lines{"linear = linear(embed, w0)  f32[T, 48]",
                     "linear, linear = linear(embed, w1 … w2)  f32[T, 96]"}));
    // Only slices that start on 64 bytes: 24 elements do not lead to one.
    EXPECT_EQ(three_linears({q8, q8, q8}, false, false, 24).size(), 3u);
}

TEST(Fuse, RawAndRotatedQueriesBothSurvive) {
    GraphBuilder b;
    const int x = b.named("x", b.embed(b.matrix("table", 10, 32)));
    const int q = b.named("q", b.heads(b.linear(x, b.matrix("w", 32, 32)), 2));
    const int r = b.named("r", b.rope(q));
    b.attention(r, q, q);
    const Lines lines = summary(b);
    EXPECT_EQ(lines[2], "r = rope(q)  f32[T, 2, 16]");  // not in place: q is read below
    EXPECT_EQ(lines[3], "cache 0: q, q  f16[T, 2, 16]");
}

TEST(Fuse, DeepExpressionsAreCutUp) {
    GraphBuilder b;
    int x = b.embed(b.matrix("table", 10, 32));
    for (int i = 0; i < 100; ++i) x = b.silu(x);
    const Plan plan = make_plan(b.model, b.graph, {});
    EXPECT_EQ(plan.forward.size(), 1u);
    EXPECT_EQ(plan.logits.size(), 7u);  // of at most 16 operators each
}

TEST(Fuse, TheCutSparesTheLastFeedForward) {
    const GraphBuilder b = small_llama(2);
    const Split split = split_graph(b.graph);
    ASSERT_EQ(split.crossing.size(), 1u);
    const Op& last = b.graph.ops[static_cast<size_t>(split.forward.back())];
    EXPECT_EQ(last.op->name, "add");
    EXPECT_EQ(last.result, split.crossing[0]);
    EXPECT_EQ(last.layer, 1);
    // Seven of the last feed-forward (norm, gate, up, silu, mul, down, add), then norm and head.
    EXPECT_EQ(split.logits.size(), 9u);
}

TEST(Fuse, SeveralValuesMayCrossTheCut) {
    GraphBuilder b;
    const int table = b.matrix("table", 10, 32);
    const int x = b.embed(table), y = b.embed(b.matrix("other", 10, 32));
    const int z = b.linear(b.mul(b.silu(x), y), table);
    const int w = b.linear(z, b.matrix("w", 32, 10));
    b.add(w, b.gelu(b.mul(x, y)));
    const Split split = split_graph(b.graph);
    EXPECT_EQ(split.crossing.size(), 2u);
    EXPECT_EQ(split.forward.size(), 2u);
}

TEST(Fuse, SizesAreCutDownToTheContext) {
    const GraphBuilder b = small_llama(1);
    const Plan plan = make_plan(b.model, b.graph, {.context = 5, .chunk = 64, .logits_rows = 8});
    EXPECT_EQ(plan.chunk, 5);
    EXPECT_EQ(plan.logits_rows, 5);
}

std::string error_of(const GraphBuilder& b) {
    try {
        make_plan(b.model, b.graph, {});
    } catch (const Error& e) {
        return e.what();
    }
    return "";
}

TEST(Fuse, RefusesAWindowThatIsNoNumberOfPositions) {
    for (const double window : {-1.0, 0.5, 1e300, std::nan("")}) {
        GraphBuilder b;
        const int x = b.heads(b.embed(b.matrix("table", 10, 32)), 1);
        b.attention(x, x, x, window);
        EXPECT_NE(error_of(b).find("window must be a whole number"), std::string::npos) << window;
    }
}

TEST(Fuse, AttentionsMayShareACache) {
    GraphBuilder b;
    const int x = b.embed(b.matrix("table", 10, 32));
    const int k = b.heads(x, 1);
    b.attention(k, k, k, 40);
    b.graph.ops.back().cache = 7;
    const int q = b.heads(b.graph.output, 2);
    (void)q;
    b.attention(b.heads(b.graph.ops[2].result, 1), k, k, 0);
    b.graph.ops.back().cache = 7;
    const Plan plan = make_plan(b.model, b.graph, {});
    ASSERT_EQ(plan.caches.size(), 1u);
    EXPECT_EQ(plan.caches[0].window, 0);  // one of the two looks at everything
    EXPECT_EQ(std::ranges::count_if(plan.forward, &PlanInsert::appends), 1);
}

TEST(Fuse, RefusesACacheWrittenTwice) {
    GraphBuilder b;
    const int x = b.heads(b.embed(b.matrix("table", 10, 32)), 1);
    b.attention(x, x, x);
    const int y = b.heads(b.graph.output, 1);
    b.attention(y, y, y);
    for (Op& op : b.graph.ops)
        if (op.cache >= 0) op.cache = 0;
    EXPECT_EQ(error_of(b), "cache 0 is given two different keys or values in one pass");
}

}  // namespace
}  // namespace llmsql::compiler::test
