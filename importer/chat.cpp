// Recognises chat templates. See chat.h.
#include "importer/chat.h"

#include <algorithm>

namespace llmsql {
namespace {

// Tokens by which models end a turn; those that a vocabulary has as control tokens are stops.
const std::vector<std::string> kTurnEnds{"<|im_end|>", "<|endoftext|>", "<end_of_turn>",
                                         "<|eot_id|>"};

constexpr std::string_view kSystemStart = "<|im_start|>system\n";
constexpr std::string_view kEnd = "<|im_end|>";

void replace_all(std::string& text, std::string_view from, std::string_view to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
}

/// The text that a template puts between the marks of a system message: what stands there without
/// any Jinja in between.
std::optional<std::string> default_system(std::string_view jinja) {
    for (size_t at = 0; (at = jinja.find(kSystemStart, at)) != std::string_view::npos;) {
        at += kSystemStart.size();
        const size_t end = jinja.find(kEnd, at);
        if (end == std::string_view::npos) return std::nullopt;
        const std::string_view text = jinja.substr(at, end - at);
        if (!text.empty() && text.find_first_of("'\"{}\\") == std::string_view::npos)
            return std::string(text);
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::string> chatml_query(std::string_view jinja) {
    std::string plain(jinja);
    replace_all(plain, "\\n", "\n");
    replace_all(plain, "['role']", ".role");
    replace_all(plain, "[\"role\"]", ".role");
    replace_all(plain, "['content']", ".content");
    replace_all(plain, "[\"content\"]", ".content");
    std::string squeezed = plain;
    replace_all(squeezed, " ", "");
    replace_all(squeezed, "\"", "'");
    if (squeezed.find("'<|im_start|>'+message.role+'\n'+message.content+'<|im_end|>'") ==
            std::string::npos ||
        squeezed.find("'<|im_start|>assistant\n'") == std::string::npos)
        return std::nullopt;
    std::string query;
    if (const auto system = default_system(plain)) {
        query = "SELECT '<|im_start|>system' || char(10), '" + *system +
                "', '<|im_end|>' || char(10)\n"
                "WHERE (SELECT role FROM message ORDER BY id LIMIT 1) <> 'system'\n"
                "UNION ALL ";
    }
    query +=
        "SELECT '<|im_start|>' || role || char(10), content, '<|im_end|>' || char(10) FROM "
        "message\n"
        "UNION ALL SELECT '<|im_start|>assistant' || char(10), NULL, NULL";
    return query;
}

ChatSpec chat_of(const std::optional<std::string>& jinja, const SourceTokenizer& tokenizer,
                 const Note& note) {
    ChatSpec chat;
    chat.stop = control_pieces(tokenizer, kTurnEnds);
    std::vector<int64_t> ends = tokenizer.ends;
    if (tokenizer.eos) ends.push_back(*tokenizer.eos);
    for (const int64_t end : ends) {
        const std::string piece = piece_of(tokenizer, end);
        if (std::ranges::find(chat.stop, piece) == chat.stop.end()) chat.stop.push_back(piece);
    }
    if (!jinja) {
        note("the source has no chat template: the model file gets none");
    } else if (const auto query = chatml_query(*jinja)) {
        chat.query = *query;
    } else {
        note(
            "the source's chat template is not ChatML: write [chat] query in the model file by "
            "hand (docs/plan-format.md, \"chat\")");
    }
    return chat;
}

}  // namespace llmsql
