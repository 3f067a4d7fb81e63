// SPDX-License-Identifier: MIT
// What scans have in common: operators that take the rows of a sequence in order, each from the
// state that the one before left.
//
// HOW IT WORKS. A scan's columns fall into units (a head, or a channel) that know nothing of each
// other, neither in the result nor in the state: so workers share them out, each taking all rows of
// its own in order. `INSERT INTO scan` has the state overwritten on the way (evaluate_scan in
// evaluate.h). Anywhere else the value is that of a pure function: each piece goes through all rows
// up to its last on a copy of the state.
//
// A scan of a pass that may be cut can be made again of its first rows: each piece first copies
// what the state is in its columns, and its share of what the rows give it; over() those copies the
// scan is the same, and leaves the same bits. Nor does it matter where a scan is interrupted, for
// a snapshot: what it goes on from is the state there.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "runtime/compute/arguments.h"

namespace llmsql {

class ScanExpr : public Expr {
  public:
    using Stored = std::shared_ptr<const TensorExpr>;

    /// A scan over `x`, whose rows and columns its result has, and other stored operands.
    ScanExpr(const Stored& x, std::vector<Stored> operands, const RecurrentState& state)
        : Expr(x->rows, x->heads, x->width), state(state), operands_(std::move(operands)) {}

    const RecurrentState state;

    bool is_heavy() const override { return true; }

    /// Columns [first, first + count), multiples of the granule, of rows [start, end), of which
    /// those from `from` on are written to out[(r - from) * out_stride + c - first]. Overwrites at
    /// `held`, which is laid out as the state and is that before row `start`, what is theirs of it.
    virtual void scan(int64_t first, int64_t count, int64_t start, int64_t from, int64_t end,
                      float* held, Scratch& scratch, float* out, int64_t out_stride) const = 0;

    /// Copies from one state to another what columns [first, first + count) have of it.
    virtual void copy_state(int64_t first, int64_t count, const float* from, float* to) const = 0;

    /// What it reads of each row, beside parameters and the state.
    const std::vector<Stored>& operands() const { return operands_; }
    /// As this scan is, one of other operands, of these shapes, in this order.
    virtual std::shared_ptr<const ScanExpr> over(const std::vector<Stored>& operands) const = 0;

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        const Scratch::Frame frame(scratch);
        float* copy = scratch.take(1, state.elements());
        std::copy_n(state.data, state.elements(), copy);
        scan(block.col, block.cols, 0, block.row, block.row + block.rows, copy, scratch, out,
             out_stride);
    }

    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const override {
        for (const Stored& operand : operands_) visit(*operand, Reach::row);
    }

  private:
    const std::vector<Stored> operands_;
};

}  // namespace llmsql
