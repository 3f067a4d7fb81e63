// SPDX-License-Identifier: MIT
// llm_render: a chat template in Jinja as SQL (docs/plan-format.md, "chat").
#pragma once

#include <functional>

#include "sqlite/api.h"

namespace llmsql {

/// Registers the table-valued function on a connection:
///
///     SELECT markup, content FROM llm_render(template, messages [, variables [, date [, own]]])
///
/// Its rows are what the template makes, in turn what it wrote itself and what a user gave. `pulse`
/// is called between pieces of work, and throws where the call must end.
void register_render_table(
    sqlite3* db, std::function<void()> pulse = [] {});

/// llm_render(template, messages [, variables [, date]]): all of it as one text.
void render_text(sqlite3_context* context, int count, sqlite3_value** values);

}  // namespace llmsql
