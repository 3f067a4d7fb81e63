// SPDX-License-Identifier: MIT
// Checking declarations. See declarations.h.
#include "compiler/check/declarations.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "compiler/check/scalar.h"

namespace llmsql::compiler {
namespace {

constexpr std::array kFormats{"gguf", "hf"};
struct Transform {
    std::string_view name;
    size_t least, most;  // how many numbers it takes
    std::string_view form;
};
constexpr std::array<Transform, 10> kTransforms{{{"unpermute", 1, 1, "unpermute(heads)"},
                                                {"plus", 1, 1, "plus(number)"},
                                                {"slice", 2, 3, "slice(first, rows)"},
                                                {"every", 2, 2, "every(step, first)"},
                                                {"flattened", 0, 0, "flattened()"},
                                                {"transposed", 0, 1, "transposed()"},
                                                {"either_way", 0, 0, "either_way()"},
                                                {"columns", 1, 1, "columns(number)"},
                                                {"minus_exp", 0, 0, "minus_exp()"},
                                                {"repeated", 0, 0, "repeated()"}}};

/// What a number or a let may be read from besides a key: rows("tensor") and the like. With the
/// texts that each takes.
struct Place {
    std::string_view name;
    size_t least, most;
};
constexpr size_t kAny = 1000;
constexpr std::array<Place, 8> kPlaces{{{"rows", 1, 1},
                                        {"cols", 1, 1},
                                        {"is", 2, kAny},
                                        {"largest", 1, 1},
                                        {"last", 1, 2},
                                        {"lists", 1, 1},
                                        {"count", 1, 1},
                                        {"there", 1, 1}}};

/// Reports dims, constants and lets that are defined by one another. Returns their names, so that a
/// use of a later one among them is not reported again.
std::set<std::string> find_cycles(const ast::Graph& graph, Diagnostics& errors) {
    std::map<std::string, std::vector<std::string>> uses;
    std::vector<ast::Name> order;
    for (const auto& item : graph.items) {
        if (const auto* number = std::get_if<ast::Number>(&item); number && number->value) {
            order.push_back(number->name);
            uses.emplace(number->name.text, names_in(*number->value));
        } else if (const auto* let = std::get_if<ast::Let>(&item)) {
            order.push_back(let->name);
            uses.emplace(let->name.text, names_in(let->value));
        }
    }
    std::set<std::string> reported;
    std::set<std::string> finished;
    for (const ast::Name& start : order) {
        // Depth first with a stack of its own: a file may chain thousands of names.
        std::vector<std::pair<std::string, size_t>> path{{start.text, 0}};
        while (!path.empty()) {
            auto& [name, next] = path.back();
            const auto found = uses.find(name);
            if (finished.contains(name) || found == uses.end() || next == found->second.size()) {
                finished.insert(name);
                path.pop_back();
                continue;
            }
            const std::string used = found->second[next++];
            const auto again =
                std::ranges::find(path, used, &std::pair<std::string, size_t>::first);
            if (again == path.end()) {
                path.emplace_back(used, 0);
                continue;
            }
            std::string circle;
            for (auto each = again; each != path.end(); ++each) {
                circle += each->first + " -> ";
                reported.insert(each->first);
            }
            const auto named = std::ranges::find(order, used, &ast::Name::text);
            errors.error(named->at,
                         fmt::format("'{}' is defined by itself: {}{}", used, circle, used));
        }
    }
    return reported;
}

class DeclarationChecker {
  public:
    DeclarationChecker(Scope& scope, ExpressionChecker& expressions, Diagnostics& errors)
        : scope_(scope), expressions_(expressions), errors_(errors) {}

    void run(const ast::Graph& graph) {
        check_formats(graph.annotations);
        for (const ast::Annotation& annotation : graph.annotations)
            for (const ast::Expr& arg : annotation.args)
                if (arg.kind != ast::Expr::Kind::text)
                    errors_.error(arg.at, "a text is needed here: the architecture's name");
        circular_ = find_cycles(graph, errors_);
        for (const auto& item : graph.items)
            std::visit([this](const auto& each) { later(each); }, item);
        for (const auto& item : graph.items) {
            std::visit([this](const auto& each) { declare(each); }, item);
            ++order_;
        }
        scope_.later.clear();
    }

  private:
    void later(const ast::Number& number) {
        scope_.later.emplace(number.name.text, number.name.at);
    }
    void later(const ast::Let& let) { scope_.later.emplace(let.name.text, let.name.at); }
    void later(const ast::Parameter& param) {
        scope_.later.emplace(param.name.text, param.name.at);
    }
    void later(const ast::State& state) { scope_.later.emplace(state.name.text, state.name.at); }
    void later(const ast::Require&) {}
    void later(const ast::Ignore&) {}
    void later(const ast::Block&) {}
    void later(const ast::Define&) {}
    void later(const ast::Forward&) {}

    /// False, and an error, if the name is taken.
    bool is_new(const ast::Name& name) {
        std::optional<Position> taken;
        if (const auto found = scope_.globals.find(name.text); found != scope_.globals.end())
            taken = found->second.at;
        if (const auto found = scope_.blocks.find(name.text); found != scope_.blocks.end())
            taken = found->second.at;
        if (scope_.inside != nullptr) {
            if (name.text == "index") {
                errors_.error(name.at, "'index' is the number of the repetition of a block");
                return false;
            }
            const auto found = scope_.inside->members.find(name.text);
            if (found != scope_.inside->members.end()) taken = found->second.at;
        }
        if (!taken) return true;
        errors_.error(name.at,
                      fmt::format("'{}' is already declared, in line {}", name.text, taken->line));
        return false;
    }

    /// An unknown value in place of what a circle would define, so that nothing else is reported.
    bool is_circular(const std::string& name) const { return circular_.contains(name); }

    void declare(const ast::Number& number) {
        check_number_sources(number.annotations, !is_circular(number.name.text));
        const char* what = number.is_dim ? "dim" : "constant";
        if (number.value && !is_circular(number.name.text))
            expressions_.need_number(*number.value, scope_);
        if (!is_new(number.name)) return;
        if (scope_.inside == nullptr) scope_.later.erase(number.name.text);
        const Type type = number.is_dim ? Type::number(Dimension::named(number.name.text, order_))
                                        : Type::number();
        if (members_ != nullptr)
            members_->emplace(number.name.text, Named{type, number.name.at, what});
        else
            scope_.globals.emplace(number.name.text, Named{type, number.name.at, what});
    }

    void declare(const ast::Let& let) {
        check_number_sources(let.annotations);
        const Type type = is_circular(let.name.text) ? Type{} : check_value(let.value);
        if (!is_new(let.name)) return;
        scope_.later.erase(let.name.text);
        scope_.globals.emplace(let.name.text, Named{type, let.name.at, "let"});
    }

    Type check_value(const ast::Expr& value) {
        Type type = expressions_.check(value, scope_);
        if (type.kind == Type::Kind::number || type.kind == Type::Kind::truth ||
            type.kind == Type::Kind::unknown)
            return type;
        errors_.error(value.at, fmt::format("a number or a condition is needed here, not {}",
                                            describe(type)));
        return {};
    }

    void declare(const ast::Require& require) {
        expressions_.need_truth(require.condition, scope_);
    }

    void declare(const ast::Ignore& ignore) {
        check_formats(ignore.annotations);
        for (const ast::Annotation& annotation : ignore.annotations)
            for (const ast::Expr& arg : annotation.args)
                if (arg.kind != ast::Expr::Kind::text && !is_call_of_texts(arg, "tensors"))
                    errors_.error(arg.at,
                                  "a metadata key in quotes is needed here, or "
                                  "tensors(\"pattern\")");
    }

    static bool is_call_of_texts(const ast::Expr& arg, std::string_view name) {
        return arg.kind == ast::Expr::Kind::call && arg.text == name && !arg.operands.empty() &&
               std::ranges::all_of(
                   arg.operands,
                   [](const ast::Expr& each) { return each.kind == ast::Expr::Kind::text; }) &&
               std::ranges::all_of(arg.labels,
                                   [](const ast::Name& label) { return label.text.empty(); });
    }

    void declare(const ast::Parameter& param) {
        const Type type = check_parameter(param);
        if (!is_new(param.name)) return;
        scope_.later.erase(param.name.text);
        scope_.globals.emplace(param.name.text, named(type, param));
    }

    static Named named(Type type, const ast::Parameter& param) {
        return {std::move(type), param.name.at, "parameter", param.when, param.optional};
    }

    void declare(const ast::State& state) {
        const Type type = check_state(state);
        if (!is_new(state.name)) return;
        scope_.later.erase(state.name.text);
        scope_.globals.emplace(state.name.text, Named{type, state.name.at, "state"});
    }

    void declare(const ast::Block& block) {
        expressions_.need_number(block.count, scope_);
        const bool fresh = is_new(block.name);
        BlockNames symbols{block.name.at, {}};
        scope_.inside = &symbols;
        members_ = &symbols.members;
        for (const auto& item : block.items) {
            if (const auto* param = std::get_if<ast::Parameter>(&item)) {
                Type type = check_parameter(*param);
                if (is_new(param->name))
                    symbols.members.emplace(param->name.text, named(std::move(type), *param));
            } else if (const auto* state = std::get_if<ast::State>(&item)) {
                Type type = check_state(*state);
                if (is_new(state->name))
                    symbols.members.emplace(state->name.text,
                                            Named{std::move(type), state->name.at, "state"});
            } else if (const auto* number = std::get_if<ast::Number>(&item)) {
                declare(*number);
            } else {
                const auto& let = std::get<ast::Let>(item);
                check_number_sources(let.annotations);
                Type type = check_value(let.value);
                type.dim.reset();  // it may differ from one repetition to the next
                if (is_new(let.name))
                    symbols.members.emplace(let.name.text,
                                            Named{std::move(type), let.name.at, "let"});
            }
        }
        scope_.inside = nullptr;
        members_ = nullptr;
        if (fresh) scope_.blocks.emplace(block.name.text, std::move(symbols));
    }

    void declare(const ast::Define& define) {
        if (find_operator(define.name.text) || arguments_of_function(define.name.text) > 0 ||
            define.name.text == "has")
            errors_.error(define.name.at,
                          fmt::format("'{}' is an operator's name", define.name.text));
        else if (!scope_.defines.emplace(define.name.text, &define).second)
            errors_.error(define.name.at,
                          fmt::format("'{}' is already defined in line {}", define.name.text,
                                      scope_.defines.at(define.name.text)->name.at.line));
        std::set<std::string> names;
        for (const ast::Name& parameter : define.parameters)
            if (!names.insert(parameter.text).second)
                errors_.error(parameter.at,
                              fmt::format("'{}' is a parameter already", parameter.text));
    }

    void declare(const ast::Forward&) {}  // after all declarations

    Type check_state(const ast::State& state) {
        Type type{Type::Kind::state, std::nullopt, {}, false};
        for (const ast::Expr& dim : state.shape) {
            const auto size = expressions_.dimension(dim, scope_);
            if (!size) return {};
            type.shape.push_back(*size);
        }
        if (state.shape.size() <= 3) return type;
        errors_.error(state.name.at,
                      fmt::format("'{}' has {} dimensions; a state has three at most",
                                  state.name.text, state.shape.size()));
        return {};
    }

    Type check_parameter(const ast::Parameter& param) {
        check_formats(param.annotations);
        for (const ast::Annotation& annotation : param.annotations)
            check_tensor_source(annotation, param);
        if (param.when) expressions_.need_truth(*param.when, scope_);
        Type type{Type::Kind::param, std::nullopt, {}, param.optional || param.when.has_value()};
        bool known = true;
        for (const ast::Expr& dim : param.shape) {
            if (const auto size = expressions_.dimension(dim, scope_)) {
                type.shape.push_back(*size);
            } else {
                known = false;
            }
        }
        if (param.shape.size() > 3) {
            errors_.error(param.name.at,
                          fmt::format("'{}' has {} dimensions; a parameter is a vector [n], a "
                                      "matrix [rows, columns] or a table of matrices [count, rows, "
                                      "columns]",
                                      param.name.text, param.shape.size()));
            known = false;
        }
        if (param.shape.size() == 3 && (param.optional || param.tied)) {
            errors_.error(
                param.name.at,
                fmt::format("'{}' is a table of matrices; every model has it, or those for which "
                            "a condition holds (`when`), and nothing stands in for it",
                            param.name.text));
            known = false;
        }
        if (param.tied) {
            if (param.optional)
                errors_.error(param.tied->at,
                              "a parameter is optional or has a stand-in, not both");
            const Type other = tied_to(*param.tied);
            if (other.may_be_absent) {
                errors_.error(param.tied->at,
                              fmt::format("'{}' is optional and cannot stand in for "
                                          "another",
                                          param.tied->text));
            } else if (known && other.kind == Type::Kind::param && other.shape != type.shape) {
                errors_.error(
                    param.tied->at,
                    fmt::format("'{}' is {}, but its stand-in '{}' is {}", param.name.text,
                                shape_text(type.shape), param.tied->text, shape_text(other.shape)));
            }
        }
        return known ? type : Type{};
    }

    Type tied_to(const ast::Name& name) {
        ast::Expr expr;
        expr.kind = ast::Expr::Kind::name;
        expr.at = name.at;
        expr.text = name.text;
        const Type type = expressions_.check(expr, scope_);
        if (type.kind != Type::Kind::param && type.kind != Type::Kind::unknown)
            errors_.error(name.at,
                          fmt::format("a parameter is needed here, not {}", describe(type)));
        return type;
    }

    void check_formats(const std::vector<ast::Annotation>& annotations) {
        std::set<std::string> seen;
        for (const ast::Annotation& annotation : annotations) {
            const std::string& format = annotation.format.text;
            if (std::ranges::find(kFormats, format) == kFormats.end())
                errors_.error(
                    annotation.format.at,
                    fmt::format("unknown source format '{}'; there are gguf and hf", format));
            if (!seen.insert(format).second)
                errors_.error(
                    annotation.format.at,
                    fmt::format("a second @{}; several places can be listed in one", format));
        }
    }

    void check_number_sources(const std::vector<ast::Annotation>& annotations,
                              bool with_default = false) {
        check_formats(annotations);
        for (const ast::Annotation& annotation : annotations)
            for (const ast::Expr& arg : annotation.args)
                check_number_source(arg, with_default && &arg == &annotation.args.back());
    }

    /// "key", rows("tensor"), cols("tensor"), is("key", "text", …), largest("key"), lists("key") or
    /// there("tensor"); at the end of a dim's or const's annotation also an expression, which
    /// counts where such a source says nothing.
    void check_number_source(const ast::Expr& arg, bool may_be_default) {
        const auto place = std::ranges::find(kPlaces, arg.text, &Place::name);
        const bool call = arg.kind == ast::Expr::Kind::call && place != kPlaces.end();
        if (arg.kind != ast::Expr::Kind::text && !call && may_be_default) {
            expressions_.need_number(arg, scope_);
            return;
        }
        const bool texts = call && is_call_of_texts(arg, arg.text) &&
                           arg.operands.size() >= place->least &&
                           arg.operands.size() <= place->most;
        if (arg.kind != ast::Expr::Kind::text && !texts)
            errors_.error(arg.at,
                          "a metadata key in quotes is needed here, or rows(\"tensor\"), "
                          "cols(\"tensor\"), is(\"key\", \"text\"), there(\"tensor\"), "
                          "largest(\"key\"), last(\"key\"), lists(\"key\") or count(\"key\")");
        const ast::Expr& key = texts ? arg.operands.front() : arg;
        if (texts && arg.text == "lists" && scope_.inside == nullptr)
            errors_.error(arg.at,
                          "lists(\"key\") says whether a list has the number of the repetition, "
                          "and this is in no block");
        if (scope_.inside == nullptr && key.text.find("{i}") != std::string::npos)
            errors_.error(key.at, "{i} stands for the repetition of a block, and this is in none");
    }

    /// computed(expression of `element` [, when = condition]), of a vector.
    void check_computed(const ast::Expr& call, const ast::Parameter& param) {
        if (param.shape.size() != 1)
            errors_.error(call.at, "only a vector can be computed: its values go by `element`");
        const bool whole = call.operands.size() == 2 && call.labels[1].text == "when";
        if ((call.operands.size() != 1 && !whole) || !call.labels[0].text.empty()) {
            errors_.error(
                call.at, "computed takes an expression of `element`, and perhaps when = condition");
            return;
        }
        if (whole && !param.optional)
            errors_.error(call.labels[1].at,
                          "`when` says whether an optional parameter is there; this one always is");
        if (whole) expressions_.need_truth(call.operands[1], scope_);
        scope_.variables.emplace("element", Named{Type::number(), call.at, "element"});
        expressions_.need_number(call.operands[0], scope_);
        scope_.variables.erase("element");
    }

    /// computed(…), or values("key", …); or names of tensors, the first that there is, each perhaps
    /// followed by what is done to it.
    void check_tensor_source(const ast::Annotation& annotation, const ast::Parameter& param) {
        const ast::Expr& first = annotation.args.front();
        if (first.kind == ast::Expr::Kind::call &&
            (first.text == "computed" || first.text == "values")) {
            if (first.text == "computed")
                check_computed(first, param);
            else
                check_values(first, param);
            if (annotation.args.size() > 1)
                errors_.error(annotation.args[1].at, first.text == "computed"
                                                         ? "what is computed needs no transform"
                                                         : "a list of numbers takes no transform");
            return;
        }
        if (first.kind != ast::Expr::Kind::text)
            errors_.error(first.at,
                          "the tensor's name in quotes is needed here, or computed(expression), "
                          "or values(\"key\")");
        for (size_t i = first.kind == ast::Expr::Kind::text ? 0 : 1; i < annotation.args.size();
             ++i) {
            const ast::Expr& arg = annotation.args[i];
            if (arg.kind == ast::Expr::Kind::text)
                check_tensor_name(arg, param);
            else
                check_transform(arg);
        }
    }

    void check_tensor_name(const ast::Expr& tensor, const ast::Parameter& param) {
        if (tensor.text.empty()) {
            errors_.error(tensor.at, "a tensor has a name, this one is empty");
        } else {
            const size_t index = tensor.text.find("{i}");
            const bool in_block = scope_.inside != nullptr;
            if (in_block && index == std::string::npos)
                errors_.error(tensor.at,
                              "{i} is missing: in a block each repetition has a tensor of "
                              "its own");
            if (!in_block && index != std::string::npos)
                errors_.error(tensor.at,
                              "{i} stands for the repetition of a block, and this parameter "
                              "is in none");
        }
        if (param.shape.size() != 3 && tensor.text.find("{j}") != std::string::npos)
            errors_.error(tensor.at,
                          "{j} stands for the matrix of a table, and this parameter is none");
    }

    void check_transform(const ast::Expr& transform) {
        const auto known = std::ranges::find(kTransforms, transform.text, &Transform::name);
        if (transform.kind != ast::Expr::Kind::call || known == kTransforms.end()) {
            std::string forms;
            for (size_t i = 0; i < kTransforms.size(); ++i)
                forms += fmt::format("{}{}",
                                     i == 0                        ? ""
                                     : i + 1 == kTransforms.size() ? " and "
                                                                   : ", ",
                                     kTransforms[i].form);
            errors_.error(transform.at, fmt::format("unknown transform {}; there are {}",
                                                    to_text(transform), forms));
        } else if (transform.operands.size() < known->least ||
                   transform.operands.size() > known->most ||
                   !std::ranges::all_of(transform.labels,
                                        [](const auto& label) { return label.text.empty(); })) {
            errors_.error(transform.at, fmt::format("{} takes {}: {}", transform.text,
                                                    known->most == 0   ? "nothing"
                                                    : known->most == 1 ? "one number"
                                                    : known->most == 2 ? "two numbers"
                                                                       : "two numbers or three",
                                                    known->form));
        } else {
            for (const ast::Expr& number : transform.operands)
                expressions_.need_number(number, scope_);
        }
    }

    /// values("key", …): a list of the source, of as many numbers as the vector has elements.
    void check_values(const ast::Expr& call, const ast::Parameter& param) {
        if (param.shape.size() != 1)
            errors_.error(call.at, "only a vector can be a list of the source's numbers");
        if (!is_call_of_texts(call, "values"))
            errors_.error(call.at, "values takes metadata keys in quotes");
    }

    Scope& scope_;
    ExpressionChecker& expressions_;
    Diagnostics& errors_;
    std::set<std::string> circular_;
    std::map<std::string, Named>* members_ = nullptr;  // of the block that is being declared
    int order_ = 0;
};

}  // namespace

void check_declarations(const ast::Graph& graph, Scope& scope, ExpressionChecker& expressions,
                        Diagnostics& errors) {
    DeclarationChecker(scope, expressions, errors).run(graph);
}

}  // namespace llmsql::compiler
