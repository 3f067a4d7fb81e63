// SPDX-License-Identifier: MIT
// Arena: the activations of a pass, each tensor at the place that the plan gave it.
//
// HOW IT WORKS. Places overlap, as the plan reuses bytes: so the arena keeps account of what lies
// there now. A pass calls begin_pass(), after which no tensor holds anything; a statement that
// stores `rows` tokens of tensor 7 calls note_written(7, rows), which makes 7 and the slices of it
// hold as many and makes every other tensor that shares a byte with it hold nothing; a statement
// that reads 7 asks rows_held(7), which fails if a statement was dropped, moved, or writes over
// what is still to be read. So an edited plan gets an error, never another tensor's numbers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/types.h"
#include "runtime/state/strided.h"
#include "runtime/weights/anonymous_memory.h"

namespace llmsql {

/// A row of the `tensor` table.
struct TensorPlace {
    int64_t id = 0;
    std::string name;
    TensorType type = TensorType::f32;
    int64_t rows = 0;     // the most it can hold: one per token, or one per choice of a token
    int64_t choices = 1;  // rows a token
    int64_t heads = 0;    // elements a token: heads * width
    int64_t width = 0;
    int64_t stride = 0;               // bytes from one token to the next
    int64_t offset = 0;               // bytes into the arena
    std::optional<int64_t> slice_of;  // the tensor whose columns these are, written with it

    int64_t elements() const { return heads * width; }
    int64_t tokens() const { return rows / choices; }  // that it can hold
    /// Bytes of one token's elements.
    int64_t row_bytes() const;
    /// What it takes of the arena with all of its rows.
    Strided bytes() const { return {offset, rows, row_bytes(), stride}; }
    /// Bytes from the first token's first to the last token's last.
    int64_t span() const { return (rows - 1) * stride + row_bytes(); }
};

/// Not thread-safe, but that several threads may write one tensor's data. Data are aligned to 64
/// bytes where offsets are; pointers are valid as long as the arena lives.
class Arena {
  public:
    explicit Arena(int64_t bytes);

    int64_t bytes() const { return static_cast<int64_t>(memory_.size()); }

    /// Adds a tensor; fails on a used id or a place that does not fit or is not aligned.
    void declare(TensorPlace place);

    /// Takes back all but the first `count` tensors declared. What refers to one may go on doing so
    /// as long as the arena lives.
    void undeclare(size_t count);

    const std::map<int64_t, TensorPlace>& places() const { return places_; }
    const TensorPlace& place(int64_t id) const;  // fails on an unknown id
    const TensorPlace* find(int64_t id) const;   // null where there is none
    std::byte* data(const TensorPlace& place) const { return memory_.data() + place.offset; }

    /// Tokens that the tensor holds now. Fails if this pass has not written it, or its place has
    /// since been written as another tensor.
    int64_t rows_held(int64_t id) const;

    /// Notes that `id` now holds `rows` tokens. Its slices hold as many; whatever else shares bytes
    /// with it holds nothing any more.
    void note_written(int64_t id, int64_t rows);

    /// Every tensor has all its rows, whatever is in them, until a pass begins: for a query that is
    /// asked for the shape of its result alone.
    void show_shapes();

    /// Forgets what every tensor holds: a new pass begins.
    void begin_pass();

    /// What the pass has written so far is to stay: its logits may be wanted again.
    void begin_logits() {
        in_logits_ = true;
        passed_over_ = 0;
    }

    /// Fails if writing tensor `id` would change what begin_logits() said is to stay.
    void require_writable(int64_t id) const;

    /// How often note_written() has been called.
    uint64_t writes() const { return writes_; }
    /// Forgets what has been written since writes() was that.
    void forget_since(uint64_t writes);

  private:
    void forget(int64_t id);
    void hold(const TensorPlace& place, int64_t rows);

    AnonymousMemory memory_;
    std::map<int64_t, TensorPlace> places_;
    std::vector<int64_t> order_;  // ids, as they were declared
    std::vector<std::map<int64_t, TensorPlace>::node_type> taken_back_;
    // By id: a lookup touches one place in memory, however many tensors there are.
    struct Known {
        const TensorPlace* place = nullptr;
        std::vector<const TensorPlace*> slices;
        int64_t rows = -1;        // held now; -1: nothing
        bool of_forward = false;  // written by this pass before its logits
        uint64_t written = 0;     // writes() when that was
    };
    std::vector<Known> known_;
    // Tensors that hold something, as (offset, id), by how long they are (the bits of their span):
    // those that overlap a place begin in it, or at most their own length before it.
    std::array<std::set<std::pair<int64_t, int64_t>>, 48> held_;
    uint64_t writes_ = 0;
    bool in_logits_ = false;
    int64_t passed_over_ = 0;  // looked at by note_written() and left, since the pass began
};

}  // namespace llmsql
