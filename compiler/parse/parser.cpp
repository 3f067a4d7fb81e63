// SPDX-License-Identifier: MIT
// The parser: the only file that includes ANTLR. It runs the generated lexer and parser, words
// their errors, and turns the parse tree into ast::Graph.
#include "compiler/parse/parser.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <set>

#include "GraphLexer.h"
#include "GraphParser.h"
#include "antlr4-runtime.h"
#include "common/error.h"

namespace llmsql::compiler {
namespace {

constexpr int kMaxDepth = 64;
constexpr int kMaxStatementTokens = 1000;

constexpr std::array kReserved{"for", "if", "else", "return", "true", "false"};
constexpr std::array kOperators{
    "*", "/", "%", "+", "-", "<", "<=", ">", ">=", "==", "!=", "&&", "||", "?"};

Position position_of(const antlr4::Token* token) {
    return {static_cast<int>(token->getLine()),
            static_cast<int>(token->getCharPositionInLine()) + 1};
}

std::string describe(const antlr4::Token* token) {
    if (token->getType() == antlr4::Token::EOF) return "the end of the file";
    if (token->getType() == GraphLexer::STRING) return token->getText();
    return fmt::format("'{}'", token->getText());
}

/// What the grammar would have accepted, in words: names of token classes rather than of tokens.
std::vector<std::string> expected_words(antlr4::Parser& parser) {
    const antlr4::dfa::Vocabulary& vocabulary = parser.getVocabulary();
    std::set<std::string> tokens;
    bool end = false, name = false, number = false, text = false;
    for (const ssize_t type : parser.getExpectedTokens().toList()) {
        if (type < 0) {
            end = true;
        } else if (type == GraphParser::NAME) {
            name = true;
        } else if (type == GraphParser::NUMBER) {
            number = true;
        } else if (type == GraphParser::STRING) {
            text = true;
        } else {
            const std::string literal = vocabulary.getLiteralName(static_cast<size_t>(type));
            if (literal.size() > 2) tokens.insert(literal.substr(1, literal.size() - 2));
        }
    }
    std::vector<std::string> words;
    const auto drop_names = [&] {
        std::erase_if(tokens, [](const std::string& token) {
            const bool word = std::isalpha(static_cast<unsigned char>(token[0])) != 0;
            return word && std::ranges::find(kReserved, token) == kReserved.end();
        });
    };
    if (name && number) {
        words.push_back("an expression");
        drop_names();
        for (const char* start : {"(", "-", "!", "true", "false"}) tokens.erase(start);
    } else if (name && tokens.contains("return")) {
        words.push_back("a statement");
        drop_names();
        for (const char* start : {"for", "if", "return"}) tokens.erase(start);
    } else if (name) {
        words.push_back("a name");
        drop_names();
    } else if (tokens.contains("forward")) {
        words.push_back("a declaration");
        drop_names();
    } else {
        if (number) words.push_back("a number");
        if (text) words.push_back("a text");
    }
    if (tokens.contains("*"))  // after an operand: that an operator could follow needs no mention
        for (const char* sign : kOperators) tokens.erase(sign);
    for (const std::string& token : tokens) words.push_back(fmt::format("'{}'", token));
    if (end) words.push_back("the end of the file");
    return words;
}

class ErrorListener : public antlr4::BaseErrorListener {
  public:
    explicit ErrorListener(Diagnostics& errors) : errors_(errors) {}

    void syntaxError(antlr4::Recognizer* recognizer, antlr4::Token* token, size_t line,
                     size_t column, const std::string& message, std::exception_ptr cause) override {
        const Position at{static_cast<int>(line), static_cast<int>(column) + 1};
        if (at.line == last_line_) return;  // most likely the parser still finding its feet
        last_line_ = at.line;
        auto* parser = dynamic_cast<antlr4::Parser*>(recognizer);
        if (parser == nullptr || token == nullptr) {  // the lexer has a token for everything
            errors_.error(at, message);
        } else {
            errors_.error(at, explain(*parser, token, cause));
        }
    }

  private:
    static std::string explain(antlr4::Parser& parser, const antlr4::Token* token,
                               const std::exception_ptr& cause) {
        if (token->getType() == GraphLexer::UNCLOSED) return "this text has no closing quote";
        if (token->getType() == GraphLexer::UNKNOWN)
            return fmt::format("the character '{}' means nothing here", token->getText());
        if (cause) {
            try {
                std::rethrow_exception(cause);
            } catch (const antlr4::NoViableAltException& error) {
                // The parser stands at the first token of what it tried, not where it failed.
                if (error.getStartToken() != token)
                    return fmt::format("unexpected {}", describe(token));
            } catch (const antlr4::RecognitionException&) {
                // Expectations are the parser's own.
            }
        }
        const std::vector<std::string> words = expected_words(parser);
        if (words.empty() || words.size() > 4) return fmt::format("unexpected {}", describe(token));
        std::string list = words.front();
        for (size_t i = 1; i < words.size(); ++i)
            list += (i + 1 == words.size() ? " or " : ", ") + words[i];
        std::string hint;
        if (words.front() == "a name" &&
            std::ranges::find(kReserved, token->getText()) != kReserved.end())
            hint = fmt::format(" ({} is a keyword and cannot be a name)", describe(token));
        return fmt::format("expected {} before {}{}", list, describe(token), hint);
    }

    Diagnostics& errors_;
    int last_line_ = 0;
};

/// ANTLR's own recovery but for one step: it never skips a single surplus token. Since a name may
/// be spelt like a keyword, `dim ; param` would go on with a dim called param.
class ErrorStrategy : public antlr4::DefaultErrorStrategy {
  protected:
    antlr4::Token* singleTokenDeletion(antlr4::Parser*) override { return nullptr; }
};

/// True if no bracket is nested too deeply and no statement is too long to be handled recursively.
bool within_limits(const std::vector<antlr4::Token*>& tokens, Diagnostics& errors) {
    int depth = 0, length = 0;
    for (const antlr4::Token* token : tokens) {
        const std::string text = token->getText();
        if (text == "(" || text == "[" || text == "{") {
            if (++depth > kMaxDepth) {
                errors.error(position_of(token),
                             fmt::format("brackets are nested more than {} deep", kMaxDepth));
                return false;
            }
        } else if (text == ")" || text == "]" || text == "}") {
            --depth;
        }
        length = text == ";" || text == "{" || text == "}" ? 0 : length + 1;
        if (length > kMaxStatementTokens) {
            errors.error(position_of(token),
                         fmt::format("this statement is longer than {} words and signs",
                                     kMaxStatementTokens));
            return false;
        }
    }
    return true;
}

/// Parse tree to ast. Only used where there was no syntax error, so that every child is there.
class Builder {
  public:
    explicit Builder(Diagnostics& errors) : errors_(errors) {}

    ast::Graph graph(GraphParser::GraphContext* tree) {
        ast::Graph graph;
        graph.name = name(tree->name());
        graph.annotations = annotations(tree->annotation());
        for (GraphParser::DeclarationContext* each : tree->declaration()) {
            if (auto* number = each->number()) {
                graph.items.emplace_back(declare(number));
            } else if (auto* let = each->let()) {
                graph.items.emplace_back(declare(let));
            } else if (auto* require = each->require()) {
                graph.items.emplace_back(declare(require));
            } else if (auto* ignore = each->ignore()) {
                graph.items.emplace_back(ast::Ignore{position_of(ignore->getStart()),
                                                     annotations(ignore->annotation())});
            } else if (auto* param = each->parameter()) {
                graph.items.emplace_back(declare(param));
            } else if (auto* state = each->state()) {
                graph.items.emplace_back(declare(state));
            } else if (auto* block = each->block()) {
                graph.items.emplace_back(declare(block));
            } else if (auto* define = each->define()) {
                graph.items.emplace_back(declare(define));
            } else {
                graph.items.emplace_back(declare(each->forward()));
            }
        }
        return graph;
    }

    ast::Expr expression(GraphParser::ExpressionContext* tree) {
        ast::Expr expr;
        expr.at = position_of(tree->getStart());
        if (auto* group = dynamic_cast<GraphParser::GroupContext*>(tree))
            return expression(group->expression());
        if (auto* literal = dynamic_cast<GraphParser::LiteralContext*>(tree)) {
            expr.kind = ast::Expr::Kind::number;
            const std::string digits = literal->getText();
            const auto [end, error] =
                std::from_chars(digits.data(), digits.data() + digits.size(), expr.number);
            if (error != std::errc{} || end != digits.data() + digits.size())
                errors_.error(expr.at, fmt::format("{} is out of a number's range", digits));
        } else if (auto* text = dynamic_cast<GraphParser::TextContext*>(tree)) {
            expr.kind = ast::Expr::Kind::text;
            expr.text = unquoted(text->STRING());
        } else if (auto* truth = dynamic_cast<GraphParser::TruthContext*>(tree)) {
            expr.kind = ast::Expr::Kind::truth;
            expr.number = truth->value->getText() == "true" ? 1 : 0;
        } else if (auto* variable = dynamic_cast<GraphParser::VariableContext*>(tree)) {
            expr.kind = ast::Expr::Kind::name;
            expr.text = variable->getText();
        } else if (auto* member = dynamic_cast<GraphParser::MemberContext*>(tree)) {
            expr.kind = ast::Expr::Kind::member;
            expr.text = member->name(0)->getText();
            expr.field = member->name(1)->getText();
        } else if (auto* call = dynamic_cast<GraphParser::CallContext*>(tree)) {
            expr.kind = ast::Expr::Kind::call;
            expr.text = call->name()->getText();
            for (GraphParser::ArgumentContext* argument : call->argument()) {
                expr.labels.push_back(argument->name() ? name(argument->name()) : ast::Name{});
                expr.operands.push_back(expression(argument->expression()));
            }
        } else if (auto* unary = dynamic_cast<GraphParser::UnaryContext*>(tree)) {
            expr.kind = ast::Expr::Kind::unary;
            expr.text = unary->op->getText();
            expr.operands.push_back(expression(unary->expression()));
        } else if (auto* binary = dynamic_cast<GraphParser::BinaryContext*>(tree)) {
            expr.kind = ast::Expr::Kind::binary;
            expr.text = binary->op->getText();
            expr.at = position_of(binary->op);
            for (auto* operand : binary->expression()) expr.operands.push_back(expression(operand));
        } else if (auto* choice = dynamic_cast<GraphParser::ConditionalContext*>(tree)) {
            expr.kind = ast::Expr::Kind::conditional;
            expr.at = position_of(choice->sign);
            for (auto* operand : choice->expression()) expr.operands.push_back(expression(operand));
        }
        return expr;
    }

  private:
    static ast::Name name(GraphParser::NameContext* tree) {
        return {tree->getText(), position_of(tree->getStart())};
    }

    static std::string unquoted(antlr4::tree::TerminalNode* node) {
        const std::string text = node->getText();
        return text.substr(1, text.size() - 2);
    }

    std::vector<ast::Expr> expressions(const std::vector<GraphParser::ExpressionContext*>& trees) {
        std::vector<ast::Expr> all;
        for (auto* each : trees) all.push_back(expression(each));
        return all;
    }

    std::vector<ast::Annotation> annotations(
        const std::vector<GraphParser::AnnotationContext*>& trees) {
        std::vector<ast::Annotation> all;
        for (auto* each : trees)
            all.push_back({name(each->name()), expressions(each->expression())});
        return all;
    }

    ast::Number declare(GraphParser::NumberContext* tree) {
        ast::Number number;
        number.is_dim = tree->kind->getText() == "dim";
        number.name = name(tree->name());
        if (tree->expression()) number.value = expression(tree->expression());
        number.annotations = annotations(tree->annotation());
        return number;
    }

    ast::Let declare(GraphParser::LetContext* tree) {
        return {name(tree->name()), expression(tree->expression()),
                annotations(tree->annotation())};
    }

    ast::Require declare(GraphParser::RequireContext* tree) {
        return {position_of(tree->getStart()), expression(tree->expression()),
                tree->STRING() ? unquoted(tree->STRING()) : ""};
    }

    ast::Parameter declare(GraphParser::ParameterContext* tree) {
        ast::Parameter param;
        param.name = name(tree->name(0));
        param.optional = tree->optional != nullptr;
        param.shape = expressions(tree->shape()->expression());
        if (tree->name().size() > 1) param.tied = name(tree->name(1));
        if (tree->expression()) param.when = expression(tree->expression());
        param.annotations = annotations(tree->annotation());
        return param;
    }

    ast::State declare(GraphParser::StateContext* tree) {
        return {name(tree->name()), expressions(tree->shape()->expression())};
    }

    ast::Block declare(GraphParser::BlockContext* tree) {
        ast::Block block;
        block.name = name(tree->name());
        block.count = expression(tree->expression());
        for (GraphParser::BlockItemContext* item : tree->blockItem()) {
            if (item->parameter()) {
                block.items.emplace_back(declare(item->parameter()));
            } else if (item->state()) {
                block.items.emplace_back(declare(item->state()));
            } else if (item->let()) {
                block.items.emplace_back(declare(item->let()));
            } else {
                block.items.emplace_back(declare(item->number()));
            }
        }
        return block;
    }

    ast::Define declare(GraphParser::DefineContext* tree) {
        ast::Define define{name(tree->name(0)), {}, expression(tree->expression())};
        for (size_t i = 1; i < tree->name().size(); ++i)
            define.parameters.push_back(name(tree->name(i)));
        return define;
    }

    ast::Forward declare(GraphParser::ForwardContext* tree) {
        ast::Forward forward;
        forward.at = position_of(tree->getStart());
        forward.tokens = name(tree->name(0));
        forward.token_type = name(tree->name(1));
        forward.count = name(tree->name(2));
        forward.result_type = name(tree->name(3));
        forward.result = expressions(tree->shape()->expression());
        forward.body = statements(tree->statement());
        return forward;
    }

    std::vector<ast::Statement> statements(
        const std::vector<GraphParser::StatementContext*>& trees) {
        std::vector<ast::Statement> all;
        for (auto* each : trees) all.push_back(statement(each));
        return all;
    }

    std::vector<ast::Statement> statements(GraphParser::BodyContext* tree) {
        return statements(tree->statement());
    }

    ast::Statement statement(GraphParser::StatementContext* tree) {
        ast::Statement statement;
        statement.at = position_of(tree->getStart());
        if (auto* assignment = dynamic_cast<GraphParser::AssignmentContext*>(tree)) {
            statement.kind = ast::Statement::Kind::assign;
            statement.name = name(assignment->name());
            statement.value = expression(assignment->expression());
        } else if (auto* loop = dynamic_cast<GraphParser::LoopContext*>(tree)) {
            statement.kind = ast::Statement::Kind::loop;
            statement.name = name(loop->name(0));
            statement.block = name(loop->name(1));
            statement.arms.push_back({std::nullopt, statements(loop->body())});
        } else if (auto* branch = dynamic_cast<GraphParser::BranchContext*>(tree)) {
            statement.kind = ast::Statement::Kind::branch;
            const auto conditions = branch->expression();
            const auto bodies = branch->body();
            for (size_t i = 0; i < conditions.size(); ++i)
                statement.arms.push_back({expression(conditions[i]), statements(bodies[i])});
            if (branch->last)
                statement.arms.push_back({std::nullopt, statements(branch->last->body())});
        } else if (auto* give = dynamic_cast<GraphParser::GiveContext*>(tree)) {
            statement.kind = ast::Statement::Kind::give;
            statement.value = expression(give->expression());
        }
        return statement;
    }

    Diagnostics& errors_;
};

/// The machinery of one parse; ANTLR's objects refer to each other and must die together.
struct Parse {
    Parse(std::string_view text, Diagnostics& errors)
        : listener(errors),
          input(std::string(text)),
          lexer(&input),
          tokens(&lexer),
          parser(&tokens) {
        lexer.removeErrorListeners();
        lexer.addErrorListener(&listener);
        parser.removeErrorListeners();
        parser.addErrorListener(&listener);
        parser.setErrorHandler(std::make_shared<ErrorStrategy>());
        parser.getInterpreter<antlr4::atn::ParserATNSimulator>()->setPredictionMode(
            antlr4::atn::PredictionMode::SLL);  // the grammar needs no more, and errors come sooner
        tokens.fill();
    }

    ErrorListener listener;
    antlr4::ANTLRInputStream input;
    GraphLexer lexer;
    antlr4::CommonTokenStream tokens;
    GraphParser parser;
};

}  // namespace

std::optional<ast::Graph> parse_graph(const SourceFile& source, Diagnostics& errors) {
    Parse parse(source.text(), errors);
    if (!within_limits(parse.tokens.getTokens(), errors)) return std::nullopt;
    GraphParser::GraphContext* tree = parse.parser.graph();
    parse.parser.require_memory();
    if (!errors.empty()) return std::nullopt;
    ast::Graph graph = Builder(errors).graph(tree);
    if (!errors.empty()) return std::nullopt;
    return graph;
}

std::optional<ast::Graph> parse_graph_head(const SourceFile& source) {
    antlr4::ANTLRInputStream input(source.text());
    GraphLexer lexer(&input);
    lexer.removeErrorListeners();
    size_t end = 0;  // of the head, in characters
    for (auto token = lexer.nextToken(); end == 0; token = lexer.nextToken()) {
        if (token->getType() == antlr4::Token::EOF) return std::nullopt;
        if (token->getText() == "{") end = token->getStartIndex();
    }
    const SourceFile head(source.name(), input.getText({0, static_cast<ssize_t>(end)}) + "}");
    Diagnostics errors(head);
    return parse_graph(head, errors);
}

ast::Expr parse_expression(std::string_view text) {
    const SourceFile source("expression", std::string(text));
    Diagnostics errors(source);
    Parse parse(text, errors);
    GraphParser::ExpressionContext* tree = parse.parser.expression();
    parse.parser.require_memory();
    if (errors.empty() && parse.tokens.LA(1) != antlr4::Token::EOF)
        errors.error({1, 1}, "there is more than one expression here");
    errors.throw_if_any();
    ast::Expr expr = Builder(errors).expression(tree);
    errors.throw_if_any();
    return expr;
}

}  // namespace llmsql::compiler
