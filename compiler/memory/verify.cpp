// SPDX-License-Identifier: MIT
// The arena's verifier. See verify.h.
#include "compiler/memory/verify.h"

#include <fmt/core.h>

#include <algorithm>

namespace llmsql::compiler {
namespace {

class Verifier {
  public:
    explicit Verifier(const Plan& plan) : plan_(plan) {
        for (const PlanInsert& s : plan.forward) timeline_.push_back(&s);
        for (const PlanInsert& s : plan.logits) timeline_.push_back(&s);
    }

    std::vector<std::string> run() {
        for (size_t i = 0; i < plan_.tensors.size(); ++i) check_place(static_cast<int>(i + 1));
        if (!faults_.empty()) return faults_;
        for (size_t at = 0; at < timeline_.size(); ++at) {
            check_reads(timeline_[at]->data, at);
            if (timeline_[at]->appends())
                check_reads(timeline_[at]->values, at);
            else
                check_in_place(at);
        }
        check_read(plan_.output, timeline_.size());
        return faults_;
    }

  private:
    template<class... Args>
    void fault(fmt::format_string<Args...> format, Args&&... args) {
        faults_.push_back(fmt::format(format, std::forward<Args>(args)...));
    }

    void check_place(int id) {
        const PlanTensor& t = plan_.tensor(id);
        // Of 32 values, quantized: a byte each, and f32 scale, sum and bias (docs/plan-format.md).
        const int64_t values = t.shape.heads * t.shape.width;
        const int64_t row = t.type == TensorType::f32 ? values * 4 : (values + 31) / 32 * (32 + 12);
        if (t.rows < 1 || t.shape.heads < 1 || t.shape.width < 1) fault("tensor {} is empty", id);
        if (t.offset % 64 != 0 || t.stride % 64 != 0)
            fault("tensor {} is not aligned: offset {}, stride {}", id, t.offset, t.stride);
        if (t.stride < row) fault("tensor {} has rows of {} bytes, {} apart", id, row, t.stride);
        if (t.offset < 0 || t.offset + (t.rows - 1) * t.stride + row > plan_.arena_bytes)
            fault("tensor {} lies outside the arena of {} bytes", id, plan_.arena_bytes);
        if (t.view_of == 0) return;
        const PlanTensor& parent = plan_.tensor(t.view_of);
        if (parent.view_of != 0 || t.type != TensorType::f32 || parent.type != t.type ||
            parent.rows != t.rows || parent.stride != t.stride || t.first_column < 0 ||
            t.first_column + t.shape.elements() > parent.shape.elements() ||
            t.offset != parent.offset + 4 * t.first_column)
            fault("tensor {} is not a slice of tensor {}", id, t.view_of);
    }

    // Whether two tensors have a byte in common: row by row, as no padding is ever written.
    bool share_bytes(int a, int b) const {
        const PlanTensor& s = plan_.tensor(a);
        const PlanTensor& t = plan_.tensor(b);
        const auto end = [](const PlanTensor& x) {
            return x.offset + (x.rows - 1) * x.stride + x.row_bytes();
        };
        if (end(s) <= t.offset || end(t) <= s.offset) return false;
        for (int64_t i = 0; i < s.rows; ++i) {
            const int64_t begin = s.offset + i * s.stride, stop = begin + s.row_bytes();
            // The first row of t that ends behind `begin`.
            int64_t j = std::max<int64_t>(0, (begin - t.offset - t.row_bytes()) / t.stride);
            for (; j < t.rows && t.offset + j * t.stride < stop; ++j)
                if (t.offset + j * t.stride + t.row_bytes() > begin) return true;
        }
        return false;
    }

    bool in_logits(size_t at) const { return at >= plan_.forward.size(); }

    void check_reads(const PlanExpr& e, size_t at) {
        if (e.kind == PlanExpr::Kind::tensor) check_read(e.id, at);
        for (const PlanExpr& arg : e.args) check_reads(arg, at);
    }

    // PlanTensor `id`, as read at `at`, must still be what its one writer made.
    void check_read(int id, size_t at) {
        const int origin = plan_.tensor(id).view_of ? plan_.tensor(id).view_of : id;
        size_t writer = timeline_.size();
        for (size_t w = 0; w < timeline_.size(); ++w) {
            if (timeline_[w]->target != origin) continue;
            if (writer != timeline_.size()) fault("tensor {} is written twice", origin);
            writer = w;
        }
        if (writer >= at) {
            fault("tensor {} is read at statement {} before it is written", id, at + 1);
            return;
        }
        // Reading across the sections: every statement of logits may already have run.
        const size_t until =
            in_logits(at) && !in_logits(writer) ? timeline_.size() : std::min(at, timeline_.size());
        for (size_t w = writer + 1; w < until; ++w)
            if (!timeline_[w]->appends() && w != at && share_bytes(timeline_[w]->target, id))
                fault(
                    "tensor {}, read at statement {}, is overwritten at statement {} by tensor {}",
                    id, at + 1, w + 1, timeline_[w]->target);
    }

    // How often an expression reads a tensor that shares bytes with the target, by kind of read.
    struct Overlaps {
        int by_element = 0, by_head = 0, otherwise = 0;
    };

    void count_overlaps(const PlanExpr& e, int target, bool under_head, bool under_other,
                        Overlaps& found) const {
        if (e.kind == PlanExpr::Kind::tensor && share_bytes(e.id, target)) {
            const PlanTensor& s = plan_.tensor(e.id);
            const PlanTensor& t = plan_.tensor(target);
            const bool same_place = s.offset == t.offset && s.stride == t.stride &&
                                    s.type == t.type && s.rows == t.rows &&
                                    s.shape.elements() == t.shape.elements();
            const bool heads_differ = under_head && s.shape != t.shape;
            if (under_other || !same_place || heads_differ)
                ++found.otherwise;
            else
                ++(under_head ? found.by_head : found.by_element);
        }
        if (e.kind != PlanExpr::Kind::call) return;
        const Locality how = e.op->locality;
        for (const PlanExpr& arg : e.args)
            count_overlaps(arg, target, under_head || how == Locality::head,
                           under_other || (how != Locality::head && how != Locality::element),
                           found);
    }

    void check_in_place(size_t at) {
        Overlaps found;
        count_overlaps(timeline_[at]->data, timeline_[at]->target, false, false, found);
        if (found.otherwise > 0 || found.by_head > 1 || (found.by_head > 0 && found.by_element > 0))
            fault("statement {} writes tensor {} over what it still reads", at + 1,
                  timeline_[at]->target);
    }

    const Plan& plan_;
    std::vector<const PlanInsert*> timeline_;  // forward, then logits
    std::vector<std::string> faults_;
};

}  // namespace

std::vector<std::string> verify_arena(const Plan& plan) {
    return Verifier(plan).run();
}

}  // namespace llmsql::compiler
