// SPDX-License-Identifier: MIT
// The number types: names and sizes. See types.h.
#include "common/types.h"

#include <algorithm>
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

/// What a tile may leave unused of its pages, of its bytes, if a larger one leaves less.
constexpr double kMostUnused = 0.025;

size_t strips_of_tile(WeightType type, size_t strip, TileCut cut) {
    const size_t most = std::max<size_t>(1, kTileBytes / strip);
    size_t strips = most;
    double least = bytes_in_file(strips, strip);
    const auto enough = [&] { return cut != TileCut::format_1 && least <= 1 + kMostUnused; };
    const auto look_at = [&](size_t count) {
        const double bytes = bytes_in_file(count, strip);
        if (bytes >= least) return;
        least = bytes;
        strips = count;
    };
    if (format_of(type).fills || (cut != TileCut::format_1 && !enough()))
        for (size_t fewer = most - 1; fewer > 0 && 2 * fewer >= most; --fewer) look_at(fewer);
    if (cut != TileCut::format_1)
        for (size_t more = most + 1; more * strip <= kMostTileBytes && !enough(); ++more)
            look_at(more);
    return strips;
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

int64_t tile_rows(WeightType type, const ParamShape& shape, TileCut cut) {
    if (shape.is_vector()) return 1;
    const size_t strip = strip_bytes(type, shape.cols);
    return static_cast<int64_t>(strips_of_tile(type, strip, cut)) * kStripRows;
}

int64_t tile_count(WeightType type, const ParamShape& shape, TileCut cut) {
    const int64_t rows = tile_rows(type, shape, cut);
    return (shape.row_count() + rows - 1) / rows;
}

size_t tile_bytes(WeightType type, const ParamShape& shape, int64_t tile, TileCut cut) {
    if (shape.is_vector()) return param_bytes(type, shape);
    const int64_t rows = tile_rows(type, shape, cut);
    const int64_t first = tile * rows;
    const int64_t here = first + rows < *shape.rows ? rows : *shape.rows - first;
    return static_cast<size_t>(strip_count(here)) * strip_bytes(type, shape.cols);
}

bool is_cut_alike(WeightType type, const ParamShape& shape) {
    const int64_t before = tile_rows(type, shape, TileCut::format_1);
    const int64_t now = tile_rows(type, shape, TileCut::format_4);
    return before == now || shape.row_count() <= std::min(before, now);
}

size_t tensor_row_bytes(TensorType type, int64_t n) {
    const auto blocks = static_cast<size_t>(block_count(n));
    const size_t bytes =
        type == TensorType::f32 ? static_cast<size_t>(n) * 4 : blocks * (kBlock + 4 + 4 + 4);
    return (bytes + 63) / 64 * 64;
}

}  // namespace llmsql
