// SPDX-License-Identifier: MIT
// Page-aligned zeroed memory from the kernel: pages cost nothing until they are touched.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <utility>

#include "common/error.h"

namespace llmsql {

class AnonymousMemory {
  public:
    AnonymousMemory() = default;
    explicit AnonymousMemory(size_t bytes, const char* purpose) : bytes_(bytes) {
        if (bytes == 0) return;
        void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mapped == MAP_FAILED)
            fail(
                "out of memory: there are no {} MiB for {}: compile a plan with a --budget, or a "
                "smaller --context",
                (bytes + (1 << 20) - 1) >> 20, purpose);
        data_ = static_cast<std::byte*>(mapped);
    }
    AnonymousMemory(AnonymousMemory&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    AnonymousMemory& operator=(AnonymousMemory&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~AnonymousMemory() {
        if (data_) munmap(data_, bytes_);
    }

    std::byte* data() const { return data_; }
    size_t size() const { return bytes_; }

  private:
    std::byte* data_ = nullptr;
    size_t bytes_ = 0;
};

}  // namespace llmsql
