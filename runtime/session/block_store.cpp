// SPDX-License-Identifier: MIT
// Writing blocks of keys and values, and bringing them back. See block_store.h.
#include "runtime/session/block_store.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>

#include "common/catalogue.h"
#include "common/error.h"

namespace llmsql {
namespace {

constexpr size_t kPositions = kKvBlock;
// Snapshots of recurrent states that a session keeps, and tokens between those within a turn.
constexpr size_t kSnapshots = 4, kSnapshotEveryTokens = 256;

std::span<const std::byte> bytes_of(const Hash128& key) {
    return std::as_bytes(std::span(&key, 1));
}

int64_t layers_of(const KvCache& cache) {
    return static_cast<int64_t>(cache.layers().size());
}

/// Of all layers, one after the other: a row's data.
int64_t row_bytes(const KvCache& cache) {
    int64_t bytes = 0;
    for (int64_t layer = 0; layer < layers_of(cache); ++layer) bytes += cache.block_bytes(layer);
    return bytes;
}

}  // namespace

std::vector<Hash128> block_keys(const Hash128& first, std::span<const int32_t> tokens) {
    std::vector<Hash128> keys;
    struct {
        Hash128 before;
        int32_t tokens[kPositions];
    } block;
    static_assert(sizeof block == sizeof(Hash128) + kPositions * sizeof(int32_t));
    block.before = first;
    for (size_t at = 0; at + kPositions <= tokens.size(); at += kPositions) {
        std::ranges::copy(tokens.subspan(at, kPositions), block.tokens);
        block.before = hash128(&block, sizeof block);
        keys.push_back(block.before);
    }
    return keys;
}

Hash128 snapshot_key(const Hash128& first, std::span<const int32_t> tokens) {
    const std::vector<Hash128> keys = block_keys(first, tokens);
    const std::span<const int32_t> rest = tokens.subspan(keys.size() * kPositions);
    // What no block's key is made of.
    std::vector<std::byte> text(sizeof(Hash128) + 8 + rest.size_bytes());
    const Hash128 before = keys.empty() ? first : keys.back();
    const uint64_t count = tokens.size();
    std::memcpy(text.data(), &before, sizeof before);
    std::memcpy(text.data() + sizeof before, &count, sizeof count);
    if (!rest.empty())
        std::memcpy(text.data() + sizeof before + sizeof count, rest.data(), rest.size_bytes());
    return hash128(text.data(), text.size());
}

void BlockStore::attach(int64_t session) {
    session_ = session;
    kept_.clear();
    Query query(file_.db(),
                "SELECT r.n, r.block, b.key FROM session_block r LEFT JOIN block b "
                "ON b.id = r.block WHERE r.session = ? AND r.n >= 0 ORDER BY r.n",
                session_);
    while (query.next()) {
        // What a file that was changed says otherwise is no block of ours, and what has been
        // deleted is none: it will be replaced, once it is computed anew.
        if (query.find_integer(0) != static_cast<int64_t>(kept_.size())) break;
        Block block;
        const auto key = query.find_blob(2);
        if (key && key->size() == sizeof(Hash128)) {
            std::memcpy(&block.key.emplace(), key->data(), sizeof(Hash128));
            block.id = query.integer(1);  // the block's own: it has been found by it
        }
        kept_.push_back(block);
    }
    snapshots_.clear();
    Query behind(file_.db(),
                 "SELECT -r.n, r.block, b.key FROM session_block r JOIN block b ON b.id = r.block "
                 "WHERE r.session = ? AND r.n < 0 AND r.n > -1048577 ORDER BY r.n DESC",
                 session_);
    while (behind.next()) {
        const auto key = behind.find_blob(2);
        if (!key || key->size() != sizeof(Hash128)) continue;
        Snapshot snapshot;
        snapshot.position = static_cast<size_t>(behind.integer(0));
        std::memcpy(&snapshot.block.key.emplace(), key->data(), sizeof(Hash128));
        snapshot.block.id = behind.integer(1);
        snapshots_.push_back(snapshot);
    }
}

std::optional<int64_t> BlockStore::find(const Hash128& key) {
    Query query(file_.db(), "SELECT id FROM block WHERE key = ?", bytes_of(key));
    if (!query.next()) return std::nullopt;
    return query.integer(0);
}

// The leading blocks that the file has.
std::vector<BlockStore::Block> BlockStore::known(std::span<const Hash128> keys) {
    std::vector<Block> blocks;
    for (const Hash128& key : keys) {
        const size_t n = blocks.size();
        const std::optional<int64_t> id =
            n < kept_.size() && kept_[n].key == key ? kept_[n].id : find(key);
        if (!id || damaged_.contains(*id)) break;
        blocks.push_back({key, *id});
    }
    return blocks;
}

// How many of the leading blocks the session refers to already.
size_t BlockStore::already_kept(std::span<const Hash128> keys) const {
    size_t n = 0;
    while (n < keys.size() && n < kept_.size() && kept_[n].key == keys[n] &&
           !damaged_.contains(kept_[n].id))
        ++n;
    return n;
}

// A layer after the other. False where one no longer holds the block.
bool BlockStore::write(const KvCache& cache, int64_t sequence, int64_t position, const Hash128& key,
                       std::optional<int64_t>& id) {
    std::vector<std::byte> part;  // a layer's
    std::vector<uint64_t> checksums;
    for (int64_t layer = 0; layer < layers_of(cache); ++layer) {
        if (!cache.copy_block(sequence, layer, position, part)) return false;
        checksums.push_back(hash64(part.data(), part.size()));
    }
    const int64_t bytes = row_bytes(cache);
    file_.begin();
    if (!id) {
        Query(file_.db(), "INSERT INTO block(key, checksums, data) VALUES (?, ?, zeroblob(?))",
              bytes_of(key), std::as_bytes(std::span(checksums)), bytes)
            .run();
        id = file_.db().inserted();
    } else {
        Query(file_.db(), "UPDATE block SET checksums = ?, data = zeroblob(?) WHERE id = ?",
              std::as_bytes(std::span(checksums)), bytes, *id)
            .run();
    }
    Blob blob;
    file_.db().check(blob.open(file_.db(), "block", "data", *id, Access::write));
    size_t at = 0;
    for (int64_t layer = 0; layer < layers_of(cache); ++layer) {
        cache.copy_block(sequence, layer, position, part);
        file_.db().check(blob.write(at, part));
        at += part.size();
    }
    return true;
}

void BlockStore::keep(const KvCache* cache, int64_t sequence, std::span<const int32_t> held,
                      std::span<const int32_t> tokens) {
    if (!cache) return;
    const std::vector<Hash128> keys = block_keys(first_, tokens);
    const auto [same, unused] =
        std::mismatch(held.begin(), held.end(), tokens.begin(), tokens.end());
    const auto there = static_cast<size_t>(same - held.begin());
    const size_t n = already_kept(keys);
    std::vector<Block> more;
    for (size_t i = n; i < keys.size(); ++i) {
        std::optional<int64_t> id = find(keys[i]);
        if (!id || damaged_.contains(*id)) {
            const std::optional<int64_t> before = id;
            if ((i + 1) * kPositions > there ||
                !write(*cache, sequence, static_cast<int64_t>(i * kPositions), keys[i], id))
                break;
            if (before) damaged_.erase(*before);
        }
        more.push_back({keys[i], *id});
    }
    if (more.empty() && n == kept_.size()) return;
    file_.begin();
    // First the new ones, so that a block that stays in use is not taken for an unused one.
    for (size_t i = 0; i < more.size(); ++i)
        Query(file_.db(),
              "INSERT OR REPLACE INTO session_block(session, n, block) VALUES (?, ?, ?)", session_,
              static_cast<int64_t>(n + i), more[i].id)
            .run();
    Query(file_.db(), "DELETE FROM session_block WHERE session = ? AND n >= ?", session_,
          static_cast<int64_t>(n + more.size()))
        .run();
    // What REPLACE removes fires no trigger.
    for (size_t i = n; i < kept_.size(); ++i)
        if (kept_[i].key)
            Query(file_.db(),
                  "DELETE FROM block WHERE id = ? "
                  "AND NOT EXISTS (SELECT 1 FROM session_block WHERE block = block.id)",
                  kept_[i].id)
                .run();
    kept_.resize(n);
    kept_.insert(kept_.end(), more.begin(), more.end());
}

// A windowed layer lets go of its older blocks: what the next pass may overwrite is written now.
void BlockStore::passed(const KvCache* cache, int64_t sequence, std::span<const int32_t> tokens) {
    if (!cache) return;
    const KvCache::Config& config = cache->config();
    const auto end = static_cast<int64_t>(tokens.size());
    std::optional<int64_t> kept;  // of these tokens' blocks
    for (const KvLayer& layer : cache->layers()) {
        if (layer.window == 0) continue;
        const int64_t blocks = kv_blocks(std::min(end + config.chunk, config.context));
        if (!kept) kept = static_cast<int64_t>(already_kept(block_keys(first_, tokens)));
        const int64_t ring = kv_blocks_kept(config.context, config.chunk, layer.window);
        if (blocks - ring <= *kept) continue;
        if (*kept < end / kKvBlock) keep(cache, sequence, tokens, tokens);
        return;
    }
}

// Brings those layers back that hold the block at `position`, now that begin_restore() has said how
// many there are. False if it is damaged.
bool BlockStore::load(KvCache& cache, int64_t sequence, const Block& block, int64_t position,
                      size_t held) {
    std::vector<uint64_t> checksums(static_cast<size_t>(layers_of(cache)));
    {
        Query query(file_.db(), "SELECT checksums FROM block WHERE id = ?", block.id);
        if (!query.next()) return false;
        const auto stored = query.find_blob(0);
        if (!stored || stored->size() != checksums.size() * sizeof(uint64_t)) return false;
        std::memcpy(checksums.data(), stored->data(), stored->size());
    }
    Blob blob;
    const int opened = blob.open(file_.db(), "block", "data", block.id, Access::read);
    if (opened == SQLITE_ERROR) return false;  // not a blob
    file_.db().check(opened);
    if (blob.bytes() != row_bytes(cache)) return false;
    std::vector<std::byte> part;  // a layer's
    size_t at = 0;
    for (int64_t layer = 0; layer < layers_of(cache); ++layer) {
        const auto size = static_cast<size_t>(cache.block_bytes(layer));
        const int64_t window = cache.layers()[static_cast<size_t>(layer)].window;
        // A layer without a window still holds what it held.
        const bool wanted = window > 0 ? position >= cache.first_held(sequence, layer)
                                       : position + kKvBlock > static_cast<int64_t>(held);
        if (wanted) {
            part.resize(size);
            file_.db().check(blob.read(at, part));
            if (hash64(part.data(), part.size()) != checksums[static_cast<size_t>(layer)])
                return false;
            cache.restore_block(sequence, layer, position, part);
        }
        at += size;
    }
    return true;
}

// Brings back the blocks that a layer does not hold yet, in their order. False where one is
// damaged, which is then known as such.
bool BlockStore::load_blocks(KvCache& cache, int64_t sequence, std::span<const Block> blocks,
                             size_t held, size_t& damaged) {
    for (size_t n = 0; n < blocks.size(); ++n) {
        if (load(cache, sequence, blocks[n], static_cast<int64_t>(n * kPositions), held)) continue;
        damaged = n;
        damaged_.insert(blocks[n].id);
        notice_(
            fmt::format("{}: the keys and values of tokens {} to {} are damaged: computing "
                        "them anew",
                        file_.name(), n * kPositions, (n + 1) * kPositions - 1));
        return false;
    }
    return true;
}

// The states, one after the other, then what keys and values the last block has, layer by layer.
// Nothing where a layer no longer holds those.
std::optional<int64_t> BlockStore::write_snapshot(const Remembered& of, int64_t sequence,
                                                  size_t position, const Hash128& key) {
    const auto rows = static_cast<int64_t>(position % kPositions);
    const auto block = static_cast<int64_t>(position) - rows;
    int64_t bytes = of.states->bytes_per_sequence();
    if (of.cache && rows > 0) bytes += row_bytes(*of.cache);
    const auto for_each = [&](const auto& use) {
        for (int64_t state = 0; state < static_cast<int64_t>(of.states->shapes().size()); ++state)
            use(of.states->at(sequence, state, static_cast<int64_t>(position)));
        std::vector<std::byte> part;
        for (int64_t layer = 0; of.cache && rows > 0 && layer < layers_of(*of.cache); ++layer) {
            if (!of.cache->copy_block(sequence, layer, block, part, rows)) return false;
            use(std::span<const std::byte>(part));
        }
        return true;
    };
    std::vector<uint64_t> checksums;
    if (!for_each([&](std::span<const std::byte> piece) {
            checksums.push_back(hash64(piece.data(), piece.size()));
        }))
        return std::nullopt;
    Query(file_.db(), "INSERT INTO block(key, checksums, data) VALUES (?, ?, zeroblob(?))",
          bytes_of(key), std::as_bytes(std::span(checksums)), bytes)
        .run();
    const int64_t id = file_.db().inserted();
    Blob blob;
    file_.db().check(blob.open(file_.db(), "block", "data", id, Access::write));
    size_t at = 0;
    for_each([&](std::span<const std::byte> piece) {
        file_.db().check(blob.write(at, piece));
        at += piece.size();
    });
    return id;
}

void BlockStore::drop_snapshot(const Snapshot& snapshot) {
    Query(file_.db(), "DELETE FROM session_block WHERE session = ? AND n = ?", session_,
          -static_cast<int64_t>(snapshot.position))
        .run();
}

// Whether the states after `tokens` are there, and what a pass from there on needs beside them.
bool BlockStore::can_keep(const Remembered& of, int64_t sequence,
                          std::span<const int32_t> tokens) const {
    const auto position = static_cast<int64_t>(tokens.size());
    return of.states->rewind(sequence, position) == position &&
           (!of.cache || (of.cache->rewind(sequence, position) == position &&
                          already_kept(block_keys(first_, tokens)) >= tokens.size() / kPositions));
}

// Of tokens that the session no longer has.
void BlockStore::drop_stale(std::span<const int32_t> tokens) {
    std::erase_if(snapshots_, [&](const Snapshot& snapshot) {
        const bool stale =
            snapshot.position > tokens.size() || damaged_.contains(snapshot.block.id) ||
            snapshot_key(first_, tokens.first(snapshot.position)) != snapshot.block.key;
        if (stale) drop_snapshot(snapshot);
        return stale;
    });
}

size_t BlockStore::most_snapshots(const Remembered& of) const {
    if (!snapshot_bytes_) return kSnapshots;
    const int64_t each = of.states->bytes_per_sequence() + (of.cache ? row_bytes(*of.cache) : 0);
    return static_cast<size_t>(std::max<int64_t>(1, *snapshot_bytes_ / each));
}

void BlockStore::add_snapshot(const Remembered& of, int64_t sequence,
                              std::span<const int32_t> tokens, bool passing) {
    const auto position = static_cast<int64_t>(tokens.size());
    const auto behind =
        std::ranges::lower_bound(snapshots_, tokens.size(), {}, &Snapshot::position);
    if (behind != snapshots_.end() && behind->position == tokens.size()) {
        behind->passing = behind->passing && passing;
        return;
    }
    const Hash128 key = snapshot_key(first_, tokens);
    std::optional<int64_t> id = find(key);
    if (id && damaged_.contains(*id)) {
        Query(file_.db(), "DELETE FROM session_block WHERE block = ?", *id).run();
        id.reset();
    }
    if (!id) id = write_snapshot(of, sequence, tokens.size(), key);
    if (!id) return;
    Query(file_.db(), "INSERT OR REPLACE INTO session_block(session, n, block) VALUES (?, ?, ?)",
          session_, -position, *id)
        .run();
    snapshots_.insert(behind, {tokens.size(), {key, *id}, passing});
    const size_t most = most_snapshots(of);
    while (snapshots_.size() > most) {
        // One on the way of an answer that has gone on goes first; then the oldest.
        auto out = std::ranges::find(snapshots_, true, &Snapshot::passing);
        if (out == snapshots_.end() || out->position == snapshots_.back().position)
            out = snapshots_.begin();
        drop_snapshot(*out);
        snapshots_.erase(out);
    }
}

// Where a turn has ended; in its question, where a snapshot in memory is; and on its way where much
// has been read since the last.
void BlockStore::keep_snapshots(const Remembered& of, int64_t sequence,
                                std::span<const int32_t> held, std::span<const int32_t> tokens,
                                bool at_end) {
    if (!of.states) return;
    // Of an answer that a stop text has ended, the last tokens are none of the session's.
    const auto [differs, unused] =
        std::mismatch(held.begin(), held.end(), tokens.begin(), tokens.end());
    const auto there = static_cast<size_t>(differs - held.begin());
    size_t last = 0;
    for (const Snapshot& snapshot : snapshots_)
        if (snapshot.position <= there) last = snapshot.position;
    const bool here = there > 0 && there == held.size() &&
                      (at_end || last == 0 || held.size() >= last + kSnapshotEveryTokens) &&
                      can_keep(of, sequence, held);
    const auto question = static_cast<size_t>(of.states->question(sequence));
    // Once: where there is room for one, that of the turn's end takes its place.
    const bool asked = question > 0 && question <= there && question != question_ &&
                       can_keep(of, sequence, held.first(question));
    if (!here && !asked) return;
    file_.begin();
    drop_stale(tokens);
    if (asked) {
        add_snapshot(of, sequence, held.first(question), false);
        question_ = question;
    }
    if (here) add_snapshot(of, sequence, held, !at_end);
}

// False where it is damaged: nothing can be said of the sequence then.
bool BlockStore::load_snapshot(const Remembered& of, int64_t sequence, const Snapshot& snapshot) {
    const auto rows = static_cast<int64_t>(snapshot.position % kPositions);
    const auto block = static_cast<int64_t>(snapshot.position) - rows;
    const auto states = static_cast<int64_t>(of.states->shapes().size());
    const int64_t layers = of.cache && rows > 0 ? layers_of(*of.cache) : 0;
    std::vector<uint64_t> checksums(static_cast<size_t>(states + layers));
    {
        Query query(file_.db(), "SELECT checksums FROM block WHERE id = ?", snapshot.block.id);
        if (!query.next()) return false;
        const auto stored = query.find_blob(0);
        if (!stored || stored->size() != checksums.size() * sizeof(uint64_t)) return false;
        std::memcpy(checksums.data(), stored->data(), stored->size());
    }
    Blob blob;
    const int opened = blob.open(file_.db(), "block", "data", snapshot.block.id, Access::read);
    if (opened == SQLITE_ERROR) return false;  // not a blob
    file_.db().check(opened);
    if (blob.bytes() != of.states->bytes_per_sequence() + (layers > 0 ? row_bytes(*of.cache) : 0))
        return false;
    std::vector<std::byte> part;
    size_t at = 0, n = 0;
    const auto read = [&](int64_t bytes) {
        part.resize(static_cast<size_t>(bytes));
        file_.db().check(blob.read(at, part));
        at += part.size();
        return hash64(part.data(), part.size()) == checksums[n++];
    };
    for (int64_t state = 0; state < states; ++state) {
        if (!read(of.states->shapes()[static_cast<size_t>(state)].bytes())) return false;
        of.states->restore(sequence, state, static_cast<int64_t>(snapshot.position), part);
    }
    for (int64_t layer = 0; layer < layers; ++layer) {
        if (!read(of.cache->block_bytes(layer))) return false;
        of.cache->restore_block(sequence, layer, block, part);
    }
    return true;
}

// The latest snapshot that is of these tokens, with the blocks before it.
size_t BlockStore::restore_snapshot(const Remembered& of, int64_t sequence,
                                    std::span<const int32_t> tokens, size_t held) {
    for (auto snapshot = snapshots_.rbegin(); snapshot != snapshots_.rend(); ++snapshot) {
        const size_t position = snapshot->position;
        // The last token is computed anyway.
        if (position >= tokens.size() || damaged_.contains(snapshot->block.id) ||
            snapshot_key(first_, tokens.first(position)) != snapshot->block.key)
            continue;
        if (position <= held) break;
        std::vector<Block> blocks;
        if (of.cache) {
            blocks = known(block_keys(first_, tokens.first(position)));
            if (blocks.size() < position / kPositions) continue;
            of.cache->begin_restore(sequence, static_cast<int64_t>(position));
        }
        size_t damaged = 0;
        if (of.cache && !load_blocks(*of.cache, sequence, blocks, held, damaged)) {
            held = 0;
            continue;
        }
        if (load_snapshot(of, sequence, *snapshot)) return position;
        damaged_.insert(snapshot->block.id);
        notice_(
            fmt::format("{}: what was kept of the recurrent state after {} is damaged: "
                        "computing it anew",
                        file_.name(), counted(position, "token")));
        held = 0;
    }
    return held;
}

size_t BlockStore::restore(const Remembered& of, int64_t sequence, std::span<const int32_t> tokens,
                           size_t held) {
    if (of.states) return restore_snapshot(of, sequence, tokens, held);
    KvCache* const cache = of.cache;
    if (!cache) return held;
    // The last token is computed anyway.
    std::vector<Block> blocks = known(block_keys(first_, tokens.first(tokens.size() - 1)));
    if (blocks.size() * kPositions <= held) return held;
    while (true) {
        const auto length = static_cast<int64_t>(blocks.size() * kPositions);
        cache->begin_restore(sequence, length);
        size_t n = 0;
        if (load_blocks(*cache, sequence, blocks, held, n)) return static_cast<size_t>(length);
        // Rings have been overwritten: from the beginning, with what is before it.
        blocks.resize(n);
        held = 0;
    }
}

}  // namespace llmsql
