// SPDX-License-Identifier: MIT
// Head operators, over the last dimension of each token and head: norms and rotation.
#include <algorithm>
#include <cmath>
#include <mutex>
#include <tuple>

#include "common/error.h"
#include "runtime/compute/functions.h"
#include "runtime/compute/head_expr.h"
#include "runtime/compute/rope_tables.h"
#include "runtime/kernels/kernels.h"

namespace llmsql {
namespace {

constexpr int64_t kMostPosition = int64_t{1} << 40;
constexpr int64_t kMostAngles = 1 << 24;  // 64 MiB; four tables are kept

class RmsNormExpr final : public HeadExpr {
  public:
    RmsNormExpr(ExprPtr x, const Weight& weight, float eps)
        : HeadExpr(std::move(x)), weight_(weight), eps_(eps) {}

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        x->eval(block, scratch, out, out_stride);
        const float* weight = weight_.vector().data();
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; c += width)
                kernels().rms_norm(out + r * out_stride + c, weight, width, eps_);
    }

  private:
    const Weight& weight_;
    const float eps_;
};

// The sum of value(i) for i < n, as sixteen partial sums in a fixed order.
template<class Value>
double sum_of(int64_t n, Value value) {
    constexpr int64_t kLanes = 16;
    double lanes[kLanes] = {};
    for (int64_t i = 0; i < n; ++i) lanes[i % kLanes] += value(i);
    for (int64_t half = kLanes / 2; half > 0; half /= 2)
        for (int64_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    return lanes[0];
}

class L2NormExpr final : public HeadExpr {
  public:
    L2NormExpr(ExprPtr x, double eps) : HeadExpr(std::move(x)), eps_(eps) {}

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        x->eval(block, scratch, out, out_stride);
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; c += width) {
                float* head = out + r * out_stride + c;
                const double squares = sum_of(width, [&](int64_t i) {
                    return static_cast<double>(head[i]) * static_cast<double>(head[i]);
                });
                const auto scale = static_cast<float>(1 / std::sqrt(squares + eps_));
                for (int64_t i = 0; i < width; ++i) head[i] *= scale;
            }
    }

  private:
    const double eps_;
};

class LayerNormExpr final : public HeadExpr {
  public:
    LayerNormExpr(ExprPtr x, const Weight& weight, const Weight* bias, double eps)
        : HeadExpr(std::move(x)), weight_(weight), bias_(bias), eps_(eps) {}

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        x->eval(block, scratch, out, out_stride);
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; c += width) normalize(out + r * out_stride + c);
    }

  private:
    // In double precision: a mean far from 0 would take the digits of what is around it.
    void normalize(float* head) const {
        const double n = static_cast<double>(width);
        const double mean = sum_of(width, [&](int64_t i) { return head[i]; }) / n;
        const double variance = sum_of(width,
                                       [&](int64_t i) {
                                           const double apart = head[i] - mean;
                                           return apart * apart;
                                       }) /
                                n;
        const double scale = 1 / std::sqrt(variance + eps_);
        const float* weight = weight_.vector().data();
        for (int64_t i = 0; i < width; ++i)
            head[i] = static_cast<float>((head[i] - mean) * scale) * weight[i];
        if (!bias_) return;
        const float* bias = bias_->vector().data();
        for (int64_t i = 0; i < width; ++i) head[i] += bias[i];
    }

    const Weight& weight_;
    const Weight* const bias_;  // null: none
    const double eps_;
};

class RopeExpr final : public HeadExpr {
  public:
    RopeExpr(ExprPtr x, std::shared_ptr<const RopeTable> table)
        : HeadExpr(std::move(x)), table_(std::move(table)) {}

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        x->eval(block, scratch, out, out_stride);
        const int64_t half = width / 2;
        for (int64_t r = 0; r < block.rows; ++r) {
            const float* cosine = table_->cosine(block.row + r);
            const float* sine = table_->sine(block.row + r);
            for (int64_t c = 0; c < block.cols; c += width)
                kernels().rope(out + r * out_stride + c, cosine, sine, half);
        }
    }

  private:
    const std::shared_ptr<const RopeTable> table_;
};

}  // namespace

RopeTable::RopeTable(double base, const float* factors, int64_t half, int64_t position,
                     int64_t rows)
    : half_(half), values_(static_cast<size_t>(2 * half * rows)) {
    for (int64_t i = 0; i < half; ++i) {
        const double frequency =
            std::pow(base, -static_cast<double>(i) / static_cast<double>(half)) /
            (factors ? static_cast<double>(factors[i]) : 1.0);
        for (int64_t r = 0; r < rows; ++r) {
            const double angle = static_cast<double>(position + r) * frequency;
            values_[static_cast<size_t>(r * 2 * half + i)] = static_cast<float>(std::cos(angle));
            values_[static_cast<size_t>((r * 2 + 1) * half + i)] =
                static_cast<float>(std::sin(angle));
        }
    }
}

std::shared_ptr<const RopeTable> RopeTables::get(double base, const float* factors, int64_t half,
                                                 int64_t position, int64_t rows) {
    const Key wanted{base, factors, half, position, rows};
    for (const auto& [key, table] : recent_)
        if (key == wanted) return table;
    auto table = std::make_shared<const RopeTable>(base, factors, half, position, rows);
    recent_.emplace_front(wanted, table);
    if (recent_.size() > kKept) recent_.pop_back();
    return table;
}

namespace {

ExprPtr op_rms_norm(OperatorState&, const Arguments& arguments) {
    ExprPtr x = arguments.tensor(0);
    require_no_matrix(arguments, *x);
    const double eps = arguments.number(2);
    if (eps < 0) arguments.refuse("eps must not be negative");
    const Weight& weight = arguments.vector(1, x->width);
    return std::make_shared<RmsNormExpr>(std::move(x), weight, static_cast<float>(eps));
}

ExprPtr op_l2_norm(OperatorState&, const Arguments& arguments) {
    ExprPtr x = arguments.tensor(0);
    require_no_matrix(arguments, *x);
    const double eps = arguments.number(1);
    if (eps < 0) arguments.refuse("eps must not be negative");
    return std::make_shared<L2NormExpr>(std::move(x), eps);
}

ExprPtr op_layer_norm(OperatorState&, const Arguments& arguments) {
    ExprPtr x = arguments.tensor(0);
    require_no_matrix(arguments, *x);
    const double eps = arguments.number(2);
    if (eps < 0) arguments.refuse("eps must not be negative");
    const Weight& weight = arguments.vector(1, x->width);
    const Weight* bias = arguments.count() > 3 ? &arguments.vector(3, x->width) : nullptr;
    return std::make_shared<LayerNormExpr>(std::move(x), weight, bias, eps);
}

ExprPtr op_rope(OperatorState& state, const Arguments& arguments) {
    ExprPtr x = arguments.tensor(0);
    require_no_matrix(arguments, *x);
    const int64_t position = arguments.integer(1);
    const double base = arguments.number(2);
    if (x->width % 2 != 0) arguments.refuse("a head's width must be even: " + describe_shape(*x));
    if (position < 0 || position > kMostPosition)
        arguments.refuse(
            fmt::format("the position must be 0 to {}, not {}", kMostPosition, position));
    if (base <= 0) arguments.refuse(fmt::format("the base must be above 0, not {}", base));
    if (x->rows > kMostAngles / x->width)
        arguments.refuse("that are more angles than any pass has: " + describe_shape(*x));
    const float* factors =
        arguments.count() > 3 ? arguments.vector(3, x->width / 2).vector().data() : nullptr;
    if (factors && !std::all_of(factors, factors + x->width / 2, [](float f) { return f > 0; }))
        arguments.refuse("the factors must be positive");
    auto table = state.rope().get(base, factors, x->width / 2, position, x->rows);
    return std::make_shared<RopeExpr>(std::move(x), std::move(table));
}

}  // namespace

std::span<const OperatorFunction> head_functions() {
    static constexpr OperatorFunction kFunctions[] = {
        {.sql = "llm_rms_norm", .scalar = op_rms_norm},
        {.sql = "llm_l2_norm", .scalar = op_l2_norm},
        {.sql = "llm_layer_norm", .scalar = op_layer_norm},
        {.sql = "llm_rope", .scalar = op_rope},
    };
    return kFunctions;
}

}  // namespace llmsql
