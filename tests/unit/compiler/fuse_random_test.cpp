// SPDX-License-Identifier: MIT
// Does a plan compute what its graph says? Real shapes of graphs and random ones, run both ways.
#include <gtest/gtest.h>

#include "compiler/emit/compile.h"
#include "compiler/memory/verify.h"
#include "tests/unit/compiler/fuse_graphs.h"
#include "tests/unit/compiler/fuse_interpreter.h"

namespace llmsql::compiler::test {
namespace {

std::vector<std::string> broken_rules(const Plan& plan, const std::vector<Param>& params) {
    std::vector<std::string> broken;
    const auto quantized = [&](int weight) {
        const WeightType type = params[static_cast<size_t>(weight - 1)].type;
        return type == WeightType::q8 || type == WeightType::q4;
    };
    struct Holds {
        bool linear = false, head = false, attention = false, embed = false;
        int size = 0;
    };
    const std::function<Holds(const PlanExpr&, bool)> look = [&](const PlanExpr& e,
                                                                 bool outermost) {
        Holds holds;
        if (e.kind != PlanExpr::Kind::call) return holds;
        const bool wrapper = e.wraps(Wrap::stores_q8) || e.wraps(Wrap::joins);
        if (wrapper && !outermost) broken.push_back("a wrapper inside an expression");
        if (e.wraps(Wrap::picks_rows) && e.args[0].kind != PlanExpr::Kind::tensor)
            broken.push_back("llm_rows of something that is not stored");
        if ((calls(e, "linear") || calls(e, "attention")) &&
            e.args[0].kind != PlanExpr::Kind::tensor)
            broken.push_back("an input that is not stored");
        if (calls(e, "linear") &&
            (plan.tensor(e.args[0].id).type == TensorType::q8) != quantized(e.args[1].id))
            broken.push_back("a linear with an input of the wrong type");
        if (calls(e, "attention") && !outermost) broken.push_back("attention inside an expression");
        for (const PlanExpr& arg : e.args) {
            if (!calls(e, "linear") && arg.kind == PlanExpr::Kind::tensor &&
                plan.tensor(arg.id).type == TensorType::q8)
                broken.push_back("a quantised tensor outside linear");
            const Holds inner = look(arg, outermost && wrapper);
            holds.linear |= inner.linear;
            holds.head |= inner.head;
            holds.attention |= inner.attention;
            holds.embed |= inner.embed;
            holds.size += inner.size;
        }
        holds.size += 1;
        if (e.op->locality == Locality::head && (holds.linear || holds.attention || holds.embed))
            broken.push_back("a head operator over more than heads");
        holds.linear |= calls(e, "linear");
        holds.embed |= calls(e, "embed");
        holds.attention |= calls(e, "attention");
        holds.head |= e.op->locality == Locality::head;
        if (holds.linear + holds.head + holds.attention + holds.embed > 1)
            broken.push_back("kinds mixed in one expression");
        if (holds.size > 18) broken.push_back("an expression without end");
        return holds;
    };
    for (const auto* section : {&plan.forward, &plan.logits})
        for (const PlanInsert& s : *section) {
            look(s.data, true);
            look(s.values, true);
            if (!s.appends() &&
                (plan.tensor(s.target).type == TensorType::q8) != s.data.wraps(Wrap::stores_q8))
                broken.push_back("a target of the wrong type");
        }
    return broken;
}

void expect_right(const GraphBuilder& b, PlanSizes sizes) {
    const Plan plan = make_plan(b.model, b.graph, sizes);
    EXPECT_EQ(verify_arena(plan), std::vector<std::string>());
    EXPECT_EQ(broken_rules(plan, b.model.params), std::vector<std::string>());
    expect_computes(b, plan);
}

const PlanSizes kSmall{.context = 64, .chunk = 4, .logits_rows = 2};

TEST(FusedPlan, ComputesLlama) {
    for (const WeightType type : {WeightType::q8, WeightType::q4, WeightType::f16, WeightType::f32})
        expect_right(small_llama(3, type), kSmall);
}
TEST(FusedPlan, ComputesQwen) {
    expect_right(small_qwen(), kSmall);
}
TEST(FusedPlan, ComputesGemma) {
    expect_right(small_gemma(3), kSmall);
}

TEST(FusedPlan, ComputesRandomGraphs) {
    for (uint32_t seed = 0; seed < 400 && !HasFailure(); ++seed) {
        SCOPED_TRACE(seed);
        ASSERT_NO_THROW(expect_right(random_graph(seed), kSmall));
    }
}

TEST(FusedPlan, IsTheSameEachTime) {
    for (uint32_t seed = 0; seed < 40; ++seed) {
        const GraphBuilder b = random_graph(seed);
        EXPECT_EQ(plan_text(b.model, make_plan(b.model, b.graph, kSmall)),
                  plan_text(b.model, make_plan(b.model, b.graph, kSmall)));
    }
}

}  // namespace
}  // namespace llmsql::compiler::test
