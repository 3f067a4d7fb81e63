// Every instruction set's kernels against the portable ones, and those against arithmetic in f64.
#include "runtime/kernels/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/half.h"
#include "tests/unit/runtime/tiny_model.h"

namespace llmsql {
namespace {

using testing::pack_matrix;
using testing::PackedMatrix;
using testing::random_values;

std::vector<const Kernels*> all_kernels() {
    std::vector<const Kernels*> found{&portable_kernels()};
    if (avx2_kernels()) found.push_back(avx2_kernels());
    return found;
}

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
            kernels.quantize(x.data() + t * cols, cols, codes, scales, scales + blocks);
            for (int64_t c = 0; c < cols; ++c)
                values[static_cast<size_t>(t * cols + c)] =
                    scales[c / kBlock] * static_cast<float>(codes[c]);
        }
    }
};

struct LinearCase {
    WeightType type;
    int64_t cols;
    int64_t tokens;
};

std::vector<float> run_linear(const Kernels& kernels, WeightType type, const std::byte* strip,
                              int64_t cols, const QuantizedRows& quantized,
                              const std::vector<float>& x, int64_t first, int64_t tokens) {
    std::vector<float> out(static_cast<size_t>(tokens) * 16);
    const std::byte* codes = quantized.bytes.data() + first * quantized.stride;
    const float* floats = x.data() + first * cols;
    if (type == WeightType::q8)
        kernels.linear_q8(strip, block_count(cols), codes, quantized.stride, tokens, out.data(),
                          16);
    if (type == WeightType::q4)
        kernels.linear_q4(strip, block_count(cols), codes, quantized.stride, tokens, out.data(),
                          16);
    if (type == WeightType::f16)
        kernels.linear_f16(strip, cols, floats, cols, tokens, out.data(), 16);
    if (type == WeightType::f32)
        kernels.linear_f32(strip, cols, floats, cols, tokens, out.data(), 16);
    return out;
}

TEST(Linear, EveryKernelAgreesWithF64AndWithItselfWhateverTheNumberOfTokens) {
    uint32_t seed = 1;
    for (const Kernels* kernels : all_kernels())
        for (const WeightType type :
             {WeightType::f32, WeightType::f16, WeightType::q8, WeightType::q4})
            for (const int64_t cols : {1, 31, 32, 33, 64, 100, 576, 1537})
                for (const int64_t tokens : {1, 2, 3, 4, 5, 8, 11}) {
                    SCOPED_TRACE(std::string(kernels->name) + " " + std::string(name_of(type)) +
                                 " cols " + std::to_string(cols) + " tokens " +
                                 std::to_string(tokens));
                    const auto x = random_values(static_cast<size_t>(tokens * cols), ++seed, 3.0f);
                    const PackedMatrix weights = pack_matrix(
                        type, 16, cols, random_values(static_cast<size_t>(16 * cols), ++seed));
                    const QuantizedRows quantized(*kernels, x, tokens, cols);
                    const bool codes = type == WeightType::q8 || type == WeightType::q4;
                    const std::vector<float>& used = codes ? quantized.values : x;
                    const auto out = run_linear(*kernels, type, weights.bytes.data(), cols,
                                                quantized, x, 0, tokens);
                    for (int64_t t = 0; t < tokens; ++t) {
                        const auto alone = run_linear(*kernels, type, weights.bytes.data(), cols,
                                                      quantized, x, t, 1);
                        for (int64_t r = 0; r < 16; ++r) {
                            double exact = 0, size = 0;
                            for (int64_t c = 0; c < cols; ++c) {
                                const double product =
                                    static_cast<double>(
                                        weights.values[static_cast<size_t>(r * cols + c)]) *
                                    used[static_cast<size_t>(t * cols + c)];
                                exact += product;
                                size += std::fabs(product);
                            }
                            const float got = out[static_cast<size_t>(t * 16 + r)];
                            ASSERT_NEAR(got, exact, 1e-5 * size + 1e-6) << "row " << r;
                            ASSERT_EQ(got, alone[static_cast<size_t>(r)]) << "token " << t;
                        }
                    }
                }
}

TEST(Linear, ExtremeCodesDoNotOverflow) {
    // All codes at their limits, so that every partial sum is as large as it can be.
    for (const Kernels* kernels : all_kernels())
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
                    run_linear(*kernels, type, weights.bytes.data(), kCols, quantized, x, 0, 1);
                double exact = 0;
                for (int64_t c = 0; c < kCols; ++c)
                    exact += static_cast<double>(weights.values[static_cast<size_t>(c)]) *
                             quantized.values[static_cast<size_t>(c)];
                EXPECT_NEAR(out[0], exact, std::fabs(exact) * 1e-5) << kernels->name;
            }
}

TEST(Quantize, CodesAreTheNearestAndSumsAreTheirs) {
    for (const Kernels* kernels : all_kernels())
        for (const int64_t n : {1, 7, 32, 45, 64, 96}) {
            const auto x = random_values(static_cast<size_t>(n), static_cast<uint32_t>(n), 5.0f);
            const int64_t blocks = block_count(n);
            std::vector<int8_t> codes(static_cast<size_t>(blocks * kBlock), 99);
            std::vector<float> scales(static_cast<size_t>(blocks)), sums(scales);
            kernels->quantize(x.data(), n, codes.data(), scales.data(), sums.data());
            for (int64_t b = 0; b < blocks; ++b) {
                int sum = 0;
                for (int64_t i = b * kBlock; i < (b + 1) * kBlock; ++i) {
                    const auto at = static_cast<size_t>(i);
                    sum += codes[at];
                    if (i >= n)
                        EXPECT_EQ(codes[at], 0);
                    else
                        EXPECT_LE(std::fabs(x[at] - scales[static_cast<size_t>(b)] *
                                                        static_cast<float>(codes[at])),
                                  scales[static_cast<size_t>(b)] * 0.5001f);
                }
                EXPECT_FLOAT_EQ(sums[static_cast<size_t>(b)],
                                scales[static_cast<size_t>(b)] * static_cast<float>(sum));
            }
        }
}

TEST(Quantize, ZerosStayZerosAndWhatIsNotANumberIsNotHidden) {
    for (const Kernels* kernels : all_kernels()) {
        std::vector<float> x(64, 0.0f);
        int8_t codes[64];
        float scales[2], sums[2];
        kernels->quantize(x.data(), 64, codes, scales, sums);
        EXPECT_EQ(scales[0], 0.0f);
        EXPECT_EQ(sums[1], 0.0f);
        for (const float bad :
             {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
            x[40] = bad;
            kernels->quantize(x.data(), 64, codes, scales, sums);
            EXPECT_EQ(scales[0], 0.0f);
            EXPECT_TRUE(std::isnan(scales[1])) << kernels->name;
        }
    }
}

TEST(Attend, AgreesWithSoftmaxInF64) {
    for (const Kernels* kernels : all_kernels())
        for (const int64_t width : {8, 32, 64, 80, 256}) {
            constexpr int64_t kBlocks = 3, kFirst = 5, kLast = 90;
            const auto query = random_values(static_cast<size_t>(width), 7, 2.0f);
            std::vector<uint16_t> k(static_cast<size_t>(kBlocks * width * 32)), v(k);
            const auto raw = random_values(2 * k.size(), 8);
            for (size_t i = 0; i < k.size(); ++i) {
                k[i] = f32_to_f16(raw[i]);
                v[i] = f32_to_f16(raw[i + k.size()]);
            }
            std::vector<float> values(static_cast<size_t>(width), 0.0f);
            AttentionState state{-std::numeric_limits<float>::infinity(), 0, values.data()};
            for (int64_t b = 0; b < kBlocks; ++b)
                kernels->attend(query.data(), width, k.data() + b * width * 32,
                                v.data() + b * width * 32, std::max<int64_t>(0, kFirst - b * 32),
                                std::min<int64_t>(32, kLast - b * 32), state);
            std::vector<double> scores;
            double total = 0;
            for (int64_t p = kFirst; p < kLast; ++p) {
                double score = 0;
                for (int64_t d = 0; d < width; ++d)
                    score += query[static_cast<size_t>(d)] *
                             f16_to_f32(k[static_cast<size_t>((p / 32 * width + d) * 32 + p % 32)]);
                scores.push_back(std::exp(score));
                total += scores.back();
            }
            for (int64_t d = 0; d < width; ++d) {
                double expected = 0;
                for (int64_t p = kFirst; p < kLast; ++p)
                    expected +=
                        scores[static_cast<size_t>(p - kFirst)] / total *
                        f16_to_f32(v[static_cast<size_t>((p / 32 * 32 + p % 32) * width + d)]);
                EXPECT_NEAR(values[static_cast<size_t>(d)] / state.sum, expected, 2e-5)
                    << kernels->name << " width " << width;
            }
        }
}

TEST(Activations, SiluAndGeluAgreeWithF64OverTheWholeRange) {
    std::vector<float> x;
    for (float value = -120; value < 120; value += 0.37f) x.push_back(value);
    x.insert(x.end(), {0.0f, -0.0f, 1e-30f, -1e-30f, 1e30f, -1e30f});
    for (const Kernels* kernels : all_kernels()) {
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

}  // namespace
}  // namespace llmsql
