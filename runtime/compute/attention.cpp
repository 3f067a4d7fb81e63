// SPDX-License-Identifier: MIT
// Attention over the cache blocks that a statement selects.
#include <algorithm>
#include <limits>
#include <optional>

#include "runtime/compute/functions.h"
#include "runtime/kernels/kernels.h"

namespace llmsql {
namespace {

class AttentionExpr final : public Expr {
  public:
    AttentionExpr(std::shared_ptr<const TensorExpr> q, std::vector<KvBlock> blocks,
                  int64_t kv_heads, int64_t position, float scale, int64_t window, float softcap,
                  const Weight* sinks)
        : Expr(q->rows, q->heads, q->width),
          q_(std::move(q)),
          blocks_(std::move(blocks)),
          group_(heads / kv_heads),
          position_(position),
          scale_(scale),
          window_(window),
          softcap_(softcap),
          sinks_(sinks) {}

    int64_t granule() const override { return width; }
    bool is_heavy() const override { return true; }
    int64_t bundle() const override { return group_ * width; }

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
    // Positions of a block that one row attends to.
    struct Span {
        int64_t first = 0, last = 0;
        bool operator==(const Span&) const = default;
    };
    Span span_in(const KvBlock& block, int64_t row) const {
        const int64_t last = position_ + row;  // the query sees itself
        const int64_t first = window_ > 0 ? std::max<int64_t>(0, last - window_ + 1) : 0;
        return {std::max<int64_t>(0, first - block.position),
                std::min(kKvBlock, last + 1 - block.position)};
    }

    // `count` heads of one key-value head, of `rows` rows. Blocks are taken from the oldest to the
    // newest, whatever the pass, each for all rows while it is in the cache.
    void attend(int64_t row, int64_t rows, int64_t head, int64_t count, Scratch& scratch,
                float* out, int64_t out_stride) const {
        const Scratch::Frame frame(scratch);
        const int64_t heads_here = rows * count;
        float* queries = scratch.take(heads_here, width);
        float* values = scratch.take(heads_here, width);
        std::fill_n(values, heads_here * width, 0.0f);
        auto* states = reinterpret_cast<AttentionState*>(
            scratch.take(heads_here, static_cast<int64_t>(sizeof(AttentionState) / sizeof(float))));
        for (int64_t i = 0; i < heads_here; ++i) {
            int64_t stride = 0;
            const float* q = q_->direct(row + i / count, (head + i % count) * width, stride);
            for (int64_t d = 0; d < width; ++d) queries[i * width + d] = q[d] * scale_;
            new (&states[i]) AttentionState{-std::numeric_limits<float>::infinity(), 0,
                                            values + i * width, softcap_};
            if (sinks_) {  // a score that has been seen, of no value
                states[i].max = sinks_->vector().data()[head + i % count];
                states[i].sum = 1;
            }
        }
        if (blocks_[0].type == KvType::q8)
            attend_q8(row, rows, head, count, scratch, queries, states);
        else
            attend_f16(row, rows, head, count, queries, states);
        for (int64_t i = 0; i < heads_here; ++i)
            for (int64_t d = 0; d < width; ++d)
                out[i / count * out_stride + i % count * width + d] =
                    states[i].values[d] / states[i].sum;
    }

    // Rows that see the same positions of a block go through a kernel together.
    void attend_f16(int64_t row, int64_t rows, int64_t head, int64_t count, const float* queries,
                    AttentionState* states) const {
        for (const KvBlock& block : blocks_) {
            const KvHead held = block.head(head / group_);
            for (int64_t r = 0; r < rows;) {
                const Span span = span_in(block, row + r);
                int64_t end = r + 1;
                while (end < rows && span_in(block, row + end) == span) ++end;
                if (span.first < span.last)
                    for (int64_t i = r * count; i < end * count; i += kMostQueries)
                        kernels().attend_f16(queries + i * width,
                                             std::min(kMostQueries, end * count - i), width, held,
                                             span.first, span.last, states + i);
                r = end;
            }
        }
    }

    void attend_q8(int64_t row, int64_t rows, int64_t head, int64_t count, Scratch& scratch,
                   const float* queries, AttentionState* states) const {
        const int64_t groups = (width + kKvKeyGroup - 1) / kKvKeyGroup;
        const int64_t columns = groups * kKvKeyGroup;
        float* scales = scratch.take(rows * count, groups);
        auto* codes = reinterpret_cast<int16_t*>(scratch.take(rows * count, columns / 2));
        for (int64_t i = 0; i < rows * count; ++i)
            quantize_query(queries + i * width, width, codes + i * columns, scales + i * groups);
        for (const KvBlock& block : blocks_) {
            const KvHead held = block.head(head / group_);
            for (int64_t i = 0; i < rows * count; ++i)
                if (const Span span = span_in(block, row + i / count); span.first < span.last)
                    kernels().attend_q8(codes + i * columns, scales + i * groups, width, held,
                                        span.first, span.last, states[i]);
        }
    }

    const std::shared_ptr<const TensorExpr> q_;
    const std::vector<KvBlock> blocks_;  // rising positions, covering all that any query sees
    const int64_t group_;                // query heads that share a key-value head
    const int64_t position_;
    const float scale_;
    const int64_t window_;
    const float softcap_;        // 0: none
    const Weight* const sinks_;  // null: none; else a score for each query head
};

// llm_attention(q, k, v, position of the block, :position, scale[, window][, softcap][, sinks])
class Attention final : public Aggregate {
  public:
    void step(const Arguments& row) override {
        const KvBlock& k = row.block(1);
        const KvBlock& v = row.block(2);
        if (k.layer != v.layer || k.position != v.position || k.sequence != v.sequence ||
            row.integer(3) != k.position)
            row.refuse("k, v and position must be of one row of `kv`");
        if (!q_) {
            q_ = row.stored(0, TensorType::f32);
            position_ = row.integer(4);
            scale_ = static_cast<float>(row.number(5));
            window_ = row.count() > 6 ? row.integer(6) : 0;
            softcap_ = row.count() > 7 ? static_cast<float>(row.number(7)) : 0;
            if (softcap_ < 0)
                row.refuse(fmt::format("softcap must be 0 or more, not {}", softcap_));
            if (row.has(8)) sinks_ = &row.vector(8, q_->heads);
            if (position_ < 0 || position_ > kMost)
                row.refuse(fmt::format("the position must be 0 to {}, not {}", kMost, position_));
            if (window_ < 0 || window_ > kMost)
                row.refuse(fmt::format("the window must be 0 to {}, not {}", kMost, window_));
            const int64_t kv_heads = k.heads;
            if (k.width != q_->width || q_->heads % kv_heads != 0)
                row.refuse(
                    fmt::format("q is {}, which does not go with cache layer {} of {} heads "
                                "of width {}",
                                describe_shape(*q_), k.layer, kv_heads, k.width));
        }
        if (!blocks_.empty() && (k.layer != blocks_[0].layer || k.sequence != blocks_[0].sequence))
            row.refuse("the blocks must be of one layer and one sequence");
        if (blocks_.size() == kMostBlocks) row.refuse("more blocks than any context has");
        blocks_.push_back(k);
    }

    ExprPtr finish() override {
        // SQLite finishes an aggregate whose step failed, too: q may be there without a block.
        if (blocks_.empty()) fail("llm_attention: no cache block was selected");
        std::ranges::sort(blocks_, {}, &KvBlock::position);
        for (size_t i = 1; i < blocks_.size(); ++i)
            if (blocks_[i].position == blocks_[i - 1].position)
                fail("llm_attention: the block of cache layer {} at position {} is selected twice",
                     blocks_[i].layer, blocks_[i].position);
        const int64_t last = position_ + q_->rows - 1;
        int64_t next = window_ > 0 ? std::max<int64_t>(0, position_ - window_ + 1) : 0;
        for (const KvBlock& block : blocks_)
            if (block.position <= next) next = std::max(next, block.position + block.rows);
        if (next <= last)
            fail(
                "llm_attention: the selected blocks of cache layer {} do not hold position {}, "
                "which this pass needs",
                blocks_[0].layer, next);
        const int64_t kv_heads = blocks_[0].heads;
        return std::make_shared<AttentionExpr>(q_, std::move(blocks_), kv_heads, position_, scale_,
                                               window_, softcap_, sinks_);
    }

  private:
    static constexpr int64_t kMost = int64_t{1} << 40;
    static constexpr size_t kMostBlocks = (1 << 20) / kKvBlock;
    std::shared_ptr<const TensorExpr> q_;
    std::vector<KvBlock> blocks_;
    int64_t position_ = 0, window_ = 0;
    float scale_ = 0, softcap_ = 0;
    const Weight* sinks_ = nullptr;
};

std::unique_ptr<Aggregate> op_attention() {
    return std::make_unique<Attention>();
}

}  // namespace

std::span<const OperatorFunction> attention_functions() {
    static constexpr OperatorFunction kFunctions[] = {
        {.sql = "llm_attention", .aggregate = op_attention},
    };
    return kFunctions;
}

}  // namespace llmsql
