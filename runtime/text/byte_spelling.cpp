// SPDX-License-Identifier: MIT
// See byte_spelling.h.
#include "runtime/text/byte_spelling.h"

#include <algorithm>
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

std::string unspelled(std::string_view text) {
    std::string bytes;
    bytes.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
        const Utf8Char next = utf8_at(text.substr(at));
        const auto found = std::ranges::find(kSpelling, next.code);
        if (found == kSpelling.end())
            bytes += text.substr(at, next.length);
        else
            bytes += static_cast<char>(found - kSpelling.begin());
        at += next.length;
    }
    return bytes;
}

}  // namespace llmsql
