// SPDX-License-Identifier: MIT
// The text form of an OpGraph. See op_graph.h.
#include "compiler/ir/op_graph.h"

#include <fmt/core.h>

#include "common/error.h"
#include "compiler/check/signature.h"
#include "compiler/ir/model.h"
#include "compiler/ir/text.h"

namespace llmsql::compiler {
namespace {

std::string arg_text(const Arg& arg, const OpGraph& graph, const std::vector<Param>& params) {
    if (const auto* value = std::get_if<ValueRef>(&arg)) return fmt::format("v{}", value->id);
    if (const auto* param = std::get_if<ParamRef>(&arg))
        return table_name(params.at(static_cast<size_t>(param->id - 1))) +
               (param->count > 1 ? fmt::format("[{}]", param->count) : "");
    if (const auto* state = std::get_if<StateRef>(&arg))
        return graph.states.at(static_cast<size_t>(state->id)).name;
    if (const auto* number = std::get_if<double>(&arg)) return real_text(*number);
    return std::holds_alternative<AbsentRef>(arg) ? "-" : "tokens";
}

}  // namespace

const Arg* Op::argument(std::string_view parameter) const {
    const std::vector<SignatureParam>& all = signature_of(*op).params;
    for (size_t i = 0; i < all.size() && i < args.size(); ++i)
        if (all[i].name == parameter) return &args[i];
    return nullptr;
}

ValueRef Op::value(std::string_view parameter) const {
    const Arg* arg = argument(parameter);
    if (!arg || !std::holds_alternative<ValueRef>(*arg))
        fail("operator table: {} has no operand {}", op->name, parameter);
    return std::get<ValueRef>(*arg);
}

double Op::number(std::string_view parameter) const {
    const Arg* arg = argument(parameter);
    return arg && std::holds_alternative<double>(*arg) ? std::get<double>(*arg) : 0;
}

std::string to_text(const OpGraph& graph, const std::vector<Param>& params) {
    std::string text;
    for (const Op& op : graph.ops) {
        std::string line = fmt::format("v{} = {}(", op.result, op.op->name);
        const std::vector<SignatureParam>& parameters = signature_of(*op.op).params;
        // What is not given, at the end, goes without saying.
        size_t count = op.args.size();
        for (; count > 0; --count) {
            const double* number = std::get_if<double>(&op.args[count - 1]);
            if (number ? !is_default(parameters[count - 1], *number)
                       : !std::holds_alternative<AbsentRef>(op.args[count - 1]))
                break;
        }
        for (size_t i = 0; i < count; ++i)
            line += (i ? ", " : "") + arg_text(op.args[i], graph, params);
        line += ")";
        const Value& value = graph.values.at(static_cast<size_t>(op.result));
        text += fmt::format("{:<56} -- ", line);
        if (!value.name.empty()) text += value.name + "  ";
        text += shape_text(value.choices > 1 ? fmt::format("T*{}", value.choices) : "T",
                           value.heads, value.width);
        if (op.layer >= 0) text += fmt::format("  layer {}", op.layer);
        if (op.cache >= 0) text += fmt::format("  cache {}", op.cache);
        text += "\n";
    }
    return text + fmt::format("return v{}\n", graph.output);
}

}  // namespace llmsql::compiler
