// The registry of open files, and the guard of their mappings. See model_file.h.
#include "runtime/storage/model_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <utility>

#include "common/error.h"
#include "runtime/storage/anonymous_memory.h"

namespace llmsql {
namespace {

constexpr uint64_t kHuge = 2 << 20;
constexpr uint64_t kPage = 4096;

// What the signal handler may look at. A mapping is entered once and stays.
struct Guarded {
    std::atomic<uintptr_t> begin{0}, end{0};
    std::atomic<bool> failed{false};
};
std::array<Guarded, 64> guarded;
std::atomic<size_t> guarded_count{0};

// Only calls that are safe in a handler: the page that cannot be read becomes one of zeros, so that
// the thread goes on; what it computes is thrown away when check_mapping() fails.
void on_bus_error(int, siginfo_t* info, void*) {
    const auto at = reinterpret_cast<uintptr_t>(info->si_addr);
    for (size_t i = 0; i < guarded_count.load() && i < guarded.size(); ++i) {
        if (at < guarded[i].begin.load() || at >= guarded[i].end.load()) continue;
        guarded[i].failed.store(true);
        void* page = reinterpret_cast<void*>(at & ~(kPage - 1));
        if (mmap(page, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page)
            return;
    }
    signal(SIGBUS, SIG_DFL);  // not ours: raised again on return
}

}  // namespace

void guard_mappings() {
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, nullptr);
}

ModelFile& ModelFile::of(const std::string& path) {
    static std::mutex mutex;
    static std::map<std::pair<dev_t, ino_t>, std::unique_ptr<ModelFile>> files;
    const std::lock_guard lock(mutex);
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) fail("{}: {}", path, std::strerror(errno));
    std::unique_ptr<ModelFile>& file = files[{info.st_dev, info.st_ino}];
    if (!file) {
        const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (descriptor < 0) fail("{}: {}", path, std::strerror(errno));
        file.reset(new ModelFile(path, descriptor));
    }
    return *file;
}

uint64_t ModelFile::size() const {
    struct stat info {};
    if (::fstat(descriptor_, &info) != 0) fail("{}: {}", path_, std::strerror(errno));
    return static_cast<uint64_t>(info.st_size);
}

void ModelFile::fail_truncated() const {
    fail("{}: ends early: it was truncated while it was in use", path_);
}

void ModelFile::read(uint64_t offset, void* out, size_t bytes) const {
    auto* to = static_cast<char*>(out);
    while (bytes > 0) {
        const ssize_t got = ::pread(descriptor_, to, bytes, static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail("{}: cannot read at {}: {}", path_, offset, std::strerror(errno));
        if (got == 0) fail_truncated();
        to += got;
        offset += static_cast<uint64_t>(got);
        bytes -= static_cast<size_t>(got);
    }
}

void ModelFile::try_read(uint64_t offset, void* out, size_t bytes) const {
    // An error will come again when the bytes are read in earnest.
    static_cast<void>(!::pread(descriptor_, out, bytes, static_cast<off_t>(offset)));
}

int ModelFile::direct_descriptor() {
    const std::lock_guard lock(mutex_);
    if (direct_) return *direct_;
    direct_ = -1;
    const int opened = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (opened < 0) return -1;
    // Never closed, like the other one, unless the path leads to another file by now.
    struct stat here {
    }, there{};
    if (::fstat(descriptor_, &here) != 0 || ::fstat(opened, &there) != 0 ||
        here.st_dev != there.st_dev || here.st_ino != there.st_ino) {
        ::close(opened);
        return -1;
    }
    // Some file systems refuse when read, not when opened.
    const AnonymousMemory page(kDirectAlignment, "a page");
    ssize_t got;
    do got = ::pread(opened, page.data(), page.size(), 0);
    while (got < 0 && errno == EINTR);
    if (got > 0) direct_ = opened;
    return *direct_;
}

std::span<const std::byte> ModelFile::mapping() {
    const std::lock_guard lock(mutex_);
    if (!mapping_.empty()) return mapping_;
    const uint64_t bytes = size();
    const auto refused = [&] { fail("{}: cannot map it: {}", path_, std::strerror(errno)); };
    slot_ = guarded_count.load();
    if (slot_ == guarded.size()) fail("{}: too many files are mapped", path_);
    // Aligned, so that the system can map huge pages where it has them.
    const uint64_t reserved = bytes + kHuge;
    void* place =
        mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) refused();
    const auto aligned = (reinterpret_cast<uintptr_t>(place) + kHuge - 1) & ~(kHuge - 1);
    void* mapped = mmap(reinterpret_cast<void*>(aligned), bytes, PROT_READ, MAP_SHARED | MAP_FIXED,
                        descriptor_, 0);
    if (mapped == MAP_FAILED) {
        munmap(place, reserved);
        refused();
    }
    mapping_ = {static_cast<const std::byte*>(mapped), bytes};
    guarded[slot_].begin = aligned;
    guarded[slot_].end = aligned + bytes;
    guarded_count.store(slot_ + 1);
    return mapping_;
}

void ModelFile::check_mapping() const {
    if (!mapping_.empty() && guarded[slot_].failed.load())
        fail(
            "{}: a mapped part cannot be read: it was truncated while it was in use, or its "
            "device fails",
            path_);
}

}  // namespace llmsql
