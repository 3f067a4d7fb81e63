// SPDX-License-Identifier: MIT
// Hugging Face folders: configuration, shards, and that what does not fit together is refused.
#include "importer/hf_folder.h"

#include <gtest/gtest.h>

#include <atomic>
#include <bit>

#include "common/half.h"
#include "importer/store.h"
#include "tests/unit/error_of.h"
#include "tests/unit/importer/safetensors_builder.h"
#include "tests/unit/importer/sql.h"
#include "tests/unit/says.h"

namespace llmsql::test {
namespace {

constexpr const char* kConfig = R"({"architectures":["LlamaForCausalLM","Other"],
    "hidden_size":64,"rms_norm_eps":1e-05,"tie_word_embeddings":null,"attention_bias":true,
    "rope_scaling":{"factor":8.0,"rope_type":"llama3"},"layer_types":["sliding","full"],
    "hidden_act":"silu"})";

class HfFolderTest : public testing::Test {
  protected:
    HfFolderTest() { folder_.write("config.json", kConfig); }

    void write(const char* file, const std::vector<std::string>& tensors) {
        SafetensorsBuilder builder;
        for (const std::string& name : tensors)
            builder.tensor(name, "F32", {2}, bytes_of(std::vector<float>{1, 2}));
        folder_.write(file, builder.build());
    }
    void index(const nlohmann::json& weight_map) {
        folder_.write("model.safetensors.index.json",
                      nlohmann::json{{"weight_map", weight_map}}.dump());
    }
    std::filesystem::path path() const { return folder_ / "."; }
    std::string error() const {
        return error_of([&] { HfFolder folder(path()); });
    }
    static std::vector<std::string> names(const HfFolder& folder) {
        std::vector<std::string> all;
        for (const SourceTensor& tensor : folder.tensors()) all.push_back(tensor.name);
        return all;
    }
    TemporaryFolder folder_;
};

TEST_F(HfFolderTest, ReadsItsConfiguration) {
    write("model.safetensors", {"a"});
    const HfFolder folder(path());
    EXPECT_EQ(folder.format(), "hf");
    EXPECT_EQ(folder.architecture(), "LlamaForCausalLM");
    EXPECT_EQ(folder.number("hidden_size"), 64);
    EXPECT_EQ(folder.number("rms_norm_eps"), 1e-5);
    EXPECT_EQ(folder.number("attention_bias"), 1);
    EXPECT_EQ(folder.number("rope_scaling.factor"), 8);
    EXPECT_EQ(folder.text("rope_scaling.rope_type"), "llama3");
    EXPECT_EQ(folder.text("layer_types.1"), "full");
    for (const char* none :
         {"tie_word_embeddings", "absent", "rope_scaling.absent", "rope_scaling", "hidden_act",
          "layer_types.2", "layer_types.x", "layer_types.-1", "hidden_size.x", "", "."})
        EXPECT_EQ(folder.number(none), std::nullopt) << none;
    EXPECT_EQ(folder.text("hidden_size"), std::nullopt);
}

TEST_F(HfFolderTest, TakesTheOneFileOrTheUsualOne) {
    write("weights.safetensors", {"b"});
    EXPECT_EQ(names(HfFolder(path())), (std::vector<std::string>{"b"}));
    write("model.safetensors", {"a"});
    EXPECT_EQ(names(HfFolder(path())), (std::vector<std::string>{"a"}));
    std::filesystem::remove(folder_ / "model.safetensors");
    write("more.safetensors", {"c"});
    EXPECT_CONTAINS(error(), "holds 2 .safetensors files but no model.safetensors.index.json");
}

TEST_F(HfFolderTest, TakesFromEachFileWhatTheIndexSays) {
    write("1.safetensors", {"a", "b", "stray"});
    write("2.safetensors", {"a", "c"});
    index({{"a", "2.safetensors"}, {"b", "1.safetensors"}, {"c", "2.safetensors"}});
    const HfFolder folder(path());
    EXPECT_EQ(names(folder), (std::vector<std::string>{"b", "a", "c"}));
    EXPECT_EQ(folder.find_tensor("stray"), nullptr);
    ASSERT_NE(folder.find_tensor("a"), nullptr);
    EXPECT_CONTAINS(folder.find_tensor("a")->file->name(), "2.safetensors");
    EXPECT_EQ(folder.bytes(), std::filesystem::file_size(folder_ / "1.safetensors") +
                                  std::filesystem::file_size(folder_ / "2.safetensors"));
}

TEST_F(HfFolderTest, RefusesShardsThatAreNotThere) {
    write("1.safetensors", {"a"});
    index({{"a", "1.safetensors"}, {"b", "2.safetensors"}});
    EXPECT_CONTAINS(error(), "2.safetensors: is missing, but model.safetensors.index.json says");
    index({{"a", "1.safetensors"}, {"b", "1.safetensors"}});
    EXPECT_CONTAINS(error(), "1.safetensors: lacks the tensor b");
    for (const char* outside : {"../1.safetensors", "/etc/passwd", "", ".", "..", "x/../y"}) {
        index({{"a", outside}});
        EXPECT_CONTAINS(error(), "is not the name of a file in this folder");
    }
    index({{"a", 1}});
    EXPECT_CONTAINS(error(), "a is not in a file");
    index(nlohmann::json::object());
    EXPECT_CONTAINS(error(), "has no weight_map");
    nlohmann::json many;
    for (int i = 0; i < 1001; ++i) many[std::to_string(i)] = std::to_string(i);
    index(many);
    EXPECT_CONTAINS(error(), "names 1001 files");
    folder_.write("model.safetensors.index.json", "{");
    EXPECT_CONTAINS(error(), "index.json: is not valid JSON");
}

TEST_F(HfFolderTest, RefusesFoldersThatAreNoModels) {
    EXPECT_CONTAINS(error(), "holds no .safetensors file");
    write("model.safetensors", {"a"});
    EXPECT_EQ(error(), "");
    folder_.write("config.json", "[1]");
    EXPECT_CONTAINS(error(), "config.json: is not a JSON object");
    folder_.write("config.json", R"({"a":1,"a":2})");
    EXPECT_CONTAINS(error(), "twice");
    folder_.write("config.json", R"({"quantization_config":{"quant_method":"awq"}})");
    EXPECT_CONTAINS(error(), "the weights are quantised");
    folder_.write("config.json", R"({"architectures":[]})");
    EXPECT_CONTAINS(error_of([&] { HfFolder(path()).architecture(); }),
                    "does not say its architecture");
    std::filesystem::remove(folder_ / "config.json");
    EXPECT_CONTAINS(error(), "has no config.json");
}

TEST_F(HfFolderTest, ATiedHeadIsNotTheModels) {
    write("model.safetensors", {"a", "lm_head.weight"});
    EXPECT_NE(HfFolder(path()).find_tensor("lm_head.weight"), nullptr);
    folder_.write("config.json", R"({"tie_word_embeddings":true})");
    EXPECT_EQ(HfFolder(path()).find_tensor("lm_head.weight"), nullptr);
    folder_.write("config.json", R"({"tie_word_embeddings":false})");
    EXPECT_NE(HfFolder(path()).find_tensor("lm_head.weight"), nullptr);
    write("model.safetensors", {"a"});
    EXPECT_CONTAINS(error_of([&] { HfFolder(path()).find_tensor("lm_head.weight"); }),
                    "tie_word_embeddings is false, but there is no tensor lm_head.weight");
}

// The sources' types to the stored ones, and a transform, by way of a folder.
TEST_F(HfFolderTest, ItsTensorsAreStoredAsAGgufsAre) {
    const std::vector<float> values{1, -2, 0.5f, 3};
    std::vector<uint16_t> halves, brains;
    for (const float value : values) {
        halves.push_back(f32_to_f16(value));
        brains.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
    }
    SafetensorsBuilder builder;
    builder.tensor("f32", "F32", {4}, bytes_of(values))
        .tensor("f16", "F16", {4}, bytes_of(halves))
        .tensor("bf16", "BF16", {4}, bytes_of(brains))
        .tensor("f64", "F64", {4}, std::string(32, 'x'));
    folder_.write("model.safetensors", builder.build());
    const HfFolder folder(path());
    Param param;
    param.name = "p";
    param.type = WeightType::f32;
    param.shape.cols = 4;
    const std::atomic<bool> canceled = false;
    for (const char* name : {"f32", "f16", "bf16"}) {
        param.hf = ParamSource{name, {{"plus", {1}}}};
        const std::vector<ParamToStore> params{{1, param, false, RowSource(folder, param), {}, ""}};
        ModelWriter writer(folder_ / "x.db", canceled);
        store_params(params, writer, [](uint64_t) {});
        writer.finish();
        writer.publish();
        EXPECT_EQ(Sql(folder_ / "x.db").blob("SELECT data FROM llm_tile"),
                  bytes_of(std::vector<float>{2, -1, 1.5f, 4}))
            << name;
    }
    param.hf = ParamSource{"f64", {}};
    EXPECT_CONTAINS(error_of([&] { RowSource(folder, param); }),
                    "is of the type F64, which cannot be read; the types that can are F32, F16, "
                    "BF16");
    param.hf.reset();
    EXPECT_CONTAINS(error_of([&] { RowSource(folder, param); }),
                    "does not say where a Hugging Face model holds the parameter p (@hf)");
}

}  // namespace
}  // namespace llmsql::test
