// SPDX-License-Identifier: MIT
// Prompts: a text or a conversation as the tokens that a model reads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/generate/options.h"
#include "runtime/program/chat_template.h"
#include "runtime/text/answer_form.h"
#include "runtime/text/tokenizer.h"

namespace llmsql {

/// Fails if `text`, called `name`, is not valid UTF-8: whoever meets it reads something else in it.
void check_utf8(std::string_view text, std::string_view name);
/// And if it is empty.
void check_prompt(std::string_view text, std::string_view name);

/// Fails if `text` has too many bytes for a context, were they the vocabulary's longest.
/// Before tokenising, which takes 40 bytes and more for each byte of a word: so it takes memory for
/// texts that may fit, and not for any that is given.
void check_length(const Tokenizer& tokenizer, const std::string& text, const ContextLimit& context,
                  const char* name);

void check_length(const Tokenizer& tokenizer, size_t bytes, const ContextLimit& context,
                  const char* name);

/// A text to go on from. Fails if there is nothing in it, or more than the context holds.
std::vector<int32_t> text_prompt(Tokenizer& tokenizer, const std::string& text,
                                 const ContextLimit& context);

/// A conversation, put into the plan's chat section. What is more than the context holds loses its
/// older part if `keep` is given (see GenerateOptions), and fails otherwise. The last message is
/// never cut: fails if it leaves no room. `variables`: see ChatTemplate::render.
std::vector<int32_t> chat_prompt(ChatTemplate& chat, Tokenizer& tokenizer,
                                 std::span<const ChatMessage> messages, const ContextLimit& context,
                                 std::optional<int64_t> keep, std::string_view variables = {});

/// A conversation in JSON (see ChatTemplate::render_json), put into the plan's chat section. Fails
/// where it comes to more than the context holds.
std::vector<int32_t> conversation_prompt(ChatTemplate& chat, Tokenizer& tokenizer,
                                         std::string_view conversation, const ContextLimit& context,
                                         std::string_view variables = {});

/// How answers of a model in a conversation are to be read.
std::shared_ptr<const AnswerForm> form_of(ChatTemplate& chat, const Tokenizer& tokenizer);

/// Of tokens that are more than the context holds, the first `keep` (see GenerateOptions; 0 where
/// negative) and the newer half of what else there is room for, which is more if the last `whole`
/// tokens need it; all, if they are not more. Fails, saying that `what` is too long, without a
/// `keep` or where that leaves no room.
std::vector<int32_t> fit(std::vector<int32_t> tokens, const ContextLimit& context,
                         std::optional<int64_t> keep, size_t whole, const char* what);

}  // namespace llmsql
