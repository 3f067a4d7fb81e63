// SPDX-License-Identifier: MIT
// Chat templates: the Jinja that Hugging Face's transformers runs, in a sandbox.
//
// A template is compiled once and rendered with variables. What it writes comes out in pieces that
// say which of it the template wrote and which a user did: control tokens are looked for in the
// template's alone. See docs/chat-templates.md for what is supported.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/meter.h"
#include "jinja/value.h"

namespace llmsql::jinja {

/// A stretch of what a template made.
struct Piece {
    std::string text;  // bytes; valid UTF-8 where all that went in was
    bool markup;       // the template's own; else a user's
    bool operator==(const Piece&) const = default;
};

struct Program;

class Template {
  public:
    /// Fails with "line N: …" for what is no template.
    explicit Template(std::string_view source);
    Template(Template&&) noexcept;
    Template& operator=(Template&&) noexcept;
    ~Template();

    /// Renders with variables (a dict of them). `now` is what strftime_now tells: seconds since
    /// 1970 as a clock on the wall shows them. Fails with "line N: …", be it that the template
    /// refuses the conversation (raise_exception), goes wrong, or goes beyond the limits.
    /// Thread-safe.
    std::vector<Piece> render(const Value& variables, int64_t now, const Limits& limits = {}) const;

  private:
    std::unique_ptr<Program> program_;
};

/// JSON as values; texts and names in it get the mark of what a user gave if `foreign`. Fails,
/// naming `what`, at what is no JSON, nests deeper than values may or is too large.
Value value_of_json(std::string_view json, bool foreign, std::string_view what);

/// "2026-11-29", or with " 12:34:56" or "T12:34:56" behind it, as seconds; fails at others.
int64_t seconds_of(std::string_view time);

}  // namespace llmsql::jinja
