// SPDX-License-Identifier: MIT
// Tiny models that write texts: a vocabulary of fifty tokens, and plans over the tiny decoder with
// caches of different kinds, and with recurrent states.
#pragma once

#include <fmt/format.h>
#include <sqlite3.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "runtime/generate/sequence.h"
#include "runtime/program/program.h"
#include "runtime/text/tokenizer.h"
#include "tests/unit/runtime/recurrent_plan.h"

namespace llmsql::test {

inline constexpr int32_t kVocabulary = 50, kEnd = 48, kBye = 49;
inline constexpr int kContext = 100, kChunk = 16;

enum class CacheKind { window_of_5, window_of_40, whole, states, states_and_window };

inline bool has_states(CacheKind kind) {
    return kind == CacheKind::states || kind == CacheKind::states_and_window;
}

/// The tiny plan with another cache, number of sequences, of drafts and of snapshots.
inline std::string text_plan(CacheKind kind, int sequences, int drafts = 0, int snapshots = 0) {
    std::string plan = plan_start(kind == CacheKind::whole ? "q8" : "f16") + std::string(kPlanEnd);
    if (has_states(kind)) plan = with_states(plan, sequences, drafts, snapshots);
    const auto replace = [&](const std::string& from, const std::string& to) {
        plan = replaced(plan, from, to);
    };
    replace("', sequences=2)", fmt::format("', sequences={}{})", sequences,
                                           drafts > 0 ? fmt::format(", drafts={}", drafts) : ""));
    if (kind == CacheKind::window_of_40) {
        replace("(0, 2, 6, 5)", "(0, 2, 6, 40)");
        replace("0.4, 5)", "0.4, 40)");
        replace(":position - 36", ":position - 71");
    } else if (kind == CacheKind::whole || kind == CacheKind::states) {
        replace("(0, 2, 6, 5)", "(0, 2, 6, 0)");
        replace("0.4, 5)", "0.4)");
        replace(" AND kv.position > :position - 36", "");
    }
    return with_end(plan);
}

/// A model and a plan on disk, opened.
struct TextModel {
    TemporaryFolder folder;
    std::unique_ptr<ModelDb> db;
    std::unique_ptr<Tokenizer> tokenizer;
    std::unique_ptr<Program> program;

    TextModel(CacheKind kind, int sequences, int threads = 1, int drafts = 0, int snapshots = 0) {
        (has_states(kind) ? recurrent_model() : tiny_model()).write(folder / "tiny.db");
        sqlite3* raw = nullptr;
        if (sqlite3_open((folder / "tiny.db").c_str(), &raw) != SQLITE_OK)
            throw std::runtime_error("open");
        std::string sql =
            "INSERT INTO llm_meta VALUES ('tokenizer.kind', 'bpe'), ('tokenizer.pre', 'gpt2');";
        for (int id = 0; id < kVocabulary; ++id) {
            const std::string piece = id == kEnd   ? "<end>"
                                      : id == kBye ? "<bye>"
                                                   : std::string(1, static_cast<char>('A' + id));
            sql += fmt::format("INSERT INTO llm_token VALUES ({}, CAST('{}' AS BLOB), {}, 0);", id,
                               piece == "'" ? "''" : piece, id >= kEnd ? 3 : 1);
        }
        TinyModel::run(raw, sql);
        sqlite3_close(raw);
        write_text(folder / "plan.sql", text_plan(kind, sequences, drafts, snapshots));
        db = std::make_unique<ModelDb>(folder / "tiny.db");
        tokenizer = std::make_unique<Tokenizer>(*db);
        program =
            std::make_unique<Program>(folder / "plan.sql", *db, ProgramOptions{.threads = threads});
    }
};

/// An answer to the end, and why it ended.
struct Answer {
    std::vector<int32_t> tokens;
    std::string text;
    Ending ending = Ending::limit;
    bool operator==(const Answer&) const = default;
};

/// What a model answers to `tokens`, one token a pass after the prompt, from an empty cache:
/// written anew here, without what it is compared with.
inline Answer answer_alone(TextModel& model, std::vector<int32_t> tokens,
                           const GenerateOptions& options) {
    Program& program = *model.program;
    const std::set<int32_t> ends = end_tokens(program, *model.tokenizer);
    Sampler sampler(options.sampler, static_cast<uint64_t>(options.seed),
                    options.ignore_end ? std::vector<int32_t>(ends.begin(), ends.end())
                                       : std::vector<int32_t>());
    AnswerText text(options.stops);
    Answer answer;
    const auto end = [&](Ending ending) {
        answer.text += text.finish();
        answer.ending = ending;
        return answer;
    };
    const size_t keep =
        options.keep ? *options.keep < 0 ? tokens.size() : static_cast<size_t>(*options.keep) : 0;
    const auto context = static_cast<size_t>(options.context.value_or(kContext));
    size_t held = 0;
    while (true) {
        int rows = 0;
        for (; held < tokens.size(); held += static_cast<size_t>(rows)) {
            rows = static_cast<int>(std::min<size_t>(kChunk, tokens.size() - held));
            program.forward(std::span(tokens).subspan(held, static_cast<size_t>(rows)),
                            static_cast<int>(held));
        }
        if (options.predict == 0) return end(Ending::limit);
        const int32_t token = sampler.sample(program.logits(rows - 1, 1).row(0), tokens);
        answer.tokens.push_back(token);
        if (!options.ignore_end && ends.contains(token)) return end(Ending::end_token);
        answer.text += text.push(model.tokenizer->shown_text(token));
        if (text.stopped()) return end(Ending::stop_text);
        if (static_cast<int64_t>(answer.tokens.size()) == options.predict)
            return end(Ending::limit);
        if (tokens.size() == context) {
            if (!options.keep || context < keep + 2) return end(Ending::context_full);
            const auto first = tokens.begin() + static_cast<ptrdiff_t>(keep);
            tokens.erase(first, first + static_cast<ptrdiff_t>((context - keep + 1) / 2));
            held = 0;
        }
        tokens.push_back(token);
    }
}

}  // namespace llmsql::test
