// SPDX-License-Identifier: MIT
// Chat templates into plans. See chat.h.
#include "importer/chat.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <set>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "common/utf8.h"
#include "compiler/load/load.h"
#include "importer/special_tokens.h"
#include "jinja/conversation.h"

namespace llmsql {

using compiler::Model;
namespace {

// A plan's statement may be a MiB long (plan/, "What a plan may not do").
constexpr size_t kLongestQuery = (1 << 20) - 4096;

/// A line of a plan may not begin with --@, not even within a text: there the text is parted.
std::string sql_text(std::string_view text) {
    std::string quoted = "'";
    bool line_begins = true;
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (line_begins && text.substr(i).starts_with("--@")) quoted += "' || '";
        line_begins = c == '\n' || (line_begins && (c == ' ' || c == '\t'));
        quoted.append(c == '\'' ? 2 : 1, c);
    }
    return quoted + "'";
}

/// The tokens that templates name, as JSON.
std::string own_variables(const SourceTokenizer& tokenizer) {
    std::string own;
    const auto add = [&](const char* name, std::optional<int64_t> id) {
        if (!id) return;
        const std::string piece = piece_of(tokenizer, *id);
        if (piece.find('\0') != std::string::npos || first_invalid_utf8(piece)) return;
        own += fmt::format("{}\"{}\": {}", own.empty() ? "" : ", ", name, jinja::json_text(piece));
    };
    add("bos_token", tokenizer.bos);
    add("eos_token", tokenizer.eos);
    return "{" + own + "}";
}

/// What came of a short conversation.
struct Tried {
    std::string text;
    std::optional<std::string> fault;  // where the template cannot be run, or refuses all
};
Tried try_template(const std::string& source, const SourceTokenizer& tokenizer, int64_t now = 0) {
    constexpr std::string_view kTries[] = {
        R"([{"role": "user", "content": "Hi"}])",
        R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])",
        R"([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}])",
        // Some are of conversations with tools alone.
        R"({"messages": [{"role": "user", "content": "Hi"}], "tools": [{"type": "function",
            "function": {"name": "f", "description": "", "parameters": {"type": "object",
            "properties": {}}}}]})",
    };
    Tried tried;
    std::optional<std::string>& fault = tried.fault;
    try {
        const jinja::Template made(source);
        for (const std::string_view messages : kTries) try {
                const jinja::Value variables =
                    jinja::conversation(messages, "", own_variables(tokenizer));
                for (const auto& piece : made.render(variables, now)) tried.text += piece.text;
                fault.reset();
                return tried;
            } catch (const Error& error) {
                if (!fault) fault = error.what();
            }
    } catch (const Error& error) {
        fault = error.what();
    }
    return tried;
}

// What Mistral's versions have alike; a space stands where LEAD and GAP do, a filter where TRIM
// does, or nothing.
constexpr std::string_view kMistral = R"({{- bos_token }}
{%- set turn = namespace(open=false) %}
{%- for message in messages %}
  {%- if not turn.open %}{{- 'LEAD[INST]GAP' }}{%- set turn.open = true %}{%- endif %}
  {%- if message.role == 'system' %}{{- message.content + '\n\n' }}
  {%- elif message.role == 'user' %}{{- message.content + 'LEAD[/INST]' }}
  {%- else %}{{- 'GAP' + message.contentTRIM + eos_token }}{%- set turn.open = false %}
  {%- endif %}
{%- endfor %})";
constexpr std::string_view kMistral7 = R"({{- bos_token }}
{%- for message in messages %}
  {%- if message.role == 'system' %}{{- '[SYSTEM_PROMPT]GAP' + message.content + '[/SYSTEM_PROMPT]' }}
  {%- elif message.role == 'user' %}{{- '[INST]GAP' + message.content + '[/INST]' }}
  {%- else %}{{- 'GAP' + message.content + eos_token }}
  {%- endif %}
{%- endfor %})";

/// The program that a name stands for.
std::optional<std::string> named_template(std::string_view name) {
    struct Named {
        std::string_view name, text, lead, gap, trim;
    };
    constexpr Named kNamed[] = {{"mistral-v1", kMistral, " ", " ", ""},
                                {"mistral-v3", kMistral, "", " ", " | trim"},
                                {"mistral-v3-tekken", kMistral, "", "", ""},
                                {"mistral-v7", kMistral7, "", " ", ""},
                                {"mistral-v7-tekken", kMistral7, "", "", ""}};
    const auto* named = std::ranges::find(kNamed, name, &Named::name);
    if (named == std::end(kNamed)) return std::nullopt;
    std::string text(named->text);
    for (const auto& [word, space] :
         {std::pair("LEAD", named->lead), {"GAP", named->gap}, {"TRIM", named->trim}})
        for (size_t at; (at = text.find(word)) != std::string::npos;)
            text.replace(at, std::strlen(word), space);
    return text;
}

}  // namespace

std::string render_query(std::string_view jinja, const SourceTokenizer& tokenizer) {
    return fmt::format(
        "SELECT markup, content FROM conversation, llm_render(\n{},\nmessages, variables, date, "
        "{})",
        sql_text(jinja), sql_text(own_variables(tokenizer)));
}

std::string short_conversation(const std::string& jinja, const SourceTokenizer& tokenizer) {
    constexpr size_t kShown = 160;  // of its begin, and of its end
    const Tried tried = try_template(jinja, tokenizer, std::time(nullptr));
    if (tried.fault) return "";
    std::string text = jinja::json_text(tried.text);
    for (size_t at; (at = text.find("\\u000a")) != std::string::npos;) text.replace(at, 6, "\\n");
    if (text.size() <= 2 * kShown) return text;
    size_t begin = kShown, end = text.size() - kShown;
    const auto within = [&](size_t at) { return (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80; };
    while (within(begin)) --begin;
    while (within(end)) ++end;
    return fmt::format("{} … {}", text.substr(0, begin), text.substr(end));
}

std::optional<std::string> checked_template(std::optional<std::string> jinja, const Advice& advice,
                                            const Note& note) {
    if (!jinja) return jinja;
    if (auto named = named_template(*jinja)) return named;
    std::string wrong;
    if (jinja->size() > kLongestTemplate)
        wrong = "longer than 1 MB";
    else if (jinja->find('\0') != std::string::npos || first_invalid_utf8(*jinja))
        wrong = "not text in UTF-8";
    else if (jinja->find("{{") == std::string::npos && jinja->find("{%") == std::string::npos)
        wrong = fmt::format("\"{}\", without any message in it", printable(*jinja));
    else
        return jinja;
    note(fmt::format("the source's chat template is {}: left out{}{}", wrong, advice ? "; " : "",
                     advice ? advice() : ""));
    return std::nullopt;
}

ChatSpec chat_of(const std::optional<std::string>& jinja, const SourceTokenizer& tokenizer,
                 const Advice& advice, const Note& note) {
    ChatSpec chat;
    chat.stop = stop_pieces(tokenizer);
    if (!jinja) return chat;
    if (const auto fault = try_template(*jinja, tokenizer).fault) {
        note(fmt::format("the source's chat template is not one that llmsql can run: {}; {}",
                         *fault, advice()));
        return chat;
    }
    std::string query = render_query(*jinja, tokenizer);
    if (query.size() > kLongestQuery) {
        note(fmt::format("the source's chat template is longer than a plan's statement may be: {}",
                         advice()));
        return chat;
    }
    const std::vector<std::string_view> missing = marks_without_token(query, tokenizer);
    if (!missing.empty())
        note(fmt::format(
            "the source's chat template writes {}, which its vocabulary does not have: the "
            "model reads that as plain text, and an answer ends there only if llmsql-run "
            "--stop or the option 'stop' says so",
            fmt::join(missing, ", ")));
    chat.query = std::move(query);
    return chat;
}

std::vector<std::filesystem::path> model_files_like(
    const std::string& graph, const SourceTokenizer& tokenizer,
    const std::vector<std::filesystem::path>& graph_dirs) {
    namespace fs = std::filesystem;
    const TokenIds ids(tokenizer.tokens);
    std::set<fs::path> candidates;
    std::error_code ignored;
    for (const fs::path& dir : graph_dirs) {
        const fs::path folder = (dir.lexically_normal() / ".." / "models").lexically_normal();
        if (!fs::is_directory(folder, ignored)) continue;
        for (const std::string& name : file_names_in(folder))
            if (name.ends_with(".toml")) candidates.insert(folder / name);
    }
    std::vector<fs::path> like;
    for (const fs::path& path : candidates) try {
            const Model model = compiler::load_model(path, graph_dirs);
            if (model.graph != graph || model.chat.query.empty() ||
                model.tokenizer != tokenizer.spec)
                continue;
            if (std::ranges::all_of(model.chat.stop, [&](const std::string& stop) {
                    return ids.find(stop).has_value();
                }))
                like.push_back(path);
        } catch (const Error&) {  // somebody's own, and not readable: no advice
        }
    return like;
}

}  // namespace llmsql
