// SPDX-License-Identifier: MIT
// The chat template of a source, as SQL.
//
// GGUF and Hugging Face carry a Jinja program. llmsql has no Jinja: a template is a query over
// `message` (docs/plan-format.md, "chat"). A Jinja text is taken only if it is, but for how it is
// written, one of those for which the importer has a query whose result was compared with Jinja's;
// whatever else looks like them may do more, and is left to the model file. model.db keeps the
// source's text either way.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "importer/tokenizer.h"

namespace llmsql {

/// A longer template is left out of model.db, with a note.
inline constexpr size_t kLongestTemplate = 1 << 20;

/// 32 hexadecimal digits that two templates share which Jinja cannot tell apart: XXH3-128 over the
/// text between tags, spaces taken away where the tags say so, and the tags' tokens, strings
/// unescaped. Nothing for what this reader of Jinja does not know (raw blocks, braces in tags).
std::optional<std::string> template_fingerprint(std::string_view jinja);

/// The query for a template that is known. Nothing for others, or if it needs a token that the
/// model hasn't.
std::optional<std::string> known_query(std::string_view jinja, const SourceTokenizer& tokenizer);

/// The template if it can be kept as text in model.db: not too long, and valid UTF-8 without NUL.
/// Notes what is wrong with one that is left out; `advice`, if there is any, ends the note.
std::optional<std::string> checked_template(std::optional<std::string> jinja,
                                            const std::string& advice, const Note& note);

/// The chat section and the pieces that end generation, from the template that checked_template()
/// has left of a source's, and its settled tokenizer. `advice` ends the note for a template that
/// isn't known.
ChatSpec chat_of(const std::optional<std::string>& jinja, const SourceTokenizer& tokenizer,
                 const std::string& advice, const Note& note);

/// The model files beside graph folders (graphs/../models) with a chat template for models of this
/// graph whose stops the vocabulary has; by name.
std::vector<std::filesystem::path> model_files_like(
    const std::string& graph, const SourceTokenizer& tokenizer,
    const std::vector<std::filesystem::path>& graph_dirs);

}  // namespace llmsql
