// SPDX-License-Identifier: MIT
// PageReader: tiles by preadv over the pages that hold them. See tile_reader.h.
#pragma once

#include <sys/uio.h>

#include <memory>

#include "runtime/weights/blob_pages.h"
#include "runtime/weights/tile_reader.h"

namespace llmsql {

class PageReader final : public TileReader {
  public:
    explicit PageReader(std::unique_ptr<BlobPages> pages);

    IoMode mode() const override { return IoMode::read; }
    /// Thread-safe, whatever the worker.
    void read(int worker, int64_t rowid, size_t offset, size_t bytes, std::byte* out,
              Use use) override;

    BlobPages& pages() { return *pages_; }

  private:
    void read_chain(const BlobPages::Blob& blob, const std::vector<BlobPages::Run>& chain,
                    size_t at, size_t bytes, std::byte* out);
    void read_parts(uint64_t offset, iovec* parts, int count, size_t wanted);

    const std::unique_ptr<BlobPages> pages_;
    ModelFile& file_;
};

}  // namespace llmsql
