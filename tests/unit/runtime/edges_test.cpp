// SPDX-License-Identifier: MIT
// Numbers at the edges of what 64 bits hold, in each numeric column of init's tables and each
// numeric argument of an operator: a plan that has one is refused, or does what it did before.
#include <gtest/gtest.h>

#include <cctype>
#include <optional>

#include "common/error.h"
#include "plan/plan_file.h"
#include "runtime/program/program.h"
#include "runtime/weights/model_db.h"
#include "tests/unit/runtime/tiny_plan.h"

namespace llmsql {
namespace {

using test::TemporaryFolder;

const std::vector<std::string> kEdges{"-9223372036854775808",
                                      "-1",
                                      "0",
                                      "7919",
                                      "2147483648",
                                      "4294967360",
                                      "1099511627776",
                                      "4611686018427387904",
                                      "9223372036854775744",
                                      "9223372036854775807",
                                      "NULL",
                                      "'x'"};

// All tiles held but those of the expert matrices, within a budget that is large enough.
std::string residency() {
    std::string sql =
        "CREATE VIRTUAL TABLE temp.residency USING llm_residency(budget=100000000, pool=1000000, "
        "windows=4000000, workers=2);\n"
        "INSERT INTO residency(param, first_tile, last_tile, held, chosen) VALUES ";
    for (int param = 1; param <= 19; ++param) {
        const bool streamed = param > 10 && param < 19;
        sql += fmt::format("{}({}, 0, 0, {})", param > 1 ? ", " : "", param,
                           streamed ? "0, 1" : "1, 0");
    }
    return sql + ";\n";
}

struct Number {
    size_t at, size;
};

// The numbers of a part of a plan, but those within words and quotes.
std::vector<Number> numbers(const std::string& text, size_t begin, size_t end) {
    std::vector<Number> found;
    bool quoted = false;
    for (size_t at = begin; at < end; ++at) {
        if (text[at] == '\'') quoted = !quoted;
        const auto in_word = [&](size_t i) {
            return std::isalnum(static_cast<unsigned char>(text[i])) || text[i] == '_' ||
                   text[i] == '.' || text[i] == ':';
        };
        if (quoted || !std::isdigit(static_cast<unsigned char>(text[at])) || in_word(at - 1))
            continue;
        size_t stop = at;
        while (stop < end && in_word(stop)) ++stop;
        found.push_back({at, stop - at});
        at = stop;
    }
    return found;
}

class Edges : public ::testing::Test {
  protected:
    Edges() {
        test::tiny_model().write(folder_ / "m.db");
        db_.emplace(folder_ / "m.db");
        plan_ = test::plan_start() + std::string(test::kPlanEnd);
        plan_.insert(plan_.find("CREATE VIRTUAL TABLE temp.tensor"), residency());
        const auto right = run(plan_);
        if (!right) throw std::runtime_error(said_);
        right_ = *right;
    }

    // The last row of logits of 9 tokens in two passes; nothing where the plan is refused.
    std::optional<std::vector<float>> run(const std::string& plan) {
        test::write_text(folder_ / "p.sql", test::with_end(plan));
        try {
            Program program(read_plan(folder_ / "p.sql"), *db_, {.threads = 1});
            const std::vector<int32_t> ids{3, 1, 4, 1, 5, 9, 2, 6, 5};
            if (program.chunk() < 5) return std::nullopt;  // right, but not to be compared so
            program.forward(std::span(ids).first(4), 0);
            program.forward(std::span(ids).subspan(4), 4);
            const auto row = program.logits(4, 1).row(0);
            return std::vector<float>(row.begin(), row.end());
        } catch (const Error& error) {
            said_ = error.what();
            EXPECT_EQ(said_.find('\n'), std::string::npos) << said_;
            EXPECT_GT(said_.size(), 10U);
            return std::nullopt;
        } catch (const std::bad_alloc&) {
            return std::nullopt;  // "out of memory", to whoever runs it
        }
    }

    std::string with(const Number& number, const std::string& edge) const {
        std::string plan = plan_;
        return plan.replace(number.at, number.size, edge);
    }

    TemporaryFolder folder_;
    std::optional<ModelDb> db_;
    std::string plan_;
    std::vector<float> right_;
    std::string said_;  // by the last plan that was refused
};

TEST_F(Edges, OfWhatTablesDeclareAreRefusedOrChangeNothing) {
    // Of parameters, a matrix and a vector; of the other tables, every row that differs in kind.
    int accepted = 0, refused = 0;
    const size_t begin = plan_.find("--@ init"), end = plan_.find("--@ forward");
    size_t per_statement = 0;
    size_t statement = 0;
    for (const Number& number : numbers(plan_, begin, end)) {
        const size_t start = plan_.rfind(';', number.at);
        if (start != statement) per_statement = 0;
        statement = start;
        if (plan_.find("INSERT INTO param", start) - start < 3 &&
            plan_.find("(1, ", start) - start > 60 && plan_.find("(2, ", start) - start > 60)
            continue;
        if (plan_.find("INSERT INTO residency", start) - start < 3 && ++per_statement > 10)
            continue;
        for (const std::string& edge : kEdges) {
            const std::string plan = with(number, edge);
            const auto got = run(plan);
            (got ? accepted : refused)++;
            if (!got) continue;
            EXPECT_EQ(*got, right_) << plan_.substr(number.at - 30, 60) << " as " << edge;
        }
    }
    EXPECT_GT(accepted, 20);
    EXPECT_GT(refused, 500);
}

TEST_F(Edges, OfOperatorsArgumentsAreRefusedOrComputed) {
    int accepted = 0, refused = 0;
    const size_t begin = plan_.find("--@ forward"), end = plan_.find("--@ chat");
    for (const Number& number : numbers(plan_, begin, end))
        for (const std::string& edge : kEdges) (run(with(number, edge)) ? accepted : refused)++;
    EXPECT_GT(accepted, 10);
    EXPECT_GT(refused, 300);
}

}  // namespace
}  // namespace llmsql
