// SPDX-License-Identifier: MIT
// What is read off the table's columns. See operators.h.
#include <algorithm>

#include "common/error.h"
#include "operators/operators.h"

namespace llmsql {
namespace {

using Source = FormArgument::Source;

FormArgument argument_of(std::string_view text, bool optional) {
    if (text.starts_with(':')) return {Source::pass, text.substr(1), optional};
    const size_t dot = text.find('.');
    const std::string_view table = text.substr(0, dot);
    if (dot == std::string_view::npos) return {Source::operand, text, optional};
    const std::string_view column = text.substr(dot + 1);
    if (table == "kv") return {Source::cache, column, optional};
    if (table == "chosen") return {Source::chosen, column, optional};
    return {Source::operand, table, optional};
}

bool has(const Operator& op, Source source, std::string_view name) {
    return std::ranges::any_of(form_of(op), [&](const FormArgument& argument) {
        return argument.source == source && argument.name == name;
    });
}

}  // namespace

const Operator* find_operator(std::string_view name) {
    const auto found = std::ranges::find(operators(), name, &Operator::name);
    return name.empty() || found == operators().end() ? nullptr : &*found;
}

const Operator* find_sql_operator(std::string_view sql_name) {
    const auto found = std::ranges::find(operators(), sql_name, &Operator::sql);
    return sql_name.empty() || found == operators().end() ? nullptr : &*found;
}

InfixOperand second_operand(const Operator& op) {
    std::string_view second = op.signature.substr(0, op.signature.find("->"));
    second.remove_prefix(std::min(second.rfind(": ") + 2, second.size()));
    if (second.starts_with("number")) return InfixOperand::number;
    if (second.starts_with("param")) return InfixOperand::vector;
    return second.find(", 1]") == std::string_view::npos ? InfixOperand::tensor
                                                         : InfixOperand::column;
}

const Operator* find_infix(std::string_view sign, InfixOperand second) {
    const auto found = std::ranges::find_if(operators(), [&](const Operator& op) {
        return op.infix == sign && second_operand(op) == second;
    });
    return sign.empty() || found == operators().end() ? nullptr : &*found;
}

const Operator& wrapping(Wrap wrap) {
    const auto found = std::ranges::find(operators(), wrap, &Operator::wrap);
    if (found == operators().end()) fail("operator table: a wrapping operator is missing");
    return *found;
}

std::vector<FormArgument> form_of(const Operator& op) {
    std::vector<FormArgument> arguments;
    std::string_view rest = op.sql_form;
    rest.remove_prefix(std::min(rest.find('(') + 1, rest.size()));
    bool optional = false;
    while (!rest.empty()) {
        const size_t end = std::min(rest.find_first_of(",[])"), rest.size());
        std::string_view text = rest.substr(0, end);
        text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
        if (!text.empty()) arguments.push_back(argument_of(text, optional));
        if (end == rest.size()) break;
        if (rest[end] == '[') optional = true;
        if (rest[end] == ']') optional = false;
        rest.remove_prefix(end + 1);
    }
    return arguments;
}

int min_args(const Operator& op) {
    const auto form = form_of(op);
    return static_cast<int>(std::ranges::count(form, false, &FormArgument::optional));
}

int max_args(const Operator& op) {
    return static_cast<int>(form_of(op).size());
}

bool takes_pass_parameter(const Operator& op, std::string_view name) {
    return has(op, Source::pass, name);
}

bool is_supplied(const Operator& op, std::string_view parameter) {
    return has(op, Source::pass, parameter) || has(op, Source::cache, parameter);
}

bool sees_more_than_its_row(const Operator& op) {
    const auto takes = [](const FormArgument& argument) { return argument.source == Source::pass; };
    return op.sees_other_rows || std::ranges::any_of(form_of(op), takes);
}

bool reads_stored(const Operator& op) {
    return op.locality == Locality::matrix || op.locality == Locality::choice ||
           op.locality == Locality::cache || op.locality == Locality::scan;
}

}  // namespace llmsql
