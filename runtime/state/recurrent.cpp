// SPDX-License-Identifier: MIT
// Recurrent states. See recurrent.h.
#include "runtime/state/recurrent.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/error.h"
#include "common/sizes.h"

namespace llmsql {
namespace {

constexpr int64_t kMostStates = 1 << 14;
constexpr int64_t kMostElements = int64_t{1} << 31;    // of a state
constexpr int64_t kMostStateBytes = int64_t{1} << 50;  // sums of sizes cannot overflow

}  // namespace

void RecurrentStates::declare(int64_t id, RecurrentShape shape) {
    if (id != static_cast<int64_t>(shapes_.size()))
        fail("state {}: states are numbered from 0 without a gap, {} comes next", id,
             shapes_.size());
    if (id >= kMostStates) fail("state {}: there may be {} states", id, kMostStates);
    if (shape.heads < 1 || shape.rows < 1 || shape.width < 1 ||
        size_product(shape.heads, shape.rows, shape.width) > kMostElements)
        fail("state {} '{}': heads, rows and width must be 1 at least, 2^31 elements in all", id,
             shape.name);
    if (shape.inputs < 0 || shape.inputs > kMostElements)
        fail("state {} '{}': inputs must be 0 to 2^31", id, shape.name);
    if (!sequences_.empty()) fail("state {}: the states are already in use", id);
    shapes_.push_back(std::move(shape));
    if (bytes() <= kMostStateBytes) return;
    shapes_.pop_back();
    fail("state {}: the states would take more than {} bytes", id, kMostStateBytes);
}

void RecurrentStates::undeclare(size_t count) {
    if (count >= shapes_.size()) return;
    shapes_.resize(count);
    begun_.clear();
    cuttable_.clear();
    snapshots_.clear();
    taken_back_.push_back(std::exchange(sequences_, {}));
}

int64_t RecurrentStates::bytes_per_sequence() const {
    int64_t bytes = 0;
    for (const RecurrentShape& shape : shapes_) bytes = size_sum(bytes, shape.bytes());
    return bytes;
}

int64_t RecurrentStates::input_bytes(const RecurrentShape& shape) const {
    return size_product(shape.inputs, drafts_ + 1, static_cast<int64_t>(sizeof(float)));
}

int64_t RecurrentStates::bytes() const {
    const int64_t states = bytes_per_sequence();
    int64_t bytes = states;
    if (drafts_ > 0) {
        bytes = size_sum(bytes, bytes);
        for (const RecurrentShape& shape : shapes_) bytes = size_sum(bytes, input_bytes(shape));
    }
    return size_sum(size_product(bytes, count_), size_product(states, most_snapshots_));
}

void RecurrentStates::require(int64_t sequence, int64_t id) const {
    if (id < 0 || id >= static_cast<int64_t>(shapes_.size()))
        fail("there is no state {}: the plan declares {} (rows of state)", id, shapes_.size());
    if (sequence < 0 || sequence >= count_)
        fail("there is no sequence {}: the plan has room for {}", sequence, count_);
}

const RecurrentStates::Held* RecurrentStates::find(int64_t sequence, int64_t id) const {
    require(sequence, id);
    const auto found = sequences_.find(sequence);
    return found == sequences_.end() ? nullptr : &found->second[static_cast<size_t>(id)];
}

// Memory for a sequence that has none yet; pages cost nothing until they are touched.
RecurrentStates::Held& RecurrentStates::held(int64_t sequence, int64_t id) {
    require(sequence, id);
    auto found = sequences_.find(sequence);
    if (found == sequences_.end()) {
        std::vector<Held> fresh(shapes_.size());
        for (size_t i = 0; i < shapes_.size(); ++i)
            fresh[i].memory =
                AnonymousMemory(static_cast<size_t>(shapes_[i].bytes()), "recurrent states");
        found = sequences_.emplace(sequence, std::move(fresh)).first;
    }
    return found->second[static_cast<size_t>(id)];
}

RecurrentState RecurrentStates::state(int64_t sequence, int64_t id) {
    const Held& it = held(sequence, id);
    const RecurrentShape& shape = shapes_[static_cast<size_t>(id)];
    return {sequence,   id,          shape.heads,
            shape.rows, shape.width, reinterpret_cast<float*>(it.memory.data())};
}

int64_t RecurrentStates::position(int64_t sequence, int64_t id) const {
    const Held* it = find(sequence, id);
    return it ? it->position : 0;
}

void RecurrentStates::go_to(int64_t sequence, int64_t position) {
    const Snapshot* const kept = find_snapshot(sequence, position);
    if (!kept) return;
    for (int64_t id = 0; id < static_cast<int64_t>(shapes_.size()); ++id) {
        Held& it = held(sequence, id);
        if (it.position == position) continue;
        std::ranges::copy(part(*kept, id), it.memory.data());
        it.position = position;
        it.written = ++writes_;
    }
}

void RecurrentStates::begin(int64_t sequence, int64_t id, int64_t position, int64_t rows) {
    Held& it = held(sequence, id);
    const std::string& name = shapes_[static_cast<size_t>(id)].name;
    if (it.next >= 0) fail("state {} '{}' has gone on already in this pass", id, name);
    if (position != 0 && it.position < 0)
        fail("state {} '{}' is not known, as a pass has failed: begin at position 0", id, name);
    if (position != 0 && it.position != position)
        fail("state {} '{}' is that at position {}, from which no pass at {} can go on", id, name,
             it.position, position);
    if (position == 0) std::memset(it.memory.data(), 0, it.memory.size());
    drop_snapshots(sequence, position);
    it.position = -1;
    it.next = position + rows;
    it.written = ++writes_;
    if (is_cuttable(sequence)) it.cut_from = position;
    begun_.emplace_back(sequence, id);
}

void RecurrentStates::commit() {
    for (const auto& [sequence, id] : std::exchange(begun_, {})) {
        Held& it = held(sequence, id);
        it.position = std::exchange(it.next, -1);
    }
    for (Snapshot& snapshot : snapshots_) snapshot.coming = false;
}

void RecurrentStates::abandon() {
    for (const auto& [sequence, id] : std::exchange(begun_, {})) held(sequence, id).next = -1;
    cuttable_.clear();
    for (Snapshot& snapshot : snapshots_)
        if (std::exchange(snapshot.coming, false)) snapshot.position = 0;
}

bool RecurrentStates::is_cuttable(int64_t sequence) const {
    return std::ranges::find(cuttable_, sequence) != cuttable_.end();
}

void RecurrentStates::may_cut(int64_t sequence, int64_t rows) {
    if (shapes_.empty()) return;
    if (rows > drafts_ + 1)
        fail("a pass of {} rows of a sequence cannot be cut: `state` has room for {} drafts", rows,
             drafts_);
    for (int64_t id = 0; id < static_cast<int64_t>(shapes_.size()); ++id) {
        Held& it = held(sequence, id);
        it.cut_from = -1;
        if (it.before.size() == 0) {
            const RecurrentShape& shape = shapes_[static_cast<size_t>(id)];
            it.inputs = AnonymousMemory(static_cast<size_t>(input_bytes(shape)), "drafts");
            it.before = AnonymousMemory(static_cast<size_t>(shape.bytes()), "drafts");
        }
    }
    if (!is_cuttable(sequence)) cuttable_.push_back(sequence);
}

CutRoom RecurrentStates::cut_room(int64_t sequence, int64_t id) const {
    const Held* const it = find(sequence, id);
    if (!it || !is_cuttable(sequence)) return {};
    return {reinterpret_cast<float*>(it->before.data()),
            reinterpret_cast<float*>(it->inputs.data())};
}

bool RecurrentStates::can_cut(int64_t sequence, int64_t position) const {
    if (!is_cuttable(sequence)) return false;
    for (int64_t id = 0; id < static_cast<int64_t>(shapes_.size()); ++id) {
        const Held* const it = find(sequence, id);
        if (!it || it->cut_from < 0 || position < it->cut_from || position > it->position)
            return false;
    }
    return true;
}

int64_t RecurrentStates::go_back(int64_t sequence) {
    int64_t position = 0;
    for (int64_t id = 0; id < static_cast<int64_t>(shapes_.size()); ++id) {
        Held& it = held(sequence, id);
        std::swap(it.memory, it.before);
        position = it.position = std::exchange(it.cut_from, -1);
        it.written = ++writes_;
    }
    std::erase(cuttable_, sequence);
    return position;
}

std::span<std::byte> RecurrentStates::part(const Snapshot& snapshot, int64_t id) const {
    int64_t first = 0;
    for (int64_t before = 0; before < id; ++before)
        first += shapes_[static_cast<size_t>(before)].bytes();
    return {snapshot.memory.data() + first,
            static_cast<size_t>(shapes_[static_cast<size_t>(id)].bytes())};
}

const RecurrentStates::Snapshot* RecurrentStates::find_snapshot(int64_t sequence,
                                                                int64_t position) const {
    for (const Snapshot& snapshot : snapshots_)
        if (snapshot.sequence == sequence && snapshot.position == position && position > 0 &&
            !snapshot.coming)
            return &snapshot;
    return nullptr;
}

int64_t RecurrentStates::last_snapshot(int64_t sequence, int64_t position) const {
    int64_t last = 0;
    for (const Snapshot& snapshot : snapshots_)
        if (snapshot.sequence == sequence && !snapshot.coming && snapshot.position <= position)
            last = std::max(last, snapshot.position);
    return last;
}

int64_t RecurrentStates::question(int64_t sequence) const {
    for (const Snapshot& snapshot : snapshots_)
        if (snapshot.sequence == sequence && snapshot.question && !snapshot.coming)
            return snapshot.position;
    return 0;
}

void RecurrentStates::drop_snapshots(int64_t sequence, int64_t behind) {
    for (Snapshot& snapshot : snapshots_)
        if (snapshot.sequence == sequence && snapshot.position > behind && !snapshot.coming)
            snapshot.position = 0;
}

// What would be computed again without it, against how far back it is: so those that stay are the
// further from each other the further back they are.
double RecurrentStates::loss(const Snapshot& snapshot) const {
    const int64_t before = last_snapshot(snapshot.sequence, snapshot.position - 1);
    const int64_t end = std::max(position(snapshot.sequence, 0), snapshot.position);
    return static_cast<double>(snapshot.position - before) /
           static_cast<double>(end - snapshot.position + 1);
}

RecurrentStates::Snapshot* RecurrentStates::room_for_snapshot(bool question) {
    for (Snapshot& snapshot : snapshots_)
        if (snapshot.position == 0) return &snapshot;
    if (static_cast<int64_t>(snapshots_.size()) < most_snapshots_) {
        try {
            AnonymousMemory memory(static_cast<size_t>(bytes_per_sequence()), "snapshots");
            snapshots_.push_back({std::move(memory)});
            return &snapshots_.back();
        } catch (const Error&) {  // then with those that there are
        }
    }
    const auto least = [&](auto may_go) {
        Snapshot* found = nullptr;
        for (Snapshot& snapshot : snapshots_)
            if (!snapshot.coming && may_go(snapshot) && (!found || loss(snapshot) < loss(*found)))
                found = &snapshot;
        return found;
    };
    Snapshot* const found = least([](const Snapshot& it) { return !it.question; });
    return found || !question ? found : least([](const Snapshot&) { return true; });
}

void RecurrentStates::keep(int64_t sequence, int64_t first, int64_t position, bool question) {
    if (shapes_.empty() || most_snapshots_ == 0 || position <= 0) return;
    require(sequence, 0);
    drop_snapshots(sequence, first);
    if (question)
        for (Snapshot& snapshot : snapshots_)
            if (snapshot.sequence == sequence) snapshot.question = snapshot.position == position;
    if (find_snapshot(sequence, position)) return;
    Snapshot* const room = room_for_snapshot(question);
    if (!room) return;
    room->sequence = sequence;
    room->position = position;
    room->question = question;
    room->coming = true;
}

SnapshotRoom RecurrentStates::snapshot_room(int64_t sequence, int64_t id, int64_t position) {
    for (const Snapshot& snapshot : snapshots_)
        if (snapshot.sequence == sequence && snapshot.coming)
            return {reinterpret_cast<float*>(part(snapshot, id).data()),
                    snapshot.position - position};
    return {};
}

int64_t RecurrentStates::rewind(int64_t sequence, int64_t position) const {
    for (int64_t id = 0; id < static_cast<int64_t>(shapes_.size()); ++id)
        if (this->position(sequence, id) != position) return last_snapshot(sequence, position);
    return position;
}

std::span<const std::byte> RecurrentStates::at(int64_t sequence, int64_t id,
                                               int64_t position) const {
    const Held* const it = find(sequence, id);
    if (it && it->position == position) return {it->memory.data(), it->memory.size()};
    const Snapshot* const kept = find_snapshot(sequence, position);
    if (!kept) fail("there is no state {} of sequence {} at position {}", id, sequence, position);
    return part(*kept, id);
}

void RecurrentStates::copy(int64_t from, int64_t to, int64_t position) {
    for (int64_t id = 0; id < static_cast<int64_t>(shapes_.size()); ++id) {
        Held& target = held(to, id);
        std::ranges::copy(at(from, id, position), target.memory.data());
        target.position = position;
        target.written = ++writes_;
    }
    drop_snapshots(to, 0);
    std::erase(cuttable_, to);
}

void RecurrentStates::restore(int64_t sequence, int64_t id, int64_t position,
                              std::span<const std::byte> bytes) {
    Held& it = held(sequence, id);
    if (bytes.size() != it.memory.size())
        fail("state {} has {} bytes, not {}", id, it.memory.size(), bytes.size());
    std::memcpy(it.memory.data(), bytes.data(), bytes.size());
    it.position = position;
    it.written = ++writes_;
    drop_snapshots(sequence, 0);
    std::erase(cuttable_, sequence);
}

void RecurrentStates::forget_since(uint64_t writes) {
    for (auto& [sequence, states] : sequences_)
        for (Held& it : states)
            if (it.written > writes) it.position = it.next = -1;
    begun_.clear();
    abandon();
}

}  // namespace llmsql
