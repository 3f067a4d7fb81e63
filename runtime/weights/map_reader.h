// SPDX-License-Identifier: MIT
// MapReader: tiles used in place, in a mapping of the file. See tile_reader.h.
//
// HOW IT WORKS. The whole file is mapped once, which takes no memory; what does is a window of it,
// 2 MiB, once its pages are populated. Before a worker uses bytes 3 MiB … 5 MiB, windows 1 and 2
// are populated, if they are not. When as many are open as the budget allows, all windows that no
// worker is within are dropped together, which takes one call per run of neighbors. Each worker is
// within two windows at most, so there is always room.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "runtime/weights/page_reader.h"

namespace llmsql {

/// Windows of 2 MiB of the file are populated when a worker needs one that is not. When there are
/// as many as there may be, those that no worker uses are dropped together; so what is mapped at a
/// time is bounded. With no limit, everything stays mapped.
class MapReader final : public TileReader {
  public:
    MapReader(std::unique_ptr<BlobPages> pages, const TileReading& reading);
    MapReader(const MapReader&) = delete;
    MapReader& operator=(const MapReader&) = delete;
    ~MapReader() override;

    IoMode mode() const override { return IoMode::map; }
    void read(int worker, int64_t rowid, size_t offset, size_t bytes, std::byte* out,
              Use use) override;
    std::span<const std::byte> view(int worker, int64_t rowid, size_t offset,
                                    size_t bytes) override;
    void check() const override { shared_->check(); }

  private:
    struct Worker {
        std::optional<int64_t> rowid;  // of the BLOB that it looked at last: any number
        size_t index = 0;              // of that BLOB among all
        const BlobPages::Blob* blob = nullptr;
        const std::vector<BlobPages::Run>* chain = nullptr;  // null: it has none
        uint64_t begin = 0, end = 0;                         // of the file, populated for it
    };
    void look_at(Worker& worker, int64_t rowid);
    std::span<const std::byte> piece(Worker& worker, size_t offset, size_t bytes);
    void open(Worker& worker, FileRange range);
    void drop_unused();
    size_t huge_bytes(uint64_t huge) const;
    void populate(uint64_t huge);

    PageReader by_read_;  // for what is not scanned, and the pages' places
    ModelFile& file_;
    const std::shared_ptr<const FileMapping> shared_;
    const std::span<const std::byte> mapping_;
    const size_t most_windows_;  // 0: no limit
    std::vector<Worker> workers_;
    std::mutex mutex_;            // of what follows, and of workers_' begin and end
    std::vector<uint64_t> open_;  // windows populated
};

}  // namespace llmsql
