// The arena of activations. See arena.h.
#include "runtime/storage/arena.h"

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace llmsql {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kMostBytes = int64_t{1} << 40;
constexpr int64_t kMostId = 65535;

bool overlap(const TensorPlace& a, const TensorPlace& b) {
    return a.offset < b.offset + b.span() && b.offset < a.offset + a.span();
}

// Whether `slice` is a range of columns of `parent`: the same rows, within the parent's row.
bool is_slice(const TensorPlace& slice, const TensorPlace& parent) {
    return slice.type == TensorType::f32 && parent.type == TensorType::f32 &&
           slice.stride == parent.stride && slice.rows == parent.rows &&
           slice.offset >= parent.offset &&
           slice.offset + slice.row_bytes() <= parent.offset + parent.row_bytes();
}

// Two slices of one row that share no element.
bool disjoint_columns(const TensorPlace& a, const TensorPlace& b) {
    if (a.stride != b.stride || a.rows != b.rows) return false;
    const int64_t apart = b.offset > a.offset ? b.offset - a.offset : a.offset - b.offset;
    const TensorPlace& first = b.offset > a.offset ? a : b;
    const TensorPlace& second = b.offset > a.offset ? b : a;
    return apart < a.stride && first.row_bytes() <= apart && apart + second.row_bytes() <= a.stride;
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
    if (place.heads < 1 || place.width < 1 || place.heads > kMostBytes / place.width / 4)
        refuse("heads and width must be positive, and not absurd");
    if (place.stride < place.row_bytes() || place.stride > kMostBytes / place.rows)
        refuse("the stride is less than a row, or absurd");
    if (place.stride % 4 != 0 || place.offset % 4 != 0 ||
        (place.type == TensorType::q8 &&
         (place.stride % kAlignment != 0 || place.offset % kAlignment != 0)))
        refuse("stride and offset are not aligned");
    if (place.offset < 0 || place.offset > static_cast<int64_t>(memory_.size()) - place.span())
        refuse("it lies outside the arena");
    if (place.slice_of) {
        const TensorPlace* parent = find(*place.slice_of);
        if (!parent || !is_slice(place, *parent))
            refuse("slice_of must name a tensor declared before, of whose columns it is a part");
    }
    const TensorPlace& declared = places_.emplace(place.id, std::move(place)).first->second;
    const auto index = static_cast<size_t>(declared.id);
    if (index >= known_.size()) known_.resize(index + 1);
    known_[index].place = &declared;
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

int64_t Arena::rows_held(int64_t id) const {
    const auto found = std::ranges::find(held_, id, &Held::id);
    if (found == held_.end())
        fail(
            "tensor {} '{}' is read before this pass has written it, or after its place was "
            "given to another",
            id, place(id).name);
    return found->rows;
}

void Arena::note_written(int64_t id, int64_t rows) {
    const TensorPlace& written = place(id);
    std::erase_if(held_, [&](const Held& held) {
        return overlap(written, *held.place) && !disjoint_columns(written, *held.place);
    });
    held_.push_back({id, rows, &written});
    for (const TensorPlace* slice : known_[static_cast<size_t>(id)].slices)
        held_.push_back({slice->id, rows, slice});
}

void Arena::begin_pass() {
    held_.clear();
}

}  // namespace llmsql
