// SPDX-License-Identifier: MIT
// The nodes that every operator family shares. See expr.h.
#include "runtime/compute/expr.h"

#include <algorithm>

#include "common/error.h"

namespace llmsql {
namespace {

constexpr int64_t kMostNodes = 1000;  // the compiler stores a value after 16

int64_t total_nodes(const std::vector<ExprPtr>& parts) {
    int64_t sum = 1;
    for (const ExprPtr& part : parts) sum = size_sum(sum, part->nodes);
    return sum;
}

int64_t total_elements(const std::vector<ExprPtr>& parts) {
    int64_t sum = 0;
    for (const ExprPtr& part : parts) sum = size_sum(sum, part->elements());
    return sum;
}

}  // namespace

Expr::Expr(int64_t rows, int64_t heads, int64_t width, int64_t nodes)
    : rows(rows), heads(heads), width(width), nodes(nodes) {
    if (nodes > kMostNodes)
        fail("an expression of more than {} operators: store a part of it in a tensor first",
             kMostNodes);
}

void TensorExpr::eval(const Block& block, Scratch&, float* out, int64_t out_stride) const {
    for (int64_t r = 0; r < block.rows; ++r) {
        const std::byte* row = row_data(block.row + r);
        float* to = out + r * out_stride;
        if (place.type == TensorType::f32) {
            std::copy_n(reinterpret_cast<const float*>(row) + block.col, block.cols, to);
            continue;
        }
        const auto* codes = reinterpret_cast<const int8_t*>(row);
        const auto* scales = reinterpret_cast<const float*>(row + block_count(elements()) * kBlock);
        for (int64_t c = 0; c < block.cols; ++c) {
            const int64_t col = block.col + c;
            to[c] = scales[col / kBlock] * static_cast<float>(codes[col]);
        }
    }
}

const float* TensorExpr::direct(int64_t row, int64_t col, int64_t& stride) const {
    if (place.type != TensorType::f32) return nullptr;
    stride = place.stride / static_cast<int64_t>(sizeof(float));
    return reinterpret_cast<const float*>(row_data(row)) + col;
}

void QuantizeExpr::eval(const Block&, Scratch&, float*, int64_t) const {
    fail("llm_quantize must stand outermost in an expression that is stored in a q8 tensor");
}

ConcatExpr::ConcatExpr(std::vector<ExprPtr> parts)
    : Expr(parts.front()->rows, 1, total_elements(parts), total_nodes(parts)),
      parts(std::move(parts)) {}

uint64_t ConcatExpr::weight_bytes() const {
    uint64_t bytes = 0;
    for (const ExprPtr& part : parts) bytes += part->weight_bytes();
    return bytes;
}

int64_t ConcatExpr::granule() const {
    int64_t common = 1, first = 0;
    for (const ExprPtr& part : parts) common = size_multiple(common, part->granule());
    if (common >= elements()) return elements();
    for (const ExprPtr& part : parts) {
        if (first % common != 0) return elements();  // a part would be begun within a granule
        first += part->elements();
    }
    return common;
}

void ConcatExpr::eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const {
    int64_t first = 0;  // of a part's columns
    for (const ExprPtr& part : parts) {
        const int64_t begin = std::max(block.col, first);
        const int64_t end = std::min(block.col + block.cols, first + part->elements());
        if (begin < end)
            part->eval({block.row, block.rows, begin - first, end - begin}, scratch,
                       out + (begin - block.col), out_stride);
        first += part->elements();
    }
}

void ConcatExpr::visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const {
    for (const ExprPtr& part : parts)
        part->visit_tensors([&](const TensorExpr& tensor, Reach) { visit(tensor, Reach::row); });
}

bool is_outermost(const Expr& expr) {
    return dynamic_cast<const QuantizeExpr*>(&expr) || dynamic_cast<const ConcatExpr*>(&expr);
}

std::string describe_shape(const Expr& expr) {
    const auto* tensor = dynamic_cast<const TensorExpr*>(&expr);
    const bool quantized = dynamic_cast<const QuantizeExpr*>(&expr) != nullptr ||
                           (tensor && tensor->place.type == TensorType::q8);
    const char* type = quantized ? "q8" : "f32";
    if (expr.heads == 1) return fmt::format("{}[{}, {}]", type, expr.rows, expr.width);
    return fmt::format("{}[{}, {}, {}]", type, expr.rows, expr.heads, expr.width);
}

}  // namespace llmsql
