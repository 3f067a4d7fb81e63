// SPDX-License-Identifier: MIT
// The files of template/, as they are in the tree.
#pragma once

namespace llmsql {

struct TemplateFile {
    const char* name;
    const char* text;
};

/// Ends with a null name.
extern const TemplateFile kTemplate[];

}  // namespace llmsql
