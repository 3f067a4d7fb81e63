// The chat template of a source, as SQL.
//
// GGUF and Hugging Face carry a Jinja program. llmsql has no Jinja: a template is a query over
// `message` (docs/plan-format.md, "chat"), and the importer writes one where it recognises what the
// Jinja does. Only ChatML is recognised; other templates are written by hand into the model file.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "importer/tokenizer.h"

namespace llmsql {

/// The query for a Jinja template that wraps each message as ChatML does, with the system message
/// that it puts in front of a conversation without one, if it has one. Nothing for other templates.
std::optional<std::string> chatml_query(std::string_view jinja);

/// The chat section and the pieces that end a turn, from a source's template, if it has one, and
/// its vocabulary.
ChatSpec chat_of(const std::optional<std::string>& jinja, const SourceTokenizer& tokenizer,
                 const Note& note);

}  // namespace llmsql
