// Reading BLOBs from their pages, after SQLite's file format (sqlite.org/fileformat2.html, sections
// 1.6 and 2): a table b-tree's leaf cell holds the payload's size, the rowid, the first bytes of
// the payload and, where it is longer, the first page of a chain; each page of a chain starts with
// the number of the next and is data from there to its usable end.
//
// The descriptor is opened once a file and process and never closed: POSIX drops the process's
// locks on a file, SQLite's among them, when any descriptor of it is closed.
#include "runtime/storage/page_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "common/error.h"
#include "runtime/storage/sqlite.h"

namespace llmsql {
namespace {

constexpr size_t kFileHeader = 100;
constexpr int kMaxDepth = 20;  // SQLite's own limit for b-trees

// One descriptor a file, for the life of the process.
int shared_descriptor(const std::string& path) {
    static std::mutex mutex;
    static std::map<std::pair<dev_t, ino_t>, int> descriptors;
    struct stat info {};
    const std::lock_guard lock(mutex);
    if (::stat(path.c_str(), &info) != 0) fail("{}: {}", path, std::strerror(errno));
    const auto [entry, made] = descriptors.try_emplace({info.st_dev, info.st_ino}, -1);
    if (made || entry->second < 0) {
        entry->second = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (entry->second < 0) fail("{}: {}", path, std::strerror(errno));
    }
    return entry->second;
}

uint32_t big_endian(const unsigned char* bytes, int count) {
    uint32_t value = 0;
    for (int i = 0; i < count; ++i) value = value << 8 | bytes[i];
    return value;
}

// Where the BLOB `data` of one row lies.
struct Located {
    uint64_t local_offset = 0;  // in the file: the part inside the leaf page
    size_t local_bytes = 0;
    size_t skipped = 0;  // bytes of the record that lie on the chain before the BLOB begins
    size_t bytes = 0;    // of the whole BLOB
    std::vector<uint32_t> pages;  // the chain
};

class PageReader final : public TileReader {
  public:
    PageReader(const ModelDb& db, int root)
        : path_(db.path().string()), descriptor_(shared_descriptor(path_)) {
        unsigned char header[kFileHeader];
        read_at(0, header, sizeof header);
        page_bytes_ = big_endian(header + 16, 2);
        if (page_bytes_ == 1) page_bytes_ = 65536;
        usable_ = page_bytes_ - header[20];
        if (page_bytes_ < 512 || (page_bytes_ & (page_bytes_ - 1)) || usable_ < 480)
            damaged("impossible page size");
        struct stat info {};
        if (::fstat(descriptor_, &info) != 0) fail("{}: {}", path_, std::strerror(errno));
        pages_ = static_cast<uint64_t>(info.st_size) / page_bytes_;
        walk(static_cast<uint32_t>(root), 0);
    }

    void read(int, int64_t rowid, size_t offset, size_t bytes, std::byte* out) override {
        const Located& tile = located(rowid);
        if (offset > tile.bytes || bytes > tile.bytes - offset)
            fail("{}: tile {} has {} bytes, fewer than are needed", path_, rowid, tile.bytes);
        if (offset < tile.local_bytes) {
            const size_t here = std::min(bytes, tile.local_bytes - offset);
            read_at(tile.local_offset + offset, out, here);
            out += here;
            offset += here;
            bytes -= here;
        }
        if (bytes > 0) read_chain(tile, offset - tile.local_bytes + tile.skipped, bytes, out);
    }

  private:
    [[noreturn]] void damaged(const char* what) const {
        fail("{}: the database file is damaged ({}); import the model again", path_, what);
    }

    void read_at(uint64_t offset, void* out, size_t bytes) const {
        auto* to = static_cast<char*>(out);
        while (bytes > 0) {
            const ssize_t got = ::pread(descriptor_, to, bytes, static_cast<off_t>(offset));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) fail("{}: cannot read: {}", path_, std::strerror(errno));
            if (got == 0) fail("{}: ends early: it was truncated while it was in use", path_);
            to += got;
            offset += static_cast<uint64_t>(got);
            bytes -= static_cast<size_t>(got);
        }
    }

    uint64_t page_offset(uint32_t page) const {
        if (page == 0 || page > pages_) damaged("a page number outside the file");
        return static_cast<uint64_t>(page - 1) * page_bytes_;
    }

    // Bytes `at` to `at + bytes` of the chain's data: one preadv for each run of neighbouring
    // pages, the 4-byte page numbers between them read aside and compared with the chain.
    void read_chain(const Located& tile, size_t at, size_t bytes, std::byte* out) const {
        const size_t per_page = usable_ - 4;
        const bool gapless = usable_ == page_bytes_;
        while (bytes > 0) {
            size_t index = at / per_page;
            const size_t in_page = at % per_page;
            if (index >= tile.pages.size()) damaged("a chain of pages that is too short");
            uint64_t offset = page_offset(tile.pages[index]) + 4 + in_page;
            iovec parts[kParts];
            uint32_t numbers[kParts];
            int count = 0;
            size_t wanted = std::min(bytes, per_page - in_page), data = wanted;
            parts[count++] = {out, wanted};
            while (gapless && data < bytes && count + 2 <= kParts &&
                   index + 1 < tile.pages.size() &&
                   tile.pages[index + 1] == tile.pages[index] + 1) {
                ++index;
                parts[count] = {&numbers[count], 4};
                ++count;
                const size_t here = std::min(bytes - data, per_page);
                parts[count++] = {out + data, here};
                data += here;
                wanted += here + 4;
            }
            read_parts(offset, parts, count, wanted);
            for (int i = 1; i + 1 < count; i += 2) check_next(tile, at / per_page, i, numbers[i]);
            at += data;
            out += data;
            bytes -= data;
        }
    }

    // The number read at the head of the chain's page `first + (part + 1) / 2`.
    void check_next(const Located& tile, size_t first, int part, uint32_t number) const {
        const size_t page = first + (static_cast<size_t>(part) + 1) / 2;
        const uint32_t next = page + 1 < tile.pages.size() ? tile.pages[page + 1] : 0;
        if (big_endian(reinterpret_cast<const unsigned char*>(&number), 4) != next)
            damaged("a chain of pages changed while it was in use");
    }

    void read_parts(uint64_t offset, iovec* parts, int count, size_t wanted) const {
        for (;;) {
            const ssize_t got = ::preadv(descriptor_, parts, count, static_cast<off_t>(offset));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) fail("{}: cannot read: {}", path_, std::strerror(errno));
            if (static_cast<size_t>(got) == wanted) return;
            // A short read: what is missing is read part by part.
            auto skip = static_cast<size_t>(got);
            for (int i = 0; i < count; ++i) {
                const size_t done = std::min(skip, parts[i].iov_len);
                skip -= done;
                if (done < parts[i].iov_len)
                    read_at(offset + done, static_cast<char*>(parts[i].iov_base) + done,
                            parts[i].iov_len - done);
                offset += parts[i].iov_len;
            }
            return;
        }
    }

    // Notes every row of the b-tree below a page: only headers and cells are read.
    void walk(uint32_t page, int depth) {
        if (depth > kMaxDepth) damaged("a b-tree that is too deep");
        const uint64_t start = page_offset(page);
        const uint64_t header_at = page == 1 ? kFileHeader : 0;
        unsigned char header[12];
        read_at(start + header_at, header, sizeof header);
        const bool interior = header[0] == 5;
        if (!interior && header[0] != 13) damaged("llm_tile is not a table b-tree");
        const size_t cells = big_endian(header + 3, 2);
        const size_t header_bytes = interior ? 12 : 8;
        std::vector<unsigned char> pointers(cells * 2);
        if (header_at + header_bytes + pointers.size() > usable_) damaged("too many cells");
        read_at(start + header_at + header_bytes, pointers.data(), pointers.size());
        for (size_t i = 0; i < cells; ++i) {
            const uint32_t cell = big_endian(pointers.data() + 2 * i, 2);
            if (cell + 4 > usable_) damaged("a cell outside its page");
            if (interior) {
                unsigned char child[4];
                read_at(start + cell, child, sizeof child);
                walk(big_endian(child, 4), depth + 1);
            } else {
                note_cell(start, cell);
            }
        }
        if (interior) walk(big_endian(header + 8, 4), depth + 1);
    }

    void note_cell(uint64_t page, size_t cell) {
        // Sizes, rowid and the record's header: well under 64 bytes for five columns.
        unsigned char bytes[64];
        const size_t have = std::min(sizeof bytes, usable_ - cell);
        read_at(page + cell, bytes, have);
        size_t at = 0;
        const uint64_t payload = varint(bytes, have, at);
        const auto rowid = static_cast<int64_t>(varint(bytes, have, at));
        const size_t local = local_payload(payload);
        const size_t record = at;
        const uint64_t header = varint(bytes, have, at);
        if (header > have - record) damaged("a record with a header that is too long");
        size_t before = header;  // bytes of the record before the last column, `data`
        uint64_t type = 0, size = 0;
        while (at < record + header) {
            before += size;
            type = varint(bytes, have, at);
            size = size_of_type(type);
        }
        if (type < 12 || type % 2 != 0 || before + size != payload)
            damaged("a row of llm_tile that does not end in a BLOB");
        Located found;
        found.bytes = size;
        found.local_offset = page + cell + record + before;
        found.local_bytes = local > before ? local - before : 0;
        found.skipped = before > local ? before - local : 0;
        if (local < payload) {
            unsigned char first[4];
            if (cell + record + local + 4 > usable_) damaged("a cell outside its page");
            read_at(page + cell + record + local, first, sizeof first);
            found.pages.push_back(big_endian(first, 4));
            chained_[rowid] = payload - local;
        }
        rows_[rowid] = std::move(found);
    }

    // Bytes of a payload that stay in the leaf page.
    size_t local_payload(uint64_t payload) const {
        const size_t most = usable_ - 35;
        if (payload <= most) return payload;
        const size_t least = (usable_ - 12) * 32 / 255 - 23;
        const size_t ideal = least + (payload - least) % (usable_ - 4);
        return ideal <= most ? ideal : least;
    }

    uint64_t varint(const unsigned char* bytes, size_t have, size_t& at) const {
        uint64_t value = 0;
        for (int i = 0; i < 9; ++i) {
            if (at >= have) damaged("a record cut off");
            const unsigned char byte = bytes[at++];
            if (i == 8) return value << 8 | byte;
            value = value << 7 | (byte & 0x7f);
            if (byte < 0x80) return value;
        }
        return value;
    }

    static uint64_t size_of_type(uint64_t type) {
        constexpr uint64_t kSizes[] = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0};
        return type < 12 ? kSizes[type] : (type - 12) / 2;
    }

    // A tile's place, its chain followed when it is first read.
    const Located& located(int64_t rowid) {
        const std::lock_guard lock(mutex_);
        const auto found = rows_.find(rowid);
        if (found == rows_.end()) fail("{}: there is no tile {}", path_, rowid);
        Located& tile = found->second;
        if (const auto chained = chained_.find(rowid); chained != chained_.end()) {
            const size_t pages = (chained->second + usable_ - 5) / (usable_ - 4);
            while (tile.pages.size() < pages) {
                unsigned char next[4];
                read_at(page_offset(tile.pages.back()), next, sizeof next);
                tile.pages.push_back(big_endian(next, 4));
            }
            chained_.erase(chained);
        }
        return tile;
    }

    static constexpr int kParts = 64;

    const std::string path_;
    const int descriptor_;
    size_t page_bytes_ = 0, usable_ = 0;
    uint64_t pages_ = 0;
    std::mutex mutex_;
    std::map<int64_t, Located> rows_;
    std::map<int64_t, uint64_t> chained_;  // bytes on the chain, of rows whose chain is not known
};

}  // namespace

std::unique_ptr<TileReader> make_page_reader(const ModelDb& db) {
    const std::string where = db.path().string();
    const Statement query =
        prepare(db.handle(), "SELECT rootpage FROM sqlite_master WHERE name = 'llm_tile'", where);
    if (!step(query.get(), where)) return nullptr;
    const int root = sqlite3_column_int(query.get(), 0);
    return root > 0 ? std::make_unique<PageReader>(db, root) : nullptr;
}

}  // namespace llmsql
