// SPDX-License-Identifier: MIT
// The model file (TOML) as it stands: keys and values with their places, not yet held against a
// graph.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/types.h"
#include "compiler/ir/model.h"
#include "compiler/parse/source.h"

namespace llmsql::compiler {

struct LocatedText {
    std::string text;
    Position at;
};

struct LocatedNumber {
    std::string key;  // of a block's table "layer.is_local"
    Position key_at;
    double value = 0;
    Position at;
    std::vector<double> list = {};  // in place of `value`, one for each repetition of a block
};

/// One line of [weights], in the file's order.
struct WeightPattern {
    std::string pattern;
    Position at;
    WeightType type = WeightType::f32;
    Position type_at;
};

struct ModelText {
    LocatedText name, graph;
    std::vector<LocatedNumber> dims, constants;
    Position dims_at, constants_at;  // the tables; line 0 where there is none
    std::vector<LocatedText> present;
    std::vector<WeightPattern> weights;
    Position weights_at;
    TokenizerSpec tokenizer;
    ChatSpec chat;
    ModelOrigin origin;
};

/// Reads what is there; unknown and missing keys and wrong types go to `errors`. Where the text is
/// not TOML at all the result is empty.
ModelText parse_model_file(const SourceFile& source, Diagnostics& errors);

/// Does a pattern, in which `*` is any run of characters, match all of `text`?
bool matches(std::string_view pattern, std::string_view text);

}  // namespace llmsql::compiler
