// SPDX-License-Identifier: MIT
// Sorting options. See arguments.h.
#include "driver/arguments.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "common/byte_size.h"

namespace llmsql::driver {
namespace {

enum class For { importing, compiling, context, budget, threads, running };

struct Known {
    std::string_view name;
    For whom;
};

// Each takes a value. Of llmsql-run's only those that others get too.
constexpr Known kKnown[] = {
    {"--weights", For::importing},
    {"--ignore-key", For::importing},
    {"--model", For::importing},
    {"--graph", For::importing},
    {"--graph-dir", For::importing},
    {"--name", For::importing},
    {"--kv", For::compiling},
    {"--sequences", For::compiling},
    {"--drafts", For::compiling},
    {"--snapshots", For::compiling},
    {"--chunk", For::compiling},
    {"--logits-rows", For::compiling},
    {"-c", For::context},
    {"--context", For::context},
    {"--ctx-size", For::context},
    {"--budget", For::budget},
    {"-t", For::threads},
    {"--threads", For::threads},
};

// The options of llmsql-run that take no value, or one behind '=' alone.
constexpr std::string_view kFlags[] = {"--chat",    "--continue", "--ignore-eos", "--verify",
                                       "--profile", "--version",  "--timing"};

// "--kv=q8" and "-c4096" are an option with its value; "-c" and "--kv" are followed by it.
struct Split {
    std::string name;
    std::optional<std::string> value;
};

Split split(const std::string& argument) {
    if (argument.starts_with("--")) {
        const size_t sign = argument.find('=');
        if (sign == std::string::npos) return {argument, std::nullopt};
        return {argument.substr(0, sign), argument.substr(sign + 1)};
    }
    if (argument.size() == 2) return {argument, std::nullopt};
    return {argument.substr(0, 2), argument.substr(argument[2] == '=' ? 3 : 2)};
}

int64_t positions(const std::string& name, const std::string& text) {
    constexpr int64_t kMost = 1 << 20;
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number < 1 || number > kMost)
        throw Misuse(fmt::format("{}: a whole number from 1 to {} is wanted, not '{}'", name, kMost,
                                 printable(text)));
    return number;
}

}  // namespace

RunRequest read_request(std::span<const std::string> arguments) {
    RunRequest request;
    bool options = true;  // until "--"
    const auto take_source = [&](const std::string& argument) {
        if (!request.source.empty()) {
            // "--no-such-option -p text": -p was taken for the first one's value.
            std::vector<std::string> taken = request.run_options;
            if (!taken.empty() && taken.back().starts_with('-')) taken.push_back(argument);
            throw TwoSources(fmt::format("'{}': there is a source already, '{}'",
                                         printable(argument), printable(request.source.string())),
                             std::move(taken));
        }
        if (argument.empty()) throw Misuse("the source's name is empty");
        request.source = argument;
    };
    for (size_t i = 0; i < arguments.size(); ++i) {
        const std::string& argument = arguments[i];
        if (!options || argument.size() < 2 || argument[0] != '-') {
            take_source(argument);
            continue;
        }
        if (argument == "--") {
            options = false;
            continue;
        }
        if (argument == "-h" || argument == "--help") {
            request.help = true;
            continue;
        }
        auto [name, value] = split(argument);
        const auto* known = std::ranges::find(kKnown, name, &Known::name);
        if (known == std::end(kKnown)) {
            request.run_options.push_back(argument);
            const bool alone = value || std::ranges::find(kFlags, name) != std::end(kFlags);
            if (!alone && i + 1 < arguments.size()) request.run_options.push_back(arguments[++i]);
            continue;
        }
        if (!value) {
            if (i + 1 == arguments.size()) throw Misuse(name + ": a value is missing");
            value = arguments[++i];
        }
        if (value->empty()) throw Misuse(name + ": is empty");
        switch (known->whom) {
            case For::importing:
                if (name == "--model") request.model_file = *value;
                request.import_options.insert(request.import_options.end(), {name, *value});
                break;
            case For::compiling:
                request.compile_options.insert(request.compile_options.end(), {name, *value});
                break;
            case For::context:
                request.context = positions(name, *value);
                break;
            case For::budget:
                try {
                    parse_bytes(*value, name);
                } catch (const Error& error) {
                    throw Misuse(error.what());
                }
                request.budget = *value;
                break;
            case For::threads:
                request.threads = *value;
                [[fallthrough]];
            case For::running:
                request.run_options.insert(request.run_options.end(), {"--threads", *value});
                break;
        }
    }
    return request;
}

void refuse_run_options(const RunRequest& request, const char* command, bool threads) {
    const auto& options = request.run_options;
    for (size_t i = 0; i < options.size(); i += 2)  // a value follows each
        if (!threads || options[i] != "--threads")
            throw Misuse(
                fmt::format("{}: is no option of llmsql {}", printable(options[i]), command));
}

}  // namespace llmsql::driver
