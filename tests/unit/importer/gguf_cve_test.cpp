// SPDX-License-Identifier: MIT
// What has gone wrong in other readers of GGUF files, one test for each class of published
// vulnerability: a file that showed it elsewhere must be refused here, in one line. CVE numbers are
// those of ggml's and llama.cpp's readers (and Ollama's, where said) that the class is known by.
//
//   count of keys           CVE-2024-23605   n_kv multiplied into an allocation
//   count of tensors        CVE-2024-21836   n_tensors multiplied into an allocation
//   array element counts    CVE-2024-21825   array and string sizes multiplied and added
//   string lengths          CVE-2024-23496   length + 1 wraps
//   number of dimensions    CVE-2024-21802   n_dims beyond the array that holds them
//   half-read metadata      CVE-2024-32878   what was not read was freed
//   sizes of tensors        CVE-2025-53630, CVE-2026-27940   sums and products of sizes wrap
//   tensor offsets          (class)          data that lie outside the file, or on each other
//   shapes and data         CVE-2026-7482 (Ollama)   a shape that claims more than the data has
//   array element types     (class)          an array read as another type than its elements'
//   tokens' lengths         CVE-2025-49847   the length of a piece cut to 32 bits
//   tokenizing              CVE-2025-52566   the number of tokens compared as signed
//   ids of tokens           (class)          special ids, types and merges beyond the vocabulary
//   byte tokens             (class)          "<0x-1>" as an index
//   numbers of the model    (class)          block counts and head counts beyond fixed arrays
//
// Restoring a key-value cache, where llama.cpp's state files had theirs, is of sessions: their
// tests are with them.
#include <gtest/gtest.h>

#include <atomic>

#include "importer/gguf.h"
#include "importer/import.h"
#include "importer/store.h"
#include "importer/tokenizer.h"
#include "runtime/text/tokenizer.h"
#include "runtime/weights/model_db.h"
#include "tests/unit/error_of.h"
#include "tests/unit/importer/gguf_builder.h"
#include "tests/unit/says.h"

namespace llmsql::test {
namespace {

constexpr uint64_t kEdges[] = {uint64_t{1} << 31,
                               uint64_t{1} << 32,
                               (uint64_t{1} << 61) + 1,
                               (uint64_t{1} << 62) - 1,
                               uint64_t{1} << 63,
                               ~uint64_t{0} - 1,
                               ~uint64_t{0}};

class GgufCve : public testing::Test {
  protected:
    std::string refusal(const std::string& content) {
        return error_of([&] { Gguf gguf(folder_.write("x.gguf", content)); });
    }
    std::string refusal(const GgufBuilder& builder) { return refusal(builder.build()); }

    /// Of its tokenizer.
    std::string tokenizer_refusal(const GgufBuilder& builder) {
        return error_of([&] {
            const Gguf gguf(folder_.write("x.gguf", builder.build()));
            read_tokenizer(gguf, [](const std::string&) {});
        });
    }

    /// A file that starts as GGUF does, with these counts, and goes on with anything.
    static std::string with_counts(uint64_t tensors, uint64_t keys, const std::string& rest) {
        return "GGUF" + bytes_of(uint32_t{3}) + bytes_of(tensors) + bytes_of(keys) + rest;
    }

    TemporaryFolder folder_;
};

TEST_F(GgufCve, CountOfKeys) {
    for (const uint64_t count : kEdges)
        EXPECT_CONTAINS(refusal(with_counts(0, count, std::string(1000, '\0'))),
                        "metadata keys, more than any model has");
    // As many as are allowed, but not there.
    EXPECT_CONTAINS(refusal(with_counts(0, 65536, "")), "the file ends");
}

TEST_F(GgufCve, CountOfTensors) {
    for (const uint64_t count : kEdges)
        EXPECT_CONTAINS(refusal(with_counts(count, 0, std::string(1000, '\0'))),
                        "tensors, more than any model has");
    EXPECT_CONTAINS(refusal(with_counts(65536, 0, "")), "the file ends");
}

TEST_F(GgufCve, ArrayElementCounts) {
    for (const uint64_t count : kEdges)
        for (uint32_t type = 0; type <= 12; ++type) {
            if (type == 9) continue;  // arrays of arrays are refused by type
            GgufBuilder builder;
            builder.raw_key("a", 9, bytes_of(type) + bytes_of(count) + std::string(64, '\0'));
            EXPECT_CONTAINS(refusal(builder), "elements, more than the file has");
        }
    GgufBuilder nested;
    nested.raw_key("a", 9, bytes_of(uint32_t{9}) + bytes_of(uint64_t{1}) + bytes_of(uint32_t{9}));
    EXPECT_CONTAINS(refusal(nested), "an array of arrays");
}

TEST_F(GgufCve, StringLengths) {
    for (const uint64_t length : kEdges) {
        GgufBuilder value, element, name;
        value.raw_key("a", 8, bytes_of(length) + "x");
        EXPECT_CONTAINS(refusal(value), "more than the file has");
        element.raw_key("a", 9,
                        bytes_of(uint32_t{8}) + bytes_of(uint64_t{1}) + bytes_of(length) + "x");
        EXPECT_CONTAINS(refusal(element), "more than the file has");
        EXPECT_CONTAINS(refusal(with_counts(0, 1, bytes_of(length) + "x")), "a metadata key");
        EXPECT_CONTAINS(refusal(with_counts(1, 0, bytes_of(length) + "x")), "a tensor's name");
    }
}

TEST_F(GgufCve, NumberOfDimensions) {
    for (const uint32_t dims : {0u, 5u, 6u, 255u, 1u << 30, ~0u})
        EXPECT_CONTAINS(
            refusal(with_counts(1, 0, gguf_string("t") + bytes_of(dims) + std::string(1000, '\1'))),
            "dimensions, GGUF knows 1 to 4");
}

TEST_F(GgufCve, HalfReadMetadata) {
    GgufBuilder builder;
    builder.text("a", "b").texts("c", {"d", "e"}).text("f", "g");
    const std::string whole = builder.build();
    for (size_t length = 0; length < 24 + 60; ++length)
        EXPECT_NE(refusal(whole.substr(0, length)), "") << length;
}

TEST_F(GgufCve, SizesOfTensors) {
    const auto refused = [&](std::vector<uint64_t> dims, uint32_t type) {
        GgufBuilder builder;
        builder.tensor("t", std::move(dims), type, std::string(64, '\0'));
        return refusal(builder);
    };
    for (const uint64_t size : kEdges) {
        EXPECT_CONTAINS(refused({size}, 0), "cannot hold");
        EXPECT_CONTAINS(refused({2, size}, 0), "cannot hold");
        EXPECT_CONTAINS(refused({32, size, size}, 8), "cannot hold");
        EXPECT_CONTAINS(refused({size, size, size, size}, 2), "cannot hold");
    }
    // Products that come to 0, and to 16, in 64 bits.
    EXPECT_CONTAINS(refused({uint64_t{1} << 32, uint64_t{1} << 32}, 0), "cannot hold");
    EXPECT_CONTAINS(refused({(uint64_t{1} << 60) + 1, 16}, 0), "cannot hold");
    // Many whose sum would wrap: each is refused by the file's size alone.
    GgufBuilder many;
    for (int i = 0; i < 40; ++i)
        many.tensor_at(0, "t" + std::to_string(i), {uint64_t{1} << 59}, 0, "");
    EXPECT_CONTAINS(refusal(many), "cannot hold");
}

TEST_F(GgufCve, TensorOffsets) {
    for (const uint64_t edge : kEdges) {
        GgufBuilder builder;
        builder.tensor_at(edge / 32 * 32, "t", {16}, 0, std::string(64, '\0'));
        EXPECT_CONTAINS(refusal(builder), "reach past the file's end");
    }
    for (const uint32_t alignment : {0u, 3u, 1u << 31, ~0u}) {
        GgufBuilder builder;
        builder.number("general.alignment", alignment).tensor("t", {1}, 0, std::string(4, '\0'));
        EXPECT_CONTAINS(refusal(builder), "general.alignment is");
    }
    // Of another type than a number: the default counts, and nothing is misread.
    GgufBuilder text;
    text.text("general.alignment", "64").tensor("t", {1}, 0, std::string(4, '\0'));
    EXPECT_EQ(refusal(text), "");
}

TEST_F(GgufCve, ShapesAndData) {
    GgufBuilder builder;
    builder.tensor("t", {32, 1000}, 0, std::string(128, '\0'));
    EXPECT_CONTAINS(refusal(builder), "dimension 1 is 1000, which the file's");
    // And a parameter that is larger than its tensor.
    GgufBuilder small;
    small.tensor("t", {32, 2}, 0, std::string(256, '\0'));
    const Gguf gguf(folder_.write("small.gguf", small.build()));
    for (const auto& [rows, cols] :
         {std::pair<int64_t, int64_t>{3, 32}, {2, 64}, {64, 1}, {1, 32}}) {
        Param param;
        param.name = "p";
        param.shape = {rows, cols};
        param.gguf = ParamSource{.tensor = "t", .transforms = {}};
        EXPECT_CONTAINS(error_of([&] { RowSource source(gguf, param); }), "the model needs");
    }
}

GgufBuilder vocabulary() {
    GgufBuilder builder;
    builder.text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", {"<s>", "a", "<0x41>"});
    return builder;
}

TEST_F(GgufCve, ArrayElementTypes) {
    // As many elements as there are tokens, but of one byte each, or strings, or floats of 64 bits.
    const auto with = [&](const char* key, uint32_t type, const std::string& bytes) {
        GgufBuilder builder = vocabulary();
        if (std::string_view(key) != "tokenizer.ggml.scores")
            builder.floats("tokenizer.ggml.scores", {0, 0, 0});
        builder.raw_key(key, 9, bytes_of(type) + bytes_of(uint64_t{3}) + bytes);
        return tokenizer_refusal(builder);
    };
    EXPECT_EQ(with("tokenizer.ggml.scores", 0, "\1\2\3"), "");  // read as what they are
    EXPECT_EQ(with("tokenizer.ggml.token_type", 0, "\3\1\6"), "");
    EXPECT_EQ(with("tokenizer.ggml.scores", 12, std::string(24, '\0')), "");
    EXPECT_CONTAINS(with("tokenizer.ggml.scores", 8, std::string(24, '\0')),
                    "not an array of numbers");
    EXPECT_CONTAINS(with("tokenizer.ggml.token_type", 8, std::string(24, '\0')),
                    "not an array of numbers");
    GgufBuilder numbers;
    numbers.text("tokenizer.ggml.model", "llama")
        .integers("tokenizer.ggml.tokens", {1, 2})
        .floats("tokenizer.ggml.scores", {0, 0});
    EXPECT_CONTAINS(tokenizer_refusal(numbers), "not an array of strings");
    // And of another length than the tokens'.
    GgufBuilder few = vocabulary();
    few.floats("tokenizer.ggml.scores", {0, 0});
    EXPECT_CONTAINS(tokenizer_refusal(few), "has 2 elements, but there are 3 tokens");
    GgufBuilder kinds = vocabulary();
    kinds.floats("tokenizer.ggml.scores", {0, 0, 0}).integers("tokenizer.ggml.token_type", {1});
    EXPECT_CONTAINS(tokenizer_refusal(kinds), "has 1 element, but there are 3 tokens");
}

TEST_F(GgufCve, TokensLengths) {
    GgufBuilder builder;
    builder.text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", {std::string(70000, 'a')})
        .floats("tokenizer.ggml.scores", {0});
    EXPECT_CONTAINS(tokenizer_refusal(builder), "70000 bytes long, more than the 65536");
    GgufBuilder chat;
    chat.text("tokenizer.chat_template", std::string((4 << 20) + 1, 'a'));
    const Gguf gguf(folder_.write("chat.gguf", chat.build()));
    EXPECT_CONTAINS(error_of([&] { static_cast<void>(gguf.text("tokenizer.chat_template")); }),
                    "more than the 4194304");
}

TEST_F(GgufCve, IdsOfTokens) {
    for (const char* key : {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                            "tokenizer.ggml.unknown_token_id"})
        for (const uint32_t id : {3u, 4u, 1u << 31, ~0u}) {
            GgufBuilder builder = vocabulary();
            builder.floats("tokenizer.ggml.scores", {0, 0, 0}).number(key, id);
            EXPECT_CONTAINS(tokenizer_refusal(builder), "but there are 3 tokens");
        }
    for (const int32_t kind : {0, 7, -1, 1 << 30}) {
        GgufBuilder builder = vocabulary();
        builder.floats("tokenizer.ggml.scores", {0, 0, 0})
            .integers("tokenizer.ggml.token_type", {1, kind, 1});
        EXPECT_CONTAINS(tokenizer_refusal(builder), "GGUF knows 1 to 6");
    }
    GgufBuilder merges;
    merges.text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "gpt-2")
        .texts("tokenizer.ggml.tokens", {"a", "b"})
        .texts("tokenizer.ggml.merges", {"a b"});
    EXPECT_CONTAINS(tokenizer_refusal(merges), "is not a token");
}

// The tokenizer of a vocabulary, in use: byte tokens that are no bytes, and texts longer than any
// count of tokens that was expected.
TEST_F(GgufCve, ByteTokensAndTokenizing) {
    GgufBuilder builder;
    builder.text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", {"<s>", "a", "<0x-1>", "<0xZZ>", "<0x41>", "<0x>"})
        .floats("tokenizer.ggml.scores", {0, 0, 0, 0, 0, 0})
        .integers("tokenizer.ggml.token_type", {3, 1, 6, 6, 6, 6});
    const Gguf gguf(folder_.write("x.gguf", builder.build()));
    const std::atomic<bool> canceled = false;
    {
        ModelWriter writer(folder_ / "x.db", canceled);
        write_tokenizer(read_tokenizer(gguf, [](const std::string&) {}), writer);
        writer.finish();
        writer.publish();
    }
    const ModelDb db(folder_ / "x.db");
    Tokenizer tokenizer(db);
    EXPECT_EQ(tokenizer.text_of(4), "A");
    for (const int32_t token : {2, 3, 5})
        EXPECT_TRUE(tokenizer.text_of(token).starts_with("<0x")) << tokenizer.text_of(token);
    EXPECT_NE(error_of([&] { static_cast<void>(tokenizer.text_of(6)); }), "");
    EXPECT_NE(error_of([&] { static_cast<void>(tokenizer.text_of(-1)); }), "");
    EXPECT_EQ(tokenizer.encode("A", false), std::vector<int32_t>{4});
    EXPECT_EQ(tokenizer.encode(std::string(300000, 'a'), false).size(), 300000u);
}

// The whole import of a model that claims more blocks or heads than it has.
TEST_F(GgufCve, NumbersOfTheModel) {
    for (const char* key : {"llama.block_count", "llama.attention.head_count",
                            "llama.attention.head_count_kv", "llama.embedding_length"})
        for (const uint32_t number : {0u, 100000u, 1u << 31, ~0u}) {
            GgufBuilder builder;
            builder.text("general.architecture", "llama");
            for (const char* other : {"llama.block_count", "llama.attention.head_count",
                                      "llama.attention.head_count_kv", "llama.embedding_length",
                                      "llama.feed_forward_length", "llama.rope.dimension_count"})
                builder.number(other, std::string_view(other) == key ? number : 2);
            builder.raw_key("llama.attention.layer_norm_rms_epsilon", 6, bytes_of(1e-5f))
                .text("tokenizer.ggml.model", "llama")
                .texts("tokenizer.ggml.tokens", {"<s>", "a"})
                .floats("tokenizer.ggml.scores", {0, 0})
                .tensor("token_embd.weight", {2, 2}, 0, std::string(16, '\0'));
            ImportOptions options;
            options.source = folder_.write("model.gguf", builder.build());
            options.output = folder_ / "model.db";
            options.graph_dirs = {LLMSQL_SOURCE_DIR "/graphs"};
            const std::atomic<bool> canceled = false;
            const ImportWatcher watcher{[](const std::string&) {}, [](uint64_t, uint64_t) {},
                                        &canceled};
            EXPECT_NE(error_of([&] { import_model(options, watcher); }), "")
                << key << " " << number;
            EXPECT_FALSE(std::filesystem::exists(folder_ / "model.db"));
        }
}

}  // namespace
}  // namespace llmsql::test
