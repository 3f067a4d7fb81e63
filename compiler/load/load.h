// SPDX-License-Identifier: MIT
// The front of the compiler as one call: a graph file and a model file in, a Model and its OpGraph
// out. llmsqlc and llmsql-import both start here.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "compiler/ir/model.h"
#include "compiler/ir/op_graph.h"

namespace llmsql::compiler {

/// The context that a plan has unless another is asked for.
inline constexpr int64_t kUsualContext = 1024;

/// Errors of a graph or model file, one "file:line:column: error: …" paragraph each (with the
/// source line and a caret), joined by newlines into one llmsql::Error.
///
/// Reads a model file and the graph it names. `graph_dirs` are searched for "<graph>.graph" after
/// the model file's own folder and its ../graphs.
Model load_model(const std::filesystem::path& model_file,
                 const std::vector<std::filesystem::path>& graph_dirs);

/// Lowers the forward pass of `model` (loops unrolled, conditionals decided), for a cache that
/// holds `context` positions.
OpGraph lower_model(const std::filesystem::path& model_file,
                    const std::vector<std::filesystem::path>& graph_dirs, const Model& model,
                    int64_t context = kUsualContext);

/// What the importer needs to instantiate a graph from a source's own metadata.
struct SourceMetadata {
    std::string format = "gguf";  // whose annotations count: "gguf" or "hf"
    std::string architecture;     // GGUF's general.architecture, the first of HF's architectures
    /// A number under a metadata key, if the source has it; true and false count as 1 and 0. Of
    /// config.json a key "a.b" is member b of the object a.
    std::function<std::optional<double>(const std::string& key)> number;
    /// A text under a metadata key, if the source has it.
    std::function<std::optional<std::string>(const std::string& key)> text;
    /// "an array", "an object", … where a value is neither a number nor a text; else empty. May be
    /// null.
    std::function<std::string(const std::string& key)> kind = {};
    /// All metadata keys, to suggest one; may be empty.
    std::function<std::vector<std::string>()> keys;
    /// The shape of a source tensor, outermost first ([rows, cols] or [cols]), if it exists.
    std::function<std::optional<std::vector<int64_t>>(const std::string& tensor)> shape;
};

/// Instantiates a graph file from a source's metadata: dims, constants, which optional parameters
/// exist. Storage types are all f32 for vectors and f16 for matrices; the importer decides them.
/// Tokenizer and chat are left empty.
Model model_from_source(const std::filesystem::path& graph_file, const SourceMetadata& source,
                        const std::string& name);

/// Fails unless the graph file says that it is for this architecture of a format.
void require_architecture(const std::filesystem::path& graph_file, const std::string& format,
                          const std::string& architecture);

/// What a graph does with a source's metadata.
struct KeysRead {
    /// Keys whose values the graph takes, of a list "layer_types.3" for each element. Of several
    /// keys of one declaration the first that the source has, and those that say the same.
    std::set<std::string> read;
    /// Lists that are read element by element, one a repetition of a block.
    std::set<std::string> lists;
    /// Lists that are read as a whole.
    std::set<std::string> whole_lists;
    /// Keys that the graph says change nothing: `ignore`.
    std::set<std::string> ignored;
    /// Patterns of the names of tensors that the graph leaves out.
    std::vector<std::string> tensors;
};

/// Throws Error where the graph file has errors, or a value is of another type than the graph
/// needs.
KeysRead keys_read(const std::filesystem::path& graph_file, const SourceMetadata& source);

/// By a parameter's place in the catalogue: whether an operator of the model's forward pass takes
/// only numbers above 0 there.
std::vector<bool> must_be_positive(const std::filesystem::path& graph_file, const Model& model);

/// The graph file that load_model takes for a model file.
std::filesystem::path graph_of_model_file(const std::filesystem::path& model_file,
                                          const std::vector<std::filesystem::path>& graph_dirs);

/// What llmsqlc would say of a model file of this text, so that none is written that it refuses: it
/// is read, must come to `model`, and its forward pass is lowered. Throws Error with the first
/// error, in one line.
void check_model_text(const std::string& text, const Model& model,
                      const std::filesystem::path& graph_file);

/// The graph file that serves an architecture of a source format ("gguf" or "hf"), by what the
/// files in `graph_dirs` say themselves; of two folders the first that has one counts. Fails,
/// saying what there is, where none does.
std::filesystem::path find_graph_for(const std::string& format, const std::string& architecture,
                                     const std::vector<std::filesystem::path>& graph_dirs);

/// The folders in which a program of this project looks for graph files after those it is told:
/// graphs/ beside the running program, above it (a build folder in the source) and where an
/// installation puts it; then `installed`.
std::vector<std::filesystem::path> standard_graph_dirs(const std::filesystem::path& installed);

/// `own`, the folder of --graph-dir unless it is empty, and those behind it. Fails where there is
/// no such folder.
std::vector<std::filesystem::path> graph_dirs(const std::filesystem::path& own,
                                              const std::filesystem::path& installed);

/// The model or graph file that a command line names. One that is there is itself; another is
/// looked for among those that come with llmsql, the folders `graph_dirs` and models/ beside each,
/// if it is named as there: "models/qwen2.toml", "qwen2.toml" or "qwen2", "graphs/llama.graph" or
/// "llama.graph". Where nothing is found it is `named`, which then cannot be read.
std::filesystem::path find_shipped_file(const std::filesystem::path& named,
                                        const std::vector<std::filesystem::path>& graph_dirs);

/// The model file's text for a Model: what --write-model writes and load_model reads back equal (a
/// chat query without surrounding white space provided). The tokenizer's kind must be set.
std::string to_toml(const Model& model);

/// Checks a graph file alone; throws its errors as one llmsql::Error, as load_model does.
void check_graph_file(const std::filesystem::path& graph_file);

/// The text of --emit=ast: the graph file as it was understood, every operator in parentheses. It
/// is itself a graph file. Only syntax errors are errors here.
std::string ast_text(const std::filesystem::path& graph_file);

}  // namespace llmsql::compiler
