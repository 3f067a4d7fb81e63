// SPDX-License-Identifier: MIT
// A session's rows, read and written. See session.h; docs/sessions.md describes them.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <span>

#include "common/error.h"
#include "common/utf8.h"
#include "jinja/conversation.h"
#include "jinja/template.h"
#include "runtime/session/session.h"

namespace llmsql {
namespace {

std::string name_of(SessionKind kind) {
    return kind == SessionKind::chat ? "chat" : "text";
}

[[noreturn]] void damaged(const SessionFile& file, const std::string& session,
                          std::string_view what) {
    fail("{}: the session '{}' is not as it was written: {}", file.name(), session, what);
}

/// A list of tokens: (number from 0, token) a row.
std::vector<int32_t> read_tokens(Query&& rows, int64_t vocabulary, const SessionFile& file,
                                 const std::string& session) {
    std::vector<int32_t> tokens;
    while (rows.next()) {
        const int64_t token = rows.integer(1);
        if (rows.integer(0) != static_cast<int64_t>(tokens.size()))
            damaged(file, session, "a token is missing");
        if (token < 0 || token >= vocabulary)
            damaged(file, session, "it has a token that the model does not have");
        tokens.push_back(static_cast<int32_t>(token));
    }
    return tokens;
}

// As say() writes them. A chat section may have a role for markup, so none is a stranger's text.
constexpr std::array<std::string_view, 3> kChatRoles{"system", "user", "assistant"};
constexpr std::array<std::string_view, 2> kTextRoles{"prompt", "completion"};

std::span<const std::string_view> roles_of(SessionKind kind) {
    if (kind == SessionKind::chat) return kChatRoles;
    return kTextRoles;
}

int to_int(int64_t value) {
    return static_cast<int>(std::clamp<int64_t>(value, std::numeric_limits<int>::min(),
                                                std::numeric_limits<int>::max()));
}

}  // namespace

// Finds the session, or leaves id_ absent for create().
void Session::find(std::optional<SessionKind> kind, const ProgramIdentity& identity) {
    Query query(file_.db(),
                "SELECT id, kind, model, weights, forward, kv, revision, created FROM session "
                "WHERE name = ?",
                name_);
    if (!query.next()) {
        if (!kind || choice_.fork || !choice_.make)
            fail("{}: there is no session '{}' in it", file_.name(), name_);
        kind_ = *kind;
        return;
    }
    const auto refuse = [&](const std::string& why) {
        fail("{}: the session '{}' {}", file_.name(), name_, why);
    };
    const std::string model = printable(query.text(2));
    // Equal weights are of one model, whatever a plan calls it.
    if (model != identity.model && query.text(3) != identity.weights)
        refuse(fmt::format("is of the model '{}', this is '{}'", model, identity.model));
    if (query.text(3) != identity.weights)
        refuse(fmt::format("is of other weights of '{}': {}, these are {}", model,
                           printable(query.text(3)), identity.weights));
    if (query.text(5) != identity.kv)
        refuse(fmt::format("keeps keys and values as {}, this plan as {} (llmsqlc --kv)",
                           printable(query.text(5)), identity.kv));
    if (query.text(4) != identity.forward)
        refuse(fmt::format("was made by a plan with another forward section: {}, this one's is {}",
                           printable(query.text(4)), identity.forward));
    const std::string stored = query.text(1);
    if (stored != "chat" && stored != "text") damaged(file_, name_, "it is of no known kind");
    kind_ = stored == "chat" ? SessionKind::chat : SessionKind::text;
    if (kind && *kind != kind_)
        refuse(kind_ == SessionKind::chat
                   ? "is a conversation: go on with it as one (llmsql-run --chat), or name another"
                   : "is a text, not a conversation: go on with it as one (llmsql-run -p), or name "
                     "another");
    id_ = committed_id_ = query.integer(0);
    revision_ = committed_revision_ = query.integer(6);
    created_ = query.text(7).substr(0, std::string_view("2026-11-29T08:30:00").size());
    try {
        if (!created_.empty()) jinja::seconds_of(created_);
    } catch (const Error&) {
        damaged(file_, name_, "its time is none");
    }
}

void Session::create() {
    const ProgramIdentity identity = program_.identity();
    const std::string kind = name_of(kind_);
    if (created_.empty()) created_ = jinja::utc_time();
    // A name that has come meanwhile is another program's.
    Query(file_.db(),
          "INSERT INTO session(name, kind, model, weights, forward, kv, created, changed, "
          "revision) VALUES (?, ?, ?, ?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), 0) "
          "ON CONFLICT(name) DO NOTHING",
          name_, kind, identity.model, identity.weights, identity.forward, identity.kv,
          created_ + "Z")
        .run();
    if (file_.db().changed() != 1)
        fail("{}: another program has made the session '{}' meanwhile", file_.name(), name_);
    id_ = file_.db().inserted();
    blocks_->attach(*id_);
}

void Session::require_revision() {
    Query query(file_.db(), "SELECT 1 FROM session WHERE id = ? AND revision = ?", id_, revision_);
    if (!query.next()) refuse_other();
}

void Session::refuse_other() const {
    fail(
        "{}: another program goes on with the session '{}', or has deleted it: what came since is "
        "not kept here",
        file_.name(), name_);
}

// A copy whose blocks are those of the first: rows that refer to them.
void Session::fork(const std::string& name) {
    file_.begin();
    Query(file_.db(),
          "INSERT INTO session(name, kind, model, weights, forward, kv, created, changed, "
          "revision) SELECT ?, kind, model, weights, forward, kv, "
          "strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), 0 "
          "FROM session WHERE id = ? ON CONFLICT(name) DO NOTHING",
          name, id_)
        .run();
    if (file_.db().changed() != 1)
        fail("{}: there is a session '{}' already: fork to another name", file_.name(), name);
    const int64_t copy = file_.db().inserted();
    for (const char* sql :
         {"INSERT INTO message SELECT ?, n, role, content FROM message WHERE session = ?",
          "INSERT INTO thought SELECT ?, n, text FROM thought WHERE session = ?",
          "INSERT INTO token SELECT ?, position, token FROM token WHERE session = ?",
          "INSERT INTO answer SELECT ?, ending, keep, random, predict, context, keep_option, "
          "ignore_end, temperature, top_k, top_p, min_p, repeat_penalty FROM answer "
          "WHERE session = ?",
          "INSERT INTO answer_stop SELECT ?, n, text FROM answer_stop WHERE session = ?",
          "INSERT INTO answer_token SELECT ?, n, token FROM answer_token WHERE session = ?",
          "INSERT INTO session_block SELECT ?, n, block FROM session_block WHERE session = ?"})
        Query(file_.db(), sql, copy, id_).run();
    file_.commit();
    id_ = committed_id_ = copy;
    name_ = name;
    revision_ = committed_revision_ = 0;
}

// A system message that nothing has been said behind is not in the file, but stays.
void Session::go_back() {
    file_.roll_back();
    lock_.reset();
    if (committed_id_) {
        Query query(file_.db(), "SELECT 1 FROM session WHERE id = ? AND revision = ?",
                    committed_id_, committed_revision_);
        if (!query.next()) refuse_other();
        messages_.clear();
    } else {
        Query query(file_.db(), "SELECT 1 FROM session WHERE name = ?", name_);
        if (query.next()) refuse_other();
        messages_.resize(!messages_.empty() && messages_.front().role == "system" ? 1 : 0);
    }
    id_ = committed_id_;
    revision_ = committed_revision_;
    asked_ = unfinished_ = written_options_ = false;
    ending_.clear();
    options_ = {};
    state_ = {};
    written_tokens_.clear();
    written_answer_ = written_messages_ = 0;
    picked_ = 0;
    blocks_->attach(id_.value_or(0));
    read();
}

void Session::read() {
    if (!id_) return;
    Query query(file_.db(),
                "SELECT n, role, content, (SELECT text FROM thought t WHERE t.session = m.session "
                "AND t.n = m.n) FROM message m WHERE session = ? ORDER BY n",
                id_);
    while (query.next()) {
        if (query.integer(0) != static_cast<int64_t>(messages_.size()))
            damaged(file_, name_, "a message is missing");
        messages_.push_back({query.text(1), query.text(2), query.is_null(3) ? "" : query.text(3)});
        if (first_invalid_utf8(messages_.back().content) ||
            first_invalid_utf8(messages_.back().role) ||
            first_invalid_utf8(messages_.back().thinking))
            damaged(file_, name_, "a message is not UTF-8");
        if (const auto roles = roles_of(kind_);
            std::ranges::find(roles, messages_.back().role) == roles.end())
            damaged(
                file_, name_,
                fmt::format("message {} has the role '{}', and there are {}", messages_.size() - 1,
                            printable(messages_.back().role), fmt::join(roles, ", ")));
    }
    const int64_t vocabulary = program_.vocabulary();
    state_.tokens = read_tokens(
        Query(file_.db(), "SELECT position, token FROM token WHERE session = ? ORDER BY position",
              id_),
        vocabulary, file_, name_);
    state_.answer = read_tokens(
        Query(file_.db(), "SELECT n, token FROM answer_token WHERE session = ? ORDER BY n", id_),
        vocabulary, file_, name_);
    read_answer();
    // A conversation's are made of its messages; a text goes on behind them.
    if (kind_ == SessionKind::text && !messages_.empty() && state_.tokens.empty())
        damaged(file_, name_, "its tokens are missing");
    written_tokens_ = state_.tokens;
    written_answer_ = state_.answer.size();
    written_messages_ = messages_.empty() ? 0 : messages_.size() - 1;
    written_options_ = asked_;
}

void Session::read_answer() {
    Query query(file_.db(),
                "SELECT ending, keep, random, predict, context, keep_option, ignore_end, "
                "temperature, top_k, top_p, min_p, repeat_penalty FROM answer WHERE session = ?",
                id_);
    asked_ = query.next();
    if (!asked_) return;
    const char* role = kind_ == SessionKind::chat ? "assistant" : "completion";
    if (messages_.size() < 2 || messages_.back().role != role)
        damaged(file_, name_, "the last answer is missing");
    unfinished_ = query.is_null(0);
    ending_ = unfinished_ ? "" : query.text(0);
    state_.keep = query.integer(1);
    state_.random = query.text(2);
    options_.predict = query.integer(3);
    options_.context = to_int(query.integer(4));
    if (!query.is_null(5)) options_.keep = query.integer(5);
    options_.ignore_end = query.integer(6) != 0;
    options_.sampler.temperature = query.real(7);
    options_.sampler.top_k = to_int(query.integer(8));
    options_.sampler.top_p = query.real(9);
    options_.sampler.min_p = query.real(10);
    options_.sampler.repeat_penalty = query.real(11);
    options_.seed = 0;  // the random numbers go on where they were
    name_all(options_);
    Query stops(file_.db(), "SELECT text FROM answer_stop WHERE session = ? ORDER BY n", id_);
    while (stops.next()) options_.stops.push_back(stops.text(0));
}

// All but those that are as they were; the last one may have grown.
void Session::write_messages() {
    Query(file_.db(), "DELETE FROM message WHERE session = ? AND n >= ?", id_,
          static_cast<int64_t>(written_messages_))
        .run();
    Query(file_.db(), "DELETE FROM thought WHERE session = ? AND n >= ?", id_,
          static_cast<int64_t>(written_messages_))
        .run();
    for (size_t n = written_messages_; n < messages_.size(); ++n) {
        Query(file_.db(), "INSERT INTO message(session, n, role, content) VALUES (?, ?, ?, ?)", id_,
              static_cast<int64_t>(n), messages_[n].role, messages_[n].content)
            .run();
        if (!messages_[n].thinking.empty())
            Query(file_.db(), "INSERT INTO thought(session, n, text) VALUES (?, ?, ?)", id_,
                  static_cast<int64_t>(n), messages_[n].thinking)
                .run();
    }
    written_messages_ = messages_.empty() ? 0 : messages_.size() - 1;
}

void Session::write_answer() {
    // Only that it differs matters: the largest number is followed by the least.
    const int64_t next = revision_ == std::numeric_limits<int64_t>::max() ? 0 : revision_ + 1;
    Query(file_.db(),
          "UPDATE session SET revision = ?, "
          "changed = strftime('%Y-%m-%dT%H:%M:%SZ', 'now') WHERE id = ? AND revision = ?",
          next, id_, revision_)
        .run();
    if (file_.db().changed() != 1) refuse_other();
    revision_ = next;

    const auto [written, now] = std::ranges::mismatch(written_tokens_, state_.tokens);
    const auto same = static_cast<size_t>(now - state_.tokens.begin());
    if (written != written_tokens_.end())
        Query(file_.db(), "DELETE FROM token WHERE session = ? AND position >= ?", id_,
              static_cast<int64_t>(same))
            .run();
    for (size_t i = same; i < state_.tokens.size(); ++i)
        Query(file_.db(), "INSERT INTO token(session, position, token) VALUES (?, ?, ?)", id_,
              static_cast<int64_t>(i), static_cast<int64_t>(state_.tokens[i]))
            .run();
    written_tokens_ = state_.tokens;

    if (!written_options_) write_options();
    std::optional<std::string> ending;
    if (!unfinished_) ending = ending_;
    Query(file_.db(), "UPDATE answer SET ending = ?, random = ? WHERE session = ?", ending,
          state_.random, id_)
        .run();
    for (size_t n = written_answer_; n < state_.answer.size(); ++n)
        Query(file_.db(), "INSERT INTO answer_token(session, n, token) VALUES (?, ?, ?)", id_,
              static_cast<int64_t>(n), static_cast<int64_t>(state_.answer[n]))
            .run();
    written_answer_ = state_.answer.size();
}

// What stays the same for an answer; the one before is gone.
void Session::write_options() {
    Query(file_.db(), "DELETE FROM answer_token WHERE session = ?", id_).run();
    Query(file_.db(), "DELETE FROM answer_stop WHERE session = ?", id_).run();
    Query(file_.db(),
          "INSERT OR REPLACE INTO answer(session, keep, random, predict, context, keep_option, "
          "ignore_end, temperature, top_k, top_p, min_p, repeat_penalty) "
          "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
          id_, state_.keep, state_.random, options_.predict,
          static_cast<int64_t>(options_.context.value_or(0)), options_.keep,
          static_cast<int64_t>(options_.ignore_end), options_.sampler.temperature,
          static_cast<int64_t>(options_.sampler.top_k), options_.sampler.top_p,
          options_.sampler.min_p, options_.sampler.repeat_penalty)
        .run();
    for (size_t n = 0; n < options_.stops.size(); ++n)
        Query(file_.db(), "INSERT INTO answer_stop(session, n, text) VALUES (?, ?, ?)", id_,
              static_cast<int64_t>(n), options_.stops[n])
            .run();
    written_options_ = true;
}

}  // namespace llmsql
