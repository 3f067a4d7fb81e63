// Gguf: a reader of GGUF files, versions 2 and 3, in bounded memory.
//
// A GGUF file is a header, key-value metadata, a directory of tensors and, aligned, their data (the
// specification is ggml's docs/gguf.md). Nothing in the file is trusted: every count, length,
// offset, type and dimension is checked against the file's size before it is used. Strings and
// arrays of the metadata stay in the file and are read when asked for, arrays element by element,
// so that memory does not grow with the vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "importer/ggml_types.h"

namespace llmsql {

/// A file opened for reading at any offset. Errors name the file.
class RandomAccessFile {
  public:
    /// Fails unless `path` is a regular file that can be read.
    explicit RandomAccessFile(const std::filesystem::path& path);
    RandomAccessFile(const RandomAccessFile&) = delete;
    RandomAccessFile& operator=(const RandomAccessFile&) = delete;
    ~RandomAccessFile();

    const std::string& name() const { return name_; }
    uint64_t size() const { return size_; }

    /// Reads exactly `bytes` bytes at `offset`; fails if the file ends before.
    void read(uint64_t offset, void* into, size_t bytes) const;

  private:
    std::string name_;
    int fd_ = -1;
    uint64_t size_ = 0;
};

/// Reads a stretch of a file front to back through a small buffer.
class ByteScanner {
  public:
    ByteScanner(const RandomAccessFile& file, uint64_t offset);

    uint64_t position() const { return start_ + used_; }
    uint64_t remaining() const { return file_->size() - position(); }

    /// Copies the next bytes, or steps over them; fails where the file ends.
    void read(void* into, size_t bytes);
    void skip(uint64_t bytes);

    /// A little-endian number.
    template<class T>
    T get() {
        T value;
        read(&value, sizeof value);
        return value;
    }

  private:
    const RandomAccessFile* file_;
    uint64_t start_ = 0;  // offset of the buffer's first byte
    size_t used_ = 0;
    std::vector<std::byte> buffer_;
};

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

struct GgufTensor {
    std::string name;
    const GgmlTypeInfo* type = nullptr;
    std::vector<int64_t> shape;  // outermost first: [rows, cols]; the file has it innermost first
    uint64_t offset = 0;         // in the file
    uint64_t bytes = 0;
};

/// Not thread-safe: one thread at a time.
class Gguf {
  public:
    /// Reads and checks everything but the tensors' data.
    explicit Gguf(const std::filesystem::path& path);

    const RandomAccessFile& file() const { return file_; }
    const std::string& name() const { return file_.name(); }

    /// Tensors in the order of their data in the file.
    std::span<const GgufTensor> tensors() const { return tensors_; }
    const GgufTensor* find_tensor(const std::string& name) const;

    /// Metadata by key: nothing if the key is absent; number() also if the value is no number or
    /// bool, the others fail if the value is of another type.
    std::optional<double> number(const std::string& key) const;
    std::optional<bool> flag(const std::string& key) const;
    std::optional<std::string> text(const std::string& key) const;
    std::optional<GgufArray> array(const std::string& key) const;

    /// All keys of the metadata.
    std::vector<std::string> keys() const;

  private:
    using Value = std::variant<double, bool, GgufString, GgufArray>;

    void read_metadata(ByteScanner& scanner, uint64_t count);
    void read_directory(ByteScanner& scanner, uint64_t count);
    void check_layout();
    std::string read_short_string(ByteScanner& scanner, uint64_t longest, const char* what) const;
    Value read_value(ByteScanner& scanner, uint32_t type, const std::string& key) const;
    GgufArray read_array(ByteScanner& scanner, const std::string& key) const;
    const Value* find(const std::string& key) const;

    RandomAccessFile file_;
    std::unordered_map<std::string, Value> metadata_;
    std::vector<GgufTensor> tensors_;
    std::unordered_map<std::string_view, size_t> tensor_index_;  // views of tensors_' names
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
