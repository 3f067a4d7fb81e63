// SPDX-License-Identifier: MIT
// llm_batch(query, options): the answers to the prompts that a query yields, several at a time.
#include <deque>
#include <exception>
#include <utility>

#include "common/error.h"
#include "runtime/extension/host_function.h"
#include "runtime/generate/batch.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

struct ValueFree {
    void operator()(sqlite3_value* value) const { sqlite3_value_free(value); }
};

// Columns of the table; the arguments stand between.
constexpr int kId = 0, kAnswer = 1, kTokens = 2, kArguments = 2, kErrorColumn = 3 + kArguments;

// Rows of the query that are read ahead, while texts that were begun go on.
constexpr size_t kMostAhead = 1000;

class BatchRows final : public Rows {
  public:
    BatchRows(const std::shared_ptr<Host>& host, const std::string& query, CallOptions options)
        : host_(host),
          options_(std::move(options)),
          model_(host->borrow(options_.choice)),
          query_(prepare_query(query)),
          batch_(
              model_->scheduler(), &model_->tokenizer(), options_.generate, options_.together,
              [this] { return next_prompt(); }, model_->join(),
              options_.chat ? model_->form() : nullptr) {
        const OpenModel::Working working(*model_);
        check_options(options_, *model_);
    }

    bool next() override {
        const OpenModel::Working working(*model_);
        while (rows_.empty() || (rows_.front().asked && !ready_)) {
            ready_ = batch_.next();
            if (batch_.interrupted()) throw Interrupted();
            if (ready_ || !rows_.empty() || !batch_.at_end()) continue;
            if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
            return false;
        }
        row_ = std::move(rows_.front());
        rows_.pop_front();
        answer_ = row_.asked ? std::exchange(ready_, std::nullopt) : std::nullopt;
        return true;
    }

    void column(int column, sqlite3_context* context) override {
        if (column == kId) sqlite3_result_value(context, row_.id.get());
        if (column == kErrorColumn && !row_.error.empty()) result_text(context, row_.error);
        if (!answer_) return;  // NULL of NULL
        if (column == kAnswer)
            result_text(context, returned({answer_->thinking, answer_->text, answer_->marks},
                                          options_, *model_));
        if (column == kTokens) sqlite3_result_int64(context, answer_->tokens);
    }

  private:
    Statement prepare_query(const std::string& query) {
        sqlite3_stmt* raw = nullptr;
        const char* rest = nullptr;
        const int code = sqlite3_prepare_v2(host_->db(), query.data(),
                                            static_cast<int>(query.size()), &raw, &rest);
        if (code != SQLITE_OK) fail_by_query(code);
        Statement statement(raw);
        const std::string_view after(rest, static_cast<size_t>(query.data() + query.size() - rest));
        if (!raw || !sqlite3_stmt_readonly(raw) || sqlite3_column_count(raw) != 2 ||
            after.find_first_not_of(" \t\r\n;") != std::string_view::npos)
            fail("llm_batch: one query that yields two columns is wanted, an id and a prompt");
        return statement;
    }

    // What the host's SQLite says of the query; a query that it calls may have been interrupted,
    // too, which it reports as an error of another kind.
    [[noreturn]] void fail_by_query(int code) {
        const std::string message = message_of(host_->db());
        if ((code & 0xff) == SQLITE_NOMEM) throw std::bad_alloc();
        if ((code & 0xff) == SQLITE_INTERRUPT || model_.interrupted()) throw Interrupted();
        fail("llm_batch: the query: {}", message);
    }

    using Value = std::unique_ptr<sqlite3_value, ValueFree>;
    struct Row {
        Value id;
        bool asked = false;  // it has a prompt
        std::string error;   // why it is not
    };

    // A row that can't be answered ends the query: what came before is answered first, then it is
    // told, by its id. Or, if that is wanted, it stays without an answer.
    std::optional<std::vector<int32_t>> next_prompt() {
        if (failure_) return std::nullopt;
        try {
            while (rows_.size() < kMostAhead) {
                const int code = sqlite3_step(query_.get());
                if (code == SQLITE_DONE) return std::nullopt;
                if (code != SQLITE_ROW) fail_by_query(code);
                sqlite3_value* const prompt = sqlite3_column_value(query_.get(), 1);
                Row row;
                std::vector<int32_t> tokens = tokens_of(prompt, row.error);
                row.id.reset(sqlite3_value_dup(sqlite3_column_value(query_.get(), 0)));
                if (!row.id) throw std::bad_alloc();
                row.asked = !tokens.empty();
                rows_.push_back(std::move(row));
                if (!tokens.empty()) return tokens;
            }
            return std::vector<int32_t>();
        } catch (const Error&) {
            failure_ = std::current_exception();
            return std::nullopt;
        }
    }

    // None for NULL, and for what cannot be taken where that is not to end all: `error` then says
    // why, if it is wanted.
    std::vector<int32_t> tokens_of(sqlite3_value* prompt, std::string& error) {
        if (sqlite3_value_type(prompt) == SQLITE_NULL) return {};
        try {
            return of_row(prompt, "the prompt", [&] {
                return prompt_tokens(*model_, text_argument(prompt, "the prompt"), options_);
            });
        } catch (const RowError& wrong) {
            if (options_.on_error == OnError::fail)
                fail("llm_batch: id {}: {} (option 'on_error' passes over such rows)", printed_id(),
                     wrong.what());
            if (options_.on_error == OnError::column) error = wrong.what();
            return {};
        }
    }

    // After the prompt has been read: it may become another kind of value by this.
    std::string printed_id() {
        if (sqlite3_column_type(query_.get(), 0) == SQLITE_NULL) return "NULL";
        return printable(column_text(query_.get(), 0));
    }

    const std::shared_ptr<Host> host_;
    const CallOptions options_;
    const Host::Borrowed model_;
    const Statement query_;
    std::deque<Row> rows_;  // read, their answers not yet given
    std::exception_ptr failure_;
    Batch batch_;
    std::optional<BatchAnswer> ready_;  // of the first of rows_ that was asked
    Row row_;
    std::optional<BatchAnswer> answer_;
};

std::unique_ptr<Rows> call(const std::shared_ptr<Host>& host, std::span<sqlite3_value*> arguments) {
    const CallOptions options = options_argument(Call::batch, arguments[1]);
    return std::make_unique<BatchRows>(host, text_argument(arguments[0], "the query"), options);
}

constexpr TableFunction kBatch{
    .name = "llm_batch",
    .declaration =
        "CREATE TABLE x(id, answer TEXT, tokens INTEGER, query HIDDEN, options HIDDEN, "
        "error TEXT HIDDEN)",
    .columns = 3,
    .least = 1,
    .most = kArguments,
};

}  // namespace

void register_batch(const std::shared_ptr<Host>& host) {
    register_host_function(host, kBatch, call);
}

}  // namespace llmsql
