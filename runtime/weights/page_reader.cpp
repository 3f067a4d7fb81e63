// SPDX-License-Identifier: MIT
// Reading tiles by preadv. See page_reader.h.
#include "runtime/weights/page_reader.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "common/error.h"

namespace llmsql {
namespace {

// Buffers of one preadv: data and page headers in turn.
constexpr size_t kParts = 64;

}  // namespace

PageReader::PageReader(std::unique_ptr<BlobPages> pages)
    : pages_(std::move(pages)), file_(pages_->file()) {}

void PageReader::read(int, int64_t rowid, size_t offset, size_t bytes, std::byte* out, Use) {
    const size_t index = pages_->index_of(rowid);
    const BlobPages::Blob& blob = pages_->blob(index);
    if (offset > blob.bytes || bytes > blob.bytes - offset)
        fail("{}: tile {} has {} bytes, fewer than are needed", file_.path(), rowid, blob.bytes);
    if (offset < blob.local_bytes) {
        const size_t here = std::min(bytes, blob.local_bytes - offset);
        file_.read(blob.local_offset + offset, out, here);
        out += here;
        offset += here;
        bytes -= here;
    }
    if (bytes == 0) return;
    const size_t at = offset - blob.local_bytes + blob.skipped;
    // Following a chain reads one page number after the other: what is wanted is brought into the
    // page cache before, where it most likely is, in one piece, as devices and systems like it.
    if (!pages_->chain_is_known(index))
        file_.try_read(pages_->likely_chain(index).offset + at, out, bytes);
    read_chain(blob, pages_->chain(index), at, bytes, out);
}

// Bytes `at` to `at + bytes` of a chain's data: one preadv for neighbouring pages, the page numbers
// at their heads read beside the data and compared with the chain.
void PageReader::read_chain(const BlobPages::Blob& blob, const std::vector<BlobPages::Run>& chain,
                            size_t at, size_t bytes, std::byte* out) {
    const size_t per_page = pages_->chain_bytes();
    size_t before = 0;  // pages of the chain before this run
    for (size_t r = 0; r < chain.size() && bytes > 0; before += chain[r++].count) {
        const BlobPages::Run& run = chain[r];
        while (bytes > 0 && at < (before + run.count) * per_page) {
            const size_t first = at / per_page;
            const size_t in_page = at % per_page;
            const size_t pages_left = before + run.count - first;
            iovec parts[kParts];
            std::array<unsigned char, BlobPages::kChainHeader> heads[kParts];
            int count = 0;
            size_t data = std::min(bytes, per_page - in_page), wanted = data;
            parts[count++] = {out, data};
            for (size_t page = 1; pages_->gapless() && page < pages_left && data < bytes &&
                                  static_cast<size_t>(count) + 2 <= kParts;
                 ++page) {
                parts[count] = {heads[count].data(), heads[count].size()};
                ++count;
                const size_t here = std::min(bytes - data, per_page);
                parts[count++] = {out + data, here};
                data += here;
                wanted += here + BlobPages::kChainHeader;
            }
            const auto page = static_cast<uint32_t>(run.first + (first - before));
            read_parts(pages_->page_offset(page) + BlobPages::kChainHeader + in_page, parts, count,
                       wanted);
            for (int i = 1; i + 1 < count; i += 2) {
                // The head of page first + k holds the number of the one after it.
                const size_t k = first + static_cast<size_t>(i + 1) / 2;
                const uint32_t next = k + 1 < before + run.count
                                          ? page + static_cast<uint32_t>(k + 1 - first)
                                      : k + 1 == blob.pages ? 0
                                                            : chain[r + 1].first;
                if (BlobPages::page_number(heads[i].data()) != next)
                    pages_->damaged("a chain of pages changed while it was in use");
            }
            at += data;
            out += data;
            bytes -= data;
        }
    }
    if (bytes > 0) pages_->damaged("a chain of pages that is too short");
}

void PageReader::read_parts(uint64_t offset, iovec* parts, int count, size_t wanted) {
    ssize_t got;
    do got = ::preadv(file_.descriptor(), parts, count, static_cast<off_t>(offset));
    while (got < 0 && errno == EINTR);
    if (got < 0) fail("{}: cannot read at {}: {}", file_.path(), offset, std::strerror(errno));
    if (static_cast<size_t>(got) == wanted) return;
    // A short read: what is missing is read part by part.
    auto skip = static_cast<size_t>(got);
    for (int i = 0; i < count; ++i) {
        const size_t done = std::min(skip, parts[i].iov_len);
        skip -= done;
        if (done < parts[i].iov_len)
            file_.read(offset + done, static_cast<char*>(parts[i].iov_base) + done,
                       parts[i].iov_len - done);
        offset += parts[i].iov_len;
    }
}

}  // namespace llmsql
