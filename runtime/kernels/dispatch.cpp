// SPDX-License-Identifier: MIT
// The one place where an instruction set is chosen.
#include <atomic>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/error.h"
#include "runtime/kernels/kernels.h"

namespace llmsql {
namespace {

std::atomic<const Kernels*> named{nullptr};

const Kernels* find(std::string_view name) {
    for (const Kernels* kernels : usable_kernels())
        if (kernels->name == name) return kernels;
    return nullptr;
}

[[noreturn]] void fail_unknown(std::string_view name, std::string_view where) {
    std::string names;
    for (const Kernels* kernels : usable_kernels())
        names += (names.empty() ? "" : ", ") + std::string(kernels->name);
    fail("{}there are no kernels '{}' for this processor; it has {}", where, name, names);
}

const Kernels& preferred() {
    const char* name = std::getenv("LLMSQL_KERNELS");
    if (!name || !*name) return *usable_kernels().back();
    if (const Kernels* kernels = find(name)) return *kernels;
    fail_unknown(name, "LLMSQL_KERNELS: ");
}

}  // namespace

std::span<const Kernels* const> usable_kernels() {
    static const std::vector<const Kernels*> usable = [] {
        std::vector<const Kernels*> found{&portable_kernels()};
        for (const Kernels* kernels :
             {avx2_kernels(), avxvnni_kernels(), avx512_kernels(), neon_kernels(), i8mm_kernels()})
            if (kernels) found.push_back(kernels);
        return found;
    }();
    return usable;
}

const Kernels& kernels() {
    if (const Kernels* wanted = named.load(std::memory_order_relaxed)) return *wanted;
    static const Kernels& ours = preferred();
    return ours;
}

void use_kernels(std::string_view name) {
    const Kernels* kernels = find(name);
    if (!kernels) fail_unknown(name, "");
    named.store(kernels, std::memory_order_relaxed);
}

}  // namespace llmsql
