// SPDX-License-Identifier: MIT
// Imports a GGUF or a Hugging Face folder. See import.h.
#include "importer/import.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <system_error>
#include <vector>

#include "common/error.h"
#include "common/files.h"
#include "common/model_format.h"
#include "compiler/load/load.h"
#include "compiler/model/model_file.h"
#include "database/output.h"
#include "database/plans.h"
#include "importer/chat.h"
#include "importer/gguf.h"
#include "importer/hf_folder.h"
#include "importer/hf_tokenizer.h"
#include "importer/model_writer.h"
#include "importer/sampling.h"
#include "importer/source_keys.h"
#include "importer/special_tokens.h"
#include "importer/store.h"

namespace llmsql {

namespace {

namespace fs = std::filesystem;

/// What the two kinds of source do in ways of their own.
struct Opened {
    const Source& source;
    std::function<SourceTokenizer(const Model&)> tokenizer;
    std::function<std::optional<std::string>()> chat;  // the Jinja template
    std::function<Sampling()> sampling;
};

/// The source as the graph is to see it: without the keys that are to be ignored.
SourceMetadata metadata_of(const Source& source, const std::vector<std::string>& ignored) {
    return {.format = std::string(source.format()),
            .architecture = source.architecture(),
            .number = [&source, &ignored](const std::string& key) -> std::optional<double> {
                if (is_ignored(ignored, key)) return std::nullopt;
                return source.number(key);
            },
            .text = [&source, &ignored](const std::string& key) -> std::optional<std::string> {
                if (is_ignored(ignored, key)) return std::nullopt;
                return source.text(key);
            },
            .kind = [&source, &ignored](const std::string& key) -> std::string {
                return is_ignored(ignored, key) ? "" : source.kind(key);
            },
            .keys = [&source] { return source.keys(); },
            .shape = [&source](const std::string& tensor) -> std::optional<std::vector<int64_t>> {
                if (const SourceTensor* found = source.find_tensor(tensor)) return found->shape;
                // The first of those that are called so: "blk.*.attn_k.weight".
                if (tensor.find('*') != std::string::npos)
                    for (const SourceTensor& each : source.tensors())
                        if (compiler::matches(tensor, each.name)) return each.shape;
                return std::nullopt;
            }};
}

/// Whatever the source says must be known to the graph. Fails before anything is made of it.
KeysRead checked_keys(const ImportOptions& options, const Source& source, const fs::path& graph) {
    const SourceMetadata metadata = metadata_of(source, options.ignored_keys);
    KeysRead keys = compiler::keys_read(graph, metadata);
    check_keys(source, metadata, keys, options.ignored_keys, graph.stem().string());
    return keys;
}

/// Of several places where a parameter may be found the one where it is.
void find_places(const Source& source, Model& model) {
    for (Param& param : model.params) {
        std::optional<ParamSource>& place = source.format() == "hf" ? param.hf : param.gguf;
        if (!place || place->others.empty() || source.find_tensor(place->tensor)) continue;
        for (const ParamSource& other : place->others) {
            if (!source.find_tensor(other.tensor)) continue;
            ParamSource found = other;
            place = std::move(found);
            break;
        }
    }
}

Model model_from_file(const ImportOptions& options, const Source& source, const fs::path& graph,
                      KeysRead& keys) {
    Model model = compiler::load_model(*options.model_file, options.graph_dirs);
    const std::string architecture = source.architecture();
    const std::vector<std::string>& served = model.architectures[std::string(source.format())];
    if (std::ranges::find(served, architecture) == served.end())
        fail("{}: is of the architecture '{}', but the graph {} of {} is for '{}'", source.name(),
             architecture, model.graph, options.model_file->string(), fmt::join(served, "', '"));
    keys = checked_keys(options, source, graph);
    find_places(source, model);
    return model;
}

void check_tokenizer(const ImportOptions& options, const Source& source, const Model& model,
                     const SourceTokenizer& tokenizer) {
    const auto text_of = [](const TokenizerSpec& spec) {
        return spec.pre.empty() ? spec.kind : spec.kind + "/" + spec.pre;
    };
    if (model.tokenizer != tokenizer.spec)
        fail("{}: its tokenizer is {}, but {} says {}", source.name(), text_of(tokenizer.spec),
             options.model_file->string(), text_of(model.tokenizer));
}

fs::path graph_of(const ImportOptions& options, const Source& source) {
    if (options.model_file)
        return compiler::graph_of_model_file(*options.model_file, options.graph_dirs);
    if (options.graph_file) return *options.graph_file;
    return compiler::find_graph_for(std::string(source.format()), source.architecture(),
                                    options.graph_dirs);
}

// The name of a matrix within a layer, or of any.
std::string example_of(const Model& model) {
    std::string name;
    for (const Param& param : model.params)
        if (!param.shape.is_vector() && (name.empty() || name.find('.') == std::string::npos))
            name = param.name;
    return name;
}

Model model_from_graph(const ImportOptions& options, const Source& source, const fs::path& graph,
                       KeysRead& keys, const Note& note) {
    const std::string name = options.name.empty() ? model_name_of(options.source) : options.name;
    compiler::require_architecture(graph, std::string(source.format()), source.architecture());
    std::optional<std::string> foreign;
    try {
        keys = checked_keys(options, source, graph);
    } catch (const ForeignKeys& error) {
        foreign = error.what();
    }
    Model model;
    const auto first_of = [](const Error& error) {
        const std::string all = error.what();
        size_t errors = 0;
        for (size_t at = 0; (at = all.find(": error: ", at)) != std::string::npos; ++at) ++errors;
        return all.substr(0, all.find('\n')) +
               (errors > 1 ? fmt::format(" (and {} more)", errors - 1) : "");
    };
    try {
        model = compiler::model_from_source(graph, metadata_of(source, options.ignored_keys), name);
    } catch (const Error& error) {
        // Of a slip in a key's name both are told: what the graph leaves, and what it misses.
        if (!foreign) fail("{}", first_of(error));
        fail("{}; also, {}", *foreign, first_of(error));
    }
    if (foreign) throw Error(*foreign);
    check_lists(source, keys, model);
    find_places(source, model);
    std::vector<bool> matched(options.weights.size());
    const auto asked = [&](const std::string& param) -> std::optional<WeightType> {
        for (size_t i = 0; i < options.weights.size(); ++i) {
            if (!compiler::matches(options.weights[i].pattern, param)) continue;
            matched[i] = true;
            return options.weights[i].type;
        }
        return std::nullopt;
    };
    for (Param& param : model.params) {
        if (param.shape.is_vector()) {
            param.type = WeightType::f32;
            continue;
        }
        RowSource rows(source, param);
        const auto type = asked(param.name);
        param.type = type ? *type : rows.natural_type();
        if (param.type == WeightType::f16 && !rows.fits_f16()) {
            param.type = WeightType::f32;
            note(fmt::format("tensor {} has values beyond f16: stored as f32", rows.tensor().name));
        }
    }
    for (size_t i = 0; i < matched.size(); ++i) {
        if (matched[i]) continue;
        const std::string& pattern = options.weights[i].pattern;
        if (pattern == "*")
            fail(
                "--weights: the one for all matrices comes after others that have told of each: "
                "leave it out, or name the matrices that it is for");
        fail(
            "--weights: '{}' matches none of the model's matrices that are still to be told of; "
            "they are called as in graph {}, '{}' for one",
            pattern, model.graph, example_of(model));
    }
    return model;
}

/// Whether the source says a parameter in numbers, without a tensor.
bool is_computed(const Source& source, const Param& param) {
    const auto& place = param.source(source.format());
    return place && place->is_computed();
}

/// The vocabulary is as large as the embedding: a token without a row, or a row without a token,
/// would be an error much later.
void check_vocabulary(const Source& source, const Model& model, const SourceTokenizer& tokenizer) {
    const auto vocabulary = model.numbers.find("n_vocab");
    if (vocabulary != model.numbers.end() &&
        vocabulary->second != static_cast<double>(tokenizer.tokens.size()))
        fail("{}: its tokenizer has {}, the model needs n_vocab = {}", source.name(),
             counted(static_cast<uint64_t>(tokenizer.tokens.size()), "token"), vocabulary->second);
}

/// Tensors that a Hugging Face model has besides its weights, or in place of a tied one.
bool is_idle_in_folder(std::string_view tensor) {
    return tensor.ends_with(".rotary_emb.inv_freq") || tensor == "lm_head.weight" ||
           tensor == "embed_out.weight";
}

/// X.input_scale beside a matrix X.weight that is used: how activations may be quantised for it on
/// some processors, which changes nothing of what the matrix is.
bool is_input_scale(std::string_view tensor, const std::set<std::string>& used) {
    constexpr std::string_view kEnd = ".input_scale";
    if (!tensor.ends_with(kEnd)) return false;
    tensor.remove_suffix(kEnd.size());
    return used.contains(fmt::format("{}.weight", tensor));
}

/// A model that has a tensor of which the graph knows nothing computes something else than the
/// graph. Only a model file may leave one out knowingly: the head of a GGUF that copies the
/// embedding.
void check_unused(const ImportOptions& options, const Source& source, const Model& model,
                  const KeysRead& keys, const Note& note) {
    std::set<std::string> used;
    for (const Param& param : model.params) {
        const auto& place = param.source(source.format());
        if (!place) continue;
        used.insert(place->tensor);
        if (is_computed(source, param)) continue;
        if (const SourceTensor* scale = RowSource(source, param).scale()) used.insert(scale->name);
    }
    const auto is_idle = [&](const std::string& tensor) {
        return source.format() == "hf" ? is_idle_in_folder(tensor) : is_input_scale(tensor, used);
    };
    std::vector<std::string_view> unused;
    std::map<std::string, uint64_t> left;  // knowingly, by pattern
    std::vector<std::string> patterns = keys.tensors;
    for (std::string& pattern : patterns)
        for (const auto& [name, number] : model.numbers)
            if (const size_t at = pattern.find("{" + name + "}"); at != std::string::npos)
                pattern.replace(at, name.size() + 2, fmt::format("{}", number));
    for (const SourceTensor& tensor : source.tensors()) {
        if (used.contains(tensor.name) || is_idle(tensor.name)) continue;
        const auto pattern = std::ranges::find_if(patterns, [&](const std::string& each) {
            return compiler::matches(each, tensor.name);
        });
        if (pattern == patterns.end())
            unused.push_back(tensor.name);
        else
            ++left[*pattern];
    }
    for (const auto& [pattern, count] : left)
        note(fmt::format("{}: {} {} left out, as the graph {} says", source.name(),
                         counted(count, "tensor"), pattern, model.graph));
    if (unused.empty()) return;
    constexpr size_t kNamed = 3;
    const bool more = unused.size() > kNamed;
    const size_t count = unused.size();
    unused.resize(std::min(count, kNamed));
    const std::string text = fmt::format(
        "{} tensor{} of the source {} not used by the graph {}: {}{}", count, count == 1 ? "" : "s",
        count == 1 ? "is" : "are", model.graph, fmt::join(unused, ", "), more ? ", …" : "");
    if (!options.model_file || source.format() == "hf")
        fail("{}: {}; the model is another than the graph's", source.name(), text);
    note(text);
}

std::string amount_of(uint64_t bytes) {
    const auto value = static_cast<double>(bytes);
    if (value >= 1e9) return fmt::format("{:.2f} GB", value / 1e9);
    if (value >= 1e6) return fmt::format("{:.1f} MB", value / 1e6);
    return fmt::format("{:.1f} kB", value / 1e3);
}

/// Tells of source types that have more bits a weight in the database than in the source, before it
/// is made. That matrices are filled up to whole strips and blocks does not count.
void note_growth(const std::vector<ParamToStore>& params, const Note& note) {
    constexpr int64_t kCols = 256;
    struct Growth {
        std::string_view from, to;
        uint64_t read = 0, held = 0;
    };
    std::vector<Growth> growths;
    uint64_t read = 0, held = 0;
    for (const ParamToStore& param : params) {
        if (!param.rows || param.entry.shape.is_vector()) continue;
        const GgmlTypeInfo& from = *param.rows->tensor().type;
        const uint64_t own_read = param.rows->bytes(),
                       own_held = param_bytes(param.entry.type, param.entry.shape);
        read += own_read;
        held += own_held;
        if (static_cast<int64_t>(strip_bytes(param.entry.type, kCols)) * from.block_weights <=
            from.block_bytes * kStripRows * kCols)
            continue;
        const std::string_view to = name_of(param.entry.type);
        auto growth = std::ranges::find_if(growths, [&](const Growth& other) {
            return other.from == from.name && other.to == to;
        });
        if (growth == growths.end()) growth = growths.insert(growths.end(), {from.name, to});
        growth->read += own_read;
        growth->held += own_held;
    }
    if (growths.empty()) return;
    std::string text;
    for (const Growth& growth : growths)
        text += fmt::format("{}{} as {} ({} → {})", text.empty() ? "" : ", ", growth.from,
                            growth.to, amount_of(growth.read), amount_of(growth.held));
    note(fmt::format("larger in the database than in the source: {}; all matrices: {} → {}", text,
                     amount_of(read), amount_of(held)));
}

/// The elements of a parameter that a source says in numbers: computed from some, or a list.
std::vector<double> numbers_of(const Source& source, const Param& param) {
    const ParamSource& place = *param.source(source.format());
    if (place.keys.empty()) return place.values;
    for (const std::string& key : place.keys) {
        std::vector<double> values;
        while (const auto next = source.number(fmt::format("{}.{}", key, values.size()))) {
            values.push_back(*next);
            if (values.size() > static_cast<size_t>(param.shape.cols)) break;
        }
        if (values.empty()) continue;
        if (values.size() != static_cast<size_t>(param.shape.cols))
            fail("{}: {} has {} numbers than the {} of {}", source.name(), printable(key),
                 values.size() < static_cast<size_t>(param.shape.cols) ? "fewer" : "more",
                 param.shape.cols, param.name);
        return values;
    }
    fail("{}: has no list {}, which is the parameter {}", source.name(),
         fmt::join(place.keys, " or "), param.name);
}

/// What is to be stored of each of the model's parameters, in the order of the catalogue.
std::vector<ParamToStore> params_of(const Source& source, const Model& model) {
    std::vector<ParamToStore> params;
    params.reserve(model.params.size());
    for (const Param& param : model.params) {
        ParamToStore& stored = params.emplace_back();
        stored.id = static_cast<int64_t>(params.size());
        stored.entry = param;
        if (!is_computed(source, param)) {
            stored.rows.emplace(source, param);
            continue;
        }
        const std::vector<double> values = numbers_of(source, param);
        stored.values.assign(values.begin(), values.end());
        stored.what = fmt::format("{}: the parameter {}, which is computed from its metadata,",
                                  source.name(), param.name);
    }
    return params;
}

/// What to do about a chat template that llmsql does not know.
std::string template_advice(const ImportOptions& options, const Model& model,
                            const SourceTokenizer& tokenizer) {
    std::string advice =
        options.for_cache
            ? "write [chat] template by hand (docs/plan-format.md, \"chat\") in a model file of "
              "your "
              "own, which llmsql import SRC -o MODEL.db --write-model MODEL.toml makes"
            : fmt::format("write [chat] template in {} by hand (docs/plan-format.md, \"chat\")",
                          options.write_model->string());
    const std::vector<fs::path> like = model_files_like(model.graph, tokenizer, options.graph_dirs);
    if (!like.empty()) advice += fmt::format(", or copy the [chat] of {}", like.front().string());
    return advice;
}

/// The source's template, to be kept. Where no model file is made of it, one that can't be read is
/// told, and no more.
std::optional<std::string> template_of(const Opened& opened, const ImportOptions& options,
                                       const Advice& advice, const Note& note) {
    try {
        std::optional<std::string> jinja = opened.chat();
        if (!jinja && options.write_model)
            note("the source has no chat template: the model file gets none");
        return checked_template(std::move(jinja), advice, note);
    } catch (const Error& error) {
        if (options.write_model) throw;
        note(fmt::format("{}: left out", error.what()));
        return std::nullopt;
    }
}

/// Where --write-model writes: nothing of anybody else's is replaced. What it has written begins
/// with two keys, without so much as a comment, as a file made by hand hardly does.
fs::path written_model_path(const fs::path& path) {
    constexpr std::string_view kKind = "a model file of --write-model's";
    const fs::path output = output_path(path, "name = \"", kKind);
    std::error_code none;
    if (!fs::is_regular_file(output, none) || fs::file_size(output, none) == 0) return output;
    const std::string text = read_file(output);
    const size_t line = text.find('\n');
    if (line == std::string::npos || !text.substr(line + 1).starts_with("graph = \""))
        fail("{}: is there already and is not {}: choose another name, or remove it first",
             path.string(), kKind);
    return output;
}

void check_files(const ImportOptions& options) {
    std::error_code ignored;
    for (const fs::path& output : {options.output, options.write_model.value_or("")})
        if (!output.empty() && fs::equivalent(options.source, output, ignored))
            fail("{}: is the source itself, choose another output", output.string());
    if (!options.dry_run) database_output_path(options.output, kModelDatabase);
    if (!options.write_model) return;
    written_model_path(*options.write_model);
    if (!options.dry_run && fs::weakly_canonical(options.output, ignored) ==
                                fs::weakly_canonical(*options.write_model, ignored))
        fail("{}: cannot be both the database and the model file", options.output.string());
}

/// The last part of the path, also of "folder/" and ".".
std::string file_name_of(const fs::path& source) {
    const fs::path whole = absolute_path(source).lexically_normal();
    return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

/// No model is stored of which llmsqlc could not make a plan.
void check_result(const Source& source, const std::string& text, const Model& model,
                  const fs::path& graph) {
    try {
        check_model_text(text, model, graph);
    } catch (const Error& error) {
        const std::string_view all = error.what();
        fail("{}: no plan could be made of this model: {}", source.name(),
             all.substr(0, all.find('\n')));
    }
}

/// What went with the database that was replaced, and how it is made anew.
void note_lost_plans(const ImportOptions& options, const InstalledPlans& lost, const Note& note) {
    if (lost.texts.empty() && !lost.unreadable) return;
    std::string which, name;
    for (const auto& [each, sql] : lost.texts) {
        which += fmt::format("{}'{}'", which.empty() ? "" : ", ", printable(each));
        if (lost.texts.size() == 1 && each != kDefaultPlan) name = " --name " + printable(each);
    }
    if (lost.unreadable)
        which = fmt::format("plans that were installed in it cannot be read ({}) and are gone",
                            *lost.unreadable);
    else
        which = fmt::format(
            "the plan{} {} that {} installed in it {} gone, for the parameters are "
            "others now",
            lost.texts.size() > 1 ? "s" : "", which, lost.texts.size() > 1 ? "were" : "was",
            lost.texts.size() > 1 ? "are" : "is");
    const auto& made = options.model_file ? options.model_file : options.write_model;
    note(fmt::format("{}: {}: {}llmsqlc {} --install {}{} installs one anew",
                     options.output.string(), which,
                     made ? "" : "import with --write-model MODEL.toml, then ",
                     made ? made->string() : "MODEL.toml", options.output.string(), name));
}

/// 0: not known.
int64_t trained_context(const Source& source, const std::vector<std::string>& ignored,
                        const Note& note) {
    if (const auto length = source.trained_context()) return *length;
    const std::set<std::string> keys{source.architecture() + ".context_length",
                                     "max_position_embeddings",
                                     "text_config.max_position_embeddings"};
    for (const auto& [key, value] : source.own_values())
        if (keys.contains(key) && !is_ignored(ignored, key) && !source.is_default(key))
            note(
                fmt::format("{}: says {} = {}, which is no length of texts: up to what length the "
                            "model was trained is taken as not known",
                            source.name(), key, text_of(value)));
    return 0;
}

/// Bytes of the database that these become: tiles, what SQLite's pages of 64 KiB leave unused among
/// them, and the tokenizer's tables with their indexes. Rather too many than too few.
uint64_t bytes_of_database(uint64_t tiles, const SourceTokenizer& tokenizer) {
    constexpr uint64_t kToken = 96, kMerge = 48, kTables = 16 * kModelPageBytes;
    return tiles + tiles / 16 + static_cast<uint64_t>(tokenizer.tokens.size()) * kToken +
           tokenizer.merges.size() * kMerge + kTables;
}

/// What a dry run tells: a line each, "what: …".
std::string description_of(const Opened& opened, const Model& model,
                           const SourceTokenizer& tokenizer, bool chat, const Sampling& sampling,
                           const std::vector<ParamToStore>& params, const ImportResult& result) {
    const auto table = [](const std::map<std::string_view, uint64_t>& bytes) {
        std::string text;
        for (const auto& [type, count] : bytes)
            text += fmt::format("{}{} {}", text.empty() ? "" : ", ", type, amount_of(count));
        return text;
    };
    std::map<std::string_view, uint64_t> read, stored;
    for (const ParamToStore& param : params) {
        if (param.rows) read[param.rows->tensor().type->name] += param.rows->bytes();
        stored[name_of(param.entry.type)] += param_bytes(param.entry.type, param.entry.shape);
    }
    const TokenizerSpec& spec = model.tokenizer;
    std::string text;
    const auto add = [&](std::string_view what, const std::string& value) {
        text += fmt::format("{}: {}\n", what, one_line(value));
    };
    add("model", model.name);
    add("architecture", fmt::format("{} (graph {})", opened.source.architecture(), model.graph));
    add("parameters", fmt::format("{}", result.parameters));
    add("trained for texts of",
        model.origin.context > 0 ? fmt::format("{} tokens", model.origin.context) : "not said");
    add("tokenizer", fmt::format("{}{}{}, {} tokens", spec.kind, spec.pre.empty() ? "" : " ",
                                 spec.pre, tokenizer.tokens.size()));
    add("chat template", chat ? "yes" : "none");
    if (!result.chat.empty()) add("a message \"Hi\" becomes", result.chat);
    std::string picks;
    for (const auto& [name, value] : sampling)
        picks += fmt::format("{}{} {}", picks.empty() ? "" : ", ", name, value);
    add("sampling", picks.empty() ? "not said" : picks);
    add("weights in the source", table(read));
    add("weights in a database", table(stored));
    add("bytes", fmt::format("{}", result.bytes_out));
    return text;
}

ImportResult import_opened(const Opened& opened, const ImportOptions& options,
                           const ImportWatcher& watcher) {
    const Source& source = opened.source;
    check_files(options);
    for (const std::string& text : source.notes()) watcher.note(text);
    const std::vector<std::string> ignored = describe_ignored(options.ignored_keys, source);
    const fs::path graph = graph_of(options, source);
    KeysRead keys;
    Model model = options.model_file ? model_from_file(options, source, graph, keys)
                                     : model_from_graph(options, source, graph, keys, watcher.note);
    // What a model file says of its source was said of another copy of it, perhaps.
    model.origin = {trained_context(source, options.ignored_keys, watcher.note), ignored};
    SourceTokenizer tokenizer = opened.tokenizer(model);
    if (options.model_file)
        check_tokenizer(options, source, model, tokenizer);
    else
        model.tokenizer = tokenizer.spec;
    Advice advice;
    if (options.write_model) advice = [&] { return template_advice(options, model, tokenizer); };
    const std::optional<std::string> jinja = template_of(opened, options, advice, watcher.note);
    settle_special_tokens(tokenizer, {jinja.value_or(""), model.chat.query},
                          source.format() == "gguf", watcher.note);
    if (options.write_model) model.chat = chat_of(jinja, tokenizer, advice, watcher.note);
    check_vocabulary(source, model, tokenizer);
    const Sampling sampling = opened.sampling();

    ImportResult result{.name = model.name, .bytes_in = source.bytes()};
    if (jinja) result.chat = short_conversation(*jinja, tokenizer);
    std::vector<ParamEntry> catalogue(model.params.begin(), model.params.end());
    uint64_t total = 0, done = 0;
    std::vector<ParamToStore> params = params_of(source, model);
    for (const ParamToStore& param : params) {
        if (param.rows) total += param.rows->bytes();
        result.parameters += param.entry.shape.row_count() * param.entry.shape.cols;
    }
    check_unused(options, source, model, keys, watcher.note);
    const std::string model_text = to_toml(model);
    if (!options.model_file) check_result(source, model_text, model, graph);

    const std::vector<bool> positive = compiler::must_be_positive(graph, model);
    for (size_t i = 0; i < params.size(); ++i) params[i].positive = positive[i];
    note_growth(params, watcher.note);
    uint64_t tiles = 0;
    for (const ParamEntry& entry : catalogue) tiles += param_bytes(entry.type, entry.shape);
    if (options.dry_run) {
        result.bytes_out = bytes_of_database(tiles, tokenizer);
        result.description =
            description_of(opened, model, tokenizer, jinja.has_value(), sampling, params, result);
        if (options.write_model)
            write_file_atomically(written_model_path(*options.write_model), model_text);
        return result;
    }
    ModelWriter writer(options.output, *watcher.canceled);
    writer.meta("model", model.name);
    writer.meta("graph", model.graph);
    const std::string checksum = catalogue_checksum(catalogue);
    writer.meta("catalogue", checksum);
    writer.meta("source", file_name_of(source.name()));
    if (model.origin.context > 0) writer.meta("context", model.origin.context);
    if (!ignored.empty()) writer.meta("ignored", fmt::format("{}", fmt::join(ignored, ", ")));
    for (const auto& [name, value] : sampling) writer.meta("sampling." + name, value);
    const auto progress = [&](uint64_t bytes) {
        done += bytes;
        watcher.progress(done, total);
    };
    store_params(params, writer, progress, [&] {
        write_tokenizer(tokenizer, writer);
        if (jinja) writer.meta("tokenizer.chat_template", *jinja);
        for (const ParamToStore& param : params) writer.param(param.id, param.entry);
    });
    const InstalledPlans lost = writer.keep_plans(checksum);
    result.bytes_out = writer.finish();
    // Both files or none: what is left to do for the database cannot fill the disk, and an
    // interruption comes before or after.
    const auto held = TemporaryFile::hold();
    writer.require_publishable();
    if (options.write_model)
        write_file_atomically(written_model_path(*options.write_model), model_text);
    writer.publish();
    note_lost_plans(options, lost, watcher.note);
    return result;
}

/// Without what a part of a split model has at its end: "-00001-of-00003".
std::string whole_name(const fs::path& stem) {
    const std::string name = stem.string();
    constexpr std::string_view kPart = "-00000-of-00000";
    if (name.size() <= kPart.size()) return name;
    const std::string_view end = std::string_view(name).substr(name.size() - kPart.size());
    for (size_t i = 0; i < kPart.size(); ++i)
        if (kPart[i] == '0' ? !std::isdigit(static_cast<unsigned char>(end[i]))
                            : end[i] != kPart[i])
            return name;
    return name.substr(0, name.size() - kPart.size());
}

/// Whether the last word of a file's name, in lower case, is that of a type: "q4_k_m", "iq3_xxs".
bool is_quantization(std::string_view word) {
    for (const std::string_view name : {"f16", "f32", "bf16", "fp16", "fp32", "mxfp4", "nvfp4"})
        if (word == name || (word.starts_with(name) && word[name.size()] == '_')) return true;
    for (const std::string_view start : {"q", "iq", "tq"})
        if (word.size() > start.size() && word.starts_with(start) &&
            std::isdigit(static_cast<unsigned char>(word[start.size()])))
            return true;
    return false;
}

}  // namespace

std::string model_name_of(const fs::path& source) {
    std::error_code ignored;
    // A folder's name has no extension, but perhaps a point: Qwen2.5-0.5B-Instruct. A name is one
    // line of text wherever it is written later.
    std::string name =
        fs::is_directory(source, ignored) ? file_name_of(source) : whole_name(source.stem());
    std::ranges::transform(name, name.begin(), [](unsigned char c) {
        return std::iscntrl(c) ? '-' : static_cast<char>(std::tolower(c));
    });
    name = one_line(name);  // what is not UTF-8
    const size_t cut = name.find_last_of(".-");
    if (cut == std::string::npos || cut == 0) return name;
    const std::string_view last = std::string_view(name).substr(cut + 1);
    return is_quantization(last) ? name.substr(0, cut) : name;
}

ImportResult import_model(const ImportOptions& options, const ImportWatcher& watcher) {
    std::error_code ignored;
    if (fs::is_directory(options.source, ignored)) {
        const HfFolder folder(options.source);
        const auto tokenizer = [&](const Model& model) {
            const auto vocabulary = model.numbers.find("n_vocab");
            if (vocabulary == model.numbers.end())
                fail("the graph {} does not say how large the vocabulary is (n_vocab)",
                     model.graph);
            return read_tokenizer(folder, static_cast<int64_t>(vocabulary->second), watcher.note);
        };
        return import_opened(
            {folder, tokenizer, [&] { return chat_template(folder, watcher.note); },
             [&] { return sampling_of(folder, watcher.note); }},
            options, watcher);
    }
    const Gguf gguf(options.source);
    return import_opened({gguf, [&](const Model&) { return read_tokenizer(gguf, watcher.note); },
                          [&] { return gguf.text("tokenizer.chat_template"); },
                          [&] { return sampling_of(gguf, watcher.note); }},
                         options, watcher);
}

}  // namespace llmsql
