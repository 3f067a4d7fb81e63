// SPDX-License-Identifier: MIT
// ModelWriter: writes a model database (docs/model-db.md) that is there entirely or not at all.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/catalogue.h"
#include "common/files.h"
#include "common/row_digest.h"
#include "database/plans.h"
#include "sqlite/connection.h"

namespace llmsql {

/// Of each of so many strips, of one size, what a tile's `checksums` holds.
std::vector<uint64_t> strip_checksums(std::span<const std::byte> data, size_t strips);

/// Not thread-safe: one thread at a time. Errors name the output and leave nothing behind.
class ModelWriter {
  public:
    /// Creates a new file under a temporary name beside `output`, which is no database of anybody
    /// else's (database/output.h). Once `canceled` is set (a signal handler may), the next write
    /// fails with "interrupted".
    ModelWriter(const std::filesystem::path& output, const std::atomic<bool>& canceled);
    ModelWriter(const ModelWriter&) = delete;
    ModelWriter& operator=(const ModelWriter&) = delete;

    void meta(std::string_view key, std::string_view value);
    void meta(std::string_view key, int64_t value);
    void meta(std::string_view key, std::span<const std::byte> value);

    /// The id of a parameter is its place in the catalogue, from 1.
    void param(int64_t id, const ParamEntry& entry);

    /// The next tile of a parameter: strips, or a whole vector, in `data`, and their checksums.
    /// Tiles get ids in the order of the calls: parameters in the catalogue's, and each one's rows
    /// rising.
    void tile(int64_t param, int64_t first_row, std::span<const std::byte> data,
              std::span<const uint64_t> checksums);

    void token(int64_t id, std::string_view piece, int kind, double score);

    /// Of two merges of one pair the first stays.
    void merge(int64_t left, int64_t right, int64_t rank, int64_t merged);

    /// Before finish(): keeps the plans that are installed in the database that is replaced, if its
    /// catalogue has this checksum too; else returns those that will be lost with it.
    InstalledPlans keep_plans(std::string_view catalogue);

    /// Adds the digests of what was written, indexes the tables and flushes the file to the disk;
    /// nothing can be written after. Returns its bytes.
    uint64_t finish();

    /// After finish(): fails if the file may not get the output's name, for it was canceled or
    /// another program has begun to write there, or has installed a plan meanwhile. From then on
    /// nobody else writes there.
    void require_publishable();

    /// After finish(): gives the file the output's name.
    void publish();

  private:
    void open();
    void write_digests();
    void read_back(uint64_t bytes) const;
    template<class... Values>
    void insert(std::string_view sql, const Values&... values);
    [[noreturn]] void fail_canceled() const;

    std::filesystem::path output_;
    const std::atomic<bool>* canceled_;
    TemporaryFile file_;
    // It outlasts the connection: closing a descriptor of its file would drop its locks.
    Descriptor descriptor_;
    Connection db_;
    int64_t next_tile_ = 1;
    std::optional<NoWriters> no_writers_;
    std::optional<InstalledPlans> replaced_;  // once it was looked at
    RowDigest tiles_;
};

}  // namespace llmsql
