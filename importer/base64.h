// SPDX-License-Identifier: MIT
// base64 as tokenizers' files have it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace llmsql {

/// The bytes that a text stands for, with or without `=` behind it; nothing if it is not base64.
std::optional<std::string> bytes_of_base64(std::string_view text);

}  // namespace llmsql
