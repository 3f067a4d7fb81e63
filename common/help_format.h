// SPDX-License-Identifier: MIT
// What --help looks like, the same in all programs: no longer lines than a terminal's, and what
// help2man makes a manual page of.
#pragma once

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/error.h"

namespace llmsql {

class HelpFormat : public CLI::Formatter {
  public:
    HelpFormat() { label("Positionals", "Arguments"); }

    std::string make_help(const CLI::App* app, std::string name,
                          CLI::AppFormatMode mode) const override {
        // One empty line between groups, not two.
        return CLI::detail::find_and_replace(CLI::Formatter::make_help(app, name, mode), "\n\n\n",
                                             "\n\n");
    }

    //   -c, --context N         positions that the key-value cache can hold (default: 1024)
    std::string make_option(const CLI::Option* option, bool positional) const override {
        std::string name = "  ";
        if (positional) {
            name += option->get_name(true, false);
        } else {
            const auto add = [&](const std::string& dashes, const std::vector<std::string>& names) {
                for (const std::string& one : names)
                    name += (name.size() > 2 ? ", " : "") + dashes + one;
            };
            add("-", option->get_snames());
            add("--", option->get_lnames());
            // Of a type name, what validators have added is in the description.
            const std::string type = option->get_type_name();
            if (option->get_type_size() != 0) name += " " + type.substr(0, type.find(':'));
        }
        std::string text = option->get_description();
        if (!option->get_default_str().empty())
            text += " (default: " + option->get_default_str() + ")";
        if (option->get_required() && !positional) text += " (required)";
        return name + wrapped(text, name.size());
    }

  private:
    static constexpr size_t kColumn = 28, kWidth = 80;

    /// Lines from kColumn on; `used` is how wide the first line already is.
    static std::string wrapped(std::string_view text, size_t used) {
        std::string lines;
        if (used + 2 > kColumn) {
            lines += '\n';
            used = 0;
        }
        while (!text.empty()) {
            size_t end = text.size();
            if (end > kWidth - kColumn) end = text.rfind(' ', kWidth - kColumn);
            if (end == std::string_view::npos) end = std::min(text.find(' '), text.size());
            lines += std::string(kColumn - used, ' ');
            lines += text.substr(0, end);
            lines += '\n';
            text.remove_prefix(std::min(end + 1, text.size()));
            used = 0;
        }
        return lines;
    }
};

/// A check of an option whose value is a whole number.
inline CLI::Validator whole_number(int64_t least, int64_t most) {
    return {[least, most](const std::string& text) -> std::string {
                int64_t number = 0;
                const char* const end = text.data() + text.size();
                const auto [after, error] =
                    std::from_chars(text.data() + (text.starts_with('+') ? 1 : 0), end, number);
                if (error == std::errc() && after == end && number >= least && number <= most)
                    return "";
                return fmt::format("a whole number from {} to {} is wanted, not {}", least, most,
                                   printable(text));
            },
            ""};
}

/// Reads a command line into `app`'s options; fails on a name that is empty. Of "--name=" the value
/// is the empty text: CLI11 alone would take the next argument for it.
inline void parse_command_line(CLI::App& app, int argc, char** argv) {
    std::vector<std::string> arguments;
    bool options = true;  // until "--"
    for (int i = 1; i < argc; ++i) {
        const std::string argument = argv[i];
        options = options && argument != "--";
        const size_t sign = argument.find('=');
        const bool empty = options && argument.starts_with("--") && sign == argument.size() - 1;
        const CLI::Option* option =
            empty ? app.get_option_no_throw(argument.substr(0, sign)) : nullptr;
        const bool takes = option != nullptr && option->get_items_expected_min() > 0;
        arguments.push_back(takes ? argument.substr(0, sign) : argument);
        if (takes) arguments.emplace_back();
    }
    std::ranges::reverse(arguments);  // as CLI11 wants them
    app.parse(std::move(arguments));
    // What names something names it: an empty name would pass for none.
    for (const CLI::Option* option : app.get_options()) {
        const std::string type = option->get_type_name();
        const bool names = option->get_positional() || type == "FILE" || type == "DIR" ||
                           type == "DB" || type == "PLAN" || type == "NAME";
        if (names && std::ranges::find(option->results(), "") != option->results().end())
            throw CLI::ValidationError(option->get_name(), "is empty");
    }
}

/// What is wrong with a command line, in one line: CLI11's words, but where they are of CLI11.
inline std::string misuse_text(const CLI::App& app, const CLI::ParseError& error) {
    const std::string said = error.what();
    // "-t: At Most 1 required but received 2", "-t: 1 required N missing"
    const bool count = said.find(" required") != std::string::npos;
    for (const CLI::Option* option : app.get_options()) {
        const std::string name = option->get_name();
        if (error.get_name() != "ArgumentMismatch" || !count || !said.starts_with(name + ":"))
            continue;
        const size_t given = option->results().size();
        if (given > 1) return fmt::format("{}: is given {} times, once is enough", name, given);
        const std::string type = option->get_type_name();  // "TYPE:{f16,q8}"
        const size_t choices = type.find(":{");
        return fmt::format("{}: a value is missing{}{}", name,
                           choices == std::string::npos ? "" : ", one of ",
                           choices == std::string::npos ? "" : type.substr(choices + 1));
    }
    return one_line(said);
}

/// Gives a program its help and its version.
inline void describe_program(CLI::App& app, const std::string& name, const std::string& version) {
    app.formatter(std::make_shared<HelpFormat>());
    app.set_help_flag("-h,--help", "print this and exit");
    app.set_version_flag("--version", name + " " + version)
        ->description("print the version and exit");
}

/// Prints what --help or --version asked for, and returns the program's exit status: 1, with a
/// line, if standard output does not take it.
inline int print_what_was_asked(const CLI::App& app, const CLI::Success& asked) {
    errno = 0;
    const int status = app.exit(asked);
    std::cout.flush();
    if (std::cout) return status;
    report(fmt::format("{}: standard output: {}\n", app.get_name(), std::strerror(errno)));
    return 1;
}

}  // namespace llmsql
