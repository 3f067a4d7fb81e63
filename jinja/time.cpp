// SPDX-License-Identifier: MIT
// Days and times for templates that tell them.
#include <clocale>
#include <ctime>

#include <array>
#include <charconv>

#include "common/error.h"
#include "jinja/builtins.h"
#include "jinja/template.h"

namespace llmsql::jinja {
namespace {

// Days since 1970-01-01 of a day in the Gregorian calendar, and back (by the rule that years of a
// 400-year cycle begin in March).
int64_t days_of(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2 ? 1 : 0;
    const int64_t era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
    const int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

std::tm moment(int64_t seconds) {
    std::tm time{};
    const auto value = static_cast<std::time_t>(seconds);
    if (!gmtime_r(&value, &time)) fail("no such time");
    return time;
}

}  // namespace

std::string format_time(std::string_view format, int64_t seconds) {
    constexpr size_t kLongest = 1000;
    if (format.size() > kLongest)
        fail("strftime_now(): the format is longer than {} bytes", kLongest);
    std::string known;
    for (size_t i = 0; i < format.size(); ++i) {
        if (format[i] == '\0') fail("strftime_now(): the format has a NUL");
        if (format[i] != '%' || i + 1 == format.size()) {
            known += format[i];
            if (format[i] == '%') known += '%';
            continue;
        }
        const char letter = format[++i];
        if (letter == 'z' || letter == 'Z') continue;  // of a time that has no zone
        if (letter == 'f')
            known += "000000";
        else if (letter == 's')
            fail("strftime_now(): '%s' is not supported");
        else
            known += std::string("%") + letter;
    }
    if (known.empty()) return known;
    const std::tm time = moment(seconds);
    static const locale_t c_locale = newlocale(LC_ALL_MASK, "C", nullptr);
    std::string out(known.size() * 40 + 100, '\0');
    out.resize(strftime_l(out.data(), out.size(), known.c_str(), &time, c_locale));
    return out;
}

int64_t seconds_of(std::string_view text) {
    std::array<int64_t, 6> parts{1970, 1, 1, 0, 0, 0};
    constexpr std::string_view kShape = "0000-00-00 00:00:00";
    const auto wrong = [&] {
        fail("'{}' is no date: one is as 2026-11-29, or 2026-11-29 08:30:00", printable(text));
    };
    if (text.size() != 10 && text.size() != 16 && text.size() != 19) wrong();
    size_t part = 0;
    for (size_t i = 0; i < text.size(); ++i) {
        const bool digit = text[i] >= '0' && text[i] <= '9';
        if (kShape[i] == '0' ? !digit
                             : text[i] != kShape[i] && !(kShape[i] == ' ' && text[i] == 'T'))
            wrong();
        if (kShape[i] != '0') {
            ++part;
            continue;
        }
        if (i == 0 || kShape[i - 1] != '0') parts[part] = 0;
        parts[part] = parts[part] * 10 + (text[i] - '0');
    }
    const auto [year, month, day, hour, minute, second] = parts;
    if (year < 1 || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59)
        wrong();
    const int64_t days = days_of(year, month, day);
    const std::tm back = moment(days * 86400);
    if (back.tm_mday != day || back.tm_mon + 1 != month) wrong();
    return days * 86400 + hour * 3600 + minute * 60 + second;
}

}  // namespace llmsql::jinja
