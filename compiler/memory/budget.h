// SPDX-License-Identifier: MIT
// The whole process's memory, part by part, and the plan that spends a budget best.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compiler/fuse/fuse.h"
#include "compiler/ir/model.h"
#include "compiler/ir/op_graph.h"
#include "compiler/ir/plan.h"

namespace llmsql::compiler {

/// How many threads a plan with a budget allows, unless told otherwise: each costs some hundred
/// kilobytes that would else hold weights.
inline constexpr int kDefaultWorkers = 2;

struct MemoryPart {
    std::string name;
    int64_t bytes = 0;
};

/// Bytes of the key-value cache when the context is full.
int64_t cache_bytes(const Plan& plan);

/// For Plan::chat_template: the bytes of a chat section that has a template run by llm_render, else
/// 0.
int64_t chat_template_bytes(const Model& model);

/// Whether its tokenizer keeps the pieces in memory (Unigram and WordPiece).
bool holds_vocabulary(const Model& model);

/// Bytes of the recurrent states of all sequences.
int64_t state_bytes(const Plan& plan);

/// Bytes for taking drafts back, in all sequences: of the states before a pass, and of what its
/// rows give to their scans.
int64_t state_before_bytes(const Plan& plan);
int64_t scan_input_bytes(const Plan& plan);

/// Everything but the weights that are held: what llmsql-run takes at its peak, with `workers`
/// threads, the context full, whatever the prompt. docs/memory.md says how each part is counted.
std::vector<MemoryPart> fixed_parts(const Plan& plan, const std::vector<Param>& params,
                                    int workers);

/// The fixed parts and, last, the weights that are held: all, or as many as the plan's residency
/// says.
std::vector<MemoryPart> memory_parts(const Plan& plan, const std::vector<Param>& params,
                                     int workers);

/// What of `capacity`, the bytes left for matrices, goes to reading them: what windows of a mapping
/// need, or else a quarter, but no less than reading past the page cache does. Neither is more than
/// half, or adds more than a tenth to what a pass reads; nothing where that leaves too little.
int64_t windows_within(const Plan& plan, const std::vector<Param>& params, int64_t capacity,
                       int workers);

int64_t sum_of(const std::vector<MemoryPart>& parts);

/// What the schedule of a plan with a residency was offered for matrices, to the byte: what it
/// holds of them and what it left, which is less than a tile in any case of interest.
int64_t matrix_capacity(const Plan& plan, const std::vector<Param>& params);

struct MemoryBudget {
    int64_t bytes = 0;
    int workers = kDefaultWorkers;
    // Sizes that the user asked for stay; the others are chosen.
    bool keep_chunk = false;
    bool keep_logits_rows = false;
};

/// One chunk length that was considered.
struct ChunkChoice {
    int64_t chunk = 0;
    int64_t logits_rows = 0;
    int64_t fixed_bytes = 0;     // all parts but the held weights
    std::optional<double> cost;  // absent where it does not fit; see choose_sizes
};

/// The sizes that spend the budget best; `considered`, if given, gets all that were looked at.
///
/// A chunk is a power of two up to 64. The cost is that of reading a prompt of 512 tokens (or as
/// many as the context holds) and decoding 128, in bytes: each byte of weights that a pass streams
/// counts 1, each that is held 1/2, about what they take in time. At equal cost the longer chunk
/// wins. The logits rows are the most, up to those of `sizes`, that cost no byte more than one row.
/// Fails if the budget is too small, naming the smallest that works and what dominates it.
PlanSizes choose_sizes(const Model& model, const OpGraph& graph, const PlanSizes& sizes,
                       const MemoryBudget& budget, std::vector<ChunkChoice>* considered = nullptr);

}  // namespace llmsql::compiler
