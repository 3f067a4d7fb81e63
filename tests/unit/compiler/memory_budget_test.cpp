// SPDX-License-Identifier: MIT
// Plans with a budget: what is counted, what is chosen, what stands in the SQL; and the residency's
// verifier against damaged plans.
#include "compiler/memory/budget.h"

#include <gtest/gtest.h>

#include <sstream>

#include "common/error.h"
#include "compiler/emit/compile.h"
#include "compiler/emit/memory_page.h"
#include "compiler/memory/residency.h"
#include "compiler/memory/verify_residency.h"
#include "tests/unit/compiler/fuse_graphs.h"

namespace llmsql::compiler::test {
namespace {

constexpr int64_t kMiB = 1 << 20;

/// A small decoder whose matrices are several tiles each, types mixed; its head is its own, or the
/// embedding's table.
GraphBuilder wide_model(bool tied = false, int layers = 6) {
    GraphBuilder b;
    b.model.name = "wide";
    b.model.graph = "test";
    const int table = b.matrix("token_embd", 3000, 512);
    const int head = tied ? table : b.matrix("output", 3000, 512);
    int x = b.named("x", b.embed(table));
    for (b.layer = 0; b.layer < layers; ++b.layer) {
        const int norm = b.vector("attn_norm", 512);
        const int wq = b.matrix("attn_q", 512, 512, WeightType::q4),
                  wk = b.matrix("attn_k", 128, 512, WeightType::q4),
                  wv = b.matrix("attn_v", 128, 512, WeightType::q4),
                  wo = b.matrix("attn_output", 512, 512, WeightType::f16);
        const int ffn_norm = b.vector("ffn_norm", 512), up = b.matrix("ffn_up", 1504, 512),
                  down = b.matrix("ffn_down", 512, 1504);
        const int h = b.named("h", b.rms_norm(x, norm));
        const int q = b.heads(b.linear(h, wq), 8), k = b.heads(b.linear(h, wk), 2),
                  v = b.heads(b.linear(h, wv), 2);
        x = b.named("x", b.add(x, b.linear(b.attention(q, k, v), wo)));
        x = b.named("x", b.add(x, b.linear(b.silu(b.linear(b.rms_norm(x, ffn_norm), up)), down)));
    }
    b.layer = -1;
    b.linear(b.rms_norm(x, b.vector("output_norm", 512)), head);
    return b;
}

Plan planned(const GraphBuilder& b, int64_t bytes, PlanSizes sizes = {.context = 256}) {
    return make_plan(b.model, b.graph, sizes, MemoryBudget{.bytes = bytes});
}

int64_t smallest_budget(const GraphBuilder& b, int64_t from = 0, int64_t to = 64 * kMiB) {
    while (from + 1 < to) {
        const int64_t middle = (from + to) / 2;
        try {
            planned(b, middle);
            to = middle;
        } catch (const Error&) {
            from = middle;
        }
    }
    return to;
}

int64_t bytes_of_part(const std::vector<MemoryPart>& parts, std::string_view name) {
    for (const MemoryPart& part : parts)
        if (part.name == name) return part.bytes;
    throw std::runtime_error("no part of that name");
}

TEST(PassOfAPlan, ScansEveryLinearOnceAndNothingElse) {
    const GraphBuilder b = wide_model();
    const Plan plan = make_plan(b.model, b.graph, {.context = 256});
    const PassScans pass = pass_of(plan, b.model.params);
    EXPECT_TRUE(pass.scans_each_once());
    std::vector<int64_t> scanned(b.model.params.size());
    for (const PassScans::Tile& tile : pass.tiles) {
        const Param& param = b.model.params[static_cast<size_t>(tile.param - 1)];
        EXPECT_EQ(tile.bytes,
                  static_cast<int64_t>(tile_bytes(param.type, param.shape, tile.index)));
        scanned[static_cast<size_t>(tile.param - 1)] += tile.bytes;
    }
    for (size_t i = 0; i < scanned.size(); ++i) {
        const Param& param = b.model.params[i];
        const bool scans = !param.shape.is_vector() && param.name != "token_embd";
        EXPECT_EQ(scanned[i],
                  scans ? static_cast<int64_t>(param_bytes(param.type, param.shape)) : 0)
            << param.name;
    }
    // In the order of the statements: layer by layer, the head last.
    EXPECT_EQ(pass.tiles.back().param, 2);
    for (size_t i = 1; i < pass.tiles.size(); ++i) {
        if (pass.tiles[i].param == 2) break;
        EXPECT_GE(pass.tiles[i].param, pass.tiles[i - 1].param);
    }
}

TEST(PassOfAPlan, ATiedHeadIsScannedOnceAndAMatrixUsedTwiceTwice) {
    const GraphBuilder tied = wide_model(true);
    const Plan plan = make_plan(tied.model, tied.graph, {.context = 256});
    const PassScans pass = pass_of(plan, tied.model.params);
    EXPECT_TRUE(pass.scans_each_once());
    EXPECT_EQ(pass.tiles.back().param, 1);

    GraphBuilder b;
    const int table = b.matrix("table", 64, 512);
    const int w = b.matrix("w", 512, 512), other = b.matrix("other", 512, 512);
    b.linear(b.linear(b.linear(b.embed(table), w), other), w);
    const Plan twice = make_plan(b.model, b.graph, {.context = 16});
    const PassScans scans = pass_of(twice, b.model.params);
    EXPECT_EQ(scans.tiles.size(), 4u);
    EXPECT_EQ(scans.scans, (std::vector<int>{0, 1, 2, 3, 0, 1}));
    // And is held first.
    Plan held = twice;
    const auto once = static_cast<int64_t>(param_bytes(WeightType::q8, {512, 512}));
    plan_residency(held, b.model.params, once);
    EXPECT_EQ(held.residency->read_bytes, once);
    EXPECT_LE(held.residency->lower_bound, once);
}

TEST(Budget, HoldsFromTheSmallestThatWorksOn) {
    for (const bool tied : {false, true}) {
        const GraphBuilder b = wide_model(tied);
        const int64_t smallest = smallest_budget(b);
        int64_t before = INT64_MAX;
        for (int64_t bytes = smallest; bytes < smallest + 17 * kMiB; bytes += 1234567) {
            const Plan plan = planned(b, bytes);
            ASSERT_TRUE(plan.residency);
            EXPECT_EQ(verify_residency(plan, b.model.params), std::vector<std::string>());
            EXPECT_EQ(plan.residency->read_bytes, plan.residency->lower_bound);
            EXPECT_LE(sum_of(memory_parts(plan, b.model.params, 2)), bytes);
            // What is left is less than the smallest tile, or everything is held.
            if (plan.residency->read_bytes > 0) {
                EXPECT_GT(sum_of(memory_parts(plan, b.model.params, 2)), bytes - 80000);
            }
            EXPECT_LE(plan.residency->read_bytes, before);
            before = plan.residency->read_bytes;
        }
        EXPECT_EQ(before, 0);
    }
}

TEST(Budget, TooSmallNamesTheSmallestThatWorksAndWhatDominatesIt) {
    const GraphBuilder b = wide_model();
    const auto refusal = [&](const PlanSizes& sizes, const MemoryBudget& budget) -> std::string {
        try {
            make_plan(b.model, b.graph, sizes, budget);
        } catch (const Error& e) {
            return e.what();
        }
        return "";
    };
    const std::string message = refusal({.context = 65536}, {.bytes = 20 * kMiB});
    EXPECT_TRUE(
        message.starts_with("a budget of 20 MiB is too small for wide at context 65536: "
                            "the smallest that works is "))
        << message;
    EXPECT_NE(message.find(", its largest part the key-value cache of 192."), std::string::npos)
        << message;
    EXPECT_TRUE(message.ends_with(" or more, or --kv q8, or a smaller --context")) << message;
    const std::string q8 = refusal({.context = 65536, .kv = KvType::q8}, {.bytes = 20 * kMiB});
    EXPECT_NE(q8.find(", its largest part the key-value cache of 111."), std::string::npos) << q8;
    EXPECT_TRUE(q8.ends_with(" or more, or a smaller --context")) << q8;
    EXPECT_NE(refusal({.context = 256, .chunk = 32}, {.bytes = 1, .keep_chunk = true})
                  .find(", or a smaller --chunk"),
              std::string::npos);
    EXPECT_NE(refusal({.context = 256}, {.bytes = 1, .keep_chunk = true, .keep_logits_rows = true})
                  .find(", or fewer --logits-rows"),
              std::string::npos);
    // What it names does work, and a tenth of a MiB less does not.
    const int64_t smallest = smallest_budget(b);
    const std::string named = refusal({.context = 256}, {.bytes = smallest - 1});
    std::istringstream words(named.substr(named.find("works is ") + 9));
    double mib = 0;
    words >> mib;
    EXPECT_GE(mib * kMiB, static_cast<double>(smallest) - 1);
    EXPECT_LT(mib * kMiB, static_cast<double>(smallest) + kMiB / 10.0 + 1);
}

TEST(Budget, ALongerChunkIsTakenWhereItPays) {
    const GraphBuilder b = wide_model();
    const int64_t smallest = smallest_budget(b);
    EXPECT_EQ(planned(b, smallest).chunk, 1);
    int64_t before = 1;
    for (int64_t bytes = smallest; bytes < smallest + 4 * kMiB; bytes += 99999) {
        const Plan plan = planned(b, bytes);
        EXPECT_GE(plan.chunk, before);
        before = plan.chunk;
    }
    EXPECT_EQ(before, 64);
    EXPECT_EQ(planned(b, 64 * kMiB, {.context = 20}).chunk, 20);
}

TEST(Budget, KeepsTheSizesThatWereAskedFor) {
    const GraphBuilder b = wide_model();
    const Plan plan =
        make_plan(b.model, b.graph, {.context = 256, .chunk = 24, .logits_rows = 5},
                  MemoryBudget{.bytes = 32 * kMiB, .keep_chunk = true, .keep_logits_rows = true});
    EXPECT_EQ(plan.chunk, 24);
    EXPECT_EQ(plan.logits_rows, 5);
}

TEST(Budget, ChoosesTheCheapestOfWhatItConsidered) {
    const GraphBuilder b = wide_model();
    const int64_t smallest = smallest_budget(b);
    for (int64_t bytes = smallest; bytes < smallest + 3 * kMiB; bytes += 222222) {
        std::vector<ChunkChoice> considered;
        const PlanSizes sizes = choose_sizes(b.model, b.graph, {.context = 256},
                                             MemoryBudget{.bytes = bytes}, &considered);
        ASSERT_EQ(considered.size(), 7u);
        const ChunkChoice* chosen = nullptr;
        for (const ChunkChoice& choice : considered)
            if (choice.chunk == sizes.chunk) chosen = &choice;
        ASSERT_TRUE(chosen && chosen->cost);
        EXPECT_EQ(chosen->logits_rows, sizes.logits_rows);
        for (const ChunkChoice& choice : considered) {
            EXPECT_EQ(choice.cost.has_value(),
                      choice.fixed_bytes + vector_bytes(b.model.params) <= bytes);
            if (choice.cost) {
                EXPECT_LE(*chosen->cost, *choice.cost);
            }
        }
        // As many rows of logits as cost nothing: one more would.
        PlanSizes more = sizes;
        more.logits_rows *= 2;
        const auto fixed = [&](const PlanSizes& s) {
            return sum_of(fixed_parts(make_plan(b.model, b.graph, s), b.model.params, 2));
        };
        PlanSizes one = sizes;
        one.logits_rows = 1;
        EXPECT_EQ(fixed(sizes), fixed(one));
        if (sizes.logits_rows < 8 && more.logits_rows <= sizes.chunk) {
            EXPECT_GT(fixed(more), fixed(one));
        }
    }
}

TEST(Memory, PartsFollowWhatTheyCount) {
    const GraphBuilder b = wide_model();
    const auto part = [&](std::string_view name, const PlanSizes& sizes, int workers = 2) {
        const Plan plan = make_plan(b.model, b.graph, sizes);
        return bytes_of_part(memory_parts(plan, b.model.params, workers), name);
    };
    // 6 layers, k and v, 2 heads of 64, f16: of every further position.
    EXPECT_EQ(
        part("key-value cache", {.context = 2048}) - part("key-value cache", {.context = 1024}),
        1024 * 6 * 2 * 2 * 64 * 2 + 32 * 128);
    const Plan plan = make_plan(b.model, b.graph, {.context = 256});
    EXPECT_GE(part("activations", {.context = 256}), plan.arena_bytes);
    int64_t strips = 0;
    for (const Param& param : b.model.params)
        if (!param.shape.is_vector()) strips += strip_count(*param.shape.rows);
    EXPECT_GE(part("checksums", {.context = 256}), strips * 8);
    const int64_t worker = part("workers", {.context = 256}, 3) - part("workers", {.context = 256});
    EXPECT_GE(worker, static_cast<int64_t>(kTileBytes));
    EXPECT_EQ(part("workers", {.context = 256}, 4) - part("workers", {.context = 256}, 3), worker);
    int64_t weights = 0;
    for (const Param& param : b.model.params)
        weights += static_cast<int64_t>(param_bytes(param.type, param.shape));
    EXPECT_EQ(part("held weights", {.context = 256}), weights);
}

/// A feed-forward as wide as Qwen3-4B's.
GraphBuilder wide_feed_forward() {
    GraphBuilder b;
    b.model.name = "feed";
    b.model.graph = "test";
    const int table = b.matrix("token_embd", 960, 64);
    const int x = b.named("x", b.embed(table));
    b.layer = 0;
    const int h = b.rms_norm(x, b.vector("ffn_norm", 64));
    const int up = b.linear(h, b.matrix("ffn_up", 9728, 64));
    const int y = b.add(x, b.linear(b.silu(up), b.matrix("ffn_down", 64, 9728)));
    b.layer = -1;
    b.linear(b.rms_norm(y, b.vector("output_norm", 64)), table);
    return b;
}

// Workers read as much of a long tile at a time as of others; the ring takes it whole.
TEST(Memory, OfLongTilesTheRingAloneIsLarger) {
    const GraphBuilder b = wide_feed_forward();
    const Plan plan = make_plan(b.model, b.graph, {.context = 256});
    const auto with_rows = [&](int64_t down, int64_t others) {
        std::vector<Param> params = b.model.params;
        for (Param& param : params)
            if (!param.shape.is_vector()) param.shape.rows = param.shape.cols > 64 ? down : others;
        return params;
    };
    // One strip, and tiles of two.
    const std::vector<Param> few = with_rows(16, 6400000), many = with_rows(64000, 6400000);
    EXPECT_EQ(bytes_of_part(memory_parts(plan, few, 2), "workers"),
              bytes_of_part(memory_parts(plan, many, 2), "workers"));
    const auto ring = [&](size_t tile) { return static_cast<int64_t>(ring_bytes(2, tile)); };
    const int64_t least = ring(2 * strip_bytes(WeightType::q8, 9728));
    ASSERT_GT(least, ring(kTileBytes));
    EXPECT_EQ(windows_within(plan, many, 2 * least, 2), least);
    EXPECT_EQ(windows_within(plan, many, 2 * least - 2, 2), 0);
    EXPECT_EQ(windows_within(plan, few, 2 * ring(kTileBytes), 2), ring(kTileBytes));
    // Windows of a mapping as soon as half of what is left is enough for them.
    const auto mapped = static_cast<int64_t>(mapped_bytes(2));
    EXPECT_EQ(windows_within(plan, few, 2 * mapped, 2), mapped);
    EXPECT_LT(windows_within(plan, few, 2 * mapped - 2, 2), mapped);
}

TEST(Memory, APlanSaysByWhichRuleItsTilesAreCutWhereItMatters) {
    const auto text = [](const GraphBuilder& b, int64_t bytes) {
        return plan_text(b.model, planned(b, bytes));
    };
    const GraphBuilder wide = wide_feed_forward();
    EXPECT_NE(text(wide, 32 * kMiB).find("workers=2, tiles=4);"), std::string::npos);
    EXPECT_EQ(first_renumbered(planned(wide, 32 * kMiB), wide.model.params)->name,
              "layer.0.ffn_up");
    EXPECT_EQ(
        plan_text(wide.model, make_plan(wide.model, wide.graph, {.context = 256})).find("tiles="),
        std::string::npos);
    const GraphBuilder b = small_llama();
    EXPECT_EQ(text(b, 32 * kMiB).find("tiles="), std::string::npos);
}

TEST(Memory, CountsTheCacheOfAWindowByItsBlocks) {
    const GraphBuilder b = small_gemma(2);  // one layer of two has a window of 512
    const Plan plan = make_plan(b.model, b.graph, {.context = 4096, .chunk = 64});
    EXPECT_EQ(cache_bytes(plan), (4096 + 19 * 32) * 32 * 2 * 2);
    const Plan brief = make_plan(b.model, b.graph, {.context = 100, .chunk = 64});
    EXPECT_EQ(cache_bytes(brief), (128 + 128) * 32 * 2 * 2);
}

/// A short convolution, then a selective scan, and a head.
GraphBuilder recurrent_model() {
    GraphBuilder b;
    const int table = b.matrix("token_embd", 960, 64);
    b.graph.states = {{"conv", 1, 3, 64, 2}, {"memory", 4, 32, 16, 3}};
    int x = b.embed(table);
    b.layer = 0;
    x = b.apply(*find_operator("causal_conv"),
                {ValueRef{x}, ParamRef{b.vector("taps", 192)}, StateRef{0}}, 1, 64);
    const int dt = b.linear(x, b.matrix("dt", 4, 64)), keys = b.linear(x, b.matrix("b", 32, 64)),
              queries = b.linear(x, b.matrix("c", 32, 64));
    x = b.apply(*find_operator("selective_scan"),
                {ValueRef{b.heads(x, 4)}, ValueRef{dt}, ParamRef{b.vector("a", 4)}, ValueRef{keys},
                 ValueRef{queries}, StateRef{1}},
                1, 64);
    b.layer = -1;
    b.linear(b.rms_norm(x, b.vector("output_norm", 64)), table);
    return b;
}

TEST(Memory, CountsWhatTakingStatesBackTakes) {
    const GraphBuilder b = recurrent_model();
    const auto pages = [](int64_t bytes) { return (bytes + 4095) / 4096 * 4096; };
    for (const int64_t sequences : {1, 3})
        for (const int64_t drafts : {1, 8, 40}) {
            PlanSizes sizes{.context = 256, .sequences = sequences, .drafts = drafts};
            const Plan plan = make_plan(b.model, b.graph, sizes);
            const auto parts = memory_parts(plan, b.model.params, 2);
            const int64_t states = sequences * (pages(3 * 64 * 4) + pages(4 * 32 * 16 * 4));
            EXPECT_EQ(bytes_of_part(parts, "recurrent state"), states);
            EXPECT_EQ(bytes_of_part(parts, "state before drafts"), states);
            // x; x, dt, b and c.
            EXPECT_EQ(plan.states[0].inputs, 64);
            EXPECT_EQ(plan.states[1].inputs, 64 + 4 + 32 + 32);
            EXPECT_EQ(bytes_of_part(parts, "inputs of scans"),
                      sequences * (pages((drafts + 1) * 64 * 4) + pages((drafts + 1) * 132 * 4)));
            sizes.drafts = 0;
            const Plan plain = make_plan(b.model, b.graph, sizes);
            EXPECT_EQ(plan.draft_bytes, sum_of(fixed_parts(plan, b.model.params, 2)) -
                                            sum_of(fixed_parts(plain, b.model.params, 2)));
            EXPECT_GT(plan.draft_bytes, states);
            // Within a budget they are paid for.
            sizes.drafts = drafts;
            const Plan within = planned(b, 20 * kMiB, sizes);
            EXPECT_LE(sum_of(memory_parts(within, b.model.params, 2)), 20 * kMiB);
            EXPECT_EQ(bytes_of_part(memory_parts(within, b.model.params, 2), "inputs of scans"),
                      bytes_of_part(parts, "inputs of scans"));
        }
}

TEST(Memory, TakesNothingForDraftsOfStatesThatNobodyHasAskedFor) {
    const GraphBuilder b = recurrent_model();
    const Plan plan = make_plan(b.model, b.graph, {.context = 256, .drafts = std::nullopt});
    EXPECT_EQ(plan.drafts, 0);
    EXPECT_THROW(bytes_of_part(memory_parts(plan, b.model.params, 2), "state before drafts"),
                 std::runtime_error);
    const std::string text = plan_text(b.model, plan);
    EXPECT_EQ(text.find("drafts"), std::string::npos);
    EXPECT_EQ(text.find("inputs"), std::string::npos);
    const Plan drafting = make_plan(b.model, b.graph, {.context = 256, .drafts = 8});
    const std::string with = plan_text(b.model, drafting);
    EXPECT_NE(with.find("llm_state(sequences=1, drafts=8)"), std::string::npos);
    EXPECT_NE(with.find("(1, 'memory', 4, 32, 16, 132);"), std::string::npos);
}

TEST(Memory, AQ8CacheTakesAboutHalf) {
    for (const GraphBuilder& b : {wide_model(), small_gemma(2)}) {
        const auto cache = [&](KvType kv) {
            return cache_bytes(make_plan(b.model, b.graph, {.context = 4096, .kv = kv}));
        };
        // An int8 code for each f16, a scale of 16 bits for 8 of a key and for 32 of a value.
        EXPECT_EQ(cache(KvType::q8) * 64, cache(KvType::f16) * (32 + 4 + 1));
    }
    // What it saves goes to weights.
    const GraphBuilder b = wide_model();
    const Plan f16 = planned(b, 20 * kMiB, {.context = 1024, .chunk = 8});
    const Plan q8 = planned(b, 20 * kMiB, {.context = 1024, .chunk = 8, .kv = KvType::q8});
    EXPECT_EQ(verify_residency(q8, b.model.params), std::vector<std::string>());
    EXPECT_GT(q8.residency->pool, f16.residency->pool + kMiB);
    EXPECT_LE(sum_of(memory_parts(q8, b.model.params, 2)), 20 * kMiB);
}

TEST(PlanText, SaysWhatIsHeld) {
    const GraphBuilder b = wide_model();
    const Plan plan = planned(b, 18 * kMiB);
    const std::string text = plan_text(b.model, plan);
    EXPECT_EQ(text, plan_text(b.model, planned(b, 18 * kMiB)));
    EXPECT_TRUE(
        text.starts_with("-- llmsql plan 1 · wide · test · budget 18 MiB · context 256 · "
                         "chunk "));
    EXPECT_NE(text.find(" (optimum "), std::string::npos);
    EXPECT_NE(text.find(fmt::format(
                  "CREATE VIRTUAL TABLE temp.residency USING "
                  "llm_residency(budget=18874368, pool={}, windows=0, workers=2, tiles=4);\n",
                  plan.residency->pool)),
              std::string::npos);
    // The rows, read back.
    const std::string head = "INSERT INTO residency(param, first_tile, last_tile, held) VALUES\n";
    const size_t begin = text.find(head);
    ASSERT_NE(begin, std::string::npos);
    EXPECT_LT(text.find("INSERT INTO param("), begin);
    EXPECT_GT(text.find("--@ forward"), begin);
    const size_t end = text.find(';', begin);
    std::string rows = text.substr(begin + head.size(), end - begin - head.size());
    for (char& c : rows)
        if (c == '(' || c == ')' || c == ',') c = ' ';
    std::istringstream numbers(rows);
    Plan read = plan;
    read.residency->tiles.clear();
    PlanTiles range;
    int held = 0;
    while (numbers >> range.param >> range.first >> range.last >> held) {
        range.held = held != 0;
        read.residency->tiles.push_back(range);
    }
    EXPECT_TRUE(numbers.eof());
    EXPECT_EQ(read.residency->tiles.size(), plan.residency->tiles.size());
    EXPECT_EQ(verify_residency(read, b.model.params), std::vector<std::string>());

    size_t semicolons = 0;
    for (size_t at = 0; (at = text.find(";\n", at)) != std::string::npos; ++at) ++semicolons;
    EXPECT_NE(text.find(fmt::format("\n--@ end {}\n", semicolons)), std::string::npos);
}

TEST(PlanText, WithoutABudgetSaysNothingOfIt) {
    const GraphBuilder b = wide_model();
    const std::string text = plan_text(b.model, make_plan(b.model, b.graph, {.context = 256}));
    EXPECT_EQ(text.find("residency"), std::string::npos);
    EXPECT_EQ(text.find("budget"), std::string::npos);
}

TEST(Pages, AddUp) {
    const GraphBuilder b = wide_model();
    const Plan plan = planned(b, 18 * kMiB);
    std::vector<ChunkChoice> considered;
    choose_sizes(b.model, b.graph, {.context = 256}, MemoryBudget{.bytes = 18 * kMiB}, &considered);
    std::istringstream page(memory_page(b.model, plan, considered));
    std::string line;
    int64_t sum = 0, found = -1;
    bool budget = false;
    for (std::getline(page, line), std::getline(page, line); std::getline(page, line);) {
        if (line.size() < 38) break;
        const int64_t bytes = std::stoll(line.substr(24, 14));
        if (line.starts_with("sum"))
            found = bytes;
        else if (found < 0)
            sum += bytes;
        budget |= line.starts_with("budget") && bytes == 18 * kMiB;
    }
    EXPECT_EQ(sum, found);
    EXPECT_EQ(sum, sum_of(memory_parts(plan, b.model.params, 2)));
    EXPECT_TRUE(budget);

    const std::string schedule = schedule_page(b.model, plan);
    const auto number = [&](const std::string& name) {
        const size_t at = schedule.find("\n" + name);
        return at == std::string::npos ? -1 : std::stoll(schedule.substr(at + 33));
    };
    EXPECT_EQ(number("reads, by this schedule"), plan.residency->read_bytes);
    EXPECT_EQ(number("lower bound (attained: optimal)"), plan.residency->lower_bound);
    EXPECT_EQ(number("scans") - number("held of that"), number("reads, by this schedule"));
}

TEST(ResidencyVerifier, HasNothingToSayOfRandomGraphs) {
    for (uint32_t seed = 2000; seed < 2100; ++seed) {
        const GraphBuilder b = random_graph(seed);
        Plan plan = make_plan(b.model, b.graph, {.context = 64});
        plan.residency.emplace();
        plan.residency->budget = int64_t{1} << 40;
        plan.residency->workers = 1;
        for (const int64_t capacity : {0, 3000, 20000, 1 << 30}) {
            plan_residency(plan, b.model.params, capacity);
            EXPECT_EQ(verify_residency(plan, b.model.params), std::vector<std::string>()) << seed;
        }
    }
}

TEST(ResidencyVerifier, SeesDamage) {
    const GraphBuilder b = wide_model();
    const auto damaged = [&](auto damage) -> std::string {
        Plan plan = planned(b, 18 * kMiB);
        damage(*plan.residency);
        const std::vector<std::string> faults = verify_residency(plan, b.model.params);
        return faults.empty() ? "" : faults.front();
    };
    // Of the matrices, one that is held in part.
    const auto split = [](PlanResidency& r) -> std::vector<PlanTiles>::iterator {
        return std::ranges::adjacent_find(r.tiles, [](const PlanTiles& a, const PlanTiles& z) {
            return a.param == z.param && a.held && !z.held;
        });
    };
    EXPECT_EQ(damaged([](PlanResidency&) {}), "");
    EXPECT_NE(damaged([&](PlanResidency& r) { ++split(r)->last; }), "");
    EXPECT_NE(damaged([&](PlanResidency& r) { ++(split(r) + 1)->first; }), "");
    EXPECT_NE(damaged([&](PlanResidency& r) { r.tiles.erase(split(r)); }), "");
    EXPECT_NE(damaged([&](PlanResidency& r) { r.tiles.insert(split(r), *split(r)); }), "");
    EXPECT_NE(damaged([&](PlanResidency& r) { std::swap(*split(r), *(split(r) + 1)); }), "");
    EXPECT_NE(damaged([](PlanResidency& r) { r.tiles.pop_back(); }), "");
    EXPECT_NE(damaged([](PlanResidency& r) { r.tiles.back().last += 1; }), "");
    EXPECT_NE(damaged([](PlanResidency& r) { r.tiles.back().param += 1; }), "");
    EXPECT_NE(damaged([](PlanResidency& r) { r.tiles.front().first = -1; }), "");
    EXPECT_NE(damaged([&](PlanResidency& r) { split(r)->held = false; }), "");
    EXPECT_NE(damaged([](PlanResidency& r) { r.tiles.front().held = !r.tiles.front().held; }), "");
    EXPECT_NE(damaged([](PlanResidency& r) { std::swap(r.tiles.front(), r.tiles.back()); }), "");
    EXPECT_NE(damaged([](PlanResidency& r) { r.windows = r.budget; }), "");
    EXPECT_NE(damaged([](PlanResidency& r) { --r.pool; }), "");
    EXPECT_NE(damaged([](PlanResidency& r) { r.budget = r.pool - 1; }), "");
    EXPECT_NE(damaged([](PlanResidency& r) { --r.read_bytes; }), "");
    EXPECT_NE(damaged([](PlanResidency& r) { ++r.lower_bound; }), "");
    EXPECT_NE(damaged([](PlanResidency& r) { r.workers = 0; }), "");
}

}  // namespace
}  // namespace llmsql::compiler::test
