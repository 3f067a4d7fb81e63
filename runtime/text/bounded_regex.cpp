// SPDX-License-Identifier: MIT
// PCRE2 within bounds. See bounded_regex.h.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/text/bounded_regex.h"

#include <pcre2.h>

#include <ctime>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/utf8.h"

namespace llmsql {
namespace {

// Steps back that one match may take beside a few for each byte, what it may keep of them, and the
// time of all matches of a text: each far from what any known expression needs.
constexpr uint64_t kMatchSteps = 1'000'000;
constexpr uint32_t kMatchKiB = 8 << 10;
constexpr double kSeconds = 2, kSecondsPerByte = 5e-6;
// At so many places a match is looked for before the clock is; at twice as many next, if none was
// found there and that took no longer than this.
constexpr size_t kPlaces = 8;
constexpr double kQuick = 1e-3;

double seconds_of(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double worked() {
    return seconds_of(CLOCK_THREAD_CPUTIME_ID);
}

std::string pcre_message(int code) {
    PCRE2_UCHAR text[128];
    pcre2_get_error_message(code, text, sizeof(text));
    return reinterpret_cast<const char*>(text);
}

size_t after_character(std::string_view subject, size_t at) {
    ++at;
    while (at < subject.size() && (static_cast<uint8_t>(subject[at]) & 0xc0) == 0x80) ++at;
    return at;
}

// Characters of Unicode since 14.0, in rising order, and an older one of as many bytes for each.
constexpr struct Newer {
    char32_t first, last;
    int since;  // 151: Unicode 15.1
    char32_t like;
} kNewer[] = {
#include "runtime/text/newer_characters.inc"
};

/// Of three bytes or four.
std::string utf8_of(char32_t code) {
    const auto rest = [code](int shift) {
        return static_cast<char>(0x80 | (code >> shift & 0x3f));
    };
    if (code < 0x10000) return {static_cast<char>(0xe0 | code >> 12), rest(6), rest(0)};
    return {static_cast<char>(0xf0 | code >> 18), rest(12), rest(6), rest(0)};
}

/// Whether a character that begins with these two bytes is among them.
bool may_be_newer(char lead, char second) {
    static const std::vector<bool> known = [] {
        std::vector<bool> marks(32 * 64);
        for (const Newer& each : kNewer)
            for (char32_t code = each.first; code <= each.last; ++code) {
                const std::string bytes = utf8_of(code);
                marks[(bytes[0] & 0x1fu) * 64 + (bytes[1] & 0x3fu)] = true;
            }
        return marks;
    }();
    const auto byte = static_cast<uint8_t>(lead);
    return byte >= 0xe0 && known[(byte & 0x1fu) * 64 + (static_cast<uint8_t>(second) & 0x3fu)];
}

}  // namespace

Allowance::Allowance(size_t bytes)
    : bytes_(bytes),
      seconds_(kSeconds + kSecondsPerByte * static_cast<double>(bytes)),
      began_(worked()),
      look_at_(passed() + seconds_) {}

double Allowance::passed() {
    return seconds_of(CLOCK_MONOTONIC);
}

bool Allowance::is_spent(double now) {
    if (now < look_at_) return false;
    // A thread that waited for the processor has worked less than the time that has passed; asking
    // for what it worked takes ten times as long as asking what time it is.
    const double left = seconds_ - (worked() - began_);
    look_at_ = now + left;
    return left <= 0;
}

struct BoundedRegex::Compiled {
    explicit Compiled(std::string its) : expression(std::move(its)) {
        int error = 0;
        PCRE2_SIZE where = 0;
        code =
            pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_USE_OFFSET_LIMIT | PCRE2_NEVER_BACKSLASH_C,
                          &error, &where, nullptr);
        if (!code)
            fail("the tokenizer's expression, at {}: {} (PCRE2 needs Unicode support): {}", where,
                 pcre_message(error), shown());
        // Where machine code may not be made, or not of this expression, it is interpreted.
        (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
        match = pcre2_match_data_create(1, nullptr);
        context = pcre2_match_context_create(nullptr);
        if (!match || !context) fail("out of memory for the tokenizer's expressions");
        pcre2_set_heap_limit(context, kMatchKiB);
    }
    ~Compiled() {
        pcre2_match_context_free(context);
        pcre2_match_data_free(match);
        pcre2_code_free(code);
    }
    Compiled(const Compiled&) = delete;
    Compiled& operator=(const Compiled&) = delete;

    std::string shown() const { return printable(expression.substr(0, 200)); }

    int find(std::string_view subject, size_t from) const {
        const auto run = [&](uint32_t options) {
            return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(),
                               from, PCRE2_NO_UTF_CHECK | options, match, context);
        };
        const int result = run(0);
        return result == PCRE2_ERROR_JIT_STACKLIMIT ? run(PCRE2_NO_JIT) : result;
    }

    const std::string expression;
    pcre2_code* code = nullptr;
    pcre2_match_data* match = nullptr;
    pcre2_match_context* context = nullptr;
};

BoundedRegex::BoundedRegex(std::string expression)
    : compiled_(std::make_unique<Compiled>(std::move(expression))) {}
BoundedRegex::~BoundedRegex() = default;
BoundedRegex::BoundedRegex(BoundedRegex&&) noexcept = default;
BoundedRegex& BoundedRegex::operator=(BoundedRegex&&) noexcept = default;

void BoundedRegex::each(std::string_view subject, Allowance& allowance,
                        const std::function<void(size_t begin, size_t end)>& match) const {
    const Compiled& its = *compiled_;
    size_t done = 0, from = 0;  // what lies before `done` was matched, or lies before a match
    size_t places = kPlaces;
    bool any = false;
    double time = Allowance::passed();
    while (from <= subject.size()) {
        // PCRE2 counts the steps at each place by themselves.
        const uint64_t steps = (kMatchSteps + 4 * subject.size()) / (places / kPlaces);
        pcre2_set_match_limit(its.context, static_cast<uint32_t>(std::min<uint64_t>(
                                               steps, std::numeric_limits<uint32_t>::max())));
        pcre2_set_offset_limit(its.context, from + places);
        const int result = its.find(subject, from);
        const double before = std::exchange(time, Allowance::passed());
        if (allowance.is_spent(time))
            fail("the tokenizer's expression takes too long for a text of {}: {}",
                 counted(allowance.bytes(), "byte"), its.shown());
        if (result == PCRE2_ERROR_NOMATCH) {
            from = after_character(subject, from + places);
            places = time - before < kQuick ? 2 * places : kPlaces;
            continue;
        }
        if (result == PCRE2_ERROR_MATCHLIMIT && places > kPlaces) {
            places = kPlaces;
            continue;
        }
        places = kPlaces;
        if (result < 0)
            fail("the tokenizer's expression, for a text of {}: {}: {}",
                 counted(allowance.bytes(), "byte"), pcre_message(result), its.shown());
        // \K may put the begin behind the end. Read before `match` runs, which may match by it too.
        const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(its.match);
        const size_t end = ends[1], begin = std::min<size_t>(ends[0], end);
        if (begin < done)
            fail("the tokenizer's expression matches what lies before: {}", its.shown());
        if (begin == end && any && begin == done) {
            from = after_character(subject, from);
            continue;
        }
        match(begin, end);
        any = true;
        done = end;
        from = end;
    }
}

std::optional<std::string> subject_of(std::string_view text, int unicode) {
    std::optional<std::string> copy;
    const auto replace = [&](size_t at, std::string_view with) {
        if (!copy) copy.emplace(text);
        copy->replace(at, with.size(), with);
    };
    if (first_invalid_utf8(text))
        for (size_t at = 0; at < text.size();) {
            const Utf8Char next = utf8_at(text.substr(at));
            if (next.status != Utf8Status::valid) replace(at, std::string(next.length, '\x01'));
            at += next.length;
        }
    if (unicode == 0) return copy;
    const std::string valid = copy.value_or("");
    const std::string_view all = copy ? std::string_view(valid) : text;
    for (size_t at = 0; at + 2 < all.size(); ++at) {
        if (!may_be_newer(all[at], all[at + 1])) continue;
        const Utf8Char next = utf8_at(all.substr(at));
        const auto row = std::ranges::upper_bound(kNewer, next.code, {}, &Newer::first);
        if (row == std::begin(kNewer) || next.code > std::prev(row)->last) continue;
        // Beyond the version it is no character.
        const char32_t nothing = next.length == 3 ? 0xfdd0 : 0x1fffe;
        replace(at, utf8_of(std::prev(row)->since <= unicode ? std::prev(row)->like : nothing));
    }
    return copy;
}

}  // namespace llmsql
