// SPDX-License-Identifier: MIT
// The number types: names and sizes. See types.h.
#include "common/types.h"

#include <array>
#include <utility>

#include "common/model_format.h"
#include "common/weight_format.h"

namespace llmsql {
namespace {

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

/// Bytes of a model.db that a byte of a tile of `strips` takes. SQLite puts the end of a long row,
/// or its beginning, into a leaf, which it shares with others that find room, and the rest into
/// pages of its own (its file format, "Cell Payload Overflow Pages").
double bytes_in_file(size_t strips, size_t strip_bytes) {
    constexpr size_t kPage = kModelPageBytes, kFull = kPage - 4, kMost = kPage - 35;
    constexpr size_t kLeast = (kPage - 12) * 32 / 255 - 23;
    constexpr size_t kBeside = 16, kAround = 12;  // other columns and header; pointers of the cell
    const size_t payload = strips * (strip_bytes + 8) + kBeside;
    size_t local = payload;
    if (payload > kMost) {
        local = kLeast + (payload - kLeast) % kFull;
        if (local > kMost) local = kLeast;
    }
    const size_t own = (payload - local + kFull - 1) / kFull;
    const size_t sharing = (kPage - 8) / (local + kAround);
    const double pages = static_cast<double>(own) + 1 / static_cast<double>(sharing);
    return pages * static_cast<double>(kPage) / static_cast<double>(strips * strip_bytes);
}

}  // namespace

std::string_view name_of(WeightType type) {
    return format_of(type).name;
}
std::string_view name_of(TensorType type) {
    return name_in(kTensorTypes, type);
}

std::optional<WeightType> weight_type_named(std::string_view name) {
    for (const WeightFormat& format : kWeightFormats)
        if (format.name == name) return format.type;
    return std::nullopt;
}

std::string weight_format_names(bool takes_anything) {
    std::string names;
    const WeightFormat* last = nullptr;
    const auto add = [&](const char* between) {
        if (last) names.append(names.empty() ? "" : between).append(last->name);
    };
    for (const WeightFormat& format : kWeightFormats) {
        if (takes_anything && !format.takes_anything) continue;
        add(", ");
        last = &format;
    }
    add(" and ");
    return names;
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
    const WeightFormat& format = format_of(type);
    return static_cast<size_t>(format.blocks(cols)) * format.block_bytes();
}

size_t param_bytes(WeightType type, const ParamShape& shape) {
    if (shape.is_vector()) return static_cast<size_t>(shape.cols) * 4;
    return static_cast<size_t>(strip_count(*shape.rows)) * strip_bytes(type, shape.cols);
}

int64_t tile_rows(WeightType type, const ParamShape& shape) {
    if (shape.is_vector()) return 1;
    const size_t strip = strip_bytes(type, shape.cols), most = kTileBytes / strip;
    size_t strips = most > 0 ? most : 1;
    if (format_of(type).fills) {
        double least = bytes_in_file(strips, strip);
        for (size_t fewer = strips - 1; fewer > 0 && 2 * fewer >= most; --fewer) {
            const double bytes = bytes_in_file(fewer, strip);
            if (bytes >= least) continue;
            least = bytes;
            strips = fewer;
        }
    }
    return static_cast<int64_t>(strips) * kStripRows;
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
