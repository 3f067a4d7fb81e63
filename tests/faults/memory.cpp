// SPDX-License-Identifier: MIT
// Allocations that can fail where points.c leaves malloc() alone, under AddressSanitizer: C++'s and
// SQLite's.
#include "tests/faults/memory.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#include <sqlite3.h>

#include <cstddef>
#include <cstdlib>
#include <new>

#include "tests/faults/points.h"

namespace {

void* allocate(std::size_t bytes, std::size_t alignment) {
    if (fault_here(FAULT_MEMORY, "operator new")) return nullptr;
    if (bytes == 0) bytes = 1;
    if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes);
    return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
    if (void* memory = allocate(bytes, alignment)) return memory;
    throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) {
    return allocate_or_throw(bytes, 0);
}
void* operator new[](std::size_t bytes) {
    return allocate_or_throw(bytes, 0);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
    return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return allocate(bytes, 0);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
    return allocate(bytes, 0);
}
// Not inlined: GCC 14 would find free() called for what new returned.
[[gnu::noinline]] void operator delete(void* memory) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}

namespace llmsql::faults {

namespace {
sqlite3_mem_methods real_memory;
}

void prepare_memory() {
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory);
    sqlite3_mem_methods methods = real_memory;
    methods.xMalloc = [](int bytes) -> void* {
        return fault_here(FAULT_MEMORY, "xMalloc") ? nullptr : real_memory.xMalloc(bytes);
    };
    methods.xRealloc = [](void* memory, int bytes) -> void* {
        return fault_here(FAULT_MEMORY, "xRealloc") ? nullptr : real_memory.xRealloc(memory, bytes);
    };
    sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
}

}  // namespace llmsql::faults
#else
void llmsql::faults::prepare_memory() {}
#endif
