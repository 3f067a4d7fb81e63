// SPDX-License-Identifier: MIT
// A tiny model with parameters of every kind, and a plan over it in which every table and most
// operators appear: what tests of edited plans edit, and fuzzing starts from.
#pragma once

#include "tests/unit/runtime/tiny_model.h"

namespace llmsql::test {

/// A decoder's parameters in f32, q8, q4 and f16, and a table of four matrices of q8.
inline TinyModel tiny_model() {
    TinyModel model;
    uint32_t seed = 0;
    const auto matrix = [&](const std::string& name, WeightType type, int64_t rows, int64_t cols) {
        model.add_matrix(name, type, rows, cols,
                         random_values(static_cast<size_t>(rows * cols), ++seed, 0.7f));
    };
    const auto vector = [&](const std::string& name, size_t n) {
        model.add_vector(name, random_values(n, ++seed, 1.5f));
    };
    matrix("embd", WeightType::f32, 50, 24);
    vector("norm", 24);
    matrix("q", WeightType::q8, 24, 24);
    matrix("k", WeightType::q4, 12, 24);
    matrix("v", WeightType::q8, 12, 24);
    vector("qb", 24);
    vector("kb", 12);
    vector("vb", 12);
    matrix("o", WeightType::f32, 24, 24);
    matrix("router", WeightType::f16, 4, 24);
    for (const char* name : {"up.0", "up.1", "up.2", "up.3"}) matrix(name, WeightType::q8, 40, 24);
    for (const char* name : {"down.0", "down.1", "down.2", "down.3"})
        matrix(name, WeightType::f32, 24, 40);
    vector("last", 24);
    return model;
}

/// init and forward, complete; what is put after them is the rest of a plan.
inline std::string plan_start(const std::string& kv = "f16") {
    return "-- llmsql plan 1 · tiny\n--@ init\n" + tiny_model().declarations() +
           R"(CREATE VIRTUAL TABLE temp.tensor USING llm_tensor(arena=65536);
CREATE VIRTUAL TABLE temp.slot USING llm_slot();
CREATE VIRTUAL TABLE temp.chosen USING llm_chosen();
INSERT INTO tensor(id, name, type, rows, heads, width, stride, offset, slice_of, choices) VALUES
  (1, 'x', 'f32', 16, 1, 24, 128, 0, NULL, 1),
  (2, 'h', 'q8', 16, 1, 24, 64, 2048, NULL, 1),
  (3, 'qkv', 'f32', 16, 1, 48, 192, 4096, NULL, 1),
  (4, 'q', 'f32', 16, 4, 6, 192, 4096, 3, 1),
  (5, 'k', 'f32', 16, 2, 6, 192, 4192, 3, 1),
  (6, 'v', 'f32', 16, 2, 6, 192, 4240, 3, 1),
  (7, 'q', 'f32', 16, 4, 6, 192, 4096, NULL, 1),
  (8, 'a', 'f32', 16, 1, 24, 128, 8192, NULL, 1),
  (9, 'x', 'f32', 16, 1, 24, 128, 0, NULL, 1),
  (10, 'shares', 'f32', 16, 1, 4, 64, 12288, NULL, 1),
  (11, 'up', 'f32', 32, 1, 40, 192, 16384, NULL, 2),
  (12, 'h', 'f32', 3, 1, 24, 128, 24576, NULL, 1),
  (13, 'logits', 'f32', 3, 1, 50, 256, 28672, NULL, 1),
  (14, 'x', 'f32', 16, 1, 24, 128, 0, NULL, 1),
  (15, 'shares', 'f32', 16, 1, 4, 64, 12288, NULL, 1);
CREATE VIRTUAL TABLE temp.kv_layer USING llm_kv_layer();
CREATE VIRTUAL TABLE temp.kv USING llm_kv(context=100, type=')" +
           kv + R"(', sequences=2);
INSERT INTO kv_layer(layer, heads, width, window) VALUES (0, 2, 6, 5);
--@ forward :tokens :position :sequence
INSERT INTO slot(id, data) SELECT 1, llm_embed(w.data, :tokens) FROM param w WHERE w.id = 1;
INSERT INTO slot(id, data) SELECT 2, llm_quantize(llm_rms_norm(x.data, w.data, 1e-05))
FROM tensor x, param w WHERE x.id = 1 AND w.id = 2;
)" + kAttentionHalf +
           R"(INSERT INTO slot(id, data) SELECT 10, llm_linear(x.data, w.data)
FROM tensor x, param w WHERE x.id = 9 AND w.id = 10;
INSERT INTO slot(id, data)
SELECT 15, llm_normalize(llm_top(llm_softmax(s.data), 2)) FROM tensor s WHERE s.id = 10;
)";
}

/// The rest of it.
inline constexpr std::string_view kPlanEnd = R"(
INSERT INTO slot(id, data)
SELECT 11, llm_linear_each(x.data, s.data, c.item, w.data, 2)
FROM tensor x, tensor s, chosen c, param w
WHERE x.id = 9 AND s.id = 15 AND c.id = 15 AND w.id = c.item + 11;
INSERT INTO slot(id, data)
SELECT 8, llm_linear_sum(u.data, s.data, c.item, w.data)
FROM tensor u, tensor s, chosen c, param w
WHERE u.id = 11 AND s.id = 15 AND c.id = 15 AND w.id = c.item + 15;
INSERT INTO slot(id, data) SELECT 14, llm_add(x.data, llm_scale(llm_silu(h.data), 0.5))
FROM tensor x, tensor h WHERE x.id = 9 AND h.id = 8;
--@ logits :first :rows
INSERT INTO slot(id, data) SELECT 12, llm_rms_norm(llm_rows(x.data, :first, :rows), w.data, 1e-05)
FROM tensor x, param w WHERE x.id = 14 AND w.id = 19;
INSERT INTO slot(id, data) SELECT 13, llm_linear(h.data, w.data)
FROM tensor h, param w WHERE h.id = 12 AND w.id = 1;
SELECT data FROM tensor WHERE id = 13;
--@ chat
SELECT '<' || role || '>', trim(content, ' ' || char(9, 10, 13)), '</' || role || '>' FROM message;
--@ stop
VALUES ('<end>'), ('<bye>');
)";

/// A plan made of these, with its last line: each statement ends with its line.
inline std::string with_end(const std::string& plan) {
    size_t statements = 0;
    for (size_t at = 0; (at = plan.find(";\n", at)) != std::string::npos; ++at) ++statements;
    return plan + "--@ end " + std::to_string(statements) + "\n";
}

}  // namespace llmsql::test
