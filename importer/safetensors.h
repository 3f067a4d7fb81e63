// SPDX-License-Identifier: MIT
// A reader of safetensors files: where each tensor lies, after checking that it can lie there.
//
// A file is the length of a header (u64, little-endian), the header, and the tensors' data. The
// header is a JSON object from names to {"dtype", "shape", "data_offsets": [begin, end]}, the
// offsets counted from the header's end; "__metadata__" holds strings. Nothing in it is trusted:
// the data must be exactly what the tensors' types and shapes say, without overlaps, holes or a
// rest.
#pragma once

#include <vector>

#include "importer/source.h"

namespace llmsql {

/// The tensors of a file that outlives them, in the order of their data.
std::vector<SourceTensor> read_safetensors(const RandomAccessFile& file);

}  // namespace llmsql
