// SPDX-License-Identifier: MIT
// Weights that are streamed: the ways of reading agree, the pool reads exactly what the residency
// rows leave out, and damage is found when a strip is first read; filling the page cache.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>

#include "common/error.h"
#include "common/page_cache.h"
#include "runtime/weights/direct_reader.h"
#include "runtime/weights/model_file.h"
#include "runtime/weights/tile_reader.h"
#include "runtime/weights/weights.h"
#include "tests/unit/error_of.h"
#include "tests/unit/runtime/tiny_model.h"

namespace llmsql {
namespace {

using test::error_of;

using test::random_values;
using test::TemporaryFolder;
using test::TinyModel;

// Parameters of several tiles each, of different sizes, and a vector.
struct BigModel {
    TinyModel model;

    BigModel() {
        add("a", WeightType::f32, 1000, 200);
        model.add_vector("v", random_values(300, 7));
        add("b", WeightType::q8, 2000, 160);
        add("c", WeightType::q4, 3000, 320);
        add("d", WeightType::f16, 40, 20000);  // a strip larger than a tile
        add("e", WeightType::q8, 100, 9728);   // tiles of two strips, longer than 256 KiB
    }
    void add(const std::string& name, WeightType type, int64_t rows, int64_t cols) {
        model.add_matrix(
            name, type, rows, cols,
            random_values(static_cast<size_t>(rows * cols), static_cast<uint32_t>(rows)));
    }
};

// It in a file of its own.
struct BigFile {
    const TemporaryFolder folder;
    const ModelDb db{written()};

  private:
    std::filesystem::path written() const {
        BigModel().model.write(folder / "big.db");
        return folder / "big.db";
    }
};

TileReading reading_with(int workers) {
    TileReading reading;
    reading.workers = workers;
    return reading;
}

PoolOptions with_io(std::optional<IoMode> io) {
    PoolOptions options;
    options.io = io;
    options.windows = mapped_bytes(2);
    options.may_map = true;
    return options;
}

// Every tile of every parameter once: the first `held` of a matrix's are held, vectors whole.
std::vector<Residency> hold_leading(const ModelDb& db, int64_t held) {
    std::vector<Residency> rows;
    const auto catalogue = db.catalogue();
    for (size_t i = 0; i < catalogue.size(); ++i) {
        const int64_t tiles = tile_count(catalogue[i].type, catalogue[i].shape, db.cut());
        const int64_t first = catalogue[i].shape.is_vector() ? tiles : std::min(held, tiles);
        const int id = static_cast<int>(i) + 1;
        if (first > 0) rows.push_back({id, 0, first - 1, true});
        if (first < tiles) rows.push_back({id, first, tiles - 1, false});
    }
    return rows;
}

// Where files can be read past the page cache, that way too.
const std::vector<IoMode>& ways() {
    static const std::vector<IoMode> all = [] {
        std::vector<IoMode> possible = {IoMode::blob, IoMode::read, IoMode::map};
        const TemporaryFolder folder;
        std::ofstream(folder / "pages") << std::string(8192, 'x');
        if (ModelFile::of((folder / "pages").string())->direct_descriptor() >= 0)
            possible.push_back(IoMode::direct);
        return possible;
    }();
    return all;
}
bool has_direct() {
    return ways().back() == IoMode::direct;
}

// Every tile of a model in its file's order; every third is held, as far as the reader knows.
std::vector<ScheduledTile> schedule_of(const ModelDb& db) {
    std::vector<ScheduledTile> schedule;
    for (const ParamTiles& param : read_tile_map(db, db.catalogue()))
        for (const Tile& tile : param.tiles) schedule.push_back({tile.rowid, tile.rowid % 3 == 0});
    return schedule;
}

// Reads through view() where there is one, in as many pieces as it takes.
std::vector<std::byte> read_by(TileReader& reader, int worker, int64_t rowid, size_t offset,
                               size_t bytes, bool view) {
    std::vector<std::byte> out(bytes, std::byte{1});
    for (size_t at = 0; at < bytes;) {
        const auto seen = view ? reader.view(worker, rowid, offset + at, bytes - at)
                               : std::span<const std::byte>();
        if (seen.empty()) {
            reader.read(worker, rowid, offset + at, bytes - at, out.data() + at, Use::scan);
            break;
        }
        std::ranges::copy(seen, out.begin() + static_cast<ptrdiff_t>(at));
        at += seen.size();
    }
    return out;
}

TEST(TileReader, AllWaysGiveTheSameBytesWhereverTheyLie) {
    const BigModel big;
    for (const int page_bytes : {65536, 4096, 512}) {
        const TemporaryFolder folder;
        big.model.write(folder / "big.db", page_bytes);
        const ModelDb db(folder / "big.db");
        TileReading windowed = reading_with(2);
        windowed.windows = mapped_bytes(2);
        TileReading ahead = reading_with(2);
        ahead.schedule = schedule_of(db);
        const auto blob = make_tile_reader(db, IoMode::blob, reading_with(2));
        std::vector<std::unique_ptr<TileReader>> others;
        others.push_back(make_tile_reader(db, IoMode::read, reading_with(2)));
        if (has_direct()) others.push_back(make_tile_reader(db, IoMode::direct, ahead));
        others.push_back(make_tile_reader(db, IoMode::map, reading_with(2)));
        others.push_back(make_tile_reader(db, IoMode::map, windowed));
        EXPECT_EQ(others[0]->mode(), IoMode::read);
        EXPECT_EQ(others.back()->mode(), IoMode::map);
        std::mt19937 random(static_cast<unsigned>(page_bytes));
        for (const ParamTiles& param : read_tile_map(db, db.catalogue()))
            for (const Tile& tile : param.tiles)
                for (int round = 0; round < 6; ++round) {
                    const size_t from = round == 0 ? 0 : random() % tile.bytes;
                    const size_t most = tile.bytes - from;
                    const size_t bytes = round == 0 ? most : random() % most + 1;
                    std::vector<std::byte> expected(bytes);
                    blob->read(round % 2, tile.rowid, from, bytes, expected.data(), Use::scan);
                    for (const auto& reader : others) {
                        ASSERT_EQ(read_by(*reader, round % 2, tile.rowid, from, bytes, round < 4),
                                  expected)
                            << name_of(reader->mode()) << ", tile " << tile.rowid << " from "
                            << from << ", " << bytes;
                    }
                }
        for (const auto& reader : others) reader->check();
    }
}

// Ids are whatever the file says: no number stands for "none".
TEST(TileReader, TilesMayHaveAnyId) {
    const BigModel big;
    for (const char* id : {"-1", "0", "-9223372036854775808", "9223372036854775807"}) {
        const TemporaryFolder folder;
        big.model.write(folder / "big.db");
        sqlite3* raw = nullptr;
        sqlite3_open((folder / "big.db").c_str(), &raw);
        TinyModel::run(raw, std::string("UPDATE llm_tile SET id = ") + id + " WHERE id = 1");
        sqlite3_close(raw);
        const ModelDb db(folder / "big.db");
        const auto map = read_tile_map(db, db.catalogue());
        TileReading reading = reading_with(1);
        reading.schedule = schedule_of(db);
        const Tile& tile = map.front().tiles.front();
        EXPECT_EQ(std::to_string(tile.rowid), id);
        std::vector<std::byte> expected(tile.bytes);
        make_tile_reader(db, IoMode::blob, reading)
            ->read(0, tile.rowid, 0, tile.bytes, expected.data(), Use::scan);
        for (const IoMode mode : ways()) {
            const auto reader = make_tile_reader(db, mode, reading);
            EXPECT_EQ(read_by(*reader, 0, tile.rowid, 0, tile.bytes, true), expected)
                << name_of(mode) << " " << id;
        }
    }
}

// Page 0, which says that there is no chain, where the size says that there is one.
TEST(TileReader, AChainWithoutAFirstPageIsDamage) {
    const BigModel big;
    const TemporaryFolder folder;
    const auto path = folder / "big.db";
    big.model.write(path, 4096);
    size_t damaged = 0;
    {
        const ModelDb db(path);
        const auto pages = BlobPages::of(db);
        const BlobPages::Blob& blob = pages->blob(0);
        ASSERT_GT(blob.pages, 0u);
        damaged = blob.local_offset + blob.local_bytes;
    }
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(damaged));
    file.write("\0\0\0\0", 4);
    file.close();
    const ModelDb db(path);
    for (const IoMode mode : ways()) {
        if (mode == IoMode::blob) continue;
        const std::string error = error_of([&] { make_tile_reader(db, mode, reading_with(1)); });
        EXPECT_NE(error.find("is damaged (a page number outside the file)"), std::string::npos)
            << error;
    }
}

// Each mapping has a place of its own in the signal handler's table, which is given back.
TEST(ModelFile, MappingsOfManyThreadsAreAllGuarded) {
    guard_mappings();
    const TemporaryFolder folder;
    constexpr int kThreads = 8, kRounds = 20;
    constexpr size_t kBytes = 3 * 4096;
    std::atomic<int> told{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t)
        threads.emplace_back([&, t] {
            for (int round = 0; round < kRounds; ++round) {
                const std::string path = (folder / std::to_string(t)).string();
                std::ofstream(path) << std::string(kBytes, 'x');
                const auto file = ModelFile::of(path);
                const auto mapping = file->mapping();
                if (mapping != file->mapping()) return;
                std::filesystem::resize_file(path, 0);
                // Where there is no file any more; zeros, and the mapping says so.
                if (static_cast<const volatile std::byte*>(mapping->bytes().data())[8192] !=
                    std::byte{0})
                    return;
                if (error_of([&] { mapping->check(); }) != "") ++told;
            }
        });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(told, kThreads * kRounds);
}

// The process's address space may be limited, which mappings count against.
TEST(WeightPool, TheWayThatIsChosenWorksWhereMappingDoesNot) {
    const BigFile big;
    const auto chosen = [&](rlim_t limit) {
        const pid_t child = ::fork();
        if (child == 0) {
            Workers workers(1);
            struct rlimit space {};
            ::getrlimit(RLIMIT_AS, &space);
            if (limit != 0) space.rlim_cur = limit;
            ::setrlimit(RLIMIT_AS, &space);
            int status = 99;
            try {
                PoolOptions options = with_io(std::nullopt);
                options.windows = 1 << 30;
                WeightPool pool(big.db, hold_leading(big.db, 1), options, workers);
                pool.verify_all(workers);
                status = static_cast<int>(pool.io());
            } catch (...) {
            }
            ::_exit(status);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    };
    EXPECT_NE(chosen(0), 99);
    EXPECT_EQ(chosen(rlim_t{1} << 62), static_cast<int>(IoMode::read));
}

TEST(TileReader, WhatIsNotThereIsAnError) {
    const BigFile big;
    const ModelDb& db = big.db;
    std::byte out[64];
    for (const IoMode mode : ways()) {
        TileReading reading = reading_with(1);
        reading.schedule = schedule_of(db);
        const auto reader = make_tile_reader(db, mode, reading);
        for (const Use use : {Use::scan, Use::embedding}) {
            const auto read = [&](int64_t rowid, size_t offset, size_t bytes) {
                return error_of([&] { reader->read(0, rowid, offset, bytes, out, use); });
            };
            EXPECT_NE(read(999, 0, 1), "");
            EXPECT_NE(read(1, 1 << 30, 1), "");
            EXPECT_EQ(read(1, 0, 64), "");
        }
    }
}

TEST(TileReader, ATruncatedFileIsAnErrorNotASignal) {
    guard_mappings();
    const BigModel big;
    for (const IoMode mode : ways()) {
        const TemporaryFolder folder;
        big.model.write(folder / "big.db");
        const ModelDb db(folder / "big.db");
        TileReading reading = reading_with(1);
        reading.schedule = schedule_of(db);
        const auto reader = make_tile_reader(db, mode, reading);
        const auto map = read_tile_map(db, db.catalogue());
        const Tile& last = map.back().tiles.back();
        read_by(*reader, 0, last.rowid, 0, last.bytes, true);
        reader->check();
        std::filesystem::resize_file(folder / "big.db",
                                     std::filesystem::file_size(folder / "big.db") / 2);
        // What was read ahead before is the file's: the second time there is nothing of it left.
        EXPECT_NE(error_of([&] {
                      for (int round = 0; round < 2; ++round)
                          for (const ParamTiles& param : map)
                              for (const Tile& tile : param.tiles)
                                  read_by(*reader, 0, tile.rowid, 0, tile.bytes, true);
                      reader->check();
                  }),
                  "")
            << name_of(mode);
    }
}

// A database whose chains of pages jump: it was written with holes, which larger rows then filled.
void fragment(const std::filesystem::path& path) {
    sqlite3* raw = nullptr;
    sqlite3_open(path.c_str(), &raw);
    TinyModel::run(raw,
                   "CREATE TEMP TABLE moved AS SELECT * FROM llm_tile WHERE id % 2 = 0;"
                   "DELETE FROM llm_tile WHERE id % 2 = 0;"
                   "INSERT INTO llm_tile SELECT * FROM moved ORDER BY -id;");
    sqlite3_close(raw);
}

// Scans of tiles, a tile after another, in pieces.
void scan_tiles(TileReader& reader, TileReader& reference, int worker,
                const std::vector<Tile>& tiles, size_t piece) {
    for (const Tile& tile : tiles)
        for (size_t at = 0; at < tile.bytes; at += piece) {
            const size_t bytes = std::min(piece, tile.bytes - at);
            std::vector<std::byte> out(bytes), expected(bytes);
            reader.read(worker, tile.rowid, at, bytes, out.data(), Use::scan);
            reference.read(worker, tile.rowid, at, bytes, expected.data(), Use::scan);
            ASSERT_EQ(out, expected) << "tile " << tile.rowid << " from " << at;
        }
}

TEST(DirectReader, ReadsEachTileOnceAPassIntoARingThatThePlanPaysFor) {
    if (!has_direct()) GTEST_SKIP() << "the file system refuses O_DIRECT";
    const BigModel big;
    for (const bool jumps : {false, true})
        for (const int page_bytes : {65536, 4096}) {
            const TemporaryFolder folder;
            big.model.write(folder / "big.db", page_bytes);
            if (jumps) fragment(folder / "big.db");
            const ModelDb db(folder / "big.db");
            TileReading reading = reading_with(1);
            std::vector<Tile> tiles;
            uint64_t pass = 0;
            const auto map = read_tile_map(db, db.catalogue());
            for (size_t i = map.size(); i-- > 0;)  // not the order of the file
                for (const Tile& tile : map[i].tiles) {
                    tiles.push_back(tile);
                    reading.schedule.push_back({tile.rowid, false});
                    reading.longest_tile = std::max(reading.longest_tile, tile.bytes);
                    pass += tile.bytes;
                }
            reading.windows = ring_bytes(1, reading.longest_tile);
            const auto blob = make_tile_reader(db, IoMode::blob, reading);
            auto pages = BlobPages::of(db);
            const auto direct = DirectReader::of(pages, reading);
            ASSERT_TRUE(direct);
            EXPECT_LE(direct->memory_bytes() + kReadingThreads * kReadingThread, *reading.windows);
            for (const size_t piece : {size_t{7000}, size_t{100'000}, size_t{1} << 20}) {
                const uint64_t before = direct->fetched();
                for (int round = 0; round < 5; ++round) scan_tiles(*direct, *blob, 0, tiles, piece);
                // What was fetched ahead before, and what has been for afterwards, may be counted.
                const uint64_t fetched = direct->fetched() - before;
                EXPECT_GE(fetched + direct->memory_bytes(), 5 * pass);
                EXPECT_LE(fetched, 5 * pass + direct->memory_bytes());
            }
        }
}

// What an earlier version imported is read as it was cut then.
TEST(WeightPool, ADatabaseOfAnEarlierFormatIsReadAsItIsCut) {
    const BigModel big;
    const TemporaryFolder folder;
    big.model.write(folder / "old.db", 65536, 3);
    big.model.write(folder / "new.db");
    const ModelDb old_db(folder / "old.db"), new_db(folder / "new.db");
    const auto old_map = read_tile_map(old_db, old_db.catalogue());
    const auto new_map = read_tile_map(new_db, new_db.catalogue());
    EXPECT_EQ(old_map.back().tiles.size(), 7u);
    EXPECT_EQ(new_map.back().tiles.size(), 4u);
    EXPECT_EQ(old_map.back().checksums, new_map.back().checksums);
    Workers workers(2);
    WeightPool whole(new_db, {}, with_io(IoMode::read), workers);
    for (const IoMode io : ways())
        for (const int64_t held : {0, 1, 1000}) {
            WeightPool pool(old_db, hold_leading(old_db, held), with_io(io), workers);
            pool.verify_all(workers);
            EXPECT_EQ(pool.identity(), whole.identity());
            StripBuffer buffer, unused;
            const Weight& weight = pool.weight(pool.size());
            const size_t bytes = strip_bytes(weight.entry.type, weight.entry.shape.cols);
            for (int64_t strip = 0; strip < 7; ++strip) {
                const auto a = pool.strips(weight, strip, 1, Use::scan, buffer);
                const auto b =
                    whole.strips(whole.weight(whole.size()), strip, 1, Use::scan, unused);
                ASSERT_EQ(std::memcmp(a.data, b.data, bytes), 0) << name_of(io) << " " << strip;
            }
        }
}

// A worker's buffer is not longer for longer tiles, nor is more of one read for a row of it.
TEST(WeightPool, OfALongTileNoMoreIsReadAtATimeThanOfOthers) {
    const BigFile big;
    Workers workers(1);
    for (const IoMode io : {IoMode::blob, IoMode::read}) {
        WeightPool pool(big.db, hold_leading(big.db, 0), with_io(io), workers);
        const Weight& wide = pool.weight(pool.size());
        const size_t strip = strip_bytes(wide.entry.type, wide.entry.shape.cols);
        ASSERT_GT(tile_bytes(wide.entry.type, wide.entry.shape, 0, big.db.cut()), kTileBytes);
        StripBuffer buffer;
        pool.strips(wide, 0, 1, Use::embedding, buffer);
        EXPECT_EQ(pool.counters().embedding, strip);
        EXPECT_EQ(pool.strips(wide, 2, 2, Use::scan, buffer).count, 1);
        EXPECT_EQ(buffer.memory.size(), kTileBytes);
    }
}

// Workers that share tiles out in pieces, each a little ahead of or behind the other, and scan two
// matrices in turn: all the same each tile is read once a pass, from the second pass on. (In the
// first the order is not known yet.)
TEST(DirectReader, WorkersThatShareTilesReadEachOnceAPass) {
    if (!has_direct()) GTEST_SKIP() << "the file system refuses O_DIRECT";
    for (const auto& [rows, cols] : {std::pair{1600, 640}, std::pair{640, 5632}}) {
        TinyModel model;
        for (const char* name : {"gate", "up", "down"})
            model.add_matrix(name, WeightType::q8, rows, cols,
                             random_values(static_cast<size_t>(rows * cols), 3));
        const TemporaryFolder folder;
        model.write(folder / "model.db");
        const ModelDb db(folder / "model.db");
        const auto map = read_tile_map(db, db.catalogue());
        Workers workers(2);
        TileReading reading = reading_with(2);
        uint64_t pass = 0;
        for (const ParamTiles& param : map)
            for (const Tile& tile : param.tiles) {
                reading.schedule.push_back({tile.rowid, false});
                reading.longest_tile = std::max(reading.longest_tile, tile.bytes);
                pass += tile.bytes;
            }
        reading.windows = ring_bytes(2, reading.longest_tile);
        auto pages = BlobPages::of(db);
        const auto direct = DirectReader::of(pages, reading);
        ASSERT_TRUE(direct);
        const size_t strip = map[0].strip_bytes, each = map[0].tiles[0].bytes / strip;
        // Half a tile and less at a time: two workers may ask for all of it before it is there.
        const size_t piece = each / 2 - 1, strips = map[0].checksums.size();
        const auto scan_piece = [&](const ParamTiles& param, int64_t item, int worker) {
            std::vector<std::byte> out(piece * strip);
            const size_t end = std::min(strips, (static_cast<size_t>(item) + 1) * piece);
            for (size_t i = static_cast<size_t>(item) * piece; i < end;) {
                const size_t here = std::min(end - i, each - i % each);
                direct->read(worker, param.tiles[i / each].rowid, i % each * strip, here * strip,
                             out.data(), Use::scan);
                i += here;
            }
        };
        const auto items = static_cast<int64_t>((strips + piece - 1) / piece);
        const auto one_pass = [&] {
            workers.run(items, [&](int64_t item, int worker) {
                scan_piece(map[0], item, worker);
                scan_piece(map[1], item, worker);
            });
            workers.run(items, [&](int64_t item, int worker) { scan_piece(map[2], item, worker); });
        };
        one_pass();
        constexpr int kPasses = 100;
        const uint64_t before = direct->fetched();
        for (int i = 0; i < kPasses; ++i) one_pass();
        // A little more where the system lets a worker sleep so long that a tile has to give way to
        // others.
        EXPECT_LE(direct->fetched() - before, kPasses * pass + kPasses * pass / 25);
    }
}

// Workers that are anywhere, in no order that could be foreseen: nothing hangs, all is right.
TEST(DirectReader, WorkersMayScanWhatTheyLike) {
    if (!has_direct()) GTEST_SKIP() << "the file system refuses O_DIRECT";
    const BigFile big;
    const ModelDb& db = big.db;
    Workers workers(4);
    TileReading reading = reading_with(4);
    reading.schedule = schedule_of(db);
    std::vector<Tile> tiles;
    for (const ParamTiles& param : read_tile_map(db, db.catalogue()))
        for (const Tile& tile : param.tiles) {
            tiles.push_back(tile);
            reading.longest_tile = std::max(reading.longest_tile, tile.bytes);
        }
    reading.windows = ring_bytes(4, reading.longest_tile);
    const auto blob = make_tile_reader(db, IoMode::blob, reading);
    const auto direct = make_tile_reader(db, IoMode::direct, reading);
    workers.run(400, [&](int64_t item, int worker) {
        std::mt19937 random(static_cast<unsigned>(item));
        const Tile& tile = tiles[random() % tiles.size()];
        const size_t from = random() % tile.bytes;
        const size_t bytes = random() % (tile.bytes - from) + 1;
        std::vector<std::byte> out(bytes), expected(bytes);
        direct->read(worker, tile.rowid, from, bytes, out.data(), Use::scan);
        blob->read(worker, tile.rowid, from, bytes, expected.data(), Use::scan);
        EXPECT_EQ(out, expected);
    });
}

// Scans every matrix once, in pieces of `piece` strips, and compares with a pool that holds all.
void scan(WeightPool& pool, WeightPool& reference, int64_t piece) {
    StripBuffer buffer, unused;
    for (int id = 1; id <= pool.size(); ++id) {
        const Weight& weight = pool.weight(id);
        if (weight.entry.shape.is_vector()) continue;
        const size_t bytes = strip_bytes(weight.entry.type, weight.entry.shape.cols);
        const int64_t strips = strip_count(*weight.entry.shape.rows);
        for (int64_t first = 0; first < strips;) {
            const int64_t wanted = std::min(piece, strips - first);
            const auto [data, count] = pool.strips(weight, first, wanted, Use::scan, buffer);
            ASSERT_GE(count, 1);
            ASSERT_LE(count, wanted);
            const auto expected =
                reference.strips(reference.weight(id), first, count, Use::scan, unused);
            ASSERT_EQ(expected.count, count);
            ASSERT_EQ(std::memcmp(data, expected.data, static_cast<size_t>(count) * bytes), 0);
            first += count;
        }
    }
}

TEST(WeightPool, StreamsExactlyWhatIsNotHeld) {
    const BigFile big;
    const ModelDb& db = big.db;
    const auto map = read_tile_map(db, db.catalogue());
    Workers workers(2);
    WeightPool whole(db, {}, with_io(IoMode::read), workers);
    std::vector<std::optional<IoMode>> all(ways().begin(), ways().end());
    all.push_back(std::nullopt);
    for (const std::optional<IoMode> io : all)
        for (const int64_t held : {0, 1, 3, 1000}) {
            const std::vector<Residency> rows = hold_leading(db, held);
            uint64_t streamed = 0, kept = 0, vectors = 0;
            for (const Residency& row : rows)
                for (int64_t tile = row.first_tile; tile <= row.last_tile; ++tile)
                    (row.held ? kept : streamed) += map[static_cast<size_t>(row.param - 1)]
                                                        .tiles[static_cast<size_t>(tile)]
                                                        .bytes;
            for (size_t i = 0; i < map.size(); ++i)
                if (db.catalogue()[i].shape.is_vector()) vectors += map[i].tiles[0].bytes;
            WeightPool pool(db, rows, with_io(io), workers);
            EXPECT_EQ(pool.held_bytes(), kept);
            // Held matrices are read when they are first used, and then never again.
            EXPECT_EQ(pool.counters().loaded, vectors);
            for (const int64_t piece : {1, 5, 1000}) {
                const uint64_t before = pool.counters().streamed;
                scan(pool, whole, piece);
                EXPECT_EQ(pool.counters().streamed - before, streamed) << "pieces of " << piece;
                EXPECT_EQ(pool.counters().loaded, kept);
            }
            EXPECT_EQ(pool.counters().embedding, 0u);
            pool.check();
        }
}

// Two tokens of a prompt may have their rows in one strip, and different workers for them.
TEST(WeightPool, WorkersMayLoadTheSameStripForEmbeddings) {
    const BigFile big;
    const ModelDb& db = big.db;
    Workers workers(2);
    std::vector<StripBuffer> buffers(2);
    buffers[1].worker = 1;
    for (int round = 0; round < 60; ++round) {
        WeightPool pool(db, round % 2 ? hold_leading(db, 1000) : std::vector<Residency>(),
                        with_io(ways()[static_cast<size_t>(round) % ways().size()]), workers);
        const uint64_t before = pool.counters().loaded;
        workers.run(40, [&](int64_t item, int worker) {
            pool.strips(pool.weight(4), item / 8, 1, Use::embedding,
                        buffers[static_cast<size_t>(worker)]);
        });
        if (pool.counters().loaded > before) {
            EXPECT_EQ(pool.counters().loaded - before, 5 * strip_bytes(WeightType::q4, 320));
        }
    }
}

TEST(WeightPool, MappedInPlaceWhereEverythingIsHeld) {
    const BigFile big;
    const ModelDb& db = big.db;
    Workers workers(2);
    WeightPool whole(db, {}, with_io(IoMode::read), workers);
    PoolOptions in_place;
    in_place.io = IoMode::map;
    WeightPool pool(db, {}, in_place, workers);
    scan(pool, whole, 7);
    EXPECT_EQ(pool.counters().streamed, 0u);
}

TEST(WeightPool, WithoutABudgetMemoryIsFilledALittleATurn) {
    const BigFile big;
    const ModelDb& db = big.db;
    Workers workers(2);
    WeightPool whole(db, {}, with_io(IoMode::read), workers);
    PoolOptions options;
    options.loaded_a_turn = 200'000;
    WeightPool pool(db, {}, options, workers);
    uint64_t loaded = pool.counters().loaded;  // vectors
    int turns = 0;
    for (; pool.counters().loaded < pool.held_bytes(); ++turns) {
        scan(pool, whole, 5);
        const uint64_t now = pool.counters().loaded;
        ASSERT_GT(now, loaded);
        // The last piece of a turn may be longer than what was left.
        ASSERT_LE(now - loaded, 200'000 + 5 * strip_bytes(WeightType::f16, 20000));
        loaded = now;
        pool.improve();
    }
    EXPECT_GE(turns, 3);
    scan(pool, whole, 5);
    EXPECT_EQ(pool.counters().loaded, pool.held_bytes());
    EXPECT_EQ(pool.counters().streamed, 0u);

    WeightPool verified(db, {}, options, workers);
    verified.verify_all(workers);
    EXPECT_EQ(verified.counters().loaded, verified.held_bytes());
}

TEST(PageRefill, LeavesTheFileAsItIs) {
    const TemporaryFolder folder;
    const std::string path = (folder / "file").string();
    std::vector<uint64_t> words(5 << 20);
    for (size_t i = 0; i < words.size(); ++i) words[i] = i * 0x9e3779b97f4a7c15;
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(words.data()),
               static_cast<std::streamsize>(words.size() * sizeof(uint64_t)));
    const auto file = ModelFile::of(path);
    fsync(file->descriptor());
    const auto mapping = file->mapping();
    PageRefill refill(file);
    bool last = false;
    for (int turn = 0; turn < 1'000'000 && !refill.ended(); ++turn) {
        ASSERT_FALSE(last);
        last = refill.after_turn();
        ASSERT_EQ(std::memcmp(mapping->bytes().data() + turn % 4096 * 8, &words[turn % 4096], 8),
                  0);
    }
    EXPECT_TRUE(refill.ended());  // where the file system cannot drop pages, in vain
    EXPECT_FALSE(refill.after_turn());
    ASSERT_EQ(mapping->bytes().size(), words.size() * sizeof(uint64_t));
    EXPECT_EQ(std::memcmp(mapping->bytes().data(), words.data(), mapping->bytes().size()), 0);
}

TEST(WeightPool, AStripThatPagesCutIsGivenInParts) {
    const BigFile big;
    const ModelDb& db = big.db;
    Workers workers(2);
    PoolOptions mapped;
    mapped.io = IoMode::map;
    WeightPool pool(db, {}, mapped, workers);
    WeightPool whole(db, {}, with_io(IoMode::blob), workers);
    StripBuffer buffer, reference;
    int in_parts = 0;
    for (const bool known : {false, true})  // a strip is verified whole before it is given in parts
        for (int id = 1; id <= pool.size(); ++id) {
            const Weight& weight = pool.weight(id);
            if (weight.entry.shape.is_vector()) continue;
            const size_t bytes = strip_bytes(weight.entry.type, weight.entry.shape.cols);
            for (int64_t at = 0; at < strip_count(*weight.entry.shape.rows); ++at) {
                const auto wanted = whole.strips(whole.weight(id), at, 1, Use::scan, reference);
                const auto given = pool.strips(weight, at, 1, Use::scan, buffer, true);
                std::vector<std::byte> strip;
                if (given.data) {
                    strip.assign(given.data, given.data + bytes);
                } else {
                    EXPECT_TRUE(known);
                    ++in_parts;
                    while (strip.size() < bytes) {
                        const auto part = pool.part(weight, at, strip.size(), buffer);
                        ASSERT_FALSE(part.empty());
                        strip.insert(strip.end(), part.begin(), part.end());
                    }
                }
                ASSERT_EQ(std::memcmp(strip.data(), wanted.data, bytes), 0) << id << " " << at;
                ASSERT_EQ(strip.size(), bytes);
            }
        }
    EXPECT_GT(in_parts, 0);
}

TEST(BlobPages, FindsARowFromWhereverItIsLookedFor) {
    const BigFile big;
    const auto pages = BlobPages::of(big.db);
    int64_t last = 0;
    Query row(big.db.connection(), "SELECT id FROM llm_tile ORDER BY id");
    for (size_t index = 0; row.next(); ++index) {
        last = row.as_integer(0);
        for (size_t near = 0; near < 12; ++near) EXPECT_EQ(pages->index_of(last, near), index);
        EXPECT_EQ(pages->index_of(last, SIZE_MAX), index);
    }
    for (const int64_t missing : {last + 1, int64_t{-1}, INT64_MAX, INT64_MIN})
        EXPECT_NE(error_of([&] { pages->index_of(missing, 3); }).find("no tile"),
                  std::string::npos);
}

TEST(PageCache, IsFilledWithAFileThatIsNotThere) {
    const TemporaryFolder folder;
    const std::string path = (folder / "file").string();
    const size_t bytes = 5 << 20;
    std::ofstream(path, std::ios::binary) << std::string(bytes, 'x');
    const auto shared = ModelFile::of(path);
    const ModelFile& file = *shared;
    void* mapped = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.descriptor(), 0);
    ASSERT_NE(mapped, MAP_FAILED);
    const auto cached = [&] {
        std::vector<unsigned char> pages((bytes + 4095) / 4096);
        EXPECT_EQ(mincore(mapped, bytes, pages.data()), 0);
        return std::ranges::count_if(pages, [](unsigned char page) { return (page & 1) != 0; });
    };
    const auto drop = [&] {
        fsync(file.descriptor());
        posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_DONTNEED);
    };
    drop();
    if (cached() == 0) {  // a file system in memory cannot drop it
        fill_page_cache(file.descriptor(), bytes);
        EXPECT_EQ(cached(), bytes / 4096);
        // Where the file system has huge pages, they are all, those too of which a few were read.
        if (is_cached_huge(file.descriptor(), 0, kHugePage)) {
            drop();
            char read[100];
            EXPECT_EQ(pread(file.descriptor(), read, sizeof read, 0), ssize_t{sizeof read});
            fill_page_cache(file.descriptor(), bytes);
            EXPECT_TRUE(is_cached_huge(file.descriptor(), 0, kHugePage));
        }
    }
    munmap(mapped, bytes);
}

TEST(WeightPool, AWayThatThePlanLeavesNoRoomForIsRefused) {
    const BigFile big;
    const ModelDb& db = big.db;
    Workers workers(2);
    PoolOptions options = with_io(std::nullopt);
    options.windows = 0;
    EXPECT_EQ(WeightPool(db, hold_leading(db, 1), options, workers).io(), IoMode::read);
    for (const IoMode io : ways()) {
        if (io == IoMode::blob || io == IoMode::read) continue;
        options.io = io;
        const std::string error =
            error_of([&] { WeightPool(db, hold_leading(db, 1), options, workers); });
        EXPECT_NE(error.find("use --io=read"), std::string::npos) << error;
    }
}

TEST(WeightPool, AFlippedBitIsFoundWhenItsStripIsFirstRead) {
    const BigModel big;
    for (const IoMode io : ways())
        for (const bool held : {false, true}) {
            const TemporaryFolder folder;
            big.model.write(folder / "big.db");
            sqlite3* raw = nullptr;
            sqlite3_open((folder / "big.db").c_str(), &raw);
            TinyModel::run(raw,
                           "UPDATE llm_tile SET data = CAST(substr(data, 1, 99) || x'5a' || "
                           "substr(data, 101) AS BLOB) WHERE param = 4 AND first_row = "
                           "(SELECT max(first_row) FROM llm_tile WHERE param = 4)");
            sqlite3_close(raw);
            const ModelDb db(folder / "big.db");
            const auto map = read_tile_map(db, db.catalogue());
            Workers workers(1);
            WeightPool pool(db, hold_leading(db, held ? 1000 : 0), with_io(io), workers);
            StripBuffer buffer;
            const int64_t damaged = map[3].tiles.back().first_strip;
            const auto use = [&](int64_t strip) {
                return error_of([&] { pool.strips(pool.weight(4), strip, 1, Use::scan, buffer); });
            };
            const std::string found = "parameter c q4[3000, 320] at row " +
                                      std::to_string(damaged * 16) +
                                      " is damaged (checksum mismatch)";
            EXPECT_EQ(use(damaged - 1), "");
            EXPECT_NE(use(damaged).find(found), std::string::npos);
            EXPECT_NE(error_of([&] { pool.verify_all(workers); }).find(found), std::string::npos);
        }
}

}  // namespace
}  // namespace llmsql
