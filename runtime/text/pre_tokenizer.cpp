// SPDX-License-Identifier: MIT
// Pre-tokenisation by PCRE2, in its UTF and Unicode-property modes.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/text/pre_tokenizer.h"

#include <pcre2.h>

#include <cstdint>
#include <limits>

#include "common/error.h"
#include "common/utf8.h"

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

std::string pcre_message(int code) {
    PCRE2_UCHAR text[128];
    pcre2_get_error_message(code, text, sizeof(text));
    return reinterpret_cast<const char*>(text);
}

/// A copy of `text` of the same length whose invalid bytes are U+0001: valid UTF-8, and of the
/// class that such bytes shall count as.
std::string masked(std::string_view text) {
    std::string copy(text);
    for (size_t at = 0; at < copy.size();) {
        const Utf8Char next = utf8_at(text.substr(at));
        if (next.status != Utf8Status::valid) copy.replace(at, next.length, next.length, '\x01');
        at += next.length;
    }
    return copy;
}

}  // namespace

struct PreTokenizer::Pattern {
    explicit Pattern(const char* expression) {
        int error = 0;
        PCRE2_SIZE where = 0;
        code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression), PCRE2_ZERO_TERMINATED,
                             PCRE2_UTF | PCRE2_UCP, &error, &where, nullptr);
        if (!code)
            fail("pre-tokenizer expression, at {}: {} (PCRE2 needs Unicode support)", where,
                 pcre_message(error));
        match = pcre2_match_data_create(1, nullptr);
        context = pcre2_match_context_create(nullptr);
        if (!match || !context) fail("out of memory in the pre-tokenizer");
        // The expressions are linear in the length of a run, so however long a run of spaces is,
        // giving up halfway would only ever be wrong.
        pcre2_set_match_limit(context, std::numeric_limits<uint32_t>::max());
    }
    ~Pattern() {
        pcre2_match_context_free(context);
        pcre2_match_data_free(match);
        pcre2_code_free(code);
    }
    Pattern(const Pattern&) = delete;
    Pattern& operator=(const Pattern&) = delete;

    pcre2_code* code = nullptr;
    pcre2_match_data* match = nullptr;
    pcre2_match_context* context = nullptr;
};

PreTokenizer::PreTokenizer(std::string_view name) {
    for (const char* expression : expressions_of(name))
        stages_.push_back(std::make_unique<Pattern>(expression));
}

PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;

void PreTokenizer::split(std::string_view text,
                         const std::function<void(std::string_view)>& word) const {
    if (text.empty()) return;
    if (first_invalid_utf8(text)) {
        split_from(0, masked(text), 0, text, word);
    } else {
        split_from(0, text, 0, text, word);
    }
}

/// Cuts `subject`, the masked form of the part of `text` at `offset`.
void PreTokenizer::split_from(size_t stage, std::string_view subject, size_t offset,
                              std::string_view text,
                              const std::function<void(std::string_view)>& word) const {
    if (subject.empty()) return;
    if (stage == stages_.size()) {
        word(text.substr(offset, subject.size()));
        return;
    }
    const Pattern& pattern = *stages_[stage];
    size_t done = 0;
    while (done < subject.size()) {
        const int result =
            pcre2_match(pattern.code, reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(),
                        done, PCRE2_NO_UTF_CHECK, pattern.match, pattern.context);
        if (result == PCRE2_ERROR_NOMATCH) break;
        if (result < 0) fail("pre-tokenizer: {}", pcre_message(result));
        // Read before the next stage runs: none of the expressions matches an empty text.
        const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(pattern.match);
        const size_t begin = ends[0];
        const size_t end = ends[1];
        split_from(stage + 1, subject.substr(done, begin - done), offset + done, text, word);
        split_from(stage + 1, subject.substr(begin, end - begin), offset + begin, text, word);
        done = end;
    }
    split_from(stage + 1, subject.substr(done), offset + done, text, word);
}

}  // namespace llmsql
