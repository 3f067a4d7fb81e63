// SPDX-License-Identifier: MIT
// Small pieces of text that several passes print alike. See text.h.
#include "compiler/ir/text.h"

#include <charconv>
#include <cmath>

#include "common/error.h"
#include "compiler/ir/model.h"

namespace llmsql::compiler {

std::string real_text(double number) {
    if (!std::isfinite(number)) fail("a constant of the graph is infinite or not a number");
    char buffer[32];
    const bool whole = number == std::floor(number) && std::abs(number) < 1e15;
    const auto format = whole ? std::chars_format::fixed : std::chars_format::general;
    const auto shortest = std::to_chars(buffer, buffer + sizeof buffer, number, format);
    std::string text(buffer, shortest.ptr);
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    return text;
}

std::string shape_text(std::string_view rows, int64_t heads, int64_t width) {
    if (heads == 1) return fmt::format("[{}, {}]", rows, width);
    return fmt::format("[{}, {}, {}]", rows, heads, width);
}

std::string table_name(const Param& param) {
    return param.item < 0 ? param.name : param.name.substr(0, param.name.rfind('.'));
}

std::string last_name(const Param& param) {
    const std::string name = table_name(param);
    return name.substr(name.rfind('.') + 1);  // npos + 1 is 0
}

}  // namespace llmsql::compiler
