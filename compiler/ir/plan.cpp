// SPDX-License-Identifier: MIT
// Expressions and tensors of a plan. See plan.h.
#include "compiler/ir/plan.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "compiler/check/signature.h"

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

PlanExpr PlanExpr::state(int id) {
    PlanExpr e;
    e.kind = Kind::state;
    e.id = id;
    return e;
}

int PlanExpr::state_id() const {
    const auto found = std::ranges::find(args, Kind::state, &PlanExpr::kind);
    return is_call() && found != args.end() ? found->id : -1;
}

PlanExpr PlanExpr::constant(double number) {
    PlanExpr e;
    e.number = number;
    return e;
}

PlanExpr PlanExpr::absent() {
    PlanExpr e;
    e.kind = Kind::absent;
    return e;
}

const PlanExpr* PlanExpr::argument(std::string_view parameter) const {
    size_t at = 0;
    for (const SignatureParam& param : signature_of(*op).params) {
        if (is_supplied(*op, param.name)) continue;
        if (at == args.size()) break;
        if (param.name == parameter) return &args[at];
        ++at;
    }
    return nullptr;
}

const PlanExpr& PlanExpr::weight() const {
    const auto found = std::ranges::find(args, Kind::param, &PlanExpr::kind);
    if (found == args.end()) fail("operator table: {} has no parameter", op->name);
    return *found;
}

int64_t PlanTensor::row_bytes() const {
    if (type == TensorType::f32) return shape.elements() * 4;
    return static_cast<int64_t>(tensor_row_bytes(type, shape.elements()));
}

int64_t Plan::snapshot_bytes() const {
    constexpr int64_t kPage = 4096;
    int64_t bytes = 0;
    for (const PlanRecurrent& state : states) bytes += state.bytes();
    return (bytes + kPage - 1) / kPage * kPage;
}

int64_t Plan::used_by(const PlanExpr& choice) const {
    if (choice.op->choices == Choices::made)
        return static_cast<int64_t>(choice.argument("u")->number);
    return tensor(choice.args.at(0).id).choices;
}

}  // namespace llmsql::compiler
