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

/// One plan over one model. Used by one thread at a time; evaluation shares work out by itself.
struct Engine {
    Engine(const ModelDb& db, int threads) : db(db), evaluator(threads) {}

    const ModelDb& db;
    Evaluator evaluator;
    OperatorState operators;
    std::optional<WeightPool> weights;  // made when the plan has been found to match the database
    std::optional<Arena> arena;         // made by llm_tensor
    std::optional<KvCache> cache;       // made by llm_kv
    std::string model;                  // the plan's name of the model, from llm_param
    std::string catalogue;              // and its catalogue checksum
    std::vector<ParamEntry> declared;   // rows inserted into `param`: the plan's catalogue
    uint64_t writes = 0;                // rows that `slot` and `kv` have taken
    bool declaring = false;             // a virtual table is telling SQLite its columns
    bool shapes_only = false;           // reading `tensor.data` yields shapes, nothing computed
};

}  // namespace llmsql
