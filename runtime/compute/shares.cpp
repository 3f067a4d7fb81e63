// SPDX-License-Identifier: MIT
// Head operators that make shares of scores: softmax, top, normalize. A router is made of them.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "runtime/compute/functions.h"
#include "runtime/compute/head_expr.h"

namespace llmsql {
namespace {

// Applies `Op::apply(values, width)` to each head in place.
template<class Op>
class SharesExpr final : public HeadExpr {
  public:
    SharesExpr(ExprPtr x, Op op) : HeadExpr(std::move(x)), op_(op) {}

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        x->eval(block, scratch, out, out_stride);
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; c += width)
                op_.apply(out + r * out_stride + c, width);
    }

  private:
    const Op op_;
};

struct Softmax {
    void apply(float* x, int64_t n) const {
        const float most = *std::max_element(x, x + n);
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) sum += x[i] = std::exp(x[i] - most);
        for (int64_t i = 0; i < n; ++i) x[i] = static_cast<float>(x[i] / sum);
    }
};

struct Normalize {
    void apply(float* x, int64_t n) const {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) sum += x[i];
        for (int64_t i = 0; i < n; ++i) x[i] = static_cast<float>(x[i] / sum);
    }
};

// What is to be chosen by: x itself, or x plus a bias.
void add_bias(const float* x, const Weight* bias, std::vector<float>& by) {
    const float* b = bias->vector().data();
    for (size_t i = 0; i < by.size(); ++i) by[i] = x[i] + b[i];
}

struct Top {
    int64_t count;
    const Weight* bias = nullptr;

    void apply(float* x, int64_t n) const {
        if (count >= n) return;
        if (bias) {
            std::vector<float> by(static_cast<size_t>(n));
            add_bias(x, bias, by);
            choose(by.data(), x, n);
        } else {
            choose(x, x, n);
        }
    }

    // Leaves those of x whose place in `by`, which may be x, is among the largest.
    void choose(const float* by, float* x, int64_t n) const {
        // The smallest of those that stay, and how many of its equals stay: the first ones.
        std::vector<float> sorted(by, by + n);
        std::sort(sorted.begin(), sorted.end(), [](float a, float b) {
            return std::isnan(b) ? !std::isnan(a) : a > b;  // what is no number comes last
        });
        const float least = sorted[static_cast<size_t>(count - 1)];
        int64_t equals = 0;
        for (int64_t i = 0; i < count; ++i) equals += sorted[static_cast<size_t>(i)] == least;
        for (int64_t i = 0; i < n; ++i) {
            const bool stays = by[i] > least || (by[i] == least && equals-- > 0);
            if (!stays) x[i] = 0;
        }
    }
};

// The largest of those groups that have the largest.
struct TopGroups {
    int64_t count, groups, kept, best;
    const Weight* bias = nullptr;

    void apply(float* x, int64_t n) const {
        std::vector<float> by(x, x + n);
        if (bias) add_bias(x, bias, by);
        const int64_t size = n / groups;
        std::vector<float> sums(static_cast<size_t>(groups)), kept_sums;
        std::vector<float> sorted(static_cast<size_t>(size));
        for (int64_t g = 0; g < groups; ++g) {
            std::copy_n(by.begin() + g * size, size, sorted.begin());
            std::sort(sorted.begin(), sorted.end(),
                      [](float a, float b) { return std::isnan(b) ? !std::isnan(a) : a > b; });
            float sum = 0;
            for (int64_t i = 0; i < std::min(best, size); ++i)
                sum += sorted[static_cast<size_t>(i)];
            sums[static_cast<size_t>(g)] = sum;
        }
        // A group that is kept stays above 0 here, whatever its sum is.
        kept_sums.assign(sums.size(), 1.0f);
        if (kept < groups) Top{kept}.choose(sums.data(), kept_sums.data(), groups);
        constexpr float kLowest = -std::numeric_limits<float>::infinity();
        for (int64_t i = 0; i < n; ++i)
            if (kept_sums[static_cast<size_t>(i / size)] == 0) by[static_cast<size_t>(i)] = kLowest;
        if (count < n) Top{count}.choose(by.data(), x, n);
        for (int64_t i = 0; i < n; ++i)
            if (by[static_cast<size_t>(i)] == kLowest) x[i] = 0;
    }
};

// Adds to rows for choices the vector of the matrix that each is of.
class ShiftEachExpr final : public HeadExpr {
  public:
    ShiftEachExpr(ExprPtr x, const Weight& by, std::shared_ptr<const TensorExpr> choice)
        : HeadExpr(std::move(x)),
          by_(by),
          choice_(std::move(choice)),
          each_(rows / choice_->rows) {}

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        x->eval(block, scratch, out, out_stride);
        for (int64_t r = 0; r < block.rows; ++r) {
            const int64_t item = chosen((block.row + r) / each_, (block.row + r) % each_);
            if (item < 0) continue;  // fewer were chosen: the row is 0
            const float* by = by_.vector().data() + item * width + block.col;
            for (int64_t c = 0; c < block.cols; ++c) out[r * out_stride + c] += by[c];
        }
    }
    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const override {
        HeadExpr::visit_tensors(visit);
        visit(*choice_, Reach::row);
    }

  private:
    int64_t chosen(int64_t token, int64_t place) const {
        int64_t stride = 0;
        const float* shares = choice_->direct(token, 0, stride);
        for (int64_t c = 0; c < choice_->elements(); ++c)
            if (shares[c] != 0 && place-- == 0) return c;
        return -1;
    }

    const Weight& by_;
    const std::shared_ptr<const TensorExpr> choice_;
    const int64_t each_;  // rows a token
};

class BlendExpr final : public Expr {
  public:
    BlendExpr(std::shared_ptr<const TensorExpr> choice, const Weight& by, int64_t width)
        : Expr(choice->rows, 1, width), choice_(std::move(choice)), by_(by) {}

    void eval(const Block& block, Scratch&, float* out, int64_t out_stride) const override {
        for (int64_t r = 0; r < block.rows; ++r) {
            int64_t stride = 0;
            const float* shares = choice_->direct(block.row + r, 0, stride);
            float* const row = out + r * out_stride;
            std::fill_n(row, block.cols, 0.0f);
            for (int64_t item = 0; item < choice_->elements(); ++item) {
                if (shares[item] == 0) continue;
                const float* by = by_.vector().data() + item * width + block.col;
                for (int64_t c = 0; c < block.cols; ++c) row[c] += shares[item] * by[c];
            }
        }
    }
    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const override {
        visit(*choice_, Reach::row);
    }

  private:
    const std::shared_ptr<const TensorExpr> choice_;
    const Weight& by_;
};

template<class Op>
ExprPtr shares(const Arguments& arguments, Op op) {
    ExprPtr x = arguments.tensor(0);
    require_no_matrix(arguments, *x);
    return std::make_shared<SharesExpr<Op>>(std::move(x), op);
}

ExprPtr op_softmax(OperatorState&, const Arguments& arguments) {
    return shares(arguments, Softmax{});
}

ExprPtr op_normalize(OperatorState&, const Arguments& arguments) {
    return shares(arguments, Normalize{});
}

const Weight* bias_at(const Arguments& arguments, int index) {
    return arguments.has(index) ? &arguments.vector(index, arguments.tensor(0)->width) : nullptr;
}

ExprPtr op_top(OperatorState&, const Arguments& arguments) {
    const int64_t count = arguments.integer(1);
    if (count < 1) arguments.refuse("the number of values that stay must be at least 1");
    return shares(arguments, Top{count, bias_at(arguments, 2)});
}

ExprPtr op_top_groups(OperatorState&, const Arguments& arguments) {
    const int64_t count = arguments.integer(1), groups = arguments.integer(2),
                  kept = arguments.integer(3), best = arguments.integer(4);
    const int64_t width = arguments.tensor(0)->width;
    if (count < 1 || kept < 1 || best < 1)
        arguments.refuse("the number of values that stay must be at least 1");
    if (groups < 1 || width % groups != 0)
        arguments.refuse(fmt::format("{} elements are not {} equal groups", width, groups));
    return shares(arguments, TopGroups{count, groups, kept, best, bias_at(arguments, 5)});
}

ExprPtr op_shift_each(OperatorState&, const Arguments& arguments) {
    ExprPtr x = arguments.tensor(0);
    require_no_matrix(arguments, *x);
    const auto choice = arguments.stored(2, TensorType::f32);
    const Weight& by = arguments.vector(1, size_product(choice->elements(), x->width));
    if (x->heads != 1 || x->rows % choice->rows != 0)
        arguments.refuse("there must be rows for the choices of each token: " + describe_shape(*x) +
                         " and " + describe_shape(*choice));
    return std::make_shared<ShiftEachExpr>(std::move(x), by, choice);
}

ExprPtr op_blend(OperatorState&, const Arguments& arguments) {
    const auto choice = arguments.stored(0, TensorType::f32);
    const Weight* by = arguments.find_weight(1);
    const int64_t items = choice->elements();
    if (!by || !by->entry.shape.is_vector() || by->entry.shape.cols % items != 0)
        arguments.refuse(
            fmt::format("argument 2 must be a vector of `param`, of {} equal parts", items));
    return std::make_shared<BlendExpr>(choice, *by, by->entry.shape.cols / items);
}

}  // namespace

std::span<const OperatorFunction> shares_functions() {
    static constexpr OperatorFunction kFunctions[] = {
        {.sql = "llm_softmax", .scalar = op_softmax},
        {.sql = "llm_top", .scalar = op_top},
        {.sql = "llm_top_groups", .scalar = op_top_groups},
        {.sql = "llm_normalize", .scalar = op_normalize},
        {.sql = "llm_shift_each", .scalar = op_shift_each},
        {.sql = "llm_blend", .scalar = op_blend},
    };
    return kFunctions;
}

}  // namespace llmsql
