// SPDX-License-Identifier: MIT
// llm_tool_calls(answer [, tools]): the calls of tools in an answer, a row each.
#include <utility>

#include "runtime/extension/host_function.h"
#include "runtime/text/tool_calls.h"

namespace llmsql {
namespace {

class CallRows final : public Rows {
  public:
    explicit CallRows(std::vector<ToolCall> calls) : calls_(std::move(calls)) {}

    bool next() override { return ++at_ <= calls_.size(); }

    void column(int column, sqlite3_context* context) override {
        const ToolCall& call = calls_[at_ - 1];
        const std::string* const values[] = {&call.name, &call.arguments, &call.id, &call.error,
                                             &call.text};
        // NULL: there is none.
        if (!values[column]->empty()) result_text(context, *values[column]);
    }

  private:
    std::vector<ToolCall> calls_;
    size_t at_ = 0;
};

constexpr TableFunction kToolCalls{
    .name = "llm_tool_calls",
    .declaration =
        "CREATE TABLE x(name TEXT, arguments TEXT, id TEXT, error TEXT, text TEXT, answer HIDDEN, "
        "tools HIDDEN)",
    .columns = 5,
    .least = 1,
    .most = 2,
};

}  // namespace

void register_tool_calls(const std::shared_ptr<Host>& host) {
    register_host_function(
        host, kToolCalls,
        [](const std::shared_ptr<Host>&,
           std::span<sqlite3_value*> arguments) -> std::unique_ptr<Rows> {
            if (sqlite3_value_type(arguments[0]) == SQLITE_NULL) return std::make_unique<NoRows>();
            const bool typed = arguments[1] && sqlite3_value_type(arguments[1]) != SQLITE_NULL;
            const ToolTypes types =
                typed ? ToolTypes(text_argument(arguments[1], "the tools")) : ToolTypes();
            return std::make_unique<CallRows>(
                calls_of_answer(text_argument(arguments[0], "the answer"), types).calls);
        });
}

}  // namespace llmsql
