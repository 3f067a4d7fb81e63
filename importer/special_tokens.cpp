// SPDX-License-Identifier: MIT
// Ends and marks of turns. See special_tokens.h.
#include "importer/special_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <cctype>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>

#include "common/error.h"
#include "common/utf8.h"

namespace llmsql {
namespace {

// Tokens at which generation ends, by their spelling: what llama.cpp stops at (llama-vocab.cpp) is
// the measure. Those that most models have come first, which is the order in a model file.
constexpr std::array kEnds{
    std::string_view("<|im_end|>"),       // ChatML
    std::string_view("<|endoftext|>"),    // GPT-2, Phi, Qwen
    std::string_view("<end_of_turn>"),    // Gemma
    std::string_view("<|eot_id|>"),       // Llama 3: a turn
    std::string_view("<|eom_id|>"),       // Llama 3: a message to a tool
    std::string_view("<|end_of_text|>"),  // Llama 3, Granite
    std::string_view("<|end|>"),          // Phi-3
    std::string_view("<|return|>"),       // gpt-oss: the answer
    std::string_view("<|call|>"),         // gpt-oss: a call
    std::string_view("<|calls|>"),        // Solar
    std::string_view("<|flush|>"),        // Solar
    std::string_view("<EOT>"),            // CodeLlama
    std::string_view("_<EOT>"),
    std::string_view("[EOT]"),                  // Kimi
    std::string_view("[EOS]"),                  // Kimi
    std::string_view("[e~["),                   // MiniMax
    std::string_view("<end_of_utterance>"),     // SmolDocling
    std::string_view("<turn|>"),                // Gemma 4
    std::string_view("<|tool_response>"),       // Gemma 4
    std::string_view("<eos>"),                  // Gemma
    std::string_view("<｜end▁of▁sentence｜>"),  // DeepSeek
    std::string_view("</s>"),                   // Llama 2
};

// An end, but also the markup of struck text, which vocabularies have for that.
constexpr std::string_view kStruck = "</s>";

// Padding, repository and file marks of models that fill in the middle of code: an answer has none.
constexpr std::array kPaddings{
    std::string_view("<|fim_pad|>"), std::string_view("<fim-pad>"), std::string_view("<fim_pad>"),
    std::string_view("<PAD>"),       std::string_view("[PAD]"),
};
constexpr std::array kRepositories{
    std::string_view("<|fim_repo|>"), std::string_view("<|repo_name|>"),
    std::string_view("<fim-repo>"),   std::string_view("<REPO>"),
    std::string_view("<reponame>"),
};
constexpr std::array kFiles{std::string_view("<|file_sep|>")};

// What stands before, after and between the parts of code that is filled in.
constexpr std::array kFillMarks{
    std::string_view("<|fim_prefix|>"),  std::string_view("<fim-prefix>"),
    std::string_view("<fim_prefix>"),    std::string_view("<｜fim▁begin｜>"),
    std::string_view("<PRE>"),           std::string_view("▁<PRE>"),
    std::string_view("<|code_prefix|>"), std::string_view("<|prefix|>"),
    std::string_view("<|fim_suffix|>"),  std::string_view("<fim-suffix>"),
    std::string_view("<fim_suffix>"),    std::string_view("<｜fim▁hole｜>"),
    std::string_view("<SUF>"),           std::string_view("▁<SUF>"),
    std::string_view("<|code_suffix|>"), std::string_view("<|suffix|>"),
    std::string_view("<|fim_middle|>"),  std::string_view("<fim-middle>"),
    std::string_view("<fim_middle>"),    std::string_view("<｜fim▁end｜>"),
    std::string_view("<MID>"),           std::string_view("▁<MID>"),
    std::string_view("<|code_middle|>"), std::string_view("<|middle|>"),
};

// Marks that open a turn or part its role from its text, in the templates of many models; a file
// without its template has them too.
constexpr std::array kTurnMarks{
    std::string_view("<|im_start|>"),
    std::string_view("<|im_sep|>"),
    std::string_view("<|begin_of_text|>"),
    std::string_view("<|start_header_id|>"),
    std::string_view("<|end_header_id|>"),
    std::string_view("<|header_start|>"),
    std::string_view("<|header_end|>"),
    std::string_view("<|eot|>"),
    std::string_view("<start_of_turn>"),
    std::string_view("<|turn>"),
    std::string_view("<|system|>"),
    std::string_view("<|user|>"),
    std::string_view("<|assistant|>"),
    std::string_view("<|start_of_role|>"),
    std::string_view("<|end_of_role|>"),
    std::string_view("<|START_OF_TURN_TOKEN|>"),
    std::string_view("<|END_OF_TURN_TOKEN|>"),
    std::string_view("<|SYSTEM_TOKEN|>"),
    std::string_view("<|USER_TOKEN|>"),
    std::string_view("<|CHATBOT_TOKEN|>"),
    std::string_view("<｜begin▁of▁sentence｜>"),
    std::string_view("<｜System｜>"),
    std::string_view("<｜User｜>"),
    std::string_view("<｜Assistant｜>"),
    std::string_view("[INST]"),
    std::string_view("[/INST]"),
    std::string_view("[SYSTEM_PROMPT]"),
    std::string_view("[/SYSTEM_PROMPT]"),
    std::string_view("<<SYS>>"),
    std::string_view("<</SYS>>"),
};

// Of these, what older models read as plain text.
constexpr std::array kPlainMarks{
    std::string_view("[INST]"),
    std::string_view("[/INST]"),
    std::string_view("<<SYS>>"),
    std::string_view("<</SYS>>"),
};

// Words in the names of marks within a turn's text: what a model writes, and a user may.
constexpr std::array kWithinTurns{
    std::string_view("think"), std::string_view("thought"), std::string_view("reason"),
    std::string_view("tool"),  std::string_view("func"),    std::string_view("call"),
    std::string_view("arg_"),  std::string_view("param"),   std::string_view("scratch"),
};

// Marks are short: this bounds the work that a file can make of looking for them.
constexpr size_t kLongestMark = 40;

template<size_t n>
bool has(const std::array<std::string_view, n>& names, std::string_view text) {
    return std::ranges::find(names, text) != names.end();
}

bool any_of(std::string_view text, int (*test)(int)) {
    return std::ranges::any_of(text,
                               [&](char c) { return test(static_cast<unsigned char>(c)) != 0; });
}

bool ends_fill(std::string_view text) {
    return has(kPaddings, text) || has(kRepositories, text) || has(kFiles, text);
}

/// Whether a token of this spelling, if a template writes it, is taken for a mark of turns. What is
/// called normal must look like one: templates are full of ordinary words.
bool may_be_mark(std::string_view text, PieceKind kind) {
    if (text.size() < 3 || text.size() > kLongestMark) return false;
    if (!any_of(text, std::isalnum) || !any_of(text, std::ispunct)) return false;
    std::string lower(text);
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    for (const std::string_view word : kWithinTurns)
        if (lower.find(word) != std::string::npos) return false;
    if (kind != PieceKind::normal) return true;
    const auto encloses = [&](char open, char close) {
        return text.front() == open && text.back() == close;
    };
    return !any_of(text, std::isspace) &&
           (encloses('<', '>') || encloses('[', ']') || encloses('{', '}'));
}

/// The members of `candidates` that stand anywhere in one of `templates`.
std::set<std::string_view> written_in(const std::vector<std::string_view>& templates,
                                      const std::unordered_set<std::string_view>& candidates) {
    std::set<size_t> lengths;
    std::bitset<256> starts;
    for (const std::string_view each : candidates) {
        lengths.insert(each.size());
        starts.set(static_cast<unsigned char>(each.front()));
    }
    std::set<std::string_view> found;
    for (const std::string_view text : templates)
        for (size_t at = 0; at < text.size(); ++at) {
            if (!starts[static_cast<unsigned char>(text[at])]) continue;
            for (const size_t length : lengths) {
                if (at + length > text.size()) break;
                const auto candidate = candidates.find(text.substr(at, length));
                if (candidate != candidates.end()) found.insert(*candidate);
            }
        }
    return found;
}

/// Whether text is made of the token: it stands for one byte or character, from which words grow.
bool is_letter(const SourceTokenizer& tokenizer, int64_t id) {
    if (tokenizer.tokens.kind(id) == PieceKind::byte) return true;
    const std::string piece = piece_of(tokenizer, id);
    return piece.size() == 1 || (!piece.empty() && utf8_at(piece).length == piece.size());
}

class Settler {
  public:
    Settler(SourceTokenizer& tokenizer, bool of_gguf) : tokenizer_(tokenizer), of_gguf_(of_gguf) {}

    void settle(const std::vector<std::string_view>& templates, const Note& note) {
        const TokenList& tokens = tokenizer_.tokens;
        ends_.insert(tokenizer_.ends.begin(), tokenizer_.ends.end());
        if (tokenizer_.eos) ends_.insert(*tokenizer_.eos);
        for (int64_t id = 0; id < tokens.size(); ++id)
            if (tokens.kind(id) != PieceKind::absent &&
                (has(kEnds, tokens.text(id)) || is_fill_end(tokens.text(id))))
                ends_.insert(id);
        leave_harmony_open();
        leave_plain_s();
        tokenizer_.ends.assign(ends_.begin(), ends_.end());
        for (const int64_t end : ends_) make_control(end);
        if (tokenizer_.bos && tokens.kind(*tokenizer_.bos) != PieceKind::normal)
            make_control(*tokenizer_.bos);
        for (const int64_t mark : marks(templates)) make_control(mark);
        if (changed_.empty()) return;
        const bool one = changed_.size() == 1;
        note(fmt::format(
            "the source calls {} ordinary, but {} or {} a turn, or code to fill in: taken for {}, "
            "which no text becomes",
            fmt::join(changed_, ", "), one ? "it ends" : "they end", one ? "marks" : "mark",
            one ? "a control token" : "control tokens"));
    }

  private:
    bool is_fill_end(std::string_view text) const {
        const auto& [padding, repository, file] = tokenizer_.names_fill;
        return (!padding && has(kPaddings, text)) || (!repository && has(kRepositories, text)) ||
               (!file && has(kFiles, text));
    }

    /// The ids of the marks that are not control tokens yet.
    std::vector<int64_t> marks(const std::vector<std::string_view>& templates) const {
        const TokenList& tokens = tokenizer_.tokens;
        // A normal token that words merge into is a word, whatever it looks like.
        std::vector<bool> merged(static_cast<size_t>(tokens.size()));
        for (const SourceMerge& merge : tokenizer_.merges)
            merged[static_cast<size_t>(merge.merged)] = true;
        std::vector<int64_t> found, possible;
        std::unordered_set<std::string_view> candidates;
        for (int64_t id = 0; id < tokens.size(); ++id) {
            const std::string_view text = tokens.text(id);
            const PieceKind kind = tokens.kind(id);
            if (kind == PieceKind::absent || kind == PieceKind::control ||
                kind == PieceKind::unknown || kind == PieceKind::byte)
                continue;
            if (has(kTurnMarks, text) || (of_gguf_ && has(kFillMarks, text))) {
                found.push_back(id);
            } else if (may_be_mark(text, kind) &&
                       !(kind == PieceKind::normal && merged[static_cast<size_t>(id)])) {
                possible.push_back(id);
                candidates.insert(text);
            }
        }
        const std::set<std::string_view> written = written_in(templates, candidates);
        for (const int64_t id : possible)
            if (written.contains(tokens.text(id))) found.push_back(id);
        return found;
    }

    std::optional<int64_t> end_called(std::string_view text) const {
        for (const int64_t end : ends_)
            if (tokenizer_.tokens.text(end) == text) return end;
        return std::nullopt;
    }

    /// In the format of gpt-oss (and Solar's) <|end|> closes a message, and the turn goes on.
    void leave_harmony_open() {
        const bool call = end_called("<|call|>") || end_called("<|calls|>");
        if (!call || !(end_called("<|return|>") || end_called("<|flush|>"))) return;
        if (const auto end = end_called("<|end|>")) ends_.erase(*end);
    }

    /// Two models have </s> for the markup of struck text, and a folder's that it neither calls
    /// special nor names as an end is that. (A GGUF's is an end to llama.cpp whatever its type.)
    void leave_plain_s() {
        const auto struck = end_called(kStruck);
        if (struck && !of_gguf_ && struck != tokenizer_.eos &&
            tokenizer_.tokens.kind(*struck) == PieceKind::user_defined &&
            std::ranges::find(tokenizer_.ends, *struck) == tokenizer_.ends.end())
            ends_.erase(*struck);
        if (!end_called("<|tool_response>") && !end_called("<|plamo:eos|>")) return;
        while (const auto end = end_called(kStruck)) {
            ends_.erase(*end);
            tokenizer_.tokens.set_kind(*end, PieceKind::normal);
        }
    }

    void make_control(int64_t id) {
        const PieceKind kind = tokenizer_.tokens.kind(id);
        if (kind == PieceKind::control || kind == PieceKind::unknown || is_letter(tokenizer_, id))
            return;
        tokenizer_.tokens.set_kind(id, PieceKind::control);
        if (changed_.size() < 8)
            changed_.push_back(fmt::format("\"{}\"", printable(tokenizer_.tokens.text(id))));
        else if (changed_.size() == 8)
            changed_.push_back("…");
    }

    SourceTokenizer& tokenizer_;
    bool of_gguf_;
    std::set<int64_t> ends_;
    std::vector<std::string> changed_;
};

}  // namespace

void settle_special_tokens(SourceTokenizer& tokenizer,
                           const std::vector<std::string_view>& templates, bool of_gguf,
                           const Note& note) {
    Settler(tokenizer, of_gguf).settle(templates, note);
}

std::vector<std::string_view> marks_without_token(std::string_view query,
                                                  const SourceTokenizer& tokenizer) {
    const TokenIds ids(tokenizer.tokens);
    std::vector<std::string_view> missing;
    const auto look = [&](std::string_view mark) {
        if (query.find(mark) != std::string_view::npos && !ids.find(mark) &&
            std::ranges::find(missing, mark) == missing.end())
            missing.push_back(mark);
    };
    for (const std::string_view mark : kTurnMarks)
        if (!has(kPlainMarks, mark)) look(mark);
    for (const std::string_view end : kEnds)
        if (end != kStruck) look(end);
    return missing;
}

std::vector<std::string> stop_pieces(const SourceTokenizer& tokenizer) {
    std::vector<std::string> pieces;
    const auto add = [&](int64_t end) {
        const std::string_view text = tokenizer.tokens.text(end);
        if (end != tokenizer.eos && (text == kStruck || ends_fill(text))) return;
        const std::string piece = piece_of(tokenizer, end);
        if (piece.find('\0') == std::string::npos && !first_invalid_utf8(piece) &&
            std::ranges::find(pieces, piece) == pieces.end())
            pieces.push_back(piece);
    };
    for (const std::string_view name : kEnds)
        for (const int64_t end : tokenizer.ends)
            if (tokenizer.tokens.text(end) == name) add(end);
    for (const int64_t end : tokenizer.ends) add(end);
    return pieces;
}

}  // namespace llmsql
