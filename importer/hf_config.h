// SPDX-License-Identifier: MIT
// HfConfig: a config.json as the class of transformers understands it that is to load it. What the
// file leaves out is what that class takes there; a key of two names has the one that the class
// gives it; rotary positions are one object with all that counts; of a model of more than text it
// is the part for text. Of a class that is not in hf_classes.cpp nothing is known, and all stays as
// the file has it.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>

#include "importer/json.h"

namespace llmsql {

/// Of each class one JSON text, {"LlamaForCausalLM": {…}}: hf_classes.cpp, which
/// tests/reference/hf_classes.py makes.
extern const std::string_view kHfClasses[];
extern const size_t kHfClassCount;

/// Thread-compatible.
class HfConfig {
  public:
    HfConfig() = default;
    /// `where` names the file in messages. Fails where transformers would not load it, or where the
    /// file says one thing twice, and differently.
    HfConfig(Json said, const std::string& where);

    const Json& values() const { return values_; }

    /// Whether a key's value is the class's own, and none of the file's. "rope_parameters.factor"
    /// is a key too.
    bool is_default(const std::string& key) const { return defaults_.contains(key); }

    /// The class of what is imported is another than the file's: that of its text part.
    const std::string& whole_class() const { return whole_; }

    /// The name by which the text part knows a tensor of the file; empty for one of other parts.
    std::string tensor_name(const std::string& name) const;

    /// Whether the class has this tensor: false for a bias that a flag rules out, or of which the
    /// class knows nothing.
    bool has_tensor(std::string_view name) const;

    /// Whether the embedding may be the head too; without a word about it transformers asks the
    /// class.
    bool ties_head() const { return facts_.is_null() || facts_.value("tied", true); }

  private:
    void take_text_part(const std::string& where);
    void settle_names(const std::string& where);
    void fill_in();
    void check_sight(const std::string& where) const;
    void settle_positions(const std::string& where);
    void settle_layered_positions(const std::string& where);
    void fill_positions(Json& rope, const std::string& key);

    Json values_;
    Json facts_;  // null: none are known
    std::set<std::string> defaults_;
    std::string whole_;
};

}  // namespace llmsql
