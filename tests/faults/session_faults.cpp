// SPDX-License-Identifier: MIT
// An answer that is generated into a session file, committed every few tokens.
#include "runtime/session/session.h"

#include <optional>

#include "sqlite/statement.h"
#include "tests/faults/tiny_model_open.h"

namespace llmsql::faults {
namespace {

namespace fs = std::filesystem;

constexpr size_t kAnswer = 16;  // with the prompt, more than a block of keys and values

class Keep : public Scenario {
  public:
    Keep(const fs::path& folder, bool begun) : file_(folder / "session.db") {
        write_tiny_files(folder, false);
        model_.emplace(folder);
        if (begun) {
            go_on();
            before_ = content_of(file_);
            said_ = 2;
        }
        prepare();
        go_on();
        expected_ = stored_answer();
        require(expected_.size() == kAnswer, "the answer is not whole");
    }

    void prepare() override {
        fs::remove(file_.string() + "-journal");
        fs::remove(file_);
        if (!before_.empty()) put(file_, before_);
        model_->forget();
    }
    void run() override { go_on(); }
    // SQLite takes back what a journal holds when the file is opened next.
    bool may_leave(const std::string& name) const override { return name == "session.db-journal"; }
    void check(bool failed) override {
        if (!failed) require(stored_answer() == expected_, "another answer than without a fault");
    }
    void run_again() override {
        model_->forget();
        go_on();
        check(false);
    }

  private:
    /// Says the next prompt, or goes on with the answer to it, to the end.
    void go_on() {
        model_->generator->set_options(tiny_options(kAnswer));
        SessionChoice choice;
        choice.file = file_;
        choice.commit_every = 4;
        Session session(choice, SessionKind::text, model_->program, model_->program.chat(),
                        model_->tokenizer, *model_->generator);
        const size_t known = session.messages().size();
        require(known >= said_, "what had been said is lost");
        if (known == said_)
            session.say("abcabc fgh abcdefgh");
        else if (session.unfinished())
            session.resume();
        else
            return;  // whole
        while (session.next()) {
        }
        session.finish();
    }

    /// The last answer's tokens, as the file has them; the file must be whole.
    std::vector<int32_t> stored_answer() const {
        const Connection db(file_, {.access = Access::write});
        Query check(db, "PRAGMA integrity_check");
        require(check.next() && check.text(0) == "ok", "the file is damaged: " + check.as_text(0));
        Query answer(db, "SELECT token FROM answer_token ORDER BY n");
        std::vector<int32_t> tokens;
        while (answer.next()) tokens.push_back(static_cast<int32_t>(answer.integer(0)));
        return tokens;
    }

    fs::path file_;
    std::optional<OpenTinyModel> model_;
    size_t said_ = 0;  // messages that the file holds before
    std::string before_;
    std::vector<int32_t> expected_;
};

}  // namespace

std::unique_ptr<Scenario> keep_session(const fs::path& folder, bool begun) {
    return std::make_unique<Keep>(folder, begun);
}

}  // namespace llmsql::faults
