// SPDX-License-Identifier: MIT
// The SQL of one statement. See statements.h.
#include "compiler/emit/statements.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>

#include "common/error.h"
#include "compiler/check/signature.h"
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
            const bool shared = statement_.values.kind == PlanExpr::Kind::absent;
            std::string stored = text(statement_.data);
            if (!shared) stored += ", " + text(statement_.values);
            sql = fmt::format("INSERT INTO kv(sequence, layer, position, k{})\n",
                              shared ? "" : ", v");
            sql += fmt::format("SELECT :sequence, {}, :position, {}\n", statement_.cache, stored);
        } else if (const int state = statement_.data.state_id(); state >= 0) {
            sql = "INSERT INTO scan(id, state, sequence, position, data)\n";
            sql += fmt::format("SELECT {}, {}, :sequence, :position, {}\n", statement_.target,
                               state, text(statement_.data));
        } else {
            sql = "INSERT INTO slot(id, data)\n";
            sql += fmt::format("SELECT {}, {}\n", statement_.target, text(statement_.data));
        }
        if (!statement_.appends() && statement_.cache >= 0) {
            from_.push_back("kv");
            where_.push_back("kv.sequence = :sequence");
            where_.push_back(fmt::format("kv.layer = {}", statement_.cache));
            if (const int64_t window = looks_back(statement_.data); window > 0)
                where_.push_back(
                    fmt::format("kv.position > :position - {}", window + kKvBlock - 1));
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
        if (e.kind == PlanExpr::Kind::state) {
            state_ = aliases_.pick("s");
            from_.push_back("state " + state_);
            where_.push_back(
                fmt::format("{}.id = {} AND {}.sequence = :sequence", state_, e.id, state_));
        }
    }

    // A single weight is w and its bias b; several are called as the graph file calls them.
    void name_params(const PlanExpr& e) {
        if (const PlanExpr* choice = choice_in(e)) return name_table(*choice);
        std::vector<const PlanExpr*> found;
        collect_params(e, found);
        collect_params(statement_.values, found);
        const bool single = found.size() == 1 || (found.size() == 2 && scans_two(statement_.data));
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
        if (e.chooses()) return &e;
        for (const PlanExpr& arg : e.args)
            if (const PlanExpr* found = choice_in(arg)) return found;
        return nullptr;
    }

    // The matrices of a table that a tensor of shares chooses.
    void name_table(const PlanExpr& choice) {
        chosen_ = aliases_.pick("c");
        from_.push_back("chosen " + chosen_);
        where_.push_back(fmt::format("{}.id = {}", chosen_, choice.argument("choice")->id));
        const PlanExpr& table = choice.weight();
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

    // Whether something in the expression scans a matrix and takes a second parameter, its bias.
    static bool scans_two(const PlanExpr& e) {
        if (e.scans())
            return std::ranges::count(e.args, PlanExpr::Kind::param, &PlanExpr::kind) == 2;
        return std::ranges::any_of(e.args, scans_two);
    }

    // How many positions the expression looks back on, 0 for all.
    static int64_t looks_back(const PlanExpr& e) {
        if (e.is_call() && !e.op->looks_back.empty())
            return static_cast<int64_t>(e.argument(e.op->looks_back)->number);
        int64_t most = 0;
        for (const PlanExpr& arg : e.args) most = std::max(most, looks_back(arg));
        return most;
    }

    std::string text(const PlanExpr& e) const {
        switch (e.kind) {
            case PlanExpr::Kind::tensor:
                return tensors_.at(e.id) + ".data";
            case PlanExpr::Kind::param:
                return params_named_.at(e.id) + ".data";
            case PlanExpr::Kind::state:
                return state_ + ".data";
            case PlanExpr::Kind::number:
                return real_text(e.number);
            case PlanExpr::Kind::absent:
                return "NULL";
            case PlanExpr::Kind::call:
                break;
        }
        // The form of the operator table, filled in; without what may be left out at its end.
        std::vector<Written> written;
        for (const FormArgument& argument : form_of(*e.op)) written.push_back(text(e, argument));
        while (!written.empty() && written.back().idle) written.pop_back();
        std::string args;
        for (const Written& each : written) args += (args.empty() ? "" : ", ") + each.text;
        return fmt::format("{}({})", e.op->sql, args);
    }

    // An argument, and whether it may be left out where nothing follows: it is optional and not
    // given, or what it would be anyway.
    struct Written {
        std::string text;
        bool idle = false;
    };

    Written text(const PlanExpr& call, const FormArgument& argument) const {
        switch (argument.source) {
            case FormArgument::Source::pass:
                return {fmt::format(":{}", argument.name)};
            case FormArgument::Source::cache:
                return {fmt::format("kv.{}", argument.name)};
            case FormArgument::Source::chosen:
                return {fmt::format("{}.{}", chosen_, argument.name)};
            case FormArgument::Source::operand:
                break;
        }
        const PlanExpr* given = call.argument(argument.name);
        if (!given) {
            if (argument.optional) return {"NULL", true};
            fail("operator table: {} is written with {}, which it is not given", call.op->sql,
                 argument.name);
        }
        if (given->kind != PlanExpr::Kind::number)
            return {text(*given), given->kind == PlanExpr::Kind::absent};
        const auto& params = signature_of(*call.op).params;
        const auto param = std::ranges::find(params, argument.name, &SignatureParam::name);
        const bool idle = argument.optional && is_default(*param, given->number);
        const auto& rules = call.op->numbers;
        const auto rule = std::ranges::find(rules, argument.name, &NumberRule::name);
        return {rule != rules.end() && rule->whole ? fmt::format("{:.0f}", given->number)
                                                   : real_text(given->number),
                idle};
    }

    const Plan& plan_;
    const std::vector<Param>& params_;
    const PlanInsert& statement_;
    Aliases aliases_;
    std::map<int, std::string> tensors_, params_named_;  // alias by id
    std::vector<std::string> from_, where_;
    std::string state_;   // the alias of `state`, if it is joined
    std::string chosen_;  // the alias of `chosen`, if it is joined
};

}  // namespace

std::string statement_sql(const Plan& plan, const std::vector<Param>& params,
                          const PlanInsert& statement) {
    return Writer(plan, params, statement).run();
}

}  // namespace llmsql::compiler
