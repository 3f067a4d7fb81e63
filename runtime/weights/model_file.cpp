// SPDX-License-Identifier: MIT
// Reading and mapping a model file, and the guard of their mappings. See model_file.h.
#include "runtime/weights/model_file.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <utility>

#include "common/error.h"
#include "common/fork.h"
#include "common/machine.h"
#include "common/page_cache.h"
#include "common/types.h"
#include "runtime/weights/anonymous_memory.h"

namespace llmsql {
namespace {

constexpr uint64_t kPage = 4096;

// What the signal handler may look at; no mapping is in a slot where both ends are 0.
struct Guarded {
    std::atomic<uintptr_t> begin{0}, end{0};
    std::atomic<bool> failed{false};
};
std::array<Guarded, 64> guarded;
std::mutex guarded_mutex;  // of who takes a slot and gives it back

// Only calls that are safe in a handler: the page that cannot be read becomes one of zeros, so that
// the thread goes on; what it computes is thrown away when FileMapping::check() fails.
void on_bus_error(int, siginfo_t* info, void*) {
    const auto at = reinterpret_cast<uintptr_t>(info->si_addr);
    for (Guarded& mapping : guarded) {
        if (at < mapping.begin.load() || at >= mapping.end.load()) continue;
        mapping.failed.store(true);
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

std::shared_ptr<ModelFile> ModelFile::of(const std::string& path) {
    static ForkMutex& mutex = *new ForkMutex;
    static auto& files = *new std::map<SharedFile::Identity, std::weak_ptr<ModelFile>>;
    std::shared_ptr<SharedFile> file = SharedFile::of(path);
    const std::lock_guard lock(mutex);
    std::erase_if(files, [](const auto& entry) { return entry.second.expired(); });
    std::weak_ptr<ModelFile>& known = files[file->identity()];
    std::shared_ptr<ModelFile> model = known.lock();
    if (!model) known = model = std::shared_ptr<ModelFile>(new ModelFile(std::move(file)));
    return model;
}

bool ModelFile::is_at(const std::string& path) const {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 &&
           SharedFile::Identity(info.st_dev, info.st_ino) == file_->identity();
}

void ModelFile::fail_truncated() const {
    fail("{}: ends early: it was truncated while it was in use", path());
}

void ModelFile::read(uint64_t offset, void* out, size_t bytes) const {
    if (file_->read(offset, out, bytes) < bytes) fail_truncated();
}

void ModelFile::try_read(uint64_t offset, void* out, size_t bytes) const {
    // An error will come again when the bytes are read in earnest.
    static_cast<void>(!::pread(descriptor(), out, bytes, static_cast<off_t>(offset)));
}

void ModelFile::fill_page_cache(const std::function<bool()>& stop) const {
    if (size() <= available_memory() / 4 * 3) llmsql::fill_page_cache(descriptor(), size(), stop);
}

int ModelFile::direct_descriptor() {
    const std::lock_guard lock(mutex_);
    const int opened = file_->direct_descriptor();
    if (opened < 0) return -1;
    if (!direct_) {
        // Some file systems refuse when read, not when opened.
        const AnonymousMemory page(kDirectAlignment, "a page");
        ssize_t got;
        do got = ::pread(opened, page.data(), page.size(), 0);
        while (got < 0 && errno == EINTR);
        direct_ = got > 0;
    }
    return *direct_ ? opened : -1;
}

std::shared_ptr<const FileMapping> ModelFile::mapping() {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<const FileMapping> known = mapping_.lock();
    if (!known) mapping_ = known = std::make_shared<const FileMapping>(*file_);
    return known;
}

std::shared_ptr<const FileMapping> ModelFile::mapping_if_possible() {
    struct rlimit space {};
    if (::getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) return nullptr;
    try {
        return mapping();
    } catch (const Error&) {
        return nullptr;
    }
}

FileMapping::FileMapping(const SharedFile& file) : path_(file.path()) {
    const uint64_t bytes = file.size();
    // Aligned, so that the system can map huge pages where it has them.
    const uint64_t reserved = bytes + kHugePage;
    void* place =
        mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED)
        fail("{}: cannot map it: {}; use --io=read", path_, std::strerror(errno));
    const auto aligned = (reinterpret_cast<uintptr_t>(place) + kHugePage - 1) & ~(kHugePage - 1);
    void* mapped = mmap(reinterpret_cast<void*>(aligned), bytes, PROT_READ, MAP_SHARED | MAP_FIXED,
                        file.descriptor(), 0);
    const int error = mapped == MAP_FAILED ? errno : 0;
    const std::lock_guard lock(guarded_mutex);
    const auto free = std::ranges::find_if(guarded, [](const Guarded& g) { return g.end == 0; });
    if (mapped == MAP_FAILED || free == guarded.end()) {
        munmap(place, reserved);
        if (mapped != MAP_FAILED) fail("{}: too many files are mapped", path_);
        fail("{}: cannot map it: {}; use --io=read", path_, std::strerror(error));
    }
    bytes_ = {static_cast<const std::byte*>(mapped), bytes};
    reserved_ = {static_cast<std::byte*>(place), reserved};
    slot_ = static_cast<size_t>(free - guarded.begin());
    free->failed = false;
    free->begin = aligned;
    free->end = aligned + bytes;
}

FileMapping::~FileMapping() {
    {
        const std::lock_guard lock(guarded_mutex);
        guarded[slot_].begin = 0;
        guarded[slot_].end = 0;
    }
    munmap(reserved_.data(), reserved_.size());
}

void FileMapping::check() const {
    if (guarded[slot_].failed.load())
        fail(
            "{}: a mapped part cannot be read: it was truncated while it was in use, or its "
            "device fails",
            path_);
}

}  // namespace llmsql
