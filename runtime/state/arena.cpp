// SPDX-License-Identifier: MIT
// The arena of activations. See arena.h.
#include "runtime/state/arena.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "common/error.h"
#include "common/sizes.h"

namespace llmsql {
namespace {

constexpr int64_t kTensorAlignment = 64;
constexpr int64_t kMostTensorBytes = int64_t{1} << 40;
constexpr int64_t kMostId = 65535;
// Half a second's worth. Slices of a row are passed over, ten or so of them.
constexpr int64_t kMostPassedOver = 1 << 25;

// Whether `slice` is a range of columns of `parent`: the same rows, within the parent's row.
bool is_slice(const TensorPlace& slice, const TensorPlace& parent) {
    return slice.type == TensorType::f32 && parent.type == TensorType::f32 &&
           slice.stride == parent.stride && slice.rows == parent.rows &&
           slice.offset >= parent.offset &&
           slice.offset + slice.row_bytes() <= parent.offset + parent.row_bytes();
}

}  // namespace

int64_t TensorPlace::row_bytes() const {
    if (type == TensorType::f32) return elements() * 4;
    return static_cast<int64_t>(tensor_row_bytes(type, elements()));
}

Arena::Arena(int64_t bytes)
    : memory_(static_cast<size_t>(bytes < 0 ? 0 : bytes), "the activation arena") {}

void Arena::declare(TensorPlace place) {
    const auto refuse = [&](const char* why) {
        fail("tensor {} '{}': {}", place.id, place.name, why);
    };
    if (place.id < 0 || place.id > kMostId) refuse("its id must be 0 to 65535");
    if (find(place.id)) refuse("its id is used twice");
    if (place.rows < 1 || place.rows > (1 << 20)) refuse("rows must be 1 to 2^20");
    if (place.choices < 1 || place.rows % place.choices != 0)
        refuse("choices must be at least 1, and rows a multiple of it");
    if (place.heads < 1 || place.width < 1 ||
        size_product(place.heads, place.width, 4) > kMostTensorBytes)
        refuse("heads and width must be positive, and not absurd");
    if (place.stride < place.row_bytes() ||
        size_product(place.stride, place.rows) > kMostTensorBytes)
        refuse("the stride is less than a row, or absurd");
    if (place.stride % 4 != 0 || place.offset % 4 != 0 ||
        (place.type == TensorType::q8 &&
         (place.stride % kTensorAlignment != 0 || place.offset % kTensorAlignment != 0)))
        refuse("stride and offset are not aligned");
    if (size_sum(place.offset, place.span()) > bytes()) refuse("it lies outside the arena");
    if (place.slice_of) {
        const TensorPlace* parent = find(*place.slice_of);
        if (!parent || !is_slice(place, *parent))
            refuse("slice_of must name a tensor declared before, of whose columns it is a part");
    }
    const TensorPlace& declared = places_.emplace(place.id, std::move(place)).first->second;
    const auto index = static_cast<size_t>(declared.id);
    if (index >= known_.size()) known_.resize(index + 1);
    known_[index].place = &declared;
    order_.push_back(declared.id);
    if (declared.slice_of)
        known_[static_cast<size_t>(*declared.slice_of)].slices.push_back(&declared);
}

const TensorPlace* Arena::find(int64_t id) const {
    if (id < 0 || id >= static_cast<int64_t>(known_.size())) return nullptr;
    return known_[static_cast<size_t>(id)].place;
}

const TensorPlace& Arena::place(int64_t id) const {
    const TensorPlace* found = find(id);
    if (!found) fail("there is no tensor {}", id);
    return *found;
}

void Arena::undeclare(size_t count) {
    for (; order_.size() > count; order_.pop_back()) {
        const int64_t id = order_.back();
        forget(id);
        Known& known = known_[static_cast<size_t>(id)];
        if (known.place->slice_of)  // declared before it, and still there
            std::erase(known_[static_cast<size_t>(*known.place->slice_of)].slices, known.place);
        known = {};
        taken_back_.push_back(places_.extract(id));
    }
}

int64_t Arena::rows_held(int64_t id) const {
    const TensorPlace& wanted = place(id);
    const int64_t rows = known_[static_cast<size_t>(id)].rows;
    if (rows < 0)
        fail(
            "tensor {} '{}' is read before this pass has written it, or after its place was "
            "given to another",
            id, wanted.name);
    return rows;
}

void Arena::hold(const TensorPlace& place, int64_t rows) {
    Known& known = known_[static_cast<size_t>(place.id)];
    known.rows = rows;
    known.of_forward |= !in_logits_;
    known.written = writes_;
    held_[std::bit_width(static_cast<uint64_t>(place.span()))].emplace(place.offset, place.id);
}

void Arena::note_written(int64_t id, int64_t rows) {
    const TensorPlace& written = place(id);
    ++writes_;
    for (size_t bits = 0; bits < held_.size(); ++bits) {
        auto& held = held_[bits];
        auto at = held.lower_bound({written.offset - (int64_t{1} << bits), 0});
        while (at != held.end() && at->first < written.offset + written.span()) {
            Known& other = known_[static_cast<size_t>(at->second)];
            if (share_bytes(written.bytes(), other.place->bytes())) {
                other.rows = -1;
                at = held.erase(at);
            } else {
                ++at;
                if (++passed_over_ > kMostPassedOver)
                    fail("tensor {} '{}': too many tensors are columns beside each other", id,
                         written.name);
            }
        }
    }
    hold(written, rows);
    for (const TensorPlace* slice : known_[static_cast<size_t>(id)].slices) hold(*slice, rows);
}

void Arena::forget(int64_t id) {
    Known& known = known_[static_cast<size_t>(id)];
    known.rows = -1;
    const TensorPlace& place = *known.place;
    held_[std::bit_width(static_cast<uint64_t>(place.span()))].erase({place.offset, place.id});
}

void Arena::forget_since(uint64_t writes) {
    for (const int64_t id : order_)
        if (known_[static_cast<size_t>(id)].written > writes) forget(id);
}

void Arena::show_shapes() {
    for (Known& known : known_)
        if (known.place) known.rows = known.place->rows;
}

void Arena::begin_pass() {
    for (auto& held : held_) held.clear();
    for (Known& known : known_) {
        known.rows = -1;
        known.of_forward = false;
    }
    in_logits_ = false;
    passed_over_ = 0;
}

void Arena::require_writable(int64_t id) const {
    if (!in_logits_) return;
    const auto check = [&](const TensorPlace& other) {
        if (known_[static_cast<size_t>(other.id)].of_forward)
            fail(
                "tensor {} '{}' is written by forward: logits may be wanted again, and must be "
                "computed in tensors of their own",
                other.id, other.name);
    };
    const TensorPlace& written = place(id);
    check(written);
    for (const TensorPlace* slice : known_[static_cast<size_t>(id)].slices) check(*slice);
    // A slice is declared after what it is a part of, so this ends.
    for (const TensorPlace* whole = &written; whole->slice_of;) {
        whole = &place(*whole->slice_of);
        check(*whole);
    }
}

}  // namespace llmsql
