// SPDX-License-Identifier: MIT
// Finding BLOBs in the file, after SQLite's file format (sqlite.org/fileformat2.html, sections 1.6
// and 2): a table b-tree's leaf cell holds the payload's size, the rowid, the first bytes of the
// payload and, where it is longer, the first page of a chain; each page of a chain starts with the
// number of the next and is data from there to its usable end.
#include "runtime/weights/blob_pages.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

constexpr size_t kFileHeader = 100;
constexpr int kMaxDepth = 20;  // SQLite's own limit for b-trees

uint32_t big_endian(const unsigned char* bytes, int count) {
    uint32_t value = 0;
    for (int i = 0; i < count; ++i) value = value << 8 | bytes[i];
    return value;
}

size_t size_of_type(uint64_t type) {
    constexpr size_t kSizes[] = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0};
    return type < 12 ? kSizes[type] : (type - 12) / 2;
}

}  // namespace

std::unique_ptr<BlobPages> BlobPages::of(const ModelDb& db) {
    const int64_t root = db.connection()
                             .integer("SELECT rootpage FROM sqlite_master WHERE name = 'llm_tile'")
                             .value_or(0);
    if (root <= 0) return nullptr;
    return std::unique_ptr<BlobPages>(new BlobPages(db.file(), static_cast<uint32_t>(root)));
}

BlobPages::BlobPages(std::shared_ptr<ModelFile> file, uint32_t root)
    : shared_(std::move(file)), file_(*shared_) {
    unsigned char header[kFileHeader];
    file_.read(0, header, sizeof header);
    page_bytes_ = big_endian(header + 16, 2);
    if (page_bytes_ == 1) page_bytes_ = 65536;
    usable_ = page_bytes_ - header[20];
    if (page_bytes_ < 512 || (page_bytes_ & (page_bytes_ - 1)) || usable_ < 480)
        damaged("impossible page size");
    pages_ = file_.size() / page_bytes_;
    walk(root, 0);
    chains_.resize(blobs_.size());
    followed_ = std::make_unique<std::atomic<bool>[]>(blobs_.size());
}

void BlobPages::damaged(const char* what) const {
    fail("{}: the database file is damaged ({}); import the model again", file_.path(), what);
}

uint32_t BlobPages::page_number(const unsigned char* head) {
    return big_endian(head, kChainHeader);
}

uint64_t BlobPages::page_offset(uint32_t page) const {
    if (page == 0 || page > pages_) damaged("a page number outside the file");
    return static_cast<uint64_t>(page - 1) * page_bytes_;
}

// Notes every row of the b-tree below a page.
void BlobPages::walk(uint32_t page, int depth) {
    if (depth > kMaxDepth || ++walked_ > pages_) damaged("a b-tree that does not end");
    const uint64_t start = page_offset(page);
    const uint64_t header_at = page == 1 ? kFileHeader : 0;
    unsigned char header[12];
    file_.read(start + header_at, header, sizeof header);
    const bool interior = header[0] == 5;
    if (!interior && header[0] != 13) damaged("llm_tile is not a table b-tree");
    const size_t cells = big_endian(header + 3, 2);
    const size_t header_bytes = interior ? 12 : 8;
    std::vector<unsigned char> pointers(cells * 2);
    if (header_at + header_bytes + pointers.size() > usable_) damaged("too many cells");
    file_.read(start + header_at + header_bytes, pointers.data(), pointers.size());
    for (size_t i = 0; i < cells; ++i) {
        const uint32_t cell = big_endian(pointers.data() + 2 * i, 2);
        if (cell + 4 > usable_) damaged("a cell outside its page");
        if (interior) {
            unsigned char child[4];
            file_.read(start + cell, child, sizeof child);
            walk(big_endian(child, 4), depth + 1);
        } else {
            note_cell(start, cell);
        }
    }
    if (interior) walk(big_endian(header + 8, 4), depth + 1);
}

void BlobPages::note_cell(uint64_t page, size_t cell) {
    // Sizes, rowid and the record's header: well under 64 bytes for five columns.
    unsigned char bytes[64];
    const size_t have = std::min(sizeof bytes, usable_ - cell);
    file_.read(page + cell, bytes, have);
    size_t at = 0;
    const uint64_t payload = varint(bytes, have, at);
    Blob blob;
    blob.rowid = static_cast<int64_t>(varint(bytes, have, at));
    // At once: pages may share their cells, and a few would make many rows.
    if (!blobs_.empty() && blob.rowid <= blobs_.back().rowid) damaged("rows out of order");
    const size_t local = local_payload(payload);
    const size_t record = at;
    const uint64_t header = varint(bytes, have, at);
    if (header > have - record) damaged("a record with a header that is too long");
    uint64_t before = header;  // bytes of the record before the last column, `data`
    uint64_t type = 0;
    while (at < record + header) {
        before += blob.bytes;
        type = varint(bytes, have, at);
        blob.bytes = size_of_type(type);
    }
    if (type < 12 || type % 2 != 0 || blob.bytes > payload || before != payload - blob.bytes)
        damaged("a row of llm_tile that does not end in a BLOB");
    blob.local_offset = page + cell + record + before;
    blob.local_bytes = local > before ? local - before : 0;
    blob.skipped = before > local ? before - local : 0;
    if (cell + record + local > usable_) damaged("a cell outside its page");
    if (local < payload) {
        unsigned char first[4];
        if (cell + record + local + sizeof first > usable_) damaged("a cell outside its page");
        file_.read(page + cell + record + local, first, sizeof first);
        const uint64_t pages = (payload - local + chain_bytes() - 1) / chain_bytes();
        if (pages > pages_) damaged("a BLOB larger than the file");
        blob.first_page = big_endian(first, 4);
        page_offset(blob.first_page);  // 0 would say that there is no chain
        blob.pages = static_cast<uint32_t>(pages);
    }
    blobs_.push_back(blob);
}

// Bytes of a payload that stay in the leaf page.
size_t BlobPages::local_payload(uint64_t payload) const {
    const size_t most = usable_ - 35;
    if (payload <= most) return payload;
    const size_t least = (usable_ - 12) * 32 / 255 - 23;
    const size_t ideal = least + (payload - least) % (usable_ - 4);
    return ideal <= most ? ideal : least;
}

uint64_t BlobPages::varint(const unsigned char* bytes, size_t have, size_t& at) const {
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

size_t BlobPages::index_of(int64_t rowid, size_t near) const {
    if (near < blobs_.size()) {
        const auto after = static_cast<uint64_t>(rowid) - static_cast<uint64_t>(blobs_[near].rowid);
        const uint64_t likely = near + after;
        if (likely < blobs_.size() && blobs_[likely].rowid == rowid) return likely;
    }
    const auto found = std::ranges::lower_bound(blobs_, rowid, {}, &Blob::rowid);
    if (found == blobs_.end() || found->rowid != rowid)
        fail("{}: there is no tile {}", file_.path(), rowid);
    return static_cast<size_t>(found - blobs_.begin());
}

const std::vector<BlobPages::Run>& BlobPages::chain(size_t index) {
    if (chain_is_known(index)) return chains_[index];
    // Two threads may follow one chain at once, and find the same.
    const Blob& blob = blobs_[index];
    std::vector<Run> runs{{blob.first_page, 1}};
    for (uint32_t page = blob.first_page, i = 1; i < blob.pages; ++i) {
        unsigned char next[kChainHeader];
        file_.read(page_offset(page), next, sizeof next);
        page = big_endian(next, 4);
        if (page == runs.back().first + runs.back().count)
            ++runs.back().count;
        else
            runs.push_back({page, 1});
    }
    for (const Run& run : runs) {
        page_offset(run.first);
        page_offset(run.first + run.count - 1);
    }
    const std::lock_guard lock(mutex_);
    if (chains_[index].empty()) chains_[index] = std::move(runs);
    followed_[index].store(true, std::memory_order_release);
    return chains_[index];
}

bool BlobPages::chain_is_known(size_t index) const {
    return followed_[index].load(std::memory_order_acquire);
}

FileRange BlobPages::likely_chain(size_t index) const {
    const Blob& blob = blobs_[index];
    if (blob.first_page == 0) return {};
    return {page_offset(blob.first_page), static_cast<uint64_t>(blob.pages) * page_bytes_};
}

FileRange BlobPages::leaf_page(size_t index) const {
    return {blobs_[index].local_offset / page_bytes_ * page_bytes_, page_bytes_};
}

}  // namespace llmsql
