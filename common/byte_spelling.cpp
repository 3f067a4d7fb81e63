// SPDX-License-Identifier: MIT
// See byte_spelling.h.
#include "common/byte_spelling.h"

#include <array>
#include <cstdint>

#include "common/utf8.h"

namespace llmsql {
namespace {

constexpr std::array<char32_t, 256> kSpelling = [] {
    std::array<char32_t, 256> spelling{};
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
        const bool printable = byte > 0x20 && (byte < 0x7f || byte > 0xa0) && byte != 0xad;
        spelling[byte] = printable ? byte : next++;
    }
    return spelling;
}();

// The bytes of the characters that spell one, and -1 for those that spell none.
constexpr std::array<int16_t, 0x144> kSpelled = [] {
    std::array<int16_t, 0x144> spelled{};
    spelled.fill(-1);
    for (size_t byte = 0; byte < kSpelling.size(); ++byte)
        spelled[kSpelling[byte]] = static_cast<int16_t>(byte);
    return spelled;
}();

}  // namespace

std::string spelled(std::string_view bytes) {
    std::string text;
    text.reserve(2 * bytes.size());
    for (const char byte : bytes) {
        const char32_t code = kSpelling[static_cast<uint8_t>(byte)];
        if (code < 0x80) {
            text += static_cast<char>(code);
        } else {
            text += static_cast<char>(0xc0 | code >> 6);
            text += static_cast<char>(0x80 | (code & 0x3f));
        }
    }
    return text;
}

std::optional<uint8_t> byte_spelled_by(char32_t character) {
    if (character >= kSpelled.size() || kSpelled[character] < 0) return std::nullopt;
    return static_cast<uint8_t>(kSpelled[character]);
}

std::string unspelled(std::string_view text) {
    std::string bytes;
    bytes.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
        const Utf8Char next = utf8_at(text.substr(at));
        if (const auto byte = byte_spelled_by(next.code))
            bytes += static_cast<char>(*byte);
        else
            bytes += text.substr(at, next.length);
        at += next.length;
    }
    return bytes;
}

}  // namespace llmsql
