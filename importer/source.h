// SPDX-License-Identifier: MIT
// Source: what an import reads its parameters and numbers from, a GGUF file or a Hugging Face
// folder.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "importer/ggml_types.h"
#include "importer/random_access_file.h"

namespace llmsql {

/// Bytes of a tensor that its file has otherwise. Thread-safe.
class TensorReader {
  public:
    virtual ~TensorReader() = default;
    /// Exactly `bytes` bytes of the tensor from `offset` on.
    virtual void read(uint64_t offset, void* into, size_t bytes) const = 0;
};

struct SourceTensor {
    std::string name;
    const GgmlTypeInfo* type = nullptr;
    std::vector<int64_t> shape;              // outermost first: [rows, cols]
    const RandomAccessFile* file = nullptr;  // owned by the source
    uint64_t offset = 0;                     // in the file
    uint64_t bytes = 0;
    std::shared_ptr<const TensorReader> reader = nullptr;  // of one that the file has otherwise

    /// Bytes at an offset from the tensor's first.
    void read(uint64_t at, void* into, size_t count) const {
        if (reader)
            reader->read(at, into, count);
        else
            file->read(offset + at, into, count);
    }
};

/// A value of the metadata, as far as it can be judged: true and false count as 1 and 0.
struct SourceValue {
    enum class Kind { number, text, list, other };
    Kind kind = Kind::other;
    double number = 0;
    std::string text;                   // of a text, its start at least
    std::vector<SourceValue> elements;  // of a list; none where there are more than can be judged
    uint64_t count = 0;                 // of a list

    static SourceValue of(double number) {
        SourceValue value;
        value.kind = Kind::number;
        value.number = number;
        return value;
    }
    static SourceValue of(std::string text) {
        SourceValue value;
        value.kind = Kind::text;
        value.text = std::move(text);
        return value;
    }
};

/// What is believed of a trained length; more is taken for damage.
constexpr double kLongestContext = 1099511627776.0;  // 2^40

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

    /// What may bear on what the model computes, sorted by key: "llama.block_count" of a GGUF of
    /// the architecture llama, and all of config.json, "rope_scaling.factor" among them. What is
    /// null is as if it were not there.
    virtual std::vector<std::pair<std::string, SourceValue>> own_values() const = 0;

    /// "an array", "an object", where a value is neither a number nor a text; else empty.
    virtual std::string kind(const std::string& key) const = 0;

    /// Whether the source leaves a key out, and what it has there is what its makers' program
    /// takes.
    virtual bool is_default(const std::string&) const { return false; }

    /// What of the source is left out, or taken otherwise than it says: a line each.
    virtual std::vector<std::string> notes() const { return {}; }

    /// How long the texts were that the model was trained for, if the source says it sensibly.
    virtual std::optional<int64_t> trained_context() const = 0;

    virtual std::span<const SourceTensor> tensors() const = 0;
    virtual const SourceTensor* find_tensor(const std::string& name) const = 0;
};

}  // namespace llmsql
