// SPDX-License-Identifier: MIT
// A piece of text on its way to the tokenizer.
#pragma once

#include <string>

namespace llmsql {

/// Neighbouring fragments are tokenised as one text, except that control tokens are only recognised
/// inside markup: what a user types can never become one.
struct Fragment {
    std::string text;  // bytes, not necessarily valid UTF-8
    bool markup = false;
};

}  // namespace llmsql
