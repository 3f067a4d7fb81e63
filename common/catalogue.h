// SPDX-License-Identifier: MIT
// The catalogue of a model's parameters: what a plan and a model.db must agree on.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/types.h"

namespace llmsql {

/// One parameter as a plan declares it and a model.db stores it. Its id is its place in the
/// catalogue, counted from 1: the order in which the graph declares parameters, blocks unrolled.
struct ParamEntry {
    std::string name;  // "token_embd", "layer.3.attn_q"
    WeightType type = WeightType::f32;
    ParamShape shape;
    bool operator==(const ParamEntry&) const = default;
};

/// 16 hexadecimal digits: XXH3-64 over one line "name type rows cols\n" an entry ("-" for the rows
/// of a vector). Equal catalogues, and only those, have equal checksums (but for hash collisions).
std::string catalogue_checksum(std::span<const ParamEntry> entries);

/// XXH3-64 of bytes: the checksum of strips and of catalogues.
uint64_t hash64(const void* data, size_t bytes);

/// "f32[576]" or "q8[49152, 576]".
std::string describe(const ParamEntry& entry);

}  // namespace llmsql
