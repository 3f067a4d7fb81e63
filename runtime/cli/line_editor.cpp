// SPDX-License-Identifier: MIT
// libedit, or a plain line. See line_editor.h.
#include "runtime/cli/line_editor.h"

#include <cstdlib>
#include <string_view>

#include "common/error.h"
#include "common/utf8.h"
#include "runtime/cli/console.h"

#ifdef LLMSQL_LIBEDIT
#include <histedit.h>

#include <clocale>
#include <cwchar>
#endif

namespace llmsql {

#ifdef LLMSQL_LIBEDIT

// Characters are wide ones, so that what comes out is UTF-8 whatever the locale; what is drawn goes
// through the locale, which must have UTF-8.
class LineEditor::Library {
  public:
    static std::unique_ptr<Library> open() {
        const char* terminal = std::getenv("TERM");
        if (!terminal || !*terminal || terminal == std::string_view("dumb")) return nullptr;
        std::setlocale(LC_CTYPE, "");
        if (MB_CUR_MAX == 1 && !std::setlocale(LC_CTYPE, "C.UTF-8")) return nullptr;
        auto library = std::unique_ptr<Library>(new Library);
        return library->edit_ && library->history_ ? std::move(library) : nullptr;
    }
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;
    ~Library() {
        if (edit_) el_end(edit_);
        if (history_) history_wend(history_);
    }

    std::optional<std::string> line(const char* prompt, bool& something) {
        prompt_ = prompt;
        el_resize(edit_);  // the window may be another size since
        // The editor shows its prompt first and then takes the terminal over: a Ctrl-D typed in
        // between would come to it as a zero byte, which means nothing.
        el_set(edit_, EL_PREP_TERM, 1);
        int count = 0;
        const wchar_t* const got = el_wgets(edit_, &count);
        something = typed_;
        typed_ = false;
        if (!got || count <= 0) return std::nullopt;
        std::string text;
        for (const wchar_t* at = got; *at; ++at) append(text, static_cast<char32_t>(*at));
        while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
        return text;
    }

    void remember(const std::string& turn) {
        std::wstring wide;
        for (std::string_view rest = turn; !rest.empty();) {
            const Utf8Char next = utf8_at(rest);
            wide += next.status == Utf8Status::valid ? static_cast<wchar_t>(next.code) : L'?';
            rest.remove_prefix(next.length);
        }
        HistEventW event;
        history_w(history_, &event, H_ENTER, wide.c_str());
    }

  private:
    Library() : edit_(el_init("llmsql-run", stdin, stdout, stderr)), history_(history_winit()) {
        if (!edit_ || !history_) return;
        HistEventW event;
        history_w(history_, &event, H_SETSIZE, 1000);
        history_w(history_, &event, H_SETUNIQUE, 1);
        el_set(edit_, EL_CLIENTDATA, this);
        el_set(edit_, EL_PROMPT, prompt_of);
        el_set(edit_, EL_EDITOR, "emacs");
        el_set(edit_, EL_SIGNAL, 0);
        el_wset(edit_, EL_HIST, history_w, history_);
        el_wset(edit_, EL_GETCFN, take);
        el_source(edit_, nullptr);  // ~/.editrc
    }

    static Library& of(EditLine* edit) {
        void* self = nullptr;
        el_get(edit, EL_CLIENTDATA, &self);
        return *static_cast<Library*>(self);
    }
    static char* prompt_of(EditLine* edit) { return const_cast<char*>(of(edit).prompt_); }

    // A character of input: 1; 0 at its end, -1 after a signal.
    static int take(EditLine* edit, wchar_t* to) {
        std::string bytes;
        while (true) {
            const auto byte = read_byte();
            if (!byte) return interrupt() ? -1 : 0;
            bytes += *byte;
            const Utf8Char next = utf8_at(bytes);
            if (next.status == Utf8Status::incomplete) continue;
            *to = next.status == Utf8Status::valid ? static_cast<wchar_t>(next.code) : L'\ufffd';
            of(edit).typed_ = of(edit).typed_ || (*to >= L' ' && *to != 0x7f);
            return 1;
        }
    }

    static void append(std::string& to, char32_t code) {
        const auto more = [&](int shift) {
            to += static_cast<char>(0x80 | ((code >> shift) & 0x3f));
        };
        if (code < 0x80) {
            to += static_cast<char>(code);
        } else if (code < 0x800) {
            to += static_cast<char>(0xc0 | (code >> 6));
            more(0);
        } else if (code < 0x10000) {
            to += static_cast<char>(0xe0 | (code >> 12));
            more(6);
            more(0);
        } else {
            to += static_cast<char>(0xf0 | (code >> 18));
            more(12);
            more(6);
            more(0);
        }
    }

    EditLine* const edit_;
    HistoryW* const history_;
    const char* prompt_ = "";
    bool typed_ = false;  // something since the line began
};

#else

class LineEditor::Library {
  public:
    static std::unique_ptr<Library> open() { return nullptr; }
    std::optional<std::string> line(const char*, bool&) { return std::nullopt; }
    void remember(const std::string&) {}
};

#endif

LineEditor::LineEditor() : library_(Library::open()) {}
LineEditor::~LineEditor() = default;

std::optional<std::string> LineEditor::line(const char* prompt) {
    bool something = false;
    std::optional<std::string> got;
    if (library_) {
        got = library_->line(prompt, something);
    } else {
        print(prompt);
        got = read_line();
    }
    interrupted_ = !got && interrupt() != 0 && something;
    if (!got) print("\n");
    return got;
}

std::optional<std::string> LineEditor::read() {
    constexpr std::string_view kQuotes = "\"\"\"";
    interrupted_ = false;
    auto turn = line("> ");
    if (!turn) return turn;
    const bool quoted = turn->starts_with(kQuotes);
    if (quoted) turn->erase(0, kQuotes.size());
    const auto goes_on = [&] {
        if (quoted) {
            if (!turn->ends_with(kQuotes)) return true;
            turn->resize(turn->size() - kQuotes.size());
            return false;
        }
        if (!turn->ends_with('\\')) return false;
        turn->pop_back();
        return true;
    };
    while (goes_on()) {
        auto more = line(". ");
        if (!more) {
            interrupted_ = interrupt() != 0;  // what was typed before is something
            if (interrupted_) return std::nullopt;
            break;
        }
        *turn += (turn->empty() ? "" : "\n") + *more;
    }
    if (library_ && !turn->empty() && turn->find('\n') == std::string::npos)
        library_->remember(*turn);
    return turn;
}

}  // namespace llmsql
