// SPDX-License-Identifier: MIT
// The one place where an instruction set is chosen.
#include <atomic>
#include <string>
#include <vector>

#include "common/error.h"
#include "runtime/kernels/kernels.h"

namespace llmsql {
namespace {

std::atomic<const Kernels*> named{nullptr};

}  // namespace

std::span<const Kernels* const> usable_kernels() {
    static const std::vector<const Kernels*> usable = [] {
        std::vector<const Kernels*> found{&portable_kernels()};
        for (const Kernels* kernels :
             {avx2_kernels(), avxvnni_kernels(), avx512_kernels(), neon_kernels()})
            if (kernels) found.push_back(kernels);
        return found;
    }();
    return usable;
}

const Kernels& kernels() {
    static const Kernels& best = *usable_kernels().back();
    const Kernels* wanted = named.load(std::memory_order_relaxed);
    return wanted ? *wanted : best;
}

void use_kernels(std::string_view name) {
    std::string names;
    for (const Kernels* kernels : usable_kernels()) {
        if (kernels->name == name) return named.store(kernels, std::memory_order_relaxed);
        names += (names.empty() ? "" : ", ") + std::string(kernels->name);
    }
    fail("there are no kernels '{}' for this processor; it has {}", name, names);
}

}  // namespace llmsql
