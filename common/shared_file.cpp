// SPDX-License-Identifier: MIT
// The registry of descriptors. See shared_file.h.
#include "common/shared_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string_view>

#include "common/error.h"
#include "common/files.h"
#include "common/fork.h"

namespace llmsql {
namespace {

constexpr std::string_view kDatabase{"SQLite format 3\0", 16};

std::string proc_name(int descriptor) {
    return "/proc/self/fd/" + std::to_string(descriptor);
}

SharedFile::Identity identity_of(int descriptor, const std::string& path) {
    struct stat info {};
    if (::fstat(descriptor, &info) != 0) fail("{}: {}", path, std::strerror(errno));
    return {info.st_dev, info.st_ino};
}

/// Whether another descriptor of this process, whoever has opened it, is of a file. True where the
/// system does not tell.
template<class IsOwn>
bool is_open_elsewhere(SharedFile::Identity file, IsOwn is_own) {
    struct Closer {
        void operator()(DIR* folder) const { ::closedir(folder); }
    };
    const std::unique_ptr<DIR, Closer> folder(::opendir("/proc/self/fd"));
    if (!folder) return true;
    while (const dirent* entry = ::readdir(folder.get())) {
        char* end = nullptr;
        const long number = std::strtol(entry->d_name, &end, 10);
        if (end == entry->d_name || is_own(static_cast<int>(number))) continue;
        // By its name here: as a descriptor it is another thread's, who may be closing it.
        struct stat info {};
        if (::fstatat(::dirfd(folder.get()), entry->d_name, &info, 0) == 0 &&
            info.st_dev == file.first && info.st_ino == file.second)
            return true;
    }
    return false;
}

}  // namespace

// Never destroyed: at the process's end others may still read, or rely on their locks.
struct SharedFiles {
    ForkMutex mutex;
    std::map<SharedFile::Identity, std::unique_ptr<SharedFile>> files;

    static SharedFiles& all() {
        static SharedFiles& registry = *new SharedFiles;
        return registry;
    }

    // One reader's hold on a file: none as long as `file` is null.
    struct Use {
        Use() = default;
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;
        ~Use() {
            if (!file) return;
            const std::lock_guard lock(all().mutex);
            --file->uses_;
            all().close_unused();
        }
        SharedFile* file = nullptr;
    };

    static std::shared_ptr<SharedFile> held(const std::shared_ptr<Use>& use, SharedFile& file) {
        ++file.uses_;
        use->file = &file;
        return {use, &file};
    }

    // All of them, as one may have lost its name since it was used last.
    void close_unused() {
        std::erase_if(files, [](const auto& entry) {
            return entry.second->uses_ == 0 && entry.second->may_close();
        });
    }
};

SharedFile::SharedFile(std::string path) : path_(std::move(path)) {}

SharedFile::~SharedFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    for (const auto& more : {direct_, lock_.descriptor, readers_lock_.descriptor})
        if (more && *more >= 0) ::close(*more);
    for (const int more : inherited_) ::close(more);
}

bool SharedFile::is_own(int descriptor) const {
    return descriptor == descriptor_ || descriptor == direct_ || descriptor == lock_.descriptor ||
           descriptor == readers_lock_.descriptor ||
           std::ranges::find(inherited_, descriptor) != inherited_.end();
}

bool SharedFile::may_close() const {
    struct stat info {};
    if (::fstat(descriptor_, &info) != 0) return false;
    char start[kDatabase.size()];
    const ssize_t got = ::pread(descriptor_, start, sizeof start, 0);
    if (got < 0) return false;  // it may be one
    const bool database = info.st_nlink > 0 && got == static_cast<ssize_t>(sizeof start) &&
                          std::string_view(start, sizeof start) == kDatabase;
    return !database && !is_open_elsewhere(identity_, [this](int fd) { return is_own(fd); });
}

std::shared_ptr<SharedFile> SharedFile::of(const std::filesystem::path& path) {
    require_readable_file(path);
    const std::string name = path.string();
    const auto use = std::make_shared<SharedFiles::Use>();  // outlives the lock
    SharedFiles& all = SharedFiles::all();
    const std::lock_guard lock(all.mutex);
    all.close_unused();
    // What merely marks the file is closed without a trace, and whatever takes its name meanwhile,
    // what is opened is the file that was looked at.
    const Descriptor mark(::open(name.c_str(), O_PATH | O_CLOEXEC));
    if (mark.get() < 0) fail("{}: {}", name, std::strerror(errno));
    // The file's entry is made before it is opened: once it is, there is no way back, as closing it
    // could drop somebody's locks.
    decltype(all.files) entry;
    SharedFile& made =
        *entry.emplace(Identity(), std::unique_ptr<SharedFile>(new SharedFile(name))).first->second;
    made.identity_ = identity_of(mark.get(), name);
    const auto found = all.files.find(made.identity_);
    if (found != all.files.end()) return SharedFiles::held(use, *found->second);
    made.descriptor_ = ::open(proc_name(mark.get()).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (made.descriptor_ < 0) {  // /proc is missing
        made.descriptor_ = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (made.descriptor_ < 0) fail("{}: {}", name, std::strerror(errno));
        made.identity_ = identity_of(made.descriptor_, name);
    }
    auto node = entry.extract(entry.begin());
    node.key() = made.identity_;
    const auto inserted = all.files.insert(std::move(node));
    // Without /proc, another file may have the name by now, one that is open already: then this
    // descriptor is one too many, and closing it would do the harm.
    if (!inserted.inserted) inserted.node.mapped()->descriptor_ = -1;
    return SharedFiles::held(use, *inserted.position->second);
}

uint64_t SharedFile::size() const {
    struct stat info {};
    if (::fstat(descriptor_, &info) != 0) fail("{}: {}", path_, std::strerror(errno));
    return static_cast<uint64_t>(info.st_size);
}

size_t SharedFile::read(uint64_t offset, void* out, size_t bytes) const {
    size_t done = 0;
    while (done < bytes) {
        const ssize_t got = ::pread(descriptor_, static_cast<char*>(out) + done, bytes - done,
                                    static_cast<off_t>(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail("{}: cannot read at {}: {}", path_, offset + done, std::strerror(errno));
        if (got == 0) break;
        done += static_cast<size_t>(got);
    }
    return done;
}

int SharedFile::direct_descriptor() {
    const std::lock_guard lock(SharedFiles::all().mutex);
    if (!direct_) direct_ = ::open(proc_name(descriptor_).c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
    return *direct_;
}

int SharedFile::reopen(OfLocks& of_locks, int flags) {
    const std::lock_guard lock(SharedFiles::all().mutex);
    if (of_locks.descriptor && of_locks.generation != fork_generation()) {
        inherited_.push_back(*of_locks.descriptor);
        of_locks.descriptor.reset();
    }
    if (!of_locks.descriptor) {
        const int opened = ::open(proc_name(descriptor_).c_str(), flags | O_CLOEXEC | O_NONBLOCK);
        const int error = opened < 0 ? errno : 0;
        constexpr int kMayNot[] = {EACCES, EPERM, EROFS, ETXTBSY, ENOENT /* without /proc */};
        if (error != 0 && std::ranges::find(kMayNot, error) == std::end(kMayNot))
            fail("{}: cannot open for a lock: {}", path_, std::strerror(error));
        of_locks = {opened, fork_generation()};
    }
    return *of_locks.descriptor;
}

int SharedFile::lock_descriptor() {
    return reopen(lock_, O_RDWR);
}

int SharedFile::readers_lock_descriptor() {
    return reopen(readers_lock_, O_RDONLY);
}

}  // namespace llmsql
