// SPDX-License-Identifier: MIT
// The tiny plan with recurrent states before its layer: a short convolution of the embeddings, and
// of what that gives the gated delta rule and the selective scan.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <stdexcept>
#include <string>

#include "tests/unit/runtime/tiny_plan.h"

namespace llmsql::test {

inline TinyModel recurrent_model() {
    TinyModel model = tiny_model();
    model.add_vector("taps", random_values(72, 101, 0.7f));
    model.add_vector("conv_bias", random_values(24, 102, 0.2f));
    std::vector<float> a = random_values(4, 103, 1.0f);
    for (float& value : a) value = -std::abs(value);
    model.add_vector("a", a);
    model.add_vector("d", random_values(4, 104, 1.0f));
    return model;
}

inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const size_t at = text.find(from);
    if (at == std::string::npos) throw std::logic_error("not in the plan: " + from);
    return text.replace(at, from.size(), to);
}

/// Makes of tiny_plan.h's plan one with states, for drafts and snapshots or without.
inline std::string with_states(std::string plan, int sequences, int drafts, int snapshots = 0) {
    plan = replaced(plan, tiny_model().declarations(), recurrent_model().declarations());
    plan = replaced(plan, "  (1, 'x', 'f32', 16, 1, 24, 128, 0, NULL, 1),\n",
                    R"(  (1, 'x', 'f32', 16, 1, 24, 128, 0, NULL, 1),
  (50, 'e', 'f32', 16, 1, 24, 128, 32768, NULL, 1),
  (51, 'c', 'f32', 16, 1, 24, 128, 34816, NULL, 1),
  (52, 'gates', 'f32', 16, 1, 4, 64, 36864, NULL, 1),
  (53, 'delta', 'f32', 16, 4, 6, 128, 38912, NULL, 1),
  (54, 'selected', 'f32', 16, 4, 6, 128, 40960, NULL, 1),
  (55, 'q', 'f32', 16, 2, 6, 128, 34816, 51, 1),
  (56, 'b', 'f32', 16, 2, 6, 128, 34864, 51, 1),
  (57, 'v', 'f32', 16, 4, 6, 128, 32768, 50, 1),
  (58, 'k', 'f32', 16, 2, 6, 64, 43008, NULL, 1),
  (59, 'delta', 'f32', 16, 1, 24, 128, 38912, 53, 1),
  (60, 'selected', 'f32', 16, 1, 24, 128, 40960, 54, 1),
)");
    const std::string states =
        fmt::format("CREATE VIRTUAL TABLE temp.state USING llm_state(sequences={}{}{});\n",
                    sequences, drafts > 0 ? fmt::format(", drafts={}", drafts) : "",
                    snapshots != 0 ? fmt::format(", snapshots={}", snapshots) : "") +
        "CREATE VIRTUAL TABLE temp.scan USING llm_scan();\n" +
        (drafts > 0 ? "INSERT INTO state(id, name, heads, rows, width, inputs) VALUES "
                      "(0, 'conv', 1, 3, 24, 24), (1, 'memory', 4, 6, 6, 56), "
                      "(2, 'selected', 4, 6, 6, 52);\n"
                    : "INSERT INTO state(id, name, heads, rows, width) VALUES "
                      "(0, 'conv', 1, 3, 24), (1, 'memory', 4, 6, 6), (2, 'selected', 4, 6, 6);\n");
    plan = replaced(plan, "--@ forward", states + "--@ forward");
    return replaced(
        plan,
        "INSERT INTO slot(id, data) SELECT 1, llm_embed(w.data, :tokens) FROM param w WHERE w.id = "
        "1;\n",
        R"(INSERT INTO slot(id, data) SELECT 50, llm_embed(w.data, :tokens) FROM param w WHERE w.id = 1;
INSERT INTO scan(id, state, sequence, position, data)
SELECT 51, 0, :sequence, :position, llm_causal_conv(x.data, w.data, s.data, b.data)
FROM tensor x, param w, param b, state s
WHERE x.id = 50 AND w.id = 20 AND b.id = 21 AND s.id = 0 AND s.sequence = :sequence;
INSERT INTO slot(id, data) SELECT 52, llm_sigmoid(llm_linear(x.data, w.data))
FROM tensor x, param w WHERE x.id = 50 AND w.id = 10;
INSERT INTO slot(id, data) SELECT 58, llm_l2_norm(k.data, 1e-06) FROM tensor k WHERE k.id = 56;
INSERT INTO scan(id, state, sequence, position, data)
SELECT 53, 1, :sequence, :position,
  llm_gated_delta_rule(q.data, k.data, v.data, g.data, g.data, s.data, 0.4)
FROM tensor q, tensor k, tensor v, tensor g, state s
WHERE q.id = 55 AND k.id = 58 AND v.id = 57 AND g.id = 52 AND s.id = 1 AND s.sequence = :sequence;
INSERT INTO scan(id, state, sequence, position, data)
SELECT 54, 2, :sequence, :position,
  llm_selective_scan(v.data, g.data, a.data, b.data, q.data, s.data, d.data)
FROM tensor v, tensor g, param a, tensor b, tensor q, state s, param d
WHERE v.id = 57 AND g.id = 52 AND a.id = 22 AND b.id = 56 AND q.id = 55 AND d.id = 23 AND s.id = 2
  AND s.sequence = :sequence;
INSERT INTO slot(id, data) SELECT 1, llm_add(e.data, llm_add(d.data, s.data))
FROM tensor e, tensor d, tensor s WHERE e.id = 50 AND d.id = 59 AND s.id = 60;
)");
}

}  // namespace llmsql::test
