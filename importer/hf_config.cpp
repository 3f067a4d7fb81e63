// SPDX-License-Identifier: MIT
// What transformers' classes make of config.json. See hf_config.h. The source is transformers 5.24:
// configuration_utils.py, modeling_rope_utils.py (RotaryEmbeddingConfigMixin) and the classes' own
// __post_init__ and convert_rope_params_to_dict.
#include "importer/hf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace llmsql {
namespace {

constexpr const char* kScaling = "rope_scaling";
constexpr const char* kPositions = "rope_parameters";
constexpr const char* kLayered[] = {"full_attention", "sliding_attention"};
// Of models that see pictures, what does.
constexpr std::string_view kOtherParts[] = {"vision_tower.", "vision_model.",
                                            "multi_modal_projector.", "visual."};

Json facts_of(const std::string& architecture) {
    const std::string start = fmt::format("{{\"{}\":", architecture);
    for (size_t i = 0; i < kHfClassCount; ++i)
        if (kHfClasses[i].starts_with(start))
            return parse_json(kHfClasses[i], architecture).at(architecture);
    return nullptr;
}

std::string rope_type_of(const Json& rope) {
    for (const char* key : {"rope_type", "type"})
        if (const Json* type = member(rope, key); type && type->is_string())
            return type->get<std::string>();
    return "default";
}

/// The old name of the type, and of what it was called in the first of Phi-3's files.
void rename_type(Json& rope) {
    const auto old = rope.find("type");
    if (old == rope.end()) return;
    const Json type = *old;
    if (!rope.contains("rope_type")) rope["rope_type"] = type;
    if (rope.at("rope_type") == type) rope.erase("type");
}

/// What is said of single layers, where it is said at all, says it all: Gemma 4's width of the
/// heads that see far would otherwise be that of the class. Numbers of layers are written as wide
/// as the largest.
void settle_layers(Json& values) {
    const auto found = values.find("per_layer_config");
    if (found == values.end() || !found->is_object()) return;
    Json layers = Json::object();
    bool has_width = false;
    for (const auto& [key, layer] : found->items()) {
        const size_t start = std::min(key.find_first_not_of('0'), key.size() - 1);
        has_width |= member(layer, "head_dim") != nullptr;
        layers[key.empty() ? key : key.substr(start)] = layer;
    }
    for (const char* whole : {"global_head_dim", "num_global_key_value_heads"}) values.erase(whole);
    if (const Json* width = member(values, "head_dim"); width && !has_width)
        values["global_head_dim"] = Json(*width);
    if (layers.empty())
        values.erase("per_layer_config");
    else
        values["per_layer_config"] = std::move(layers);
}

/// "layers.*.mlp.up_proj.bias" of "model.layers.3.mlp.up_proj.bias".
std::string pattern_of(std::string_view name) {
    for (const std::string_view start : {"model.", "backbone.", "transformer."})
        if (name.starts_with(start)) {
            name.remove_prefix(start.size());
            break;
        }
    std::string pattern;
    while (!name.empty()) {
        const size_t dot = std::min(name.find('.'), name.size());
        const std::string_view step = name.substr(0, dot);
        const bool number = step.find_first_not_of("0123456789") == std::string_view::npos;
        pattern += number && dot < name.size() ? "*" : step;
        if (dot < name.size()) pattern += '.';
        name.remove_prefix(std::min(dot + 1, name.size()));
    }
    return pattern;
}

}  // namespace

HfConfig::HfConfig(Json said, const std::string& where) : values_(std::move(said)) {
    const Json* classes = member(values_, "architectures");
    if (!classes || !classes->is_array() || classes->empty() || !classes->front().is_string())
        return;  // which is told where somebody asks
    const auto architecture = classes->front().get<std::string>();
    if (architecture.starts_with("Gemma4")) {
        settle_layers(values_);
        if (const auto text = values_.find("text_config");
            text != values_.end() && text->is_object())
            settle_layers(*text);
    }
    facts_ = facts_of(architecture);
    if (facts_.is_null()) {
        const auto rope = values_.find(kScaling);
        if (rope != values_.end() && rope->is_object()) rename_type(*rope);
        return;
    }
    const std::string own = facts_.value("model_type", "");
    const auto type = text_member(values_, "model_type", where);
    if (type && *type != own)
        for (size_t i = 0; i < kHfClassCount; ++i) {
            if (kHfClasses[i].find(fmt::format("{{\"model_type\":\"{}\",", *type)) ==
                std::string_view::npos)
                continue;
            const Json other = parse_json(kHfClasses[i], *type).front();
            if (other.value("read_by", "") == architecture)
                facts_ = other;
            else
                fail(
                    "{}: its architectures say {}, but its model_type is \"{}\", not \"{}\": which "
                    "class is to read it cannot be told",
                    where, architecture, printable(*type), own);
        }
    if (facts_.contains("text")) take_text_part(where);
    settle_names(where);
    fill_in();
    check_sight(where);
    if (!facts_.contains("theta")) return;  // no rotary positions
    if (facts_.contains("local_theta"))
        settle_layered_positions(where);
    else
        settle_positions(where);
}

/// What is said of the whole counts where the part says nothing, but for the head, of which the
/// whole has the word.
void HfConfig::take_text_part(const std::string& where) {
    const auto whole = values_.at("architectures").front().get<std::string>();
    const Json* part = member(values_, "text_config");
    const bool flat = !part && facts_.value("flat", false);
    if (!flat && (!part || !part->is_object())) {
        // A text part alone, saved under the whole's name.
        whole_.clear();
        facts_ = nullptr;
        return;
    }
    const std::string type = flat ? "" : text_member(*part, "model_type", where).value_or("");
    const Json& parts = facts_.at("text");
    const Json* architecture = member(parts, type);
    if (!architecture) architecture = member(parts, "");
    if (!architecture)
        fail("{}: the text part of {} is of the type '{}', for which there is no graph", where,
             whole, printable(type));
    const Json& own = facts_.at("own");
    Json text = flat ? Json::object() : *part;
    for (const auto& [key, value] : values_.items())
        if (key != "text_config" && !text.contains(key) &&
            std::ranges::find(own, Json(key)) == own.end())
            text[key] = value;
    const Json* tied = member(values_, "tie_word_embeddings");
    // Some older files say it of the part alone.
    if (tied || text.value("tie_word_embeddings", Json()) != true)
        text["tie_word_embeddings"] = tied ? *tied : facts_.at("tied");
    text["architectures"] = Json::array({*architecture});
    whole_ = whole;
    facts_ = facts_of(architecture->get<std::string>());
    text["model_type"] = facts_.at("model_type");
    values_ = std::move(text);
}

void HfConfig::settle_names(const std::string& where) {
    for (const auto& [other, own] : facts_.at("names").items()) {
        const auto found = values_.find(other);
        if (found == values_.end()) continue;
        const auto name = own.get<std::string>();
        Json value = *found;
        values_.erase(found);
        const Json* said = member(values_, name);
        if (said && !value.is_null() && *said != value)
            fail("{}: says {} = {}, but {} = {}, which is another name of the same", where, name,
                 shown(*said), other, shown(value));
        if (!said) values_[name] = std::move(value);
    }
}

/// Null is something said. "auto" is nothing.
void HfConfig::fill_in() {
    for (auto each = values_.begin(); each != values_.end();)
        each = *each == "auto" ? values_.erase(each) : std::next(each);
    // A list of the layers' kinds says what a period would.
    if (member(values_, "layer_types"))
        for (const char* period : {"sliding_window_pattern", "_sliding_window_pattern"})
            values_.erase(period);
    for (const auto& [key, value] : facts_.at("defaults").items()) {
        if (values_.contains(key)) continue;
        if (key == "sliding_window_pattern" && member(values_, "layer_types")) continue;
        values_[key] = value;
        defaults_.insert(key);
    }
}

/// Null is no window. A window of nothing lets a token see nothing at all, itself included.
void HfConfig::check_sight(const std::string& where) const {
    const Json* width = member(values_, "sliding_window");
    const Json* used = member(values_, "use_sliding_window");
    const bool unused = used && used->is_boolean() && !used->get<bool>();
    if (facts_.at("windows") == true && width && width->is_number() && width->get<double>() <= 0 &&
        !unused)
        fail("{}: sliding_window is {}; no window at all is null", where, shown(*width));
}

/// What an object of rotary positions lacks. Of these keys the object's count first, then those
/// beside it.
void HfConfig::fill_positions(Json& rope, const std::string& key) {
    const auto fill = [&](const char* name, const Json& value) {
        if (rope.contains(name)) return;
        rope[name] = value;
        defaults_.insert(key + "." + name);
    };
    if (!member(values_, "rope_theta")) fill("rope_theta", facts_.at("theta"));
    if (facts_.contains("partial") && !member(values_, "partial_rotary_factor"))
        fill("partial_rotary_factor", facts_.at("partial"));
    // A factor without a word of its type is refused later.
    if (!rope.contains("factor")) fill("rope_type", "default");
    const std::string type = rope_type_of(rope);
    if (type != "llama3" && type != "yarn" && type != "longrope") return;
    if (const Json* positions = member(values_, "max_position_embeddings"))
        fill("original_max_position_embeddings", *positions);
}

/// One object for all layers, rope_scaling if there is something in it, else rope_parameters.
void HfConfig::settle_positions(const std::string& where) {
    constexpr const char* kOriginal = "original_max_position_embeddings";
    for (const char* key : {kScaling, kPositions}) {
        const auto found = values_.find(key);
        if (found == values_.end()) continue;
        if (!found->is_null() && !found->is_object()) fail("{}: {} is no object", where, key);
        if (found->is_null() || (key == kScaling && found->empty())) values_.erase(found);
    }
    const bool scaled = values_.contains(kScaling);
    if (scaled && values_.contains(kPositions)) {
        const Json& other = values_.at(kPositions);
        for (const auto& [name, value] : other.items())
            if (!values_.at(kScaling).contains(name) || values_.at(kScaling).at(name) != value)
                fail(
                    "{}: says {} and {}, and not the same: transformers takes the first alone, so "
                    "one of them has to go",
                    where, kScaling, kPositions);
        values_.erase(kPositions);
    }
    const std::string key = scaled ? kScaling : kPositions;
    if (!values_.contains(key)) {
        values_[key] = facts_.value("positions", Json::object());
        for (const auto& [name, value] : values_[key].items()) defaults_.insert(key + "." + name);
    }
    Json& rope = values_[key];
    rename_type(rope);
    // Of text, positions in time, height and width are the same.
    if (rope.contains("mrope_section") && rope_type_of(rope) == "mrope")
        rope["rope_type"] = "default";
    if (facts_.at("model_type") == "phi3")
        if (const std::string type = rope_type_of(rope); type == "su" || type == "yarn")
            rope["rope_type"] = "longrope";
    for (const char* name : kLayered)
        if (rope.contains(name))
            fail("{}: {} has an object {}, but the class {} has the same positions in all layers",
                 where, key, name, facts_.at("model_type").get<std::string>());
    // A class that has such a key itself takes it whatever the object says.
    if (facts_.at("defaults").contains(kOriginal)) {
        const std::string type = rope_type_of(rope);
        if (const Json* original = member(values_, kOriginal); original && type != "default") {
            rope[kOriginal] = *original;
            defaults_.erase(key + "." + kOriginal);
        }
        values_.erase(kOriginal);
        defaults_.erase(kOriginal);
    }
    fill_positions(rope, key);
}

/// An object for each kind of layer; what is said in old ways is said of those that see all.
void HfConfig::settle_layered_positions(const std::string& where) {
    const auto taken = [&](const char* key) {
        Json value;
        if (const auto found = values_.find(key); found != values_.end()) {
            value = std::move(*found);
            values_.erase(key);
        }
        return value;
    };
    Json scaling = taken(kScaling), positions = taken(kPositions);
    const Json theta = taken("rope_theta");
    const Json local = facts_.contains("local_key")
                           ? taken(facts_.at("local_key").get_ref<const std::string&>().c_str())
                           : Json();
    if (positions.is_null()) positions = Json::object();
    if (!positions.is_object() || !(scaling.is_null() || scaling.is_object()))
        fail("{}: {} is no object", where, scaling.is_null() ? kPositions : kScaling);
    for (const auto& [name, value] : positions.items())
        if ((name != kLayered[0] && name != kLayered[1]) || !(value.is_null() || value.is_object()))
            fail("{}: {} has {}, but the class has an object {} and one {}, and nothing else",
                 where, kPositions, printable(name), kLayered[0], kLayered[1]);
    for (const char* kind : kLayered) {
        const std::string key = std::string(kPositions) + "." + kind;
        const bool whole = kind == kLayered[0];
        Json& rope = positions[kind];
        if (rope.is_null()) {
            rope = Json{{"rope_type", "default"}};
            defaults_.insert(key + ".rope_type");
        }
        if (whole && scaling.is_object()) {
            // The type counts under the new name alone, as the object has one already.
            if (scaling.contains("rope_type")) defaults_.erase(key + ".rope_type");
            rope.update(scaling);
        }
        if (rope.contains("rope_theta")) continue;
        const Json& said = whole ? theta : local;
        rope["rope_theta"] = said.is_null() ? facts_.at(whole ? "theta" : "local_theta") : said;
        if (said.is_null()) defaults_.insert(key + ".rope_theta");
    }
    for (const char* kind : kLayered)
        fill_positions(positions[kind], std::string(kPositions) + "." + kind);
    values_[kPositions] = std::move(positions);
}

std::string HfConfig::tensor_name(const std::string& name) const {
    if (whole_.empty()) return name;
    std::string_view rest = name;
    if (rest.starts_with("model.")) rest.remove_prefix(6);
    for (const std::string_view part : kOtherParts)
        if (rest.starts_with(part)) return "";
    constexpr std::string_view kText = "language_model.";
    if (!rest.starts_with(kText)) return name;
    rest.remove_prefix(kText.size());
    // Of older files it is a whole model, of newer ones what is in it.
    return rest.starts_with("model.") || rest.starts_with("lm_head.")
               ? std::string(rest)
               : fmt::format("model.{}", rest);
}

bool HfConfig::has_tensor(std::string_view name) const {
    if (facts_.is_null() || !(name.ends_with(".bias") || name.ends_with("_bias"))) return true;
    const Json* flag = member(facts_.at("biases"), pattern_of(name));
    if (!flag) return !name.ends_with(".bias");
    const std::string key = flag->get<std::string>();
    if (key.empty()) return true;
    const Json* said = member(values_, key);
    return said && said->is_boolean() && said->get<bool>();
}

}  // namespace llmsql
