// SPDX-License-Identifier: MIT
// The kernels for x86-64 with AVX-512 and AMX's tiles of int8 (Intel's servers since 2023): the
// AVX-512 ones, but for many rows of x, which tiles multiply. As avx512/kernels.cpp it is compiled
// for its instruction sets alone, and may share no inline function with others.
#include "runtime/kernels/kernels.h"

#if defined(__x86_64__) && defined(__linux__)

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/kernels/avx512/vectors.h"
#include "runtime/kernels/matrices.h"

namespace llmsql {
namespace {

const Kernels* by_vectors = nullptr;  // before there is a table of these kernels

struct Amx : Avx512 {
    static constexpr int kMatrixTokens = kMostTokens < 8 ? kMostTokens : 16;

    static const Kernels& others() { return *by_vectors; }

    template<int B>
    static LLMSQL_INLINE Bytes signed_code(Bytes codes) {
        if constexpr (B == 0) return codes;
        return _mm512_sub_epi8(codes, _mm512_set1_epi8(B));
    }
    template<int>
    static LLMSQL_INLINE Bytes signed_code(Signed codes) {
        return _mm512_xor_si512(codes.raised, _mm512_set1_epi8(-128));
    }

    // Tiles 0 to 3 have sums: a row of 16 for each row of x. 4 and 5 have rows of x, 6 and 7 codes,
    // a row of four columns of 16 rows.
    template<int Parts>
    struct Matrices {
        LLMSQL_INLINE ~Matrices() { asm volatile("tilerelease" ::); }
        LLMSQL_INLINE void set(int64_t tokens) const {
            struct {
                uint8_t palette = 1, start = 0, unused[14] = {};
                uint16_t bytes[16] = {};
                uint8_t rows[16] = {};
            } shapes;
            for (int i = 0; i < 8; ++i) {
                shapes.bytes[i] = i == 4 || i == 5 ? 32 / Parts : 64;
                shapes.rows[i] = static_cast<uint8_t>(i >= 6 ? 8 / Parts : tokens);
            }
            asm volatile("ldtilecfg %0" ::"m"(shapes));
        }
    };
    template<int Parts, int N>
    static LLMSQL_INLINE void begin(const std::byte (&codes)[512], const int8_t* x,
                                    int64_t x_stride) {
        multiply<2 * N, Parts == 1 ? N : 0>(codes, 0, x, x_stride);
        if constexpr (Parts == 2) multiply<2 * N + 1, 1>(codes, 256, x + 16, x_stride);
    }
    template<int Parts, int N, int T>
    static LLMSQL_INLINE void end(int32_t (&dots)[Parts][T][16]) {
        take_out<2 * N>(dots[0]);
        if constexpr (Parts == 2) take_out<2 * N + 1>(dots[1]);
    }

    // The compilers' own intrinsics do not say what memory is read and written (GCC 12), so stores
    // of it may be left out. Rows of x are written long before.
    template<int To, int Pair>
    static LLMSQL_INLINE void multiply(const std::byte (&codes)[512], int64_t from, const int8_t* x,
                                       int64_t x_stride) {
        asm volatile(
            "tileloadd (%3,%4,1), %%tmm%c0\n\t"
            "tileloadd (%5,%6,1), %%tmm%c1\n\t"
            "tilezero %%tmm%c2\n\t"
            "tdpbssd %%tmm%c0, %%tmm%c1, %%tmm%c2" ::"i"(6 + Pair),
            "i"(4 + Pair), "i"(To), "r"(codes + from), "r"(int64_t{64}), "r"(x), "r"(x_stride),
            "m"(codes));
    }
    template<int From, int T>
    static LLMSQL_INLINE void take_out(int32_t (&dots)[T][16]) {
        asm volatile("tilestored %%tmm%c1, (%2,%3,1)"
                     : "=m"(dots)
                     : "i"(From), "r"(&dots), "r"(int64_t{64}));
    }
    // Below 2^22, as sums of 32 products are. The conversion is one of the multiplications that
    // these processors do half as fast beside products of matrices, so it is done by additions:
    // the bits of 1.5 * 2^23 and a whole number, added, are those of their sum.
    static LLMSQL_INLINE Sum dots(const int32_t* p) {
        const __m512 middle = _mm512_set1_ps(12582912.0f);
        const __m512i sum = _mm512_add_epi32(_mm512_load_si512(p), _mm512_castps_si512(middle));
        return _mm512_sub_ps(_mm512_castsi512_ps(sum), middle);
    }
};

bool has_tiles() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kTile) && (d & kInt8);
}

// Linux lends the tiles' registers to a process that asks, once for all its threads
// (Documentation/arch/x86/xstate.rst).
bool may_use_tiles() {
    constexpr long kSupported = 0x1021, kAskFor = 0x1023, kTileData = 18;
    uint64_t supported = 0;
    return syscall(SYS_arch_prctl, kSupported, &supported) == 0 && (supported >> kTileData & 1) &&
           syscall(SYS_arch_prctl, kAskFor, kTileData) == 0;
}

const Kernels* table() {
    by_vectors = avx512_kernels();
    if (!by_vectors || !has_tiles() || !may_use_tiles()) return nullptr;
    static constexpr Linears<Amx> kTiled = kLinears<Amx, ByMatrices>;
    static constexpr std::string_view kName = "amx";
    constexpr size_t kFormats = kWeightFormats.size();
    static LinearKernel linear[kFormats];
    static Kernels table = *by_vectors;
    for (size_t i = 0; i < kFormats; ++i)
        linear[i] = kTiled.of[i].strips ? kTiled.of[i] : table.linear[i];
    table.name = kName;
    table.linear = linear;
    return &table;
}

}  // namespace

const Kernels* amx_kernels() {
    static const Kernels* const usable = table();
    return usable;
}

bool amx_is_withheld() {
    return avx512_kernels() && has_tiles() && !amx_kernels();
}

}  // namespace llmsql

#else

namespace llmsql {

const Kernels* amx_kernels() {
    return nullptr;
}

bool amx_is_withheld() {
    return false;
}

}  // namespace llmsql

#endif
