// SPDX-License-Identifier: MIT
// Files: open ones, names, and whole ones in and out: text read at once, output that is there
// entirely or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llmsql {

/// An open file, closed at destruction; -1: none.
class Descriptor {
  public:
    explicit Descriptor(int fd = -1) : fd_(fd) {}
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Descriptor();
    int get() const { return fd_; }

  private:
    int fd_;
};

/// For main, before any file is opened: one opened while descriptor 0, 1 or 2 is closed would get
/// its number, and text meant for standard output would go into that file. Those that are closed
/// are /dev/null afterwards, opened for reading, so that writing to them still fails.
void fill_standard_descriptors();

/// The content of a regular file. Errors name the path: not found, a directory, unreadable. Read
/// through SharedFile: a database's locks stay, whoever in this process holds them.
std::string read_file(const std::filesystem::path& path);

/// The first bytes of a regular file, fewer where it is shorter; as read_file().
std::string read_start(const std::filesystem::path& path, size_t bytes);

/// What there is at a path, file_type::not_found if nothing. Unlike the standard library's, these
/// fail by an Error that names the path; and where it cannot be told, which is not to be taken for
/// nothing.
std::filesystem::file_status status_of(const std::filesystem::path& path);
std::filesystem::path absolute_path(const std::filesystem::path& path);
std::filesystem::path canonical_path(const std::filesystem::path& path);
uint64_t bytes_of_file(const std::filesystem::path& path);
/// The names of what is in a folder but "." and "..", in no order.
std::vector<std::string> file_names_in(const std::filesystem::path& folder);

/// Fails unless `path` is an existing regular file that may be read. Opens nothing.
void require_readable_file(const std::filesystem::path& path);

/// The log (-wal) or journal that belongs to a database and has not been written back into it:
/// somebody is writing, or died while writing. A journal that its mode keeps, and whose transaction
/// has ended, is none. Looked for where SQLite does, beside a symbolic link's target.
std::optional<std::filesystem::path> unfinished_log(const std::filesystem::path& database);

/// Fails where SQLite would take a file of this name for its own, and delete it: NAME-journal,
/// NAME-wal and NAME-shm beside a file NAME.
void require_no_log_name(const std::filesystem::path& path);

/// Where output to `path` goes: a symbolic link's target. Fails where a file is already that is
/// neither empty nor starts with `magic`, for that is no earlier output but something else, an
/// input perhaps (without a magic: at any that is not empty); and at a directory. `kind` says what
/// the output is ("a plan").
std::filesystem::path output_path(const std::filesystem::path& path, std::string_view magic,
                                  std::string_view kind);

/// Where output to `path` goes, as output_path() says, if only a regular file will do: fails at a
/// device or a pipe too.
std::filesystem::path regular_output_path(const std::filesystem::path& path, std::string_view magic,
                                          std::string_view kind);

/// A new file beside `path` under a name of its own, with a new file's permissions: what a failure
/// leaves behind is removed, what is whole takes the name `path`. Errors name `path`. It is open,
/// and locked (byte_lock.h), as long as the object lives. One thread at a time uses an object;
/// making, publishing and removing different ones is thread-safe.
class TemporaryFile {
  public:
    explicit TemporaryFile(const std::filesystem::path& path);
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile();

    /// An absolute path, so that SQLite takes it for no URI.
    const std::string& name() const { return name_; }

    void write(std::string_view bytes);
    void flush();  // to the disk
    void publish();

    /// Removes what programs that were killed have left of such files for `path`: regular files
    /// named as they are that nobody holds, and that are empty or, by their first 100 bytes, what
    /// `is_ours` takes for its own.
    static void remove_dead(const std::filesystem::path& path,
                            const std::function<bool(std::string_view start)>& is_ours);

    /// While it lives, no temporary file of the process takes its name or is removed by
    /// abandon_all.
    static std::unique_lock<std::recursive_mutex> hold();

    /// Removes all that there are, from any thread, and lets no other be made or published: for a
    /// process that ends without unwinding.
    static void abandon_all();

  private:
    std::filesystem::path path_;
    std::string name_;  // empty once it has been published
    Descriptor file_;
};

/// Writes beside `path` under a temporary name, flushes to the disk, and renames: after a failure
/// or a kill, what was at `path` before is still there, whole. "-" writes to standard output, and
/// an existing device or pipe is written to as it is.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace llmsql
