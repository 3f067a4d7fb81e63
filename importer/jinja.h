// SPDX-License-Identifier: MIT
// Enough of Jinja to tell whether two templates are the same: a lexer, no interpreter.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace llmsql {

/// A template's text such that templates which differ only in how they are written have the same:
/// spaces within tags, spaces that `{%-` and `-%}` take away, comments, quotes and escapes of
/// strings, strings put together by `+`, `message['role']` for `message.role`. No two templates
/// that Jinja tells apart share one. Nothing for a template with something else than plain tags.
std::optional<std::string> canonical_jinja(std::string_view text);

}  // namespace llmsql
