// SPDX-License-Identifier: MIT
// What a plan takes is compared with its budget once all of it is known.
#include <gtest/gtest.h>

#include <string>

#include "common/error.h"
#include "plan/plan_file.h"
#include "runtime/program/program.h"
#include "runtime/weights/model_db.h"
#include "tests/unit/runtime/tiny_plan.h"

namespace llmsql {
namespace {

// The tiny plan within a budget, with 100 more layers in its cache, of windows of 1 position, and
// room for passes of `chunk` tokens.
std::string plan(int64_t budget, int64_t chunk) {
    std::string text = test::plan_start() + std::string(test::kPlanEnd);
    const auto replace = [&](const std::string& old, const std::string& with) {
        text.replace(text.find(old), old.size(), with);
    };
    std::string residency =
        fmt::format(
            "CREATE VIRTUAL TABLE temp.residency USING llm_residency(budget={}, "
            "pool=200000, windows=0, workers=1);\n",
            budget) +
        "INSERT INTO residency(param, first_tile, last_tile, held) VALUES ";
    for (int param = 1; param <= 19; ++param)
        residency += fmt::format("{}({}, 0, 0, 1)", param > 1 ? ", " : "", param);
    replace("CREATE VIRTUAL TABLE temp.tensor", residency + ";\nCREATE VIRTUAL TABLE temp.tensor");
    replace("arena=65536", "arena=1048576");
    replace("(1, 'x',",
            fmt::format("(20, 'long', 'f32', {}, 1, 24, 128, 65536, NULL, 1),\n  (1, 'x',", chunk));
    replace("context=100", "context=4096");
    std::string layers = "(0, 2, 6, 5)";
    for (int layer = 1; layer <= 100; ++layer) layers += fmt::format(", ({}, 8, 128, 1)", layer);
    replace("(0, 2, 6, 5)", layers);
    return text;
}

TEST(PlanBudget, CountsWindowsForThePassesThatThereAre) {
    const test::TemporaryFolder folder;
    test::tiny_model().write(folder / "m.db");
    const ModelDb db(folder / "m.db");
    const auto opens = [&](int64_t budget, int64_t chunk) -> std::string {
        test::write_text(folder / "p.sql", test::with_end(plan(budget, chunk)));
        try {
            const Program program(read_plan(folder / "p.sql"), db, {.threads = 1});
            return "";
        } catch (const Error& error) {
            return error.what();
        }
    };
    // A block of a layer is 128 KiB in each of two sequences; passes of 1024 touch 33 of them,
    // short ones one or two.
    const int64_t others = 13 << 20, block = int64_t{100} * 2 * 128 << 10;
    EXPECT_EQ(opens(others + 2 * block, 16), "");
    EXPECT_NE(opens(others + 2 * block, 1024).find("more than its budget"), std::string::npos);
    EXPECT_NE(opens(others + 32 * block, 1024).find("more than its budget"), std::string::npos);
    EXPECT_EQ(opens(others + 33 * block, 1024), "");
    EXPECT_EQ(opens(std::numeric_limits<int64_t>::max(), 1024), "");
}

// What numbers tiles says by which rule they are cut; a database has its own.
TEST(PlanBudget, NumbersTilesAsTheDatabaseHasThemOrIsRefused) {
    const test::TemporaryFolder folder;
    test::TinyModel model = test::tiny_model();
    constexpr int64_t kRows = 64, kCols = 9728;  // four tiles of one strip, or two of two
    model.add_matrix("wide", WeightType::q8, kRows, kCols,
                     test::random_values(static_cast<size_t>(kRows * kCols), 9));
    model.write(folder / "3.db", 65536, 3);
    model.write(folder / "4.db", 65536, 4);
    const auto opens = [&](const std::string& db, const std::string& tiles,
                           int last) -> std::string {
        std::string text = plan(100 << 20, 16);
        const std::string declared = test::tiny_model().declarations();
        text.replace(text.find(declared), declared.size(), model.declarations());
        const std::string end = "(19, 0, 0, 1)";
        text.insert(text.find(end) + end.size(), fmt::format(", (20, 0, {}, 0)", last));
        const std::string workers = "workers=1";
        text.insert(text.find(workers) + workers.size(), tiles);
        test::write_text(folder / "p.sql", test::with_end(text));
        try {
            const ModelDb opened(folder / db);
            Program program(read_plan(folder / "p.sql"), opened, {.threads = 1});
            program.forward(std::vector<int32_t>{1, 2, 3}, 0);
            return "";
        } catch (const Error& error) {
            return error.what();
        }
    };
    EXPECT_EQ(opens("3.db", "", 3), "");
    EXPECT_EQ(opens("3.db", ", tiles=3", 3), "");
    EXPECT_EQ(opens("4.db", ", tiles=4", 1), "");
    const auto says = [](const std::string& error, const char* what) {
        EXPECT_NE(error.find(what), std::string::npos) << error;
    };
    for (const int last : {1, 3}) {
        says(opens("4.db", "", last),
             "wide is cut into other tiles than were known when this plan "
             "was compiled; compile it again (llmsqlc)");
        says(opens("3.db", ", tiles=4", last),
             "wide is cut into tiles as model databases before format 4 have them, for which this "
             "plan is not; import the model again (llmsql-import)");
    }
    says(opens("4.db", ", tiles=4", 3), "wide has the tiles 0 to 1, and 0 comes next");
    says(opens("3.db", "", 1), "the residency rows cover 19 of its 20 parameters");
    says(opens("4.db", ", tiles=5", 1), "llm_residency: tiles=5");
    says(opens("4.db", ", tiles=0", 1), "compile the plan again (llmsqlc)");
}

}  // namespace
}  // namespace llmsql
