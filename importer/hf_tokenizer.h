// SPDX-License-Identifier: MIT
// The tokenizer of a Hugging Face folder: tokenizer.json, and what tokenizer_config.json and
// generation_config.json say about its special tokens.
//
// A tokenizer.json is a pipeline of parts from which any tokenizer could be built. Two kinds are
// recognised part by part, and everything else is refused by name rather than taken for one of
// them:
//
//   bpe   byte-level BPE whose splitting is one that llmsql has (runtime/text/pre_tokenizer.h)
//   spm   SentencePiece's BPE as converted: spaces become U+2581, characters that are no token fall
//         back to bytes. Scores are not in the file; its merges are, and rank the pieces.
#pragma once

#include "importer/hf_folder.h"
#include "importer/tokenizer.h"

namespace llmsql {

/// Reads and checks it. `vocabulary` is the number of rows of the embedding: ids that no token has
/// become unused tokens, as in a GGUF, and special tokens beyond are left out.
SourceTokenizer read_tokenizer(const HfFolder& folder, int64_t vocabulary, const Note& note);

/// The Jinja template of the chat, wherever the folder has it.
std::optional<std::string> chat_template(const HfFolder& folder);

}  // namespace llmsql
