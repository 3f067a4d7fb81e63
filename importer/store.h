// SPDX-License-Identifier: MIT
// Parameters on their way from a source to model.db: rows in the graph's order, converted, packed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
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
///   slice(f, n)    the parameter is the rows from f on of a tensor of n rows
class RowSource {
  public:
    /// Fails unless the tensor exists, has exactly the shape of the parameter (or of the whole that
    /// it is a slice of), a type that can be read, and the transform fits. A vector is one row, or,
    /// where it is permuted or a slice, one row a value.
    RowSource(const Source& source, const Param& param);

    const SourceTensor& tensor() const { return *tensor_; }

    /// Bytes of the source that are this parameter's: of a stacked tensor a part, of a slice its
    /// rows.
    uint64_t bytes() const {
        return tensor_->bytes / static_cast<uint64_t>(parts_) / static_cast<uint64_t>(whole_) *
               static_cast<uint64_t>(rows_);
    }

    /// The type of the rows that read() gives.
    GgmlType type() const { return type_; }

    /// Bytes of one row as read() gives it.
    size_t row_bytes() const { return row_bytes_; }

    /// Rows first … first + count - 1, row_bytes() each, valid until the next call.
    const std::byte* read(int64_t first, int64_t count);

    /// Whether f16 can hold every value, if only rounded. Reads the whole tensor, unless its type
    /// says it all.
    bool fits_f16();

  private:
    void take_slice(const ParamSource& place, const Param& param);
    void apply_transform(const ParamSource& place);
    void split_vector();
    int64_t source_row(int64_t row) const;
    void shift(int64_t count);

    const SourceTensor* tensor_ = nullptr;
    std::string where_;  // "file: tensor blk.0.attn_q.weight", for messages
    GgmlType source_type_ = GgmlType::f32, type_ = GgmlType::f32;
    int64_t rows_ = 0, cols_ = 0;
    int64_t part_ = 0, parts_ = 1;   // of a tensor of several matrices, which
    int64_t first_ = 0, whole_ = 1;  // of a matrix of whole_ rows, those from first_ on
    size_t source_row_bytes_ = 0, row_bytes_ = 0;
    int64_t heads_ = 0;  // to unpermute; 0: rows are in order
    std::optional<float> plus_;
    std::vector<std::byte> buffer_, shifted_;
};

/// How `--weights auto` stores a matrix of a source type; f16 only where the values fit.
WeightType natural_type(GgmlType type);

/// Writes the tiles of parameter `id`. `progress` is told the source's bytes as they are used up.
/// Fails, naming the tensor, if the parameter's type cannot hold a value, or, of a vector that must
/// be `positive`, if one is not above 0.
void store_param(RowSource& source, int64_t id, const ParamEntry& entry, ModelWriter& writer,
                 const std::function<void(uint64_t bytes)>& progress, bool positive = false);

/// Fails unless all values are finite, and above 0 where they must be `positive`. `what` begins the
/// message.
void check_values(std::span<const float> values, bool positive, const std::string& what);

}  // namespace llmsql
