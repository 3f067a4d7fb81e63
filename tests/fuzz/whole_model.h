// SPDX-License-Identifier: MIT
// The model that the corpus of model_db_fuzz holds, with a tokenizer, and a plan for it.
#pragma once

#include "tests/unit/runtime/tiny_model.h"

namespace llmsql::fuzz {

inline test::TinyModel whole_model() {
    test::TinyModel model;
    model.add_matrix("embd", WeightType::q8, 24, 8, test::random_values(24 * 8, 1));
    model.add_vector("norm", test::random_values(8, 2));
    return model;
}

/// SQL that gives such a model.db a tokenizer.
inline constexpr const char* kWholeModelTokens = R"(
INSERT INTO llm_meta VALUES ('tokenizer.kind', 'bpe'), ('tokenizer.pre', 'gpt2'),
  ('tokenizer.bos', '0'), ('tokenizer.add_bos', '1');
INSERT INTO llm_token VALUES (0, x'3c733e', 3, 0), (1, x'61', 1, 0), (2, x'62', 1, 0),
  (3, x'6162', 1, 0), (4, x'20', 1, 0), (5, x'206162', 1, 0), (6, x'5b494e53545d', 4, 0),
  (7, x'3c307830413e', 6, 0);
INSERT INTO llm_merge VALUES (1, 2, 0, 3), (4, 3, 1, 5);
CREATE INDEX llm_token_piece ON llm_token(piece);
CREATE INDEX llm_token_special ON llm_token(kind) WHERE kind IN (3, 4);
)";

inline std::string whole_model_plan() {
    return "-- llmsql plan 1 · tiny\n--@ init\n" + whole_model().declarations() +
           R"(CREATE VIRTUAL TABLE temp.tensor USING llm_tensor(arena=8192);
CREATE VIRTUAL TABLE temp.slot USING llm_slot();
INSERT INTO tensor(id, name, type, rows, heads, width, stride, offset) VALUES
  (1, 'x', 'f32', 4, 1, 8, 64, 0), (2, 'h', 'q8', 4, 1, 8, 64, 1024),
  (3, 'logits', 'f32', 4, 1, 24, 128, 2048);
--@ forward :tokens :position :sequence
INSERT INTO slot(id, data) SELECT 1, llm_embed(w.data, :tokens) FROM param w WHERE w.id = 1;
INSERT INTO slot(id, data) SELECT 2, llm_quantize(llm_rms_norm(x.data, w.data, 1e-05))
FROM tensor x, param w WHERE x.id = 1 AND w.id = 2;
--@ logits :first :rows
INSERT INTO slot(id, data) SELECT 3, llm_linear(llm_rows(x.data, :first, :rows), w.data)
FROM tensor x, param w WHERE x.id = 2 AND w.id = 1;
SELECT data FROM tensor WHERE id = 3;
--@ end 10
)";
}

}  // namespace llmsql::fuzz
