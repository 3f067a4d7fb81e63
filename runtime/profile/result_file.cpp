// Writing a database beside its place. See result_file.h.
#include "runtime/profile/result_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "common/files.h"

namespace llmsql {
namespace {

constexpr std::string_view kMagic{"SQLite format 3\0", 16};

// The database's header has the application id at byte 68, most significant byte first.
uint32_t application_id_of(const std::filesystem::path& path) {
    std::array<unsigned char, 72> head{};
    std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(head.data()), head.size());
    uint32_t id = 0;
    for (size_t i = 68; i < 72; ++i) id = id << 8 | head[i];
    return id;
}

}  // namespace

ResultFile::ResultFile(const std::filesystem::path& path, uint32_t application_id,
                       std::string_view kind)
    : path_(regular_output_path(path, kMagic, kind)), name_(path.string()) {
    std::error_code none;
    if (const auto size = std::filesystem::file_size(path_, none);
        !none && size > 0 && application_id_of(path_) != application_id)
        fail("{}: is a database, but not {}: choose another name", name_, kind);
    temporary_.name = path_.string() + ".XXXXXX";
    const int fd = ::mkstemp(temporary_.name.data());
    if (fd < 0) {
        temporary_.name.clear();
        fail("{}: cannot write: {}", name_, std::strerror(errno));
    }
    const mode_t mask = ::umask(0);
    ::umask(mask);
    ::fchmod(fd, 0666 & ~mask);
    ::close(fd);
    sqlite3* raw = nullptr;
    const int code = sqlite3_open_v2(temporary_.name.c_str(), &raw,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    connection_.reset(raw);
    if (code != SQLITE_OK) fail("{}: {}", name_, sqlite3_errstr(code));
    // Until it is renamed nobody knows of it: a journal would protect nothing.
    execute("PRAGMA journal_mode = OFF");
    execute(fmt::format("PRAGMA application_id = {}", application_id).c_str());
    execute("BEGIN");
}

ResultFile::Temporary::~Temporary() {
    if (!name.empty()) ::unlink(name.c_str());
}

void ResultFile::execute(const char* sql) const {
    if (sqlite3_exec(db(), sql, nullptr, nullptr, nullptr) != SQLITE_OK)
        fail("{}: {}", name_, sqlite3_errmsg(db()));
}

void ResultFile::commit() {
    execute("COMMIT");
    connection_.reset();
    if (std::rename(temporary_.name.c_str(), path_.c_str()) != 0)
        fail("{}: cannot write: {}", name_, std::strerror(errno));
    temporary_.name.clear();
}

}  // namespace llmsql
