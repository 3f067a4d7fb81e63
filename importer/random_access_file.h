// SPDX-License-Identifier: MIT
// Reading files that nobody vouches for: at any offset, or front to back, never past their end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/files.h"

namespace llmsql {

/// A file opened for reading at any offset. Errors name the file.
class RandomAccessFile {
  public:
    /// Fails unless `path` is a regular file that can be read, and not Git LFS's pointer to one.
    explicit RandomAccessFile(const std::filesystem::path& path);
    RandomAccessFile(const RandomAccessFile&) = delete;
    RandomAccessFile& operator=(const RandomAccessFile&) = delete;

    const std::string& name() const { return name_; }
    uint64_t size() const { return size_; }

    /// Reads exactly `bytes` bytes at `offset`; fails if the file ends before.
    void read(uint64_t offset, void* into, size_t bytes) const;

  private:
    void refuse_pointer() const;

    std::string name_;
    Descriptor file_;
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

}  // namespace llmsql
