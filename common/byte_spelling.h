// SPDX-License-Identifier: MIT
// GPT-2's spelling of bytes: printable ones of Latin-1 are themselves, all others the characters
// from U+0100 on, in their order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace llmsql {

/// Bytes as characters, in UTF-8.
std::string spelled(std::string_view bytes);

/// The byte that a character spells; nothing if it spells none.
std::optional<uint8_t> byte_spelled_by(char32_t character);

/// The other way round; a character that spells no byte stays as it is.
std::string unspelled(std::string_view text);

}  // namespace llmsql
