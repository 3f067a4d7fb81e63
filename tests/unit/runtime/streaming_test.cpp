// Weights that are streamed: both ways of reading agree, the pool reads exactly what the residency
// rows leave out, and damage is found when a strip is first read.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>

#include "common/error.h"
#include "runtime/storage/tile_reader.h"
#include "runtime/storage/weights.h"
#include "tests/unit/runtime/tiny_model.h"

namespace llmsql {
namespace {

using testing::random_values;
using testing::TemporaryFolder;
using testing::TinyModel;

// Parameters of several tiles each, of different sizes, and a vector.
struct BigModel {
    TinyModel model;

    BigModel() {
        add("a", WeightType::f32, 1000, 200);
        model.add_vector("v", random_values(300, 7));
        add("b", WeightType::q8, 2000, 160);
        add("c", WeightType::q4, 3000, 320);
        add("d", WeightType::f16, 40, 20000);  // a strip larger than a tile
    }
    void add(const std::string& name, WeightType type, int64_t rows, int64_t cols) {
        model.add_matrix(
            name, type, rows, cols,
            random_values(static_cast<size_t>(rows * cols), static_cast<uint32_t>(rows)));
    }
};

std::string error_of(const std::function<void()>& body) {
    try {
        body();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

TEST(TileReader, BothWaysGiveTheSameBytesWhereverTheyLie) {
    const BigModel big;
    for (const int page_bytes : {65536, 4096, 512}) {
        const TemporaryFolder folder;
        big.model.write(folder / "big.db", page_bytes);
        const ModelDb db(folder / "big.db");
        const auto blob = make_tile_reader(db, IoMode::blob, {.workers = 2});
        const auto pages = make_tile_reader(db, IoMode::read, 2);
        std::mt19937 random(static_cast<unsigned>(page_bytes));
        for (const ParamTiles& param : read_tile_map(db, db.catalogue()))
            for (const Tile& tile : param.tiles)
                for (int round = 0; round < 8; ++round) {
                    const size_t from = round == 0 ? 0 : random() % tile.bytes;
                    const size_t most = tile.bytes - from;
                    const size_t bytes = round == 0 ? most : random() % most + 1;
                    std::vector<std::byte> a(bytes), b(bytes, std::byte{1});
                    blob->read(round % 2, tile.rowid, from, bytes, a.data());
                    pages->read(round % 2, tile.rowid, from, bytes, b.data());
                    ASSERT_EQ(a, b) << "tile " << tile.rowid << " from " << from << ", " << bytes;
                }
    }
}

TEST(TileReader, WhatIsNotThereIsAnError) {
    const BigModel big;
    const TemporaryFolder folder;
    big.model.write(folder / "big.db");
    const ModelDb db(folder / "big.db");
    std::byte out[64];
    for (const IoMode mode : {IoMode::blob, IoMode::read}) {
        const auto reader = make_tile_reader(db, mode, 1);
        EXPECT_NE(error_of([&] { reader->read(0, 999, 0, 1, out); }), "no error");
        EXPECT_NE(error_of([&] { reader->read(0, 1, 1 << 30, 1, out); }), "no error");
        EXPECT_EQ(error_of([&] { reader->read(0, 1, 0, 64, out); }), "no error");
    }
}

TEST(TileReader, ATruncatedFileIsAnErrorNotASignal) {
    const BigModel big;
    const TemporaryFolder folder;
    big.model.write(folder / "big.db");
    const ModelDb db(folder / "big.db");
    const auto reader = make_tile_reader(db, IoMode::read, 1);
    const auto map = read_tile_map(db, db.catalogue());
    const Tile& last = map.back().tiles.back();
    std::filesystem::resize_file(folder / "big.db",
                                 std::filesystem::file_size(folder / "big.db") / 2);
    std::vector<std::byte> out(last.bytes);
    EXPECT_NE(error_of([&] { reader->read(0, last.rowid, 0, last.bytes, out.data()); }),
              "no error");
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
                reference.strips(reference.weight(id), first, 1, Use::scan, unused);
            ASSERT_EQ(std::memcmp(data, expected.data, static_cast<size_t>(count) * bytes), 0);
            first += count;
        }
    }
}

TEST(WeightPool, StreamsExactlyWhatIsNotHeld) {
    const BigModel big;
    const TemporaryFolder folder;
    big.model.write(folder / "big.db");
    const ModelDb db(folder / "big.db");
    const auto map = read_tile_map(db, db.catalogue());
    Workers workers(2);
    WeightPool whole(db, {}, IoMode::read, workers);
    for (const IoMode io : {IoMode::blob, IoMode::read})
        for (const int64_t held : {0, 1, 3}) {
            std::vector<Residency> rows;
            uint64_t streamed = 0, kept = 0;
            for (size_t i = 0; i < map.size(); ++i) {
                const auto tiles = static_cast<int64_t>(map[i].tiles.size());
                const bool vector = db.catalogue()[i].shape.is_vector();
                const int64_t first = vector ? tiles : std::min(held, tiles);
                const int id = static_cast<int>(i) + 1;
                if (first > 0) rows.push_back({id, 0, first - 1, true});
                if (first < tiles) rows.push_back({id, first, tiles - 1, false});
                for (int64_t tile = 0; tile < tiles; ++tile)
                    (tile < first ? kept : streamed) +=
                        map[i].tiles[static_cast<size_t>(tile)].bytes;
            }
            WeightPool pool(db, rows, io, workers);
            EXPECT_EQ(pool.held_bytes(), kept);
            for (const int64_t piece : {1, 5, 1000}) {
                const uint64_t before = pool.counters().streamed;
                scan(pool, whole, piece);
                EXPECT_EQ(pool.counters().streamed - before, streamed) << "pieces of " << piece;
            }
            EXPECT_EQ(pool.counters().embedding, 0u);
        }
}

TEST(WeightPool, AFlippedBitInAStreamedStripIsFoundWhenItIsRead) {
    const BigModel big;
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
    std::vector<Residency> rows;
    for (size_t i = 0; i < map.size(); ++i)
        rows.push_back(
            {static_cast<int>(i) + 1, 0, static_cast<int64_t>(map[i].tiles.size()) - 1, i != 3});
    Workers workers(1);
    WeightPool pool(db, rows, IoMode::read, workers);
    StripBuffer buffer;
    const int64_t damaged = map[3].tiles.back().first_strip;
    EXPECT_EQ(error_of([&] { pool.strips(pool.weight(4), damaged - 1, 1, Use::scan, buffer); }),
              "no error");
    EXPECT_NE(error_of([&] { pool.strips(pool.weight(4), damaged, 1, Use::scan, buffer); })
                  .find("parameter c q4[3000, 320] at row " + std::to_string(damaged * 16) +
                        " is damaged (checksum mismatch)"),
              std::string::npos);
}

}  // namespace
}  // namespace llmsql
