// SPDX-License-Identifier: MIT
// Operators for people: llm_shape and llm_stats over tensors and parameters.
#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "runtime/compute/evaluate.h"
#include "runtime/compute/functions.h"

namespace llmsql {
namespace {

constexpr int64_t kMostValues = 1 << 28;
constexpr int64_t kValuesAtOnce = 1 << 16;  // values, and scratch for each operator
constexpr int64_t kMostAtOnce = 1 << 24;    // where an operator needs a whole head
constexpr int64_t kRowsOfMatrix = 32;       // a matrix is read once for so many rows

struct Stats {
    double sum = 0, squares = 0;
    float low = 0, high = 0;
    std::string first;
};

// Row by row, in the order of the columns, some at a time.
Stats look_at(const Arguments& arguments, const Expr& values, const std::function<void()>& pulse) {
    const int64_t elements = values.elements(), granule = values.granule();
    int64_t rows_each = std::max<int64_t>(1, kValuesAtOnce / elements);
    if (values.scans_matrix())
        rows_each = std::max(rows_each, std::min(kRowsOfMatrix, kMostAtOnce / elements));
    const bool whole_rows = values.scans_matrix() || elements <= kValuesAtOnce;
    const int64_t cols_each =
        whole_rows ? elements : std::max<int64_t>(1, kValuesAtOnce / granule) * granule;
    if (std::min(cols_each, elements) > kMostAtOnce)
        arguments.refuse("its heads are too wide to look at: store it in a tensor first");
    Stats stats;
    int64_t seen = 0;
    std::vector<float> out;
    Scratch scratch;
    for (int64_t row = 0; row < values.rows; row += rows_each)
        for (int64_t col = 0; col < elements; col += cols_each) {
            pulse();
            const Block block{row, std::min(rows_each, values.rows - row), col,
                              std::min(cols_each, elements - col)};
            out.resize(static_cast<size_t>(block.rows * block.cols));
            values.eval(block, scratch, out.data(), block.cols);
            for (const float value : out) {
                if (seen < 8) stats.first += fmt::format("{}{}", seen ? "," : "", value);
                // As std::minmax_element has it: of equals the first lowest and the last highest.
                if (seen == 0 || value < stats.low) stats.low = value;
                if (seen == 0 || value >= stats.high) stats.high = value;
                stats.sum += value;
                stats.squares += static_cast<double>(value) * value;
                ++seen;
            }
        }
    return stats;
}

std::string op_shape(OperatorState&, const Arguments& arguments) {
    if (const Weight* weight = arguments.find_weight(0)) return describe(weight->entry);
    return describe_shape(*arguments.any_tensor(0));
}

std::string op_stats(OperatorState& state, const Arguments& arguments) {
    const ExprPtr expr = arguments.any_tensor(0);
    if (dynamic_cast<const ConcatExpr*>(expr.get()))
        arguments.refuse("give it the stored tensor instead");
    if (expr->rows > kMostValues / expr->elements())
        arguments.refuse("it has too many values to look at: store it in a tensor first");
    const auto* quantize = dynamic_cast<const QuantizeExpr*>(expr.get());
    const Expr& values = quantize ? *quantize->x : *expr;
    const Stats stats = look_at(arguments, values, state.pulse);
    const auto n = static_cast<double>(values.rows * values.elements());
    return fmt::format(R"({{"shape":"{}","min":{},"max":{},"mean":{},"rms":{},"first":[{}]}})",
                       describe_shape(*expr), stats.low, stats.high, stats.sum / n,
                       std::sqrt(stats.squares / n), stats.first);
}

}  // namespace

std::span<const OperatorFunction> inspect_functions() {
    static constexpr OperatorFunction kFunctions[] = {
        {.sql = "llm_shape", .inspect = op_shape},
        {.sql = "llm_stats", .inspect = op_stats},
    };
    return kFunctions;
}

}  // namespace llmsql
