// SPDX-License-Identifier: MIT
// Parses JSON with limits. See json.h.
#include "importer/json.h"

#include <fmt/format.h>

#include <utility>

#include "common/error.h"
#include "importer/random_access_file.h"

namespace llmsql {
namespace {

constexpr size_t kDeepest = 32;

/// Builds the value from the parser's events. The parser itself does not recurse.
class Builder {
  public:
    Builder(const std::string& where, const JsonLimits& limits) : where_(where), limits_(limits) {}

    // What nlohmann::json's parser calls; true means go on.
    bool null() { return scalar(nullptr); }
    bool boolean(bool value) { return scalar(value); }
    bool number_integer(Json::number_integer_t value) { return scalar(value); }
    bool number_unsigned(Json::number_unsigned_t value) { return scalar(value); }
    bool number_float(Json::number_float_t value, const Json::string_t&) { return scalar(value); }
    bool string(Json::string_t& value) { return scalar(std::move(value)); }
    bool binary(Json::binary_t&) { return false; }  // not in JSON texts
    bool start_object(size_t) { return start(Json::object()); }
    bool start_array(size_t) {
        start(Json::array());
        path_.emplace_back();
        return true;
    }
    bool key(Json::string_t& name) {
        path_.resize(depth_of_names_.back());
        if (open_.back()->contains(name))
            fail("{}: has the name \"{}\" twice in one object", where_, printable(name));
        path_.push_back(std::move(name));
        return true;
    }
    bool end_object() { return end(); }
    bool end_array() { return end(); }
    template<class Exception>
    bool parse_error(size_t at, const std::string&, const Exception& error) {
        // "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error …"
        const std::string text = error.what();
        const size_t colon = text.find(": ");
        const std::string why = colon == std::string::npos ? text : text.substr(colon + 2);
        fail("{}: is not valid JSON, at byte {}: {}", where_, at, printable(why));
    }

    Json result() { return std::move(root_); }

  private:
    Json* place(Json value) {
        if (++kept_ > limits_.values)
            fail("{}: holds more than the {} values that can be read", where_, limits_.values);
        if (open_.empty()) {
            root_ = std::move(value);
            return &root_;
        }
        if (open_.back()->is_array()) {
            open_.back()->push_back(std::move(value));
            return &open_.back()->back();
        }
        return &(*open_.back())[path_.back()].operator=(std::move(value));
    }
    bool scalar(Json value) {
        if (!(limits_.take && limits_.take(path_, value))) place(std::move(value));
        return true;
    }
    bool start(Json empty) {
        if (open_.size() == kDeepest) fail("{}: is nested more than {} deep", where_, kDeepest);
        kept_before_.push_back(kept_);
        open_.push_back(place(std::move(empty)));
        depth_of_names_.push_back(path_.size());
        return true;
    }
    bool end() {
        path_.resize(depth_of_names_.back());
        depth_of_names_.pop_back();
        Json* const done = open_.back();
        open_.pop_back();
        if (limits_.take && limits_.take(path_, *done)) remove(kept_before_.back());
        kept_before_.pop_back();
        return true;
    }
    /// Takes away the value placed last.
    void remove(size_t kept) {
        if (open_.empty()) {
            root_ = nullptr;
        } else if (open_.back()->is_array()) {
            open_.back()->erase(open_.back()->size() - 1);
        } else {
            open_.back()->erase(path_.back());
        }
        kept_ = kept;
    }

    const std::string& where_;
    const JsonLimits& limits_;
    Json root_;
    std::vector<Json*> open_;  // containers, outermost first; a child never moves while it is open
    std::vector<size_t> depth_of_names_;  // of path_, outside each of them
    std::vector<size_t> kept_before_;     // each of them
    JsonPath path_;
    size_t kept_ = 0;
};

/// Python writes numbers that JSON has no word for as Infinity, -Infinity and NaN. They become
/// objects, as transformers' newer files have them: {"__float__": "Infinity"}.
std::string with_words_of_python(std::string_view text) {
    std::string made;
    bool quoted = false;
    for (size_t at = 0; at < text.size();) {
        if (quoted && text[at] == '\\') {
            made += text.substr(at, 2);
            at += 2;
            continue;
        }
        if (text[at] == '"') quoted = !quoted;
        size_t length = 0;
        if (!quoted)
            for (const std::string_view word : {"Infinity", "-Infinity", "NaN"})
                if (text.substr(at).starts_with(word)) length = word.size();
        if (length > 0) {
            made += fmt::format("{{\"__float__\":\"{}\"}}", text.substr(at, length));
            at += length;
        } else {
            made += text[at++];
        }
    }
    return made;
}

}  // namespace

Json parse_json(std::string_view text, const std::string& where, const JsonLimits& limits) {
    if (text.size() > limits.bytes)
        fail("{}: is {} bytes of JSON, more than the {} that can be read", where, text.size(),
             limits.bytes);
    // The parser would take it for the end, and not look at what follows.
    if (const size_t at = text.find('\0'); at != std::string_view::npos)
        fail("{}: is not valid JSON, at byte {}: a zero byte", where, at + 1);
    std::string made;
    if (text.find("Infinity") != std::string_view::npos ||
        text.find("NaN") != std::string_view::npos) {
        made = with_words_of_python(text);
        text = made;
    }
    Builder builder(where, limits);
    Json::sax_parse(text.begin(), text.end(), &builder);
    return builder.result();
}

Json parse_json_file(const std::filesystem::path& path, const JsonLimits& limits) {
    const RandomAccessFile file(path);
    if (file.size() > limits.bytes)
        fail("{}: is {} bytes of JSON, more than the {} that can be read", file.name(), file.size(),
             limits.bytes);
    std::string text(file.size(), '\0');
    file.read(0, text.data(), text.size());
    return parse_json(text, file.name(), limits);
}

const Json* member(const Json& value, std::string_view name) {
    if (!value.is_object()) return nullptr;
    const auto found = value.find(name);
    return found == value.end() || found->is_null() ? nullptr : &*found;
}

std::string shown(const Json& value) {
    const Json* word = member(value, "__float__");
    if (word && word->is_string() && value.size() == 1) return printable(word->get<std::string>());
    std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (text.size() > 60) text = text.substr(0, 60) + "…";
    return printable(text);
}

std::optional<std::string> text_member(const Json& value, std::string_view name,
                                       const std::string& where) {
    const Json* found = member(value, name);
    if (!found) return std::nullopt;
    if (!found->is_string()) fail("{}: {} is not a string", where, name);
    return found->get<std::string>();
}

std::optional<bool> flag_member(const Json& value, std::string_view name,
                                const std::string& where) {
    const Json* found = member(value, name);
    if (!found) return std::nullopt;
    if (!found->is_boolean()) fail("{}: {} is neither true nor false", where, name);
    return found->get<bool>();
}

}  // namespace llmsql
