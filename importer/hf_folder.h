// SPDX-License-Identifier: MIT
// HfFolder: a model as Hugging Face's transformers saves it, a folder with config.json, one
// safetensors file or several with an index, and the tokenizer's files (hf_tokenizer.h).
#pragma once

#include <filesystem>
#include <memory>
#include <unordered_map>

#include "importer/hf_config.h"
#include "importer/json.h"
#include "importer/source.h"

namespace llmsql {

/// Not thread-safe: one thread at a time.
class HfFolder : public Source {
  public:
    /// Reads and checks everything but the tensors' data and the tokenizer.
    explicit HfFolder(const std::filesystem::path& path);

    std::string_view format() const override { return "hf"; }
    const std::string& name() const override { return name_; }
    uint64_t bytes() const override { return bytes_; }
    std::string readable_types() const override {
        return "F32, F16, BF16, and with scales F8_E4M3 and MXFP4";
    }
    std::string architecture() const override;

    /// Of config.json as its class understands it (hf_config.h), under a path of names and indices:
    /// "rms_norm_eps", "rope_scaling.factor", "layer_types.0". Nothing if what stands there is of
    /// another kind.
    std::optional<double> number(const std::string& key) const override;
    std::optional<std::string> text(const std::string& key) const override;
    std::vector<std::string> keys() const override;
    std::vector<std::pair<std::string, SourceValue>> own_values() const override;
    std::string kind(const std::string& key) const override;
    bool is_default(const std::string& key) const override { return config_.is_default(key); }
    std::vector<std::string> notes() const override { return notes_; }
    std::optional<int64_t> trained_context() const override;

    std::span<const SourceTensor> tensors() const override { return tensors_; }
    const SourceTensor* find_tensor(const std::string& name) const override;

    /// A file of the folder.
    std::filesystem::path path(std::string_view file) const { return path_ / file; }

    /// config.json as its class understands it; generation_config.json, tokenizer_config.json: null
    /// if there is none.
    const Json& config() const { return config_.values(); }
    Json optional_json(std::string_view file) const;

  private:
    void open_shards();
    void open_single();
    void add_shard(const std::string& file);
    void settle_tensors();
    bool head_is_embedding() const;

    std::filesystem::path path_;
    std::string name_;
    HfConfig config_;
    std::vector<std::unique_ptr<RandomAccessFile>> files_;  // tensors point to them
    uint64_t bytes_ = 0;
    std::vector<SourceTensor> tensors_;
    std::unordered_map<std::string_view, size_t> tensor_index_;  // views of tensors_' names
    bool tied_ = false;                                          // the embedding is the head
    std::string head_;                                           // what its head is called
    std::vector<std::string> notes_;
};

}  // namespace llmsql
