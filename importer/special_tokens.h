// SPDX-License-Identifier: MIT
// Which tokens end generation, and which no text may become.
//
// A source says how its model ends in several places (the end of text, of a turn, of a message, a
// list in generation_config.json), and often in none: what other programs go by then is how the
// token is spelled. Files also call tokens normal or user-defined that are neither: the marks of a
// turn are control tokens whatever the file calls them, since a user's text must not become one.
#pragma once

#include <string_view>
#include <vector>

#include "importer/tokenizer.h"

namespace llmsql {

/// Completes `ends` by what tokens are called, and makes control tokens of all ends, of the marks
/// that open or close a turn (by name, or because one of `templates` writes them: Jinja or SQL),
/// and of those that fill in the middle of a GGUF's code (`of_gguf`: a Hugging Face tokenizer finds
/// them in texts if they aren't called special). A token that stands for a single byte, or that
/// names a part of an answer (thinking, a tool's call), keeps its kind. One note tells of those
/// that changed.
void settle_special_tokens(SourceTokenizer& tokenizer,
                           const std::vector<std::string_view>& templates, bool of_gguf,
                           const Note& note);

/// The pieces for a model file's list of stops: ends of text and of turns, not what fills in the
/// middle of code, nor a "</s>" that isn't the model's own end of text. Such as a model file cannot
/// spell are left out; model.db has all by id.
std::vector<std::string> stop_pieces(const SourceTokenizer& tokenizer);

/// The marks of turns and ends that stand in a chat query and that the vocabulary has no token for.
/// Not those that many a published vocabulary spells in plain text ([INST]).
std::vector<std::string_view> marks_without_token(std::string_view query,
                                                  const SourceTokenizer& tokenizer);

}  // namespace llmsql
