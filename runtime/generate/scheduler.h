// SPDX-License-Identifier: MIT
// Scheduler: makes passes for whichever sequences want rows. The only place that does.
//
// How it works. A plan's cache has room for a number of sequences: places. A sequence that arrives
// gets the free place that already holds most of its beginning, or waits until one is free; what
// another place holds of its beginning, whoever uses that, is copied rather than computed, and what
// another is about to read of it is waited for. step() makes one pass: each running answer adds the
// row of its last token; what room is left goes to prompts that are still to be read, beside
// running answers half of the pass's rows at most (but 32), the shortest first. Then it picks
// tokens for those that are read, and tells what came of it. For example, with passes of 64 rows
// and two places:
//
//   arrive(A: 4 tokens), arrive(B: 200 tokens)
//   step()   rows A0 … A3, B0 … B59       → picked A4
//   step()   rows A4, B60 … B91           → picked A5
//   step()   rows A5, B92 … B123          → picked A6, A ended
//   arrive(C: 150 tokens, B's first 100 among them)
//                                         C takes A's place, and copies 100 positions from B's
//   step()   rows C100 … C131, B124 … B155
//
// Recurrent states are those of one position. So that a text that differs from the last one
// further back need not be read from its beginning, passes leave snapshots of them on the way,
// where the plan has room for some: a little before the end of what they read of a prompt, and of
// answers now and then. A text goes on from the last snapshot that is not behind what it has in
// common.
//
// A token's values do not depend on the passes that it was computed in, so each sequence's tokens
// are those that it would have alone, whatever runs beside it.
//
// That is so of drafts, too. A running answer may be given more rows than that of its last token:
// tokens that a Drafter (draft.h) expects to follow. Where what is picked after one row is the
// token of the next, that row's logits are those that the next pass would have had, and the next
// token is picked from them in the same pass, as the next pass would have; the first that differs
// ends that, and what the cache holds of the rest is written over; recurrent states are made those
// after the rows that count (Program::cut). How many rows are worth it is a
// matter of what passes cost on this machine (pass_costs.h) and of how often guesses have been
// right:
//
//   step()   rows A7, and the guesses A8' A9' A10'     → picked A8 = A8', A9 = A9', A10 ≠ A10'
//   step()   rows A10, …
//
// A host in short:
//
//   Scheduler scheduler(program, end_tokens(program, tokenizer));
//   const SequenceId id = scheduler.arrive(&tokenizer, {.tokens = …});
//   std::vector<Event> events;
//   while (scheduler.is_busy()) {
//       events.clear();
//       scheduler.step(&tokenizer, events);
//       for (const Event& event : events) std::cout << event.text;
//   }
//   scheduler.remove(id);
//
// Threads that share one: runtime/generate/caller.h.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "runtime/generate/pass_costs.h"
#include "runtime/generate/sequence.h"

namespace llmsql {

/// What step() tells of one sequence.
struct Event {
    enum class Kind {
        passed,  // a pass has read some of it: only if its request tells_passes
        picked,  // a token of its answer
        ended,   // nothing more comes; Sequence::ending() says why
        failed,  // it has ended by an error of its own
    };
    SequenceId id = 0;
    Kind kind = Kind::picked;
    std::string text = {};      // picked: what can be shown now; ended: the last of its text
    Picked picked = {};         // of `picked`
    std::string thinking = {};  // ended: the last of what was thought
    std::vector<TokenMarks> marks = {};  // ended: of calls in its text
    std::exception_ptr error = {};       // of `failed`
};

/// Not thread-safe. Uses all sequences of the program's cache: nothing else makes passes with it.
/// Its tokenizers are of the program's model, whichever is given: it says what is shown of tokens
/// that are picked. Null will do where nothing is answered.
class Scheduler {
  public:
    /// Seconds since some moment: what passes are timed with. How many tokens are guessed may
    /// depend on it, which of them come never does.
    using Clock = std::function<double()>;

    /// `ends` are the tokens that end a text: end_tokens() (sequence.h). Without a clock, the
    /// machine's.
    Scheduler(Program& program, std::set<int32_t> ends, Clock clock = nullptr);

    Program& program() { return program_; }
    const Program& program() const { return program_; }
    const std::set<int32_t>& ends() const { return ends_; }

    /// Sequences that can be on their way at once: what the plan was compiled for.
    size_t places() const { return places_.size(); }
    size_t free_places() const;

    /// A sequence that takes part in passes from now on. Fails if its options ask for what the plan
    /// does not have, or its tokens are too many. More than there are places wait, in order.
    SequenceId arrive(const Tokenizer* tokenizer, Request request);

    /// Another answer to what a sequence consists of so far, under options of its own: its keys and
    /// values are copied.
    SequenceId fork(const Tokenizer* tokenizer, SequenceId of, const GenerateOptions& options);

    /// Takes it out, whether it has ended or not. Its place goes to one that waits, or is free;
    /// what it holds stays there for others to begin with.
    void remove(SequenceId id);

    /// Sequences that have not been removed.
    size_t size() const { return sequences_.size(); }

    /// Valid until it is removed.
    Sequence& at(SequenceId id) { return *sequences_.at(id); }

    /// A sequence that rests keeps its place, but gets no rows.
    void rest(SequenceId id, bool resting) { at(id).resting_ = resting; }

    /// The cache, from outside, now holds the first `held` tokens of a sequence that has a place
    /// and has not been read further than that; the first `known` have been read before.
    void restored(SequenceId id, size_t held, size_t known = 0);

    /// Whether step() would make a pass.
    bool is_busy() const;

    /// One pass, of one token for each sequence that wants rows at least; nothing where none does.
    /// What came of it is appended to `events`, in order for each sequence. An error that is one
    /// sequence's own becomes its event: a pass of several that fails is made again for each of
    /// them alone. Anything else (Interrupted by the program's on_interrupt(), lack of memory) is
    /// thrown, the sequences stay as they were before the pass.
    void step(const Tokenizer* tokenizer, std::vector<Event>& events);

    /// Passes and rows so far: what a pass carried, of chunk() rows that it could.
    struct Carried {
        uint64_t passes = 0, rows = 0;
        uint64_t drafted = 0, accepted = 0;  // of the rows, guesses; and those that were right
        // How often a text has gone on before where it had been read to, as recurrent states are
        // those of one position; and tokens that were read again for it.
        uint64_t from_snapshot = 0, from_start = 0, reread = 0;
    };
    const Carried& carried() const { return carried_; }

  private:
    struct Place {
        std::vector<int32_t> tokens;  // that the cache holds
        bool taken = false;
        uint64_t used = 0;  // when it was taken last
    };
    // Rows of one sequence in a pass.
    struct Part {
        SequenceId id;
        Sequence* sequence;
        size_t first, count;  // of its tokens
        // What is behind `first` are guesses: its tokens only once they have been picked.
        bool drafted = false;
        uint64_t forgotten = 0;  // Sequence::forgotten_ when the pass began
    };
    // A row whose logits are wanted.
    struct Wanted {
        int row;  // of the pass
        size_t part, position;
    };

    void place_waiting();
    void place(Sequence& sequence, size_t at);
    size_t choose_place(const Sequence& sequence) const;
    void rewind(Sequence& sequence, size_t to);
    void share_beginning(Sequence& sequence);
    bool waits_for_another(SequenceId id, const Sequence& sequence) const;
    size_t rows_for_others(SequenceId id, const Sequence& sequence) const;
    std::vector<Part> plan_pass() const;
    void add_drafts(std::span<Part> parts);
    size_t snapshot_in(const Part& part) const;
    void note_reread(Sequence& sequence, size_t first, size_t count);
    bool may_come(const Part& part, size_t position) const;
    bool take_draft(const Part& part, size_t position);
    std::vector<Wanted> note_pass(std::span<const Part> parts, std::vector<Event>& events);
    void use_logits(std::span<const Part> parts, std::span<const Wanted> wanted,
                    const Tokenizer* tokenizer, std::vector<Event>& events);
    void use_row(const Part& part, size_t position, std::span<const float> logits,
                 const Tokenizer* tokenizer, std::vector<Event>& events);
    void cut_drafts(std::span<const Part> parts);
    void fall_back(std::span<const Part> parts, std::vector<Event>& events);
    void rewind_unused(Sequence& sequence, size_t first);
    void fail(const Part& part, std::vector<Event>& events);
    void remember_answer(const Sequence& sequence);
    void tell_end(SequenceId id, Sequence& sequence, std::vector<Event>& events);

    Program& program_;
    const std::set<int32_t> ends_;
    const Clock clock_;
    std::vector<Place> places_;
    std::map<SequenceId, std::unique_ptr<Sequence>> sequences_;  // in the order of their arrival
    SequenceId next_ = 0;
    uint64_t time_ = 0;
    Carried carried_;
    PassCosts costs_;            // of passes of running answers
    std::vector<int32_t> said_;  // by the last answers that ended, for others to be guessed from
};

}  // namespace llmsql
