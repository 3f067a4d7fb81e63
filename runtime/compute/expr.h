// SPDX-License-Identifier: MIT
// Expr: a deferred value, what an operator returns instead of numbers.
//
// An operator's SQL function only builds a node; `slot` and `kv` evaluate the whole expression, in
// pieces, straight into its place (evaluate.h). Nodes are immutable and shared.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/sizes.h"
#include "runtime/state/arena.h"
#include "runtime/weights/weights.h"

namespace llmsql {

/// Temporary f32 rows of one worker, taken and given back like a stack. One thread at a time.
class Scratch {
  public:
    /// Gives back at the end of a scope what was taken since.
    class Frame {
      public:
        explicit Frame(Scratch& scratch) : scratch_(scratch), depth_(scratch.depth_) {}
        Frame(const Frame&) = delete;
        Frame& operator=(const Frame&) = delete;
        ~Frame() { scratch_.depth_ = depth_; }

      private:
        Scratch& scratch_;
        size_t depth_;
    };

    /// `rows` times `cols` values, not initialized, until the enclosing Frame ends: floats, aligned
    /// as operator new aligns (16 bytes), so that operators may keep other small types there.
    float* take(int64_t rows, int64_t cols) {
        const int64_t floats = size_product(rows, cols);
        if (floats > kMost) fail("{} rows of {} values are more than any pass has", rows, cols);
        if (depth_ == rows_.size()) rows_.emplace_back();
        std::vector<float>& row = rows_[depth_++];
        if (static_cast<int64_t>(row.size()) < floats) row.resize(static_cast<size_t>(floats));
        return row.data();
    }

    /// Where this worker puts the weights that it streams.
    StripBuffer strips;

  private:
    static constexpr int64_t kMost = int64_t{1} << 40;
    std::deque<std::vector<float>> rows_;  // a deque, so that growing it moves nothing
    size_t depth_ = 0;
};

/// A rectangle of an expression's result: tokens × elements of a token's row.
struct Block {
    int64_t row = 0, rows = 0;
    int64_t col = 0, cols = 0;
};

class TensorExpr;

/// How much of a stored tensor one element of an expression's result reads: the element at its own
/// place, that element's head, or the whole row. It decides whether the result may be written over
/// the tensor while it is computed.
enum class Reach { element, head, row };

class Expr {
  public:
    /// `nodes` is how many operators evaluating it runs through, itself among them; fails where
    /// that is more than any plan has, as SQL can nest a value twice in the next, over and over.
    Expr(int64_t rows, int64_t heads, int64_t width, int64_t nodes = 1);
    virtual ~Expr() = default;

    const int64_t rows;   // tokens
    const int64_t heads;  // elements a token: heads * width
    const int64_t width;
    const int64_t nodes;
    int64_t elements() const { return heads * width; }

    /// Columns are evaluated in whole multiples of this, from a multiple of it; all of a row at
    /// once where it is as long as a row or longer.
    virtual int64_t granule() const { return 1; }
    /// Whether it scans a matrix: then all rows are evaluated together, a few columns at a time.
    virtual bool scans_matrix() const { return false; }
    /// Whether one granule of one row is work enough for a thread.
    virtual bool is_heavy() const { return false; }
    /// Columns that are best evaluated together, a multiple of the granule.
    virtual int64_t bundle() const { return granule(); }
    /// Bytes of weights that evaluating all of it reads.
    virtual uint64_t weight_bytes() const { return 0; }

    /// Writes a block's values to out[r * out_stride + c], r and c counted from the block's corner
    /// and out_stride in floats. Any thread, several at once with a scratch of its own each. Fails
    /// only where weights cannot be read: what else can be wrong is checked when the node is built.
    virtual void eval(const Block& block, Scratch& scratch, float* out,
                      int64_t out_stride) const = 0;

    /// Where the values already lie, for a stored f32 tensor; otherwise null.
    virtual const float* direct(int64_t /*row*/, int64_t /*col*/, int64_t& /*stride*/) const {
        return nullptr;
    }

    /// Calls `visit` for every stored tensor below.
    virtual void visit_tensors(
        const std::function<void(const TensorExpr&, Reach)>& visit) const = 0;
};

using ExprPtr = std::shared_ptr<const Expr>;

/// A stored tensor, or some of its rows.
class TensorExpr final : public Expr {
  public:
    TensorExpr(const TensorPlace& place, const std::byte* data, int64_t rows)
        : Expr(rows, place.heads, place.width), place(place), data(data) {}

    const TensorPlace& place;
    const std::byte* const data;  // of the first row

    const std::byte* row_data(int64_t row) const { return data + row * place.stride; }

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override;
    const float* direct(int64_t row, int64_t col, int64_t& stride) const override;
    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const override {
        visit(*this, Reach::element);
    }
};

/// An operator over whole heads or elements of one operand.
class UnaryExpr : public Expr {
  public:
    explicit UnaryExpr(ExprPtr x)
        : Expr(x->rows, x->heads, x->width, x->nodes + 1), x(std::move(x)) {}

    const ExprPtr x;

    int64_t granule() const override { return x->granule(); }
    bool scans_matrix() const override { return x->scans_matrix(); }
    bool is_heavy() const override { return x->is_heavy(); }
    int64_t bundle() const override { return x->bundle(); }
    uint64_t weight_bytes() const override { return x->weight_bytes(); }
    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const override {
        x->visit_tensors(visit);
    }
};

/// x quantised to int8: always outermost, evaluated by evaluate() itself.
class QuantizeExpr final : public UnaryExpr {
  public:
    using UnaryExpr::UnaryExpr;
    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override;
};

/// Several values side by side: always outermost. A piece of it may go across parts.
class ConcatExpr final : public Expr {
  public:
    explicit ConcatExpr(std::vector<ExprPtr> parts);

    const std::vector<ExprPtr> parts;

    int64_t granule() const override;
    bool scans_matrix() const override { return true; }
    uint64_t weight_bytes() const override;
    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override;
    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const override;
};

/// Whether `expr` is a node that nothing may hold: llm_quantize or llm_concat.
bool is_outermost(const Expr& expr);

/// "f32[12, 9, 64]", or "q8[12, 576]" where heads is 1.
std::string describe_shape(const Expr& expr);

}  // namespace llmsql
