// SPDX-License-Identifier: MIT
// What messages quote, made fit for a terminal. See error.h.
#include "common/error.h"

#include "common/utf8.h"

namespace llmsql {
namespace {

// The characters of `text`, `instead` for control characters and U+FFFD for what is none.
std::string without_controls(std::string_view text, char instead) {
    std::string result;
    while (!text.empty()) {
        const Utf8Char next = utf8_at(text);
        const bool control = next.code < 0x20 || (next.code >= 0x7f && next.code < 0xa0);
        if (next.status != Utf8Status::valid)
            result += kReplacement;
        else if (control)
            result += instead;
        else
            result += text.substr(0, next.length);
        text.remove_prefix(next.length);
    }
    return result;
}

}  // namespace

std::string counted(uint64_t count, std::string_view noun, std::string_view plural) {
    return fmt::format("{} {}{}", count, noun, count == 1 ? "" : plural);
}

std::string one_line(std::string_view text) {
    return without_controls(text, ' ');
}

void fail_formatted(fmt::string_view format, fmt::format_args args) {
    throw Error(one_line(fmt::vformat(format, args)));
}

std::string printable(std::string_view text) {
    return without_controls(text.substr(0, 100), '?');
}

}  // namespace llmsql
