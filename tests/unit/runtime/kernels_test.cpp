// SPDX-License-Identifier: MIT
// Every instruction set's kernels against the portable ones, and those against arithmetic in f64.
#include "runtime/kernels/kernels.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <span>

#include "common/half.h"
#include "runtime/state/kv_cache.h"
#include "tests/unit/runtime/packed_matrix.h"

namespace llmsql {
namespace {

using test::pack_matrix;
using test::PackedMatrix;
using test::random_blocks;
using test::random_matrix;
using test::random_values;

// `tokens` rows of x quantised as a q8 tensor.
struct QuantizedRows {
    int64_t stride = 0;
    std::vector<std::byte> bytes;
    std::vector<float> values;  // what the codes stand for

    QuantizedRows(const Kernels& kernels, const std::vector<float>& x, int64_t tokens, int64_t cols)
        : stride(static_cast<int64_t>(tensor_row_bytes(TensorType::q8, cols))),
          bytes(static_cast<size_t>(tokens * stride)),
          values(x.size()) {
        const int64_t blocks = block_count(cols);
        for (int64_t t = 0; t < tokens; ++t) {
            auto* codes = reinterpret_cast<int8_t*>(bytes.data() + t * stride);
            auto* scales = reinterpret_cast<float*>(codes + blocks * kBlock);
            kernels.quantize(x.data() + t * cols, cols,
                             {.codes = codes,
                              .scales = scales,
                              .sums = scales + blocks,
                              .halves = reinterpret_cast<int16_t*>(scales + 2 * blocks)});
            for (int64_t c = 0; c < cols; ++c)
                values[static_cast<size_t>(t * cols + c)] =
                    scales[c / kBlock] * static_cast<float>(codes[c]);
        }
    }
};

// A copy of bytes that ends where a page begins that can't be read.
class BeforeAWall {
  public:
    explicit BeforeAWall(std::span<const std::byte> bytes)
        : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))),
          room_((bytes.size() + page_ - 1) / page_ * page_),
          begin_(static_cast<std::byte*>(mmap(nullptr, room_ + page_, PROT_READ | PROT_WRITE,
                                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))),
          data_(begin_ + room_ - bytes.size()) {
        std::ranges::copy(bytes, data_);
        mprotect(begin_ + room_, page_, PROT_NONE);
    }
    BeforeAWall(const BeforeAWall&) = delete;
    BeforeAWall& operator=(const BeforeAWall&) = delete;
    ~BeforeAWall() { munmap(begin_, room_ + page_); }
    const std::byte* data() const { return data_; }

  private:
    const size_t page_, room_;
    std::byte* const begin_;
    std::byte* const data_;
};

// Some rows of x, as the type takes them, and their outputs.
LinearRows linear_rows(WeightType type, int64_t cols, const QuantizedRows& quantized,
                       const std::vector<float>& x, int64_t first, int64_t tokens, float* out,
                       int64_t out_stride) {
    const bool integers = format_of(type).quantized();
    const std::byte* all =
        integers ? quantized.bytes.data() : reinterpret_cast<const std::byte*>(x.data());
    const int64_t stride = integers ? quantized.stride : cols * static_cast<int64_t>(sizeof(float));
    return {all + first * stride, stride, tokens, out, out_stride};
}

// All rows of x, and 16 outputs of each.
LinearRows linear_rows(WeightType type, int64_t cols, const QuantizedRows& quantized,
                       const std::vector<float>& x, std::vector<float>& out) {
    return linear_rows(type, cols, quantized, x, 0, static_cast<int64_t>(out.size()) / kStripRows,
                       out.data(), kStripRows);
}

// `rows` outputs, a multiple of 16, of some of the tokens.
std::vector<float> run_linear(const Kernels& kernels, WeightType type, const std::byte* weights,
                              int64_t rows, int64_t cols, const QuantizedRows& quantized,
                              const std::vector<float>& x, int64_t first, int64_t tokens) {
    std::vector<float> out(static_cast<size_t>(tokens * rows));
    kernel_of(kernels, type)
        .strips(weights, rows / kStripRows, format_of(type).blocks(cols),
                linear_rows(type, cols, quantized, x, first, tokens, out.data(), rows));
    return out;
}

TEST(Linear, EveryKernelAgreesWithF64AndWithItselfWhateverIsComputedBeside) {
    uint32_t seed = 1;
    for (const Kernels* kernels : usable_kernels())
        for (const auto& [type, name, columns, bytes, activations, keeps, takes_anything, fills,
                          since] : kWeightFormats)
            for (int64_t cols : {1, 31, 32, 33, 64, 100, 576, 1537}) {
                if (!takes_anything) cols = format_of(type).blocks(cols) * columns;
                for (const int64_t tokens : {1, 2, 3, 4, 5, 6, 7, 8, 13, 45}) {
                    if (tokens > 13 && cols != 64 && cols != 1537) continue;
                    const int64_t rows = kStripRows * (1 + (cols + tokens) % 3);
                    SCOPED_TRACE(fmt::format("{} {} rows {} cols {} tokens {}", kernels->name,
                                             name_of(type), rows, cols, tokens));
                    const auto x = random_values(static_cast<size_t>(tokens * cols), ++seed, 3.0f);
                    const PackedMatrix weights = random_matrix(type, rows, cols, ++seed);
                    const QuantizedRows quantized(*kernels, x, tokens, cols);
                    const bool codes = format_of(type).quantized();
                    const std::vector<float>& used = codes ? quantized.values : x;
                    const auto out = run_linear(*kernels, type, weights.bytes.data(), rows, cols,
                                                quantized, x, 0, tokens);
                    for (int64_t r = 0; r < rows; ++r) {
                        const std::byte* strip =
                            weights.bytes.data() +
                            static_cast<size_t>(r / kStripRows) * strip_bytes(type, cols);
                        for (int64_t t = 0; t < tokens; ++t) {
                            double exact = 0, size = 0;
                            for (int64_t c = 0; c < cols; ++c) {
                                const double product =
                                    static_cast<double>(
                                        weights.values[static_cast<size_t>(r * cols + c)]) *
                                    used[static_cast<size_t>(t * cols + c)];
                                exact += product;
                                size += std::fabs(product);
                            }
                            const float got = out[static_cast<size_t>(t * rows + r)];
                            ASSERT_NEAR(got, exact, 1e-5 * size + 1e-6) << "row " << r;
                            if (r % kStripRows != 0) continue;
                            const auto alone = run_linear(*kernels, type, strip, kStripRows, cols,
                                                          quantized, x, t, 1);
                            for (int64_t i = 0; i < kStripRows; ++i)
                                ASSERT_EQ(out[static_cast<size_t>(t * rows + r + i)],
                                          alone[static_cast<size_t>(i)])
                                    << "token " << t << " row " << r + i;
                        }
                    }
                }
            }
}

TEST(Linear, PartsOfAStripGiveTheBitsOfTheWhole) {
    std::mt19937 random(7);
    for (const Kernels* kernels : usable_kernels())
        for (const auto& [type, name, columns, bytes, activations, keeps, takes_anything, fills,
                          since] : kWeightFormats)
            for (int64_t cols : {32, 33, 100, 576, 4864})
                for (const int64_t tokens : {1, 3, 13, 35, 45}) {
                    if (!takes_anything) cols = format_of(type).blocks(cols) * columns;
                    SCOPED_TRACE(fmt::format("{} {} cols {} tokens {}", kernels->name,
                                             name_of(type), cols, tokens));
                    const auto x =
                        random_values(static_cast<size_t>(tokens * cols), random(), 3.0f);
                    const PackedMatrix weights = random_matrix(type, kStripRows, cols, random());
                    const QuantizedRows quantized(*kernels, x, tokens, cols);
                    const auto whole = run_linear(*kernels, type, weights.bytes.data(), kStripRows,
                                                  cols, quantized, x, 0, tokens);
                    const int64_t blocks = format_of(type).blocks(cols);
                    // What is there counts for nothing.
                    std::vector<float> parts(static_cast<size_t>(tokens * kStripRows), 1e9f);
                    const LinearRows rows = linear_rows(type, cols, quantized, x, parts);
                    for (int64_t first = 0; first < blocks;) {
                        const auto count = std::uniform_int_distribution<int64_t>(
                            1, std::min<int64_t>(blocks - first, 40))(random);
                        kernel_of(*kernels, type)
                            .part(weights.bytes.data() +
                                      static_cast<size_t>(first) * format_of(type).block_bytes(),
                                  first, count, blocks, rows);
                        first += count;
                    }
                    EXPECT_EQ(parts, whole);
                }
}

TEST(Linear, ABlockCutAnywhereGivesTheBitsOfThePart) {
    constexpr size_t kGap = 4;
    std::mt19937 random(8);
    for (const Kernels* kernels : usable_kernels())
        for (const WeightFormat& format : kWeightFormats) {
            SCOPED_TRACE(fmt::format("{} {}", kernels->name, format.name));
            constexpr int64_t kBlocks = 2;
            const int64_t cols = kBlocks * format.columns;
            const size_t size = format.block_bytes();
            const PackedMatrix weights = random_matrix(format.type, kStripRows, cols, random());
            const LinearKernel& kernel = kernel_of(*kernels, format.type);
            for (const int64_t tokens : {1, 13, 45}) {
                const auto x = random_values(static_cast<size_t>(tokens * cols), random(), 3.0f);
                const QuantizedRows quantized(*kernels, x, tokens, cols);
                const auto rows = [&](std::vector<float>& out) {
                    return linear_rows(format.type, cols, quantized, x, out);
                };
                for (int64_t at = 0; at < kBlocks; ++at) {
                    const auto block =
                        std::span(weights.bytes).subspan(static_cast<size_t>(at) * size, size);
                    std::vector<float> before(static_cast<size_t>(tokens * kStripRows), 1e9f);
                    if (at > 0) kernel.part(weights.bytes.data(), 0, at, kBlocks, rows(before));
                    std::vector<float> part = before;
                    kernel.part(block.data(), at, 1, kBlocks, rows(part));
                    for (size_t cut = 1; cut < size; cut += tokens == 1 ? 1 : size / 9 + 1) {
                        std::vector<std::byte> broken(size + kGap, std::byte{0x7f});
                        std::ranges::copy(block.first(cut), broken.begin());
                        std::ranges::copy(block.subspan(cut),
                                          broken.end() - static_cast<ptrdiff_t>(size - cut));
                        std::vector<float> sums = before;
                        kernel.cut(broken.data(), static_cast<int64_t>(cut), kGap, at, kBlocks,
                                   rows(sums));
                        ASSERT_EQ(sums, part) << "block " << at << " cut at " << cut;
                    }
                }
            }
        }
}

// What a processor has beside another's instructions: the same integers, summed in the same order.
TEST(Linear, SomeInstructionSetsGiveTheSameBits) {
    const auto named = [](std::string_view name) -> const Kernels* {
        for (const Kernels* kernels : usable_kernels())
            if (kernels->name == name) return kernels;
        return nullptr;
    };
    uint32_t seed = 70;
    for (const auto& [one, other] :
         {std::pair{"avx2", "avxvnni"}, {"avx512", "amx"}, {"neon", "i8mm"}}) {
        const Kernels *first = named(one), *second = named(other);
        if (!first || !second) continue;
        for (const WeightFormat& format : kWeightFormats)
            for (const int64_t tokens : {1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 32, 33, 44, 45, 60}) {
                SCOPED_TRACE(fmt::format("{} {} tokens {}", other, format.name, tokens));
                const int64_t rows = 3 * kStripRows, cols = format.blocks(1000) * format.columns;
                const auto x = random_values(static_cast<size_t>(tokens * cols), ++seed, 3.0f);
                const PackedMatrix weights = random_matrix(format.type, rows, cols, ++seed);
                const QuantizedRows quantized(*first, x, tokens, cols);
                const auto run = [&](const Kernels& kernels) {
                    return run_linear(kernels, format.type, weights.bytes.data(), rows, cols,
                                      quantized, x, 0, tokens);
                };
                const auto expected = run(*first), got = run(*second);
                EXPECT_EQ(std::memcmp(expected.data(), got.data(), got.size() * sizeof(float)), 0);
            }
    }
}

// Rows of x and weights end where no more may be read; what lies between and behind the outputs
// stays.
TEST(Linear, NothingIsReadOrWrittenBeyond) {
    constexpr int64_t kRows = 3 * kStripRows, kStride = kRows + 5;
    uint32_t seed = 300;
    for (const Kernels* kernels : usable_kernels())
        for (const WeightFormat& format : kWeightFormats)
            for (const int64_t tokens : {1, 5, 13, 16, 31, 32, 44, 45, 47, 50}) {
                SCOPED_TRACE(fmt::format("{} {} tokens {}", kernels->name, format.name, tokens));
                const int64_t cols = format.blocks(300) * format.columns;
                const auto x = random_values(static_cast<size_t>(tokens * cols), ++seed, 3.0f);
                const PackedMatrix weights = random_matrix(format.type, kRows, cols, ++seed);
                const QuantizedRows quantized(*kernels, x, tokens, cols);
                const auto expected = run_linear(*kernels, format.type, weights.bytes.data(), kRows,
                                                 cols, quantized, x, 0, tokens);
                const BeforeAWall strips(weights.bytes);
                std::vector<float> out(static_cast<size_t>(tokens * kStride), 7.0f);
                LinearRows rows =
                    linear_rows(format.type, cols, quantized, x, 0, tokens, out.data(), kStride);
                const BeforeAWall walled({rows.x, static_cast<size_t>(tokens * rows.x_stride)});
                rows.x = walled.data();
                kernel_of(*kernels, format.type)
                    .strips(strips.data(), kRows / kStripRows, format.blocks(cols), rows);
                for (int64_t t = 0; t < tokens; ++t)
                    for (int64_t r = 0; r < kStride; ++r)
                        ASSERT_EQ(out[static_cast<size_t>(t * kStride + r)],
                                  r < kRows ? expected[static_cast<size_t>(t * kRows + r)] : 7.0f);
            }
}

TEST(Linear, ExtremeCodesDoNotOverflow) {
    // All codes at their limits, so that every partial sum is as large as it can be.
    for (const Kernels* kernels : usable_kernels())
        for (const WeightType type : {WeightType::q8, WeightType::q4})
            for (const float sign : {1.0f, -1.0f}) {
                constexpr int64_t kCols = 4096;
                const std::vector<float> x(kCols, 127.0f);
                std::vector<float> w(16 * kCols, sign * 127.0f);
                if (type == WeightType::q4)  // a range, so that the codes reach 15
                    for (size_t i = 0; i < w.size(); i += 32) w[i] = 0;
                const PackedMatrix weights = pack_matrix(type, 16, kCols, w);
                const QuantizedRows quantized(*kernels, x, 1, kCols);
                const auto out =
                    run_linear(*kernels, type, weights.bytes.data(), 16, kCols, quantized, x, 0, 1);
                double exact = 0;
                for (int64_t c = 0; c < kCols; ++c)
                    exact += static_cast<double>(weights.values[static_cast<size_t>(c)]) *
                             quantized.values[static_cast<size_t>(c)];
                EXPECT_NEAR(out[0], exact, std::fabs(exact) * 1e-5) << kernels->name;
            }
}

TEST(Linear, ExtremeBytesDoNotOverflow) {
    // All bits of codes and scales set or none, times activations of either sign at their limits.
    constexpr int64_t kCols = 2048;
    for (const Kernels* kernels : usable_kernels())
        for (const WeightFormat& format : kWeightFormats)
            for (const int fill : {0x00, 0xff, 0x80, 0x7f})
                for (const float sign : {1.0f, -1.0f}) {
                    if (format.takes_anything || !format.quantized()) continue;
                    SCOPED_TRACE(fmt::format("{} {} {}", kernels->name, format.name, fill));
                    std::vector<float> x(kCols, 127.0f);
                    for (size_t i = 0; i < x.size(); ++i) x[i] *= i / 16 % 2 ? 1.0f : sign;
                    const PackedMatrix weights = random_blocks(format.type, 16, kCols, 1, fill);
                    const QuantizedRows quantized(*kernels, x, 1, kCols);
                    const auto out = run_linear(*kernels, format.type, weights.bytes.data(), 16,
                                                kCols, quantized, x, 0, 1);
                    for (int64_t r = 0; r < 16; ++r) {
                        double exact = 0, size = 0;
                        for (int64_t c = 0; c < kCols; ++c) {
                            const double product =
                                static_cast<double>(
                                    weights.values[static_cast<size_t>(r * kCols + c)]) *
                                quantized.values[static_cast<size_t>(c)];
                            exact += product;
                            size += std::fabs(product);
                        }
                        EXPECT_NEAR(out[static_cast<size_t>(r)], exact, size * 1e-5);
                    }
                    constexpr int64_t kMany = 32;
                    std::vector<float> all;
                    for (int64_t t = 0; t < kMany; ++t) all.insert(all.end(), x.begin(), x.end());
                    const QuantizedRows many(*kernels, all, kMany, kCols);
                    const auto outs = run_linear(*kernels, format.type, weights.bytes.data(), 16,
                                                 kCols, many, all, 0, kMany);
                    for (size_t i = 0; i < outs.size(); ++i) EXPECT_EQ(outs[i], out[i % 16]);
                }
}

TEST(Linear, Mxfp4HasEveryPowerOfTwo) {
    for (const Kernels* kernels : usable_kernels())
        for (int exponent = 0; exponent < 251; ++exponent) {
            std::vector<std::byte> block(format_of(WeightType::mxfp4).block_bytes());
            for (size_t r = 0; r < 16; ++r) block[r] = static_cast<std::byte>(exponent);
            for (size_t i = 16; i < block.size(); ++i) block[i] = std::byte{0x01};  // a half, 0
            std::vector<float> x(32, 0.0f);
            x[0] = 127;
            const QuantizedRows quantized(*kernels, x, 1, 32);
            const auto out =
                run_linear(*kernels, WeightType::mxfp4, block.data(), 16, 32, quantized, x, 0, 1);
            // OCP Microscaling Formats 1.0: 2^(e - 127) times a half, here times 127.
            ASSERT_EQ(out[3], 127 * std::ldexp(0.5f, exponent - 127)) << kernels->name << exponent;
        }
}

TEST(Linear, Nvfp4HasEveryScale) {
    for (const Kernels* kernels : usable_kernels())
        for (int bits = 0; bits < 128; ++bits)
            for (const float times : {1.0f, -0.375f, 0x1p-100f, 0x1p100f}) {
                std::vector<std::byte> block(format_of(WeightType::nvfp4).block_bytes());
                const auto signs = std::bit_cast<uint32_t>(times);
                for (size_t i = 0; i < 64; ++i)
                    block[i] = static_cast<std::byte>(bits | (i < 32 ? signs >> i & 1 : 1) << 7);
                for (size_t i = 64; i < block.size(); ++i) block[i] = std::byte{0x01};  // a half, 0
                std::vector<float> x(64, 0.0f);
                x[32] = 127;
                const QuantizedRows quantized(*kernels, x, 1, 64);
                const auto out = run_linear(*kernels, WeightType::nvfp4, block.data(), 16, 64,
                                            quantized, x, 0, 1);
                // OCP OFP8 1.0, "E4M3": a bias of 7, and exponents of 0 are subnormal.
                const int exponent = bits >> 3;
                const float scale = exponent == 0 ? std::ldexp(bits / 8.0f, -6)
                                                  : std::ldexp(1 + bits % 8 / 8.0f, exponent - 7);
                ASSERT_EQ(out[3], 127 * (scale * 0.5f * times)) << kernels->name << " " << bits;
            }
}

TEST(Quantize, SumsAreThoseOfCodesHoweverSmallNumbersAre) {
    for (const Kernels* kernels : usable_kernels())
        for (const float size : {1e-45f, 1e-38f, 3e-37f, 1e-36f, 2e-36f}) {
            std::vector<float> x(kBlock);
            for (size_t i = 0; i < x.size(); ++i)
                x[i] = size * (i % 3 == 0 ? 1.0f : i % 3 == 1 ? -0.5f : 0.0f);
            std::vector<int8_t> codes(kBlock, 99);
            float scale = 0, sum = 0;
            int16_t halves[2] = {};
            kernels->quantize(x.data(), kBlock, {codes.data(), &scale, &sum, halves});
            SCOPED_TRACE(fmt::format("{} {}", kernels->name, size));
            EXPECT_EQ(halves[0], std::accumulate(codes.begin(), codes.begin() + 16, 0));
            EXPECT_EQ(halves[1], std::accumulate(codes.begin() + 16, codes.end(), 0));
            EXPECT_EQ(codes[0], size > kLeastCoded ? 127 : 0);
            EXPECT_TRUE(std::isfinite(scale) && std::isfinite(sum));
        }
}

TEST(Quantize, CodesAreTheNearestAndSumsAreTheirs) {
    for (const Kernels* kernels : usable_kernels())
        for (const int64_t n : {1, 7, 32, 45, 64, 96}) {
            const auto x = random_values(static_cast<size_t>(n), static_cast<uint32_t>(n), 5.0f);
            const int64_t blocks = block_count(n);
            std::vector<int8_t> codes(static_cast<size_t>(blocks * kBlock), 99);
            std::vector<float> scales(static_cast<size_t>(blocks)), sums(scales);
            std::vector<int16_t> halves(static_cast<size_t>(2 * blocks));
            kernels->quantize(x.data(), n,
                              {codes.data(), scales.data(), sums.data(), halves.data()});
            for (int64_t b = 0; b < blocks; ++b) {
                int sum = 0, first = 0;
                for (int64_t i = b * kBlock; i < (b + 1) * kBlock; ++i) {
                    const auto at = static_cast<size_t>(i);
                    sum += codes[at];
                    if (i < b * kBlock + 16) first = sum;
                    if (i >= n)
                        EXPECT_EQ(codes[at], 0);
                    else
                        EXPECT_LE(std::fabs(x[at] - scales[static_cast<size_t>(b)] *
                                                        static_cast<float>(codes[at])),
                                  scales[static_cast<size_t>(b)] * 0.5001f);
                }
                EXPECT_FLOAT_EQ(sums[static_cast<size_t>(b)],
                                scales[static_cast<size_t>(b)] * static_cast<float>(sum));
                EXPECT_EQ(halves[static_cast<size_t>(2 * b)], first);
                EXPECT_EQ(halves[static_cast<size_t>(2 * b + 1)], sum - first);
            }
        }
}

TEST(Quantize, ZerosStayZerosAndWhatIsNotANumberIsNotHidden) {
    for (const Kernels* kernels : usable_kernels()) {
        std::vector<float> x(64, 0.0f);
        int8_t codes[64];
        float scales[2], sums[2];
        int16_t halves[4];
        kernels->quantize(x.data(), 64, {codes, scales, sums, halves});
        EXPECT_EQ(scales[0], 0.0f);
        EXPECT_EQ(sums[1], 0.0f);
        for (const float bad :
             {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
            x[40] = bad;
            kernels->quantize(x.data(), 64, {codes, scales, sums, halves});
            EXPECT_EQ(scales[0], 0.0f);
            EXPECT_TRUE(std::isnan(scales[1])) << kernels->name;
        }
    }
}

// An f16 cache's blocks of one head, of random keys and values.
struct F16Blocks {
    int64_t width;
    std::vector<uint16_t> k, v;

    F16Blocks(int64_t width, int64_t blocks, uint32_t seed)
        : width(width), k(static_cast<size_t>(blocks * width * 32)), v(k) {
        const auto raw = random_values(2 * k.size(), seed);
        for (size_t i = 0; i < k.size(); ++i) {
            k[i] = f32_to_f16(raw[i]);
            v[i] = f32_to_f16(raw[i + k.size()]);
        }
    }
    KvHead block(int64_t b) const {
        return {.keys = reinterpret_cast<const std::byte*>(k.data() + b * width * 32),
                .key_scales = nullptr,
                .values = reinterpret_cast<const std::byte*>(v.data() + b * width * 32),
                .value_scales = nullptr};
    }
    double key(int64_t p, int64_t d) const {
        return f16_to_f32(k[static_cast<size_t>((p / 32 * width + d) * 32 + p % 32)]);
    }
    double value(int64_t p, int64_t d) const {
        return f16_to_f32(v[static_cast<size_t>(p * width + d)]);
    }

    // The values of `count` heads after attention over positions [first, last), and their sums.
    std::vector<float> attend(const Kernels& kernels, const float* queries, int64_t count,
                              int64_t first, int64_t last) const {
        std::vector<float> values(static_cast<size_t>(count * width), 0.0f);
        std::vector<AttentionState> states;
        for (int64_t q = 0; q < count; ++q)
            states.push_back(
                {-std::numeric_limits<float>::infinity(), 0, values.data() + q * width});
        for (int64_t b = first / 32; b * 32 < last; ++b)
            kernels.attend_f16(queries, count, width, block(b),
                               std::max<int64_t>(0, first - b * 32),
                               std::min<int64_t>(32, last - b * 32), states.data());
        for (const AttentionState& state : states) values.push_back(state.sum);
        return values;
    }
};

TEST(Attend, F16AgreesWithSoftmaxInF64AndWithItselfWhateverTheNumberOfHeads) {
    uint32_t seed = 7;
    for (const Kernels* kernels : usable_kernels())
        for (const int64_t width : {1, 8, 31, 32, 64, 80, 256})
            for (int64_t count = 1; count <= kMostQueries; ++count) {
                const int64_t first = count % 3 * 15, last = first + 1 + count * 7;
                SCOPED_TRACE(fmt::format("{} width {} heads {}", kernels->name, width, count));
                const F16Blocks held(width, 3, ++seed);
                const auto queries =
                    random_values(static_cast<size_t>(count * width), ++seed, 2.0f);
                const auto got = held.attend(*kernels, queries.data(), count, first, last);
                for (int64_t q = 0; q < count; ++q) {
                    const float* query = queries.data() + q * width;
                    std::vector<double> scores;
                    double total = 0;
                    for (int64_t p = first; p < last; ++p) {
                        double score = 0;
                        for (int64_t d = 0; d < width; ++d) score += query[d] * held.key(p, d);
                        scores.push_back(std::exp(score));
                        total += scores.back();
                    }
                    const float sum = got[static_cast<size_t>(count * width + q)];
                    for (int64_t d = 0; d < width; ++d) {
                        double expected = 0;
                        for (int64_t p = first; p < last; ++p)
                            expected +=
                                scores[static_cast<size_t>(p - first)] / total * held.value(p, d);
                        ASSERT_NEAR(got[static_cast<size_t>(q * width + d)] / sum, expected, 2e-5);
                    }
                    const auto alone = held.attend(*kernels, query, 1, first, last);
                    for (int64_t d = 0; d < width; ++d)
                        ASSERT_EQ(got[static_cast<size_t>(q * width + d)],
                                  alone[static_cast<size_t>(d)]);
                    ASSERT_EQ(sum, alone[static_cast<size_t>(width)]);
                }
            }
}

// A q8 cache of one layer and one head, filled by `values`: keys, then values of as many positions.
struct Q8Cache {
    KvCache cache;
    int64_t width, positions;

    Q8Cache(int64_t width, int64_t positions, const std::vector<float>& values)
        : cache({.context = positions, .chunk = positions, .sequences = 1, .type = KvType::q8}),
          width(width),
          positions(positions) {
        cache.declare(0, {.heads = 1, .width = width, .window = 0});
        cache.append(0, 0, 0, positions);
        for (int64_t p = 0; p < positions; ++p) {
            cache.store_key(0, 0, p, 0, values.data() + p * width);
            cache.store_value(0, 0, p, 0, values.data() + (positions + p) * width);
        }
    }

    // What is stored, by common/kv_layout.h.
    double key(int64_t p, int64_t d) const {
        const KvHead head = cache.block(0, 0, p / 32 * 32).head(0);
        const auto* codes = reinterpret_cast<const int8_t*>(head.keys);
        const auto* scales = reinterpret_cast<const uint16_t*>(head.key_scales);
        return static_cast<double>(f16_to_f32(scales[d / 8 * 32 + p % 32])) *
               codes[(d / 2 * 32 + p % 32) * 2 + d % 2];
    }
    double value(int64_t p, int64_t d) const {
        const KvHead head = cache.block(0, 0, p / 32 * 32).head(0);
        const auto* codes = reinterpret_cast<const int8_t*>(head.values);
        const auto* scales = reinterpret_cast<const uint16_t*>(head.value_scales);
        return static_cast<double>(f16_to_f32(scales[d / 32 * 32 + p % 32])) *
               codes[(p % 32 / 2 * ((width + 7) / 8 * 8) + d) * 2 + p % 2];
    }

    // The state after attention of a query over positions [first, last).
    struct Result {
        std::vector<float> values;
        float sum, max;
    };
    Result attend(const Kernels& kernels, const std::vector<float>& query, int64_t first,
                  int64_t last) const {
        return attend_all(kernels, query, 1, first, last)[0];
    }
    std::vector<Result> attend_all(const Kernels& kernels, const std::vector<float>& queries,
                                   int64_t count, int64_t first, int64_t last) const {
        const int64_t columns = (width + 7) / 8 * 8;
        std::vector<int16_t> codes(static_cast<size_t>(count * columns), 99);
        std::vector<float> scales(codes.size() / 8);
        std::vector<Result> results(static_cast<size_t>(count));
        std::vector<AttentionState> states;
        for (int64_t q = 0; q < count; ++q) {
            quantize_query(queries.data() + q * width, width, codes.data() + q * columns,
                           scales.data() + q * columns / 8);
            auto& values = results[static_cast<size_t>(q)].values;
            values.assign(static_cast<size_t>(width), 0.0f);
            states.push_back({-std::numeric_limits<float>::infinity(), 0, values.data()});
        }
        for (int64_t at = first / 32 * 32; at < last; at += 32)
            kernels.attend_q8(codes.data(), scales.data(), count, width,
                              cache.block(0, 0, at).head(0), std::max<int64_t>(0, first - at),
                              std::min<int64_t>(32, last - at), states.data());
        for (size_t q = 0; q < results.size(); ++q) {
            results[q].sum = states[q].sum;
            results[q].max = states[q].max;
        }
        return results;
    }
};

TEST(Attend, Q8AgreesWithSoftmaxInF64OfWhatIsStored) {
    uint32_t seed = 50;
    for (const Kernels* kernels : usable_kernels())
        for (const int64_t width : {1, 6, 8, 30, 32, 33, 64, 80, 100, 256})
            for (const auto& [first, last] : {std::pair<int64_t, int64_t>{0, 1},
                                              {5, 90},
                                              {31, 33},
                                              {0, 96},
                                              {64, 71},
                                              {17, 18}}) {
                const Q8Cache held(width, 96,
                                   random_values(static_cast<size_t>(192 * width), ++seed, 2.0f));
                const auto query =
                    random_values(static_cast<size_t>(width), ++seed, 8 / std::sqrt(width));
                const auto got = held.attend(*kernels, query, first, last);
                std::vector<double> scores;
                double total = 0;
                for (int64_t p = first; p < last; ++p) {
                    double score = 0;
                    for (int64_t d = 0; d < width; ++d)
                        score += query[static_cast<size_t>(d)] * held.key(p, d);
                    scores.push_back(std::exp(score));
                    total += scores.back();
                }
                for (int64_t d = 0; d < width; ++d) {
                    double expected = 0;
                    for (int64_t p = first; p < last; ++p)
                        expected +=
                            scores[static_cast<size_t>(p - first)] / total * held.value(p, d);
                    // The query's and the weights' codes have 15 bits.
                    EXPECT_NEAR(got.values[static_cast<size_t>(d)] / got.sum, expected, 1e-3)
                        << kernels->name << " width " << width << " positions " << first << " to "
                        << last;
                }
            }
}

TEST(Attend, Q8GivesTheSameWhateverTheNumberOfHeads) {
    uint32_t seed = 90;
    for (const Kernels* kernels : usable_kernels())
        for (const int64_t width : {1, 8, 17, 24, 31, 33, 64, 80, 104, 256})
            for (int64_t count = 1; count <= kMostQueries; ++count) {
                SCOPED_TRACE(fmt::format("{} width {} heads {}", kernels->name, width, count));
                const int64_t first = count % 3 * 15, last = first + 1 + count * 7;
                const Q8Cache held(width, 96,
                                   random_values(static_cast<size_t>(192 * width), ++seed, 2.0f));
                const auto queries =
                    random_values(static_cast<size_t>(count * width), ++seed, 2.0f);
                const auto got = held.attend_all(*kernels, queries, count, first, last);
                for (int64_t q = 0; q < count; ++q) {
                    const auto from = queries.begin() + q * width;
                    const auto alone = held.attend(*kernels, {from, from + width}, first, last);
                    EXPECT_EQ(got[static_cast<size_t>(q)].values, alone.values);
                    EXPECT_EQ(got[static_cast<size_t>(q)].sum, alone.sum);
                    EXPECT_EQ(got[static_cast<size_t>(q)].max, alone.max);
                }
            }
}

// A query that is not a number keeps that to itself.
TEST(Attend, HeadsThatGoTogetherDoNotTouchEachOther) {
    constexpr int64_t kWidth = 40, kPositions = 40, kBad = 2;
    const Q8Cache held(kWidth, kPositions, random_values(2 * kPositions * kWidth, 11, 2.0f));
    const F16Blocks blocks(kWidth, 2, 12);
    auto queries = random_values(kMostQueries * kWidth, 13, 2.0f);
    queries[kBad * kWidth + 5] = std::numeric_limits<float>::quiet_NaN();
    for (const Kernels* kernels : usable_kernels()) {
        SCOPED_TRACE(kernels->name);
        const auto q8 = held.attend_all(*kernels, queries, kMostQueries, 3, kPositions);
        const auto f16 = blocks.attend(*kernels, queries.data(), kMostQueries, 3, kPositions);
        for (int64_t q = 0; q < kMostQueries; ++q) {
            const float* query = queries.data() + q * kWidth;
            const auto& values = q8[static_cast<size_t>(q)].values;
            const auto alone = held.attend(*kernels, {query, query + kWidth}, 3, kPositions);
            const auto f16_alone = blocks.attend(*kernels, query, 1, 3, kPositions);
            for (int64_t d = 0; d < kWidth; ++d) {
                const auto at = static_cast<size_t>(d), among = static_cast<size_t>(q * kWidth + d);
                EXPECT_EQ(std::isnan(values[at]), q == kBad);
                EXPECT_EQ(std::isnan(f16[among]), q == kBad);
                if (q == kBad) continue;
                EXPECT_EQ(values[at], alone.values[at]);
                EXPECT_EQ(f16[among], f16_alone[at]);
            }
        }
    }
}

// Values of all sizes: zeros, denormals, tiny, usual, huge, by groups and by positions.
std::vector<float> uneven_values(size_t count, int64_t width, uint32_t seed) {
    constexpr float kSizes[] = {0.0f, 1e-40f, 1e-20f, 1e-7f, 3e-6f, 1e-3f, 1.0f, 1.0f, 50.0f, 4e6f};
    std::vector<float> values = random_values(count, seed);
    std::mt19937 generator(seed);
    std::uniform_int_distribution<size_t> any(0, std::size(kSizes) - 1);
    const size_t run = 1 + generator() % static_cast<size_t>(2 * width);
    for (size_t i = 0; i < count; i += run) {
        const float size = kSizes[any(generator)];
        for (size_t j = i; j < std::min(count, i + run); ++j) values[j] *= size;
    }
    return values;
}

TEST(Attend, EveryQ8KernelAgreesWithThePortableOneOnValuesOfAllSizes) {
    const Kernels& portable = portable_kernels();
    std::mt19937 generator(9);
    int compared = 0, bounded = 0;
    for (int round = 0; round < 300; ++round) {
        const auto any = [&](int64_t from, int64_t to) {
            return std::uniform_int_distribution<int64_t>(from, to)(generator);
        };
        const int64_t width = any(1, 140), positions = any(1, 96);
        const int64_t first = any(0, positions - 1), last = any(first + 1, positions);
        const auto seed = static_cast<uint32_t>(round);
        const Q8Cache held(width, positions,
                           uneven_values(static_cast<size_t>(2 * positions * width), width, seed));
        auto query = uneven_values(static_cast<size_t>(width), width, seed + 1000);
        if (any(0, 1) == 0)  // else many a score is enormous
            for (float& q : query) q *= 2e-7f;
        const auto expected = held.attend(portable, query, first, last);
        const bool enormous = std::fabs(expected.max) > 50;
        ++(enormous ? bounded : compared);
        for (const Kernels* kernels : usable_kernels()) {
            SCOPED_TRACE(std::string(kernels->name) + " round " + std::to_string(round));
            const auto got = held.attend(*kernels, query, first, last);
            // Rounding may move scores of 1e13 by millions, and so decide which position gets all
            // the weight: then the results need only be possible ones.
            EXPECT_NEAR(got.max, expected.max, 1e-5 * std::fabs(expected.max) + 1e-5);
            if (enormous) {
                EXPECT_TRUE(std::isfinite(got.sum) && got.sum >= 1) << got.sum;
            } else {
                EXPECT_NEAR(got.sum, expected.sum, 1e-3 * expected.sum);
            }
            for (int64_t d = 0; d < width; ++d) {
                double largest = 0;
                for (int64_t p = first; p < last; ++p)
                    for (int64_t e = d / 32 * 32; e < std::min(width, d / 32 * 32 + 32); ++e)
                        largest = std::max(largest, std::fabs(held.value(p, e)));
                const auto at = static_cast<size_t>(d);
                if (enormous) {
                    EXPECT_LE(std::fabs(got.values[at]), 1.001 * largest * got.sum);
                } else {
                    EXPECT_NEAR(got.values[at] / got.sum, expected.values[at] / expected.sum,
                                2e-3 * largest);
                }
            }
        }
    }
    EXPECT_GT(compared, 100);
    EXPECT_GT(bounded, 20);
}

TEST(Attend, Q8DoesNotHideWhatIsNotANumberNorLooksAtOtherPositions) {
    constexpr int64_t kWidth = 40, kPositions = 20;
    const std::vector<float> query(kWidth, 0.1f);
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e38f}) {
        auto values = random_values(2 * kPositions * kWidth, 3);
        const auto good = values;
        values[7 * kWidth] = bad;                       // the key of position 7
        values[(kPositions + 12) * kWidth + 39] = bad;  // the value of position 12
        const Q8Cache held(kWidth, kPositions, values), fine(kWidth, kPositions, good);
        for (const Kernels* kernels : usable_kernels()) {
            SCOPED_TRACE(kernels->name);
            // Around position 12: its last group alone.
            const auto around = held.attend(*kernels, query, 10, 20);
            EXPECT_TRUE(std::isfinite(around.values[31]));
            EXPECT_TRUE(std::isnan(around.values[32]));
            EXPECT_TRUE(std::isnan(around.values[39]));
            EXPECT_TRUE(std::isnan(held.attend(*kernels, query, 7, 8).values[0]));
            for (const auto& [first, last] : {std::pair<int64_t, int64_t>{0, 7}, {8, 12}, {13, 20}})
                EXPECT_EQ(held.attend(*kernels, query, first, last).values,
                          fine.attend(*kernels, query, first, last).values);
        }
    }
}

TEST(Attend, F16DoesNotHideWhatIsNotANumber) {
    constexpr int64_t kWidth = 40;
    const std::vector<float> query(kWidth, 0.1f);
    std::vector<uint16_t> k(32 * kWidth, f32_to_f16(0.5f)), v(k);
    k[3 * 32 + 17] = f32_to_f16(std::numeric_limits<float>::quiet_NaN());  // of position 17
    const KvHead head{.keys = reinterpret_cast<const std::byte*>(k.data()),
                      .key_scales = nullptr,
                      .values = reinterpret_cast<const std::byte*>(v.data()),
                      .value_scales = nullptr};
    for (const Kernels* kernels : usable_kernels())
        for (const auto& [first, last] : {std::pair<int64_t, int64_t>{0, 32}, {17, 18}, {0, 17}}) {
            std::vector<float> values(kWidth, 0.0f);
            AttentionState state{-std::numeric_limits<float>::infinity(), 0, values.data()};
            kernels->attend_f16(query.data(), 1, kWidth, head, first, last, &state);
            EXPECT_EQ(std::isnan(values[0] / state.sum), last > 17)
                << kernels->name << " positions " << first << " to " << last;
        }
}

TEST(Attend, Q8SumsOfTheLargestCodesDoNotOverflow) {
    constexpr int64_t kWidth = 256;
    const Q8Cache held(kWidth, 32, std::vector<float>(2 * 32 * kWidth, -3.0f));
    const std::vector<float> query(kWidth, 0.05f);
    for (const Kernels* kernels : usable_kernels()) {
        const auto got = held.attend(*kernels, query, 0, 32);
        EXPECT_NEAR(got.max, -3.0 * 0.05 * kWidth, 0.03) << kernels->name;
        EXPECT_NEAR(got.sum, 32, 1e-4);
        for (const float value : got.values) EXPECT_NEAR(value / got.sum, -3, 2e-3);
    }
}

TEST(QuantizeQuery, CodesHave15BitsAndGroupsAreOnTheirOwn) {
    auto x = random_values(21, 4, 3.0f);
    for (size_t i = 8; i < 16; ++i) x[i] = 0;
    int16_t codes[24];
    float scales[3];
    quantize_query(x.data(), 21, codes, scales);
    EXPECT_EQ(scales[1], 0.0f);
    for (size_t i = 0; i < 24; ++i) {
        if (i >= 21)
            EXPECT_EQ(codes[i], 0);
        else
            EXPECT_NEAR(codes[i] * scales[i / 8], x[i], scales[i / 8] * 0.51f);
    }
    x[2] = std::numeric_limits<float>::quiet_NaN();
    quantize_query(x.data(), 21, codes, scales);
    EXPECT_TRUE(std::isnan(scales[0]));
    EXPECT_FALSE(std::isnan(scales[2]));
}

TEST(RmsNorm, AgreesWithF64) {
    for (const Kernels* kernels : usable_kernels())
        for (const int64_t n : {1, 3, 8, 15, 16, 17, 64, 100, 896}) {
            const auto x = random_values(static_cast<size_t>(n), 11, 40.0f);
            const auto weight = random_values(static_cast<size_t>(n), 12);
            double squares = 0;
            for (const float value : x) squares += static_cast<double>(value) * value;
            const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
            std::vector<float> got = x;
            kernels->rms_norm(got.data(), weight.data(), n, 1e-5f);
            for (size_t i = 0; i < got.size(); ++i)
                EXPECT_NEAR(got[i], x[i] * scale * weight[i], 2e-6) << kernels->name << " " << n;
        }
}

TEST(RmsNorm, ZerosStayZerosAndWhatIsNotANumberIsNotHidden) {
    for (const Kernels* kernels : usable_kernels()) {
        const std::vector<float> weight(40, 1.0f);
        std::vector<float> x(40, 0.0f);
        kernels->rms_norm(x.data(), weight.data(), 40, 1e-6f);
        EXPECT_EQ(x, std::vector<float>(40, 0.0f)) << kernels->name;
        x[37] = std::numeric_limits<float>::quiet_NaN();
        kernels->rms_norm(x.data(), weight.data(), 40, 1e-6f);
        EXPECT_TRUE(std::isnan(x[0])) << kernels->name;
    }
}

TEST(Convolve, AgreesWithF64AndWithItselfWhateverColumnsAreBeside) {
    for (const Kernels* kernels : usable_kernels())
        for (const int64_t columns : {1, 15, 16, 17, 64, 100})
            for (const int64_t taps : {1, 3, 4}) {
                const auto n = static_cast<size_t>(columns * taps);
                const auto weight = random_values(n, 21), x = random_values(n, 22);
                std::vector<const float*> rows, later;
                for (int64_t j = 0; j < taps; ++j) rows.push_back(x.data() + j * columns);
                std::vector<float> got(static_cast<size_t>(columns)), one(1);
                kernels->convolve(rows.data(), taps, weight.data(), columns, columns, got.data());
                for (int64_t c = 0; c < columns; ++c) {
                    double sum = 0;
                    for (int64_t j = 0; j < taps; ++j)
                        sum += static_cast<double>(weight[static_cast<size_t>(j * columns + c)]) *
                               x[static_cast<size_t>(j * columns + c)];
                    EXPECT_NEAR(got[static_cast<size_t>(c)], sum, 1e-5) << kernels->name;
                    later = rows;
                    for (const float*& row : later) row += c;
                    kernels->convolve(later.data(), taps, weight.data() + c, columns, 1,
                                      one.data());
                    EXPECT_EQ(got[static_cast<size_t>(c)], one[0]) << kernels->name << " " << c;
                }
            }
}

TEST(Recur, AgreesWithF64AndWithItselfWhateverColumnsAreBeside) {
    for (const Kernels* kernels : usable_kernels())
        for (const bool corrected : {false, true})
            for (const int64_t columns : {1, 15, 16, 17, 64, 128, 147}) {
                constexpr int64_t kKeys = 37;
                const auto n = static_cast<size_t>(kKeys * columns);
                const auto q = random_values(kKeys, 31), k = random_values(kKeys, 32, 0.2f);
                const auto v = random_values(static_cast<size_t>(columns), 33);
                const std::vector<float> before = random_values(n, 34);
                const Recurrence step{q.data(), k.data(), kKeys, 0.8f, 0.6f, corrected};
                std::vector<float> state = before, got(static_cast<size_t>(columns));
                kernels->recur(state.data(), columns, columns, step, v.data(), got.data());
                for (int64_t c = 0; c < columns; ++c) {
                    const auto at = [&](int64_t i) { return static_cast<size_t>(i * columns + c); };
                    double read = 0, out = 0;
                    for (int64_t i = 0; i < kKeys; ++i)
                        read += static_cast<double>(k[static_cast<size_t>(i)]) * before[at(i)];
                    const double added =
                        0.6f * (v[static_cast<size_t>(c)] - (corrected ? 0.8f * read : 0));
                    for (int64_t i = 0; i < kKeys; ++i) {
                        const double held =
                            0.8f * before[at(i)] + k[static_cast<size_t>(i)] * added;
                        EXPECT_NEAR(state[at(i)], held, 1e-5) << kernels->name;
                        out += q[static_cast<size_t>(i)] * held;
                    }
                    EXPECT_NEAR(got[static_cast<size_t>(c)], out, 1e-4) << kernels->name;
                    std::vector<float> alone = before, one(1);
                    kernels->recur(alone.data() + c, columns, 1, step, v.data() + c, one.data());
                    EXPECT_EQ(got[static_cast<size_t>(c)], one[0]) << kernels->name << " " << c;
                    EXPECT_EQ(state[at(kKeys - 1)], alone[at(kKeys - 1)]) << kernels->name;
                }
            }
}

TEST(Rope, TurnsPairs) {
    for (const Kernels* kernels : usable_kernels())
        for (const int64_t half : {1, 7, 8, 20, 32, 40, 128}) {
            const auto angles = random_values(static_cast<size_t>(half), 13, 3.0f);
            const auto x = random_values(static_cast<size_t>(2 * half), 14, 5.0f);
            std::vector<float> cosine, sine, got = x;
            for (const float angle : angles) {
                cosine.push_back(std::cos(angle));
                sine.push_back(std::sin(angle));
            }
            kernels->rope(got.data(), cosine.data(), sine.data(), half);
            for (size_t i = 0; i < angles.size(); ++i) {
                const double a = x[i], b = x[i + angles.size()];
                EXPECT_NEAR(got[i], a * cosine[i] - b * sine[i], 2e-6) << kernels->name;
                EXPECT_NEAR(got[i + angles.size()], a * sine[i] + b * cosine[i], 2e-6)
                    << kernels->name;
            }
        }
}

TEST(Activations, SiluAndGeluAgreeWithF64OverTheWholeRange) {
    std::vector<float> x;
    for (float value = -120; value < 120; value += 0.37f) x.push_back(value);
    x.insert(x.end(), {0.0f, -0.0f, 1e-30f, -1e-30f, 1e30f, -1e30f});
    for (const Kernels* kernels : usable_kernels()) {
        std::vector<float> silu = x, gelu = x;
        kernels->silu(silu.data(), static_cast<int64_t>(x.size()));
        kernels->gelu(gelu.data(), static_cast<int64_t>(x.size()));
        for (size_t i = 0; i < x.size(); ++i) {
            const double value = x[i];
            const double u = std::sqrt(2 / M_PI) * (value + 0.044715 * value * value * value);
            EXPECT_NEAR(silu[i], value / (1 + std::exp(-value)), 1e-6 * std::fabs(value) + 1e-30)
                << kernels->name << " at " << value;
            EXPECT_NEAR(gelu[i], value / 2 * (1 + std::tanh(u)), 1e-6 * std::fabs(value) + 1e-30)
                << kernels->name << " at " << value;
        }
    }
}

TEST(Kernels, ExponentialsAreTheSameWholeNumbersOnAllProcessors) {
    std::mt19937 random(4);
    std::normal_distribution<float> normal(0, 6);
    std::vector<float> x(1003);
    for (float& each : x) each = normal(random);
    x[5] = -std::numeric_limits<float>::infinity();
    const float most = *std::ranges::max_element(x);
    const auto n = static_cast<int64_t>(x.size());
    for (const double per : {1.0, 1 / 0.7, 1e-3, 1e3})
        for (const int bits : {44, 51}) {
            std::vector<uint64_t> expected(x.size());
            uint64_t sum = 0;
            for (size_t i = 0; i < x.size(); ++i) {
                const double d = static_cast<double>(static_cast<float>(x[i] * per)) -
                                 static_cast<float>(most * per);
                expected[i] = static_cast<uint64_t>(std::nearbyint(std::ldexp(std::exp(d), bits)));
            }
            std::vector<uint64_t> first(x.size()), found(x.size());
            sum = portable_kernels().exponentials(x.data(), n, most, per, bits, first.data());
            EXPECT_EQ(sum, std::accumulate(first.begin(), first.end(), uint64_t{0}));
            for (size_t i = 0; i < x.size(); ++i)
                EXPECT_NEAR(static_cast<double>(first[i]), static_cast<double>(expected[i]),
                            1 + 1e-15 * static_cast<double>(expected[i]))
                    << x[i];
            for (const Kernels* kernels : usable_kernels()) {
                EXPECT_EQ(kernels->exponentials(x.data(), n, most, per, bits, found.data()), sum);
                EXPECT_EQ(found, first) << kernels->name;
            }
        }
}

}  // namespace
}  // namespace llmsql
