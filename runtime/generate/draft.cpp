// SPDX-License-Identifier: MIT
// Looking up where a text's end stood before. See draft.h.
#include "runtime/generate/draft.h"

#include <algorithm>
#include <bit>

#include "common/process_memory.h"

namespace llmsql {
namespace {

// Of the buckets' chances before anything is known, and what they weigh, in tokens seen: low, as a
// guess that nobody checks is counted, too, and costs nothing.
constexpr std::array kExpected{0.3, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8};
constexpr double kExpectedWeight = 3;
// What was seen counts for so many tokens at most: texts change.
constexpr double kRemembered = 20;
// Of an end that was shared, tokens from which on the place is followed when one differs.
constexpr size_t kWorthFollowing = 4;

constexpr size_t kFewest = 64;

uint32_t mixed(uint32_t hash, int32_t token) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0x9e3779b1U;
    return hash ^ (hash >> 15);
}

}  // namespace

TextDrafter::TextDrafter(size_t tokens)
    : capacity_(std::clamp<size_t>(tokens, kFewest, kMostDraftTokens)),
      entries_(std::bit_ceil(capacity_)) {
    static_assert(kExpected.size() == kBuckets);
    tokens_.reserve(capacity_);
    places_.resize(entries_ * kLengths.size());
    for (size_t i = 0; i < kBuckets; ++i) chances_[i] = {kExpected[i], kExpectedWeight};
}

// 1, 2, 3 to 4, 5 to 8, 9 to 16, more; the first is of places that a text was astray from.
size_t TextDrafter::bucket_of(size_t shared) {
    return shared == 0 ? 0
                       : std::min<size_t>(kBuckets - 1,
                                          1 + static_cast<size_t>(std::bit_width(shared - 1)));
}

void TextDrafter::count(size_t bucket, bool came) {
    Chance& chance = chances_[bucket];
    chance.seen = std::min(chance.seen + 1, kRemembered);
    chance.value += ((came ? 1.0 : 0.0) - chance.value) / chance.seen;
}

// How many of the tokens before `end` stand before `next` too.
size_t TextDrafter::shared(size_t next, size_t end) const {
    const size_t most = std::min(next, kLongest);
    size_t count = 0;
    while (count < most && tokens_[next - 1 - count] == tokens_[end - 1 - count]) ++count;
    return count;
}

// Keeps `end` as the place behind what is before it; where it is the text's, `look` has the place
// found that shares most of that.
void TextDrafter::note_end(size_t end, bool look) {
    uint32_t hash = 0;
    size_t levels = 0;
    std::array<uint32_t*, kLengths.size()> places{};
    for (size_t n = 1; n <= std::min(end, kLengths.back()); ++n) {
        hash = mixed(hash, tokens_[end - n]);
        if (n != kLengths[levels]) continue;
        const size_t entry = hash & (entries_ - 1) & ~(kWays - 1);
        places[levels] = &places_[levels * entries_ + entry];
        ++levels;
    }
    if (look) {
        const auto consider = [&](size_t next) {
            const size_t same = shared(next, end);
            if (same > match_.shared) match_ = {next, same};
        };
        if (astray_ > 0) consider(astray_);
        for (size_t level = levels; level-- > 0 && match_.shared < 2 * kLengths[level];)
            for (size_t way = 0; way < kWays; ++way)
                if (const uint32_t next = places[level][way]; next > 0) consider(next);
    }
    for (size_t level = 0; level < levels; ++level) {
        uint32_t* ways = places[level];
        // The older place goes; the newer one, where it is behind the same end.
        if (ways[0] > 0 && shared(ways[0], end) < kLengths[level]) ways[1] = ways[0];
        ways[0] = static_cast<uint32_t>(end);
    }
}

void TextDrafter::forget_older_half() {
    tokens_.erase(tokens_.begin(), tokens_.begin() + static_cast<ptrdiff_t>(tokens_.size() / 2));
    std::ranges::fill(places_, 0);
    match_ = {};
    astray_ = 0;
    for (size_t end = 1; end <= tokens_.size(); ++end) note_end(end, false);
}

void TextDrafter::push(int32_t token) {
    if (tokens_.size() == capacity_) forget_older_half();
    tokens_.push_back(token);
}

void TextDrafter::read(std::span<const int32_t> tokens) {
    match_ = {};
    astray_ = 0;
    if (tokens.size() > capacity_) tokens = tokens.last(capacity_);
    for (size_t i = 0; i < tokens.size(); ++i) {
        push(tokens[i]);
        note_end(tokens_.size(), i + 1 == tokens.size());
    }
}

void TextDrafter::picked(int32_t token) {
    if (astray_ > 0) {
        count(0, tokens_[astray_] == token);
        ++astray_;
        if (++astray_for_ > kAstray) astray_ = 0;
    }
    if (match_.shared > 0) {
        const bool came = tokens_[match_.next] == token;
        count(bucket_of(match_.shared), came);
        if (!came && match_.shared >= kWorthFollowing) {
            astray_ = match_.next + 1;
            astray_for_ = 0;
        }
        match_ = came ? Place{match_.next + 1, std::min(match_.shared + 1, kLongest)} : Place{};
    }
    push(token);
    note_end(tokens_.size(), true);
}

void TextDrafter::propose(size_t most, std::vector<Draft>& drafts) const {
    Place from = match_;
    if (astray_ > 0 && from.shared <= 1 && chances_[0].value > chances_[1].value)
        from = {astray_, 0};
    else if (from.shared == 0)
        return;
    const size_t first = drafts.size(), size = tokens_.size();
    for (size_t i = 0; i < most; ++i) {
        // A text that goes on to its end goes on with what is proposed.
        const size_t at = from.next + i;
        drafts.push_back({at < size ? tokens_[at] : drafts[first + at - size].token,
                          chances_[bucket_of(from.shared + i)].value});
    }
}

}  // namespace llmsql
