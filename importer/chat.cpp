// SPDX-License-Identifier: MIT
// Recognises chat templates. See chat.h.
#include "importer/chat.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <system_error>

#include "common/error.h"
#include "common/files.h"
#include "common/hash.h"
#include "common/utf8.h"
#include "compiler/load/load.h"
#include "importer/jinja.h"
#include "importer/special_tokens.h"

namespace llmsql {

using compiler::Model;
namespace {

/// What Python's str.strip takes away, and Jinja's trim with it.
constexpr std::string_view kPythonSpaces =
    "char(9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, "
    "8197, 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288)";

/// The two tokens that templates name, as SQL texts.
struct Tokens {
    std::optional<std::string> bos, eos;
};

std::string sql_text(std::string_view text) {
    std::string quoted = "'";
    for (const char c : text) quoted.append(c == '\'' ? 2 : 1, c);
    return quoted + "'";
}

/// ChatML around each message, after a system message of the template's own if it has one and the
/// conversation doesn't begin with one. `roles` is the condition on the messages that it knows.
std::string chatml(std::string_view system, std::string_view roles) {
    std::string query;
    if (!system.empty())
        query = fmt::format(
            "SELECT '<|im_start|>system' || char(10), {}, '<|im_end|>' || char(10)\n"
            "WHERE (SELECT role FROM message ORDER BY id LIMIT 1) <> 'system'\n"
            "UNION ALL ",
            sql_text(system));
    return query +
           fmt::format(
               "SELECT '<|im_start|>' || role || char(10), content, '<|im_end|>' || char(10) FROM "
               "message{}\n"
               "UNION ALL SELECT '<|im_start|>assistant' || char(10), NULL, NULL",
               roles);
}

constexpr std::string_view kThreeRoles = " WHERE role IN ('system', 'user', 'assistant')";

std::optional<std::string> plain_chatml(const Tokens&) {
    return chatml("", "");
}
std::optional<std::string> three_roles(const Tokens&) {
    return chatml("", kThreeRoles);
}
std::optional<std::string> smollm2(const Tokens&) {
    return chatml("You are a helpful AI assistant named SmolLM, trained by Hugging Face", "");
}
std::optional<std::string> qwen15(const Tokens&) {
    return chatml("You are a helpful assistant", "");
}
std::optional<std::string> qwen2(const Tokens&) {
    return chatml("You are a helpful assistant.", "");
}
std::optional<std::string> qwen25(const Tokens&) {
    return chatml("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
                  kThreeRoles);
}
std::optional<std::string> mimo(const Tokens&) {
    return chatml("You are MiMo, an AI assistant developed by Xiaomi.", kThreeRoles);
}

/// Thinking stays in what was answered since the user's last message, and is left out before. What
/// stands after the last </think> is found by putting more line feeds in its place than there are
/// characters behind it: those that the end of the text then begins with are taken away.
std::optional<std::string> qwen3(const Tokens&) {
    return std::string(
        R"(SELECT '<|im_start|>' || role || char(10) || CASE WHEN thinks THEN '<think>' || char(10) ELSE '' END,
       CASE WHEN thinks THEN thought END,
       CASE WHEN thinks THEN char(10) || '</think>' || char(10, 10) END,
       CASE WHEN thinks THEN ltrim(answer, char(10)) ELSE answer END,
       '<|im_end|>' || char(10)
FROM (SELECT role, thought, answer,
             role = 'assistant'
             AND id > coalesce((SELECT max(id) FROM message
                                WHERE role = 'user' AND NOT (substr(content, 1, 15) = '<tool_response>'
                                                             AND substr(content, -16) = '</tool_response>')),
                               (SELECT max(id) FROM message))
             AND (thought <> '' OR id = (SELECT max(id) FROM message)) AS thinks
      FROM (SELECT id, role,
                   CASE WHEN mark = 0 THEN ''
                        ELSE trim(substr(replace(rtrim(substr(content, 1, mark - 1), char(10)), '<think>',
                                                 replace(printf('%*s', mark, ''), ' ', char(10))), -mark), char(10))
                   END AS thought,
                   CASE WHEN mark = 0 THEN content
                        ELSE ltrim(substr(replace(content, '</think>',
                                                  replace(printf('%*s', length(content) - mark - 6, ''), ' ', char(10))),
                                          -(length(content) - mark - 6)), char(10))
                   END AS answer
            FROM (SELECT id, role, content,
                         CASE role WHEN 'assistant' THEN instr(content, '</think>') ELSE 0 END AS mark
                  FROM message WHERE role IN ('system', 'user', 'assistant'))))
UNION ALL SELECT '<|im_start|>assistant' || char(10), NULL, NULL, NULL, NULL)");
}

/// Phi-3's; an empty system message is left out by some.
std::string phi3(std::string_view condition) {
    return fmt::format(
        "SELECT '<|' || role || '|>' || char(10), content, '<|end|>' || char(10) FROM message\n"
        "WHERE role IN ('user', 'assistant') OR {}\n"
        "UNION ALL SELECT '<|assistant|>' || char(10), NULL, NULL",
        condition);
}
std::optional<std::string> phi3_any_system(const Tokens&) {
    return phi3("role = 'system'");
}
std::optional<std::string> phi35(const Tokens&) {
    return phi3("(role = 'system' AND content <> '')");
}

/// The first form of Phi-3's: the answer's mark belongs to the user's turn.
std::optional<std::string> first_phi3(const Tokens& tokens, std::string_view roles) {
    if (!tokens.bos) return std::nullopt;
    return fmt::format(
        "SELECT {}, NULL, NULL\n"
        "UNION ALL SELECT CASE role WHEN 'assistant' THEN '' ELSE '<|' || role || '|>' || char(10) "
        "END, content,\n"
        "       '<|end|>' || char(10) || CASE role WHEN 'user' THEN '<|assistant|>' || char(10) "
        "ELSE "
        "'' END\n"
        "FROM message WHERE role IN ({})",
        *tokens.bos, roles);
}
std::optional<std::string> first_phi3_system(const Tokens& tokens) {
    return first_phi3(tokens, "'system', 'user', 'assistant'");
}
std::optional<std::string> first_phi3_plain(const Tokens& tokens) {
    return first_phi3(tokens, "'user', 'assistant'");
}

/// OLMo's, Tulu's.
std::string olmo() {
    return "SELECT '<|' || role || '|>' || char(10), content,\n"
           "       CASE WHEN role <> 'assistant' THEN char(10)\n"
           "            WHEN id = (SELECT max(id) FROM message) THEN {0}\n"
           "            ELSE {0} || char(10) END\n"
           "FROM message WHERE role IN ('system', 'user', 'assistant')\n"
           "UNION ALL SELECT '<|assistant|>' || char(10), NULL, NULL";
}
std::optional<std::string> tulu(const Tokens& tokens) {
    if (!tokens.eos) return std::nullopt;
    return fmt::format(fmt::runtime(olmo()), *tokens.eos);
}
std::optional<std::string> olmo2(const Tokens& tokens) {
    if (!tokens.bos || !tokens.eos) return std::nullopt;
    return fmt::format("SELECT {}, NULL, NULL\nUNION ALL ", *tokens.bos) +
           fmt::format(fmt::runtime(olmo()), *tokens.eos);
}

std::optional<std::string> llama3(const Tokens& tokens) {
    if (!tokens.bos) return std::nullopt;
    return fmt::format(
        "SELECT CASE WHEN id = (SELECT min(id) FROM message) THEN {} ELSE '' END\n"
        "       || '<|start_header_id|>' || role || '<|end_header_id|>' || char(10, 10),\n"
        "       trim(content, {}), '<|eot_id|>' FROM message\n"
        "UNION ALL SELECT '<|start_header_id|>assistant<|end_header_id|>' || char(10, 10), NULL, "
        "NULL",
        *tokens.bos, kPythonSpaces);
}

/// With the date that the template has for whoever doesn't give one.
std::optional<std::string> llama31(const Tokens& tokens) {
    if (!tokens.bos) return std::nullopt;
    return fmt::format(
        "SELECT {0} || '<|start_header_id|>system<|end_header_id|>' || char(10, 10)\n"
        "       || 'Cutting Knowledge Date: December 2023' || char(10)\n"
        "       || 'Today Date: 26 Jul 2024' || char(10, 10),\n"
        "       (SELECT trim(content, {1}) FROM message\n"
        "        WHERE role = 'system' AND id = (SELECT min(id) FROM message)),\n"
        "       '<|eot_id|>'\n"
        "UNION ALL SELECT '<|start_header_id|>' || role || '<|end_header_id|>' || char(10, 10),\n"
        "       trim(content, {1}), '<|eot_id|>' FROM message\n"
        "WHERE role IN ('system', 'user', 'assistant')\n"
        "  AND NOT (role = 'system' AND id = (SELECT min(id) FROM message))\n"
        "UNION ALL SELECT '<|start_header_id|>assistant<|end_header_id|>' || char(10, 10), NULL, "
        "NULL",
        *tokens.bos, kPythonSpaces);
}

// Where a template raises an exception the query fails: LIKE takes one character after ESCAPE. A
// constant there could be looked at for every conversation.
constexpr std::string_view kAlternate =
    "role LIKE '' ESCAPE role || ': user and assistant must alternate'";

/// A system message stands before the first turn's text.
std::optional<std::string> gemma3(const Tokens& tokens) {
    if (!tokens.bos) return std::nullopt;
    return fmt::format(
        "SELECT {}, NULL, NULL\n"
        "UNION ALL SELECT '<start_of_turn>' || CASE role WHEN 'assistant' THEN 'model' ELSE role "
        "END || char(10),\n"
        "       CASE WHEN id = first\n"
        "            THEN coalesce((SELECT content || char(10, 10) FROM message\n"
        "                           WHERE role = 'system' AND id = first - 1), '')\n"
        "            ELSE '' END || trim(content, {}),\n"
        "       CASE WHEN (role = 'user') <> ((id - first) % 2 = 0) THEN {} ELSE '<end_of_turn>' "
        "|| "
        "char(10) END\n"
        "FROM message, (SELECT min(id) + (SELECT role = 'system' FROM message ORDER BY id LIMIT 1) "
        "AS first FROM message)\n"
        "WHERE id >= first\n"
        "UNION ALL SELECT '<start_of_turn>model' || char(10), NULL, NULL",
        *tokens.bos, kPythonSpaces, kAlternate);
}

std::optional<std::string> mistral(const Tokens& tokens) {
    if (!tokens.bos || !tokens.eos) return std::nullopt;
    return fmt::format(
        "SELECT {}, NULL, NULL\n"
        "UNION ALL SELECT CASE role WHEN 'user' THEN '[INST] ' ELSE '' END, content,\n"
        "       CASE WHEN (role = 'user') <> (id % 2 = 1) OR role NOT IN ('user', 'assistant') "
        "THEN "
        "{}\n"
        "            WHEN role = 'user' THEN ' [/INST]' ELSE {} END\n"
        "FROM message",
        *tokens.bos, kAlternate, *tokens.eos);
}

struct Known {
    std::string_view fingerprint;
    std::optional<std::string> (*query)(const Tokens&);
};

// tests/reference/chat_templates.py compares each with jinja2, over templates that it is given, and
// prints the fingerprints of others. "Ours" are tests/fixtures/chat-templates.
constexpr std::array kKnown{
    // ChatML, in several ways of writing
    Known{"ebbd7fb02f9debc49c90b72507c31b4d", plain_chatml},
    Known{"d724660e58a4217b650dcd4f3bfdb0a8", plain_chatml},
    Known{"c4dc8a0bfdb3455f2da1f92469852041", plain_chatml},
    Known{"ab5c60d4ca36a9b70245871b5c1e432a", plain_chatml},
    Known{"5ec4bfa8854642b23bcf6919cb398420", plain_chatml},
    Known{"5576b3a1de01b02ca309a9eb82e29ba1", plain_chatml},
    Known{"a2a1491852818d4aba8445072040fce7", plain_chatml},
    // Qwen3-Coder; ours
    Known{"02556494a0c168f64e6bbefee750bbf8", three_roles},
    Known{"72b2ff58375ffe881fcd7809ab7f81e7", three_roles},
    // SmolLM2-Instruct; ours
    Known{"b54d7ae8f54652905665c7064971850e", smollm2},
    Known{"44b64e68219f918b9412430c9de5f5e6", smollm2},
    // Qwen1.5-Chat
    Known{"7022c6619deab873bb4238ffdebc0970", qwen15},
    // Qwen2-Instruct; ours
    Known{"3db7122aa7a2b46e8f1f6361000def1b", qwen2},
    Known{"9dad5b8de480b38218fa27d0266056ca", qwen2},
    // Qwen2.5-Instruct and -Coder-Instruct; ours
    Known{"69975055b80a62d3b6868c4464a0e284", qwen25},
    Known{"9634171f6e9ffa6502746dc25d25d74d", qwen25},
    // MiMo; ours
    Known{"78a7612b9aa1e9dee9e058d51a1eb981", mimo},
    Known{"b4548bf6fe9823290cabb2149916d087", mimo},
    // Qwen3; ours
    Known{"201f23fcbafdadb91d8e98d71f63c6bb", qwen3},
    Known{"6df492f300d32ec53e063b76f776ab8a", qwen3},
    // Phi-3-mini; ours
    Known{"ba35f5fd41dfc22d5d1d5c4baab6e420", phi3_any_system},
    Known{"a86f4040727034bcd959247fedc9de76", phi3_any_system},
    // Phi-3.5-mini; ours
    Known{"e7c8f52710b91d2464d6ae5b4d17a04b", phi35},
    Known{"bf2ca90b6d447ffdd80f9701392bb0d0", phi35},
    // Phi-3-mini as first published, without and with a system message; ours
    Known{"e41a0202aacdda4ba9ccd9fef1cc692f", first_phi3_plain},
    Known{"1f9a28060f39098e36c315492fcc13e3", first_phi3_plain},
    Known{"d53cd13e58a1bdb887729681bfc7d53d", first_phi3_system},
    Known{"906b539606a6a331abaaf702d85ff74b", first_phi3_system},
    // Tulu 3; ours
    Known{"b3fb294f595837b9c60ab3a59331ab95", tulu},
    Known{"7c69f1f8cae73aff1a0d4844c1119a46", tulu},
    // OLMo 2; ours
    Known{"cafd1c57df389f70a977d4eea4f79d14", olmo2},
    Known{"710a76ad41c01fe0569873ce79e313ce", olmo2},
    // Llama 3, two ways of writing; ours
    Known{"e8edba0a18df25c27813684b0d30e45d", llama3},
    Known{"10d197ce8bd1f81664d14aa8ec3edb37", llama3},
    Known{"5d1d9b7253c48fa7f62b6d0ef2014269", llama3},
    // Llama 3.1 and 3.3; ours
    Known{"f90a7325decc6b2eb84f9d4bafedb569", llama31},
    Known{"88562e0e24937be38baee53b9ea5bccf", llama31},
    // Gemma 3; ours
    Known{"2403560abb23589533e0d55c7075dd76", gemma3},
    Known{"2ea4dd55b5de88b0efa8ffd433656249", gemma3},
    // Mistral 7B; ours
    Known{"9c2b7fc8e6e5156f58abdd3f309c7fe9", mistral},
    Known{"a475186291cad3168e6dfd4de95b6ae1", mistral},
};

}  // namespace

std::optional<std::string> template_fingerprint(std::string_view jinja) {
    const auto canonical = canonical_jinja(jinja);
    if (!canonical) return std::nullopt;
    return hex(hash128(canonical->data(), canonical->size()));
}

std::optional<std::string> known_query(std::string_view jinja, const SourceTokenizer& tokenizer) {
    const auto fingerprint = template_fingerprint(jinja);
    const auto* known = std::ranges::find(kKnown, fingerprint.value_or("?"), &Known::fingerprint);
    if (known == kKnown.end()) return std::nullopt;
    const auto text_of = [&](std::optional<int64_t> id) -> std::optional<std::string> {
        if (!id) return std::nullopt;
        const std::string piece = piece_of(tokenizer, *id);
        if (piece.find('\0') != std::string::npos || first_invalid_utf8(piece)) return std::nullopt;
        return sql_text(piece);
    };
    return known->query({text_of(tokenizer.bos), text_of(tokenizer.eos)});
}

std::optional<std::string> checked_template(std::optional<std::string> jinja,
                                            const std::string& advice, const Note& note) {
    if (!jinja) return jinja;
    std::string_view wrong;
    if (jinja->size() > kLongestTemplate)
        wrong = "longer than 1 MB";
    else if (jinja->find('\0') != std::string::npos || first_invalid_utf8(*jinja))
        wrong = "not text in UTF-8";
    else
        return jinja;
    note(fmt::format("the source's chat template is {}: left out{}{}", wrong,
                     advice.empty() ? "" : "; ", advice));
    return std::nullopt;
}

ChatSpec chat_of(const std::optional<std::string>& jinja, const SourceTokenizer& tokenizer,
                 const std::string& advice, const Note& note) {
    ChatSpec chat;
    chat.stop = stop_pieces(tokenizer);
    if (!jinja) return chat;
    if (const auto query = known_query(*jinja, tokenizer)) {
        chat.query = *query;
        const std::vector<std::string_view> missing = marks_without_token(*query, tokenizer);
        if (!missing.empty())
            note(fmt::format(
                "the source's chat template writes {}, which its vocabulary does not have: the "
                "model reads that as plain text, and an answer ends there only if llmsql-run "
                "--stop or the option 'stop' says so",
                fmt::join(missing, ", ")));
    } else {
        const auto fingerprint = template_fingerprint(*jinja);
        note(fmt::format("the source's chat template is not one that llmsql knows ({}): {}",
                         fingerprint ? "fingerprint " + *fingerprint : "not read as Jinja",
                         advice));
    }
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
