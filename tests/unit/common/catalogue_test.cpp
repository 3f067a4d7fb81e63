// SPDX-License-Identifier: MIT
// Catalogue checksums and how entries are written.
#include "common/catalogue.h"

#include <gtest/gtest.h>

#include <vector>

namespace llmsql {
namespace {

const std::vector<ParamEntry> kEntries{
    {"token_embd", WeightType::q8, {49152, 576}},
    {"layer.0.attn_norm", WeightType::f32, {{}, 576}},
};

TEST(Catalogue, DescribesEntries) {
    EXPECT_EQ(describe(kEntries[0]), "q8[49152, 576]");
    EXPECT_EQ(describe(kEntries[1]), "f32[576]");
}

// The checksum is in files: it may never change. These were computed with the Python package xxhash
// from "token_embd q8 49152 576\nlayer.0.attn_norm f32 - 576\n" and of nothing.
TEST(Catalogue, ChecksumIsXxh3OfTheDocumentedText) {
    EXPECT_EQ(catalogue_checksum(kEntries), "56fdd6e0d5783f54");
    EXPECT_EQ(catalogue_checksum({}), "2d06800538d394c2");
    EXPECT_EQ(hash64("", 0), 0x2d06800538d394c2u);
}

TEST(Catalogue, ChecksumTellsEveryDifference) {
    const std::string original = catalogue_checksum(kEntries);
    const auto changed = [&](auto change) {
        auto entries = kEntries;
        change(entries);
        return catalogue_checksum(entries);
    };
    EXPECT_EQ(changed([](auto&) {}), original);
    EXPECT_NE(changed([](auto& e) { e[0].name = "output"; }), original);
    EXPECT_NE(changed([](auto& e) { e[0].type = WeightType::q4; }), original);
    EXPECT_NE(changed([](auto& e) { e[0].shape.rows = 49151; }), original);
    EXPECT_NE(changed([](auto& e) { e[1].shape.cols = 577; }), original);
    EXPECT_NE(changed([](auto& e) { e[1].shape.rows = 1; }), original);  // a matrix of one row
    EXPECT_NE(changed([](auto& e) { std::swap(e[0], e[1]); }), original);
    EXPECT_NE(changed([](auto& e) { e.pop_back(); }), original);
}

}  // namespace
}  // namespace llmsql
