// SPDX-License-Identifier: MIT
// Joins codes and scales. See scaled_tensors.h.
#include "importer/scaled_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <set>

#include "common/error.h"
#include "common/half.h"

namespace llmsql {
namespace {

constexpr std::string_view kE4m3 = "F8_E4M3", kE8m0 = "F8_E8M0", kBytes = "U8";
constexpr std::string_view kBlocks = "_blocks", kScales = "_scales";
// What a tensor's scale is called: its own name and one of these.
constexpr std::array<std::string_view, 2> kScaleEnds{"_scale_inv", "_scale"};
// Scales of activations and of the cache: here both are kept in other types.
constexpr std::array<std::string_view, 5> kOtherScales{".input_scale", ".activation_scale",
                                                       ".k_scale", ".v_scale", ".q_scale"};

/// Sign, 4 bits of exponent, 3 of mantissa; no infinities, and NaN where all but the sign are ones.
float from_e4m3(uint8_t code) {
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
    if ((code & 0x7f) == 0x7f) value = std::numeric_limits<float>::quiet_NaN();
    return code & 0x80 ? -value : value;
}

const std::array<float, 256>& e4m3_values() {
    static const std::array<float, 256> values = [] {
        std::array<float, 256> all{};
        for (size_t code = 0; code < all.size(); ++code)
            all[code] = from_e4m3(static_cast<uint8_t>(code));
        return all;
    }();
    return values;
}

/// To nearest, of two as near to the even one. A NaN stays one.
uint16_t to_bf16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/// FP8 codes with their scales, as BF16.
class ScaledFp8 final : public TensorReader {
  public:
    ScaledFp8(SourceTensor codes, SourceTensor scales, int64_t block_rows, int64_t block_cols)
        : codes_(std::move(codes)),
          scales_(std::move(scales)),
          block_rows_(block_rows),
          block_cols_(block_cols),
          cols_(codes_.shape.back()),
          rows_(codes_.shape.size() > 1 ? codes_.shape[codes_.shape.size() - 2] : 1),
          scale_cols_((cols_ + block_cols - 1) / block_cols),
          scale_rows_((rows_ + block_rows - 1) / block_rows) {}

    void read(uint64_t offset, void* into, size_t bytes) const override {
        const uint64_t first = offset / 2, end = (offset + bytes + 1) / 2;
        std::vector<uint8_t> codes(static_cast<size_t>(end - first));
        codes_.file->read(codes_.offset + first, codes.data(), codes.size());
        std::vector<uint16_t> values(codes.size());
        std::vector<float> scales;
        int64_t at = -1;  // the row of scales that is there
        for (uint64_t i = first; i < end;) {
            const auto row = static_cast<int64_t>(i) / cols_, col = static_cast<int64_t>(i) % cols_;
            const int64_t wanted = row / rows_ * scale_rows_ + row % rows_ / block_rows_;
            if (wanted != at) scales = scales_of(wanted);
            at = wanted;
            const int64_t run =
                std::min(static_cast<int64_t>(end - i),
                         std::min(cols_, (col / block_cols_ + 1) * block_cols_) - col);
            const float scale = scales[static_cast<size_t>(col / block_cols_)];
            for (int64_t j = 0; j < run; ++j, ++i)
                values[static_cast<size_t>(i - first)] =
                    to_bf16(e4m3_values()[codes[static_cast<size_t>(i - first)]] * scale);
        }
        std::memcpy(into, reinterpret_cast<const std::byte*>(values.data()) + (offset - 2 * first),
                    bytes);
    }

  private:
    std::vector<float> scales_of(int64_t row) const {
        std::vector<float> values(static_cast<size_t>(scale_cols_));
        const size_t size = static_cast<size_t>(scales_.type->block_bytes);
        std::vector<std::byte> raw(values.size() * size);
        scales_.file->read(scales_.offset + static_cast<uint64_t>(row) * raw.size(), raw.data(),
                           raw.size());
        for (size_t i = 0; i < values.size(); ++i) {
            uint32_t bits = 0;
            std::memcpy(&bits, raw.data() + i * size, size);
            if (scales_.type->name == "F16") {
                values[i] = f16_to_f32(static_cast<uint16_t>(bits));
                continue;
            }
            if (scales_.type->name == "BF16") {
                values[i] = bf16_to_f32(static_cast<uint16_t>(bits));
                continue;
            }
            if (scales_.type->name == kE8m0)
                values[i] = bits == 255 ? std::numeric_limits<float>::quiet_NaN()
                                        : std::ldexp(1.0f, static_cast<int>(bits) - 127);
            else
                std::memcpy(&values[i], &bits, sizeof bits);
        }
        return values;
    }

    const SourceTensor codes_, scales_;
    const int64_t block_rows_, block_cols_;
    const int64_t cols_, rows_;              // of each matrix
    const int64_t scale_cols_, scale_rows_;  // of its scales
};

/// MXFP4 as GGUF has it: a block's scale before its codes, of which two in a byte are 16 apart. In
/// safetensors they are neighbors, and scales are a tensor of their own.
class OrderedMxfp4 final : public TensorReader {
  public:
    OrderedMxfp4(SourceTensor codes, SourceTensor scales)
        : codes_(std::move(codes)), scales_(std::move(scales)) {}

    void read(uint64_t offset, void* into, size_t bytes) const override {
        const uint64_t first = offset / kBlock, end = (offset + bytes + kBlock - 1) / kBlock;
        const auto count = static_cast<size_t>(end - first);
        std::vector<uint8_t> codes(count * kCodes), scales(count), blocks(count * kBlock);
        codes_.file->read(codes_.offset + first * kCodes, codes.data(), codes.size());
        scales_.file->read(scales_.offset + first, scales.data(), scales.size());
        for (size_t b = 0; b < count; ++b) {
            const uint8_t* from = codes.data() + b * kCodes;
            uint8_t* to = blocks.data() + b * kBlock;
            *to++ = scales[b];
            const auto code = [&](size_t i) { return from[i / 2] >> (4 * (i % 2)) & 15; };
            for (size_t i = 0; i < kCodes; ++i)
                to[i] = static_cast<uint8_t>(code(i) | code(i + kCodes) << 4);
        }
        std::memcpy(into, blocks.data() + (offset - first * kBlock), bytes);
    }

  private:
    static constexpr size_t kCodes = 16, kBlock = 1 + kCodes;  // bytes
    const SourceTensor codes_, scales_;
};

/// A whole number of at least 1 under a key.
int64_t size_in(const Json& list, size_t index, const std::string& where) {
    const Json& value = list.at(index);
    if (!value.is_number_unsigned() || value.get<uint64_t>() < 1 ||
        value.get<uint64_t>() > (uint64_t{1} << 30))
        fail("{}: quantization_config.weight_block_size is not two whole numbers", where);
    return static_cast<int64_t>(value.get<uint64_t>());
}

std::string shape_text(const SourceTensor& tensor) {
    return fmt::format("[{}]", fmt::join(tensor.shape, ", "));
}

SourceTensor joined(const SourceTensor& codes, GgmlType type, std::vector<int64_t> shape,
                    std::shared_ptr<const TensorReader> reader) {
    SourceTensor tensor = codes;
    tensor.type = &info_of(type);
    tensor.shape = std::move(shape);
    tensor.reader = std::move(reader);
    tensor.offset = 0;
    uint64_t rows = 1;
    for (size_t i = 0; i + 1 < tensor.shape.size(); ++i)
        rows *= static_cast<uint64_t>(tensor.shape[i]);
    tensor.bytes = rows * static_cast<uint64_t>(ggml_row_bytes(type, tensor.shape.back()));
    return tensor;
}

/// The rows and columns that share a scale; fails where the shapes do not go together.
std::pair<int64_t, int64_t> block_of(const SourceTensor& codes, const SourceTensor& scales,
                                     const ScaledWeights& weights) {
    const int64_t rows = codes.shape.size() > 1 ? codes.shape[codes.shape.size() - 2] : 1;
    const int64_t cols = codes.shape.back();
    int64_t count = 1;
    for (const int64_t size : scales.shape) count *= size;
    if (codes.shape.size() <= 2 && count == 1) return {rows, cols};
    std::vector<int64_t> by_row = codes.shape, by_block = codes.shape, by_matrix = codes.shape;
    by_row.back() = by_block.back() = by_matrix.back() = 1;
    by_block.back() = (cols + weights.block_cols - 1) / weights.block_cols;
    if (codes.shape.size() > 1) {
        by_block[by_block.size() - 2] = (rows + weights.block_rows - 1) / weights.block_rows;
        by_matrix[by_matrix.size() - 2] = 1;
    }
    const auto is = [&](std::vector<int64_t> shape) {
        if (scales.shape == shape) return true;
        while (shape.size() > 1 && shape.back() == 1) {
            shape.pop_back();
            if (scales.shape == shape) return true;
        }
        return false;
    };
    if (is(by_block)) return {weights.block_rows, weights.block_cols};
    if (is(by_row)) return {1, cols};
    if (is(by_matrix)) return {rows, cols};
    fail(
        "{}: tensor {}: its scales {} have the shape {}, which goes with none of {}'s matrix, rows "
        "or blocks of {} x {}",
        codes.file->name(), printable(codes.name), printable(scales.name), shape_text(scales),
        shape_text(codes), weights.block_rows, weights.block_cols);
}

}  // namespace

ScaledWeights scaled_weights_of(const Json& config, const std::string& where) {
    ScaledWeights weights;
    const Json* how = member(config, "quantization_config");
    if (!how) return weights;
    const auto text = [&](const Json& from, const char* key) {
        const Json* value = member(from, key);
        return value && value->is_string() ? value->get<std::string>() : std::string();
    };
    const std::string method = text(*how, "quant_method");
    weights.scaled = true;
    if (method == "mxfp4") return weights;
    const std::string form = text(*how, "fmt");
    if (method == "fp8" && (form.empty() || form == "e4m3" || form == "float8_e4m3fn")) {
        const Json* block = member(*how, "weight_block_size");
        if (!block || block->is_null()) return weights;
        if (!block->is_array() || block->size() != 2)
            fail("{}: quantization_config.weight_block_size is not two whole numbers", where);
        weights.block_rows = size_in(*block, 0, where);
        weights.block_cols = size_in(*block, 1, where);
        return weights;
    }
    const std::string packed = text(*how, "format");
    if (method == "compressed-tensors" &&
        (packed == "float-quantized" || packed == "naive-quantized"))
        return weights;
    fail(
        "{}: the weights are quantised (quantization_config, {}), which cannot be read; take the "
        "original model, in BF16, F16 or F32, or in FP8 or MXFP4",
        where, method.empty() ? "of no quant_method" : printable(method));
}

std::vector<std::string> join_scaled_tensors(std::vector<SourceTensor>& tensors,
                                             const ScaledWeights& weights) {
    if (!weights.scaled) return {};
    std::map<std::string_view, const SourceTensor*> named;
    for (const SourceTensor& tensor : tensors) named[tensor.name] = &tensor;
    const auto find = [&](const std::string& name) {
        const auto found = named.find(name);
        return found == named.end() ? nullptr : found->second;
    };
    std::set<std::string> used;
    std::vector<SourceTensor> all;
    size_t fp8 = 0, powers = 0, mxfp4 = 0, left = 0;
    for (const SourceTensor& tensor : tensors) {
        const std::string where =
            fmt::format("{}: tensor {}", tensor.file->name(), printable(tensor.name));
        if (tensor.type->name == kE4m3) {
            const SourceTensor* scales = nullptr;
            for (const std::string_view end : kScaleEnds)
                if (!scales) scales = find(tensor.name + std::string(end));
            if (!scales)
                fail(
                    "{} is of the type F8_E4M3, but there is no {}_scale_inv or {}_scale beside it",
                    where, printable(tensor.name), printable(tensor.name));
            if (tensor.shape.empty()) fail("{} has no dimensions", where);
            const std::string_view type = scales->type->name;
            if (type != "F32" && type != "F16" && type != "BF16" && type != kE8m0)
                fail("{}: its scales {} are of the type {}; F32, F16, BF16 and F8_E8M0 can be read",
                     where, printable(scales->name), type);
            const auto [rows, cols] = block_of(tensor, *scales, weights);
            used.insert(scales->name);
            ++fp8;
            powers += type == kE8m0;
            all.push_back(joined(tensor, GgmlType::bf16, tensor.shape,
                                 std::make_shared<ScaledFp8>(tensor, *scales, rows, cols)));
        } else if (tensor.name.ends_with(kBlocks) && tensor.type->name == kBytes) {
            const std::string stem = tensor.name.substr(0, tensor.name.size() - kBlocks.size());
            const SourceTensor* scales = find(stem + std::string(kScales));
            if (!scales || scales->type->name != kBytes)
                fail("{} has no scales {}{} of the type U8 beside it", where, printable(stem),
                     kScales);
            std::vector<int64_t> shape = tensor.shape, blocks = tensor.shape;
            if (shape.size() < 2 || shape.back() != 16)
                fail("{} is no MXFP4: it has the shape {}", where, shape_text(tensor));
            blocks.pop_back();
            if (scales->shape != blocks)
                fail("{}: its scales have the shape {}, not [{}]", where, shape_text(*scales),
                     fmt::join(blocks, ", "));
            shape.pop_back();
            shape.back() *= 32;
            used.insert(scales->name);
            ++mxfp4;
            all.push_back(joined(tensor, GgmlType::mxfp4, std::move(shape),
                                 std::make_shared<OrderedMxfp4>(tensor, *scales)));
        }
    }
    for (const SourceTensor& tensor : tensors) {
        const bool other = std::ranges::any_of(
            kOtherScales, [&](std::string_view end) { return tensor.name.ends_with(end); });
        left += other && !used.contains(tensor.name);
        if (other || used.contains(tensor.name) || tensor.type->name == kE4m3 ||
            (tensor.name.ends_with(kBlocks) && tensor.type->name == kBytes))
            continue;
        all.push_back(tensor);
    }
    tensors = std::move(all);
    std::vector<std::string> notes;
    if (fp8 > 0)
        notes.push_back(
            fmt::format("{} of F8_E4M3 with scales {} held as bf16, {}", counted(fp8, "tensor"),
                        fp8 == 1 ? "is" : "are",
                        powers == fp8 ? "exactly" : "each value times its scale rounded to it"));
    if (mxfp4 > 0)
        notes.push_back(fmt::format("{} of MXFP4 {} held as {} is, exactly",
                                    counted(mxfp4, "tensor"), mxfp4 == 1 ? "is" : "are",
                                    mxfp4 == 1 ? "it" : "each"));
    if (left > 0)
        notes.push_back(
            fmt::format("left out: {} scale{} of activations, which are not in FP8 here", left,
                        left == 1 ? "" : "s"));
    return notes;
}

}  // namespace llmsql
