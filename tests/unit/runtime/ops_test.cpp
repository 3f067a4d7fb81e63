// SPDX-License-Identifier: MIT
// Operators by their SQL functions, over tensors that a statement fills: values against double
// precision. The heavier ones are tested through whole plans, in program_test.cpp.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "common/error.h"
#include "runtime/compute/evaluate.h"
#include "runtime/program/plan_state.h"
#include "runtime/program/table.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

// A connection with the operators and a tensor `x` of id 1, f32[2, 40], held.
struct Tensors {
    PlanState state;
    Connection db{":memory:", {.access = Access::make}};

    Tensors() {
        register_operators(db.get(), state.operators);
        register_tables(db.get(), state);
        run("CREATE VIRTUAL TABLE temp.tensor USING llm_tensor(arena=1024)");
        run("INSERT INTO tensor(id, name, type, rows, heads, width, stride, offset) "
            "VALUES (1, 'x', 'f32', 2, 1, 40, 160, 0)");
        state.arena->note_written(1, 2);
        for (size_t i = 0; i < 80; ++i) values()[i] = static_cast<float>(i) * 0.3f - 12;
    }

    float* values() { return reinterpret_cast<float*>(state.arena->data(state.arena->place(1))); }

    void run(const char* sql) { Query(db, sql).run(); }

    // The value of an expression over x.
    std::vector<float> evaluate(const std::string& expression) {
        Query query(db, "SELECT " + expression + " FROM tensor x WHERE x.id = 1");
        if (!query.next()) throw std::runtime_error("no row");
        const ExprPtr expr = value_expr(sqlite3_column_value(query.raw(), 0));
        if (!expr) throw std::runtime_error("no deferred value");
        return evaluate_to_vector(expr);
    }
};

TEST(Operators, TanhIsTheHyperbolicTangent) {
    Tensors tensors;
    tensors.values()[3] = std::numeric_limits<float>::infinity();
    tensors.values()[4] = std::numeric_limits<float>::quiet_NaN();
    tensors.values()[5] = 1e-30f;
    const auto got = tensors.evaluate("llm_tanh(x.data)");
    ASSERT_EQ(got.size(), 80U);
    for (size_t i = 0; i < got.size(); ++i) {
        const double expected = std::tanh(static_cast<double>(tensors.values()[i]));
        if (std::isnan(expected))
            EXPECT_TRUE(std::isnan(got[i]));
        else
            EXPECT_NEAR(got[i], expected, 1e-6 * std::fabs(expected)) << i;
    }
}

TEST(Operators, ASoftCapIsTanhScaled) {
    Tensors tensors;
    const auto got = tensors.evaluate("llm_scale(llm_tanh(llm_scale(x.data, 0.5)), 2.0)");
    for (size_t i = 0; i < got.size(); ++i)
        EXPECT_NEAR(got[i], 2 * std::tanh(tensors.values()[i] / 2.0), 1e-5) << i;
}

TEST(Operators, RefuseWhatIsNoTensor) {
    Tensors tensors;
    for (const char* argument : {"1.0", "'x'", "NULL", "x'00'", "x.id"})
        EXPECT_THROW(tensors.evaluate(std::string("llm_tanh(") + argument + ")"), Error)
            << argument;
}

}  // namespace
}  // namespace llmsql
