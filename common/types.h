// SPDX-License-Identifier: MIT
// The number types of weights and activations, and how their bytes are laid out.
//
// Both sides of the project need these sizes: the importer packs weights and the compiler plans
// activations with them, the runtime reads what they made. docs/model-db.md draws the layouts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace llmsql {

/// Weights per quantisation block, along a row.
inline constexpr int64_t kBlock = 32;

/// Rows of a matrix that are stored interleaved: the unit of packing, of checksums and of reading.
inline constexpr int64_t kStripRows = 16;

/// How a parameter is stored in model.db; common/weight_format.h says what each type is.
enum class WeightType : uint8_t {
    f32,
    f16,
    q8,
    q4,
    bf16,
    q4_0,
    q5_0,
    q5_1,
    q2_k,
    q3_k,
    q4_k,
    q5_k,
    q6_k,
    iq4_nl,
    iq4_xs,
    mxfp4,
    nvfp4,
    q1_0,
    q2_0,
    tq2_0,
    iq1,
    iq2,
    iq3_xxs,
    iq3_s,
    tq1_0
};

/// How a tensor of activations is stored in the arena.
enum class TensorType : uint8_t {
    f32,
    q8,  // blocks of 32: x = scale * code, f32 scale, and sums of the codes beside it
};

std::string_view name_of(WeightType type);
std::string_view name_of(TensorType type);
std::optional<WeightType> weight_type_named(std::string_view name);
std::optional<TensorType> tensor_type_named(std::string_view name);

/// The shape of a parameter: a vector of `cols`, or a matrix [rows, cols] (out, in).
struct ParamShape {
    std::optional<int64_t> rows;  // absent for a vector
    int64_t cols = 0;

    bool is_vector() const { return !rows.has_value(); }
    int64_t row_count() const { return rows.value_or(1); }
    bool operator==(const ParamShape&) const = default;
};

/// Whether sizes computed from a shape cannot overflow: positive, and at most 2^40 elements.
bool is_plausible(const ParamShape& shape);

/// Strips in a matrix of `rows` rows; the last one is padded with zero rows.
constexpr int64_t strip_count(int64_t rows) {
    return (rows + kStripRows - 1) / kStripRows;
}

/// Blocks in a row of `cols` weights; the last one is padded with zero weights.
constexpr int64_t block_count(int64_t cols) {
    return (cols + kBlock - 1) / kBlock;
}

/// Bytes of one strip of a matrix whose rows have `cols` weights: its blocks, one after the other
/// (common/weight_format.h; docs/model-db.md draws them).
size_t strip_bytes(WeightType type, int64_t cols);

/// Bytes of a whole parameter: strips for a matrix, `cols` plain f32 for a vector.
size_t param_bytes(WeightType type, const ParamShape& shape);

/// A tile, the unit of holding weights, is as many whole strips as fit in this, and at least one;
/// or somewhat fewer where they fill the pages of model.db better; or more, up to kMostTileBytes,
/// where so few cannot fill them. A vector is one tile. A worker reads no more of a tile at a time
/// than this, or one strip.
inline constexpr size_t kTileBytes = 256 << 10;
inline constexpr size_t kMostTileBytes = 1 << 20;

/// By which rule matrices are cut into tiles, named by the format of model.db
/// (common/model_format.h) that has it first: format_1 knows no tiles that are larger than they
/// have to be, and fills pages of some types alone (WeightFormat::fills).
enum class TileCut : uint8_t { format_1, format_4 };

/// Bytes of a model database that are mapped at least, at a time, where weights are streamed
/// through a mapping: two windows for each worker, whose piece may lie across them.
inline constexpr size_t kHugePage = 2 << 20;
constexpr size_t mapped_bytes(int workers) {
    return 2 * static_cast<size_t>(workers) * kHugePage;
}

/// Bytes that reading past the page cache takes at least: a ring of slots, two for each worker (who
/// may scan two matrices in turn) and one for each thread that fills them, to be ahead (with fewer,
/// reading through the page cache is faster); each for a tile and what else is on the pages
/// that it lies on; and the threads.
inline constexpr size_t kAroundTile = 16 << 10;
inline constexpr size_t kReadingThreads = 4;
inline constexpr size_t kReadingThread = 64 << 10;
constexpr size_t ring_bytes(int workers, size_t longest_tile) {
    return (2 * static_cast<size_t>(workers) + kReadingThreads) * (longest_tile + kAroundTile) +
           kReadingThreads * kReadingThread;
}

/// Rows in a tile of a parameter (a multiple of 16; 1 for a vector), tiles in all, and bytes of
/// one. What is imported and compiled now is cut by the newest rule; a database and a plan have
/// theirs (ModelDb::cut(), Budget::cut).
int64_t tile_rows(WeightType type, const ParamShape& shape, TileCut cut = TileCut::format_4);
int64_t tile_count(WeightType type, const ParamShape& shape, TileCut cut = TileCut::format_4);
size_t tile_bytes(WeightType type, const ParamShape& shape, int64_t tile,
                  TileCut cut = TileCut::format_4);
/// Whether all rules cut a parameter into the same tiles.
bool is_cut_alike(WeightType type, const ParamShape& shape);

/// Bytes that one token's row of `n` activations takes in the arena, a multiple of 64:
///   f32   float[n]
///   q8    int8 code[32 * blocks], float scale[blocks], float sum[blocks], int16 half[blocks][2]
///         where sum is scale * (the sum of the block's codes), what an offset of the weights is
///         multiplied by, and half the sums of its first 16 codes and of the others: what weights
///         that are stored raised, to be unsigned, are too large by, and what minima are multiplied
///         by
size_t tensor_row_bytes(TensorType type, int64_t n);

}  // namespace llmsql
