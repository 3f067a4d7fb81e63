// SPDX-License-Identifier: MIT
// The tiny plan with recurrent states, opened.
#pragma once

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "runtime/program/program.h"
#include "tests/unit/runtime/recurrent_plan.h"

namespace llmsql::test {

inline std::string recurrent_plan(int drafts, int snapshots = 0) {
    std::string plan = with_states(plan_start() + std::string(kPlanEnd), 2, drafts, snapshots);
    if (drafts > 0)
        plan = replaced(plan, "type='f16', sequences=2)",
                        fmt::format("type='f16', sequences=2, drafts={})", drafts));
    return plan;
}

struct OpenedRecurrent {
    TemporaryFolder folder;
    std::unique_ptr<ModelDb> db;
    std::unique_ptr<Program> program;

    explicit OpenedRecurrent(int threads, const std::string& plan) {
        recurrent_model().write(folder / "tiny.db");
        write_text(folder / "plan.sql", with_end(plan));
        db = std::make_unique<ModelDb>(folder / "tiny.db");
        program =
            std::make_unique<Program>(folder / "plan.sql", *db, ProgramOptions{.threads = threads});
    }
    Program* operator->() const { return program.get(); }

    RecurrentStates& states() const { return *program->states(); }
    std::vector<float> values(int sequence, int id) const {
        const RecurrentState state = states().state(sequence, id);
        return {state.data, state.data + state.elements()};
    }
    std::vector<float> logits(int row) const {
        const Logits logits = program->logits(row, 1);
        const auto values = logits.row(0);
        return {values.begin(), values.end()};
    }
};

inline std::vector<int32_t> tiny_tokens(int count, int seed) {
    std::mt19937 random(static_cast<uint32_t>(seed));
    std::vector<int32_t> tokens;
    for (int i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(random() % 48));
    return tokens;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace llmsql::test
