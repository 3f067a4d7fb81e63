// SPDX-License-Identifier: MIT
// Session: a conversation, or a text, that lives in a file: what was said, what the model has read,
// and an answer that was begun, so that another process goes on where this one ended, however it
// ended.
//
// HOW IT WORKS. A session is rows in an SQLite file (docs/sessions.md): messages, the tokens that
// the model has read, the answer being given with its random numbers' state, and, in blocks of 32
// positions, keys and values. One transaction writes what belongs to one moment:
//
//     say("Hi")      BEGIN … message 1, tokens 0 … 9 … COMMIT; then the prompt is computed
//     next() × 64    tokens are picked, in memory
//                    COMMIT: 64 answer tokens, the random state, two blocks
//     (killed)
//     resume()       reads tokens and blocks back; computes what no block holds (at most 31 tokens
//                    and what was not committed), and picks the tokens that it would have picked
//
// A block's key is a hash of all tokens up to its end and of what else keys and values depend on:
// sessions that begin alike share blocks, and a block is never stale. Blocks that are damaged or
// missing are computed again. While an answer is being given, a byte of the file is locked
// (common/byte_lock.h), so that no other process gives one in the same session.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/byte_lock.h"
#include "runtime/generate/generator.h"
#include "runtime/session/block_store.h"
#include "runtime/session/session_file.h"

namespace llmsql {

enum class SessionKind {
    chat,  // messages, put into the plan's chat section
    text,  // prompts, each appended to all that came before
};

struct SessionChoice {
    std::filesystem::path file;
    std::string name = "default";
    std::optional<std::string> fork;  // first copy the session to this name, and go on with that
    int64_t commit_every = 64;        // tokens; and every two seconds, and at the end of an answer
    std::optional<int64_t>
        snapshots;          // bytes of recurrent states in the file; absent: four of them
    std::string variables;  // of the chat template, a JSON object; empty: none
    bool make = true;       // make file and session where there is none
    /// Told what does not end anything.
    std::function<void(const std::string&)> notice = [](const std::string&) {};
};

/// A session, and the generator that goes on with it, which makes no passes but when asked here
/// (CallerOptions::ahead 0); generator, program, chat
/// template and tokenizer belong to one model and outlive it.
/// Each commit holds messages, tokens, the state of the answer and keys and values of one moment.
/// After an Error the file holds what was committed last; the object is of use again after
/// go_back(). Not thread-safe.
///
/// From say() or resume() to the end of the answer no other Session can have the same one, of
/// whatever process: say() and resume() fail then, having changed nothing.
class Session {
  public:
    /// Opens the session. `kind` is what the caller is about to do with it, or absent if it only
    /// resumes. Fails, saying what differs, if it was made by another model, plan or kind of cache.
    Session(const SessionChoice& choice, std::optional<SessionKind> kind, const Program& program,
            ChatTemplate& chat, Tokenizer& tokenizer, Generator& generator);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    ~Session();

    /// The session's messages: roles "system", "user" and "assistant"; of a text, "prompt" and
    /// "completion".
    const std::vector<ChatMessage>& messages() const { return messages_; }
    const std::string& name() const { return name_; }
    SessionKind kind() const { return kind_; }

    /// A system message, for a session that has none and no other; nothing if it has this one.
    void set_system(const std::string& content);

    /// Of the chat template, for what is said from now on.
    void set_variables(std::string json) { choice_.variables = std::move(json); }

    /// Adds a message of the user, or a prompt, by the generator's options, commits that, and
    /// computes what is not known of it: next() then gives the answer. False if interrupted. A
    /// partial answer is kept; a message that has no answer yet is dropped.
    bool say(const std::string& content);

    /// Gets ready to go on with the last answer, under the options that it was begun with. False if
    /// interrupted before that. Fails if nothing has been said.
    bool resume();
    /// Whether the last answer is one to go on with.
    bool unfinished() const { return unfinished_; }
    /// The text of the last answer so far, and what it is an answer to.
    std::string answer() const;
    std::string thinking() const;
    std::string prompt() const;

    /// The next token of the answer, as Generator's; commits now and then.
    std::optional<Picked> next();
    /// At the end of the answer: the last of its text. Commits.
    std::string finish();

    /// After an Error: as the file has the session, which is as before a message that was refused.
    /// Fails if another program has gone on with it meanwhile, or has deleted it.
    void go_back();

  private:
    // session_rows.cpp
    void find(std::optional<SessionKind> kind, const ProgramIdentity& identity);
    void create();
    void fork(const std::string& name);
    void read();
    void read_answer();
    void write_messages();
    void write_answer();
    void write_options();

    void take();
    void require_revision();
    [[noreturn]] void refuse_other() const;
    bool start(std::vector<int32_t> tokens);
    bool read_on();
    void note_pass(bool reading);
    void end_last();
    void leave_out_stop();
    bool commit_due() const;
    void commit(bool at_end = false);
    Remembered remembered() const;

    SessionChoice choice_;
    const Program& program_;
    ChatTemplate& chat_;
    Tokenizer& tokenizer_;
    Generator& generator_;
    SessionFile file_;
    std::string name_;
    std::optional<int64_t> id_;  // absent: not in the file yet
    int64_t revision_ = 0;
    std::optional<int64_t> committed_id_;  // and as the file has them
    int64_t committed_revision_ = 0;
    std::string created_;  // "2026-11-29T08:30:00", UTC: what chat templates are told of the time
    std::optional<ByteLock> lock_;  // while an answer is being made
    SessionKind kind_ = SessionKind::chat;
    std::optional<BlockStore> blocks_;
    std::shared_ptr<const AnswerForm> form_;  // of a conversation's answers

    std::vector<ChatMessage> messages_;
    bool asked_ = false;       // there is an answer, perhaps empty: the last message
    bool unfinished_ = false;  // it can be resumed
    std::string ending_;       // else: why it ended
    GenerateOptions options_;  // that it was begun with
    AnswerState state_;

    // What of it the file has.
    std::vector<int32_t> written_tokens_;
    size_t written_answer_ = 0, written_messages_ = 0;
    bool written_options_ = false;
    size_t known_ = 0;    // of the tokens of this turn, those that had been read before it
    int64_t picked_ = 0;  // since the last commit
    std::chrono::steady_clock::time_point committed_;
};

}  // namespace llmsql
