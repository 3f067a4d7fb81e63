// SPDX-License-Identifier: MIT
// Outline: what a plan says of itself, read from its text alone: the catalogue, the places of
// tensors, which tiles are held, and of each statement what it reads and writes.
//
// For people who look at a plan or at a run of it (docs/seeing.md). Nothing runs by it: what a
// statement does is decided by SQLite, and of a statement that is not written as llmsqlc writes
// them the outline says less.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/catalogue.h"
#include "plan/plan_file.h"

namespace llmsql {

/// A row of `tensor`.
struct OutlineTensor {
    int64_t id = 0;
    std::string name, type;
    int64_t rows = 0, heads = 0, width = 0, stride = 0, offset = 0, choices = 1;
    std::optional<int64_t> slice_of = {};
    /// The tensor's life: from the step that writes it to the last that reads it, or a slice of it.
    /// What `logits` reads of `forward` lives to the end. 0 where no step writes it.
    int first_step = 0, last_step = 0;

    /// Bytes of the arena from its first to its last.
    int64_t span() const;
};

/// A row of `residency`.
struct OutlineTiles {
    int param = 0;
    int64_t first = 0, last = 0;
    bool held = true;
};

/// Parameters first … last (ids), as a statement joins them.
struct OutlineWeights {
    int first = 0, last = 0;
    bool chosen = false;  // a table of matrices: of which a token uses those that it chooses
    bool picked = false;  // rows of it, as llm_embed does
};

struct OutlineLayer {
    int64_t heads = 0, width = 0, window = 0;
    bool shared = false;  // values are the first elements of keys
};

/// A statement of `forward` or `logits`.
struct OutlineStep {
    int number = 0;  // from 1, through both sections
    std::string section;
    int line = 0;
    int layer = -1;       // -1: before or after the layers
    std::string formula;  // the comment above it: "h = rms_norm(x, attn_norm)  q8[T, 576]"
    std::string sql;
    /// How people call it: "layer.3.h" after what it writes, "layer.3.h#2" for the second of that
    /// name, "layer.3.cache" for keys and values.
    std::string name;
    std::string operation;               // what takes its time: "linear", "attention", "cache", …
    std::vector<std::string> operators;  // SQL functions, in the order of the text
    std::optional<int64_t> writes;       // a tensor
    std::optional<int64_t> stores, looks_back;  // layers of the cache that it appends to, or reads
    std::vector<int64_t> reads;                 // tensors
    std::vector<OutlineWeights> weights;
    bool understood = true;  // false: `reads` and `weights` may lack something
};

struct Outline {
    std::vector<std::string> header;  // the first lines, without dashes
    std::string model, catalogue;
    int64_t context = 0, chunk = 0, logits_rows = 0, arena_bytes = 0;
    std::string kv_type;
    std::vector<ParamEntry> params;  // id = index + 1
    std::vector<OutlineTensor> tensors;
    std::vector<OutlineLayer> layers;  // of the cache
    struct Budget {
        int64_t bytes = 0, pool = 0, windows = 0, workers = 0;
        TileCut cut = TileCut::format_1;  // of the tiles that rows number
    };
    std::optional<Budget> budget;
    std::vector<OutlineTiles> tiles;  // with a budget: in the order of a pass
    std::vector<OutlineStep> steps;   // number = index + 1

    // What is asked of ranges of parameters again and again. Of each parameter, as `params`.
    struct Sums {
        int64_t held = 0;             // bytes
        int64_t before = 0;           // bytes of all matrices before it
        int64_t streamed_before = 0;  // and those of them that are not held
        int end_of_table = 0;
    };
    std::vector<Sums> sums;                   // and one more, behind the last
    std::map<int64_t, size_t> tensor_places;  // of each id, in `tensors`

    const OutlineTensor* tensor(int64_t id) const;
    const ParamEntry& param(int id) const { return params[static_cast<size_t>(id - 1)]; }
    TileCut cut() const { return budget ? budget->cut : TileCut::format_1; }
    int64_t held_bytes(int id) const { return sums[static_cast<size_t>(id - 1)].held; }
    /// The last parameter of the table of matrices that `id` is of; `id` itself, if of none.
    int end_of_table(int id) const { return sums[static_cast<size_t>(id - 1)].end_of_table; }

    /// "linear ffn_gate, ffn_up": steps that do the same in each layer are called the same.
    std::string kind(const OutlineStep& step) const;
    /// Bytes of the weights that it multiplies by: of tables all matrices, of embeddings none.
    int64_t weight_bytes(const OutlineStep& step) const;
    /// Of them, those that are not held: read anew each time.
    int64_t streamed_bytes(const OutlineStep& step) const;
};

/// Fails where init's rows cannot be made out, naming the line: they must be numbers and texts, no
/// expressions, and within what a plan may declare. SQLite has not looked at any of it yet.
Outline outline_of(const PlanFile& plan);

/// "f32[T, 9, 64]": `rows` is what to call the first dimension.
std::string shape_of(const OutlineTensor& tensor, const std::string& rows);

}  // namespace llmsql
