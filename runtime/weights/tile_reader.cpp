// SPDX-License-Identifier: MIT
// The portable reader, and making each. See tile_reader.h.
#include "runtime/weights/tile_reader.h"

#include <vector>

#include "common/error.h"
#include "common/files.h"
#include "runtime/weights/direct_reader.h"
#include "runtime/weights/map_reader.h"
#include "runtime/weights/page_reader.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

// Each worker has a connection of its own, so that they do not wait for each other.
class BlobReader final : public TileReader {
  public:
    BlobReader(const ModelDb& db, int workers)
        : path_(db.path().string()), file_(db.file()), workers_(static_cast<size_t>(workers)) {
        if (workers > 1 && sqlite3_threadsafe() == 0)
            fail(
                "{}: this SQLite was built for one thread (SQLITE_THREADSAFE=0): reading through "
                "it takes one thread, too",
                path_);
    }

    IoMode mode() const override { return IoMode::blob; }

    void read(int worker, int64_t rowid, size_t offset, size_t bytes, std::byte* out,
              Use) override {
        Worker& self = workers_[static_cast<size_t>(worker)];
        if (!self.db) open(self);
        int code = SQLITE_OK;
        if (!self.blob)
            code = self.blob.open(self.db, "llm_tile", "data", rowid, Access::read);
        else if (self.rowid != rowid)
            code = self.blob.reopen(rowid);
        self.rowid = rowid;
        if (code == SQLITE_OK) code = self.blob.read(offset, {out, bytes});
        if (code == SQLITE_OK) return;
        // A handle that has failed is closed first: closing may set the connection's message.
        struct CloseLast {
            Worker& worker;
            ~CloseLast() { worker.blob.close(); }
        } const closing{self};
        self.db.fail_by_sqlite(code, fmt::format("cannot read tile {}", rowid));
    }

  private:
    struct Worker {
        Connection db;
        Blob blob;
        int64_t rowid = 0;
    };

    void open(Worker& worker) const {
        Connection db(path_, {.explain = explain_model_db});
        if (!file_->is_at(path_)) fail("{}: was replaced while it was in use; open it anew", path_);
        // A page is 64 KiB: SQLite's usual cache would hold megabytes that are read only once.
        db.execute("PRAGMA cache_size = 4");
        worker.db = std::move(db);
    }

    const std::string path_;
    const std::shared_ptr<ModelFile> file_;
    std::vector<Worker> workers_;
};

}  // namespace

std::string_view name_of(IoMode mode) {
    switch (mode) {
        case IoMode::blob:
            return "blob";
        case IoMode::read:
            return "read";
        case IoMode::map:
            return "map";
        case IoMode::direct:
            return "direct";
    }
    return "?";
}

std::unique_ptr<TileReader> make_tile_reader(const ModelDb& db, IoMode mode,
                                             const TileReading& reading) {
    if (mode != IoMode::blob)
        if (auto pages = BlobPages::of(db)) {
            if (mode == IoMode::read) return std::make_unique<PageReader>(std::move(pages));
            if (mode == IoMode::map) return std::make_unique<MapReader>(std::move(pages), reading);
            if (auto reader = DirectReader::of(pages, reading)) return reader;
            fail("{}: its file system does not let it be read past the page cache: use --io=read",
                 db.path().string());
        }
    return std::make_unique<BlobReader>(db, reading.workers);
}

}  // namespace llmsql
