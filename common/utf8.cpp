// SPDX-License-Identifier: MIT
// UTF-8 decoding by the standard's table of well-formed byte sequences.
#include "common/utf8.h"

#include <cstdint>

namespace llmsql {

Utf8Char utf8_at(std::string_view text) {
    const auto lead = static_cast<uint8_t>(text[0]);
    if (lead < 0x80) return {Utf8Status::valid, 1, lead};
    if (lead < 0xC2 || lead > 0xF4) return {Utf8Status::invalid, 1, 0};

    const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    // The second byte's range is what rules out overlong forms, surrogates and too large codes.
    uint8_t low = 0x80;
    uint8_t high = 0xBF;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;

    char32_t code = lead & (0xFFu >> (length + 1));
    for (size_t i = 1; i < length; ++i) {
        if (i == text.size()) return {Utf8Status::incomplete, i, 0};
        const auto byte = static_cast<uint8_t>(text[i]);
        if (byte < low || byte > high) return {Utf8Status::invalid, i, 0};
        code = (code << 6) | (byte & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    return {Utf8Status::valid, length, code};
}

std::optional<size_t> first_invalid_utf8(std::string_view text) {
    for (size_t at = 0; at < text.size();) {
        const Utf8Char next = utf8_at(text.substr(at));
        if (next.status != Utf8Status::valid) return at;
        at += next.length;
    }
    return std::nullopt;
}

std::string Utf8Stream::push(std::string_view bytes) {
    held_ += bytes;
    std::string out;
    size_t at = 0;
    while (at < held_.size()) {
        const Utf8Char next = utf8_at(std::string_view(held_).substr(at));
        if (next.status == Utf8Status::incomplete) break;
        if (next.status == Utf8Status::valid)
            out.append(held_, at, next.length);
        else
            out += kReplacement;
        at += next.length;
    }
    held_.erase(0, at);
    return out;
}

std::string Utf8Stream::finish() {
    // At most one sequence is held, and it is the start of one character.
    const bool cut_short = !held_.empty();
    held_.clear();
    return std::string(cut_short ? kReplacement : "");
}

}  // namespace llmsql
