// SPDX-License-Identifier: MIT
// --verify: whether a model database is what was imported.
#pragma once

#include "runtime/cli/options.h"
#include "runtime/weights/model_db.h"

namespace llmsql {

/// Catalogue, vocabulary and metadata against the digests that the import has left. Fails where
/// they differ. False where there are no digests to compare with, as in what older versions
/// imported: then the catalogue alone has been compared, by its checksum.
bool verify_tables(const ModelDb& db);

/// What is to be said where verify_tables() was false.
inline constexpr char kNoDigests[] =
    "it was imported by an older version, without digests: that each strip of weights is the right "
    "parameter's, and that the vocabulary is what was imported, cannot be checked; import the "
    "model "
    "again to have that";

/// Mode::verify: the b-trees, the tokenizer, the tables, and every strip of every weight.
int run_verify(ModelDb& db, const Options& options);

}  // namespace llmsql
