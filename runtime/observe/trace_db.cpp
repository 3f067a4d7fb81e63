// SPDX-License-Identifier: MIT
// Writing and comparing values of every step. See trace.h and docs/seeing.md.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>

#include "common/error.h"
#include "common/files.h"
#include "runtime/observe/recorded.h"
#include "runtime/observe/result_file.h"
#include "runtime/observe/trace.h"

namespace llmsql {
namespace {

constexpr char kTraceSchema[] = R"(
CREATE TABLE trace_step(step TEXT PRIMARY KEY, statement INTEGER, line INTEGER, formula TEXT,
                        shape TEXT);  -- of one token's values
-- data: f32, little-endian, as many as the shape says; of quantised values what they stand for
CREATE TABLE trace_value(step TEXT, position INTEGER, min REAL, max REAL, rms REAL, data BLOB,
                         PRIMARY KEY(step, position));
)";

double rms(std::span<const float> values) {
    double squares = 0;
    for (const float value : values) squares += static_cast<double>(value) * value;
    return values.empty() ? 0 : std::sqrt(squares / static_cast<double>(values.size()));
}

std::string shape_of_token(const StoredValues& stored) {
    std::string text;
    for (const int64_t size : stored.shape)
        text += fmt::format("{}{}", text.empty() ? "" : ", ", size);
    return fmt::format("{}[{}]", stored.type, text);
}

class Writer final : public RunObserver {
  public:
    Writer(const Outline& outline, const std::filesystem::path& path)
        : outline_(outline), file_(path, kTraceDatabase) {
        file_.db().execute(kTraceSchema);
    }

    void after(const PassView& view) override {
        for_each_recorded(
            outline_, view,
            [&](const std::string& name, const StoredValues& stored, int64_t position) {
                note_step(name, outline_.steps[view.statement], shape_of_token(stored));
                for (int64_t t = 0; t < stored.tokens; ++t)
                    note_values(name, position + t, stored.token(t));
            });
    }

    bool finish() override {
        file_.commit();
        return true;
    }

  private:
    void note_step(const std::string& name, const OutlineStep& step, const std::string& shape) {
        Query(file_.db(), "INSERT OR IGNORE INTO trace_step VALUES(?,?,?,?,?)", name, step.number,
              step.line, step.formula, shape)
            .run();
    }

    // A position may be computed again, after a rewind: the last counts.
    void note_values(const std::string& name, int64_t position, std::span<const float> values) {
        const auto [low, high] = std::ranges::minmax_element(values);
        Query(file_.db(), "INSERT OR REPLACE INTO trace_value VALUES(?,?,?,?,?,?)", name, position,
              *low, *high, rms(values), std::as_bytes(values))
            .run();
    }

    const Outline& outline_;
    ResultFile file_;
};

/// How far one step of this run is from the other's, where they are furthest apart.
struct Difference {
    double relative = 0;
    int64_t position = 0;
    int64_t rows = 0;  // compared
    std::string here, there;
};

std::string explain(const std::string& name, const SqliteFault& fault) {
    return fmt::format("{}: not a trace (llmsql-run --trace db:FILE makes them): {}", name,
                       fault.says);
}

class Comparer final : public RunObserver {
  public:
    Comparer(const Outline& outline, const std::filesystem::path& path, double tolerance)
        : outline_(outline), name_(path.string()), tolerance_(tolerance) {
        require_readable_file(path);
        db_ = Connection(path, {.explain = explain});
        // Anything else could hold the run for ever.
        if (const std::string type = db_.table_type("trace_value"); type != "table" && type != "")
            fail(
                "{}: not a trace (llmsql-run --trace db:FILE makes them): trace_value is a {}, not "
                "a table",
                name_, type);
        query_ = db_.prepare("SELECT data FROM trace_value WHERE step = ? AND position = ?");
    }

    void after(const PassView& view) override {
        for_each_recorded(
            outline_, view,
            [&](const std::string& name, const StoredValues& stored, int64_t position) {
                for (int64_t t = 0; t < stored.tokens; ++t)
                    compare(name, position + t, stored.token(t));
            });
    }

    bool finish() override {
        size_t compared = 0, agree = 0, absent = 0;
        int64_t rows = 0;
        const OutlineStep* parted = nullptr;
        std::string parted_name;
        for (const OutlineStep& step : outline_.steps)
            for (const std::string& name : recorded_names(outline_, step)) {
                const auto found = differences_.find(name);
                if (found == differences_.end() || found->second.rows == 0) {
                    ++absent;
                    continue;
                }
                ++compared;
                rows = std::max(rows, found->second.rows);
                if (found->second.relative <= tolerance_) {
                    ++agree;
                } else if (!parted) {
                    parted = &step;
                    parted_name = name;
                }
            }
        if (compared == 0)
            fail(
                "{}: has no step and position of this run: nothing to compare (this run's steps "
                "are called {}, …)",
                name_, differences_.empty() ? "?" : differences_.begin()->first);
        report(fmt::format("compared with {}: {} at up to {}, {} agree to {:g}{}\n", name_,
                           counted(compared, "step"), counted(rows, "position"), agree, tolerance_,
                           absent > 0 ? fmt::format("; {} are not in it", absent) : ""));
        if (!parted) return true;
        tell(*parted, parted_name);
        return false;
    }

  private:
    void compare(const std::string& name, int64_t position, std::span<const float> here) {
        Difference& worst = differences_[name];
        Query query(query_, name, position);
        if (!query.next()) return;
        const Bytes data = query.as_bytes(0);
        const size_t bytes = data.size();
        if (bytes != here.size_bytes())
            fail("{}: step {} has {} bytes at position {}, this run's has {} values of f32", name_,
                 name, bytes, position, here.size());
        std::vector<float> there(here.size());
        if (bytes > 0) std::memcpy(there.data(), data.data(), bytes);
        const double difference = relative_difference(here, there);
        if (worst.rows++ == 0 || !(difference <= worst.relative)) {
            worst.relative = difference;
            worst.position = position;
            worst.here = summary_text(here);
            worst.there = summary_text(there);
        }
    }

    // Infinite where one has a NaN or an infinity that the other has not.
    static double relative_difference(std::span<const float> a, std::span<const float> b) {
        std::vector<float> difference(a.size());
        for (size_t i = 0; i < a.size(); ++i) {
            const bool same = a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]));
            difference[i] = same ? 0 : a[i] - b[i];
            if (!same && !std::isfinite(difference[i])) return INFINITY;
        }
        const double of = rms(difference);
        if (of == 0) return 0;
        const double to = rms(b);
        return to > 0 ? of / to : INFINITY;
    }

    void tell(const OutlineStep& parted, const std::string& name) const {
        const Difference& worst = differences_.at(name);
        std::string text = fmt::format(
            "the first to part is {} {} (line {}): relative difference {:.3g} at position {}\n"
            "  {}\n  here    {}\n  there   {}\n",
            parted.number, name, parted.line, worst.relative, worst.position, parted.formula,
            worst.here, worst.there);
        for (const OutlineStep& step : outline_.steps) {
            if (step.number >= parted.number || !feeds(step, parted)) continue;
            for (const std::string& input : recorded_names(outline_, step))
                if (const auto found = differences_.find(input);
                    found != differences_.end() && found->second.rows > 0)
                    text += fmt::format("  input   {} {}: {:.3g}\n", step.number, input,
                                        found->second.relative);
        }
        report(text);
    }

    /// Whether `later` reads what `step` stored last.
    bool feeds(const OutlineStep& step, const OutlineStep& later) const {
        if (step.stores && step.stores == later.looks_back) return true;
        if (!step.writes) return false;
        return std::ranges::any_of(later.reads, [&](int64_t id) {
            const OutlineTensor* tensor = outline_.tensor(id);
            return tensor && tensor->slice_of.value_or(id) == *step.writes;
        });
    }

    const Outline& outline_;
    const std::string name_;
    const double tolerance_;
    Connection db_;
    Statement query_;
    std::map<std::string, Difference> differences_;
};

}  // namespace

std::unique_ptr<RunObserver> make_trace_writer(const Outline& outline,
                                               const std::filesystem::path& path) {
    return std::make_unique<Writer>(outline, path);
}

std::unique_ptr<RunObserver> make_comparer(const Outline& outline,
                                           const std::filesystem::path& path, double tolerance) {
    return std::make_unique<Comparer>(outline, path, tolerance);
}

}  // namespace llmsql
