// SPDX-License-Identifier: MIT
// Builds GGUF files byte by byte for the importer's tests, well-formed unless told otherwise.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "tests/unit/temporary_folder.h"

namespace llmsql::test {

template<class T>
std::string bytes_of(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

template<class T>
std::string bytes_of(const std::vector<T>& values) {
    return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

inline std::string gguf_string(std::string_view text) {
    return bytes_of(uint64_t{text.size()}) + std::string(text);
}

class GgufBuilder {
  public:
    uint32_t version = 3;
    uint64_t alignment = 32;
    uint64_t extra_tensors = 0, extra_keys = 0;  // claimed in the header, not there

    GgufBuilder& raw_key(std::string_view key, uint32_t type, std::string_view value) {
        ++keys_;
        metadata_ += gguf_string(key) + bytes_of(type) + std::string(value);
        return *this;
    }
    GgufBuilder& text(std::string_view key, std::string_view value) {
        return raw_key(key, 8, gguf_string(value));
    }
    GgufBuilder& number(std::string_view key, uint32_t value) {
        return raw_key(key, 4, bytes_of(value));
    }
    GgufBuilder& floating(std::string_view key, float value) {
        return raw_key(key, 6, bytes_of(value));
    }
    GgufBuilder& flag(std::string_view key, bool value) {
        return raw_key(key, 7, bytes_of(uint8_t{value}));
    }
    GgufBuilder& texts(std::string_view key, const std::vector<std::string>& values) {
        std::string content = bytes_of(uint32_t{8}) + bytes_of(uint64_t{values.size()});
        for (const std::string& value : values) content += gguf_string(value);
        return raw_key(key, 9, content);
    }
    GgufBuilder& integers(std::string_view key, const std::vector<int32_t>& values) {
        return raw_key(
            key, 9, bytes_of(uint32_t{5}) + bytes_of(uint64_t{values.size()}) + bytes_of(values));
    }
    GgufBuilder& floats(std::string_view key, const std::vector<float>& values) {
        return raw_key(
            key, 9, bytes_of(uint32_t{6}) + bytes_of(uint64_t{values.size()}) + bytes_of(values));
    }

    /// A tensor with its dimensions innermost first, as the file has them, and its data.
    GgufBuilder& tensor(std::string_view name, std::vector<uint64_t> dims, uint32_t type,
                        std::string_view data) {
        pad(data_);
        return tensor_at(data_.size(), name, std::move(dims), type, data);
    }

    /// A tensor with an offset that need not be that of the data, which follow the last ones.
    GgufBuilder& tensor_at(uint64_t offset, std::string_view name, std::vector<uint64_t> dims,
                           uint32_t type, std::string_view data) {
        ++tensors_;
        directory_ += gguf_string(name) + bytes_of(static_cast<uint32_t>(dims.size())) +
                      bytes_of(dims) + bytes_of(type) + bytes_of(offset);
        data_ += data;
        return *this;
    }

    std::string build() const {
        std::string file = "GGUF" + bytes_of(version) + bytes_of(tensors_ + extra_tensors) +
                           bytes_of(keys_ + extra_keys) + metadata_ + directory_;
        pad(file);
        return file + data_;
    }

  private:
    void pad(std::string& bytes) const {
        bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
    }

    uint64_t keys_ = 0, tensors_ = 0;
    std::string metadata_, directory_, data_;
};

}  // namespace llmsql::test
