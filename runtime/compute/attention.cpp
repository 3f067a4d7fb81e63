// SPDX-License-Identifier: MIT
// Attention over the cache blocks that a statement selects.
#include <algorithm>
#include <limits>
#include <optional>

#include "runtime/compute/functions.h"
#include "runtime/kernels/kernels.h"

namespace llmsql {
namespace {

// What one query sees begins here, itself being the last of it.
int64_t first_seen(int64_t last, int64_t window, bool chunked) {
    if (window == 0) return 0;
    return chunked ? last / window * window : std::max<int64_t>(0, last - window + 1);
}

class AttentionExpr final : public Expr {
  public:
    AttentionExpr(std::shared_ptr<const TensorExpr> q, std::vector<KvBlock> blocks,
                  int64_t kv_heads, int64_t values, int64_t position, float scale, int64_t window,
                  bool chunked, float softcap, const Weight* sinks)
        : Expr(q->rows, q->heads, values),
          q_(std::move(q)),
          key_width_(q_->width),
          blocks_(std::move(blocks)),
          group_(heads / kv_heads),
          position_(position),
          scale_(scale),
          window_(window),
          chunked_(chunked),
          softcap_(softcap),
          sinks_(sinks) {}

    int64_t granule() const override { return width; }
    bool is_heavy() const override { return true; }
    // Heads that share a key-value head go together, but not so many that queries and values no
    // longer lie near (and take no more scratch than the compiler counts: memory/budget.cpp).
    int64_t bundle() const override {
        return (blocks_[0].shared ? std::min(group_, kMostHeads) : group_) * width;
    }

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        // Heads that share a key-value head go together.
        const int64_t end = (block.col + block.cols) / width;
        for (int64_t head = block.col / width; head < end;) {
            const int64_t next = std::min(end, (head / group_ + 1) * group_);
            attend(block.row, block.rows, head, next - head, scratch,
                   out + head * width - block.col, out_stride);
            head = next;
        }
    }

    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const override {
        visit(*q_, Reach::row);
    }

  private:
    static constexpr int64_t kMostHeads = 16;

    // Positions of a block that one row attends to.
    struct Span {
        int64_t first = 0, last = 0;
        bool operator==(const Span&) const = default;
    };
    Span span_in(const KvBlock& block, int64_t row) const {
        const int64_t last = position_ + row;  // the query sees itself
        const int64_t first = first_seen(last, window_, chunked_);
        return {std::max<int64_t>(0, first - block.position),
                std::min(kKvBlock, last + 1 - block.position)};
    }

    // `count` heads of one key-value head, of `rows` rows. Blocks are taken from the oldest to the
    // newest, whatever the pass, each for all rows while it is in the cache.
    void attend(int64_t row, int64_t rows, int64_t head, int64_t count, Scratch& scratch,
                float* out, int64_t out_stride) const {
        const Scratch::Frame frame(scratch);
        const int64_t heads_here = rows * count;
        float* queries = scratch.take(heads_here, key_width_);
        float* values = scratch.take(heads_here, key_width_);
        std::fill_n(values, heads_here * key_width_, 0.0f);
        auto* states = reinterpret_cast<AttentionState*>(
            scratch.take(heads_here, static_cast<int64_t>(sizeof(AttentionState) / sizeof(float))));
        for (int64_t i = 0; i < heads_here; ++i) {
            int64_t stride = 0;
            const float* q = q_->direct(row + i / count, (head + i % count) * key_width_, stride);
            for (int64_t d = 0; d < key_width_; ++d) queries[i * key_width_ + d] = q[d] * scale_;
            new (&states[i]) AttentionState{-std::numeric_limits<float>::infinity(), 0,
                                            values + i * key_width_, softcap_};
            if (sinks_) {  // a score that has been seen, of no value
                states[i].max = sinks_->vector().data()[head + i % count];
                states[i].sum = 1;
            }
        }
        if (blocks_[0].type == KvType::q8)
            attend_q8(row, rows, head, count, scratch, queries, states);
        else
            attend_f16(row, rows, head, count, scratch, queries, states);
        for (int64_t i = 0; i < heads_here; ++i)
            for (int64_t d = 0; d < width; ++d)
                out[i / count * out_stride + i % count * width + d] =
                    states[i].values[d] / states[i].sum;
    }

    // Rows that see the same positions of a block go through a kernel together.
    template<class Kernel>
    void attend_together(int64_t row, int64_t rows, int64_t head, int64_t count, Scratch& scratch,
                         Kernel attend) const {
        const Scratch::Frame frame(scratch);
        std::byte* keys = nullptr;
        if (blocks_[0].shared) {
            const int64_t bytes = kv_head_layout(blocks_[0].type, key_width_).values;
            keys = reinterpret_cast<std::byte*>(
                scratch.take(1, (bytes + 3) / static_cast<int64_t>(sizeof(float))));
        }
        for (const KvBlock& block : blocks_) {
            KvHead at = block.head(head / group_);
            bool turned = !block.shared;
            for (int64_t r = 0; r < rows;) {
                const Span span = span_in(block, row + r);
                int64_t end = r + 1;
                while (end < rows && span_in(block, row + end) == span) ++end;
                if (span.first < span.last) {
                    if (!turned) at = keys_of(block, at, keys);
                    turned = true;
                    for (int64_t i = r * count; i < end * count; i += kMostQueries)
                        attend(i, std::min(kMostQueries, end * count - i), at, span);
                }
                r = end;
            }
        }
    }

    // The keys of a shared block's head, as kernels read them: made of the rows that are both, once
    // for all queries. In q8 codes and scales stay what they are, each scale for four groups.
    KvHead keys_of(const KvBlock& block, KvHead head, std::byte* keys) const {
        head.keys = keys;
        if (block.type == KvType::f16) {
            const auto* from = reinterpret_cast<const uint16_t*>(head.values);
            auto* to = reinterpret_cast<uint16_t*>(keys);
            constexpr int64_t kColumns = 32;  // written together: to a few lines of memory
            for (int64_t first = 0; first < key_width_; first += kColumns)
                for (int64_t p = 0; p < kKvBlock; ++p)
                    for (int64_t d = first; d < std::min(first + kColumns, key_width_); ++d)
                        to[d * kKvBlock + p] = from[p * key_width_ + d];
            return head;
        }
        const int64_t columns = (key_width_ + kKvKeyGroup - 1) / kKvKeyGroup * kKvKeyGroup;
        const auto* from = reinterpret_cast<const int8_t*>(head.values);
        auto* to = reinterpret_cast<int8_t*>(keys);
        for (int64_t d = 0; d < columns; ++d)
            for (int64_t p = 0; p < kKvBlock; ++p)
                to[(d / 2 * kKvBlock + p) * 2 + d % 2] = from[(p / 2 * columns + d) * 2 + p % 2];
        head.key_scales = keys + kv_head_layout(block.type, key_width_).key_scales;
        const auto* scales = reinterpret_cast<const uint16_t*>(head.value_scales);
        auto* wide = reinterpret_cast<uint16_t*>(keys + columns * kKvBlock);
        for (int64_t g = 0; g < columns / kKvKeyGroup; ++g)
            std::copy_n(scales + g * kKvKeyGroup / kKvValueGroup * kKvBlock, kKvBlock,
                        wide + g * kKvBlock);
        return head;
    }

    void attend_f16(int64_t row, int64_t rows, int64_t head, int64_t count, Scratch& scratch,
                    const float* queries, AttentionState* states) const {
        attend_together(row, rows, head, count, scratch,
                        [&](int64_t i, int64_t some, const KvHead& at, const Span& span) {
                            kernels().attend_f16(queries + i * key_width_, some, key_width_, at,
                                                 span.first, span.last, states + i);
                        });
    }

    void attend_q8(int64_t row, int64_t rows, int64_t head, int64_t count, Scratch& scratch,
                   const float* queries, AttentionState* states) const {
        const int64_t groups = (key_width_ + kKvKeyGroup - 1) / kKvKeyGroup;
        const int64_t columns = groups * kKvKeyGroup;
        float* scales = scratch.take(rows * count, groups);
        auto* codes = reinterpret_cast<int16_t*>(scratch.take(rows * count, columns / 2));
        for (int64_t i = 0; i < rows * count; ++i)
            quantize_query(queries + i * key_width_, key_width_, codes + i * columns,
                           scales + i * groups);
        attend_together(row, rows, head, count, scratch,
                        [&](int64_t i, int64_t some, const KvHead& at, const Span& span) {
                            kernels().attend_q8(codes + i * columns, scales + i * groups, some,
                                                key_width_, at, span.first, span.last, states + i);
                        });
    }

    const std::shared_ptr<const TensorExpr> q_;
    const int64_t key_width_;            // of which `width` are values in a shared layer
    const std::vector<KvBlock> blocks_;  // rising positions, covering all that any query sees
    const int64_t group_;                // query heads that share a key-value head
    const int64_t position_;
    const float scale_;
    const int64_t window_;
    const bool chunked_;
    const float softcap_;        // 0: none
    const Weight* const sinks_;  // null: none; else a score for each query head
};

// llm_attention(q, k, v, position of the block, :position, scale[, window][, softcap][, sinks]
// [, chunked])
// llm_latent_attention(q, k, position of the block, :position, values, scale[, window])
class Attention final : public Aggregate {
  public:
    explicit Attention(bool latent) : latent_(latent) {}

    void step(const Arguments& row) override {
        const KvBlock& k = row.block(1);
        const int at = latent_ ? 2 : 3;  // of the arguments from the block's position on
        if (row.integer(at) != k.position) row.refuse("k and position must be of one row of `kv`");
        if (k.shared != latent_)
            row.refuse(fmt::format("cache layer {} has {}", k.layer,
                                   latent_ ? "values beside its keys" : "its values in its keys"));
        if (!latent_) {
            const KvBlock& v = row.block(2);
            if (k.layer != v.layer || k.position != v.position || k.sequence != v.sequence)
                row.refuse("k, v and position must be of one row of `kv`");
        }
        if (!q_) start(row, k, at + 1);
        if (!blocks_.empty() && (k.layer != blocks_[0].layer || k.sequence != blocks_[0].sequence))
            row.refuse("the blocks must be of one layer and one sequence");
        if (blocks_.size() == kMostBlocks) row.refuse("more blocks than any context has");
        blocks_.push_back(k);
    }

    ExprPtr finish() override {
        const char* kind = latent_ ? "latent_" : "";
        // SQLite finishes an aggregate whose step failed, too: q may be there without a block.
        if (blocks_.empty()) fail("llm_{}attention: no cache block was selected", kind);
        std::ranges::sort(blocks_, {}, &KvBlock::position);
        for (size_t i = 1; i < blocks_.size(); ++i)
            if (blocks_[i].position == blocks_[i - 1].position)
                fail(
                    "llm_{}attention: the block of cache layer {} at position {} is selected twice",
                    kind, blocks_[i].layer, blocks_[i].position);
        const int64_t last = position_ + q_->rows - 1;
        int64_t next = first_seen(position_, window_, chunked_);
        for (const KvBlock& block : blocks_)
            if (block.position <= next) next = std::max(next, block.position + block.rows);
        if (next <= last)
            fail(
                "llm_{}attention: the selected blocks of cache layer {} do not hold position {}, "
                "which this pass needs",
                kind, blocks_[0].layer, next);
        const int64_t kv_heads = blocks_[0].heads;
        return std::make_shared<AttentionExpr>(q_, std::move(blocks_), kv_heads, values_, position_,
                                               scale_, window_, chunked_, softcap_, sinks_);
    }

  private:
    // What all rows have alike: q, and the numbers, of which the first is argument `at`.
    void start(const Arguments& row, const KvBlock& k, int at) {
        q_ = row.stored(0, TensorType::f32);
        values_ = q_->width;
        position_ = row.integer(at++);
        if (latent_) values_ = row.integer(at++);
        scale_ = static_cast<float>(row.number(at++));
        window_ = row.count() > at ? row.integer(at) : 0;
        if (!latent_) {
            softcap_ = row.count() > at + 1 ? static_cast<float>(row.number(at + 1)) : 0;
            if (softcap_ < 0)
                row.refuse(fmt::format("softcap must be 0 or more, not {}", softcap_));
            if (row.has(at + 2)) sinks_ = &row.vector(at + 2, q_->heads);
            chunked_ = row.count() > at + 3 && row.number(at + 3) != 0;
        }
        if (position_ < 0 || position_ > kMost)
            row.refuse(fmt::format("the position must be 0 to {}, not {}", kMost, position_));
        if (window_ < 0 || window_ > kMost)
            row.refuse(fmt::format("the window must be 0 to {}, not {}", kMost, window_));
        if (values_ < 1 || values_ > q_->width)
            row.refuse(
                fmt::format("there are no {} values in keys of {} elements", values_, q_->width));
        if (k.width != q_->width || q_->heads % k.heads != 0)
            row.refuse(
                fmt::format("q is {}, which does not go with cache layer {} of {} heads "
                            "of width {}",
                            describe_shape(*q_), k.layer, k.heads, k.width));
    }

    static constexpr int64_t kMost = int64_t{1} << 40;
    static constexpr size_t kMostBlocks = (1 << 20) / kKvBlock;
    const bool latent_;  // values are the first elements of keys
    std::shared_ptr<const TensorExpr> q_;
    std::vector<KvBlock> blocks_;
    int64_t position_ = 0, values_ = 0, window_ = 0;
    bool chunked_ = false;
    float scale_ = 0, softcap_ = 0;
    const Weight* sinks_ = nullptr;
};

std::unique_ptr<Aggregate> op_attention() {
    return std::make_unique<Attention>(false);
}

std::unique_ptr<Aggregate> op_latent_attention() {
    return std::make_unique<Attention>(true);
}

}  // namespace

std::span<const OperatorFunction> attention_functions() {
    static constexpr OperatorFunction kFunctions[] = {
        {.sql = "llm_attention", .aggregate = op_attention},
        {.sql = "llm_latent_attention", .aggregate = op_latent_attention},
    };
    return kFunctions;
}

}  // namespace llmsql
