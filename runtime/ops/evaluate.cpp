// Cutting an expression into pieces and evaluating them. See evaluate.h.
#include "runtime/ops/evaluate.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "common/error.h"
#include "runtime/kernels/kernels.h"

namespace llmsql {
namespace {

// Columns of a matrix that one worker takes at a time: enough to be worth the taking, few enough
// that both cores end together.
constexpr int64_t kMatrixPiece = 128;

// Strips that kernels like to multiply together by several tokens.
constexpr int64_t kStripsTogether = 4;

// Rows of a value that is heavy to compute that one worker takes at a time: they share what they
// read.
constexpr int64_t kHeavyRows = 8;

struct Pieces {
    int64_t rows_each = 1, cols_each = 1;
    int64_t across = 1;  // pieces side by side in one row of pieces
    int64_t count = 0;

    Block block(int64_t piece, const Expr& expr) const {
        const int64_t row = piece / across * rows_each;
        const int64_t col = piece % across * cols_each;
        return {row, std::min(rows_each, expr.rows - row), col,
                std::min(cols_each, expr.elements() - col)};
    }
};

int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

// How `expr` is shared out, in columns that are multiples of `unit`.
Pieces cut(const Expr& expr, int64_t unit, int workers) {
    Pieces pieces;
    const int64_t cols = expr.elements();
    unit = std::lcm(unit, expr.granule());
    if (expr.scans_matrix()) {
        if (expr.rows > 1) unit = std::lcm(unit, kStripsTogether * kStripRows);
        const int64_t share = std::min(kMatrixPiece, cols / (workers * 4));
        pieces.rows_each = expr.rows;
        pieces.cols_each = std::max<int64_t>(1, share / unit) * unit;
    } else if (expr.is_heavy()) {
        // Smaller than a bundle only where some workers would get nothing.
        const int64_t bundle = std::lcm(unit, expr.bundle());
        pieces.rows_each = std::min(kHeavyRows, expr.rows);
        const int64_t each = divide_up(workers, divide_up(expr.rows, pieces.rows_each));
        pieces.cols_each = std::min(bundle, divide_up(divide_up(cols, each), unit) * unit);
    } else {
        pieces.cols_each = divide_up(cols, unit) * unit;
    }
    pieces.across = divide_up(cols, pieces.cols_each);
    pieces.count = pieces.across * divide_up(expr.rows, pieces.rows_each);
    return pieces;
}

// Has the workers call evaluate(piece, worker's scratch) for each piece.
template<class Evaluate>
void share_out(Evaluator& evaluator, int64_t count, Evaluate evaluate) {
    auto task = [&scratch = evaluator.scratch, where = evaluator.statement, times = evaluator.times,
                 evaluate = std::move(evaluate)](int64_t piece, int worker) {
        Scratch& own = scratch[static_cast<size_t>(worker)];
        const double reading = own.strips.reading;
        const uint64_t bytes = own.strips.bytes_read;
        try {
            evaluate(piece, own);
        } catch (const Error& error) {
            if (!where) throw;
            fail("{}: {}", *where, error.what());
        }
        if (!times) return;
        times[worker].reading += own.strips.reading - reading;
        times[worker].read_bytes += own.strips.bytes_read - bytes;
    };
    evaluator.workers.add(count, std::move(task), evaluator.times);
}

// A value, and the place of its first element.
struct Target {
    ExprPtr expr;
    std::byte* data;
    Pieces pieces;
};

// Several values into the same rows, shared out together.
void evaluate_f32(Evaluator& evaluator, std::vector<Target> targets, int64_t stride) {
    int64_t count = 0;
    for (const Target& target : targets) count += target.pieces.count;
    share_out(
        evaluator, count, [targets = std::move(targets), stride](int64_t piece, Scratch& scratch) {
            auto target = targets.begin();
            for (; piece >= target->pieces.count; ++target) piece -= target->pieces.count;
            const Block block = target->pieces.block(piece, *target->expr);
            auto* out = reinterpret_cast<float*>(target->data + block.row * stride) + block.col;
            target->expr->eval(block, scratch, out, stride / static_cast<int64_t>(sizeof(float)));
        });
}

void evaluate_q8(Evaluator& evaluator, const ExprPtr& x, std::byte* data, int64_t stride) {
    const Pieces pieces = cut(*x, kBlock, evaluator.workers.count());
    const int64_t blocks = block_count(x->elements());
    share_out(evaluator, pieces.count, [=](int64_t piece, Scratch& scratch) {
        const Block block = pieces.block(piece, *x);
        const Scratch::Frame frame(scratch);
        float* values = scratch.take(block.rows * block.cols);
        x->eval(block, scratch, values, block.cols);
        for (int64_t r = 0; r < block.rows; ++r)
            kernels().quantize(
                values + r * block.cols, block.cols,
                quantized_row(data + (block.row + r) * stride, blocks, block.col / kBlock));
    });
}

// A tensor may be overwritten by an expression that reads it only at the place being written.
void require_safe_overwrite(const Expr& expr, const TensorPlace& place, const std::byte* data) {
    const int64_t written = (expr.rows - 1) * place.stride + place.row_bytes();
    expr.visit_tensors([&](const TensorExpr& tensor, Reach reach) {
        const std::byte* read = tensor.data;
        const int64_t span = (tensor.rows - 1) * tensor.place.stride + tensor.place.row_bytes();
        if (read + span <= data || data + written <= read) return;
        const bool same = read == data && tensor.place.stride == place.stride &&
                          tensor.place.type == place.type && reach != Reach::row;
        const bool columns_apart = tensor.place.stride == place.stride &&
                                   std::abs(read - data) < place.stride &&
                                   (read < data ? read + tensor.place.row_bytes() <= data
                                                : data + place.row_bytes() <= read);
        if (!same && !columns_apart)
            fail(
                "tensor {} '{}' would be overwritten while tensor {} '{}' is still read from the "
                "same place",
                place.id, place.name, tensor.place.id, tensor.place.name);
    });
}

// Hands every head of every row to store(row, head, values).
template<class Store>
void store_in_cache(Evaluator& evaluator, const ExprPtr& expr, int64_t width, Store store) {
    const Pieces pieces = cut(*expr, width, evaluator.workers.count());
    share_out(evaluator, pieces.count, [=](int64_t piece, Scratch& scratch) {
        const Block block = pieces.block(piece, *expr);
        const Scratch::Frame frame(scratch);
        float* values = scratch.take(block.rows * block.cols);
        expr->eval(block, scratch, values, block.cols);
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; c += width)
                store(block.row + r, (block.col + c) / width, values + r * block.cols + c);
    });
    evaluator.weight_bytes += expr->weight_bytes();
}

}  // namespace

void evaluate_into(Evaluator& evaluator, const ExprPtr& expr, const TensorPlace& place,
                   std::byte* data) {
    if (expr->elements() != place.elements() || expr->rows > place.rows)
        fail("{} does not fit tensor {} '{}', which is {}[{}, {}, {}]", describe_shape(*expr),
             place.id, place.name, name_of(place.type), place.rows, place.heads, place.width);
    const auto* quantize = dynamic_cast<const QuantizeExpr*>(expr.get());
    if ((quantize != nullptr) != (place.type == TensorType::q8))
        fail("tensor {} '{}' is {}, so what is stored in it must {}be llm_quantize(…)", place.id,
             place.name, name_of(place.type), quantize ? "not " : "");
    require_safe_overwrite(*expr, place, data);

    if (quantize) {
        evaluate_q8(evaluator, quantize->x, data, place.stride);
    } else {
        const int workers = evaluator.workers.count();
        std::vector<Target> targets;
        const auto add = [&](const ExprPtr& value) {
            targets.push_back({value, data, cut(*value, 1, workers)});
            data += value->elements() * static_cast<int64_t>(sizeof(float));
        };
        if (const auto* concat = dynamic_cast<const ConcatExpr*>(expr.get()))
            std::ranges::for_each(concat->parts, add);
        else
            add(expr);
        evaluate_f32(evaluator, std::move(targets), place.stride);
    }
    evaluator.weight_bytes += expr->weight_bytes();
}

void evaluate_into_cache(Evaluator& evaluator, const ExprPtr& k, const ExprPtr& v, KvCache& cache,
                         int64_t sequence, int64_t layer, int64_t position) {
    if (layer < 0 || layer >= static_cast<int64_t>(cache.layers().size()))
        fail("there is no cache layer {}: the plan declares {}", layer, cache.layers().size());
    const KvLayer& shape = cache.layers()[static_cast<size_t>(layer)];
    for (const ExprPtr& part : {k, v}) {
        if (is_outermost(*part))
            fail(
                "keys and values must not be llm_quantize(…) or llm_concat(…): the cache has a "
                "type of its own");
        if (part->elements() != shape.heads * shape.width || part->rows != k->rows)
            fail("{} does not fit cache layer {}, which takes f32[{}, {}, {}]",
                 describe_shape(*part), layer, k->rows, shape.heads, shape.width);
    }
    // A sequence that is new gets its memory, which nobody may look for meanwhile.
    if (position == 0) evaluator.workers.wait();
    cache.append(sequence, layer, position, k->rows);
    store_in_cache(evaluator, k, shape.width,
                   [=, &cache](int64_t row, int64_t head, const float* key) {
                       cache.store_key(sequence, layer, position + row, head, key);
                   });
    store_in_cache(evaluator, v, shape.width,
                   [=, &cache](int64_t row, int64_t head, const float* value) {
                       cache.store_value(sequence, layer, position + row, head, value);
                   });
}

std::vector<float> evaluate_to_vector(const ExprPtr& expr) {
    const auto* quantize = dynamic_cast<const QuantizeExpr*>(expr.get());
    const Expr& values = quantize ? *quantize->x : *expr;
    std::vector<float> out(static_cast<size_t>(values.rows * values.elements()));
    Scratch scratch;
    const Block whole{0, values.rows, 0, values.elements()};
    values.eval(whole, scratch, out.data(), values.elements());
    return out;
}

}  // namespace llmsql
