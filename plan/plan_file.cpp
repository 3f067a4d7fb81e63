// SPDX-License-Identifier: MIT
// Cutting a plan into sections and statements. See plan_file.h.
#include "plan/plan_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "plan/sql_tokens.h"
#include "plan/statement_size.h"

namespace llmsql {
namespace {

constexpr std::string_view kFirstLine = "-- llmsql plan ";
constexpr std::string_view kVersion = "1";
constexpr std::string_view kMarker = "--@ ";
constexpr size_t kLongest = 64 << 20;

struct KnownSection {
    std::string_view name;
    bool required;
    std::string_view parameters;
};
constexpr std::array kSections{
    KnownSection{"init", true, ""},
    KnownSection{"forward", true, ":tokens :position :sequence"},
    KnownSection{"logits", true, ":first :rows"},
    KnownSection{"chat", false, ""},
    KnownSection{"stop", false, ""},
};

std::vector<std::string> words(std::string_view text) {
    std::vector<std::string> found;
    size_t at = 0;
    while ((at = text.find_first_not_of(" \t\r", at)) != std::string_view::npos) {
        const size_t end = std::min(text.find_first_of(" \t\r", at), text.size());
        found.emplace_back(text.substr(at, end - at));
        at = end;
    }
    return found;
}

// Walks over the text once, piece by piece.
class Cutter {
  public:
    Cutter(std::string_view text, const std::filesystem::path& path)
        : text_(text), path_(path.string()) {}

    void cut(PlanFile& plan) {
        SqlScanner scanner(text_);
        for (SqlScanner::Word piece; !ended_ && scanner.next_piece(piece);) {
            at_ = static_cast<size_t>(piece.text.data() - text_.data());
            take(piece);
            at_ += piece.text.size();
            line_ += static_cast<int>(std::ranges::count(piece.text, '\n'));
        }
        if (!ended_) refuse(line_, "the plan is truncated: its last line must be '--@ end N'");
        check_blank(text_.substr(at_));
        plan.header = std::move(header_);
        plan.sections = std::move(sections_);
    }

  private:
    static constexpr size_t npos = std::string_view::npos;

    [[noreturn]] void refuse(int line, const std::string& why) const {
        fail("{}:{}: {}", path_, line, why);
    }

    void take(const SqlScanner::Word& piece) {
        using Kind = SqlToken::Kind;
        const bool comment = piece.kind == Kind::line_comment || piece.kind == Kind::block_comment;
        if (start_ == npos && !comment && !piece.is(';')) begin_statement(piece.text);
        if (!piece.closed)
            refuse(line_, piece.kind == Kind::block_comment ? "this comment is not ended by '*/'"
                                                            : "this quote is not closed");
        if (piece.kind == Kind::line_comment)
            line_comment(piece.text);
        else if (piece.is(';'))
            end_statement();
    }

    void line_comment(std::string_view line) {
        if (at_ > 0 && text_[at_ - 1] != '\n') return;  // not a line of its own
        if (line.starts_with(kMarker)) {
            if (start_ != npos)
                refuse(statement_line_,
                       "this statement is not ended by ';' before the next section");
            marker(words(line.substr(kMarker.size())));
            comment_.clear();
        } else if (start_ == npos) {
            const size_t text = std::min(line.find_first_not_of("- "), line.size());
            if (sections_.empty())
                header_.emplace_back(line.substr(text));
            else
                comment_ += std::string(line.substr(text)) + "\n";
        }
    }

    void marker(const std::vector<std::string>& what) {
        if (what.empty()) refuse(line_, "'--@' must be followed by a section's name");
        if (what[0] == "end") return end_of_plan(what);
        const auto known = std::ranges::find(kSections, what[0], &KnownSection::name);
        if (known == kSections.end()) refuse(line_, "there is no section '" + what[0] + "'");
        for (const PlanSection& section : sections_)
            if (section.name == what[0])
                refuse(line_, "the section '" + what[0] + "' stands twice");
        PlanSection section{what[0], {what.begin() + 1, what.end()}, line_, {}};
        if (section.parameters != words(known->parameters))
            refuse(line_, fmt::format("the section '{}' has the parameters '{}'", section.name,
                                      known->parameters));
        sections_.push_back(std::move(section));
    }

    void end_of_plan(const std::vector<std::string>& what) {
        size_t count = 0, wanted = 0;
        for (const PlanSection& section : sections_) count += section.statements.size();
        const std::string number = what.size() == 2 ? what[1] : "";
        const auto [end, error] =
            std::from_chars(number.data(), number.data() + number.size(), wanted);
        if (error != std::errc() || *end != '\0')
            refuse(line_, "'--@ end' must be followed by the number of statements");
        if (wanted != count)
            refuse(line_, fmt::format("the plan says it has {} statements, but {} are here (after "
                                      "editing a plan, correct this number)",
                                      wanted, count));
        ended_ = true;
    }

    // Behind the end may stand comments, and lines that begin with a space.
    void check_blank(std::string_view rest) {
        for (; !rest.empty(); ++line_) {
            if (!rest.starts_with("--") && std::string_view(" \t\r\n").find(rest[0]) == npos)
                refuse(line_, "nothing may follow '--@ end'");
            rest.remove_prefix(std::min(rest.find('\n'), rest.size() - 1) + 1);
        }
    }

    // At what is more than spaces and line ends: a form feed, which SQLite passes over, would be a
    // statement that is none, and is refused as such.
    void begin_statement(std::string_view piece) {
        const size_t first = piece.find_first_not_of(" \t\r\n");
        if (first == npos) return;
        const auto before = std::ranges::count(piece.substr(0, first), '\n');
        statement_line_ = line_ + static_cast<int>(before);
        if (sections_.empty())
            refuse(statement_line_, "a statement stands before the first '--@' section");
        start_ = at_ + first;
    }

    void end_statement() {
        if (start_ != npos) {
            measure(text_.substr(start_, at_ - start_));
            sections_.back().statements.push_back({std::string(text_.substr(start_, at_ - start_)),
                                                   statement_line_, std::exchange(comment_, {})});
            start_ = npos;
        }
    }

    void measure(std::string_view sql) {
        const bool init = sections_.back().name == "init";
        const StatementSize size = size_of_statement(sql, init);
        if (!size.refusal.empty()) refuse(statement_line_, size.refusal);
        int64_t& words = init ? words_in_init_ : words_elsewhere_;
        words += init ? size.words : size.written_out;
        const int64_t most = init ? kMostWordsInInit : kMostWordsElsewhere;
        if (words > most)
            refuse(statement_line_,
                   fmt::format("with this statement the plan has more than {} words {}", most,
                               init ? "in init" : "outside of init"));
        if (++statements_ > kMostStatements)
            refuse(statement_line_,
                   fmt::format("the plan has more than {} statements", kMostStatements));
    }

    std::string_view text_;
    std::string path_;
    std::vector<std::string> header_;
    std::vector<PlanSection> sections_;
    std::string comment_;  // since the last statement
    size_t at_ = 0, start_ = npos;
    int line_ = 1, statement_line_ = 0;
    int64_t statements_ = 0, words_in_init_ = 0, words_elsewhere_ = 0;
    bool ended_ = false;
};

// What editors and other programs make of a text file, and what damage does.
void require_plain_text(std::string_view text, const std::filesystem::path& path) {
    if (text.starts_with("\xef\xbb\xbf"))
        fail(
            "{}: begins with a byte order mark (EF BB BF), which a plan does not have: save it as "
            "UTF-8 without one",
            path.string());
    if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff"))
        fail("{}: is UTF-16 text: save it as UTF-8, without a byte order mark", path.string());
    const size_t nul = text.find('\0');
    if (nul != std::string_view::npos && text.starts_with(kFirstLine))
        fail("{}:{}: there is a NUL byte (offset {}), which no plan has: compile it again",
             path.string(), 1 + std::ranges::count(text.substr(0, nul), '\n'), nul);
}

}  // namespace

const PlanSection* PlanFile::find(const std::string& name) const {
    const auto found = std::ranges::find(sections, name, &PlanSection::name);
    return found == sections.end() ? nullptr : &*found;
}

PlanFile read_plan(const std::filesystem::path& path) {
    return parse_plan(read_file(path), path);
}

PlanFile parse_plan(const std::string& text, const std::filesystem::path& path) {
    if (text.size() > kLongest)
        fail("{}: is {} bytes long, more than the {} of any plan", path.string(), text.size(),
             kLongest);
    require_plain_text(text, path);
    const std::string first = text.substr(0, text.find('\n'));
    const std::vector<std::string> header =
        words(first.starts_with(kFirstLine) ? first.substr(kFirstLine.size()) : "");
    if (header.empty())
        fail("{}: not a plan: its first line must be '{}{} …' (llmsqlc makes plans)", path.string(),
             kFirstLine, kVersion);
    if (header[0] != kVersion)
        fail("{}: plan format {}, this program runs format {}; compile the plan again",
             path.string(), header[0], kVersion);
    PlanFile plan{path, {}, {}};
    Cutter(text, path).cut(plan);
    for (const KnownSection& known : kSections)
        if (known.required && !plan.find(std::string(known.name)))
            fail("{}: the section '--@ {}' is missing", path.string(), known.name);
    return plan;
}

}  // namespace llmsql
