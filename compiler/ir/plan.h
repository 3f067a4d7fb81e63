// SPDX-License-Identifier: MIT
// Plan: the SQL program before it is text: statements over stored tensors, and where those lie.
//
// Made by compiler/fuse (what each statement computes), completed by compiler/memory (strides and
// offsets), checked by its verifier, printed by compiler/emit. Plain values, no invariants of their
// own beyond what is said here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/kv_layout.h"
#include "common/types.h"
#include "operators/operators.h"

namespace llmsql::compiler {

/// What one token's row looks like: `heads` times `width` elements.
struct RowShape {
    int64_t heads = 1;
    int64_t width = 0;
    int64_t elements() const { return heads * width; }
    bool operator==(const RowShape&) const = default;
};

/// What a statement evaluates: calls of operators over stored tensors, parameters and numbers.
struct PlanExpr {
    enum class Kind : uint8_t { call, tensor, param, state, number, absent };

    Kind kind = Kind::number;
    const Operator* op = nullptr;  // call
    /// The operator's arguments in its signature's order. What every call of an operator has in
    /// common is left out (is_supplied in operators/operators.h): embed's tokens, attention's k and
    /// v (the statement's cache) and llm_rows' first and rows.
    std::vector<PlanExpr> args;
    int id = 0;    // tensor: an id of Plan::tensor(); param: a catalogue id; state: its number
    int last = 0;  // param: the last id of a range under llm_concat or of a table, else equal to id
    double number = 0;

    static PlanExpr call(const Operator* op, std::vector<PlanExpr> args);
    static PlanExpr tensor(int id);
    static PlanExpr param(int first, int last);
    static PlanExpr state(int id);
    static PlanExpr constant(double number);
    static PlanExpr absent();  // an optional parameter in front of other arguments

    bool is_call() const { return kind == Kind::call; }
    bool calls(Locality locality) const { return is_call() && op->locality == locality; }
    bool wraps(Wrap wrap) const { return is_call() && op->wrap == wrap; }
    /// A call that multiplies by all of its matrix, or by those of a table that tokens choose.
    bool scans() const { return is_call() && op->weight == WeightUse::scanned; }
    /// Of a call that goes on from a state: which; -1 for any other.
    int state_id() const;
    bool chooses() const { return calls(Locality::choice); }

    /// Of a call: what it is given for a parameter of the signature; null where it is not.
    const PlanExpr* argument(std::string_view parameter) const;
    /// Of a call: its first parameter of the catalogue, which must be there.
    const PlanExpr& weight() const;
};

/// One INSERT: into a tensor, or of keys and values into a cache.
struct PlanInsert {
    int target = 0;   // the tensor that is written; 0 for an append to a cache
    PlanExpr data;    // what is written, or the keys
    PlanExpr values;  // of an append: the values beside the keys; absent where they are in those
    int cache = -1;   // the cache that is appended to, or that attention reads
    int layer = -1;   // of the graph file's block, for the reader of the plan

    bool appends() const { return target == 0; }
};

/// A stored tensor, or a view: columns of a stored tensor under a shape of its own.
struct PlanTensor {
    std::string name;  // the graph file's variable, or what made it
    TensorType type = TensorType::f32;
    int64_t rows = 0;  // the most tokens it holds
    RowShape shape;
    int64_t choices = 1;       // rows a token, counted in `rows`: see linear_each
    int view_of = 0;           // 0, or the id of the stored tensor that it views
    int64_t first_column = 0;  // of a view, in elements
    int64_t stride = 0;        // bytes from one row to the next, set by compiler/memory
    int64_t offset = 0;        // bytes into the arena, set by compiler/memory

    /// Bytes of one row that a write touches: an f32 row is not padded, for it may be a slice.
    int64_t row_bytes() const;
};

/// What a sequence carries from token to token: `heads` matrices of `rows` by `width` f32.
struct PlanRecurrent {
    std::string name;  // "layer.3.conv"
    int64_t heads = 1;
    int64_t rows = 1;
    int64_t width = 0;
    int64_t inputs = 0;  // floats of a token that its scan reads, beside parameters
    int64_t bytes() const { return heads * rows * width * 4; }
};

/// One key-value cache: what one attention of the graph looks back on.
struct PlanCache {
    int64_t heads = 0;
    int64_t width = 0;
    int64_t window = 0;   // 0: the whole context
    bool shared = false;  // values are the first elements of keys: keys alone are kept
};

/// Tiles first … last of a parameter: held in memory, or read each time they are scanned.
struct PlanTiles {
    int param = 0;  // catalogue id
    int64_t first = 0, last = 0;
    bool held = false;
    bool chosen = false;  // of a table's matrix: only the passes that choose it read it
};

/// What a plan with a memory budget says of its weights. Made by compiler/memory.
struct PlanResidency {
    int64_t budget = 0;       // the most bytes of memory that the whole process takes
    int workers = 0;          // the most threads that compute
    int64_t windows = 0;      // bytes for windows or a ring; 0: not enough is left for them
    int64_t pool = 0;         // bytes of all held tiles, vectors among them
    int64_t read_bytes = 0;   // of matrices, by a steady pass of one token: forward and logits
    int64_t lower_bound = 0;  // no way of holding as much reads less
    /// Tables are read as tokens choose: then read_bytes and lower_bound are what is expected if
    /// every choice is as likely as any, and this is the most that a pass can read.
    std::optional<int64_t> most_bytes;
    std::vector<PlanTiles> tiles;  // every tile of every parameter once; see plan_residency
};

struct Plan {
    std::vector<PlanTensor> tensors;  // id = index + 1
    std::vector<PlanInsert> forward;
    std::vector<PlanInsert> logits;     // reads tensors of `forward` through llm_rows only
    std::vector<PlanCache> caches;      // as many as there are appends
    std::vector<PlanRecurrent> states;  // each goes on in one statement of `forward`
    KvType kv = KvType::f16;            // how all caches are stored
    int64_t sequences = 1;              // that they have room for
    int64_t drafts = 0;                 // most guessed tokens of a sequence in a pass
    int64_t snapshots = 0;              // of recurrent states, that there is room for
    int output = 0;                     // the tensor of logits, written by the section of that name
    int64_t context = 0;
    int64_t chunk = 0;                       // rows of the tensors of `forward`
    int64_t logits_rows = 0;                 // rows of the tensors of `logits`
    int64_t chat_template = 0;               // bytes of a chat section that llm_render runs
    bool holds_vocabulary = false;           // the tokenizer keeps its pieces in memory
    int64_t arena_bytes = 0;                 // set by compiler/memory
    int64_t draft_bytes = 0;                 // of memory, that it takes more than without drafts,
    int64_t draft_read_bytes = 0;            // and of weights that a pass then reads more
    std::optional<PlanResidency> residency;  // without: all weights are held

    /// Of a call that chooses: how many matrices of its table a token uses at most.
    int64_t used_by(const PlanExpr& choice) const;

    /// What a snapshot of all its recurrent states takes, in whole pages.
    int64_t snapshot_bytes() const;

    PlanTensor& tensor(int id) { return tensors[static_cast<size_t>(id - 1)]; }
    const PlanTensor& tensor(int id) const { return tensors[static_cast<size_t>(id - 1)]; }
};

/// The text form: tensors, caches and statements as the fuser makes them; places and tiles too,
/// once compiler/memory has given them. Unlike plan.sql it is for tests, and may change:
///
///   t3 q, k, v: f32[4, 128]  stride 512 offset 0
///   t5 = attention(t4, 0.25, 0.0)  cache 0  layer 0
std::string to_text(const Plan& plan, const std::vector<struct Param>& params);

}  // namespace llmsql::compiler
