// SPDX-License-Identifier: MIT
// Reading at any offset. See random_access_file.h.
#include "importer/random_access_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/error.h"

namespace llmsql {
namespace {

constexpr size_t kBufferBytes = 64 * 1024;

}  // namespace

RandomAccessFile::RandomAccessFile(const std::filesystem::path& path) : name_(path.string()) {
    file_ = Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat info {};
    if (file_.get() < 0 || ::fstat(file_.get(), &info) != 0)
        fail("{}: {}", name_, std::strerror(errno));
    if (S_ISDIR(info.st_mode)) fail("{}: is a directory, a file is needed here", name_);
    if (!S_ISREG(info.st_mode)) fail("{}: is not a regular file", name_);
    size_ = static_cast<uint64_t>(info.st_size);
    refuse_pointer();
}

/// A repository cloned without Git LFS has a few lines of text in place of each large file.
void RandomAccessFile::refuse_pointer() const {
    constexpr std::string_view kStart = "version https://git-lfs.github.com/spec/";
    constexpr uint64_t kLongest = 1024;  // the specification's limit
    if (size_ < kStart.size() || size_ > kLongest) return;
    std::string start(kStart.size(), '\0');
    read(0, start.data(), start.size());
    if (start == kStart)
        fail("{}: is a Git LFS pointer in place of the file: git lfs pull brings the file", name_);
}

void RandomAccessFile::read(uint64_t offset, void* into, size_t bytes) const {
    auto* out = static_cast<std::byte*>(into);
    while (bytes > 0) {
        const ssize_t got = ::pread(file_.get(), out, bytes, static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail("{}: cannot read: {}", name_, std::strerror(errno));
        if (got == 0) fail("{}: the file ends at byte {}, in the middle of data", name_, offset);
        out += got;
        offset += static_cast<uint64_t>(got);
        bytes -= static_cast<size_t>(got);
    }
}

ByteScanner::ByteScanner(const RandomAccessFile& file, uint64_t offset)
    : file_(&file), start_(offset) {}

void ByteScanner::read(void* into, size_t bytes) {
    if (bytes > remaining())
        fail("{}: the file ends at byte {}, in the middle of its header", file_->name(),
             file_->size());
    auto* out = static_cast<std::byte*>(into);
    while (bytes > 0) {
        if (used_ == buffer_.size()) {
            start_ += used_;
            used_ = 0;
            buffer_.resize(std::min<uint64_t>(kBufferBytes, file_->size() - start_));
            file_->read(start_, buffer_.data(), buffer_.size());
        }
        const size_t part = std::min(bytes, buffer_.size() - used_);
        std::memcpy(out, buffer_.data() + used_, part);
        out += part;
        used_ += part;
        bytes -= part;
    }
}

void ByteScanner::skip(uint64_t bytes) {
    if (bytes > remaining())
        fail("{}: the file ends at byte {}, in the middle of its header", file_->name(),
             file_->size());
    if (bytes <= buffer_.size() - used_) {
        used_ += bytes;
    } else {
        start_ += used_ + bytes;
        used_ = 0;
        buffer_.clear();
    }
}

}  // namespace llmsql
