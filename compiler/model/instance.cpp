// SPDX-License-Identifier: MIT
// Graph plus numbers. See instance.h.
#include "compiler/model/instance.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace llmsql::compiler {
namespace {

constexpr double kMaxElements = 1099511627776.0;  // 2^40, of a dim and of a whole parameter
constexpr double kMaxState = 2147483648.0;        // 2^31, of a state
constexpr double kMaxRepeats = 4096;              // of a block
constexpr size_t kMaxParams = 1 << 18;            // of a model; more are a slip in its numbers
constexpr int64_t kMaxComputed = 1 << 20;         // elements of a computed parameter
constexpr int64_t kMaxAllComputed = 1 << 22;      // and of all

/// Where an expression stands: at the top (index -1) or in one repetition of a block.
struct Place {
    const ast::Block* block = nullptr;
    int64_t index = -1;
    std::map<std::string, Scalar>* lets = nullptr;
};

class Instantiation {
  public:
    Instantiation(const Given& given, const InstanceReport& report)
        : given_(given), report_(report) {}

    Instance run(const ast::Graph& graph) {
        for (const auto& item : graph.items)
            std::visit([this](const auto& each) { declare(each); }, item);
        return std::move(made_);
    }

  private:
    Scalar look_up(const ast::Expr& expr, const Place& place) const {
        if (expr.kind == ast::Expr::Kind::call && expr.text == "has") {
            const std::string& name = expr.operands.at(0).text;
            if (place.block != nullptr && declares(*place.block, name))
                return made_.has(full_name(place.block->name.text, place.index, name));
            return made_.has(name);
        }
        if (place.lets != nullptr) {
            if (expr.text == "index") return static_cast<double>(place.index);
            if (const auto found = place.lets->find(expr.text); found != place.lets->end())
                return found->second;
        }
        const auto found = made_.scalars.find(expr.text);
        if (found == made_.scalars.end()) throw EvalError{expr.at, ""};
        return found->second;
    }

    static bool declares(const ast::Block& block, const std::string& name) {
        for (const auto& item : block.items)
            if (const auto* param = std::get_if<ast::Parameter>(&item))
                if (param->name.text == name) return true;
        return false;
    }

    Scalar value_of(const ast::Expr& expr, const Place& place) const {
        return evaluate(expr, [&](const ast::Expr& leaf) { return look_up(leaf, place); });
    }

    double number(const ast::Expr& expr, const Place& place) const {
        return number_of(expr, value_of(expr, place));
    }

    void report(const EvalError& error, const ast::Expr& expr) {
        if (!error.message.empty()) report_(error.at, names_in(expr), error.message);
    }

    static bool is_size(double value) {
        return value >= 1 && value <= kMaxElements && value == std::floor(value);
    }

    void declare(const ast::Number& number) {
        const std::string& name = number.name.text;
        double value = 0;
        if (const auto found = given_.numbers.find(name); found != given_.numbers.end()) {
            value = found->second;
            if (!std::isfinite(value)) {
                report_(number.name.at, {name},
                        fmt::format("'{}' is {}, but it must be a finite number", name,
                                    number_text(value)));
                return;
            }
            if (number.is_dim && !is_size(value)) {
                report_(number.name.at, {name},
                        fmt::format("dim '{}' is {}, but a dim is a whole number from 1 to 2^40",
                                    name, number_text(value)));
                return;
            }
        } else if (number.value) {
            try {
                value = this->number(*number.value, {});
            } catch (const EvalError& error) {
                report(error, *number.value);
                return;
            }
            if (number.is_dim && !is_size(value)) {
                report_(number.name.at, names_in(*number.value),
                        fmt::format("dim '{}' = {} comes to {}, but a dim is a whole number from 1 "
                                    "to 2^40",
                                    name, bare_text(*number.value), number_text(value)));
                return;
            }
        } else {
            return;
        }
        made_.numbers[name] = value;
        made_.scalars[name] = value;
    }

    void declare(const ast::Let& let) {
        try {
            const Scalar value = value_of(let.value, {});
            made_.scalars[let.name.text] = value;
            compare(let, value, {});
        } catch (const EvalError& error) {
            report(error, let.value);
        }
    }

    /// What follows from other numbers and what the source says itself must be the same.
    void compare(const ast::Let& let, const Scalar& value, const Place& place) {
        if (let.annotations.empty() || !given_.said) return;
        const std::optional<Said> said = given_.said(let, place.index);
        const double own = std::visit([](auto each) { return static_cast<double>(each); }, value);
        if (!said || said->value == own) return;
        const std::string of =
            place.block ? fmt::format(" of {} {}", place.block->name.text, place.index) : "";
        report_(let.name.at, {},
                fmt::format("'{}'{} is {} in this graph, but not in the source: {}", let.name.text,
                            of, number_text(own), said->words));
        ++reports_;
    }

    void declare(const ast::Require& require) {
        try {
            if (truth_of(require.condition, value_of(require.condition, {}))) return;
        } catch (const EvalError& error) {
            report(error, require.condition);
            return;
        }
        required_ = false;
        std::string values;
        for (const std::string& name : names_in(require.condition)) {
            const auto found = made_.numbers.find(name);
            if (found == made_.numbers.end()) continue;
            values += fmt::format("{}{} = {}", values.empty() ? "" : ", ", name,
                                  number_text(found->second));
        }
        report_(require.at, names_in(require.condition),
                fmt::format("the graph requires {}, but {}{}{}", bare_text(require.condition),
                            values, require.reason.empty() ? "" : ": ", require.reason));
    }

    void declare(const ast::Ignore&) {}   // the importer's part
    void declare(const ast::Forward&) {}  // the lowering's part

    void declare(const ast::Parameter& param) { declare(param, {}); }
    void declare(const ast::State& state) { declare(state, {}); }

    void declare(const ast::Block& block) {
        double count = 0;
        try {
            count = number(block.count, {});
        } catch (const EvalError& error) {
            report(error, block.count);
            return;
        }
        if (!is_size(count) || count > kMaxRepeats) {
            report_(block.name.at, names_in(block.count),
                    fmt::format("block '{}' is repeated {} times, but it must be from 1 to {}",
                                block.name.text, number_text(count), kMaxRepeats));
            return;
        }
        BlockInstance& instance = made_.blocks[block.name.text];
        instance.count = static_cast<int64_t>(count);
        instance.lets.resize(static_cast<size_t>(count));
        for (int64_t i = 0; i < instance.count; ++i) {
            const Place place{&block, i, &instance.lets[static_cast<size_t>(i)]};
            const size_t before = reports_;
            for (const auto& item : block.items) {
                if (const auto* param = std::get_if<ast::Parameter>(&item)) {
                    declare(*param, place);
                    continue;
                }
                if (const auto* state = std::get_if<ast::State>(&item)) {
                    declare(*state, place);
                    continue;
                }
                const auto& let = std::get<ast::Let>(item);
                try {
                    const Scalar value = value_of(let.value, place);
                    (*place.lets)[let.name.text] = value;
                    compare(let, value, place);
                } catch (const EvalError& error) {
                    report(error, let.value);
                    ++reports_;
                }
            }
            if (reports_ != before) return;  // the other repetitions would say the same again
        }
    }

    void declare(const ast::State& state, const Place& place) {
        StateShape made;
        made.name = place.block ? full_name(place.block->name.text, place.index, state.name.text)
                                : state.name.text;
        std::vector<int64_t> sizes(3 - state.shape.size(), 1);
        double product = 1;
        try {
            for (const ast::Expr& dim : state.shape) {
                const double size = number(dim, place);
                if (!is_size(size))
                    return complain(dim.at, state.shape,
                                    fmt::format("{} of {} comes to {}, but a dimension is a whole "
                                                "number from 1 to 2^40",
                                                bare_text(dim), made.name, number_text(size)));
                product *= size;
                sizes.push_back(static_cast<int64_t>(size));
            }
        } catch (const EvalError& error) {
            if (!error.message.empty()) complain(error.at, state.shape, error.message);
            return;
        }
        if (product > kMaxState)
            return complain(state.name.at, state.shape,
                            fmt::format("{} would have {} elements, more than 2^31", made.name,
                                        number_text(product)));
        made.dimensions = static_cast<int>(state.shape.size());
        made.heads = sizes[0];
        made.rows = sizes[1];
        made.width = sizes[2];
        made_.states.emplace(made.name, made);
    }

    void declare(const ast::Parameter& param, const Place& place) {
        const std::string name =
            place.block ? full_name(place.block->name.text, place.index, param.name.text)
                        : param.name.text;
        Param entry;
        entry.name = name;
        entry.optional = param.optional || param.tied.has_value();
        try {
            for (const ast::Annotation& annotation : param.annotations)
                (annotation.format.text == "gguf" ? entry.gguf : entry.hf) =
                    source_of(annotation, place);
            if (entry.optional && !given_.has(entry)) {
                if (param.tied) tie(name, *param.tied, place);
                return;
            }
            if (!set_shape(entry, param, place)) return;
            if (param.shape.size() == 3) return declare_table(std::move(entry), param, place);
            for (const ast::Annotation& annotation : param.annotations) {
                auto& source = annotation.format.text == "gguf" ? entry.gguf : entry.hf;
                if (source && source->is_computed()) {
                    if (!may_compute(entry, param)) return;
                    source->values = values_of(annotation.args.at(0), entry.shape.cols, place);
                }
                if (!source || source->transform != "unpermute" ||
                    can_unpermute(entry.shape, source->args[0]))
                    continue;
                complain_of_heads(param, entry, *source);
                return;
            }
        } catch (const EvalError& error) {
            if (!error.message.empty()) complain(error.at, param.shape, error.message);
            return;
        }
        entry.type = entry.shape.is_vector() ? WeightType::f32 : WeightType::f16;
        if (!has_room(param, 1)) return;
        made_.params.push_back(std::move(entry));
        made_.ids[name] = static_cast<int>(made_.params.size());
    }

    /// Before anything of a catalogue that no model has is put together.
    bool has_room(const ast::Parameter& param, int64_t more) {
        if (made_.params.size() + static_cast<size_t>(more) <= kMaxParams) return true;
        if (!full_)
            complain(param.name.at, param.shape,
                     fmt::format("the model would have more than {} parameters", kMaxParams));
        full_ = true;
        return false;
    }

    bool may_compute(const Param& entry, const ast::Parameter& param) {
        computed_ += std::min(entry.shape.cols, kMaxAllComputed);
        if (entry.shape.cols <= kMaxComputed && computed_ <= kMaxAllComputed) return true;
        complain(param.name.at, param.shape,
                 entry.shape.cols > kMaxComputed
                     ? fmt::format("{} would have {} elements to compute, more than {}", entry.name,
                                   entry.shape.cols, kMaxComputed)
                     : fmt::format("with {} more than {} elements would have to be computed",
                                   entry.name, kMaxAllComputed));
        return false;
    }

    void complain(Position at, const std::vector<ast::Expr>& shape, const std::string& message) {
        std::vector<std::string> names;
        for (const ast::Expr& dim : shape)
            for (const std::string& each : names_in(dim)) names.push_back(each);
        report_(at, names, message);
        ++reports_;
    }

    bool set_shape(Param& entry, const ast::Parameter& param, const Place& place) {
        double product = 1;
        std::vector<int64_t> sizes;
        for (const ast::Expr& dim : param.shape) {
            const double size = number(dim, place);
            if (!is_size(size)) {
                complain(dim.at, param.shape,
                         fmt::format("{} of {} comes to {}, but a dimension is a whole number from "
                                     "1 to 2^40",
                                     bare_text(dim), entry.name, number_text(size)));
                return false;
            }
            product *= size;
            sizes.push_back(static_cast<int64_t>(size));
        }
        if (product > kMaxElements) {
            complain(param.name.at, param.shape,
                     fmt::format("{} would have {} elements, more than 2^40", entry.name,
                                 number_text(product)));
            return false;
        }
        entry.shape.cols = sizes.back();
        if (sizes.size() > 1) entry.shape.rows = sizes[sizes.size() - 2];
        return true;
    }

    /// A table of matrices is one entry of the catalogue after the other.
    void declare_table(Param entry, const ast::Parameter& param, const Place& place) {
        const std::string name = entry.name;
        const double count = number(param.shape.front(), place);
        if (!is_size(count) || count > kMaxRepeats) {
            complain(param.shape.front().at, param.shape,
                     fmt::format("{} is a table of {} matrices, but there must be from 1 to {}",
                                 name, number_text(count), kMaxRepeats));
            return;
        }
        if (!has_room(param, static_cast<int64_t>(count))) return;
        entry.type = WeightType::f16;
        for (const auto& source : {entry.gguf, entry.hf})
            if (source && source->transform == "unpermute" &&
                !can_unpermute(entry.shape, source->args[0]))
                return complain_of_heads(param, entry, *source);
        made_.ids[name] = static_cast<int>(made_.params.size()) + 1;
        made_.tables[name] = static_cast<int64_t>(count);
        for (int64_t item = 0; item < static_cast<int64_t>(count); ++item) {
            Param each = entry;
            each.name = fmt::format("{}.{}", name, item);
            each.item = item;
            for (auto* source : {&each.gguf, &each.hf})
                if (*source) pick_matrix(**source, item, static_cast<int64_t>(count));
            made_.params.push_back(std::move(each));
        }
    }

    /// A tensor for each matrix, named by its number, or one with all of them.
    static void pick_matrix(ParamSource& source, int64_t item, int64_t count) {
        if (const size_t at = source.tensor.find("{j}"); at != std::string::npos) {
            source.tensor.replace(at, 3, std::to_string(item));
        } else {
            source.part = item;
            source.parts = count;
        }
    }

    void complain_of_heads(const ast::Parameter& param, const Param& entry,
                           const ParamSource& source) {
        if (!required_) return;
        complain(param.name.at, param.shape,
                 fmt::format("{} has {} rows, which cannot be unpermuted as {} heads of an even "
                             "width",
                             entry.name, entry.shape.rows.value_or(entry.shape.cols),
                             number_text(source.args[0])));
    }

    /// The parameter that stands in for one that the model lacks.
    void tie(const std::string& name, const ast::Name& to, const Place& place) {
        const std::string in_block =
            place.block ? full_name(place.block->name.text, place.index, to.text) : "";
        const auto other =
            made_.ids.contains(in_block) ? made_.ids.find(in_block) : made_.ids.find(to.text);
        if (other != made_.ids.end()) made_.ids[name] = other->second;
    }

    /// The elements of computed(expression, …).
    std::vector<double> values_of(const ast::Expr& computed, int64_t count,
                                  const Place& place) const {
        std::vector<double> values;
        const ast::Expr& expr = computed.operands.at(0);
        for (int64_t element = 0; element < count; ++element)
            values.push_back(number_of(expr, evaluate(expr, [&](const ast::Expr& leaf) -> Scalar {
                                           if (leaf.kind == ast::Expr::Kind::name &&
                                               leaf.text == "element")
                                               return static_cast<double>(element);
                                           return look_up(leaf, place);
                                       })));
        return values;
    }

    /// Nothing where a computed parameter's `when` does not hold.
    std::optional<ParamSource> source_of(const ast::Annotation& annotation,
                                         const Place& place) const {
        ParamSource source;
        const ast::Expr& first = annotation.args.at(0);
        if (first.kind == ast::Expr::Kind::call) {
            if (first.operands.size() > 1 &&
                !truth_of(first.operands[1], value_of(first.operands[1], place)))
                return std::nullopt;
            return source;
        }
        source.tensor = annotation.args.at(0).text;
        if (place.block)
            if (const size_t at = source.tensor.find("{i}"); at != std::string::npos)
                source.tensor.replace(at, 3, std::to_string(place.index));
        if (annotation.args.size() > 1) {
            source.transform = annotation.args[1].text;
            for (const ast::Expr& arg : annotation.args[1].operands)
                source.args.push_back(number(arg, place));
        }
        return source;
    }

    static bool can_unpermute(const ParamShape& shape, double heads) {
        return is_size(heads) &&
               shape.rows.value_or(shape.cols) % (2 * static_cast<int64_t>(heads)) == 0;
    }

    const Given& given_;
    const InstanceReport& report_;
    Instance made_;
    size_t reports_ = 0;    // of errors in parameters
    int64_t computed_ = 0;  // elements so far
    bool full_ = false;     // more parameters than there may be have been reported
    bool required_ = true;  // all that the graph requires; else a shape may well be odd
};

}  // namespace

bool Instance::has(const std::string& name) const {
    const auto found = ids.find(name);
    if (tables.contains(name)) return true;
    return found != ids.end() && params[static_cast<size_t>(found->second - 1)].name == name;
}

std::string full_name(const std::string& block, int64_t index, const std::string& param) {
    return fmt::format("{}.{}.{}", block, index, param);
}

Instance instantiate(const ast::Graph& graph, const Given& given, const InstanceReport& report) {
    return Instantiation(given, report).run(graph);
}

}  // namespace llmsql::compiler
