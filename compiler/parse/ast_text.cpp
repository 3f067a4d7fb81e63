// SPDX-License-Identifier: MIT
// The text form of a parsed graph file (--emit=ast). See ast.h.
#include <fmt/core.h>

#include "compiler/parse/ast.h"

namespace llmsql::compiler::ast {
namespace {

class Printer {
  public:
    std::string text;

    void graph(const Graph& graph) {
        line("graph {}{} {{", graph.name.text, annotations(graph.annotations));
        for (const auto& item : graph.items)
            std::visit([this](const auto& each) { declare(each); }, item);
        close();
    }

  private:
    template<class... Args>
    void line(fmt::format_string<Args...> format, Args&&... args) {
        const std::string content = fmt::format(format, std::forward<Args>(args)...);
        text.append(static_cast<size_t>(depth_) * 2, ' ').append(content).append("\n");
        if (content.ends_with('{')) ++depth_;
    }

    void close() {
        --depth_;
        line("}}");
    }

    static std::string list(const std::vector<Expr>& items) {
        std::string joined;
        for (const Expr& item : items) joined += (joined.empty() ? "" : ", ") + to_text(item);
        return joined;
    }

    static std::string annotations(const std::vector<Annotation>& all) {
        std::string joined;
        for (const Annotation& each : all)
            joined += fmt::format(" @{}({})", each.format.text, list(each.args));
        return joined;
    }

    void declare(const Number& number) {
        line("{} {}{}{};", number.is_dim ? "dim" : "const", number.name.text,
             number.value ? " = " + to_text(*number.value) : "", annotations(number.annotations));
    }

    void declare(const Let& let) {
        line("let {} = {}{};", let.name.text, to_text(let.value), annotations(let.annotations));
    }

    void declare(const Require& require) {
        line("require {}{};", to_text(require.condition),
             require.reason.empty() ? "" : fmt::format(", \"{}\"", require.reason));
    }

    void declare(const Ignore& ignore) { line("ignore{};", annotations(ignore.annotations)); }

    void declare(const Parameter& param) {
        line("{}param {}: [{}]{}{}{};", param.optional ? "optional " : "", param.name.text,
             list(param.shape), param.tied ? " = " + param.tied->text : "",
             param.when ? " when " + to_text(*param.when) : "", annotations(param.annotations));
    }

    void declare(const State& state) {
        line("state {}: [{}];", state.name.text, list(state.shape));
    }

    void declare(const Block& block) {
        line("block {}[{}] {{", block.name.text, to_text(block.count));
        for (const auto& item : block.items)
            std::visit([this](const auto& each) { declare(each); }, item);
        close();
    }

    void declare(const Define& define) {
        std::string names;
        for (const Name& each : define.parameters) names += (names.empty() ? "" : ", ") + each.text;
        line("define {}({}) = {};", define.name.text, names, to_text(define.body));
    }

    void declare(const Forward& forward) {
        line("forward({}: {}[{}]) -> {}[{}] {{", forward.tokens.text, forward.token_type.text,
             forward.count.text, forward.result_type.text, list(forward.result));
        statements(forward.body);
        close();
    }

    void statements(const std::vector<Statement>& body) {
        for (const Statement& each : body) statement(each);
    }

    void statement(const Statement& statement) {
        switch (statement.kind) {
            case Statement::Kind::assign:
                line("{} = {};", statement.name.text, to_text(*statement.value));
                break;
            case Statement::Kind::give:
                line("return {};", to_text(*statement.value));
                break;
            case Statement::Kind::loop:
                line("for {} in {} {{", statement.name.text, statement.block.text);
                statements(statement.arms.front().body);
                close();
                break;
            case Statement::Kind::branch:
                for (size_t i = 0; i < statement.arms.size(); ++i) {
                    const Arm& arm = statement.arms[i];
                    if (i > 0) --depth_;
                    const char* before = i == 0 ? "" : "} else ";
                    if (arm.condition) {
                        line("{}if {} {{", before, to_text(*arm.condition));
                    } else {
                        line("}} else {{");
                    }
                    statements(arm.body);
                }
                close();
                break;
        }
    }

    int depth_ = 0;
};

}  // namespace

std::string to_text(const Expr& expr) {
    const auto operand = [&](size_t i) { return to_text(expr.operands[i]); };
    switch (expr.kind) {
        case Expr::Kind::number:
            return fmt::format("{}", expr.number);
        case Expr::Kind::text:
            return fmt::format("\"{}\"", expr.text);
        case Expr::Kind::truth:
            return expr.number != 0 ? "true" : "false";
        case Expr::Kind::name:
            return expr.text;
        case Expr::Kind::member:
            return fmt::format("{}.{}", expr.text, expr.field);
        case Expr::Kind::call: {
            std::string args;
            for (size_t i = 0; i < expr.operands.size(); ++i) {
                if (i > 0) args += ", ";
                if (!expr.labels[i].text.empty()) args += expr.labels[i].text + " = ";
                args += operand(i);
            }
            return fmt::format("{}({})", expr.text, args);
        }
        case Expr::Kind::unary:
            return expr.text + operand(0);
        case Expr::Kind::binary:
            return fmt::format("({} {} {})", operand(0), expr.text, operand(1));
        case Expr::Kind::conditional:
            return fmt::format("({} ? {} : {})", operand(0), operand(1), operand(2));
    }
    return {};
}

std::string bare_text(const Expr& expr) {
    std::string text = to_text(expr);
    const bool wrapped = expr.kind == Expr::Kind::binary || expr.kind == Expr::Kind::conditional;
    return wrapped ? text.substr(1, text.size() - 2) : text;
}

std::string to_text(const Graph& graph) {
    Printer printer;
    printer.graph(graph);
    return std::move(printer.text);
}

}  // namespace llmsql::compiler::ast
