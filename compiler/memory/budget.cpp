// SPDX-License-Identifier: MIT
// Counting memory, and choosing sizes within a budget. See budget.h and docs/memory.md.
#include "compiler/memory/budget.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "common/byte_size.h"
#include "common/error.h"
#include "common/process_memory.h"
#include "compiler/memory/arena.h"
#include "compiler/memory/residency.h"

namespace llmsql::compiler {
namespace {

// What a plan's parts take in the runtime; common/process_memory.h has what does not depend on
// them, and how it was measured.
constexpr int64_t kKiB = 1024;
constexpr int64_t kStatement = 4 * kKiB;  // prepared, with its text
constexpr int64_t kTableRow = 256;        // of param, tensor, residency and kv_layer, with its text
/// Special tokens are held to be searched for. There may be some thousand of them, in Gemma 3 six
/// of 262; the compiler knows the vocabulary's size alone.
constexpr int64_t kTokenizer = 256 * kKiB;
constexpr int64_t kTokenizerPerToken = 2;
constexpr int64_t kHeldPiece = 40;  // 24 and its text, of Unigram and WordPiece
/// A prompt as text and as ids, while it is tokenised.
constexpr int64_t kPromptToken = 64;
/// A chat template as characters, words and a tree, for each of its bytes; and a prompt's token in
/// it: as JSON three times, as characters of 32 bits in a message and twice in what is made.
constexpr int64_t kTemplateByte = 96, kRenderedToken = 72;
constexpr int64_t kCandidate = 16;     // of the sampler: logit, id, probability
constexpr int64_t kStripChecksum = 9;  // XXH3-64, and whether it has been verified
constexpr int64_t kTileEntry = 40;     // where a tile lies
constexpr int64_t kPage = 4 * kKiB;    // of memory: what is held of a parameter is mapped apart
/// Columns of a matrix that a worker computes at a time (runtime/compute/evaluate.cpp).
constexpr int64_t kMatrixPiece = 128;
/// Rows and heads that it attends for at a time, at most (there, and attention.cpp).
constexpr int64_t kHeavyRows = 8, kMostHeads = 16;
/// Tables of cosines and sines that are kept, and one being made (runtime/compute/rope_tables.h).
constexpr int64_t kRopeTables = 5;
constexpr int64_t kGathered = 64;  // of a row that is gathered: its number, its share, its part
constexpr int64_t kCacheBlockEntry = 128;  // of a cache block that attention looks at

// What choose_sizes counts.
constexpr int64_t kMostChunk = 64;
constexpr int64_t kPromptTokens = 512, kDecodedTokens = 128;
constexpr double kHeldCost = 0.5;

constexpr const char* kCacheName = "key-value cache";
constexpr const char* kStateName = "recurrent state";

int64_t whole_pages(int64_t bytes) {
    return (bytes + kPage - 1) / kPage * kPage;
}

int64_t calls_in(const PlanExpr& e) {
    int64_t calls = e.kind == PlanExpr::Kind::call ? 1 : 0;
    for (const PlanExpr& arg : e.args) calls += calls_in(arg);
    return calls;
}

/// Rows that a statement's choices gather side by side, each with what stands around it.
int64_t gathered_bytes(const Plan& plan) {
    int64_t most = 0;
    const std::function<void(const PlanExpr&, int64_t)> look = [&](const PlanExpr& e,
                                                                   int64_t rows) {
        if (e.chooses()) {
            const PlanTensor& x = plan.tensor(e.args[0].id);
            const int64_t row =
                static_cast<int64_t>(tensor_row_bytes(TensorType::f32, x.shape.elements()));
            most = std::max(most, rows * plan.used_by(e) * (row + kGathered));
        }
        for (const PlanExpr& arg : e.args) look(arg, rows);
    };
    for (const PlanInsert& s : plan.forward) look(s.data, plan.chunk);
    for (const PlanInsert& s : plan.logits) look(s.data, plan.logits_rows);
    return most;
}

bool has_scan(const PlanExpr& e) {
    return e.scans() || std::ranges::any_of(e.args, has_scan);
}

/// A worker's rows of scratch: one a level of nesting at most, each as long as the longest yet.
/// A scan of a matrix takes all tokens of a few columns, anything else a token's whole row.
int64_t scratch_bytes(const Plan& plan) {
    int64_t depth = 0, floats = 0;
    // What scans f32 values by a matrix of integers quantizes a head of each row first.
    const std::function<int64_t(const PlanExpr&)> quantized = [&](const PlanExpr& e) {
        int64_t most = 0;
        if (e.scans() && e.calls(Locality::matrix) && e.op->input == Input::f32)
            most = static_cast<int64_t>(
                       tensor_row_bytes(TensorType::q8, plan.tensor(e.args[0].id).shape.width)) /
                   static_cast<int64_t>(sizeof(float));
        for (const PlanExpr& arg : e.args) most = std::max(most, quantized(arg));
        return most;
    };
    const auto look = [&](const PlanExpr& e, int64_t rows, int64_t elements) {
        if (const int64_t own = quantized(e); own > 0) {
            depth = std::max(depth, calls_in(e) + 2);
            floats = std::max(floats, rows * own);
        }
        depth = std::max(depth, calls_in(e) + (e.chooses() ? 2 : 0));
        floats = std::max(floats, has_scan(e) ? rows * kMatrixPiece : elements);
    };
    for (const auto* section : {&plan.forward, &plan.logits})
        for (const PlanInsert& s : *section) {
            const int64_t rows = section == &plan.forward ? plan.chunk : plan.logits_rows;
            if (s.appends()) {
                const PlanCache& cache = plan.caches[static_cast<size_t>(s.cache)];
                look(s.data, rows, cache.heads * cache.width);
                look(s.values, rows, cache.heads * cache.width);
            } else {
                look(s.data, rows, plan.tensor(s.target).shape.elements());
            }
        }
    return depth * floats * static_cast<int64_t>(sizeof(float));
}

/// What a worker needs to attend to a cache whose values are in its keys: queries, values of some
/// heads, and a block of keys (runtime/compute/attention.cpp).
int64_t attention_bytes(const Plan& plan) {
    int64_t most = 0;
    for (const PlanCache& cache : plan.caches) {
        if (!cache.shared) continue;
        const int64_t rows = std::min(kHeavyRows, plan.chunk) * kMostHeads;
        most = std::max(most, 3 * rows * cache.width * static_cast<int64_t>(sizeof(float)) +
                                  kv_head_layout(plan.kv, cache.width).values);
    }
    return most;
}

int64_t rope_bytes(const Plan& plan) {
    int64_t width = 0;
    for (const PlanCache& cache : plan.caches) width = std::max(width, cache.width);
    return kRopeTables * plan.chunk * width * static_cast<int64_t>(sizeof(float));
}

/// The most that `bytes_of` says of a matrix, and the usual length of a tile at least.
template<class BytesOf>
size_t most_of_matrices(const std::vector<Param>& params, const BytesOf& bytes_of) {
    size_t bytes = kTileBytes;
    for (const Param& param : params)
        if (!param.shape.is_vector()) bytes = std::max(bytes, bytes_of(param));
    return bytes;
}

/// What a worker reads of a tile at a time.
size_t tile_buffer(const std::vector<Param>& params) {
    return most_of_matrices(
        params, [](const Param& param) { return strip_bytes(param.type, param.shape.cols); });
}

size_t longest_tile(const std::vector<Param>& params) {
    return most_of_matrices(
        params, [](const Param& param) { return tile_bytes(param.type, param.shape, 0); });
}

int64_t checksum_bytes(const std::vector<Param>& params) {
    int64_t bytes = 0;
    for (const Param& param : params) {
        const int64_t strips = param.shape.is_vector() ? 1 : strip_count(*param.shape.rows);
        bytes += strips * kStripChecksum + tile_count(param.type, param.shape) * kTileEntry;
    }
    return bytes;
}

int64_t all_weights(const std::vector<Param>& params) {
    int64_t bytes = 0;
    for (const Param& param : params)
        bytes += static_cast<int64_t>(param_bytes(param.type, param.shape));
    return bytes;
}

/// Bytes that a section's statements multiply by in a pass of so many tokens; of tables, what is
/// expected if every choice is as likely as any.
int64_t scanned_by(const Plan& plan, const std::vector<PlanInsert>& section,
                   const std::vector<Param>& params, int64_t tokens) {
    int64_t bytes = 0;
    const std::function<void(const PlanExpr&)> look = [&](const PlanExpr& e) {
        if (e.scans()) {
            const PlanExpr& weight = e.weight();
            int64_t all = 0;
            for (int id = weight.id; id <= weight.last; ++id) {
                const Param& param = params[static_cast<size_t>(id - 1)];
                all += static_cast<int64_t>(param_bytes(param.type, param.shape));
            }
            double share = 1;
            if (e.chooses()) {
                const double each = static_cast<double>(plan.used_by(e)) /
                                    static_cast<double>(weight.last - weight.id + 1);
                share = 1 - std::pow(1 - each, static_cast<double>(tokens));
            }
            bytes += static_cast<int64_t>(share * static_cast<double>(all));
        }
        for (const PlanExpr& arg : e.args) look(arg);
    };
    for (const PlanInsert& s : section) {
        look(s.data);
        if (s.appends()) look(s.values);
    }
    return bytes;
}

Plan arranged(const Model& model, const OpGraph& graph, const PlanSizes& sizes) {
    Plan plan = fuse(graph, model.params, sizes);
    plan.chat_template = chat_template_bytes(model);
    plan.holds_vocabulary = holds_vocabulary(model);
    plan_arena(plan);
    return plan;
}

/// The cost of the nominal work with `capacity` bytes for matrices; see choose_sizes in budget.h.
double cost_of(const Plan& plan, const std::vector<Param>& params, int64_t capacity) {
    const auto forward = static_cast<double>(scanned_by(plan, plan.forward, params, plan.chunk));
    const auto logits = static_cast<double>(scanned_by(plan, plan.logits, params, 1));
    const double all = static_cast<double>(scanned_by(plan, plan.forward, params, 1)) + logits;
    // However many tokens there are, no more than everything is scanned.
    constexpr int64_t kAnyTokens = int64_t{1} << 40;
    const auto stored = static_cast<double>(scanned_by(plan, plan.forward, params, kAnyTokens)) +
                        static_cast<double>(scanned_by(plan, plan.logits, params, kAnyTokens));
    const double held = stored > 0 ? std::min(1.0, static_cast<double>(capacity) / stored) : 1.0;
    const int64_t prompt = std::min(kPromptTokens, plan.context);
    const auto chunks = static_cast<double>((prompt + plan.chunk - 1) / plan.chunk);
    const double read = chunks * forward + logits + kDecodedTokens * all;
    return read * (1 - held + held * kHeldCost);
}

[[noreturn]] void refuse(const Model& model, const Plan& smallest, const MemoryBudget& budget) {
    std::vector<MemoryPart> parts = fixed_parts(smallest, model.params, budget.workers);
    parts.push_back({"norms and biases", vector_bytes(model.params)});
    const auto largest = std::ranges::max_element(parts, {}, &MemoryPart::bytes);
    const std::string enough = mib_text_up(sum_of(parts));
    std::string advice = fmt::format("give --budget \"{}\" or more", enough);
    if (largest->name == kCacheName) {
        if (smallest.kv == KvType::f16) advice += ", or --kv q8";
        if (smallest.sequences > 1) advice += ", or fewer --sequences";
        advice += ", or a smaller --context";
    }
    if (largest->name == kStateName && smallest.sequences > 1) advice += ", or fewer --sequences";
    if (budget.keep_chunk && smallest.chunk > 1) advice += ", or a smaller --chunk";
    if (smallest.drafts > 0) advice += ", or fewer --drafts";
    if (smallest.snapshots > 0) advice += ", or less for --snapshots";
    if (budget.keep_logits_rows && smallest.logits_rows > 1) advice += ", or fewer --logits-rows";
    fail(
        "a budget of {} is too small for {} at context {}: the smallest that works is {}, its "
        "largest part the {} of {}; {}",
        exact_bytes_text(budget.bytes), model.name, smallest.context, enough, largest->name,
        mib_text(largest->bytes), advice);
}

}  // namespace

int64_t cache_bytes(const Plan& plan) {
    int64_t bytes = 0;
    for (const PlanCache& cache : plan.caches)
        bytes += kv_blocks_kept(plan.context, plan.chunk, cache.window) * cache.heads *
                 kv_head_layout(plan.kv, cache.width, cache.shared).bytes * plan.sequences;
    return bytes;
}

int64_t chat_template_bytes(const Model& model) {
    const bool renders = model.chat.query.find("llm_render") != std::string::npos;
    return renders ? static_cast<int64_t>(model.chat.query.size()) : 0;
}

bool holds_vocabulary(const Model& model) {
    return model.tokenizer.kind == "unigram" || model.tokenizer.kind == "wordpiece";
}

int64_t state_bytes(const Plan& plan) {
    int64_t bytes = 0;
    for (const PlanRecurrent& state : plan.states) bytes += whole_pages(state.bytes());
    return bytes * plan.sequences;
}

int64_t state_before_bytes(const Plan& plan) {
    return plan.drafts > 0 ? state_bytes(plan) : 0;
}

int64_t scan_input_bytes(const Plan& plan) {
    if (plan.drafts == 0) return 0;
    int64_t bytes = 0;
    for (const PlanRecurrent& state : plan.states)
        bytes += whole_pages((plan.drafts + 1) * state.inputs * 4);
    return bytes * plan.sequences;
}

std::vector<MemoryPart> fixed_parts(const Plan& plan, const std::vector<Param>& params,
                                    int workers) {
    const auto count = [](const auto& list) { return static_cast<int64_t>(list.size()); };
    const int64_t vocabulary = plan.tensor(plan.output).shape.elements();
    const int64_t rows =
        3 * count(params) + count(plan.tensors) + count(plan.caches) + count(plan.states);
    const int64_t cache = cache_bytes(plan) + plan.sequences * count(plan.caches) * kPage +
                          kv_blocks(plan.context) * kCacheBlockEntry;
    const int64_t tile = whole_pages(static_cast<int64_t>(tile_buffer(params)));
    // Parsed anew for each prompt, and gone when it has been rendered.
    const int64_t chat = plan.chat_template > 0
                             ? plan.chat_template * kTemplateByte + plan.context * kRenderedToken
                             : 0;
    std::vector<MemoryPart> parts{
        {"code and libraries", kCodeBytes},
        {"SQLite and the heap", kHeapBytes + kPageCacheBytes},
        {"prepared plan",
         (count(plan.forward) + count(plan.logits)) * kStatement + rows * kTableRow},
        {"tokenizer and prompt",
         kTokenizer + vocabulary * (kTokenizerPerToken + (plan.holds_vocabulary ? kHeldPiece : 0)) +
             plan.context * kPromptToken + chat},
        {"activations",
         whole_pages(plan.arena_bytes) + rope_bytes(plan) + whole_pages(gathered_bytes(plan))},
        {kCacheName, cache},
        {"sampling", whole_pages(vocabulary * kCandidate)},
        {"checksums", checksum_bytes(params)},
        {"workers",
         kMainStackBytes + workers * (kWorkerBytes + tile + whole_pages(scratch_bytes(plan)) +
                                      whole_pages(attention_bytes(plan)))},
        {"page rounding", count(params) * kPage},
    };
    if (!plan.states.empty()) parts.push_back({kStateName, state_bytes(plan)});
    if (plan.snapshots > 0)
        parts.push_back({"snapshots of the state", plan.snapshots * plan.snapshot_bytes()});
    if (plan.drafts > 0) {
        parts.push_back({"drafts", plan.sequences * whole_pages(draft_text_bytes(plan.context))});
        if (!plan.states.empty()) {
            parts.push_back({"state before drafts", state_before_bytes(plan)});
            parts.push_back({"inputs of scans", scan_input_bytes(plan)});
        }
    }
    return parts;
}

std::vector<MemoryPart> memory_parts(const Plan& plan, const std::vector<Param>& params,
                                     int workers) {
    std::vector<MemoryPart> parts = fixed_parts(plan, params, workers);
    if (plan.residency) parts.push_back({"windows for reading", plan.residency->windows});
    parts.push_back({"held weights", plan.residency ? plan.residency->pool : all_weights(params)});
    return parts;
}

int64_t windows_within(const Plan& plan, const std::vector<Param>& params, int64_t capacity,
                       int workers) {
    const int64_t scanned =
        scanned_by(plan, plan.forward, params, 1) + scanned_by(plan, plan.logits, params, 1);
    const auto least = static_cast<int64_t>(ring_bytes(workers, longest_tile(params)));
    const int64_t mapped = std::max(least, static_cast<int64_t>(mapped_bytes(workers)));
    const int64_t most = std::min(capacity / 2, (scanned - capacity) / 10);
    if (mapped <= most) return mapped;  // with less the file can't be used where it is mapped
    const int64_t wanted = std::max(least, capacity / 4 / kPage * kPage);
    return wanted <= most ? wanted : least <= most ? least : 0;
}

int64_t sum_of(const std::vector<MemoryPart>& parts) {
    int64_t bytes = 0;
    for (const MemoryPart& part : parts) bytes += part.bytes;
    return bytes;
}

int64_t matrix_capacity(const Plan& plan, const std::vector<Param>& params) {
    const PlanResidency& residency = *plan.residency;
    const int64_t left = residency.budget - sum_of(memory_parts(plan, params, residency.workers));
    return residency.pool - vector_bytes(params) + std::max<int64_t>(0, left);
}

PlanSizes choose_sizes(const Model& model, const OpGraph& graph, const PlanSizes& sizes,
                       const MemoryBudget& budget, std::vector<ChunkChoice>* considered) {
    const auto fixed = [&](const Plan& plan) {
        return sum_of(fixed_parts(plan, model.params, budget.workers));
    };
    PlanSizes best = sizes;
    std::optional<double> least;
    std::optional<Plan> smallest;
    int64_t smallest_bytes = 0;
    int64_t chunk = budget.keep_chunk ? sizes.chunk : kMostChunk;
    while (chunk / 2 >= sizes.context) chunk /= 2;  // no pass is longer than the context
    // Sequences that are continued together take one row each; guesses of one, as many more.
    const int64_t together =
        std::min(std::max(sizes.sequences, sizes.drafts.value_or(0) + 1), sizes.logits_rows);
    for (; chunk >= 1; chunk /= 2) {
        PlanSizes tried = sizes;
        tried.chunk = chunk;
        if (!budget.keep_logits_rows) tried.logits_rows = together;
        Plan plan = arranged(model, graph, tried);
        const int64_t bytes = fixed(plan);
        // More rows of logits, where they lie in memory that a pass takes anyway.
        if (!budget.keep_logits_rows)
            for (int64_t rows = 2 * together; rows <= sizes.logits_rows; rows *= 2) {
                PlanSizes more = tried;
                more.logits_rows = rows;
                Plan larger = arranged(model, graph, more);
                if (larger.logits_rows < rows || fixed(larger) > bytes) break;
                tried = more;
                plan = std::move(larger);
            }
        ChunkChoice choice{plan.chunk, plan.logits_rows, bytes, std::nullopt};
        const int64_t capacity = budget.bytes - bytes - vector_bytes(model.params);
        if (capacity >= 0) {
            choice.cost = cost_of(plan, model.params, capacity);
            if (!least || *choice.cost < *least) {
                least = choice.cost;
                best = tried;
            }
        }
        if (considered) considered->push_back(choice);
        if (!smallest || bytes < smallest_bytes) {
            smallest_bytes = bytes;
            smallest = std::move(plan);
        }
        if (budget.keep_chunk || chunk / 2 < together) break;
    }
    if (!least) refuse(model, *smallest, budget);
    return best;
}

}  // namespace llmsql::compiler
