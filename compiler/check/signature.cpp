// SPDX-License-Identifier: MIT
// Shape rules of operators. See signature.h.
#include "compiler/check/signature.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <mutex>

#include "common/error.h"
#include "compiler/parse/parser.h"

namespace llmsql::compiler {
namespace {

/// Parses "(x: [T, k], weight: param[n, k], bias: param[n]?, scale: number = 1 / sqrt(d)) -> [T,
/// n]".
class RuleParser {
  public:
    explicit RuleParser(const Operator& op) : op_(op), text_(op.signature) {}

    Signature parse() {
        Signature signature;
        expect("(");
        do signature.params.push_back(param());
        while (accept(","));
        expect(")");
        if (op_.name.empty()) return signature;  // not for graphs: its result is said in words
        expect("->");
        signature.result = shape();
        return signature;
    }

  private:
    SignatureParam param() {
        SignatureParam made;
        made.name = word();
        expect(":");
        if (accept("table")) {
            made.kind = SignatureParam::Kind::param;
            made.shape = shape();
        } else if (accept("param")) {
            made.kind = SignatureParam::Kind::param;
            made.shape = shape();
            made.optional = accept("?");
        } else if (accept("state")) {
            made.kind = SignatureParam::Kind::state;
            made.shape = shape();
        } else if (accept("tokens")) {
            made.kind = SignatureParam::Kind::tokens;
        } else if (accept("number")) {
            made.kind = SignatureParam::Kind::number;
            if (accept("=")) made.default_value = parse_expression(until_next_param());
        } else {
            made.shape = shape();
        }
        return made;
    }

    ShapePattern shape() {
        ShapePattern made;
        expect("[");
        do {
            DimPattern dim;
            if (accept("...")) {
                dim.any = true;
            } else {
                do dim.factors.push_back(word());
                while (accept("*"));
            }
            made.push_back(std::move(dim));
        } while (accept(","));
        expect("]");
        return made;
    }

    void skip_spaces() {
        while (at_ < text_.size() && text_[at_] == ' ') ++at_;
    }

    bool accept(std::string_view token) {
        skip_spaces();
        if (!text_.substr(at_).starts_with(token)) return false;
        at_ += token.size();
        return true;
    }

    void expect(std::string_view token) {
        if (!accept(token)) malformed();
    }

    std::string word() {
        skip_spaces();
        const size_t start = at_;
        while (at_ < text_.size() &&
               (text_[at_] == '_' || std::isalnum(static_cast<unsigned char>(text_[at_])) != 0))
            ++at_;
        if (at_ == start) malformed();
        return std::string(text_.substr(start, at_ - start));
    }

    /// A default ends at the comma or bracket that ends its parameter.
    std::string_view until_next_param() {
        const size_t start = at_;
        for (int depth = 0; at_ < text_.size(); ++at_) {
            if (text_[at_] == '(') ++depth;
            if (depth == 0 && (text_[at_] == ',' || text_[at_] == ')')) break;
            if (text_[at_] == ')') --depth;
        }
        return text_.substr(start, at_ - start);
    }

    [[noreturn]] void malformed() {
        fail("operator table: the signature of {} is malformed at character {}: {}", op_.name,
             at_ + 1, op_.signature);
    }

    const Operator& op_;
    std::string_view text_;
    size_t at_ = 0;
};

bool is_whole_number(const std::string& factor) {
    return std::isdigit(static_cast<unsigned char>(factor.front())) != 0;
}

std::string pattern_text(const DimPattern& dim, const std::map<std::string, Dimension>& dims,
                         const std::optional<Shape>& run) {
    if (dim.any) {
        if (!run) return "...";
        const std::string text = shape_text(*run);
        return text.substr(1, text.size() - 2);
    }
    std::optional<Dimension> product = Dimension::constant(1);
    std::string names;
    for (const std::string& factor : dim.factors) {
        const auto found = dims.find(factor);
        if (found == dims.end()) {
            product.reset();
        } else if (product) {
            product = *product * found->second;
        }
        names += (names.empty() ? "" : "*") + (found == dims.end() || is_whole_number(factor)
                                                   ? factor
                                                   : "(" + found->second.text() + ")");
    }
    if (product) return product->text();
    return names;
}

class Unifier {
  public:
    Unifier(const Operator& op, const std::vector<Operand>& operands)
        : signature_(signature_of(op)), operands_(operands) {
        // A whole number in a rule is a name for itself.
        for (const SignatureParam& param : signature_.params)
            for (const DimPattern& dim : param.shape)
                for (const std::string& factor : dim.factors)
                    if (is_whole_number(factor))
                        bind(factor, Dimension::constant(std::stoll(factor)), kTheRule);
    }

    Inference run() {
        if (!bind_numbers()) return std::move(made_);
        for (size_t i = 0; i < signature_.params.size(); ++i) {
            if (!operands_[i].given) continue;
            const SignatureParam& param = signature_.params[i];
            if (param.kind == SignatureParam::Kind::tokens) {
                bind("T", operands_[i].shape.at(0), i);
            } else if (param.kind != SignatureParam::Kind::number && !match(param, i)) {
                made_.failed = static_cast<int>(i);
                made_.message = mismatch(param, i);
                forget(i);
                break;
            }
        }
        set_result();
        return std::move(made_);
    }

  private:
    void bind(const std::string& name, const Dimension& value, size_t param) {
        made_.dims.emplace(name, value);
        sources_.emplace(name, param);
    }

    /// What a parameter that does not fit seemed to say.
    void forget(size_t param) {
        std::erase_if(made_.dims,
                      [&](const auto& each) { return sources_.at(each.first) == param; });
        if (run_source_ == param) run_.reset();
    }

    /// Leaves the result empty where it is not fixed, which only happens after a failure.
    void set_result() {
        Shape result;
        for (const DimPattern& dim : signature_.result) {
            if (dim.any) {
                if (!run_) return;
                result.insert(result.end(), run_->begin(), run_->end());
                continue;
            }
            std::optional<Dimension> product = Dimension::constant(1);
            for (const std::string& factor : dim.factors) {
                const auto found = made_.dims.find(factor);
                if (found == made_.dims.end()) return;
                if (product) product = *product * found->second;
            }
            if (!product) {
                made_.failed = 0;
                made_.message = "the shape of the result is too complicated";
                return;
            }
            result.push_back(*product);
        }
        made_.result = std::move(result);
    }

    /// A number that names a dimension of a shape fixes it before any shape is looked at.
    bool bind_numbers() {
        for (size_t i = 0; i < signature_.params.size(); ++i) {
            const SignatureParam& param = signature_.params[i];
            if (param.kind != SignatureParam::Kind::number || !operands_[i].given ||
                !names_dimension(param.name))
                continue;
            if (!operands_[i].number) {
                made_.failed = static_cast<int>(i);
                made_.message = fmt::format(
                    "{} fixes a dimension, so it must be made of dims and "
                    "whole numbers",
                    param.name);
                return false;
            }
            bind(param.name, *operands_[i].number, i);
        }
        return true;
    }

    bool names_dimension(const std::string& name) const {
        const auto in = [&](const ShapePattern& shape) {
            return std::ranges::any_of(shape, [&](const DimPattern& dim) {
                return std::ranges::find(dim.factors, name) != dim.factors.end();
            });
        };
        return in(signature_.result) ||
               std::ranges::any_of(signature_.params,
                                   [&](const SignatureParam& param) { return in(param.shape); });
    }

    bool match(const SignatureParam& param, size_t index) {
        const Shape& shape = operands_[index].shape;
        const auto any = std::ranges::find_if(param.shape, &DimPattern::any);
        const bool has_run = any != param.shape.end();
        const size_t fixed = param.shape.size() - (has_run ? 1 : 0);
        if (has_run ? shape.size() < fixed : shape.size() != fixed) return false;
        size_t at = 0;
        for (const DimPattern& dim : param.shape) {
            if (dim.any) {
                const size_t length = shape.size() - fixed;
                const Shape run(shape.begin() + static_cast<std::ptrdiff_t>(at),
                                shape.begin() + static_cast<std::ptrdiff_t>(at + length));
                if (run_ && *run_ != run) return false;
                if (!run_) run_source_ = index;
                run_ = run;
                at += length;
            } else if (!match(dim, shape[at++], index)) {
                return false;
            }
        }
        return true;
    }

    /// All factors but one known: the last is what remains. (The table has no rule with two
    /// unknown.)
    bool match(const DimPattern& dim, const Dimension& actual, size_t index) {
        Dimension rest = actual;
        const std::string* unknown = nullptr;
        for (const std::string& factor : dim.factors) {
            const auto found = made_.dims.find(factor);
            if (found == made_.dims.end()) {
                if (unknown != nullptr) return false;
                unknown = &factor;
                continue;
            }
            const auto divided = rest / found->second;
            if (!divided) return false;
            rest = *divided;
        }
        if (unknown == nullptr) return rest == Dimension::constant(1);
        bind(*unknown, rest, index);
        return true;
    }

    std::string mismatch(const SignatureParam& param, size_t index) const {
        std::string needed = "[";
        std::vector<size_t> because;
        const auto blame = [&](size_t source) {
            if (source != index && source != kTheRule &&
                std::ranges::find(because, source) == because.end())
                because.push_back(source);
        };
        // Names bound by this very argument before it failed are shown as names.
        std::map<std::string, Dimension> known;
        for (const auto& [name, value] : made_.dims)
            if (sources_.at(name) != index) known.emplace(name, value);
        const bool run_known = run_ && run_source_ != index;
        for (const DimPattern& dim : param.shape) {
            if (needed.size() > 1) needed += ", ";
            needed += pattern_text(dim, known, run_known ? run_ : std::nullopt);
            if (dim.any && run_known) blame(run_source_);
            for (const std::string& factor : dim.factors)
                if (known.contains(factor)) blame(sources_.at(factor));
        }
        needed += "]";
        std::string reason;
        for (const size_t source : because) {
            const Operand& operand = operands_[source];
            reason +=
                fmt::format("{}{} {}", reason.empty() ? " to go with " : " and ",
                            signature_.params[source].name,
                            operand.number ? operand.number->text() : shape_text(operand.shape));
        }
        std::string hint;
        if (param.kind == SignatureParam::Kind::tensor && param.shape.size() == 3 &&
            operands_[index].shape.size() == 2)
            hint = "; heads(x, n) splits the last dimension";
        return fmt::format("{} has the shape {}, but must be {}{}{}", param.name,
                           shape_text(operands_[index].shape), needed, reason, hint);
    }

    static constexpr size_t kTheRule = static_cast<size_t>(-1);  // in place of a parameter's index

    const Signature& signature_;
    const std::vector<Operand>& operands_;
    Inference made_;
    std::map<std::string, size_t> sources_;  // which parameter fixed a name
    std::optional<Shape> run_;
    size_t run_source_ = 0;
};

}  // namespace

bool is_default(const SignatureParam& param, double number) {
    return param.default_value && param.default_value->kind == ast::Expr::Kind::number &&
           param.default_value->number == number;
}

size_t Signature::required() const {
    return static_cast<size_t>(std::ranges::count_if(params, [](const SignatureParam& param) {
        return !param.optional && !param.default_value;
    }));
}

const Signature& signature_of(const Operator& op) {
    static std::mutex mutex;
    static std::map<std::string, Signature, std::less<>> parsed;  // by the rule's text
    const std::lock_guard guard(mutex);
    const auto found = parsed.find(op.signature);
    if (found != parsed.end()) return found->second;
    return parsed.emplace(op.signature, RuleParser(op).parse()).first->second;
}

std::optional<std::vector<int>> match_arguments(const Operator& op, const ast::Expr& call,
                                                Diagnostics& errors) {
    const Signature& signature = signature_of(op);
    std::vector<std::string> names;
    for (const SignatureParam& param : signature.params) names.push_back(param.name);
    if (call.operands.size() > names.size()) {
        errors.error(call.at, fmt::format("{} takes at most {} argument{} ({}), not {}", op.name,
                                          names.size(), names.size() == 1 ? "" : "s",
                                          fmt::join(names, ", "), call.operands.size()));
        return std::nullopt;
    }
    std::vector<int> matched(names.size(), -1);
    bool sound = true, named = false;
    for (size_t i = 0; i < call.operands.size(); ++i) {
        size_t index = i;
        const ast::Name& label = call.labels[i];
        if (!label.text.empty()) {
            named = true;
            const auto found = std::ranges::find(names, label.text);
            if (found == names.end()) {
                const std::string maybe = suggestion(label.text, names);
                errors.error(
                    label.at,
                    fmt::format("{} has no argument '{}'{}", op.name, label.text,
                                maybe.empty() ? fmt::format("; it takes {}", fmt::join(names, ", "))
                                              : maybe));
                sound = false;
                continue;
            }
            index = static_cast<size_t>(found - names.begin());
        } else if (named) {
            errors.error(call.operands[i].at,
                         "an argument without a name cannot follow a named one");
            sound = false;
            continue;
        }
        if (matched[index] >= 0) {
            errors.error(label.at,
                         fmt::format("{} is given its argument '{}' twice", op.name, names[index]));
            sound = false;
            continue;
        }
        matched[index] = static_cast<int>(i);
    }
    if (!sound) return std::nullopt;
    std::vector<std::string> missing;
    for (size_t i = 0; i < names.size(); ++i)
        if (matched[i] < 0 && !signature.params[i].optional && !signature.params[i].default_value)
            missing.push_back(names[i]);
    if (!missing.empty()) {
        errors.error(call.at,
                     fmt::format("{} needs {} argument{} ({}); {} {} missing", op.name,
                                 signature.required() == names.size()
                                     ? std::to_string(names.size())
                                     : fmt::format("{} to {}", signature.required(), names.size()),
                                 names.size() == 1 ? "" : "s", fmt::join(names, ", "),
                                 fmt::join(missing, ", "), missing.size() == 1 ? "is" : "are"));
        return std::nullopt;
    }
    return matched;
}

Inference infer(const Operator& op, const std::vector<Operand>& operands) {
    return Unifier(op, operands).run();
}

}  // namespace llmsql::compiler
