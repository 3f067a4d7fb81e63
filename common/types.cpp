// SPDX-License-Identifier: MIT
// The number types: names and sizes. See types.h.
#include "common/types.h"

#include <array>
#include <utility>

namespace llmsql {
namespace {

constexpr std::array<std::pair<std::string_view, WeightType>, 4> kWeightTypes{{
    {"f32", WeightType::f32},
    {"f16", WeightType::f16},
    {"q8", WeightType::q8},
    {"q4", WeightType::q4},
}};

constexpr std::array<std::pair<std::string_view, TensorType>, 2> kTensorTypes{{
    {"f32", TensorType::f32},
    {"q8", TensorType::q8},
}};

template<class Table, class Type>
std::string_view name_in(const Table& table, Type type) {
    for (const auto& [name, value] : table)
        if (value == type) return name;
    return "?";
}

template<class Type, class Table>
std::optional<Type> value_in(const Table& table, std::string_view wanted) {
    for (const auto& [name, value] : table)
        if (name == wanted) return value;
    return std::nullopt;
}

}  // namespace

std::string_view name_of(WeightType type) {
    return name_in(kWeightTypes, type);
}
std::string_view name_of(TensorType type) {
    return name_in(kTensorTypes, type);
}

std::optional<WeightType> weight_type_named(std::string_view name) {
    return value_in<WeightType>(kWeightTypes, name);
}

std::optional<TensorType> tensor_type_named(std::string_view name) {
    return value_in<TensorType>(kTensorTypes, name);
}

bool is_plausible(const ParamShape& shape) {
    constexpr int64_t kMost = int64_t{1} << 40;
    const int64_t rows = shape.row_count();
    return rows > 0 && shape.cols > 0 && rows <= kMost && shape.cols <= kMost / rows;
}

size_t strip_bytes(WeightType type, int64_t cols) {
    const auto columns = static_cast<size_t>(cols);
    const auto blocks = static_cast<size_t>(block_count(cols));
    switch (type) {
        case WeightType::f32:
            return columns * kStripRows * 4;
        case WeightType::f16:
            return columns * kStripRows * 2;
        case WeightType::q8:
            return blocks * kStripRows * (2 + 32);
        case WeightType::q4:
            return blocks * kStripRows * (2 + 2 + 16);
    }
    return 0;
}

size_t param_bytes(WeightType type, const ParamShape& shape) {
    if (shape.is_vector()) return static_cast<size_t>(shape.cols) * 4;
    return static_cast<size_t>(strip_count(*shape.rows)) * strip_bytes(type, shape.cols);
}

int64_t tile_rows(WeightType type, const ParamShape& shape) {
    if (shape.is_vector()) return 1;
    const size_t strips = kTileBytes / strip_bytes(type, shape.cols);
    return static_cast<int64_t>(strips > 0 ? strips : 1) * kStripRows;
}

int64_t tile_count(WeightType type, const ParamShape& shape) {
    const int64_t rows = tile_rows(type, shape);
    return (shape.row_count() + rows - 1) / rows;
}

size_t tile_bytes(WeightType type, const ParamShape& shape, int64_t tile) {
    if (shape.is_vector()) return param_bytes(type, shape);
    const int64_t rows = tile_rows(type, shape);
    const int64_t first = tile * rows;
    const int64_t here = first + rows < *shape.rows ? rows : *shape.rows - first;
    return static_cast<size_t>(strip_count(here)) * strip_bytes(type, shape.cols);
}

size_t tensor_row_bytes(TensorType type, int64_t n) {
    const auto blocks = static_cast<size_t>(block_count(n));
    const size_t bytes =
        type == TensorType::f32 ? static_cast<size_t>(n) * 4 : blocks * (kBlock + 4 + 4 + 4);
    return (bytes + 63) / 64 * 64;
}

}  // namespace llmsql
