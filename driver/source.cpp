// SPDX-License-Identifier: MIT
// Telling sources apart. See source.h.
#include "driver/source.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "common/error.h"
#include "common/files.h"
#include "common/hash.h"
#include "common/model_format.h"

namespace llmsql::driver {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWanted =
    "a GGUF file, a folder with config.json, or a model database of llmsql-import's is wanted";

std::string line_of(const fs::path& file) {
    constexpr size_t kStart = 1 << 20;
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0) fail("{}: {}", file.string(), std::strerror(errno));
    const std::string start = read_start(file, kStart);
    return fmt::format("{} {} {}.{:09} {}\n", file.filename().string(), status.st_size,
                       status.st_mtim.tv_sec, status.st_mtim.tv_nsec,
                       hex(hash128(start.data(), start.size())));
}

std::string lines_of(const std::vector<fs::path>& files) {
    std::string text;
    for (const fs::path& file : files) text += line_of(file);
    return text;
}

/// How much of a file's name stands before "-00001-of-00003.gguf"; npos: it is no part.
size_t part_mark(std::string_view name) {
    constexpr std::string_view kEnd = "-00000-of-00000.gguf";
    if (name.size() <= kEnd.size()) return std::string_view::npos;
    const std::string_view end = name.substr(name.size() - kEnd.size());
    for (size_t i = 0; i < kEnd.size(); ++i)
        if (kEnd[i] == '0' ? std::isdigit(static_cast<unsigned char>(end[i])) == 0
                           : end[i] != kEnd[i])
            return std::string_view::npos;
    return name.size() - kEnd.size();
}

/// The file, or all parts of the model that it is a part of, in order.
std::vector<fs::path> parts_of(const fs::path& file) {
    constexpr size_t kNumber = 6;  // "-00001"
    const std::string name = file.filename().string();
    const size_t mark = part_mark(name);
    if (mark == std::string::npos) return {file};
    std::vector<fs::path> parts;
    for (const std::string& other : file_names_in(file.parent_path()))
        if (part_mark(other) == mark && other.compare(0, mark, name, 0, mark) == 0 &&
            other.substr(mark + kNumber) == name.substr(mark + kNumber))
            parts.push_back(file.parent_path() / other);
    std::ranges::sort(parts);
    return parts;
}

/// What an import could read of a folder: weights, and all that is said of them.
std::vector<fs::path> files_of_folder(const fs::path& folder) {
    constexpr std::string_view kEndings[] = {".safetensors", ".json", ".jinja", ".model", ".txt"};
    std::vector<fs::path> files;
    for (const std::string& name : file_names_in(folder)) {
        const fs::path file = folder / name;
        std::error_code none;
        if (std::ranges::find(kEndings, file.extension().string()) != std::end(kEndings) &&
            fs::is_regular_file(file, none))
            files.push_back(file);
    }
    std::ranges::sort(files);
    return files;
}

/// A number of so many bytes, the first of them the greatest.
uint64_t number_at(std::string_view start, size_t place, size_t bytes) {
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; ++i)
        number = number << 8 | static_cast<unsigned char>(start[place + i]);
    return number;
}

/// SQLite's application_id, which stands in a database's header.
uint32_t application_id(std::string_view start) {
    return static_cast<uint32_t>(number_at(start, 68, 4));
}

}  // namespace

bool is_whole_database(const fs::path& file) {
    constexpr size_t kHeader = 100, kPageBytes = 16, kPages = 28;
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
    const std::string start = read_start(file, kHeader);
    if (start.size() < kHeader || !start.starts_with("SQLite format 3") ||
        application_id(start) != kModelApplicationId)
        return false;
    const uint64_t page = number_at(start, kPageBytes, 2);
    return number_at(start, kPages, 4) * (page == 1 ? 65536 : page) ==
           static_cast<uint64_t>(status.st_size);
}

IdentifiedSource identify(const fs::path& path) {
    constexpr size_t kHeader = 100;
    const fs::file_status status = status_of(path);
    if (status.type() == fs::file_type::not_found) fail("{}: there is no such file", path.string());
    const fs::path place = canonical_path(path);
    if (fs::is_directory(status)) {
        if (status_of(place / "config.json").type() == fs::file_type::not_found)
            fail("{}: is a folder without config.json: {}", path.string(), kWanted);
        return {SourceKind::folder, place, lines_of(files_of_folder(place))};
    }
    require_readable_file(place);
    const std::string start = read_start(place, kHeader);
    if (start.starts_with("GGUF")) {
        // A part may be a link to where its bytes are, as hubs' caches have them: then its name is
        // what tells of the others.
        const fs::path named = absolute_path(path).lexically_normal();
        const std::vector<fs::path> parts =
            part_mark(named.filename().string()) == std::string::npos ? std::vector{place}
                                                                      : parts_of(named);
        return {SourceKind::gguf, parts.front(), lines_of(parts)};
    }
    if (start.size() == kHeader && start.starts_with("SQLite format 3")) {
        if (application_id(start) != kModelApplicationId)
            fail("{}: is an SQLite database, but not a model's: {}", path.string(), kWanted);
        return {SourceKind::database, place, line_of(place)};
    }
    fail("{}: {}", path.string(), kWanted);
}

std::string key_of(std::span<const std::string> texts) {
    std::string whole;
    for (const std::string& text : texts) whole += fmt::format("{}:{}\n", text.size(), text);
    return hex(hash128(whole.data(), whole.size()));
}

}  // namespace llmsql::driver
