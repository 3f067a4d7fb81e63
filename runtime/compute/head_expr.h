// SPDX-License-Identifier: MIT
// What head operators have in common: they go by the last dimension of each token and head.
#pragma once

#include <utility>

#include "runtime/compute/arguments.h"

namespace llmsql {

/// Whole heads, read at the place where they are written.
class HeadExpr : public UnaryExpr {
  public:
    using UnaryExpr::UnaryExpr;
    int64_t granule() const override { return size_multiple(x->granule(), width); }
    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const override {
        x->visit_tensors([&](const TensorExpr& tensor, Reach reach) {
            visit(tensor, reach == Reach::element ? Reach::head : reach);
        });
    }
};

inline void require_no_matrix(const Arguments& arguments, const Expr& x) {
    if (x.scans_matrix() || x.is_heavy())
        arguments.refuse("its operand must not hold llm_linear or llm_attention: store that first");
}

}  // namespace llmsql
