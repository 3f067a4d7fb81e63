// SPDX-License-Identifier: MIT
// Normal forms by utf8proc, replacements by PCRE2 within bounds. See normalizer.h.
#include "runtime/text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <iterator>
#include <optional>
#include <utility>

#include "common/byte_spelling.h"
#include "common/error.h"
#include "common/utf8.h"
#include "runtime/text/bounded_regex.h"

namespace llmsql {
namespace {

void append_code(std::string& out, int32_t code) {
    std::array<utf8proc_uint8_t, 4> bytes{};
    const auto length = utf8proc_encode_char(code, bytes.data());
    out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(length));
}

/// Whether it is in its normal form already: ASCII is in each, and what lies before U+0300, the
/// first mark, in NFC.
bool is_normal(std::string_view text, bool compatible, bool composed) {
    const uint8_t end = composed && !compatible ? 0xcc : 0x80;
    return std::ranges::all_of(text, [end](char c) { return static_cast<uint8_t>(c) < end; });
}

/// Calls `valid` with runs of UTF-8 and `other` with the bytes between them.
void runs_of(std::string_view text, const std::function<void(std::string_view)>& valid,
             const std::function<void(std::string_view)>& other) {
    while (!text.empty()) {
        const size_t end = first_invalid_utf8(text).value_or(text.size());
        if (end > 0) valid(text.substr(0, end));
        text.remove_prefix(end);
        if (text.empty()) return;
        const size_t length = utf8_at(text).length;
        other(text.substr(0, length));
        text.remove_prefix(length);
    }
}

// Characters whose parts, order or company came after Unicode 9, by which Hugging Face's tokenizers
// make normal forms (those of 17.0 that tokenizers 0.23.3 leaves as they are).
constexpr std::pair<char32_t, char32_t> kLater[] = {
    {0x7fd, 0x7fd},     {0x897, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},
    {0xc3c, 0xc3c},     {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},
    {0x1abf, 0x1add},   {0x1ae0, 0x1aeb},   {0x1df6, 0x1dfa},   {0x32ff, 0x32ff},
    {0xa7f1, 0xa7f4},   {0xa82c, 0xa82c},   {0xab69, 0xab69},   {0x105c9, 0x105c9},
    {0x105d2, 0x105d2}, {0x105da, 0x105da}, {0x105e4, 0x105e4}, {0x10781, 0x10785},
    {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x10d24, 0x10d27}, {0x10d69, 0x10d6d},
    {0x10eab, 0x10eac}, {0x10efa, 0x10efb}, {0x10efd, 0x10eff}, {0x10f46, 0x10f50},
    {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x11382, 0x11385},
    {0x1138b, 0x1138b}, {0x1138e, 0x1138e}, {0x11390, 0x11391}, {0x113c2, 0x113c2},
    {0x113c5, 0x113c5}, {0x113c7, 0x113c8}, {0x113ce, 0x113d0}, {0x1145e, 0x1145e},
    {0x11839, 0x1183a}, {0x11935, 0x11935}, {0x11938, 0x11938}, {0x1193d, 0x1193e},
    {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47},
    {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97},
    {0x11f41, 0x11f42}, {0x1611e, 0x1611e}, {0x16121, 0x16129}, {0x1612f, 0x1612f},
    {0x16d63, 0x16d63}, {0x16d67, 0x16d6a}, {0x16ff0, 0x16ff1}, {0x1ccd6, 0x1ccf9},
    {0x1e030, 0x1e06d}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae},
    {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef}, {0x1e6e3, 0x1e6e3},
    {0x1e6e6, 0x1e6e6}, {0x1e6ee, 0x1e6ef}, {0x1e6f5, 0x1e6f5}, {0x1f16c, 0x1f16c},
    {0x1fbf0, 0x1fbf9}};

bool is_later(char32_t code) {
    if (code < kLater[0].first) return false;
    const auto* row =
        std::ranges::upper_bound(kLater, code, {}, &std::pair<char32_t, char32_t>::first);
    return code <= std::prev(row)->second;
}

/// A normal form of valid UTF-8, as Unicode 9 has it. utf8proc sorts marks in a time that grows
/// with the square of how many there are: that is done here.
std::string normal_form(std::string_view text, bool compatible, bool composed) {
    if (is_normal(text, compatible, composed)) return std::string(text);
    const auto options =
        static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0));
    std::vector<utf8proc_int32_t> codes;
    codes.reserve(text.size());
    std::array<utf8proc_int32_t, 64> parts{};
    constexpr utf8proc_int32_t kBeyond = 0x110000;  // added to what is to stay: no character
    for (size_t at = 0; at < text.size();) {
        const Utf8Char next = utf8_at(text.substr(at));
        at += next.length;
        if (is_later(next.code)) {
            codes.push_back(static_cast<utf8proc_int32_t>(next.code) + kBeyond);
            continue;
        }
        const auto count =
            utf8proc_decompose_char(static_cast<utf8proc_int32_t>(next.code), parts.data(),
                                    static_cast<utf8proc_ssize_t>(parts.size()), options, nullptr);
        if (count < 0 || count > static_cast<utf8proc_ssize_t>(parts.size()))
            fail("the normal form of U+{:04X} is not known", static_cast<uint32_t>(next.code));
        codes.insert(codes.end(), parts.begin(), parts.begin() + count);
    }
    const auto order_of = [](utf8proc_int32_t code) {
        return utf8proc_get_property(code)->combining_class;
    };
    for (auto begin = codes.begin(); begin != codes.end();) {
        begin = std::find_if(begin, codes.end(), [&](auto code) { return order_of(code) != 0; });
        const auto end =
            std::find_if(begin, codes.end(), [&](auto code) { return order_of(code) == 0; });
        std::ranges::stable_sort(begin, end, {}, order_of);
        begin = end;
    }
    if (composed) {
        const auto count = utf8proc_normalize_utf32(
            codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
            static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
        codes.resize(static_cast<size_t>(count));
    }
    std::string out;
    out.reserve(text.size());
    for (const utf8proc_int32_t code : codes)
        append_code(out, code < kBeyond ? code : code - kBeyond);
    return out;
}

/// Each character as the first of its canonical parts.
std::string bases(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    std::array<utf8proc_int32_t, 64> parts{};
    for (size_t at = 0; at < text.size();) {
        const Utf8Char next = utf8_at(text.substr(at));
        const auto count = utf8proc_decompose_char(
            static_cast<utf8proc_int32_t>(next.code), parts.data(),
            static_cast<utf8proc_ssize_t>(parts.size()), UTF8PROC_DECOMPOSE, nullptr);
        if (count > 0)
            append_code(out, parts[0]);
        else
            out += text.substr(at, next.length);
        at += next.length;
    }
    return out;
}

// Small letters since Unicode 16, and Rust's of 17: first, last, and how far away the small ones
// are.
constexpr struct {
    char32_t first, last;
    int32_t away;
} kNewCapitals[] = {{0x1c89, 0x1c89, 1},    {0xa7cb, 0xa7cb, 0x264 - 0xa7cb},
                    {0xa7cc, 0xa7cc, 1},    {0xa7ce, 0xa7ce, 1},
                    {0xa7d2, 0xa7d2, 1},    {0xa7d4, 0xa7d4, 1},
                    {0xa7da, 0xa7da, 1},    {0xa7dc, 0xa7dc, 0x19b - 0xa7dc},
                    {0x10d50, 0x10d65, 32}, {0x16ea0, 0x16eb8, 27}};

int32_t small_letter(char32_t code, int unicode) {
    if (code >= kNewCapitals[0].first && unicode >= 160)
        for (const auto& [first, last, away] : kNewCapitals)
            if (code >= first && code <= last) return static_cast<int32_t>(code) + away;
    return utf8proc_tolower(static_cast<utf8proc_int32_t>(code));
}

std::string lowercase(std::string_view text, int unicode) {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
        const Utf8Char next = utf8_at(text.substr(at));
        at += next.length;
        // The one character whose small letter is two: I with a dot.
        if (next.code == 0x130)
            out += "i\u0307";
        else
            append_code(out, small_letter(next.code, unicode));
    }
    return out;
}

std::string stripped(std::string_view text, bool left, bool right) {
    size_t begin = text.size(), end = 0;  // of what is no space
    for (size_t at = 0; at < text.size();) {
        const Utf8Char next = utf8_at(text.substr(at));
        if (next.status != Utf8Status::valid || !is_white_space(next.code)) {
            begin = std::min(begin, at);
            end = at + next.length;
        }
        at += next.length;
    }
    if (!left) begin = 0;
    if (!right) end = text.size();
    return begin < end ? std::string(text.substr(begin, end - begin)) : "";
}

std::string mapped_by_prefixes(const CharacterMap& map, std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const CharacterMap::Found found = map.find(text, true);
        const size_t length = found.length > 0 ? found.length : utf8_at(text).length;
        out += found.length > 0 ? found.text : text.substr(0, length);
        text.remove_prefix(length);
    }
    return out;
}

/// The begin of the next grapheme of valid UTF-8.
size_t grapheme_length(std::string_view text) {
    utf8proc_int32_t state = 0;
    Utf8Char last = utf8_at(text);
    size_t length = last.length;
    while (length < text.size()) {
        const Utf8Char next = utf8_at(text.substr(length));
        if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(last.code),
                                             static_cast<utf8proc_int32_t>(next.code), &state))
            break;
        length += next.length;
        last = next;
    }
    return length;
}

std::string mapped_by_graphemes(const CharacterMap& map, std::string_view text) {
    constexpr size_t kShort = 6;  // a longer grapheme is not looked for
    std::string out;
    while (!text.empty()) {
        std::string_view grapheme = text.substr(0, grapheme_length(text));
        text.remove_prefix(grapheme.size());
        if (grapheme.size() < kShort)
            if (const CharacterMap::Found found = map.find(grapheme, false); found.length > 0) {
                out += found.text;
                continue;
            }
        while (!grapheme.empty()) {
            const std::string_view character = grapheme.substr(0, utf8_at(grapheme).length);
            const CharacterMap::Found found = map.find(character, false);
            out += found.length > 0 ? found.text : character;
            grapheme.remove_prefix(character.size());
        }
    }
    return out;
}

}  // namespace

struct Normalizer::Step {
    std::function<std::string(std::string_view)> run;  // of valid UTF-8, unless it is of all bytes
    bool of_bytes = false;
    mutable bool begins = true;  // of what it made last; true of steps that leave nothing out
    std::optional<BoundedRegex> regex;
    std::optional<CharacterMap> map;

    int unicode = 0;

    Step(const NormalStep& step, int unicode_version) : unicode(unicode_version) {
        constexpr std::string_view kReplace = "replace ";
        const std::string_view rule = step.rule;
        const auto form = [](bool compatible, bool composed) {
            return [=](std::string_view text) { return normal_form(text, compatible, composed); };
        };
        if (rule == "nfd") {
            run = form(false, false);
        } else if (rule == "nfc") {
            run = form(false, true);
        } else if (rule == "nfkd") {
            run = form(true, false);
        } else if (rule == "nfkc") {
            run = form(true, true);
        } else if (rule == "bases") {
            run = bases;
        } else if (rule == "lowercase") {
            run = [this](std::string_view text) { return lowercase(text, unicode); };
        } else if (rule == "strip left" || rule == "strip right" || rule == "strip both") {
            of_bytes = true;
            run = [this, left = rule != "strip right",
                   right = rule != "strip left"](std::string_view text) {
                std::string made = stripped(text, left, right);
                begins = text.starts_with(made);
                return made;
            };
        } else if (rule == "bytes") {
            of_bytes = true;
            run = [](std::string_view text) { return spelled(text); };
        } else if (rule == "prepend") {
            of_bytes = true;
            run = [by = step.by](std::string_view text) {
                return text.empty() ? "" : by + std::string(text);
            };
        } else if (rule.starts_with(kReplace)) {
            of_bytes = true;
            regex.emplace(std::string(rule.substr(kReplace.size())));
            run = [this, by = step.by](std::string_view text) { return replaced(text, by); };
        } else if (rule == "map prefixes") {
            map.emplace(step.by);
            run = [this](std::string_view text) { return mapped_by_prefixes(*map, text); };
        } else if (rule == "map graphemes") {
            map.emplace(step.by);
            run = [this](std::string_view text) { return mapped_by_graphemes(*map, text); };
        } else {
            fail("'{}' is no step of a tokenizer's normalizer", printable(rule.substr(0, 100)));
        }
    }
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

    std::string replaced(std::string_view text, std::string_view by) const {
        std::string out;
        const auto copy = subject_of(text, unicode);
        const std::string_view subject = copy ? std::string_view(*copy) : text;
        Allowance allowance(text.size());
        size_t done = 0;
        begins = true;
        regex->each(subject, allowance, [&](size_t begin, size_t end) {
            // As Hugging Face's tokenizers count: what stands for several characters came of the
            // last of them.
            if (begin == 0 && end > 0) begins = !by.empty() && end == utf8_at(subject).length;
            out += text.substr(done, begin - done);
            out += by;
            done = end;
        });
        out += text.substr(done);
        return out;
    }
};

Normalizer::Normalizer(const std::vector<NormalStep>& steps, int unicode) {
    for (const NormalStep& step : steps) steps_.push_back(std::make_unique<Step>(step, unicode));
}
Normalizer::~Normalizer() = default;
Normalizer::Normalizer(Normalizer&&) noexcept = default;
Normalizer& Normalizer::operator=(Normalizer&&) noexcept = default;

Normalizer::Made Normalizer::made_of(std::string_view text) const {
    std::string now(text);
    bool begins = true;
    for (const auto& step : steps_) {
        if (step->of_bytes) {
            now = step->run(now);
            begins = begins && step->begins;
            continue;
        }
        std::string next;
        runs_of(
            now, [&](std::string_view run) { next += step->run(run); },
            [&](std::string_view bytes) { next += bytes; });
        now = std::move(next);
    }
    return {std::move(now), begins};
}

bool is_white_space(char32_t code) {
    return (code >= 9 && code <= 13) || code == 0x20 || code == 0x85 || code == 0xa0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

// The layout is Darts-clone's (the units) behind their length in 32 bits, little-endian; behind
// them the texts, each ended by a zero byte.
CharacterMap::CharacterMap(std::string bytes) : bytes_(std::move(bytes)) {
    constexpr size_t kWord = 4;
    const auto damaged = [] { fail("its map of characters is damaged (precompiled_charsmap)"); };
    if (bytes_.size() < 2 * kWord) damaged();
    const size_t length = unit(static_cast<size_t>(-1));
    if (length % kWord != 0 || length == 0 || length > bytes_.size() - kWord) damaged();
    units_ = length / kWord;
    if (bytes_.size() > kWord + length && bytes_.back() != '\0') damaged();
}

/// The unit at `at`; the length of all stands before the first.
uint32_t CharacterMap::unit(size_t at) const {
    const size_t begin = 4 * (at + 1);
    uint32_t value = 0;
    for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes_[begin + i]);
    return value;
}

std::string_view CharacterMap::text_at(size_t at) const {
    const std::string_view texts = std::string_view(bytes_).substr(4 * (units_ + 1));
    if (at >= texts.size()) fail("its map of characters is damaged (precompiled_charsmap)");
    return texts.substr(at, texts.find('\0', at) - at);
}

CharacterMap::Found CharacterMap::find(std::string_view text, bool longest) const {
    // A unit: bits 0 to 7 and 31 a label, bit 8 whether a key ends here, bit 9 whether the offset
    // in bits 10 to 30 is counted by 256; where a key ends, the value stands at the offset.
    const auto offset_of = [](uint32_t unit) {
        return static_cast<size_t>(unit >> 10) << ((unit & (1u << 9)) >> 6);
    };
    Found found;
    std::optional<uint32_t> value;
    size_t node = offset_of(unit(0));
    for (size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<uint8_t>(text[i]);
        node ^= byte;
        if (byte == 0 || node >= units_) break;
        const uint32_t here = unit(node);
        if ((here & (1u << 31 | 0xff)) != byte) break;
        node ^= offset_of(here);
        if (node >= units_) break;
        if ((here >> 8 & 1) == 0) continue;
        value = unit(node) & ~(1u << 31);
        found.length = i + 1;
        if (!longest) break;
    }
    if (value) found.text = text_at(*value);
    return found;
}

}  // namespace llmsql
