// SPDX-License-Identifier: MIT
// Head operators, over the last dimension of each token and head: norms, rotation, and what puts
// heads together or multiplies them.
#include <algorithm>
#include <cmath>
#include <mutex>
#include <tuple>
#include <vector>

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
    // Rotates the first 2 * half elements of each head.
    RopeExpr(ExprPtr x, std::shared_ptr<const RopeTable> table, int64_t half, bool adjacent)
        : HeadExpr(std::move(x)), table_(std::move(table)), half_(half), adjacent_(adjacent) {}

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        x->eval(block, scratch, out, out_stride);
        for (int64_t r = 0; r < block.rows; ++r) {
            const float* cosine = table_->cosine(block.row + r);
            const float* sine = table_->sine(block.row + r);
            for (int64_t c = 0; c < block.cols; c += width) {
                float* const head = out + r * out_stride + c;
                if (adjacent_)
                    rotate_neighbors(head, cosine, sine);
                else
                    kernels().rope(head, cosine, sine, half_);
            }
        }
    }

  private:
    void rotate_neighbors(float* head, const float* cosine, const float* sine) const {
        for (int64_t i = 0; i < half_; ++i) {
            const float a = head[2 * i], b = head[2 * i + 1];
            head[2 * i] = a * cosine[i] - b * sine[i];
            head[2 * i + 1] = b * cosine[i] + a * sine[i];
        }
    }

    const std::shared_ptr<const RopeTable> table_;
    const int64_t half_;
    const bool adjacent_;
};

class RmsUnitExpr final : public HeadExpr {
  public:
    RmsUnitExpr(ExprPtr x, float eps)
        : HeadExpr(std::move(x)), ones_(static_cast<size_t>(width), 1.0f), eps_(eps) {}

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        x->eval(block, scratch, out, out_stride);
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; c += width)
                kernels().rms_norm(out + r * out_stride + c, ones_.data(), width, eps_);
    }

  private:
    const std::vector<float> ones_;
    const float eps_;
};

// A parameter's vector with the last dimension, element by element.
template<bool multiplies>
class VectorExpr final : public HeadExpr {
  public:
    VectorExpr(ExprPtr x, const Weight& by) : HeadExpr(std::move(x)), by_(by) {}

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        x->eval(block, scratch, out, out_stride);
        const float* by = by_.vector().data();
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; c += width) {
                float* const head = out + r * out_stride + c;
                for (int64_t i = 0; i < width; ++i)
                    head[i] = multiplies ? head[i] * by[i] : head[i] + by[i];
            }
    }

  private:
    const Weight& by_;
};

// Each head times a number of its own.
class WeighExpr final : public HeadExpr {
  public:
    WeighExpr(ExprPtr x, ExprPtr by) : HeadExpr(std::move(x)), by_(std::move(by)) {}

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        x->eval(block, scratch, out, out_stride);
        const Scratch::Frame frame(scratch);
        const Block heads{block.row, block.rows, block.col / width, block.cols / width};
        float* const factors = scratch.take(heads.rows, heads.cols);
        by_->eval(heads, scratch, factors, heads.cols);
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; ++c)
                out[r * out_stride + c] *= factors[r * heads.cols + c / width];
    }
    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const override {
        HeadExpr::visit_tensors(visit);
        by_->visit_tensors([&](const TensorExpr& tensor, Reach) { visit(tensor, Reach::row); });
    }

  private:
    const ExprPtr by_;
};

// Heads put together from columns of stored tensors' heads.
class PiecesExpr final : public Expr {
  public:
    struct Piece {
        std::shared_ptr<const TensorExpr> from;
        int64_t first = 0, count = 0;
    };
    PiecesExpr(std::vector<Piece> pieces, int64_t width)
        : Expr(pieces[0].from->rows, pieces[0].from->heads, width), pieces_(std::move(pieces)) {}

    int64_t granule() const override { return width; }

    void eval(const Block& block, Scratch&, float* out, int64_t out_stride) const override {
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; c += width) {
                float* to = out + r * out_stride + c;
                for (const Piece& piece : pieces_) {
                    int64_t stride = 0;
                    const int64_t head = (block.col + c) / width;
                    to = std::copy_n(
                        piece.from->direct(block.row + r, head * piece.from->width + piece.first,
                                           stride),
                        piece.count, to);
                }
            }
    }
    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const override {
        for (const Piece& piece : pieces_) visit(*piece.from, Reach::row);
    }

  private:
    const std::vector<Piece> pieces_;
};

class ByPositionExpr final : public HeadExpr {
  public:
    ByPositionExpr(ExprPtr x, int64_t position, double beta, double every, double first)
        : HeadExpr(std::move(x)), position_(position), beta_(beta), every_(every), first_(first) {}

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        x->eval(block, scratch, out, out_stride);
        for (int64_t r = 0; r < block.rows; ++r) {
            const auto position = static_cast<double>(position_ + block.row + r);
            const auto factor = static_cast<float>(
                1 + beta_ * std::log(1 + std::floor((position + first_) / every_)));
            for (int64_t c = 0; c < block.cols; ++c) out[r * out_stride + c] *= factor;
        }
    }

  private:
    const int64_t position_;
    const double beta_, every_, first_;
};

}  // namespace

RopeTable::RopeTable(double base, const float* factors, double magnitude, int64_t half,
                     int64_t position, int64_t rows)
    : half_(half), values_(static_cast<size_t>(2 * half * rows)) {
    for (int64_t i = 0; i < half; ++i) {
        const double frequency =
            std::pow(base, -static_cast<double>(i) / static_cast<double>(half)) /
            (factors ? static_cast<double>(factors[i]) : 1.0);
        for (int64_t r = 0; r < rows; ++r) {
            const double angle = static_cast<double>(position + r) * frequency;
            values_[static_cast<size_t>(r * 2 * half + i)] =
                static_cast<float>(magnitude * std::cos(angle));
            values_[static_cast<size_t>((r * 2 + 1) * half + i)] =
                static_cast<float>(magnitude * std::sin(angle));
        }
    }
}

std::shared_ptr<const RopeTable> RopeTables::get(double base, const float* factors,
                                                 double magnitude, int64_t half, int64_t position,
                                                 int64_t rows) {
    const Key wanted{base, factors, magnitude, half, position, rows};
    for (const auto& [key, table] : recent_)
        if (key == wanted) return table;
    auto table = std::make_shared<const RopeTable>(base, factors, magnitude, half, position, rows);
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
    const Weight* bias = arguments.has(3) ? &arguments.vector(3, x->width) : nullptr;
    return std::make_shared<LayerNormExpr>(std::move(x), weight, bias, eps);
}

int64_t position_at(const Arguments& arguments, int index) {
    const int64_t position = arguments.integer(index);
    if (position < 0 || position > kMostPosition)
        arguments.refuse(
            fmt::format("the position must be 0 to {}, not {}", kMostPosition, position));
    return position;
}

ExprPtr op_rope(OperatorState& state, const Arguments& arguments) {
    ExprPtr x = arguments.tensor(0);
    require_no_matrix(arguments, *x);
    const int64_t position = position_at(arguments, 1);
    const double base = arguments.number(2);
    const int64_t part = arguments.count() > 4 ? arguments.integer(4) : 0;
    const int64_t adjacent = arguments.count() > 5 ? arguments.integer(5) : 0;
    const double magnitude = arguments.count() > 6 ? arguments.number(6) : 1;
    if (part < 0 || part > x->width)
        arguments.refuse(
            fmt::format("there are no {} elements to rotate: {}", part, describe_shape(*x)));
    const int64_t rotated = part > 0 ? part : x->width;
    if (rotated % 2 != 0)
        arguments.refuse(part > 0 ? fmt::format("{} elements are not pairs", part)
                                  : "a head's width must be even: " + describe_shape(*x));
    if (adjacent != 0 && adjacent != 1)
        arguments.refuse(fmt::format("adjacent must be 0 or 1, not {}", adjacent));
    if (base <= 0) arguments.refuse(fmt::format("the base must be above 0, not {}", base));
    if (x->rows > kMostAngles / x->width)
        arguments.refuse("that are more angles than any pass has: " + describe_shape(*x));
    const float* factors =
        arguments.has(3) ? arguments.vector(3, rotated / 2).vector().data() : nullptr;
    if (factors && !std::all_of(factors, factors + rotated / 2, [](float f) { return f > 0; }))
        arguments.refuse("the factors must be positive");
    auto table = state.rope().get(base, factors, magnitude, rotated / 2, position, x->rows);
    return std::make_shared<RopeExpr>(std::move(x), std::move(table), rotated / 2, adjacent == 1);
}

ExprPtr op_rms_unit(OperatorState&, const Arguments& arguments) {
    ExprPtr x = arguments.tensor(0);
    require_no_matrix(arguments, *x);
    const double eps = arguments.number(1);
    if (eps < 0) arguments.refuse("eps must not be negative");
    return std::make_shared<RmsUnitExpr>(std::move(x), static_cast<float>(eps));
}

template<bool multiplies>
ExprPtr with_vector(const Arguments& arguments) {
    ExprPtr x = arguments.tensor(0);
    require_no_matrix(arguments, *x);
    const Weight& by = arguments.vector(1, x->width);
    return std::make_shared<VectorExpr<multiplies>>(std::move(x), by);
}

ExprPtr op_gain(OperatorState&, const Arguments& arguments) {
    return with_vector<true>(arguments);
}
ExprPtr op_shift(OperatorState&, const Arguments& arguments) {
    return with_vector<false>(arguments);
}

ExprPtr op_weigh(OperatorState&, const Arguments& arguments) {
    ExprPtr x = arguments.tensor(0), by = arguments.tensor(1);
    require_no_matrix(arguments, *x);
    require_no_matrix(arguments, *by);
    if (x->rows != by->rows || by->elements() != x->heads)
        arguments.refuse("there must be one number for each head: " + describe_shape(*x) + " and " +
                         describe_shape(*by));
    return std::make_shared<WeighExpr>(std::move(x), std::move(by));
}

std::shared_ptr<const TensorExpr> stored_heads(const Arguments& arguments, int index) {
    return arguments.stored(index, TensorType::f32);
}

ExprPtr op_piece(OperatorState&, const Arguments& arguments) {
    ExprPtr any = arguments.tensor(0);
    const int64_t first = arguments.integer(1), count = arguments.integer(2);
    if (first < 0 || count < 1 || count > any->width || first > any->width - count)
        arguments.refuse(fmt::format("there are no {} elements from {} on: {}", count, first,
                                     describe_shape(*any)));
    if (count == any->width) return any;
    return std::make_shared<PiecesExpr>(
        std::vector<PiecesExpr::Piece>{{stored_heads(arguments, 0), first, count}}, count);
}

ExprPtr op_beside(OperatorState&, const Arguments& arguments) {
    const auto a = stored_heads(arguments, 0), b = stored_heads(arguments, 1);
    if (a->rows != b->rows || a->heads != b->heads)
        arguments.refuse("the operands' heads differ: " + describe_shape(*a) + " and " +
                         describe_shape(*b));
    const int64_t width = size_sum(a->width, b->width);
    if (arguments.integer(2) != width)
        arguments.refuse(
            fmt::format("{} and {} elements are not {}", a->width, b->width, arguments.integer(2)));
    return std::make_shared<PiecesExpr>(
        std::vector<PiecesExpr::Piece>{{a, 0, a->width}, {b, 0, b->width}}, width);
}

ExprPtr op_by_position(OperatorState&, const Arguments& arguments) {
    ExprPtr x = arguments.tensor(0);
    require_no_matrix(arguments, *x);
    const int64_t position = position_at(arguments, 1);
    const double every = arguments.number(3);
    if (every <= 0) arguments.refuse(fmt::format("`every` must be above 0, not {}", every));
    const double first = arguments.count() > 4 ? arguments.number(4) : 0;
    if (first < 0) arguments.refuse(fmt::format("`first` must be 0 or more, not {}", first));
    return std::make_shared<ByPositionExpr>(std::move(x), position, arguments.number(2), every,
                                            first);
}

}  // namespace

std::span<const OperatorFunction> head_functions() {
    static constexpr OperatorFunction kFunctions[] = {
        {.sql = "llm_rms_norm", .scalar = op_rms_norm},
        {.sql = "llm_l2_norm", .scalar = op_l2_norm},
        {.sql = "llm_layer_norm", .scalar = op_layer_norm},
        {.sql = "llm_rms_unit", .scalar = op_rms_unit},
        {.sql = "llm_rope", .scalar = op_rope},
        {.sql = "llm_gain", .scalar = op_gain},
        {.sql = "llm_shift", .scalar = op_shift},
        {.sql = "llm_weigh", .scalar = op_weigh},
        {.sql = "llm_piece", .scalar = op_piece},
        {.sql = "llm_beside", .scalar = op_beside},
        {.sql = "llm_by_position", .scalar = op_by_position},
    };
    return kFunctions;
}

}  // namespace llmsql
