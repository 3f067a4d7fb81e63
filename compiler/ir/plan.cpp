// SPDX-License-Identifier: MIT
// Expressions and tensors of a plan. See plan.h.
#include "compiler/ir/plan.h"

#include <utility>

namespace llmsql::compiler {

PlanExpr PlanExpr::call(const Operator* op, std::vector<PlanExpr> args) {
    PlanExpr e;
    e.kind = Kind::call;
    e.op = op;
    e.args = std::move(args);
    return e;
}

PlanExpr PlanExpr::tensor(int id) {
    PlanExpr e;
    e.kind = Kind::tensor;
    e.id = id;
    return e;
}

PlanExpr PlanExpr::param(int first, int last) {
    PlanExpr e;
    e.kind = Kind::param;
    e.id = first;
    e.last = last;
    return e;
}

PlanExpr PlanExpr::constant(double number) {
    PlanExpr e;
    e.number = number;
    return e;
}

bool PlanExpr::calls(std::string_view name) const {
    return kind == Kind::call && (op->name.empty() ? op->sql : op->name) == name;
}

int64_t PlanTensor::row_bytes() const {
    if (type == TensorType::f32) return shape.elements() * 4;
    return static_cast<int64_t>(tensor_row_bytes(type, shape.elements()));
}

int64_t Plan::used_by(const PlanExpr& choice) const {
    if (choice.calls("linear_each")) return static_cast<int64_t>(choice.args.at(3).number);
    return tensor(choice.args.at(0).id).choices;
}

}  // namespace llmsql::compiler
