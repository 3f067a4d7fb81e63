// SPDX-License-Identifier: MIT
// Builds safetensors files and Hugging Face folders for the importer's tests.
#pragma once

#include <nlohmann/json.hpp>

#include "tests/unit/importer/gguf_builder.h"

namespace llmsql::test {

/// A file of a header, whatever it says, and data; the length is the header's unless told
/// otherwise.
inline std::string safetensors(std::string_view header, std::string_view data) {
    return bytes_of(uint64_t{header.size()}) + std::string(header) + std::string(data);
}

class SafetensorsBuilder {
  public:
    SafetensorsBuilder& tensor(const std::string& name, std::string_view dtype,
                               const std::vector<int64_t>& shape, std::string_view data) {
        header_[name] = {{"dtype", dtype},
                         {"shape", shape},
                         {"data_offsets", {data_.size(), data_.size() + data.size()}}};
        data_ += data;
        return *this;
    }
    std::string build() const { return safetensors(header_.dump(), data_); }

  private:
    nlohmann::json header_ = {{"__metadata__", {{"format", "pt"}}}};
    std::string data_;
};

}  // namespace llmsql::test
