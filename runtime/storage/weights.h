// WeightPool: the weights of an open model, as the kernels read them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/catalogue.h"
#include "runtime/storage/anonymous_memory.h"
#include "runtime/storage/model_db.h"

namespace llmsql {

class WeightPool;

/// One parameter: what a row of the `param` table hands to operators.
struct Weight {
    int id = 0;  // catalogue id, from 1
    ParamEntry entry;
    WeightPool* pool = nullptr;

    /// Strip `strip` of a matrix, laid out as strip_bytes() says; valid as long as the pool.
    const std::byte* strip(int64_t strip) const;
    /// A vector's values.
    std::span<const float> vector() const;
};

/// Every parameter is read once, on the calling thread, its checksums verified, and stays in
/// memory. Reading what is loaded is thread-safe.
class WeightPool {
  public:
    /// Fails on a missing, misshapen or damaged tile, naming parameter and row.
    explicit WeightPool(const ModelDb& db);
    WeightPool(const WeightPool&) = delete;
    WeightPool& operator=(const WeightPool&) = delete;

    /// By catalogue id, from 1 to size(); stable for the pool's life.
    const Weight& weight(int id) const { return weights_[static_cast<size_t>(id - 1)]; }
    int size() const { return static_cast<int>(weights_.size()); }

    const std::byte* data(int id) const { return memory_[static_cast<size_t>(id - 1)].data(); }

  private:
    std::vector<Weight> weights_;
    std::vector<AnonymousMemory> memory_;
};

}  // namespace llmsql
