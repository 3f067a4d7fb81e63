// SPDX-License-Identifier: MIT
// Making prompts. See prompt.h.
#include "runtime/generate/prompt.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/utf8.h"

namespace llmsql {

void check_utf8(std::string_view text, std::string_view name) {
    if (const auto at = first_invalid_utf8(text))
        fail("{} is not valid UTF-8: byte 0x{:02X} at offset {}", name,
             static_cast<unsigned char>(text[*at]), *at);
}

void check_prompt(std::string_view text, std::string_view name) {
    if (text.empty()) fail("{} is empty: there is nothing to go on from", name);
    check_utf8(text, name);
}

void check_length(const Tokenizer& tokenizer, const std::string& text, const ContextLimit& context,
                  const char* name) {
    check_length(tokenizer, text.size(), context, name);
}

void check_length(const Tokenizer& tokenizer, size_t bytes, const ContextLimit& context,
                  const char* name) {
    const auto most = context.tokens;
    if (bytes <= most) return;
    const size_t longest = tokenizer.longest_token();
    const size_t least = (bytes + longest - 1) / longest;
    if (least > most)
        fail("{} is {}, {} at least, the context holds {}: {}", name, counted(bytes, "byte"),
             counted(least, "token"), context.tokens, context.advice());
}

std::vector<int32_t> text_prompt(Tokenizer& tokenizer, const std::string& text,
                                 const ContextLimit& context) {
    check_prompt(text, "the prompt");
    check_length(tokenizer, text, context, "the prompt");
    std::vector<int32_t> tokens = tokenizer.encode(text, true);
    if (tokens.empty()) fail("the model has no token for anything in the prompt");
    if (tokens.size() > context.tokens)
        fail("the prompt is {}, the context holds {}: {}", counted(tokens.size(), "token"),
             context.tokens, context.advice());
    return tokens;
}

std::vector<int32_t> chat_prompt(ChatTemplate& chat, Tokenizer& tokenizer,
                                 std::span<const ChatMessage> messages, const ContextLimit& context,
                                 std::optional<int64_t> keep, std::string_view variables) {
    chat.require();
    size_t given = 0, made = 0;
    for (const ChatMessage& message : messages) {
        check_length(tokenizer, message.content, context, "a message");
        given += message.role.size() + message.content.size();
    }
    const std::vector<Fragment> fragments = chat.render(messages, variables);
    for (const Fragment& fragment : fragments) made += fragment.text.size();
    // A conversation may have grown past the context where its older part is forgotten; what is
    // made of it may not be much longer.
    check_length(tokenizer, keep ? made - std::min(made, 4 * given) : made, context,
                 "what the chat section makes of the messages");
    std::vector<int32_t> tokens = tokenizer.encode(fragments, true);
    if (tokens.empty()) fail("{}: the chat section made an empty prompt", chat.plan());
    // What is asked now and the markup around it are not what is forgotten.
    size_t last = 0;
    if (keep && tokens.size() > context.tokens) {
        last = tokenizer.encode(chat.render(messages.last(1), variables), true).size();
        if (last > context.tokens)
            fail("the message is {}, the context holds {}: {}", counted(last, "token"),
                 context.tokens, context.advice());
    }
    return fit(std::move(tokens), context, keep, last,
               messages.size() <= 2 ? "prompt is" : "conversation has grown to");
}

std::vector<int32_t> conversation_prompt(ChatTemplate& chat, Tokenizer& tokenizer,
                                         std::string_view conversation, const ContextLimit& context,
                                         std::string_view variables) {
    const std::vector<Fragment> fragments = chat.render_json(conversation, variables);
    size_t made = 0;
    for (const Fragment& fragment : fragments) made += fragment.text.size();
    check_length(tokenizer, made, context, "what the chat section makes of the conversation");
    std::vector<int32_t> tokens = tokenizer.encode(fragments, true);
    if (tokens.empty()) fail("{}: the chat section made an empty prompt", chat.plan());
    return fit(std::move(tokens), context, std::nullopt, 0, "conversation is");
}

std::shared_ptr<const AnswerForm> form_of(ChatTemplate& chat, const Tokenizer& tokenizer) {
    const auto marks = chat.exists() ? chat.marks_of_thinking() : std::nullopt;
    auto form =
        std::make_shared<AnswerForm>(tokenizer, chat.text(), marks.value_or(ThoughtMarks{}));
    form->set_keeps_calls(chat.exists() && !form->tool_forms().empty() && !chat.writes_calls());
    return form;
}

std::vector<int32_t> fit(std::vector<int32_t> tokens, const ContextLimit& context,
                         std::optional<int64_t> keep, size_t whole, const char* what) {
    const auto most = context.tokens;
    if (tokens.size() <= most) return tokens;
    const auto kept = static_cast<size_t>(std::max<int64_t>(0, keep.value_or(0)));
    if (!keep || kept + std::max<size_t>(2, whole) > most)
        fail("the {} {}, the context holds {}: {}", what, counted(tokens.size(), "token"),
             context.tokens,
             keep ? "option 'keep' leaves no room" : "option 'keep' would forget its older part");
    const size_t newer = std::max((most - kept) / 2, whole);
    tokens.erase(tokens.begin() + static_cast<ptrdiff_t>(kept),
                 tokens.end() - static_cast<ptrdiff_t>(newer));
    return tokens;
}

}  // namespace llmsql
