// SPDX-License-Identifier: MIT
// Renders templates for tests that compare with jinja2: reads lines of JSON, {"template": …,
// "variables": {…}, "now": "2026-11-29"}, and answers each with {"text": …} or {"error": …}.
// "foreign": true takes the variables for what a user gave; the answer has "pieces" too then.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "common/error.h"
#include "jinja/template.h"

int main() {
    using Json = nlohmann::ordered_json;
    std::ios::sync_with_stdio(false);
    for (std::string line; std::getline(std::cin, line);) {
        Json answer;
        try {
            const Json asked = Json::parse(line);
            const bool foreign = asked.value("foreign", false);
            const llmsql::jinja::Template made(asked.at("template").get<std::string>());
            const auto variables =
                llmsql::jinja::value_of_json(asked.at("variables").dump(), foreign, "variables");
            const auto now = llmsql::jinja::seconds_of(asked.value("now", "2026-11-29"));
            std::string text;
            for (const auto& piece : made.render(variables, now)) {
                text += piece.text;
                if (foreign) answer["pieces"].push_back({piece.text, piece.markup});
            }
            answer["text"] = text;
        } catch (const llmsql::Error& error) {
            answer = {{"error", error.what()}};
        }
        std::cout << answer.dump(-1, ' ', true, Json::error_handler_t::replace) << std::endl;
    }
}
