// SPDX-License-Identifier: MIT
// How a model's makers would have its tokens picked: GGUF's general.sampling.*, a folder's
// generation_config.json.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "importer/gguf.h"
#include "importer/hf_folder.h"
#include "importer/tokenizer.h"

namespace llmsql {

/// Options by the names that they have in SQL ("top_k"), and their values as text. In llm_meta each
/// stands under "sampling." and its name.
using Sampling = std::vector<std::pair<std::string, std::string>>;

/// What a source says, in a fixed order. Notes what was taken, and leaves out with a note what is
/// no such number, or is asked for and does not exist here.
Sampling sampling_of(const Gguf& gguf, const Note& note);
Sampling sampling_of(const HfFolder& folder, const Note& note);

}  // namespace llmsql
