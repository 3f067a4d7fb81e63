// SPDX-License-Identifier: MIT
// What options may be. See options.h.
#include "runtime/generate/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "common/error.h"

namespace llmsql {
namespace {

// All of `given` as a number. A sign in front is one, whatever std::from_chars says of +.
template<class Number>
std::optional<Number> parse(std::string_view given) {
    if (given.starts_with('+') && !given.starts_with("+-")) given.remove_prefix(1);
    Number number{};
    const char* const end = given.data() + given.size();
    const auto [after, error] = std::from_chars(given.data(), end, number);
    if (error != std::errc() || after != end) return std::nullopt;
    return number;
}

constexpr double kHuge = 1e30;

using Options = GenerateOptions;
using Get = std::optional<double> (*)(const Options&);

constexpr NumberOption whole(const char* name, const char* flag, Whole counts,
                             void (*set)(Options&, int64_t), Get get) {
    return {name, flag, true, counts, {}, set, nullptr, get};
}
constexpr NumberOption real(const char* name, const char* flag, Real reals,
                            void (*set)(Options&, double), Get get) {
    return {name, flag, false, {}, reals, nullptr, set, get};
}

constexpr NumberOption kNumbers[] = {
    whole(
        "n_predict", "-n", {-1, kMostCount}, [](Options& to, int64_t value) { to.predict = value; },
        [](const Options& from) { return std::optional<double>(from.predict); }),
    whole(
        "context", "-c", {1, kMostCount},
        [](Options& to, int64_t value) { to.context = static_cast<int>(value); },
        [](const Options& from) { return std::optional<double>(from.context); }),
    whole(
        "batch", "-b", {1, kMostCount},
        [](Options& to, int64_t value) { to.batch = static_cast<int>(value); },
        [](const Options& from) { return std::optional<double>(from.batch); }),
    whole(
        "drafts", "--drafts", {0, kMostCount},
        [](Options& to, int64_t value) { to.drafts = static_cast<int>(value); },
        [](const Options& from) { return std::optional<double>(from.drafts); }),
    whole(
        "keep", "--keep", {-1, kMostCount}, [](Options& to, int64_t value) { to.keep = value; },
        [](const Options& from) { return std::optional<double>(from.keep); }),
    whole(
        "seed", "--seed", {-1, INT64_MAX}, [](Options& to, int64_t value) { to.seed = value; },
        [](const Options& from) { return std::optional<double>(from.seed); }),
    whole(
        "top_k", "--top-k", {-1, kMostCount},
        [](Options& to, int64_t value) { to.sampler.top_k = static_cast<int>(value); },
        [](const Options& from) { return std::optional<double>(from.sampler.top_k); }),
    real(
        "temperature", "--temp", {0, kHuge},
        [](Options& to, double value) { to.sampler.temperature = value; },
        [](const Options& from) { return std::optional<double>(from.sampler.temperature); }),
    real(
        "top_p", "--top-p", {0, 1}, [](Options& to, double value) { to.sampler.top_p = value; },
        [](const Options& from) { return std::optional<double>(from.sampler.top_p); }),
    real(
        "min_p", "--min-p", {0, 1}, [](Options& to, double value) { to.sampler.min_p = value; },
        [](const Options& from) { return std::optional<double>(from.sampler.min_p); }),
    real(
        "repeat_penalty", "--repeat-penalty", {1e-6, 1e6},
        [](Options& to, double value) { to.sampler.repeat_penalty = value; },
        [](const Options& from) { return std::optional<double>(from.sampler.repeat_penalty); }),
};

// Others that this library's messages name.
constexpr struct {
    const char *name, *flag;
} kOthers[] = {{"system", "--system"}, {"chat", "--chat"}, {"sessions", "--session"}};

}  // namespace

int64_t number_of(std::string_view called, std::string_view given, const Whole& range) {
    std::optional<int64_t> number = parse<int64_t>(given);
    // JSON has but one kind of number: 3.0 is three.
    const size_t point = given.find('.');
    if (!number && point != std::string_view::npos && point + 1 < given.size() &&
        given.find_first_not_of('0', point + 1) == std::string_view::npos)
        number = parse<int64_t>(given.substr(0, point));
    if (!number || *number < range.least || *number > range.most)
        fail("{}: a whole number from {} to {} is wanted, not {}", called, range.least, range.most,
             printable(given));
    return *number;
}

double number_of(std::string_view called, std::string_view given, const Real& range) {
    const auto number = parse<double>(given);
    if (!number || !(*number >= range.least && *number <= range.most))
        fail("{}: a number from {} to {} is wanted, not {}", called, range.least, range.most,
             printable(given));
    return *number;
}

void check_options(const GenerateOptions& options) {
    for (const NumberOption& option : kNumbers) {
        const double least =
            option.whole ? static_cast<double>(option.counts.least) : option.reals.least;
        const double most =
            option.whole ? static_cast<double>(option.counts.most) : option.reals.most;
        const std::optional<double> value = option.get(options);
        if (value && !(*value >= least && *value <= most))
            fail("option '{}': a number from {} to {} is wanted, not {}", option.name, least, most,
                 *value);
    }
}

std::span<const NumberOption> number_options() {
    return kNumbers;
}

void set_number(GenerateOptions& to, const NumberOption& option, std::string_view called,
                std::string_view given) {
    if (option.whole)
        option.set_count(to, number_of(called, given, option.counts));
    else
        option.set_real(to, number_of(called, given, option.reals));
    to.named.insert(option.name);
}

namespace {

// Only what is of the sampler: no model's file says how long an answer may be.
const std::string* own_of(const ModelSampling& own, const NumberOption& option) {
    constexpr std::string_view kSampler[] = {"temperature", "top_k", "top_p", "min_p",
                                             "repeat_penalty"};
    if (std::ranges::find(kSampler, option.name) == std::end(kSampler)) return nullptr;
    const auto found = own.find(fmt::format("sampling.{}", option.name));
    return found == own.end() ? nullptr : &found->second;
}

}  // namespace

GenerateOptions with_model_sampling(GenerateOptions options, const ModelSampling& own) {
    for (const NumberOption& option : kNumbers) {
        const std::string* value = own_of(own, option);
        if (value && !options.named.contains(option.name))
            set_number(options, option, fmt::format("sampling.{}", option.name), *value);
    }
    return options;
}

std::string model_sampling_text(const GenerateOptions& options, const ModelSampling& own) {
    std::string text;
    for (const NumberOption& option : kNumbers)
        if (const std::string* value = own_of(own, option);
            value && !options.named.contains(option.name))
            text +=
                fmt::format("{}{} {}", text.empty() ? "" : ", ", option.name, printable(*value));
    return text;
}

void name_all(GenerateOptions& options) {
    for (const NumberOption& option : kNumbers) options.named.insert(option.name);
}

std::string with_flags(std::string message) {
    const auto replace = [&](const char* name, const char* flag) {
        const std::string called = fmt::format("option '{}'", name);
        for (size_t at; (at = message.find(called)) != std::string::npos;)
            message.replace(at, called.size(), flag);
    };
    for (const NumberOption& option : kNumbers) replace(option.name, option.flag);
    for (const auto& [name, flag] : kOthers) replace(name, flag);
    return message;
}

std::string ContextLimit::advice() const {
    return tokens < plan
               ? fmt::format("shorten it, or raise option 'context' (the plan's is {})", plan)
               : "shorten it, or compile the plan with a larger --context";
}

}  // namespace llmsql
