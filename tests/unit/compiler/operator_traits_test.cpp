// SPDX-License-Identifier: MIT
// What an operator is treated by is its row in the table, not its name: rows of this test's own, of
// kinds that the table has under other names, go through the back half of the compiler.
#include <gtest/gtest.h>

#include <regex>

#include "compiler/check/signature.h"
#include "compiler/emit/compile.h"
#include "compiler/emit/statements.h"
#include "compiler/fuse/split.h"
#include "compiler/memory/residency.h"
#include "compiler/memory/verify.h"
#include "tests/unit/compiler/fuse_interpreter.h"

namespace llmsql::compiler::test {
namespace {

constexpr Operator kBlend{.name = "blend",  // as linear, by another name
                          .sql = "llm_blend",
                          .locality = Locality::matrix,
                          .signature = "(x: [T, k], factor: number, weight: param[n, k]) -> [T, n]",
                          .sql_form = "llm_blend(x.data, factor, weight.data)",
                          .input = Input::as_weight,
                          .weight = WeightUse::scanned};
constexpr Operator kPlain{.name = "plain",  // as linear, but for what is never quantized
                          .sql = "llm_plain",
                          .locality = Locality::matrix,
                          .signature = "(x: [T, k], weight: param[n, k]) -> [T, n]",
                          .sql_form = "llm_plain(x.data, weight.data)",
                          .weight = WeightUse::scanned};
constexpr Operator kMeasure{.name = "measure",  // of locality matrix, and nothing else is said
                            .sql = "llm_measure",
                            .locality = Locality::matrix,
                            .signature = "(x: [T, k], weight: param[n, k]) -> [T, n]",
                            .sql_form = "llm_measure(x.data, weight.data)"};
constexpr Operator kPlace{.name = "place",  // as embed, but by position
                          .sql = "llm_place",
                          .locality = Locality::matrix,
                          .signature = "(weight: param[n, d]) -> [T, d]",
                          .sql_form = "llm_place(weight.data, :position)",
                          .weight = WeightUse::picked};
constexpr Operator kDecay{.name = "decay",  // an element operator that takes the position
                          .sql = "llm_decay",
                          .locality = Locality::element,
                          .signature = "(x: [...], rate: number) -> [...]",
                          .sql_form = "llm_decay(x.data, :position, rate)",
                          .numbers = {NumberRule{.name = "rate", .whole = true}}};
constexpr Operator kTurn{
    .name = "turn",  // a head operator that takes the position, of two operands
    .sql = "llm_turn",
    .locality = Locality::head,
    .signature = "(x: [T, ..., d], y: [T, ..., d]) -> [T, ..., d]",
    .sql_form = "llm_turn(:position, x.data, y.data)"};
constexpr Operator kMix{
    .name = "mix",  // looks at other tokens, with nothing to show it in its form
    .sql = "llm_mix",
    .locality = Locality::element,
    .signature = "(x: [...]) -> [...]",
    .sql_form = "llm_mix(x.data)",
    .sees_other_rows = true};
constexpr Operator kLookBack{
    .name = "glance",  // as attention, with operands in another order and a number that may go
    .sql = "llm_glance",
    .locality = Locality::cache,
    .aggregate = true,
    .signature =
        "(k: [T, g, d], v: [T, g, d], q: [T, h, d], reach: number = 0, scale: number, "
        "window: number) -> [T, h*d]",
    .sql_form = "llm_glance(kv.position, kv.k, kv.v, q.data, scale, window[, reach])",
    .sees_other_rows = true,
    .looks_back = "reach",
    .numbers = {NumberRule{.name = "reach", .whole = true}}};

const PlanSizes kTraitSizes{.context = 64, .chunk = 4, .logits_rows = 2};

Plan traits_plan(const GraphBuilder& b) {
    Plan plan = make_plan(b.model, b.graph, kTraitSizes);
    EXPECT_EQ(verify_arena(plan), std::vector<std::string>());
    expect_computes(b, plan);
    return plan;
}

using Lines = std::vector<std::string>;

/// The calls of each statement, a line each, "--" between the sections.
Lines statements(const GraphBuilder& b) {
    const std::string text = to_text(traits_plan(b), b.model.params);
    Lines lines;
    for (size_t at = text.find("forward:"); at < text.size();) {
        const size_t end = text.find('\n', at);
        const std::string line = text.substr(at, end - at);
        at = end + 1;
        if (line == "logits:") lines.push_back("--");
        if (line.starts_with("  ")) lines.push_back(line.substr(2));
    }
    return lines;
}

int linear_by(GraphBuilder& b, const Operator& op, int x, int weight, int64_t width) {
    return b.apply(op, {ValueRef{x}, ParamRef{weight}}, 1, width);
}

TEST(OperatorTraits, AMatrixIsScannedOverAStoredRowWhateverItIsCalled) {
    GraphBuilder b;
    const int x = b.embed(b.matrix("table", 10, 32));
    const int q = b.heads(x, 1);
    const int h = b.silu(b.attention(q, q, q));
    const int w = b.matrix("w", 32, 32);
    const int y = b.apply(kBlend, {ValueRef{h}, 0.5, ParamRef{w}}, 1, 32);
    b.linear(b.rms_norm(y, b.vector("norm", 32)), b.matrix("head", 10, 32));
    // The input is quantized as the weight is, and no head operator holds the scan.
    EXPECT_EQ(statements(b),
              (Lines{"t1 = embed(table)", "cache 0 <- t1, t1",
                     "t2 = attention(t1, 0.17677669529663687)  cache 0", "--",
                     "t3 = llm_quantize(silu(llm_rows(t2)))", "t4 = blend(t3, 0.5, w)",
                     "t5 = llm_quantize(rms_norm(t4, norm, 1e-05))", "t6 = linear(t5, head)"}));
}

TEST(OperatorTraits, ItsWeightIsPartOfAPass) {
    for (const Operator* op : {&kPlain, find_operator("linear")}) {
        GraphBuilder b;
        const int x = b.embed(b.matrix("table", 40, 32));
        linear_by(b, *op, x, b.matrix("w", 96, 32, WeightType::f32), 96);
        const Plan plan = traits_plan(b);
        const PassScans pass = pass_of(plan, b.model.params);
        ASSERT_EQ(pass.tiles.size(), 1u) << op->name;  // what is picked is not scanned
        EXPECT_EQ(pass.tiles[0].param, 2);
        EXPECT_EQ(pass.scanned_bytes(), 96 * 32 * 4);
    }
}

TEST(OperatorTraits, ItsInputIsAsItsRowSays) {
    for (const Operator* op : {&kPlain, &kMeasure}) {
        GraphBuilder b;
        const int x = b.scale(b.embed(b.matrix("table", 10, 32)), 2);
        linear_by(b, *op, x, b.matrix("w", 10, 32, WeightType::q8), 10);
        const Plan plan = traits_plan(b);
        const PlanExpr& made = plan.logits.back().data;
        ASSERT_EQ(made.op, op);
        ASSERT_EQ(made.args[0].kind, PlanExpr::Kind::tensor) << "nested";
        EXPECT_EQ(plan.tensor(made.args[0].id).type, TensorType::f32);
    }
}

TEST(OperatorTraits, ScansOfOneInputShareAStatement) {
    GraphBuilder b;
    const int x = b.embed(b.matrix("table", 10, 32));
    const int k = b.matrix("k", 32, 32), v = b.matrix("v", 32, 32), w = b.matrix("w", 32, 32);
    const int a = linear_by(b, kPlain, x, k, 32), c = linear_by(b, kPlain, x, v, 32);
    // Another operator of the same kind, and the same one with another number, stand apart.
    const int d = b.apply(kBlend, {ValueRef{x}, 1.0, ParamRef{w}}, 1, 32);
    b.attention(a, c, d);
    const Lines lines = statements(b);
    EXPECT_NE(std::ranges::find(lines, "t3 = llm_concat(plain(t1, k…v[2]))"), lines.end())
        << testing::PrintToString(lines);
}

TEST(OperatorTraits, WhatTakesThePositionRunsForEveryToken) {
    GraphBuilder b;
    const int x = b.embed(b.matrix("table", 10, 32));
    const int y = b.add(x, b.apply(kPlace, {ParamRef{b.matrix("places", 64, 32)}}, 1, 32));
    const int z = b.apply(kDecay, {ValueRef{b.silu(y)}, 3.0}, 1, 32);
    b.gelu(z);
    EXPECT_EQ(statements(b), (Lines{"t1 = decay(silu(add(embed(table), place(places))), 3.0)", "--",
                                    "t2 = gelu(llm_rows(t1))"}));
    const Plan plan = traits_plan(b);
    EXPECT_EQ(statement_sql(plan, b.model.params, plan.forward.front()),
              "INSERT INTO slot(id, data)\n"
              "SELECT 1, llm_decay(llm_silu(llm_add(llm_embed(table2.data, :tokens), "
              "llm_place(places.data, :position))), :position, 3)\n"
              "FROM param table2, param places WHERE table2.id = 1 AND places.id = 2;\n");
}

TEST(OperatorTraits, AHeadOperatorHoldsBothItsOperands) {
    GraphBuilder b;
    const int x = b.embed(b.matrix("table", 10, 32));
    const int h = b.heads(b.linear(x, b.matrix("w", 32, 32)), 2);
    const int y = b.apply(kTurn, {ValueRef{b.silu(h)}, ValueRef{b.gelu(h)}}, 2, 16);
    b.scale(y, 2);
    const Lines lines = statements(b);
    const auto cut = std::ranges::find(lines, "--");
    ASSERT_NE(cut, lines.begin());
    ASSERT_NE(cut, lines.end());
    EXPECT_EQ(*(cut - 1), "t4 = turn(silu(t3), gelu(t3))") << testing::PrintToString(lines);
    const Plan plan = traits_plan(b);
    EXPECT_NE(statement_sql(plan, b.model.params, plan.forward.back())
                  .find("llm_turn(:position, llm_silu("),
              std::string::npos);
}

TEST(OperatorTraits, WhatSeesOtherRowsRunsForEveryTokenThoughItsFormDoesNotShowIt) {
    GraphBuilder b;
    const int x = b.embed(b.matrix("table", 10, 32));
    b.silu(b.apply(kMix, {ValueRef{b.gelu(x)}}, 1, 32));
    const Split split = split_graph(b.graph);
    EXPECT_EQ(split.forward.size(), 3u);  // all but the last
    EXPECT_EQ(split.logits.size(), 1u);
}

TEST(OperatorTraits, WhatLooksBackAppendsFirstAndItsCacheKeepsWhatItReaches) {
    for (const double reach : {0.0, 40.0}) {
        GraphBuilder b;
        const int x = b.heads(b.named("x", b.embed(b.matrix("table", 10, 32))), 2);
        const int made = b.apply(
            kLookBack, {ValueRef{b.silu(x)}, ValueRef{x}, ValueRef{x}, reach, 0.5, 7.0}, 1, 32);
        b.graph.ops.back().cache = 0;
        b.gelu(made);
        const Plan plan = make_plan(b.model, b.graph, kTraitSizes);
        ASSERT_EQ(plan.caches.size(), 1u);
        EXPECT_EQ(plan.caches[0].window, static_cast<int64_t>(reach));
        ASSERT_EQ(plan.forward.size(), 3u);
        EXPECT_TRUE(plan.forward[1].appends());
        EXPECT_EQ(statement_comment(plan, b.model.params, plan.forward[1], "T"),
                  "cache 0: silu(x), x  f16[T, 2, 16]");
        const std::string sql = statement_sql(plan, b.model.params, plan.forward[2]);
        EXPECT_NE(sql.find(reach > 0 ? "kv.k, kv.v, x.data, 0.5, 7.0, 40)"
                                     : "kv.k, kv.v, x.data, 0.5, 7.0)"),
                  std::string::npos)
            << sql;
        EXPECT_EQ(sql.find("kv.position > :position - 71") != std::string::npos, reach > 0) << sql;
        EXPECT_EQ(statement_comment(plan, b.model.params, plan.forward[2], "T"),
                  reach > 0 ? "glance = glance(cache 0, x, reach 40)  f32[T, 32]"
                            : "glance = glance(cache 0, x)  f32[T, 32]");
    }
}

// Each column must fit the signature and the form that it speaks of.
TEST(OperatorTable, ItsColumnsFitTogether) {
    for (const Wrap wrap : {Wrap::stores_q8, Wrap::joins, Wrap::picks_rows})
        EXPECT_EQ(wrapping(wrap).locality, Locality::plan);
    for (const Operator& op : operators()) {
        const std::string_view title = op.name.empty() ? op.sql : op.name;
        SCOPED_TRACE(title);
        EXPECT_EQ(op.sql_form.substr(0, op.sql_form.find('(')), op.sql);
        EXPECT_EQ(op.sql.empty(), op.locality == Locality::view);
        EXPECT_EQ(op.name.empty(),
                  op.locality == Locality::plan || op.locality == Locality::inspect);
        if (op.locality == Locality::inspect) continue;
        const Signature& signature = signature_of(op);
        const auto named = [&](std::string_view name) {
            return std::ranges::find(signature.params, name, &SignatureParam::name);
        };
        const auto is_number = [&](std::string_view name) {
            return named(name) != signature.params.end() &&
                   named(name)->kind == SignatureParam::Kind::number;
        };
        int weights = 0;
        bool optional = false;
        const std::vector<FormArgument> form = form_of(op);
        for (const SignatureParam& param : signature.params) {
            weights += param.kind == SignatureParam::Kind::param;
            EXPECT_TRUE(!optional || param.optional || param.default_value)
                << "optional parameters come last, but for numbers with a default";
            optional |= param.optional;
            const bool written = std::ranges::any_of(
                form, [&](const FormArgument& a) { return a.name == param.name; });
            EXPECT_TRUE(written || op.sql.empty()) << param.name << " is not in the SQL form";
        }
        for (const FormArgument& argument : form) {
            if (argument.source != FormArgument::Source::operand) continue;
            ASSERT_NE(named(argument.name), signature.params.end()) << argument.name;
            const SignatureParam& param = *named(argument.name);
            EXPECT_TRUE(!argument.optional || param.optional || param.default_value);
            EXPECT_TRUE(!param.optional || argument.optional);
        }
        for (const NumberRule& rule : op.numbers) {
            if (rule.name.empty()) continue;
            const bool is_dimension = std::regex_search(
                std::string(op.signature), std::regex("\\b" + std::string(rule.name) + "\\b"));
            EXPECT_TRUE(is_number(rule.name) || is_dimension);
            EXPECT_FALSE(rule.must_be.empty());
        }
        if (!op.looks_back.empty()) {
            EXPECT_TRUE(is_number(op.looks_back));
        }
        EXPECT_EQ(op.weight != WeightUse::none,
                  op.locality == Locality::matrix || op.locality == Locality::choice);
        EXPECT_TRUE(op.weight == WeightUse::none || weights > 0);
        EXPECT_TRUE(op.choices != Choices::none || op.locality != Locality::choice);
        EXPECT_EQ(op.wrap != Wrap::none, op.locality == Locality::plan);
        if (op.locality == Locality::choice) {
            EXPECT_NE(named("choice"), signature.params.end());
        }
        if (op.locality == Locality::cache) {
            EXPECT_TRUE(is_supplied(op, "k"));
            EXPECT_EQ(is_supplied(op, "v"), named("v") != signature.params.end());
            EXPECT_TRUE(op.sees_other_rows);
        }
        EXPECT_LE(min_args(op), max_args(op));
    }
    const auto all = operators();
    for (const Operator& op : all)
        if (!op.infix.empty()) {
            EXPECT_EQ(find_infix(op.infix, second_operand(op)), &op);
        }
}

}  // namespace
}  // namespace llmsql::compiler::test
