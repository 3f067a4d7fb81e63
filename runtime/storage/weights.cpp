// Reading parameters from model.db. See weights.h.
#include "runtime/storage/weights.h"

#include <algorithm>
#include <cstring>

#include "common/error.h"
#include "runtime/storage/sqlite.h"

namespace llmsql {
namespace {

// Copies one tile into its place, strip by strip, each verified by its checksum.
void load_tile(const std::string& where, const ParamEntry& entry, int64_t first_row,
               std::span<const std::byte> data, std::span<const std::byte> checksums,
               std::span<std::byte> param, size_t unit, size_t& filled) {
    const auto damaged = [&](const std::string& what) {
        fail("{}: parameter {} {} at row {} {}; import the model again", where, entry.name,
             describe(entry), first_row, what);
    };
    const size_t units = data.size() / unit;
    const size_t expected = (static_cast<size_t>(first_row) / kStripRows) * unit;
    if (first_row < 0 || first_row % kStripRows != 0 || expected != filled)
        damaged("is missing its tile");
    if (data.empty() || data.size() % unit != 0 || data.size() > param.size() - filled)
        damaged("has a tile of the wrong size");
    if (checksums.size() != units * sizeof(uint64_t)) damaged("has a damaged checksum list");
    for (size_t i = 0; i < units; ++i) {
        uint64_t checksum;
        std::memcpy(&checksum, checksums.data() + i * sizeof checksum, sizeof checksum);
        std::memcpy(param.data() + filled, data.data() + i * unit, unit);
        if (hash64(param.data() + filled, unit) != checksum)
            damaged("is damaged (checksum mismatch)");
        filled += unit;
        first_row += kStripRows;
    }
}

std::span<const std::byte> column_blob(sqlite3_stmt* statement, int column) {
    const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement, column));
    return {data, data ? static_cast<size_t>(sqlite3_column_bytes(statement, column)) : 0};
}

AnonymousMemory load_param(sqlite3_stmt* tiles, const std::string& where, int id,
                           const ParamEntry& entry) {
    const size_t bytes = param_bytes(entry.type, entry.shape);
    const size_t unit = entry.shape.is_vector() ? bytes : strip_bytes(entry.type, entry.shape.cols);
    AnonymousMemory memory(bytes, "the model's weights");
    madvise(memory.data(), memory.size(), MADV_HUGEPAGE);  // fewer TLB misses; only a hint
    const std::span<std::byte> param(memory.data(), bytes);
    size_t filled = 0;
    const ResetAtExit reset(tiles);
    sqlite3_bind_int(tiles, 1, id);
    while (step(tiles, where))
        load_tile(where, entry, sqlite3_column_int64(tiles, 0), column_blob(tiles, 2),
                  column_blob(tiles, 1), param, unit, filled);
    if (filled != bytes)
        fail("{}: parameter {} {} has only {} of its {} bytes; import the model again", where,
             entry.name, describe(entry), filled, bytes);
    return memory;
}

}  // namespace

const std::byte* Weight::strip(int64_t strip) const {
    return pool->data(id) + static_cast<size_t>(strip) * strip_bytes(entry.type, entry.shape.cols);
}

std::span<const float> Weight::vector() const {
    return {reinterpret_cast<const float*>(pool->data(id)), static_cast<size_t>(entry.shape.cols)};
}

WeightPool::WeightPool(const ModelDb& db) {
    const std::string where = db.path().string();
    std::vector<ParamEntry> entries = db.catalogue();
    const Statement tiles = prepare(
        db.handle(),
        "SELECT first_row, checksums, data FROM llm_tile WHERE param = ? ORDER BY first_row",
        where);
    weights_.reserve(entries.size());
    for (ParamEntry& entry : entries) {
        const int id = static_cast<int>(weights_.size()) + 1;
        if (entry.shape.is_vector() && entry.type != WeightType::f32)
            fail("{}: parameter {} is a vector and must be f32", where, entry.name);
        memory_.push_back(load_param(tiles.get(), where, id, entry));
        weights_.push_back({id, std::move(entry), this});
    }
}

}  // namespace llmsql
