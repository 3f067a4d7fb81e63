// SPDX-License-Identifier: MIT
// Symbolic dimensions, and shape rules unified over them.
#include <gtest/gtest.h>

#include <limits>

#include "compiler/check/dimension.h"
#include "compiler/check/signature.h"

namespace llmsql::compiler {
namespace {

const Dimension a = Dimension::named("a", 0), b = Dimension::named("b", 1),
                c = Dimension::named("c", 2);

Dimension number(int64_t value) {
    return Dimension::constant(value);
}

TEST(Dimension, ProductsAreEqualHoweverWritten) {
    EXPECT_EQ(*(a * b), *(b * a));
    EXPECT_EQ(*(*(a + b) * c), *(*(c * b) + *(c * a)));
    EXPECT_EQ(*(*(a * b) / a), b);
    EXPECT_EQ(*(*(a / b) * b), a);
    EXPECT_EQ(*(*(a / number(49)) * number(49)), a);
    EXPECT_EQ(*(a - a), number(0));
    EXPECT_NE(*(a * a), a);
    EXPECT_NE(*(a + number(1)), a);
}

TEST(Dimension, WhatCannotBeRepresentedIsAbsent) {
    EXPECT_FALSE(a / *(a + b));
    EXPECT_FALSE(a / number(0));
    const Dimension large = number(std::numeric_limits<int64_t>::max());
    EXPECT_FALSE(large * large);
    EXPECT_FALSE(large + number(1));
    EXPECT_FALSE(number(std::numeric_limits<int64_t>::min()) * number(-1));
    std::optional<Dimension> grown = number(1);
    for (int i = 0; grown && i < 20; ++i)
        grown =
            *grown * *(Dimension::named(std::string(1, static_cast<char>('d' + i)), i) + number(1));
    EXPECT_FALSE(grown);
}

TEST(Dimension, Text) {
    EXPECT_EQ((b * a)->text(), "a*b");
    EXPECT_EQ((*(number(2) * a) + number(1))->text(), "2*a + 1");
    EXPECT_EQ((*(a / b) - number(3))->text(), "a/b - 3");
    EXPECT_EQ((number(0) - *(a * a))->text(), "-a*a");
    EXPECT_EQ((number(3) / number(6))->text(), "1/2");
    EXPECT_EQ((*(a * number(3)) / *(b * number(2)))->text(), "3*a/2/b");
    EXPECT_EQ((a - a)->text(), "0");
    EXPECT_EQ(shape_text({a, *(b * c)}), "[a, b*c]");
}

TEST(Dimension, Whole) {
    EXPECT_EQ(number(7).whole(), 7);
    EXPECT_EQ((a - a)->whole(), 0);
    EXPECT_EQ((*(number(12) * a) / *(a * number(3)))->whole(), 4);
    EXPECT_FALSE(a.whole());
    EXPECT_FALSE((number(1) / number(2))->whole());
}

Operand tensor(Shape shape) {
    return {true, std::move(shape), std::nullopt};
}
Operand of_number(const Dimension& dim) {
    return {true, {}, dim};
}

TEST(Infer, HeadsAndAttention) {
    const Dimension t = Dimension::named("T", -1);
    const Inference split = infer(*find_operator("heads"), {tensor({t, *(a * b)}), of_number(a)});
    EXPECT_EQ(shape_text(split.result), "[T, a, b]");
    const Shape q{t, a, c}, k{t, b, c};
    const Inference attended =
        infer(*find_operator("attention"), {tensor(q), tensor(k), tensor(k), {}, {}, {}, {}, {}});
    EXPECT_EQ(shape_text(attended.result), "[T, a*c]");
    EXPECT_EQ(attended.failed, -1);
    EXPECT_EQ(attended.dims.at("d").text(), "c");
    const Inference wrong = infer(*find_operator("attention"),
                                  {tensor(q), tensor({t, b, b}), tensor(k), {}, {}, {}, {}, {}});
    EXPECT_EQ(wrong.failed, 1);
    EXPECT_EQ(wrong.message,
              "k has the shape [T, b, b], but must be [T, g, c] to go with q [T, a, c]");
}

TEST(Infer, RunsOfDimensions) {
    const Dimension t = Dimension::named("T", -1);
    const Operator& norm = *find_operator("rms_norm");
    EXPECT_EQ(shape_text(infer(norm, {tensor({t, a}), tensor({a}), of_number(b)}).result),
              "[T, a]");
    EXPECT_EQ(shape_text(infer(norm, {tensor({t, b, a}), tensor({a}), of_number(b)}).result),
              "[T, b, a]");
    EXPECT_EQ(infer(norm, {tensor({t}), tensor({a}), of_number(b)}).message,
              "x has the shape [T], but must be [T, ..., d]");
    const Operator& add = *find_operator("add");
    EXPECT_EQ(infer(add, {tensor({t, a}), tensor({t, b})}).message,
              "b has the shape [T, b], but must be [T, a] to go with a [T, a]");
}

TEST(Infer, EveryRuleOfTheTableIsWellFormed) {
    size_t rules = 0;
    for (const Operator& op : operators()) {
        if (op.name.empty()) continue;
        const Signature& signature = signature_of(op);
        EXPECT_FALSE(signature.result.empty()) << op.name;
        EXPECT_LE(signature.required(), signature.params.size()) << op.name;
        ++rules;
    }
    EXPECT_GE(rules, 10u);
}

}  // namespace
}  // namespace llmsql::compiler
