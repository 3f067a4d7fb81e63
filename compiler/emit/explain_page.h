// SPDX-License-Identifier: MIT
// What each statement of a plan reads and writes, in words: llmsqlc --explain.
#pragma once

#include <string>

#include "plan/outline.h"

namespace llmsql::compiler {

/// Of the statements that `which` selects (plan/select.h): tensors with their ids, shapes and
/// places, weights with their bytes and what is held of them, layers of the cache; and which
/// statements wrote what is read and will read what is written.
std::string explain_page(const Outline& outline, const std::string& which);

}  // namespace llmsql::compiler
