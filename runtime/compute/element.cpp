// SPDX-License-Identifier: MIT
// Element operators. They hold anything and stand anywhere.
#include <algorithm>
#include <cmath>

#include "runtime/compute/functions.h"
#include "runtime/kernels/kernels.h"

namespace llmsql {
namespace {

// An operand's block: where it lies if it is a stored tensor, else evaluated into scratch.
const float* operand(const Expr& expr, const Block& block, Scratch& scratch, int64_t& stride) {
    if (const float* values = expr.direct(block.row, block.col, stride)) return values;
    float* values = scratch.take(block.rows, block.cols);
    stride = block.cols;
    expr.eval(block, scratch, values, stride);
    return values;
}

struct Add {
    static float apply(float a, float b) { return a + b; }
};
struct Mul {
    static float apply(float a, float b) { return a * b; }
};

template<class Op>
class BinaryExpr final : public Expr {
  public:
    BinaryExpr(ExprPtr a, ExprPtr b)
        : Expr(a->rows, a->heads, a->width, a->nodes + b->nodes + 1),
          a_(std::move(a)),
          b_(std::move(b)) {}

    int64_t granule() const override { return size_multiple(a_->granule(), b_->granule()); }
    bool scans_matrix() const override { return a_->scans_matrix() || b_->scans_matrix(); }
    bool is_heavy() const override { return a_->is_heavy() || b_->is_heavy(); }
    uint64_t weight_bytes() const override { return a_->weight_bytes() + b_->weight_bytes(); }

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        const Scratch::Frame frame(scratch);
        int64_t a_stride = 0, b_stride = 0;
        const float* a = operand(*a_, block, scratch, a_stride);
        const float* b = operand(*b_, block, scratch, b_stride);
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; ++c)
                out[r * out_stride + c] = Op::apply(a[r * a_stride + c], b[r * b_stride + c]);
    }

    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const override {
        a_->visit_tensors(visit);
        b_->visit_tensors(visit);
    }

  private:
    const ExprPtr a_, b_;
};

template<class Op>
ExprPtr binary(const Arguments& arguments) {
    ExprPtr a = arguments.tensor(0), b = arguments.tensor(1);
    if (a->rows != b->rows || a->elements() != b->elements())
        arguments.refuse("the operands' shapes differ: " + describe_shape(*a) + " and " +
                         describe_shape(*b));
    return std::make_shared<BinaryExpr<Op>>(std::move(a), std::move(b));
}

class ScaleExpr final : public UnaryExpr {
  public:
    ScaleExpr(ExprPtr x, float factor) : UnaryExpr(std::move(x)), factor_(factor) {}
    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        x->eval(block, scratch, out, out_stride);
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; ++c) out[r * out_stride + c] *= factor_;
    }

  private:
    const float factor_;
};

// A function of each element, given as a kernel that works in place.
class MapExpr final : public UnaryExpr {
  public:
    MapExpr(ExprPtr x, void (*map)(float*, int64_t)) : UnaryExpr(std::move(x)), map_(map) {}
    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        x->eval(block, scratch, out, out_stride);
        for (int64_t r = 0; r < block.rows; ++r) map_(out + r * out_stride, block.cols);
    }

  private:
    void (*const map_)(float*, int64_t);
};

ExprPtr op_add(OperatorState&, const Arguments& arguments) {
    return binary<Add>(arguments);
}
ExprPtr op_mul(OperatorState&, const Arguments& arguments) {
    return binary<Mul>(arguments);
}

ExprPtr op_scale(OperatorState&, const Arguments& arguments) {
    return std::make_shared<ScaleExpr>(arguments.tensor(0),
                                       static_cast<float>(arguments.number(1)));
}

ExprPtr op_silu(OperatorState&, const Arguments& arguments) {
    return std::make_shared<MapExpr>(arguments.tensor(0), kernels().silu);
}

ExprPtr op_sigmoid(OperatorState&, const Arguments& arguments) {
    return std::make_shared<MapExpr>(arguments.tensor(0), [](float* x, int64_t n) {
        for (int64_t i = 0; i < n; ++i) {
            const float e = std::exp(-std::fabs(x[i]));  // at most 1, however large x
            x[i] = (x[i] < 0 ? e : 1.0f) / (1.0f + e);
        }
    });
}

ExprPtr op_exp(OperatorState&, const Arguments& arguments) {
    return std::make_shared<MapExpr>(arguments.tensor(0), [](float* x, int64_t n) {
        for (int64_t i = 0; i < n; ++i) x[i] = std::exp(x[i]);
    });
}

ExprPtr op_softplus(OperatorState&, const Arguments& arguments) {
    return std::make_shared<MapExpr>(arguments.tensor(0), [](float* x, int64_t n) {
        // No term overflows, however large x.
        for (int64_t i = 0; i < n; ++i)
            x[i] = (x[i] > 0       ? x[i]
                    : x[i] == x[i] ? 0.0f
                                   : x[i]) +
                   std::log1p(std::exp(-std::fabs(x[i])));
    });
}

ExprPtr op_gelu(OperatorState&, const Arguments& arguments) {
    return std::make_shared<MapExpr>(arguments.tensor(0), kernels().gelu);
}

ExprPtr op_gelu_erf(OperatorState&, const Arguments& arguments) {
    return std::make_shared<MapExpr>(arguments.tensor(0), [](float* x, int64_t n) {
        // 1 + erf(y) is erfc(-y), which keeps its digits where erf is about -1.
        for (int64_t i = 0; i < n; ++i) x[i] *= 0.5f * std::erfc(x[i] * -0.707106781f);
    });
}

ExprPtr op_relu(OperatorState&, const Arguments& arguments) {
    return std::make_shared<MapExpr>(arguments.tensor(0), [](float* x, int64_t n) {
        for (int64_t i = 0; i < n; ++i) x[i] = x[i] < 0 ? 0 : x[i];  // what is no number stays
    });
}

class ClampExpr final : public UnaryExpr {
  public:
    ClampExpr(ExprPtr x, float least, float most)
        : UnaryExpr(std::move(x)), least_(least), most_(most) {}
    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        x->eval(block, scratch, out, out_stride);
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; ++c) {
                float& value = out[r * out_stride + c];
                value = value < least_ ? least_ : value > most_ ? most_ : value;
            }
    }

  private:
    const float least_, most_;
};

ExprPtr op_clamp(OperatorState&, const Arguments& arguments) {
    const auto least = static_cast<float>(arguments.number(1)),
               most = static_cast<float>(arguments.number(2));
    if (least > most) arguments.refuse(fmt::format("{} is above {}", least, most));
    return std::make_shared<ClampExpr>(arguments.tensor(0), least, most);
}

ExprPtr op_tanh(OperatorState&, const Arguments& arguments) {
    return std::make_shared<MapExpr>(arguments.tensor(0), [](float* x, int64_t n) {
        for (int64_t i = 0; i < n; ++i) x[i] = std::tanh(x[i]);
    });
}

}  // namespace

std::span<const OperatorFunction> element_functions() {
    static constexpr OperatorFunction kFunctions[] = {
        {.sql = "llm_add", .scalar = op_add},
        {.sql = "llm_mul", .scalar = op_mul},
        {.sql = "llm_scale", .scalar = op_scale},
        {.sql = "llm_silu", .scalar = op_silu},
        {.sql = "llm_sigmoid", .scalar = op_sigmoid},
        {.sql = "llm_gelu", .scalar = op_gelu},
        {.sql = "llm_tanh", .scalar = op_tanh},
        {.sql = "llm_exp", .scalar = op_exp},
        {.sql = "llm_softplus", .scalar = op_softplus},
        {.sql = "llm_relu", .scalar = op_relu},
        {.sql = "llm_clamp", .scalar = op_clamp},
        {.sql = "llm_gelu_erf", .scalar = op_gelu_erf},
    };
    return kFunctions;
}

}  // namespace llmsql
