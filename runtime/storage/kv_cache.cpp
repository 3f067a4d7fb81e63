// The key-value cache. See kv_cache.h.
#include "runtime/storage/kv_cache.h"

#include <algorithm>

#include "common/error.h"
#include "common/half.h"

namespace llmsql {

void KvCache::declare(int64_t layer, KvLayer shape) {
    if (layer != static_cast<int64_t>(layers_.size()))
        fail("kv_layer {}: layers are numbered from 0 without a gap, {} comes next", layer,
             layers_.size());
    constexpr int64_t kMost = 1 << 20;
    if (shape.heads < 1 || shape.width < 1 || shape.heads > kMost || shape.width > kMost ||
        shape.window < 0)
        fail("kv_layer {}: heads and width must be 1 to 2^20, the window not negative", layer);
    if (!sequences_.empty()) fail("kv_layer {}: the cache is already in use", layer);
    layers_.push_back(shape);
}

int64_t KvCache::blocks_kept(const KvLayer& layer) const {
    const int64_t all = (config_.context + kKvBlock - 1) / kKvBlock;
    if (layer.window == 0) return all;
    // A pass of `chunk` rows looks at window + chunk - 1 positions, which touch at most:
    const int64_t span = layer.window + config_.chunk - 1;
    return std::min(all, (span + kKvBlock - 2) / kKvBlock + 1);
}

int64_t KvCache::bytes_per_sequence() const {
    int64_t bytes = 0;
    for (const KvLayer& layer : layers_) bytes += blocks_kept(layer) * block_elements(layer) * 2;
    return bytes;
}

const KvCache::Stored* KvCache::find(int64_t sequence, int64_t layer) const {
    if (layer < 0 || layer >= static_cast<int64_t>(layers_.size()))
        fail("there is no cache layer {}: the plan declares {}", layer, layers_.size());
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
    const int64_t last_block = (held->end + kKvBlock - 1) / kKvBlock;
    const int64_t kept = blocks_kept(layers_[static_cast<size_t>(layer)]);
    return std::max<int64_t>(0, last_block - kept) * kKvBlock;
}

void KvCache::append(int64_t sequence, int64_t layer, int64_t position, int64_t count) {
    const Stored* held = find(sequence, layer);
    if (sequence < 0 || sequence >= config_.sequences)
        fail("there is no sequence {}: the plan has room for {}", sequence, config_.sequences);
    const int64_t length = held ? held->length : 0;
    if (position < 0 || position > length)
        fail("cache layer {} holds {} positions, so the next cannot be {}", layer, length,
             position);
    if (count < 1 || count > config_.chunk)
        fail("a pass may add 1 to {} positions, not {}", config_.chunk, count);
    if (position + count > config_.context)
        fail(
            "the context is full: it holds {} positions, and this pass would need {}; compile "
            "the plan with a larger --context",
            config_.context, position + count);
    if (!held) {
        std::vector<Stored> fresh(layers_.size());
        for (size_t i = 0; i < layers_.size(); ++i) {
            const int64_t elements = blocks_kept(layers_[i]) * block_elements(layers_[i]);
            fresh[i].memory =
                AnonymousMemory(static_cast<size_t>(elements) * 2, "the key-value cache");
        }
        sequences_.emplace(sequence, std::move(fresh));
    }
    Stored& target = stored(sequence, layer);
    const int64_t first = first_held(sequence, layer);
    // A ring that has gone on past `position` may have overwritten what the pass looks back on.
    const int64_t window = layers_[static_cast<size_t>(layer)].window;
    if (window > 0 && std::max<int64_t>(0, position - window + 1) < first && position != 0)
        fail("cache layer {} has let go of the positions before {}, which position {} needs", layer,
             first, position);
    target.length = position + count;
    target.end = position == 0 ? target.length : std::max(target.end, target.length);
}

uint16_t* KvCache::block_data(const Stored& stored, int64_t layer, int64_t position) const {
    const KvLayer& shape = layers_[static_cast<size_t>(layer)];
    const int64_t slot = position / kKvBlock % blocks_kept(shape);
    return reinterpret_cast<uint16_t*>(stored.memory.data()) + slot * block_elements(shape);
}

void KvCache::store_key(int64_t sequence, int64_t layer, int64_t position, int64_t head,
                        const float* key) {
    const int64_t width = layers_[static_cast<size_t>(layer)].width;
    uint16_t* k = block_data(stored(sequence, layer), layer, position) + head * width * 64 +
                  position % kKvBlock;
    for (int64_t d = 0; d < width; ++d) k[d * kKvBlock] = f32_to_f16(key[d]);
}

void KvCache::store_value(int64_t sequence, int64_t layer, int64_t position, int64_t head,
                          const float* value) {
    const int64_t width = layers_[static_cast<size_t>(layer)].width;
    uint16_t* v = block_data(stored(sequence, layer), layer, position) + head * width * 64 +
                  width * kKvBlock + position % kKvBlock * width;
    for (int64_t d = 0; d < width; ++d) v[d] = f32_to_f16(value[d]);
}

KvBlock KvCache::block(int64_t sequence, int64_t layer, int64_t position) const {
    const Stored* held = find(sequence, layer);
    const KvLayer& shape = layers_[static_cast<size_t>(layer)];
    const uint16_t* k = block_data(*held, layer, position);
    return {.sequence = sequence,
            .layer = layer,
            .position = position,
            .rows = std::min(kKvBlock, held->length - position),
            .heads = shape.heads,
            .width = shape.width,
            .k = k,
            .v = k + shape.width * kKvBlock,
            .head_stride = 2 * shape.width * kKvBlock};
}

void KvCache::truncate(int64_t sequence, int64_t length) {
    const auto found = sequences_.find(sequence);
    if (found == sequences_.end()) return;
    for (Stored& layer : found->second) layer.length = std::min(layer.length, length);
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
