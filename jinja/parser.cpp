// SPDX-License-Identifier: MIT
// The parser: one function a level of precedence, as in Jinja, whose grammar is in its functions.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "common/error.h"
#include "jinja/ast.h"
#include "jinja/lexer.h"

namespace llmsql::jinja {
namespace {

using Kind = Expr::Kind;
using Words = std::initializer_list<std::string_view>;

constexpr int kDeepestSource = 150;

class Parser {
  public:
    explicit Parser(std::string_view source) : tokens_(tokens_of(source)) {}

    Body run() {
        Body body = statements({});
        return body;
    }

  private:
    // ---- tokens
    const Token& now() const { return tokens_[at_]; }
    const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
    Token& take() {
        Token& token = tokens_[at_];
        if (at_ + 1 < tokens_.size()) ++at_;
        return token;
    }
    bool is(TokenKind kind) const { return now().kind == kind; }
    static bool is_name(const Token& token, std::string_view word) {
        return token.kind == TokenKind::name && token.word == word;
    }
    bool is_name(std::string_view word) const { return is_name(now(), word); }
    bool is_sign(std::string_view word) const { return is(TokenKind::sign) && now().word == word; }
    bool is_any(Words words) const {
        return is(TokenKind::name) && std::ranges::find(words, now().word) != words.end();
    }
    bool skip_name(std::string_view word) {
        if (!is_name(word)) return false;
        take();
        return true;
    }
    bool skip_sign(std::string_view word) {
        if (!is_sign(word)) return false;
        take();
        return true;
    }
    [[noreturn]] static void wrong(int line, std::string_view what) {
        fail("line {}: {}", line, what);
    }
    [[noreturn]] void unexpected(std::string_view wanted) const {
        wrong(now().line, fmt::format("expected {}, got {}", wanted, shown(now())));
    }
    static std::string shown(const Token& token) {
        switch (token.kind) {
            case TokenKind::data:
                return "text outside of tags";
            case TokenKind::block_begin:
                return "'{%'";
            case TokenKind::block_end:
                return "'%}'";
            case TokenKind::variable_begin:
                return "'{{'";
            case TokenKind::variable_end:
                return "'}}'";
            case TokenKind::string:
                return "a text";
            case TokenKind::integer:
            case TokenKind::real:
                return "a number";
            case TokenKind::end:
                return "the end of the template";
            default:
                return "'" + printable(token.word) + "'";
        }
    }
    void expect_sign(std::string_view word) {
        if (!skip_sign(word)) unexpected(fmt::format("'{}'", word));
    }
    void expect_name(std::string_view word) {
        if (!skip_name(word)) unexpected(fmt::format("'{}'", word));
    }
    std::string expect_any_name() {
        if (!is(TokenKind::name)) unexpected("a name");
        return take().word;
    }
    void expect(TokenKind kind, std::string_view shown) {
        if (!is(kind)) unexpected(shown);
        take();
    }

    struct Level {
        explicit Level(Parser& p) : parser(p) {
            if (++parser.depth_ > kDeepestSource)
                wrong(parser.now().line,
                      fmt::format("nested too deeply: more than {} levels", kDeepestSource));
        }
        ~Level() { --parser.depth_; }
        Parser& parser;
    };

    // ---- statements

    // Up to a tag of one of these names, which is left to be taken; without names, to the end.
    Body statements(Words ends) {
        const Level level(*this);
        Body body;
        while (!is(TokenKind::end)) {
            const int line = now().line;
            if (is(TokenKind::data)) {
                StmtPtr stmt = make(Stmt::Kind::data, line);
                stmt->data = Value(std::move(take().text));
                body.push_back(std::move(stmt));
            } else if (is(TokenKind::variable_begin)) {
                take();
                StmtPtr stmt = make(Stmt::Kind::output, line);
                stmt->expressions.push_back(tuple_or_expression());
                expect(TokenKind::variable_end, "'}}'");
                body.push_back(std::move(stmt));
            } else {
                expect(TokenKind::block_begin, "'{%'");
                if (is_any(ends)) return body;
                body.push_back(statement());
                expect(TokenKind::block_end, "'%}'");
            }
        }
        if (ends.size() > 0)
            wrong(now().line,
                  fmt::format("the template ends where {} should be", fmt::join(ends, " or ")));
        return body;
    }

    // The rest of a tag that begins a body, and the body; the end's name is left.
    Body body_until(Words ends) {
        skip_sign(":");
        expect(TokenKind::block_end, "'%}'");
        return statements(ends);
    }
    Body body_to(std::string_view end) {
        Body body = body_until({end});
        take();
        return body;
    }

    static StmtPtr make(Stmt::Kind kind, int line) {
        auto stmt = std::make_unique<Stmt>();
        stmt->kind = kind;
        stmt->line = line;
        return stmt;
    }

    StmtPtr statement() {
        if (!is(TokenKind::name)) unexpected("a tag's name");
        const int line = now().line;
        const std::string tag = take().word;
        if (tag == "if") return branch(line);
        if (tag == "for") return loop(line);
        if (tag == "set") return set(line);
        if (tag == "macro") return macro(line);
        if (tag == "call") return call_block(line);
        if (tag == "filter") return filter_block(line);
        if (tag == "with") return with(line);
        if (tag == "block") return block(line);
        if (tag == "print") return print(line);
        if (tag == "generation") {
            StmtPtr stmt = make(Stmt::Kind::generation, line);
            stmt->macro = std::make_unique<MacroBody>();
            stmt->macro->body = body_to("endgeneration");
            return stmt;
        }
        if (tag == "break") return make(Stmt::Kind::leave, line);
        if (tag == "continue") return make(Stmt::Kind::skip, line);
        if (tag == "autoescape") wrong(line, "'autoescape' is not supported");
        if (tag == "extends" || tag == "include" || tag == "import" || tag == "from") {
            StmtPtr stmt = make(Stmt::Kind::missing, line);
            stmt->name = tag;
            while (!is(TokenKind::block_end) && !is(TokenKind::end)) take();
            return stmt;
        }
        wrong(line, fmt::format("unknown tag '{}'", printable(tag)));
    }

    StmtPtr branch(int line) {
        StmtPtr stmt = make(Stmt::Kind::branch, line);
        while (true) {
            ExprPtr condition = tuple_or_expression(false);
            Body body = body_until({"elif", "else", "endif"});
            stmt->branches.emplace_back(std::move(condition), std::move(body));
            const std::string next = take().word;
            if (next == "elif") continue;
            if (next == "else") stmt->otherwise = body_to("endif");
            return stmt;
        }
    }

    StmtPtr loop(int line) {
        StmtPtr stmt = make(Stmt::Kind::loop, line);
        stmt->target = target({"in"});
        expect_name("in");
        stmt->value = tuple_or_expression(false, {"recursive"});
        if (skip_name("if")) stmt->test = expression();
        stmt->recursive = skip_name("recursive");
        stmt->body = body_until({"endfor", "else"});
        if (take().word == "else") stmt->otherwise = body_to("endfor");
        return stmt;
    }

    StmtPtr set(int line) {
        StmtPtr stmt = make(Stmt::Kind::set, line);
        stmt->target = target({}, true);
        if (skip_sign("=")) {
            stmt->value = tuple_or_expression();
            return stmt;
        }
        stmt->kind = Stmt::Kind::set_block;
        stmt->value = filters(nullptr);
        stmt->body = body_to("endset");
        return stmt;
    }

    StmtPtr with(int line) {
        StmtPtr stmt = make(Stmt::Kind::with, line);
        while (!is(TokenKind::block_end)) {
            if (!stmt->targets.empty()) expect_sign(",");
            stmt->targets.push_back(target({}));
            expect_sign("=");
            stmt->expressions.push_back(expression());
        }
        stmt->body = body_to("endwith");
        return stmt;
    }

    void signature(MacroBody& macro) {
        expect_sign("(");
        bool optional = false;
        while (!is_sign(")")) {
            if (!macro.parameters.empty()) expect_sign(",");
            Parameter parameter;
            parameter.name = name_target();
            if (skip_sign("=")) {
                parameter.fallback = expression();
                optional = true;
            } else if (optional) {
                wrong(now().line, "non-default argument follows default argument");
            }
            for (const Parameter& other : macro.parameters)
                if (other.name == parameter.name)
                    wrong(now().line,
                          fmt::format("duplicate argument '{}'", printable(parameter.name)));
            macro.parameters.push_back(std::move(parameter));
        }
        expect_sign(")");
    }

    StmtPtr macro(int line) {
        StmtPtr stmt = make(Stmt::Kind::macro, line);
        stmt->macro = std::make_unique<MacroBody>();
        stmt->macro->name = stmt->name = name_target();
        signature(*stmt->macro);
        stmt->macro->body = body_to("endmacro");
        return stmt;
    }

    StmtPtr call_block(int line) {
        StmtPtr stmt = make(Stmt::Kind::call_block, line);
        stmt->macro = std::make_unique<MacroBody>();
        if (is_sign("(")) signature(*stmt->macro);
        stmt->value = expression();
        if (stmt->value->kind != Kind::call) wrong(line, "expected a call");
        stmt->macro->body = body_to("endcall");
        return stmt;
    }

    StmtPtr filter_block(int line) {
        StmtPtr stmt = make(Stmt::Kind::filter_block, line);
        stmt->value = filters(nullptr, true);
        stmt->body = body_to("endfilter");
        return stmt;
    }

    StmtPtr block(int line) {
        StmtPtr stmt = make(Stmt::Kind::block, line);
        stmt->name = expect_any_name();
        if (is_name("scoped") || is_name("required"))
            wrong(line, "scoped and required blocks are not supported");
        if (std::ranges::find(blocks_, stmt->name) != blocks_.end())
            wrong(line, fmt::format("block '{}' defined twice", printable(stmt->name)));
        blocks_.push_back(stmt->name);
        stmt->macro = std::make_unique<MacroBody>();
        stmt->macro->body = body_to("endblock");
        skip_name(stmt->name);
        return stmt;
    }

    StmtPtr print(int line) {
        StmtPtr stmt = make(Stmt::Kind::output, line);
        while (!is(TokenKind::block_end)) {
            if (!stmt->expressions.empty()) expect_sign(",");
            stmt->expressions.push_back(expression());
        }
        return stmt;
    }

    std::string name_target() {
        const int line = now().line;
        std::string name = expect_any_name();
        require_assignable(line, name);
        return name;
    }
    static void require_assignable(int line, std::string_view name) {
        constexpr std::array<std::string_view, 6> kReserved{"true", "false", "none",
                                                            "True", "False", "None"};
        if (std::ranges::find(kReserved, name) != kReserved.end())
            wrong(line, fmt::format("can't assign to '{}'", name));
    }

    // What is assigned to: names, attributes of namespaces, tuples of them.
    ExprPtr target(Words ends, bool with_namespace = false) {
        std::vector<ExprPtr> parts;
        const int line = now().line;
        bool is_tuple = false;
        while (true) {
            if (!parts.empty()) expect_sign(",");
            if (is_tuple_end(ends)) break;
            parts.push_back(primary(with_namespace));
            if (!is_sign(",")) break;
            is_tuple = true;
        }
        if (parts.empty()) unexpected("a name");
        ExprPtr target;
        if (is_tuple) {
            target = node(Kind::tuple, line);
            target->parts = std::move(parts);
        } else {
            target = std::move(parts.front());
        }
        make_stored(*target);
        return target;
    }

    static void make_stored(Expr& target) {
        switch (target.kind) {
            case Kind::name:
                require_assignable(target.line, target.name);
                break;
            case Kind::attribute_target:
                break;
            case Kind::tuple:
            case Kind::list:
                if (target.kind == Kind::list) wrong(target.line, "can't assign to a list");
                for (const ExprPtr& part : target.parts) make_stored(*part);
                break;
            default:
                wrong(target.line, "can't assign to this");
        }
        target.stores = true;
    }

    // ---- expressions

    static ExprPtr node(Kind kind, int line) {
        auto expr = std::make_unique<Expr>();
        expr->kind = kind;
        expr->line = line;
        return expr;
    }
    static ExprPtr node(Kind kind, int line, ExprPtr a, ExprPtr b = nullptr) {
        ExprPtr expr = node(kind, line);
        expr->parts.push_back(std::move(a));
        if (b) expr->parts.push_back(std::move(b));
        return expr;
    }
    // Chains of operators are as deep as they are long.
    void nests(int& count) const {
        if (++count > kDeepestSource * 4)
            wrong(now().line, fmt::format("an expression has more than {} operators in a row",
                                          kDeepestSource * 4));
    }

    bool is_tuple_end(Words ends) const {
        return is(TokenKind::variable_end) || is(TokenKind::block_end) || is_sign(")") ||
               is_any(ends);
    }

    ExprPtr tuple_or_expression(bool with_condition = true, Words ends = {},
                                bool in_brackets = false) {
        int line = now().line;
        std::vector<ExprPtr> parts;
        bool is_tuple = false;
        while (true) {
            if (!parts.empty()) expect_sign(",");
            if (is_tuple_end(ends)) break;
            parts.push_back(expression(with_condition));
            if (!is_sign(",")) break;
            is_tuple = true;
            line = now().line;
        }
        if (!is_tuple) {
            if (!parts.empty()) return std::move(parts.front());
            if (!in_brackets) unexpected("an expression");
        }
        ExprPtr tuple = node(Kind::tuple, line);
        tuple->parts = std::move(parts);
        return tuple;
    }

    ExprPtr expression(bool with_condition = true) {
        const Level level(*this);
        return with_condition ? condition() : either();
    }

    ExprPtr condition() {
        const int line = now().line;
        ExprPtr expr = either();
        int count = 0;
        while (skip_name("if")) {
            nests(count);
            ExprPtr test = either(), otherwise;
            if (skip_name("else")) {
                const Level level(*this);
                otherwise = condition();
            }
            expr = node(Kind::condition, line, std::move(expr), std::move(test));
            expr->parts.push_back(std::move(otherwise));
        }
        return expr;
    }

    ExprPtr either() {
        const int line = now().line;
        ExprPtr left = both();
        int count = 0;
        while (skip_name("or")) {
            nests(count);
            left = node(Kind::either, line, std::move(left), both());
        }
        return left;
    }

    ExprPtr both() {
        const int line = now().line;
        ExprPtr left = negation();
        int count = 0;
        while (skip_name("and")) {
            nests(count);
            left = node(Kind::both, line, std::move(left), negation());
        }
        return left;
    }

    ExprPtr negation() {
        const int line = now().line;
        if (!skip_name("not")) return compare();
        const Level level(*this);
        return node(Kind::negation, line, negation());
    }

    ExprPtr compare() {
        constexpr std::array<std::string_view, 6> kSigns{"==", "!=", "<", "<=", ">", ">="};
        const int line = now().line;
        ExprPtr left = sum();
        ExprPtr all;
        while (true) {
            std::string word;
            if (is(TokenKind::sign) && std::ranges::find(kSigns, now().word) != kSigns.end()) {
                word = take().word;
            } else if (skip_name("in")) {
                word = "in";
            } else if (is_name("not") && is_name(ahead(), "in")) {
                take();
                take();
                word = "not in";
            } else {
                return all ? std::move(all) : std::move(left);
            }
            if (!all) all = node(Kind::compare, line, std::move(left));
            all->words.push_back(std::move(word));
            all->parts.push_back(sum());
        }
    }

    template<class Operand>
    ExprPtr arithmetic(Words signs, Operand operand) {
        const int line = now().line;
        ExprPtr left = operand();
        int count = 0;
        while (is(TokenKind::sign) && std::ranges::find(signs, now().word) != signs.end()) {
            nests(count);
            const std::string word = take().word;
            left = node(Kind::arithmetic, line, std::move(left), operand());
            left->name = word;
        }
        return left;
    }

    ExprPtr sum() {
        return arithmetic({"+", "-"}, [&] { return joined(); });
    }

    ExprPtr joined() {
        const int line = now().line;
        ExprPtr first = product();
        if (!is_sign("~")) return first;
        ExprPtr all = node(Kind::joined, line, std::move(first));
        while (skip_sign("~")) all->parts.push_back(product());
        return all;
    }

    ExprPtr product() {
        return arithmetic({"*", "/", "//", "%"}, [&] { return power(); });
    }

    // Jinja's ** is made of what Python's is, but to the left.
    ExprPtr power() {
        return arithmetic({"**"}, [&] { return unary(true); });
    }

    ExprPtr unary(bool with_filters) {
        const int line = now().line;
        ExprPtr expr;
        if (is_sign("-") || is_sign("+")) {
            const Level level(*this);
            const Kind kind = take().word == "-" ? Kind::negative : Kind::positive;
            expr = node(kind, line, unary(false));
        } else {
            expr = primary(false);
        }
        expr = postfix(std::move(expr));
        return with_filters ? filter_or_test(std::move(expr)) : std::move(expr);
    }

    ExprPtr constant(int line, Value value) const {
        ExprPtr expr = node(Kind::constant, line);
        expr->constant = std::move(value);
        return expr;
    }

    ExprPtr primary(bool with_namespace) {
        const int line = now().line;
        switch (now().kind) {
            case TokenKind::name: {
                const std::string word = take().word;
                if (word == "true" || word == "True") return constant(line, Value::of(true));
                if (word == "false" || word == "False") return constant(line, Value::of(false));
                if (word == "none" || word == "None") return constant(line, None{});
                ExprPtr expr = node(Kind::name, line);
                expr->name = word;
                if (with_namespace && skip_sign(".")) {
                    expr->kind = Kind::attribute_target;
                    expr->words.push_back(expect_any_name());
                }
                return expr;
            }
            case TokenKind::string: {
                Chars text = std::move(take().text);
                while (is(TokenKind::string)) text += take().text;
                return constant(line, Value(std::move(text)));
            }
            case TokenKind::integer:
                return constant(line, Value::of(take().integer));
            case TokenKind::real:
                return constant(line, Value::of(take().real));
            default:
                break;
        }
        if (skip_sign("(")) {
            const Level level(*this);
            ExprPtr expr = tuple_or_expression(true, {}, true);
            expect_sign(")");
            return expr;
        }
        if (skip_sign("[")) {
            const Level level(*this);
            ExprPtr list = node(Kind::list, line);
            while (!is_sign("]")) {
                if (!list->parts.empty()) expect_sign(",");
                if (is_sign("]")) break;
                list->parts.push_back(expression());
            }
            expect_sign("]");
            return list;
        }
        if (skip_sign("{")) {
            const Level level(*this);
            ExprPtr dict = node(Kind::dict, line);
            while (!is_sign("}")) {
                if (!dict->parts.empty()) expect_sign(",");
                if (is_sign("}")) break;
                dict->parts.push_back(expression());
                expect_sign(":");
                dict->parts.push_back(expression());
            }
            expect_sign("}");
            return dict;
        }
        unexpected("an expression");
    }

    ExprPtr postfix(ExprPtr expr) {
        int count = 0;
        while (true) {
            if (is_sign("."))
                expr = dotted(std::move(expr));
            else if (is_sign("["))
                expr = subscript(std::move(expr));
            else if (is_sign("("))
                expr = call(std::move(expr));
            else
                return expr;
            nests(count);
        }
    }

    ExprPtr filter_or_test(ExprPtr expr) {
        int count = 0;
        while (true) {
            if (is_sign("|"))
                expr = filters(std::move(expr));
            else if (is_name("is"))
                expr = test(std::move(expr));
            else if (is_sign("("))
                expr = call(std::move(expr));
            else
                return expr;
            nests(count);
        }
    }

    ExprPtr dotted(ExprPtr expr) {
        const int line = take().line;
        if (is(TokenKind::name)) {
            ExprPtr attribute = node(Kind::attribute, line, std::move(expr));
            attribute->name = take().word;
            attribute->constant = Value(chars_of(attribute->name));
            return attribute;
        }
        if (!is(TokenKind::integer)) unexpected("a name or a number");
        return node(Kind::item, line, std::move(expr), constant(line, Value::of(take().integer)));
    }

    ExprPtr subscript(ExprPtr expr) {
        const int line = take().line;
        const Level level(*this);
        std::vector<ExprPtr> parts;
        std::optional<std::array<ExprPtr, 3>> slice;
        while (!is_sign("]")) {
            if (!parts.empty() || slice) expect_sign(",");
            if (slice) wrong(line, "slices of several dimensions are not supported");
            ExprPtr first;
            if (!is_sign(":")) {
                first = expression();
                if (!is_sign(":")) {
                    parts.push_back(std::move(first));
                    continue;
                }
            }
            take();
            slice.emplace();
            (*slice)[0] = std::move(first);
            if (!is_sign(":") && !is_sign("]") && !is_sign(",")) (*slice)[1] = expression();
            if (skip_sign(":") && !is_sign("]") && !is_sign(",")) (*slice)[2] = expression();
        }
        expect_sign("]");
        if (slice) {
            if (!parts.empty()) wrong(line, "slices of several dimensions are not supported");
            ExprPtr sliced = node(Kind::slice, line, std::move(expr));
            for (ExprPtr& part : *slice) sliced->parts.push_back(std::move(part));
            return sliced;
        }
        if (parts.size() == 1) return node(Kind::item, line, std::move(expr), std::move(parts[0]));
        ExprPtr tuple = node(Kind::tuple, line);
        tuple->parts = std::move(parts);
        return node(Kind::item, line, std::move(expr), std::move(tuple));
    }

    void arguments(Expr& to) {
        const int line = now().line;
        const Level level(*this);
        expect_sign("(");
        const auto ensure = [&](bool good) {
            if (!good) wrong(line, "invalid syntax for a call");
        };
        bool first = true;
        while (!is_sign(")")) {
            if (!first) {
                expect_sign(",");
                if (is_sign(")")) break;
            }
            first = false;
            if (skip_sign("*")) {
                ensure(!to.more_by_place && !to.more_by_name);
                to.more_by_place = expression();
            } else if (skip_sign("**")) {
                ensure(!to.more_by_name);
                to.more_by_name = expression();
            } else if (is(TokenKind::name) && ahead().kind == TokenKind::sign &&
                       ahead().word == "=") {
                ensure(!to.more_by_name);
                std::string name = take().word;
                take();
                for (const auto& other : to.by_name)
                    if (other.first == name)
                        wrong(line, fmt::format("keyword argument repeated: {}", printable(name)));
                to.by_name.emplace_back(std::move(name), expression());
            } else {
                ensure(!to.more_by_place && !to.more_by_name && to.by_name.empty());
                to.arguments.push_back(expression());
            }
        }
        expect_sign(")");
    }

    ExprPtr call(ExprPtr function) {
        ExprPtr expr = node(Kind::call, now().line, std::move(function));
        arguments(*expr);
        return expr;
    }

    std::string dotted_name() {
        std::string name = expect_any_name();
        while (skip_sign(".")) (name += '.') += expect_any_name();
        return name;
    }

    // Null without any, where there is nothing to filter.
    ExprPtr filters(ExprPtr expr, bool begins = false) {
        int count = 0;
        while (begins || is_sign("|")) {
            nests(count);
            if (!begins) take();
            begins = false;
            const int line = now().line;
            ExprPtr filter = node(Kind::filter, line);
            filter->parts.push_back(std::move(expr));
            filter->name = dotted_name();
            if (is_sign("(")) arguments(*filter);
            expr = std::move(filter);
        }
        return expr;
    }

    ExprPtr test(ExprPtr expr) {
        const int line = take().line;
        const bool negated = skip_name("not");
        ExprPtr test = node(Kind::test, line, std::move(expr));
        test->name = dotted_name();
        if (is_sign("(")) {
            arguments(*test);
        } else if ((is(TokenKind::name) && !is_any({"else", "or", "and"})) ||
                   is(TokenKind::string) || is(TokenKind::integer) || is(TokenKind::real) ||
                   is_sign("[") || is_sign("{")) {
            if (is_name("is")) wrong(line, "tests cannot be chained with is");
            test->arguments.push_back(postfix(primary(false)));
        }
        return negated ? node(Kind::negation, line, std::move(test)) : std::move(test);
    }

    std::vector<Token> tokens_;
    size_t at_ = 0;
    int depth_ = 0;
    std::vector<std::string> blocks_;
};

}  // namespace

Program parse(std::string_view source) {
    Program program;
    program.body = Parser(source).run();
    resolve(program);
    return program;
}

}  // namespace llmsql::jinja
