// SPDX-License-Identifier: MIT
// Matrix operators: embed picks rows of a parameter, linear multiplies by one.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <utility>

#include "common/strips.h"
#include "common/weight_format.h"
#include "runtime/compute/functions.h"
#include "runtime/kernels/kernels.h"
#include "runtime/weights/blob_pages.h"

namespace llmsql {
namespace {

constexpr int64_t kMostTokenBytes = 64 << 20;

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
            read_strip(weight_.entry.type, strip, token % kStripRows, block.col,
                       {out + r * out_stride, static_cast<size_t>(block.cols)});
        }
    }
    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>&) const override {}

  private:
    const Weight& weight_;
    const std::vector<int32_t> tokens_;
    const CountedBytes counted_;
};

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
        for (int64_t c = 0; c < block.cols;) {
            const int64_t strip = (block.col + c) / kStripRows;
            const auto [data, count] =
                weight_.pool->strips(weight_, strip, strip_count(block.cols - c), Use::scan,
                                     scratch.strips, format().quantized());
            if (!data) {
                multiply_parts(strip, block, std::min(kStripRows, block.cols - c), scratch, out + c,
                               out_stride);
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
    // The outputs of one strip of which only `filled` rows are the matrix's: `multiply` is given
    // where all of them go.
    template<class Multiply>
    static void pad(const Block& block, int64_t filled, Scratch& scratch, float* out,
                    int64_t out_stride, const Multiply& multiply) {
        const Scratch::Frame frame(scratch);
        float* padded = scratch.take(block.rows, kStripRows);
        multiply(padded, kStripRows);
        for (int64_t r = 0; r < block.rows; ++r)
            std::copy_n(padded + r * kStripRows, filled, out + r * out_stride);
    }

    void multiply_padded(const std::byte* strip, const Block& block, int64_t filled,
                         Scratch& scratch, float* out, int64_t out_stride) const {
        pad(block, filled, scratch, out, out_stride,
            [&](float* padded, int64_t stride) { multiply(strip, 1, block, padded, stride); });
    }

    void multiply_parts(int64_t strip, const Block& block, int64_t filled, Scratch& scratch,
                        float* out, int64_t out_stride) const {
        if (filled == kStripRows) return multiply_parts(strip, block, scratch, out, out_stride);
        pad(block, filled, scratch, out, out_stride, [&](float* padded, int64_t stride) {
            multiply_parts(strip, block, scratch, padded, stride);
        });
    }

    // A strip that lies in parts. A block across neighbouring pages is given to the kernel as it
    // lies, one that goes on elsewhere is put together.
    void multiply_parts(int64_t strip, const Block& block, Scratch& scratch, float* out,
                        int64_t out_stride) const {
        const LinearKernel& kernel = kernel_of(kernels(), weight_.entry.type);
        constexpr int64_t kGap = BlobPages::kChainHeader;
        const int64_t blocks = format().blocks(weight_.entry.shape.cols);
        const LinearRows rows = rows_of(block, out, out_stride);
        const size_t size = format().block_bytes();
        alignas(64) std::byte joined[kLargestBlock];
        std::span<const std::byte> left;  // what the parts before have of block b
        size_t offset = 0;
        for (int64_t b = 0; b < blocks;) {
            auto part = weight_.pool->part(weight_, strip, offset, scratch.strips);
            offset += part.size();
            if (!left.empty()) {
                const size_t more = std::min(size - left.size(), part.size());
                const bool whole = left.size() + more == size;
                if (whole && left.data() + left.size() + kGap == part.data()) {
                    kernel.cut(left.data(), static_cast<int64_t>(left.size()), kGap, b++, blocks,
                               rows);
                } else {
                    if (left.data() != joined) std::memcpy(joined, left.data(), left.size());
                    std::memcpy(joined + left.size(), part.data(), more);
                    left = {joined, left.size() + more};
                    if (!whole) continue;
                    kernel.part(joined, b++, 1, blocks, rows);
                }
                part = part.subspan(more);
            }
            const auto count = static_cast<int64_t>(part.size() / size);
            if (count > 0) kernel.part(part.data(), b, count, blocks, rows);
            b += count;
            left = part.subspan(static_cast<size_t>(count) * size);
        }
    }

    void multiply(const std::byte* strips, int64_t count, const Block& block, float* out,
                  int64_t out_stride) const {
        kernel_of(kernels(), weight_.entry.type)
            .strips(strips, count, format().blocks(weight_.entry.shape.cols),
                    rows_of(block, out, out_stride));
    }

    LinearRows rows_of(const Block& block, float* out, int64_t out_stride) const {
        return {x_->row_data(block.row), x_->place.stride, block.rows, out, out_stride};
    }

    const WeightFormat& format() const { return format_of(weight_.entry.type); }

    const std::shared_ptr<const TensorExpr> x_;
    const Weight& weight_;
    const Weight* const bias_;
};

/// Each head of x times rows of its own of a matrix.
class LinearHeadsExpr final : public Expr {
  public:
    LinearHeadsExpr(std::shared_ptr<const TensorExpr> x, const Weight& weight)
        : Expr(x->rows, 1, *weight.entry.shape.rows),
          x_(std::move(x)),
          weight_(weight),
          each_(elements() / x_->heads) {}

    int64_t granule() const override { return kStripRows; }
    bool scans_matrix() const override { return true; }
    uint64_t weight_bytes() const override {
        return param_bytes(weight_.entry.type, weight_.entry.shape);
    }

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        const Scratch::Frame frame(scratch);
        const size_t strip_size = strip_bytes(weight_.entry.type, weight_.entry.shape.cols);
        const int64_t end = block.col + block.cols;
        Head head = make_room(block, scratch);
        float* padded = scratch.take(block.rows, kStripRows);
        for (int64_t c = block.col; c < end;) {
            const auto [data, count] = weight_.pool->strips(
                weight_, c / kStripRows, strip_count(end - c), Use::scan, scratch.strips);
            // Strips of one head go together; of one that has rows of several, each has its own.
            for (int64_t s = 0; s < count;) {
                const int64_t row = c + s * kStripRows;
                const std::byte* strip = data + static_cast<size_t>(s) * strip_size;
                const int64_t here = std::min(end, (row / each_ + 1) * each_) - row;
                const int64_t whole = std::min(count - s, here / kStripRows);
                if (whole > 0) {
                    take(row / each_, block, head);
                    multiply(strip, whole, block, head, out + row - block.col, out_stride);
                    s += whole;
                    continue;
                }
                const int64_t last = std::min(end, row + kStripRows);
                for (int64_t from = row; from < last;) {
                    const int64_t to = std::min(last, (from / each_ + 1) * each_);
                    take(from / each_, block, head);
                    multiply(strip, 1, block, head, padded, kStripRows);
                    for (int64_t r = 0; r < block.rows; ++r)
                        std::copy_n(padded + r * kStripRows + from - row, to - from,
                                    out + r * out_stride + from - block.col);
                    from = to;
                }
                ++s;
            }
            c += count * kStripRows;
        }
    }

    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const override {
        visit(*x_, Reach::row);
    }

  private:
    // A head of x, as the matrix takes it: where it lies, or quantized.
    struct Head {
        int64_t number = -1;
        std::byte* quantized = nullptr;
        const std::byte* x = nullptr;
        int64_t stride = 0;
    };

    bool quantizes() const { return format_of(weight_.entry.type).activations == TensorType::q8; }

    Head make_room(const Block& block, Scratch& scratch) const {
        Head head;
        head.stride = x_->place.stride;
        if (!quantizes()) return head;
        head.stride = static_cast<int64_t>(tensor_row_bytes(TensorType::q8, x_->width));
        const auto floats = head.stride / static_cast<int64_t>(sizeof(float));
        head.quantized = reinterpret_cast<std::byte*>(scratch.take(block.rows, floats));
        return head;
    }

    void take(int64_t number, const Block& block, Head& head) const {
        if (head.number == number) return;
        head.number = number;
        const int64_t first = number * x_->width;
        head.x = x_->row_data(block.row) + first * static_cast<int64_t>(sizeof(float));
        if (!head.quantized) return;
        for (int64_t r = 0; r < block.rows; ++r)
            kernels().quantize(
                reinterpret_cast<const float*>(x_->row_data(block.row + r)) + first, x_->width,
                quantized_row(head.quantized + r * head.stride, block_count(x_->width), 0));
        head.x = head.quantized;
    }

    void multiply(const std::byte* strips, int64_t count, const Block& block, const Head& head,
                  float* out, int64_t out_stride) const {
        kernel_of(kernels(), weight_.entry.type)
            .strips(strips, count, format_of(weight_.entry.type).blocks(weight_.entry.shape.cols),
                    {head.x, head.stride, block.rows, out, out_stride});
    }

    const std::shared_ptr<const TensorExpr> x_;
    const Weight& weight_;
    const int64_t each_;  // rows of the matrix that are a head's
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

// A row for each token, but by the positions of the pass.
ExprPtr op_embed_position(OperatorState& state, const Arguments& arguments) {
    const Weight& weight = arguments.matrix(0);
    const int64_t position = arguments.integer(1), rows = *weight.entry.shape.rows;
    std::vector<int32_t> tokens = arguments.tokens(2);
    if (static_cast<int64_t>(tokens.size()) > state.most_rows)
        arguments.refuse(fmt::format("{}, a pass has {} at most", counted(tokens.size(), "token"),
                                     state.most_rows));
    if (*state.token_bytes > kMostTokenBytes)
        arguments.refuse("the statement holds too many tokens at once");
    if (position < 0 || position > rows - static_cast<int64_t>(tokens.size()))
        arguments.refuse(fmt::format("{} has {} rows, which are too few for position {}",
                                     weight.entry.name, rows,
                                     size_sum(position, static_cast<int64_t>(tokens.size()) - 1)));
    for (size_t t = 0; t < tokens.size(); ++t)
        tokens[t] = static_cast<int32_t>(position + static_cast<int64_t>(t));
    return std::make_shared<EmbedExpr>(weight, std::move(tokens), state);
}

ExprPtr op_linear(OperatorState&, const Arguments& arguments) {
    const Weight& weight = arguments.matrix(1);
    auto x = arguments.stored(0, format_of(weight.entry.type).activations);
    if (x->elements() != weight.entry.shape.cols)
        arguments.refuse(fmt::format("{} is {}, so it does not take {}", weight.entry.name,
                                     describe(weight.entry), describe_shape(*x)));
    const Weight* bias =
        arguments.count() > 2 ? &arguments.vector(2, *weight.entry.shape.rows) : nullptr;
    return std::make_shared<LinearExpr>(std::move(x), weight, bias);
}

ExprPtr op_linear_heads(OperatorState&, const Arguments& arguments) {
    const Weight& weight = arguments.matrix(1);
    auto x = arguments.stored(0, TensorType::f32);
    if (x->width != weight.entry.shape.cols || *weight.entry.shape.rows % x->heads != 0)
        arguments.refuse(fmt::format("{} is {}, so its rows are not those of the heads of {}",
                                     weight.entry.name, describe(weight.entry),
                                     describe_shape(*x)));
    return std::make_shared<LinearHeadsExpr>(std::move(x), weight);
}

}  // namespace

std::span<const OperatorFunction> matrix_functions() {
    static constexpr OperatorFunction kFunctions[] = {
        {.sql = "llm_embed", .scalar = op_embed},
        {.sql = "llm_embed_position", .scalar = op_embed_position},
        {.sql = "llm_linear", .scalar = op_linear},
        {.sql = "llm_linear_heads", .scalar = op_linear_heads},
    };
    return kFunctions;
}

ExprPtr linear_of(std::shared_ptr<const TensorExpr> x, const Weight& weight) {
    return std::make_shared<LinearExpr>(std::move(x), weight, nullptr);
}

}  // namespace llmsql
