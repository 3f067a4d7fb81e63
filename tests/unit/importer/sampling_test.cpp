// SPDX-License-Identifier: MIT
// What sources say of how tokens are picked.
#include "importer/sampling.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/importer/gguf_builder.h"
#include "tests/unit/importer/safetensors_builder.h"
#include "tests/unit/says.h"

namespace llmsql::test {
namespace {

class SamplingTest : public testing::Test {
  protected:
    /// "name value; …", of a GGUF or of generation_config.json.
    std::string taken(const GgufBuilder& builder) {
        return text_of(sampling_of(Gguf(folder_.write("x.gguf", builder.build())), note()));
    }
    std::string taken(const std::string& json) {
        folder_.write("config.json", "{}");
        folder_.write("model.safetensors", SafetensorsBuilder().build());
        folder_.write("generation_config.json", json);
        return text_of(sampling_of(HfFolder(folder_ / "."), note()));
    }
    static std::string text_of(const Sampling& sampling) {
        std::string text;
        for (const auto& [name, value] : sampling) text += name + " " + value + "; ";
        return text;
    }
    Note note() {
        notes_.clear();
        return [this](const std::string& line) { notes_ += line + "\n"; };
    }

    TemporaryFolder folder_;
    std::string notes_;
};

TEST_F(SamplingTest, OfAGguf) {
    GgufBuilder builder;
    builder.floating("general.sampling.temp", 0.6f)
        .number("general.sampling.top_k", 20)
        .floating("general.sampling.top_p", 0.95f)
        .floating("general.sampling.penalty_repeat", 1.05f)
        .number("general.sampling.mirostat", 2)
        .floating("general.sampling.xtc_probability", 0);
    EXPECT_EQ(taken(builder), "temperature 0.6; top_k 20; top_p 0.95; repeat_penalty 1.05; ");
    EXPECT_SAYS(notes_,
                "… temperature 0.6, top_k 20, top_p 0.95, repeat_penalty 1.05\n"
                "… does not have: mirostat 2\n");
    EXPECT_EQ(taken(GgufBuilder()), "");
    EXPECT_EQ(notes_, "");
}

TEST_F(SamplingTest, OfAFolder) {
    EXPECT_EQ(taken(R"({"do_sample": true, "temperature": 0.7, "top_k": 0, "min_p": null,
                        "repetition_penalty": 1.1, "num_beams": 1, "typical_p": 0.9})"),
              "temperature 0.7; top_k 0; repeat_penalty 1.1; ");
    EXPECT_SAYS(notes_,
                "… temperature 0.7, top_k 0, repeat_penalty 1.1\n… does not have: typical_p 0.9\n");
    EXPECT_EQ(taken(R"({"do_sample": false, "temperature": 0.7})"), "temperature 0; ");
    EXPECT_EQ(taken(R"({"eos_token_id": 1, "temperature": null})"), "");
    EXPECT_EQ(notes_, "");
}

TEST_F(SamplingTest, WhatIsNoSuchNumberIsLeftOut) {
    EXPECT_EQ(taken(R"({"temperature": -1, "top_p": 1.5, "top_k": 2.5, "min_p": 0.1})"),
              "min_p 0.1; ");
    EXPECT_SAYS(notes_, "… temperature is -1 …\n… top_k is 2.5 …\n… top_p is 1.5 …\n… min_p 0.1\n");
    EXPECT_EQ(taken(R"({"temperature": "hot", "top_p": NaN, "top_k": [20], "min_p": true,
                        "repetition_penalty": Infinity, "do_sample": "yes", "num_beams": "4"})"),
              "");
    EXPECT_SAYS(
        notes_,
        "… do_sample is \"yes\", neither …\n… temperature is \"hot\", which is none: left out\n"
        "… top_k is [20], …\n… top_p is NaN, …\n… min_p is true, …\n"
        "… repetition_penalty is Infinity, …\n… does not have: num_beams \"4\"\n");
    GgufBuilder builder;
    builder.text("general.sampling.temp", "hot")
        .floating("general.sampling.top_p", std::numeric_limits<float>::quiet_NaN());
    EXPECT_EQ(taken(builder), "");
    EXPECT_SAYS(
        notes_,
        "… general.sampling.temp is \"hot\", which …\n… general.sampling.top_p is nan, …\n");
}

}  // namespace
}  // namespace llmsql::test
