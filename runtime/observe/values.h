// SPDX-License-Identifier: MIT
// Stored values as plain f32, for people to look at.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/state/arena.h"
#include "runtime/state/kv_cache.h"

namespace llmsql {

/// f32[tokens][each]: what was quantised is multiplied out.
struct StoredValues {
    std::string type;  // how they are stored
    int64_t tokens = 0;
    std::vector<int64_t> shape;  // of one token's
    std::vector<float> values;

    size_t each() const { return tokens > 0 ? values.size() / static_cast<size_t>(tokens) : 0; }
    std::span<const float> token(int64_t index) const {
        return std::span(values).subspan(static_cast<size_t>(index) * each(), each());
    }
    /// "f32[5, 9, 64]"
    std::string shape_text() const;
};

/// What a tensor holds now. Fails if it holds nothing.
StoredValues tensor_values(const Arena& arena, int64_t id);

/// Keys, or values, of positions first … first + count - 1, which the layer must hold.
StoredValues cache_values(const KvCache& cache, int64_t sequence, int64_t layer, int64_t first,
                          int64_t count, bool keys);

/// "min -0.31 max 0.42 mean 0.0012 rms 0.087, first 0.0123 -0.4 …": of infinities and NaNs how
/// many.
std::string summary_text(std::span<const float> values);

}  // namespace llmsql
