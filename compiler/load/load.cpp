// SPDX-License-Identifier: MIT
// The front's entry points. See load.h.
#include "compiler/load/load.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "common/error.h"
#include "common/files.h"
#include "compiler/check/check.h"
#include "compiler/load/graph_file.h"
#include "compiler/lower/lower.h"
#include "compiler/model/instance.h"
#include "compiler/model/model_file.h"
#include "compiler/parse/parser.h"
#include "compiler/passes/passes.h"

namespace llmsql::compiler {
namespace {

namespace fs = std::filesystem;

/// The graph a model file names; the first that exists counts.
fs::path find_graph(const fs::path& model_file, const LocatedText& graph,
                    const std::vector<fs::path>& graph_dirs, Diagnostics& errors) {
    const bool plain = std::ranges::all_of(graph.text, [](char c) {
        return c == '_' || c == '-' || std::isalnum(static_cast<unsigned char>(c)) != 0;
    });
    if (!plain) {
        errors.error(graph.at, fmt::format("'{}' is not a graph's name: \"llama\" stands for "
                                           "llama.graph in this folder or ../graphs",
                                           graph.text));
        return {};
    }
    const fs::path own = model_file.has_parent_path() ? model_file.parent_path() : fs::path(".");
    std::vector<fs::path> folders{own, own / ".." / "graphs"};
    folders.insert(folders.end(), graph_dirs.begin(), graph_dirs.end());
    std::vector<std::string> tried;
    for (const fs::path& folder : folders) {
        const fs::path path = (folder / (graph.text + ".graph")).lexically_normal();
        std::error_code ignored;
        if (fs::exists(path, ignored)) return path;
        tried.push_back(path.string());
    }
    errors.error(graph.at, fmt::format("there is no graph '{}': looked for {}", graph.text,
                                       fmt::join(tried, ", ")));
    return {};
}

std::vector<const ast::Number*> numbers_of(const ast::Graph& graph) {
    std::vector<const ast::Number*> all;
    for (const auto& item : graph.items)
        if (const auto* number = std::get_if<ast::Number>(&item)) all.push_back(number);
    return all;
}

/// The dims and constants of blocks, each with its block.
std::vector<std::pair<const ast::Block*, const ast::Number*>> block_numbers_of(
    const ast::Graph& graph) {
    std::vector<std::pair<const ast::Block*, const ast::Number*>> all;
    for (const auto& item : graph.items)
        if (const auto* block = std::get_if<ast::Block>(&item))
            for (const auto& inner : block->items)
                if (const auto* number = std::get_if<ast::Number>(&inner))
                    all.emplace_back(block, number);
    return all;
}

std::string list_name(const ast::Block& block, const ast::Number& number) {
    return fmt::format("{}.{}", block.name.text, number.name.text);
}

/// What sources of a format call the architecture.
std::vector<std::string> architectures_of(const ast::Graph& graph, std::string_view format) {
    std::vector<std::string> names;
    for (const ast::Annotation& annotation : graph.annotations)
        if (annotation.format.text == format)
            for (const ast::Expr& arg : annotation.args) names.push_back(arg.text);
    return names;
}

Model named_model(const ast::Graph& graph, Instance instance) {
    Model model;
    model.graph = graph.name.text;
    for (const char* format : {"gguf", "hf"})
        model.architectures[format] = architectures_of(graph, format);
    model.numbers = std::move(instance.numbers);
    model.params = std::move(instance.params);
    for (const ast::Number* number : numbers_of(graph))
        (number->is_dim ? model.dims : model.constants).push_back(number->name.text);
    for (const auto& [block, number] : block_numbers_of(graph))
        (number->is_dim ? model.dims : model.constants).push_back(list_name(*block, *number));
    return model;
}

/// A model file held against its graph.
class ModelLoader {
  public:
    ModelLoader(const ModelText& file, const ast::Graph& graph, Diagnostics& errors)
        : file_(file), graph_(graph), errors_(errors) {}

    Model load() {
        Given given;
        given.has = [this](const Param& param) { return present(param.name); };
        take_numbers(given);
        Instance instance =
            instantiate(graph_, given,
                        [this](Position, const std::vector<std::string>& names,
                               const std::string& message) { blame(names, message); });
        if (sound_) check_present(instance);
        Model model = named_model(graph_, std::move(instance));
        if (sound_) set_types(model);
        model.name = file_.name.text;
        model.tokenizer = file_.tokenizer;
        model.chat = file_.chat;
        model.origin = file_.origin;
        return model;
    }

  private:
    void take_numbers(Given& given) {
        std::vector<std::string> dims, constants;
        for (const ast::Number* number : numbers_of(graph_))
            (number->is_dim ? dims : constants).push_back(number->name.text);
        for (const auto& [block, number] : block_numbers_of(graph_))
            (number->is_dim ? dims : constants).push_back(list_name(*block, *number));
        take(given, file_.dims, dims, "dims", constants, "constants");
        take(given, file_.constants, constants, "constants", dims, "dims");
        for (const ast::Number* number : numbers_of(graph_)) {
            if (number->value || key_at(number->name.text) != nullptr) continue;
            const char* table = number->is_dim ? "dims" : "constants";
            const Position at = number->is_dim ? file_.dims_at : file_.constants_at;
            sound_ = false;
            missing_[at.line == 0 ? file_.graph.at : at].push_back(
                fmt::format("'{}' in [{}]", number->name.text, table));
        }
        for (const auto& [block, number] : block_numbers_of(graph_)) {
            if (number->value || key_at(list_name(*block, *number)) != nullptr) continue;
            const char* table = number->is_dim ? "dims" : "constants";
            const Position at = number->is_dim ? file_.dims_at : file_.constants_at;
            sound_ = false;
            missing_[at.line == 0 ? file_.graph.at : at].push_back(
                fmt::format("'{}' in [{}.{}]", number->name.text, table, block->name.text));
        }
        for (const auto& [at, names] : missing_)
            errors_.error(
                at, fmt::format("graph '{}' needs {}", graph_.name.text, fmt::join(names, ", ")));
    }

    void take(Given& given, const std::vector<LocatedNumber>& numbers,
              const std::vector<std::string>& known, const char* table,
              const std::vector<std::string>& others, const char* other_table) {
        for (const LocatedNumber& number : numbers) {
            if (std::ranges::find(known, number.key) != known.end()) {
                const bool of_block = number.key.find('.') != std::string::npos;
                if (std::isnan(number.value)) {
                    sound_ = false;
                } else if (of_block) {
                    given.lists[number.key] =
                        number.list.empty() ? std::vector<double>{number.value} : number.list;
                } else if (!number.list.empty()) {
                    sound_ = false;
                    errors_.error(number.at, fmt::format("'{}' is one number, not a list: only "
                                                         "what a block declares has one for each "
                                                         "repetition",
                                                         number.key));
                } else {
                    given.numbers[number.key] = number.value;
                }
            } else if (std::ranges::find(others, number.key) != others.end()) {
                errors_.error(number.key_at, fmt::format("'{}' belongs in [{}], not in [{}]",
                                                         number.key, other_table, table));
            } else {
                const std::string maybe = suggestion(number.key, known);
                errors_.error(
                    number.key_at,
                    fmt::format("graph '{}' has no {} '{}'{}", graph_.name.text,
                                table == std::string_view("dims") ? "dim" : "constant", number.key,
                                maybe.empty()
                                    ? fmt::format("; it has {} (if an earlier llmsql wrote this "
                                                  "file, llmsql-import with --write-model "
                                                  "writes it anew)",
                                                  fmt::join(known, ", "))
                                    : maybe));
            }
        }
    }

    const LocatedNumber* key_at(const std::string& name) const {
        for (const auto* table : {&file_.dims, &file_.constants})
            for (const LocatedNumber& number : *table)
                if (number.key == name) return &number;
        return nullptr;
    }

    /// An error about numbers is shown at the last of them that the file gives.
    void blame(const std::vector<std::string>& names, const std::string& message) {
        sound_ = false;
        const LocatedNumber* last = nullptr;
        for (const std::string& name : names)
            if (const LocatedNumber* number = key_at(name))
                if (last == nullptr || last->at < number->at) last = number;
        errors_.error(last ? last->at : file_.graph.at, message);
    }

    bool present(const std::string& name) const {
        return std::ranges::any_of(
            file_.present, [&](const LocatedText& pattern) { return matches(pattern.text, name); });
    }

    void check_present(const Instance& instance) {
        for (const LocatedText& pattern : file_.present) {
            const bool any = std::ranges::any_of(instance.params, [&](const Param& param) {
                return param.optional && matches(pattern.text, param.name);
            });
            if (any) continue;
            const bool always = std::ranges::any_of(instance.params, [&](const Param& param) {
                return matches(pattern.text, param.name);
            });
            errors_.error(
                pattern.at,
                always ? fmt::format("'{}' is always present in graph '{}'; only optional and tied "
                                     "parameters are listed here",
                                     pattern.text, graph_.name.text)
                : !optional_names().empty()
                    ? fmt::format("graph '{}' has no optional parameter '{}'{}", graph_.name.text,
                                  pattern.text, suggestion(pattern.text, optional_names()))
                    : fmt::format("graph '{}' has no optional parameters", graph_.name.text));
        }
    }

    /// "output", "layer.*.attn_q_bias".
    std::vector<std::string> optional_names() const {
        std::vector<std::string> names;
        for (const auto& item : graph_.items) {
            if (const auto* param = std::get_if<ast::Parameter>(&item))
                if (param->optional || param->tied) names.push_back(param->name.text);
            if (const auto* block = std::get_if<ast::Block>(&item))
                for (const auto& inner : block->items)
                    if (const auto* param = std::get_if<ast::Parameter>(&inner))
                        if (param->optional || param->tied)
                            names.push_back(block->name.text + ".*." + param->name.text);
        }
        return names;
    }

    void set_types(Model& model) {
        for (const WeightPattern& weight : file_.weights) {
            size_t matrices = 0, vectors = 0;
            for (const Param& param : model.params)
                if (matches(weight.pattern, param.name))
                    ++(param.shape.is_vector() ? vectors : matrices);
            if (matrices + vectors == 0) {
                std::vector<std::string> names;
                for (const Param& param : model.params) names.push_back(param.name);
                const std::vector<std::string> absent = optional_names();
                const bool optional = std::ranges::find(absent, weight.pattern) != absent.end();
                errors_.error(
                    weight.at,
                    fmt::format("'{}' matches no parameter of this model{}", weight.pattern,
                                optional ? "; [parameters] does not list it as present"
                                         : suggestion(weight.pattern, names)));
            } else if (matrices == 0 && weight.type != WeightType::f32) {
                errors_.error(weight.type_at,
                              fmt::format("'{}' matches vectors only, and those are always f32",
                                          weight.pattern));
            }
        }
        std::vector<std::string> unmatched;
        for (Param& param : model.params) {
            if (param.shape.is_vector()) continue;
            const auto found = std::ranges::find_if(
                file_.weights,
                [&](const WeightPattern& weight) { return matches(weight.pattern, param.name); });
            if (found == file_.weights.end()) {
                unmatched.push_back(param.name);
            } else {
                param.type = found->type;
            }
        }
        if (!unmatched.empty())
            errors_.error(
                file_.weights_at,
                fmt::format(
                    "no pattern says how to store {}{}; end [weights] with \"*\" = "
                    "\"q8\"",
                    unmatched.front(),
                    unmatched.size() > 1 ? fmt::format(" and {} more", unmatched.size() - 1) : ""));
    }

    const ModelText& file_;
    const ast::Graph& graph_;
    Diagnostics& errors_;
    std::map<Position, std::vector<std::string>> missing_;
    bool sound_ = true;  // the numbers give a catalogue, so that patterns can be held against it
};

struct Loaded {
    Model model;
    GraphFile graph;
};

Loaded load(const fs::path& model_file, const std::vector<fs::path>& graph_dirs) {
    const SourceFile source = SourceFile::read(model_file);
    Diagnostics errors(source);
    const ModelText file = parse_model_file(source, errors);
    if (file.graph.text.empty()) throw Error(errors.text());
    const fs::path path = find_graph(model_file, file.graph, graph_dirs, errors);
    if (path.empty()) throw Error(errors.text());
    GraphFile graph = read_graph_file(path);
    Model model = ModelLoader(file, graph.graph, errors).load();
    errors.throw_if_any();
    return {std::move(model), std::move(graph)};
}

/// GGUF keeps numbers as f32: the double that its shortest decimal names is what was meant, 1e-05
/// rather than 9.999999747378752e-06. (Narrowed to f32 they are the same.)
double as_written(double number) {
    const auto narrow = static_cast<float>(number);
    if (!std::isfinite(number) || static_cast<double>(narrow) != number ||
        number == std::floor(number))
        return number;
    const std::string digits = fmt::format("{}", narrow);
    double written = number;
    std::from_chars(digits.data(), digits.data() + digits.size(), written);
    return written;
}

const char* name_of_format(std::string_view format) {
    return format == "hf" ? "Hugging Face" : "GGUF";
}

/// A key or tensor with the repetition's number in place of {i}, and the architecture's name in
/// place of {a}.
std::string of_repetition(std::string name, int64_t index, const SourceMetadata& source) {
    for (size_t at; (at = name.find("{a}")) != std::string::npos;)
        name.replace(at, 3, source.architecture);
    if (const size_t at = name.find("{i}"); index >= 0 && at != std::string::npos)
        name.replace(at, 3, std::to_string(index));
    return name;
}

/// The numbers of a list, in their order; a number is a list of one. Nothing where there is no such
/// key, and an empty list is none.
constexpr int64_t kLongestList = 1 << 20;

std::optional<std::vector<double>> list_at(const std::string& key, const SourceMetadata& source) {
    constexpr size_t kLongest = kLongestList;
    std::vector<double> list;
    while (list.size() < kLongest) {
        const auto next = source.number(fmt::format("{}.{}", key, list.size()));
        if (!next) break;
        list.push_back(as_written(*next));
    }
    if (list.empty())
        if (const auto only = source.number(key)) list.push_back(as_written(*only));
    return list.empty() ? std::nullopt : std::optional(std::move(list));
}

/// last("key") and last("key", "member"): where the last number of a list is, or of what has a
/// number for some repetitions of a block, its member of that name. A number is a list of one.
std::optional<std::string> last_key(const ast::Expr& place, const SourceMetadata& source) {
    constexpr int64_t kMostRepetitions = 4096;
    const std::string key = of_repetition(place.operands.at(0).text, -1, source);
    const std::string member = place.operands.size() > 1 ? "." + place.operands[1].text : "";
    std::optional<std::string> last;
    for (int64_t i = 0; i < kMostRepetitions; ++i)
        if (std::string each = fmt::format("{}.{}{}", key, i, member); source.number(each))
            last = std::move(each);
    if (!last && member.empty() && source.number(key)) last = key;
    return last;
}

std::optional<Said> said_at(const ast::Expr& place, int64_t index, const SourceMetadata& source) {
    if (place.kind == ast::Expr::Kind::text) {
        const std::string key = of_repetition(place.text, index, source);
        if (const auto found = source.number(key)) {
            const double value = as_written(*found);
            return Said{value, fmt::format("{} is {}", key, number_text(value))};
        }
        if (const auto text = source.text ? source.text(key) : std::nullopt)
            fail("{}: the source's {} is the text \"{}\", but a number is needed",
                 source.architecture, key, printable(*text));
        if (const std::string kind = source.kind ? source.kind(key) : ""; !kind.empty())
            fail("{}: the source's {} is {}, a number is needed", source.architecture,
                 printable(key), kind);
        return std::nullopt;
    }
    if (!is_place(place)) return std::nullopt;
    if (place.text == "last") {
        const auto at = last_key(place, source);
        if (!at) return std::nullopt;
        const double value = as_written(*source.number(*at));
        return Said{value, fmt::format("{} is {}", *at, number_text(value))};
    }
    const std::string key = of_repetition(place.operands.at(0).text, index, source);
    if (place.text == "is") {
        const auto found = source.text(key);
        if (!found) return std::nullopt;
        const bool any = std::any_of(place.operands.begin() + 1, place.operands.end(),
                                     [&](const ast::Expr& text) { return text.text == *found; });
        return Said{any ? 1.0 : 0.0, fmt::format("{} is \"{}\"", key, printable(*found))};
    }
    if (place.text == "count") {
        int64_t count = 0;
        const auto is_there = [&](int64_t n) {
            const std::string each = fmt::format("{}.{}", key, n);
            return (source.text && source.text(each)) || source.number(each);
        };
        while (count < kLongestList && is_there(count)) ++count;
        if (count == 0) return std::nullopt;
        return Said{static_cast<double>(count), fmt::format("{} has {} elements", key, count)};
    }
    if (place.text == "largest" || place.text == "lists") {
        const auto list = list_at(key, source);
        if (!list) return std::nullopt;
        if (place.text == "largest") {
            const double most = *std::ranges::max_element(*list);
            return Said{most, fmt::format("the largest of {} is {}", key, number_text(most))};
        }
        const bool any = std::ranges::find(*list, static_cast<double>(index)) != list->end();
        return Said{any ? 1.0 : 0.0, fmt::format("{} {} {}", key, any ? "has" : "has no", index)};
    }
    const auto shape = source.shape(key);
    if (place.text == "there")
        return Said{shape ? 1.0 : 0.0,
                    fmt::format("there is {} tensor {}", shape ? "a" : "no", key)};
    if (!shape || shape->empty()) return std::nullopt;
    const auto size = static_cast<double>(place.text == "rows" ? shape->front() : shape->back());
    return Said{size, fmt::format("{} has {} {}", key, number_text(size),
                                  place.text == "rows" ? "rows" : "columns")};
}

/// The key of a place, or nothing where it is a tensor's shape that counts.
std::optional<std::string> key_at(const ast::Expr& place, int64_t index,
                                  const SourceMetadata& source) {
    if (place.kind == ast::Expr::Kind::text) return of_repetition(place.text, index, source);
    if (is_place(place) && place.text == "last") return last_key(place, source);
    if (is_place(place) && (place.text == "is" || place.text == "largest" ||
                            place.text == "lists" || place.text == "count"))
        return of_repetition(place.operands.at(0).text, index, source);
    return std::nullopt;
}

/// Adds the keys that one declaration takes, and whether there are any.
bool add_keys(const std::vector<ast::Annotation>& annotations, int64_t index,
              const SourceMetadata& source, KeysRead& keys) {
    std::optional<double> taken;
    for (const ast::Annotation& annotation : annotations) {
        if (annotation.format.text != source.format) continue;
        for (const ast::Expr& place : annotation.args) {
            std::optional<Said> said;
            try {
                said = said_at(place, index, source);
            } catch (const Error&) {
                if (!taken) throw;  // else it is no number that would have counted
            }
            if (!said) continue;
            const bool first = !taken;
            if (first) taken = said->value;
            const auto key = key_at(place, index, source);
            // The first is read whatever it is: what is no number equals nothing, itself included.
            if (!key || (!first && said->value != *taken)) continue;
            keys.read.insert(*key);
            if (place.kind == ast::Expr::Kind::call && place.text != "is" && place.text != "last") {
                keys.whole_lists.insert(*key);
                continue;
            }
            if (const size_t dot = key->rfind('.'); index >= 0 && dot != std::string::npos)
                keys.lists.insert(key->substr(0, dot));
        }
    }
    return taken.has_value();
}

/// Adds lists of which the graph reads each element by its number.
void add_whole_lists(const SourceMetadata& source, KeysRead& keys) {
    for (const std::string& key : keys.read) {
        if (!key.ends_with(".0")) continue;
        const std::string list = key.substr(0, key.size() - 2);
        if (keys.lists.contains(list)) continue;  // one for each repetition of a block
        int64_t count = 0;
        while (keys.read.contains(fmt::format("{}.{}", list, count))) ++count;
        const std::string next = fmt::format("{}.{}", list, count);
        if (source.number(next) || (source.text && source.text(next))) continue;
        keys.whole_lists.insert(list);
        keys.read.insert(list);
    }
}

/// Adds the keys of a parameter that is a list of numbers.
void add_values(const std::vector<ast::Annotation>& annotations, int64_t index,
                const SourceMetadata& source, KeysRead& keys) {
    for (const ast::Annotation& annotation : annotations) {
        const ast::Expr& first = annotation.args.front();
        if (annotation.format.text != source.format || first.kind != ast::Expr::Kind::call ||
            first.text != "values")
            continue;
        for (const ast::Expr& each : first.operands) {
            const std::string key = of_repetition(each.text, index, source);
            if (!list_at(key, source)) continue;
            keys.read.insert(key);
            keys.whole_lists.insert(key);
        }
    }
}

/// Whether what a declaration of a block reads is another thing in each repetition.
bool goes_by_repetition(const std::variant<ast::Parameter, ast::State, ast::Let, ast::Number>& item,
                        const SourceMetadata& source) {
    const auto* let = std::get_if<ast::Let>(&item);
    const auto* number = std::get_if<ast::Number>(&item);
    if (!let && !number) return false;
    for (const ast::Annotation& annotation : let ? let->annotations : number->annotations)
        for (const ast::Expr& arg : annotation.args)
            if (const auto key = key_at(arg, -1, source);
                key && key->find("{i}") != std::string::npos)
                return true;
    return false;
}

/// Whether a source has what a parameter is made of, in one place or another.
bool has_place(const ParamSource& place, const SourceMetadata& source) {
    if (!place.keys.empty())
        return std::ranges::any_of(
            place.keys, [&](const std::string& key) { return list_at(key, source).has_value(); });
    return place.is_computed() || source.shape(place.tensor).has_value() ||
           std::ranges::any_of(place.others, [&](const ParamSource& other) {
               return source.shape(other.tensor).has_value();
           });
}

/// What a source says by annotations: their keys and shapes, the first there is.
std::optional<Said> said_in(const std::vector<ast::Annotation>& annotations, int64_t index,
                            const SourceMetadata& source) {
    for (const ast::Annotation& annotation : annotations) {
        if (annotation.format.text != source.format) continue;
        for (const ast::Expr& arg : annotation.args)
            if (auto found = said_at(arg, index, source)) return found;
    }
    return std::nullopt;
}

std::string places_of(const ast::Number& number, const SourceMetadata& source) {
    const std::string& format = source.format;
    std::vector<std::string> places;
    for (const ast::Annotation& annotation : number.annotations)
        if (annotation.format.text == format)
            for (const ast::Expr& arg : annotation.args)
                if (is_place(arg)) places.push_back(of_repetition(to_text(arg), -1, source));
    return places.empty() ? fmt::format("nothing: it has no @{} annotation", format)
                          : fmt::format("{}", fmt::join(places, " or "));
}

/// ", did you mean …" for a key that is nearly one that the source has.
std::string nearest_key(const ast::Number& number, const SourceMetadata& source) {
    if (!source.keys) return {};
    const std::vector<std::string> keys = source.keys();
    for (const ast::Annotation& annotation : number.annotations)
        if (annotation.format.text == source.format)
            for (const ast::Expr& arg : annotation.args)
                if (arg.kind == ast::Expr::Kind::text)
                    if (std::string maybe = suggestion(of_repetition(arg.text, -1, source), keys);
                        !maybe.empty())
                        return maybe;
    return {};
}

void require_architecture(const ast::Graph& graph, const fs::path& file, const std::string& format,
                          const std::string& architecture) {
    const std::vector<std::string> architectures = architectures_of(graph, format);
    if (std::ranges::find(architectures, architecture) != architectures.end()) return;
    fail("{} is a graph for the {} architecture {}, but the source's is '{}'", file.string(),
         name_of_format(format),
         architectures.empty() ? "of no name"
                               : fmt::format("'{}'", fmt::join(architectures, "', '")),
         architecture);
}

/// A graph file with what it includes: NAME.part in its folder, or where this project's are.
SourceFile read_graph_text(const fs::path& path) {
    return SourceFile::read_with_parts(path, [&](const std::string& name) {
        std::vector<fs::path> folders{path.has_parent_path() ? path.parent_path() : fs::path(".")};
        std::ranges::copy(standard_graph_dirs({}), std::back_inserter(folders));
        std::vector<std::string> tried;
        for (const fs::path& folder : folders) {
            const fs::path part = folder / (name + ".part");
            std::error_code ignored;
            if (fs::is_regular_file(part, ignored)) return part;
            tried.push_back(part.string());
        }
        fail("{}: includes '{}', of which there is no file: looked for {}", path.string(), name,
             fmt::join(tried, ", "));
    });
}

/// The graph files of a folder, in the order of their names; none where there is no such folder.
std::vector<fs::path> graph_files(const fs::path& folder) {
    std::vector<fs::path> files;
    std::error_code ignored;
    if (!fs::is_directory(folder, ignored)) return files;
    for (const std::string& name : file_names_in(folder))
        if (name.ends_with(".graph")) files.push_back(folder / name);
    std::ranges::sort(files);
    return files;
}

/// The architectures that a graph file says it is for.
std::vector<std::string> architectures_in(const fs::path& file, const std::string& format) {
    const std::optional<ast::Graph> head = parse_graph_head(SourceFile::read(file));
    return head ? architectures_of(*head, format) : std::vector<std::string>();
}

bool has_right_syntax(const fs::path& file) {
    const SourceFile source = read_graph_text(file);
    Diagnostics errors(source);
    return parse_graph(source, errors).has_value();
}

}  // namespace

GraphFile read_graph_file(const fs::path& path, bool checked) {
    SourceFile source = read_graph_text(path);
    Diagnostics errors(source);
    std::optional<ast::Graph> graph = parse_graph(source, errors);
    if (graph && checked) {
        if (graph->name.text != path.stem().string())
            errors.error(graph->name.at, fmt::format("graph '{}' must be in a file called {}.graph",
                                                     graph->name.text, graph->name.text));
        check_graph(*graph, errors);
    }
    errors.throw_if_any();
    return {std::move(source), std::move(*graph)};
}

Model load_model(const fs::path& model_file, const std::vector<fs::path>& graph_dirs) {
    return load(model_file, graph_dirs).model;
}

OpGraph lower_model(const fs::path& model_file, const std::vector<fs::path>& graph_dirs,
                    const Model& model, int64_t context) {
    const GraphFile graph = read_graph_file(graph_of_model_file(model_file, graph_dirs));
    Diagnostics graph_errors(graph.source);
    OpGraph lowered = lower(graph.graph, model, graph_errors, context);
    graph_errors.throw_if_any();
    return run_passes(std::move(lowered), model);
}

void require_architecture(const fs::path& graph_file, const std::string& format,
                          const std::string& architecture) {
    require_architecture(read_graph_file(graph_file).graph, graph_file, format, architecture);
}

Model model_from_source(const fs::path& graph_file, const SourceMetadata& source,
                        const std::string& name) {
    const GraphFile file = read_graph_file(graph_file);
    Diagnostics errors(file.source);
    require_architecture(file.graph, graph_file, source.format, source.architecture);

    Given given;
    given.has = [&](const Param& param) {
        const std::optional<ParamSource>& place = param.source(source.format);
        return place && has_place(*place, source);
    };
    given.format = source.format;
    given.said_of_number = [&](const ast::Number& number, int64_t index) {
        return said_in(number.annotations, index, source);
    };
    given.said = [&](const ast::Let& let, int64_t index) {
        return said_in(let.annotations, index, source);
    };
    for (const ast::Number* number : numbers_of(file.graph)) {
        if (const auto found = said_in(number->annotations, -1, source)) {
            given.numbers[number->name.text] = found->value;
        } else if (!has_default(*number, source.format)) {
            errors.error(number->name.at,
                         fmt::format("the source does not say what '{}' is: looked for {}{}",
                                     number->name.text, places_of(*number, source),
                                     nearest_key(*number, source)));
        }
    }
    Instance instance =
        instantiate(file.graph, given,
                    [&](Position at, const std::vector<std::string>&, const std::string& message) {
                        errors.error(at, message + " (numbers from the source's metadata)");
                    });
    errors.throw_if_any();
    Model model = named_model(file.graph, std::move(instance));
    model.name = name;
    return model;
}

std::vector<bool> must_be_positive(const fs::path& graph_file, const Model& model) {
    const GraphFile file = read_graph_file(graph_file);
    Diagnostics errors(file.source);
    const OpGraph graph = lower(file.graph, model, errors, kUsualContext);
    errors.throw_if_any();
    std::vector<bool> positive(model.params.size());
    for (const Op& op : graph.ops) {
        const auto place = static_cast<size_t>(op.op->positive);
        if (op.op->positive < 0 || place >= op.args.size()) continue;
        if (const auto* param = std::get_if<ParamRef>(&op.args[place]))
            positive.at(static_cast<size_t>(param->id) - 1) = true;
    }
    return positive;
}

/// Some sources speak of each sixth layer alone.
constexpr int kMostApart = 64;

KeysRead keys_read(const fs::path& graph_file, const SourceMetadata& source) {
    constexpr int64_t kMostRepetitions = 4096;
    const GraphFile file = read_graph_file(graph_file);
    KeysRead keys;
    for (const auto& item : file.graph.items) {
        if (const auto* number = std::get_if<ast::Number>(&item)) {
            add_keys(number->annotations, -1, source, keys);
        } else if (const auto* param = std::get_if<ast::Parameter>(&item)) {
            add_values(param->annotations, -1, source, keys);
        } else if (const auto* let = std::get_if<ast::Let>(&item)) {
            add_keys(let->annotations, -1, source, keys);
        } else if (const auto* ignore = std::get_if<ast::Ignore>(&item)) {
            for (const ast::Annotation& annotation : ignore->annotations)
                if (annotation.format.text == source.format)
                    for (const ast::Expr& key : annotation.args) {
                        if (key.kind == ast::Expr::Kind::text) {
                            keys.ignored.insert(key.text);
                            continue;
                        }
                        for (const ast::Expr& pattern : key.operands)
                            keys.tensors.push_back(pattern.text);
                    }
        } else if (const auto* block = std::get_if<ast::Block>(&item)) {
            for (const auto& inner : block->items) {
                int missing = 0;  // repetitions in a row that the source says nothing of
                for (int64_t i = 0; i < kMostRepetitions; ++i) {
                    bool any = false;
                    if (const auto* let = std::get_if<ast::Let>(&inner))
                        any = add_keys(let->annotations, i, source, keys);
                    else if (const auto* number = std::get_if<ast::Number>(&inner))
                        any = add_keys(number->annotations, i, source, keys);
                    missing = any ? 0 : missing + 1;
                    if (missing > kMostApart || !goes_by_repetition(inner, source)) break;
                }
            }
        }
    }
    add_whole_lists(source, keys);
    return keys;
}

fs::path graph_of_model_file(const fs::path& model_file, const std::vector<fs::path>& graph_dirs) {
    const SourceFile source = SourceFile::read(model_file);
    Diagnostics errors(source);
    const ModelText file = parse_model_file(source, errors);
    errors.throw_if_any();
    const fs::path path = find_graph(model_file, file.graph, graph_dirs, errors);
    errors.throw_if_any();
    return path;
}

void check_model_text(const std::string& text, const Model& model, const fs::path& graph_file) {
    const SourceFile source("the model file", text);
    Diagnostics errors(source);
    const ModelText file = parse_model_file(source, errors);
    errors.throw_if_any();
    const GraphFile graph = read_graph_file(graph_file);
    const Model back = ModelLoader(file, graph.graph, errors).load();
    errors.throw_if_any();
    if (back.numbers != model.numbers || back.chat.stop != model.chat.stop ||
        back.name != model.name || back.origin != model.origin)
        fail("the model file would not say what the source does");
    Diagnostics graph_errors(graph.source);
    lower(graph.graph, back, graph_errors, kUsualContext);
    graph_errors.throw_if_any();
}

fs::path find_graph_for(const std::string& format, const std::string& architecture,
                        const std::vector<fs::path>& graph_dirs) {
    std::vector<std::string> served, looked_in;
    for (const fs::path& folder : graph_dirs) {
        const std::vector<fs::path> files = graph_files(folder);
        if (!files.empty()) looked_in.push_back(folder.lexically_normal().string());
        std::optional<fs::path> found;
        for (const fs::path& file : files) {
            const std::vector<std::string> names = architectures_in(file, format);
            if (std::ranges::find(names, architecture) == names.end()) continue;
            // What is in the file is checked when it is used: a slip in one architecture's file is
            // nothing to the others.
            if (!has_right_syntax(file)) continue;
            if (found)
                fail("both {} and {} are for the {} architecture '{}': choose one with --graph",
                     found->string(), file.string(), name_of_format(format), architecture);
            found = file;
        }
        if (found) return *found;
    }
    if (looked_in.empty()) {
        std::vector<std::string> folders;
        for (const fs::path& folder : graph_dirs)
            folders.push_back(folder.lexically_normal().string());
        fail(
            "no graph file is for the {} architecture '{}': there are none in {}; name their "
            "folder with --graph-dir, or the file with --graph",
            name_of_format(format), architecture,
            folders.empty() ? "any folder that was named"
                            : fmt::format("{}", fmt::join(folders, ", ")));
    }
    for (const fs::path& folder : graph_dirs)
        for (const fs::path& file : graph_files(folder)) {
            const std::vector<std::string> names = architectures_in(file, format);
            served.insert(served.end(), names.begin(), names.end());
        }
    std::ranges::sort(served);
    served.erase(std::unique(served.begin(), served.end()), served.end());
    fail(
        "no graph file is for the {} architecture '{}': those in {} are for {}; "
        "docs/adding-an-architecture.md says how to write one",
        name_of_format(format), architecture, fmt::join(looked_in, " and "),
        served.empty() ? "none" : fmt::format("{}", fmt::join(served, ", ")));
}

std::vector<fs::path> graph_dirs(const fs::path& own, const fs::path& installed) {
    std::vector<fs::path> dirs = standard_graph_dirs(installed);
    if (own.empty()) return dirs;
    if (!fs::is_directory(status_of(own)))
        fail("--graph-dir {}: there is no such folder", own.string());
    dirs.insert(dirs.begin(), own);
    return dirs;
}

std::vector<fs::path> standard_graph_dirs(const fs::path& installed) {
    std::vector<fs::path> dirs;
    std::error_code error;
    const fs::path program = fs::read_symlink("/proc/self/exe", error);
    if (!error)
        for (const char* place : {"graphs", "../graphs", "../../graphs", "../share/llmsql/graphs"})
            dirs.push_back((program.parent_path() / place).lexically_normal());
    dirs.push_back(installed);
    std::vector<fs::path> found;
    for (const fs::path& dir : dirs) {
        const fs::path place = fs::canonical(dir, error);
        if (!error && std::ranges::find(found, place) == found.end()) found.push_back(place);
    }
    return found;
}

fs::path find_shipped_file(const fs::path& named, const std::vector<fs::path>& graph_dirs) {
    std::error_code ignored;
    if (fs::exists(named, ignored) && !fs::is_directory(named, ignored)) return named;
    const bool graph = named.extension() == ".graph";
    fs::path file = named.filename();
    if (named != file && named != fs::path(graph ? "graphs" : "models") / file) return named;
    if (!graph && file.extension() != ".toml") file += ".toml";
    for (const fs::path& folder : graph_dirs) {
        const fs::path path =
            (graph ? folder / file : folder / ".." / "models" / file).lexically_normal();
        if (fs::is_regular_file(path, ignored)) return path;
    }
    return named;
}

void check_graph_file(const fs::path& graph_file) {
    read_graph_file(graph_file);
}

std::string ast_text(const fs::path& graph_file) {
    return to_text(read_graph_file(graph_file, false).graph);
}

}  // namespace llmsql::compiler
