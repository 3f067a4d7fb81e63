// Operators for people: llm_shape and llm_stats over tensors and parameters.
#include <algorithm>
#include <cmath>

#include "runtime/ops/evaluate.h"
#include "runtime/ops/functions.h"

namespace llmsql {
namespace {

constexpr int64_t kMostValues = 1 << 28;  // 1 GiB of them

}  // namespace

std::string op_shape(const Arguments& arguments) {
    if (const Weight* weight = arguments.find_weight(0)) return describe(weight->entry);
    return describe_shape(*arguments.any_tensor(0));
}

std::string op_stats(const Arguments& arguments) {
    const ExprPtr expr = arguments.any_tensor(0);
    if (dynamic_cast<const ConcatExpr*>(expr.get()))
        arguments.refuse("give it the stored tensor instead");
    if (expr->rows > kMostValues / expr->elements())
        arguments.refuse("it has too many values to look at: store it in a tensor first");
    const std::vector<float> values = evaluate_to_vector(expr);
    double sum = 0, squares = 0;
    for (const float value : values) {
        sum += value;
        squares += static_cast<double>(value) * value;
    }
    const auto [low, high] = std::ranges::minmax_element(values);
    const auto n = static_cast<double>(values.size());
    std::string first;
    for (size_t i = 0; i < std::min<size_t>(8, values.size()); ++i)
        first += fmt::format("{}{}", i ? "," : "", values[i]);
    return fmt::format(R"({{"shape":"{}","min":{},"max":{},"mean":{},"rms":{},"first":[{}]}})",
                       describe_shape(*expr), *low, *high, sum / n, std::sqrt(squares / n), first);
}

}  // namespace llmsql
