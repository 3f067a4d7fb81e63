// SPDX-License-Identifier: MIT
// Putting the page together. See page.h.
#include "page/page.h"

#include <string_view>

#include "common/error.h"
#include "page/template.h"

namespace llmsql {
namespace {

std::string_view file(std::string_view name) {
    for (const TemplateFile* at = kTemplate; at->name; ++at)
        if (at->name == name) return at->text;
    fail("a defect of this build: its page has no {}", name);
}

/// All scripts, in the order of their names.
std::string scripts() {
    std::string all;
    for (const TemplateFile* at = kTemplate; at->name; ++at)
        if (std::string_view(at->name).ends_with(".js")) all += at->text;
    return all;
}

/// JSON that may stand in a <script>: nothing in it ends the element or begins a comment.
std::string script_safe(const Json& data) {
    const std::string text = data.dump(-1, ' ', false, Json::error_handler_t::replace);
    std::string safe;
    safe.reserve(text.size());
    for (const char c : text)
        if (c == '<')
            safe += "\\u003c";
        else
            safe += c;
    return safe;
}

std::string html_text(std::string_view text) {
    std::string safe;
    for (const char c : text) {
        if (c == '<')
            safe += "&lt;";
        else if (c == '&')
            safe += "&amp;";
        else
            safe += c;
    }
    return safe;
}

}  // namespace

std::string page_html(const Json& data) {
    std::string html;
    std::string_view rest = file("page.html");
    while (!rest.empty()) {
        const size_t mark = std::min(rest.find("{{"), rest.size());
        html += rest.substr(0, mark);
        rest.remove_prefix(mark);
        if (rest.empty()) break;
        const size_t end = rest.find("}}");
        const std::string_view name = rest.substr(2, end - 2);
        if (name == "title")
            html += html_text(data.at("model").get<std::string>());
        else if (name == "style")
            html += file("page.css");
        else if (name == "script")
            html += scripts();
        else if (name == "data")
            html += script_safe(data);
        rest.remove_prefix(end + 2);
    }
    return html;
}

}  // namespace llmsql
