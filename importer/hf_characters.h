// SPDX-License-Identifier: MIT
// What classes of characters are to the steps of tokenizer.json that have no expression of their
// own: not Oniguruma's, but those of Rust and of the libraries that Hugging Face's tokenizers build
// on, some of which know an old Unicode. Asked of tokenizers 0.23.3, character by character.
#pragma once

#include <string>

namespace llmsql {

/// Each is an expression of PCRE2 for one character.
/// Of Whitespace, \w there: of the crate regex.
std::string hf_word();
/// Of Punctuation and BertPreTokenizer: ASCII's, and what Unicode 8 calls so.
std::string hf_punctuation();
/// Of Digits: Rust's is_numeric.
std::string hf_numeric();
/// Of StripAccents: marks of Unicode 9.
std::string hf_mark();
/// Of BertNormalizer's strip_accents: marks without a width of Unicode 8.
std::string hf_nonspacing_mark();

}  // namespace llmsql
