// SPDX-License-Identifier: MIT
// The comment above each statement. See statements.h.
#include <fmt/core.h>

#include "common/error.h"
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
            case PlanExpr::Kind::param:
                return param(e);
            case PlanExpr::Kind::call:
                break;
        }
        if (e.calls("llm_concat")) return text(e.args[0]);
        if (e.calls("llm_quantize") && e.args[0].kind == PlanExpr::Kind::call &&
            !e.args[0].calls("llm_rows"))
            return text(e.args[0]);
        if (e.calls("add")) return fmt::format("{} + {}", text(e.args[0]), text(e.args[1]));
        if (e.calls("mul") || e.calls("scale"))
            return fmt::format("{} * {}", factor(e.args[0]), factor(e.args[1]));
        if (e.calls("attention")) return attention(e);
        if (e.calls("embed")) return fmt::format("embed({}, tokens)", text(e.args[0]));
        // Epsilons and rope bases stand in the SQL below.
        std::string list;
        for (const PlanExpr& arg : e.args)
            if (arg.kind != PlanExpr::Kind::number) list += (list.empty() ? "" : ", ") + text(arg);
        const std::string_view name = e.op->name.empty() ? e.op->sql.substr(4) : e.op->name;
        return fmt::format("{}({})", name, list);
    }

  private:
    std::string factor(const PlanExpr& e) const {
        return e.calls("add") ? fmt::format("({})", text(e)) : text(e);
    }

    std::string param(const PlanExpr& e) const {
        const auto name = [&](int id) { return last_name(params_[static_cast<size_t>(id - 1)]); };
        return e.id == e.last || params_[static_cast<size_t>(e.id - 1)].item >= 0
                   ? name(e.id)
                   : name(e.id) + " … " + name(e.last);
    }

    std::string attention(const PlanExpr& e) const {
        const double window = e.args[2].number;
        return fmt::format("attention({}, cache {}{})", text(e.args[0]), statement_.cache,
                           window > 0 ? fmt::format(", window {:.0f}", window) : "");
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
        return one_line(fmt::format("cache {}: {}, {}  {}{}", statement.cache,
                                    formula.text(statement.data), formula.text(statement.values),
                                    name_of(plan.kv), shape_text(rows, cache.heads, cache.width)));
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
