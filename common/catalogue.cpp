// SPDX-License-Identifier: MIT
// Catalogue checksums. See catalogue.h.
#include "common/catalogue.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <iterator>

namespace llmsql {

uint64_t hash64(const void* data, size_t bytes) {
    return XXH3_64bits(data, bytes);
}

std::string catalogue_checksum(std::span<const ParamEntry> entries) {
    std::string text;
    for (const ParamEntry& entry : entries) {
        const std::string rows = entry.shape.rows ? std::to_string(*entry.shape.rows) : "-";
        fmt::format_to(std::back_inserter(text), "{} {} {} {}\n", entry.name, name_of(entry.type),
                       rows, entry.shape.cols);
    }
    return fmt::format("{:016x}", hash64(text.data(), text.size()));
}

std::string describe(const ParamEntry& entry) {
    if (entry.shape.is_vector())
        return fmt::format("{}[{}]", name_of(entry.type), entry.shape.cols);
    return fmt::format("{}[{}, {}]", name_of(entry.type), *entry.shape.rows, entry.shape.cols);
}

}  // namespace llmsql
