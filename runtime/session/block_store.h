// SPDX-License-Identifier: MIT
// BlockStore: the blocks of a key-value cache in a session file, found by what they were computed
// from. A prefix that any session of the file has read is thereby there for all. Where a model has
// recurrent states, snapshots of them too: of a state there is one position alone, so a session
// goes on from one of the positions that it has kept.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "common/hash.h"
#include "runtime/session/session_file.h"
#include "runtime/state/kv_cache.h"
#include "runtime/state/recurrent.h"

namespace llmsql {

/// The key of each whole block of `tokens`: the hash of the key of the block before (of `first`,
/// for the first one) and the block's 32 tokens.
std::vector<Hash128> block_keys(const Hash128& first, std::span<const int32_t> tokens);

/// The key of a snapshot after `tokens`.
Hash128 snapshot_key(const Hash128& first, std::span<const int32_t> tokens);

/// What a sequence carries from token to token; null where the plan has none.
struct Remembered {
    KvCache* cache = nullptr;
    RecurrentStates* states = nullptr;
};

/// Not thread-safe. Owned by one session; writes within the file's transaction. A null cache has
/// no blocks.
class BlockStore {
  public:
    /// `first` is what the first block's key comes from: all that keys and values depend on besides
    /// the tokens. Snapshots take `snapshot_bytes` at most, but one is kept in any case; absent:
    /// four are. `notice` is told of a damaged block.
    BlockStore(SessionFile& file, const Hash128& first, std::optional<int64_t> snapshot_bytes,
               std::function<void(const std::string&)> notice)
        : file_(file), first_(first), snapshot_bytes_(snapshot_bytes), notice_(std::move(notice)) {}

    /// The session whose blocks these are, from before anything is kept on.
    void attach(int64_t session);

    /// Puts into a sequence of the cache what the file has of the first positions of `tokens`, of
    /// which it holds `held`. Returns how many it then holds: `held` or more. Should it fail,
    /// nothing can be said of what the sequence holds.
    size_t restore(const Remembered& of, int64_t sequence, std::span<const int32_t> tokens,
                   size_t held);

    /// A pass has appended to the sequence, which now holds `tokens`; before the next.
    void passed(const KvCache* cache, int64_t sequence, std::span<const int32_t> tokens);

    /// Makes the session refer to the blocks of `tokens`, as far as the file has them or the
    /// sequence, which holds `held`, can give them. Those that no session refers to any more go.
    /// Begins the file's transaction if something is to be written.
    void keep(const Remembered& of, int64_t sequence, std::span<const int32_t> held,
              std::span<const int32_t> tokens, bool at_end) {
        keep(of.cache, sequence, held, tokens);
        keep_snapshots(of, sequence, held, tokens, at_end);
    }
    void keep(const KvCache* cache, int64_t sequence, std::span<const int32_t> held,
              std::span<const int32_t> tokens);

  private:
    struct Block {
        std::optional<Hash128> key;  // absent: what the session refers to is no block
        int64_t id = 0;
    };
    struct Snapshot {
        size_t position = 0;
        Block block;
        bool passing = false;  // on the way of an answer that went on
    };
    void keep_snapshots(const Remembered& of, int64_t sequence, std::span<const int32_t> held,
                        std::span<const int32_t> tokens, bool at_end);
    bool can_keep(const Remembered& of, int64_t sequence, std::span<const int32_t> tokens) const;
    void drop_stale(std::span<const int32_t> tokens);
    void add_snapshot(const Remembered& of, int64_t sequence, std::span<const int32_t> tokens,
                      bool passing);
    size_t most_snapshots(const Remembered& of) const;
    std::optional<int64_t> write_snapshot(const Remembered& of, int64_t sequence, size_t position,
                                          const Hash128& key);
    void drop_snapshot(const Snapshot& snapshot);
    bool load_snapshot(const Remembered& of, int64_t sequence, const Snapshot& snapshot);
    size_t restore_snapshot(const Remembered& of, int64_t sequence, std::span<const int32_t> tokens,
                            size_t held);
    bool load_blocks(KvCache& cache, int64_t sequence, std::span<const Block> blocks, size_t held,
                     size_t& damaged);
    std::optional<int64_t> find(const Hash128& key);
    size_t already_kept(std::span<const Hash128> keys) const;
    bool write(const KvCache& cache, int64_t sequence, int64_t position, const Hash128& key,
               std::optional<int64_t>& id);
    bool load(KvCache& cache, int64_t sequence, const Block& block, int64_t position, size_t held);
    std::vector<Block> known(std::span<const Hash128> keys);

    SessionFile& file_;
    int64_t session_ = 0;
    const Hash128 first_;
    const std::optional<int64_t> snapshot_bytes_;
    const std::function<void(const std::string&)> notice_;
    std::vector<Block> kept_;          // the session's, in order
    std::vector<Snapshot> snapshots_;  // the session's, by rising position
    size_t question_ = 0;              // the last that has been added
    std::set<int64_t> damaged_;
};

}  // namespace llmsql
