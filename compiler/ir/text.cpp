// Small pieces of text that several passes print alike. See text.h.
#include "compiler/ir/text.h"

#include <charconv>
#include <cmath>

#include "common/error.h"

namespace llmsql {

std::string real_text(double number) {
    if (!std::isfinite(number)) fail("a constant of the graph is infinite or not a number");
    char buffer[32];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, number).ptr;
    std::string text(buffer, end);
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    return text;
}

std::string shape_text(std::string_view rows, int64_t heads, int64_t width) {
    if (heads == 1) return fmt::format("[{}, {}]", rows, width);
    return fmt::format("[{}, {}, {}]", rows, heads, width);
}

std::string last_name(const std::string& param) {
    const size_t dot = param.rfind('.');
    return dot == std::string::npos ? param : param.substr(dot + 1);
}

}  // namespace llmsql
