// SPDX-License-Identifier: MIT
// ModelFile: a model.db as plain bytes, beside the connections that SQLite has on it. Its
// descriptors are those of common/shared_file.h: one a file and process, which stays open, and a
// second where it is read past the page cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "common/byte_lock.h"
#include "common/shared_file.h"

namespace llmsql {

/// A range of bytes in the file.
struct FileRange {
    uint64_t offset = 0;
    uint64_t bytes = 0;
};

/// A file mapped for reading, at an address that is a multiple of 2 MiB. Reading it where the file
/// has been truncated raises SIGBUS: see guard_mappings(). Thread-safe.
class FileMapping {
  public:
    explicit FileMapping(const SharedFile& file);
    FileMapping(const FileMapping&) = delete;
    FileMapping& operator=(const FileMapping&) = delete;
    ~FileMapping();

    std::span<const std::byte> bytes() const { return bytes_; }

    /// Fails if a mapped page could not be read: the file was truncated, or its device fails.
    void check() const;

  private:
    const std::string path_;
    std::span<const std::byte> bytes_;
    std::span<std::byte> reserved_;  // around them
    size_t slot_ = 0;                // in the signal handler's table
};

/// Thread-safe. Errors name the file.
class ModelFile {
  public:
    /// Opens `path`, or finds it open already.
    static std::shared_ptr<ModelFile> of(const std::string& path);
    ModelFile(const ModelFile&) = delete;
    ModelFile& operator=(const ModelFile&) = delete;

    const std::string& path() const { return file_->path(); }
    int descriptor() const { return file_->descriptor(); }
    uint64_t size() const { return file_->size(); }  // now

    /// Keeps writers from it while it lives.
    std::unique_ptr<const ReadersLock> lock_out_writers() const {
        return std::make_unique<const ReadersLock>(file_);
    }

    /// Whether a path leads to this file, now.
    bool is_at(const std::string& path) const;

    /// A descriptor that reads past the page cache (O_DIRECT), offsets, sizes and addresses being
    /// multiples of kDirectAlignment; -1 where the system refuses that.
    int direct_descriptor();
    static constexpr size_t kDirectAlignment = 4096;

    /// Copies a range; fails if the file ends before.
    void read(uint64_t offset, void* out, size_t bytes) const;

    /// Reads what there is of a range, to have it in the page cache; `out` then holds anything.
    void try_read(uint64_t offset, void* out, size_t bytes) const;

    /// Reads it into the page cache, in the pages that are best to use, if hardly anything of it is
    /// there and there is room: whoever is about to read most of it calls this first. `stop` is
    /// asked every few MiB. Thread-safe.
    void fill_page_cache(const std::function<bool()>& stop = nullptr) const;

    /// The whole file as it is when first asked for, shared by all who ask while somebody has it.
    /// Fails where the system refuses it.
    std::shared_ptr<const FileMapping> mapping();

    /// As mapping(), but null where the system refuses it, or counts it against a limit of address
    /// space (ulimit -v), which others would then lack.
    std::shared_ptr<const FileMapping> mapping_if_possible();

    [[noreturn]] void fail_truncated() const;

  private:
    explicit ModelFile(std::shared_ptr<SharedFile> file) : file_(std::move(file)) {}

    const std::shared_ptr<SharedFile> file_;
    mutable std::mutex mutex_;  // of what follows
    std::optional<bool> direct_;
    std::weak_ptr<const FileMapping> mapping_;
};

/// Installs a SIGBUS handler that puts zeros where a mapped file cannot be read, and has
/// FileMapping::check() fail. For a program that is llmsql's own: a library must not.
void guard_mappings();

}  // namespace llmsql
