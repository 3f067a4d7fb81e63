// SPDX-License-Identifier: MIT
// Putting a conversation into a plan's chat section. See chat_template.h.
#include "runtime/program/chat_template.h"

#include <string_view>
#include <utility>

#include "common/error.h"
#include "common/utf8.h"
#include "jinja/conversation.h"
#include "jinja/meter.h"
#include "runtime/program/render_function.h"
#include "runtime/program/text_functions.h"

namespace llmsql {
namespace {

constexpr size_t kLongestChat = 64 << 20;  // bytes of all that a chat section makes
constexpr size_t kMostStops = 10000;

constexpr size_t kLongestMark = 60, kLongestSequence = 200;
constexpr std::string_view kSpaces = " \t\r\n";

std::string_view without_spaces(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of(kSpaces), text.size()));
    return text.substr(0, text.find_last_not_of(kSpaces) + 1);
}

/// Fails, saying where, if these are not JSON of a conversation and of its variables.
void require_conversation(std::string_view conversation, std::string_view variables) {
    for (const auto& [text, name] :
         {std::pair(conversation, "the conversation"), std::pair(variables, "the variables")})
        if (const auto at = first_invalid_utf8(text))
            fail("{} is not valid UTF-8: byte 0x{:02X} at offset {}", name,
                 static_cast<unsigned char>(text[*at]), *at);
    const jinja::Limits limits;
    const jinja::Meter meter(limits);
    jinja::conversation(conversation, variables, "");
}

/// The <mark> or [mark] that a text ends with, or begins with, but for spaces; empty: none.
std::string mark_at_end(std::string_view text) {
    while (!text.empty() && std::string_view(" \t\r\n").find(text.back()) != std::string_view::npos)
        text.remove_suffix(1);
    const size_t from = text.size() - std::min(text.size(), kLongestMark);
    const size_t begin = text.ends_with('>')   ? text.rfind('<')
                         : text.ends_with(']') ? text.rfind('[')
                                               : std::string_view::npos;
    return begin == std::string_view::npos || begin < from ? "" : std::string(text.substr(begin));
}
std::string mark_at_start(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    const size_t end = text.starts_with('<')   ? text.find('>')
                       : text.starts_with('[') ? text.find(']')
                                               : std::string_view::npos;
    return end == std::string_view::npos || end >= kLongestMark
               ? ""
               : std::string(text.substr(0, end + 1));
}

/// The shortest end of a text that begins with a mark and stands nowhere else in it: several marks
/// and words, where each of them is usual.
std::string own_end(std::string_view text) {
    const size_t from = text.size() - std::min(text.size(), kLongestMark);
    for (size_t begin = text.size(); begin-- > from;) {
        if (text[begin] != '<' && text[begin] != '[') continue;
        const std::string_view end = text.substr(begin);
        if (text.find(end) == begin) return std::string(end);
    }
    return "";
}

}  // namespace

ChatTemplate::ChatTemplate(const PlanFile& plan, const ModelDb& db, std::function<void()> progress)
    : plan_(plan), model_has_template_(db.meta("tokenizer.chat_template").has_value()) {
    if (!plan.find("chat") && !plan.find("stop")) return;
    PlanConnection& connection = connection_.emplace(plan);
    sqlite3* const handle = connection.handle();
    register_text_functions(handle, [this] { connection_->sandbox().check(); });
    register_render_table(handle, [this] { connection_->sandbox().check(); });
    connection.connection().execute(
        "CREATE TABLE temp.message(id INTEGER PRIMARY KEY, role TEXT, content TEXT);"
        "CREATE TABLE temp.conversation(messages TEXT, variables TEXT, date TEXT);"
        "INSERT INTO temp.conversation VALUES ('[]', '{}', NULL)");
    // SQLite makes the function's table where it is first named, which a plan may not.
    connection.connection().prepare("SELECT 1 FROM llm_render('', '[]')");
    tell_ = connection.connection().prepare(
        "UPDATE temp.conversation SET messages = ?, date = ?, variables = ?");
    clear_ = connection.connection().prepare("DELETE FROM temp.message");
    insert_ =
        connection.connection().prepare("INSERT INTO temp.message(role, content) VALUES (?, ?)");
    connection.guard(SandboxKind::text);
    connection.sandbox().on_progress(std::move(progress));
    chat_ = connection.prepare_section("chat", Sandbox::Section::text);
    stop_ = connection.prepare_section("stop", Sandbox::Section::text);
    connection.sandbox().seal();
    if (chat_.size() > 1) fail("{}: the section 'chat' must be one query", chat_[1].where);
}

void ChatTemplate::on_progress(std::function<void()> progress) {
    if (connection_) connection_->sandbox().on_progress(std::move(progress));
}

void ChatTemplate::require() const {
    if (exists()) return;
    const std::string name = plan_.path.string();
    if (model_has_template_)
        fail(
            "{}: has no chat section: the model's chat template is not one that llmsql can run, or "
            "the model file left it out; write [chat] template there (docs/plan-format.md, "
            "\"chat\") and compile it again, or give a text to go on from, not a message",
            name);
    fail(
        "{}: this is a base model without a chat template: give it a text to go on from, not a "
        "message",
        name);
}

std::vector<Fragment> ChatTemplate::render(std::span<const ChatMessage> messages,
                                           std::string_view variables) {
    require();
    connection_->sandbox().rest();
    Query(clear_).run();
    const int most = sqlite3_limit(connection_->handle(), SQLITE_LIMIT_LENGTH, -1);
    for (const ChatMessage& message : messages) {
        for (const std::string& text : {message.role, message.content})
            if (text.size() > static_cast<size_t>(most))
                fail("a message of {} bytes is too long for a chat: {} there may be", text.size(),
                     most);
        Query(insert_, message.role, message.content).run();
    }
    std::string conversation = "[";
    for (const ChatMessage& message : messages) {
        conversation +=
            fmt::format("{}{{\"role\": {}, \"content\": {}", conversation.size() > 1 ? ", " : "",
                        jinja::json_text(message.role), jinja::json_text(message.content));
        if (!message.thinking.empty())
            conversation += ", \"reasoning_content\": " + jinja::json_text(message.thinking);
        conversation += "}";
    }
    tell(conversation + "]", variables);
    return fragments();
}

std::vector<Fragment> ChatTemplate::render_json(std::string_view conversation,
                                                std::string_view variables) {
    require();
    const PlanSection* section = plan_.find("chat");
    if (section->statements.front().sql.find("conversation") == std::string::npos)
        fail(
            "{}: the chat section reads `message`, which knows roles and texts alone, not a "
            "conversation in JSON: import the model without a model file to have its own template "
            "(docs/plan-format.md, \"chat\"), or use --chat, llm_chat or llm_generate",
            chat_.front().where);
    connection_->sandbox().rest();
    Query(clear_).run();
    tell(conversation, variables);
    require_conversation(conversation, variables);
    return fragments();
}

bool ChatTemplate::writes_calls() {
    constexpr std::string_view kName = "call-4f1c";
    if (text().find("conversation") == std::string::npos) return true;
    try {
        std::string text;
        for (const Fragment& fragment : render_json(fmt::format(
                 R"({{"messages": [{{"role": "user", "content": "question"}}, {{"role": "assistant",
                     "content": "answer", "tool_calls": [{{"id": "call4f1c0", "type": "function",
                     "function": {{"name": "{}", "arguments": {{}}}}}}]}}],
                     "add_generation_prompt": false}})",
                 kName)))
            text += fragment.text;
        return text.find(kName) != std::string::npos;
    } catch (const Error&) {  // it takes no such conversation
        return true;
    }
}

std::optional<ThoughtMarks> ChatTemplate::marks_of_thinking() {
    constexpr std::string_view kThought = "thought-4f1c", kAnswer = "answer-4f1c";
    const auto made = [&](std::string_view thought) {
        std::string text;
        for (const Fragment& fragment : render_json(fmt::format(
                 R"({{"messages": [{{"role": "user", "content": "question"}}, {{"role": "assistant",
                     "content": "{}"{}}}], "add_generation_prompt": false, "enable_thinking": true}})",
                 kAnswer, thought)))
            text += fragment.text;
        return text;
    };
    if (text().find("conversation") == std::string::npos) return std::nullopt;
    try {
        // Templates call it by one name or another.
        const std::string with =
            made(fmt::format(R"(, "reasoning_content": "{0}", "reasoning": "{0}")", kThought));
        const size_t at = with.find(kThought), answer = with.find(kAnswer);
        if (at == std::string::npos || answer == std::string::npos || answer < at)
            return std::nullopt;
        const std::string_view all = with;
        const size_t behind = at + kThought.size();
        const std::string_view before = without_spaces(all.substr(0, at)),
                               between = without_spaces(all.substr(behind, answer - behind));
        ThoughtMarks marks{mark_at_end(before), mark_at_start(between), "", "", ""};
        // What stands around every message is no mark of thinking by itself.
        const std::string without = made("");
        const auto is_usual = [&](const std::string& mark) {
            return mark.empty() || without.find(mark) != std::string::npos;
        };
        if (!is_usual(marks.open) && !is_usual(marks.close) && marks.open != marks.close)
            return marks;
        if (marks.close.empty() || between.size() > kLongestSequence) return std::nullopt;
        marks.opening = own_end(before);
        // Nor does it open an answer that was not thought about.
        const std::string_view plain =
            without_spaces(std::string_view(without).substr(0, without.find(kAnswer)));
        if (marks.opening.empty() || plain.ends_with(marks.opening)) return std::nullopt;
        marks.between = between;
        marks.behind = without_spaces(all.substr(answer + kAnswer.size()));
        return marks;
    } catch (const Error&) {  // that template takes no such conversation
        return std::nullopt;
    }
}

std::string ChatTemplate::text() const {
    const PlanSection* section = plan_.find("chat");
    std::string text;
    for (size_t i = 0; section && i < section->statements.size(); ++i)
        text += section->statements[i].sql;
    return text;
}

void ChatTemplate::set_date(std::string date) {
    if (!date.empty()) jinja::seconds_of(date);
    date_ = std::move(date);
}

void ChatTemplate::tell(std::string_view conversation, std::string_view variables) {
    const int most = sqlite3_limit(connection_->handle(), SQLITE_LIMIT_LENGTH, -1);
    if (conversation.size() > static_cast<size_t>(most))
        fail("a conversation of {} bytes is too long for a chat: {} there may be",
             conversation.size(), most);
    Query(tell_, conversation, std::string_view(date_),
          variables.empty() ? std::string_view("{}") : variables)
        .run();
}

std::vector<Fragment> ChatTemplate::fragments() {
    const Prepared& query = chat_.front();
    const ResetAtExit reset(query.statement.get());
    connection_->sandbox().begin();
    const auto next_row = [&] {
        try {
            return connection_->next_row(query);
        } catch (const Error& error) {
            // How a query refuses: docs/plan-format.md, "chat".
            if (std::string_view(error.what()).find("ESCAPE expression") == std::string_view::npos)
                throw;
            fail(
                "{}: the model's chat template refuses this conversation: user and assistant must "
                "take turns, and some models take no system message",
                query.where);
        }
    };
    std::vector<Fragment> fragments;
    size_t bytes = 0;
    while (next_row())
        for (int i = 0; i < sqlite3_column_count(query.statement.get()); ++i)
            if (std::string text = column_text(query.statement.get(), i); !text.empty()) {
                bytes += text.size();
                if (bytes > kLongestChat)
                    fail("{}: the chat comes to more than {} bytes", query.where, kLongestChat);
                fragments.push_back({std::move(text), i % 2 == 0});
            }
    return fragments;
}

std::vector<std::string> ChatTemplate::stop_pieces() {
    std::vector<std::string> pieces;
    for (const Prepared& prepared : stop_) {
        const ResetAtExit reset(prepared.statement.get());
        connection_->sandbox().begin();
        while (connection_->next_row(prepared)) {
            pieces.push_back(column_text(prepared.statement.get(), 0));
            if (pieces.size() > kMostStops)
                fail("{}: more than {} pieces end generation", prepared.where, kMostStops);
        }
    }
    return pieces;
}

}  // namespace llmsql
