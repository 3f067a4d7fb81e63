// SPDX-License-Identifier: MIT
// Comparing a model database with its digests and checksums. See verify.h.
#include "runtime/cli/verify.h"

#include <vector>

#include "common/catalogue.h"
#include "common/error.h"
#include "common/row_digest.h"
#include "database/model_digest.h"
#include "runtime/cli/console.h"
#include "runtime/text/tokenizer.h"
#include "runtime/weights/weights.h"
#include "sqlite/statement.h"

namespace llmsql {

bool verify_tables(const ModelDb& db) {
    const std::string path = db.path().string();
    const auto differ = [&](std::string_view what) {
        fail("{}: {} is not as it was imported; import the model again", path, what);
    };
    const std::string catalogue = catalogue_checksum(db.catalogue());
    if (db.meta("catalogue") != catalogue) differ("the catalogue (llm_param)");
    constexpr char kDigests[] = "SELECT count(*) FROM llm_meta WHERE substr(key, 1, 7) = 'digest.'";
    if (db.connection().integer(kDigests) == 0) return false;
    for (const std::string_view table : kDigestedTables)
        if (db.meta(std::string(kDigestKey) + std::string(table)) !=
            table_digest(db.connection(), table))
            differ(table);
    return true;
}

namespace {

int verify(const ModelDb& db, const Options& options) {
    const std::string path = db.path().string();
    db.file()->fill_page_cache([] { return interrupt() != 0; });
    stop_if_interrupted();
    {
        Query check(db.connection(), "PRAGMA integrity_check(1)");
        if (!check.next() || check.as_text(0) != "ok")
            fail("{}: the database file is damaged ({}); import the model again", path,
                 check.as_text(0));
    }
    const bool whole = verify_tables(db);
    const Tokenizer tokenizer(db);  // has to make sense of its tables
    Workers workers(options.threads);
    // Nothing held but vectors, so that a model larger than memory can be verified.
    std::vector<Residency> streamed;
    uint64_t bytes = 0;
    for (const ParamEntry& entry : db.catalogue()) {
        streamed.push_back({static_cast<int>(streamed.size()) + 1, 0,
                            tile_count(entry.type, entry.shape, db.cut()) - 1,
                            entry.shape.is_vector()});
        bytes += param_bytes(entry.type, entry.shape);
    }
    PoolOptions reading;
    reading.io = options.io.value_or(IoMode::read);
    WeightPool(db, streamed, reading, workers).verify_all(workers, stop_if_interrupted);
    print(fmt::format("{}: {} parameters, {} bytes of weights: {}\n", path, streamed.size(), bytes,
                      whole ? "all as imported" : "no damage found"));
    if (!whole) print(fmt::format("{}: {}\n", path, kNoDigests));
    if (const auto ignored = db.meta("ignored"))
        print(one_line(fmt::format("{}: imported with --ignore-key, without {}", path, *ignored)) +
              "\n");
    return 0;
}

}  // namespace

int run_verify(ModelDb& db, const Options& options) {
    db.on_interrupt([] { return interrupt() != 0; });
    try {
        return verify(db, options);
    } catch (const Error&) {
        stop_if_interrupted();  // it may be a statement that was ended by that
        throw;
    }
}

}  // namespace llmsql
