// SPDX-License-Identifier: MIT
// Opening models, and sharing what is alike. See open_model.h.
#include "runtime/generate/open_model.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/fork.h"
#include "common/machine.h"
#include "runtime/generate/prompt.h"
#include "runtime/program/installed_plans.h"
#include "runtime/weights/model_file.h"
#include "sqlite/callbacks.h"

namespace llmsql {
namespace {

PlanFile plan_of(const ModelDb& db, const std::string& plan) {
    return plan.ends_with(".sql") ? read_plan(plan) : installed_plan(db, plan);
}

// All that two programs have in common that share anything: the file, the plan, the threads; within
// one process, as what belongs to the one that it was forked from is of no use to it.
struct Key {
    uint32_t generation = fork_generation();
    const ModelFile* file = nullptr;
    std::string plan;
    int threads = 0;
    auto operator<=>(const Key&) const = default;

    Key(const ModelDb& db, const PlanFile& of, int count) : file(db.file().get()), threads(count) {
        for (const PlanSection& section : of.sections)
            for (const PlanStatement& statement : section.statements) plan += statement.sql + ";";
    }
};

// Things of a kind by key, for as long as somebody uses them. Thread-safe.
template<class Thing>
class Registry {
  public:
    using Make = std::function<std::shared_ptr<Thing>()>;

    static Registry& of_process() {
        static Registry& all = *new Registry;
        return all;
    }

    /// One of that key that `fits`, or else a new one. While another thread makes one, that is
    /// waited for, and no longer than until `interrupted` says so.
    std::shared_ptr<Thing> share(const Key& key, const std::function<bool(Thing&)>& fits,
                                 const Make& make, const std::function<bool()>& interrupted) {
        for (bool ours = false; !ours;) {
            if (auto found = find(key, fits, ours)) return found;
            if (ours) break;
            if (interrupted()) throw Interrupted();
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
        std::shared_ptr<Thing> made;
        try {
            made = make();
        } catch (...) {
            note(key, nullptr);
            throw;
        }
        note(key, made);
        return made;
    }

  private:
    struct Entry {
        std::vector<std::weak_ptr<Thing>> things;
        bool making = false;  // somebody makes one
    };

    // One that fits, or nothing: then `ours` says whether it is the caller's to make one.
    std::shared_ptr<Thing> find(const Key& key, const std::function<bool(Thing&)>& fits,
                                bool& ours) {
        std::vector<std::shared_ptr<Thing>> seen;  // goes after the lock, perhaps as the last user
        const std::lock_guard lock(mutex_);
        for (auto& [other, entry] : all_)
            std::erase_if(entry.things, [](const auto& each) { return each.expired(); });
        std::erase_if(all_, [](const auto& entry) {
            return !entry.second.making && entry.second.things.empty();
        });
        Entry& entry = all_[key];
        for (const auto& each : entry.things)
            if (auto thing = each.lock()) {
                seen.push_back(thing);
                if (fits(*thing)) return thing;
            }
        ours = !std::exchange(entry.making, true);
        return nullptr;
    }

    void note(const Key& key, const std::shared_ptr<Thing>& made) {
        const std::lock_guard lock(mutex_);
        Entry& entry = all_[key];
        entry.making = false;
        if (made) entry.things.push_back(made);
    }

    ForkMutex mutex_;
    std::map<Key, Entry> all_;
};

Program open_program(const ModelDb& db, PlanFile plan, int threads,
                     const std::function<bool()>& interrupted) {
    Key key(db, plan, 0);
    // No mappings: a library may not install the handler that makes them safe.
    ProgramOptions options{.threads = threads, .io = std::nullopt};
    options.interrupted = interrupted;
    options.share = [&](int count, const ProgramOptions::Make& make) {
        key.threads = count;
        return Registry<Compute>::of_process().share(
            key, [](Compute&) { return true; }, make, interrupted);
    };
    return {std::move(plan), db, options};
}

std::shared_ptr<ModelDb> open_db(const std::string& path,
                                 const std::function<bool()>& interrupted) {
    auto db = std::make_shared<ModelDb>(path);
    db->on_interrupt(interrupted);
    return db;
}

}  // namespace

int sensible_threads(int threads) {
    return std::min(threads <= 0 ? INT_MAX : threads, usable_cores());
}

// What calls may share. Where they do, `db` is the program's alone.
struct OpenModel::Loaded {
    Loaded(std::shared_ptr<ModelDb> of, PlanFile plan, int threads,
           const std::function<bool()>& interrupted)
        : db(std::move(of)),
          program(open_program(*db, std::move(plan), threads, interrupted)),
          scheduler(program, end_tokens(program, Tokenizer(*db))) {}
    bool is_shared() const { return scheduler.places() > 1; }

    const std::shared_ptr<ModelDb> db;
    Program program;
    SharedScheduler scheduler;
};

OpenModel::OpenModel(const ModelChoice& choice, const std::function<bool()>& interrupted)
    : file_(identity(choice.model)), db_(open_db(choice.model, interrupted)) {
    PlanFile plan = plan_of(*db_, choice.plan);
    const int threads = sensible_threads(choice.threads);
    const Key key(*db_, plan, threads);
    loaded_ = Registry<Loaded>::of_process().share(
        key, [](Loaded& loaded) { return loaded.is_shared(); },
        [&] { return std::make_shared<Loaded>(db_, std::move(plan), threads, interrupted); },
        interrupted);
    if (loaded_->is_shared()) {
        if (loaded_->db == db_) {
            db_->on_interrupt(nullptr);
            db_ = open_db(choice.model, interrupted);
        }
        chat_.emplace(program().plan(), *db_, nullptr);
    }
    tokenizer_.emplace(*db_);
    begin_call(interrupted);
}

OpenModel::Identity OpenModel::identity(const std::string& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 ? Identity(info.st_dev, info.st_ino) : Identity();
}

// A file that is gone is as good as it was: only another one in its place is not.
bool OpenModel::is_replaced() const {
    const Identity now = identity(db_->path().string());
    return now != Identity() && now != file_;
}

void OpenModel::begin_call(const std::function<bool()>& interrupted) {
    ask(interrupted);
}

CallerOptions OpenModel::join() {
    if (!seat_) seat_.emplace(scheduler(), interrupted_);
    return {.interrupted = interrupted_, .within_passes = true};
}

void OpenModel::end_call() {
    ask(nullptr);
    seat_.reset();
}

void OpenModel::ask(const std::function<bool()>& interrupted) {
    interrupted_ = interrupted ? interrupted : [] { return false; };
    db_->on_interrupt(interrupted);
    const auto progress = [interrupted] {
        if (interrupted && interrupted()) throw Interrupted();
    };
    chat().on_progress(progress);
    tokenizer_->on_progress(progress);
}

ChatTemplate& OpenModel::chat() {
    return chat_ ? *chat_ : loaded_->program.chat();
}

const std::shared_ptr<const AnswerForm>& OpenModel::form() {
    if (!form_) form_ = form_of(chat(), tokenizer());
    return form_;
}

Program& OpenModel::program() const {
    return loaded_->program;
}

SharedScheduler& OpenModel::scheduler() const {
    return loaded_->scheduler;
}

}  // namespace llmsql
