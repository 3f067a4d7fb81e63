// SPDX-License-Identifier: MIT
// The chat template of a source, as SQL.
//
// GGUF and Hugging Face carry a Jinja program. A plan's chat section is a query
// (docs/plan-format.md, "chat"), and the query for a Jinja program is a call of llm_render with its
// text. model.db keeps the source's text too.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "importer/tokenizer.h"

namespace llmsql {

/// A longer template is left out of model.db, with a note.
inline constexpr size_t kLongestTemplate = 1 << 20;

/// The query that renders a template, told the tokens that templates name.
std::string render_query(std::string_view jinja, const SourceTokenizer& tokenizer);

/// What a template makes of a user's "Hi", for people: quoted, the middle of a long text left out.
/// Empty where it cannot be run.
std::string short_conversation(const std::string& jinja, const SourceTokenizer& tokenizer);

/// How a note that a template is left out ends; asked for only then, as it is long in the making.
using Advice = std::function<std::string()>;

/// The template if it can be kept as text in model.db: not too long, valid UTF-8 without NUL, and
/// with messages in it. Where llama.cpp's converter writes the name of one that its programs know,
/// as of Mistral's folders that have no template, that one. Notes what is wrong with one that is
/// left out; `advice`, unless it is null, ends the note.
std::optional<std::string> checked_template(std::optional<std::string> jinja, const Advice& advice,
                                            const Note& note);

/// The chat section and the pieces that end generation, from the template that checked_template()
/// has left of a source's, and its settled tokenizer. A template that cannot be run, or that fails
/// at a short conversation, is left out with a note, which `advice` ends.
ChatSpec chat_of(const std::optional<std::string>& jinja, const SourceTokenizer& tokenizer,
                 const Advice& advice, const Note& note);

/// The model files beside graph folders (graphs/../models) with a chat template for models of this
/// graph whose stops the vocabulary has; by name.
std::vector<std::filesystem::path> model_files_like(
    const std::string& graph, const SourceTokenizer& tokenizer,
    const std::vector<std::filesystem::path>& graph_dirs);

}  // namespace llmsql
