// SPDX-License-Identifier: MIT
// HfFolder: a model as Hugging Face's transformers saves it, a folder with config.json, one
// safetensors file or several with an index, and the tokenizer's files (hf_tokenizer.h).
#pragma once

#include <filesystem>
#include <memory>
#include <unordered_map>

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
    std::string readable_types() const override { return "F32, F16, BF16"; }
    std::string architecture() const override;

    /// Of config.json, under a path of names and indices: "rms_norm_eps", "rope_scaling.factor",
    /// "layer_types.0". Nothing if what stands there is of another kind.
    std::optional<double> number(const std::string& key) const override;
    std::optional<std::string> text(const std::string& key) const override;
    std::vector<std::string> keys() const override;
    std::vector<std::pair<std::string, SourceValue>> own_values() const override;
    std::string kind(const std::string& key) const override;
    bool silent_about(const std::string& key) const override;
    std::optional<int64_t> trained_context() const override;

    std::span<const SourceTensor> tensors() const override { return tensors_; }
    const SourceTensor* find_tensor(const std::string& name) const override;

    /// A file of the folder.
    std::filesystem::path path(std::string_view file) const { return path_ / file; }

    /// config.json, generation_config.json, tokenizer_config.json; null if there is none.
    const Json& config() const { return config_; }
    Json optional_json(std::string_view file) const;

  private:
    void open_shards();
    void open_single();
    void add_shard(const std::string& file);
    void check_config() const;

    std::filesystem::path path_;
    std::string name_;
    Json config_;
    std::vector<std::unique_ptr<RandomAccessFile>> files_;  // tensors point to them
    uint64_t bytes_ = 0;
    std::vector<SourceTensor> tensors_;
    std::unordered_map<std::string_view, size_t> tensor_index_;  // views of tensors_' names
};

}  // namespace llmsql
