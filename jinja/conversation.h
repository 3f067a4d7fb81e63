// SPDX-License-Identifier: MIT
// What a chat template is told: a conversation and variables, as transformers' apply_chat_template
// hands them over.
#pragma once

#include <string>
#include <string_view>

#include "jinja/template.h"

namespace llmsql::jinja {

/// The variables of a template, from JSON. `messages` is a list of messages, or an object that has
/// them as `messages` and may have any variable beside (OpenAI's form); `given` is an object of
/// variables, or empty; `own` one of those that belong to the model (bos_token, …), whose texts
/// count as the template's. Keys of messages that are null are left out, what was thought is there
/// under each of its names, `tools` and `documents` are null where nobody gives them, and
/// `add_generation_prompt` is true. A role that templates know counts as the template's text.
Value conversation(std::string_view messages, std::string_view given, std::string_view own);

/// A text in JSON's quotes.
std::string json_text(std::string_view bytes);

/// The time on this machine's clock, and in Greenwich, as seconds_of() takes it.
std::string local_time();
std::string utc_time();

}  // namespace llmsql::jinja
