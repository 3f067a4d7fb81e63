// SPDX-License-Identifier: MIT
// Parameters from tensors to tiles: order of rows, shapes, types.
#include "importer/store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <set>

#include "common/files.h"
#include "common/half.h"
#include "importer/dequantize.h"
#include "importer/gguf.h"
#include "tests/unit/error_of.h"
#include "tests/unit/importer/gguf_builder.h"
#include "tests/unit/importer/sql.h"
#include "tests/unit/says.h"

namespace llmsql::test {
namespace {

constexpr uint32_t kF32 = 0, kF16 = 1, kQ4_0 = 2, kBf16 = 30;

Param matrix(const std::string& tensor, int64_t rows, int64_t cols, WeightType type,
             std::string transform = "", std::vector<double> args = {}) {
    Param param;
    param.name = "p";
    param.type = type;
    param.shape = {rows, cols};
    param.gguf = ParamSource{tensor, {}};
    if (!transform.empty())
        param.gguf->transforms.push_back({std::move(transform), std::move(args)});
    return param;
}

Param vector(const std::string& tensor, int64_t cols, std::string transform = "",
             std::vector<double> args = {}) {
    Param param = matrix(tensor, 1, cols, WeightType::f32, std::move(transform), std::move(args));
    param.shape.rows.reset();
    return param;
}

class StoreTest : public testing::Test {
  protected:
    /// What the database holds of one parameter after an import: its values row by row.
    std::vector<std::vector<float>> stored(const GgufBuilder& builder, const Param& param) {
        return stored_part(builder, param, true);
    }

    std::vector<std::vector<float>> stored_part(const GgufBuilder& builder, const Param& param,
                                                bool is_whole = false) {
        const Gguf gguf(folder_.write("x.gguf", builder.build()));
        const RowSource source(gguf, param);
        const uint64_t progress = store({{1, param, false, source, {}, ""}});
        EXPECT_LE(progress, source.bytes());
        EXPECT_GE(progress + 100, source.bytes());
        EXPECT_EQ(source.bytes() == source.tensor().bytes, is_whole);
        const std::string bytes =
            Sql(folder_ / "x.db").blob("SELECT data FROM llm_tile ORDER BY first_row");
        std::vector<std::vector<float>> rows;
        if (param.shape.is_vector()) {
            rows.emplace_back(bytes.size() / 4);
            std::memcpy(rows[0].data(), bytes.data(), bytes.size());
            return rows;
        }
        EXPECT_EQ(bytes.size(), param_bytes(param.type, param.shape));
        const auto* strips = reinterpret_cast<const std::byte*>(bytes.data());
        for (int64_t r = 0; r < *param.shape.rows; ++r)
            rows.push_back(unpack_values(
                param.type,
                strips + static_cast<size_t>(r / 16) * strip_bytes(param.type, param.shape.cols),
                param.shape.cols, r % 16));
        return rows;
    }

    /// Makes x.db of the parameters; the bytes of the source that this used up by its own account.
    uint64_t store(const std::vector<ParamToStore>& params) {
        uint64_t progress = 0;
        ModelWriter writer(folder_ / "x.db", canceled_);
        for (const ParamToStore& param : params) writer.param(param.id, param.entry);
        store_params(params, writer, [&](uint64_t bytes) { progress += bytes; });
        writer.finish();
        writer.publish();
        return progress;
    }

    std::string error_for(const GgufBuilder& builder, const Param& param) {
        const Gguf gguf(folder_.write("x.gguf", builder.build()));
        return error_of([&] { RowSource source(gguf, param); });
    }

    static std::vector<float> count(size_t n) {
        std::vector<float> values(n);
        for (size_t i = 0; i < n; ++i) values[i] = static_cast<float>(i);
        return values;
    }

    TemporaryFolder folder_;
    std::atomic<bool> canceled_ = false;
};

// Transforms one after the other: a matrix with its inputs as rows, of which rows alternate.
TEST_F(StoreTest, TransformsAreDoneInTheirOrder) {
    GgufBuilder builder;  // [2, 3, 8]: two matrices of three inputs and eight outputs
    builder.tensor("m", {8, 3, 2}, kF32, bytes_of(count(48)))
        .tensor("b", {8, 2}, kF32, bytes_of(count(16)));
    Param param = matrix("m", 2, 3, WeightType::f32);
    param.gguf->part = 1;
    param.gguf->parts = 2;
    param.gguf->transforms = {{"transposed", {}}, {"slice", {4, 8}}, {"every", {2, 1}}};
    // Of the second matrix the columns 4 to 7, and of those every second one from 1 on: 5 and 7.
    EXPECT_EQ(stored_part(builder, param),
              (std::vector<std::vector<float>>{{29, 37, 45}, {31, 39, 47}}));
    Param flat = vector("b", 8);
    flat.gguf->transforms = {{"flattened", {}}, {"every", {2, 0}}};
    EXPECT_EQ(stored_part(builder, flat)[0], (std::vector<float>{0, 2, 4, 6, 8, 10, 12, 14}));
    flat.shape.cols = 16;
    flat.gguf->transforms = {{"flattened", {}}};
    EXPECT_EQ(stored(builder, flat)[0], count(16));
    flat.gguf->transforms.clear();
    EXPECT_CONTAINS(error_for(builder, flat), "has the shape [2, 8], the model needs [16]");

    for (const std::vector<double>& wrong :
         std::vector<std::vector<double>>{{0, 0}, {2, 2}, {1.5, 0}, {1e300, 0}, {}})
        EXPECT_CONTAINS(error_for(builder, matrix("m", 2, 3, WeightType::f32, "every", wrong)),
                        "no place for the 2 rows of p");
    param.gguf->transforms = {{"every", {2, 1}}, {"transposed", {}}};
    EXPECT_CONTAINS(error_for(builder, param), "before all else");
}

// The same matrices with their inputs as rows, and with their outputs.
TEST_F(StoreTest, EitherWayIsDecidedByTheShape) {
    GgufBuilder builder;
    builder.tensor("m", {8, 3, 2}, kF32, bytes_of(count(48)));
    GgufBuilder other;
    std::vector<float> turned(48);
    for (size_t part = 0; part < 2; ++part)
        for (size_t row = 0; row < 8; ++row)
            for (size_t col = 0; col < 3; ++col)
                turned[part * 24 + row * 3 + col] = static_cast<float>(part * 24 + col * 8 + row);
    other.tensor("m", {3, 8, 2}, kF32, bytes_of(turned));
    Param param = matrix("m", 2, 3, WeightType::f32);
    param.gguf->part = 1;
    param.gguf->parts = 2;
    param.gguf->transforms = {{"either_way", {}}, {"slice", {4, 8}}};
    const std::vector<std::vector<float>> expected{{28, 36, 44}, {29, 37, 45}};
    EXPECT_EQ(stored_part(builder, param), expected);
    EXPECT_EQ(stored_part(other, param), expected);
    GgufBuilder wrong;
    wrong.tensor("m", {8, 4, 2}, kF32, bytes_of(count(64)));
    EXPECT_CONTAINS(error_for(wrong, param), "has the shape");
}

// Of two heads of five rows the first three, and of those the columns: a row for each.
TEST_F(StoreTest, GroupsOfRowsAreTransposedEachForItself) {
    GgufBuilder builder;
    builder.tensor("m", {4, 10}, kF32, bytes_of(count(40)));
    Param param = matrix("m", 8, 3, WeightType::f32);
    param.gguf->transforms = {{"slice", {0, 5, 2}}, {"transposed", {2}}};
    EXPECT_EQ(stored_part(builder, param), (std::vector<std::vector<float>>{{0, 4, 8},
                                                                            {1, 5, 9},
                                                                            {2, 6, 10},
                                                                            {3, 7, 11},
                                                                            {20, 24, 28},
                                                                            {21, 25, 29},
                                                                            {22, 26, 30},
                                                                            {23, 27, 31}}));
    EXPECT_EQ(RowSource(Gguf(folder_ / "x.gguf"), param).natural_type(), WeightType::f32);
    param.gguf->transforms = {{"transposed", {2}}, {"slice", {0, 5, 2}}};
    EXPECT_CONTAINS(error_for(builder, param), "are not those of 2 transposed matrices");
    param.gguf->transforms = {{"slice", {0, 5, 2}}, {"transposed", {3}}};
    EXPECT_CONTAINS(error_for(builder, param),
                    "the 8 rows of p are not those of 3 transposed matrices");
    param.gguf->transforms = {{"transposed", {2}}};
    EXPECT_CONTAINS(error_for(builder, param), "has the shape [10, 4], the model needs [6, 4]");

    // Of types in blocks values are taken out of them; of others nothing changes but the order.
    std::string blocks;
    for (int block = 0; block < 4; ++block) {  // two rows of 64: scale 1, levels 0 to 15 less 8
        blocks += bytes_of(std::vector<uint16_t>{0x3c00});
        for (int i = 0; i < 16; ++i) blocks += static_cast<char>(i | (15 - i) << 4);
    }
    GgufBuilder quantised;
    quantised.tensor("m", {64, 2}, kQ4_0, blocks)
        .tensor("h", {2, 3, 2}, kF16, bytes_of(std::vector<uint16_t>(12, 0x3c00)));
    Param turned = matrix("m", 64, 2, WeightType::f32, "transposed", {1});
    const auto rows = stored(quantised, turned);
    for (size_t r = 0; r < 64; ++r) {
        const auto i = static_cast<float>(r % 16);
        EXPECT_EQ(rows[r], std::vector<float>(2, r % 32 < 16 ? i - 8 : 7 - i)) << r;
    }
    const Gguf gguf(folder_ / "x.gguf");
    EXPECT_EQ(RowSource(gguf, turned).natural_type(), WeightType::q8);
    EXPECT_EQ(RowSource(gguf, matrix("h", 6, 2, WeightType::f16, "flattened")).natural_type(),
              WeightType::f16);
    EXPECT_EQ(stored(quantised, matrix("h", 6, 2, WeightType::f16, "flattened")),
              std::vector<std::vector<float>>(6, std::vector<float>(2, 1.0f)));
    EXPECT_CONTAINS(error_for(quantised, matrix("h", 4, 3, WeightType::f16, "flattened")),
                    "has the shape [2, 3, 2], the model needs [4, 3]");
}

TEST_F(StoreTest, StoresMatricesAndVectors) {
    // 50 rows, cols no multiple of a block: several strips, the last one not full.
    GgufBuilder builder;
    builder.tensor("m", {33, 50}, kF32, bytes_of(count(1650)))
        .tensor("v", {5}, kF32, bytes_of(count(5)));
    for (const WeightType type : {WeightType::f32, WeightType::f16}) {
        const auto rows = stored(builder, matrix("m", 50, 33, type));
        for (size_t r = 0; r < 50; ++r)
            for (size_t c = 0; c < 33; ++c) ASSERT_EQ(rows[r][c], static_cast<float>(r * 33 + c));
    }
    for (const WeightType type : {WeightType::q8, WeightType::q4}) {
        const auto rows = stored(builder, matrix("m", 50, 33, type));
        for (size_t r = 0; r < 50; ++r)
            for (size_t c = 0; c < 33; ++c)
                ASSERT_NEAR(rows[r][c], static_cast<float>(r * 33 + c),
                            type == WeightType::q8 ? 6.6 : 1.5);
    }
    EXPECT_EQ(stored(builder, vector("v", 5))[0], count(5));
}

TEST_F(StoreTest, TakesSlices) {
    GgufBuilder builder;
    builder.tensor("m", {3, 40}, kF32, bytes_of(count(120)))
        .tensor("v", {9}, kF32, bytes_of(count(9)));
    const auto part = [&](const std::string& name, int64_t first, int64_t rows) {
        return stored_part(builder, matrix(name, rows, 3, WeightType::f32, "slice",
                                           {static_cast<double>(first), 40}));
    };
    for (const auto& [first, rows] : {std::pair<int64_t, int64_t>{0, 20}, {20, 7}, {27, 13}}) {
        const auto values = part("m", first, rows);
        ASSERT_EQ(values.size(), static_cast<size_t>(rows));
        for (size_t r = 0; r < values.size(); ++r)
            for (size_t c = 0; c < 3; ++c)
                ASSERT_EQ(values[r][c],
                          static_cast<float>((static_cast<size_t>(first) + r) * 3 + c));
    }
    EXPECT_EQ(stored_part(builder, vector("v", 4, "slice", {5, 9}))[0],
              (std::vector<float>{5, 6, 7, 8}));
    EXPECT_CONTAINS(error_for(builder, matrix("m", 20, 3, WeightType::f32, "slice", {21, 40})),
                    "slice(21, 40) is no place for the 20 rows of p");
    EXPECT_CONTAINS(error_for(builder, matrix("m", 20, 3, WeightType::f32, "slice", {0.5, 40})),
                    "slice(0.5, 40) is no place for the 20 rows");
    EXPECT_CONTAINS(
        error_for(builder, matrix("m", 20, 3, WeightType::f32, "slice", {0, 39})),
        "has the shape [40, 3], the model needs [39, 3] (parameter p is a slice of it)");
}

TEST_F(StoreTest, TakesGroupsAndColumns) {
    GgufBuilder builder;
    builder.tensor("m", {3, 40}, kF32, bytes_of(count(120)))
        .tensor("v", {12}, kF32, bytes_of(count(12)))
        .tensor("taps", {4, 1, 3}, kF32, bytes_of(count(12)))
        .tensor("one", {1}, kF32, bytes_of(std::vector<float>{4.5f}));
    // Rows 3 and 4 of each of five groups of eight.
    const auto rows = stored_part(builder, matrix("m", 10, 3, WeightType::f32, "slice", {3, 8, 5}));
    for (size_t r = 0; r < 10; ++r)
        for (size_t c = 0; c < 3; ++c)
            ASSERT_EQ(rows[r][c], static_cast<float>((r / 2 * 8 + 3 + r % 2) * 3 + c));
    EXPECT_EQ(stored_part(builder, vector("v", 4, "slice", {1, 6, 2}))[0],
              (std::vector<float>{1, 2, 7, 8}));
    EXPECT_CONTAINS(error_for(builder, matrix("m", 10, 3, WeightType::f32, "slice", {7, 8, 5})),
                    "slice(7, 8, 5) is no place for the 10 rows of p");
    EXPECT_CONTAINS(error_for(builder, matrix("m", 10, 3, WeightType::f32, "slice", {0, 8, 3})),
                    "slice(0, 8, 3) is no place for the 10 rows of p");

    Param taps = vector("taps", 12);
    taps.gguf->transforms = {{"flattened", {}}, {"columns", {4}}};
    EXPECT_EQ(stored(builder, taps)[0], (std::vector<float>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}));
    EXPECT_CONTAINS(error_for(builder, vector("v", 12, "columns", {5})),
                    "the 12 values of p are not 5 columns");

    Param repeated = vector("one", 5, "repeated");
    EXPECT_EQ(stored_part(builder, repeated)[0], std::vector<float>(5, 4.5f));
    EXPECT_CONTAINS(error_for(builder, matrix("m", 10, 3, WeightType::f32, "repeated")),
                    "p is a matrix");
    EXPECT_CONTAINS(error_for(builder, vector("v", 12, "repeated")), "the model needs [1]");

    const auto negative = stored(builder, vector("v", 12, "minus_exp"));
    for (size_t i = 0; i < 12; ++i)
        EXPECT_FLOAT_EQ(negative[0][i], -std::exp(static_cast<float>(i)));
}

TEST_F(StoreTest, CutsTilesBetweenStrips) {
    // f32 rows of 1024: a strip is 64 KiB, a tile 6 of them; 100 rows make 7 strips, 2 tiles.
    GgufBuilder builder;
    builder.tensor("m", {1024, 100}, kF32, bytes_of(count(102400)));
    const Param param = matrix("m", 100, 1024, WeightType::f32);
    const Gguf gguf(folder_.write("x.gguf", builder.build()));
    store({{1, param, false, RowSource(gguf, param), {}, ""}});
    const Sql sql(folder_ / "x.db");
    EXPECT_EQ(
        sql.text("SELECT id, param, first_row, length(checksums), length(data) FROM llm_tile"),
        "1|1|0|48|393216;2|1|96|8|65536");
    const std::string second = sql.blob("SELECT data FROM llm_tile WHERE id = 2");
    const auto row_96 = unpack_values(
        WeightType::f32, reinterpret_cast<const std::byte*>(second.data()), 1024, 96 % 16);
    EXPECT_EQ(row_96[5], 96 * 1024 + 5);
    // Rows 100 to 111 are padding.
    const auto padding =
        unpack_values(WeightType::f32, reinterpret_cast<const std::byte*>(second.data()), 1024, 4);
    EXPECT_EQ(padding, std::vector<float>(1024));
}

// The conversion to GGUF reshapes q to [heads, 2, d/2, cols] and swaps the middle axes; that is
// done here, and has to be undone.
TEST_F(StoreTest, UnpermutesHeads) {
    constexpr size_t kHeads = 3, kHalf = 4, kCols = 32, kRows = kHeads * 2 * kHalf;
    std::vector<uint8_t> canonical(kRows * 18), permuted;
    for (size_t r = 0; r < kRows; ++r) {
        const uint16_t scale = f32_to_f16(static_cast<float>(r + 1));
        std::memcpy(&canonical[r * 18], &scale, 2);
        for (size_t i = 2; i < 18; ++i)
            canonical[r * 18 + i] = static_cast<uint8_t>(r * 31 + i * 7);
    }
    for (size_t h = 0; h < kHeads; ++h)
        for (size_t i = 0; i < kHalf; ++i)
            for (size_t a = 0; a < 2; ++a) {
                const size_t row = (h * 2 + a) * kHalf + i;
                permuted.insert(permuted.end(), &canonical[row * 18], &canonical[row * 18] + 18);
            }
    GgufBuilder builder;
    builder.tensor("q", {kCols, kRows}, kQ4_0, bytes_of(permuted));
    const auto rows = stored(builder, matrix("q", kRows, kCols, WeightType::q4, "unpermute",
                                             {static_cast<double>(kHeads)}));
    for (size_t r = 0; r < kRows; ++r) {
        std::vector<float> expected(kCols);
        dequantize_row(GgmlType::q4_0, reinterpret_cast<std::byte*>(&canonical[r * 18]),
                       std::span(expected));
        EXPECT_EQ(rows[r], expected) << "row " << r;  // to the bit
    }
    // A bias is permuted like the rows: one head of 8.
    GgufBuilder bias;
    bias.tensor("b", {8}, kF32, bytes_of(std::vector<float>{0, 4, 1, 5, 2, 6, 3, 7}));
    EXPECT_EQ(stored(bias, vector("b", 8, "unpermute", {1}))[0], count(8));
}

TEST_F(StoreTest, AddsWhatTheGraphSays) {
    GgufBuilder builder;
    builder
        .tensor("m", {2, 2}, kF16,
                bytes_of(std::vector<uint16_t>{0, f32_to_f16(1), f32_to_f16(2), f32_to_f16(3)}))
        .tensor("v", {3}, kF32, bytes_of(count(3)));
    EXPECT_EQ(stored(builder, vector("v", 3, "plus", {1}))[0], (std::vector<float>{1, 2, 3}));
    const auto rows = stored(builder, matrix("m", 2, 2, WeightType::f32, "plus", {0.5}));
    EXPECT_EQ(rows, (std::vector<std::vector<float>>{{0.5f, 1.5f}, {2.5f, 3.5f}}));
}

TEST_F(StoreTest, ChecksShapesAndTypes) {
    GgufBuilder builder;
    builder.tensor("m", {3, 8}, kF32, bytes_of(count(24)))
        .tensor("one", {3, 1}, kF32, bytes_of(count(3)));
    EXPECT_EQ(error_for(builder, matrix("m", 8, 3, WeightType::f32)), "");
    EXPECT_EQ(error_for(builder, vector("one", 3)), "");
    EXPECT_CONTAINS(error_for(builder, matrix("m", 3, 8, WeightType::f32)),
                    "tensor m has the shape [8, 3], the model needs [3, 8]");
    EXPECT_CONTAINS(error_for(builder, vector("m", 24)),
                    "has the shape [8, 3], the model needs [24]");
    EXPECT_CONTAINS(error_for(builder, matrix("none", 3, 8, WeightType::f32)),
                    "tensor none is missing; the model needs it with the shape [3, 8]");
    for (const double heads : {0.0, 3.0, 8.0, 1.5, -2.0, 1e300})
        EXPECT_CONTAINS(
            error_for(builder, matrix("m", 8, 3, WeightType::f32, "unpermute", {heads})),
            "heads of an even number of rows");
    EXPECT_CONTAINS(error_for(builder, matrix("m", 8, 3, WeightType::f32, "unpermute")), "heads");
    EXPECT_CONTAINS(error_for(builder, matrix("m", 8, 3, WeightType::f32, "reverse")),
                    "transform reverse is not known");
    Param nowhere = matrix("m", 8, 3, WeightType::f32);
    nowhere.gguf.reset();
    EXPECT_CONTAINS(error_for(builder, nowhere), "does not say where");
}

// Whatever GGUF knows is stored, as it is by default and in any way that is asked for, and a vector
// as numbers.
TEST_F(StoreTest, NoTypeIsRefused) {
    for (uint32_t number = 0; number < 100; ++number) {
        const GgmlTypeInfo* info = find_ggml_type(number);
        if (!info) continue;
        const auto type = static_cast<GgmlType>(number);
        constexpr size_t kRows = 3, kCols = 512;
        // Small scales wherever they may lie, and integers that fit f16.
        const auto row_bytes = static_cast<size_t>(ggml_row_bytes(type, kCols));
        std::vector<uint8_t> bytes(kRows * row_bytes);
        const bool is_integer = info->name.starts_with('I') && !info->has_blocks();
        for (size_t i = 0; i < bytes.size(); ++i)
            bytes[i] = is_integer ? i % static_cast<size_t>(info->block_bytes) == 0 ? 1 + i % 90 : 0
                                  : static_cast<uint8_t>(1 + i * 31 % 61);
        GgufBuilder builder;
        builder.tensor("m", {kCols, kRows}, number, bytes_of(bytes))
            .tensor("v", {kCols * kRows}, number, bytes_of(bytes));
        std::vector<std::vector<float>> expected(kRows, std::vector<float>(kCols));
        std::vector<float> all;
        for (size_t r = 0; r < kRows; ++r) {
            dequantize_row(type, reinterpret_cast<std::byte*>(&bytes[r * row_bytes]),
                           std::span(expected[r]));
            all.insert(all.end(), expected[r].begin(), expected[r].end());
        }
        EXPECT_EQ(stored(builder, vector("v", kRows * kCols))[0], all) << info->name;
        EXPECT_EQ(stored(builder, matrix("m", kRows, kCols, WeightType::f32)), expected)
            << info->name;
        for (const WeightType held :
             {natural_type(type), WeightType::f16, WeightType::q8, WeightType::q4}) {
            const auto rows = stored(builder, matrix("m", kRows, kCols, held));
            for (size_t r = 0; r < kRows; ++r)
                for (size_t c = 0; c < kCols; ++c) {
                    const auto block = std::span(expected[r]).subspan(c / 32 * 32, 32);
                    const auto [low, high] = std::ranges::minmax(block);
                    const float spread = std::max(high, 0.0f) - std::min(low, 0.0f);
                    ASSERT_NEAR(rows[r][c], expected[r][c],
                                spread * (held == WeightType::q4 ? 0.15f : 0.005f) + 0x1p-24f)
                        << info->name << " as " << name_of(held);
                }
        }
    }
}

TEST_F(StoreTest, SaysWhereAScaleIsNoNumber) {
    const auto error = [&](uint32_t type, size_t row_bytes, size_t at, uint16_t scale,
                           WeightType held) {
        std::vector<uint8_t> bytes(3 * row_bytes, 1);
        std::memcpy(&bytes[at], &scale, sizeof scale);
        GgufBuilder builder;
        builder.tensor("m", {512, 3}, type, bytes_of(bytes));
        return error_of([&] { stored(builder, matrix("m", 3, 512, held)); });
    };
    constexpr uint32_t kQ4K = 12, kMxfp4 = 39;
    for (const WeightType held :
         {WeightType::f32, WeightType::f16, WeightType::q8, WeightType::q4}) {
        // Row 1, its second block of 256, dmin.
        EXPECT_CONTAINS(error(kQ4K, 288, 288 + 144 + 2, 0x7c00, held),
                        "tensor m: row 1 has a scale that makes weights infinite or no numbers, in "
                        "its block 1");
        EXPECT_CONTAINS(error(kMxfp4, 272, 2 * 272 + 3 * 17, 0x01ff, held),
                        "row 2 has a scale that makes weights infinite or no numbers, in its "
                        "block 3");
    }
    GgufBuilder builder;
    std::vector<float> values = count(24);
    values[10] = std::numeric_limits<float>::quiet_NaN();
    builder.tensor("m", {8, 3}, kF32, bytes_of(values));
    EXPECT_CONTAINS(error_of([&] { stored(builder, matrix("m", 3, 8, WeightType::q8)); }),
                    "tensor m: row 1 has a value that is not a finite number, in column 2");
}

// Whatever thread makes a tile: ids and rows rise in the order of the parameters, of which some
// have hundreds of tiles, some are vectors, some are computed; and the file is the same each time.
TEST_F(StoreTest, TilesAreInOrder) {
    GgufBuilder builder;
    std::vector<ParamToStore> params;
    for (size_t i = 0; i < 24; ++i) {
        const uint64_t cols = 256 << i % 4, rows = i % 5 == 0 ? 3000 : 1 + i * 7;
        builder.tensor("m" + std::to_string(i), {cols, rows}, kF16,
                       bytes_of(std::vector<uint16_t>(cols * rows, static_cast<uint16_t>(i))));
        builder.tensor("v" + std::to_string(i), {cols}, kF32, bytes_of(count(cols)));
    }
    const Gguf gguf(folder_.write("x.gguf", builder.build()));
    uint64_t bytes = 0;
    for (const SourceTensor& tensor : gguf.tensors()) {
        const bool is_matrix = tensor.name[0] == 'm';
        Param param = is_matrix ? matrix(tensor.name, tensor.shape[0], tensor.shape[1],
                                         params.size() % 3 == 0 ? WeightType::f32 : WeightType::q8)
                                : vector(tensor.name, tensor.shape[0]);
        param.name = tensor.name;
        const auto id = static_cast<int64_t>(params.size()) + 1;
        params.push_back({id, param, false, RowSource(gguf, param), {}, ""});
        bytes += tensor.bytes;
        if (params.size() % 7 != 0) continue;
        Param computed = vector("", 3);
        computed.name = "c" + std::to_string(id);
        params.push_back({id + 1, computed, true, std::nullopt, {1, 2, 3}, "c"});
    }
    std::set<std::string> contents;
    for (int run = 0; run < 4; ++run) {
        const uint64_t progress = store(params);
        EXPECT_LE(progress, bytes);
        EXPECT_GE(progress + 4000, bytes);  // a tile's part is rounded down
        contents.insert(read_file(folder_ / "x.db"));
        std::filesystem::remove(folder_ / "x.db");
    }
    EXPECT_EQ(contents.size(), 1u);
    folder_.write("x.db", *contents.begin());
    const Sql sql(folder_ / "x.db");
    EXPECT_EQ(sql.text("SELECT count(*) FROM (SELECT *, lag(param) OVER (ORDER BY id) AS p, "
                       "lag(first_row) OVER (ORDER BY id) AS r FROM llm_tile) "
                       "WHERE param < p OR (param = p AND first_row <= r)"),
              "0");
    EXPECT_EQ(sql.text("SELECT count(DISTINCT param) FROM llm_tile"),
              std::to_string(params.size()));
    // Each tile is of its parameter.
    for (size_t i = 0; i < params.size(); ++i) {
        if (params[i].entry.name[0] != 'm' || params[i].entry.type != WeightType::f32) continue;
        const std::string first =
            sql.blob("SELECT data FROM llm_tile WHERE param = " + std::to_string(i + 1) +
                     " ORDER BY first_row LIMIT 1");
        float value = 0;
        std::memcpy(&value, first.data(), sizeof value);
        EXPECT_EQ(value,
                  f16_to_f32(static_cast<uint16_t>(std::stoi(params[i].entry.name.substr(1)))));
    }
}

// Of several errors, made at the same time, the first in the order of tiles is told.
TEST_F(StoreTest, TheFirstErrorIsTold) {
    GgufBuilder builder;
    for (const int i : {0, 1, 2}) {
        std::vector<float> values(1024 * 400);
        if (i > 0) values[1024 * 200] = std::numeric_limits<float>::infinity();
        if (i > 0) values[1024 * 399] = std::numeric_limits<float>::infinity();
        builder.tensor("m" + std::to_string(i), {1024, 400}, kF32, bytes_of(values));
    }
    const Gguf gguf(folder_.write("x.gguf", builder.build()));
    std::vector<ParamToStore> params;
    for (const int i : {0, 1, 2}) {
        Param param = matrix("m" + std::to_string(i), 400, 1024, WeightType::q8);
        param.name = "m" + std::to_string(i);
        params.push_back({i + 1, param, false, RowSource(gguf, param), {}, ""});
    }
    for (int run = 0; run < 5; ++run)
        EXPECT_CONTAINS(error_of([&] { store(params); }), "tensor m1: row 200 has a value that");
    params[0] = {1, vector("", 2), true, std::nullopt, {1, -1}, "what is computed"};
    EXPECT_CONTAINS(error_of([&] { store(params); }), "what is computed: its element 1 is -1");
}

// A matrix X.weight times X.scale: of one number, or one a part. (llama.cpp multiplies the product
// with it, whatever the matrix's type.)
TEST_F(StoreTest, MultipliesWithTheTensorsScale) {
    constexpr uint32_t kNvfp4 = 40;
    std::vector<uint8_t> blocks(4 * 36);
    for (size_t i = 0; i < blocks.size(); ++i)
        blocks[i] = static_cast<uint8_t>(i % 36 < 4 ? 0x30 + i % 36 * 4 : i * 37);
    std::vector<float> plain(4 * 64);
    dequantize_row(GgmlType::nvfp4, reinterpret_cast<std::byte*>(blocks.data()), std::span(plain));
    GgufBuilder builder;
    builder.tensor("a.weight", {64, 4}, kNvfp4, bytes_of(blocks))
        .tensor("a.scale", {1}, kF32, bytes_of(std::vector<float>{0.3f}))
        .tensor("e.weight", {64, 2, 2}, kNvfp4, bytes_of(blocks))
        .tensor("e.scale", {2}, kF32, bytes_of(std::vector<float>{0.7f, -3}))
        .tensor("f.weight", {64, 4}, kF32, bytes_of(plain))
        .tensor("f.scale", {1}, kF16, bytes_of(f32_to_f16(0.5f)))
        .tensor("other.weight", {64, 4}, kNvfp4, bytes_of(blocks))
        .tensor("other.scale", {64}, kF32, bytes_of(count(64)))
        .tensor("bad.weight", {64, 4}, kNvfp4, bytes_of(blocks))
        .tensor("bad.scale", {1}, kF32, bytes_of(std::numeric_limits<float>::infinity()));
    const auto check = [&](const std::vector<std::vector<float>>& rows, size_t first, float scale) {
        for (size_t r = 0; r < rows.size(); ++r)
            for (size_t c = 0; c < 64; ++c)
                ASSERT_EQ(rows[r][c], plain[(first + r) * 64 + c] * scale) << r << ", " << c;
    };
    check(stored(builder, matrix("a.weight", 4, 64, WeightType::f32)), 0, 0.3f);
    check(stored(builder, matrix("f.weight", 4, 64, WeightType::f32)), 0, 0.5f);
    check(stored(builder, matrix("other.weight", 4, 64, WeightType::f32)), 0, 1);
    for (const int part : {0, 1}) {
        Param expert = matrix("e.weight", 2, 64, WeightType::f32);
        expert.gguf->part = part;
        expert.gguf->parts = 2;
        check(stored_part(builder, expert), static_cast<size_t>(part) * 2, part == 0 ? 0.7f : -3);
    }
    EXPECT_CONTAINS(error_for(builder, matrix("bad.weight", 4, 64, WeightType::f32)),
                    "tensor bad.scale has a value that is not a finite number");
    const Gguf gguf(folder_.write("x.gguf", builder.build()));
    const RowSource scaled(gguf, matrix("a.weight", 4, 64, WeightType::q8));
    ASSERT_TRUE(scaled.scale());
    EXPECT_EQ(scaled.scale()->name, "a.scale");
    EXPECT_EQ(scaled.natural_type(), natural_type(GgmlType::nvfp4));
    EXPECT_EQ(RowSource(gguf, matrix("other.weight", 4, 64, WeightType::q8)).scale(), nullptr);
}

TEST_F(StoreTest, FindsWhatF16CannotHold) {
    const auto bf16 = [](float value) {
        return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
    };
    GgufBuilder builder;
    builder.tensor("small", {2, 1}, kBf16, bytes_of(std::vector<uint16_t>{bf16(1), bf16(-60000)}))
        .tensor("large", {2, 1}, kBf16, bytes_of(std::vector<uint16_t>{bf16(1), bf16(-70000)}));
    const Gguf gguf(folder_.write("x.gguf", builder.build()));
    EXPECT_TRUE(RowSource(gguf, matrix("small", 1, 2, WeightType::f16)).fits_f16());
    EXPECT_FALSE(RowSource(gguf, matrix("large", 1, 2, WeightType::f16)).fits_f16());
    const std::string error =
        error_of([&] { stored(builder, matrix("large", 1, 2, WeightType::f16)); });
    EXPECT_CONTAINS(error, "tensor large: row 0 has a value that f16 cannot hold");
    EXPECT_EQ(folder_.files(), std::vector<std::string>{"x.gguf"});
}

}  // namespace
}  // namespace llmsql::test
