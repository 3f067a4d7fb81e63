// SPDX-License-Identifier: MIT
// The cache of imported models and their plans in the user's cache folder.
//
// HOW IT WORKS. An entry is a folder named by its key:
//
//     llmsql/lock             taken while it is decided what goes, and what comes
//     llmsql/limit            bytes, as `llmsql cache limit` has set them
//     llmsql/KEY.lock         of the entry: shared by who uses it, alone for who makes or removes
//     it llmsql/KEY/             model.db, model.toml, plans; "source": what it was made of;
//     "used": when llmsql/KEY.new/         an entry that is being made, and its size in "expected"
//
// KEY.new becomes KEY by one rename once all in it is on the disk, so that an entry is whole or not
// there. Locks are flock()'s: the system lets go of them however their holder ends, and a holder
// that becomes another program (exec) keeps them. A KEY.new whose lock can be had is a dead
// maker's, and swept. Lock files go with their entries, so who has got a lock looks whether its
// file still has the name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/files.h"

namespace llmsql::driver {

/// $XDG_CACHE_HOME/llmsql, or ~/.cache/llmsql. Fails where there is neither.
std::filesystem::path default_cache_folder();

struct CacheEntry {
    std::string key;
    std::string source;  // the path that it was made of
    uint64_t bytes = 0;
    int64_t used = 0;  // nanoseconds since 1970
    bool in_use = false;
};

/// "1.20 GiB", "98.3 MiB", "612 B".
std::string amount_text(uint64_t bytes);

/// An entry that is used, and stays as long as this lives: of all processes'.
class UsedEntry {
  public:
    UsedEntry(std::filesystem::path folder, Descriptor lock)
        : folder_(std::move(folder)), lock_(std::move(lock)) {}
    const std::filesystem::path& folder() const { return folder_; }
    /// What shared locks keep the entry (flock).
    std::filesystem::path lock_file() const { return folder_.string() + ".lock"; }
    /// The lock goes on in the program that this process becomes.
    void keep_across_exec() const;

  private:
    std::filesystem::path folder_;
    Descriptor lock_;
};

/// Safe with other processes at the same folder. Errors name the folder, and what to do.
class Cache {
  public:
    static constexpr uint64_t kDefaultLimit = uint64_t{64} << 30;

    enum class Purpose { using_it, looking };
    /// Makes the folder if it is not there; to look at it nothing is written.
    explicit Cache(std::filesystem::path folder, Purpose purpose = Purpose::using_it);

    /// The entry of a key; where there is none, `make` puts into the folder that it is given
    /// whatever belongs to it. `bytes` is asked before, for what that takes, and gets the folder
    /// for what it writes: fails where that is beyond the limit, after the entries that were not
    /// used for longest have gone, or is not free. `say` gets lines for the user.
    UsedEntry use(const std::string& key, const std::string& source,
                  const std::function<uint64_t(const std::filesystem::path&)>& bytes,
                  const std::function<void(const std::filesystem::path&)>& make,
                  const std::function<void(const std::string&)>& say) const;

    /// All entries, the one that was used last first.
    std::vector<CacheEntry> entries() const;

    /// Removes an entry; false where it is in use.
    bool remove(const std::string& key) const;

    uint64_t limit() const;
    /// Sets it, and removes entries until it is kept, but those in use. `say` gets a line of each.
    void set_limit(uint64_t bytes, const std::function<void(const std::string&)>& say) const;

    const std::filesystem::path& folder() const { return folder_; }

  private:
    std::optional<Descriptor> lock_entry(const std::string& key, int how) const;
    bool in_use(const std::string& key) const;
    Descriptor lock_all() const;
    void sweep() const;
    uint64_t bytes_held(uint64_t* unwritten) const;
    void make_room(uint64_t bytes, const std::function<void(const std::string&)>& say) const;
    void build(const std::string& key, const std::string& source,
               const std::function<uint64_t(const std::filesystem::path&)>& bytes,
               const std::function<void(const std::filesystem::path&)>& make,
               const std::function<void(const std::string&)>& say) const;

    std::filesystem::path folder_;
};

}  // namespace llmsql::driver
