// SPDX-License-Identifier: MIT
// What each function of the extension takes and does, with an example; and llm_functions, the table
// of it, which docs/sql-reference.md is made from.
#include "runtime/extension/host_function.h"

namespace llmsql {
namespace {

struct FunctionReference {
    const char* name;
    const char* call;         // "llm_generate(prompt [, options])"
    const char* description;  // Markdown
    const char* example;      // SQL that runs on the tiny model of the tests and on any other
};

constexpr FunctionReference kReference[] = {
    {"llm_generate", "llm_generate(prompt [, options])",
     "Goes on with a text and returns the continuation, without the prompt: what `llmsql-run -p` "
     "prints after it. With `\"chat\": true` the prompt is a message, put into the model's chat "
     "template, and the result is the answer. NULL of NULL.",
     "SELECT llm_generate('The river', '{\"n_predict\": 8, \"temperature\": 0}');"},
    {"llm_stream", "llm_stream(prompt [, options])",
     "A table: one row for each token, as it is made. `token` is its id, `piece` its text (the "
     "pieces one after the other are what llm_generate returns; a piece is empty while a character "
     "is not yet whole, or the token is not the answer's), `logprob` the natural logarithm of the "
     "probability that the model itself "
     "gave it, before temperature and the like. `thinking` is what a model says before its answer, "
     "with option `chat`: the answer's `piece` is empty then. A last row without a token has text "
     "that was held "
     "back because a stop text might have begun there. `LIMIT` ends the generation early.",
     "SELECT token, piece, round(logprob, 3) FROM llm_stream('The river', '{\"temperature\": 0}') "
     "LIMIT 4;"},
    {"llm_batch", "llm_batch(query [, options])",
     "A table: `id`, `answer` and `tokens` (their number) for each row of a query that yields an "
     "id "
     "and a prompt, in the query's order. Up to 8 texts (option `together`) are continued in each "
     "pass over the weights, if the plan has room for as many sequences (`llmsqlc --sequences 8`); "
     "the answers are those of llm_generate one by one, NULL for NULL. A prompt that cannot be "
     "taken "
     "ends the table after the answers that come before it, with an error that names its id; or, "
     "with "
     "option `on_error`, its answer is NULL. A column `error`, to be asked for by name, then says "
     "why.",
     "WITH answers AS (SELECT * FROM llm_batch('SELECT 1, ''The river'' UNION ALL SELECT 2, "
     "''A hill''', '{\"n_predict\": 6, \"temperature\": 0}')) SELECT id, tokens FROM answers;"},
    {"llm_chat", "llm_chat(session, message [, options])",
     "Says something in a conversation and returns the answer. A conversation is known by its name "
     "and is read by the model only once: each call reads what is new. It lives as long as the "
     "connection, or, with option `sessions`, in a file ([sessions.md](sessions.md)), where other "
     "connections and `llmsql-run --session` go on with it. Needs a model with a chat template.",
     ""},
    {"llm_reply", "llm_reply(conversation [, options])",
     "Answers a conversation that is given whole: a JSON array of messages, or an object that has "
     "them as `messages`, with `tools` "
     "and any variable of the chat template beside. The text of `llmsql-run --render` is what the "
     "model reads. With `\"message\": true` the answer is the message that is next in such an "
     "array: its content, `reasoning_content` and `tool_calls` apart ([tools.md](tools.md)). "
     "Options as of "
     "llm_generate, but `chat` and `system`. NULL of NULL.",
     ""},
    {"llm_tool_calls", "llm_tool_calls(answer [, tools])",
     "A table: one row for each call of a tool in an answer, which is a text, in whatever form its "
     "model writes calls, or a message of llm_reply: `name`, `arguments` (a JSON object) and `id`. "
     "What looks like a call and cannot be read is a row whose `name` is NULL: `error` says why, "
     "and `text` is what stands there. `tools`, a JSON array of tools or a conversation that has "
     "them, tells which arguments are texts, where a form does not. Needs no model. No rows of "
     "NULL.",
     "SELECT name, arguments ->> 'city' FROM llm_tool_calls('<tool_call>{\"name\": \"weather\", "
     "\"arguments\": {\"city\": \"Paris\"}}</tool_call>');"},
    {"llm_tokenize", "llm_tokenize(text)",
     "The ids of a text's tokens, a JSON array; with the token that starts a text, if the model "
     "wants one. What is no UTF-8 is refused.",
     "SELECT llm_tokenize('The river');"},
    {"llm_detokenize", "llm_detokenize(tokens)",
     "The text of a JSON array of token ids. Control tokens have none.",
     "SELECT llm_detokenize(llm_tokenize('The river')) = 'The river';"},
    {"llm_token_count", "llm_token_count(text)", "How many tokens llm_tokenize gives.",
     "SELECT llm_token_count('The river');"},
    {"llm_logprob", "llm_logprob(text [, options])",
     "The natural logarithm of the probability of a text: the sum over its tokens. Without option "
     "`given`, the text that comes before, the first token counts only if the model has a token "
     "that starts texts; NULL where none counts. `exp(-llm_logprob(text) / (llm_token_count(text) "
     "- 1))` is its perplexity.",
     "SELECT llm_logprob(' flows', '{\"given\": \"The river\"}') < 0;"},
    {"llm_load", "llm_load(path [, plan [, options]])",
     "Has this connection's functions use a model database: with the plan of that name among those "
     "installed in it, or from a file that ends in `.sql`. Option `threads`. Returns llm_info(). "
     "Without it, functions use the first of the connection's own databases (main, or attached) "
     "that "
     "is a model database, or the one that the environment variable LLMSQL_MODEL names.",
     ""},
    {"llm_unload", "llm_unload()",
     "Closes the models that this connection has open and is not using, so that their files can be "
     "written to; the next call opens what it needs again. How many those were.",
     ""},
    {"llm_info", "llm_info()",
     "What is used: model, plan, sizes, threads; and how many passes the plan has made in this "
     "process, of how many rows, how many of these were drafts, and how many of them right; and "
     "how "
     "many tokens have been read again as a recurrent state had gone on; a JSON object.",
     "SELECT json_extract(llm_info(), '$.context') > 0;"},
    {"llm_render", "llm_render(template, messages [, variables [, date]])",
     "The text that a chat template, Jinja as Hugging Face's transformers runs it, makes of a "
     "conversation: a JSON array of "
     "messages, or an object that has them as `messages` and variables beside. `variables` is a "
     "JSON object, `date` what "
     "`strftime_now` tells (`2026-11-29 08:30:00`; the clock's if it is not given). As a table, "
     "`llm_render(…)` in FROM has "
     "rows of `markup`, what the template wrote, and `content`, what the conversation gave: plans "
     "call it so "
     "([plan-format.md](plan-format.md#chat)).",
     "SELECT llm_render('{% for m in messages %}{{ m.role }}: {{ m.content | trim }}{% endfor %}', "
     "'[{\"role\": \"user\", \"content\": \" Hi \"}]');"},
    {"llm_version", "llm_version()", "The version of llmsql.", "SELECT llm_version();"},
    {"llm_functions", "llm_functions",
     "A table of this reference: `name`, `call`, `description`, `example`.",
     "SELECT name FROM llm_functions WHERE name LIKE 'llm_token%';"},
};

class ReferenceRows final : public Rows {
  public:
    bool next() override { return ++at_ < static_cast<int>(std::size(kReference)); }
    void column(int column, sqlite3_context* context) override {
        const FunctionReference& row = kReference[at_];
        const char* const values[] = {row.name, row.call, row.description, row.example};
        sqlite3_result_text(context, values[column], -1, SQLITE_STATIC);
    }

  private:
    int at_ = -1;
};

constexpr TableFunction kFunctionsTable{
    .name = "llm_functions",
    .declaration = "CREATE TABLE x(name TEXT, call TEXT, description TEXT, example TEXT)",
    .columns = 4,
    .least = 0,
    .most = 0,
};

}  // namespace

void register_reference(const std::shared_ptr<Host>& host) {
    register_host_function(
        host, kFunctionsTable,
        [](const std::shared_ptr<Host>&, std::span<sqlite3_value*>) -> std::unique_ptr<Rows> {
            return std::make_unique<ReferenceRows>();
        });
}

}  // namespace llmsql
