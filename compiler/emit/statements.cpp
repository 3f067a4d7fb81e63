// SPDX-License-Identifier: MIT
// The SQL of one statement. See statements.h.
#include "compiler/emit/statements.h"

#include <fmt/core.h>

#include <cstdlib>
#include <map>

#include "compiler/emit/sql_text.h"
#include "compiler/ir/text.h"

namespace llmsql::compiler {
namespace {

constexpr size_t kLineWidth = 100;

class Writer {
  public:
    Writer(const Plan& plan, const std::vector<Param>& params, const PlanInsert& statement)
        : plan_(plan), params_(params), statement_(statement) {
        name_tensors(statement.data);
        name_tensors(statement.values);
        name_params(statement.data);
    }

    std::string run() {
        std::string sql;
        if (statement_.appends()) {
            sql = "INSERT INTO kv(sequence, layer, position, k, v)\n";
            const std::string k = text(statement_.data), v = text(statement_.values);
            sql += fmt::format("SELECT :sequence, {}, :position, {}, {}\n", statement_.cache, k, v);
        } else {
            sql = "INSERT INTO slot(id, data)\n";
            sql += fmt::format("SELECT {}, {}\n", statement_.target, text(statement_.data));
        }
        if (!statement_.appends() && statement_.cache >= 0) {
            from_.push_back("kv");
            where_.push_back("kv.sequence = :sequence");
            where_.push_back(fmt::format("kv.layer = {}", statement_.cache));
            if (window_ > 0)
                where_.push_back(
                    fmt::format("kv.position > :position - {}", window_ + kKvBlock - 1));
        }
        const std::string from = "FROM " + join(from_, ", ");
        const std::string where = "WHERE " + join(where_, " AND ");
        const bool fits = from.size() + where.size() < kLineWidth;
        return sql + from + (fits ? " " : "\n") + where + ";\n";
    }

  private:
    static std::string join(const std::vector<std::string>& parts, const char* between) {
        std::string text;
        for (const std::string& part : parts) text += (text.empty() ? "" : between) + part;
        return text;
    }

    void name_tensors(const PlanExpr& e) {
        if (e.kind == PlanExpr::Kind::tensor && !tensors_.contains(e.id)) {
            const std::string alias = tensors_[e.id] = aliases_.pick(plan_.tensor(e.id).name);
            from_.push_back("tensor " + alias);
            where_.push_back(fmt::format("{}.id = {}", alias, e.id));
        }
        for (const PlanExpr& arg : e.args) name_tensors(arg);
    }

    // A single weight is w and its bias b; several are called as the graph file calls them.
    void name_params(const PlanExpr& e) {
        if (const PlanExpr* choice = choice_in(e)) return name_table(*choice);
        std::vector<const PlanExpr*> found;
        collect_params(e, found);
        collect_params(statement_.values, found);
        const bool single = found.size() == 1 || (found.size() == 2 && biased(statement_.data));
        for (size_t i = 0; i < found.size(); ++i) {
            const PlanExpr& param = *found[i];
            if (params_named_.contains(param.id)) continue;
            const std::string name = last_name(params_[static_cast<size_t>(param.id - 1)]);
            const std::string alias = aliases_.pick(single ? (i == 0 ? "w" : "b") : name);
            params_named_[param.id] = alias;
            from_.push_back("param " + alias);
            if (param.last == param.id)
                where_.push_back(fmt::format("{}.id = {}", alias, param.id));
            else if (i == 0)
                where_.push_back(
                    fmt::format("{}.id BETWEEN {} AND {}", alias, param.id, param.last));
            else  // the biases of a range of weights walk along with it
                where_.push_back(fmt::format(
                    "{}.id = {}.id {} {}", alias, params_named_.at(found[0]->id),
                    param.id > found[0]->id ? '+' : '-', std::abs(param.id - found[0]->id)));
        }
    }

    static const PlanExpr* choice_in(const PlanExpr& e) {
        if (e.kind == PlanExpr::Kind::call && e.op->locality == Locality::choice) return &e;
        for (const PlanExpr& arg : e.args)
            if (const PlanExpr* found = choice_in(arg)) return found;
        return nullptr;
    }

    // The matrices of a table that a tensor of shares chooses.
    void name_table(const PlanExpr& choice) {
        chosen_ = aliases_.pick("c");
        from_.push_back("chosen " + chosen_);
        where_.push_back(fmt::format("{}.id = {}", chosen_, choice.args[2].id));
        const PlanExpr& table = choice.args[1];
        const std::string alias =
            aliases_.pick(last_name(params_[static_cast<size_t>(table.id - 1)]));
        params_named_[table.id] = alias;
        from_.push_back("param " + alias);
        where_.push_back(fmt::format("{}.id = {}.item + {}", alias, chosen_, table.id));
    }

    static void collect_params(const PlanExpr& e, std::vector<const PlanExpr*>& found) {
        if (e.kind == PlanExpr::Kind::param) found.push_back(&e);
        for (const PlanExpr& arg : e.args) collect_params(arg, found);
    }

    // Whether a linear with a bias is somewhere in the expression.
    static bool biased(const PlanExpr& e) {
        if (e.calls("linear")) return e.args.size() == 3;
        for (const PlanExpr& arg : e.args)
            if (biased(arg)) return true;
        return false;
    }

    std::string text(const PlanExpr& e) {
        switch (e.kind) {
            case PlanExpr::Kind::tensor:
                return tensors_.at(e.id) + ".data";
            case PlanExpr::Kind::param:
                return params_named_.at(e.id) + ".data";
            case PlanExpr::Kind::number:
                return real_text(e.number);
            case PlanExpr::Kind::call:
                break;
        }
        std::vector<std::string> args;
        for (const PlanExpr& arg : e.args) args.push_back(text(arg));
        if (e.calls("embed")) args.push_back(":tokens");
        if (e.calls("rope")) args.insert(args.begin() + 1, ":position");
        if (e.calls("top")) args[1] = fmt::format("{:.0f}", e.args[1].number);
        if (e.op->locality == Locality::choice) {
            if (args.size() > 3) args[3] = fmt::format("{:.0f}", e.args[3].number);
            std::swap(args[1], args[2]);
            args.insert(args.begin() + 2, chosen_ + ".item");
        }
        if (e.calls("llm_rows")) args.insert(args.end(), {":first", ":rows"});
        if (e.calls("attention")) {
            args.pop_back();
            args.insert(args.begin() + 1, {"kv.k", "kv.v", "kv.position", ":position"});
            window_ = static_cast<int64_t>(e.args[2].number);
            if (window_ > 0) args.push_back(std::to_string(window_));
        }
        return fmt::format("{}({})", e.op->sql, join(args, ", "));
    }

    const Plan& plan_;
    const std::vector<Param>& params_;
    const PlanInsert& statement_;
    Aliases aliases_;
    std::map<int, std::string> tensors_, params_named_;  // alias by id
    std::vector<std::string> from_, where_;
    std::string chosen_;  // the alias of `chosen`, if it is joined
    int64_t window_ = 0;
};

}  // namespace

std::string statement_sql(const Plan& plan, const std::vector<Param>& params,
                          const PlanInsert& statement) {
    return Writer(plan, params, statement).run();
}

}  // namespace llmsql::compiler
