// The front's entry points. See load.h.
#include "compiler/model/load.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "common/error.h"
#include "compiler/check/check.h"
#include "compiler/lower/lower.h"
#include "compiler/model/graph_file.h"
#include "compiler/model/instance.h"
#include "compiler/model/model_file.h"
#include "compiler/parse/parser.h"

namespace llmsql {
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

std::vector<std::string> gguf_architectures(const ast::Graph& graph) {
    std::vector<std::string> names;
    for (const ast::Annotation& annotation : graph.annotations)
        if (annotation.format.text == "gguf")
            for (const ast::Expr& arg : annotation.args) names.push_back(arg.text);
    return names;
}

Model named_model(const ast::Graph& graph, Instance instance) {
    Model model;
    model.graph = graph.name.text;
    model.architectures = gguf_architectures(graph);
    model.numbers = std::move(instance.numbers);
    model.params = std::move(instance.params);
    for (const ast::Number* number : numbers_of(graph))
        (number->is_dim ? model.dims : model.constants).push_back(number->name.text);
    return model;
}

/// A model file held against its graph.
class ModelLoader {
  public:
    ModelLoader(const ModelFile& file, const ast::Graph& graph, Diagnostics& errors)
        : file_(file), graph_(graph), errors_(errors) {}

    Model load() {
        Given given;
        given.has = [this](const std::string& name) { return present(name); };
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
        return model;
    }

  private:
    void take_numbers(Given& given) {
        std::vector<std::string> dims, constants;
        for (const ast::Number* number : numbers_of(graph_))
            (number->is_dim ? dims : constants).push_back(number->name.text);
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
        for (const auto& [at, names] : missing_)
            errors_.error(
                at, fmt::format("graph '{}' needs {}", graph_.name.text, fmt::join(names, ", ")));
    }

    void take(Given& given, const std::vector<LocatedNumber>& numbers,
              const std::vector<std::string>& known, const char* table,
              const std::vector<std::string>& others, const char* other_table) {
        for (const LocatedNumber& number : numbers) {
            if (std::ranges::find(known, number.key) != known.end()) {
                if (std::isnan(number.value)) {
                    sound_ = false;
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
                                maybe.empty() ? fmt::format("; it has {}", fmt::join(known, ", "))
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

    const ModelFile& file_;
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
    const ModelFile file = parse_model_file(source, errors);
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

/// The value of a dim or constant in a GGUF: its annotation's keys and shapes, the first there is.
std::optional<double> number_in_gguf(const ast::Number& number, const SourceMetadata& source) {
    for (const ast::Annotation& annotation : number.annotations) {
        if (annotation.format.text != "gguf") continue;
        for (const ast::Expr& arg : annotation.args) {
            if (arg.kind == ast::Expr::Kind::text) {
                if (const auto found = source.number(arg.text)) return as_written(*found);
                continue;
            }
            const auto shape = source.shape(arg.operands.at(0).text);
            if (shape && !shape->empty())
                return static_cast<double>(arg.text == "rows" ? shape->front() : shape->back());
        }
    }
    return std::nullopt;
}

std::string gguf_places(const ast::Number& number) {
    std::vector<std::string> places;
    for (const ast::Annotation& annotation : number.annotations)
        if (annotation.format.text == "gguf")
            for (const ast::Expr& arg : annotation.args) places.push_back(to_text(arg));
    return places.empty() ? "nothing: it has no @gguf annotation"
                          : fmt::format("{}", fmt::join(places, " or "));
}

/// Whether the source has the tensor of an optional or tied parameter, by its full name.
bool in_gguf(const ast::Graph& graph, const std::string& name, const SourceMetadata& source) {
    const size_t first = name.find('.'), last = name.rfind('.');
    const auto exists = [&](const ast::Parameter& param, const std::string& index) {
        for (const ast::Annotation& annotation : param.annotations) {
            if (annotation.format.text != "gguf") continue;
            std::string tensor = annotation.args.at(0).text;
            if (const size_t at = tensor.find("{i}"); at != std::string::npos && !index.empty())
                tensor.replace(at, 3, index);
            return source.shape(tensor).has_value();
        }
        return false;
    };
    for (const auto& item : graph.items) {
        const auto* param = std::get_if<ast::Parameter>(&item);
        if (param && param->name.text == name) return exists(*param, "");
        const auto* block = std::get_if<ast::Block>(&item);
        if (block == nullptr || last == std::string::npos ||
            block->name.text != name.substr(0, first))
            continue;
        for (const auto& inner : block->items)
            if (const auto* each = std::get_if<ast::Parameter>(&inner))
                if (each->name.text == name.substr(last + 1))
                    return exists(*each, name.substr(first + 1, last - first - 1));
    }
    return false;
}

}  // namespace

GraphFile read_graph_file(const fs::path& path, bool checked) {
    SourceFile source = SourceFile::read(path);
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
                    const Model& model) {
    const SourceFile source = SourceFile::read(model_file);
    Diagnostics errors(source);
    const ModelFile file = parse_model_file(source, errors);
    errors.throw_if_any();
    const fs::path path = find_graph(model_file, file.graph, graph_dirs, errors);
    errors.throw_if_any();
    const GraphFile graph = read_graph_file(path);
    Diagnostics graph_errors(graph.source);
    OpGraph lowered = lower(graph.graph, model, graph_errors);
    graph_errors.throw_if_any();
    return lowered;
}

Model model_from_gguf(const fs::path& graph_file, const SourceMetadata& source,
                      const std::string& name) {
    const GraphFile file = read_graph_file(graph_file);
    Diagnostics errors(file.source);
    const std::vector<std::string> architectures = gguf_architectures(file.graph);
    if (std::ranges::find(architectures, source.architecture) == architectures.end())
        fail("{} is a graph for the GGUF architecture {}, but the source's is '{}'",
             graph_file.string(),
             architectures.empty() ? "of no name"
                                   : fmt::format("'{}'", fmt::join(architectures, "', '")),
             source.architecture);

    Given given;
    given.has = [&](const std::string& param) { return in_gguf(file.graph, param, source); };
    for (const ast::Number* number : numbers_of(file.graph)) {
        if (const auto found = number_in_gguf(*number, source)) {
            given.numbers[number->name.text] = *found;
        } else if (!number->value) {
            errors.error(number->name.at,
                         fmt::format("the source does not say what '{}' is: looked for {}",
                                     number->name.text, gguf_places(*number)));
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

void check_graph_file(const fs::path& graph_file) {
    read_graph_file(graph_file);
}

std::string ast_text(const fs::path& graph_file) {
    return to_text(read_graph_file(graph_file, false).graph);
}

}  // namespace llmsql
