// SPDX-License-Identifier: MIT
// The table of GGUF's tensor types. See ggml_types.h.
#include "importer/ggml_types.h"

#include <algorithm>
#include <array>

namespace llmsql {
namespace {

constexpr std::array kGgmlTypes{
    GgmlTypeInfo{0, "F32", 1, 4, true},         GgmlTypeInfo{1, "F16", 1, 2, true},
    GgmlTypeInfo{2, "Q4_0", 32, 18, true},      GgmlTypeInfo{3, "Q4_1", 32, 20, true},
    GgmlTypeInfo{6, "Q5_0", 32, 22, true},      GgmlTypeInfo{7, "Q5_1", 32, 24, true},
    GgmlTypeInfo{8, "Q8_0", 32, 34, true},      GgmlTypeInfo{9, "Q8_1", 32, 36, true},
    GgmlTypeInfo{10, "Q2_K", 256, 84, true},    GgmlTypeInfo{11, "Q3_K", 256, 110, true},
    GgmlTypeInfo{12, "Q4_K", 256, 144, true},   GgmlTypeInfo{13, "Q5_K", 256, 176, true},
    GgmlTypeInfo{14, "Q6_K", 256, 210, true},   GgmlTypeInfo{15, "Q8_K", 256, 292, true},
    GgmlTypeInfo{16, "IQ2_XXS", 256, 66, true}, GgmlTypeInfo{17, "IQ2_XS", 256, 74, true},
    GgmlTypeInfo{18, "IQ3_XXS", 256, 98, true}, GgmlTypeInfo{19, "IQ1_S", 256, 50, true},
    GgmlTypeInfo{20, "IQ4_NL", 32, 18, true},   GgmlTypeInfo{21, "IQ3_S", 256, 110, true},
    GgmlTypeInfo{22, "IQ2_S", 256, 82, true},   GgmlTypeInfo{23, "IQ4_XS", 256, 136, true},
    GgmlTypeInfo{24, "I8", 1, 1, true},         GgmlTypeInfo{25, "I16", 1, 2, true},
    GgmlTypeInfo{26, "I32", 1, 4, true},        GgmlTypeInfo{27, "I64", 1, 8, true},
    GgmlTypeInfo{28, "F64", 1, 8, true},        GgmlTypeInfo{29, "IQ1_M", 256, 56, true},
    GgmlTypeInfo{30, "BF16", 1, 2, true},       GgmlTypeInfo{34, "TQ1_0", 256, 54, true},
    GgmlTypeInfo{35, "TQ2_0", 256, 66, true},   GgmlTypeInfo{39, "MXFP4", 32, 17, true},
    GgmlTypeInfo{40, "NVFP4", 64, 36, true},    GgmlTypeInfo{41, "Q1_0", 128, 18, true},
    GgmlTypeInfo{42, "Q2_0", 64, 18, true},
};

struct Removed {
    uint32_t number;
    std::string_view name;
};
constexpr std::array kRemoved{
    Removed{4, "Q4_2"},        Removed{5, "Q4_3"},        Removed{31, "Q4_0_4_4"},
    Removed{32, "Q4_0_4_8"},   Removed{33, "Q4_0_8_8"},   Removed{36, "IQ4_NL_4_4"},
    Removed{37, "IQ4_NL_4_8"}, Removed{38, "IQ4_NL_8_8"},
};

}  // namespace

const GgmlTypeInfo* find_ggml_type(uint32_t number) {
    const auto found = std::ranges::find(kGgmlTypes, number, &GgmlTypeInfo::number);
    return found == kGgmlTypes.end() ? nullptr : &*found;
}

std::string_view removed_ggml_type(uint32_t number) {
    const auto found = std::ranges::find(kRemoved, number, &Removed::number);
    return found == kRemoved.end() ? std::string_view() : found->name;
}

const GgmlTypeInfo& info_of(GgmlType type) {
    return *std::ranges::find(kGgmlTypes, static_cast<uint32_t>(type), &GgmlTypeInfo::number);
}

int64_t ggml_row_bytes(GgmlType type, int64_t weights) {
    const GgmlTypeInfo& info = info_of(type);
    return weights / info.block_weights * info.block_bytes;
}

std::string readable_ggml_types() {
    std::string names;
    for (const GgmlTypeInfo& type : kGgmlTypes) {
        if (!names.empty()) names += ", ";
        names += type.name;
    }
    return names;
}

}  // namespace llmsql
