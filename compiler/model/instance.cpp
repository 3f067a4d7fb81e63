// SPDX-License-Identifier: MIT
// Graph plus numbers. See instance.h.
#include "compiler/model/instance.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

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

}  // namespace

bool is_place(const ast::Expr& arg) {
    constexpr std::array kPlaces{"rows", "cols",  "is",    "largest",
                                 "last", "lists", "count", "there"};
    return arg.kind == ast::Expr::Kind::text ||
           (arg.kind == ast::Expr::Kind::call &&
            std::ranges::find(kPlaces, arg.text) != kPlaces.end());
}

namespace {

/// What a source's annotation gives where the source says nothing, its last argument if that is no
/// place to look at; else the default of all sources.
const ast::Expr* default_of(const ast::Number& number, std::string_view format) {
    for (const ast::Annotation& annotation : number.annotations) {
        if (annotation.format.text != format) continue;
        const ast::Expr& last = annotation.args.back();
        if (!is_place(last)) return &last;
    }
    return number.value ? &*number.value : nullptr;
}

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
        const auto found = given_.numbers.find(number.name.text);
        const auto value = found != given_.numbers.end()
                               ? given_value(number, number.name.text, found->second)
                               : default_value(number, {});
        if (!value) return;
        made_.numbers[number.name.text] = *value;
        made_.scalars[number.name.text] = *value;
    }

    /// A number that a model file or source gives, if it can be one.
    std::optional<double> given_value(const ast::Number& number, const std::string& name,
                                      double value) {
        if (!std::isfinite(value)) {
            report_(number.name.at, {name},
                    fmt::format("'{}' is {}, but it must be a finite number", name,
                                number_text(value)));
        } else if (number.is_dim && !is_size(value)) {
            report_(number.name.at, {name},
                    fmt::format("dim '{}' is {}, but a dim is a whole number from 1 to 2^40", name,
                                number_text(value)));
        } else {
            return value;
        }
        ++reports_;
        return std::nullopt;
    }

    /// What it is where nothing is said: the source format's default, else that of all.
    std::optional<double> default_value(const ast::Number& number, const Place& place) {
        const ast::Expr* expr = default_of(number, given_.format);
        if (!expr) return std::nullopt;
        double value = 0;
        try {
            value = this->number(*expr, place);
        } catch (const EvalError& error) {
            report(error, *expr);
            if (!error.message.empty()) ++reports_;
            return std::nullopt;
        }
        if (!number.is_dim || is_size(value)) return value;
        report_(number.name.at, names_in(*expr),
                fmt::format("dim '{}' = {} comes to {}, but a dim is a whole number from 1 "
                            "to 2^40",
                            number.name.text, bare_text(*expr), number_text(value)));
        ++reports_;
        return std::nullopt;
    }

    /// A number of one repetition of a block.
    void declare(const ast::Number& number, const Place& place) {
        const std::string list = fmt::format("{}.{}", place.block->name.text, number.name.text);
        const std::string name = full_name(place.block->name.text, place.index, number.name.text);
        std::optional<double> value;
        const auto own = given_.numbers.find(name);
        const auto each = given_.lists.find(list);
        if (own != given_.numbers.end()) {
            value = given_value(number, name, own->second);
        } else if (each != given_.lists.end()) {
            const std::vector<double>& all = each->second;
            const auto count = made_.blocks.at(place.block->name.text).count;
            if (all.size() != 1 && all.size() != static_cast<size_t>(count)) {
                report_(number.name.at, {list},
                        fmt::format("'{}' has {} numbers, but block '{}' is repeated {} times",
                                    list, all.size(), place.block->name.text, count));
                ++reports_;
                return;
            }
            value = given_value(number, list,
                                all[all.size() == 1 ? 0 : static_cast<size_t>(place.index)]);
        } else if (const auto said = given_.said_of_number
                                         ? given_.said_of_number(number, place.index)
                                         : std::nullopt) {
            value = given_value(number, name, said->value);
        } else if (default_of(number, given_.format) != nullptr) {
            value = default_value(number, place);
        } else if (given_.said_of_number) {
            report_(number.name.at, {list},
                    fmt::format("the source does not say what '{}' is", name));
            ++reports_;
        }
        if (!value) return;
        made_.numbers[name] = *value;
        (*place.lets)[number.name.text] = *value;
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
    void declare(const ast::Define&) {}   // the lowering's part
    void declare(const ast::Forward&) {}  // and this

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
                if (const auto* number = std::get_if<ast::Number>(&item)) {
                    declare(*number, place);
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
            if (param.when && !truth_of(*param.when, value_of(*param.when, place))) return;
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
                    if (annotation.args.at(0).text == "computed")
                        source->values = values_of(annotation.args.at(0), entry.shape.cols, place);
                }
                if (!source || can_transform(entry.shape, *source)) continue;
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
            if (source && !can_transform(entry.shape, *source))
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
        for (ParamSource& other : source.others) pick_matrix(other, item, count);
    }

    void complain_of_heads(const ast::Parameter& param, const Param& entry,
                           const ParamSource& source) {
        if (!required_) return;
        complain(param.name.at, param.shape,
                 fmt::format("{} has {} rows, which cannot be unpermuted as {} heads of an even "
                             "width",
                             entry.name, entry.shape.rows.value_or(entry.shape.cols),
                             number_text(heads_of(source).value_or(0))));
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
        const ast::Expr& first = annotation.args.at(0);
        if (first.kind == ast::Expr::Kind::call) {
            ParamSource source;
            if (first.text == "values")
                for (const ast::Expr& key : first.operands)
                    source.keys.push_back(in_repetition(key.text, place));
            else if (first.operands.size() > 1 &&
                     !truth_of(first.operands[1], value_of(first.operands[1], place)))
                return std::nullopt;
            return source;
        }
        std::vector<ParamSource> places;
        for (const ast::Expr& arg : annotation.args) {
            if (arg.kind == ast::Expr::Kind::text) {
                places.emplace_back().tensor = in_repetition(arg.text, place);
                continue;
            }
            TransformStep step{arg.text, {}};
            for (const ast::Expr& each : arg.operands) step.args.push_back(number(each, place));
            places.back().transforms.push_back(std::move(step));
        }
        ParamSource source = std::move(places.front());
        source.others.assign(std::make_move_iterator(places.begin() + 1),
                             std::make_move_iterator(places.end()));
        return source;
    }

    static std::string in_repetition(std::string name, const Place& place) {
        if (place.block)
            for (size_t at; (at = name.find("{i}")) != std::string::npos;)
                name.replace(at, 3, std::to_string(place.index));
        return name;
    }

    /// The heads of the rows that are unpermuted.
    static std::optional<double> heads_of(const ParamSource& source) {
        for (const TransformStep& step : source.transforms)
            if (step.name == "unpermute") return step.args.at(0);
        return std::nullopt;
    }

    static bool can_transform(const ParamShape& shape, const ParamSource& source) {
        // Where rows are picked afterwards it is other rows that are unpermuted.
        if (source.transforms.empty() || source.transforms.back().name != "unpermute") return true;
        const double heads = heads_of(source).value_or(0);
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

bool has_default(const ast::Number& number, std::string_view format) {
    return default_of(number, format) != nullptr;
}

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
