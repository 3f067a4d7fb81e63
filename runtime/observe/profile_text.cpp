// SPDX-License-Identifier: MIT
// The tables of --profile. See run_profile.h.
#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "common/error.h"
#include "runtime/observe/run_profile.h"

namespace llmsql {
namespace {

constexpr size_t kSlowest = 10;
constexpr size_t kMostWidth = 40;

struct Line {
    std::string name;
    StatementTime time;
    size_t statements = 0;
};

void add_to(Line& line, const StatementTime& time) {
    line.time = line.time - (StatementTime() - time);
    ++line.statements;
}

/// Where the character before `end` begins, in UTF-8.
size_t last_character(const std::string& text, size_t end) {
    do --end;
    while (end > 0 && (text[end] & 0xC0) == 0x80);
    return end;
}

/// UTF-8 cut to `width` characters, and padded to as many.
std::string column(const std::string& text, size_t width) {
    size_t characters = 0;
    for (size_t i = 0; i < text.size(); ++i) {
        if ((text[i] & 0xC0) == 0x80) continue;
        if (characters == width) return fmt::format("{}~", text.substr(0, last_character(text, i)));
        ++characters;
    }
    return text + std::string(width - characters, ' ');
}

class TextTable {
  public:
    TextTable(const RunPhase& phase, std::string& text)
        : passes_(static_cast<double>(phase.times.passes)), seconds_(phase.seconds), text_(text) {}

    void head(const char* what) {
        text_ += fmt::format("\n  {} {:>9} {:>7} {:>9} {:>9} {:>7} {:>10} {:>6} {:>10}\n",
                             column(what, kMostWidth), "ms a pass", "share", "computing", "reading",
                             "SQL", "weights MB", "GB/s", "read MB");
    }

    void line(const Line& line) {
        const StatementTime& t = line.time;
        const double busy = t.computing + t.reading;
        const auto bytes = static_cast<double>(t.weight_bytes);
        const auto optional = [](double value, bool there, int digits) {
            return there ? fmt::format("{:.{}f}", value, digits) : std::string("-");
        };
        text_ += fmt::format(
            "  {} {:>9.3f} {:>5.1f} % {:>9.3f} {:>9} {:>7.3f} {:>10} {:>6} {:>10}\n",
            column(line.name, kMostWidth), ms(t.total()),
            seconds_ > 0 ? t.total() / seconds_ * 100 : 0, ms(t.computing),
            optional(ms(t.reading), t.read_bytes > 0 || t.reading > 0, 3), ms(t.sql),
            optional(bytes / passes_ / 1e6, bytes > 0, 2),
            optional(bytes / 1e9 / busy, bytes > 0 && busy > 0, 1),
            optional(static_cast<double>(t.read_bytes) / passes_ / 1e6, t.read_bytes > 0, 2));
    }

    void rest(const char* name, double seconds) {
        text_ += fmt::format("  {} {:>9.3f} {:>5.1f} %\n", column(name, kMostWidth), ms(seconds),
                             seconds_ > 0 ? seconds / seconds_ * 100 : 0);
    }

  private:
    double ms(double seconds) const { return seconds / passes_ * 1e3; }

    const double passes_, seconds_;
    std::string& text_;
};

void slowest_first(std::vector<Line>& lines) {
    std::ranges::stable_sort(
        lines, [](const Line& a, const Line& b) { return a.time.total() > b.time.total(); });
}

std::string phase_text(const RunProfile& run, const RunPhase& phase) {
    std::string text = fmt::format(
        "profile of {}: {} in {} of {:.3f} ms; {}, {}, --io {}\n"
        "(times are means over the threads; GB/s: weights that were multiplied by)\n",
        phase.name, counted(static_cast<uint64_t>(phase.times.tokens), "token"),
        counted(static_cast<uint64_t>(phase.times.passes), "pass", "es"),
        phase.seconds / static_cast<double>(phase.times.passes) * 1e3,
        counted(static_cast<uint64_t>(run.threads), "thread"), run.kernels, run.io);
    std::map<std::string, Line> kinds;
    std::map<int, Line> layers;
    std::vector<Line> statements;
    const size_t count = std::min(run.outline.steps.size(), phase.times.by_statement.size());
    for (size_t i = 0; i < count; ++i) {
        const OutlineStep& step = run.outline.steps[i];
        const StatementTime& time = phase.times.by_statement[i];
        if (time.runs == 0) continue;
        add_to(kinds[run.outline.kind(step)], time);
        add_to(layers[step.layer], time);
        statements.push_back(
            {fmt::format("{} {} (line {})", step.number, step.name, step.line), time, 1});
    }

    TextTable table(phase, text);
    table.head("by operator (statements)");
    std::vector<Line> by_kind;
    for (auto& [kind, line] : kinds) {
        line.name = fmt::format("{} ({})", kind, line.statements);
        by_kind.push_back(line);
    }
    slowest_first(by_kind);
    for (const Line& line : by_kind) table.line(line);
    table.rest("hand-offs", phase.times.waiting);
    table.rest("sampling and text", phase.seconds - phase.times.total);

    table.head("by layer");
    for (auto& [layer, line] : layers) {
        line.name = layer < 0 ? "outside the layers" : fmt::format("layer {}", layer);
        if (layer >= 0) table.line(line);
    }
    if (layers.contains(-1)) table.line(layers.at(-1));

    table.head("the slowest statements");
    slowest_first(statements);
    if (statements.size() > kSlowest) statements.resize(kSlowest);
    for (const Line& line : statements) table.line(line);
    return text;
}

}  // namespace

std::string profile_text(const RunProfile& run) {
    std::string text;
    for (const RunPhase& phase : run.phases) {
        if (phase.times.passes == 0) continue;
        if (!text.empty()) text += '\n';
        text += phase_text(run, phase);
    }
    return text;
}

}  // namespace llmsql
