// SPDX-License-Identifier: MIT
// Reading and writing sizes of memory. See byte_size.h.
#include "common/byte_size.h"

#include <array>
#include <charconv>

#include "common/error.h"

namespace llmsql {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kMost = int64_t{1} << 50;

struct Unit {
    std::string_view name;
    int64_t bytes;
};
// The largest first, as exact_bytes_text looks for them.
constexpr std::array kUnits{Unit{"GiB", 1 << 30}, Unit{"GB", 1000000000}, Unit{"MiB", kMiB},
                            Unit{"MB", 1000000},  Unit{"KiB", 1024},      Unit{"KB", 1000}};

bool same_letters(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) return false;
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : +c; };
    for (size_t i = 0; i < a.size(); ++i)
        if (lower(a[i]) != lower(b[i])) return false;
    return true;
}

std::string tenths_text(int64_t tenths) {
    return fmt::format("{}.{} MiB", tenths / 10, tenths % 10);
}

}  // namespace

int64_t parse_bytes(std::string_view text, std::string_view what) {
    const auto refuse = [&] {
        fail("{} {}: this must be a size, such as 96MiB, 1.5GiB, 100MB or 100000000", what, text);
    };
    // Digits, perhaps with a point: what from_chars takes beyond that (signs, infinities) is none.
    size_t end = 0;
    while (end < text.size() && ((text[end] >= '0' && text[end] <= '9') || text[end] == '.')) ++end;
    double number = 0;
    const auto [stop, code] = std::from_chars(text.data(), text.data() + end, number);
    if (end == 0 || code != std::errc() || stop != text.data() + end) refuse();
    std::string_view unit = text.substr(end);
    if (unit.starts_with(' ')) unit.remove_prefix(1);
    int64_t factor = unit.empty() || same_letters(unit, "B") ? 1 : 0;
    for (const Unit& known : kUnits)
        if (same_letters(unit, known.name)) factor = known.bytes;
    if (factor == 0) refuse();
    number *= static_cast<double>(factor);
    if (number > static_cast<double>(kMost)) refuse();
    return static_cast<int64_t>(number);
}

std::string exact_bytes_text(int64_t bytes) {
    constexpr int64_t kLarge = 1000000;
    const auto whole = [&](bool large) -> std::string {
        for (const Unit& unit : kUnits)
            if ((unit.bytes >= kLarge) == large && bytes > 0 && bytes % unit.bytes == 0)
                return fmt::format("{} {}", bytes / unit.bytes, unit.name);
        return "";
    };
    if (const std::string text = whole(true); !text.empty()) return text;
    // "38.1 MiB" was written so, and its part of a byte dropped.
    for (int digits = 1; digits <= 2 && bytes >= kMiB && bytes < kMost; ++digits)
        for (const Unit& unit : kUnits) {
            if (unit.bytes < kLarge) continue;
            const double number = static_cast<double>(bytes) / static_cast<double>(unit.bytes);
            const std::string text = fmt::format("{:.{}f} {}", number, digits, unit.name);
            if (parse_bytes(text, "") == bytes) return text;
        }
    if (const std::string text = whole(false); !text.empty()) return text;
    return fmt::format("{} bytes", bytes);
}

std::string mib_text(int64_t bytes) {
    return tenths_text((bytes * 10 + kMiB / 2) / kMiB);
}

std::string mib_text_up(int64_t bytes) {
    return tenths_text((bytes * 10 + kMiB - 1) / kMiB);
}

}  // namespace llmsql
