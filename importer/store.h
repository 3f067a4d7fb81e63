// SPDX-License-Identifier: MIT
// Parameters on their way from a source to model.db: rows in the graph's order, converted, packed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compiler/ir/model.h"
#include "importer/model_writer.h"
#include "importer/source.h"

namespace llmsql {

using compiler::Param;
using compiler::ParamSource;

/// The rows of a source tensor as the graph wants them: in its order, shifted by a "plus".
///
///   unpermute(n)   llama GGUFs interleave the two halves of each of n heads, for another form of
///                  rope: with heads of d rows, row i of half a lies at 2i + a. Exact on any type.
///   plus(x)        adds x to every value
///   slice(f, n)    the rows from f on out of n
///   slice(f, n, g) those of each of g groups of n rows
///   columns(k)     of a flat matrix: its k columns, one after the other
///   minus_exp()    -e^x of every value
///   every(s, f)    the rows f, f + s, f + 2s, … out of s times as many
///   flattened()    a vector of a tensor of more dimensions, row after row, or a matrix of all but
///                  its last; before the others
///   transposed()   rows are the tensor's columns; before the others, and not of types in blocks
///   either_way()   as it is where its shape is the matrix's, else transposed()
///   transposed(n)  of each of n groups of rows the columns; after the others
///
/// The first is done first.
class RowSource {
  public:
    /// Fails unless the tensor exists, has exactly the shape of the parameter (or of the whole that
    /// it is a slice of), a type that can be read, and the transform fits. A vector is one row, or,
    /// where it is permuted or a slice, one row a value.
    RowSource(const Source& source, const Param& param);

    const SourceTensor& tensor() const { return *tensor_; }

    /// Bytes of the source that are this parameter's: of a stacked tensor a part, of picked rows
    /// those.
    uint64_t bytes() const {
        return tensor_->bytes / static_cast<uint64_t>(parts_) / static_cast<uint64_t>(whole_) *
               static_cast<uint64_t>(groups_ > 0 ? groups_ * cols_ : rows_);
    }

    /// The type of the rows that read() gives.
    GgmlType type() const { return type_; }

    /// Bytes of one row as read() gives it.
    size_t row_bytes() const { return row_bytes_; }

    /// How `--weights auto` stores it; f16 only where the values fit.
    WeightType natural_type() const;

    /// What rows are read into.
    struct Buffer {
        std::vector<std::byte> read, changed;
        std::vector<std::byte> turned;    // a group of rows of a transposed(n), transposed
        const void* turned_of = nullptr;  // whose,
        int64_t group = -1;               // and which
    };

    /// Rows first … first + count - 1, row_bytes() each, valid until the buffer's next use.
    /// Thread-safe, each thread with a buffer of its own.
    const std::byte* read(int64_t first, int64_t count, Buffer& buffer) const;

    /// So, too, but as the source has them (transposed, if told so), source_row_bytes() each of
    /// source_type(): for a format that keeps those. What is yet to be multiplied with is times().
    const std::byte* read_blocks(int64_t first, int64_t count, Buffer& buffer) const;
    GgmlType source_type() const { return held_type_; }
    size_t source_row_bytes() const { return held_row_bytes_; }
    float times() const { return times_.value_or(1); }

    /// Whether f16 can hold every value, if only rounded. Reads the whole tensor, unless its type
    /// says it all.
    bool fits_f16() const;

    /// The tensor X.scale that stands beside a matrix X.weight, if there is one: a number, or one a
    /// part, that all values are multiplied with. NVFP4 has them.
    const SourceTensor* scale() const { return scale_; }

  private:
    /// One step from rows wanted to rows there are: of `own` rows each is another one of `whole`.
    struct Pick {
        enum class Kind { slice, every, unpermute, groups, columns, repeated } kind = Kind::slice;
        int64_t own = 0, whole = 0;
        int64_t first = 0, step = 1, heads = 1;
        int64_t row(int64_t row) const;
    };

    void take_transforms(const ParamSource& place, const Param& param);
    Pick pick_of(const compiler::TransformStep& step, int64_t own, const Param& param) const;
    bool in_order() const;
    void split_vector();
    void read_rows(int64_t first, int64_t count, std::byte* rows) const;
    void read_columns(int64_t first, int64_t count, std::byte* rows) const;
    void read_turned(int64_t first, int64_t count, Buffer& buffer) const;
    void turn_group(int64_t group, Buffer& buffer) const;
    void take_scale(const Source& source);
    int64_t source_row(int64_t row) const;
    void change(int64_t count, Buffer& buffer) const;

    const SourceTensor* tensor_ = nullptr;
    std::string where_;  // "file: tensor blk.0.attn_q.weight", for messages
    GgmlType source_type_ = GgmlType::f32, type_ = GgmlType::f32;
    int64_t rows_ = 0, cols_ = 0;
    int64_t part_ = 0, parts_ = 1;  // of a tensor of several matrices, which
    int64_t whole_ = 1;             // rows of the matrix from which picks_ take
    std::vector<Pick> picks_;       // the last first
    bool transposed_ = false;
    bool either_way_ = false;
    int64_t groups_ = 0;  // of rows that are transposed, each for itself; 0: none are
    GgmlType held_type_ = GgmlType::f32;  // of the rows that are read, before they are changed
    bool minus_exp_ = false;
    bool flat_ = false;  // of whatever dimensions the tensor is, a vector, or rows
    size_t source_row_bytes_ = 0, held_row_bytes_ = 0, row_bytes_ = 0;
    const SourceTensor* scale_ = nullptr;
    std::optional<float> plus_, times_;
};

/// How `--weights auto` stores a matrix of a source type; f16 only where the values fit.
WeightType natural_type(GgmlType type);

/// A parameter to be stored under an id: rows of a source, or a vector's values.
struct ParamToStore {
    int64_t id = 0;
    ParamEntry entry;
    bool positive = false;  // all values must be above 0
    std::optional<RowSource> rows;
    std::vector<float> values;  // without rows
    std::string what;           // the values are, to begin messages with
};

/// Writes the tiles of all parameters, in order, as one thread would: they are made by as many as
/// the process may keep processors busy, some ahead of those that are written. `progress` is told
/// the source's bytes as they are used up. Fails, naming the tensor, if a parameter's type cannot
/// hold a value, or, of a vector that must be positive, if one is not above 0. `first` is done
/// while the first tiles are made, before any is written.
void store_params(std::span<const ParamToStore> params, ModelWriter& writer,
                  const std::function<void(uint64_t bytes)>& progress,
                  const std::function<void()>& first = nullptr);

/// Fails unless all values are finite, and above 0 where they must be `positive`. `what` begins the
/// message.
void check_values(std::span<const float> values, bool positive, const std::string& what);

}  // namespace llmsql
