// Attention over the cache blocks that a statement selects.
#include <algorithm>
#include <limits>
#include <optional>

#include "runtime/kernels/kernels.h"
#include "runtime/ops/functions.h"

namespace llmsql {
namespace {

class AttentionExpr final : public Expr {
  public:
    AttentionExpr(std::shared_ptr<const TensorExpr> q, std::vector<KvBlock> blocks,
                  int64_t kv_heads, int64_t position, float scale, int64_t window)
        : Expr(q->rows, q->heads, q->width),
          q_(std::move(q)),
          blocks_(std::move(blocks)),
          group_(heads / kv_heads),
          position_(position),
          scale_(scale),
          window_(window) {}

    int64_t granule() const override { return width; }
    bool is_heavy() const override { return true; }

    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        for (int64_t r = 0; r < block.rows; ++r)
            for (int64_t c = 0; c < block.cols; c += width)
                attend(block.row + r, (block.col + c) / width, scratch, out + r * out_stride + c);
    }

    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const override {
        visit(*q_, Reach::row);
    }

  private:
    // One head of one query. Blocks are taken from the oldest to the newest, whatever the pass.
    void attend(int64_t row, int64_t head, Scratch& scratch, float* out) const {
        const Scratch::Frame frame(scratch);
        int64_t stride = 0;
        const float* q = q_->direct(row, head * width, stride);
        float* query = scratch.take(width);
        for (int64_t d = 0; d < width; ++d) query[d] = q[d] * scale_;
        // The same as integers, for a q8 cache.
        const int64_t groups = (width + kKvKeyGroup - 1) / kKvKeyGroup;
        const bool q8 = blocks_[0].type == KvType::q8;
        float* query_scales = q8 ? scratch.take(groups) : nullptr;
        auto* codes =
            q8 ? reinterpret_cast<int16_t*>(scratch.take(groups * kKvKeyGroup / 2)) : nullptr;
        if (q8) quantize_query(query, width, codes, query_scales);

        const int64_t last = position_ + row;  // the query sees itself
        const int64_t first = window_ > 0 ? std::max<int64_t>(0, last - window_ + 1) : 0;
        AttentionState state{-std::numeric_limits<float>::infinity(), 0, scratch.take(width)};
        std::fill_n(state.values, width, 0.0f);
        for (const KvBlock& block : blocks_) {
            const int64_t from = std::max<int64_t>(0, first - block.position);
            const int64_t to = std::min(kKvBlock, last + 1 - block.position);
            if (from >= to) continue;
            const KvHead held = block.head(head / group_);
            if (q8)
                kernels().attend_q8(codes, query_scales, width, held, from, to, state);
            else
                kernels().attend_f16(query, width, held, from, to, state);
        }
        for (int64_t d = 0; d < width; ++d) out[d] = state.values[d] / state.sum;
    }

    const std::shared_ptr<const TensorExpr> q_;
    const std::vector<KvBlock> blocks_;  // rising positions, covering all that any query sees
    const int64_t group_;                // query heads that share a key-value head
    const int64_t position_;
    const float scale_;
    const int64_t window_;
};

// llm_attention(q, k, v, position of the block, :position, scale[, window])
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
            if (position_ < 0 || window_ < 0)
                row.refuse("position and window must not be negative");
            const int64_t kv_heads = k.heads;
            if (k.width != q_->width || q_->heads % kv_heads != 0)
                row.refuse(
                    fmt::format("q is {}, which does not go with cache layer {} of {} heads "
                                "of width {}",
                                describe_shape(*q_), k.layer, kv_heads, k.width));
        }
        if (!blocks_.empty() && (k.layer != blocks_[0].layer || k.sequence != blocks_[0].sequence))
            row.refuse("the blocks must be of one layer and one sequence");
        blocks_.push_back(k);
    }

    ExprPtr finish() override {
        // SQLite finishes an aggregate whose step failed, too: q may be there without a block.
        if (blocks_.empty()) fail("llm_attention: no cache block was selected");
        std::ranges::sort(blocks_, {}, &KvBlock::position);
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
                                               window_);
    }

  private:
    std::shared_ptr<const TensorExpr> q_;
    std::vector<KvBlock> blocks_;
    int64_t position_ = 0, window_ = 0;
    float scale_ = 0;
};

}  // namespace

std::unique_ptr<Aggregate> op_attention() {
    return std::make_unique<Attention>();
}

}  // namespace llmsql
