// SPDX-License-Identifier: MIT
// Converts and stores parameters. See store.h.
#include "importer/store.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <span>
#include <system_error>
#include <thread>

#include "common/error.h"
#include "common/half.h"
#include "common/machine.h"
#include "common/model_format.h"
#include "compiler/parse/source.h"
#include "importer/dequantize.h"

namespace llmsql {
namespace {

// Bounds the memory that rows take on their way: 16 rows of a strip, as numbers.
constexpr size_t kLargestStrip = 32 << 20;

std::string text_of(std::span<const int64_t> shape) {
    return fmt::format("[{}]", fmt::join(shape, ", "));
}

/// Without outermost ones, which say nothing: [1, 64] has the values of [64].
std::vector<int64_t> essential(std::vector<int64_t> shape) {
    while (shape.size() > 1 && shape.front() == 1) shape.erase(shape.begin());
    return shape;
}

/// One element of a row as a type stores it, and how many make up a row.
template<class Element>
size_t elements_of_row(int64_t cols) {
    return static_cast<size_t>(cols);
}
template<>
size_t elements_of_row<Q8Block>(int64_t cols) {
    return static_cast<size_t>(block_count(cols));
}
template<>
size_t elements_of_row<Q4Block>(int64_t cols) {
    return static_cast<size_t>(block_count(cols));
}

/// Does task(0) … task(count - 1) on as many threads as the process may keep processors busy. What
/// a task throws is thrown here, the first task's if several do.
void in_parallel(size_t count, const std::function<void(size_t)>& task) {
    std::atomic<size_t> next = 0;
    std::vector<std::exception_ptr> errors(count);
    const auto work = [&] {
        for (size_t i; (i = next++) < count;) {
            try {
                task(i);
            } catch (...) {
                errors[i] = std::current_exception();
            }
        }
    };
    static const auto processors = static_cast<size_t>(usable_processors());
    {
        std::vector<std::jthread> helpers;
        for (size_t i = 1; i < std::min(count, processors); ++i) {
            try {
                helpers.emplace_back(work);
            } catch (const std::system_error&) {
                break;  // no more threads to be had: those that are there do the work
            }
        }
        work();
    }
    for (const std::exception_ptr& error : errors)
        if (error) std::rethrow_exception(error);
}

/// Says why a row could not be converted.
[[noreturn]] void refuse_row(const RowSource& source, const std::byte* from, int64_t row,
                             WeightType type, std::span<float> scratch) {
    const std::string& name = source.tensor().name;
    const auto bad = first_not_finite(source.type(), from, scratch);
    const GgmlTypeInfo& info = info_of(source.type());
    if (!bad) fail("tensor {}: row {} has a value that {} cannot hold", name, row, name_of(type));
    if (!info.has_blocks())
        fail("tensor {}: row {} has a value that is not a finite number, in column {}", name, row,
             *bad);
    fail("tensor {}: row {} has a scale that makes weights infinite or no numbers, in its block {}",
         name, row, *bad / static_cast<size_t>(info.block_weights));
}

template<class Element>
void store_matrix(RowSource& source, int64_t id, const ParamEntry& entry, ModelWriter& writer,
                  const std::function<void(uint64_t)>& progress) {
    const int64_t rows = *entry.shape.rows, cols = entry.shape.cols;
    const size_t strip_size = strip_bytes(entry.type, cols);
    const int64_t rows_of_tile = tile_rows(entry.type, entry.shape);
    std::vector<std::byte> tile;
    for (int64_t tile_row = 0; tile_row < rows; tile_row += rows_of_tile) {
        const int64_t tile_end = std::min(rows, tile_row + rows_of_tile);
        const auto strips = static_cast<size_t>(strip_count(tile_end - tile_row));
        tile.assign(strips * strip_size, std::byte{});
        const std::byte* const read = source.read(tile_row, tile_end - tile_row);
        in_parallel(strips, [&](size_t s) {
            std::vector<Element> row(elements_of_row<Element>(cols));
            std::vector<float> scratch(static_cast<size_t>(cols));
            const int64_t first = static_cast<int64_t>(s) * kStripRows;
            const int64_t count = std::min(kStripRows, tile_end - tile_row - first);
            for (int64_t r = 0; r < count; ++r) {
                const std::byte* from = read + static_cast<size_t>(first + r) * source.row_bytes();
                if (!convert_row(source.type(), from, std::span(scratch), std::span(row)))
                    refuse_row(source, from, tile_row + first + r, entry.type, scratch);
                pack_row(std::span<const Element>(row), r, tile.data() + s * strip_size);
            }
        });
        writer.tile(id, tile_row, tile, strips);
        progress(source.bytes() * static_cast<uint64_t>(tile_end - tile_row) /
                 static_cast<uint64_t>(rows));
    }
}

void store_vector(RowSource& source, int64_t id, const ParamEntry& entry, ModelWriter& writer,
                  const std::function<void(uint64_t)>& progress, bool positive) {
    std::vector<float> values(static_cast<size_t>(entry.shape.cols));
    // Read as one row, or value by value where they are permuted.
    const auto width = source.row_bytes() /
                       static_cast<size_t>(info_of(source.type()).block_bytes) *
                       static_cast<size_t>(info_of(source.type()).block_weights);
    for (size_t at = 0; at < values.size(); at += width) {
        const std::byte* row = source.read(static_cast<int64_t>(at / width), 1);
        if (!convert_row(source.type(), row, {}, std::span(values).subspan(at, width)))
            fail("tensor {} has a value that is not a finite number", source.tensor().name);
    }
    check_values(values, positive, "tensor " + source.tensor().name);
    writer.tile(id, 0, std::as_bytes(std::span(values)), 1);
    progress(source.bytes());
}

constexpr double kMostRows = 1e15;  // numbers up to there are whole in both types

}  // namespace

RowSource::RowSource(const Source& source, const Param& param) {
    const std::optional<ParamSource>& place = param.source(source.format());
    if (!place)
        fail("the graph does not say where {} holds the parameter {} (@{})",
             source.format() == "gguf" ? "a GGUF" : "a Hugging Face model", param.name,
             source.format());
    where_ = fmt::format("{}: tensor {}", source.name(), place->tensor);
    rows_ = whole_ = param.shape.row_count();
    cols_ = param.shape.cols;
    const bool sliced = place->transform == "slice";
    if (sliced) take_slice(*place, param);
    std::vector<int64_t> expected;
    if (place->part) expected.push_back(place->parts);
    if (param.shape.rows) expected.push_back(whole_);
    expected.push_back(sliced && param.shape.is_vector() ? whole_ : param.shape.cols);
    tensor_ = source.find_tensor(place->tensor);
    if (!tensor_) {
        std::vector<std::string> names;
        for (const SourceTensor& tensor : source.tensors()) names.push_back(tensor.name);
        fail("{} is missing; the model needs it with the shape {} (parameter {}){}", where_,
             text_of(expected), param.name, compiler::suggestion(place->tensor, names));
    }
    if (essential(tensor_->shape) != essential(expected))
        fail("{} has the shape {}, the model needs {} (parameter {}{})", where_,
             text_of(tensor_->shape), text_of(expected), param.name,
             sliced ? " is a slice of it" : "");
    if (!tensor_->type->readable)
        fail("{} is of the type {}, which cannot be read; the types that can are {}", where_,
             tensor_->type->name, source.readable_types());
    const size_t held = param.shape.is_vector() ? param_bytes(WeightType::f32, param.shape)
                                                : strip_bytes(WeightType::f32, param.shape.cols);
    if (held > kLargestStrip)
        fail("{}: rows of {} values are longer than llmsql can store", where_, param.shape.cols);

    source_type_ = type_ = static_cast<GgmlType>(tensor_->type->number);
    parts_ = place->parts;
    part_ = place->part.value_or(0);
    apply_transform(*place);
    source_row_bytes_ = static_cast<size_t>(ggml_row_bytes(source_type_, cols_));
    row_bytes_ = static_cast<size_t>(ggml_row_bytes(type_, cols_));
}

void RowSource::apply_transform(const ParamSource& place) {
    if (place.transform.empty()) return;
    if (place.transform == "slice") return split_vector();
    const double arg = place.args.size() == 1 ? place.args[0] : std::nan("");
    if (place.transform == "unpermute") {
        split_vector();
        if (!(arg >= 1 && arg <= static_cast<double>(rows_)) || arg != std::floor(arg) ||
            rows_ % (2 * static_cast<int64_t>(arg)) != 0)
            fail("{}: its {} rows are not {} heads of an even number of rows", where_, rows_, arg);
        heads_ = static_cast<int64_t>(arg);
    } else if (place.transform == "plus") {
        if (!std::isfinite(arg)) fail("{}: the transform plus needs one number", where_);
        plus_ = static_cast<float>(arg);
        type_ = GgmlType::f32;
    } else {
        fail("{}: the graph's transform {} is not known here", where_, place.transform);
    }
}

/// Of a vector each value becomes a row.
void RowSource::split_vector() {
    if (cols_ == 1 || rows_ > 1) return;
    std::swap(rows_, cols_);
    if (whole_ == 1) whole_ = rows_;
    if (info_of(source_type_).block_weights != 1)
        fail("{}: a vector of {} cannot be taken apart", where_, tensor_->type->name);
}

/// Which rows of how many are wanted. Of a vector values count as rows.
void RowSource::take_slice(const ParamSource& place, const Param& param) {
    const int64_t own = param.shape.is_vector() ? param.shape.cols : rows_;
    const double first = place.args.at(0), whole = place.args.at(1);
    if (first != std::floor(first) || whole != std::floor(whole) || !(first >= 0) ||
        !(first + static_cast<double>(own) <= whole) || !(whole <= kMostRows))
        fail("{}: slice({}, {}) is no place for the {} rows of {}", where_, first, whole, own,
             param.name);
    first_ = static_cast<int64_t>(first);
    whole_ = static_cast<int64_t>(whole);
}

int64_t RowSource::source_row(int64_t row) const {
    if (heads_ == 0) return part_ * whole_ + first_ + row;
    const int64_t d = rows_ / heads_, head = row / d, in_head = row % d;
    const int64_t half = in_head / (d / 2), i = in_head % (d / 2);
    return part_ * rows_ + head * d + 2 * i + half;
}

const std::byte* RowSource::read(int64_t first, int64_t count) {
    const auto offset = [&](int64_t row) {
        return tensor_->offset + static_cast<uint64_t>(row) * source_row_bytes_;
    };
    buffer_.resize(static_cast<size_t>(count) * source_row_bytes_);
    if (heads_ == 0) {
        tensor_->file->read(offset(source_row(first)), buffer_.data(), buffer_.size());
    } else {
        for (int64_t r = 0; r < count; ++r)
            tensor_->file->read(offset(source_row(first + r)),
                                buffer_.data() + static_cast<size_t>(r) * source_row_bytes_,
                                source_row_bytes_);
    }
    if (!plus_) return buffer_.data();
    shift(count);
    return shifted_.data();
}

void RowSource::shift(int64_t count) {
    shifted_.resize(static_cast<size_t>(count) * row_bytes_);
    std::vector<float> row(static_cast<size_t>(cols_));
    for (size_t r = 0; r < static_cast<size_t>(count); ++r) {
        dequantize_row(source_type_, buffer_.data() + r * source_row_bytes_, std::span(row));
        for (float& value : row) value += *plus_;
        std::memcpy(shifted_.data() + r * row_bytes_, row.data(), row_bytes_);
    }
}

bool RowSource::fits_f16() {
    if (type_ == GgmlType::f16) return true;
    std::vector<float> row(static_cast<size_t>(cols_));
    for (int64_t first = 0; first < rows_; first += kStripRows) {
        const int64_t count = std::min(kStripRows, rows_ - first);
        const std::byte* from = read(first, count);
        for (int64_t r = 0; r < count; ++r) {
            dequantize_row(type_, from + static_cast<size_t>(r) * row_bytes_, std::span(row));
            for (const float value : row)
                if ((f32_to_f16(value) & 0x7fff) >= 0x7c00) return false;
        }
    }
    return true;
}

WeightType natural_type(GgmlType type) {
    if (info_of(type).has_blocks()) return keeps_q4(type) ? WeightType::q4 : WeightType::q8;
    return type == GgmlType::f16 || type == GgmlType::bf16 ? WeightType::f16 : WeightType::f32;
}

void check_values(std::span<const float> values, bool positive, const std::string& what) {
    for (size_t i = 0; i < values.size(); ++i) {
        if (!std::isfinite(values[i])) fail("{} has a value that is not a finite number", what);
        if (positive && !(values[i] > 0))
            fail("{}: its element {} is {}, but the graph divides by it: it must be above 0", what,
                 i, values[i]);
    }
}

void store_param(RowSource& source, int64_t id, const ParamEntry& entry, ModelWriter& writer,
                 const std::function<void(uint64_t)>& progress, bool positive) {
    if (entry.shape.is_vector()) {
        store_vector(source, id, entry, writer, progress, positive);
        return;
    }
    switch (entry.type) {
        case WeightType::f32:
            store_matrix<float>(source, id, entry, writer, progress);
            return;
        case WeightType::f16:
            store_matrix<uint16_t>(source, id, entry, writer, progress);
            return;
        case WeightType::q8:
            store_matrix<Q8Block>(source, id, entry, writer, progress);
            return;
        case WeightType::q4:
            store_matrix<Q4Block>(source, id, entry, writer, progress);
            return;
    }
}

}  // namespace llmsql
