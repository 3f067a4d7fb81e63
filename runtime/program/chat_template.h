// SPDX-License-Identifier: MIT
// ChatTemplate: a plan's chat and stop sections, on a connection of their own.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/program/plan_connection.h"
#include "runtime/text/answer_form.h"
#include "runtime/text/fragment.h"
#include "runtime/weights/model_db.h"

namespace llmsql {

struct ChatMessage {
    std::string role;  // "system", "user", "assistant"
    std::string content;
    std::string thinking = {};  // of an answer: reasoning_content of a template's message
};

/// What it makes depends on the messages alone: no weights, no pass. Used by one thread at a time.
/// Every error is an llmsql::Error; one that comes from a statement starts with the plan's name and
/// line.
class ChatTemplate {
  public:
    /// `plan` outlives it. `progress`, if not null, is called now and then while its statements are
    /// prepared or run; it may throw, to stop.
    ChatTemplate(const PlanFile& plan, const ModelDb& db, std::function<void()> progress);

    /// In place of that, from now on.
    void on_progress(std::function<void()> progress);

    std::string plan() const { return plan_.path.string(); }  // as errors call it

    /// Whether the plan has a chat section; require() fails where it has none, saying what to do.
    bool exists() const { return !chat_.empty(); }
    void require() const;

    /// The chat section over these messages, as fragments for the tokenizer. Fails where the plan
    /// has none, or where it refuses the conversation.
    /// `variables` are the template's by name, a JSON object; empty: none.
    std::vector<Fragment> render(std::span<const ChatMessage> messages,
                                 std::string_view variables = {});

    /// A conversation in JSON: a list of messages, or an object that has them as `messages` and may
    /// have any variable of the template beside. Fails as render() does, and where the plan's chat
    /// section reads `message`, which knows roles and texts alone.
    /// Its own variables go before `variables`. What is no conversation is told without the plan's
    /// place, as the plan has no part in it.
    std::vector<Fragment> render_json(std::string_view conversation,
                                      std::string_view variables = {});

    /// What the template is told of the time from now on: "2026-11-29 08:30:00", or the day alone;
    /// empty: what the machine's clock says.
    void set_date(std::string date);
    const std::string& date() const { return date_; }

    /// What the template writes around what was thought for an answer, as it shows when it is given
    /// one; absent where it writes none, or nothing of the kind of <mark>.
    std::optional<ThoughtMarks> marks_of_thinking();

    /// Whether it writes the calls of tools that a message has; true where that can't be told.
    bool writes_calls();

    /// The text of the chat section; empty where there is none.
    std::string text() const;

    /// The rows of the stop section: pieces that end an answer.
    std::vector<std::string> stop_pieces();

  private:
    void tell(std::string_view conversation, std::string_view variables);
    std::vector<Fragment> fragments();

    const PlanFile& plan_;
    const bool model_has_template_;             // as its source wrote it; model.db keeps that
    std::optional<PlanConnection> connection_;  // absent where the plan has neither section
    Statement clear_, insert_;                  // messages
    Statement tell_;                            // the conversation as JSON
    std::string date_;                          // empty: the clock's
    std::vector<Prepared> chat_, stop_;
};

}  // namespace llmsql
