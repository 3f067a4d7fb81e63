// SPDX-License-Identifier: MIT
// Pre-tokenisation by PCRE2, in its UTF and Unicode-property modes.
#include "runtime/text/pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "common/byte_spelling.h"
#include "common/error.h"
#include "common/utf8.h"
#include "runtime/text/bounded_regex.h"

// The expressions' \s is Unicode's White_Space property. PCRE2's own \s also takes U+180E, which
// ceased to be a space in Unicode 6.3, so the class is spelt out.
#define SPACES                                                                               \
    "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}" \
    "\\x{3000}"
#define SPACE "[" SPACES "]"
#define NOT_SPACE "[^" SPACES "]"
#define SYMBOL "[^" SPACES "\\p{L}\\p{N}]"

namespace llmsql {
namespace {

constexpr const char* kGpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?" SYMBOL "+|" SPACE
                              "+(?!" NOT_SPACE ")|" SPACE "+";
constexpr const char* kQwen2 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?" SYMBOL
    "+[\\r\\n]*|" SPACE "*[\\r\\n]+|" SPACE "+(?!" NOT_SPACE ")|" SPACE "+";
// Qwen3.5's: marks go with the letters that they stand on.
constexpr const char* kQwen35 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" SPACES
    "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACE "*[\\r\\n]+|" SPACE "+(?!" NOT_SPACE ")|" SPACE "+";
constexpr const char* kCl100k =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?" SYMBOL
    "+[\\r\\n]*|" SPACE "*[\\r\\n]+|" SPACE "+(?!" NOT_SPACE ")|" SPACE "+";
constexpr const char* kDigit = "\\p{N}";
// llama.cpp's way where a file says none: runs of punctuation, GPT-2's words, runs of digits, and
// digits three at a time (llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_DEFAULT).
constexpr const char* kPunctuation = "[\\p{P}$+<=>^~|]+";
constexpr const char* kDigits = "\\p{N}+";
constexpr const char* kThreeDigits = "[0-9][0-9][0-9]";

std::vector<const char*> expressions_of(std::string_view name) {
    if (name == "gpt2") return {kGpt2};
    if (name == "qwen2") return {kQwen2};
    if (name == "qwen35") return {kQwen35};
    if (name == "smollm") return {kDigit, kGpt2};
    if (name == "llama3" || name == "cl100k") return {kCl100k};
    if (name == "default") return {kPunctuation, kGpt2, kDigits, kThreeDigits};
    fail("unknown pre-tokenizer '{}' (known: gpt2, qwen2, qwen35, smollm, llama3, cl100k, default)",
         name);
}

constexpr std::array<std::pair<std::string_view, PieceBehavior>, 5> kBehaviors{{
    {"isolated", PieceBehavior::isolated},
    {"removed", PieceBehavior::removed},
    {"merged_with_previous", PieceBehavior::merged_with_previous},
    {"merged_with_next", PieceBehavior::merged_with_next},
    {"contiguous", PieceBehavior::contiguous},
}};

constexpr std::array<std::pair<std::string_view, PieceRule::Kind>, 3> kChanges{{
    {"prefix ", PieceRule::Kind::prefix},
    {"first ", PieceRule::Kind::first},
    {"mark ", PieceRule::Kind::mark},
}};

}  // namespace

struct PreTokenizer::Stage {
    explicit Stage(const PieceRule& its) : rule(its) {
        if (rule.kind == PieceRule::Kind::cut) regex.emplace(rule.text);
    }

    PieceRule rule;
    std::optional<BoundedRegex> regex;
};

struct PreTokenizer::Cut {
    const std::function<void(std::string_view)>& word;
    Allowance allowance;
    bool spelled = false;  // its parts are spelled(): words are to be bytes again
};

namespace {

struct Segment {
    size_t begin, end;
    bool matched;
};

std::string marked(std::string_view text, std::string_view mark) {
    std::string out;
    for (const char c : text)
        if (c == ' ')
            out += mark;
        else
            out += c;
    return out;
}

/// What neighbours become one, as Hugging Face's tokenizers have it.
std::vector<Segment> joined(std::vector<Segment> segments, PieceBehavior behavior) {
    const bool backwards = behavior == PieceBehavior::merged_with_next;
    if (backwards) std::ranges::reverse(segments);
    std::vector<Segment> words;
    bool before = false;
    for (const Segment& each : segments) {
        const bool joins = behavior == PieceBehavior::contiguous ? each.matched == before
                                                                 : each.matched && !before;
        if (joins && !words.empty()) {
            words.back().begin = std::min(words.back().begin, each.begin);
            words.back().end = std::max(words.back().end, each.end);
        } else {
            words.push_back(each);
        }
        before = each.matched;
    }
    if (backwards) std::ranges::reverse(words);
    return words;
}

}  // namespace

PieceRule piece_rule_of(std::string_view text) {
    PieceRule rule;
    if (text == "bytes") {
        rule.kind = PieceRule::Kind::bytes;
        return rule;
    }
    if (text == "spelled") {
        rule.kind = PieceRule::Kind::spelled;
        return rule;
    }
    for (const auto& [name, kind] : kChanges)
        if (text.starts_with(name) && text.size() > name.size()) {
            rule.kind = kind;
            rule.text = text.substr(name.size());
            return rule;
        }
    constexpr std::string_view kInverted = "inverted ";
    rule.inverted = text.starts_with(kInverted);
    if (rule.inverted) text.remove_prefix(kInverted.size());
    const size_t space = text.find(' ');
    const auto* found = std::ranges::find(kBehaviors, text.substr(0, space),
                                          &std::pair<std::string_view, PieceBehavior>::first);
    if (space == std::string_view::npos || found == kBehaviors.end())
        fail("'{}' is no rule for cutting texts", printable(text.substr(0, 100)));
    rule.behavior = found->second;
    rule.text = text.substr(space + 1);
    return rule;
}

PreTokenizer::PreTokenizer(std::string_view name, int unicode) : unicode_(unicode) {
    for (const char* expression : expressions_of(name))
        stages_.emplace_back(PieceRule{PieceRule::Kind::cut, expression});
}

PreTokenizer::PreTokenizer(const std::vector<PieceRule>& rules, int unicode) : unicode_(unicode) {
    for (const PieceRule& rule : rules) stages_.emplace_back(rule);
}

PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;

void PreTokenizer::split(std::string_view text, bool first,
                         const std::function<void(std::string_view)>& word) const {
    if (text.empty()) return;
    Cut how{word, Allowance(text.size())};
    const auto subject = subject_of(text, unicode_);
    cut(how, 0, subject ? std::string_view(*subject) : text, text, first);
}

/// Cuts `text`, whose masked form is `subject`: they are of one length.
void PreTokenizer::cut(Cut& how, size_t stage, std::string_view subject, std::string_view text,
                       bool first) const {
    if (subject.empty()) return;
    if (stage == stages_.size()) {
        how.word(how.spelled ? unspelled(text) : text);
        return;
    }
    const PieceRule& rule = stages_[stage].rule;
    if (rule.kind == PieceRule::Kind::bytes) {
        const std::string characters = spelled(text);
        how.spelled = true;
        cut(how, stage + 1, characters, characters, first);
        how.spelled = false;
        return;
    }
    if (rule.kind == PieceRule::Kind::spelled) {
        how.spelled = true;
        cut(how, stage + 1, subject, text, first);
        how.spelled = false;
        return;
    }
    if (rule.kind == PieceRule::Kind::mark)
        return cut(how, stage + 1, marked(subject, rule.text), marked(text, rule.text), first);
    if (rule.kind != PieceRule::Kind::cut) {
        const bool there = subject.starts_with(rule.text);
        if (there || (rule.kind == PieceRule::Kind::first && !first))
            return cut(how, stage + 1, subject, text, first);
        return cut(how, stage + 1, rule.text + std::string(subject), rule.text + std::string(text),
                   first);
    }
    const auto part = [&](size_t begin, size_t end) {
        cut(how, stage + 1, subject.substr(begin, end - begin), text.substr(begin, end - begin),
            first && begin == 0);
    };
    // Two ways need no neighbors.
    const bool at_once =
        rule.behavior == PieceBehavior::isolated || rule.behavior == PieceBehavior::removed;
    std::vector<Segment> segments;
    const auto segment = [&](size_t begin, size_t end, bool matched) {
        matched = matched != rule.inverted;
        if (!at_once)
            segments.push_back({begin, end, matched});
        else if (!matched || rule.behavior == PieceBehavior::isolated)
            part(begin, end);
    };
    size_t done = 0;
    stages_[stage].regex->each(subject, how.allowance, [&](size_t begin, size_t end) {
        if (done != begin) segment(done, begin, false);
        segment(begin, end, true);
        done = end;
    });
    if (done != subject.size()) segment(done, subject.size(), false);
    for (const Segment& each : joined(std::move(segments), rule.behavior))
        part(each.begin, each.end);
}

}  // namespace llmsql
