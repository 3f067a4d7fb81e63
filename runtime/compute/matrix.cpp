// SPDX-License-Identifier: MIT
// Matrix operators: embed picks rows of a parameter, linear multiplies by one.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <utility>

#include "common/half.h"
#include "runtime/compute/functions.h"
#include "runtime/kernels/kernels.h"

namespace llmsql {
namespace {

constexpr int64_t kMostTokenBytes = 64 << 20;

template<class T>
T load(const std::byte* p) {
    T value;
    std::memcpy(&value, p, sizeof value);
    return value;
}

// One weight of a strip: row `r` of its 16, column `c`.
float strip_weight(const std::byte* strip, WeightType type, int64_t r, int64_t c) {
    const int64_t plain = c * kStripRows + r;
    const int64_t block = c / kBlock, in_block = c % kBlock;
    switch (type) {
        case WeightType::f32:
            return load<float>(strip + plain * 4);
        case WeightType::f16:
            return f16_to_f32(load<uint16_t>(strip + plain * 2));
        case WeightType::q8: {
            const std::byte* at = strip + block * kStripRows * (2 + kBlock);
            const auto code = load<int8_t>(at + 2 * kStripRows +
                                           (in_block / 4 * kStripRows + r) * 4 + in_block % 4);
            return f16_to_f32(load<uint16_t>(at + 2 * r)) * static_cast<float>(code);
        }
        case WeightType::q4: {
            const std::byte* at = strip + block * kStripRows * (2 + 2 + kBlock / 2);
            const int64_t half = in_block % 16;
            const auto byte =
                load<uint8_t>(at + 4 * kStripRows + (half / 4 * kStripRows + r) * 4 + half % 4);
            const int code = in_block < 16 ? byte & 15 : byte >> 4;
            return f16_to_f32(load<uint16_t>(at + 2 * r)) * static_cast<float>(code) +
                   f16_to_f32(load<uint16_t>(at + 2 * kStripRows + 2 * r));
        }
    }
    return 0;
}

// Counts the bytes that lists of tokens take, for as long as they do.
class CountedBytes {
  public:
    CountedBytes(std::shared_ptr<std::atomic<int64_t>> sum, int64_t bytes)
        : sum_(std::move(sum)), bytes_(bytes) {
        *sum_ += bytes_;
    }
    CountedBytes(const CountedBytes&) = delete;
    CountedBytes& operator=(const CountedBytes&) = delete;
    ~CountedBytes() { *sum_ -= bytes_; }

  private:
    const std::shared_ptr<std::atomic<int64_t>> sum_;
    const int64_t bytes_;
};

class EmbedExpr final : public Expr {
  public:
    EmbedExpr(const Weight& weight, std::vector<int32_t> tokens, OperatorState& state)
        : Expr(static_cast<int64_t>(tokens.size()), 1, weight.entry.shape.cols),
          weight_(weight),
          tokens_(std::move(tokens)),
          counted_(state.token_bytes, static_cast<int64_t>(tokens_.size() * sizeof(int32_t))) {}

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        for (int64_t r = 0; r < block.rows; ++r) {
            const int64_t token = tokens_[static_cast<size_t>(block.row + r)];
            const std::byte* strip =
                weight_.pool->strips(weight_, token / kStripRows, 1, Use::embedding, scratch.strips)
                    .data;
            for (int64_t c = 0; c < block.cols; ++c)
                out[r * out_stride + c] =
                    strip_weight(strip, weight_.entry.type, token % kStripRows, block.col + c);
        }
    }
    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>&) const override {}

  private:
    const Weight& weight_;
    const std::vector<int32_t> tokens_;
    const CountedBytes counted_;
};

bool is_quantized(WeightType type) {
    return type == WeightType::q8 || type == WeightType::q4;
}

class LinearExpr final : public Expr {
  public:
    LinearExpr(std::shared_ptr<const TensorExpr> x, const Weight& weight, const Weight* bias)
        : Expr(x->rows, 1, *weight.entry.shape.rows),
          x_(std::move(x)),
          weight_(weight),
          bias_(bias) {}

    int64_t granule() const override { return kStripRows; }
    bool scans_matrix() const override { return true; }
    uint64_t weight_bytes() const override {
        return param_bytes(weight_.entry.type, weight_.entry.shape);
    }

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        const size_t strip_size = strip_bytes(weight_.entry.type, weight_.entry.shape.cols);
        const bool parts_will_do = block.rows == 1 && is_quantized(weight_.entry.type);
        for (int64_t c = 0; c < block.cols;) {
            const int64_t strip = (block.col + c) / kStripRows;
            const auto [data, count] =
                weight_.pool->strips(weight_, strip, strip_count(block.cols - c), Use::scan,
                                     scratch.strips, parts_will_do);
            if (!data) {
                multiply_parts(strip, block, scratch, out + c,
                               std::min(kStripRows, block.cols - c));
                c += kStripRows;
                continue;
            }
            // The last strip's padding rows have no place in the result.
            const int64_t whole = std::min(count, (block.cols - c) / kStripRows);
            multiply(data, whole, block, out + c, out_stride);
            if (whole < count)
                multiply_padded(data + static_cast<size_t>(whole) * strip_size, block,
                                block.cols - c - whole * kStripRows, scratch,
                                out + c + whole * kStripRows, out_stride);
            c += count * kStripRows;
        }
        if (!bias_) return;
        const float* bias = bias_->vector().data() + block.col;
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; ++c) out[r * out_stride + c] += bias[c];
    }

    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const override {
        visit(*x_, Reach::row);
    }

  private:
    // The outputs of one strip of which only `filled` rows are the matrix's.
    void multiply_padded(const std::byte* strip, const Block& block, int64_t filled,
                         Scratch& scratch, float* out, int64_t out_stride) const {
        const Scratch::Frame frame(scratch);
        float* padded = scratch.take(block.rows, kStripRows);
        multiply(strip, 1, block, padded, kStripRows);
        for (int64_t r = 0; r < block.rows; ++r)
            std::copy_n(padded + r * kStripRows, filled, out + r * out_stride);
    }

    // A strip that lies in parts, times one token. A block across two parts is put together.
    void multiply_parts(int64_t strip, const Block& block, Scratch& scratch, float* out,
                        int64_t filled) const {
        const WeightType type = weight_.entry.type;
        const auto kernel =
            type == WeightType::q8 ? kernels().linear_q8_part : kernels().linear_q4_part;
        const int64_t blocks = block_count(weight_.entry.shape.cols);
        const std::byte* x = x_->row_data(block.row);
        const size_t size = strip_bytes(type, kBlock);
        alignas(64) float sums[kStripRows];
        alignas(64) std::byte across[kStripRows * (2 + kBlock)];  // of the largest type
        size_t offset = 0, gathered = 0;  // bytes of the strip; of them, in `across`
        for (int64_t b = 0; b < blocks;) {
            auto part = weight_.pool->part(weight_, strip, offset, scratch.strips);
            offset += part.size();
            if (gathered > 0) {
                const size_t more = std::min(size - gathered, part.size());
                std::memcpy(across + gathered, part.data(), more);
                gathered += more;
                part = part.subspan(more);
                if (gathered < size) continue;
                kernel(across, b++, 1, blocks, x, sums);
            }
            const auto whole = static_cast<int64_t>(part.size() / size);
            if (whole > 0) kernel(part.data(), b, whole, blocks, x, sums);
            b += whole;
            part = part.subspan(static_cast<size_t>(whole) * size);
            gathered = part.size();
            if (gathered > 0) std::memcpy(across, part.data(), gathered);
        }
        std::copy_n(sums, filled, out);
    }

    void multiply(const std::byte* strips, int64_t count, const Block& block, float* out,
                  int64_t out_stride) const {
        const int64_t cols = weight_.entry.shape.cols;
        const std::byte* x = x_->row_data(block.row);
        const auto* floats = reinterpret_cast<const float*>(x);
        const int64_t stride = x_->place.stride;
        const auto float_stride = stride / static_cast<int64_t>(sizeof(float));
        const Kernels& k = kernels();
        switch (weight_.entry.type) {
            case WeightType::q8:
                return k.linear_q8(strips, count, block_count(cols), x, stride, block.rows, out,
                                   out_stride);
            case WeightType::q4:
                return k.linear_q4(strips, count, block_count(cols), x, stride, block.rows, out,
                                   out_stride);
            case WeightType::f16:
                return k.linear_f16(strips, count, cols, floats, float_stride, block.rows, out,
                                    out_stride);
            case WeightType::f32:
                return k.linear_f32(strips, count, cols, floats, float_stride, block.rows, out,
                                    out_stride);
        }
    }

    const std::shared_ptr<const TensorExpr> x_;
    const Weight& weight_;
    const Weight* const bias_;
};

ExprPtr op_embed(OperatorState& state, const Arguments& arguments) {
    const Weight& weight = arguments.matrix(0);
    std::vector<int32_t> tokens = arguments.tokens(1);
    if (static_cast<int64_t>(tokens.size()) > state.most_rows)
        arguments.refuse(fmt::format("{}, a pass has {} at most", counted(tokens.size(), "token"),
                                     state.most_rows));
    if (*state.token_bytes > kMostTokenBytes)
        arguments.refuse("the statement holds too many tokens at once");
    const int64_t rows = *weight.entry.shape.rows;
    for (const int32_t token : tokens)
        if (token < 0 || token >= rows)
            arguments.refuse(fmt::format("there is no token {}: {} has {} rows", token,
                                         weight.entry.name, rows));
    return std::make_shared<EmbedExpr>(weight, std::move(tokens), state);
}

ExprPtr op_linear(OperatorState&, const Arguments& arguments) {
    const Weight& weight = arguments.matrix(1);
    auto x =
        arguments.stored(0, is_quantized(weight.entry.type) ? TensorType::q8 : TensorType::f32);
    if (x->elements() != weight.entry.shape.cols)
        arguments.refuse(fmt::format("{} is {}, so it does not take {}", weight.entry.name,
                                     describe(weight.entry), describe_shape(*x)));
    const Weight* bias =
        arguments.count() > 2 ? &arguments.vector(2, *weight.entry.shape.rows) : nullptr;
    return std::make_shared<LinearExpr>(std::move(x), weight, bias);
}

}  // namespace

std::span<const OperatorFunction> matrix_functions() {
    static constexpr OperatorFunction kFunctions[] = {
        {.sql = "llm_embed", .scalar = op_embed},
        {.sql = "llm_linear", .scalar = op_linear},
    };
    return kFunctions;
}

ExprPtr linear_of(std::shared_ptr<const TensorExpr> x, const Weight& weight) {
    return std::make_shared<LinearExpr>(std::move(x), weight, nullptr);
}

}  // namespace llmsql
