// llm_batch(query, options): the answers to the prompts that a query yields, several at a time.
#include <deque>
#include <exception>
#include <utility>

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
        if (!ready_ && !done_) {
            ready_ = batch_.next();
            if (batch_.interrupted()) throw Interrupted();
            done_ = !ready_;
        }
        if (rows_.empty()) {
            if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
            return false;
        }
        row_ = std::move(rows_.front());
        rows_.pop_front();
        answer_ = row_.asked ? std::exchange(ready_, std::nullopt) : std::nullopt;
        return true;
    }

    void column(int column, sqlite3_context* context) override {
        if (column == 0) sqlite3_result_value(context, row_.id.get());
        if (!answer_) return;  // NULL of NULL
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

    using Value = std::unique_ptr<sqlite3_value, ValueFree>;
    struct Row {
        Value id;
        bool asked = false;  // it has a prompt
    };

    // A row that can't be answered ends the query: what came before is answered first, then it is
    // told, by its id.
    std::optional<std::vector<int32_t>> next_prompt() {
        if (failure_) return std::nullopt;
        std::string id;
        try {
            while (true) {
                const int code = sqlite3_step(query_.get());
                if (code == SQLITE_INTERRUPT) throw Interrupted();
                if (code == SQLITE_DONE) return std::nullopt;
                if (code != SQLITE_ROW)
                    fail("llm_batch: the query: {}", sqlite3_errmsg(host_->db()));
                id = column_text(query_.get(), 0);
                Row row{Value(sqlite3_value_dup(sqlite3_column_value(query_.get(), 0)))};
                if (!row.id) throw std::bad_alloc();
                sqlite3_value* prompt = sqlite3_column_value(query_.get(), 1);
                std::optional<std::vector<int32_t>> tokens;
                if (sqlite3_value_type(prompt) != SQLITE_NULL)
                    tokens = prompt_tokens(*model_, text_argument(prompt, "the prompt"), options_);
                row.asked = tokens.has_value();
                rows_.push_back(std::move(row));
                if (tokens) return tokens;
            }
        } catch (const Error& error) {
            const std::string row = id.empty() ? "" : fmt::format("llm_batch: id {}: ", id);
            failure_ = std::make_exception_ptr(Error(one_line(row + error.what())));
            return std::nullopt;
        }
    }

    const std::shared_ptr<Host> host_;
    const CallOptions options_;
    const Host::Borrowed model_;
    Poll poll_;
    const Statement query_;
    std::deque<Row> rows_;  // read, their answers not yet given
    std::exception_ptr failure_;
    Batch batch_;
    std::optional<BatchAnswer> ready_;  // of the first of rows_ that was asked
    bool done_ = false;                 // no more answers come
    Row row_;
    std::optional<BatchAnswer> answer_;
};

std::unique_ptr<Rows> call(const std::shared_ptr<Host>& host, std::span<sqlite3_value*> arguments) {
    return std::make_unique<BatchRows>(host, text_argument(arguments[0], "the query"),
                                       options_argument(Call::batch, arguments[1]));
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
