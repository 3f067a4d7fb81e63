// SPDX-License-Identifier: MIT
// What the fuzz targets share: where their inputs become files, and what may come of an input.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

#include "common/error.h"

namespace llmsql::fuzz {

/// Inputs that were taken for what they claim to be. The driver asks, so that a corpus which a
/// change of format has made useless is noticed.
inline uint64_t accepted = 0;

/// A folder for a target's files, in memory where there is such a file system.
class Folder {
  public:
    Folder() {
        std::error_code ignored;
        const bool memory = std::filesystem::is_directory("/dev/shm", ignored);
        const auto parent = memory ? "/dev/shm" : std::filesystem::temp_directory_path();
        std::string name = (parent / "llmsql-fuzz-XXXXXX").string();
        if (!::mkdtemp(name.data())) throw std::runtime_error("mkdtemp");
        path_ = name;
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

    /// One file, rewritten in place each time: what is opened once a process and inode, as
    /// ModelFile does, is then opened once in all.
    std::filesystem::path write(std::string_view name, std::string_view bytes) const {
        std::ofstream(path_ / name, std::ios::binary | std::ios::trunc)
            .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        return path_ / name;
    }

  private:
    std::filesystem::path path_;
};

[[noreturn]] inline void finding(const std::string& what) {
    std::fprintf(stderr, "finding: %s\n", what.c_str());
    std::abort();
}

/// Runs `body`; an Error is an answer, if it says something, and in one line (but for the
/// compiler's, which show the place below it); so is a lack of memory, which SQLite has where a
/// damaged page names a length. Any other exception ends the program. True if there was no error.
template<class Body>
bool answers(Body body, bool one_line = true) {
    try {
        body();
        return true;
    } catch (const Error& error) {
        const std::string_view text = error.what();
        if (text.empty()) finding("an error that says nothing");
        if (one_line && text.find('\n') != std::string_view::npos)
            finding("an error of several lines: " + std::string(text));
    } catch (const std::bad_alloc&) {
    }
    return false;
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

}  // namespace llmsql::fuzz

/// libFuzzer's interface, which every target implements (and, if it likes, the mutator).
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed);
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);
