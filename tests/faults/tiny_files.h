// SPDX-License-Identifier: MIT
// The model and plan of tests/unit/runtime/tiny_plan.h, with a tokenizer, as files.
#pragma once

#include <filesystem>

#include "tests/faults/scenario.h"
#include "tests/unit/runtime/tiny_plan.h"

namespace llmsql::faults {

// Fifty of them, as the model has.
inline constexpr const char* kTinyTokens = R"(
INSERT INTO llm_meta VALUES ('tokenizer.kind', 'bpe'), ('tokenizer.pre', 'gpt2'),
  ('tokenizer.bos', '0'), ('tokenizer.add_bos', '1');
INSERT INTO llm_token
  WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 46)
  SELECT value, CAST(char(96 + value) AS BLOB), 1, 0 FROM n;
INSERT INTO llm_token VALUES (0, CAST('<s>' AS BLOB), 3, 0), (47, CAST('<end>' AS BLOB), 3, 0),
  (48, CAST('<bye>' AS BLOB), 3, 0), (49, CAST('ab' AS BLOB), 1, 0);
INSERT INTO llm_merge VALUES (1, 2, 0, 49);
CREATE INDEX llm_token_piece ON llm_token(piece);
CREATE INDEX llm_token_special ON llm_token(kind) WHERE kind IN (3, 4);
)";

/// All weights are held, or all matrices streamed.
inline std::string tiny_plan_text(bool streamed) {
    std::string plan = test::plan_start("q8");
    if (streamed) {
        std::string rows;
        for (int param = 1; param <= 19; ++param) {
            const bool vector = param == 2 || (param >= 6 && param <= 8) || param == 19;
            rows += fmt::format("{}({}, 0, 0, {})", param > 1 ? ", " : "", param, vector ? 1 : 0);
        }
        plan.insert(plan.find("CREATE VIRTUAL TABLE temp.tensor"),
                    "CREATE VIRTUAL TABLE temp.residency USING llm_residency(budget=268435456, "
                    "pool=65536, windows=16777216, workers=2);\n"
                    "INSERT INTO residency(param, first_tile, last_tile, held) VALUES " +
                        rows + ";\n");
    }
    return test::with_end(plan + std::string(test::kPlanEnd));
}

/// model.db and plan.sql.
inline void write_tiny_files(const std::filesystem::path& folder, bool streamed) {
    test::tiny_model().write(folder / "model.db", 4096);
    sqlite3* db = nullptr;
    require(sqlite3_open((folder / "model.db").c_str(), &db) == SQLITE_OK, "no model.db");
    test::TinyModel::run(db, kTinyTokens);
    sqlite3_close(db);
    put(folder / "plan.sql", tiny_plan_text(streamed));
}

}  // namespace llmsql::faults
