// SPDX-License-Identifier: MIT
// Matrices that are chosen row by row: linear_each and linear_sum over a table of them.
//
// A statement joins `chosen`, the columns of a tensor of shares that are not all 0, with `param`,
// so that only the matrices that some token chose are ever looked at. Each row of the join adds one
// matrix, with the tokens that chose it gathered side by side; evaluation goes matrix by matrix, so
// that each is read once a pass, and in the order of their numbers, so that a token's sum does not
// depend on the others in its pass.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <set>

#include "common/weight_format.h"
#include "runtime/compute/functions.h"
#include "runtime/kernels/kernels.h"

namespace llmsql {
namespace {

/// Rows of a tensor, copied side by side; of q8 where a matrix is multiplied as integers.
class Gathered {
  public:
    Gathered(TensorType type, int64_t width, int64_t rows) {
        place_.name = "gathered";
        place_.type = type;
        place_.rows = rows;
        place_.heads = 1;
        place_.width = width;
        place_.stride = static_cast<int64_t>(tensor_row_bytes(type, width));
        const int64_t bytes = size_product(place_.stride, rows);
        if (bytes == kTooLarge) throw std::bad_alloc();
        memory_.reset(static_cast<std::byte*>(std::aligned_alloc(64, static_cast<size_t>(bytes))));
        if (!memory_) throw std::bad_alloc();
        tensor_.emplace(place_, memory_.get(), rows);
    }
    Gathered(const Gathered&) = delete;
    Gathered& operator=(const Gathered&) = delete;

    std::byte* row(int64_t index) { return memory_.get() + index * place_.stride; }
    const TensorExpr& tensor() const { return *tensor_; }

  private:
    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };
    TensorPlace place_;
    std::unique_ptr<std::byte, Free> memory_;
    std::optional<TensorExpr> tensor_;
};

/// One chosen matrix: its products, a row for each token that chose it.
struct Part {
    int64_t item = 0;
    ExprPtr products;
    std::vector<int64_t> rows;  // of the result, one for each row of `products`, rising
    std::vector<float> shares;  // of each
};

class PartsExpr : public Expr {
  public:
    PartsExpr(int64_t rows, int64_t width, std::vector<Part> parts,
              std::vector<std::shared_ptr<const TensorExpr>> read)
        : Expr(rows, 1, width), parts_(std::move(parts)), read_(std::move(read)) {}

    int64_t granule() const override { return kStripRows; }
    bool scans_matrix() const override { return true; }
    uint64_t weight_bytes() const override {
        uint64_t bytes = 0;
        for (const Part& part : parts_) bytes += part.products->weight_bytes();
        return bytes;
    }
    void visit_tensors(const std::function<void(const TensorExpr&, Reach)>& visit) const override {
        for (const auto& tensor : read_) visit(*tensor, Reach::row);
    }

  protected:
    // Calls add(part, row of the result within the block, products' row) for all there is.
    template<class Add>
    void for_each_row(const Block& block, Scratch& scratch, float* out, int64_t out_stride,
                      Add add) const {
        for (int64_t r = 0; r < block.rows; ++r) std::fill_n(out + r * out_stride, block.cols, 0.f);
        for (const Part& part : parts_) {
            const Scratch::Frame frame(scratch);
            const int64_t rows = part.products->rows;
            float* products = scratch.take(rows, block.cols);
            part.products->eval({0, rows, block.col, block.cols}, scratch, products, block.cols);
            for (int64_t i = 0; i < rows; ++i) {
                const int64_t r = part.rows[static_cast<size_t>(i)] - block.row;
                if (r >= 0 && r < block.rows)
                    add(part.shares[static_cast<size_t>(i)], out + r * out_stride,
                        products + i * block.cols);
            }
        }
    }

  private:
    const std::vector<Part> parts_;  // rising items
    const std::vector<std::shared_ptr<const TensorExpr>> read_;
};

/// A row for each choice of each token.
class LinearEachExpr final : public PartsExpr {
  public:
    using PartsExpr::PartsExpr;
    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        for_each_row(block, scratch, out, out_stride,
                     [&](float, float* into, const float* product) {
                         std::copy_n(product, block.cols, into);
                     });
    }
};

/// A row for each token: its choices' products, each times its share.
class LinearSumExpr final : public PartsExpr {
  public:
    using PartsExpr::PartsExpr;
    void eval(const Block& block, Scratch& scratch, float* out, int64_t out_stride) const override {
        for_each_row(block, scratch, out, out_stride,
                     [&](float share, float* into, const float* product) {
                         for (int64_t c = 0; c < block.cols; ++c) into[c] += share * product[c];
                     });
    }
};

/// Rows of the join, in any order: x, choice, item, matrix, and for linear_each how many a token.
class ChosenLinear : public Aggregate {
  public:
    explicit ChosenLinear(bool sums) : sums_(sums) {}

    void step(const Arguments& row) override {
        const int64_t item = row.integer(2);
        const Weight& weight = row.matrix(3);
        if (!choice_) start(row);
        if (item < 0 || item >= choice_->elements())
            row.refuse(fmt::format("there is no choice {} in {}", item, describe_shape(*choice_)));
        // At once: each row gathers what its matrix is multiplied by.
        if (!items_.insert(item).second) row.refuse(fmt::format("choice {} comes twice", item));
        if (*weight.entry.shape.rows != width_.value_or(*weight.entry.shape.rows))
            row.refuse("the matrices have different numbers of rows");
        width_ = *weight.entry.shape.rows;
        const TensorType wants = format_of(weight.entry.type).activations;
        if (x_->elements() != weight.entry.shape.cols ||
            (wants == TensorType::f32 && x_->place.type != TensorType::f32))
            row.refuse(fmt::format("{} is {}, so it does not take {}", weight.entry.name,
                                   describe(weight.entry), describe_shape(*x_)));
        add(row, item, weight, wants);
    }

    ExprPtr finish() override {
        if (parts_.empty()) fail("llm_linear_{}: nothing was chosen", sums_ ? "sum" : "each");
        std::ranges::sort(parts_, {}, &Part::item);
        std::vector<std::shared_ptr<const TensorExpr>> read{x_, choice_};
        if (sums_)
            return std::make_shared<LinearSumExpr>(choice_->rows, *width_, std::move(parts_),
                                                   std::move(read));
        return std::make_shared<LinearEachExpr>(size_product(choice_->rows, used_), *width_,
                                                std::move(parts_), std::move(read));
    }

  private:
    void start(const Arguments& row) {
        choice_ = row.stored(1, TensorType::f32);
        const auto x = std::dynamic_pointer_cast<const TensorExpr>(row.tensor(0));
        if (!x) row.refuse("argument 1 must be a stored tensor");
        if (sums_) {
            if (x->place.type != TensorType::f32 || x->rows % choice_->rows != 0)
                row.refuse(
                    fmt::format("argument 1 must have f32 rows for each choice of {} tokens, "
                                "not be {}",
                                choice_->rows, describe_shape(*x)));
            used_ = x->rows / choice_->rows;
        } else {
            used_ = row.integer(4);
            if (x->rows != choice_->rows || used_ < 1 || used_ > choice_->elements())
                row.refuse(fmt::format("{} of {} cannot be chosen for {}", used_,
                                       describe_shape(*choice_), describe_shape(*x)));
        }
        x_ = x;
    }

    // Gathers what the tokens that chose `item` multiply by.
    void add(const Arguments& row, int64_t item, const Weight& weight, TensorType type) {
        Part part;
        part.item = item;
        std::vector<int64_t> slots;
        for (int64_t t = 0; t < choice_->rows; ++t) {
            int64_t stride = 0;
            const float* shares = choice_->direct(t, 0, stride);
            if (shares[item] == 0) continue;
            const auto before =
                std::count_if(shares, shares + item, [](float s) { return s != 0; });
            if (before >= used_)
                row.refuse(fmt::format("token {} of the pass has more than {} choices", t, used_));
            slots.push_back(t * used_ + before);
            part.rows.push_back(sums_ ? t : slots.back());
            part.shares.push_back(shares[item]);
        }
        if (slots.empty()) return;  // not chosen after all
        const int64_t width = weight.entry.shape.cols;
        const auto gathered =
            std::make_shared<Gathered>(type, width, static_cast<int64_t>(slots.size()));
        for (size_t i = 0; i < slots.size(); ++i) {
            const std::byte* from = x_->row_data(sums_ ? slots[i] : slots[i] / used_);
            std::byte* to = gathered->row(static_cast<int64_t>(i));
            if (x_->place.type == type)
                std::memcpy(to, from, static_cast<size_t>(x_->place.row_bytes()));
            else
                kernels().quantize(reinterpret_cast<const float*>(from), width,
                                   quantized_row(to, block_count(width), 0));
        }
        part.products = linear_of({gathered, &gathered->tensor()}, weight);
        parts_.push_back(std::move(part));
    }

    const bool sums_;
    std::shared_ptr<const TensorExpr> x_, choice_;
    int64_t used_ = 0;  // choices a token at most
    std::optional<int64_t> width_;
    std::set<int64_t> items_;  // so far
    std::vector<Part> parts_;
};

std::unique_ptr<Aggregate> op_linear_each() {
    return std::make_unique<ChosenLinear>(false);
}

std::unique_ptr<Aggregate> op_linear_sum() {
    return std::make_unique<ChosenLinear>(true);
}

}  // namespace

std::span<const OperatorFunction> choice_functions() {
    static constexpr OperatorFunction kFunctions[] = {
        {.sql = "llm_linear_each", .aggregate = op_linear_each, .looks = true},
        {.sql = "llm_linear_sum", .aggregate = op_linear_sum, .looks = true},
    };
    return kFunctions;
}

}  // namespace llmsql
