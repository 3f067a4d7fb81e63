// SPDX-License-Identifier: MIT
// Characters and their classes, as Python's str has them. See text.h.
#include "jinja/text.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <vector>

namespace llmsql::jinja {
namespace {

struct FlagRun {  // up to the next one's first
    uint32_t first;
    uint16_t flags;
};
struct CaseRun {
    uint32_t first, last;
    int32_t delta;
    uint32_t step;
};
struct CaseLong {
    uint32_t from;
    uint32_t to[3];  // the rest 0
};

#include "jinja/unicode_tables.inc"

enum Flag : uint16_t {
    alpha = 1,
    decimal = 2,
    digit = 4,
    numeric = 8,
    space = 16,
    prints = 32,
    uppercase = 64,
    lowercase = 128,
    titlecase = 256,
    start = 512,
    part = 1024,
    ignorable = 2048,
};

uint16_t flags_of(Char c) {
    c = plain(c);
    if (c >= kRawByte) return 0;
    const auto* run = std::upper_bound(std::begin(kFlagRuns), std::end(kFlagRuns), c,
                                       [](Char x, const FlagRun& r) { return x < r.first; });
    return std::prev(run)->flags;
}

bool has(Char c, uint16_t flags) {
    return (flags_of(c) & flags) != 0;
}

template<size_t runs, size_t longs>
void append_mapped(Chars& to, Char c, const CaseRun (&table)[runs],
                   const CaseLong (&several)[longs]) {
    const Char code = plain(c), mark = mark_of(c);
    const auto* run = std::upper_bound(std::begin(table), std::end(table), code,
                                       [](Char x, const CaseRun& r) { return x < r.first; });
    if (run != std::begin(table)) {
        --run;
        if (code <= run->last && (code - run->first) % run->step == 0) {
            to += static_cast<Char>(static_cast<int64_t>(code) + run->delta) | mark;
            return;
        }
    }
    const auto* one = std::lower_bound(std::begin(several), std::end(several), code,
                                       [](const CaseLong& l, Char x) { return l.from < x; });
    if (one == std::end(several) || one->from != code) {
        to += c;
        return;
    }
    for (const uint32_t each : one->to)
        if (each != 0) to += each | mark;
}

bool is_cased(Char c) {
    return has(c, uppercase | lowercase | titlecase);
}

// A capital sigma that ends a word has a form of its own.
void append_lower(Chars& to, CharsView text, size_t at) {
    if (plain(text[at]) != 0x3a3) return append_mapped(to, text[at], kLowerRuns, kLowerLong);
    size_t before = at;
    while (before > 0 && has(text[before - 1], ignorable)) --before;
    bool final = before > 0 && is_cased(text[before - 1]);
    if (final) {
        size_t after = at + 1;
        while (after < text.size() && has(text[after], ignorable)) ++after;
        final = after == text.size() || !is_cased(text[after]);
    }
    to += Char{final ? 0x3c2u : 0x3c3u} | mark_of(text[at]);
}

}  // namespace

Chars chars_of(std::string_view bytes, Char mark) {
    Chars text;
    text.reserve(bytes.size());
    for (size_t i = 0; i < bytes.size();) {
        const auto byte = static_cast<unsigned char>(bytes[i]);
        const int more = byte < 0x80   ? 0
                         : byte < 0xc2 ? -1
                         : byte < 0xe0 ? 1
                         : byte < 0xf0 ? 2
                         : byte < 0xf5 ? 3
                                       : -1;
        Char code = more <= 0 ? byte : byte & (0x3fu >> more);
        bool valid = more >= 0 && i + static_cast<size_t>(more) < bytes.size();
        for (int k = 1; valid && k <= more; ++k) {
            const auto next = static_cast<unsigned char>(bytes[i + static_cast<size_t>(k)]);
            valid = (next & 0xc0) == 0x80;
            code = code << 6 | (next & 0x3f);
        }
        if (valid && ((more == 2 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) ||
                      (more == 3 && (code < 0x10000 || code > 0x10ffff))))
            valid = false;
        text += (valid ? code : kRawByte + byte) | mark;
        i += valid ? static_cast<size_t>(more) + 1 : 1;
    }
    return text;
}

void append_bytes(std::string& to, Char c) {
    c = plain(c);
    const auto put = [&](Char byte) { to += static_cast<char>(byte); };
    if (c >= kRawByte) return put(c - kRawByte);
    if (c < 0x80) return put(c);
    if (c < 0x800) {
        put(0xc0 | c >> 6);
    } else {
        if (c < 0x10000) {
            put(0xe0 | c >> 12);
        } else {
            put(0xf0 | c >> 18);
            put(0x80 | (c >> 12 & 0x3f));
        }
        put(0x80 | (c >> 6 & 0x3f));
    }
    put(0x80 | (c & 0x3f));
}

std::string bytes_of(CharsView text) {
    std::string bytes;
    bytes.reserve(text.size());
    for (const Char c : text) append_bytes(bytes, c);
    return bytes;
}

bool equals(CharsView a, std::string_view b) {
    return std::ranges::equal(
        a, b, [](Char x, char y) { return plain(x) == static_cast<unsigned char>(y); });
}

size_t find_in(CharsView text, CharsView what, size_t from) {
    if (what.size() <= 32) return text.find(what, from);
    // Knuth, Morris and Pratt's: how much of `what` still stands where it no longer goes on.
    std::vector<size_t> keep(what.size());
    for (size_t i = 1, k = 0; i < what.size(); ++i) {
        while (k > 0 && plain(what[i]) != plain(what[k])) k = keep[k - 1];
        if (plain(what[i]) == plain(what[k])) ++k;
        keep[i] = k;
    }
    for (size_t i = from, k = 0; i < text.size(); ++i) {
        while (k > 0 && plain(text[i]) != plain(what[k])) k = keep[k - 1];
        if (plain(text[i]) == plain(what[k])) ++k;
        if (k == what.size()) return i + 1 - k;
    }
    return CharsView::npos;
}

size_t rfind_in(CharsView text, CharsView what) {
    if (what.size() <= 32) return text.rfind(what);
    const Chars backwards(text.rbegin(), text.rend()), end(what.rbegin(), what.rend());
    const size_t at = find_in(backwards, end);
    return at == CharsView::npos ? at : text.size() - at - what.size();
}

bool is_alpha(Char c) {
    return has(c, alpha);
}
bool is_decimal(Char c) {
    return has(c, decimal);
}
bool is_digit(Char c) {
    return has(c, digit);
}
bool is_numeric(Char c) {
    return has(c, numeric);
}
bool is_space(Char c) {
    return has(c, space);
}
bool is_printable(Char c) {
    return has(c, prints);
}
bool is_upper(Char c) {
    return has(c, uppercase);
}
bool is_lower(Char c) {
    return has(c, lowercase);
}
bool is_title(Char c) {
    return has(c, titlecase);
}
bool is_identifier_start(Char c) {
    return has(c, start);
}
bool is_identifier_part(Char c) {
    return has(c, part);
}
bool is_line_end(Char c) {
    c = plain(c);
    return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

Chars upper(CharsView text) {
    Chars out;
    out.reserve(text.size());
    for (const Char c : text) append_mapped(out, c, kUpperRuns, kUpperLong);
    return out;
}

Chars lower(CharsView text) {
    Chars out;
    out.reserve(text.size());
    for (size_t i = 0; i < text.size(); ++i) append_lower(out, text, i);
    return out;
}

Chars fold(CharsView text) {
    Chars out;
    out.reserve(text.size());
    for (const Char c : text) append_mapped(out, c, kFoldRuns, kFoldLong);
    return out;
}

Chars title(CharsView text) {
    Chars out;
    bool within = false;
    for (size_t i = 0; i < text.size(); ++i) {
        if (within)
            append_lower(out, text, i);
        else
            append_mapped(out, text[i], kTitleRuns, kTitleLong);
        within = is_cased(text[i]);
    }
    return out;
}

Chars capitalize(CharsView text) {
    Chars out;
    for (size_t i = 0; i < text.size(); ++i) {
        if (i == 0)
            append_mapped(out, text[i], kTitleRuns, kTitleLong);
        else
            append_lower(out, text, i);
    }
    return out;
}

Chars swap_case(CharsView text) {
    Chars out;
    for (size_t i = 0; i < text.size(); ++i) {
        if (is_upper(text[i]))
            append_lower(out, text, i);
        else if (is_lower(text[i]))
            append_mapped(out, text[i], kUpperRuns, kUpperLong);
        else
            out += text[i];
    }
    return out;
}

template<class Predicate>
CharsView strip_where(CharsView text, Ends ends, Predicate goes) {
    if (ends != Ends::right)
        while (!text.empty() && goes(text.front())) text.remove_prefix(1);
    if (ends != Ends::left)
        while (!text.empty() && goes(text.back())) text.remove_suffix(1);
    return text;
}

CharsView strip(CharsView text, Ends ends) {
    return strip_where(text, ends, is_space);
}

CharsView strip(CharsView text, CharsView characters, Ends ends) {
    Chars sorted(characters);
    std::ranges::sort(sorted, {}, plain);
    return strip_where(text, ends, [&](Char c) {
        return std::ranges::binary_search(sorted, plain(c), {}, plain);
    });
}

}  // namespace llmsql::jinja
