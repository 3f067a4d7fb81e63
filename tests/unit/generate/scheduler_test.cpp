// SPDX-License-Identifier: MIT
// Sequences of a scheduler, each against itself alone.
#include "runtime/generate/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <list>
#include <map>
#include <random>
#include <thread>

#include "common/error.h"
#include "runtime/generate/batch.h"
#include "runtime/generate/generator.h"
#include "runtime/generate/open_model.h"
#include "runtime/generate/score.h"
#include "sqlite/callbacks.h"
#include "tests/unit/error_of.h"
#include "tests/unit/generate/tiny_text_model.h"
#include "tests/unit/sanitized.h"
#include "tests/unit/says.h"

namespace llmsql {
namespace {

using test::Answer;
using test::answer_alone;
using test::CacheKind;
using test::error_of;
using test::kChunk;
using test::kContext;
using test::TextModel;

constexpr CacheKind kKinds[] = {CacheKind::window_of_5, CacheKind::window_of_40, CacheKind::whole,
                                CacheKind::states, CacheKind::states_and_window};

std::vector<int32_t> some_tokens(size_t count, int32_t first = 7) {
    std::vector<int32_t> tokens;
    for (size_t i = 0; i < count; ++i)
        tokens.push_back(static_cast<int32_t>((i * 29 + static_cast<size_t>(first)) % 47));
    return tokens;
}

GenerateOptions greedy(int64_t predict) {
    GenerateOptions options;
    options.predict = predict;
    options.sampler.temperature = 0;
    options.seed = 1;
    options.ignore_end = true;
    return options;
}

Request asking(std::vector<int32_t> tokens, const GenerateOptions& options) {
    Request request;
    request.tokens = std::move(tokens);
    request.options = options;
    return request;
}

ModelChoice choice_of(const TextModel& model) {
    return {.model = (model.folder / "tiny.db").string(),
            .plan = (model.folder / "plan.sql").string(),
            .threads = 1};
}

// A scheduler and what it has told of each sequence.
struct Told {
    TextModel& model;
    Scheduler scheduler;
    std::map<SequenceId, Answer> answers;
    std::map<SequenceId, std::string> errors;
    std::set<SequenceId> ended;

    explicit Told(TextModel& model, Scheduler::Clock clock = nullptr)
        : model(model),
          scheduler(*model.program, end_tokens(*model.program, *model.tokenizer),
                    std::move(clock)) {}

    SequenceId arrive(Request request) {
        return scheduler.arrive(model.tokenizer.get(), std::move(request));
    }
    void step() {
        std::vector<Event> events;
        scheduler.step(model.tokenizer.get(), events);
        for (const Event& event : events) {
            Answer& answer = answers[event.id];
            answer.text += event.text;
            EXPECT_FALSE(ended.contains(event.id));
            if (event.kind == Event::Kind::picked) answer.tokens.push_back(event.picked.token);
            if (event.kind == Event::Kind::passed) continue;
            if (event.kind == Event::Kind::failed) {
                try {
                    std::rethrow_exception(event.error);
                } catch (const std::exception& error) {
                    errors[event.id] = error.what();
                }
            }
            if (event.kind == Event::Kind::picked) continue;
            ended.insert(event.id);
            answer.ending = scheduler.at(event.id).ending();
            answer.tokens = scheduler.at(event.id).answer();
        }
    }
    void finish() {
        while (scheduler.is_busy()) step();
    }
};

// What has been compared, and how often a guess was right and wrong in it.
struct Compared {
    int whole = 0, cut = 0, forked = 0;
    uint64_t accepted = 0, refused = 0;
    uint64_t from_snapshot = 0, from_start = 0;  // texts that went on before where they had been
};

// Arrives, cancels and forks at random, and has each sequence answer as it would alone. Passes that
// guess take times at random.
void expect_as_alone(CacheKind kind, uint32_t seed, int operations, Compared& all, int drafts = 0) {
    const int snapshots = test::has_states(kind) ? static_cast<int>(seed % 3 * 2) : 0;
    TextModel model(kind, 4, seed % 4 == 1 ? 2 : 1, drafts, snapshots), other(kind, 1);
    std::mt19937 ticks(seed);
    double now = 0;
    const auto clock = [&] { return now += 1 + static_cast<double>(ticks() % 4) / 4; };
    Told told(model, clock);
    struct Asked {
        std::vector<int32_t> tokens;
        GenerateOptions options;
        bool cancelled = false, forked = false;
    };
    std::map<SequenceId, Asked> asked;
    std::mt19937 random(seed);
    const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
    const auto some_options = [&] {
        GenerateOptions options = greedy(static_cast<int64_t>(below(drafts > 0 ? 40 : 18)));
        options.sampler.temperature = below(2) ? 0.9 : 0;
        options.sampler.top_k = below(2) ? 10 : 2;
        if (below(4) == 0) options.sampler.repeat_penalty = 1.1;
        if (drafts > 0 && below(4) == 0)
            options.drafts = static_cast<int>(below(static_cast<size_t>(drafts) + 1));
        options.seed = static_cast<int64_t>(below(1000));
        options.ignore_end = below(2) == 0;
        if (below(3) == 0) options.stops = {std::string(1, static_cast<char>('A' + below(20)))};
        if (below(3) == 0) options.batch = static_cast<int>(1 + below(kChunk));
        if (below(3) == 0) options.context = static_cast<int>(60 + below(kContext - 60));
        if (below(4) == 0) options.keep = static_cast<int64_t>(below(20)) - 1;
        return options;
    };
    const auto remember = [&](SequenceId id, Asked what) { asked.emplace(id, std::move(what)); };
    const auto some_sequence = [&] {
        auto at = asked.begin();
        std::advance(at, below(asked.size()));
        return at->first;
    };
    std::set<SequenceId> there;
    for (int i = 0; i < operations; ++i) {
        switch (below(8)) {
            case 0: {
                // Beginnings in common, of all lengths.
                Asked what{some_tokens(1 + below(55), static_cast<int32_t>(below(3))),
                           some_options()};
                const SequenceId id = told.arrive(asking(what.tokens, what.options));
                remember(id, std::move(what));
                there.insert(id);
                break;
            }
            case 1:
                if (!asked.empty() && below(3) == 0) {
                    const SequenceId id = some_sequence();
                    asked.at(id).cancelled |= !told.ended.contains(id);
                    told.scheduler.remove(id);
                    there.erase(id);
                }
                break;
            case 2:
                if (!asked.empty() && below(2) == 0) {
                    const SequenceId of = some_sequence();
                    if (!there.contains(of)) break;
                    Asked what{told.scheduler.at(of).tokens(), some_options()};
                    if (what.tokens.size() > 60) break;
                    what.forked = true;
                    const SequenceId id =
                        told.scheduler.fork(model.tokenizer.get(), of, what.options);
                    remember(id, std::move(what));
                    there.insert(id);
                }
                break;
            default:
                told.step();
                // Those that have ended make room now and then.
                for (const SequenceId id : std::set<SequenceId>(there))
                    if (told.ended.contains(id) && below(2)) {
                        told.scheduler.remove(id);
                        there.erase(id);
                    }
        }
    }
    while (!there.empty()) {
        told.finish();
        for (const SequenceId id : std::set<SequenceId>(there))
            if (told.ended.contains(id)) {
                told.scheduler.remove(id);
                there.erase(id);
            }
    }
    EXPECT_TRUE(told.errors.empty());
    int whole = 0, cut = 0, forked = 0;
    for (const auto& [id, what] : asked) {
        SCOPED_TRACE(fmt::format("sequence {} of {}", id, seed));
        const Answer expected = answer_alone(other, what.tokens, what.options);
        Answer got = told.answers[id];
        forked += what.forked;
        if (!what.cancelled) {
            ++whole;
            ASSERT_EQ(got.tokens, expected.tokens);
            ASSERT_EQ(got.text, expected.text);
            ASSERT_EQ(got.ending, expected.ending);
        } else {
            ++cut;
            ASSERT_LE(got.tokens.size(), expected.tokens.size());
            ASSERT_TRUE(std::equal(got.tokens.begin(), got.tokens.end(), expected.tokens.begin()));
        }
    }
    EXPECT_GT(whole, operations / 20);
    const Scheduler::Carried& carried = told.scheduler.carried();
    all.whole += whole;
    all.cut += cut;
    all.forked += forked;
    all.accepted += carried.accepted;
    all.refused += carried.drafted - carried.accepted;
    all.from_snapshot += carried.from_snapshot;
    all.from_start += carried.from_start;
}

TEST(Scheduler, WhateverRunsBesideItEachSequenceIsAsItIsAlone) {
    uint32_t seed = 0;
    Compared all;
    for (const CacheKind kind : kKinds)
        for (int i = 0; i < (test::has_states(kind) ? 6 : 2); ++i)
            expect_as_alone(kind, ++seed, 334, all);
    EXPECT_GT(all.cut, 0);
    EXPECT_GT(all.forked, 0);
    EXPECT_EQ(all.accepted + all.refused, 0U);
    EXPECT_GT(all.from_snapshot, 20U);
    EXPECT_GT(all.from_start, 0U);
}

// A question that is asked anew, another one behind the same beginning, and one that goes on from
// an answer: what is read again begins at a snapshot, and is counted.
TEST(Snapshots, AreWhereTextsGoOnFrom) {
    TextModel keeping(CacheKind::states, 1, 1, 0, 4), plain(CacheKind::states, 1),
        other(CacheKind::states, 1);
    Told with(keeping), without(plain);
    std::vector<int32_t> text = some_tokens(40);
    const auto ask = [&](Told& told, const std::vector<int32_t>& tokens) {
        const SequenceId id = told.arrive(asking(tokens, greedy(8)));
        told.finish();
        EXPECT_EQ(told.answers[id], answer_alone(other, tokens, greedy(8)));
        const std::vector<int32_t> all = told.scheduler.at(id).tokens();
        told.scheduler.remove(id);
        return all;
    };
    const auto counts = [](const Told& told) {
        const Scheduler::Carried carried = told.scheduler.carried();
        return std::vector<uint64_t>{carried.from_snapshot, carried.from_start, carried.reread};
    };
    using Counts = std::vector<uint64_t>;
    ask(with, text);
    ask(without, text);
    EXPECT_EQ(counts(with), (Counts{0, 0, 0}));
    // The same again: all but its last token is known. A snapshot was kept 8 before its end, as the
    // last pass had 8 rows.
    ask(with, text);
    ask(without, text);
    EXPECT_EQ(counts(with), (Counts{1, 0, 7}));
    EXPECT_EQ(counts(without), (Counts{0, 1, 39}));
    // Another end, behind the snapshot, and before it.
    text.resize(36);
    text.insert(text.end(), {1, 2, 3});
    ask(with, text);
    EXPECT_EQ(counts(with), (Counts{2, 0, 7 + 4}));
    text.resize(22);
    text.push_back(1);
    std::vector<int32_t> said = ask(with, text);
    EXPECT_EQ(counts(with), (Counts{2, 1, 7 + 4 + 22}));
    // What was said goes on: nothing is read again.
    said.push_back(5);
    ask(with, said);
    EXPECT_EQ(counts(with), (Counts{2, 1, 7 + 4 + 22}));
}

// However many rows a text is given, beside whatever others: 2,000 texts in all.
TEST(Drafts, NeverChangeAToken) {
    constexpr int kTexts = test::kSanitized ? 150 : 2000;
    Compared all;
    uint32_t seed = 100;
    do
        for (const CacheKind kind : kKinds) {
            ++seed;
            expect_as_alone(kind, seed, test::kSanitized ? 500 : 3500, all, seed % 4 == 0 ? 2 : 8);
        }
    while (all.whole < kTexts && !HasFatalFailure());
    EXPECT_GT(all.cut, kTexts / 100);
    EXPECT_GT(all.forked, kTexts / 100);
    // Right and wrong guesses have both been met.
    EXPECT_GT(all.accepted, static_cast<uint64_t>(all.whole));
    EXPECT_GT(all.refused, static_cast<uint64_t>(all.whole) / 2);
}

// Where passes of several rows cost what one does, a text that repeats itself takes a few; where
// each row costs as much as the first, as many as it has tokens.
TEST(Drafts, AreMadeWhereTheyPay) {
    TextModel model(CacheKind::whole, 1, 1, 8), other(CacheKind::whole, 1);
    const GenerateOptions options = greedy(70);  // it soon goes round in a circle
    const Answer expected = answer_alone(other, some_tokens(20), options);
    double now = 0;
    const auto passes = [&](double row) {
        Scheduler::Carried before;
        Told* told = nullptr;
        const auto clock = [&]() -> double {
            if (!told) return 0;
            // After a pass: what its rows take. Before one, nothing has been carried since.
            const auto carried = told->scheduler.carried();
            const auto rows = static_cast<double>(carried.rows - before.rows);
            before = carried;
            return now += rows > 0 ? 1 + row * (rows - 1) : 0;
        };
        Told made(model, clock);
        told = &made;
        const SequenceId id = made.arrive(asking(some_tokens(20), options));
        made.finish();
        EXPECT_EQ(made.answers[id], expected);
        EXPECT_EQ(made.scheduler.at(id).accepted(), made.scheduler.carried().accepted);
        return made.scheduler.carried().passes;
    };
    const uint64_t least = passes(0), most = passes(1.1);
    EXPECT_LT(least, 45U);
    EXPECT_GE(most, 65U);  // it has to be seen once that it does not pay
    // None are made where none are wanted, and none can be had that the plan has no room for.
    Told told(model);
    GenerateOptions none = options;
    none.drafts = 0;
    const SequenceId id = told.arrive(asking(some_tokens(20), none));
    told.finish();
    EXPECT_EQ(told.answers[id], expected);
    EXPECT_EQ(told.scheduler.carried().drafted, 0U);
    none.drafts = 9;
    EXPECT_SAYS(error_of([&] { told.arrive(asking(some_tokens(20), none)); }),
                "option 'drafts': 9 tokens; the plan has room for 8, llmsqlc --drafts 9 …");
}

// Nothing in the second prompt repeats itself, but what it begins has been answered.
TEST(Drafts, ComeFromTheAnswersOfOthersToo) {
    TextModel model(CacheKind::whole, 1, 1, 8), other(CacheKind::whole, 1);
    double now = 0;
    Told told(model, [&] { return now += 1; });  // each pass takes as long
    uint64_t passes = 0;
    for (const bool first : {true, false}) {
        const SequenceId id = told.arrive(asking(some_tokens(20), greedy(12)));
        told.finish();
        EXPECT_EQ(told.answers[id], answer_alone(other, some_tokens(20), greedy(12)));
        const uint64_t all = told.scheduler.carried().passes;
        if (!first) {
            EXPECT_LT(all - passes, passes);
            EXPECT_GE(told.scheduler.at(id).accepted(), 5U);
        }
        passes = all;
        told.scheduler.remove(id);
    }
}

// Steps until all have ended, every other pass being interrupted. Returns how many were.
int finish_interrupted(TextModel& model, Told& told) {
    int asked = 0, thrown = 0;
    while (told.scheduler.is_busy()) {
        // At another statement each time; it is asked every 20 ms at most.
        model.program->on_interrupt([&] { return ++asked % 3 == 0; });
        std::this_thread::sleep_for(std::chrono::milliseconds(21));
        try {
            told.step();
        } catch (const Interrupted&) {
            ++thrown;
        }
        model.program->on_interrupt(nullptr);
        told.step();
    }
    return thrown;
}

TEST(Drafts, APassThatIsInterruptedIsMadeAgain) {
    for (const CacheKind kind : kKinds) {
        TextModel model(kind, 2, 1, 8), other(kind, 1);
        Told told(model, [] { return 0.0; });
        const SequenceId a = told.arrive(asking(some_tokens(20), greedy(60)));
        const SequenceId b = told.arrive(asking(some_tokens(9, 3), greedy(60)));
        EXPECT_GT(finish_interrupted(model, told), 0);
        EXPECT_GT(told.scheduler.carried().accepted, 0U);
        EXPECT_EQ(told.answers[a], answer_alone(other, some_tokens(20), greedy(60)));
        EXPECT_EQ(told.answers[b], answer_alone(other, some_tokens(9, 3), greedy(60)));
    }
}

TEST(Scheduler, ABeginningIsReadOnceHoweverManyHaveIt) {
    for (const CacheKind kind : {CacheKind::whole, CacheKind::window_of_40}) {
        TextModel model(kind, 4), other(kind, 1);
        Told told(model);
        std::vector<std::vector<int32_t>> prompts;
        for (int32_t i = 0; i < 4; ++i) {
            prompts.push_back(some_tokens(80));
            prompts.back().push_back(i);
        }
        std::vector<SequenceId> ids;
        for (const auto& prompt : prompts) ids.push_back(told.arrive(asking(prompt, greedy(3))));
        told.finish();
        for (size_t i = 0; i < ids.size(); ++i)
            EXPECT_EQ(told.answers[ids[i]], answer_alone(other, prompts[i], greedy(3)));
        EXPECT_LT(told.scheduler.carried().rows, 80U + 4 * (1 + 3 + 32));
        // One that comes later, when all have gone on.
        told.scheduler.remove(ids[0]);
        const SequenceId late = told.arrive(asking(some_tokens(70), greedy(2)));
        told.finish();
        EXPECT_EQ(told.answers[late], answer_alone(other, some_tokens(70), greedy(2)));
    }
}

TEST(Scheduler, ALongPromptDoesNotStopRunningAnswers) {
    TextModel model(CacheKind::whole, 3);
    Told told(model);
    const SequenceId running = told.arrive(asking(some_tokens(4), greedy(40)));
    told.step();
    const SequenceId prompt = told.arrive(asking(some_tokens(90, 3), greedy(2)));
    const SequenceId brief = told.arrive(asking(some_tokens(5, 9), greedy(2)));
    for (size_t i = 2; !told.ended.contains(prompt); ++i) {
        told.step();
        ASSERT_EQ(told.answers[running].tokens.size(), i);  // one a pass
        if (i == 3) {
            EXPECT_FALSE(told.answers[brief].tokens.empty());  // it does not wait either
        }
    }
}

TEST(Scheduler, MoreThanThereArePlacesWaitAndOneThatRestsGetsNoRows) {
    TextModel model(CacheKind::whole, 2), other(CacheKind::whole, 1);
    Told told(model);
    std::vector<SequenceId> ids;
    for (int32_t i = 0; i < 3; ++i)
        ids.push_back(told.arrive(asking(some_tokens(20, i), greedy(4))));
    EXPECT_FALSE(told.scheduler.at(ids[2]).place());
    told.scheduler.rest(ids[0], true);
    told.finish();
    EXPECT_EQ(told.answers.count(ids[0]), 0U);
    EXPECT_TRUE(told.ended.contains(ids[1]));
    EXPECT_FALSE(told.scheduler.at(ids[2]).place());
    told.scheduler.remove(ids[1]);
    told.finish();
    told.scheduler.rest(ids[0], false);
    told.finish();
    for (int32_t i = 0; i < 3; ++i)
        EXPECT_EQ(told.answers[ids[static_cast<size_t>(i)]],
                  answer_alone(other, some_tokens(20, i), greedy(4)));
}

TEST(Scheduler, WhatEndsOneSequenceEndsNoOther) {
    TextModel model(CacheKind::whole, 3), other(CacheKind::whole, 1);
    Told told(model);
    const SequenceId good = told.arrive(asking(some_tokens(20), greedy(8)));
    Request bad = asking(some_tokens(30, 5), greedy(8));
    bad.answered = false;
    bad.rows = Request::Rows{.from = 20, .take = [](size_t position, std::span<const float>) {
                                 if (position == 25) fail("enough");
                             }};
    const SequenceId failing = told.arrive(bad);
    // No token of the model: the pass that it is in fails, and is made again for each alone.
    const SequenceId foreign = told.arrive(asking({1, 2, 4000}, greedy(8)));
    told.finish();
    EXPECT_EQ(told.errors.size(), 2U);
    EXPECT_EQ(told.errors[failing], "enough");
    EXPECT_NE(told.errors[foreign].find("4000"), std::string::npos) << told.errors[foreign];
    EXPECT_EQ(told.answers[good], answer_alone(other, some_tokens(20), greedy(8)));
}

TEST(Scheduler, APassThatIsInterruptedIsMadeAgain) {
    for (const CacheKind kind : kKinds) {
        TextModel model(kind, 2), other(kind, 1);
        Told told(model);
        const SequenceId a = told.arrive(asking(some_tokens(50), greedy(6)));
        const SequenceId b = told.arrive(asking(some_tokens(9, 3), greedy(6)));
        EXPECT_GT(finish_interrupted(model, told), 0);
        EXPECT_EQ(told.answers[a], answer_alone(other, some_tokens(50), greedy(6)));
        EXPECT_EQ(told.answers[b], answer_alone(other, some_tokens(9, 3), greedy(6)));
    }
}

TEST(Scheduler, GivesTheLogitsOfRowsThatAreReadOnceEach) {
    TextModel model(CacheKind::window_of_5, 2), other(CacheKind::window_of_5, 1);
    const auto tokens = some_tokens(40);
    SharedScheduler shared(*model.program, {});
    std::vector<size_t> positions;
    double sum = 0;
    ASSERT_TRUE(read_rows(shared, nullptr, tokens, 10, {}, {},
                          [&](size_t position, std::span<const float> row) {
                              positions.push_back(position);
                              EXPECT_EQ(row.size(), 50U);
                              if (position + 1 < tokens.size())
                                  sum += log_probability(row, tokens[position + 1]);
                          }));
    ASSERT_EQ(positions.size(), 30U);
    for (size_t i = 0; i < positions.size(); ++i) EXPECT_EQ(positions[i], i + 10);
    // Read already: the rows come all the same.
    EXPECT_EQ(log_probability_of(shared, nullptr, tokens, 11, {}, {}), sum);
    double expected = 0;
    for (size_t at = 0; at < tokens.size() - 1; ++at) {
        other.program->forward(std::span(tokens).subspan(at, 1), static_cast<int>(at));
        if (at >= 10)
            expected += log_probability(other.program->logits(0, 1).row(0), tokens[at + 1]);
    }
    EXPECT_EQ(sum, expected);
}

TEST(Caller, ThreadsThatCallAtOnceShareThePasses) {
    constexpr int kThreads = 4, kEach = 6;
    TextModel model(CacheKind::whole, kThreads, 2), other(CacheKind::whole, 1);
    SharedScheduler shared(*model.program, end_tokens(*model.program, *model.tokenizer));
    std::vector<std::vector<std::string>> got(kThreads);
    std::vector<std::unique_ptr<ModelDb>> dbs;
    std::vector<std::unique_ptr<Tokenizer>> tokenizers;
    for (int t = 0; t < kThreads; ++t) {
        dbs.push_back(std::make_unique<ModelDb>(model.folder / "tiny.db"));
        tokenizers.push_back(std::make_unique<Tokenizer>(*dbs.back()));
    }
    const auto prompt = [](int t, int i) {
        return some_tokens(static_cast<size_t>(5 + 7 * i), static_cast<int32_t>(t));
    };
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t)
        threads.emplace_back([&, t] {
            for (int i = 0; i < kEach; ++i) {
                CallerOptions how;
                if (t == 1) how.ahead = 0;
                if (t == 2) how.ahead = 3;
                const GenerateOptions options = greedy(20 + t);
                Generator generator(shared, tokenizers[static_cast<size_t>(t)].get(), options, how);
                generator.begin(prompt(t, i));
                std::string text;
                if (t == 0) {
                    text = generator.rest();
                } else {
                    while (const auto picked = generator.next()) text += picked->text;
                    text += generator.finish();
                }
                got[static_cast<size_t>(t)].push_back(text);
            }
        });
    for (std::thread& thread : threads) thread.join();
    for (int t = 0; t < kThreads; ++t)
        for (int i = 0; i < kEach; ++i)
            EXPECT_EQ(got[static_cast<size_t>(t)][static_cast<size_t>(i)],
                      answer_alone(other, prompt(t, i), greedy(20 + t)).text);
}

// All four have arrived before the first pass is made, and nobody waits for a reader: whichever
// threads make the passes, each carries a row of all four.
TEST(Caller, APassCarriesTheRowsOfAllThreads) {
    constexpr size_t kThreads = 4, kPrompt = kChunk / kThreads, kTokens = 20;
    TextModel model(CacheKind::whole, kThreads), other(CacheKind::whole, 1);
    std::vector<std::string> got(kThreads);
    Scheduler::Carried carried;
    std::barrier all_there(kThreads);
    std::vector<std::thread> threads;
    for (size_t t = 0; t < kThreads; ++t)
        threads.emplace_back([&, t] {
            OpenModel open(choice_of(model), [] { return false; });
            Generator generator(open.scheduler(), &open.tokenizer(), greedy(kTokens), open.join());
            generator.begin(some_tokens(kPrompt, static_cast<int32_t>(t)));
            all_there.arrive_and_wait();
            got[t] = generator.rest();
            all_there.arrive_and_wait();
            if (t == 0) carried = open.scheduler().carried();
        });
    for (std::thread& thread : threads) thread.join();
    for (size_t t = 0; t < kThreads; ++t)
        EXPECT_EQ(got[t], answer_alone(other, some_tokens(kPrompt, static_cast<int32_t>(t)),
                                       greedy(kTokens))
                              .text);
    // The first pass reads the prompts, and the last token is not read.
    EXPECT_EQ(carried.passes, kTokens);
    EXPECT_EQ(carried.rows, kThreads * (kPrompt + kTokens - 1));
}

TEST(Caller, ASlowReaderRestsAndNobodyWaitsForIt) {
    TextModel model(CacheKind::whole, 2), other(CacheKind::whole, 1);
    SharedScheduler shared(*model.program, end_tokens(*model.program, *model.tokenizer));
    constexpr size_t kAhead = 3;
    Generator slow(shared, model.tokenizer.get(), greedy(30), {.ahead = kAhead});
    slow.begin(some_tokens(10));
    std::string text = slow.next()->text;
    Generator quick(shared, model.tokenizer.get(), greedy(40), {});
    quick.begin(some_tokens(10, 3));
    EXPECT_EQ(quick.rest(), answer_alone(other, some_tokens(10, 3), greedy(40)).text);
    const size_t picked =
        slow.with_sequence([](Scheduler&, Sequence& sequence) { return sequence.answer().size(); });
    EXPECT_EQ(picked, 1 + kAhead + 1);  // rests once there are more than that
    text += slow.rest();
    EXPECT_EQ(text, answer_alone(other, some_tokens(10), greedy(30)).text);
}

TEST(Caller, OneThatIsInterruptedOrGoesLeavesTheOthersAlone) {
    TextModel model(CacheKind::whole, 3, 2), other(CacheKind::whole, 1);
    SharedScheduler shared(*model.program, end_tokens(*model.program, *model.tokenizer));
    ModelDb db(model.folder / "tiny.db");
    const Tokenizer tokenizer(db);
    std::string got;
    std::thread steady([&] {
        for (int i = 0; i < 10; ++i) {
            Generator generator(shared, &tokenizer, greedy(30), {});
            generator.begin(some_tokens(30));
            got = generator.rest();
        }
    });
    for (int i = 0; i < 20; ++i) {
        int asked = 0;
        CallerOptions how{.interrupted = [&] { return ++asked > 4; }, .within_passes = true};
        Generator generator(shared, model.tokenizer.get(), greedy(60), how);
        generator.begin(some_tokens(20, 3));
        try {
            while (generator.next()) {
            }
            // Or the other's passes had made all of it by then.
            EXPECT_TRUE(generator.ending() == Ending::interrupted ||
                        generator.ending() == Ending::limit);
        } catch (const Interrupted&) {
        }
    }
    steady.join();
    EXPECT_EQ(got, answer_alone(other, some_tokens(30), greedy(30)).text);
}

TEST(Batch, AnswersInOrderAndFillsWhatEnds) {
    TextModel model(CacheKind::whole, 4), other(CacheKind::whole, 1);
    SharedScheduler shared(*model.program, end_tokens(*model.program, *model.tokenizer));
    GenerateOptions options = greedy(10);
    options.ignore_end = false;
    size_t given = 0;
    const auto prompt = [](size_t i) {
        return some_tokens(1 + i * 5 % 40, static_cast<int32_t>(i));
    };
    Batch batch(shared, model.tokenizer.get(), options, 8,
                [&]() -> std::optional<std::vector<int32_t>> {
                    if (given == 25) return std::nullopt;
                    return prompt(given++);
                },
                {});
    size_t count = 0;
    while (const auto answer = batch.next()) {
        const Answer expected = answer_alone(other, prompt(count), options);
        EXPECT_EQ(answer->text, expected.text) << count;
        EXPECT_EQ(answer->ending, expected.ending) << count;
        EXPECT_EQ(answer->tokens, static_cast<int64_t>(expected.tokens.size())) << count;
        ++count;
    }
    EXPECT_EQ(count, 25U);
    EXPECT_TRUE(batch.at_end());
}

TEST(OpenModel, CallsAtOnceShareAProgramWhileItHasPlaces) {
    const auto never = [] { return false; };
    TextModel two(CacheKind::whole, 2), one(CacheKind::whole, 1);
    OpenModel a(choice_of(two), never), b(choice_of(two), never), c(choice_of(two), never);
    EXPECT_EQ(&a.program(), &b.program());
    EXPECT_EQ(&a.program(), &c.program());
    // A plan for one sequence keeps what one connection has read, and shares weights.
    OpenModel d(choice_of(one), never), e(choice_of(one), never);
    EXPECT_NE(&d.program(), &e.program());
    EXPECT_EQ(d.program().compute(), e.program().compute());
}

// A call on a thread of its own, which waits for a seat: from its construction on.
struct WaitingCall {
    OpenModel open;
    std::atomic<bool> asked{false}, stop{false}, interrupted{false};
    std::thread thread;

    WaitingCall(const TextModel& model, const std::function<void()>& seated)
        : open(choice_of(model), [] { return false; }) {
        thread = std::thread([this, seated] {
            open.begin_call([this] {
                asked = true;
                return stop.load();
            });
            try {
                open.join();
                seated();
            } catch (const Interrupted&) {
                interrupted = true;
            }
            open.end_call();
        });
        while (!asked) std::this_thread::yield();
    }
};

TEST(OpenModel, CallsBeyondThePlansSequencesWaitInTheOrderOfAsking) {
    const auto never = [] { return false; };
    TextModel model(CacheKind::whole, 2);
    OpenModel a(choice_of(model), never), b(choice_of(model), never), c(choice_of(model), never);
    a.join();
    b.join();
    b.join();                // has a seat already
    std::vector<int> order;  // by who has the one seat that goes round
    std::list<WaitingCall> calls;
    for (int i = 0; i < 4; ++i) calls.emplace_back(model, [&order, i] { order.push_back(i); });
    auto& second = *std::next(calls.begin());
    second.stop = true;
    second.thread.join();
    EXPECT_TRUE(second.interrupted);
    a.end_call();
    for (WaitingCall& each : calls)
        if (each.thread.joinable()) each.thread.join();
    EXPECT_EQ(order, std::vector<int>({0, 2, 3}));
    // What this thread has would never end while it waits itself.
    a.join();
    EXPECT_SAYS(error_of([&] { c.join(); }), "all 2 sequences of the plan are taken …");
    b.end_call();
    c.join();
}

TEST(OpenModel, ThreadsThatOpenOneAtOnceAnswerAsAlone) {
    TextModel model(CacheKind::window_of_40, 3), other(CacheKind::window_of_40, 1);
    constexpr size_t kThreads = 4;
    std::vector<std::vector<std::string>> got(kThreads);
    std::vector<std::thread> threads;
    const auto prompt = [](size_t t, size_t i) {
        return some_tokens(3 + 11 * i, static_cast<int32_t>(t));
    };
    for (size_t t = 0; t < kThreads; ++t)
        threads.emplace_back([&, t] {
            OpenModel open(choice_of(model), [] { return false; });
            for (size_t i = 0; i < 6; ++i) {
                Generator generator(open.scheduler(), &open.tokenizer(), greedy(15), open.join());
                generator.begin(prompt(t, i));
                got[t].push_back(generator.rest());
            }
        });
    for (std::thread& thread : threads) thread.join();
    for (size_t t = 0; t < kThreads; ++t)
        for (size_t i = 0; i < 6; ++i)
            EXPECT_EQ(got[t][i], answer_alone(other, prompt(t, i), greedy(15)).text);
}

// With drafts, too: a pass may have picked more than has been taken.
TEST(Generator, AnAnswerGoesOnFromItsStateAsIfItHadNotStopped) {
    TextModel model(CacheKind::whole, 1, 1, 8), other(CacheKind::whole, 1);
    for (const int64_t keep : {-2, 10, 11}) {
        GenerateOptions options = greedy(90);
        if (keep < 11) options.sampler.temperature = 0.9;
        if (keep >= 0) options.keep = keep;
        const Answer whole = answer_alone(other, some_tokens(30), options);
        for (const size_t at : {1U, 5U, 69U, 70U, 71U, 72U}) {
            SharedScheduler shared(*model.program, end_tokens(*model.program, *model.tokenizer));
            AnswerState state;
            {
                Generator first(shared, model.tokenizer.get(), options, {.ahead = 0});
                first.begin(some_tokens(30));
                for (size_t i = 0; i < at; ++i) first.next();
                state = first.state();
            }
            Generator second(shared, model.tokenizer.get(), options, {.ahead = 0});
            std::string text = second.resume(state);
            text += second.rest();
            EXPECT_EQ(text, whole.text) << at;
        }
    }
}

}  // namespace
}  // namespace llmsql
