// SPDX-License-Identifier: MIT
// Gguf: a reader of GGUF files, versions 2 and 3, in bounded memory.
//
// A GGUF file is a header, key-value metadata, a directory of tensors and, aligned, their data (the
// specification is ggml's docs/gguf.md). Nothing in the file is trusted: every count, length,
// offset, type and dimension is checked against the file's size before it is used. Strings and
// arrays of the metadata stay in the file and are read when asked for, arrays element by element,
// so that memory does not grow with the vocabulary.
//
// A model may be split over files NAME-00001-of-00003.gguf and so on, each a GGUF of its own: the
// keys split.no (from 0), split.count and split.tensors.count (of all) tell which it is, and the
// first has all other metadata. The parts are read as one file, whichever of them is named.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "importer/random_access_file.h"
#include "importer/source.h"

namespace llmsql {

/// The types of metadata values, under GGUF's numbers.
enum class GgufValueType : uint32_t {
    u8 = 0,
    i8 = 1,
    u16 = 2,
    i16 = 3,
    u32 = 4,
    i32 = 5,
    f32 = 6,
    boolean = 7,
    string = 8,
    array = 9,
    u64 = 10,
    i64 = 11,
    f64 = 12,
};

/// A string or an array that stays in the file.
struct GgufString {
    uint64_t offset = 0, length = 0;
};
struct GgufArray {
    GgufValueType type = GgufValueType::u8;  // of an element; never array
    uint64_t count = 0;
    uint64_t offset = 0;  // of the first element
};

/// Not thread-safe: one thread at a time.
class Gguf : public Source {
  public:
    /// Reads and checks everything but the tensors' data, of a split model in all of its parts.
    explicit Gguf(const std::filesystem::path& path);

    /// The file that has the metadata: of a split model the first.
    const RandomAccessFile& file() const { return file_; }

    std::string_view format() const override { return "gguf"; }
    const std::string& name() const override { return file_.name(); }
    uint64_t bytes() const override;
    std::string readable_types() const override { return readable_ggml_types(); }

    /// general.architecture; fails if the file doesn't say.
    std::string architecture() const override;

    /// Tensors in the order of their data in the file, and of the parts.
    std::span<const SourceTensor> tensors() const override { return tensors_; }
    const SourceTensor* find_tensor(const std::string& name) const override;

    /// Metadata by key: nothing if the key is absent; number() also if the value is a string, the
    /// others fail if the value is of another type. A list of numbers that are all the same, one a
    /// layer, is that number, as for llama.cpp; number() fails at other lists. "key.3" is the
    /// element 3 of the list under "key", of numbers or of texts.
    std::optional<double> number(const std::string& key) const override;
    /// As number(), but fails at a string too.
    std::optional<double> only_number(const std::string& key) const;
    std::optional<bool> flag(const std::string& key) const;
    std::optional<std::string> text(const std::string& key) const override;
    std::optional<GgufArray> array(const std::string& key) const;

    /// All keys of the metadata.
    std::vector<std::string> keys() const override;
    std::vector<std::pair<std::string, SourceValue>> own_values() const override;
    std::string kind(const std::string& key) const override {
        const Value* value = find(key);
        return value && std::holds_alternative<GgufArray>(*value) ? "an array" : "";
    }
    std::optional<int64_t> trained_context() const override;

  private:
    using Value = std::variant<double, bool, GgufString, GgufArray>;

    /// One file for itself, be it a part or not.
    struct Alone {};
    Gguf(const std::filesystem::path& path, Alone);

    static std::filesystem::path file_of_metadata(const std::filesystem::path& path);
    std::optional<uint64_t> split_number(const std::string& key) const;
    void require_place(uint64_t no, uint64_t count) const;
    void take_parts(const std::filesystem::path& named);
    void require_same_model(const Gguf& part) const;
    bool same_value(const std::string& key, const Value& own, const Gguf& other,
                    const Value& value) const;
    void index_tensors();
    void read_metadata(ByteScanner& scanner, uint64_t count);
    void read_directory(ByteScanner& scanner, uint64_t count);
    void check_layout();
    std::string read_short_string(ByteScanner& scanner, uint64_t longest, const char* what) const;
    Value read_value(ByteScanner& scanner, uint32_t type, const std::string& key) const;
    GgufArray read_array(ByteScanner& scanner, const std::string& key) const;
    const Value* find(const std::string& key) const;
    SourceValue judged(const std::string& key, const Value& value) const;
    std::optional<class GgufArrayReader> element_of_list(const std::string& key, bool texts) const;
    std::optional<double> number_of_list(const std::string& key, const GgufArray& array) const;

    RandomAccessFile file_;
    std::unordered_map<std::string, Value> metadata_;
    std::vector<SourceTensor> tensors_;
    std::unordered_map<std::string_view, size_t> tensor_index_;  // views of tensors_' names
    std::vector<std::unique_ptr<Gguf>> others_;                  // parts from the second on
};

/// Reads an array's elements one after the other.
class GgufArrayReader {
  public:
    GgufArrayReader(const Gguf& gguf, const GgufArray& array, std::string key);

    uint64_t count() const { return array_.count; }

    /// The next element; fails past the end, or if it is of another type. A string lives until the
    /// next call.
    std::string_view next_string();
    double next_number();

  private:
    void advance();

    const Gguf* gguf_;
    GgufArray array_;
    std::string key_;
    ByteScanner scanner_;
    uint64_t next_ = 0;
    std::string string_;
};

}  // namespace llmsql
