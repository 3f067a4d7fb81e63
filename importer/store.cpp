// SPDX-License-Identifier: MIT
// Converts and stores parameters. See store.h.
#include "importer/store.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <system_error>
#include <thread>

#include "common/error.h"
#include "common/half.h"
#include "common/machine.h"
#include "common/model_format.h"
#include "common/sizes.h"
#include "common/weight_format.h"
#include "compiler/parse/source.h"
#include "importer/dequantize.h"

namespace llmsql {
namespace {

// Bounds the memory that rows take on their way: 16 rows of a strip, as numbers.
constexpr size_t kLargestStrip = 32 << 20;

std::string text_of(std::span<const int64_t> shape) {
    return fmt::format("[{}]", fmt::join(shape, ", "));
}

/// Without ones, which say nothing: [1, 64] has the values of [64], [64, 1, 3] those of [64, 3].
std::vector<int64_t> essential(std::vector<int64_t> shape) {
    std::erase(shape, 1);
    if (shape.empty()) shape.push_back(1);
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

size_t threads_to_use() {
    static const auto processors = static_cast<size_t>(usable_processors());
    return processors;
}

/// Starts all of `threads` but this one; where no more are to be had, those that are do the work.
template<class Work>
void start_threads(size_t threads, std::vector<std::jthread>& helpers, Work work) {
    try {
        for (size_t i = 1; i < threads; ++i) helpers.emplace_back(work);
    } catch (const std::system_error&) {
    } catch (const std::bad_alloc&) {
    }
}

/// Does task(0) … task(count - 1) on as many threads as the process may keep processors busy. What
/// a task throws is thrown here, if several do the first that was.
void in_parallel(size_t count, const std::function<void(size_t)>& task) {
    std::atomic<size_t> next = 0;
    std::mutex mutex;
    std::exception_ptr error;
    const auto work = [&] {
        for (size_t i; (i = next++) < count;) {
            try {
                task(i);
            } catch (...) {
                const std::lock_guard lock(mutex);
                if (!error) error = std::current_exception();
                next = count;
            }
        }
    };
    {
        std::vector<std::jthread> helpers;
        const size_t threads = std::min(count, threads_to_use());
        helpers.reserve(threads);
        start_threads(threads, helpers, work);
        work();
    }
    if (error) std::rethrow_exception(error);
}

/// A tensor, for messages, with the file that it is in.
std::string named(const SourceTensor& tensor) {
    return tensor.file ? fmt::format("{}: tensor {}", tensor.file->name(), tensor.name)
                       : "tensor " + tensor.name;
}

/// Says why a row could not be converted.
[[noreturn]] void refuse_row(const RowSource& source, GgmlType as, const std::byte* from,
                             int64_t row, WeightType type) {
    const GgmlTypeInfo& info = info_of(as);
    const size_t bytes = as == source.type() ? source.row_bytes() : source.source_row_bytes();
    std::vector<float> scratch(bytes / static_cast<size_t>(info.block_bytes) *
                               static_cast<size_t>(info.block_weights));
    const std::string name = named(source.tensor());
    const auto bad = first_not_finite(as, from, std::span(scratch));
    if (!bad) fail("{}: row {} has a value that {} cannot hold", name, row, name_of(type));
    if (!info.has_blocks())
        fail("{}: row {} has a value that is not a finite number, in column {}", name, row, *bad);
    fail("{}: row {} has a scale that makes weights infinite or no numbers, in its block {}", name,
         row, *bad / static_cast<size_t>(info.block_weights));
}

/// A row as its type stores it, and into its place in a strip. False if the type cannot hold it.
using PutRow = std::function<bool(const std::byte* from, int64_t place, std::byte* strip)>;

/// By way of rows of numbers or blocks, which any type is converted to.
template<class Element>
PutRow converted(GgmlType type, int64_t cols) {
    return [type, row = std::vector<Element>(elements_of_row<Element>(cols)),
            scratch = std::vector<float>(static_cast<size_t>(cols))](
               const std::byte* from, int64_t place, std::byte* strip) mutable {
        if (!convert_row(type, from, std::span(scratch), std::span(row))) return false;
        pack_row(std::span<const Element>(row), place, strip);
        return true;
    };
}

PutRow put_row(const RowSource& source, const ParamEntry& entry) {
    const int64_t cols = entry.shape.cols;
    switch (entry.type) {
        case WeightType::f32:
            return converted<float>(source.type(), cols);
        case WeightType::f16:
            return converted<uint16_t>(source.type(), cols);
        case WeightType::q8:
            return converted<Q8Block>(source.type(), cols);
        case WeightType::q4:
            return converted<Q4Block>(source.type(), cols);
        default:
            break;
    }
    return [&source, type = entry.type](const std::byte* from, int64_t place, std::byte* strip) {
        return pack_blocks(source.source_type(), type, {from, source.source_row_bytes()}, place,
                           strip, source.times());
    };
}

/// Rows first … of a matrix, `count` of them, as strips.
void fill_strips(const RowSource& source, const ParamEntry& entry, int64_t first, int64_t count,
                 RowSource::Buffer& buffer, std::byte* strips) {
    const bool blocks = !format_of(entry.type).takes_anything;
    const std::byte* from =
        blocks ? source.read_blocks(first, count, buffer) : source.read(first, count, buffer);
    const size_t each = blocks ? source.source_row_bytes() : source.row_bytes();
    const PutRow put = put_row(source, entry);
    const size_t strip_size = strip_bytes(entry.type, entry.shape.cols);
    for (int64_t r = 0; r < count; ++r, from += each)
        if (!put(from, r % kStripRows, strips + static_cast<size_t>(r / kStripRows) * strip_size))
            refuse_row(source, blocks ? source.source_type() : source.type(), from, first + r,
                       entry.type);
}

/// A tile on its way.
struct Tile {
    const ParamToStore* param = nullptr;
    int64_t first_row = 0, rows = 0;
    size_t strips = 0, held = 0;  // bytes that it takes while it is made
    std::unique_ptr<std::byte[]> data;
    size_t bytes = 0;
    std::vector<uint64_t> checksums;
    std::exception_ptr error;
    bool is_made = false;

    std::byte* allocate(size_t size) {
        data = std::make_unique_for_overwrite<std::byte[]>(size);
        bytes = size;
        return data.get();
    }

    /// Bytes of the source that are used up by it.
    uint64_t source_bytes() const {
        return param->rows ? param->rows->bytes() * static_cast<uint64_t>(rows) /
                                 static_cast<uint64_t>(param->entry.shape.row_count())
                           : 0;
    }
};

void make_matrix_tile(Tile& tile, RowSource::Buffer& buffer) {
    const ParamEntry& entry = tile.param->entry;
    const RowSource& source = *tile.param->rows;
    if (!format_of(entry.type).takes_anything && source.natural_type() != entry.type)
        fail(
            "tensor {} is {}: it cannot be stored as {}, which nothing else is converted to; {} "
            "are",
            source.tensor().name, info_of(source.type()).name, name_of(entry.type),
            weight_format_names(true));
    const size_t strip = strip_bytes(entry.type, entry.shape.cols);
    std::byte* const strips = tile.allocate(tile.strips * strip);
    if (tile.rows % kStripRows != 0)  // rows that are missing are zeros
        std::memset(strips + (tile.strips - 1) * strip, 0, strip);
    fill_strips(source, entry, tile.first_row, tile.rows, buffer, strips);
}

void make_vector_tile(Tile& tile, RowSource::Buffer& buffer) {
    const ParamToStore& param = *tile.param;
    std::vector<float> values = param.values;
    if (param.rows) {
        const RowSource& source = *param.rows;
        values.resize(static_cast<size_t>(param.entry.shape.cols));
        // Read as one row, or value by value where they are permuted.
        const GgmlTypeInfo& info = info_of(source.type());
        const auto width = source.row_bytes() / static_cast<size_t>(info.block_bytes) *
                           static_cast<size_t>(info.block_weights);
        for (size_t at = 0; at < values.size(); at += width) {
            const std::byte* row = source.read(static_cast<int64_t>(at / width), 1, buffer);
            convert_row(source.type(), row, {}, std::span(values).subspan(at, width));
        }
    }
    check_values(values, param.positive, param.rows ? named(param.rows->tensor()) : param.what);
    const size_t bytes = values.size() * sizeof(float);
    std::memcpy(tile.allocate(bytes), values.data(), bytes);
}

/// Makes tiles in their order on several threads, as far ahead of the one that is wanted as a bound
/// on memory allows. Whoever waits for a tile makes others meanwhile, so that it does without any
/// other thread too.
class TileMill {
  public:
    explicit TileMill(std::span<const ParamToStore> params) : params_(params) {
        helpers_.reserve(threads_to_use());
        start_threads(threads_to_use(), helpers_, [this] { help(); });
    }
    ~TileMill() {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        changed_.notify_all();
    }

    /// The next tile, valid until the next call; null after the last. Throws what making it threw.
    const Tile* next() {
        std::unique_lock lock(mutex_);
        if (current_) {
            held_ -= current_->held;
            current_.reset();
            changed_.notify_all();
        }
        for (;;) {
            if (!tiles_.empty() && tiles_.front()->is_made) break;
            if (Tile* tile = begin())
                make(*tile, lock, buffer_);
            else if (tiles_.empty())
                return nullptr;
            else
                changed_.wait(lock);
        }
        current_ = std::move(tiles_.front());
        tiles_.pop_front();
        if (current_->error) std::rethrow_exception(current_->error);
        return current_.get();
    }

  private:
    /// The next tile that nobody makes; null if there is none, or no room for it.
    Tile* begin() {
        if (stop_ || param_ == params_.size()) return nullptr;
        const ParamToStore& param = params_[param_];
        const ParamShape& shape = param.entry.shape;
        auto tile = std::make_unique<Tile>();
        tile->param = &param;
        tile->first_row = row_;
        tile->rows = shape.is_vector()
                         ? 1
                         : std::min(tile_rows(param.entry.type, shape), *shape.rows - row_);
        tile->strips = shape.is_vector() ? 1 : static_cast<size_t>(strip_count(tile->rows));
        const size_t stored = shape.is_vector()
                                  ? param_bytes(param.entry.type, shape)
                                  : tile->strips * strip_bytes(param.entry.type, shape.cols);
        const size_t read =
            param.rows ? static_cast<size_t>(tile->rows) * param.rows->row_bytes() : 0;
        tile->held = stored + 2 * read + 2 * sizeof(float) * static_cast<size_t>(shape.cols);
        if (held_ > 0 && held_ + tile->held > most_held_) return nullptr;
        tiles_.push_back(std::move(tile));
        held_ += tiles_.back()->held;
        row_ += tiles_.back()->rows;
        if (row_ == shape.row_count()) {
            row_ = 0;
            ++param_;
        }
        return tiles_.back().get();
    }

    void make(Tile& tile, std::unique_lock<std::mutex>& lock, RowSource::Buffer& buffer) {
        lock.unlock();
        try {
            if (tile.param->entry.shape.is_vector())
                make_vector_tile(tile, buffer);
            else
                make_matrix_tile(tile, buffer);
            tile.checksums = strip_checksums({tile.data.get(), tile.bytes}, tile.strips);
        } catch (...) {
            tile.error = std::current_exception();
        }
        lock.lock();
        tile.is_made = true;
        changed_.notify_all();
    }

    void help() {
        RowSource::Buffer buffer;
        std::unique_lock lock(mutex_);
        try {
            while (!stop_ && param_ < params_.size()) {
                if (Tile* tile = begin())
                    make(*tile, lock, buffer);
                else
                    changed_.wait(lock);
            }
        } catch (const std::bad_alloc&) {
            // No room for a tile's place: whoever waits for it meets that too, and says so.
        }
    }

    std::span<const ParamToStore> params_;
    // What tiles on their way take in all, but that one is always made.
    const size_t most_held_ = std::clamp<uint64_t>(free_memory() / 4, 2 << 20, 32 << 20);
    std::mutex mutex_;
    std::condition_variable changed_;  // a tile is made, or written, or all ends
    size_t param_ = 0;                 // of the next tile that nobody has begun
    int64_t row_ = 0;
    size_t held_ = 0;
    bool stop_ = false;
    std::deque<std::unique_ptr<Tile>> tiles_;  // begun, in order
    std::unique_ptr<Tile> current_;
    RowSource::Buffer buffer_;           // of who waits
    std::vector<std::jthread> helpers_;  // last: they end before what they use
};

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
    take_transforms(*place, param);
    const bool sliced =
        std::ranges::any_of(picks_, [](const Pick& pick) { return pick.whole != pick.own; });
    std::vector<int64_t> expected;
    if (place->part) expected.push_back(place->parts);
    if (param.shape.rows) expected.push_back(whole_);
    expected.push_back(groups_ > 0                            ? rows_ / groups_
                       : !param.shape.rows && !picks_.empty() ? whole_
                                                              : param.shape.cols);
    tensor_ = source.find_tensor(place->tensor);
    if (either_way_ && tensor_) transposed_ = essential(tensor_->shape) != essential(expected);
    if (transposed_) std::swap(expected[expected.size() - 1], expected[expected.size() - 2]);
    if (!tensor_) {
        std::vector<std::string> names;
        for (const SourceTensor& tensor : source.tensors()) names.push_back(tensor.name);
        fail("{} is missing; the model needs it with the shape {} (parameter {}){}", where_,
             text_of(expected), param.name, compiler::suggestion(place->tensor, names));
    }
    if (source.format() == "gguf")  // which of a split model's files
        where_ = fmt::format("{}: tensor {}", tensor_->file->name(), place->tensor);
    int64_t elements = 1;
    for (const int64_t size : tensor_->shape) elements = size_product(elements, size);
    const bool flattened = !flat_ ? false
                           : param.shape.rows
                               ? elements == size_product(expected[0], expected[1]) &&
                                     tensor_->shape.back() == expected[1]
                               : !tensor_->type->has_blocks() && elements == expected[0];
    if (!flattened && essential(tensor_->shape) != essential(expected))
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

    source_type_ = static_cast<GgmlType>(tensor_->type->number);
    held_type_ = groups_ > 0 && tensor_->type->has_blocks() ? GgmlType::f32 : source_type_;
    type_ = held_type_;
    parts_ = place->parts;
    part_ = place->part.value_or(0);
    if (!picks_.empty()) split_vector();
    if (plus_ || minus_exp_) type_ = GgmlType::f32;
    if (transposed_ && info_of(source_type_).block_weights != 1)
        fail("{}: {} cannot be transposed", where_, tensor_->type->name);
    if (param.shape.rows) take_scale(source);
    source_row_bytes_ =
        static_cast<size_t>(ggml_row_bytes(source_type_, groups_ > 0 ? rows_ / groups_ : cols_));
    held_row_bytes_ = static_cast<size_t>(ggml_row_bytes(held_type_, cols_));
    row_bytes_ = static_cast<size_t>(ggml_row_bytes(type_, cols_));
}

/// From the rows of the parameter back to those of the tensor. Of a vector values count as rows.
void RowSource::take_transforms(const ParamSource& place, const Param& param) {
    int64_t own = param.shape.rows ? rows_ : cols_;
    for (auto step = place.transforms.rbegin(); step != place.transforms.rend(); ++step) {
        if (step->name == "plus") {
            if (step->args.size() != 1 || !std::isfinite(step->args[0]))
                fail("{}: the transform plus needs one number", where_);
            plus_ = plus_.value_or(0) + static_cast<float>(step->args[0]);
        } else if (step->name == "flattened") {
            if (place.part || std::next(step) != place.transforms.rend())
                fail("{}: only a vector or a matrix is made of a flat tensor, before all else",
                     where_);
            flat_ = true;
        } else if (step->name == "minus_exp") {
            minus_exp_ = true;
        } else if (step->name == "transposed" && step->args.size() == 1) {
            const double groups = step->args[0];
            if (!param.shape.rows || place.part || step != place.transforms.rbegin() ||
                !(groups >= 1 && groups <= kMostRows) || std::fmod(groups, 1) != 0 ||
                rows_ % static_cast<int64_t>(groups) != 0)
                fail("{}: the {} rows of {} are not those of {} transposed matrices", where_, rows_,
                     param.name, groups);
            groups_ = static_cast<int64_t>(groups);
            own = groups_ * cols_;
        } else if (step->name == "transposed" || step->name == "either_way") {
            if (!param.shape.rows || std::next(step) != place.transforms.rend())
                fail("{}: only a matrix can be transposed, and before all else", where_);
            (step->name == "transposed" ? transposed_ : either_way_) = true;
        } else {
            picks_.push_back(pick_of(*step, own, param));
            own = picks_.back().whole;
        }
    }
    if (!picks_.empty() || param.shape.rows) whole_ = own;
}

RowSource::Pick RowSource::pick_of(const compiler::TransformStep& step, int64_t own,
                                   const Param& param) const {
    const auto arg = [&](size_t i) { return step.args.size() > i ? step.args[i] : std::nan(""); };
    const auto is_row = [](double x) { return x >= 0 && x <= kMostRows && x == std::floor(x); };
    Pick pick{.kind = Pick::Kind::slice, .own = own, .whole = own};
    if (step.name == "slice" && step.args.size() == 3) {
        const double groups = arg(2);
        if (!is_row(arg(0)) || !is_row(arg(1)) || !is_row(groups) || groups < 1 ||
            std::fmod(static_cast<double>(own), groups) != 0 ||
            arg(0) + static_cast<double>(own) / groups > arg(1) || arg(1) * groups > kMostRows)
            fail("{}: slice({}, {}, {}) is no place for the {} rows of {}", where_, arg(0), arg(1),
                 groups, own, param.name);
        pick.kind = Pick::Kind::groups;
        pick.first = static_cast<int64_t>(arg(0));
        pick.heads = static_cast<int64_t>(groups);
        pick.step = static_cast<int64_t>(arg(1));
        pick.whole = pick.step * pick.heads;
    } else if (step.name == "columns") {
        if (param.shape.rows || !is_row(arg(0)) || arg(0) < 1 ||
            std::fmod(static_cast<double>(own), arg(0)) != 0)
            fail("{}: the {} values of {} are not {} columns", where_, own, param.name, arg(0));
        pick.kind = Pick::Kind::columns;
        pick.step = static_cast<int64_t>(arg(0));
    } else if (step.name == "slice") {
        if (!is_row(arg(0)) || !is_row(arg(1)) || arg(0) + static_cast<double>(own) > arg(1))
            fail("{}: slice({}, {}) is no place for the {} rows of {}", where_, arg(0), arg(1), own,
                 param.name);
        pick.first = static_cast<int64_t>(arg(0));
        pick.whole = static_cast<int64_t>(arg(1));
    } else if (step.name == "every") {
        if (!is_row(arg(0)) || !is_row(arg(1)) || arg(1) >= arg(0) ||
            arg(0) * static_cast<double>(own) > kMostRows)
            fail("{}: every({}, {}) is no place for the {} rows of {}", where_, arg(0), arg(1), own,
                 param.name);
        pick.kind = Pick::Kind::every;
        pick.step = static_cast<int64_t>(arg(0));
        pick.first = static_cast<int64_t>(arg(1));
        pick.whole = own * pick.step;
    } else if (step.name == "repeated") {
        if (param.shape.rows)
            fail("{}: only a vector is made of one number: {} is a matrix", where_, param.name);
        pick.kind = Pick::Kind::repeated;
        pick.whole = 1;
    } else if (step.name == "unpermute") {
        if (!is_row(arg(0)) || arg(0) < 1 || arg(0) > static_cast<double>(own) ||
            own % (2 * static_cast<int64_t>(arg(0))) != 0)
            fail("{}: its {} rows are not {} heads of an even number of rows", where_, own, arg(0));
        pick.kind = Pick::Kind::unpermute;
        pick.heads = static_cast<int64_t>(arg(0));
    } else {
        fail("{}: the graph's transform {} is not known here", where_, step.name);
    }
    return pick;
}

int64_t RowSource::Pick::row(int64_t row) const {
    if (kind == Kind::repeated) return 0;
    if (kind == Kind::groups) {
        const int64_t each = own / heads;
        return row / each * step + first + row % each;
    }
    if (kind == Kind::columns) return row % (own / step) * step + row / (own / step);
    if (kind != Kind::unpermute) return first + row * step;
    const int64_t d = own / heads, head = row / d, in_head = row % d;
    return head * d + 2 * (in_head % (d / 2)) + in_head / (d / 2);
}

/// Whether rows that are wanted one after the other lie so.
bool RowSource::in_order() const {
    return std::ranges::all_of(picks_,
                               [](const Pick& pick) { return pick.kind == Pick::Kind::slice; });
}

/// llama.cpp multiplies what a matrix X.weight gives with X.scale, if the file has it (load_tensors
/// in llama-model.cpp, "generic pass"): one number, or one for each of the matrices in X.
void RowSource::take_scale(const Source& source) {
    constexpr std::string_view kWeight = ".weight";
    if (source.format() != "gguf" || !tensor_->name.ends_with(kWeight)) return;
    const std::string stem = tensor_->name.substr(0, tensor_->name.size() - kWeight.size());
    const SourceTensor* const scale = source.find_tensor(stem + ".scale");
    if (!scale || scale->type->has_blocks()) return;
    const std::vector<int64_t> shape = essential(scale->shape);
    if (shape != std::vector<int64_t>{1} && shape != std::vector<int64_t>{parts_}) return;
    const auto type = static_cast<GgmlType>(scale->type->number);
    std::vector<std::byte> bytes(scale->bytes);
    scale->read(0, bytes.data(), bytes.size());
    std::vector<float> values(static_cast<size_t>(shape[0]));
    dequantize_row(type, bytes.data(), std::span(values));
    const float value = values[values.size() == 1 ? 0 : static_cast<size_t>(part_)];
    if (!std::isfinite(value))
        fail("{}: tensor {} has a value that is not a finite number", source.name(), scale->name);
    scale_ = scale;
    times_ = value;
    type_ = GgmlType::f32;
}

/// Of a vector each value becomes a row.
void RowSource::split_vector() {
    if (cols_ == 1 || rows_ > 1) return;
    std::swap(rows_, cols_);
    if (info_of(source_type_).block_weights != 1)
        fail("{}: a vector of {} cannot be taken apart", where_, tensor_->type->name);
}

int64_t RowSource::source_row(int64_t row) const {
    for (const Pick& pick : picks_) row = pick.row(row);
    return part_ * whole_ + row;
}

const std::byte* RowSource::read(int64_t first, int64_t count, Buffer& buffer) const {
    const std::byte* const rows = read_blocks(first, count, buffer);
    if (!plus_ && !times_ && !minus_exp_) return rows;
    change(count, buffer);
    return buffer.changed.data();
}

const std::byte* RowSource::read_blocks(int64_t first, int64_t count, Buffer& buffer) const {
    const auto offset = [&](int64_t row) { return static_cast<uint64_t>(row) * source_row_bytes_; };
    buffer.read.resize(static_cast<size_t>(count) * held_row_bytes_);
    if (groups_ > 0) {
        read_turned(first, count, buffer);
    } else if (transposed_) {
        for (int64_t r = 0; r < count;) {
            const int64_t from = source_row(first + r);
            int64_t run = 1;
            while (r + run < count && source_row(first + r + run) == from + run) ++run;
            read_columns(from - part_ * whole_, run,
                         buffer.read.data() + static_cast<size_t>(r) * source_row_bytes_);
            r += run;
        }
    } else if (in_order()) {
        tensor_->read(offset(source_row(first)), buffer.read.data(), buffer.read.size());
    } else {
        read_rows(first, count, buffer.read.data());
    }
    return buffer.read.data();
}

/// Rows that are columns of their group's rows.
void RowSource::read_turned(int64_t first, int64_t count, Buffer& buffer) const {
    const int64_t each = rows_ / groups_;
    for (int64_t r = 0; r < count;) {
        const int64_t group = (first + r) / each, from = (first + r) % each;
        const int64_t run = std::min(count - r, each - from);
        if (buffer.turned_of != this || buffer.group != group) turn_group(group, buffer);
        std::memcpy(buffer.read.data() + static_cast<size_t>(r) * held_row_bytes_,
                    buffer.turned.data() + static_cast<size_t>(from) * held_row_bytes_,
                    static_cast<size_t>(run) * held_row_bytes_);
        r += run;
    }
}

/// The rows of a source's group, transposed. Several calls want the same one after the other.
void RowSource::turn_group(int64_t group, Buffer& buffer) const {
    buffer.turned_of = nullptr;
    const auto each = static_cast<size_t>(rows_ / groups_), cols = static_cast<size_t>(cols_);
    std::vector<std::byte> rows(cols * source_row_bytes_);
    for (size_t c = 0; c < cols; ++c)
        tensor_->read(static_cast<uint64_t>(source_row(group * cols_ + static_cast<int64_t>(c))) *
                          source_row_bytes_,
                      rows.data() + c * source_row_bytes_, source_row_bytes_);
    const auto size = static_cast<size_t>(info_of(held_type_).block_bytes);
    buffer.turned.resize(each * held_row_bytes_);
    std::vector<float> values(held_type_ == source_type_ ? 0 : each);
    for (size_t c = 0; c < cols; ++c) {
        const std::byte* from = rows.data() + c * source_row_bytes_;
        if (!values.empty()) {
            dequantize_row(source_type_, from, std::span(values));
            from = reinterpret_cast<const std::byte*>(values.data());
        }
        for (size_t r = 0; r < each; ++r)
            std::memcpy(buffer.turned.data() + r * held_row_bytes_ + c * size, from + r * size,
                        size);
    }
    buffer.turned_of = this;
    buffer.group = group;
}

/// Rows that do not lie one after the other. Short ones, such as a vector's values, with all that
/// is between them.
void RowSource::read_rows(int64_t first, int64_t count, std::byte* rows) const {
    constexpr size_t kShort = 64, kMostAtOnce = 64 << 20;
    int64_t low = source_row(first), high = low;
    for (int64_t r = 0; r < count; ++r) {
        low = std::min(low, source_row(first + r));
        high = std::max(high, source_row(first + r));
    }
    const auto at = [&](int64_t row) { return static_cast<uint64_t>(row) * source_row_bytes_; };
    const size_t bytes = static_cast<size_t>(high - low + 1) * source_row_bytes_;
    const bool together = source_row_bytes_ <= kShort && bytes <= kMostAtOnce;
    std::vector<std::byte> all(together ? bytes : 0);
    if (together) tensor_->read(at(low), all.data(), all.size());
    for (int64_t r = 0; r < count; ++r) {
        std::byte* to = rows + static_cast<size_t>(r) * source_row_bytes_;
        const int64_t row = source_row(first + r);
        if (together)
            std::memcpy(to, all.data() + static_cast<size_t>(row - low) * source_row_bytes_,
                        source_row_bytes_);
        else
            tensor_->read(at(row), to, source_row_bytes_);
    }
}

/// Columns of a tensor's matrix as rows.
void RowSource::read_columns(int64_t first, int64_t count, std::byte* rows) const {
    const auto size = static_cast<size_t>(info_of(source_type_).block_bytes);
    const auto columns = static_cast<uint64_t>(whole_), height = static_cast<uint64_t>(cols_);
    std::vector<std::byte> piece(static_cast<size_t>(count) * size);
    for (uint64_t r = 0; r < height; ++r) {
        const uint64_t at = (static_cast<uint64_t>(part_) * height + r) * columns;
        tensor_->read((at + static_cast<uint64_t>(first)) * size, piece.data(), piece.size());
        for (size_t c = 0; c < static_cast<size_t>(count); ++c)
            std::memcpy(rows + c * source_row_bytes_ + r * size, piece.data() + c * size, size);
    }
}

void RowSource::change(int64_t count, Buffer& buffer) const {
    buffer.changed.resize(static_cast<size_t>(count) * row_bytes_);
    std::vector<float> row(static_cast<size_t>(cols_));
    for (size_t r = 0; r < static_cast<size_t>(count); ++r) {
        dequantize_row(held_type_, buffer.read.data() + r * held_row_bytes_, std::span(row));
        if (times_)
            for (float& value : row) value *= *times_;
        if (plus_)
            for (float& value : row) value += *plus_;
        if (minus_exp_)
            for (float& value : row) value = -std::exp(value);
        std::memcpy(buffer.changed.data() + r * row_bytes_, row.data(), row_bytes_);
    }
}

bool RowSource::fits_f16() const {
    if (type_ == GgmlType::f16) return true;
    constexpr size_t kReadAtOnce = 1 << 20;
    const auto step = std::max<int64_t>(1, static_cast<int64_t>(kReadAtOnce / row_bytes_));
    std::atomic<bool> fits = true;
    in_parallel(static_cast<size_t>((rows_ + step - 1) / step), [&](size_t part) {
        if (!fits) return;
        const int64_t first = static_cast<int64_t>(part) * step,
                      count = std::min(step, rows_ - first);
        Buffer buffer;
        const std::byte* from = read(first, count, buffer);
        std::vector<float> row(static_cast<size_t>(cols_));
        for (int64_t r = 0; r < count; ++r, from += row_bytes_) {
            dequantize_row(type_, from, std::span(row));
            for (const float value : row)
                if ((f32_to_f16(value) & 0x7fff) >= 0x7c00) fits = false;
        }
    });
    return fits;
}

WeightType RowSource::natural_type() const {
    if (!times_ && held_type_ == source_type_) return llmsql::natural_type(type_);
    // Times a scale, or transposed, they are others than the source's blocks hold; nvfp4 has a
    // place for the first.
    const WeightType own = llmsql::natural_type(source_type_);
    if (own == WeightType::nvfp4 && held_type_ == source_type_ && !plus_ && !minus_exp_) return own;
    return format_of(own).takes_anything ? own : WeightType::q8;
}

WeightType natural_type(GgmlType type) {
    if (const WeightFormat* keeping = format_keeping(static_cast<uint32_t>(type)))
        return keeping->type;
    if (info_of(type).has_blocks()) return keeps_q4(type) ? WeightType::q4 : WeightType::q8;
    return WeightType::f32;
}

void check_values(std::span<const float> values, bool positive, const std::string& what) {
    for (size_t i = 0; i < values.size(); ++i) {
        if (!std::isfinite(values[i])) fail("{} has a value that is not a finite number", what);
        if (positive && !(values[i] > 0))
            fail("{}: its element {} is {}, but the graph divides by it: it must be above 0", what,
                 i, values[i]);
    }
}

void store_params(std::span<const ParamToStore> params, ModelWriter& writer,
                  const std::function<void(uint64_t)>& progress,
                  const std::function<void()>& first) {
    TileMill mill(params);
    if (first) first();
    while (const Tile* tile = mill.next()) {
        writer.tile(tile->param->id, tile->first_row, std::span(tile->data.get(), tile->bytes),
                    tile->checksums);
        progress(tile->source_bytes());
    }
}

}  // namespace llmsql
