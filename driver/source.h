// SPDX-License-Identifier: MIT
// What a model is brought as: a GGUF file, a Hugging Face folder, a model database; and what tells
// one from another without reading it whole.
#pragma once

#include <filesystem>
#include <span>
#include <string>

namespace llmsql::driver {

enum class SourceKind { gguf, folder, database };

struct IdentifiedSource {
    SourceKind kind = SourceKind::gguf;
    std::filesystem::path path;  // canonical; of a split GGUF the first part there is
    /// Lines: for each file that matters its name, size, time of change, and the checksum of its
    /// first megabyte. Another file, or one that was changed, gives another text.
    std::string identity;
};

/// Fails, in a line, at what is none of the three, or cannot be read. Opens files, and no more of
/// each than a megabyte is read.
IdentifiedSource identify(const std::filesystem::path& path);

/// 32 hexadecimal digits that stand for some texts, each for itself: {"ab", "c"} and {"a", "bc"}
/// differ.
std::string key_of(std::span<const std::string> texts);

/// Whether a model database has the size that its header says, as far as a glance can tell.
bool is_whole_database(const std::filesystem::path& file);

}  // namespace llmsql::driver
