// SPDX-License-Identifier: MIT
// The tokenizer of a Hugging Face folder: tokenizer.json, and what tokenizer_config.json and
// generation_config.json say about its special tokens; or, where there is none, Mistral's
// tekken.json (tekken.h).
//
// A tokenizer.json is a pipeline of parts from which any tokenizer could be built. What each part
// does is written down as rules (runtime/text/normalizer.h, pre_tokenizer.h), or the part is
// refused by name. Of BPE there are two kinds:
//
//   bpe   byte-level BPE: one of its steps, or its normalizer, is ByteLevel
//   spm   of characters, as SentencePiece's is converted: spaces become U+2581, characters that are
//         no token fall back to bytes. Scores are not in the file; its merges are, and rank the
//         pieces.
#pragma once

#include "importer/hf_folder.h"
#include "importer/tokenizer.h"

namespace llmsql {

/// Reads and checks it. `vocabulary` is the number of rows of the embedding: ids that no token has
/// become unused tokens, as in a GGUF, and special tokens beyond are left out.
SourceTokenizer read_tokenizer(const HfFolder& folder, int64_t vocabulary, const Note& note);

/// The ids that generation_config.json and config.json give under a name, one or a list.
std::vector<int64_t> configured_ids(const HfFolder& folder, const char* name, int64_t vocabulary,
                                    const Note& note);

/// The Jinja template of the chat, wherever the folder has it. Notes the names of others.
std::optional<std::string> chat_template(const HfFolder& folder, const Note& note);

}  // namespace llmsql
