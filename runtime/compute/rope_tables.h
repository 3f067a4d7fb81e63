// SPDX-License-Identifier: MIT
// Cosines and sines for rotary embeddings, shared by the layers of a pass.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

namespace llmsql {

/// For positions position … position + rows - 1 and i in [0, half): the angle is
/// (position + r) * base^(-i / half), divided by factors[i] unless `factors` is null; its cosine
/// and sine times `magnitude` are computed in f64 and rounded once.
class RopeTable {
  public:
    RopeTable(double base, const float* factors, double magnitude, int64_t half, int64_t position,
              int64_t rows);
    const float* cosine(int64_t row) const { return values_.data() + row * 2 * half_; }
    const float* sine(int64_t row) const { return cosine(row) + half_; }

  private:
    int64_t half_;
    std::vector<float> values_;  // a row: cosines, then sines
};

/// The few tables used last. One thread at a time. Factors stay where they are and as they are.
class RopeTables {
  public:
    std::shared_ptr<const RopeTable> get(double base, const float* factors, double magnitude,
                                         int64_t half, int64_t position, int64_t rows);

  private:
    static constexpr size_t kKept = 4;  // a plan has one or two bases
    struct Key {
        double base;
        const float* factors;
        double magnitude;
        int64_t half, position, rows;
        bool operator==(const Key&) const = default;
    };
    std::deque<std::pair<Key, std::shared_ptr<const RopeTable>>> recent_;
};

}  // namespace llmsql
