// SPDX-License-Identifier: MIT
// From a plan's text to its outline. See outline.h.
#include "plan/outline.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <string_view>

#include "common/error.h"
#include "common/model_format.h"
#include "plan/outline_statement.h"
#include "plan/sql_tokens.h"

namespace llmsql {
namespace {

using Tokens = std::vector<SqlToken>;

// As the tables have it (runtime/state/arena.cpp): within them sums of sizes do not overflow.
constexpr int64_t kMostId = 65535, kMostRows = 1 << 20, kMostBytes = int64_t{1} << 40;

/// A literal of a VALUES row; a number or text as it was written, nothing for NULL.
using Value = std::optional<std::string>;
using Row = std::map<std::string, Value>;

class Builder {
  public:
    explicit Builder(const PlanFile& plan) : plan_(plan) { outline_.header = plan.header; }

    Outline run() {
        if (const PlanSection* init = plan_.find("init"))
            for (const PlanStatement& statement : init->statements) declare(statement);
        add_up();
        for (const char* section : {"forward", "logits"}) {
            section_chunk(section);
            if (const PlanSection* found = plan_.find(section)) steps(*found);
        }
        name_steps();
        lives();
        return std::move(outline_);
    }

  private:
    [[noreturn]] void refuse(const std::string& why) const {
        fail("{}:{}: {}", plan_.path.string(), line_, why);
    }

    int64_t number(const Row& row, const char* column) const {
        const auto found = row.find(column);
        if (found == row.end() || !found->second) return 0;
        int64_t value = 0;
        const std::string& text = *found->second;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc() || end != text.data() + text.size())
            refuse(fmt::format("{} is '{}', not a whole number", column, text));
        return value;
    }

    std::string text(const Row& row, const char* column) const {
        const auto found = row.find(column);
        return found == row.end() ? "" : found->second.value_or("");
    }

    bool is_null(const Row& row, const char* column) const {
        const auto found = row.find(column);
        return found == row.end() || !found->second;
    }

    void declare(const PlanStatement& statement) {
        line_ = statement.line;
        const Tokens tokens = sql_tokens(statement.sql);
        if (tokens.size() > 8 && tokens[0].is("create"))
            table(tokens);
        else if (tokens.size() > 4 && tokens[0].is("insert"))
            insert(tokens);
    }

    // CREATE VIRTUAL TABLE temp.kv USING llm_kv(context=1024, type='f16', …)
    void table(const Tokens& tokens) {
        Row arguments;
        size_t at = 0;
        while (at < tokens.size() && !tokens[at].is_symbol("(")) ++at;
        for (++at; at + 2 < tokens.size(); at += 4)
            if (tokens[at + 1].is_symbol("=")) arguments[tokens[at].text] = tokens[at + 2].text;
        const std::string& name = tokens[5].text;
        if (name == "param") {
            outline_.model = text(arguments, "model");
            outline_.catalogue = text(arguments, "catalogue");
        } else if (name == "tensor") {
            outline_.arena_bytes = within(arguments, "arena", 0, kMostBytes);
        } else if (name == "kv") {
            outline_.context = within(arguments, "context", 0, kMostRows);
            outline_.kv_type = text(arguments, "type");
        } else if (name == "residency") {
            outline_.budget = {number(arguments, "budget"), number(arguments, "pool"),
                               number(arguments, "windows"), number(arguments, "workers"),
                               TileCut::format_1};
            for (const char* each : {"budget", "pool", "windows", "workers"})
                within(arguments, each, 0, std::numeric_limits<int64_t>::max());
            if (arguments.contains("tiles"))
                outline_.budget->cut = cut_of_format(
                    within(arguments, "tiles", kOldestModelFormat, kModelFormatVersion));
        }
    }

    // INSERT INTO tensor(id, name, …) VALUES (1, 'x', …), …
    void insert(const Tokens& tokens) {
        const std::string& table = tokens[2].text;
        std::vector<std::string> columns;
        size_t at = 3;
        for (; at < tokens.size() && !tokens[at].is_symbol(")"); ++at)
            if (tokens[at].kind == SqlToken::Kind::name) columns.push_back(tokens[at].text);
        if (at + 1 >= tokens.size() || !tokens[at + 1].is("values"))
            return;  // filled by a query: that is run, not read
        Row row;
        size_t column = 0;
        bool negative = false, open = false, filled = false;
        for (at += 2; at < tokens.size(); ++at) {
            const SqlToken& token = tokens[at];
            if (token.is_symbol("(")) {
                if (open) not_literal(columns, filled ? column - 1 : column);
                row.clear();
                column = 0;
                open = true;
                filled = negative = false;
            } else if (token.is_symbol(")")) {
                if (!open || !filled) not_literal(columns, column);
                add(table, row);
                open = false;
            } else if (token.is_symbol(",")) {
                if (open && !filled) not_literal(columns, column);
                filled = negative = false;
            } else if (token.is_symbol("-") && open && !filled && !negative) {
                negative = true;
            } else if (open && !filled && column < columns.size() &&
                       (token.kind == SqlToken::Kind::number || (!negative && is_value(token)))) {
                row[columns[column++]] =
                    token.is("null") ? Value() : Value((negative ? "-" : "") + token.text);
                filled = true;
            } else {
                not_literal(columns, filled ? column - 1 : column);
            }
        }
        if (open) not_literal(columns, column);
    }

    static bool is_value(const SqlToken& token) {
        return token.kind == SqlToken::Kind::text || token.is("null");
    }

    [[noreturn]] void not_literal(const std::vector<std::string>& columns, size_t column) const {
        refuse(
            fmt::format("{} is not a number or a text as it is: what shows a plan computes nothing",
                        column < columns.size() ? columns[column] : "a value"));
    }

    int64_t within(const Row& row, const char* column, int64_t least, int64_t most) const {
        const int64_t value = number(row, column);
        if (value < least || value > most)
            refuse(fmt::format("{} is {}, it must be {} to {}", column, value, least, most));
        return value;
    }

    void add(const std::string& table, const Row& row) {
        if (table == "param") {
            const auto type = weight_type_named(text(row, "type"));
            if (!type) refuse("the unknown type '" + text(row, "type") + "'");
            ParamEntry entry{text(row, "name"), *type, {}};
            if (!is_null(row, "rows")) entry.shape.rows = number(row, "rows");
            entry.shape.cols = number(row, "cols");
            if (!is_plausible(entry.shape)) refuse(entry.name + " has no sensible shape");
            outline_.params.push_back(std::move(entry));
            if (number(row, "id") != static_cast<int64_t>(outline_.params.size()))
                refuse("param.id must count from 1 without a gap");
        } else if (table == "tensor") {
            OutlineTensor tensor{.id = within(row, "id", 0, kMostId),
                                 .name = text(row, "name"),
                                 .type = text(row, "type"),
                                 .rows = within(row, "rows", 1, kMostRows),
                                 .heads = within(row, "heads", 1, kMostBytes / 4),
                                 .offset = within(row, "offset", 0, kMostBytes)};
            tensor.width = within(row, "width", 1, kMostBytes / 4 / tensor.heads);
            tensor.stride = within(row, "stride", 0, kMostBytes / tensor.rows);
            if (!is_null(row, "choices")) tensor.choices = within(row, "choices", 1, tensor.rows);
            if (!is_null(row, "slice_of")) tensor.slice_of = within(row, "slice_of", 0, kMostId);
            outline_.tensor_places.emplace(tensor.id, outline_.tensors.size());
            outline_.tensors.push_back(std::move(tensor));
        } else if (table == "kv_layer") {
            outline_.layers.push_back(
                {within(row, "heads", 1, kMostRows), within(row, "width", 1, kMostRows),
                 within(row, "window", 0, kMostBytes),
                 !is_null(row, "shared") && within(row, "shared", 0, 1) == 1});
        } else if (table == "residency") {
            const int64_t param = number(row, "param");
            if (param < 1 || param > static_cast<int64_t>(outline_.params.size()))
                refuse(fmt::format("there is no parameter {}", param));
            const ParamEntry& entry = outline_.param(static_cast<int>(param));
            const int64_t count = tile_count(entry.type, entry.shape, outline_.cut());
            const int64_t first = within(row, "first_tile", 0, count - 1);
            outline_.tiles.push_back({static_cast<int>(param), first,
                                      within(row, "last_tile", first, count - 1),
                                      number(row, "held") != 0});
        }
    }

    // Of ranges of parameters and tiles, once for all: many statements ask.
    void add_up() {
        const size_t count = outline_.params.size();
        std::vector<Outline::Sums>& sums = outline_.sums;
        sums.resize(count + 1);
        for (const OutlineTiles& range : outline_.tiles) {
            if (!range.held || !outline_.budget) continue;
            // All tiles of a parameter but its last are alike.
            const ParamEntry& entry = outline_.param(range.param);
            const auto bytes_of = [&](int64_t tile) {
                return static_cast<int64_t>(
                    tile_bytes(entry.type, entry.shape, tile, outline_.cut()));
            };
            const int64_t each = bytes_of(range.first), last = bytes_of(range.last);
            int64_t& held = sums[static_cast<size_t>(range.param - 1)].held;
            held = std::min<int64_t>(held + each * (range.last - range.first) + last,
                                     static_cast<int64_t>(param_bytes(entry.type, entry.shape)));
        }
        for (size_t i = 0; i < count; ++i) {
            const ParamEntry& entry = outline_.params[i];
            const auto bytes = static_cast<int64_t>(param_bytes(entry.type, entry.shape));
            if (!outline_.budget) sums[i].held = bytes;
            const bool matrix = !entry.shape.is_vector();
            sums[i + 1].before = sums[i].before + (matrix ? bytes : 0);
            sums[i + 1].streamed_before =
                sums[i].streamed_before + (matrix ? bytes - sums[i].held : 0);
        }
        for (size_t i = count; i-- > 0;) {
            const bool alike = i + 1 < count && table_of(outline_.params[i].name) ==
                                                    table_of(outline_.params[i + 1].name);
            sums[i].end_of_table = alike ? sums[i + 1].end_of_table : static_cast<int>(i) + 1;
        }
    }

    void section_chunk(std::string_view section) {
        for (const OutlineTensor& tensor : outline_.tensors) {
            const int64_t rows = tensor.rows / std::max<int64_t>(1, tensor.choices);
            outline_.chunk = std::max(outline_.chunk, rows);
            int64_t& least = outline_.logits_rows;
            if (section == "logits") least = least == 0 ? rows : std::min(least, rows);
        }
    }

    void steps(const PlanSection& section) {
        int layer = -1;
        for (const PlanStatement& statement : section.statements) {
            OutlineStep step;
            step.number = static_cast<int>(outline_.steps.size()) + 1;
            step.section = section.name;
            step.line = statement.line;
            step.sql = statement.sql;
            comments(statement.comment, layer, step.formula);
            step.layer = layer;
            read_statement(step, outline_);
            outline_.steps.push_back(std::move(step));
        }
    }

    // "layer 3" and "after the layers" say where the following statements belong; the last line
    // above a statement says what it computes.
    static void comments(std::string_view text, int& layer, std::string& formula) {
        while (!text.empty()) {
            const size_t end = std::min(text.find('\n'), text.size());
            const std::string_view line = text.substr(0, end);
            text.remove_prefix(std::min(end + 1, text.size()));
            int number = 0;
            const auto digits = line.substr(std::min<size_t>(6, line.size()));
            const auto [stop, error] =
                std::from_chars(digits.data(), digits.data() + digits.size(), number);
            if (line.starts_with("layer ") && error == std::errc() &&
                stop == digits.data() + digits.size())
                layer = number;
            else if (line == "after the layers")
                layer = -1;
            else
                formula = line;
        }
    }

    void name_steps() {
        std::map<std::string, int> seen;
        for (OutlineStep& step : outline_.steps) {
            std::string what = step.operation;
            if (step.stores) what = "cache";
            if (step.writes)
                if (const OutlineTensor* tensor = outline_.tensor(*step.writes))
                    what = tensor->name;
            std::erase(what, ' ');
            if (step.layer >= 0) what = fmt::format("layer.{}.{}", step.layer, what);
            const int count = ++seen[what];
            step.name = count > 1 ? fmt::format("{}#{}", what, count) : what;
        }
    }

    void lives() {
        const auto find = [&](int64_t id) {
            const auto found = outline_.tensor_places.find(id);
            return found == outline_.tensor_places.end() ? nullptr
                                                         : &outline_.tensors[found->second];
        };
        const auto whole = [&](int64_t id) {
            OutlineTensor* tensor = find(id);
            for (int steps = 0; tensor && tensor->slice_of && steps < 8; ++steps)
                tensor = find(*tensor->slice_of);
            return tensor;
        };
        const int count = static_cast<int>(outline_.steps.size());
        for (const OutlineStep& step : outline_.steps) {
            if (step.writes)
                if (OutlineTensor* tensor = whole(*step.writes))
                    tensor->first_step = tensor->last_step = step.number;
            for (const int64_t id : step.reads)
                if (OutlineTensor* tensor = whole(id)) {
                    const bool crosses =
                        step.section == "logits" && tensor->first_step > 0 &&
                        outline_.steps[static_cast<size_t>(tensor->first_step - 1)].section !=
                            "logits";
                    tensor->last_step = crosses ? count : std::max(tensor->last_step, step.number);
                }
        }
        for (OutlineTensor& tensor : outline_.tensors)
            if (const OutlineTensor* parent = tensor.slice_of ? whole(tensor.id) : nullptr) {
                tensor.first_step = parent->first_step;
                tensor.last_step = parent->last_step;
            }
    }

    const PlanFile& plan_;
    Outline outline_;
    int line_ = 0;
};

}  // namespace

int64_t OutlineTensor::span() const {
    const auto type_known = tensor_type_named(type);
    const int64_t row = !type_known || *type_known == TensorType::f32
                            ? heads * width * static_cast<int64_t>(sizeof(float))
                            : static_cast<int64_t>(tensor_row_bytes(*type_known, heads * width));
    return (rows - 1) * stride + row;
}

const OutlineTensor* Outline::tensor(int64_t id) const {
    const auto found = tensor_places.find(id);
    return found == tensor_places.end() ? nullptr : &tensors[found->second];
}

std::string Outline::kind(const OutlineStep& step) const {
    constexpr int kMostNamed = 64;
    std::string matrices;
    int named = 0;
    for (const OutlineWeights& range : step.weights)
        for (int id = range.first; id <= range.last; ++id) {
            if (++named > kMostNamed) return step.operation + matrices + ", …";
            if (param(id).shape.is_vector()) continue;
            const std::string table = table_of(param(id).name);
            matrices += (matrices.empty() ? " " : ", ") + table.substr(table.rfind('.') + 1);
            if (range.chosen) break;
        }
    return step.operation + matrices;
}

int64_t Outline::weight_bytes(const OutlineStep& step) const {
    int64_t bytes = 0;
    for (const OutlineWeights& range : step.weights)
        if (!range.picked)
            bytes += sums[static_cast<size_t>(range.last)].before -
                     sums[static_cast<size_t>(range.first - 1)].before;
    return bytes;
}

int64_t Outline::streamed_bytes(const OutlineStep& step) const {
    int64_t bytes = 0;
    for (const OutlineWeights& range : step.weights)
        if (!range.picked)
            bytes += sums[static_cast<size_t>(range.last)].streamed_before -
                     sums[static_cast<size_t>(range.first - 1)].streamed_before;
    return bytes;
}

Outline outline_of(const PlanFile& plan) {
    return Builder(plan).run();
}

std::string shape_of(const OutlineTensor& tensor, const std::string& rows) {
    const std::string first =
        tensor.choices > 1 ? fmt::format("{}*{}", rows, tensor.choices) : rows;
    if (tensor.heads == 1) return fmt::format("{}[{}, {}]", tensor.type, first, tensor.width);
    return fmt::format("{}[{}, {}, {}]", tensor.type, first, tensor.heads, tensor.width);
}

}  // namespace llmsql
