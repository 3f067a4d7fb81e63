// Engine: the state behind a running plan's tables.
#pragma once

#include <optional>
#include <string>

#include "runtime/ops/evaluate.h"
#include "runtime/ops/functions.h"
#include "runtime/storage/arena.h"
#include "runtime/storage/kv_cache.h"
#include "runtime/storage/model_db.h"
#include "runtime/storage/weights.h"

namespace llmsql {

/// What llm_residency says: the plan was compiled for a budget.
struct Budget {
    int64_t bytes = 0;    // of the whole process's peak resident set
    int64_t pool = 0;     // the most bytes of tiles that are held
    int64_t workers = 0;  // the most threads that compute
    int64_t windows = 0;  // bytes for reading: of the file, mapped, or of a ring
    int64_t covered = 0;  // parameters whose tiles the residency rows cover
    uint64_t held = 0;    // bytes of the tiles that they hold
};

/// One plan over one model. Used by one thread at a time; evaluation shares work out by itself.
struct Engine {
    explicit Engine(const ModelDb& db) : db(db) {}

    const ModelDb& db;
    std::optional<Evaluator> evaluator;  // made when init has said how many workers there may be
    OperatorState operators;
    std::optional<WeightPool> weights;  // made when the plan has been found to match the database
    std::optional<Arena> arena;         // made by llm_tensor
    std::optional<KvCache> cache;       // made by llm_kv
    std::string model;                  // the plan's name of the model, from llm_param
    std::string catalogue;              // and its catalogue checksum
    std::optional<Budget> budget;       // made by llm_residency
    std::vector<Residency> residency;   // its rows
    std::vector<ParamEntry> declared;   // rows inserted into `param`: the plan's catalogue
    uint64_t writes = 0;                // rows that `slot` and `kv` have taken
    bool declaring = false;             // a virtual table is telling SQLite its columns
    bool shapes_only = false;           // reading `tensor.data` yields shapes, nothing computed
};

}  // namespace llmsql
