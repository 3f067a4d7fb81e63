// SPDX-License-Identifier: MIT
// What is read from a plan's text, of plans edited by hand.
#include "plan/outline.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "common/error.h"
#include "plan/select.h"
#include "plan/sql_tokens.h"
#include "tests/unit/error_of.h"
#include "tests/unit/says.h"

namespace llmsql {
namespace {

using test::error_of;

std::string plan_with(const std::string& forward, const std::string& init = "") {
    const auto count = [](const std::string& text) { return std::ranges::count(text, ';'); };
    const std::string tables =
        "CREATE VIRTUAL TABLE temp.param USING llm_param(model='it''s', catalogue='ab');\n"
        "INSERT INTO param(id, name, type, rows, cols) VALUES (1, 'embd', 'q8', 64, 32),\n"
        "  (2, 'layer.0.norm', 'f32', NULL, 32), (3, 'layer.0.a', 'q8', 32, 32),\n"
        "  (4, 'layer.0.b', 'q8', 32, 32), (5, 'layer.0.up.0', 'q8', 32, 32),\n"
        "  (6, 'layer.0.up.1', 'q8', 32, 32), (7, 'layer.0.down.0', 'q8', 32, 32);\n"
        "CREATE VIRTUAL TABLE temp.tensor USING llm_tensor(arena=4096);\n"
        "INSERT INTO tensor(id, name, type, rows, heads, width, stride, offset, slice_of) VALUES\n"
        "  (1, 'x', 'f32', 4, 1, 32, 128, 0, NULL), (2, 'h', 'q8', 4, 1, 32, 64, 512, NULL),\n"
        "  (3, 'y', 'f32', 2, 2, 16, 128, 1024, NULL);\n";
    return "-- llmsql plan 1 · tiny\n-- second line\n--@ init\n" + tables + init +
           "--@ forward :tokens :position :sequence\n" + forward +
           "--@ logits :first :rows\nSELECT data FROM tensor WHERE id = 3;\n--@ end " +
           std::to_string(count(tables) + count(init) + count(forward) + 1) + "\n";
}

Outline outline_with(const std::string& forward, const std::string& init = "") {
    return outline_of(parse_plan(plan_with(forward, init), "plan.sql"));
}

TEST(OutlineText, HeaderTablesAndShapes) {
    const Outline outline = outline_with("SELECT 1;\n");
    EXPECT_EQ(outline.header, (std::vector<std::string>{"llmsql plan 1 · tiny", "second line"}));
    EXPECT_EQ(outline.model, "it's");
    EXPECT_EQ(outline.params.size(), 7u);
    EXPECT_FALSE(outline.param(2).shape.rows);
    EXPECT_EQ(outline.chunk, 4);
    EXPECT_EQ(outline.logits_rows, 2);
    EXPECT_EQ(shape_of(*outline.tensor(3), "T"), "f32[T, 2, 16]");
    EXPECT_EQ(shape_of(*outline.tensor(2), "T"), "q8[T, 32]");
    EXPECT_EQ(outline.tensor(4), nullptr);
}

TEST(OutlineText, StatementsInAnotherOrderOfWords) {
    const Outline outline = outline_with(
        "-- layer 0\n-- y = something\n"
        "insert into slot(data, id) select llm_add(x.data, llm_linear(h.data, m.data)), 3\n"
        "from tensor as x, tensor h, param AS m where m.id=3 and 1 < 2 and h.id = 2 AND x.id = 1;\n"
        "-- after the layers\n"
        "INSERT INTO kv(k, v, layer, sequence, position)\n"
        "SELECT llm_rope(x.data, :position, 1e-5), x.data, 2, :sequence, :position\n"
        "FROM tensor x WHERE x.id = 1;\n");
    const OutlineStep& first = outline.steps[0];
    EXPECT_TRUE(first.understood);
    EXPECT_EQ(first.writes, 3);
    EXPECT_EQ(first.reads, (std::vector<int64_t>{1, 2}));
    ASSERT_EQ(first.weights.size(), 1u);
    EXPECT_EQ(first.weights[0].first, 3);
    EXPECT_EQ(first.layer, 0);
    EXPECT_EQ(first.formula, "y = something");
    EXPECT_EQ(first.name, "layer.0.y");
    EXPECT_EQ(outline.kind(first), "linear a");
    const OutlineStep& second = outline.steps[1];
    EXPECT_EQ(second.stores, 2);
    EXPECT_EQ(second.layer, -1);
    EXPECT_EQ(second.operation, "cache");
}

TEST(OutlineText, TablesOfMatricesAndRangesThatWalkAlong) {
    const Outline outline = outline_with(
        "INSERT INTO slot(id, data) SELECT 1, llm_linear_each(h.data, s.data, c.item, up.data, 2)\n"
        "FROM tensor h, tensor s, chosen c, param up\n"
        "WHERE h.id = 2 AND s.id = 1 AND c.id = 1 AND up.id = c.item + 5;\n"
        "INSERT INTO slot(id, data) SELECT 3, llm_concat(llm_linear(h.data, w.data, b.data))\n"
        "FROM tensor h, param w, param b WHERE h.id = 2 AND w.id BETWEEN 3 AND 4 AND b.id = w.id - "
        "2;\n");
    const OutlineStep& choice = outline.steps[0];
    ASSERT_EQ(choice.weights.size(), 1u);
    EXPECT_TRUE(choice.weights[0].chosen);
    EXPECT_EQ(choice.weights[0].first, 5);
    EXPECT_EQ(choice.weights[0].last, 6) << "the table ends where another begins";
    EXPECT_EQ(outline.kind(choice), "linear_each up");
    const OutlineStep& biased = outline.steps[1];
    ASSERT_EQ(biased.weights.size(), 2u);
    EXPECT_EQ(biased.weights[1].first, 1);
    EXPECT_EQ(biased.weights[1].last, 2);
}

TEST(OutlineText, WhatIsNotUnderstoodIsSaid) {
    const Outline outline = outline_with(
        "INSERT INTO slot(id, data) SELECT 1, llm_silu(x.data) FROM tensor x JOIN param w ON 1\n"
        "WHERE x.id = 1;\n"
        "INSERT INTO slot(id, data) SELECT 1 + 1, llm_silu(x.data) FROM tensor x WHERE x.id = 1;\n"
        "INSERT INTO slot(id, data) SELECT 1, llm_silu(x.data) FROM tensor x WHERE x.name = "
        "'x';\n");
    EXPECT_FALSE(outline.steps[0].understood);
    EXPECT_FALSE(outline.steps[2].understood);
}

TEST(OutlineText, NonsenseInInitIsRefusedWithItsLine) {
    // What stands in init after the tables begins on this line.
    const std::string text = plan_with("SELECT 1;\n", "-- here\n");
    const std::string where =
        fmt::format("plan.sql:{}: ",
                    std::count(text.begin(),
                               text.begin() + static_cast<ptrdiff_t>(text.find("-- here")), '\n') +
                        1);
    const std::string bad_type =
        "INSERT INTO param(id, name, type, rows, cols) VALUES (8, 'z', 'q3', 1, 1);\n";
    EXPECT_SAYS(error_of([&] { outline_with("SELECT 1;\n", bad_type); }), where + "… 'q3'");
    const std::string bad_number =
        "INSERT INTO param(id, name, type, rows, cols) VALUES (8, 'z', 'q8', 'many', 1);\n";
    EXPECT_SAYS(error_of([&] { outline_with("SELECT 1;\n", bad_number); }),
                where + "rows … 'many' …");
    const std::string no_param =
        "INSERT INTO residency(param, first_tile, last_tile, held) VALUES (99, 0, 0, 1);\n";
    EXPECT_SAYS(error_of([&] { outline_with("SELECT 1;\n", no_param); }), where + "… parameter 99");
}

// SQLite has not looked at a plan yet when its outline is read: a statement may end anywhere, and
// numbers be any.
TEST(OutlineText, StatementsThatEndAnywhereAreRead) {
    const std::vector<std::string> whole{
        "INSERT INTO slot(id, data) SELECT 1, llm_add(x.data, y.data) FROM tensor AS x, param y, "
        "chosen c WHERE x.id BETWEEN 1 AND 3 AND y.id = c.item + 5 AND c.id = x.id - 1",
        "INSERT INTO kv(sequence, layer, position, k, v) SELECT :sequence, 2, :position, k.data, "
        "k.data FROM tensor k, kv WHERE kv.layer = 0 AND k.id = 1"};
    for (const std::string& sql : whole) {
        const std::vector<SqlToken> words = sql_tokens(sql);
        for (size_t from = 0; from < words.size(); ++from)
            for (size_t count = 1; from + count <= words.size(); ++count) {
                std::string part;
                for (size_t i = from; i < from + count; ++i) part += words[i].text + " ";
                const Outline outline = outline_with(part + ";\n");
                outline.kind(outline.steps[0]);
                outline.streamed_bytes(outline.steps[0]);
            }
    }
    for (const char* sql : {"SELECT 1 FROM tensor x, tensor y, tensor z WHERE x.id BETWEEN",
                            "SELECT 1 FROM tensor x WHERE x.id BETWEEN 1 AND", "SELECT", "INSERT",
                            "SELECT 1 FROM", "SELECT 1 FROM tensor x WHERE", "SELECT 1 FROM , , ,",
                            "SELECT 1 FROM tensor x WHERE AND AND x.id = AND",
                            "INSERT INTO slot(id", "INSERT INTO slot(id, data) SELECT 1 +"})
        EXPECT_NO_THROW(outline_with(std::string(sql) + ";\n")) << sql;
}

TEST(OutlineText, NumbersAtTheEdgesOfIntegersAreNoRanges) {
    for (const char* sql :
         {"SELECT 1 FROM tensor x, tensor b WHERE x.id = 9223372036854775807 AND b.id = x.id + "
          "9223372036854775807",
          "SELECT 1 FROM tensor x WHERE x.id BETWEEN 1 AND 9223372036854775807",
          "SELECT 1 FROM tensor x, chosen c WHERE x.id = c.item - 9223372036854775807",
          "SELECT 1 FROM param x WHERE x.id BETWEEN 3 AND 1",
          "SELECT 1 FROM param x, chosen c WHERE x.id = c.item + 9223372036854775807",
          "SELECT 1 FROM param x WHERE x.id BETWEEN 9223372036854775807 - 1 AND 4"}) {
        const Outline outline = outline_with(std::string(sql) + ";\n");
        EXPECT_TRUE(outline.steps[0].weights.empty()) << sql;
        EXPECT_EQ(outline.weight_bytes(outline.steps[0]), 0) << sql;
    }
    // An id that is computed is none that can be told from the text.
    const Outline computed = outline_with(
        "INSERT INTO slot(id, data) SELECT 1, llm_silu(x.data) FROM tensor x WHERE x.id = 1 + 1;\n"
        "INSERT INTO slot(id, data) SELECT 1 + 1, llm_silu(x.data) FROM tensor x WHERE x.id = "
        "1;\n");
    EXPECT_TRUE(computed.steps[0].reads.empty());
    EXPECT_FALSE(computed.steps[1].writes);
    EXPECT_FALSE(computed.steps[1].understood);
}

TEST(OutlineText, RowsOfInitAreLiteralsWithinWhatTablesTake) {
    const auto error = [](const std::string& init) {
        const std::string all = error_of([&] {
            const Outline outline = outline_with("SELECT 1;\n", init + ";\n");
            for (const OutlineTensor& tensor : outline.tensors) tensor.span();
        });
        return all.find("plan.sql:") == 0 ? all.substr(all.find(": ") + 2) : all;
    };
    const std::string tiles = "INSERT INTO residency(param, first_tile, last_tile, held) VALUES ";
    EXPECT_EQ(error(tiles + "(3, 0, 0, 1), (4, 0, 0, 0)"), "");
    for (const char* row :
         {"(3, 0, 9223372036854775807 - 9223372036854775807, 1)", "(3, 0, -(0), 1)",
          "(3, 0, (0), 1)", "(3, 0, 0 0, 1)", "(3, 0, , 1)", "(3, 0, x, 1)", "(3, 0, - - 0, 1)",
          "(3, 0, 0, 1", "(3, 0, 0, 1, 1, 1)", "()"})
        EXPECT_NE(error(tiles + row), "") << row;
    for (const char* row : {"(3, 0, 9223372036854775807, 1)", "(3, -1, 0, 1)", "(3, 1, 0, 1)",
                            "(3, 0, 1, 1)", "(3, -9223372036854775808, 9223372036854775807, 1)"})
        EXPECT_NE(error(tiles + row).find("it must be"), std::string::npos) << row;
    const std::string tensors =
        "INSERT INTO tensor(id, name, type, rows, heads, width, stride, offset, slice_of) VALUES ";
    for (const char* row :
         {"(9, 'x', 'f32', 9223372036854775807, 1, 1, 4, 0, NULL)",
          "(9, 'x', 'f32', 2, 9223372036854775807, 9223372036854775807, 4, 0, NULL)",
          "(9, 'x', 'f32', 2, 1, 1, 9223372036854775807, 0, NULL)",
          "(9, 'x', 'f32', 2, 1, 1, 4, -9223372036854775808, NULL)",
          "(9, 'x', 'q8', 1, 1099511627776, 1, 4, 0, NULL)",
          "(-1, 'x', 'f32', 1, 1, 1, 4, 0, NULL)"})
        EXPECT_NE(error(tensors + row).find("it must be"), std::string::npos) << row;
    EXPECT_EQ(error("INSERT INTO param(id, name, type, rows, cols) VALUES (8, 'z', 'q8', "
                    "9223372036854775807, 9223372036854775807)"),
              "z has no sensible shape");
    // What a query fills is run, not read.
    EXPECT_EQ(error("INSERT INTO tensor(id) SELECT id FROM param"), "");
}

TEST(OutlineText, TilesAreNumberedAsThePlanSays) {
    const auto held = [](const std::string& tiles, int last) {
        return outline_with(
                   "SELECT 1;\n",
                   "INSERT INTO param(id, name, type, rows, cols) VALUES (8, 'wide', 'q8', 64, "
                   "9728);\n"
                   "CREATE VIRTUAL TABLE temp.residency USING llm_residency(budget=1, pool=1, "
                   "windows=0, workers=1" +
                       tiles +
                       ");\n"
                       "INSERT INTO residency(param, first_tile, last_tile, held) VALUES (8, 0, 0, "
                       "1), (8, 1, " +
                       std::to_string(last) + ", 0);\n")
            .held_bytes(8);
    };
    const auto strip = static_cast<int64_t>(strip_bytes(WeightType::q8, 9728));
    EXPECT_EQ(held("", 3), strip);
    EXPECT_EQ(held(", tiles=3", 3), strip);
    EXPECT_EQ(held(", tiles=4", 1), 2 * strip);
    EXPECT_SAYS(error_of([&] { held(", tiles=4", 3); }), "… last_tile is 3, it must be 1 to 1");
    EXPECT_SAYS(error_of([&] { held(", tiles=5", 1); }), "… tiles is 5, it must be 1 to 4");
}

TEST(OutlineText, WhatIsHeldIsAddedUpByTiles) {
    const Outline outline = outline_with(
        "SELECT llm_linear(h.data, w.data) FROM tensor h, param w WHERE h.id = 2 AND w.id BETWEEN "
        "3 "
        "AND 4;\n",
        "CREATE VIRTUAL TABLE temp.residency USING llm_residency(budget=1, pool=1, windows=0, "
        "workers=1);\n"
        "INSERT INTO residency(param, first_tile, last_tile, held) VALUES (1, 0, 0, 0), (2, 0, 0, "
        "1), (3, 0, 0, 1), (4, 0, 0, 0);\n");
    const ParamEntry& entry = outline.param(3);
    const auto bytes = static_cast<int64_t>(param_bytes(entry.type, entry.shape));
    EXPECT_EQ(outline.held_bytes(3), bytes);
    EXPECT_EQ(outline.held_bytes(4), 0);
    EXPECT_EQ(outline.weight_bytes(outline.steps[0]), 2 * bytes);
    EXPECT_EQ(outline.streamed_bytes(outline.steps[0]), bytes);
}

TEST(SelectSteps, ByNumberLineLayerAndName) {
    const Outline outline = outline_with(
        "-- layer 0\nINSERT INTO slot(id, data)\nSELECT 1, llm_silu(x.data)\nFROM tensor x WHERE "
        "x.id = 1;\n"
        "INSERT INTO slot(id, data) SELECT 1, llm_silu(x.data) FROM tensor x WHERE x.id = 1;\n"
        "-- layer 1\nINSERT INTO slot(id, data) SELECT 1, llm_silu(x.data) FROM tensor x WHERE "
        "x.id = 1;\n");
    const auto numbers = [&](const std::string& which) {
        std::vector<int> found;
        for (const OutlineStep* step : select_steps(outline, which)) found.push_back(step->number);
        return found;
    };
    EXPECT_EQ(numbers("2"), (std::vector<int>{2}));
    EXPECT_EQ(numbers("layer.0"), (std::vector<int>{1, 2}));
    EXPECT_EQ(numbers("layer.0.x#2"), (std::vector<int>{2}));
    EXPECT_EQ(numbers("x"), (std::vector<int>{1, 3}));
    EXPECT_EQ(numbers("all").size(), outline.steps.size());
    const int line = outline.steps[0].line;
    EXPECT_EQ(numbers(":" + std::to_string(line)), (std::vector<int>{1}));
    EXPECT_EQ(numbers(":" + std::to_string(line + 2)), (std::vector<int>{1}));
    EXPECT_NE(error_of([&] { numbers("99"); }).find("there is no statement 99"), std::string::npos);
    EXPECT_NE(error_of([&] { numbers(":1"); }).find("line 1 of the plan"), std::string::npos);
    EXPECT_NE(error_of([&] { numbers("yy"); }).find("layer.0.x#2"), std::string::npos);
}

TEST(SqlTokens, StringsNumbersAndComments) {
    std::vector<std::string> texts;
    for (const SqlToken& token :
         sql_tokens("\xEF\xBB\xBFSELECT 'a''b' -- no\n/* no */ \"q\"\"d\", 1.5e-05, :p <= 0x1F||x"))
        texts.push_back(token.text);
    EXPECT_EQ(texts, (std::vector<std::string>{"SELECT", "a'b", "q\"d", ",", "1.5e-05", ",", ":p",
                                               "<=", "0x1F", "||", "x"}));
    for (const char* cut : {"'", "'a''", "/*", "/* x *", "--", "[", "1e", ":", ""})
        EXPECT_NO_THROW(sql_tokens(cut)) << cut;
}

}  // namespace
}  // namespace llmsql
