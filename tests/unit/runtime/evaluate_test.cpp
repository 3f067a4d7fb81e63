// SPDX-License-Identifier: MIT
// How values are shared out among workers: every element is computed once, in pieces that begin
// where the expression lets them.
#include "runtime/compute/evaluate.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <vector>

namespace llmsql {
namespace {

// Stands for a product with a matrix: an element's value is its row and column, and it counts how
// often each is computed.
class Counted final : public Expr {
  public:
    Counted(int64_t rows, int64_t cols, int64_t first, int64_t granule)
        : Expr(rows, 1, cols),
          first_(first),
          granule_(granule),
          times_(static_cast<size_t>(rows * cols)) {}

    int64_t granule() const override { return granule_; }
    bool scans_matrix() const override { return true; }
    uint64_t weight_bytes() const override { return static_cast<uint64_t>(elements()) * 612; }
    void eval(const Block& block, Scratch&, float* out, int64_t out_stride) const override {
        EXPECT_EQ(block.col % granule(), 0);
        EXPECT_TRUE(block.cols % granule() == 0 || block.col + block.cols == elements());
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; ++c) {
                const int64_t row = block.row + r, col = block.col + c;
                out[r * out_stride + c] = value(row, col);
                ++times_[static_cast<size_t>(row * elements() + col)];
            }
    }
    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>&) const override {}

    float value(int64_t row, int64_t col) const {
        return static_cast<float>((first_ + col) * 8 + row);
    }
    bool all_once() const {
        for (const auto& times : times_)
            if (times != 1) return false;
        return true;
    }

  private:
    const int64_t first_;  // the column where it begins
    const int64_t granule_;
    mutable std::vector<std::atomic<int>> times_;
};

// `heads`: each is one head, computed whole.
void expect_all_once(int threads, bool in_memory, int64_t rows, const std::vector<int64_t>& widths,
                     bool heads = false) {
    std::vector<std::shared_ptr<const Counted>> counted;
    std::vector<ExprPtr> parts;
    int64_t cols = 0;
    for (const int64_t width : widths) {
        counted.push_back(std::make_shared<Counted>(rows, width, cols, heads ? width : 16));
        parts.push_back(counted.back());
        cols += width;
    }
    TensorPlace place;
    place.rows = rows;
    place.heads = 1;
    place.width = cols;
    place.stride = cols * static_cast<int64_t>(sizeof(float));
    std::vector<float> out(static_cast<size_t>(rows * cols), -1);
    Compute compute(threads);
    compute.in_memory = in_memory;
    const ExprPtr expr = parts.size() == 1 ? parts[0] : std::make_shared<ConcatExpr>(parts);
    evaluate_into(compute, expr, place, reinterpret_cast<std::byte*>(out.data()));
    compute.workers.finish();
    int64_t first = 0;
    for (const auto& part : counted) {
        EXPECT_TRUE(part->all_once());
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < part->elements(); ++c)
                ASSERT_EQ(out[static_cast<size_t>(r * cols + first + c)], part->value(r, c));
        first += part->elements();
    }
    EXPECT_EQ(compute.weight_bytes, expr->weight_bytes());
}

TEST(Evaluate, EveryElementOfMatricesIsComputedOnceWhereverTheyAreCut) {
    const std::vector<std::vector<int64_t>> cases = {
        {1},          {16}, {40}, {576}, {1000}, {4864}, {20'000}, {576, 192, 192}, {896, 128, 128},
        {24, 12, 12},  // parts that do not begin where pieces may: computed in one
        {16, 7}};
    for (const int threads : {1, 2, 3})
        for (const bool in_memory : {true, false})
            for (const int64_t rows : {1, 2, 5})
                for (const auto& widths : cases) {
                    SCOPED_TRACE(fmt::format("{} threads, held {}, {} rows, {} columns first",
                                             threads, in_memory, rows, widths[0]));
                    expect_all_once(threads, in_memory, rows, widths);
                }
}

// The least common multiple of these widths is beyond 64 bits, and 1 if it wraps around.
TEST(Evaluate, HeadsWhoseWidthsHaveNoCommonMultipleStayWhole) {
    const std::vector<int64_t> primes{101, 103, 107, 109, 131, 149, 157, 163, 173, 191, 193,
                                      197, 211, 223, 227, 239, 251, 263, 271, 283, 293, 317,
                                      349, 359, 383, 397, 409, 419, 421, 431, 443, 463, 467,
                                      487, 491, 503, 521, 523, 541, 547, 563, 569};
    for (const int64_t rows : {1, 7})
        for (const int threads : {1, 2}) expect_all_once(threads, true, rows, primes, true);
}

}  // namespace
}  // namespace llmsql
