// SPDX-License-Identifier: MIT
// Operators about where values lie: quantize, concat, rows. The compiler writes them.
#include "runtime/compute/functions.h"

namespace llmsql {
namespace {

class Concat final : public Aggregate {
  public:
    void step(const Arguments& row) override {
        ExprPtr part = row.tensor(0);
        if (parts_.size() == kMostParts)
            row.refuse(fmt::format("more than {} parts side by side", kMostParts));
        if (!parts_.empty() && part->rows != parts_.front()->rows)
            row.refuse("the parts have different numbers of tokens");
        parts_.push_back(std::move(part));
    }
    ExprPtr finish() override {
        if (parts_.empty()) fail("llm_concat: no row was selected");
        return std::make_shared<ConcatExpr>(std::move(parts_));
    }

  private:
    static constexpr size_t kMostParts = 256;
    std::vector<ExprPtr> parts_;
};

ExprPtr op_quantize(OperatorState&, const Arguments& arguments) {
    return std::make_shared<QuantizeExpr>(arguments.tensor(0));
}

ExprPtr op_rows(OperatorState&, const Arguments& arguments) {
    const auto x = std::dynamic_pointer_cast<const TensorExpr>(arguments.tensor(0));
    if (!x) arguments.refuse("argument 1 must be a stored tensor");
    const int64_t first = arguments.integer(1), rows = arguments.integer(2);
    if (first < 0 || rows < 1 || first > x->rows - rows)
        arguments.refuse(
            fmt::format("{} rows from row {} on of {}", rows, first, describe_shape(*x)));
    return std::make_shared<TensorExpr>(x->place, x->row_data(first), rows);
}

std::unique_ptr<Aggregate> op_concat() {
    return std::make_unique<Concat>();
}

}  // namespace

std::span<const OperatorFunction> place_functions() {
    static constexpr OperatorFunction kFunctions[] = {
        {.sql = "llm_quantize", .scalar = op_quantize},
        {.sql = "llm_concat", .aggregate = op_concat},
        {.sql = "llm_rows", .scalar = op_rows},
    };
    return kFunctions;
}

}  // namespace llmsql
