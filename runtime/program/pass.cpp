// SPDX-License-Identifier: MIT
// Binding, stepping and timing a plan's statements. See pass.h.
#include "runtime/program/pass.h"

#include <algorithm>
#include <new>
#include <utility>

#include "common/error.h"
#include "common/stopwatch.h"
#include "runtime/compute/evaluate.h"

namespace llmsql {

Pass::Pass(const PlanFile& plan, PlanConnection& connection, PlanState& state,
           Interruption& interruption)
    : plan_(plan), connection_(connection), state_(state), interruption_(interruption) {
    // Tensors of a pass hold a chunk; those of the logits section, fewer rows.
    const auto tokens = [](const auto& entry) { return entry.second.tokens(); };
    const auto& places = state.arena->places();
    chunk_ = static_cast<int>(chunk_of(*state.arena));
    logits_rows_ = static_cast<int>(tokens(*std::ranges::min_element(places, {}, tokens)));
    forward_ = connection.prepare_section("forward", Sandbox::Section::forward);
    logits_ = connection.prepare_section("logits", Sandbox::Section::logits);
    if (logits_.empty() || logits_.back().writes)
        fail("{}: the section 'logits' must end in a SELECT of the logits", plan.path.string());
    vocabulary_ = width_of_query();
}

void Pass::start(bool timing, bool profile, PassObserver* observer) {
    timing_ = timing || profile;
    if (profile) profiler_.emplace(forward_.size() + logits_.size(), workers().count());
    observer_ = observer;
}

// A statement's number among those of forward and logits.
size_t Pass::index_of(const Prepared& prepared) const {
    const bool of_forward =
        !forward_.empty() && &prepared >= &forward_.front() && &prepared <= &forward_.back();
    return of_forward ? static_cast<size_t>(&prepared - forward_.data())
                      : forward_.size() + static_cast<size_t>(&prepared - logits_.data());
}

// Steps statements that store values. Computing them may lag behind stepping, to the end.
template<class Steps>
void Pass::turn(Steps steps) {
    const Turn turn(state_.compute->turn, [this] { interruption_.end_if_wanted(); });
    state_.compute->keep_time(timing_);
    const Stopwatch watch(timing_ ? &times_.total : nullptr);
    try {
        steps();
    } catch (...) {
        state_.shown.reset();
        workers().finish();  // if an earlier statement's value failed, that is the reason
        throw;
    }
    workers().finish();
    state_.compute->end_pass();
}

void Pass::observe(void (PassObserver::*look)(const PassView&)) {
    workers().finish();  // what was stored before is computed
    (observer_->*look)(seen_);
}

void Pass::run(const Prepared& prepared) {
    interruption_.end_if_wanted();
    seen_.statement = index_of(prepared);
    if (observer_) observe(&PassObserver::before);
    const uint64_t before = state_.writes;
    ++times_.statements;
    state_.compute->statement = &prepared.where;
    const Profiler::Step profiled(profiler_, seen_.statement, *state_.compute);
    const ResetAtExit reset(prepared.statement.get());
    connection_.sandbox().begin();
    // Each row that is stored is computed: no more of them than there are places for them.
    state_.most_writes =
        before + state_.arena->places().size() + (state_.cache ? state_.cache->layers().size() : 0);
    while (connection_.next_row(prepared)) {
    }
    if (workers().failed()) workers().finish();
    if (prepared.writes && state_.writes == before)
        fail("{}: the statement stored nothing: no row of its tables matched", prepared.where);
    if (observer_) observe(&PassObserver::after);
}

void Pass::run_for(const Prepared& prepared, std::span<const Run> runs) {
    sqlite3_stmt* statement = prepared.statement.get();
    const auto bind = [&](const Run& run) {
        int i = 0;
        for (const std::string& parameter : prepared.parameters) {
            ++i;
            if (parameter == ":tokens")
                sqlite3_bind_blob(statement, i, run.tokens.data(),
                                  static_cast<int>(run.tokens.size_bytes()), SQLITE_STATIC);
            else
                sqlite3_bind_int64(statement, i,
                                   parameter == ":position" ? run.position : run.sequence);
        }
    };
    if (runs.size() == 1) {
        bind(runs[0]);
        return this->run(prepared);
    }
    if (!prepared.by_sequence) {
        bind({all_tokens_, 0, 0});
        return this->run(prepared);
    }
    SequenceRows shown{.of = static_cast<int64_t>(all_tokens_.size())};
    for (const Run& run : runs) {
        shown.rows = static_cast<int64_t>(run.tokens.size());
        state_.shown = shown;
        bind(run);
        this->run(prepared);
        shown.first += shown.rows;
    }
    state_.shown.reset();
}

void Pass::forward(std::span<const Run> runs) {
    const std::string name = plan_.path.string();
    all_tokens_.clear();
    for (const Run& run : runs) {
        if (run.tokens.empty()) fail("{}: a pass takes 1 token or more of a sequence", name);
        for (const Run& other : runs)
            if (&other != &run && other.sequence == run.sequence)
                fail("{}: the sequence {} is twice in a pass", name, run.sequence);
        all_tokens_.insert(all_tokens_.end(), run.tokens.begin(), run.tokens.end());
    }
    if (all_tokens_.empty() || all_tokens_.size() > static_cast<size_t>(chunk_))
        fail("{}: a pass takes {}{}, not {}", name, chunk_ > 1 ? "1 to " : "",
             counted(static_cast<uint64_t>(chunk_), "token"), all_tokens_.size());
    if (observer_ && runs.size() > 1)
        fail("{}: a pass of several sequences cannot be observed", name);
    seen_ = {.pass = times_.passes + 1,
             .position = runs[0].position,
             .sequence = runs[0].sequence,
             .arena = state_.arena.get(),
             .cache = state_.cache.get()};
    state_.arena->begin_pass();
    state_.cut_scans.clear();
    if (state_.recurrent) {
        state_.recurrent->abandon();  // of a pass that failed
        for (const Run& run : runs) state_.recurrent->go_to(run.sequence, run.position);
        for (const Run& run : runs) {
            if (run.may_be_cut)
                state_.recurrent->may_cut(run.sequence, static_cast<int64_t>(run.tokens.size()));
            state_.recurrent->keep(run.sequence, run.position, run.snapshot, run.question);
        }
    }
    rows_ = 0;
    turn([&] {
        for (const Prepared& prepared : forward_) run_for(prepared, runs);
    });
    if (state_.recurrent) state_.recurrent->commit();
    rows_ = static_cast<int64_t>(all_tokens_.size());
    ++times_.passes;
    times_.tokens += all_tokens_.size();
}

Logits Pass::logits(int first, int rows) {
    if (first < 0 || rows < 1 || rows > logits_rows_ || first + rows > rows_)
        fail("{}: logits of rows {} to {}, but the last pass has {} and {} can be had at once",
             plan_.path.string(), first, first + rows - 1, rows_, logits_rows_);
    seen_.first_row = first;
    ExprPtr expr;
    state_.arena->begin_logits();
    turn([&] {
        for (const Prepared& prepared : logits_) {
            sqlite3_stmt* statement = prepared.statement.get();
            int i = 0;
            for (const std::string& parameter : prepared.parameters)
                sqlite3_bind_int64(statement, ++i, parameter == ":first" ? first : rows);
            if (&prepared != &logits_.back()) run(prepared);
        }
        // Within the turn: it may look at values, for which the workers must be this program's.
        expr = run_query();
    });
    if (expr->rows != rows || expr->elements() != vocabulary_)
        fail("{}: the logits are {}, {} rows of {} were asked for", logits_where(),
             describe_shape(*expr), rows, vocabulary_);
    Logits logits{.vocabulary = vocabulary_, .rows = rows};
    logits.values = expr->direct(0, 0, logits.stride);
    return logits;
}

// What the scans have read is kept, so that no weights are read, nor anything else is computed. The
// arena stays as it is: logits of the pass may still be wanted.
bool Pass::cut(int position, int sequence) {
    const auto& states = state_.recurrent;
    if (!states || states->rewind(sequence, position) == position) return true;
    if (!states->can_cut(sequence, position)) return false;
    const Turn turn(state_.compute->turn);
    state_.compute->keep_time(timing_);
    state_.compute->statement = nullptr;
    const Stopwatch watch(timing_ ? &times_.total : nullptr);
    const int64_t rows = position - states->go_back(sequence);
    if (rows == 0) return true;
    try {
        for (const CutScan& scan : state_.cut_scans)
            if (scan.sequence == sequence) {
                states->begin(sequence, scan.state, position - rows, rows);
                evaluate_scan_again(*state_.compute, scan.again, rows,
                                    states->state(sequence, scan.state));
            }
        workers().finish();
    } catch (const std::bad_alloc&) {
        try {
            workers().finish();
        } catch (const std::bad_alloc&) {
        }
        states->abandon();
        return false;
    }
    states->commit();
    return true;
}

// What the logits section ends in.
ExprPtr Pass::run_query() {
    const Prepared& prepared = logits_.back();
    sqlite3_stmt* query = prepared.statement.get();
    ++times_.statements;
    const ResetAtExit reset(query);
    connection_.sandbox().begin();
    ExprPtr expr;
    if (connection_.next_row(prepared) && sqlite3_column_count(query) == 1)
        expr = value_expr(sqlite3_column_value(query, 0));
    const auto* tensor = dynamic_cast<const TensorExpr*>(expr.get());
    if (!tensor || tensor->place.type != TensorType::f32)
        fail("{}: this query must yield one f32 tensor, the logits", prepared.where);
    return expr;
}

int64_t Pass::width_of_query() {
    state_.arena->show_shapes();
    const int64_t width = run_query()->elements();
    times_ = {};
    return width;
}

PassTimes Pass::times() const {
    if (!timing_) return {};
    const WorkTime work = workers().time();
    PassTimes times = times_;
    const double count = workers().count();
    times.jobs = work.jobs;
    times.reading = state_.compute->reading() / count;
    times.computing = work.busy / count - times.reading;
    times.sql = (times.total - work.owner_busy - work.owner_waiting) / count;
    times.waiting = times.total - times.computing - times.reading - times.sql;
    if (profiler_) times.by_statement = profiler_->times();
    return times;
}

}  // namespace llmsql
