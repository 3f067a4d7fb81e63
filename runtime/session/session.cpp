// SPDX-License-Identifier: MIT
// What is said and picked, on its way to the file. See session.h; session_rows.cpp reads and writes
// it.
#include "runtime/session/session.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "jinja/conversation.h"
#include "runtime/generate/prompt.h"

namespace llmsql {
namespace {

constexpr std::chrono::seconds kCommitAfter{2};

std::string_view name_of(Ending ending) {
    switch (ending) {
        case Ending::end_token:
            return "end token";
        case Ending::stop_text:
            return "stop text";
        case Ending::limit:
            return "limit";
        case Ending::context_full:
            return "context full";
        case Ending::interrupted:
            break;
    }
    return "interrupted";
}

// A conversation's templates are told when it was begun, so that what has been read stays as it is;
// a date that the user has given goes before.
class Dated {
  public:
    Dated(ChatTemplate& chat, const std::string& begun)
        : chat_(chat), given_(!chat.date().empty()) {
        if (!given_) chat_.set_date(begun);
    }
    Dated(const Dated&) = delete;
    Dated& operator=(const Dated&) = delete;
    ~Dated() {
        if (!given_) chat_.set_date({});
    }

  private:
    ChatTemplate& chat_;
    const bool given_;
};

}  // namespace

Session::Session(const SessionChoice& choice, std::optional<SessionKind> kind,
                 const Program& program, ChatTemplate& chat, Tokenizer& tokenizer,
                 Generator& generator)
    : choice_(choice),
      program_(program),
      chat_(chat),
      tokenizer_(tokenizer),
      generator_(generator),
      file_(choice.file, choice.make && kind && !choice.fork),
      name_(choice.name),
      committed_(std::chrono::steady_clock::now()) {
    const ProgramIdentity identity = program.identity();
    find(kind, identity);
    if (choice.fork) fork(*choice.fork);
    read();
    if (kind_ == SessionKind::chat) form_ = form_of(chat, tokenizer);
    generator.set_form(form_);
    const std::string origin = identity.weights + identity.forward + identity.kv + identity.kernels;
    blocks_.emplace(file_, hash128(origin.data(), origin.size()), choice_.snapshots,
                    choice_.notice);
    if (id_) blocks_->attach(*id_);
}

Session::~Session() {
    file_.roll_back();
}

void Session::set_system(const std::string& content) {
    if (!messages_.empty() && messages_.front().role == "system" &&
        messages_.front().content == content)
        return;
    if (!messages_.empty())
        fail("option 'system': the conversation '{}' has begun {} already", name_,
             messages_.front().role == "system" ? "with another one" : "without one");
    messages_.push_back({.role = "system", .content = content, .thinking = {}});
}

// A new prompt leaves the last answer as it is; a message without one goes, as templates know of no
// two in a row.
void Session::end_last() {
    if (!unfinished_) return;
    unfinished_ = false;
    if (state_.answer.empty() && kind_ == SessionKind::chat) {
        choice_.notice(
            fmt::format("note: the last message in '{}' had no answer yet: it is dropped", name_));
        messages_.resize(messages_.size() - 2);
        written_messages_ = std::min(written_messages_, messages_.size());
        return;
    }
    TokenText text(options_.stops, form_);
    const auto& tokens = state_.tokens;
    const size_t own = std::min(state_.answer.size(), tokens.size());
    text.begin(std::span(tokens).first(tokens.size() - own), tokenizer_);
    ChatMessage& message = messages_.back();
    message.content.clear();
    message.thinking.clear();
    const auto add = [&](const Spoken& said) {
        message.content += said.text;
        message.thinking += said.thinking;
    };
    for (const int32_t token : state_.answer) add(text.push(token, tokenizer_));
    add(text.finish());
}

// That an answer has no token yet means nothing while its maker lives: whoever goes on with a
// session keeps all others from it, and has read it as it is.
void Session::take() {
    if (lock_ || !id_) return;
    lock_ = ByteLock::take(SharedFile::of(file_.name()), static_cast<uint64_t>(*id_));
    if (!lock_)
        fail(
            "{}: the session '{}' is in use: another program is answering in it; nothing of this "
            "was kept, try again when that has ended",
            file_.name(), name_);
    require_revision();
}

bool Session::say(const std::string& content) {
    take();
    end_last();
    std::vector<int32_t> tokens;
    const GenerateOptions& options = generator_.options();
    if (kind_ == SessionKind::chat) {
        check_prompt(content, "the message");
        chat_.require();
        messages_.push_back({.role = "user", .content = content, .thinking = {}});
        if (created_.empty()) created_ = jinja::utc_time();
        const Dated dated(chat_, created_);
        tokens = chat_prompt(chat_, tokenizer_, messages_, generator_.context(), options.keep,
                             choice_.variables);
        messages_.push_back({.role = "assistant", .content = {}, .thinking = {}});
    } else {
        check_prompt(content, "the prompt");
        check_length(tokenizer_, content, generator_.context(), "the prompt");
        const std::vector<int32_t> more = tokenizer_.encode(content, state_.tokens.empty());
        if (more.empty()) fail("the model has no token for anything in the prompt");
        tokens = state_.tokens;
        tokens.insert(tokens.end(), more.begin(), more.end());
        tokens = fit(std::move(tokens), generator_.context(), options.keep, more.size(),
                     messages_.empty() ? "prompt is" : "text has grown to");
        messages_.push_back({.role = "prompt", .content = content, .thinking = {}});
        messages_.push_back({.role = "completion", .content = {}, .thinking = {}});
    }
    return start(std::move(tokens));
}

bool Session::start(std::vector<int32_t> tokens) {
    options_ = generator_.options();
    options_.context = static_cast<int>(generator_.context().tokens);
    // The last token of an answer has not been read.
    const auto [differs, unused] =
        std::mismatch(tokens.begin(), tokens.end(), written_tokens_.begin(), written_tokens_.end());
    known_ = static_cast<size_t>(differs - tokens.begin());
    if (known_ == written_tokens_.size() && known_ > 0) --known_;
    state_ = generator_.state_before(tokens);
    asked_ = unfinished_ = true;
    written_answer_ = 0;
    written_options_ = false;
    // What is asked is safe before anything is computed.
    commit();
    generator_.begin(tokens, true);
    return read_on();
}

// What is not known of the text, pass by pass. False if interrupted.
bool Session::read_on() {
    generator_.with_sequence([&](Scheduler& scheduler, Sequence& sequence) {
        if (!sequence.place()) return;
        const size_t held = sequence.held(), known = std::max(known_, sequence.known());
        scheduler.restored(generator_.id(), 0);  // until it is known what the cache holds
        scheduler.restored(
            generator_.id(),
            blocks_->restore(remembered(), *sequence.place(), sequence.tokens(), held), known);
    });
    while (!generator_.is_ready()) {
        const bool whole = generator_.pass();
        note_pass(true);
        if (whole) continue;
        commit();
        lock_.reset();
        return false;
    }
    return true;
}

// Before the next pass, which may overwrite what is to be kept; within a long prompt, where nothing
// but blocks has come, it is time to commit now and then.
void Session::note_pass(bool reading) {
    generator_.with_sequence([&](Scheduler&, Sequence& sequence) {
        if (sequence.place())
            blocks_->passed(remembered().cache, *sequence.place(),
                            std::span(sequence.tokens()).first(sequence.held()));
    });
    if (reading && std::chrono::steady_clock::now() - committed_ >= kCommitAfter) commit();
}

bool Session::resume() {
    if (!asked_) fail("{}: nothing has been said in the session '{}'", file_.name(), name_);
    if (!unfinished_) fail("{}: the last answer in '{}' is whole", file_.name(), name_);
    take();
    GenerateOptions options = options_;
    options.batch = generator_.options().batch;
    options.drafts = generator_.options().drafts;
    const auto refuse = [&](const std::string& why) {
        fail("{}: the answer in '{}' cannot be resumed: {}", file_.name(), name_, why);
    };
    try {
        generator_.set_options(options);
    } catch (const Error& error) {
        refuse(error.what());
    }
    // The last token may be one that there is room for only when others have been forgotten.
    const auto most = generator_.context().tokens + 1;
    if (!Sampler::is_state(state_.random))
        refuse(
            "the value of 'random' in its row of the table answer is no state of random numbers: "
            "the file has been changed");
    if (state_.tokens.empty() || state_.tokens.size() > most)
        refuse(fmt::format("it is of {}, the context of {}", counted(state_.tokens.size(), "token"),
                           generator_.context().tokens));
    known_ = state_.tokens.size() - 1;
    const std::string text = generator_.resume(state_, true);
    if (!read_on()) return false;
    messages_.back().content = text;
    messages_.back().thinking = generator_.thinking();
    return true;
}

std::string Session::answer() const {
    return asked_ ? messages_.back().content : "";
}

std::string Session::thinking() const {
    return asked_ ? messages_.back().thinking : "";
}

std::string Session::prompt() const {
    return asked_ ? messages_[messages_.size() - 2].content : "";
}

std::optional<Picked> Session::next() {
    while (!generator_.is_ready()) {
        const bool whole = generator_.pass();
        note_pass(false);
        if (!whole) break;
    }
    auto picked = generator_.next();
    if (!picked) return picked;
    messages_.back().content += picked->text;
    messages_.back().thinking += picked->thinking;
    ++picked_;
    // What is kept is what has been taken: a pass may have made more.
    if (commit_due() && !generator_.has_more()) {
        state_ = generator_.state();
        commit();
    }
    return picked;
}

bool Session::commit_due() const {
    return picked_ >= choice_.commit_every ||
           std::chrono::steady_clock::now() - committed_ >= kCommitAfter;
}

std::string Session::finish() {
    const std::string rest = generator_.finish();
    messages_.back().content += rest;
    messages_.back().thinking = generator_.thinking();
    state_ = generator_.state();
    unfinished_ = generator_.ending() == Ending::interrupted;
    ending_ = name_of(generator_.ending());
    if (generator_.ending() == Ending::stop_text && kind_ == SessionKind::text) leave_out_stop();
    commit(true);
    lock_.reset();
    return rest;
}

// A text goes on behind what was shown: without the stop text, which may end within a token.
void Session::leave_out_stop() {
    const std::string& shown = messages_.back().content;
    std::vector<int32_t>& tokens = state_.tokens;
    const size_t answer = std::min(state_.answer.size(), tokens.size());
    tokens.resize(tokens.size() - answer);
    std::string text;
    for (const int32_t token : std::span(state_.answer).last(answer)) {
        const std::string more = tokenizer_.shown_text(token);
        if (!shown.starts_with(text + more)) break;
        text += more;
        tokens.push_back(token);
    }
    const auto rest = tokenizer_.encode(shown.substr(text.size()), false);
    tokens.insert(tokens.end(), rest.begin(), rest.end());
}

// A cache without layers has nothing to keep.
Remembered Session::remembered() const {
    KvCache* const cache = program_.cache();
    return {cache && !cache->layers().empty() ? cache : nullptr, program_.states()};
}

void Session::commit(bool at_end) {
    file_.begin();
    if (!id_) {
        create();
        take();
    }
    write_messages();
    write_answer();
    if (generator_.has_text())
        generator_.with_sequence([&](Scheduler&, Sequence& sequence) {
            blocks_->keep(remembered(), sequence.place().value_or(0),
                          std::span(sequence.tokens()).first(sequence.held()), state_.tokens,
                          at_end);
        });
    else
        blocks_->keep(remembered(), 0, {}, state_.tokens, at_end);
    file_.commit();
    committed_id_ = id_;
    committed_revision_ = revision_;
    picked_ = 0;
    committed_ = std::chrono::steady_clock::now();
}

}  // namespace llmsql
