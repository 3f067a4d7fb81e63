// SPDX-License-Identifier: MIT
// The key-value cache's layout. See kv_layout.h.
#include "common/kv_layout.h"

#include <algorithm>

#include "common/sizes.h"

namespace llmsql {

std::string_view name_of(KvType type) {
    return type == KvType::f16 ? "f16" : "q8";
}

std::optional<KvType> kv_type_named(std::string_view name) {
    for (const KvType type : {KvType::f16, KvType::q8})
        if (name == name_of(type)) return type;
    return std::nullopt;
}

KvHeadLayout kv_head_layout(KvType type, int64_t width, bool shared) {
    if (type == KvType::f16) {
        const int64_t bytes = width * kKvBlock * 2;
        if (shared) return {.key_scales = 0, .values = 0, .value_scales = 0, .bytes = bytes};
        return {.key_scales = 0, .values = bytes, .value_scales = 0, .bytes = 2 * bytes};
    }
    const int64_t key_groups = (width + kKvKeyGroup - 1) / kKvKeyGroup;
    const int64_t value_groups = (width + kKvValueGroup - 1) / kKvValueGroup;
    const int64_t codes = key_groups * kKvKeyGroup * kKvBlock;
    const int64_t key_scales = key_groups * kKvBlock * 2;
    const int64_t value_scales = value_groups * kKvBlock * 2;
    if (shared)
        return {.key_scales = 0, .values = 0, .value_scales = codes, .bytes = codes + value_scales};
    return {.key_scales = codes,
            .values = codes + key_scales,
            .value_scales = 2 * codes + key_scales,
            .bytes = 2 * codes + key_scales + value_scales};
}

int64_t kv_blocks(int64_t positions) {
    return (positions + kKvBlock - 1) / kKvBlock;
}

int64_t kv_blocks_kept(int64_t context, int64_t chunk, int64_t window) {
    const int64_t all = kv_blocks(context);
    if (window == 0) return all;
    // The positions that a pass looks at, and the most blocks that as many can touch.
    const int64_t touched = size_sum(window, chunk - 1, kKvBlock - 2);
    return std::min(all, touched / kKvBlock + 1);
}

}  // namespace llmsql
