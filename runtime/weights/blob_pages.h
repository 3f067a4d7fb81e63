// SPDX-License-Identifier: MIT
// BlobPages: where in the file the BLOBs of llm_tile lie, found in its b-tree.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/weights/model_db.h"
#include "runtime/weights/model_file.h"

namespace llmsql {

/// Thread-safe. Errors name the file.
class BlobPages {
  public:
    /// Reads the b-tree's pages, headers and cells only. Null where the database is not laid out as
    /// this class knows it: a table without a b-tree of its own.
    static std::unique_ptr<BlobPages> of(const ModelDb& db);

    ModelFile& file() const { return *shared_; }

    /// Bytes of data on one page of a chain, and where they start on it.
    size_t chain_bytes() const { return usable_ - kChainHeader; }
    static constexpr size_t kChainHeader = 4;
    /// Whether neighbouring pages have nothing but the header between them.
    bool gapless() const { return usable_ == page_bytes_; }

    /// Neighbouring pages of a chain.
    struct Run {
        uint32_t first = 0, count = 0;
    };

    /// The BLOB of one row: `local_bytes` in the leaf page, the rest on a chain of pages of which
    /// the first `skipped` bytes are other columns'.
    struct Blob {
        int64_t rowid = 0;
        size_t bytes = 0;
        uint64_t local_offset = 0;
        size_t local_bytes = 0;
        size_t skipped = 0;
        uint32_t first_page = 0;  // of the chain; 0: all is in the leaf page
        uint32_t pages = 0;       // of the chain
    };

    /// Position of a row among all, from 0; fails if there is none. Looked for where it must be if
    /// rows are numbered on from that at position `near`: mostly it is there, and one look will do.
    size_t index_of(int64_t rowid, size_t near = 0) const;
    const Blob& blob(size_t index) const { return blobs_[index]; }

    /// The chain's pages. Followed from page to page when first asked for.
    const std::vector<Run>& chain(size_t index);

    bool chain_is_known(size_t index) const;

    /// Where the chain most likely lies: freshly written ones have no jumps. And the leaf page.
    FileRange likely_chain(size_t index) const;
    FileRange leaf_page(size_t index) const;

    /// The page number in the four bytes at a page's head.
    static uint32_t page_number(const unsigned char* head);
    uint64_t page_offset(uint32_t page) const;
    [[noreturn]] void damaged(const char* what) const;

  private:
    BlobPages(std::shared_ptr<ModelFile> file, uint32_t root);
    void walk(uint32_t page, int depth);
    void note_cell(uint64_t page, size_t cell);
    size_t local_payload(uint64_t payload) const;
    uint64_t varint(const unsigned char* bytes, size_t have, size_t& at) const;

    const std::shared_ptr<ModelFile> shared_;
    ModelFile& file_;
    size_t page_bytes_ = 0, usable_ = 0;
    uint64_t pages_ = 0;
    uint64_t walked_ = 0;      // pages of the b-tree seen so far
    std::vector<Blob> blobs_;  // by rowid
    std::mutex mutex_;         // of what writes chains_
    std::vector<std::vector<Run>> chains_;
    std::unique_ptr<std::atomic<bool>[]> followed_;  // a chain that is will not change any more
};

}  // namespace llmsql
