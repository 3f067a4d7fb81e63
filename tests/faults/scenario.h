// SPDX-License-Identifier: MIT
// What a fault may strike: an operation on files in a folder of its own, and what must hold
// whatever became of it.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>

namespace llmsql::faults {

class Scenario {
  public:
    virtual ~Scenario() = default;

    /// Puts the files as they are before the operation. Nothing fails here.
    virtual void prepare() {}
    /// The operation. Throws Error or std::bad_alloc if it fails.
    virtual void run() = 0;
    /// Throws if something is not as it must be after run(): `failed` if that threw.
    virtual void check(bool failed) = 0;
    /// Whether it may end the process where memory is not to be had: what libraries do in
    /// destructors then is not ours to mend. It must end as common/ending.h says.
    virtual bool may_end() const { return false; }
    /// Whether a file of this name may be there after a failure, though not after a success.
    virtual bool may_leave(const std::string&) const { return false; }
    /// The operation once more, as it stands after a failure; by default from the start.
    virtual void run_again() {
        run();
        check(false);
    }
};

std::unique_ptr<Scenario> import_gguf(const std::filesystem::path& folder);
std::unique_ptr<Scenario> import_folder(const std::filesystem::path& folder);
/// `way`: "held" (all weights in memory), or how they are streamed: "read", "map", "direct",
/// "blob", "auto".
std::unique_ptr<Scenario> open_model(const std::filesystem::path& folder, const std::string& way);
/// A new file, or one in which a conversation has begun.
std::unique_ptr<Scenario> keep_session(const std::filesystem::path& folder, bool begun);

inline void require(bool holds, const std::string& what) {
    if (!holds) throw std::logic_error(what);
}

/// "" if there is none.
inline std::string content_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

inline void put(const std::filesystem::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
}

}  // namespace llmsql::faults
