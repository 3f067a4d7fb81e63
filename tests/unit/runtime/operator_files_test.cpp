// SPDX-License-Identifier: MIT
// The files of tests/operators: statements over a few values, and what they yield. README.md there
// says how one is written; each file is a test by its name.
#include <gtest/gtest.h>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "common/error.h"
#include "operators/operators.h"
#include "runtime/compute/evaluate.h"
#include "runtime/program/plan_state.h"
#include "runtime/program/table.h"
#include "runtime/weights/model_db.h"
#include "sqlite/statement.h"
#include "tests/unit/runtime/tiny_model.h"

namespace llmsql::test {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kArena = 1 << 20;

std::vector<std::string> words_of(const std::string& line) {
    std::istringstream stream(line);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    return words;
}

/// A number, or nothing: "1e-3", "-inf", "nan".
std::optional<double> number_of(const std::string& word) {
    char* end = nullptr;
    const double value = std::strtod(word.c_str(), &end);
    if (word.empty() || *end != '\0') return std::nullopt;
    return value;
}

/// A paragraph of a file: its first line's words, and the lines after it, cut at "----".
struct Paragraph {
    int line = 0;
    std::vector<std::string> head;
    std::vector<std::string> body, expected;
};

std::vector<Paragraph> paragraphs_of(const fs::path& path) {
    std::vector<Paragraph> all;
    std::ifstream file(path);
    bool inside = false, after = false;
    int number = 0;
    for (std::string line; std::getline(file, line);) {
        ++number;
        if (words_of(line).empty()) {
            inside = false;
        } else if (line[0] == '#') {
            continue;
        } else if (!inside) {
            all.push_back({number, words_of(line), {}, {}});
            inside = true;
            after = false;
        } else if (line == "----") {
            after = true;
        } else {
            (after ? all.back().expected : all.back().body).push_back(line);
        }
    }
    return all;
}

class OperatorFile : public ::testing::Test {
  public:
    explicit OperatorFile(fs::path path) : path_(std::move(path)) {}

    void TestBody() override {
        const std::vector<Paragraph> paragraphs = paragraphs_of(path_);
        ASSERT_FALSE(paragraphs.empty()) << path_;
        int asked = 0;
        for (const Paragraph& paragraph : paragraphs) {
            SCOPED_TRACE(path_.filename().string() + ":" + std::to_string(paragraph.line));
            const std::string& kind = paragraph.head[0];
            try {
                if (kind == "param") {
                    param(paragraph);
                    continue;
                }
                begin();
                if (kind == "state") {
                    state(paragraph);
                } else if (kind == "tensor") {
                    tensor(paragraph);
                } else if (kind == "statement") {
                    run(sql_of(paragraph));
                } else if (kind == "query") {
                    query(paragraph);
                    ++asked;
                } else if (kind == "error") {
                    error(paragraph);
                    ++asked;
                } else {
                    FAIL() << "a paragraph begins with param, tensor, state, statement, query or "
                              "error, not "
                           << kind;
                }
            } catch (const std::exception& problem) {
                FAIL() << problem.what();
            }
        }
        EXPECT_GT(asked, 0) << "the file asks nothing";
    }

  private:
    /// "2x3x4" → 2, 3, 4.
    static std::vector<int64_t> shape_of(const std::string& text) {
        std::vector<int64_t> shape;
        std::istringstream stream(text);
        for (std::string part; std::getline(stream, part, 'x');) shape.push_back(std::stoll(part));
        return shape;
    }

    /// The body's numbers; "…" after at least one goes on with them, over and over.
    static std::vector<float> values_of(const Paragraph& paragraph, int64_t count) {
        std::vector<float> values;
        bool repeated = false;
        for (const std::string& line : paragraph.body)
            for (const std::string& word : words_of(line)) {
                if (word == "...")
                    repeated = true;
                else if (const auto number = number_of(word))
                    values.push_back(static_cast<float>(*number));
                else
                    fail("'{}' is not a number", word);
            }
        const size_t given = values.size();
        while (repeated && given > 0 && static_cast<int64_t>(values.size()) < count)
            values.push_back(values[values.size() - given]);
        if (static_cast<int64_t>(values.size()) != count)
            fail("{} values are given where the shape takes {}", values.size(), count);
        return values;
    }

    static std::string sql_of(const Paragraph& paragraph) {
        std::string sql;
        for (const std::string& line : paragraph.body) sql += line + "\n";
        return sql;
    }

    // param NAME TYPE ROWSxCOLS, or COLS for a vector.
    void param(const Paragraph& p) {
        if (state_.db) fail("parameters come before everything else");
        if (p.head.size() != 4) fail("param NAME TYPE SHAPE");
        const std::vector<int64_t> shape = shape_of(p.head[3]);
        if (shape.size() == 1) {
            model_.add_vector(p.head[1], values_of(p, shape[0]));
            return;
        }
        const auto type = weight_type_named(p.head[2]);
        if (!type) fail("unknown type {}", p.head[2]);
        model_.add_matrix(p.head[1], *type, shape[0], shape[1], values_of(p, shape[0] * shape[1]));
    }

    void begin() {
        if (state_.db) return;
        model_.add_vector("unused", {0});  // a model has a parameter at least
        model_.write(folder_ / "model.db");
        state_.db = std::make_shared<const ModelDb>(folder_ / "model.db");
        db_ = Connection(":memory:", {.access = Access::make});
        register_operators(db_.get(), state_.operators);
        register_tables(db_.get(), state_);
        std::istringstream declarations(model_.declarations());
        for (std::string sql; std::getline(declarations, sql);) run(sql);
        run("CREATE VIRTUAL TABLE temp.tensor USING llm_tensor(arena=" + std::to_string(kArena) +
            ")");
        run("CREATE VIRTUAL TABLE temp.slot USING llm_slot()");
        run("CREATE VIRTUAL TABLE temp.chosen USING llm_chosen()");
        state_.compute = make_compute(state_, 2, {});
    }

    // tensor NAME TYPE ROWSx[HEADSx]WIDTH [choices N]; one without values is to be stored by a
    // statement.
    void tensor(const Paragraph& p) {
        if (p.head.size() < 4) fail("tensor NAME TYPE SHAPE");
        const std::vector<int64_t> shape = shape_of(p.head[3]);
        const int64_t heads = shape.size() == 3 ? shape[1] : 1;
        const int64_t width = shape.back();
        const int64_t choices = p.head.size() > 5 ? std::stoll(p.head[5]) : 1;
        const TensorType type = p.head[2] == "q8" ? TensorType::q8 : TensorType::f32;
        const auto stride = static_cast<int64_t>(tensor_row_bytes(type, heads * width));
        const int64_t id = ++tensors_;
        run(
            fmt::format("INSERT INTO tensor(id, name, type, rows, heads, width, stride, offset, "
                        "choices) VALUES ({}, '{}', '{}', {}, {}, {}, {}, {}, {})",
                        id, p.head[1], p.head[2], shape[0], heads, width, stride, used_, choices));
        used_ += shape[0] * stride;
        if (p.body.empty()) return;
        const std::vector<float> values = values_of(p, shape[0] * heads * width);
        auto& arena = *state_.arena;
        std::byte* data = arena.data(arena.place(id));
        for (int64_t row = 0; row < shape[0]; ++row)
            std::memcpy(data + row * stride, values.data() + row * heads * width,
                        static_cast<size_t>(heads * width) * sizeof(float));
        arena.note_written(id, shape[0]);
    }

    // state NAME HEADSxROWSxWIDTH, of two sequences.
    void state(const Paragraph& p) {
        if (p.head.size() != 3) fail("state NAME SHAPE");
        if (states_ == 0) {
            run("CREATE VIRTUAL TABLE temp.state USING llm_state(sequences=2)");
            run("CREATE VIRTUAL TABLE temp.scan USING llm_scan()");
        }
        const std::vector<int64_t> shape = shape_of(p.head[2]);
        run(
            fmt::format("INSERT INTO state(id, name, heads, rows, width) VALUES ({}, '{}', {}, {}, "
                        "{})",
                        states_++, p.head[1], shape.at(0), shape.at(1), shape.at(2)));
    }

    void run(const std::string& sql) {
        Query(db_, sql).run();
        fit_cache(state_);  // as a program does when init has ended
        if (state_.compute) state_.compute->workers.finish();
        if (state_.recurrent) state_.recurrent->commit();
    }

    /// A row a line: a value's elements, or a query's columns.
    std::vector<std::string> rows_of(const std::string& sql) {
        Query query(db_, sql);
        std::vector<std::string> rows;
        while (query.next()) {
            if (const ExprPtr expr = value_expr(sqlite3_column_value(query.raw(), 0))) {
                const std::vector<float> values = evaluate_to_vector(expr);
                for (int64_t row = 0; row < expr->rows; ++row) {
                    std::string line;
                    for (int64_t i = 0; i < expr->elements(); ++i)
                        line +=
                            fmt::format("{}{:.9g}", i ? " " : "",
                                        values[static_cast<size_t>(row * expr->elements() + i)]);
                    rows.push_back(line);
                }
                continue;
            }
            std::string line;
            for (int i = 0; i < query.columns(); ++i) line += (i ? " " : "") + query.as_text(i);
            rows.push_back(line);
        }
        return rows;
    }

    /// Words are compared one by one, numbers to a relative tolerance.
    static bool agree(const std::string& got, const std::string& expected, double tolerance) {
        const auto a = words_of(got), b = words_of(expected);
        if (a.size() != b.size()) return false;
        for (size_t i = 0; i < a.size(); ++i) {
            const auto x = number_of(a[i]), y = number_of(b[i]);
            if (!x || !y) {
                if (a[i] != b[i]) return false;
            } else if (std::isnan(*x) || std::isnan(*y)) {
                if (std::isnan(*x) != std::isnan(*y)) return false;
            } else if (*x != *y &&
                       !(std::fabs(*x - *y) <= tolerance * std::max(1.0, std::fabs(*y)))) {
                return false;
            }
        }
        return true;
    }

    // query [TOLERANCE]
    void query(const Paragraph& p) {
        const double tolerance = p.head.size() > 1 ? std::stod(p.head[1]) : 1e-6;
        const std::vector<std::string> got = rows_of(sql_of(p));
        bool same = got.size() == p.expected.size() && !got.empty();
        for (size_t i = 0; same && i < got.size(); ++i)
            same = agree(got[i], p.expected[i], tolerance);
        std::string text;
        for (const std::string& row : got) text += row + "\n";
        EXPECT_TRUE(same) << "the query yields\n" << text;
    }

    // error, with a part of its text after the dashes.
    void error(const Paragraph& p) {
        ASSERT_EQ(p.expected.size(), 1U) << "one line of an error's text";
        try {
            const std::vector<std::string> got = rows_of(sql_of(p));
            if (state_.compute) state_.compute->workers.finish();
            FAIL() << "no error, but " << got.size() << " rows";
        } catch (const Error& problem) {
            EXPECT_NE(std::string(problem.what()).find(p.expected[0]), std::string::npos)
                << problem.what();
        }
    }

    const fs::path path_;
    TemporaryFolder folder_;
    TinyModel model_;
    PlanState state_;
    Connection db_;
    int64_t tensors_ = 0, used_ = 0, states_ = 0;
};

// An operator without a file is an operator without a test that a reader would find.
TEST(OperatorFilesTest, EachOperatorHasOne) {
    std::string all;
    for (const auto& entry :
         fs::directory_iterator(fs::path(LLMSQL_SOURCE_DIR) / "tests/operators")) {
        std::ostringstream text;
        text << std::ifstream(entry.path()).rdbuf();
        if (entry.path().extension() == ".test") all += text.str();
    }
    for (const Operator& op : operators()) {
        if (op.sql.empty()) continue;
        EXPECT_NE(all.find(std::string(op.sql) + "("), std::string::npos) << op.sql;
    }
}

const bool registered = [] {
    for (const auto& entry :
         fs::directory_iterator(fs::path(LLMSQL_SOURCE_DIR) / "tests/operators")) {
        if (entry.path().extension() != ".test") continue;
        ::testing::RegisterTest(
            "OperatorFiles", entry.path().stem().c_str(), nullptr, nullptr, __FILE__, __LINE__,
            [path = entry.path()]() -> ::testing::Test* { return new OperatorFile(path); });
    }
    return true;
}();

}  // namespace
}  // namespace llmsql::test
