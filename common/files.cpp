// SPDX-License-Identifier: MIT
// Whole files in and out. See files.h.
#include "common/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <set>

#include "common/byte_lock.h"
#include "common/error.h"
#include "common/shared_file.h"

namespace llmsql {
namespace {

void write_all(int fd, std::string_view content, const std::filesystem::path& path) {
    while (!content.empty()) {
        const ssize_t written = ::write(fd, content.data(), content.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail("{}: cannot write: {}", path.string(), std::strerror(errno));
        content.remove_prefix(static_cast<size_t>(written));
    }
}

/// What `call` returns; it is given the error code to set.
template<class Call>
auto or_fail(const std::filesystem::path& path, Call call) {
    std::error_code error;
    auto result = call(error);
    if (error) fail("{}: {}", path.string(), error.message());
    return result;
}

}  // namespace

Descriptor::~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
}

std::filesystem::file_status status_of(const std::filesystem::path& path) {
    std::error_code error;
    const std::filesystem::file_status status = std::filesystem::status(path, error);
    // Nothing is there: that sets an error too.
    if (status.type() == std::filesystem::file_type::none)
        fail("{}: {}", path.string(), error.message());
    return status;
}

std::filesystem::path absolute_path(const std::filesystem::path& path) {
    return or_fail(path, [&](auto& error) { return std::filesystem::absolute(path, error); });
}

std::filesystem::path canonical_path(const std::filesystem::path& path) {
    return or_fail(path, [&](auto& error) { return std::filesystem::canonical(path, error); });
}

uint64_t bytes_of_file(const std::filesystem::path& path) {
    return or_fail(path, [&](auto& error) { return std::filesystem::file_size(path, error); });
}

std::vector<std::string> file_names_in(const std::filesystem::path& folder) {
    // The standard library's iterator ends the program where memory runs out.
    struct Closer {
        void operator()(DIR* opened) const { ::closedir(opened); }
    };
    const std::unique_ptr<DIR, Closer> opened(::opendir(folder.c_str()));
    if (!opened) fail("{}: {}", folder.string(), std::strerror(errno));
    std::vector<std::string> names;
    for (;;) {
        errno = 0;
        const dirent* entry = ::readdir(opened.get());
        if (!entry && errno != 0) fail("{}: {}", folder.string(), std::strerror(errno));
        if (!entry) return names;
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") names.emplace_back(name);
    }
}

void require_readable_file(const std::filesystem::path& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) fail("{}: {}", path.string(), std::strerror(errno));
    if (S_ISDIR(info.st_mode)) fail("{}: is a directory, a file is needed here", path.string());
    if (!S_ISREG(info.st_mode)) fail("{}: is not a regular file", path.string());
    if (::faccessat(AT_FDCWD, path.c_str(), R_OK, AT_EACCESS) != 0)
        fail("{}: {}", path.string(), std::strerror(errno));
}

void fill_standard_descriptors() {
    for (int fd = 0; fd <= 2; ++fd)
        if (::fcntl(fd, F_GETFD) == -1 && ::open("/dev/null", O_RDONLY) < 0)
            fail("/dev/null: {}", std::strerror(errno));
}

std::string read_file(const std::filesystem::path& path) {
    const auto file = SharedFile::of(path);
    std::string content;
    char buffer[1 << 16];
    for (;;) {
        const size_t got = file->read(content.size(), buffer, sizeof buffer);
        content.append(buffer, got);
        if (got < sizeof buffer) return content;
    }
}

std::string read_start(const std::filesystem::path& path, size_t bytes) {
    std::string start(bytes, '\0');
    start.resize(SharedFile::of(path)->read(0, start.data(), bytes));
    return start;
}

namespace {

// A journal goes when its transaction has ended, perhaps just now; or what it begins with is
// zeroed, where the database's journal mode is to keep the file.
bool journal_has_ended(const std::filesystem::path& journal) {
    const Descriptor file{::open(journal.c_str(), O_RDONLY | O_CLOEXEC)};
    if (file.get() < 0) return errno == ENOENT;
    char first = 1;
    return ::read(file.get(), &first, 1) == 1 && first == 0;
}

}  // namespace

std::optional<std::filesystem::path> unfinished_log(const std::filesystem::path& database) {
    std::error_code ignored;
    std::filesystem::path real = std::filesystem::canonical(database, ignored);
    if (ignored) real = database;  // it may be gone, and its log not
    for (const char* suffix : {"-wal", "-journal"}) {
        const std::filesystem::path log = real.string() + suffix;
        struct stat info {};
        if (::stat(log.c_str(), &info) != 0) {
            if (errno == ENOENT || errno == ENOTDIR) continue;
            fail("{}: {}", log.string(), std::strerror(errno));
        }
        if (info.st_size == 0) continue;
        const bool ended = std::string_view(suffix) == "-journal" && S_ISREG(info.st_mode) &&
                           journal_has_ended(log);
        if (!ended) return log;
    }
    return std::nullopt;
}

void require_no_log_name(const std::filesystem::path& path) {
    const std::string name = path.string();
    for (const std::string_view suffix : {"-journal", "-wal", "-shm"}) {
        if (!name.ends_with(suffix)) continue;
        const std::string database = name.substr(0, name.size() - suffix.size());
        if (std::filesystem::is_regular_file(status_of(database)))
            fail("{}: SQLite takes a file of this name for a log of {}: choose another name", name,
                 database);
    }
}

std::filesystem::path output_path(const std::filesystem::path& path, std::string_view magic,
                                  std::string_view kind) {
    require_no_log_name(path);
    const std::filesystem::file_status status = status_of(path);
    if (std::filesystem::is_directory(status))
        fail("{}: is a directory, a file name is needed here", path.string());
    if (!std::filesystem::is_regular_file(status)) return path;
    const std::filesystem::path target = canonical_path(path);
    if (bytes_of_file(target) > 0) {
        // What says nothing of itself may be anybody's.
        if (magic.empty())
            fail("{}: is there already: choose another name, or remove it first", path.string());
        if (read_start(target, magic.size()) != magic)
            fail("{}: is there already and is not {}: choose another name, or remove it first",
                 path.string(), kind);
    }
    return target;
}

std::filesystem::path regular_output_path(const std::filesystem::path& path, std::string_view magic,
                                          std::string_view kind) {
    const std::filesystem::file_status status = status_of(path);
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status) &&
        !std::filesystem::is_directory(status))
        fail("{}: is not a regular file, one is needed here", path.string());
    return output_path(path, magic, kind);
}

void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
    if (path == "-") {
        write_all(STDOUT_FILENO, content, "standard output");
        return;
    }
    const std::filesystem::file_status status = status_of(path);
    if (std::filesystem::is_directory(status))
        fail("{}: is a directory, a file name is needed here", path.string());
    // A device or a pipe is written to, not replaced by a file of the same name.
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
        Descriptor device(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
        if (device.get() < 0) fail("{}: cannot open: {}", path.string(), std::strerror(errno));
        write_all(device.get(), content, path);
        return;
    }
    // Of the same kind is what begins as this does.
    const std::string_view kind = content.substr(0, 8);
    TemporaryFile::remove_dead(path, [&](std::string_view start) {
        return start.starts_with(kind) || kind.starts_with(start);
    });
    TemporaryFile file(path);
    file.write(content);
    file.flush();
    file.publish();
}

namespace {

/// The temporary files that there are. Never destroyed: a thread may look while the process ends.
struct Temporaries {
    std::recursive_mutex mutex;
    std::set<std::string> names;
};

Temporaries& temporaries() {
    // Asked for where memory has run out, too.
    alignas(Temporaries) static std::byte place[sizeof(Temporaries)];
    static auto& all = *new (place) Temporaries;
    return all;
}

}  // namespace

std::unique_lock<std::recursive_mutex> TemporaryFile::hold() {
    return std::unique_lock(temporaries().mutex);
}

void TemporaryFile::abandon_all() {
    hold().release();  // for good
    for (const std::string& name : temporaries().names) ::unlink(name.c_str());
}

namespace {

// "model.db.unfinished-k3x90a", beside "model.db".
constexpr std::string_view kMark = ".unfinished-",
                           kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr size_t kRandomLetters = 6;
constexpr uint64_t kAlive = 0;  // the lock

std::string start_of_names(const std::filesystem::path& path) {
    const std::filesystem::path whole = absolute_path(path);
    return (whole.parent_path() / whole.filename()).string() + std::string(kMark);
}

bool is_named_so(const std::string& name, const std::string& start) {
    return name.size() == start.size() + kRandomLetters && name.starts_with(start) &&
           name.find_first_not_of(kLetters, start.size()) == std::string::npos;
}

}  // namespace

TemporaryFile::TemporaryFile(const std::filesystem::path& path) : path_(path) {
    const auto held = hold();
    std::random_device random;
    const std::string start = start_of_names(path);
    std::set<std::string> entry;  // made before the file: nothing may fail once that is there
    // Not by mkstemp(), whose permissions could be widened only by setting the process's umask.
    for (bool ours = false; !ours;) {
        name_ = start;
        for (size_t i = 0; i < kRandomLetters; ++i) name_ += kLetters[random() % kLetters.size()];
        entry = {name_};
        file_ = Descriptor(::open(name_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
        if (file_.get() < 0 && (errno == EEXIST || errno == EINTR)) continue;
        if (file_.get() < 0) fail("{}: cannot create: {}", path.string(), std::strerror(errno));
        // Before it was locked, another program may have taken it for a dead one's.
        struct stat info {};
        ours = try_lock_byte(file_.get(), kAlive) != TryLock::held &&
               ::fstat(file_.get(), &info) == 0 && info.st_nlink > 0;
        if (!ours) ::unlink(name_.c_str());
    }
    temporaries().names.merge(entry);
}

void TemporaryFile::remove_dead(const std::filesystem::path& path,
                                const std::function<bool(std::string_view start)>& is_ours) {
    const std::string start = start_of_names(path);
    const auto held = hold();
    const std::filesystem::path folder = std::filesystem::path(start).parent_path();
    std::vector<std::string> names;
    try {
        names = file_names_in(folder);
    } catch (const Error&) {
        return;  // nobody may look there
    }
    for (const std::string& each : names) {
        const std::string name = (folder / each).string();
        if (!is_named_so(name, start) || temporaries().names.contains(name)) continue;
        struct stat info {};
        if (::lstat(name.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
        const Descriptor file(::open(name.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
        if (file.get() < 0 || try_lock_byte(file.get(), kAlive) != TryLock::taken) continue;
        char bytes[100];
        const ssize_t count = ::pread(file.get(), bytes, sizeof bytes, 0);
        if (count == 0 || (count > 0 && is_ours({bytes, static_cast<size_t>(count)})))
            ::unlink(name.c_str());
    }
}

TemporaryFile::~TemporaryFile() {
    if (name_.empty()) return;
    const auto held = hold();
    ::unlink(name_.c_str());
    temporaries().names.erase(name_);
}

void TemporaryFile::write(std::string_view bytes) {
    write_all(file_.get(), bytes, path_);
}

void TemporaryFile::flush() {
    if (::fsync(file_.get()) != 0)
        fail("{}: cannot write: {}", path_.string(), std::strerror(errno));
}

void TemporaryFile::publish() {
    const auto held = hold();
    if (std::rename(name_.c_str(), path_.c_str()) != 0)
        fail("{}: cannot write: {}", path_.string(), std::strerror(errno));
    temporaries().names.erase(name_);
    name_.clear();
}

}  // namespace llmsql
