// SPDX-License-Identifier: MIT
// Windows of a mapping. See map_reader.h.
#include "runtime/weights/map_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/error.h"
#include "common/page_cache.h"
#include "common/types.h"

namespace llmsql {

MapReader::MapReader(std::unique_ptr<BlobPages> pages, const TileReading& reading)
    : by_read_(std::move(pages)),
      file_(by_read_.pages().file()),
      shared_(file_.mapping()),
      mapping_(shared_->bytes()),
      most_windows_(reading.windows ? static_cast<size_t>(*reading.windows / kHugePage) : 0),
      workers_(static_cast<size_t>(reading.workers)) {
    if (reading.windows && *reading.windows < mapped_bytes(reading.workers))
        fail(
            "{}: mapping it takes windows of {} KiB, for which this plan's budget leaves {} KiB: "
            "leave --io out, or use --io=read",
            file_.path(), mapped_bytes(reading.workers) >> 10, *reading.windows >> 10);
}

MapReader::~MapReader() {
    if (most_windows_ > 0) release(mapping_);
}

// Looks a BLOB up, unless the worker has just used it.
void MapReader::look_at(Worker& worker, int64_t rowid) {
    if (worker.rowid == rowid) return;
    BlobPages& pages = by_read_.pages();
    worker.index = pages.index_of(rowid, worker.index);
    worker.blob = &pages.blob(worker.index);
    worker.chain = worker.blob->first_page == 0 ? nullptr : &pages.chain(worker.index);
    worker.rowid = rowid;
}

// The bytes of the worker's BLOB from `offset` on that are in one piece of the file.
std::span<const std::byte> MapReader::piece(Worker& worker, size_t offset, size_t bytes) {
    BlobPages& pages = by_read_.pages();
    const BlobPages::Blob& blob = *worker.blob;
    if (bytes == 0 || offset >= blob.bytes || bytes > blob.bytes - offset) return {};
    uint64_t from = blob.local_offset + offset;
    if (offset < blob.local_bytes) {
        bytes = std::min(bytes, blob.local_bytes - offset);
    } else {
        const size_t per_page = pages.chain_bytes();
        const size_t at = offset - blob.local_bytes + blob.skipped;
        size_t page = at / per_page;
        bytes = std::min(bytes, per_page - at % per_page);
        for (const BlobPages::Run& run : *worker.chain) {
            if (page < run.count) {
                from = pages.page_offset(run.first + static_cast<uint32_t>(page)) +
                       BlobPages::kChainHeader + at % per_page;
                break;
            }
            page -= run.count;
        }
    }
    if (from + bytes > mapping_.size()) return {};  // the file has grown since it was mapped
    return mapping_.subspan(from, bytes);
}

std::span<const std::byte> MapReader::view(int worker, int64_t rowid, size_t offset, size_t bytes) {
    Worker& self = workers_[static_cast<size_t>(worker)];
    look_at(self, rowid);
    const std::span<const std::byte> first = piece(self, offset, bytes);
    if (most_windows_ == 0 || first.empty()) return first;
    const auto begin = static_cast<uint64_t>(first.data() - mapping_.data());
    if (begin >= self.begin && begin + first.size() <= self.end) return first;
    // All that is asked for at once, where it lies together.
    uint64_t end = begin + first.size();
    if (const auto last = piece(self, offset + bytes - 1, 1); !last.empty()) {
        const auto last_at = static_cast<uint64_t>(last.data() - mapping_.data());
        if (last_at >= begin && last_at < begin + bytes + kHugePage / 2) end = last_at + 1;
    }
    open(self, {begin, end - begin});
    return first;
}

void MapReader::read(int worker, int64_t rowid, size_t offset, size_t bytes, std::byte* out,
                     Use use) {
    Worker& self = workers_[static_cast<size_t>(worker)];
    look_at(self, rowid);
    while (bytes > 0) {
        const std::span<const std::byte> here = piece(self, offset, bytes);
        const auto begin = static_cast<uint64_t>(here.data() - mapping_.data());
        const bool open =
            most_windows_ == 0 || (begin >= self.begin && begin + here.size() <= self.end);
        if (here.empty() || !open) return by_read_.read(worker, rowid, offset, bytes, out, use);
        std::memcpy(out, here.data(), here.size());
        out += here.size();
        offset += here.size();
        bytes -= here.size();
    }
}

// Makes a range of the file this worker's, instead of the one it had. Windows are dropped under the
// lock, so that another worker cannot fill the room before it is there; they are populated outside:
// a worker that needs a window which another one is populating faults its pages in itself.
void MapReader::open(Worker& worker, FileRange range) {
    const uint64_t first = range.offset / kHugePage;
    const uint64_t last = (range.offset + range.bytes - 1) / kHugePage;
    std::vector<uint64_t> missing;
    {
        const std::lock_guard lock(mutex_);
        worker.begin = range.offset;
        worker.end = range.offset + range.bytes;
        for (uint64_t huge = first; huge <= last; ++huge) {
            if (std::ranges::find(open_, huge) != open_.end()) continue;
            if (open_.size() >= most_windows_) drop_unused();
            open_.push_back(huge);
            missing.push_back(huge);
        }
    }
    for (const uint64_t huge : missing) populate(huge);
}

// Drops all windows that no worker uses. Neighbours go together: each call interrupts the other
// processors, which costs more than all else here.
void MapReader::drop_unused() {
    std::vector<uint64_t> unused;
    std::erase_if(open_, [&](uint64_t huge) {
        const uint64_t begin = huge * kHugePage;
        const bool used = std::ranges::any_of(workers_, [&](const Worker& worker) {
            return worker.begin < begin + kHugePage && worker.end > begin;
        });
        if (!used) unused.push_back(huge);
        return !used;
    });
    std::ranges::sort(unused);
    for (size_t i = 0; i < unused.size();) {
        const uint64_t first = unused[i];
        uint64_t bytes = 0;
        for (; i < unused.size() && unused[i] == first + bytes / kHugePage; ++i)
            bytes += huge_bytes(unused[i]);
        release(mapping_.subspan(first * kHugePage, bytes));
    }
}

size_t MapReader::huge_bytes(uint64_t huge) const {
    return std::min<uint64_t>(kHugePage, mapping_.size() - huge * kHugePage);
}

void MapReader::populate(uint64_t huge) {
    const uint64_t begin = huge * kHugePage;
    const int error = llmsql::populate(mapping_.subspan(begin, huge_bytes(huge)));
    if (error == 0 || error == EINVAL)
        return;  // without it, pages come one by one, as they are used
    if (error == EFAULT) file_.fail_truncated();
    fail("{}: cannot read at {}: {}", file_.path(), begin, std::strerror(error));
}

}  // namespace llmsql
