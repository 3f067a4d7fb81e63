// SPDX-License-Identifier: MIT
// Mistral's own form of a tokenizer: tekken.json.
//
// Byte-level BPE as tiktoken has it: a vocabulary of bytes by rank, and an expression that cuts
// text into words. A word that is a token is that; within others the pair whose joined bytes have
// the least rank is merged first, the leftmost of several. The tokens' ids follow those of the
// special tokens, which come first and which no text becomes:
//
//   {"config": {"pattern": "…", "default_vocab_size": 131072, "default_num_special_tokens": 1000,
//               "version": "v7"},
//    "vocab": [{"rank": 0, "token_bytes": "AA==", "token_str": "\u0000"}, …],
//    "special_tokens": [{"rank": 0, "token_str": "<unk>", "is_control": true}, …]}
//
// Up to version 7 special_tokens may be absent: those of the time are meant. Ids below the number
// of special tokens that none has are called <SPECIAL_id>; of the vocabulary as many tokens count
// as default_vocab_size has room for.
#pragma once

#include "importer/hf_folder.h"
#include "importer/tokenizer.h"

namespace llmsql {

inline constexpr const char* kTekkenFile = "tekken.json";

/// Reads and checks the folder's tekken.json, as read_tokenizer() (hf_tokenizer.h) does
/// tokenizer.json.
SourceTokenizer read_tekken(const HfFolder& folder, int64_t vocabulary, const Note& note);

}  // namespace llmsql
