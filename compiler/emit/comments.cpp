// SPDX-License-Identifier: MIT
// The comment above each statement. See statements.h.
#include <fmt/core.h>

#include "common/error.h"
#include "compiler/check/signature.h"
#include "compiler/emit/sql_text.h"
#include "compiler/emit/statements.h"
#include "compiler/ir/text.h"

namespace llmsql::compiler {
namespace {

class Formula {
  public:
    Formula(const Plan& plan, const std::vector<Param>& params, const PlanInsert& statement)
        : plan_(plan), params_(params), statement_(statement) {}

    std::string text(const PlanExpr& e) const {
        switch (e.kind) {
            case PlanExpr::Kind::tensor:
                return plan_.tensor(e.id).name;
            case PlanExpr::Kind::number:
                return real_text(e.number);
            case PlanExpr::Kind::state:
                return plan_.states[static_cast<size_t>(e.id)].name;
            case PlanExpr::Kind::param:
                return param(e);
            case PlanExpr::Kind::absent:
                return "-";
            case PlanExpr::Kind::call:
                break;
        }
        if (e.wraps(Wrap::joins)) return text(e.args[0]);
        if (e.wraps(Wrap::stores_q8) && e.args[0].is_call() && !e.args[0].wraps(Wrap::picks_rows))
            return text(e.args[0]);
        if (!e.op->infix.empty())
            return fmt::format("{} {} {}", operand(e, 0), e.op->infix, operand(e, 1));
        return fmt::format("{}({})", e.op->name.empty() ? e.op->sql.substr(4) : e.op->name,
                           list(e));
    }

  private:
    // In brackets where it is a sum in a product.
    std::string operand(const PlanExpr& e, size_t index) const {
        const PlanExpr& arg = e.args[index];
        const bool looser = arg.is_call() && arg.op->infix == "+" && e.op->infix != "+";
        return looser ? fmt::format("({})", text(arg)) : text(arg);
    }

    // Epsilons and rope bases stand in the SQL below; what a cache holds is called by its number.
    std::string list(const PlanExpr& e) const {
        std::string text;
        bool cache = false;
        const auto add = [&](const std::string& one) { text += (text.empty() ? "" : ", ") + one; };
        for (const SignatureParam& param : signature_of(*e.op).params) {
            const PlanExpr* arg = e.argument(param.name);
            if (param.kind == SignatureParam::Kind::tokens)
                add(param.name);
            else if (param.kind == SignatureParam::Kind::tensor && !arg && !cache)
                add(fmt::format("cache {}", statement_.cache)), cache = true;
            else if (arg && arg->kind == PlanExpr::Kind::absent)
                continue;
            else if (arg && arg->kind != PlanExpr::Kind::number)
                add(this->text(*arg));
            else if (arg && param.name == e.op->looks_back && arg->number > 0)
                add(fmt::format("{} {:.0f}", param.name, arg->number));
        }
        return text;
    }

    std::string param(const PlanExpr& e) const {
        const auto name = [&](int id) { return last_name(params_[static_cast<size_t>(id - 1)]); };
        return e.id == e.last || params_[static_cast<size_t>(e.id - 1)].item >= 0
                   ? name(e.id)
                   : name(e.id) + " … " + name(e.last);
    }

    const Plan& plan_;
    const std::vector<Param>& params_;
    const PlanInsert& statement_;
};

bool reads_place_of(const Plan& plan, const PlanExpr& e, const PlanTensor& target) {
    if (e.kind == PlanExpr::Kind::tensor) {
        const PlanTensor& read = plan.tensor(e.id);
        return read.offset == target.offset && read.type == target.type;
    }
    for (const PlanExpr& arg : e.args)
        if (reads_place_of(plan, arg, target)) return true;
    return false;
}

}  // namespace

std::string statement_comment(const Plan& plan, const std::vector<Param>& params,
                              const PlanInsert& statement, std::string_view rows) {
    const Formula formula(plan, params, statement);
    if (statement.appends()) {
        const PlanCache& cache = plan.caches[static_cast<size_t>(statement.cache)];
        const std::string values =
            cache.shared ? "" : fmt::format(", {}", formula.text(statement.values));
        return one_line(fmt::format("cache {}: {}{}  {}{}", statement.cache,
                                    formula.text(statement.data), values, name_of(plan.kv),
                                    shape_text(rows, cache.heads, cache.width)));
    }
    const PlanTensor& target = plan.tensor(statement.target);
    return one_line(fmt::format(
        "{} = {}  {}{}{}", target.name, formula.text(statement.data), name_of(target.type),
        shape_text(
            target.choices > 1 ? fmt::format("{}*{}", rows, target.choices) : std::string(rows),
            target.shape.heads, target.shape.width),
        reads_place_of(plan, statement.data, target) ? ", in place" : ""));
}

}  // namespace llmsql::compiler
