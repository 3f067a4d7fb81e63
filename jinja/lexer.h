// SPDX-License-Identifier: MIT
// A template's text taken apart into tokens, white space around tags dealt with as transformers
// sets Jinja up: trim_blocks (a line end after a tag goes) and lstrip_blocks (spaces before a tag
// that begins a line go).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/text.h"

namespace llmsql::jinja {

enum class TokenKind : uint8_t {
    data,
    block_begin,
    block_end,
    variable_begin,
    variable_end,
    name,
    string,
    integer,
    real,
    sign,  // operators, brackets, commas
    end,
};

struct Token {
    TokenKind kind = TokenKind::end;
    int line = 1;
    std::string word;  // of a name or a sign
    Chars text;        // of data, and of a string with its escapes dealt with
    int64_t integer = 0;
    double real = 0;
};

/// All tokens, `end` last. Fails with "line N: …".
std::vector<Token> tokens_of(std::string_view source);

}  // namespace llmsql::jinja
