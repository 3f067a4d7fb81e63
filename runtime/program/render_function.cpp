// SPDX-License-Identifier: MIT
// The calls of llm_render. See render_function.h.
#include "runtime/program/render_function.h"

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "jinja/conversation.h"
#include "sqlite/callbacks.h"
#include "sqlite/table_function.h"

namespace llmsql {
namespace {

using Pulse = std::function<void()>;

// The arguments' names are none of those that `conversation` has: a query names both.
constexpr TableFunction kRender{
    .name = "llm_render",
    .declaration =
        "CREATE TABLE x(markup TEXT, content TEXT, jinja HIDDEN, chat HIDDEN, given HIDDEN, "
        "today HIDDEN, own HIDDEN)",
    .columns = 2,
    .least = 2,
    .most = 5,
};

std::vector<jinja::Piece> rendered(std::span<sqlite3_value*> arguments, const Pulse& pulse) {
    const auto text = [&](size_t i) -> std::string_view {
        if (i >= arguments.size() || !arguments[i] ||
            sqlite3_value_type(arguments[i]) == SQLITE_NULL)
            return {};
        return text_of_value(arguments[i]);
    };
    jinja::Limits limits;
    limits.pulse = pulse;
    const jinja::Meter meter(limits);
    const jinja::Template made(text(0));
    const jinja::Value variables = jinja::conversation(text(1), text(2), text(4));
    const std::string date(text(3));
    return made.render(variables, jinja::seconds_of(date.empty() ? jinja::local_time() : date),
                       limits);
}

/// A row has a piece of markup and the one of content behind it, or one of both.
class RenderedRows final : public Rows {
  public:
    explicit RenderedRows(std::vector<jinja::Piece> pieces) : pieces_(std::move(pieces)) {}

    bool next() override {
        at_ += count_;
        if (at_ >= pieces_.size()) return false;
        count_ = pieces_[at_].markup && at_ + 1 < pieces_.size() ? 2 : 1;
        return true;
    }

    void column(int column, sqlite3_context* context) override {
        for (size_t i = at_; i < at_ + count_ && column < kRender.columns; ++i)
            if (pieces_[i].markup == (column == 0)) result_text(context, pieces_[i].text);
    }

  private:
    std::vector<jinja::Piece> pieces_;
    size_t at_ = 0, count_ = 0;
};

}  // namespace

void register_render_table(sqlite3* db, std::function<void()> pulse) {
    register_table_function(db, kRender,
                            [pulse = std::move(pulse)](std::span<sqlite3_value*> arguments) {
                                return std::make_unique<RenderedRows>(rendered(arguments, pulse));
                            });
}

void render_text(sqlite3_context* context, int count, sqlite3_value** values) {
    std::string text;
    for (const jinja::Piece& piece : rendered({values, static_cast<size_t>(count)}, [] {}))
        text += piece.text;
    result_text(context, text);
}

}  // namespace llmsql
