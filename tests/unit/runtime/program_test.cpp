// SPDX-License-Identifier: MIT
// A whole tiny plan, written by hand: its results against f64, its independence of chunks and
// threads, what editing it does, and what it may not do.
#include "runtime/program/program.h"
#include "runtime/text/sampler.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <map>
#include <thread>

#include "common/error.h"
#include "tests/unit/error_of.h"
#include "tests/unit/runtime/tiny_model.h"
#include "tests/unit/says.h"

namespace llmsql {
namespace {

using test::random_values;
using test::TemporaryFolder;
using test::TinyModel;

constexpr int64_t kVocabulary = 50, kWidth = 24, kHeads = 4, kKvHeads = 2, kHead = 6, kHidden = 40;
constexpr int64_t kWindow = 5;
constexpr double kEps = 1e-5, kBase = 10000.0;

// One layer of a decoder with a sliding window, in f32: embed, norm, q/k/v with bias, rope,
// attention, residual, gated feed-forward, norm, head.
const std::string kForward = R"(--@ forward :tokens :position :sequence
INSERT INTO slot(id, data) SELECT 1, llm_embed(w.data, :tokens) FROM param w WHERE w.id = 1;
INSERT INTO slot(id, data) SELECT 2, llm_rms_norm(x.data, w.data, 1e-05)
FROM tensor x, param w WHERE x.id = 1 AND w.id = 2;
)" + test::kAttentionHalf +
                             R"(INSERT INTO slot(id, data)
SELECT 10, llm_mul(llm_silu(llm_linear(x.data, g.data)), llm_linear(x.data, u.data))
FROM tensor x, param g, param u WHERE x.id = 9 AND g.id = 10 AND u.id = 11;
INSERT INTO slot(id, data) SELECT 11, llm_add(x.data, llm_scale(llm_linear(h.data, w.data), 0.5))
FROM tensor x, tensor h, param w WHERE x.id = 9 AND h.id = 10 AND w.id = 12;
)";

const std::string kLogits = R"(--@ logits :first :rows
INSERT INTO slot(id, data) SELECT 12, llm_rms_norm(llm_rows(x.data, :first, :rows), w.data, 1e-05)
FROM tensor x, param w WHERE x.id = 11 AND w.id = 13;
INSERT INTO slot(id, data) SELECT 13, llm_linear(h.data, w.data)
FROM tensor h, param w WHERE h.id = 12 AND w.id = 1;
SELECT data FROM tensor WHERE id = 13;
)";

struct TinyDecoder {
    TinyModel model;
    std::map<std::string, std::vector<float>> values;

    explicit TinyDecoder(WeightType type = WeightType::f32) {
        uint32_t seed = 100;
        const auto matrix = [&](const std::string& name, int64_t rows, int64_t cols) {
            values[name] =
                model.add_matrix(name, type, rows, cols,
                                 random_values(static_cast<size_t>(rows * cols), ++seed, 0.7f));
        };
        const auto vector = [&](const std::string& name, int64_t n) {
            values[name] = random_values(static_cast<size_t>(n), ++seed, 1.5f);
            model.add_vector(name, values[name]);
        };
        matrix("embd", kVocabulary, kWidth);
        vector("norm", kWidth);
        matrix("q", kHeads * kHead, kWidth);
        matrix("k", kKvHeads * kHead, kWidth);
        matrix("v", kKvHeads * kHead, kWidth);
        vector("qb", kHeads * kHead);
        vector("kb", kKvHeads * kHead);
        vector("vb", kKvHeads * kHead);
        matrix("o", kWidth, kHeads * kHead);
        matrix("gate", kHidden, kWidth);
        matrix("up", kHidden, kWidth);
        matrix("down", kWidth, kHidden);
        vector("last", kWidth);
    }

    std::string plan(const std::string& kv = "f16") const {
        return "-- llmsql plan 1 · tiny\n--@ init\n" + model.declarations() +
               R"(CREATE VIRTUAL TABLE temp.tensor USING llm_tensor(arena=65536);
CREATE VIRTUAL TABLE temp.slot USING llm_slot();
INSERT INTO tensor(id, name, type, rows, heads, width, stride, offset, slice_of) VALUES
  (1, 'x', 'f32', 16, 1, 24, 128, 0, NULL),
  (2, 'h', 'f32', 16, 1, 24, 128, 2048, NULL),
  (3, 'qkv', 'f32', 16, 1, 48, 192, 4096, NULL),
  (4, 'q', 'f32', 16, 4, 6, 192, 4096, 3),
  (5, 'k', 'f32', 16, 2, 6, 192, 4192, 3),
  (6, 'v', 'f32', 16, 2, 6, 192, 4240, 3),
  (7, 'q', 'f32', 16, 4, 6, 192, 4096, NULL),
  (8, 'a', 'f32', 16, 1, 24, 128, 2048, NULL),
  (9, 'x', 'f32', 16, 1, 24, 128, 0, NULL),
  (10, 'h', 'f32', 16, 1, 40, 192, 2048, NULL),
  (11, 'x', 'f32', 16, 1, 24, 128, 0, NULL),
  (12, 'h', 'f32', 3, 1, 24, 128, 2048, NULL),
  (13, 'logits', 'f32', 3, 1, 50, 256, 8192, NULL);
CREATE VIRTUAL TABLE temp.kv_layer USING llm_kv_layer();
CREATE VIRTUAL TABLE temp.kv USING llm_kv(context=100, type=')" +
               kv +
               R"(', sequences=2);
INSERT INTO kv_layer(layer, heads, width, window) VALUES (0, 2, 6, 5);
)" + kForward + kLogits +
               R"(--@ chat
SELECT '<' || role || '>', content, '</' || role || '>' FROM message;
--@ stop
VALUES ('<end>'), ('<bye>');
--@ end 34
)";
    }

    // The decoder of the plan, in f64, all tokens at once.
    std::vector<double> reference(const std::vector<int32_t>& tokens) const;
};

using Rows = std::vector<std::vector<double>>;

std::vector<double> TinyDecoder::reference(const std::vector<int32_t>& tokens) const {
    const auto norm = [&](const std::vector<double>& x, const std::string& weight) {
        double squares = 0;
        for (const double v : x) squares += v * v;
        std::vector<double> y(x.size());
        for (size_t i = 0; i < x.size(); ++i)
            y[i] = x[i] / std::sqrt(squares / static_cast<double>(x.size()) + kEps) *
                   values.at(weight)[i];
        return y;
    };
    const auto linear = [&](const std::vector<double>& x, const std::string& weight) {
        const std::vector<float>& w = values.at(weight);
        std::vector<double> y(w.size() / x.size());
        for (size_t r = 0; r < y.size(); ++r)
            for (size_t c = 0; c < x.size(); ++c) y[r] += w[r * x.size() + c] * x[c];
        return y;
    };
    const auto biased = [&](const std::vector<double>& x, const std::string& weight) {
        std::vector<double> y = linear(x, weight);
        for (size_t i = 0; i < y.size(); ++i) y[i] += values.at(weight + "b")[i];
        return y;
    };
    const auto rope = [](std::vector<double> x, size_t position) {
        for (size_t h = 0; h < x.size(); h += kHead)
            for (size_t i = 0; i < kHead / 2; ++i) {
                const double angle = static_cast<double>(position) *
                                     std::pow(kBase, -2.0 * static_cast<double>(i) / kHead);
                const double a = x[h + i], b = x[h + i + kHead / 2];
                x[h + i] = a * std::cos(angle) - b * std::sin(angle);
                x[h + i + kHead / 2] = a * std::sin(angle) + b * std::cos(angle);
            }
        return x;
    };
    const auto as_f16 = [](std::vector<double> x) {  // the cache's precision
        for (double& value : x) value = f16_to_f32(f32_to_f16(static_cast<float>(value)));
        return x;
    };
    Rows x, k, v;
    std::vector<double> logits;
    for (size_t t = 0; t < tokens.size(); ++t) {
        const auto token = static_cast<size_t>(tokens[t]);
        x.emplace_back(values.at("embd").begin() + static_cast<long>(token * kWidth),
                       values.at("embd").begin() + static_cast<long>((token + 1) * kWidth));
        const auto h = norm(x[t], "norm");
        const auto q = rope(biased(h, "q"), t);
        k.push_back(as_f16(rope(biased(h, "k"), t)));
        v.push_back(as_f16(biased(h, "v")));
        std::vector<double> attended(kHeads * kHead, 0.0);
        for (size_t head = 0; head < kHeads; ++head) {
            const size_t shared = head * kKvHeads / kHeads * kHead;
            std::vector<double> score;
            double total = 0;
            const size_t first = t + 1 > kWindow ? t + 1 - kWindow : 0;
            for (size_t p = first; p <= t; ++p) {
                double s = 0;
                for (size_t d = 0; d < kHead; ++d) s += q[head * kHead + d] * k[p][shared + d];
                score.push_back(std::exp(0.4 * s));
                total += score.back();
            }
            for (size_t p = first; p <= t; ++p)
                for (size_t d = 0; d < kHead; ++d)
                    attended[head * kHead + d] += score[p - first] / total * v[p][shared + d];
        }
        const auto o = linear(attended, "o");
        for (size_t i = 0; i < kWidth; ++i) x[t][i] += o[i];
        auto gate = linear(x[t], "gate");
        const auto up = linear(x[t], "up");
        for (size_t i = 0; i < kHidden; ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
        const auto down = linear(gate, "down");
        for (size_t i = 0; i < kWidth; ++i) x[t][i] += 0.5 * down[i];
        const auto last = linear(norm(x[t], "last"), "embd");
        logits.insert(logits.end(), last.begin(), last.end());
    }
    return logits;
}

// A model and a plan on disk, opened.
struct Running {
    TemporaryFolder folder;
    std::unique_ptr<ModelDb> db;
    std::unique_ptr<Program> program;

    Running(const TinyDecoder& decoder, const std::string& plan, int threads = 1) {
        decoder.model.write(folder / "tiny.db");
        test::write_text(folder / "plan.sql", plan);
        db = std::make_unique<ModelDb>(folder / "tiny.db");
        open({.threads = threads});
    }

    void open(const ProgramOptions& options) {
        program = std::make_unique<Program>(folder / "plan.sql", *db, options);
    }

    std::vector<float> logits(const std::vector<int32_t>& tokens, size_t chunk) {
        std::vector<float> all;
        for (size_t at = 0; at < tokens.size(); at += chunk) {
            const size_t count = std::min(chunk, tokens.size() - at);
            program->forward({tokens.data() + at, count}, static_cast<int>(at));
            for (size_t row = 0; row < count; row += 3) {
                const auto part = program->logits(
                    static_cast<int>(row), static_cast<int>(std::min<size_t>(3, count - row)));
                for (int i = 0; i < part.rows; ++i)
                    all.insert(all.end(), part.row(i).begin(), part.row(i).end());
            }
        }
        return all;
    }
};

std::vector<int32_t> some_tokens(int count) {
    std::vector<int32_t> tokens;
    for (int i = 0; i < count; ++i) tokens.push_back((i * 29 + 7) % kVocabulary);
    return tokens;
}

// From the plan's name on, where it is said.
std::string error_in(const std::function<void()>& body) {
    const std::string message = test::error_of(body);
    const size_t name = message.find("plan.sql");
    return name == std::string::npos ? message : message.substr(name);
}

// Replaces `from`, which must be there; `statements` more or fewer keep the count right.
std::string edited(std::string plan, const std::string& from, const std::string& to,
                   int statements = 0) {
    const size_t at = plan.find(from);
    if (at == std::string::npos) throw std::logic_error("not in the plan: " + from);
    plan.replace(at, from.size(), to);
    const std::string end = "--@ end 34";
    return plan.replace(plan.find(end), end.size(), "--@ end " + std::to_string(34 + statements));
}

TEST(Program, AgreesWithTheSameDecoderInF64) {
    const TinyDecoder decoder;
    const auto tokens = some_tokens(45);
    Running running(decoder, decoder.plan());
    const auto got = running.logits(tokens, 16);
    const auto expected = decoder.reference(tokens);
    ASSERT_EQ(got.size(), expected.size());
    double spread = 0;
    for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_NEAR(got[i], expected[i], 1e-3) << "token " << i / kVocabulary;
        spread = std::max(spread, std::fabs(expected[i]));
    }
    EXPECT_GT(spread, 3);
}

TEST(Program, TheSameBitsInChunksOfAnySizeAndOnAnyNumberOfThreads) {
    const TinyDecoder decoder;
    const auto tokens = some_tokens(80);
    const auto expected = Running(decoder, decoder.plan(), 1).logits(tokens, 1);
    for (const int threads : {1, 2, 3})
        for (const size_t chunk : {1, 7, 16})
            EXPECT_EQ(Running(decoder, decoder.plan(), threads).logits(tokens, chunk), expected)
                << threads << " threads, chunks of " << chunk;
}

TEST(Program, SeveralSequencesInAPassHaveTheBitsOfEachAlone) {
    const TinyDecoder decoder;
    const std::string plan = edited(decoder.plan(), "sequences=2", "sequences=4");
    // Sequences of different lengths: prompts, then tokens one by one, then a chunk beside them.
    std::vector<std::vector<int32_t>> texts;
    for (const int length : {40, 3, 17, 29}) texts.push_back(some_tokens(length));
    for (size_t i = 0; i < texts.size(); ++i) texts[i][0] = static_cast<int32_t>(i);
    std::vector<std::vector<float>> expected;
    for (const auto& text : texts)
        expected.push_back(Running(decoder, decoder.plan(), 1).logits(text, 5));
    for (const int threads : {1, 2}) {
        Running running(decoder, plan, threads);
        ASSERT_EQ(running.program->sequences(), 4);
        std::vector<size_t> done(texts.size());
        std::vector<std::vector<float>> got(texts.size());
        for (int pass = 0;; ++pass) {
            std::vector<llmsql::Run> runs;
            for (size_t i = 0; i < texts.size(); ++i) {
                const size_t each = pass % 2 == 0 ? 1 : i == 0 ? 6 : 2;
                const size_t count = std::min(each, texts[i].size() - done[i]);
                if (count > 0)
                    runs.push_back({std::span(texts[i]).subspan(done[i], count),
                                    static_cast<int>(done[i]), static_cast<int>(i)});
                done[i] += count;
            }
            if (runs.empty()) break;
            running.program->forward(runs);
            int row = 0;
            for (const llmsql::Run& run : runs)
                for (size_t i = 0; i < run.tokens.size(); ++i, ++row) {
                    const Logits logits = running.program->logits(row, 1);
                    auto& all = got[static_cast<size_t>(run.sequence)];
                    all.insert(all.end(), logits.row(0).begin(), logits.row(0).end());
                }
        }
        EXPECT_EQ(got, expected) << threads << " threads";
    }
}

TEST(Program, RefusesRunsThatDoNotGoTogether) {
    const TinyDecoder decoder;
    Running running(decoder, decoder.plan());
    const auto tokens = some_tokens(12);
    const auto forward = [&](std::vector<llmsql::Run> runs) {
        return error_in([&] { running.program->forward(runs); });
    };
    EXPECT_EQ(forward({{tokens, 0, 0}, {std::span(tokens).first(1), 0, 0}}),
              "plan.sql: the sequence 0 is twice in a pass");
    EXPECT_EQ(forward({{tokens, 0, 0}, {tokens, 0, 1}}),
              "plan.sql: a pass takes 1 to 16 tokens, not 24");
    EXPECT_EQ(forward({{std::span(tokens).first(1), 0, 0}, {std::span(tokens).first(0), 0, 1}}),
              "plan.sql: a pass takes 1 token or more of a sequence");
    EXPECT_NE(forward({{std::span(tokens).first(1), 0, 0}, {std::span(tokens).first(1), 0, 2}})
                  .find("there is no sequence 2"),
              std::string::npos);
    EXPECT_EQ(forward({{std::span(tokens).first(3), 0, 0}, {std::span(tokens).first(2), 0, 1}}),
              "");
}

TEST(Program, ProgramsThatShareAnExecutorTakeTurns) {
    const TinyDecoder decoder;
    const auto tokens = some_tokens(60);
    Running first(decoder, decoder.plan(), 2);
    const auto expected = first.logits(tokens, 7);
    std::vector<std::thread> threads;
    std::vector<std::vector<float>> got(4);
    for (auto& values : got)
        threads.emplace_back([&] {
            const ModelDb db(first.folder / "tiny.db");
            const auto share = [&](int, const ProgramOptions::Make&) {
                return first.program->compute();
            };
            Program program(first.folder / "plan.sql", db, {.share = share});
            for (size_t at = 0; at < tokens.size(); ++at) {
                program.forward({&tokens[at], 1}, static_cast<int>(at));
                const auto row = program.logits(0, 1).row(0);
                values.insert(values.end(), row.begin(), row.end());
            }
        });
    for (std::thread& thread : threads) thread.join();
    for (const auto& values : got) EXPECT_EQ(values, expected);
}

// Between passes, too, only one program at a time may use the threads that they share.
TEST(Program, ProgramsThatShareThreadsSampleBesideEachOthersPasses) {
    const TinyDecoder decoder;
    const auto tokens = some_tokens(40);
    Running first(decoder, decoder.plan(), 2);
    std::vector<float> likely(100'000);  // enough tokens to be worth two threads
    for (size_t i = 0; i < likely.size(); ++i)
        likely[i] = static_cast<float>(i * 7919 % 10'007) / 999;
    std::vector<int32_t> expected;
    Sampler alone({}, 3);
    for (size_t i = 0; i < tokens.size(); ++i) expected.push_back(alone.sample(likely, {}));
    std::vector<std::thread> threads;
    std::vector<std::vector<int32_t>> got(4);
    std::atomic<int> shared = 0;
    for (auto& picked : got)
        threads.emplace_back([&] {
            const ModelDb db(first.folder / "tiny.db");
            const auto share = [&](int, const ProgramOptions::Make&) {
                return first.program->compute();
            };
            Program program(first.folder / "plan.sql", db, {.share = share});
            Sampler sampler({}, 3);
            for (size_t at = 0; at < tokens.size(); ++at) {
                program.forward({&tokens[at], 1}, static_cast<int>(at));
                program.with_idle_workers([&](Workers* workers) {
                    if (workers) ++shared;
                    picked.push_back(sampler.sample(likely, {}, workers));
                });
            }
        });
    for (std::thread& thread : threads) thread.join();
    for (const auto& picked : got) EXPECT_EQ(picked, expected);
    EXPECT_GT(shared, 0);
    first.program->with_idle_workers([&](Workers* workers) {
        EXPECT_NE(workers, nullptr);
        first.program->with_idle_workers([](Workers* other) { EXPECT_EQ(other, nullptr); });
    });
}

TEST(Program, TimesAreOfPassesAndAddUp) {
    const TinyDecoder decoder;
    for (const int threads : {1, 2}) {
        Running running(decoder, decoder.plan(), threads);
        running.logits(some_tokens(3), 3);
        EXPECT_EQ(running.program->stats().times.total, 0);

        running.open({.threads = threads, .timing = true});
        running.program->verify_weights();
        EXPECT_EQ(running.program->stats().times.statements, 0u);
        running.logits(some_tokens(20), 16);  // two passes, whose logits are taken 6 and 2 times
        const PassTimes times = running.program->stats().times;
        EXPECT_EQ(times.passes, 2u);
        EXPECT_EQ(times.tokens, 20u);
        EXPECT_EQ(times.statements, 2u * 9 + 8 * 3);
        EXPECT_GT(times.jobs, times.statements / 2);
        EXPECT_GT(times.computing, 0);
        EXPECT_GT(times.sql, 0);
        EXPECT_GE(times.waiting, 0);
        EXPECT_NEAR(times.computing + times.reading + times.waiting + times.sql, times.total,
                    times.total * 1e-9);

        const PassTimes twice = times + times;
        EXPECT_EQ(twice.statements, 2 * times.statements);
        EXPECT_EQ((twice - times).sql, times.sql);
    }
}

// The plan with room for a pass of 64, and with or without the window.
std::string long_passes(const TinyDecoder& decoder, const std::string& kv, bool window) {
    std::string plan = decoder.plan(kv);
    const std::pair<const char*, const char*> kEdits[] = {
        {"(1, 'x', 'f32', 16, 1, 24, 128, 0, NULL)", "(1, 'x', 'f32', 64, 1, 24, 128, 0, NULL)"},
        {"(2, 'h', 'f32', 16, 1, 24, 128, 2048, NULL)",
         "(2, 'h', 'f32', 64, 1, 24, 128, 8192, NULL)"},
        {"(3, 'qkv', 'f32', 16, 1, 48, 192, 4096, NULL)",
         "(3, 'qkv', 'f32', 64, 1, 48, 192, 16384, NULL)"},
        {"(4, 'q', 'f32', 16, 4, 6, 192, 4096, 3)", "(4, 'q', 'f32', 64, 4, 6, 192, 16384, 3)"},
        {"(5, 'k', 'f32', 16, 2, 6, 192, 4192, 3)", "(5, 'k', 'f32', 64, 2, 6, 192, 16480, 3)"},
        {"(6, 'v', 'f32', 16, 2, 6, 192, 4240, 3)", "(6, 'v', 'f32', 64, 2, 6, 192, 16528, 3)"},
        {"(7, 'q', 'f32', 16, 4, 6, 192, 4096, NULL)",
         "(7, 'q', 'f32', 64, 4, 6, 192, 16384, NULL)"},
        {"(8, 'a', 'f32', 16, 1, 24, 128, 2048, NULL)",
         "(8, 'a', 'f32', 64, 1, 24, 128, 8192, NULL)"},
        {"(9, 'x', 'f32', 16, 1, 24, 128, 0, NULL)", "(9, 'x', 'f32', 64, 1, 24, 128, 0, NULL)"},
        {"(10, 'h', 'f32', 16, 1, 40, 192, 2048, NULL)",
         "(10, 'h', 'f32', 64, 1, 40, 192, 8192, NULL)"},
        {"(11, 'x', 'f32', 16, 1, 24, 128, 0, NULL)", "(11, 'x', 'f32', 64, 1, 24, 128, 0, NULL)"},
        {"(12, 'h', 'f32', 3, 1, 24, 128, 2048, NULL)",
         "(12, 'h', 'f32', 3, 1, 24, 128, 32768, NULL)"},
        {"(13, 'logits', 'f32', 3, 1, 50, 256, 8192, NULL)",
         "(13, 'logits', 'f32', 3, 1, 50, 256, 36864, NULL)"},
    };
    for (const auto& [from, to] : kEdits) plan = edited(plan, from, to);
    if (window) return plan;
    plan = edited(plan, "VALUES (0, 2, 6, 5)", "VALUES (0, 2, 6, 0)");
    plan = edited(plan, " AND kv.position > :position - 36", "");
    return edited(plan, "0.4, 5)", "0.4)");
}

TEST(Program, AQ8CacheGivesTheSameBitsInPassesOfAnySizeAndNearlyWhatF16Gives) {
    const TinyDecoder decoder;
    const auto tokens = some_tokens(90);
    for (const bool window : {false, true}) {
        const auto plan = long_passes(decoder, "q8", window);
        const auto expected = Running(decoder, plan).logits(tokens, 1);
        for (const int threads : {1, 2})
            for (const size_t chunk : {1, 7, 64})
                EXPECT_EQ(Running(decoder, plan, threads).logits(tokens, chunk), expected)
                    << threads << " threads, chunks of " << chunk;
        const auto f16 = Running(decoder, long_passes(decoder, "f16", window)).logits(tokens, 64);
        ASSERT_EQ(f16.size(), expected.size());
        double difference = 0, size = 0;
        for (size_t i = 0; i < f16.size(); ++i) {
            difference += std::pow(static_cast<double>(expected[i]) - f16[i], 2);
            size += std::pow(static_cast<double>(f16[i]), 2);
        }
        const double relative = std::sqrt(difference / size);
        EXPECT_LT(relative, 0.01);
        EXPECT_GT(relative, 1e-5) << "nothing was quantised";
    }
}

TEST(Program, AQ8CacheRewinds) {
    const TinyDecoder decoder;
    for (const bool window : {false, true}) {
        Running running(decoder, long_passes(decoder, "q8", window));
        const auto tokens = some_tokens(70);
        const auto expected = running.logits(tokens, 64);
        for (const int back : {69, 66}) {
            running.program->forward(some_tokens(3), back);  // other tokens, then the same again
            ASSERT_EQ(running.program->rewind(back), back);
            const auto begin = static_cast<size_t>(back);
            running.program->forward({tokens.data() + begin, tokens.size() - begin}, back);
            const auto again = running.program->logits(69 - back, 1).row(0);
            EXPECT_TRUE(std::equal(again.begin(), again.end(), expected.end() - kVocabulary))
                << "from " << back;
        }
    }
}

TEST(Program, SequencesAndRewindsDoNotDisturbEachOther) {
    const TinyDecoder decoder;
    Running running(decoder, decoder.plan());
    const auto tokens = some_tokens(20);
    const auto expected = running.logits(tokens, 4);
    const auto other = some_tokens(9);
    running.program->forward(other, 0, 1);
    EXPECT_EQ(running.program->rewind(19), 19);
    running.program->forward({tokens.data() + 19, 1}, 19);
    const auto again = running.program->logits(0, 1).row(0);
    EXPECT_TRUE(std::equal(again.begin(), again.end(), expected.end() - kVocabulary));
}

TEST(Program, NothingIsCopiedThroughSqlite) {
    const TinyDecoder decoder;
    Running running(decoder, decoder.plan());
    const auto tokens = some_tokens(16);
    running.logits(tokens, 16);
    sqlite3_int64 used = 0, peak = 0;
    sqlite3_status64(SQLITE_STATUS_MEMORY_USED, &used, &peak, 1);
    const sqlite3_int64 before = used;
    int largest = 0, unused = 0;
    sqlite3_status(SQLITE_STATUS_MALLOC_SIZE, &unused, &largest, 1);
    running.logits(tokens, 16);
    sqlite3_status64(SQLITE_STATUS_MEMORY_USED, &used, &peak, 0);
    sqlite3_status(SQLITE_STATUS_MALLOC_SIZE, &unused, &largest, 0);
    // A tensor of this plan is 1536 bytes and more; a statement's own cells are smaller.
    EXPECT_LT(largest, 1024);
    EXPECT_LT(peak - before, 16 * 1024);
}

TEST(EditedPlan, AChangedNumberChangesTheResult) {
    const TinyDecoder decoder;
    const auto tokens = some_tokens(12);
    const auto expected = Running(decoder, decoder.plan()).logits(tokens, 12);
    const auto changed =
        Running(decoder, edited(decoder.plan(), "1e-05", "1e-01")).logits(tokens, 12);
    EXPECT_NE(changed, expected);
}

TEST(EditedPlan, ADroppedStatementIsNoticedWhereItsResultIsMissing) {
    const TinyDecoder decoder;
    const std::string norm =
        "INSERT INTO slot(id, data) SELECT 2, llm_rms_norm(x.data, w.data, 1e-05)\n"
        "FROM tensor x, param w WHERE x.id = 1 AND w.id = 2;\n";
    Running running(decoder, edited(decoder.plan(), norm, "", -1));
    EXPECT_SAYS(error_in([&] { running.logits(some_tokens(3), 3); }),
                "plan.sql:38: tensor 2 'h' … before … written …");
}

TEST(EditedPlan, SwappedStatementsAreNoticed) {
    const TinyDecoder decoder;
    const std::string first =
        "INSERT INTO slot(id, data) SELECT 9, llm_add(x.data, llm_linear(a.data, w.data))\n"
        "FROM tensor x, tensor a, param w WHERE x.id = 1 AND a.id = 8 AND w.id = 9;\n";
    const std::string second =
        "INSERT INTO slot(id, data)\n"
        "SELECT 10, llm_mul(llm_silu(llm_linear(x.data, g.data)), llm_linear(x.data, u.data))\n"
        "FROM tensor x, param g, param u WHERE x.id = 9 AND g.id = 10 AND u.id = 11;\n";
    Running running(decoder, edited(decoder.plan(), first + second, second + first));
    EXPECT_SAYS(error_in([&] { running.logits(some_tokens(3), 3); }),
                "plan.sql:50: tensor 9 'x' … before … written …");
}

TEST(EditedPlan, ADroppedCacheWriteIsNoticed) {
    const TinyDecoder decoder;
    const std::string write =
        "INSERT INTO kv(sequence, layer, position, k, v)\n"
        "SELECT :sequence, 0, :position, llm_rope(k.data, :position, 10000.0), v.data\n"
        "FROM tensor k, tensor v WHERE k.id = 5 AND v.id = 6;\n";
    Running running(decoder, edited(decoder.plan(), write, "", -1));
    EXPECT_NE(error_in([&] { running.logits(some_tokens(3), 3); }), "");
}

TEST(EditedPlan, WrongIdsShapesAndTypesAreRefusedWithTheirLine) {
    const TinyDecoder decoder;
    const struct {
        const char *from, *to, *error;
    } kCases[] = {
        {"WHERE x.id = 1 AND w.id = 2;", "WHERE x.id = 1 AND w.id = 99;",
         "the statement stored nothing: no row of its tables matched"},
        {"WHERE x.id = 1 AND w.id = 2;", "WHERE x.id = 1 AND w.id = 3;",
         "llm_rms_norm: argument 2 must be a vector of `param`, not a parameter"},
        {"WHERE x.id = 1 AND w.id = 2;", "WHERE x.id = 1 AND w.id = 6;", nullptr},
        {"SELECT 2, llm_rms_norm", "SELECT 99, llm_rms_norm", "there is no tensor 99"},
        {"SELECT 2, llm_rms_norm", "SELECT 10, llm_rms_norm",
         "f32[3, 24] does not fit tensor 10 'h', which is f32[16, 1, 40]"},
        {"llm_rms_norm(x.data, w.data, 1e-05)", "llm_rms_norm(x.data, w.data, NULL)",
         "llm_rms_norm: argument 3 must be a finite number, not NULL (no such row, or a pointer "
         "lost in a sorter or subquery)"},
        {"llm_rms_norm(x.data, w.data, 1e-05)", "llm_rms_norm(x.data, w.data, -1e999)",
         "llm_rms_norm: argument 3 must be a finite number, not the number -inf"},
        {"llm_rms_norm(x.data, w.data, 1e-05)", "llm_quantize(x.data)",
         "tensor 2 'h' is f32, so what is stored in it must not be llm_quantize(…)"},
        {"llm_rms_norm(x.data, w.data, 1e-05)", "llm_silu(llm_quantize(x.data))",
         "llm_silu: llm_quantize and llm_concat must stand outermost in an expression"},
        {"llm_rms_norm(x.data, w.data, 1e-05)", "zeroblob(96)", nullptr},
        {"llm_rms_norm(x.data, w.data, 1e-05)", "x.id",
         "what is stored in tensor 2 'h' is not the result of an operator"},
        {"llm_rms_norm(x.data, w.data, 1e-05)", "w.data",
         "what is stored in tensor 2 'h' is not the result of an operator"},
        {"SELECT 8, llm_attention(", "SELECT 7, llm_attention(",
         "tensor 7 'q' would be overwritten while tensor 7 'q' is still read from the same place"},
        {"0.4, 5)", "0.4)",
         nullptr},  // full attention, but the statement selects only the window's blocks: allowed
                    // while the context is short, so this run succeeds
        {"0.4, 5)", "0.4, -5)", "llm_attention: the window must be 0 to 1099511627776, not -5"},
        {"kv.layer = 0 AND", "kv.layer = 1 AND", "llm_attention: no cache block was selected"},
        {"llm_embed(w.data, :tokens)", "llm_embed(w.data, '[1,2,50]')",
         "llm_embed: there is no token 50: embd has 50 rows"},
        {"llm_embed(w.data, :tokens)", "llm_embed(w.data, '[1,]')",
         "llm_embed: argument 2 must be a JSON array of token ids, as '[1,2]', not '[1,]'"},
        {"llm_embed(w.data, :tokens)", "llm_embed(w.data, '[]')",
         "llm_embed: argument 2 holds no token: a pass has one at least"},
        {"llm_embed(w.data, :tokens)", "llm_embed(w.data, x'')",
         "llm_embed: argument 2 holds no token: a pass has one at least"},
        {"llm_embed(w.data, :tokens)", "llm_embed(w.data, x'0102')",
         "llm_embed: argument 2 is a blob of 2 bytes, which is no list of int32"},
        {"llm_embed(w.data, :tokens)", "llm_embed(w.data, 7)",
         "llm_embed: argument 2 must be token ids: a JSON array '[1,2]' or a blob of int32, not 7"},
        {"llm_rows(x.data, :first, :rows)", "llm_rows(x.data, :first, 17)", nullptr},
    };
    for (const auto& c : kCases) {
        SCOPED_TRACE(c.to);
        const std::string got = error_in([&] {
            Running(decoder, edited(decoder.plan(), c.from, c.to)).logits(some_tokens(3), 3);
        });
        if (c.error) {
            EXPECT_NE(got.find(c.error), std::string::npos) << got;
            EXPECT_TRUE(got.starts_with("plan.sql:")) << got;
        }
    }
}

TEST(EditedPlan, ACacheOfAnUnknownTypeIsRefusedWithItsLine) {
    const TinyDecoder decoder;
    for (const std::string type : {"q9", "f32", ""})
        EXPECT_SAYS(error_in([&] { Running(decoder, decoder.plan(type)); }),
                    "plan.sql:34: llm_kv … '" + type + "' … f16 … q8 …");
}

TEST(EditedPlan, ForeignStatementsAreRefusedWithTheirLine) {
    const TinyDecoder decoder;
    const struct {
        const char *statement, *error;
    } kCases[] = {
        {"ATTACH '/tmp/x.db' AS x;", "a plan may not do this here: ATTACH /tmp/x.db"},
        {"CREATE TABLE t(a);", "a plan may not do this here: creating a table, view or trigger"},
        {"PRAGMA journal_mode = WAL;", "a plan may not do this here: PRAGMA journal_mode"},
        {"DELETE FROM slot;", "a plan may not do this here: deleting from slot"},
        {"UPDATE tensor SET offset = 0;", "a plan may not do this here: updating tensor"},
        {"SELECT load_extension('x');", "a plan may not do this here: the function load_extension"},
        {"SELECT * FROM sqlite_master;", "a plan may not do this here: reading sqlite_master"},
        {"SELECT content FROM message;", "no such table: message"},
        {"BEGIN;", "a plan may not do this here: a transaction statement BEGIN"},
        {"EXPLAIN SELECT 1;", "a plan may not do this here: EXPLAIN"},
        {"INSERT INTO param(id) VALUES (1);", "a plan may not do this here: inserting into param"},
        {"SELECT :other;", "the section 'forward' has no parameter ':other'"},
        {"SELECT nonsense;", "no such column: nonsense"},
        {"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c) SELECT i FROM c;",
         "a plan may not do this: WITH; write the query where it is used"},
        {"VACUUM;", "a plan may not do this here: VACUUM"},
    };
    for (const auto& c : kCases) {
        const std::string header = "--@ forward :tokens :position :sequence\n";
        const std::string plan = edited(decoder.plan(), header, header + c.statement + "\n", 1);
        EXPECT_EQ(error_in([&] { Running(decoder, plan); }),
                  std::string("plan.sql:37: ") + c.error);
    }
}

TEST(Program, RefusesAPlanForAnotherModelAndNamesBoth) {
    const TinyDecoder decoder;
    TinyDecoder other(WeightType::f16);
    const std::string f16_plan = other.plan();
    EXPECT_NE(error_in([&] {
                  Running(decoder, f16_plan);
              }).find("the plan's parameter 1 is embd f16[50, 24], but that of "),
              std::string::npos);
    EXPECT_NE(error_in([&] {
                  Running(decoder, edited(f16_plan, "model='tiny'", "model='huge'"));
              }).find("the plan is for the model 'huge' (catalogue "),
              std::string::npos);
    // The checksum covers the whole catalogue: a plan that leaves the end of it out is refused too.
    const std::string last =
        "INSERT INTO param(id, name, type, rows, cols) VALUES (13, 'last', 'f32', NULL, 24);\n";
    EXPECT_NE(error_in([&] {
                  Running(decoder, edited(decoder.plan(), last, "", -1));
              }).find("parameters have the catalogue checksum"),
              std::string::npos);
}

TEST(Program, LimitsOfAPass) {
    const TinyDecoder decoder;
    Running running(decoder, decoder.plan());
    EXPECT_EQ(running.program->chunk(), 16);
    EXPECT_EQ(running.program->logits_rows(), 3);
    EXPECT_EQ(running.program->context(), 100);
    EXPECT_EQ(running.program->vocabulary(), kVocabulary);
    EXPECT_NE(error_in([&] { running.program->forward({}, 0); }), "");
    EXPECT_NE(error_in([&] { running.program->forward(some_tokens(17), 0); }), "");
    EXPECT_NE(error_in([&] { running.program->forward(some_tokens(2), 1); }), "");
    EXPECT_NE(error_in([&] { running.program->logits(0, 1); }), "");
    running.logits(some_tokens(100), 10);
    EXPECT_NE(error_in([&] {
                  running.program->forward(some_tokens(1), 100);
              }).find("the context is full"),
              std::string::npos);
    running.program->forward(some_tokens(2), 0);
    EXPECT_NE(error_in([&] { running.program->logits(1, 2); }), "");
    running.program->logits(1, 1);
}

TEST(Program, ChatKeepsMarkupAndContentApart) {
    const TinyDecoder decoder;
    Running running(decoder, decoder.plan());
    const std::vector<ChatMessage> messages{{"system", ""}, {"user", "a</user>"}};
    const auto fragments = running.program->chat().render(messages);
    std::string shown;
    for (const Fragment& fragment : fragments)
        shown += fragment.markup ? "[" + fragment.text + "]" : fragment.text;
    EXPECT_EQ(shown, "[<system>][</system>][<user>]a</user>[</user>]");
    EXPECT_EQ(running.program->chat().stop_pieces(), (std::vector<std::string>{"<end>", "<bye>"}));
}

TEST(ModelDatabase, DamageIsFoundAndNamed) {
    const TinyDecoder decoder;
    const TemporaryFolder folder;
    test::write_text(folder / "plan.sql", decoder.plan());
    const auto open_after = [&](const std::string& sql) {
        std::filesystem::remove(folder / "tiny.db");
        decoder.model.write(folder / "tiny.db");
        sqlite3* db = nullptr;
        sqlite3_open((folder / "tiny.db").c_str(), &db);
        TinyModel::run(db, sql);
        sqlite3_close(db);
        return error_in([&] {
            const ModelDb model(folder / "tiny.db");
            Program program(folder / "plan.sql", model, {1});
            program.forward(some_tokens(3), 0);
            program.logits(2, 1);
        });
    };
    EXPECT_EQ(open_after("SELECT 1"), "");
    const struct {
        const char *sql, *error;
    } kCases[] = {
        {"UPDATE llm_tile SET data = CAST(substr(data, 1, 99) || x'ff' || substr(data, 101) AS "
         "BLOB) WHERE id = 3",
         "parameter q f32[24, 24] at row 0 is damaged (checksum mismatch)"},
        {"UPDATE llm_tile SET first_row = 16 WHERE id = 3", "at row 16 is missing its tile"},
        {"DELETE FROM llm_tile WHERE id = 4", "parameter k f32[12, 24] has only 0 of its 1 tiles"},
        {"UPDATE llm_tile SET data = x'00' WHERE id = 2", "has a tile of the wrong size"},
        {"UPDATE llm_tile SET checksums = x'00' WHERE id = 2", "has a damaged checksum list"},
        {"UPDATE llm_param SET type = 'q2' WHERE id = 1", "unknown type 'q2'"},
        {"UPDATE llm_param SET rows = 1 << 50 WHERE id = 1", "impossible shape"},
        {"UPDATE llm_param SET cols = 25 WHERE id = 1", "the plan's parameter 1 is embd"},
        {"DELETE FROM llm_param WHERE id = 5", "ids must run from 1 without a gap"},
        {"PRAGMA user_version = 9", "model database format 9, this program reads formats 1 to 4"},
        {"PRAGMA user_version = 2; UPDATE llm_param SET type = 'nvfp4' WHERE id = 1",
         "parameter embd is nvfp4 as model database format 2 has it, this program reads it from "
         "format 3 on; import the model again (llmsql-import)"},
        {"PRAGMA application_id = 9", "not a model database"},
        {"UPDATE llm_meta SET value = 'x' WHERE key = 'catalogue'", "it says"},
        {"DROP TABLE llm_tile",
         "not what was imported (no such table: llm_tile); import the model again"},
        {"PRAGMA journal_mode = wal", "the database is in write-ahead-log mode"},
    };
    for (const auto& c : kCases)
        EXPECT_NE(open_after(c.sql).find(c.error), std::string::npos) << c.sql << "\n"
                                                                      << open_after(c.sql);
}

// Whichever page is damaged, what SQLite says of it comes with what to do.
TEST(ModelDatabase, EveryDamagedPageIsOneLineThatSaysWhatToDo) {
    const TinyDecoder decoder;
    const TemporaryFolder folder;
    test::write_text(folder / "plan.sql", decoder.plan());
    const auto path = folder / "tiny.db";
    decoder.model.write(path, 4096);
    const auto bytes = std::filesystem::file_size(path);
    std::filesystem::rename(path, folder / "whole.db");
    int found = 0;
    for (const auto junk : {'\xff', '\0'})
        for (uint64_t page = 0; page < bytes; page += 4096)
            for (const IoMode io : {IoMode::read, IoMode::blob}) {
                std::filesystem::remove(path);
                std::filesystem::copy_file(folder / "whole.db", path);
                {
                    // Past page 1's header, so that it is still a database.
                    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
                    file.seekp(static_cast<std::streamoff>(page + (page == 0 ? 100 : 0)));
                    file << std::string(64, junk);
                }
                const std::string error = error_in([&] {
                    const ModelDb model(path);
                    ProgramOptions options;
                    options.threads = 1;
                    options.io = io;
                    Program program(folder / "plan.sql", model, options);
                    program.verify_weights();
                });
                if (error == "") continue;
                ++found;
                EXPECT_NE(error.find("import the model again"), std::string::npos)
                    << "page " << page / 4096 << ": " << error;
                EXPECT_EQ(error.find('\n'), std::string::npos) << error;
            }
    EXPECT_GT(found, 20);
}

TEST(ModelDatabase, AWriteAheadLogIsRefusedAndNothingWritten) {
    const TinyDecoder decoder;
    const TemporaryFolder folder;
    const auto path = folder / "tiny.db";
    decoder.model.write(path);
    sqlite3* raw = nullptr;
    sqlite3_open(path.c_str(), &raw);
    TinyModel::run(raw, "PRAGMA journal_mode = wal");
    sqlite3_close(raw);
    const auto files = [&] {
        return std::distance(std::filesystem::directory_iterator(path.parent_path()), {});
    };
    const auto before = files();
    EXPECT_NE(error_in([&] { const ModelDb model(path); }).find("PRAGMA journal_mode = delete"),
              std::string::npos);
    EXPECT_EQ(files(), before);
    sqlite3_open(path.c_str(), &raw);
    TinyModel::run(raw, "PRAGMA journal_mode = delete");
    sqlite3_close(raw);
    EXPECT_EQ(error_in([&] { const ModelDb model(path); }), "");
    for (const char* suffix : {"-wal", "-journal"}) {
        test::write_text(path.string() + suffix, "left behind");
        EXPECT_NE(error_in([&] { const ModelDb model(path); }).find(suffix), std::string::npos);
        std::filesystem::remove(path.string() + suffix);
    }
}

}  // namespace
}  // namespace llmsql
