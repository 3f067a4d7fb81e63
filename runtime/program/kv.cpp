// SPDX-License-Identifier: MIT
// `kv_layer` and `kv`: the shape of the key-value cache, and its blocks.
#include "common/error.h"
#include "runtime/compute/evaluate.h"
#include "runtime/program/plan_state.h"
#include "runtime/program/table.h"

namespace llmsql {
namespace {

// The present one.
Current<KvCache>& cache_of(PlanState& state) {
    Current<KvCache>& cache = current(state, state.cache);
    if (!cache) require_not_lost<KvCache>(state, cache, cache);
    if (!cache) fail("there is no `kv` table: the plan's init must create it first");
    return cache;
}

class KvLayerTable final : public Table {
  public:
    explicit KvLayerTable(PlanState& state) : state_(state) {}

    const char* declaration() const override {
        return "CREATE TABLE x(layer INTEGER, heads INTEGER, width INTEGER, window INTEGER, "
               "shared INTEGER HIDDEN)";
    }

    Selected select(const Ranges& ranges) const override {
        const Current<KvCache>& cache = cache_of(state_);
        require_not_lost<KvCache>(state_, cache, cache);
        Selected layers{{}, cache};
        const auto count = static_cast<int64_t>(cache->layers().size());
        for (int64_t layer = 0; layer < count; ++layer)
            if (ranges[0].contains(layer)) layers.keys.push_back(layer);
        return layers;
    }

    void column(const Selected& rows, int64_t row, int column,
                sqlite3_context* context) const override {
        const auto& layers = static_cast<const KvCache*>(rows.of.get())->layers();
        if (row >= static_cast<int64_t>(layers.size()))
            fail("kv_layer: the row of layer {} has been rolled back", row);
        const KvLayer& layer = layers[static_cast<size_t>(row)];
        const int64_t values[] = {row, layer.heads, layer.width, layer.window, layer.shared};
        sqlite3_result_int64(context, values[column]);
    }

    void insert(std::span<sqlite3_value*> values) override {
        Current<KvCache>& cache = cache_of(state_);
        cache->declare(integer_value(values[0], "kv_layer.layer"),
                       {.heads = integer_value(values[1], "kv_layer.heads"),
                        .width = integer_value(values[2], "kv_layer.width"),
                        .window = integer_value(values[3], "kv_layer.window"),
                        .shared = is_shared(values[4])});
        cache.lost = false;
    }

    Mark mark() const override {
        return {state_.cache.number, state_.cache ? state_.cache->layers().size() : 0};
    }
    void undo(const Mark& mark) override {
        if (state_.cache)
            state_.cache->undeclare(state_.cache.number == mark.state ? mark.rows : 0);
    }

  private:
    // Plans without such layers do not mention it; hidden, it is none of the columns of a row that
    // is inserted without names.
    static bool is_shared(sqlite3_value* value) {
        if (sqlite3_value_type(value) == SQLITE_NULL) return false;
        const int64_t shared = integer_value(value, "kv_layer.shared");
        if (shared != 0 && shared != 1) fail("kv_layer.shared must be 0 or 1, not {}", shared);
        return shared == 1;
    }

    PlanState& state_;
};

// A row is one block of one layer of one sequence; its key packs the three.
class KvTable final : public Table {
  public:
    KvTable(PlanState& state, std::shared_ptr<KvCache> cache)
        : state_(state), cache_(std::move(cache)) {}

    const char* declaration() const override {
        return "CREATE TABLE x(sequence INTEGER, layer INTEGER, position INTEGER, k, v)";
    }
    int integer_columns() const override { return 3; }

    Selected select(const Ranges& ranges) const override {
        require_not_lost(state_, state_.cache, cache_);
        const KvCache& cache = *cache_;
        const auto layers = static_cast<int64_t>(cache.layers().size());
        const auto within = [](const Ranges::Range& range, int64_t count) {
            return std::pair(std::max<int64_t>(0, range.low), std::min(count - 1, range.high));
        };
        const auto [sequence_low, sequence_high] = within(ranges[0], cache.config().sequences);
        const auto [layer_low, layer_high] = within(ranges[1], layers);
        std::vector<int64_t> keys;
        for (int64_t sequence = sequence_low; sequence <= sequence_high; ++sequence)
            for (int64_t layer = layer_low; layer <= layer_high; ++layer) {
                const int64_t low = std::max(ranges[2].low, cache.first_held(sequence, layer));
                const int64_t length = cache.length(sequence, layer);
                if (low >= length) continue;
                for (int64_t position = kv_blocks(low) * kKvBlock;
                     position < length && position <= ranges[2].high; position += kKvBlock)
                    keys.push_back(((sequence * layers + layer) << kPositionBits) | position);
            }
        return {std::move(keys), nullptr};
    }

    void column(const Selected&, int64_t row, int column, sqlite3_context* context) const override {
        const auto layers = static_cast<int64_t>(cache_->layers().size());
        if (layers == 0) fail("kv: the layers have been rolled back");
        const int64_t position = row & ((int64_t{1} << kPositionBits) - 1);
        const int64_t layer = (row >> kPositionBits) % layers;
        const int64_t sequence = (row >> kPositionBits) / layers;
        switch (column) {
            case 0:
                return sqlite3_result_int64(context, sequence);
            case 1:
                return sqlite3_result_int64(context, layer);
            case 2:
                return sqlite3_result_int64(context, position);
            default:
                sqlite3_result_pointer(
                    context, new KvBlock(cache_->block(sequence, layer, position)), kBlockPointer,
                    [](void* block) { delete static_cast<KvBlock*>(block); });
        }
    }

    void insert(std::span<sqlite3_value*> values) override {
        const int64_t sequence = integer_value(values[0], "kv.sequence");
        const int64_t layer = integer_value(values[1], "kv.layer");
        const int64_t position = integer_value(values[2], "kv.position");
        const ExprPtr k = value_expr(values[3]), v = value_expr(values[4]);
        const bool without = !v && sqlite3_value_type(values[4]) == SQLITE_NULL;
        if (!k || !(v || without))
            fail("cache layer {}: {} is not the result of an operator", layer, k ? "v" : "k");
        if (cache_ != current(state_, state_.cache))
            fail("this table `kv` is no longer the plan's");
        require_not_lost(state_, state_.cache, cache_);
        count_write(state_);
        Compute& compute = compute_of(state_);
        state_.before_append();
        evaluate_into_cache(compute, k, v, *cache_, sequence, layer, position);
        state_.after_store(compute);
    }

    void dropped() override {
        if (state_.cache == cache_) drop(state_.cache);
    }
    Mark mark() const override { return {0, cache_->writes()}; }
    void undo(const Mark& mark) override { cache_->forget_since(mark.rows); }

  private:
    static constexpr int kPositionBits = 32;
    PlanState& state_;
    const std::shared_ptr<KvCache> cache_;
};

// Of a sequence in a pass.

}  // namespace

std::unique_ptr<Table> make_kv_layer_table(PlanState& state, const ModuleArguments&) {
    return std::make_unique<KvLayerTable>(state);
}

std::unique_ptr<Table> make_kv_table(PlanState& state, const ModuleArguments& arguments) {
    auto cache = claim(state, state.cache, arguments, "cache");
    KvCache::Config config;
    config.context = arguments.integer("context");
    config.sequences = arguments.integer("sequences");
    if (config.context < 1 || config.context > (1 << 20))
        fail("llm_kv: context={} must be 1 to 2^20", config.context);
    if (config.sequences < 1 || config.sequences > 1024)
        fail("llm_kv: sequences={} must be 1 to 1024", config.sequences);
    config.drafts = arguments.integer_or("drafts", 0);
    if (config.drafts < 0 || config.drafts > kMostDrafts)
        fail("llm_kv: drafts={} must be 0 to {}", config.drafts, kMostDrafts);
    const std::string type = arguments.text("type");
    const std::optional<KvType> known = kv_type_named(type);
    if (!known) fail("llm_kv: type='{}' is not known, f16 and q8 are", type);
    config.type = *known;
    if (!cache) {
        cache = std::make_shared<KvCache>(config);
        install(state, state.cache, cache, arguments);
    }
    return std::make_unique<KvTable>(state, std::move(cache));
}

}  // namespace llmsql
