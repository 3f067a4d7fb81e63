// llm_batch(query, options): the answers to the prompts that a query yields, several at a time.
#include "common/error.h"
#include "runtime/extension/table_function.h"
#include "runtime/generate/batch.h"
#include "runtime/storage/sqlite.h"

namespace llmsql {
namespace {

struct ValueFree {
    void operator()(sqlite3_value* value) const { sqlite3_value_free(value); }
};

class BatchRows final : public Rows {
  public:
    BatchRows(const std::shared_ptr<Host>& host, const std::string& query, CallOptions options)
        : host_(host),
          options_(std::move(options)),
          model_(host->borrow(options_.choice)),
          poll_(host->db()),
          query_(prepare_query(host->db(), query)),
          batch_(
              model_->program, model_->tokenizer, options_.generate, options_.together,
              [this] { return next_prompt(); }, [this] { return poll_(); }) {
        model_->generator.forget();
    }

    bool next() override {
        answer_ = batch_.next();
        if (batch_.interrupted()) throw Interrupted();
        if (!answer_) return false;
        id_ = std::move(ids_.front());
        ids_.erase(ids_.begin());
        return true;
    }

    void column(int column, sqlite3_context* context) override {
        if (column == 0) sqlite3_result_value(context, id_.get());
        if (column == 1) result_text(context, answer_->text);
        if (column == 2) sqlite3_result_int64(context, answer_->tokens);
    }

  private:
    static Statement prepare_query(sqlite3* db, const std::string& query) {
        sqlite3_stmt* raw = nullptr;
        const char* rest = nullptr;
        if (sqlite3_prepare_v2(db, query.data(), static_cast<int>(query.size()), &raw, &rest) !=
            SQLITE_OK)
            fail("llm_batch: the query: {}", sqlite3_errmsg(db));
        Statement statement(raw);
        const std::string_view after(rest, static_cast<size_t>(query.data() + query.size() - rest));
        if (!raw || !sqlite3_stmt_readonly(raw) || sqlite3_column_count(raw) != 2 ||
            after.find_first_not_of(" \t\r\n;") != std::string_view::npos)
            fail("llm_batch: one query that yields two columns is wanted, an id and a prompt");
        return statement;
    }

    std::optional<std::vector<int32_t>> next_prompt() {
        const int code = sqlite3_step(query_.get());
        if (code == SQLITE_INTERRUPT) throw Interrupted();
        if (code == SQLITE_DONE) return std::nullopt;
        if (code != SQLITE_ROW) fail("llm_batch: the query: {}", sqlite3_errmsg(host_->db()));
        std::unique_ptr<sqlite3_value, ValueFree> id(
            sqlite3_value_dup(sqlite3_column_value(query_.get(), 0)));
        if (!id) throw std::bad_alloc();
        const std::string prompt =
            text_argument(sqlite3_column_value(query_.get(), 1), "the prompt");
        auto tokens = prompt_tokens(*model_, prompt, options_);
        ids_.push_back(std::move(id));
        return tokens;
    }

    const std::shared_ptr<Host> host_;
    const CallOptions options_;
    const Host::Borrowed model_;
    Poll poll_;
    const Statement query_;
    std::vector<std::unique_ptr<sqlite3_value, ValueFree>> ids_;  // of prompts not yet answered
    Batch batch_;
    std::optional<BatchAnswer> answer_;
    std::unique_ptr<sqlite3_value, ValueFree> id_;
};

std::unique_ptr<Rows> call(const std::shared_ptr<Host>& host, std::span<sqlite3_value*> arguments) {
    return std::make_unique<BatchRows>(
        host, text_argument(arguments[0], "the query"),
        arguments[1] ? options_argument(arguments[1]) : CallOptions());
}

constexpr TableFunction kBatch{
    .name = "llm_batch",
    .declaration = "CREATE TABLE x(id, answer TEXT, tokens INTEGER, query HIDDEN, options HIDDEN)",
    .columns = 3,
    .least = 1,
    .most = 2,
    .call = call,
};

}  // namespace

void register_batch(const std::shared_ptr<Host>& host) {
    register_table_function(host, kBatch);
}

}  // namespace llmsql
