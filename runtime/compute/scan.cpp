// SPDX-License-Identifier: MIT
// Scans: a short causal convolution, the gated delta rule, Mamba-2's selective scan.
#include <cmath>

#include "operators/operators.h"
#include "runtime/compute/functions.h"
#include "runtime/compute/scan_expr.h"
#include "runtime/kernels/kernels.h"
#include "runtime/kernels/math.h"

namespace llmsql {
namespace {

using Stored = ScanExpr::Stored;

const float* row_of(const Stored& tensor, int64_t row, int64_t col) {
    int64_t stride = 0;
    return tensor->direct(row, col, stride);
}

// The state's rows are those of the last tokens, the newest last.
class ConvolutionExpr final : public ScanExpr {
  public:
    ConvolutionExpr(const Stored& x, const Weight& weight, const Weight* bias,
                    const RecurrentState& state)
        : ScanExpr(x, {x}, state), x_(x), weight_(weight), bias_(bias) {}

    int64_t granule() const override { return 16; }

    void scan(int64_t first, int64_t count, int64_t start, int64_t from, int64_t end, float* held,
              Scratch&, float* out, int64_t out_stride) const override {
        const int64_t taps = state.rows;
        const float* const weight = weight_.vector().data() + first;
        const float* const bias = bias_ ? bias_->vector().data() + first : nullptr;
        // Of token t; those before `start` are in the state.
        const auto token = [&](int64_t t) {
            return t < start ? held + (taps + t - start) * width + first : row_of(x_, t, first);
        };
        const float* window[kMostTaps];
        for (int64_t r = from; r < end; ++r) {
            for (int64_t j = 0; j < taps; ++j) window[j] = token(r - taps + 1 + j);
            float* to = out + (r - from) * out_stride;
            kernels().convolve(window, taps, weight, width, count, to);
            if (bias)
                for (int64_t c = 0; c < count; ++c) to[c] += bias[c];
        }
        // Each row moves towards the oldest, or not at all.
        for (int64_t j = 0; j < taps; ++j)
            std::copy_n(token(end - taps + j), count, held + j * width + first);
    }

    void copy_state(int64_t first, int64_t count, const float* from, float* to) const override {
        for (int64_t j = 0; j < state.rows; ++j)
            std::copy_n(from + j * width + first, count, to + j * width + first);
    }

    std::shared_ptr<const ScanExpr> over(const std::vector<Stored>& operands) const override {
        return std::make_shared<ConvolutionExpr>(operands[0], weight_, bias_, state);
    }

  private:
    const Stored x_;
    const Weight& weight_;
    const Weight* const bias_;  // null: none
};

// What the two recurrences have in common: heads of a state [keys][width], of which each goes by
// the keys of its group.
class RecurrenceExpr : public ScanExpr {
  public:
    using ScanExpr::ScanExpr;
    int64_t granule() const override { return width; }

    void scan(int64_t first, int64_t count, int64_t start, int64_t from, int64_t end, float* held,
              Scratch& scratch, float* out, int64_t out_stride) const override {
        const Scratch::Frame frame(scratch);
        float* skipped = scratch.take(1, width);
        const int64_t keys = state.rows;
        for (int64_t col = first; col < first + count; col += width) {
            const int64_t head = col / width;
            for (int64_t r = start; r < end; ++r) {
                float* to = r < from ? skipped : out + (r - from) * out_stride + col - first;
                step(head, r, held + head * keys * width, scratch, to);
            }
        }
    }

    // Heads lie one after the other, and columns are whole ones.
    void copy_state(int64_t first, int64_t count, const float* from, float* to) const override {
        const int64_t keys = state.rows;
        std::copy_n(from + first * keys, count * keys, to + first * keys);
    }

  private:
    virtual void step(int64_t head, int64_t row, float* held, Scratch& scratch,
                      float* out) const = 0;
};

class DeltaRuleExpr final : public RecurrenceExpr {
  public:
    DeltaRuleExpr(const Stored& q, const Stored& k, const Stored& v, const Stored& decay,
                  const Stored& beta, const RecurrentState& state, float scale, bool tiled)
        : RecurrenceExpr(v, {q, k, v, decay, beta}, state),
          q_(q),
          k_(k),
          v_(v),
          decay_(decay),
          beta_(beta),
          scale_(scale),
          tiled_(tiled) {}

    std::shared_ptr<const ScanExpr> over(const std::vector<Stored>& of) const override {
        return std::make_shared<DeltaRuleExpr>(of[0], of[1], of[2], of[3], of[4], state, scale_,
                                               tiled_);
    }

  private:
    void step(int64_t head, int64_t row, float* held, Scratch& scratch, float* out) const override {
        const int64_t group = heads / q_->heads, keys = state.rows;
        const int64_t of = (tiled_ ? head % q_->heads : head / group) * keys;
        const Scratch::Frame frame(scratch);
        float* query = scratch.take(1, keys);
        const float* q = row_of(q_, row, of);
        for (int64_t i = 0; i < keys; ++i) query[i] = q[i] * scale_;
        const Recurrence step{.q = query,
                              .k = row_of(k_, row, of),
                              .keys = keys,
                              .decay = *row_of(decay_, row, head),
                              .rate = *row_of(beta_, row, head),
                              .corrected = true};
        kernels().recur(held, width, width, step, row_of(v_, row, head * width), out);
    }

    const Stored q_, k_, v_, decay_, beta_;
    const float scale_;
    const bool tiled_;
};

class SelectiveScanExpr final : public RecurrenceExpr {
  public:
    SelectiveScanExpr(const Stored& x, const Stored& dt, const Weight& a, const Stored& b,
                      const Stored& c, const RecurrentState& state, const Weight* d)
        : RecurrenceExpr(x, {x, dt, b, c}, state), x_(x), dt_(dt), a_(a), b_(b), c_(c), d_(d) {}

    std::shared_ptr<const ScanExpr> over(const std::vector<Stored>& of) const override {
        return std::make_shared<SelectiveScanExpr>(of[0], of[1], a_, of[2], of[3], state, d_);
    }

  private:
    void step(int64_t head, int64_t row, float* held, Scratch&, float* out) const override {
        const int64_t group = heads / b_->heads, keys = state.rows;
        const int64_t of = head / group * keys;
        const float dt = *row_of(dt_, row, head);
        const float* x = row_of(x_, row, head * width);
        const Recurrence step{.q = row_of(c_, row, of),
                              .k = row_of(b_, row, of),
                              .keys = keys,
                              .decay = exp_f32(dt * a_.vector()[static_cast<size_t>(head)]),
                              .rate = dt,
                              .corrected = false};
        kernels().recur(held, width, width, step, x, out);
        if (!d_) return;
        const float skip = d_->vector()[static_cast<size_t>(head)];
        for (int64_t i = 0; i < width; ++i) out[i] += skip * x[i];
    }

    const Stored x_, dt_;
    const Weight& a_;
    const Stored b_, c_;
    const Weight* const d_;  // null: none
};

// Fails unless the operand has as many rows as the first, and this shape.
void require_shape(const Arguments& arguments, const Stored& tensor, std::string_view name,
                   int64_t rows, int64_t heads, int64_t width) {
    if (tensor->rows != rows || tensor->heads != heads || tensor->width != width)
        arguments.refuse(fmt::format("{} is {}, it must be f32[{}, {}, {}]", name,
                                     describe_shape(*tensor), rows, heads, width));
}

void require_state(const Arguments& arguments, const RecurrentState& state, int64_t heads,
                   int64_t rows, int64_t width) {
    if (state.heads != heads || state.rows != rows || state.width != width)
        arguments.refuse(fmt::format("the state is [{}, {}, {}], it must be [{}, {}, {}]",
                                     state.heads, state.rows, state.width, heads, rows, width));
}

// llm_causal_conv(x, weight, last[, bias])
ExprPtr op_causal_conv(OperatorState&, const Arguments& arguments) {
    const Stored x = arguments.stored(0, TensorType::f32);
    const RecurrentState& state = arguments.state(2);
    require_state(arguments, state, 1, state.rows, x->elements());
    if (state.rows > kMostTaps)
        arguments.refuse(fmt::format("{} taps are more than {}", state.rows, kMostTaps));
    if (x->heads != 1) arguments.refuse("x has heads: " + describe_shape(*x));
    const Weight& weight = arguments.vector(1, state.rows * state.width);
    const Weight* bias = arguments.count() > 3 ? &arguments.vector(3, state.width) : nullptr;
    return std::make_shared<ConvolutionExpr>(x, weight, bias, state);
}

// llm_gated_delta_rule(q, k, v, decay, beta, memory, scale[, tiled])
ExprPtr op_gated_delta_rule(OperatorState&, const Arguments& arguments) {
    const Stored q = arguments.stored(0, TensorType::f32), k = arguments.stored(1, TensorType::f32);
    const Stored v = arguments.stored(2, TensorType::f32);
    const Stored decay = arguments.stored(3, TensorType::f32);
    const Stored beta = arguments.stored(4, TensorType::f32);
    const RecurrentState& state = arguments.state(5);
    require_shape(arguments, k, "k", q->rows, q->heads, q->width);
    require_shape(arguments, v, "v", q->rows, v->heads, v->width);
    require_shape(arguments, decay, "decay", q->rows, 1, v->heads);
    require_shape(arguments, beta, "beta", q->rows, 1, v->heads);
    if (v->heads % q->heads != 0)
        arguments.refuse(
            fmt::format("{} heads of v cannot share {} of k evenly", v->heads, q->heads));
    require_state(arguments, state, v->heads, q->width, v->width);
    const int64_t tiled = arguments.count() > 7 ? arguments.integer(7) : 0;
    if (tiled != 0 && tiled != 1) arguments.refuse("tiled must be 0 or 1");
    return std::make_shared<DeltaRuleExpr>(q, k, v, decay, beta, state,
                                           static_cast<float>(arguments.number(6)), tiled == 1);
}

// llm_selective_scan(x, dt, a, b, c, memory[, d])
ExprPtr op_selective_scan(OperatorState&, const Arguments& arguments) {
    const Stored x = arguments.stored(0, TensorType::f32);
    const Stored dt = arguments.stored(1, TensorType::f32);
    const Stored b = arguments.stored(3, TensorType::f32), c = arguments.stored(4, TensorType::f32);
    const RecurrentState& state = arguments.state(5);
    require_shape(arguments, dt, "dt", x->rows, 1, x->heads);
    require_shape(arguments, b, "b", x->rows, b->heads, b->width);
    require_shape(arguments, c, "c", x->rows, b->heads, b->width);
    if (x->heads % b->heads != 0)
        arguments.refuse(fmt::format("{} heads cannot share {} groups evenly", x->heads, b->heads));
    require_state(arguments, state, x->heads, b->width, x->width);
    const Weight& a = arguments.vector(2, x->heads);
    const Weight* d = arguments.count() > 6 ? &arguments.vector(6, x->heads) : nullptr;
    return std::make_shared<SelectiveScanExpr>(x, dt, a, b, c, state, d);
}

}  // namespace

std::span<const OperatorFunction> scan_functions() {
    static constexpr OperatorFunction kFunctions[] = {
        {.sql = "llm_causal_conv", .scalar = op_causal_conv},
        {.sql = "llm_gated_delta_rule", .scalar = op_gated_delta_rule},
        {.sql = "llm_selective_scan", .scalar = op_selective_scan},
    };
    return kFunctions;
}

}  // namespace llmsql
