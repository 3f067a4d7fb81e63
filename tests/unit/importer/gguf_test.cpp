// SPDX-License-Identifier: MIT
// The GGUF reader: what it reads, and that nothing in a damaged file gets past it.
#include "importer/gguf.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "common/error.h"
#include "tests/unit/error_of.h"
#include "tests/unit/importer/gguf_builder.h"
#include "tests/unit/says.h"

namespace llmsql::test {
namespace {

using testing::Test;

GgufBuilder small() {
    GgufBuilder builder;
    builder.text("general.architecture", "llama")
        .number("llama.block_count", 2)
        .flag("tokenizer.ggml.add_bos_token", true)
        .raw_key("f", 6, bytes_of(1e-5f))
        .raw_key("i8", 1, bytes_of(int8_t{-3}))
        .raw_key("u64", 10, bytes_of(uint64_t{1} << 40))
        .raw_key("f64", 12, bytes_of(0.25))
        .texts("tokenizer.ggml.tokens", {"a", "", "bc"})
        .integers("tokenizer.ggml.token_type", {1, 3, -6})
        .tensor("m", {3, 2}, 0, bytes_of(std::vector<float>{1, 2, 3, 4, 5, 6}))
        .tensor("v", {32}, 8, std::string(34, 'x'));
    return builder;
}

class GgufTest : public Test {
  protected:
    std::string error_for(const GgufBuilder& builder) { return error_for(builder.build()); }
    std::string error_for(const std::string& content) {
        const auto path = folder_.write("x.gguf", content);
        const std::string error = error_of([&] { Gguf gguf(path); });
        EXPECT_EQ(error.find('\n'), std::string::npos) << error;
        if (!error.empty()) {
            EXPECT_EQ(error.rfind(path.string() + ": ", 0), 0u) << error;
        }
        return error;
    }
    TemporaryFolder folder_;
};

TEST_F(GgufTest, ReadsMetadataOfEveryType) {
    const Gguf gguf(folder_.write("x.gguf", small().build()));
    EXPECT_EQ(gguf.text("general.architecture"), "llama");
    EXPECT_EQ(gguf.number("llama.block_count"), 2);
    EXPECT_EQ(gguf.flag("tokenizer.ggml.add_bos_token"), true);
    EXPECT_EQ(gguf.number("f"), static_cast<double>(1e-5f));
    EXPECT_EQ(gguf.number("i8"), -3);
    EXPECT_EQ(gguf.number("u64"), 0x1p40);
    EXPECT_EQ(gguf.number("f64"), 0.25);
    EXPECT_EQ(gguf.number("absent"), std::nullopt);
    EXPECT_EQ(gguf.text("absent"), std::nullopt);
    EXPECT_EQ(gguf.number("general.architecture"), std::nullopt);
    EXPECT_CONTAINS(error_of([&] { gguf.text("f"); }), "f is not a string");
    EXPECT_CONTAINS(error_of([&] { gguf.flag("f"); }), "f is not a bool");
    EXPECT_CONTAINS(error_of([&] { gguf.array("f"); }), "f is not an array");
}

TEST_F(GgufTest, ReadsArraysElementByElement) {
    const Gguf gguf(folder_.write("x.gguf", small().build()));
    GgufArrayReader tokens(gguf, *gguf.array("tokenizer.ggml.tokens"), "tokens");
    EXPECT_EQ(tokens.count(), 3u);
    EXPECT_EQ(tokens.next_string(), "a");
    EXPECT_EQ(tokens.next_string(), "");
    EXPECT_EQ(tokens.next_string(), "bc");
    EXPECT_CONTAINS(error_of([&] { tokens.next_string(); }), "only 3 elements");
    GgufArrayReader types(gguf, *gguf.array("tokenizer.ggml.token_type"), "types");
    EXPECT_EQ(types.next_number(), 1);
    EXPECT_EQ(types.next_number(), 3);
    EXPECT_EQ(types.next_number(), -6);
    EXPECT_CONTAINS(error_of([&] { types.next_string(); }), "not an array of strings");
}

TEST_F(GgufTest, ReadsArraysLongerThanItsBuffer) {
    GgufBuilder builder;
    std::vector<std::string> texts;
    for (int i = 0; i < 30000; ++i) texts.push_back(std::string(i % 40, 'a' + i % 26));
    builder.texts("texts", texts).text("after", "here");
    const Gguf gguf(folder_.write("x.gguf", builder.build()));
    GgufArrayReader reader(gguf, *gguf.array("texts"), "texts");
    for (const std::string& text : texts) ASSERT_EQ(reader.next_string(), text);
    EXPECT_EQ(gguf.text("after"), "here");
}

TEST_F(GgufTest, ReadsTheDirectory) {
    for (const uint32_t version : {2u, 3u}) {
        GgufBuilder builder = small();
        builder.version = version;
        const Gguf gguf(folder_.write("x.gguf", builder.build()));
        ASSERT_EQ(gguf.tensors().size(), 2u);
        const SourceTensor* m = gguf.find_tensor("m");
        ASSERT_TRUE(m);
        EXPECT_EQ(m->shape, (std::vector<int64_t>{2, 3}));  // outermost first
        EXPECT_EQ(m->type->name, "F32");
        EXPECT_EQ(m->bytes, 24u);
        std::array<float, 6> values{};
        gguf.file().read(m->offset, values.data(), sizeof values);
        EXPECT_EQ(values, (std::array<float, 6>{1, 2, 3, 4, 5, 6}));
        EXPECT_EQ(gguf.find_tensor("v")->type->name, "Q8_0");
        EXPECT_EQ(gguf.find_tensor("none"), nullptr);
    }
}

TEST_F(GgufTest, HonorsTheAlignment) {
    GgufBuilder builder;
    builder.alignment = 256;
    builder.number("general.alignment", 256)
        .tensor("a", {1}, 0, bytes_of(1.0f))
        .tensor("b", {1}, 0, bytes_of(2.0f));
    const Gguf gguf(folder_.write("x.gguf", builder.build()));
    EXPECT_EQ(gguf.find_tensor("a")->offset % 256, 0u);
    float value = 0;
    gguf.file().read(gguf.find_tensor("b")->offset, &value, sizeof value);
    EXPECT_EQ(value, 2);
}

// A reader that believes a length or count reads past what is there: each of these must stop it.
TEST_F(GgufTest, RefusesEveryTruncation) {
    const std::string whole = small().build();
    for (size_t length = 0; length < whole.size(); ++length)
        ASSERT_NE(error_for(whole.substr(0, length)), "") << "cut at byte " << length;
    EXPECT_EQ(error_for(whole), "");
}

// Any byte may be anything: an Error or a file that reads, but never a crash or a huge allocation.
TEST_F(GgufTest, SurvivesEveryDamagedByte) {
    const std::string whole = small().build();
    int refused = 0;
    for (size_t at = 0; at < whole.size(); ++at) {
        for (const unsigned char value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
            std::string damaged = whole;
            damaged[at] = static_cast<char>(value);
            if (!error_for(damaged).empty()) ++refused;
        }
    }
    EXPECT_GT(refused, 500);
}

// And of a model in two parts, whichever is damaged and whichever is named.
TEST_F(GgufTest, SurvivesEveryDamagedByteOfAPart) {
    const auto part = [](int64_t no) {
        GgufBuilder builder = no == 0 ? small() : GgufBuilder();
        if (no == 1) builder.tensor("second", {2}, 0, bytes_of(std::vector<float>{1, 2}));
        builder.raw_key("split.no", 2, bytes_of(static_cast<uint16_t>(no)))
            .raw_key("split.count", 2, bytes_of(uint16_t{2}))
            .raw_key("split.tensors.count", 5, bytes_of(int32_t{3}));
        return builder.build();
    };
    const std::array whole{part(0), part(1)};
    const std::array names{"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"};
    const auto error = [&](size_t named) {
        const std::string error = error_of([&] {
            const Gguf gguf(folder_ / names[named]);
            float value = 0;
            const SourceTensor* second = gguf.find_tensor("second");
            if (second) second->file->read(second->offset, &value, sizeof value);
        });
        EXPECT_EQ(error.find('\n'), std::string::npos) << error;
        return error;
    };
    for (const size_t damaged : {0, 1}) {
        folder_.write(names[1 - damaged], whole[1 - damaged]);
        folder_.write(names[damaged], whole[damaged]);
        for (const size_t named : {0, 1}) EXPECT_EQ(error(named), "");
        int refused = 0;
        for (size_t at = 0; at < whole[damaged].size(); ++at) {
            for (const unsigned char value : {0x00, 0x01, 0x7f, 0xff}) {
                std::string content = whole[damaged];
                content[at] = static_cast<char>(value);
                folder_.write(names[damaged], content);
                for (const size_t named : {0, 1})
                    if (!error(named).empty()) ++refused;
            }
        }
        EXPECT_GT(refused, 500);
        for (size_t length = 0; length < whole[damaged].size(); length += 7) {
            folder_.write(names[damaged], whole[damaged].substr(0, length));
            for (const size_t named : {0, 1}) ASSERT_NE(error(named), "") << length;
        }
    }
}

TEST_F(GgufTest, RefusesWhatIsNoGguf) {
    EXPECT_CONTAINS(error_for(""), "is not a GGUF file");
    EXPECT_CONTAINS(error_for("SQLite format 3"), "is not a GGUF file");
    EXPECT_CONTAINS(error_of([&] { Gguf gguf(folder_ / "none.gguf"); }), "No such file");
    EXPECT_CONTAINS(error_of([&] { Gguf gguf(folder_ / ""); }), "is a directory");
    EXPECT_CONTAINS(error_of([&] { Gguf gguf("/dev/null"); }), "is not a regular file");
    GgufBuilder builder = small();
    builder.version = 1;
    EXPECT_CONTAINS(error_for(builder), "version 1; versions 2 and 3 can be read");
    builder.version = 0x03000000;
    EXPECT_CONTAINS(error_for(builder), "big-endian");
    builder = small();
    builder.number("split.count", 2);
    EXPECT_CONTAINS(error_for(builder), "is part 1 of 2 of a model, but its name does not end in");
}

TEST_F(GgufTest, RefusesAbsurdCounts) {
    for (const uint64_t extra : {uint64_t{1} << 20, uint64_t{1} << 40, ~uint64_t{0} - 100}) {
        GgufBuilder builder = small();
        builder.extra_tensors = extra;
        EXPECT_CONTAINS(error_for(builder), "tensors, more than any model has");
        builder = small();
        builder.extra_keys = extra;
        EXPECT_CONTAINS(error_for(builder), "metadata keys, more than any model has");
        GgufBuilder array;
        array.raw_key("a", 9, bytes_of(uint32_t{10}) + bytes_of(extra));
        EXPECT_CONTAINS(error_for(array), "more than the file has");
        GgufBuilder strings;
        strings.raw_key("a", 9, bytes_of(uint32_t{8}) + bytes_of(extra));
        EXPECT_CONTAINS(error_for(strings), "more than the file has");
        GgufBuilder text;
        text.raw_key("a", 8, bytes_of(extra));
        EXPECT_CONTAINS(error_for(text), "more than the file has");
        GgufBuilder element;
        element.raw_key("a", 9, bytes_of(uint32_t{8}) + bytes_of(uint64_t{1}) + bytes_of(extra));
        EXPECT_CONTAINS(error_for(element), "more than the file has");
        const std::string key = "GGUF" + bytes_of(uint32_t{3}) + bytes_of(uint64_t{0}) +
                                bytes_of(uint64_t{1}) + bytes_of(extra);
        EXPECT_CONTAINS(error_for(key), "a metadata key at byte 24 claims");
    }
}

TEST_F(GgufTest, RefusesUnknownAndNestedTypes) {
    GgufBuilder value;
    value.raw_key("a", 13, bytes_of(uint64_t{}));
    EXPECT_CONTAINS(error_for(value), "unknown value type 13");
    GgufBuilder element;
    element.raw_key("a", 9, bytes_of(uint32_t{99}) + bytes_of(uint64_t{1}));
    EXPECT_CONTAINS(error_for(element), "unknown element type 99");
    GgufBuilder nested;
    nested.raw_key("a", 9, bytes_of(uint32_t{9}) + bytes_of(uint64_t{1}));
    EXPECT_CONTAINS(error_for(nested), "an array of arrays");
    GgufBuilder flag;
    flag.raw_key("a", 7, bytes_of(uint8_t{2}));
    EXPECT_CONTAINS(error_for(flag), "2 is not a bool");
    const auto of_type = [&](uint32_t type) {
        GgufBuilder tensor;
        tensor.tensor("t", {256}, type, std::string(2048, ' '));
        return error_for(tensor);
    };
    for (const uint32_t type : {43u, 77u, ~0u})
        EXPECT_CONTAINS(of_type(type), fmt::format("tensor t: unknown type {}", type));
    EXPECT_CONTAINS(of_type(31), "tensor t: is of the type Q4_0_4_4, which GGUF has no more");
    for (uint32_t type = 0; type < 43; ++type)
        EXPECT_EQ(of_type(type).empty(), removed_ggml_type(type).empty()) << type;
}

TEST_F(GgufTest, RefusesImpossibleTensors) {
    const std::string data(64, '\0');
    const auto error = [&](std::vector<uint64_t> dims, uint32_t type) {
        GgufBuilder builder;
        builder.tensor("t", std::move(dims), type, data);
        return error_for(builder);
    };
    constexpr uint64_t kHuge = uint64_t{1} << 32;
    EXPECT_EQ(error({4, 4}, 0), "");
    EXPECT_CONTAINS(error({4, 5}, 0), "reach past the file's end");
    EXPECT_CONTAINS(error({kHuge, kHuge}, 0), "cannot hold");
    EXPECT_CONTAINS(error({kHuge, kHuge, kHuge, kHuge}, 0), "cannot hold");
    EXPECT_CONTAINS(error({~uint64_t{0}}, 0), "cannot hold");
    EXPECT_CONTAINS(error({0}, 0), "dimension 0 is 0");
    EXPECT_CONTAINS(error({}, 0), "0 dimensions");
    EXPECT_CONTAINS(error({1, 1, 1, 1, 1}, 0), "5 dimensions");
    EXPECT_CONTAINS(error({16, 2}, 8), "no multiple of Q8_0's blocks of 32");
}

// Of each type that has blocks: rows that end within one, data that ends before it should.
TEST_F(GgufTest, RefusesHalfBlocks) {
    for (uint32_t number = 0; number < 43; ++number) {
        const GgmlTypeInfo* info = find_ggml_type(number);
        if (!info) continue;
        const auto weights = static_cast<uint64_t>(info->block_weights);
        const auto bytes = static_cast<size_t>(info->block_bytes);
        const auto error = [&](uint64_t cols, size_t size) {
            GgufBuilder builder;
            builder.tensor("t", {cols, 2}, number, std::string(size, '\1'));
            return error_for(builder);
        };
        EXPECT_EQ(error(weights * 3, bytes * 6), "") << info->name;
        EXPECT_CONTAINS(error(weights * 3, bytes * 6 - 1), "reach past the file's end");
        if (!info->has_blocks()) continue;
        for (const uint64_t cols : {uint64_t{1}, weights / 2, weights - 1, weights + 1})
            EXPECT_CONTAINS(error(cols, bytes * 6),
                            fmt::format("tensor t: rows of {} weights are no multiple of {}'s "
                                        "blocks of {}",
                                        cols, info->name, weights));
    }
}

TEST_F(GgufTest, RefusesBadLayouts) {
    const std::string data(64, '\0');
    const auto two = [&](uint64_t second, std::string_view name) {
        GgufBuilder builder;
        builder.tensor_at(0, "a", {16}, 0, data).tensor_at(second, name, {16}, 0, data);
        return error_for(builder);
    };
    EXPECT_EQ(two(64, "b"), "");
    EXPECT_CONTAINS(two(0, "b"), "overlap at byte");
    EXPECT_CONTAINS(two(32, "b"), "the tensors a and b overlap at byte");
    EXPECT_CONTAINS(two(64, "a"), "the tensor a twice");
    EXPECT_CONTAINS(two(60, "b"), "not aligned to 32");
    EXPECT_CONTAINS(two(96, "b"), "reach past the file's end");
    EXPECT_CONTAINS(two(~uint64_t{31}, "b"), "reach past the file's end");
    GgufBuilder twice;
    twice.number("k", 1).number("k", 1);
    EXPECT_CONTAINS(error_for(twice), "metadata key k twice");
    for (const uint32_t alignment : {0u, 3u, 48u, 1u << 31}) {
        GgufBuilder builder = small();
        builder.number("general.alignment", alignment);
        EXPECT_CONTAINS(error_for(builder), "general.alignment is");
    }
    GgufBuilder fraction = small();
    fraction.raw_key("general.alignment", 6, bytes_of(std::numeric_limits<float>::quiet_NaN()));
    EXPECT_CONTAINS(error_for(fraction), "general.alignment is");
}

TEST_F(GgufTest, MessagesKeepControlCharactersOffTheTerminal) {
    GgufBuilder builder;
    builder.tensor("a\x1b[2J\n", {32}, 43, std::string(64, ' '));
    EXPECT_CONTAINS(error_for(builder), "tensor a?[2J?: unknown type");
    const std::string key = "k\n";
    GgufBuilder keys;
    keys.number(key, 1).texts("s\n", {"a"});
    const Gguf gguf(folder_.write("keys.gguf", keys.build()));
    EXPECT_CONTAINS(error_of([&] { static_cast<void>(gguf.text(key)); }), "k? is not a string");
    EXPECT_CONTAINS(error_of([&] { static_cast<void>(gguf.flag(key)); }), "k? is not a bool");
    EXPECT_CONTAINS(error_of([&] { static_cast<void>(gguf.array(key)); }), "k? is not an array");
    GgufArrayReader reader(gguf, *gguf.array("s\n"), "s\n");
    EXPECT_CONTAINS(error_of([&] { reader.next_number(); }), "s? is not an array of numbers");
}

}  // namespace
}  // namespace llmsql::test
