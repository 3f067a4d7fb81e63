// SPDX-License-Identifier: MIT
// Cutting an expression into pieces and evaluating them. See evaluate.h.
#include "runtime/compute/evaluate.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>
#include <vector>

#include "common/error.h"
#include "runtime/compute/scan_expr.h"
#include "runtime/kernels/kernels.h"

namespace llmsql {
namespace {

// Columns of a matrix that one worker takes at a time: enough to be worth the taking, few enough
// that both cores end together.
constexpr int64_t kMatrixPiece = 128;

// Strips that kernels like to multiply together by several tokens.
constexpr int64_t kStripsTogether = 4;

// A row, or few, are multiplied at the speed of reading memory, and reading is slow to begin:
// pieces are large at first, and smaller towards the end, so that all workers end together. Weights
// that are streamed come a tile at a time in any case, and few of them at once are in memory.
constexpr int64_t kFewRows = 8;
constexpr int64_t kMostColumns = 1024;
constexpr int64_t kLeastWeights = 24 << 10;  // bytes

// Rows of a value that is heavy to compute that one worker takes at a time: they share what they
// read.
constexpr int64_t kHeavyRows = 8;

struct Pieces {
    int64_t rows_each = 1, cols_each = 1;
    int64_t across = 1;  // pieces side by side in one row of pieces
    int64_t count = 0;
    std::vector<int64_t> starts;  // the columns where pieces begin, where they differ in length

    Block block(int64_t piece, const Expr& expr) const {
        if (!starts.empty()) {
            const auto at = static_cast<size_t>(piece);
            const int64_t end = at + 1 < starts.size() ? starts[at + 1] : expr.elements();
            return {0, expr.rows, starts[at], end - starts[at]};
        }
        const int64_t row = piece / across * rows_each;
        const int64_t col = piece % across * cols_each;
        return {row, std::min(rows_each, expr.rows - row), col,
                std::min(cols_each, expr.elements() - col)};
    }
};

int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

// Few rows of `cols` columns, in multiples of `unit`: each piece is a worker's half share of what
// is left, within bounds.
Pieces taper(int64_t cols, int64_t unit, uint64_t weight_bytes, int workers) {
    Pieces pieces;
    const auto bytes = static_cast<int64_t>(weight_bytes) / std::max<int64_t>(1, cols);
    const int64_t least = divide_up(divide_up(kLeastWeights, std::max<int64_t>(1, bytes)), unit);
    const int64_t most = std::max(least, kMostColumns / unit);
    for (int64_t col = 0; col < cols;) {
        pieces.starts.push_back(col);
        const int64_t left = divide_up(cols - col, unit);
        const int64_t share = std::clamp(left / (2 * workers), least, most);
        col += (left - share < least ? left : share) * unit;
    }
    pieces.count = static_cast<int64_t>(pieces.starts.size());
    return pieces;
}

// Columns that are multiples of both: all of a row, in multiples of `unit`, where that is more.
int64_t common_unit(int64_t unit, int64_t other, int64_t cols) {
    const int64_t common = size_multiple(unit, other);
    return common < cols ? common : divide_up(cols, unit) * unit;
}

// How `expr` is shared out, in columns that are multiples of `unit`.
Pieces cut(const Expr& expr, int64_t unit, const Compute& compute) {
    Pieces pieces;
    const int workers = compute.workers.count();
    const int64_t cols = expr.elements();
    unit = common_unit(unit, expr.granule(), cols);
    if (expr.scans_matrix()) {
        if (expr.rows == 1 ? compute.in_memory : compute.all_held && expr.rows <= kFewRows)
            return taper(cols, unit, expr.weight_bytes(), workers);
        if (expr.rows > 1) unit = common_unit(unit, kStripsTogether * kStripRows, cols);
        const int64_t share = std::min(kMatrixPiece, cols / (workers * 4));
        pieces.rows_each = expr.rows;
        pieces.cols_each = std::max<int64_t>(1, share / unit) * unit;
    } else if (expr.is_heavy()) {
        // Smaller than a bundle only where some workers would get nothing.
        const int64_t bundle = common_unit(unit, expr.bundle(), cols);
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
void share_out(Compute& compute, int64_t count, Evaluate evaluate) {
    auto task = [&scratch = compute.scratch, where = compute.statement, times = compute.times,
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
    if (count > std::numeric_limits<uint32_t>::max())
        fail("{} pieces of work are more than any statement has", count);
    compute.workers.add(count, std::move(task), compute.times);
}

void evaluate_f32(Compute& compute, const ExprPtr& expr, std::byte* data, int64_t stride) {
    const Pieces pieces = cut(*expr, 1, compute);
    share_out(compute, pieces.count, [=](int64_t piece, Scratch& scratch) {
        const Block block = pieces.block(piece, *expr);
        auto* out = reinterpret_cast<float*>(data + block.row * stride) + block.col;
        expr->eval(block, scratch, out, stride / static_cast<int64_t>(sizeof(float)));
    });
}

void evaluate_q8(Compute& compute, const ExprPtr& x, std::byte* data, int64_t stride) {
    const Pieces pieces = cut(*x, kBlock, compute);
    const int64_t blocks = block_count(x->elements());
    share_out(compute, pieces.count, [=](int64_t piece, Scratch& scratch) {
        const Block block = pieces.block(piece, *x);
        const Scratch::Frame frame(scratch);
        float* values = scratch.take(block.rows, block.cols);
        x->eval(block, scratch, values, block.cols);
        for (int64_t r = 0; r < block.rows; ++r)
            kernels().quantize(
                values + r * block.cols, block.cols,
                quantized_row(data + (block.row + r) * stride, blocks, block.col / kBlock));
    });
}

// A tensor may be overwritten by an expression that reads it only at the place being written. What
// counts is all rows of the pass: those of other sequences are read after these are written.
void require_safe_overwrite(const Expr& expr, const TensorPlace& place, const std::byte* data,
                            const RowsAround& around) {
    // Where rows of a tensor lie, counted from the first byte that this statement writes.
    const auto bytes_of = [&](const TensorPlace& of, const std::byte* first, int64_t rows) {
        const int64_t before = around.before * of.choices, after = around.after * of.choices;
        return Strided{(first - data) - before * of.stride, before + rows + after, of.row_bytes(),
                       of.stride};
    };
    const Strided written = bytes_of(place, data, expr.rows);
    expr.visit_tensors([&](const TensorExpr& tensor, Reach reach) {
        const bool same = tensor.data == data && tensor.place.stride == place.stride &&
                          tensor.place.type == place.type &&
                          tensor.place.row_bytes() == place.row_bytes() && reach != Reach::row;
        if (!same && share_bytes(written, bytes_of(tensor.place, tensor.data, tensor.rows)))
            fail(
                "tensor {} '{}' would be overwritten while tensor {} '{}' is still read from the "
                "same place",
                place.id, place.name, tensor.place.id, tensor.place.name);
    });
}

// What the cache gets of each position: a key or a value, head by head.
struct CacheStore {
    ExprPtr expr;
    void (KvCache::*store)(int64_t sequence, int64_t layer, int64_t position, int64_t head,
                           const float* values);
    Pieces pieces;
};

}  // namespace

namespace {

void require_fits(const ExprPtr& expr, const TensorPlace& place, const std::byte* data,
                  const RowsAround& around) {
    if (expr->elements() != place.elements() || expr->rows > place.rows)
        fail("{} does not fit tensor {} '{}', which is {}[{}, {}, {}]", describe_shape(*expr),
             place.id, place.name, name_of(place.type), place.rows, place.heads, place.width);
    const auto* quantize = dynamic_cast<const QuantizeExpr*>(expr.get());
    if ((quantize != nullptr) != (place.type == TensorType::q8))
        fail("tensor {} '{}' is {}, so what is stored in it must {}be llm_quantize(…)", place.id,
             place.name, name_of(place.type), quantize ? "not " : "");
    require_safe_overwrite(*expr, place, data, around);
}

}  // namespace

void evaluate_into(Compute& compute, const ExprPtr& expr, const TensorPlace& place, std::byte* data,
                   const RowsAround& around) {
    require_fits(expr, place, data, around);
    const auto* quantize = dynamic_cast<const QuantizeExpr*>(expr.get());
    if (quantize)
        evaluate_q8(compute, quantize->x, data, place.stride);
    else
        evaluate_f32(compute, expr, data, place.stride);
    compute.weight_bytes += expr->weight_bytes();
}

void require_scan(const Expr& expr, const RecurrentState& state) {
    const auto* scan = dynamic_cast<const ScanExpr*>(&expr);
    if (!scan)
        fail("state {}: what is stored is no scan, an operator that goes on from a state",
             state.id);
    if (scan->state.data != state.data)
        fail("state {} of sequence {}: the scan goes on from state {} of sequence {}", state.id,
             state.sequence, scan->state.id, scan->state.sequence);
}

void require_scan_fits(const ExprPtr& expr, const TensorPlace& place, const std::byte* data,
                       const RowsAround& around) {
    require_fits(expr, place, data, around);
}

int64_t scan_inputs(const Expr& expr) {
    int64_t floats = 0;
    for (const auto& operand : static_cast<const ScanExpr&>(expr).operands())
        floats = size_sum(floats, operand->elements());
    return floats;
}

namespace {

// A few pieces for each worker, so that they end together; each has all rows.
struct ScanPieces {
    int64_t cols = 0, each = 0;  // columns; of a piece
    int64_t count = 0;

    ScanPieces(const Expr& expr, const Compute& compute) : cols(expr.elements()) {
        const int64_t unit = expr.granule(), units = divide_up(cols, unit);
        each = divide_up(units, std::min<int64_t>(units, compute.workers.count() * 4)) * unit;
        count = divide_up(cols, each);
    }
    int64_t first(int64_t piece) const { return piece * each; }
    int64_t columns(int64_t piece) const { return std::min(each, cols - first(piece)); }
};

// A stored tensor that is no row of `tensor`.
struct KeptTensor {
    KeptTensor(const TensorExpr& of, const float* data)
        : place(compact(of)), expr(place, reinterpret_cast<const std::byte*>(data), of.rows) {}

    // Where rows are one after the other.
    static TensorPlace compact(const TensorExpr& of) {
        TensorPlace place = of.place;
        place.rows = of.rows;
        place.stride = place.row_bytes();
        place.slice_of.reset();
        return place;
    }

    const TensorPlace place;
    const TensorExpr expr;
};

// A scan over copies of its operands, which lie one after the other.
std::shared_ptr<const ScanExpr> over_copies(const ScanExpr& scan, const float* data) {
    std::vector<ScanExpr::Stored> copies;
    for (const auto& operand : scan.operands()) {
        const auto kept = std::make_shared<const KeptTensor>(*operand, data);
        copies.emplace_back(kept, &kept->expr);
        data += operand->rows * operand->elements();
    }
    return scan.over(copies);
}

// The piece's share of the operands' columns.
void copy_operands(const ScanExpr& scan, int64_t piece, int64_t pieces, float* to) {
    for (const auto& operand : scan.operands()) {
        const int64_t cols = operand->elements();
        const int64_t first = cols * piece / pieces, end = cols * (piece + 1) / pieces;
        for (int64_t r = 0; r < operand->rows; ++r, to += cols) {
            int64_t stride = 0;
            std::copy_n(operand->direct(r, first, stride), end - first, to + first);
        }
    }
}

}  // namespace

ExprPtr evaluate_scan(Compute& compute, const ExprPtr& expr, const TensorPlace& place,
                      std::byte* data, const RecurrentState& state, const CutRoom& room,
                      const SnapshotRoom& kept) {
    const ScanPieces pieces(*expr, compute);
    const int64_t stride = place.stride / static_cast<int64_t>(sizeof(float));
    ExprPtr again;
    if (room.state) again = over_copies(static_cast<const ScanExpr&>(*expr), room.inputs);
    share_out(compute, pieces.count, [=](int64_t piece, Scratch& scratch) {
        const auto& scan = static_cast<const ScanExpr&>(*expr);
        const int64_t first = pieces.first(piece), count = pieces.columns(piece);
        if (room.state) {
            scan.copy_state(first, count, state.data, room.state);
            copy_operands(scan, piece, pieces.count, room.inputs);
        }
        const auto go = [&](int64_t from, int64_t to) {
            if (from < to)
                scan.scan(first, count, from, from, to, state.data, scratch,
                          reinterpret_cast<float*>(data) + from * stride + first, stride);
        };
        if (kept.state) {
            go(0, kept.rows);
            scan.copy_state(first, count, state.data, kept.state);
        }
        go(kept.rows, scan.rows);
    });
    return again;
}

void evaluate_scan_again(Compute& compute, const ExprPtr& expr, int64_t rows,
                         const RecurrentState& state) {
    const ScanPieces pieces(*expr, compute);
    share_out(compute, pieces.count, [=](int64_t piece, Scratch& scratch) {
        static_cast<const ScanExpr&>(*expr).scan(pieces.first(piece), pieces.columns(piece), 0,
                                                 rows, rows, state.data, scratch, nullptr, 0);
    });
}

void evaluate_into_cache(Compute& compute, const ExprPtr& k, const ExprPtr& v, KvCache& cache,
                         int64_t sequence, int64_t layer, int64_t position) {
    if (layer < 0 || layer >= static_cast<int64_t>(cache.layers().size()))
        fail("there is no cache layer {}: the plan declares {}", layer, cache.layers().size());
    const KvLayer& shape = cache.layers()[static_cast<size_t>(layer)];
    if (shape.shared != !v)
        fail("cache layer {} has {}", layer,
             v ? "keys of which the first elements are the values, so no v"
               : "keys and values, so both must be stored");
    for (const ExprPtr& part : {k, v}) {
        if (!part) continue;
        if (is_outermost(*part))
            fail(
                "keys and values must not be llm_quantize(…) or llm_concat(…): the cache has a "
                "type of its own");
        if (part->elements() != shape.heads * shape.width || part->rows != k->rows)
            fail("{} does not fit cache layer {}, which takes f32[{}, {}, {}]",
                 describe_shape(*part), layer, k->rows, shape.heads, shape.width);
    }
    // A sequence that is new gets its memory, which nobody may look for meanwhile.
    if (position == 0) compute.workers.wait();
    cache.append(sequence, layer, position, k->rows);
    const std::array both{
        CacheStore{k, &KvCache::store_key, cut(*k, shape.width, compute)},
        CacheStore{v, &KvCache::store_value, v ? cut(*v, shape.width, compute) : Pieces{}}};
    const int64_t count = both[0].pieces.count + both[1].pieces.count;
    share_out(compute, count, [=, &cache, width = shape.width](int64_t piece, Scratch& scratch) {
        const int64_t keys = both[0].pieces.count;
        const auto& [expr, store, pieces] = both[piece < keys ? 0 : 1];
        const Block block = pieces.block(piece < keys ? piece : piece - keys, *expr);
        const Scratch::Frame frame(scratch);
        float* values = scratch.take(block.rows, block.cols);
        expr->eval(block, scratch, values, block.cols);
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; c += width)
                (cache.*store)(sequence, layer, position + block.row + r, (block.col + c) / width,
                               values + r * block.cols + c);
    });
    compute.weight_bytes += k->weight_bytes() + (v ? v->weight_bytes() : 0);
}

std::vector<float> evaluate_to_vector(const ExprPtr& expr) {
    const auto* quantize = dynamic_cast<const QuantizeExpr*>(expr.get());
    const Expr& values = quantize ? *quantize->x : *expr;
    const int64_t floats = size_product(values.rows, values.elements());
    if (floats == kTooLarge) throw std::bad_alloc();
    std::vector<float> out(static_cast<size_t>(floats));
    Scratch scratch;
    const Block whole{0, values.rows, 0, values.elements()};
    values.eval(whole, scratch, out.data(), values.elements());
    return out;
}

}  // namespace llmsql
