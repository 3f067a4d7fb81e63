// SPDX-License-Identifier: MIT
// What a class of transformers makes of a config.json. The values are those of its 5.24.
#include "importer/hf_config.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/unit/error_of.h"
#include "tests/unit/says.h"

namespace llmsql::test {
namespace {

HfConfig settled(const char* text) {
    return {parse_json(text, "config.json"), "config.json"};
}

Json values(const char* text) {
    return settled(text).values();
}

std::string error(const char* text) {
    return error_of([&] { settled(text); });
}

TEST(HfConfig, WhatIsLeftOutIsTheClassesOwn) {
    const HfConfig config = settled(
        R"({"architectures":["MixtralForCausalLM"],"num_local_experts":3,"sliding_window":null})");
    EXPECT_EQ(config.values().at("num_experts_per_tok"), 2);
    EXPECT_EQ(config.values().at("num_local_experts"), 3);
    EXPECT_TRUE(config.values().at("sliding_window").is_null());
    EXPECT_EQ(config.values().at("rope_parameters").at("rope_theta"), 1e6);
    EXPECT_TRUE(config.is_default("num_experts_per_tok"));
    EXPECT_TRUE(config.is_default("rope_parameters.rope_theta"));
    EXPECT_FALSE(config.is_default("num_local_experts"));
}

TEST(HfConfig, OfAnotherClassNothingIsKnown) {
    const char* text = R"({"architectures":["MineForCausalLM"],"rope_theta":7})";
    EXPECT_EQ(values(text), parse_json(text, ""));
    EXPECT_EQ(values(R"({"rope_theta":7})"), parse_json(R"({"rope_theta":7})", ""));
    EXPECT_TRUE(settled(text).has_tensor("model.layers.0.a.bias"));
}

TEST(HfConfig, AKeyOfTwoNamesHasOne) {
    const char* other = R"({"architectures":["GptOssForCausalLM"],"num_experts":4})";
    EXPECT_EQ(values(other).at("num_local_experts"), 4);
    EXPECT_FALSE(values(other).contains("num_experts"));
    EXPECT_CONTAINS(error(R"({"architectures":["GptOssForCausalLM"],"num_experts":4,
                              "num_local_experts":5})"),
                    "says num_local_experts = 5, but num_experts = 4");
    EXPECT_EQ(error(R"({"architectures":["GptOssForCausalLM"],"num_experts":4,
                        "num_local_experts":4})"),
              "");
}

TEST(HfConfig, PositionsOfWhichNothingIsSaid) {
    for (const char* text : {R"({"architectures":["GptOssForCausalLM"]})",
                             R"({"architectures":["GptOssForCausalLM"],"rope_scaling":null})",
                             R"({"architectures":["GptOssForCausalLM"],"rope_scaling":{},
                                 "rope_parameters":null})"}) {
        const Json rope = values(text).at("rope_parameters");
        EXPECT_EQ(rope.at("rope_type"), "yarn") << text;
        EXPECT_EQ(rope.at("factor"), 32) << text;
        EXPECT_EQ(rope.at("rope_theta"), 150000) << text;
    }
    const Json rope =
        values(R"({"architectures":["Ministral3ForCausalLM"]})").at("rope_parameters");
    EXPECT_EQ(rope.at("llama_4_scaling_beta"), 0.1);
    EXPECT_EQ(rope.at("rope_theta"), 1e6);
    // Said, but without a word of the base: that is another.
    EXPECT_EQ(values(R"({"architectures":["Ministral3ForCausalLM"],"rope_parameters":{}})")
                  .at("rope_parameters"),
              Json({{"rope_theta", 1e4}, {"rope_type", "default"}}));
    EXPECT_EQ(values(R"({"architectures":["StableLmForCausalLM"]})")
                  .at("rope_parameters")
                  .at("partial_rotary_factor"),
              0.25);
    EXPECT_FALSE(values(R"({"architectures":["Mamba2ForCausalLM"]})").contains("rope_parameters"));
}

TEST(HfConfig, PositionsByTheirOldNames) {
    const Json config = values(R"({"architectures":["GraniteForCausalLM"],"rope_theta":5000,
        "rope_scaling":{"type":"yarn","factor":4.0},"max_position_embeddings":64})");
    const Json& rope = config.at("rope_scaling");
    EXPECT_EQ(rope.at("rope_type"), "yarn");
    EXPECT_FALSE(rope.contains("type"));
    EXPECT_FALSE(rope.contains("rope_theta"));  // it is said beside
    EXPECT_EQ(rope.at("original_max_position_embeddings"), 64);
    EXPECT_FALSE(config.contains("rope_parameters"));
    EXPECT_CONTAINS(error(R"({"architectures":["GraniteForCausalLM"],
                              "rope_scaling":{"rope_type":"linear","factor":2},
                              "rope_parameters":{"rope_type":"default"}})"),
                    "says rope_scaling and rope_parameters, and not the same");
    EXPECT_CONTAINS(error(R"({"architectures":["GraniteForCausalLM"],
                              "rope_parameters":{"full_attention":{"rope_type":"default"}}})"),
                    "has an object full_attention");
    EXPECT_CONTAINS(error(R"({"architectures":["GraniteForCausalLM"],"rope_scaling":4})"),
                    "rope_scaling is no object");
}

TEST(HfConfig, Phi3sLengthBesideTheObjectCounts) {
    const Json config = values(R"({"architectures":["Phi3ForCausalLM"],
        "original_max_position_embeddings":32,
        "rope_scaling":{"type":"su","original_max_position_embeddings":77}})");
    EXPECT_EQ(config.at("rope_scaling").at("original_max_position_embeddings"), 32);
    EXPECT_EQ(config.at("rope_scaling").at("rope_type"), "longrope");
    EXPECT_FALSE(config.contains("original_max_position_embeddings"));
}

TEST(HfConfig, PositionsOfEachKindOfLayer) {
    const Json gemma = values(R"({"architectures":["Gemma3ForCausalLM"],"rope_theta":5000,
        "rope_scaling":{"rope_type":"linear","factor":8.0}})");
    EXPECT_EQ(gemma.at("rope_parameters").at("full_attention"),
              Json({{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 5000}}));
    EXPECT_EQ(gemma.at("rope_parameters").at("sliding_attention"),
              Json({{"rope_type", "default"}, {"rope_theta", 1e4}}));
    EXPECT_FALSE(gemma.contains("rope_theta") || gemma.contains("rope_scaling"));
    // A base for all is none of the layers with windows.
    const Json olmo = values(R"({"architectures":["Olmo3ForCausalLM"],"rope_theta":5000})");
    EXPECT_EQ(olmo.at("rope_parameters").at("full_attention").at("rope_theta"), 5000);
    EXPECT_EQ(olmo.at("rope_parameters").at("sliding_attention").at("rope_theta"), 500000);
    EXPECT_CONTAINS(error(R"({"architectures":["Gemma3ForCausalLM"],
                              "rope_parameters":{"rope_theta":5000}})"),
                    "rope_parameters has rope_theta, but the class has an object full_attention");
}

TEST(HfConfig, APeriodCountsWhereNoListSaysTheKinds) {
    EXPECT_EQ(values(R"({"architectures":["Exaone4ForCausalLM"]})").at("sliding_window_pattern"),
              4);
    EXPECT_FALSE(values(R"({"architectures":["Exaone4ForCausalLM"],"sliding_window_pattern":"LLLG",
                            "layer_types":["full_attention"]})")
                     .contains("sliding_window_pattern"));
}

TEST(HfConfig, AWindowOfNothingIsNone) {
    EXPECT_CONTAINS(error(R"({"architectures":["GptOssForCausalLM"],"sliding_window":0})"),
                    "sliding_window is 0; no window at all is null");
    EXPECT_EQ(error(R"({"architectures":["Qwen2MoeForCausalLM"],"sliding_window":0})"), "");
    EXPECT_EQ(error(R"({"architectures":["LlamaForCausalLM"],"sliding_window":0})"), "");
}

TEST(HfConfig, TheTextPartOfAModelOfMore) {
    const HfConfig config = settled(R"({"architectures":["Mistral3ForConditionalGeneration"],
        "model_type":"mistral3","vision_config":{"hidden_size":3},"image_token_index":10,
        "text_config":{"model_type":"ministral3","hidden_size":96,"dtype":"float32"},
        "eos_token_id":2,"tie_word_embeddings":false})");
    EXPECT_EQ(config.values().at("architectures"), Json({"Ministral3ForCausalLM"}));
    EXPECT_EQ(config.values().at("hidden_size"), 96);
    EXPECT_EQ(config.values().at("eos_token_id"), 2);
    EXPECT_EQ(config.values().at("tie_word_embeddings"), false);
    EXPECT_EQ(config.values().at("num_key_value_heads"), 8);
    EXPECT_FALSE(config.values().contains("vision_config"));
    EXPECT_FALSE(config.values().contains("image_token_index"));
    EXPECT_EQ(config.whole_class(), "Mistral3ForConditionalGeneration");
    for (const auto& [file, part] :
         {std::pair{"model.language_model.norm.weight", "model.norm.weight"},
          {"language_model.model.norm.weight", "model.norm.weight"},
          {"language_model.lm_head.weight", "lm_head.weight"},
          {"lm_head.weight", "lm_head.weight"},
          {"model.vision_tower.a.weight", ""},
          {"multi_modal_projector.a.weight", ""},
          {"another.weight", "another.weight"}})
        EXPECT_EQ(config.tensor_name(file), part);
    EXPECT_CONTAINS(error(R"({"architectures":["Mistral3ForConditionalGeneration"],
                              "text_config":{"model_type":"qwen9"}})"),
                    "is of the type 'qwen9', for which there is no graph");
    EXPECT_EQ(values(R"({"architectures":["Gemma3ForConditionalGeneration"],"text_config":{}})")
                  .at("tie_word_embeddings"),
              true);
}

TEST(HfConfig, AClassMayReadAConfigurationOfAnotherName) {
    const char* kThird = R"({"architectures":["LlamaForCausalLM"],"model_type":"internlm3"})";
    EXPECT_EQ(values(kThird).at("head_dim"), 128);
    EXPECT_EQ(values(R"({"architectures":["InternLM3ForCausalLM"],"qkv_bias":true})")
                  .at("attention_bias"),
              true);
    EXPECT_CONTAINS(error(R"({"architectures":["LlamaForCausalLM"],"model_type":"qwen3"})"),
                    "which class is to read it cannot be told");
}

TEST(HfConfig, LayersSayTheirWidthInNumbersOfOneLength) {
    const Json many = values(R"({"architectures":["Gemma4ForCausalLM"],"head_dim":8,
        "global_head_dim":32,"per_layer_config":{"05":{"head_dim":16},"11":{"head_dim":16}}})");
    EXPECT_EQ(many.at("per_layer_config"),
              parse_json(R"({"5":{"head_dim":16},"11":{"head_dim":16}})", "test"));
    EXPECT_FALSE(many.contains("global_head_dim"));
    const Json alike = values(R"({"architectures":["Gemma4ForConditionalGeneration"],
        "text_config":{"head_dim":8,"per_layer_config":{}}})");
    EXPECT_EQ(alike.at("text_config"), parse_json(R"({"head_dim":8,"global_head_dim":8})", "test"));
}

TEST(HfConfig, BiasesGoByTheirFlags) {
    const HfConfig without = settled(
        R"({"architectures":["SeedOssForCausalLM"],"attention_bias":false,"mlp_bias":true})");
    EXPECT_FALSE(without.has_tensor("model.layers.0.self_attn.q_proj.bias"));
    EXPECT_FALSE(without.has_tensor("model.layers.10.self_attn.o_proj.bias"));
    EXPECT_TRUE(without.has_tensor("model.layers.10.mlp.up_proj.bias"));
    EXPECT_TRUE(without.has_tensor("model.layers.0.self_attn.q_proj.weight"));
    const HfConfig plain = settled(R"({"architectures":["SeedOssForCausalLM"]})");
    EXPECT_TRUE(plain.has_tensor("model.layers.0.self_attn.q_proj.bias"));
    EXPECT_FALSE(plain.has_tensor("model.layers.0.input_layernorm.bias"));
    // The names of older files have another beginning.
    const HfConfig nemotron =
        settled(R"({"architectures":["NemotronHForCausalLM"],"use_conv_bias":false})");
    EXPECT_FALSE(nemotron.has_tensor("backbone.layers.3.mixer.conv1d.bias"));
    EXPECT_TRUE(nemotron.has_tensor("backbone.layers.3.mixer.dt_bias"));
    EXPECT_FALSE(nemotron.ties_head());
    EXPECT_TRUE(plain.ties_head());
}

TEST(HfConfig, TwoClassesAreNone) {
    EXPECT_CONTAINS(error(R"({"architectures":["LlamaForCausalLM"],"model_type":"mixtral"})"),
                    "its model_type is \"mixtral\", not \"llama\"");
    EXPECT_EQ(error(R"({"architectures":["LlamaForCausalLM"],"model_type":"llama"})"), "");
}

// Every class that a graph names is known, and its facts are JSON.
TEST(HfConfig, AllClassesCanBeRead) {
    for (size_t i = 0; i < kHfClassCount; ++i) {
        const Json facts = parse_json(kHfClasses[i], "class");
        ASSERT_EQ(facts.size(), 1u);
        const std::string name = facts.begin().key();
        EXPECT_TRUE(facts.begin()->contains("model_type")) << name;
        if (facts.begin()->contains("text")) continue;
        EXPECT_EQ(settled(fmt::format(R"({{"architectures":["{}"]}})", name).c_str())
                      .values()
                      .at("architectures")
                      .at(0),
                  name);
    }
}

TEST(HfConfig, NumbersThatJsonHasNoWordFor) {
    const Json read = parse_json(
        R"({"a":[0.0,Infinity],"b":-Infinity,"c":NaN,"d":"NaN \" Infinity"})", "config.json");
    EXPECT_EQ(read.at("a").at(1), Json({{"__float__", "Infinity"}}));
    EXPECT_EQ(read.at("b"), Json({{"__float__", "-Infinity"}}));
    EXPECT_EQ(read.at("c"), Json({{"__float__", "NaN"}}));
    EXPECT_EQ(read.at("d"), "NaN \" Infinity");
    EXPECT_CONTAINS(error_of([] { parse_json("[Infinit]", "x"); }), "not valid JSON");
}

}  // namespace
}  // namespace llmsql::test
