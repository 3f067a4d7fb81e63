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
// position itself, that of a snapshot before it, or 0.
//
// A snapshot is what all states of a sequence were at a position: a pass leaves one where keep()
// has said so, while it computes, at any of its rows. There is room for a number of them, which
// sequences share. go_to() makes of a snapshot the state again; what is behind is another text's
// once a pass has begun there:
//
//     keep(0, 0, 5, …)     the pass that begins now is to leave a snapshot at position 5
//     begin(0, 3, 0, 7)    the scan leaves in snapshot_room(0, 3) what it is after 5 rows
//     commit()             at position 7; rewind(0, 6) says 5
//     go_to(0, 5)
//     begin(0, 3, 5, 1)    goes on from there
//
// But for a pass that is announced by may_cut(), as the end of its rows are guesses: what the state
// was before it has a place of its own, and so has what its scan reads of each row. Then go_back()
// makes the state what it was, and the scan is made again of as many rows as count:
//
//     may_cut(0, 4)        the pass that begins now has 4 rows of sequence 0
//     begin(0, 3, 7, 4)    the scan leaves in cut_room(0, 3) what it begins with, and reads
//     commit()             at position 11; can_cut(0, p) for p from 7 to 11
//     go_back(0)           at position 7, as before the pass
//     begin(0, 3, 7, 2)    … and the scan again, of its first two rows
//     commit()             at position 9
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
    int64_t inputs = 0;  // floats of a token that its scan reads; 0 where no pass may be cut
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

/// Where a scan leaves the state after so many rows of the pass, for a snapshot; null: nowhere.
struct SnapshotRoom {
    float* state = nullptr;
    int64_t rows = 0;
};

/// Where a scan leaves what making it again takes; null: nowhere.
struct CutRoom {
    float* state = nullptr;   // as the state, whose data the scan begins with
    float* inputs = nullptr;  // f32[rows of the pass][inputs]
};

/// Not thread-safe, but that several threads may write one state's data.
class RecurrentStates {
  public:
    /// Of sequences numbered 0 … sequences - 1. Of a pass that may be cut, so many rows may go.
    explicit RecurrentStates(int64_t sequences, int64_t drafts = 0, int64_t snapshots = 0)
        : count_(sequences), drafts_(drafts), most_snapshots_(snapshots) {}

    int64_t sequences() const { return count_; }
    int64_t drafts() const { return drafts_; }
    int64_t most_snapshots() const { return most_snapshots_; }

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

    /// Before a pass that begins at `position`: makes the states of a sequence those of a snapshot
    /// there, if they are another position's.
    void go_to(int64_t sequence, int64_t position);

    /// The rows at `position` … are about to be computed and overwrite the state. Fails where it is
    /// neither that at `position`, nor `position` the first; or has been begun already. Snapshots
    /// behind `position` go.
    void begin(int64_t sequence, int64_t id, int64_t position, int64_t rows);
    /// What was begun has been computed.
    void commit();
    /// What was begun has not. No pass can be cut any more.
    void abandon();

    /// The pass that begins has so many rows of a sequence, and may be cut there. Fails where there
    /// is no room for that.
    void may_cut(int64_t sequence, int64_t rows);
    /// Of a state that has been begun.
    CutRoom cut_room(int64_t sequence, int64_t id) const;
    /// Whether the last pass may be cut in a sequence so that its states are those at `position`:
    /// between where it began and where it ended.
    bool can_cut(int64_t sequence, int64_t position) const;
    /// Makes the states of a sequence, for which can_cut() is true, what they were before the pass,
    /// and returns at which position that is. Once: the pass cannot be cut again.
    int64_t go_back(int64_t sequence);

    /// The pass that begins at position `first` of a sequence, once go_to() has gone there in all
    /// of the pass's, is to leave a snapshot at `position`, between that and where it ends; of a
    /// pass that may be cut, at its beginning. Where all room is taken another one goes, that which
    /// is missed least. `question`: it is where what is asked ends, which stays as long as it is
    /// the last of its sequence. Nothing where there is no room.
    void keep(int64_t sequence, int64_t first, int64_t position, bool question);
    /// Of a state that has been begun, at `position`.
    SnapshotRoom snapshot_room(int64_t sequence, int64_t id, int64_t position);
    /// The last snapshot of a sequence that is not behind `position`; 0: there is none.
    int64_t last_snapshot(int64_t sequence, int64_t position) const;
    /// The position of the snapshot of a sequence's last question; 0: there is none.
    int64_t question(int64_t sequence) const;

    /// Largest p <= position from which a pass may go on in all states: position itself, that of a
    /// snapshot, or 0.
    int64_t rewind(int64_t sequence, int64_t position) const;

    /// What a state was or is at `position`, which rewind() has given; else fails.
    std::span<const std::byte> at(int64_t sequence, int64_t id, int64_t position) const;

    /// Makes sequence `to` what `from` is, or was, at a position that rewind() has given for it.
    void copy(int64_t from, int64_t to, int64_t position);

    /// Makes a sequence's states, one after the other, those at `position`; of as many bytes as
    /// bytes_per_sequence(). Nothing of it holds before all have been restored.
    void restore(int64_t sequence, int64_t id, int64_t position, std::span<const std::byte> bytes);

    /// How often begin() has been called.
    uint64_t writes() const { return writes_; }
    /// Forgets the states that have been begun since writes() was that.
    void forget_since(uint64_t writes);

    int64_t bytes_per_sequence() const;  // of the states, as of a snapshot
    int64_t bytes() const;

  private:
    struct Held {
        AnonymousMemory memory;
        int64_t position = 0;            // -1: not known
        int64_t next = -1;               // once what was begun is computed; -1: nothing was
        uint64_t written = 0;            // writes() when it was begun last
        AnonymousMemory before, inputs;  // what cut_room() has; none before they are wanted
        int64_t cut_from = -1;           // the position of `before`; -1: it has none
    };
    // Of all states of a sequence, one after the other.
    struct Snapshot {
        AnonymousMemory memory;
        int64_t sequence = 0, position = 0;  // at position 0: free
        bool coming = false;                 // the pass under way leaves it
        bool question = false;
    };
    Held& held(int64_t sequence, int64_t id);
    const Held* find(int64_t sequence, int64_t id) const;
    void require(int64_t sequence, int64_t id) const;
    int64_t input_bytes(const RecurrentShape& shape) const;
    bool is_cuttable(int64_t sequence) const;
    const Snapshot* find_snapshot(int64_t sequence, int64_t position) const;
    Snapshot* room_for_snapshot(bool question);
    double loss(const Snapshot& snapshot) const;
    void drop_snapshots(int64_t sequence, int64_t behind);
    std::span<std::byte> part(const Snapshot& snapshot, int64_t id) const;

    int64_t count_, drafts_, most_snapshots_;
    std::vector<RecurrentShape> shapes_;
    std::map<int64_t, std::vector<Held>> sequences_;
    std::vector<std::map<int64_t, std::vector<Held>>> taken_back_;
    std::vector<std::pair<int64_t, int64_t>> begun_;  // sequence, id
    std::vector<int64_t> cuttable_;                   // sequences whose last pass may be cut
    std::vector<Snapshot> snapshots_;                 // as many as there has been use for
    uint64_t writes_ = 0;
};

}  // namespace llmsql
