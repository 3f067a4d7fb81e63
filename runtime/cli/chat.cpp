// SPDX-License-Identifier: MIT
// Conversations through the plan's chat section.
#include "runtime/cli/chat.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <vector>

#include "common/byte_size.h"
#include "common/error.h"
#include "common/files.h"
#include "common/utf8.h"
#include "jinja/conversation.h"
#include "runtime/cli/console.h"
#include "runtime/cli/generate.h"
#include "runtime/cli/line_editor.h"
#include "runtime/generate/prompt.h"

namespace llmsql {
namespace {

std::vector<ChatMessage> opening(const Program& program, const Options& options) {
    program.chat().require();
    std::vector<ChatMessage> messages;
    if (options.system) {
        check_prompt(*options.system, "the system message");
        messages.push_back({"system", *options.system});
    }
    return messages;
}

/// A message as JSON has it.
std::string message_text(const ChatMessage& message) {
    std::string text =
        fmt::format("{{\"role\": {}, \"content\": {}", jinja::json_text(message.role),
                    jinja::json_text(message.content));
    if (!message.thinking.empty())
        text += ", \"reasoning_content\": " + jinja::json_text(message.thinking);
    return text + "}";
}

/// A variable by which templates know whether to think, and what it is then, as JSON.
struct ThinkingSwitch {
    const char *name, *on, *off;
};
constexpr ThinkingSwitch kThinkingSwitches[] = {
    {"enable_thinking", "true", "false"},
    {"thinking", "true", "false"},
    {"thinking_mode", "\"enabled\"", "\"disabled\""},
};

/// Whether it makes a difference to what a template writes: its name may stand in its texts alone.
bool differs_by(ChatTemplate& chat, const std::string& variables, std::string_view name,
                std::string_view one, std::string_view other) {
    const auto written = [&](std::string_view value) {
        std::string text;
        for (const Fragment& fragment : chat.render_json(
                 fmt::format(R"({{"messages": [{{"role": "user", "content": "Hi"}}], {}: {}}})",
                             jinja::json_text(name), value),
                 variables))
            text += fragment.text;
        return text;
    };
    try {
        return written(one) != written(other);
    } catch (const Error&) {  // it takes no such conversation, or value
        return false;
    }
}

/// Variables, a JSON object, with one more, which goes before another of its name.
std::string with_variable(const std::string& variables, std::string_view name,
                          std::string_view value) {
    const std::string more = fmt::format("{}: {}}}", jinja::json_text(name), value);
    return variables.empty() ? "{" + more : variables.substr(0, variables.size() - 1) + ", " + more;
}

/// A conversation, whoever types its turns.
class Conversation {
  public:
    Conversation(Program& program, Tokenizer& tokenizer, const Options& options)
        : program_(program),
          tokenizer_(tokenizer),
          options_(options),
          messages_(opening(program, options)),
          printer_(program, tokenizer, options),
          session_(printer_.open_session(SessionKind::chat)),
          variables_(options.variables) {
        if (session_ && options.system) session_->set_system(*options.system);
    }

    /// One message of the user, and the answer to it, printed.
    void turn(const std::string& message) {
        messages_.push_back({"user", message});
        const auto begin = [&] {
            if (session_) return say_noting(tokenizer_, *session_, message);
            return printer_.generator().prefill(noting(tokenizer_, [&] {
                return chat_prompt(program_.chat(), tokenizer_, messages_,
                                   printer_.generator().context(), options_.keep, variables_);
            }));
        };
        try {
            if (!printer_.prefill_by(begin)) return messages_.pop_back();  // interrupted
            const Spoken said = printer_.print_answer();
            messages_.push_back({"assistant", said.text, said.thinking});
        } catch (...) {
            messages_.pop_back();
            throw;
        }
    }

    /// A turn at a terminal: an error is told, and the conversation goes on as it was before.
    void try_turn(const std::string& message) {
        try {
            turn(message);
        } catch (const Error& error) {
            end_line();
            print_notice(with_flags(error.what()));
            if (session_) session_->go_back();
        }
    }

    void greet() {
        const auto budget = program_.budget();
        report(one_line(fmt::format("{}: Ctrl-D ends the conversation, Ctrl-C an answer; /help "
                                    "lists commands",
                                    program_.name())) +
               "\n");
        report(fmt::format(
            "context: {}; memory: {}\n", counted(printer_.generator().context().tokens, "token"),
            budget ? "within " + exact_bytes_text(static_cast<int64_t>(*budget)) : "no budget"));
        if (session_ && !session_->messages().empty())
            report(one_line(fmt::format("the conversation '{}' goes on behind {}", session_->name(),
                                        counted(session_->messages().size(), "message"))) +
                   "\n");
    }

    /// What a person asks of the program, not of the model. Errors are told, and end nothing.
    void command(const std::string& line) {
        const size_t space = std::min(line.find_first_of(" \t\n"), line.size());
        const std::string name = line.substr(0, space);
        const size_t rest = line.find_first_not_of(" \t\n", space);
        const std::string argument = rest == std::string::npos ? "" : line.substr(rest);
        for (const Command& command : kCommands)
            if (name == command.name && command.run) {
                try {
                    (this->*command.run)(argument);
                } catch (const Error& error) {
                    print_notice(with_flags(error.what()));
                }
                return;
            }
        print_notice(
            fmt::format("{}: no such command; /help lists them, and a message may begin "
                        "with //",
                        name));
    }

    /// Of a line that no person types: what looks like a command is a message, as all text is that
    /// is not typed, and that is said once.
    void note_no_command(const std::string& line) {
        const std::string name = line.substr(0, line.find_first_of(" \t"));
        if (noted_ || std::ranges::none_of(
                          kCommands, [&](const Command& command) { return name == command.name; }))
            return;
        noted_ = true;
        print_notice(
            fmt::format("note: '{}' is sent as a message: commands are what is typed at a "
                        "terminal{}",
                        printable(line),
                        name == "/think"    ? " (--variable sets what a template asks for)"
                        : name == "/system" ? " (--system sets the system message)"
                                            : ""));
    }

    int end() const { return printer_.end(); }

  private:
    struct Command {
        const char *name, *argument, *does;
        void (Conversation::*run)(const std::string& argument);
    };
    static const Command kCommands[7];  // the last is talk()'s

    void help(const std::string&) {
        for (const Command& command : kCommands) {
            const std::string call = fmt::format("{} {}", command.name, command.argument);
            print(fmt::format("  {:<16} {}\n", call, command.does));
        }
        print(
            "  Ctrl-C           ends an answer; with nothing typed, the conversation\n"
            "  Ctrl-D           ends the conversation\n"
            "A line that ends in \\ goes on in the next; \"\"\" begins and ends several lines. A "
            "message may begin with //.\n");
    }

    void system(const std::string& text) {
        const bool has = !messages_.empty() && messages_.front().role == "system";
        if (text.empty())
            return print(has ? messages_.front().content + "\n" : "there is no system message\n");
        if (session_) {
            session_->set_system(text);
        } else if (has) {
            messages_.front().content = text;
            return;
        }
        messages_.insert(messages_.begin(), {"system", text});
    }

    void reset(const std::string&) {
        if (session_) fail("this conversation is kept in a file: begin another one with --id NAME");
        messages_.resize(!messages_.empty() && messages_.front().role == "system" ? 1 : 0);
        print("the conversation begins anew\n");
    }

    void save(const std::string& file) {
        if (file.empty()) fail("/save FILE: a file is needed");
        if (saved_ != file && std::filesystem::exists(file))
            fail("{}: is there already: name another file", file);
        const auto& messages = session_ ? session_->messages() : messages_;
        std::string text = "[";
        for (const ChatMessage& message : messages)
            text += (text.size() > 1 ? ",\n " : "") + message_text(message);
        write_file_atomically(file, text + "]\n");
        saved_ = file;
        print(fmt::format("{} written to {}\n", counted(messages.size(), "message"), file));
    }

    void think(const std::string& given) {
        if (given != "on" && given != "off") fail("/think on, or /think off");
        ChatTemplate& chat = program_.chat();
        const std::string& others = options_.variables;
        const auto* found = std::ranges::find_if(kThinkingSwitches, [&](const auto& each) {
            return differs_by(chat, others, each.name, each.on, each.off);
        });
        if (found == std::end(kThinkingSwitches))
            fail("this model's chat template has no switch for it{}",
                 differs_by(chat, others, "reasoning_effort", "\"low\"", "\"high\"")
                     ? ": --variable reasoning_effort=low has it think less"
                     : "");
        variables_ = with_variable(others, found->name, given == "on" ? found->on : found->off);
        if (session_) session_->set_variables(variables_);
    }

    void tokens(const std::string&) {
        Generator& generator = printer_.generator();
        const size_t used = messages_.size() < 2 || !generator.has_text()
                                ? 0
                                : generator.with_sequence([](Scheduler&, Sequence& sequence) {
                                      return sequence.tokens().size();
                                  });
        print(fmt::format("{} of {} tokens of context\n", used, generator.context().tokens));
    }

    Program& program_;
    Tokenizer& tokenizer_;
    const Options& options_;
    std::vector<ChatMessage> messages_;
    Printer printer_;
    Session* const session_;
    std::string variables_;
    std::string saved_;   // the file that /save has written
    bool noted_ = false;  // that a line is no command
};

const Conversation::Command Conversation::kCommands[] = {
    {"/help", "", "lists these", &Conversation::help},
    {"/system", "[TEXT]", "sets the system message, or shows it", &Conversation::system},
    {"/think", "on|off", "has the model think before it answers, or not", &Conversation::think},
    {"/tokens", "", "how much of the context the conversation takes", &Conversation::tokens},
    {"/save", "FILE", "writes the conversation as JSON, for --render and llm_reply",
     &Conversation::save},
    {"/reset", "", "forgets what has been said, but for the system message", &Conversation::reset},
    {"/bye", "", "ends the conversation", nullptr},
};

/// At a terminal.
int talk(Conversation& conversation) {
    LineEditor editor;
    conversation.greet();
    while (true) {
        auto turn = editor.read();
        if (!turn && editor.interrupted()) {  // what was typed is let go
            forget_interrupt();
            continue;
        }
        if (!turn || *turn == "/bye") break;
        if (turn->find_first_not_of(" \t\n") == std::string::npos) continue;
        if (const auto at = first_invalid_utf8(*turn)) {
            print_notice(fmt::format("this line is not valid UTF-8 (byte {}), it is ignored", *at));
            continue;
        }
        if (turn->starts_with("//")) {
            turn->erase(0, 1);
        } else if (turn->starts_with('/')) {
            conversation.command(*turn);
            continue;
        }
        conversation.try_turn(*turn);
        if (interrupt() == SIGINT)
            forget_interrupt();
        else if (interrupt())
            break;
    }
    const int status = conversation.end();
    return interrupt() == SIGINT ? 0 : status;
}

}  // namespace

int run_answer(Program& program, Tokenizer& tokenizer, const Options& options) {
    if (!options.session.empty()) return run_session(program, tokenizer, options);
    std::vector<ChatMessage> messages = opening(program, options);
    check_prompt(options.prompt, "the prompt");
    messages.push_back({"user", options.prompt});
    Printer printer(program, tokenizer, options);
    const auto tokens = noting(tokenizer, [&] {
        return chat_prompt(program.chat(), tokenizer, messages, printer.generator().context(),
                           options.keep, options.variables);
    });
    if (printer.prefill(tokens)) printer.print_answer();
    return printer.end();
}

int run_chat(Program& program, Tokenizer& tokenizer, const Options& options) {
    Conversation conversation(program, tokenizer, options);
    if (is_terminal()) return talk(conversation);
    size_t number = 0;
    while (const auto line = read_line()) {
        ++number;
        if (line->empty()) continue;
        check_prompt(*line, fmt::format("line {} of standard input", number));
        conversation.note_no_command(*line);
        conversation.turn(*line);
        if (interrupt()) break;
    }
    return conversation.end();
}

}  // namespace llmsql
