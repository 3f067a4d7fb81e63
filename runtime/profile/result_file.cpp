// Writing a database beside its place. See result_file.h.
#include "runtime/profile/result_file.h"

#include <array>
#include <fstream>

#include "common/error.h"

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

std::filesystem::path output_for(const std::filesystem::path& path, uint32_t application_id,
                                 std::string_view kind) {
    const std::filesystem::path output = regular_output_path(path, kMagic, kind);
    std::error_code none;
    if (const auto size = std::filesystem::file_size(output, none);
        !none && size > 0 && application_id_of(output) != application_id)
        fail("{}: is a database, but not {}: choose another name", path.string(), kind);
    return output;
}

}  // namespace

ResultFile::ResultFile(const std::filesystem::path& path, uint32_t application_id,
                       std::string_view kind)
    : name_(path.string()), file_(output_for(path, application_id, kind)) {
    file_.close();
    sqlite3* raw = nullptr;
    const int code = sqlite3_open_v2(file_.name().c_str(), &raw,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    connection_.reset(raw);
    if (code != SQLITE_OK) fail("{}: {}", name_, sqlite3_errstr(code));
    // Until it is renamed nobody knows of it: a journal would protect nothing.
    execute("PRAGMA journal_mode = OFF");
    execute(fmt::format("PRAGMA application_id = {}", application_id).c_str());
    execute("BEGIN");
}

void ResultFile::execute(const char* sql) const {
    if (sqlite3_exec(db(), sql, nullptr, nullptr, nullptr) != SQLITE_OK)
        fail("{}: {}", name_, sqlite3_errmsg(db()));
}

void ResultFile::commit() {
    execute("COMMIT");
    connection_.reset();
    file_.publish();
}

}  // namespace llmsql
