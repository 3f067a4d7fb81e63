// Imports a GGUF. See import.h.
#include "importer/import.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <span>
#include <string_view>
#include <system_error>
#include <vector>

#include "common/error.h"
#include "common/files.h"
#include "compiler/model/load.h"
#include "importer/chat.h"
#include "importer/gguf.h"
#include "importer/model_writer.h"
#include "importer/store.h"

namespace llmsql {
namespace {

namespace fs = std::filesystem;

std::string architecture_of(const Gguf& gguf) {
    const auto architecture = gguf.text("general.architecture");
    if (!architecture)
        fail("{}: does not say its architecture (general.architecture)", gguf.name());
    return *architecture;
}

SourceMetadata metadata_of(const Gguf& gguf) {
    return {.architecture = architecture_of(gguf),
            .number = [&gguf](const std::string& key) { return gguf.number(key); },
            .text = [&gguf](const std::string& key) { return gguf.text(key); },
            .keys = [&gguf] { return gguf.keys(); },
            .shape = [&gguf](const std::string& tensor) -> std::optional<std::vector<int64_t>> {
                const GgufTensor* found = gguf.find_tensor(tensor);
                if (!found) return std::nullopt;
                return found->shape;
            }};
}

Model model_from_file(const ImportOptions& options, const Gguf& gguf,
                      const SourceTokenizer& tokenizer) {
    Model model = load_model(*options.model_file, options.graph_dirs);
    const std::string architecture = architecture_of(gguf);
    const std::vector<std::string>& served = model.architectures["gguf"];
    if (std::ranges::find(served, architecture) == served.end())
        fail("{}: is of the architecture '{}', but the graph {} of {} is for '{}'", gguf.name(),
             architecture, model.graph, options.model_file->string(), fmt::join(served, "', '"));
    const auto text_of = [](const TokenizerSpec& spec) {
        return spec.pre.empty() ? spec.kind : spec.kind + "/" + spec.pre;
    };
    if (model.tokenizer != tokenizer.spec)
        fail("{}: its tokenizer is {}, but {} says {}", gguf.name(), text_of(tokenizer.spec),
             options.model_file->string(), text_of(model.tokenizer));
    return model;
}

Model model_from_graph(const ImportOptions& options, const Gguf& gguf,
                       const SourceTokenizer& tokenizer, const Note& note) {
    const std::string name = options.name.empty() ? model_name_of(options.source) : options.name;
    const fs::path graph = options.graph_file
                               ? *options.graph_file
                               : find_graph_for("gguf", architecture_of(gguf), options.graph_dirs);
    Model model = model_from_source(graph, metadata_of(gguf), name);
    model.tokenizer = tokenizer.spec;
    for (Param& param : model.params) {
        if (param.shape.is_vector()) {
            param.type = WeightType::f32;
            continue;
        }
        RowSource source(gguf, param);
        param.type = options.weights.value_or(natural_type(source.type()));
        if (param.type == WeightType::f16 && !source.fits_f16()) {
            param.type = WeightType::f32;
            note(fmt::format("tensor {} has values beyond f16: stored as f32",
                             source.tensor().name));
        }
    }
    if (options.write_model) model.chat = chat_of(gguf, tokenizer, note);
    return model;
}

/// Whether the source says a parameter in numbers, without a tensor.
bool is_computed(const Param& param) {
    return param.gguf && param.gguf->is_computed();
}

/// The vocabulary is as large as the embedding: a token without a row, or a row without a token,
/// would be an error much later.
void check_vocabulary(const Gguf& gguf, const Model& model, const SourceTokenizer& tokenizer) {
    const auto vocabulary = model.numbers.find("n_vocab");
    if (vocabulary != model.numbers.end() &&
        vocabulary->second != static_cast<double>(tokenizer.tokens))
        fail("{}: its tokenizer has {} tokens, the model needs n_vocab = {}", gguf.name(),
             tokenizer.tokens, vocabulary->second);
}

void note_unused(const Gguf& gguf, const Model& model, const Note& note) {
    std::set<std::string_view> used;
    for (const Param& param : model.params)
        if (param.gguf) used.insert(param.gguf->tensor);
    std::vector<std::string_view> unused;
    for (const GgufTensor& tensor : gguf.tensors())
        if (!used.contains(tensor.name)) unused.push_back(tensor.name);
    if (unused.empty()) return;
    constexpr size_t kNamed = 3;
    const bool more = unused.size() > kNamed;
    const size_t count = unused.size();
    unused.resize(std::min(count, kNamed));
    note(fmt::format("{} tensor{} of the source {} not used by the graph {}: {}{}", count,
                     count == 1 ? "" : "s", count == 1 ? "is" : "are", model.graph,
                     fmt::join(unused, ", "), more ? ", …" : ""));
}

void check_files(const ImportOptions& options) {
    std::error_code ignored;
    for (const fs::path& output : {options.output, options.write_model.value_or("")})
        if (!output.empty() && fs::equivalent(options.source, output, ignored))
            fail("{}: is the source itself, choose another output", output.string());
    regular_output_path(options.output, "SQLite format 3", "a database");
    if (!options.write_model) return;
    output_path(*options.write_model, "name = ", "a model file of --write-model's");
    if (fs::weakly_canonical(options.output, ignored) ==
        fs::weakly_canonical(*options.write_model, ignored))
        fail("{}: cannot be both the database and the model file", options.output.string());
}

}  // namespace

std::string model_name_of(const fs::path& source) {
    std::string name = source.stem().string();
    std::ranges::transform(name, name.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const size_t cut = name.find_last_of(".-");
    if (cut == std::string::npos || cut == 0) return name;
    const std::string_view last = std::string_view(name).substr(cut + 1);
    const bool quantised =
        last == "f16" || last == "f32" || last == "bf16" || last == "fp16" ||
        (last.size() >= 2 && last[0] == 'q' && std::isdigit(static_cast<unsigned char>(last[1])));
    return quantised ? name.substr(0, cut) : name;
}

ImportResult import_model(const ImportOptions& options, const ImportWatcher& watcher) {
    const Gguf gguf(options.source);
    check_files(options);
    const SourceTokenizer tokenizer = read_tokenizer(gguf, watcher.note);
    const Model model = options.model_file
                            ? model_from_file(options, gguf, tokenizer)
                            : model_from_graph(options, gguf, tokenizer, watcher.note);
    check_vocabulary(gguf, model, tokenizer);

    ImportResult result{.name = model.name, .bytes_in = gguf.file().size()};
    std::vector<ParamEntry> catalogue(model.params.begin(), model.params.end());
    uint64_t total = 0, done = 0;
    for (const Param& param : model.params) {
        if (!is_computed(param)) total += RowSource(gguf, param).bytes();
        result.parameters += param.shape.row_count() * param.shape.cols;
    }
    note_unused(gguf, model, watcher.note);

    ModelWriter writer(options.output, *watcher.cancelled);
    writer.meta("model", model.name);
    writer.meta("graph", model.graph);
    writer.meta("catalogue", catalogue_checksum(catalogue));
    writer.meta("source", options.source.filename().string());
    write_tokenizer(gguf, tokenizer, writer);
    for (size_t i = 0; i < catalogue.size(); ++i)
        writer.param(static_cast<int64_t>(i) + 1, catalogue[i]);
    for (size_t i = 0; i < model.params.size(); ++i) {
        if (is_computed(model.params[i])) {
            const std::vector<float> values(model.params[i].gguf->values.begin(),
                                            model.params[i].gguf->values.end());
            writer.tile(static_cast<int64_t>(i) + 1, 0, std::as_bytes(std::span(values)), 1);
            continue;
        }
        RowSource source(gguf, model.params[i]);
        store_param(source, static_cast<int64_t>(i) + 1, catalogue[i], writer, [&](uint64_t bytes) {
            done += bytes;
            watcher.progress(done, total);
        });
    }
    result.bytes_out = writer.finish();
    // Both files or none: what is left to do for the database cannot fill the disk.
    if (options.write_model) write_file_atomically(*options.write_model, to_toml(model));
    writer.publish();
    return result;
}

}  // namespace llmsql
