// SPDX-License-Identifier: MIT
// Entries, their locks and their limit. See cache.h.
#include "driver/cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "common/error.h"

namespace llmsql::driver {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNew = ".new", kLock = ".lock";

/// Bytes of the files in a folder.
uint64_t bytes_in(const fs::path& folder) {
    uint64_t sum = 0;
    std::error_code none;
    for (auto at = fs::recursive_directory_iterator(folder, none);
         !none && at != fs::recursive_directory_iterator(); at.increment(none)) {
        struct stat status {};
        if (::lstat(at->path().c_str(), &status) == 0) sum += static_cast<uint64_t>(status.st_size);
    }
    return sum;
}

std::optional<uint64_t> number_in(const fs::path& file) {
    std::error_code none;
    if (!fs::is_regular_file(file, none)) return std::nullopt;
    try {
        const std::string text = read_file(file);
        uint64_t value = 0;
        if (std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc())
            return value;
    } catch (const Error&) {  // it has gone meanwhile
    }
    return std::nullopt;
}

std::string text_in(const fs::path& file) {
    try {
        std::string text = read_file(file);
        while (text.ends_with('\n')) text.pop_back();
        return text;
    } catch (const Error&) {
        return "?";
    }
}

bool is_key(std::string_view name) {
    return name.size() == 32 && name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

[[noreturn]] void fail_at(const fs::path& path, int error) {
    fail(
        "{}: {}: the cache needs a folder that can be written; set XDG_CACHE_HOME to another, or "
        "say llmsql import and llmsql compile with files of your own",
        path.string(), std::strerror(error));
}

int64_t time_of(const fs::path& file) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0) return 0;
    return status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
}

void note_use(const fs::path& entry) {
    // What cannot be noted costs no more than an entry's place in the order.
    const Descriptor file(::open((entry / "used").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    if (file.get() >= 0) ::futimens(file.get(), nullptr);
}

void flush_folder(const fs::path& folder) {
    const Descriptor file(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (file.get() >= 0) ::fsync(file.get());
}

}  // namespace

std::string amount_text(uint64_t bytes) {
    constexpr double kKiB = 1 << 10, kMiB = 1 << 20, kGiB = 1 << 30;
    const auto value = static_cast<double>(bytes);
    if (value >= kGiB) return fmt::format("{:.2f} GiB", value / kGiB);
    if (value >= kMiB) return fmt::format("{:.1f} MiB", value / kMiB);
    if (value >= kKiB) return fmt::format("{:.1f} KiB", value / kKiB);
    return fmt::format("{} B", bytes);
}

fs::path default_cache_folder() {
    const char* cache = std::getenv("XDG_CACHE_HOME");
    if (cache != nullptr && cache[0] == '/') return fs::path(cache) / "llmsql";
    const char* home = std::getenv("HOME");
    if (home != nullptr && home[0] == '/') return fs::path(home) / ".cache" / "llmsql";
    fail("no cache folder: neither XDG_CACHE_HOME nor HOME says where; set XDG_CACHE_HOME");
}

void UsedEntry::keep_across_exec() const {
    ::fcntl(lock_.get(), F_SETFD, 0);
}

Cache::Cache(fs::path folder, Purpose purpose) : folder_(std::move(folder)) {
    std::error_code error, none;
    if (purpose == Purpose::looking && status_of(folder_).type() == fs::file_type::not_found)
        return;
    fs::create_directories(folder_.parent_path(), error);
    if (::mkdir(folder_.c_str(), 0700) != 0 && errno != EEXIST)
        fail_at(folder_, error ? error.value() : errno);
    if (!fs::is_directory(folder_, none)) fail_at(folder_, ENOTDIR);
}

/// Nothing: another process has it. `how` is flock's; without LOCK_NB this waits.
std::optional<Descriptor> Cache::lock_entry(const std::string& key, int how) const {
    const fs::path path = folder_ / (key + std::string(kLock));
    for (;;) {
        Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        if (file.get() < 0) fail_at(path, errno);
        while (::flock(file.get(), how) != 0) {
            if (errno == EWOULDBLOCK) return std::nullopt;
            if (errno != EINTR) fail_at(path, errno);
        }
        struct stat locked {
        }, named{};
        if (::fstat(file.get(), &locked) == 0 && ::stat(path.c_str(), &named) == 0 &&
            locked.st_ino == named.st_ino && locked.st_dev == named.st_dev)
            return file;
    }
}

Descriptor Cache::lock_all() const {
    const fs::path path = folder_ / "lock";
    Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (file.get() < 0) fail_at(path, errno);
    while (::flock(file.get(), LOCK_EX) != 0)
        if (errno != EINTR) fail_at(path, errno);
    return file;
}

/// What makers that were killed have left. The folder's lock is held.
void Cache::sweep() const {
    for (const std::string& name : file_names_in(folder_)) {
        const std::string key = name.substr(0, name.find('.'));
        if (!is_key(key) || name == key) continue;
        std::error_code none;
        const bool alone = name.ends_with(kLock) && !fs::exists(folder_ / key, none) &&
                           !fs::exists(folder_ / (key + std::string(kNew)), none);
        if (!name.ends_with(kNew) && !alone) continue;
        const auto lock = lock_entry(key, LOCK_EX | LOCK_NB);
        if (!lock) continue;
        fs::remove_all(folder_ / (key + std::string(kNew)), none);
        if (!fs::exists(folder_ / key, none))
            fs::remove(folder_ / (key + std::string(kLock)), none);
    }
}

/// All entries', those among them that are being made by what they will take; `unwritten` gets
/// what of these is still to come.
uint64_t Cache::bytes_held(uint64_t* unwritten) const {
    uint64_t sum = 0;
    for (const std::string& name : file_names_in(folder_)) {
        const std::string key = name.substr(0, name.find('.'));
        if (!is_key(key) || name.ends_with(kLock)) continue;
        const uint64_t there = bytes_in(folder_ / name);
        uint64_t expected = there;
        if (name.ends_with(kNew))
            expected = std::max(there, number_in(folder_ / name / "expected").value_or(0));
        sum += expected;
        if (unwritten != nullptr) *unwritten += expected - there;
    }
    return sum;
}

void Cache::make_room(uint64_t bytes, const std::function<void(const std::string&)>& say) const {
    const uint64_t most = limit();
    if (bytes > most)
        fail(
            "{} would be needed in the cache, {}, whose limit is {}: llmsql cache limit SIZE sets "
            "another",
            amount_text(bytes), folder_.string(), amount_text(most));
    uint64_t held = bytes_held(nullptr);
    std::vector<CacheEntry> all = entries();
    while (held + bytes > most) {
        while (!all.empty() && !remove(all.back().key)) all.pop_back();
        if (all.empty())
            fail(
                "{} would be needed in the cache, {}, whose limit is {}, and {} of that is in "
                "use: llmsql cache limit SIZE sets another",
                amount_text(bytes), folder_.string(), amount_text(most), amount_text(held));
        say(fmt::format("{} ({}), not used for longest, has left the cache", all.back().source,
                        amount_text(all.back().bytes)));
        all.pop_back();
        held = bytes_held(nullptr);
    }
}

void Cache::build(const std::string& key, const std::string& source,
                  const std::function<uint64_t(const fs::path&)>& bytes,
                  const std::function<void(const fs::path&)>& make,
                  const std::function<void(const std::string&)>& say) const {
    const fs::path making = folder_ / (key + std::string(kNew));
    std::error_code none;
    fs::remove_all(making, none);
    struct Remover {  // of what is not finished
        const fs::path& folder;
        ~Remover() {
            std::error_code ignored;
            fs::remove_all(folder, ignored);
        }
    } remover{making};
    if (::mkdir(making.c_str(), 0700) != 0) fail_at(folder_, errno);
    const uint64_t needed = bytes(making);
    {
        const Descriptor lock = lock_all();
        sweep();
        make_room(needed, say);
        uint64_t unwritten = 0;
        bytes_held(&unwritten);
        struct statvfs disk {};
        if (::statvfs(folder_.c_str(), &disk) != 0) fail_at(folder_, errno);
        const uint64_t all = static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize;
        const uint64_t free = all > unwritten ? all - unwritten : 0;
        if (needed > free)
            fail(
                "{}: {} are needed for {} and {} are free: make room (llmsql cache ls, llmsql "
                "cache rm), or set XDG_CACHE_HOME to a folder elsewhere",
                folder_.string(), amount_text(needed), source, amount_text(free));
        if (needed > 0)
            say(fmt::format("importing {}: the copy takes about {} in {}, where {} are free",
                            source, amount_text(needed), folder_.string(), amount_text(free)));
        write_file_atomically(making / "expected", fmt::format("{}\n", needed));
    }
    make(making);
    write_file_atomically(making / "source", source + "\n");
    fs::remove(making / "expected", none);
    note_use(making);
    flush_folder(making);
    if (::rename(making.c_str(), (folder_ / key).c_str()) != 0) fail_at(folder_, errno);
    flush_folder(folder_);
}

UsedEntry Cache::use(const std::string& key, const std::string& source,
                     const std::function<uint64_t(const fs::path&)>& bytes,
                     const std::function<void(const fs::path&)>& make,
                     const std::function<void(const std::string&)>& say) const {
    const fs::path entry = folder_ / key;
    bool told = false;
    const auto lock = [&](int how) {
        if (auto taken = lock_entry(key, how | LOCK_NB)) return std::move(*taken);
        if (!told)
            say(fmt::format("another llmsql has {} at hand: waiting until it is there", source));
        told = true;
        return std::move(*lock_entry(key, how));
    };
    for (;;) {
        Descriptor held = lock(LOCK_SH);
        if (status_of(entry).type() != fs::file_type::not_found) {
            note_use(entry);
            return {entry, std::move(held)};
        }
        held = Descriptor();
        const Descriptor alone = lock(LOCK_EX);
        if (status_of(entry).type() != fs::file_type::not_found) continue;
        // What is started for it has the lock too: where this process is killed, nobody else begins
        // before that has ended.
        ::fcntl(alone.get(), F_SETFD, 0);
        build(key, source, bytes, make, say);
    }
}

/// By its lock, if that can be read at all: nothing is written, so that a folder that cannot be
/// can be looked at.
bool Cache::in_use(const std::string& key) const {
    const Descriptor file(
        ::open((folder_ / (key + std::string(kLock))).c_str(), O_RDONLY | O_CLOEXEC));
    return file.get() >= 0 && ::flock(file.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

std::vector<CacheEntry> Cache::entries() const {
    std::vector<CacheEntry> all;
    if (status_of(folder_).type() == fs::file_type::not_found) return all;
    for (const std::string& name : file_names_in(folder_)) {
        if (!is_key(name)) continue;
        const fs::path entry = folder_ / name;
        all.push_back({name, text_in(entry / "source"), bytes_in(entry), time_of(entry / "used"),
                       in_use(name)});
    }
    std::ranges::sort(all, [](const CacheEntry& a, const CacheEntry& b) {
        return a.used != b.used ? a.used > b.used : a.key < b.key;
    });
    return all;
}

bool Cache::remove(const std::string& key) const {
    const auto lock = lock_entry(key, LOCK_EX | LOCK_NB);
    if (!lock) return false;
    // Under its own name an entry is whole: it goes under another first.
    const fs::path entry = folder_ / key, dying = folder_ / (key + std::string(kNew));
    std::error_code error;
    fs::remove_all(dying, error);
    if (::rename(entry.c_str(), dying.c_str()) != 0 && errno != ENOENT) fail_at(folder_, errno);
    fs::remove_all(dying, error);
    if (error) fail("{}: cannot be removed: {}", dying.string(), error.message());
    fs::remove(folder_ / (key + std::string(kLock)), error);
    return true;
}

uint64_t Cache::limit() const {
    return number_in(folder_ / "limit").value_or(kDefaultLimit);
}

void Cache::set_limit(uint64_t bytes, const std::function<void(const std::string&)>& say) const {
    const Descriptor lock = lock_all();
    write_file_atomically(folder_ / "limit", fmt::format("{}\n", bytes));
    sweep();
    uint64_t held = bytes_held(nullptr);
    std::vector<CacheEntry> all = entries();
    for (; held > bytes && !all.empty(); all.pop_back()) {
        const CacheEntry& last = all.back();
        if (remove(last.key))
            say(fmt::format("{} ({}), not used for longest, has left the cache", last.source,
                            amount_text(last.bytes)));
        held = bytes_held(nullptr);
    }
    if (held > bytes)
        say(fmt::format("{} are in use, and stay beyond the limit until they are not",
                        amount_text(held)));
}

}  // namespace llmsql::driver
