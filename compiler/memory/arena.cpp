// SPDX-License-Identifier: MIT
// The arena planner. See arena.h.
#include "compiler/memory/arena.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace llmsql::compiler {
namespace {

/// How an expression reads a tensor: what decides whether the result may be written over it.
enum class Access { element, head, whole };

struct Read {
    int tensor = 0;
    Access access = Access::element;
};

void collect_reads(const PlanExpr& e, Access access, std::vector<Read>& reads) {
    if (e.kind == PlanExpr::Kind::tensor) reads.push_back({e.id, access});
    if (e.kind != PlanExpr::Kind::call) return;
    Access inner = Access::whole;
    if (e.op->locality == Locality::element)
        inner = access;
    else if (e.op->locality == Locality::head && access != Access::whole)
        inner = Access::head;
    for (const PlanExpr& arg : e.args) collect_reads(arg, inner, reads);
}

/// A piece of the arena that tensors share, one after the other, in place.
struct Buffer {
    int64_t stride = 0, rows = 0, offset = 0;
    size_t first = 0, last = 0;  // statements between which it is in use, both included
    int64_t bytes() const { return stride * rows; }
};

class Planner {
  public:
    explicit Planner(Plan& plan)
        : plan_(plan),
          last_read_(plan.tensors.size()),
          spots_(plan.tensors.size()),
          given_(plan.tensors.size()) {
        for (const PlanInsert& s : plan.forward) statements_.push_back(&s);
        for (const PlanInsert& s : plan.logits) statements_.push_back(&s);
    }

    void run() {
        find_last_reads();
        for (size_t at = 0; at < statements_.size(); ++at)
            if (!statements_[at]->appends()) give_spot(at);
        place_buffers();
        for (size_t i = 0; i < spots_.size(); ++i) {
            PlanTensor& tensor = plan_.tensors[i];
            const Spot spot = spot_of(static_cast<int>(i + 1));
            tensor.stride = buffers_[spot.buffer].stride;
            tensor.offset = buffers_[spot.buffer].offset + spot.byte;
        }
    }

  private:
    /// A stored tensor's buffer and where its row begins in the buffer's row.
    struct Spot {
        size_t buffer = 0;
        int64_t byte = 0;
    };

    size_t& last_read(int tensor) { return last_read_[static_cast<size_t>(tensor - 1)]; }
    int root(int tensor) const {
        const int parent = plan_.tensor(tensor).view_of;
        return parent ? parent : tensor;
    }
    Spot spot_of(int tensor) const {
        Spot spot = spots_[static_cast<size_t>(root(tensor) - 1)];
        spot.byte += plan_.tensor(tensor).first_column * 4;
        return spot;
    }

    static std::vector<Read> reads_of(const PlanInsert& s) {
        std::vector<Read> reads;
        collect_reads(s.data, Access::element, reads);
        if (s.appends()) collect_reads(s.values, Access::element, reads);
        return reads;
    }

    void find_last_reads() {
        const size_t end = statements_.size();
        std::vector<bool> of_forward(plan_.tensors.size());
        for (const PlanInsert& s : plan_.forward)
            if (!s.appends()) of_forward[static_cast<size_t>(s.target - 1)] = true;
        for (size_t at = 0; at < end; ++at) {
            const bool in_logits = at >= plan_.forward.size();
            for (const Read& read : reads_of(*statements_[at])) {
                const bool kept =
                    in_logits && of_forward[static_cast<size_t>(root(read.tensor) - 1)];
                last_read(read.tensor) = kept ? end : std::max(last_read(read.tensor), at);
            }
        }
        last_read(plan_.output) = end;
    }

    size_t last_read_of_family(int stored) {
        size_t last = last_read(stored);
        for (size_t i = 0; i < plan_.tensors.size(); ++i)
            if (plan_.tensors[i].view_of == stored) last = std::max(last, last_read_[i]);
        return last;
    }

    // Puts the target of a statement over one of its operands if that is allowed and worth it, else
    // into a buffer of its own.
    void give_spot(size_t at) {
        const int target = statements_[at]->target;
        const PlanTensor& tensor = plan_.tensor(target);
        const size_t last = std::max(at, last_read_of_family(target));
        const auto stride =
            static_cast<int64_t>(tensor_row_bytes(tensor.type, tensor.shape.elements()));
        Spot& spot = spots_[static_cast<size_t>(target - 1)];

        const std::vector<Read> reads = reads_of(*statements_[at]);
        for (const Read& read : reads) {
            if (!may_overwrite(read, reads, tensor, at)) continue;
            const Spot over = spot_of(read.tensor);
            Buffer& buffer = buffers_[over.buffer];
            // A slice keeps the whole of its buffer alive: not for longer than it is worth.
            const size_t longer = last > buffer.last ? last - buffer.last : 0;
            const size_t own = last - at + 1;
            if (buffer.stride != stride && buffer.bytes() * static_cast<int64_t>(longer) >
                                               stride * tensor.rows * static_cast<int64_t>(own))
                continue;
            buffer.last = std::max(buffer.last, last);
            spot = over;
            given_[static_cast<size_t>(target - 1)] = true;
            return;
        }
        spot = {buffers_.size(), 0};
        buffers_.push_back({stride, tensor.rows, 0, at, last});
        given_[static_cast<size_t>(target - 1)] = true;
    }

    // Whether the statement at `at` may write its target over what `read` reads.
    bool may_overwrite(const Read& read, const std::vector<Read>& reads, const PlanTensor& target,
                       size_t at) {
        const PlanTensor& source = plan_.tensor(read.tensor);
        if (read.access == Access::whole || target.type != TensorType::f32 ||
            source.type != TensorType::f32 || source.rows != target.rows ||
            source.shape.elements() != target.shape.elements() ||
            (read.access == Access::head && source.shape != target.shape))
            return false;
        const Spot spot = spot_of(read.tensor);
        const auto overlaps = [&](int other) {
            const Spot theirs = spot_of(other);
            return theirs.buffer == spot.buffer && theirs.byte < spot.byte + source.row_bytes() &&
                   spot.byte < theirs.byte + plan_.tensor(other).row_bytes();
        };
        int count = 0;
        for (const Read& other : reads) {
            if (!overlaps(other.tensor)) continue;
            if (other.tensor != read.tensor || other.access == Access::whole) return false;
            if (other.access == Access::head && ++count > 1) return false;
        }
        if (count == 1 && std::ranges::count(reads, read.tensor, &Read::tensor) > 1) return false;
        // Nobody may read any of it afterwards, under whatever name.
        for (size_t i = 0; i < plan_.tensors.size(); ++i) {
            const int other = static_cast<int>(i + 1);
            if (last_read(other) > at && given_[static_cast<size_t>(root(other) - 1)] &&
                overlaps(other))
                return false;
        }
        return true;
    }

    void place_buffers() {
        std::vector<size_t> order(buffers_.size());
        for (size_t i = 0; i < order.size(); ++i) order[i] = i;
        std::ranges::stable_sort(order, std::ranges::greater{},
                                 [&](size_t i) { return buffers_[i].bytes(); });
        std::vector<const Buffer*> placed;  // by offset
        for (const size_t i : order) {
            Buffer& buffer = buffers_[i];
            for (const Buffer* other : placed) {
                const bool together = other->first <= buffer.last && buffer.first <= other->last;
                if (together && other->offset < buffer.offset + buffer.bytes())
                    buffer.offset = std::max(buffer.offset, other->offset + other->bytes());
            }
            plan_.arena_bytes = std::max(plan_.arena_bytes, buffer.offset + buffer.bytes());
            placed.insert(std::ranges::upper_bound(placed, buffer.offset, {}, &Buffer::offset),
                          &buffer);
        }
    }

    Plan& plan_;
    std::vector<const PlanInsert*> statements_;  // forward, then logits
    std::vector<size_t> last_read_;              // by tensor; views on their own
    std::vector<Spot> spots_;                    // by tensor, for stored ones
    std::vector<bool> given_;                    // by tensor: has a spot
    std::vector<Buffer> buffers_;
};

}  // namespace

void plan_arena(Plan& plan) {
    plan.arena_bytes = 0;
    Planner(plan).run();
}

}  // namespace llmsql::compiler
