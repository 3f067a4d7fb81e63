// SPDX-License-Identifier: MIT
// A tiny model.db and plan for the runtime's tests, made without the importer and the compiler.
#pragma once

#include <sqlite3.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/catalogue.h"
#include "common/half.h"
#include "common/model_format.h"
#include "common/types.h"
#include "tests/unit/runtime/packed_matrix.h"
#include "tests/unit/temporary_folder.h"

namespace llmsql::test {

/// Of a plan over a tiny decoder's layer with a window of 5, from the normed input (tensor 2) to
/// the sum with what came in (9): what several plans of tests have in common.
inline const std::string kAttentionHalf =
    R"(INSERT INTO slot(id, data) SELECT 3, llm_concat(llm_linear(h.data, w.data, b.data))
FROM tensor h, param w, param b WHERE h.id = 2 AND w.id BETWEEN 3 AND 5 AND b.id = w.id + 3;
INSERT INTO slot(id, data) SELECT 7, llm_rope(q.data, :position, 10000.0) FROM tensor q WHERE q.id = 4;
INSERT INTO kv(sequence, layer, position, k, v)
SELECT :sequence, 0, :position, llm_rope(k.data, :position, 10000.0), v.data
FROM tensor k, tensor v WHERE k.id = 5 AND v.id = 6;
INSERT INTO slot(id, data)
SELECT 8, llm_attention(q.data, kv.k, kv.v, kv.position, :position, 0.4, 5)
FROM tensor q, kv
WHERE q.id = 7 AND kv.sequence = :sequence AND kv.layer = 0 AND kv.position > :position - 36;
INSERT INTO slot(id, data) SELECT 9, llm_add(x.data, llm_linear(a.data, w.data))
FROM tensor x, tensor a, param w WHERE x.id = 1 AND a.id = 8 AND w.id = 9;
)";

using test::TemporaryFolder;

/// Collects parameters, then writes them as a model.db.
class TinyModel {
  public:
    /// Returns the values as stored (after rounding to the type).
    std::vector<float> add_matrix(const std::string& name, WeightType type, int64_t rows,
                                  int64_t cols, const std::vector<float>& values) {
        PackedMatrix packed = pack_matrix(type, rows, cols, values);
        params_.push_back({{name, type, {rows, cols}}, std::move(packed.bytes)});
        return packed.values;
    }
    void add_vector(const std::string& name, const std::vector<float>& values) {
        std::vector<std::byte> bytes(values.size() * 4);
        std::memcpy(bytes.data(), values.data(), bytes.size());
        const auto cols = static_cast<int64_t>(values.size());
        params_.push_back({{name, WeightType::f32, {std::nullopt, cols}}, std::move(bytes)});
    }

    std::string catalogue() const {
        std::vector<ParamEntry> entries;
        for (const auto& param : params_) entries.push_back(param.entry);
        return catalogue_checksum(entries);
    }

    /// The init statements that declare these parameters in a plan.
    std::string declarations(const std::string& model = "tiny") const {
        std::string sql = "CREATE VIRTUAL TABLE temp.param USING llm_param(model='" + model +
                          "', catalogue='" + catalogue() + "');\n";
        for (size_t i = 0; i < params_.size(); ++i) {
            const ParamEntry& entry = params_[i].entry;
            const std::string rows = entry.shape.rows ? std::to_string(*entry.shape.rows) : "NULL";
            sql += "INSERT INTO param(id, name, type, rows, cols) VALUES (" +
                   std::to_string(i + 1) + ", '" + entry.name + "', '" +
                   std::string(name_of(entry.type)) + "', " + rows + ", " +
                   std::to_string(entry.shape.cols) + ");\n";
        }
        return sql;
    }

    void write(const std::filesystem::path& path, int page_bytes = 65536,
               int64_t format = kModelFormatVersion) const {
        sqlite3* db = nullptr;
        if (sqlite3_open(path.c_str(), &db) != SQLITE_OK) throw std::runtime_error("open");
        run(db,
            "PRAGMA page_size = " + std::to_string(page_bytes) +
                "; PRAGMA journal_mode = OFF;"
                "PRAGMA application_id = " +
                std::to_string(kModelApplicationId) +
                ";"
                "PRAGMA user_version = " +
                std::to_string(format) +
                ";"
                "CREATE TABLE llm_meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
                "CREATE TABLE llm_param(id INTEGER PRIMARY KEY, name TEXT, type TEXT, rows INTEGER,"
                "                       cols INTEGER, tile_rows INTEGER);"
                "CREATE TABLE llm_tile(id INTEGER PRIMARY KEY, param INTEGER, first_row INTEGER,"
                "                      checksums BLOB, data BLOB);"
                "CREATE TABLE llm_token(id INTEGER PRIMARY KEY, piece BLOB, kind INTEGER, score "
                "REAL);"
                "CREATE TABLE llm_merge(left INTEGER, right INTEGER, rank INTEGER, merged INTEGER,"
                "                       PRIMARY KEY(left, right)) WITHOUT ROWID;"
                "INSERT INTO llm_meta VALUES ('model', 'tiny'), ('graph', 'tiny'),"
                "  ('catalogue', '" +
                catalogue() + "')");
        for (size_t i = 0; i < params_.size(); ++i)
            add(db, static_cast<int>(i + 1), params_[i], cut_of_format(format));
        sqlite3_close(db);
    }

    static void run(sqlite3* db, const std::string& sql) {
        if (sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
            throw std::runtime_error(std::string(sqlite3_errmsg(db)) + " in " + sql);
    }

  private:
    struct Stored {
        ParamEntry entry;
        std::vector<std::byte> bytes;
    };

    static void add(sqlite3* db, int id, const Stored& param, TileCut cut) {
        const ParamEntry& entry = param.entry;
        const size_t unit = entry.shape.is_vector() ? param.bytes.size()
                                                    : strip_bytes(entry.type, entry.shape.cols);
        sqlite3_stmt* statement = nullptr;
        sqlite3_prepare_v2(db, "INSERT INTO llm_param VALUES (?, ?, ?, ?, ?, 16)", -1, &statement,
                           nullptr);
        sqlite3_bind_int(statement, 1, id);
        sqlite3_bind_text(statement, 2, entry.name.c_str(), -1, SQLITE_STATIC);
        sqlite3_bind_text(statement, 3, name_of(entry.type).data(), -1, SQLITE_STATIC);
        if (entry.shape.rows) sqlite3_bind_int64(statement, 4, *entry.shape.rows);
        sqlite3_bind_int64(statement, 5, entry.shape.cols);
        sqlite3_step(statement);
        sqlite3_finalize(statement);
        sqlite3_prepare_v2(db,
                           "INSERT INTO llm_tile(param, first_row, checksums, data) "
                           "VALUES (?, ?, ?, ?)",
                           -1, &statement, nullptr);
        size_t at = 0;
        for (int64_t tile = 0; tile < tile_count(entry.type, entry.shape, cut); ++tile) {
            const size_t bytes = tile_bytes(entry.type, entry.shape, tile, cut);
            std::vector<uint64_t> checksums;
            for (size_t strip = 0; strip < bytes; strip += unit)
                checksums.push_back(hash64(param.bytes.data() + at + strip, unit));
            sqlite3_bind_int(statement, 1, id);
            sqlite3_bind_int64(statement, 2, tile * tile_rows(entry.type, entry.shape, cut));
            sqlite3_bind_blob(statement, 3, checksums.data(),
                              static_cast<int>(checksums.size() * sizeof(uint64_t)),
                              SQLITE_TRANSIENT);
            sqlite3_bind_blob(statement, 4, param.bytes.data() + at, static_cast<int>(bytes),
                              SQLITE_STATIC);
            sqlite3_step(statement);
            sqlite3_reset(statement);
            at += bytes;
        }
        sqlite3_finalize(statement);
    }

    std::vector<Stored> params_;
};

inline void write_text(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

}  // namespace llmsql::test
