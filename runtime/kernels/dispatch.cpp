// SPDX-License-Identifier: MIT
// The one place where an instruction set is chosen.
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <atomic>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/error.h"
#include "runtime/kernels/kernels.h"

namespace llmsql {
namespace {

std::atomic<const Kernels*> named{nullptr};

const Kernels* portable() {
    return &portable_kernels();
}

// From the first to the best. amx_kernels() asks the system for a right that the process keeps, so
// it comes last, and is called only by those who want it, or all.
constexpr const Kernels* (*kFamilies[])() = {portable,       avx2_kernels, avxvnni_kernels,
                                             avx512_kernels, neon_kernels, i8mm_kernels,
                                             amx_kernels};

const Kernels* find(std::string_view name) {
    for (const auto& family : kFamilies)
        if (const Kernels* kernels = family(); kernels && kernels->name == name) return kernels;
    return nullptr;
}

[[noreturn]] void fail_unknown(std::string_view name, std::string_view where) {
    if (name == "amx" && amx_is_withheld())
        fail(
            "{}the system does not lend this process the tiles of AMX, as where one of its stacks "
            "for signals has less than 11 KB: name 'avx512' instead",
            where);
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

Ahead suited_to_processor() {
#if defined(__x86_64__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(0, &a, &b, &c, &d)) return Ahead::long_blocks;
    if (b == signature_INTEL_ebx && d == signature_INTEL_edx && c == signature_INTEL_ecx)
        return Ahead::into_second;
    if (b == signature_AMD_ebx && d == signature_AMD_edx && c == signature_AMD_ecx &&
        __get_cpuid(1, &a, &b, &c, &d) &&
        ((a >> 8) & 15) + ((a >> 20) & 255) >= 0x1A)  // family; Zen 3 and 4 are 0x19
        return Ahead::into_first;
#endif
    return Ahead::long_blocks;
}

}  // namespace

Ahead ahead_of_use() {
    static const Ahead suited = suited_to_processor();
    return suited;
}

std::span<const Kernels* const> usable_kernels() {
    static const std::vector<const Kernels*> usable = [] {
        std::vector<const Kernels*> found;
        for (const auto& family : kFamilies)
            if (const Kernels* kernels = family()) found.push_back(kernels);
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
