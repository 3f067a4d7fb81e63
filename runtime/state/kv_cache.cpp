// SPDX-License-Identifier: MIT
// The key-value cache. See kv_cache.h.
#include "runtime/state/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "common/error.h"
#include "common/half.h"
#include "common/sizes.h"

namespace llmsql {
namespace {

constexpr int64_t kMostCacheBytes = int64_t{1} << 50;  // sums of sizes cannot overflow
constexpr int64_t kMostLayers = 1 << 12;

/// A q8 group of `count` columns, 32 at most.
struct Group {
    uint16_t scale = 0;  // f16
    int64_t count;
    int8_t codes[kKvValueGroup] = {};

    Group(const float* values, int64_t count) : count(count) {
        float largest = 0;
        bool finite = true;
        for (int64_t i = 0; i < count; ++i) {
            const float magnitude = std::fabs(values[i]);
            finite = finite && magnitude <= std::numeric_limits<float>::max();
            largest = std::max(largest, magnitude);
        }
        scale = f32_to_f16(largest / 127);
        const float rounded = f16_to_f32(scale);
        if (!finite || std::isinf(rounded)) scale = kNotANumber;
        if (!finite || std::isinf(rounded) || rounded == 0) return;
        // By the scale as it is stored, so that its own rounding costs nothing. Where that is
        // among the smallest f16, it may be too small by half.
        for (int64_t i = 0; i < count; ++i) {
            const float code = std::clamp(values[i] / rounded, -127.0f, 127.0f);
            codes[i] = static_cast<int8_t>((code + kRound) - kRound);
        }
    }

    static constexpr uint16_t kNotANumber = 0x7e00;
    static constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
};

}  // namespace

void KvCache::declare(int64_t layer, KvLayer shape) {
    if (layer != static_cast<int64_t>(layers_.size()))
        fail("kv_layer {}: layers are numbered from 0 without a gap, {} comes next", layer,
             layers_.size());
    constexpr int64_t kMost = 1 << 20;
    if (shape.heads < 1 || shape.width < 1 || shape.heads > kMost || shape.width > kMost ||
        shape.window < 0)
        fail("kv_layer {}: heads and width must be 1 to 2^20, the window not negative", layer);
    if (shape.window > (int64_t{1} << 40)) fail("kv_layer {}: the window is absurd", layer);
    if (layer >= kMostLayers) fail("kv_layer {}: there may be {} layers", layer, kMostLayers);
    if (!sequences_.empty()) fail("kv_layer {}: the cache is already in use", layer);
    layers_.push_back(shape);
    if (bytes() <= kMostCacheBytes) return;
    layers_.pop_back();
    fail("kv_layer {}: the cache would take more than {} bytes", layer, kMostCacheBytes);
}

void KvCache::set_chunk(int64_t chunk) {
    if (chunk < 1) fail("a pass must have room for 1 position at least, not {}", chunk);
    // A ring that is there serves shorter passes as well; longer ones, where it has blocks enough.
    if (!sequences_.empty() && chunk <= config_.chunk) return;
    Config longer = config_;
    longer.chunk = chunk;
    if (!sequences_.empty())
        for (const KvLayer& layer : layers_)
            if (kv_blocks_kept(longer.context, chunk, layer.window) != blocks_kept(layer))
                fail(
                    "the cache is in use, by passes of {} positions at most, and has no room for "
                    "those of {}: DROP TABLE kv and create it again",
                    config_.chunk, chunk);
    if (bytes_of(layers_, longer) > kMostCacheBytes)
        fail("the cache would take more than {} bytes", kMostCacheBytes);
    config_ = longer;
}

void KvCache::undeclare(size_t count) {
    if (count >= layers_.size()) return;
    layers_.resize(count);
    taken_back_.push_back(std::exchange(sequences_, {}));
}

int64_t KvCache::blocks_kept(const KvLayer& layer) const {
    return kv_blocks_kept(config_.context, config_.chunk, layer.window);
}

KvHeadLayout KvCache::layout_of(const KvLayer& layer) const {
    return kv_head_layout(config_.type, layer.width, layer.shared);
}

int64_t KvCache::block_bytes(const KvLayer& layer) const {
    return layer.heads * layout_of(layer).bytes;
}

int64_t KvCache::head_stride(const KvLayer& layer) const {
    return blocks_kept(layer) * layout_of(layer).bytes;
}

int64_t KvCache::bytes_of(const std::vector<KvLayer>& layers, const Config& config) {
    int64_t bytes = 0;
    for (const KvLayer& layer : layers)
        bytes = size_sum(
            bytes,
            size_product(kv_blocks_kept(config.context, config.chunk, layer.window), layer.heads,
                         kv_head_layout(config.type, layer.width, layer.shared).bytes,
                         config.sequences));
    return bytes;
}

int64_t KvCache::bytes() const {
    return bytes_of(layers_, config_);
}

int64_t KvCache::bytes_per_sequence() const {
    return bytes() / config_.sequences;
}

const KvCache::Stored* KvCache::find(int64_t sequence, int64_t layer) const {
    if (layer < 0 || layer >= static_cast<int64_t>(layers_.size()))
        fail("there is no cache layer {}: the plan declares {} (rows of kv_layer)", layer,
             layers_.size());
    const auto found = sequences_.find(sequence);
    return found == sequences_.end() ? nullptr : &found->second[static_cast<size_t>(layer)];
}

KvCache::Stored& KvCache::stored(int64_t sequence, int64_t layer) {
    return sequences_.at(sequence)[static_cast<size_t>(layer)];
}

int64_t KvCache::length(int64_t sequence, int64_t layer) const {
    const Stored* held = find(sequence, layer);
    return held ? held->length : 0;
}

int64_t KvCache::first_held(int64_t sequence, int64_t layer) const {
    const Stored* held = find(sequence, layer);
    if (!held) return 0;
    const int64_t kept = blocks_kept(layers_[static_cast<size_t>(layer)]);
    return std::max<int64_t>(0, kv_blocks(held->end) - kept) * kKvBlock;
}

// Memory for a sequence that has none yet; pages cost nothing until they are touched.
void KvCache::make_room(int64_t sequence) {
    if (sequences_.contains(sequence)) return;
    if (sequence < 0 || sequence >= config_.sequences)
        fail("there is no sequence {}: the plan has room for {}", sequence, config_.sequences);
    std::vector<Stored> fresh(layers_.size());
    for (size_t i = 0; i < layers_.size(); ++i) {
        const int64_t bytes = blocks_kept(layers_[i]) * block_bytes(layers_[i]);
        fresh[i].memory = AnonymousMemory(static_cast<size_t>(bytes), "the key-value cache");
    }
    sequences_.emplace(sequence, std::move(fresh));
}

void KvCache::append(int64_t sequence, int64_t layer, int64_t position, int64_t count) {
    const Stored* held = find(sequence, layer);
    const int64_t length = held ? held->length : 0;
    if (sequence < 0 || sequence >= config_.sequences)
        fail("there is no sequence {}: the plan has room for {}", sequence, config_.sequences);
    if (position < 0 || position > length)
        fail("cache layer {} holds {}, so the next cannot be {}", layer,
             counted(static_cast<uint64_t>(length), "position"), position);
    if (count < 1 || count > config_.chunk)
        fail("a pass may add {}{}, not {}", config_.chunk > 1 ? "1 to " : "",
             counted(static_cast<uint64_t>(config_.chunk), "position"), count);
    if (position + count > config_.context)
        fail(
            "the context is full: it holds {}, and this pass would need {}; compile the plan with "
            "a "
            "larger --context",
            counted(static_cast<uint64_t>(config_.context), "position"), position + count);
    make_room(sequence);
    Stored& target = stored(sequence, layer);
    const int64_t first = first_held(sequence, layer);
    // A ring that has gone on past `position` may have overwritten what the pass looks back on.
    const int64_t window = layers_[static_cast<size_t>(layer)].window;
    if (window > 0 && std::max<int64_t>(0, position - window + 1) < first && position != 0)
        fail("cache layer {} has let go of the positions before {}, which position {} needs", layer,
             first, position);
    target.written = ++writes_;
    target.length = position + count;
    target.end = position == 0 ? target.length : std::max(target.end, target.length);
}

std::byte* KvCache::block_data(const Stored& stored, int64_t layer, int64_t position) const {
    const KvLayer& shape = layers_[static_cast<size_t>(layer)];
    const int64_t slot = position / kKvBlock % blocks_kept(shape);
    return stored.memory.data() + slot * layout_of(shape).bytes;
}

std::byte* KvCache::head_data(int64_t sequence, int64_t layer, int64_t position, int64_t head) {
    return block_data(stored(sequence, layer), layer, position) +
           head * head_stride(layers_[static_cast<size_t>(layer)]);
}

void KvCache::store_key(int64_t sequence, int64_t layer, int64_t position, int64_t head,
                        const float* key) {
    const KvLayer& shape = layers_[static_cast<size_t>(layer)];
    if (shape.shared) return store_value(sequence, layer, position, head, key);
    const int64_t width = shape.width;
    const KvHeadLayout layout = layout_of(shape);
    std::byte* data = head_data(sequence, layer, position, head);
    const int64_t p = position % kKvBlock;
    if (config_.type == KvType::f16) {
        auto* k = reinterpret_cast<uint16_t*>(data);
        for (int64_t d = 0; d < width; ++d) k[d * kKvBlock + p] = f32_to_f16(key[d]);
        return;
    }
    auto* codes = reinterpret_cast<int8_t*>(data);
    auto* scales = reinterpret_cast<uint16_t*>(data + layout.key_scales);
    for (int64_t first = 0; first < width; first += kKvKeyGroup) {
        const Group group(key + first, std::min(kKvKeyGroup, width - first));
        scales[first / kKvKeyGroup * kKvBlock + p] = group.scale;
        for (int64_t i = 0; i < group.count; ++i) {
            const int64_t d = first + i;
            codes[(d / 2 * kKvBlock + p) * 2 + d % 2] = group.codes[i];
        }
    }
}

void KvCache::store_value(int64_t sequence, int64_t layer, int64_t position, int64_t head,
                          const float* value) {
    const KvLayer& shape = layers_[static_cast<size_t>(layer)];
    const int64_t width = shape.width;
    const KvHeadLayout layout = layout_of(shape);
    std::byte* data = head_data(sequence, layer, position, head);
    const int64_t p = position % kKvBlock;
    if (config_.type == KvType::f16) {
        auto* v = reinterpret_cast<uint16_t*>(data + layout.values);
        for (int64_t d = 0; d < width; ++d) v[p * width + d] = f32_to_f16(value[d]);
        return;
    }
    const int64_t columns = (width + kKvKeyGroup - 1) / kKvKeyGroup * kKvKeyGroup;
    auto* codes = reinterpret_cast<int8_t*>(data + layout.values);
    auto* scales = reinterpret_cast<uint16_t*>(data + layout.value_scales);
    for (int64_t first = 0; first < width; first += kKvValueGroup) {
        const Group group(value + first, std::min(kKvValueGroup, width - first));
        scales[first / kKvValueGroup * kKvBlock + p] = group.scale;
        for (int64_t i = 0; i < group.count; ++i)
            codes[(p / 2 * columns + first + i) * 2 + p % 2] = group.codes[i];
    }
}

KvHead KvBlock::head(int64_t head) const {
    const KvHeadLayout layout = kv_head_layout(type, width, shared);
    const std::byte* keys = data + head * head_stride;
    if (shared)
        return {.keys = nullptr,
                .key_scales = nullptr,
                .values = keys,
                .value_scales = type == KvType::f16 ? nullptr : keys + layout.value_scales};
    if (type == KvType::f16)
        return {.keys = keys,
                .key_scales = nullptr,
                .values = keys + layout.values,
                .value_scales = nullptr};
    return {.keys = keys,
            .key_scales = keys + layout.key_scales,
            .values = keys + layout.values,
            .value_scales = keys + layout.value_scales};
}

KvBlock KvCache::block(int64_t sequence, int64_t layer, int64_t position) const {
    const Stored* held = find(sequence, layer);
    if (!held || position < first_held(sequence, layer) || position >= held->length)
        fail("cache layer {} no longer holds the block at position {}", layer, position);
    const KvLayer& shape = layers_[static_cast<size_t>(layer)];
    return {.sequence = sequence,
            .layer = layer,
            .position = position,
            .rows = std::min(kKvBlock, held->length - position),
            .heads = shape.heads,
            .width = shape.width,
            .type = config_.type,
            .shared = shape.shared,
            .data = block_data(*held, layer, position),
            .head_stride = head_stride(shape)};
}

int64_t KvCache::block_bytes(int64_t layer) const {
    return block_bytes(layers_.at(static_cast<size_t>(layer)));
}

bool KvCache::has_block(int64_t sequence, int64_t layer, int64_t position, int64_t rows) const {
    const Stored* held = find(sequence, layer);
    return held && position >= first_held(sequence, layer) && position % kKvBlock == 0 &&
           position + rows <= held->length;
}

bool KvCache::copy_block(int64_t sequence, int64_t layer, int64_t position,
                         std::vector<std::byte>& out, int64_t rows) const {
    if (!has_block(sequence, layer, position, rows)) return false;
    const KvBlock whole = block(sequence, layer, position);
    const auto head_bytes =
        static_cast<size_t>(layout_of(layers_[static_cast<size_t>(layer)]).bytes);
    out.resize(static_cast<size_t>(block_bytes(layer)));
    for (int64_t head = 0; head < whole.heads; ++head)
        std::memcpy(out.data() + static_cast<size_t>(head) * head_bytes,
                    whole.data + head * whole.head_stride, head_bytes);
    return true;
}

void KvCache::begin_restore(int64_t sequence, int64_t length) {
    if (length < 0 || length > config_.context)
        fail("a cache for {} positions cannot be restored to {}", config_.context, length);
    make_room(sequence);
    for (Stored& layer : sequences_.at(sequence)) layer.length = layer.end = length;
}

void KvCache::restore_block(int64_t sequence, int64_t layer, int64_t position,
                            std::span<const std::byte> bytes) {
    if (!has_block(sequence, layer, position, 1) ||
        bytes.size() != static_cast<size_t>(block_bytes(layer)))
        fail("cache layer {} has no block at position {} of {} bytes", layer, position,
             bytes.size());
    const KvLayer& shape = layers_[static_cast<size_t>(layer)];
    const auto head_bytes = static_cast<size_t>(layout_of(shape).bytes);
    for (int64_t head = 0; head < shape.heads; ++head)
        std::memcpy(head_data(sequence, layer, position, head),
                    bytes.data() + static_cast<size_t>(head) * head_bytes, head_bytes);
}

void KvCache::forget_since(uint64_t writes) {
    for (auto& [sequence, layers] : sequences_)
        for (Stored& layer : layers)
            if (layer.written > writes) layer.length = layer.end = 0;
}

void KvCache::truncate(int64_t sequence, int64_t length) {
    const auto found = sequences_.find(sequence);
    if (found == sequences_.end()) return;
    for (Stored& layer : found->second) layer.length = std::min(layer.length, length);
}

void KvCache::copy(int64_t from, int64_t to, int64_t length) {
    if (from == to || !sequences_.contains(from) || rewind(from, length) != length)
        fail("sequence {} cannot be copied to {} from its position {}", from, to, length);
    make_room(to);
    for (int64_t layer = 0; layer < static_cast<int64_t>(layers_.size()); ++layer) {
        const KvLayer& shape = layers_[static_cast<size_t>(layer)];
        const auto bytes = static_cast<size_t>(layout_of(shape).bytes);
        for (int64_t position = first_held(from, layer); position < length; position += kKvBlock)
            for (int64_t head = 0; head < shape.heads; ++head)
                std::memcpy(head_data(to, layer, position, head),
                            head_data(from, layer, position, head), bytes);
        // What a ring has overwritten there is not here either.
        Stored& target = stored(to, layer);
        target.length = length;
        target.end = stored(from, layer).end;
        target.written = ++writes_;
    }
}

int64_t KvCache::rewind(int64_t sequence, int64_t position) const {
    for (int64_t layer = 0; layer < static_cast<int64_t>(layers_.size()); ++layer) {
        const int64_t window = layers_[static_cast<size_t>(layer)].window;
        if (position > length(sequence, layer)) return 0;
        if (window > 0 && std::max<int64_t>(0, position - window + 1) < first_held(sequence, layer))
            return 0;
    }
    return position;
}

}  // namespace llmsql
