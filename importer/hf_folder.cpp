// SPDX-License-Identifier: MIT
// Reads Hugging Face folders. See hf_folder.h.
#include "importer/hf_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "importer/safetensors.h"
#include "importer/scaled_tensors.h"

namespace llmsql {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfig = "config.json";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kSingle = "model.safetensors";
constexpr size_t kIndexBytes = 16 << 20;
constexpr const char* kFloat = "__float__";
constexpr const char* kHead = "lm_head.weight";
// Of GPT-NeoX and of InternLM 2 it has another name.
constexpr const char* kOtherHeads[] = {"embed_out.weight", "output.weight"};
constexpr size_t kMostShards = 1000;
constexpr size_t kLongestLayerList = 4096;  // elements of a list that stands for something a layer

/// True and false count as 1 and 0.
std::optional<double> number_of(const Json& value) {
    if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
    if (value.is_number()) return value.get<double>();
    // How transformers writes what JSON cannot. Without a bound is as far as numbers go.
    if (value.is_object() && value.size() == 1 && value.contains(kFloat)) {
        const Json& text = value.at(kFloat);
        if (text == "Infinity") return std::numeric_limits<double>::max();
        if (text == "-Infinity") return std::numeric_limits<double>::lowest();
        if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
    }
    return std::nullopt;
}

/// What stands under a path of names and indices parted by dots; null if nothing does.
const Json* at_path(const Json& from, std::string_view path) {
    const Json* value = &from;
    while (value && !path.empty()) {
        const size_t dot = path.find('.');
        const std::string_view step = path.substr(0, dot);
        path = dot == std::string_view::npos ? "" : path.substr(dot + 1);
        size_t index = 0;
        if (value->is_array()) {
            const auto [end, error] =
                std::from_chars(step.data(), step.data() + step.size(), index);
            if (error != std::errc() || end != step.data() + step.size() || index >= value->size())
                return nullptr;
            value = &(*value)[index];
            if (value->is_null()) value = nullptr;
        } else {
            value = member(*value, step);
        }
    }
    return value;
}

}  // namespace

HfFolder::HfFolder(const fs::path& path) : path_(path), name_(path.string()) {
    std::error_code ignored;
    if (!fs::exists(path_ / kConfig, ignored))
        fail("{}: has no {}, so it is not a Hugging Face model's folder", name_, kConfig);
    const std::string where = (path_ / kConfig).string();
    Json said = parse_json_file(path_ / kConfig);
    if (!said.is_object()) fail("{}: is not a JSON object", where);
    const ScaledWeights scaled = scaled_weights_of(said, where);
    said.erase("quantization_config");
    config_ = HfConfig(std::move(said), where);
    if (fs::exists(path_ / kIndex, ignored))
        open_shards();
    else
        open_single();
    for (const std::string& note : join_scaled_tensors(tensors_, scaled))
        notes_.push_back(fmt::format("{}: {}", name_, note));
    settle_tensors();
}

/// Names as the text part has them, without what other parts have or the class doesn't know.
void HfFolder::settle_tensors() {
    std::set<std::string> names;
    std::vector<std::string> unknown;
    size_t others = 0;
    std::erase_if(tensors_, [&](SourceTensor& tensor) {
        std::string name = config_.tensor_name(tensor.name);
        if (name.empty()) {
            ++others;
            return true;
        }
        if (!config_.has_tensor(name)) {
            unknown.push_back(printable(tensor.name));
            return true;
        }
        tensor.name = std::move(name);
        if (!names.insert(tensor.name).second)
            fail("{}: has the tensor {} under two names", name_, printable(tensor.name));
        return false;
    });
    for (size_t i = 0; i < tensors_.size(); ++i) tensor_index_.emplace(tensors_[i].name, i);
    if (!config_.whole_class().empty())
        notes_.push_back(
            fmt::format("{}: of {} the text part is imported; {} of other parts left out", name_,
                        config_.whole_class(), counted(others, "tensor")));
    if (!unknown.empty()) {
        const size_t count = unknown.size();
        unknown.resize(std::min<size_t>(count, 3));
        notes_.push_back(fmt::format(
            "{}: left out, as config.json rules them out and transformers passes over them: {}: "
            "{}{}",
            name_, counted(count, "tensor"), fmt::join(unknown, ", "), count > 3 ? ", …" : ""));
    }
    const auto tied = flag_member(config(), "tie_word_embeddings", (path_ / kConfig).string());
    tied_ = tied.value_or(false) && config_.ties_head();
    head_ = kHead;
    for (const char* name : kOtherHeads)
        if (tensor_index_.contains(name)) head_ = name;
    const bool own = tensor_index_.contains(head_);
    if (tied && !tied_ && !own)
        fail("{}: {}, but there is no tensor {}", (path_ / kConfig).string(),
             *tied ? "its class has a head of its own" : "tie_word_embeddings is false", kHead);
    if (!tied_ || !own || head_is_embedding()) return;
    tied_ = false;
    notes_.push_back(
        fmt::format("{}: tie_word_embeddings is true, but {} is not the embedding: it is taken for "
                    "the head, as transformers does",
                    name_, head_));
}

/// Whether they are equal to the last bit.
bool HfFolder::head_is_embedding() const {
    constexpr size_t kPiece = 1 << 20;
    const SourceTensor& head = tensors_[tensor_index_.at(head_)];
    for (const char* name : {"model.embed_tokens.weight", "transformer.wte.weight", "wte.weight",
                             "backbone.embeddings.weight", "model.embeddings.weight",
                             "gpt_neox.embed_in.weight", "transformer.word_embeddings.weight",
                             "model.word_embeddings.weight", "model.tok_embeddings.weight"}) {
        const auto found = tensor_index_.find(name);
        if (found == tensor_index_.end()) continue;
        const SourceTensor& embedding = tensors_[found->second];
        if (embedding.type != head.type || embedding.shape != head.shape) return false;
        std::string a(kPiece, '\0'), b(kPiece, '\0');
        for (uint64_t at = 0; at < head.bytes; at += kPiece) {
            const auto size = static_cast<size_t>(std::min<uint64_t>(kPiece, head.bytes - at));
            head.read(at, a.data(), size);
            embedding.read(at, b.data(), size);
            if (std::string_view(a).substr(0, size) != std::string_view(b).substr(0, size))
                return false;
        }
        return true;
    }
    return true;  // there is nothing else that it could be
}

void HfFolder::add_shard(const std::string& file) {
    files_.push_back(std::make_unique<RandomAccessFile>(path_ / file));
    bytes_ += files_.back()->size();
    for (SourceTensor& tensor : read_safetensors(*files_.back()))
        tensors_.push_back(std::move(tensor));
}

/// One file, under the usual name or the only one of its kind.
void HfFolder::open_single() {
    std::vector<std::string> names;
    for (const std::string& name : file_names_in(path_))
        if (fs::path(name).extension() == ".safetensors") names.push_back(name);
    if (std::ranges::find(names, kSingle) != names.end()) names = {kSingle};
    if (names.empty())
        fail("{}: holds no .safetensors file (other formats of weights cannot be read)", name_);
    if (names.size() > 1)
        fail("{}: holds {} .safetensors files but no {} that says which are the model", name_,
             names.size(), kIndex);
    add_shard(names[0]);
}

/// The files that the index names; each tensor comes from the file that it says.
void HfFolder::open_shards() {
    const std::string where = (path_ / kIndex).string();
    const Json index = parse_json_file(path_ / kIndex, {.bytes = kIndexBytes});
    const Json* map = member(index, "weight_map");
    if (!map || !map->is_object() || map->empty())
        fail("{}: has no weight_map that says where tensors are", where);
    std::map<std::string, std::set<std::string>> tensors_of;
    for (const auto& [tensor, file] : map->items()) {
        if (!file.is_string()) fail("{}: {} is not in a file", where, printable(tensor));
        tensors_of[file.get<std::string>()].insert(tensor);
    }
    if (tensors_of.size() > kMostShards)
        fail("{}: names {} files, more than the {} that can be read", where, tensors_of.size(),
             kMostShards);
    for (const auto& [file, wanted] : tensors_of) {
        if (file.empty() || file.find('/') != std::string::npos ||
            file.find('\0') != std::string::npos || file == "." || file == "..")
            fail("{}: '{}' is not the name of a file in this folder", where, printable(file));
        std::error_code ignored;
        if (!fs::exists(path_ / file, ignored))
            fail("{}: is missing, but {} says that it holds {}", (path_ / file).string(), kIndex,
                 printable(*wanted.begin()));
        const size_t before = tensors_.size();
        add_shard(file);
        std::set<std::string> missing = wanted;
        // A tensor that the index places elsewhere, or not at all, is not the model's.
        const auto foreign = std::remove_if(
            tensors_.begin() + static_cast<std::ptrdiff_t>(before), tensors_.end(),
            [&](const SourceTensor& tensor) { return missing.erase(tensor.name) == 0; });
        tensors_.erase(foreign, tensors_.end());
        if (!missing.empty())
            fail("{}: lacks the tensor {}, which {} says is there", (path_ / file).string(),
                 printable(*missing.begin()), kIndex);
    }
}

std::string HfFolder::architecture() const {
    const Json* name = at_path(config(), "architectures.0");
    if (!name || !name->is_string())
        fail("{}: does not say its architecture (architectures)", (path_ / kConfig).string());
    return name->get<std::string>();
}

std::optional<double> HfFolder::number(const std::string& key) const {
    const Json* value = at_path(config(), key);
    return value ? number_of(*value) : std::nullopt;
}

std::optional<std::string> HfFolder::text(const std::string& key) const {
    const Json* value = at_path(config(), key);
    if (!value) {  // a text that has a letter for each layer
        const size_t dot = key.rfind('.');
        const Json* whole =
            dot == std::string::npos ? nullptr : at_path(config(), key.substr(0, dot));
        size_t index = 0;
        const char* const last = key.data() + key.size();
        if (!whole || !whole->is_string() ||
            std::from_chars(key.data() + dot + 1, last, index).ptr != last ||
            index >= whole->get_ref<const std::string&>().size())
            return std::nullopt;
        return whole->get_ref<const std::string&>().substr(index, 1);
    }
    if (!value->is_string()) return std::nullopt;
    return value->get<std::string>();
}

std::vector<std::string> HfFolder::keys() const {
    std::vector<std::string> keys;
    for (const auto& [name, value] : config().items()) {
        if (value.is_null()) continue;  // as if it were not there
        keys.push_back(name);
        if (value.is_object())
            for (const auto& [inner, _] : value.items()) keys.push_back(name + "." + inner);
    }
    return keys;
}

namespace {

SourceValue value_of(const Json& value) {
    if (const auto number = number_of(value)) return SourceValue::of(*number);
    if (value.is_string()) return SourceValue::of(value.get<std::string>());
    SourceValue judged;
    if (!value.is_array()) return judged;
    judged.kind = SourceValue::Kind::list;
    judged.count = value.size();
    if (value.size() <= kLongestLayerList)
        for (const Json& element : value)
            judged.elements.push_back(element.is_array() ? SourceValue{} : value_of(element));
    return judged;
}

/// Members of objects are keys of their own.
void collect(const std::string& key, const Json& value,
             std::vector<std::pair<std::string, SourceValue>>& all) {
    if (value.is_null()) return;
    if (!value.is_object() || value.empty() || number_of(value)) {
        all.emplace_back(key, value_of(value));
        return;
    }
    for (const auto& [name, inner] : value.items()) collect(key + "." + name, inner, all);
}

}  // namespace

std::vector<std::pair<std::string, SourceValue>> HfFolder::own_values() const {
    std::vector<std::pair<std::string, SourceValue>> own;
    for (const auto& [name, value] : config().items()) collect(name, value, own);
    std::ranges::sort(own, {}, &std::pair<std::string, SourceValue>::first);
    return own;
}

std::string HfFolder::kind(const std::string& key) const {
    const Json* found = at_path(config(), key);
    if (!found) return "";
    return found->is_array() ? "an array" : found->is_object() ? "an object" : "";
}

std::optional<int64_t> HfFolder::trained_context() const {
    for (const char* key : {"max_position_embeddings", "text_config.max_position_embeddings"}) {
        const Json* found = is_default(key) ? nullptr : at_path(config(), key);
        if (!found || !found->is_number()) continue;
        const double length = found->get<double>();
        if (length >= 1 && length <= kLongestContext && length == std::floor(length))
            return static_cast<int64_t>(length);
    }
    return std::nullopt;
}

const SourceTensor* HfFolder::find_tensor(const std::string& name) const {
    if (tied_ && name == head_) return nullptr;
    const auto found = tensor_index_.find(name);
    return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

Json HfFolder::optional_json(std::string_view file) const {
    std::error_code ignored;
    if (!fs::exists(path(file), ignored)) return nullptr;
    return parse_json_file(path(file), {.bytes = 16 << 20});
}

}  // namespace llmsql
