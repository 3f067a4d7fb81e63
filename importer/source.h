// Source: what an import reads its parameters and numbers from, a GGUF file or a Hugging Face
// folder.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "importer/ggml_types.h"
#include "importer/random_access_file.h"

namespace llmsql {

struct SourceTensor {
    std::string name;
    const GgmlTypeInfo* type = nullptr;
    std::vector<int64_t> shape;              // outermost first: [rows, cols]
    const RandomAccessFile* file = nullptr;  // owned by the source
    uint64_t offset = 0;                     // in the file
    uint64_t bytes = 0;
};

class Source {
  public:
    virtual ~Source() = default;

    virtual std::string_view format() const = 0;     // whose annotations count: "gguf" or "hf"
    virtual const std::string& name() const = 0;     // the path, for messages
    virtual uint64_t bytes() const = 0;              // of all its tensors' files
    virtual std::string readable_types() const = 0;  // "F32, F16, …", for messages

    virtual std::string architecture() const = 0;  // in its format's words; fails if it says none

    /// Of the metadata: a number or truth value, a text, if the source has it.
    virtual std::optional<double> number(const std::string& key) const = 0;
    virtual std::optional<std::string> text(const std::string& key) const = 0;
    virtual std::vector<std::string> keys() const = 0;  // all there are, for messages

    virtual std::span<const SourceTensor> tensors() const = 0;
    virtual const SourceTensor* find_tensor(const std::string& name) const = 0;
};

}  // namespace llmsql
