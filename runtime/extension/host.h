// SPDX-License-Identifier: MIT
// Host: what the extension keeps for one connection of a program that has loaded it: which model
// its functions use, the models that are open, and how the host's interrupts reach them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/fork.h"
#include "runtime/generate/calls.h"
#include "runtime/generate/open_model.h"
#include "runtime/program/plan_by_hand.h"
#include "sqlite/api.h"

namespace llmsql {

/// Asks the host, through a statement on its connection, whether it wants to be done: that is how
/// sqlite3_interrupt() and a progress handler are heard. One a call; finalised with it, so that the
/// host can close its connection.
class Poll {
  public:
    explicit Poll(sqlite3* db);
    Poll(const Poll&) = delete;
    Poll& operator=(const Poll&) = delete;
    ~Poll();
    /// Whether the host has interrupted; once true, always.
    bool operator()();
    bool interrupted() const { return interrupted_; }

  private:
    sqlite3* const db_;
    sqlite3_stmt* statement_ = nullptr;  // made when it is first needed
    bool made_ = false, interrupted_ = false;
};

/// Used by one thread at a time: SQLite sees to that for a connection's functions.
class Host {
  public:
    explicit Host(sqlite3* db);
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;
    ~Host();

    sqlite3* db() const { return db_; }

    /// The model that functions use from now on, opened at once so that what is wrong is told here.
    void choose(const ModelChoice& choice);

    /// Closes the models that no call is using, and with them their locks. How many those were.
    size_t let_go();

    /// A model taken for one call; given back when it goes. Without `model` in the choice: the one
    /// of choose(), else the first of the connection's databases that is a model database, else
    /// the one that the environment variable LLMSQL_MODEL names.
    class Borrowed {
      public:
        Borrowed(Host& host, ModelChoice choice);
        Borrowed(Borrowed&&) = default;
        ~Borrowed();
        OpenModel& operator*() const { return *model_; }
        OpenModel* operator->() const { return model_.get(); }
        /// Whether the host has interrupted.
        bool interrupted() const { return (*poll_)(); }

      private:
        Host* host_;
        ModelChoice choice_;
        std::unique_ptr<Poll> poll_;
        std::unique_ptr<OpenModel> model_;
    };
    Borrowed borrow(ModelChoice choice = {});

    /// Fails where this process was forked from the one that opened the connection.
    void require_own_process() const;

    /// The state of a plan that is run by hand on the host's own connection.
    PlanByHand& by_hand() { return by_hand_; }

    /// Conversations of llm_chat: one a name.
    std::map<std::string, Conversation> chats;

  private:
    /// Models that stay open between calls, with what their caches hold: one a model and plan, and
    /// not many. Those whose file has been replaced are closed.
    static constexpr size_t kMostIdle = 4;

    ModelChoice resolve(ModelChoice choice) const;
    std::string own_database() const;
    std::unique_ptr<OpenModel> take_idle(const ModelChoice& choice);
    void keep_idle(ModelChoice choice, std::unique_ptr<OpenModel> model);

    sqlite3* const db_;
    std::optional<ModelChoice> default_;
    const uint32_t generation_ = fork_generation();
    std::vector<std::pair<ModelChoice, std::unique_ptr<OpenModel>>> idle_;  // used last: at the end
    PlanByHand by_hand_;
};

}  // namespace llmsql
