// SPDX-License-Identifier: MIT
// Finding statements by what people call them. See select.h.
#include "plan/select.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "common/error.h"

namespace llmsql {
namespace {

std::optional<int> whole_number(std::string_view text) {
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || error != std::errc() || end != text.data() + text.size())
        return std::nullopt;
    return number;
}

int last_line(const OutlineStep& step) {
    return step.line + static_cast<int>(std::ranges::count(step.sql, '\n'));
}

/// "x#2" of "layer.3.x#2".
std::string_view without_layer(std::string_view name) {
    if (!name.starts_with("layer.")) return name;
    const size_t dot = name.find('.', 6);
    return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

bool is_called(const OutlineStep& step, const std::string& which) {
    if (step.layer >= 0 && which == fmt::format("layer.{}", step.layer)) return true;
    return step.name == which || without_layer(step.name) == which;
}

std::string names_of(const Outline& outline) {
    std::string names;
    for (const OutlineStep& step : outline.steps)
        if (step.layer <= 0) names += (names.empty() ? "" : ", ") + step.name;
    return names;
}

}  // namespace

std::vector<const OutlineStep*> select_steps(const Outline& outline, const std::string& which) {
    const auto number = whole_number(which);
    const int line =
        which.starts_with(':') ? whole_number(std::string_view(which).substr(1)).value_or(-1) : -1;
    std::vector<const OutlineStep*> found;
    for (const OutlineStep& step : outline.steps)
        if (number      ? step.number == *number
            : line >= 0 ? step.line <= line && line <= last_line(step)
                        : which == "all" || is_called(step, which))
            found.push_back(&step);
    if (!found.empty()) return found;
    if (number)
        fail("there is no statement {}: forward and logits have 1 to {}", *number,
             outline.steps.size());
    if (line >= 0) fail("line {} of the plan is no statement of forward or logits", line);
    fail("no statement is called '{}': a number, ':' and a line, 'layer.N', 'all', or one of {}",
         which, names_of(outline));
}

}  // namespace llmsql
