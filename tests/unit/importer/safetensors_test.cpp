// SPDX-License-Identifier: MIT
// The safetensors reader: what it reads, and that nothing in a damaged file gets past it.
#include "importer/safetensors.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "tests/unit/error_of.h"
#include "tests/unit/importer/safetensors_builder.h"
#include "tests/unit/says.h"

namespace llmsql::test {
namespace {

class SafetensorsTest : public testing::Test {
  protected:
    /// The error of a file; it is one line that names the file.
    std::string error_for(const std::string& content) {
        const auto path = folder_.write("x.safetensors", content);
        const std::string error = error_of([&] { read_safetensors(RandomAccessFile(path)); });
        EXPECT_EQ(error.find('\n'), std::string::npos) << error;
        if (!error.empty()) {
            EXPECT_EQ(error.rfind(path.string() + ": ", 0), 0u) << error;
        }
        return error;
    }
    /// Of a header with 16 bytes of data after it.
    std::string error_for_header(const std::string& header) {
        return error_for(safetensors(header, std::string(16, 'x')));
    }
    static std::string braces(const std::string& inner) { return fmt::format("{{{}}}", inner); }
    /// Of an entry of a tensor "a".
    std::string error_for_entry(const std::string& entry) {
        return error_for_header(braces("\"a\":" + entry));
    }
    static std::string entry(const std::string& name, uint64_t begin, uint64_t end) {
        return fmt::format(R"("{}":{{"dtype":"I8","shape":[{}],"data_offsets":[{},{}]}})", name,
                           end - begin, begin, end);
    }
    TemporaryFolder folder_;
};

TEST_F(SafetensorsTest, FindsTensorsInTheOrderOfTheirData) {
    const std::string header = R"({"__metadata__":{"format":"pt"},)"
                               R"("z":{"dtype":"F32","shape":[2,3],"data_offsets":[6,30]},)"
                               R"("a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},)"
                               R"("none":{"dtype":"F16","shape":[0,7],"data_offsets":[30,30]},)"
                               R"("one":{"shape":[],"data_offsets":[30,38],"dtype":"I64"}}   )";
    const RandomAccessFile file(
        folder_.write("x.safetensors", safetensors(header, std::string(38, 'x'))));
    const auto tensors = read_safetensors(file);
    ASSERT_EQ(tensors.size(), 4u);
    const uint64_t data = 8 + header.size();
    EXPECT_EQ(tensors[0].name, "a");
    EXPECT_EQ(tensors[0].type->name, "BF16");
    EXPECT_TRUE(tensors[0].type->readable);
    EXPECT_EQ(tensors[0].offset, data);
    EXPECT_EQ(tensors[0].bytes, 6u);
    EXPECT_EQ(tensors[0].file, &file);
    EXPECT_EQ(tensors[1].name, "z");
    EXPECT_EQ(tensors[1].shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(tensors[1].offset, data + 6);
    EXPECT_EQ(tensors[2].name, "none");
    EXPECT_EQ(tensors[2].bytes, 0u);
    EXPECT_EQ(tensors[3].name, "one");
    EXPECT_EQ(tensors[3].shape, std::vector<int64_t>{});
    EXPECT_FALSE(tensors[3].type->readable);
}

TEST_F(SafetensorsTest, RefusesLengthsThatCannotBe) {
    EXPECT_CONTAINS(error_for(""), "only 0 bytes");
    EXPECT_CONTAINS(error_for("1234567"), "only 7 bytes");
    EXPECT_CONTAINS(error_for(bytes_of(uint64_t{3}) + "{}"), "claims a header of 3 bytes");
    for (const uint64_t length : {uint64_t{1} << 40, uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{7}})
        EXPECT_CONTAINS(error_for(bytes_of(length) + "{}"), "claims a header of");
    EXPECT_CONTAINS(error_for(bytes_of(uint64_t{0})), "is not a safetensors file");
    EXPECT_CONTAINS(error_for(std::string("GGUF") + std::string(60, '\0')),
                    "or no safetensors file");
    // 17 MB of header are there, and refused before they are read.
    const auto path = folder_.write("x.safetensors", bytes_of(uint64_t{17} << 20));
    std::filesystem::resize_file(path, (uint64_t{17} << 20) + 8);
    EXPECT_CONTAINS(error_of([&] { read_safetensors(RandomAccessFile(path)); }),
                    "more than the 16777216 that can be read");
}

TEST_F(SafetensorsTest, RefusesHeadersThatAreNoHeaders) {
    EXPECT_CONTAINS(error_for_header("[]"), "does not start with");
    EXPECT_CONTAINS(error_for_header(" {}"), "does not start with");
    EXPECT_CONTAINS(error_for_header("{"), "is not valid JSON");
    EXPECT_CONTAINS(error_for_header("{}x"), "is not valid JSON");
    EXPECT_CONTAINS(error_for_header("{\"\xff\":1}"), "is not valid JSON");
    EXPECT_CONTAINS(error_for_header(std::string("{}\0", 3)), "is not valid JSON");
    EXPECT_CONTAINS(error_for_header("{\"a\":{\"dtype\":1e999}}"), "is not valid JSON");
    EXPECT_CONTAINS(error_for_header(fmt::format("{{\"a\":{}", std::string(1 << 20, '['))),
                    "nested more than 32");
    std::string deep = "{\"a\":";
    for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
    EXPECT_CONTAINS(error_for_header(deep), "nested more than 32");
    std::string many = "{\"__metadata__\":{\"a\":[";
    for (int i = 0; i < 300000; ++i) many += "0,";
    EXPECT_CONTAINS(error_for_header(many + "0]}}"), "more than the 262144 values");
    std::string tensors = "{";
    for (int i = 0; i < 65537; ++i) tensors += entry(std::to_string(i), 0, 0) + ",";
    tensors.back() = '}';
    EXPECT_CONTAINS(error_for_header(tensors), "more than 65536 tensors");
}

TEST_F(SafetensorsTest, RefusesEntriesThatAreNotWhole) {
    for (const char* bad :
         {"1", "null", "[]", "{}", R"({"dtype":"F32","shape":[4]})",
          R"({"dtype":"F32","data_offsets":[0,16]})", R"({"shape":[4],"data_offsets":[0,16]})",
          R"({"dtype":1,"shape":[4],"data_offsets":[0,16]})",
          R"({"dtype":"F32","shape":4,"data_offsets":[0,16]})",
          R"({"dtype":"F32","shape":[4],"data_offsets":[0,16,16]})",
          R"({"dtype":"F32","shape":[4],"data_offsets":16})"})
        EXPECT_CONTAINS(error_for_entry(bad), "tensor a: its entry in the header lacks");
    EXPECT_CONTAINS(error_for_entry(R"({"dtype":"F31","shape":[4],"data_offsets":[0,16]})"),
                    "unknown dtype F31");
    for (const char* dimension :
         {"-1", "1.5", "\"4\"", "18446744073709551616", "null", "true", "9223372036854775808"})
        EXPECT_CONTAINS(error_for_entry(std::string(R"({"dtype":"F32","shape":[)") + dimension +
                                        R"(],"data_offsets":[0,16]})"),
                        "a dimension is not a whole number");
    EXPECT_CONTAINS(
        error_for_entry(R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,16]})"),
        "9 dimensions");
    EXPECT_CONTAINS(error_for_header(braces(entry(std::string(600, 'n'), 0, 16))),
                    "the name is 600 bytes long");
    // What a name holds does not reach a terminal.
    EXPECT_CONTAINS(error_for_header("{\"a\\u001b[31m\\n\":1}"), "tensor a?[31m?: ");
}

TEST_F(SafetensorsTest, RefusesShapesThatOverflow) {
    const auto shaped = [&](const std::string& shape) {
        return error_for_entry(
            fmt::format(R"({{"dtype":"F32","shape":{},"data_offsets":[0,16]}})", shape));
    };
    // 2^62 * 4 * 4 bytes and the others are 16 modulo 2^64.
    EXPECT_CONTAINS(shaped("[4611686018427387904,4]"), "more than the file's");
    EXPECT_CONTAINS(shaped("[4294967296,4294967297,4]"), "more than the file's");
    EXPECT_CONTAINS(shaped("[4611686018427387905,4]"), "more than the file's");
    EXPECT_CONTAINS(shaped("[9223372036854775807]"), "more than the file's");
    EXPECT_CONTAINS(shaped("[9223372036854775807,0]"), "16 bytes of data, but F32");
    EXPECT_CONTAINS(shaped("[5]"), "16 bytes of data, but F32 [5] takes 20");
    EXPECT_CONTAINS(shaped("[3]"), "16 bytes of data, but F32 [3] takes 12");
}

TEST_F(SafetensorsTest, RefusesOffsetsOutside) {
    const auto offsets = [&](const std::string& pair) {
        return error_for_entry(
            fmt::format(R"({{"dtype":"F32","shape":[4],"data_offsets":{}}})", pair));
    };
    EXPECT_EQ(offsets("[0,16]"), "");
    EXPECT_CONTAINS(offsets("[16,0]"), "two whole numbers in order");
    EXPECT_CONTAINS(offsets("[-16,0]"), "two whole numbers in order");
    EXPECT_CONTAINS(offsets("[0.0,16.0]"), "two whole numbers in order");
    EXPECT_CONTAINS(offsets("[18446744073709551600,18446744073709551615]"), "in order");
    EXPECT_CONTAINS(offsets("[1,17]"), "past the file's end");
    EXPECT_CONTAINS(offsets("[9223372036854775791,9223372036854775807]"), "past the file's end");
    std::string cut = safetensors(braces(entry("a", 0, 16)), std::string(16, 'x'));
    cut.pop_back();
    EXPECT_CONTAINS(error_for(cut), "truncated");
}

TEST_F(SafetensorsTest, RefusesOverlapsHolesAndARest) {
    const auto two = [&](uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
        return error_for_header(braces(entry("a", a, b) + "," + entry("b", c, d)));
    };
    EXPECT_EQ(two(0, 8, 8, 16), "");
    EXPECT_EQ(two(8, 16, 0, 8), "");
    EXPECT_CONTAINS(two(0, 9, 8, 16), "the tensors a and b overlap");
    EXPECT_CONTAINS(two(0, 16, 0, 16), "overlap");
    EXPECT_CONTAINS(two(0, 16, 4, 8), "overlap");
    EXPECT_CONTAINS(two(0, 7, 8, 16), "no tensor claims the bytes");
    EXPECT_CONTAINS(two(1, 8, 8, 16), "no tensor claims the bytes");
    EXPECT_CONTAINS(two(0, 8, 8, 15), "its tensors end at byte");
    EXPECT_CONTAINS(error_for_header("{}"), "its tensors end at byte");
    EXPECT_EQ(error_for(safetensors("{}", "")), "");
}

// Whatever one byte of a file says, it is read or refused in one line.
TEST_F(SafetensorsTest, SurvivesAnyByte) {
    const std::string header = braces(entry("a", 0, 8) + "," + entry("b", 8, 16));
    const std::string whole = safetensors(header, std::string(16, 'x'));
    size_t refused = 0;
    for (size_t at = 0; at < 8 + header.size(); ++at) {
        for (const unsigned char byte :
             {0x00, 0x22, 0x2d, 0x39, 0x5b, 0x5d, 0x7b, 0x7d, 0x80, 0xff}) {
            std::string changed = whole;
            changed[at] = static_cast<char>(byte);
            refused += !error_for(changed).empty();
        }
    }
    EXPECT_GT(refused, 9 * header.size());
    for (size_t length = 0; length < whole.size(); ++length)
        EXPECT_NE(error_for(whole.substr(0, length)), "") << length;
}

TEST_F(SafetensorsTest, RefusesNamesTwice) {
    EXPECT_CONTAINS(error_for_header(braces(entry("a", 0, 8) + "," + entry("a", 8, 16))),
                    "has the tensor a twice");
    EXPECT_CONTAINS(error_for_header(braces(entry("a", 0, 16) + "," + entry("a", 0, 16))),
                    "has the tensor a twice");
    EXPECT_CONTAINS(
        error_for_entry(R"({"dtype":"F32","dtype":"I8","shape":[4],"data_offsets":[0,16]})"),
        "has the name \"dtype\" twice");
}

}  // namespace
}  // namespace llmsql::test
