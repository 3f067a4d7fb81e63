// SPDX-License-Identifier: MIT
// Sampling options of sources. See sampling.h.
#include "importer/sampling.h"

#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "common/error.h"

namespace llmsql {
namespace {

// An option, its names in the two formats, and the numbers that it takes.
struct Option {
    const char *ours, *gguf, *hf;
    bool whole;
    double least, most;
};
constexpr Option kOptions[] = {
    {"temperature", "temp", "temperature", false, 0, 1e30},
    {"top_k", "top_k", "top_k", true, -1, 2147483647},
    {"top_p", "top_p", "top_p", false, 0, 1},
    {"min_p", "min_p", "min_p", false, 0, 1},
    {"repeat_penalty", "penalty_repeat", "repetition_penalty", false, 1e-6, 1e6},
};

// What there is besides, and its value that changes nothing.
struct Foreign {
    const char* name;
    double nothing;
};
constexpr Foreign kForeignGguf[] = {
    {"xtc_probability", 0}, {"penalty_last_n", 64}, {"mirostat", 0}};
constexpr Foreign kForeignHf[] = {
    {"typical_p", 1},        {"epsilon_cutoff", 0},       {"eta_cutoff", 0},
    {"penalty_alpha", 0},    {"no_repeat_ngram_size", 0}, {"encoder_repetition_penalty", 1},
    {"presence_penalty", 0}, {"frequency_penalty", 0},    {"num_beams", 1},
    {"diversity_penalty", 0}};

/// What stands under a name: a number, or what else it is.
struct SaidSetting {
    std::optional<double> number;
    std::string text;
};
using Find = std::function<std::optional<SaidSetting>(const std::string& name)>;

/// A number, or something else, as a note shows it.
std::string setting_shown(const SaidSetting& said) {
    return said.number ? fmt::format("{}", *said.number) : said.text;
}

Sampling read(const std::string& where, std::string_view prefix, const Find& find, bool gguf,
              std::span<const Foreign> foreign, const Note& note) {
    Sampling taken;
    std::string said, lacking;
    for (const Option& option : kOptions) {
        const std::string name = gguf ? option.gguf : option.hf;
        const auto given = find(name);
        if (!given) continue;
        const auto& value = given->number;
        if (!value || !(*value >= option.least && *value <= option.most) ||
            (option.whole && *value != std::floor(*value))) {
            note(fmt::format("{}: {}{} is {}, which is none: left out", where, prefix, name,
                             setting_shown(*given)));
            continue;
        }
        // A GGUF's numbers have 32 bits: 0.6, not 0.60000002.
        std::string text = option.whole ? fmt::format("{}", static_cast<int64_t>(*value))
                           : gguf       ? fmt::format("{}", static_cast<float>(*value))
                                        : fmt::format("{}", *value);
        said += fmt::format("{}{} {}", said.empty() ? "" : ", ", option.ours, text);
        taken.emplace_back(option.ours, std::move(text));
    }
    for (const auto& [name, nothing] : foreign)
        if (const auto value = find(name); value && value->number != nothing)
            lacking +=
                fmt::format("{}{} {}", lacking.empty() ? "" : ", ", name, setting_shown(*value));
    if (!said.empty())
        note(fmt::format("{}: tokens are picked as it says, where nothing else is asked for: {}",
                         where, said));
    if (!lacking.empty())
        note(fmt::format("{}: asks for ways of picking tokens that llmsql does not have: {}", where,
                         lacking));
    return taken;
}

}  // namespace

Sampling sampling_of(const Gguf& gguf, const Note& note) {
    const Find find = [&](const std::string& name) -> std::optional<SaidSetting> {
        const std::string key = "general.sampling." + name;
        if (const auto number = gguf.number(key)) return SaidSetting{number, ""};
        if (const auto text = gguf.text(key))
            return SaidSetting{{}, fmt::format("\"{}\"", printable(*text))};
        return std::nullopt;
    };
    return read(gguf.name(), "general.sampling.", find, true, kForeignGguf, note);
}

Sampling sampling_of(const HfFolder& folder, const Note& note) {
    const Json json = folder.optional_json("generation_config.json");
    const std::string where = folder.path("generation_config.json").string();
    const Json* sample = member(json, "do_sample");
    const bool greedy = sample && sample->is_boolean() && !sample->get<bool>();
    if (sample && !sample->is_boolean())
        note(fmt::format("{}: do_sample is {}, neither true nor false: left out", where,
                         shown(*sample)));
    const Find find = [&](const std::string& name) -> std::optional<SaidSetting> {
        if (greedy && name == "temperature") return SaidSetting{0, ""};
        const Json* value = member(json, name);
        if (!value) return std::nullopt;
        if (!value->is_number()) return SaidSetting{{}, shown(*value)};
        return SaidSetting{value->get<double>(), ""};
    };
    return read(where, "", find, false, kForeignHf, note);
}

}  // namespace llmsql
