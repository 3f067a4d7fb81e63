// SPDX-License-Identifier: MIT
// Putting a conversation into a plan's chat section. See chat_template.h.
#include "runtime/program/chat_template.h"

#include <string_view>
#include <utility>

#include "common/error.h"
#include "jinja/conversation.h"
#include "runtime/program/render_function.h"
#include "runtime/program/text_functions.h"

namespace llmsql {
namespace {

constexpr size_t kLongestChat = 64 << 20;  // bytes of all that a chat section makes
constexpr size_t kMostStops = 10000;

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
    tell_ = connection.connection().prepare("UPDATE temp.conversation SET messages = ?, date = ?");
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

std::vector<Fragment> ChatTemplate::render(std::span<const ChatMessage> messages) {
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
    for (const ChatMessage& message : messages)
        conversation +=
            fmt::format("{}{{\"role\": {}, \"content\": {}}}", conversation.size() > 1 ? ", " : "",
                        jinja::json_text(message.role), jinja::json_text(message.content));
    tell(conversation + "]");
    return fragments();
}

std::vector<Fragment> ChatTemplate::render_json(std::string_view conversation) {
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
    tell(conversation);
    return fragments();
}

void ChatTemplate::set_date(std::string date) {
    if (!date.empty()) jinja::seconds_of(date);
    date_ = std::move(date);
}

void ChatTemplate::tell(std::string_view conversation) {
    const int most = sqlite3_limit(connection_->handle(), SQLITE_LIMIT_LENGTH, -1);
    if (conversation.size() > static_cast<size_t>(most))
        fail("a conversation of {} bytes is too long for a chat: {} there may be",
             conversation.size(), most);
    Query(tell_, conversation, std::string_view(date_)).run();
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
