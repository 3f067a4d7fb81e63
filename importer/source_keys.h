// SPDX-License-Identifier: MIT
// What a source's metadata says and a graph does not read: does it change what the model computes?
//
// A key passes that the graph reads, that the graph says to ignore, that never bears on what is
// computed, or whose value is the one that changes nothing (a scale of 1, a cap of 0). Every other
// ends the import, known or not: a model that says more than its graph knows is another model.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/error.h"
#include "compiler/load/load.h"
#include "importer/source.h"

namespace llmsql {

using compiler::KeysRead;
using compiler::Model;
using compiler::SourceMetadata;

/// Keys that were passed over by name: "llama.rope.scale_linear", or an object of config.json with
/// all its members.
bool is_ignored(const std::vector<std::string>& ignored, std::string_view key);

/// The keys of `ignored` with their values, "llama.rope.scale_linear = 8". Fails if the source has
/// no such key.
std::vector<std::string> describe_ignored(const std::vector<std::string>& ignored,
                                          const Source& source);

/// A value as messages show it.
std::string text_of(const SourceValue& value);

/// What check_keys throws.
class ForeignKeys : public Error {
    using Error::Error;
};

/// Throws ForeignKeys, naming keys and their values, if the source says something of which the
/// graph knows nothing. `metadata` is the source as the graph sees it.
void check_keys(const Source& source, const SourceMetadata& metadata, const KeysRead& keys,
                const std::vector<std::string>& ignored, const std::string& graph);

/// Fails where a list that the graph reads element by element, one a repetition of a block, has
/// more or fewer elements than the model has repetitions of any block.
void check_lists(const Source& source, const KeysRead& keys, const Model& model);

}  // namespace llmsql
