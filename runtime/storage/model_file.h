// ModelFile: a model.db as plain bytes, beside the connections that SQLite has on it.
//
// One a file and process, keyed by device and inode, and never closed: POSIX drops all of a
// process's locks on a file, SQLite's among them, when any descriptor of it is closed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>

namespace llmsql {

/// A range of bytes in the file.
struct FileRange {
    uint64_t offset = 0;
    uint64_t bytes = 0;
};

/// Thread-safe. Errors name the file.
class ModelFile {
  public:
    /// Opens `path`, or finds it open already.
    static ModelFile& of(const std::string& path);

    const std::string& path() const { return path_; }
    int descriptor() const { return descriptor_; }
    uint64_t size() const;  // now

    /// A descriptor that reads past the page cache (O_DIRECT), offsets, sizes and addresses being
    /// multiples of kDirectAlignment; -1 where the system refuses that.
    int direct_descriptor();
    static constexpr size_t kDirectAlignment = 4096;

    /// Copies a range; fails if the file ends before.
    void read(uint64_t offset, void* out, size_t bytes) const;

    /// Reads what there is of a range, to have it in the page cache; `out` then holds anything.
    void try_read(uint64_t offset, void* out, size_t bytes) const;

    /// The whole file as it was when first asked for, mapped for reading at an address that is a
    /// multiple of 2 MiB. Reading it where the file has been truncated raises SIGBUS: see
    /// guard_mappings().
    std::span<const std::byte> mapping();

    /// Fails if a mapped page could not be read: the file was truncated, or its device fails.
    void check_mapping() const;

    [[noreturn]] void fail_truncated() const;

  private:
    ModelFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

    const std::string path_;
    const int descriptor_;
    std::mutex mutex_;
    std::optional<int> direct_;
    std::span<const std::byte> mapping_;
    size_t slot_ = 0;  // of the mapping, in the signal handler's table
};

/// Installs a SIGBUS handler that puts zeros where a mapped file cannot be read, and has
/// check_mapping() fail. For a program that is llmsql's own: a library must not.
void guard_mappings();

}  // namespace llmsql
