// SPDX-License-Identifier: MIT
// Drafters: what a text may go on with, guessed at next to no cost. A pass that takes guesses as
// further rows checks them all at once (scheduler.h): those that are what would have been picked
// anyway are tokens that cost no pass of their own, and the others leave no trace. So a drafter can
// make a text quicker or slower, but never another.
//
// HOW TEXTS ARE GUESSED (TextDrafter). What a text has said before it often says again: a file that
// is edited, a text that is quoted, rows that are alike. So the place is looked for where the
// longest end of the text stood before, and what followed there is proposed:
//
//   … the cat sat on the mat. … the cat sat on the
//                       ^^^ proposed: " mat", ".", …
//
// Ends of 1, 2, 4, 8 and 16 tokens are kept by their hash, each with the last two places where they
// stood; which of the places shares the longest end is seen by comparing tokens. Where a text
// leaves what it repeats, the place behind the token that differs is tried too: one name may have
// become another. How often such guesses come true is counted by the length of the end that is
// shared, of every token that is picked, whether a pass has checked a guess of it or not.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace llmsql {

/// A token that may come, behind those proposed before it.
struct Draft {
    int32_t token = 0;
    double chance = 0;  // that it does, where those before it have: from 0 to 1
};

/// Of one text. Not thread-safe.
class Drafter {
  public:
    Drafter() = default;
    Drafter(const Drafter&) = delete;
    Drafter& operator=(const Drafter&) = delete;
    virtual ~Drafter() = default;

    /// The text begins with these, or goes on with them: nobody has picked them.
    virtual void read(std::span<const int32_t> tokens) = 0;
    /// The text goes on with a token that was picked, whatever was proposed.
    virtual void picked(int32_t token) = 0;
    /// Appends up to `most` tokens that the text may go on with.
    virtual void propose(size_t most, std::vector<Draft>& drafts) const = 0;
};

/// From what the text has said before. Takes memory when it is made and none later, linear in the
/// tokens that it remembers; a token takes well under a microsecond.
class TextDrafter final : public Drafter {
  public:
    /// For a text of so many tokens; kMostDraftTokens (common/process_memory.h) at most are
    /// remembered, or else the newer half of what the text has said at least. draft_text_bytes() is
    /// what it takes.
    explicit TextDrafter(size_t tokens);

    void read(std::span<const int32_t> tokens) override;
    void picked(int32_t token) override;
    void propose(size_t most, std::vector<Draft>& drafts) const override;

    /// Bytes that it has taken.
    size_t bytes() const {
        return tokens_.capacity() * sizeof(int32_t) + places_.capacity() * sizeof(uint32_t);
    }

  private:
    static constexpr std::array<size_t, 5> kLengths{1, 2, 4, 8, 16};  // of ends that are looked up
    static constexpr size_t kWays = 2;      // places that are kept of ends of the same hash
    static constexpr size_t kLongest = 32;  // ends are compared so far
    static constexpr size_t kAstray = 8;    // tokens
    static constexpr size_t kBuckets = 7;   // of chances

    struct Chance {
        double value;
        double seen;
    };
    // A place in tokens_, and how much of what is before it the text ends in.
    struct Place {
        size_t next = 0, shared = 0;
    };

    static size_t bucket_of(size_t shared);
    void push(int32_t token);
    void note_end(size_t end, bool look);
    void forget_older_half();
    size_t shared(size_t next, size_t end) const;
    void count(size_t bucket, bool came);

    const size_t capacity_, entries_;
    std::vector<int32_t> tokens_;
    // Of each length, entries_ of them: the place behind such an end, or 0. Neighbours share a
    // hash.
    std::vector<uint32_t> places_;
    Place match_;            // shared is 0: none
    size_t astray_ = 0;      // the place behind the token that differed; 0: none
    size_t astray_for_ = 0;  // tokens since
    std::array<Chance, kBuckets> chances_;
};

}  // namespace llmsql
