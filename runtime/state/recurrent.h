// SPDX-License-Identifier: MIT
// RecurrentStates: what sequences carry from token to token, of fixed shape, for models that have
// such a state beside or instead of keys and values.
//
// HOW IT WORKS. A state is f32[heads][rows][width], zeros before a sequence's first token. A pass
// of rows at `position` asks for it by begin(), and overwrites it while it computes; when the whole
// pass has been computed, commit() says so: only then does the state count as that after the pass.
// A pass that fails leaves what it had begun as good for nothing, and the sequence begins anew.
//
//     begin(0, 3, 0, 7)    zeros, to be overwritten by positions 0 … 6
//     commit()             state 3 of sequence 0 is now that at position 7
//     begin(0, 3, 7, 1)    goes on
//     begin(0, 3, 5, 1)    fails: a state does not go back. rewind(0, 5) has said 0
//
// Keys and values can be cut at any position; a state is at one alone. So rewind() gives the
// position itself or 0.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "runtime/weights/anonymous_memory.h"

namespace llmsql {

/// A row of the `state` table as the plan declares it.
struct RecurrentShape {
    std::string name;
    int64_t heads = 0, rows = 0, width = 0;
    int64_t elements() const { return heads * rows * width; }
    int64_t bytes() const { return elements() * static_cast<int64_t>(sizeof(float)); }
};

/// A state of a sequence as operators receive it.
struct RecurrentState {
    int64_t sequence = 0, id = 0;
    int64_t heads = 0, rows = 0, width = 0;
    float* data = nullptr;  // f32[heads][rows][width]; valid as long as the states live
    int64_t elements() const { return heads * rows * width; }
};

/// Not thread-safe, but that several threads may write one state's data.
class RecurrentStates {
  public:
    /// Of sequences numbered 0 … sequences - 1.
    explicit RecurrentStates(int64_t sequences) : count_(sequences) {}

    int64_t sequences() const { return count_; }

    /// States are declared in order, before anything is computed.
    void declare(int64_t id, RecurrentShape shape);
    const std::vector<RecurrentShape>& shapes() const { return shapes_; }
    /// Takes back all but the first `count`, and with them what is held. What was given out may be
    /// read as long as the states live.
    void undeclare(size_t count);

    /// As it is now.
    RecurrentState state(int64_t sequence, int64_t id);
    /// After how many tokens that is; -1: nothing can be said, a pass has failed.
    int64_t position(int64_t sequence, int64_t id) const;

    /// The rows at `position` … are about to be computed and overwrite the state. Fails where it is
    /// neither that at `position`, nor `position` the first; or has been begun already.
    void begin(int64_t sequence, int64_t id, int64_t position, int64_t rows);
    /// What was begun has been computed.
    void commit();
    /// What was begun has not.
    void abandon();

    /// Largest p <= position from which a pass may go on in all states: position itself, or 0.
    int64_t rewind(int64_t sequence, int64_t position) const;

    /// Makes sequence `to` what `from` is, at the same position.
    void copy(int64_t from, int64_t to);

    /// Makes a sequence's states, one after the other, those at `position`; of as many bytes as
    /// bytes_per_sequence(). Nothing of it holds before all have been restored.
    void restore(int64_t sequence, int64_t id, int64_t position, std::span<const std::byte> bytes);

    /// How often begin() has been called.
    uint64_t writes() const { return writes_; }
    /// Forgets the states that have been begun since writes() was that.
    void forget_since(uint64_t writes);

    int64_t bytes_per_sequence() const;
    int64_t bytes() const;

  private:
    struct Held {
        AnonymousMemory memory;
        int64_t position = 0;  // -1: not known
        int64_t next = -1;     // once what was begun is computed; -1: nothing was
        uint64_t written = 0;  // writes() when it was begun last
    };
    Held& held(int64_t sequence, int64_t id);
    const Held* find(int64_t sequence, int64_t id) const;
    void require(int64_t sequence, int64_t id) const;

    int64_t count_;
    std::vector<RecurrentShape> shapes_;
    std::map<int64_t, std::vector<Held>> sequences_;
    std::vector<std::map<int64_t, std::vector<Held>>> taken_back_;
    std::vector<std::pair<int64_t, int64_t>> begun_;  // sequence, id
    uint64_t writes_ = 0;
};

}  // namespace llmsql
