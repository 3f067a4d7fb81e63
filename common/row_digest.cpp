// SPDX-License-Identifier: MIT
// A running hash of typed values. See row_digest.h.
#include "common/row_digest.h"

#include <xxhash.h>

#include <cstring>
#include <new>

#include "common/hash.h"

namespace llmsql {

void RowDigest::Deleter::operator()(XXH3_state_s* state) const {
    XXH3_freeState(state);
}

RowDigest::RowDigest() : state_(XXH3_createState()) {
    if (!state_) throw std::bad_alloc();
    XXH3_128bits_reset(state_.get());
}

RowDigest::~RowDigest() = default;

void RowDigest::add(char type, const void* data, size_t bytes) {
    char head[1 + sizeof(uint64_t)] = {type};
    const uint64_t length = bytes;
    std::memcpy(head + 1, &length, sizeof length);
    XXH3_128bits_update(state_.get(), head, sizeof head);
    XXH3_128bits_update(state_.get(), data, bytes);
}

void RowDigest::add_null() {
    add('n', "", 0);
}

void RowDigest::add_integer(int64_t value) {
    add('i', &value, sizeof value);
}

void RowDigest::add_real(double value) {
    add('r', &value, sizeof value);
}

void RowDigest::add_text(std::string_view value) {
    add('t', value.data(), value.size());
}

void RowDigest::add_blob(std::string_view value) {
    add('b', value.data(), value.size());
}

std::string RowDigest::hex() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return llmsql::hex({.high = hash.high64, .low = hash.low64});
}

}  // namespace llmsql
