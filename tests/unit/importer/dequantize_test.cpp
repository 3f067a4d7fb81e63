// SPDX-License-Identifier: MIT
// GGUF's types read as numbers and stored as model.db's: exact where that is promised, within the
// bounds that docs/model-db.md states elsewhere.
#include "importer/dequantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <stdexcept>

#include "common/files.h"
#include "common/half.h"
#include "importer/quantize.h"

namespace llmsql::test {
namespace {

struct Recorded {
    GgmlType type = GgmlType::f32;
    std::vector<std::byte> row;
    std::vector<float> values;   // of an ordinary record
    std::vector<uint32_t> sums;  // of another: CRC-32 of each block's values
};

/// Blocks of every type and their values by an independent implementation
/// (tests/reference/make_gguf_blocks.py).
std::vector<Recorded> all_recorded() {
    const std::string file = read_file(LLMSQL_SOURCE_DIR "/tests/fixtures/gguf-blocks.bin");
    std::vector<Recorded> all;
    size_t at = 0;
    const auto take = [&](void* into, size_t bytes) {
        if (at + bytes > file.size()) throw std::runtime_error("the fixture ends too early");
        std::memcpy(into, file.data() + at, bytes);
        at += bytes;
    };
    while (at < file.size()) {
        uint32_t header[3] = {};
        take(header, sizeof header);
        Recorded& record = all.emplace_back();
        record.type = static_cast<GgmlType>(header[0]);
        record.row.resize(static_cast<size_t>(ggml_row_bytes(record.type, header[1])));
        take(record.row.data(), record.row.size());
        if (header[2] == 0) {
            record.values.resize(header[1]);
            take(record.values.data(), record.values.size() * sizeof(float));
        } else {
            record.sums.resize(header[1] / info_of(record.type).block_weights);
            take(record.sums.data(), record.sums.size() * sizeof(uint32_t));
        }
    }
    return all;
}

/// The ordinary ones.
std::map<GgmlType, Recorded> recorded() {
    std::map<GgmlType, Recorded> ordinary;
    for (Recorded& record : all_recorded())
        if (!record.values.empty()) ordinary[record.type] = std::move(record);
    return ordinary;
}

/// zlib's.
uint32_t crc32(std::span<const std::byte> bytes) {
    uint32_t sum = ~0u;
    for (const std::byte byte : bytes) {
        sum ^= std::to_integer<uint32_t>(byte);
        for (int bit = 0; bit < 8; ++bit) sum = sum >> 1 ^ (sum & 1 ? 0xedb88320u : 0);
    }
    return ~sum;
}

std::vector<uint32_t> bits_of(const std::vector<float>& values) {
    std::vector<uint32_t> bits;
    for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
    return bits;
}

/// A row converted to a stored type, as values; fails the test if the type cannot hold it.
template<class Element>
std::vector<float> stored(GgmlType type, const std::vector<std::byte>& row, size_t weights,
                          std::vector<Element>* elements = nullptr) {
    constexpr bool kBlocks = std::is_same_v<Element, Q8Block> || std::is_same_v<Element, Q4Block>;
    std::vector<Element> out(kBlocks ? (weights + 31) / 32 : weights);
    std::vector<float> scratch(weights), values(weights);
    EXPECT_TRUE(convert_row(type, row.data(), std::span(scratch), std::span(out)));
    for (size_t i = 0; i < weights; ++i) {
        if constexpr (std::is_same_v<Element, Q8Block>)
            values[i] = f16_to_f32(out[i / 32].scale) * out[i / 32].codes[i % 32];
        else if constexpr (std::is_same_v<Element, Q4Block>)
            values[i] = f16_to_f32(out[i / 32].scale) * out[i / 32].codes[i % 32] +
                        f16_to_f32(out[i / 32].offset);
        else if constexpr (std::is_same_v<Element, uint16_t>)
            values[i] = f16_to_f32(out[i]);
        else
            values[i] = out[i];
    }
    if (elements) *elements = out;
    return values;
}

std::vector<std::byte> bytes_of_floats(const std::vector<float>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    return {bytes.begin(), bytes.end()};
}

// The bounds of docs/model-db.md, "What import rounds", for a block of f32 values.
float q8_bound(std::span<const float> block) {
    float largest = 0;
    for (const float x : block) largest = std::max(largest, std::fabs(x));
    return largest / 254 * (1 + 0x1p-10f) + 0x1p-25f;
}
float q4_bound(std::span<const float> block) {
    const auto [low, high] = std::ranges::minmax(block);
    const float range = high - low + std::fabs(low) * 0x1p-10f + 0x1p-24f;
    return range / 30 * (1 + 0x1p-9f) + 0x1p-24f;
}

/// What quantize_q4 makes as small as it can: errors squared, the larger weights' counting for
/// more.
double weighted_error(std::span<const float> block, std::span<const float> stored) {
    double squares = 0, error = 0;
    for (const float x : block) squares += static_cast<double>(x) * x;
    for (size_t i = 0; i < block.size(); ++i) {
        const double miss = static_cast<double>(stored[i]) - block[i];
        error += (std::fabs(static_cast<double>(block[i])) +
                  std::sqrt(squares / static_cast<double>(block.size()))) *
                 miss * miss;
    }
    return error;
}
std::vector<float> values_of(const Q4Block& block, size_t count) {
    std::vector<float> values(count);
    for (size_t i = 0; i < count; ++i)
        values[i] = f16_to_f32(block.scale) * block.codes[i] + f16_to_f32(block.offset);
    return values;
}
/// The error of a block each of whose weights is off by `bound`.
double weighted_bound(std::span<const float> block, float bound) {
    std::vector<float> stored(block.begin(), block.end());
    for (float& x : stored) x += bound;
    return weighted_error(block, stored) * (1 + 1e-4);
}

TEST(Dequantize, EveryTypeMeansWhatTheReferenceSays) {
    std::set<GgmlType> types;
    for (const Recorded& record : all_recorded()) {
        const GgmlTypeInfo& info = info_of(record.type);
        types.insert(record.type);
        std::vector<float> values(record.values.size() + record.sums.size() * info.block_weights);
        dequantize_row(record.type, record.row.data(), std::span(values));
        if (record.sums.empty()) {
            EXPECT_EQ(bits_of(values), bits_of(record.values)) << info.name;
            continue;
        }
        const auto bytes = std::as_bytes(std::span(values));
        const size_t step = bytes.size() / record.sums.size();
        for (size_t b = 0; b < record.sums.size(); ++b)
            ASSERT_EQ(crc32(bytes.subspan(b * step, step)), record.sums[b])
                << info.name << ", block " << b;
    }
    // All that GGUF has.
    size_t known = 0;
    for (uint32_t number = 0; number < 1000; ++number)
        if (find_ggml_type(number)) ++known;
    EXPECT_EQ(types.size(), known);
}

// Of the codes' and scales' bits none is without a meaning: another one makes another value, but in
// NVFP4, whose scales have no sign, in the sums of the Q8_1 and Q8_K, and in the spare states of
// five trits a byte.
TEST(Dequantize, EveryBitCounts) {
    for (const auto& [type, record] : recorded()) {
        if (type == GgmlType::q8_1 || type == GgmlType::q8_k || type == GgmlType::nvfp4 ||
            type == GgmlType::tq1_0 || !info_of(type).has_blocks())
            continue;
        const auto weights = static_cast<size_t>(info_of(type).block_weights);
        const auto bytes = static_cast<size_t>(info_of(type).block_bytes);
        for (size_t at = 0; at < bytes; ++at) {
            // A bit may be silent where something else is 0, but not in every block.
            std::array<bool, 8> counts{};
            for (size_t b = 0; b * weights < record.values.size(); ++b) {
                std::vector<std::byte> block(record.row.begin() + b * bytes,
                                             record.row.begin() + (b + 1) * bytes);
                std::vector<float> before(weights), after(weights);
                dequantize_row(type, block.data(), std::span(before));
                for (size_t bit = 0; bit < 8; ++bit) {
                    block[at] ^= std::byte{1} << bit;
                    dequantize_row(type, block.data(), std::span(after));
                    block[at] ^= std::byte{1} << bit;
                    counts[bit] = counts[bit] || bits_of(before) != bits_of(after);
                }
            }
            for (size_t bit = 0; bit < 8; ++bit)
                EXPECT_TRUE(counts[bit])
                    << info_of(type).name << ", bit " << bit << " of byte " << at;
        }
    }
}

// The scales of floating types are infinite or no number where the file says so, and the first such
// weight is found.
TEST(Dequantize, FindsScalesThatAreNotFinite) {
    const auto all = recorded();
    const auto first_of = [](GgmlType type, const std::vector<std::byte>& row, size_t weights) {
        std::vector<float> scratch(weights);
        return first_not_finite(type, row.data(), std::span(scratch));
    };
    // Byte of the last block's scale that makes it infinite (with the one before) or NaN.
    const std::map<GgmlType, std::vector<int>> scales{
        {GgmlType::q4_0, {0}},      {GgmlType::q4_1, {0, 2}}, {GgmlType::q5_0, {0}},
        {GgmlType::q5_1, {0, 2}},   {GgmlType::q8_0, {0}},    {GgmlType::q8_1, {0}},
        {GgmlType::q2_k, {80, 82}}, {GgmlType::q3_k, {108}},  {GgmlType::q4_k, {0, 2}},
        {GgmlType::q5_k, {0, 2}},   {GgmlType::q6_k, {208}},  {GgmlType::iq2_xxs, {0}},
        {GgmlType::iq2_xs, {0}},    {GgmlType::iq2_s, {0}},   {GgmlType::iq3_xxs, {0}},
        {GgmlType::iq3_s, {0}},     {GgmlType::iq1_s, {0}},   {GgmlType::iq4_nl, {0}},
        {GgmlType::iq4_xs, {0}},    {GgmlType::tq1_0, {52}},  {GgmlType::tq2_0, {64}},
        {GgmlType::q1_0, {0}},      {GgmlType::q2_0, {0}}};
    for (const auto& [type, record] : all) {
        EXPECT_EQ(first_of(type, record.row, 512), std::nullopt) << info_of(type).name;
        const auto& [weights, bytes] = std::pair(static_cast<size_t>(info_of(type).block_weights),
                                                 static_cast<size_t>(info_of(type).block_bytes));
        const auto refused = [&](const std::vector<std::byte>& row) {
            const std::optional<size_t> first = first_of(type, row, 512);
            EXPECT_TRUE(first && *first / weights == 512 / weights - 1) << info_of(type).name;
            std::vector<float> scratch(512), f32(512);
            std::vector<uint16_t> f16(512);
            std::vector<Q8Block> q8(16);
            std::vector<Q4Block> q4(16);
            EXPECT_FALSE(convert_row(type, row.data(), scratch, std::span(f32)));
            EXPECT_FALSE(convert_row(type, row.data(), scratch, std::span(f16)));
            EXPECT_FALSE(convert_row(type, row.data(), scratch, std::span(q8)));
            EXPECT_FALSE(convert_row(type, row.data(), scratch, std::span(q4)));
        };
        const size_t last = record.row.size() - bytes;
        std::vector<std::byte> row = record.row;
        if (const auto at = scales.find(type); at != scales.end()) {
            for (const int scale : at->second)
                for (const uint16_t bad : {0x7c00, 0xfc00, 0x7e00, 0xfdff}) {
                    row = record.row;
                    std::memcpy(row.data() + last + scale, &bad, 2);
                    refused(row);
                }
        } else if (type == GgmlType::iq1_m) {  // a nibble in each of four u16
            for (const size_t at : {53, 55}) row[last + at] |= std::byte{0xf0};
            refused(row);
        } else if (type == GgmlType::q8_k) {
            for (const size_t at : {2, 3}) row[last + at] = std::byte{0xff};
            refused(row);
        } else if (type == GgmlType::mxfp4) {
            row[last] = std::byte{0xff};
            refused(row);
            row[last] = std::byte{0xfe};  // 2^127 times 6 is beyond f32
            row[last + 1] = std::byte{0x07};
            refused(row);
        } else {
            // Every scale of NVFP4 is a number.
            EXPECT_TRUE(type == GgmlType::nvfp4 || !info_of(type).has_blocks())
                << info_of(type).name;
        }
    }
}

TEST(Dequantize, ExactTypesKeepEveryValue) {
    const auto all = recorded();
    const auto check = [&](GgmlType type, const std::vector<float>& values) {
        EXPECT_EQ(values, all.at(type).values) << info_of(type).name;
    };
    for (const GgmlType type : {GgmlType::q4_0, GgmlType::q4_1, GgmlType::q1_0, GgmlType::q2_0,
                                GgmlType::tq1_0, GgmlType::tq2_0}) {
        EXPECT_TRUE(keeps_q4(type));
        check(type, stored<Q4Block>(type, all.at(type).row, 512));
    }
    for (const GgmlType type :
         {GgmlType::q4_0, GgmlType::q5_0, GgmlType::q8_0, GgmlType::iq4_nl, GgmlType::mxfp4,
          GgmlType::q1_0, GgmlType::q2_0, GgmlType::tq1_0, GgmlType::tq2_0})
        check(type, stored<Q8Block>(type, all.at(type).row, 512));
    check(GgmlType::f16, stored<uint16_t>(GgmlType::f16, all.at(GgmlType::f16).row, 512));
    for (const auto& [type, record] : all) check(type, stored<float>(type, record.row, 512));
}

TEST(Dequantize, ExactTypesKeepCodesAndScales) {
    // One block written out by hand: d = 2, weight j has the code j % 16 (Q4), j (Q8).
    std::vector<std::byte> q4_0(18), q4_1(20), q8_0(34);
    const uint16_t two = f32_to_f16(2), minus_three = f32_to_f16(-3);
    std::memcpy(q4_0.data(), &two, 2);
    std::memcpy(q4_1.data(), &two, 2);
    std::memcpy(q4_1.data() + 2, &minus_three, 2);
    std::memcpy(q8_0.data(), &two, 2);
    for (size_t j = 0; j < 16; ++j)
        q4_0[2 + j] = q4_1[4 + j] = static_cast<std::byte>(j | (15 - j) << 4);
    for (size_t j = 0; j < 32; ++j) q8_0[2 + j] = static_cast<std::byte>(j * 8 - 127);

    std::vector<Q4Block> q4;
    const auto values = stored<Q4Block>(GgmlType::q4_0, q4_0, 32, &q4);
    EXPECT_EQ(q4[0].scale, two);
    EXPECT_EQ(q4[0].offset, f32_to_f16(-16));
    EXPECT_EQ(values[0], -16);
    EXPECT_EQ(values[15], 14);
    EXPECT_EQ(values[16], 14);
    EXPECT_EQ(values[31], -16);
    stored<Q4Block>(GgmlType::q4_1, q4_1, 32, &q4);
    EXPECT_EQ(q4[0].scale, two);
    EXPECT_EQ(q4[0].offset, minus_three);
    for (size_t j = 0; j < 16; ++j) {
        EXPECT_EQ(q4[0].codes[j], j);
        EXPECT_EQ(q4[0].codes[16 + j], 15 - j);
    }
    std::vector<Q8Block> q8;
    stored<Q8Block>(GgmlType::q8_0, q8_0, 32, &q8);
    EXPECT_EQ(q8[0].scale, two);
    for (int j = 0; j < 32; ++j) EXPECT_EQ(q8[0].codes[j], j * 8 - 127);
}

TEST(Dequantize, Q8KeepsACodeOfMinus128) {
    std::vector<std::byte> row(34);
    const uint16_t one = f32_to_f16(1);
    std::memcpy(row.data(), &one, 2);
    row[2 + 5] = std::byte{0x80};
    row[2 + 6] = std::byte{100};
    const auto values = stored<Q8Block>(GgmlType::q8_0, row, 32);
    EXPECT_EQ(values[5], -128);
    EXPECT_EQ(values[6], 100);
}

TEST(Dequantize, Q4KKeepsItsCodesAndRoundsScalesToF16) {
    const Recorded record = recorded().at(GgmlType::q4_k);
    const auto values = stored<Q4Block>(GgmlType::q4_k, record.row, 512);
    for (size_t first = 0; first < 512; first += 32) {
        // Scale and offset are each off by 2^-11 of themselves at most (2^-25 where subnormal), and
        // are at most as large as the block's range and its value at code 0.
        const auto block = std::span(record.values).subspan(first, 32);
        float largest = 0;
        for (const float x : block) largest = std::max(largest, std::fabs(x));
        const auto* bytes = reinterpret_cast<const uint8_t*>(record.row.data()) + first / 256 * 144;
        uint16_t d, dmin;
        std::memcpy(&d, bytes, 2);
        std::memcpy(&dmin, bytes + 2, 2);
        const float scale = 63 * std::fabs(f16_to_f32(d)),
                    offset = 63 * std::fabs(f16_to_f32(dmin));
        for (size_t i = 0; i < 32; ++i)
            EXPECT_LE(std::fabs(values[first + i] - block[i]),
                      (15 * scale + offset) * 0x1.02p-11f + 16 * 0x1p-25f);
    }
}

TEST(Dequantize, OtherTypesStayWithinTheStatedBounds) {
    for (const auto& [type, record] : recorded()) {
        if (std::ranges::any_of(record.values, [](float x) { return std::fabs(x) > 65504; }))
            continue;  // integers, beyond f16
        const auto q8 = stored<Q8Block>(type, record.row, 512);
        for (size_t i = 0; i < 512; ++i) {
            const auto block = std::span(record.values).subspan(i / 32 * 32, 32);
            ASSERT_LE(std::fabs(q8[i] - record.values[i]), q8_bound(block))
                << info_of(type).name << " weight " << i;
        }
        if (keeps_q4(type)) continue;
        const auto q4 = stored<Q4Block>(type, record.row, 512);
        for (size_t first = 0; first < 512; first += 32) {
            const auto block = std::span(record.values).subspan(first, 32);
            ASSERT_LE(weighted_error(block, std::span(q4).subspan(first, 32)),
                      weighted_bound(block, q4_bound(block)))
                << info_of(type).name << " weight " << first;
        }
        const auto f16 = stored<uint16_t>(type, record.row, 512);
        for (size_t i = 0; i < 512; ++i)
            ASSERT_LE(std::fabs(f16[i] - record.values[i]),
                      std::max(std::fabs(record.values[i]) * 0x1p-11f, 0x1p-25f));
    }
}

TEST(Quantize, ErrorsStayWithinTheBoundsAtEveryMagnitude) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    for (int exponent = -45; exponent <= 15; ++exponent) {
        for (int round = 0; round < 40; ++round) {
            std::vector<float> block(round % 32 + 1);  // and blocks that are not full
            const float shift = round % 3 == 0 ? 0 : normal(random) * 3;
            for (float& x : block) x = std::ldexp((normal(random) + shift) / 16, exponent);
            const auto q8 = quantize_q8(block);
            const auto q4 = quantize_q4_minmax(block), searched = quantize_q4(block);
            ASSERT_TRUE(q8 && q4 && searched);
            for (size_t i = 0; i < block.size(); ++i) {
                ASSERT_LE(std::fabs(f16_to_f32(q8->scale) * q8->codes[i] - block[i]),
                          q8_bound(block))
                    << "q8, 2^" << exponent;
                ASSERT_LE(std::fabs(f16_to_f32(q4->scale) * q4->codes[i] + f16_to_f32(q4->offset) -
                                    block[i]),
                          q4_bound(block))
                    << "q4, 2^" << exponent;
                ASSERT_GE(q8->codes[i], -127);
                ASSERT_LE(q4->codes[i], 15);
                ASSERT_LE(searched->codes[i], 15);
            }
            for (size_t i = block.size(); i < 32; ++i) {
                ASSERT_EQ(q8->codes[i], 0);
                ASSERT_EQ(q4->codes[i], 0);
                ASSERT_EQ(searched->codes[i], 0);
            }
        }
    }
}

// Blocks as models have them and as they do not: bell curves, long tails, few levels, one outlier,
// all positive, far from 0, not full, of every magnitude.
TEST(Quantize, TheSearchIsNeverWorseThanMinMax) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    double searched_sum = 0, plain_sum = 0;
    for (int round = 0; round < 20000; ++round) {
        std::vector<float> block(round % 7 == 0 ? static_cast<size_t>(round) % 32 + 1 : 32);
        for (float& x : block) {
            x = normal(random);
            if (round % 6 == 1) x = x * x * x;
            if (round % 6 == 2) x = std::round(x * 4) / 4;
            if (round % 6 == 3) x = std::fabs(x);
            if (round % 6 == 4) x += 20;
        }
        if (round % 6 == 5) block[0] *= 30;
        const int exponent = round % 40 - 30;
        for (float& x : block) x = std::ldexp(x, exponent);
        const auto searched = quantize_q4(block), plain = quantize_q4_minmax(block);
        ASSERT_TRUE(searched && plain);
        const double error = weighted_error(block, values_of(*searched, block.size()));
        const double plain_error = weighted_error(block, values_of(*plain, block.size()));
        ASSERT_LE(error, plain_error * (1 + 1e-5)) << "round " << round;
        // (Scales below 2^-14 are coarse in f16.)
        if (round % 6 == 0 && block.size() == 32 && exponent > -10) {
            searched_sum += error / plain_error;
            plain_sum += 1;
        }
    }
    EXPECT_LT(searched_sum, 0.85 * plain_sum);  // of a bell curve
}

// No line through sixteen levels fits better than one that passes through all values.
TEST(Quantize, TheSearchLeavesWhatIsExact) {
    std::mt19937 random(13);
    for (int round = 0; round < 1000; ++round) {
        Q4Block exact;
        exact.scale = f32_to_f16(std::ldexp(1 + static_cast<float>(random() % 1024) / 1024, -7));
        exact.offset = f32_to_f16(-8 * f16_to_f32(exact.scale));
        for (uint8_t& code : exact.codes) code = static_cast<uint8_t>(random() % 16);
        exact.codes[3] = 0;
        exact.codes[17] = 15;
        ASSERT_EQ(quantize_q4(values_of(exact, 32)), exact) << round;
    }
}

TEST(Quantize, KeepsWhatItCan) {
    const std::vector<float> zeros(32, 0.0f);
    EXPECT_EQ(quantize_q8(zeros), Q8Block{});
    EXPECT_EQ(quantize_q4(zeros), Q4Block{});
    const std::vector<float> constant(32, -0.75f);
    const auto q4 = quantize_q4(constant);
    ASSERT_TRUE(q4);
    EXPECT_EQ(f16_to_f32(q4->offset), -0.75f);
    std::vector<float> ramp(16);
    for (int i = 0; i < 16; ++i) ramp[i] = static_cast<float>(i) * 0.5f - 3;
    const auto exact = quantize_q4(ramp);
    ASSERT_TRUE(exact);
    for (int i = 0; i < 16; ++i) EXPECT_EQ(exact->codes[i], i);
}

TEST(Quantize, RefusesWhatTheTypeCannotHold) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    for (const float bad : {kInfinity, -kInfinity, kNan}) {
        const auto row = bytes_of_floats({1, bad, 2});
        std::vector<float> scratch(3), floats(3);
        std::vector<uint16_t> halves(3);
        std::vector<Q8Block> q8(1);
        std::vector<Q4Block> q4(1);
        EXPECT_FALSE(convert_row(GgmlType::f32, row.data(), scratch, std::span(floats)));
        EXPECT_FALSE(convert_row(GgmlType::f32, row.data(), scratch, std::span(halves)));
        EXPECT_FALSE(convert_row(GgmlType::f32, row.data(), scratch, std::span(q8)));
        EXPECT_FALSE(convert_row(GgmlType::f32, row.data(), scratch, std::span(q4)));
    }
    EXPECT_TRUE(quantize_q8(std::vector<float>{65504 * 127.0f}));
    EXPECT_FALSE(quantize_q8(std::vector<float>{65600 * 127.0f}));
    EXPECT_FALSE(quantize_q4(std::vector<float>{-70000, 0}));
    EXPECT_FALSE(quantize_q4(std::vector<float>{0, 16 * 65504.0f}));
    // A scale that is infinite makes a quantised source's block useless, whatever the target.
    std::vector<std::byte> row(34, std::byte{1});
    const uint16_t infinite = 0x7c00;
    std::memcpy(row.data(), &infinite, 2);
    std::vector<float> scratch(32);
    std::vector<Q8Block> q8(1);
    EXPECT_FALSE(convert_row(GgmlType::q8_0, row.data(), scratch, std::span(q8)));
    std::vector<Q4Block> q4(1);
    EXPECT_FALSE(convert_row(GgmlType::q4_0, row.data(), scratch, std::span(q4)));
    const auto large = bytes_of_floats({65504, 65520});
    std::vector<uint16_t> halves(2);
    EXPECT_FALSE(
        convert_row(GgmlType::f32, large.data(), std::span(scratch).first(2), std::span(halves)));
}

}  // namespace
}  // namespace llmsql::test
