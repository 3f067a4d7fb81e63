// SPDX-License-Identifier: MIT
// Reading a model file: the only file that includes toml++. See model_file.h.
#include "compiler/model/model_file.h"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "common/weight_format.h"

namespace llmsql::compiler {
namespace {

constexpr std::array kTokenizerKinds{"bpe", "spm", "unigram", "wordpiece"};
constexpr std::array kPreTokenizers{"gpt2",   "qwen2",  "qwen35",  "smollm",
                                    "llama3", "cl100k", "default", "own"};

Position position_of(const toml::source_region& region) {
    return {static_cast<int>(region.begin.line), static_cast<int>(region.begin.column)};
}

std::string what_is(const toml::node& node) {
    switch (node.type()) {
        case toml::node_type::string:
            return "a text";
        case toml::node_type::integer:
            return "a whole number";
        case toml::node_type::floating_point:
            return "a number with a point";
        case toml::node_type::boolean:
            return "true or false";
        case toml::node_type::array:
            return "an array";
        case toml::node_type::table:
            return "a table";
        default:
            return "a date or time";
    }
}

/// toml++ keeps keys sorted; a model file's order matters and is where each key stands.
struct Entry {
    std::string key;
    Position at;
    const toml::node* value = nullptr;
};

std::vector<Entry> entries(const toml::table& table) {
    std::vector<Entry> all;
    for (auto&& [key, value] : table)
        all.push_back({std::string(key.str()), position_of(key.source()), &value});
    std::ranges::stable_sort(all, {}, &Entry::at);
    return all;
}

class Reader {
  public:
    explicit Reader(Diagnostics& errors) : errors_(errors) {}

    ModelText read(const toml::table& root) {
        const std::array keys{"name",    "graph",     "dims", "constants", "parameters",
                              "weights", "tokenizer", "chat", "source"};
        for (const Entry& entry : entries(root)) {
            if (entry.key == "name") {
                file_.name = text(entry);
            } else if (entry.key == "graph") {
                file_.graph = text(entry);
            } else if (entry.key == "dims") {
                file_.dims_at = entry.at;
                file_.dims = numbers(entry, true);
            } else if (entry.key == "constants") {
                file_.constants_at = entry.at;
                file_.constants = numbers(entry, false);
            } else if (entry.key == "parameters") {
                read_parameters(entry);
            } else if (entry.key == "weights") {
                read_weights(entry);
            } else if (entry.key == "tokenizer") {
                read_tokenizer(entry);
            } else if (entry.key == "chat") {
                read_chat(entry);
            } else if (entry.key == "source") {
                read_source(entry);
            } else {
                unknown(entry, "the model file", keys);
            }
        }
        std::vector<std::string_view> missing;
        for (const char* key : {"name", "graph", "dims", "weights", "tokenizer"})
            if (!root.contains(key)) missing.push_back(key);
        if (!missing.empty())
            errors_.error({1, 1},
                          fmt::format("the model file has no '{}'", fmt::join(missing, "', '")));
        return std::move(file_);
    }

  private:
    void unknown(const Entry& entry, std::string_view where, std::span<const char* const> known) {
        const std::vector<std::string> names(known.begin(), known.end());
        const std::string maybe = suggestion(entry.key, names);
        errors_.error(entry.at,
                      fmt::format("unknown key '{}' in {}{}", entry.key, where,
                                  maybe.empty() ? fmt::format("; it has {}", fmt::join(names, ", "))
                                                : maybe));
    }

    void wrong(const Entry& entry, std::string_view needed) {
        errors_.error(
            position_of(entry.value->source()),
            fmt::format("'{}' must be {}, not {}", entry.key, needed, what_is(*entry.value)));
    }

    LocatedText text(const Entry& entry) {
        const auto* value = entry.value->as_string();
        if (value == nullptr) {
            wrong(entry, "a text");
            return {};
        }
        const Position at = position_of(value->source());
        if (value->get().empty()) errors_.error(at, fmt::format("'{}' is empty", entry.key));
        if (value->get().find('\0') != std::string::npos)
            errors_.error(at, fmt::format("'{}' contains a NUL character", entry.key));
        return {value->get(), at};
    }

    std::vector<LocatedText> texts(const Entry& entry) {
        const toml::array* array = entry.value->as_array();
        if (array == nullptr) {
            wrong(entry, "an array of texts");
            return {};
        }
        std::vector<LocatedText> all;
        for (const toml::node& node : *array) {
            const Entry item{entry.key, entry.at, &node};
            if (node.is_string()) {
                all.push_back(text(item));
            } else {
                wrong(item, "an array of texts");
            }
        }
        return all;
    }

    const toml::table* table(const Entry& entry) {
        if (const toml::table* found = entry.value->as_table()) return found;
        errors_.error(entry.at, fmt::format("'{}' must be a table: [{}]", entry.key, entry.key));
        return nullptr;
    }

    std::vector<LocatedNumber> numbers(const Entry& parent, bool whole) {
        std::vector<LocatedNumber> all;
        const toml::table* found = table(parent);
        if (found == nullptr) return all;
        for (const Entry& entry : entries(*found)) {
            if (const toml::table* block = entry.value->as_table()) {
                for (Entry& inner : entries(*block)) {
                    inner.key = entry.key + "." + inner.key;
                    all.push_back(number(inner, whole, true));
                }
                continue;
            }
            all.push_back(number(entry, whole, false));
        }
        return all;
    }

    LocatedNumber number(const Entry& entry, bool whole, bool may_be_list) {
        LocatedNumber number{entry.key, entry.at, 0, position_of(entry.value->source())};
        const toml::array* list = may_be_list ? entry.value->as_array() : nullptr;
        if (list == nullptr) {
            number.value = value_of(entry, whole);
            return number;
        }
        if (list->empty()) {
            errors_.error(number.at, fmt::format("'{}' is an empty list", entry.key));
            number.value = std::nan("");
        }
        for (const toml::node& node : *list) {
            number.list.push_back(value_of({entry.key, entry.at, &node}, whole));
            if (std::isnan(number.list.back())) number.value = std::nan("");
        }
        return number;
    }

    /// NaN, which is nothing to calculate with, and an error, where it is no number.
    double value_of(const Entry& entry, bool whole) {
        if (const auto* integer = entry.value->as_integer())
            return static_cast<double>(integer->get());
        const auto* real = entry.value->as_floating_point();
        if (real == nullptr || whole) {
            wrong(entry, whole ? "a whole number" : "a number");
            return std::nan("");
        }
        if (!std::isfinite(real->get()))
            errors_.error(position_of(entry.value->source()),
                          fmt::format("'{}' must be a finite number", entry.key));
        return real->get();
    }

    void read_parameters(const Entry& parent) {
        const toml::table* found = table(parent);
        if (found == nullptr) return;
        for (const Entry& entry : entries(*found)) {
            if (entry.key == "present") {
                file_.present = texts(entry);
            } else {
                unknown(entry, "[parameters]", std::array{"present"});
            }
        }
    }

    void read_weights(const Entry& parent) {
        file_.weights_at = parent.at;
        const toml::table* found = table(parent);
        if (found == nullptr) return;
        for (const Entry& entry : entries(*found)) {
            if (entry.value->is_table()) {
                errors_.error(entry.at, fmt::format("write a name with dots in quotes: \"{}.…\" = "
                                                    "\"q8\"",
                                                    entry.key));
                continue;
            }
            const LocatedText type = text(entry);
            if (type.text.empty()) continue;
            if (const auto known = weight_type_named(type.text)) {
                file_.weights.push_back({entry.key, entry.at, *known, type.at});
            } else {
                errors_.error(type.at, fmt::format("unknown weight type '{}'; there are {}",
                                                   type.text, weight_format_names(false)));
            }
        }
        if (found->empty())
            errors_.error(parent.at, "[weights] is empty; \"*\" = \"q8\" stores everything as q8");
    }

    void read_tokenizer(const Entry& parent) {
        const toml::table* found = table(parent);
        if (found == nullptr) return;
        const auto one_of = [&](const Entry& entry, std::span<const char* const> known) {
            const LocatedText value = text(entry);
            if (!value.text.empty() && std::ranges::find(known, value.text) == known.end())
                errors_.error(value.at, fmt::format("unknown {} '{}'; there are {}", entry.key,
                                                    value.text, fmt::join(known, ", ")));
            return value.text;
        };
        Position pre_at;
        for (const Entry& entry : entries(*found)) {
            if (entry.key == "kind") {
                file_.tokenizer.kind = one_of(entry, kTokenizerKinds);
            } else if (entry.key == "pre") {
                file_.tokenizer.pre = one_of(entry, kPreTokenizers);
                pre_at = entry.at;
            } else {
                unknown(entry, "[tokenizer]", std::array{"kind", "pre"});
            }
        }
        if (!found->contains("kind")) {
            errors_.error(parent.at,
                          "[tokenizer] has no 'kind'; there are bpe, spm, unigram and wordpiece");
        } else if (file_.tokenizer.kind == "bpe" && !found->contains("pre")) {
            errors_.error(parent.at,
                          fmt::format("a bpe tokenizer needs 'pre', how text is split: {}",
                                      fmt::join(kPreTokenizers, ", ")));
        } else if (file_.tokenizer.kind != "bpe" && pre_at.line != 0) {
            errors_.error(pre_at, fmt::format("a tokenizer of the kind {} has no 'pre'",
                                              file_.tokenizer.kind));
        }
    }

    void read_chat(const Entry& parent) {
        const toml::table* found = table(parent);
        if (found == nullptr) return;
        for (const Entry& entry : entries(*found)) {
            if (entry.key == "stop") {
                for (LocatedText& piece : texts(entry)) file_.chat.stop.push_back(piece.text);
            } else if (entry.key == "template") {
                file_.chat.query = trimmed(text(entry).text);
            } else {
                unknown(entry, "[chat]", std::array{"stop", "template"});
            }
        }
    }

    void read_source(const Entry& parent) {
        const toml::table* found = table(parent);
        if (found == nullptr) return;
        for (const Entry& entry : entries(*found)) {
            if (entry.key == "context") {
                const auto* context = entry.value->as_integer();
                if (context == nullptr || context->get() < 1) {
                    wrong(entry, "a whole number of at least 1");
                } else {
                    file_.origin.context = context->get();
                }
            } else if (entry.key == "ignored") {
                for (LocatedText& key : texts(entry)) file_.origin.ignored.push_back(key.text);
            } else {
                unknown(entry, "[source]", std::array{"context", "ignored"});
            }
        }
    }

    static std::string trimmed(const std::string& text) {
        const size_t first = text.find_first_not_of(" \t\r\n");
        if (first == std::string::npos) return {};
        return text.substr(first, text.find_last_not_of(" \t\r\n") + 1 - first);
    }

    Diagnostics& errors_;
    ModelText file_;
};

/// toml++'s words for a key given twice are about its tables; everything else it says well.
std::string parse_message(const toml::parse_error& error) {
    const std::string said(error.description());
    if (const size_t at = said.find("cannot redefine"); at != std::string::npos) {
        const size_t open = said.find('\'', at), close = said.find('\'', open + 1);
        if (open != std::string::npos && close != std::string::npos)
            return fmt::format("{} is given twice", said.substr(open, close + 1 - open));
        return "this is given twice";
    }
    return "not TOML: " + said;
}

}  // namespace

ModelText parse_model_file(const SourceFile& source, Diagnostics& errors) {
    toml::table root;
    try {
        root = toml::parse(source.text(), source.name());
    } catch (const toml::parse_error& error) {
        errors.error(position_of(error.source()), parse_message(error));
        return {};
    }
    return Reader(errors).read(root);
}

bool matches(std::string_view pattern, std::string_view text) {
    // On a mismatch the last star takes one character more: linear but for repeated stars.
    size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.size() && pattern[p] == text[t]) {
            ++p;
            ++t;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

}  // namespace llmsql::compiler
