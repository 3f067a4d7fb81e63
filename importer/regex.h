// SPDX-License-Identifier: MIT
// The regular expressions of tokenizer.json, which are Oniguruma's, as PCRE2 understands them.
#pragma once

#include <string>
#include <string_view>

namespace llmsql {

/// An expression for PCRE2's UTF and property modes that matches what Oniguruma matches by
/// `regex`: spaces are Unicode's White_Space, ^ and $ are ends of lines, a script's name means that
/// script alone, classes may lie in each other and intersect (&&). Fails on what has no counterpart
/// and on what PCRE2 then refuses, saying what it is.
std::string pcre2_of(std::string_view regex);

/// An expression that matches `text` itself.
std::string pcre2_literal(std::string_view text);

}  // namespace llmsql
