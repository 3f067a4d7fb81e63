// SPDX-License-Identifier: MIT
// Head operators that make shares of scores: softmax, top, normalize. A router is made of them.
#include <algorithm>
#include <cmath>
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

struct Top {
    int64_t count;

    void apply(float* x, int64_t n) const {
        if (count >= n) return;
        // The smallest of those that stay, and how many of its equals stay: the first ones.
        std::vector<float> sorted(x, x + n);
        std::sort(sorted.begin(), sorted.end(), [](float a, float b) {
            return std::isnan(b) ? !std::isnan(a) : a > b;  // what is no number comes last
        });
        const float least = sorted[static_cast<size_t>(count - 1)];
        int64_t equals = 0;
        for (int64_t i = 0; i < count; ++i) equals += sorted[static_cast<size_t>(i)] == least;
        for (int64_t i = 0; i < n; ++i) {
            const bool stays = x[i] > least || (x[i] == least && equals-- > 0);
            if (!stays) x[i] = 0;
        }
    }
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

ExprPtr op_top(OperatorState&, const Arguments& arguments) {
    const int64_t count = arguments.integer(1);
    if (count < 1) arguments.refuse("the number of values that stay must be at least 1");
    return shares(arguments, Top{count});
}

}  // namespace

std::span<const OperatorFunction> shares_functions() {
    static constexpr OperatorFunction kFunctions[] = {
        {.sql = "llm_softmax", .scalar = op_softmax},
        {.sql = "llm_top", .scalar = op_top},
        {.sql = "llm_normalize", .scalar = op_normalize},
    };
    return kFunctions;
}

}  // namespace llmsql
