// SPDX-License-Identifier: MIT
// llm_stream(prompt, options): the tokens of an answer, a row each, as they are made.
#include "runtime/extension/host_function.h"
#include "runtime/generate/generator.h"

namespace llmsql {
namespace {

// Tokens that an answer may be ahead of the row that is read: as many as come while a host looks at
// one, not what a LIMIT leaves.
constexpr size_t kAhead = 8;

class Stream final : public Rows {
  public:
    Stream(const std::shared_ptr<Host>& host, sqlite3_value* prompt, const CallOptions& options)
        : host_(host), model_(host->borrow(options.choice)) {
        const OpenModel::Working working(*model_);
        check_options(options, *model_);
        const auto tokens = of_row(prompt, "the prompt", [&] {
            return prompt_tokens(*model_, text_argument(prompt, "the prompt"), options);
        });
        CallerOptions how = model_->join();
        how.ahead = kAhead;
        generator_.emplace(model_->scheduler(), &model_->tokenizer(), options.generate, how);
        generator_->want_logprobs(true);
        if (options.chat) generator_->set_form(model_->form());
        generator_->begin(tokens);
    }

    bool next() override {
        if (finished_) return false;
        const OpenModel::Working working(*model_);
        picked_ = generator_->next();
        if (picked_) return true;
        if (generator_->ending() == Ending::interrupted) throw Interrupted();
        finished_ = true;
        const size_t told = generator_->thinking().size();
        rest_ = generator_->finish();
        thought_ = generator_->thinking().substr(told);
        return !rest_.empty() || !thought_.empty();
    }

    void column(int column, sqlite3_context* context) override {
        if (column == 1) return result_text(context, picked_ ? picked_->text : rest_);
        if (column == 3) return result_text(context, picked_ ? picked_->thinking : thought_);
        if (!picked_) return;  // NULL: text that was held back in case a stop text began there
        if (column == 0) sqlite3_result_int64(context, picked_->token);
        if (column == 2) sqlite3_result_double(context, picked_->logprob);
    }

  private:
    const std::shared_ptr<Host> host_;
    const Host::Borrowed model_;
    std::optional<Generator> generator_;
    std::optional<Picked> picked_;
    std::string rest_, thought_;
    bool finished_ = false;
};

std::unique_ptr<Rows> call(const std::shared_ptr<Host>& host, std::span<sqlite3_value*> arguments) {
    if (sqlite3_value_type(arguments[0]) == SQLITE_NULL) return std::make_unique<NoRows>();
    const CallOptions options = options_argument(Call::stream, arguments[1]);
    try {
        return std::make_unique<Stream>(host, arguments[0], options);
    } catch (const RowError&) {
        if (options.on_error == OnError::fail) throw;
        return std::make_unique<NoRows>();  // as of NULL
    }
}

constexpr TableFunction kStream{
    .name = "llm_stream",
    .declaration =
        "CREATE TABLE x(token INTEGER, piece TEXT, logprob REAL, thinking TEXT, "
        "prompt HIDDEN, options HIDDEN)",
    .columns = 4,
    .least = 1,
    .most = 2,
};

}  // namespace

void register_stream(const std::shared_ptr<Host>& host) {
    register_host_function(host, kStream, call);
}

}  // namespace llmsql
