// SPDX-License-Identifier: MIT
// Writing a Model as a model file. See load.h.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "compiler/check/scalar.h"
#include "compiler/ir/text.h"
#include "compiler/load/load.h"

namespace llmsql::compiler {
namespace {

/// A basic TOML string: quotes, backslashes and control characters escaped.
std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (byte < 0x20 || byte == 0x7f) {
            out += fmt::format("\\u{:04X}", byte);
        } else {
            out += c;
        }
    }
    return out + '"';
}

/// SQL reads best as it is, line by line; what a literal string cannot hold is escaped.
std::string paragraph(const std::string& text) {
    const bool plain = text.find("'''") == std::string::npos && !text.ends_with('\'') &&
                       std::ranges::all_of(text, [](char c) {
                           const auto byte = static_cast<unsigned char>(c);
                           return (byte >= 0x20 && byte != 0x7f) || c == '\n' || c == '\t';
                       });
    if (plain) return fmt::format("'''\n{}\n'''", text);
    std::string escaped;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\')
            (escaped += '\\') += c;
        else if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f)
            escaped += fmt::format("\\u{:04X}", static_cast<unsigned>(byte));
        else
            escaped += c;
    }
    return fmt::format("\"\"\"\n{}\n\"\"\"", escaped);
}

std::string key_text(const std::string& key) {
    const bool bare = !key.empty() && std::ranges::all_of(key, [](char c) {
        return c == '_' || c == '-' || std::isalnum(static_cast<unsigned char>(c)) != 0;
    });
    return bare ? key : quoted(key);
}

/// "layer.3.attn_q" is of the group "layer.*.attn_q", a table's matrix "layer.3.ffn_gate.17" of
/// "layer.*.ffn_gate.*"; a parameter outside blocks is its own.
std::string group_of(const Param& param) {
    const std::string name = table_name(param);
    if (param.item >= 0) {
        Param table;
        table.name = name;
        return group_of(table) + ".*";
    }
    const size_t first = name.find('.'), last = name.rfind('.');
    if (first == std::string::npos || first == last) return name;
    return name.substr(0, first) + ".*" + name.substr(last);
}

/// Groups in catalogue order with their members.
std::vector<std::pair<std::string, std::vector<const Param*>>> groups(const Model& model) {
    std::vector<std::pair<std::string, std::vector<const Param*>>> all;
    std::map<std::string, size_t> places;
    for (const Param& param : model.params) {
        const std::string group = group_of(param);
        const auto [place, added] = places.emplace(group, all.size());
        if (added) all.emplace_back(group, std::vector<const Param*>{});
        all[place->second].second.push_back(&param);
    }
    return all;
}

/// How many repetitions a block has: as many as its most frequent parameter.
size_t repetitions(const Model& model, const std::string& group) {
    const std::string prefix = group.substr(0, group.find('*'));
    std::set<std::string> indices;
    for (const Param& param : model.params)
        if (param.name.starts_with(prefix))
            indices.insert(param.name.substr(prefix.size(),
                                             param.name.find('.', prefix.size()) - prefix.size()));
    return indices.size();
}

WeightType most_frequent(const std::vector<const Param*>& params) {
    std::map<WeightType, size_t> counts;
    for (const Param* param : params) ++counts[param->type];
    return std::ranges::max_element(counts, {}, [](const auto& each) { return each.second; })
        ->first;
}

std::string present_text(const Model& model) {
    std::vector<std::string> patterns;
    for (const auto& [group, members] : groups(model)) {
        if (!members.front()->optional) continue;
        if (group.find('*') != std::string::npos && members.size() == repetitions(model, group)) {
            patterns.push_back(quoted(group));
        } else {
            for (const Param* member : members) patterns.push_back(quoted(member->name));
        }
    }
    return patterns.empty()
               ? ""
               : fmt::format("\n[parameters]\npresent = [{}]\n", fmt::join(patterns, ", "));
}

std::string weights_text(const Model& model) {
    std::vector<const Param*> matrices;
    for (const Param& param : model.params)
        if (!param.shape.is_vector()) matrices.push_back(&param);
    std::string text = "\n[weights]\n";
    const WeightType common = matrices.empty() ? WeightType::f32 : most_frequent(matrices);
    for (const auto& [group, members] : groups(model)) {
        if (members.front()->shape.is_vector()) continue;
        const WeightType usual = most_frequent(members);
        for (const Param* member : members)
            if (member->type != usual)
                text += fmt::format("{} = \"{}\"\n", key_text(member->name), name_of(member->type));
        if (usual != common) text += fmt::format("{} = \"{}\"\n", key_text(group), name_of(usual));
    }
    return text + fmt::format("\"*\" = \"{}\"\n", name_of(common));
}

std::string source_text(const ModelOrigin& origin) {
    if (origin == ModelOrigin{}) return {};
    std::string text = "\n[source]\n";
    if (origin.context > 0) text += fmt::format("context = {}\n", origin.context);
    if (!origin.ignored.empty()) {
        std::vector<std::string> keys;
        for (const std::string& key : origin.ignored) keys.push_back(quoted(key));
        text += fmt::format("ignored = [{}]\n", fmt::join(keys, ", "));
    }
    return text;
}

/// The numbers that a block has for each repetition: one where all are the same.
std::string list_text(const Model& model, const std::string& block, const std::string& name) {
    std::vector<std::string> all;
    for (size_t i = 0;; ++i) {
        const auto found = model.numbers.find(fmt::format("{}.{}.{}", block, i, name));
        if (found == model.numbers.end()) break;
        all.push_back(fmt::format("{}", found->second));
    }
    const bool alike = std::ranges::all_of(all, [&](const auto& each) { return each == all[0]; });
    return alike && !all.empty() ? all[0] : fmt::format("[{}]", fmt::join(all, ", "));
}

std::string numbers_text(const Model& model, const char* table,
                         const std::vector<std::string>& names) {
    std::string text, blocks, block;
    for (const std::string& name : names) {
        const size_t dot = name.find('.');
        if (dot == std::string::npos) {
            text += fmt::format("{} = {}\n", key_text(name), model.numbers.at(name));
            continue;
        }
        if (name.substr(0, dot) != block) {
            block = name.substr(0, dot);
            blocks += fmt::format("\n[{}.{}]\n", table, key_text(block));
        }
        const std::string own = name.substr(dot + 1);
        blocks += fmt::format("{} = {}\n", key_text(own), list_text(model, block, own));
    }
    return (text.empty() ? "" : fmt::format("\n[{}]\n{}", table, text)) + blocks;
}

}  // namespace

std::string to_toml(const Model& model) {
    std::string text =
        fmt::format("name = {}\ngraph = {}\n", quoted(model.name), quoted(model.graph));
    text += numbers_text(model, "dims", model.dims);
    text += numbers_text(model, "constants", model.constants);
    text += present_text(model);
    text += weights_text(model);
    text += fmt::format("\n[tokenizer]\nkind = {}\n", quoted(model.tokenizer.kind));
    if (!model.tokenizer.pre.empty())
        text += fmt::format("pre = {}\n", quoted(model.tokenizer.pre));
    text += source_text(model.origin);
    if (!model.chat.stop.empty() || !model.chat.query.empty()) text += "\n[chat]\n";
    if (!model.chat.stop.empty()) {
        std::vector<std::string> pieces;
        for (const std::string& piece : model.chat.stop) pieces.push_back(quoted(piece));
        text += fmt::format("stop = [{}]\n", fmt::join(pieces, ", "));
    }
    if (!model.chat.query.empty())
        text += fmt::format("template = {}\n", paragraph(model.chat.query));
    return text;
}

}  // namespace llmsql::compiler
