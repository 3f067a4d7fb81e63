// SPDX-License-Identifier: MIT
// Fuzz target: operators given any SQL values. The input's bytes choose statements, which stand in
// a plan whose tensors, weights and cache they can name; about half of them fit.
#include <array>

#include "operators/operators.h"
#include "tests/fuzz/tiny_program.h"

namespace llmsql::fuzz {
namespace {

class Chooser {
  public:
    Chooser(const uint8_t* data, size_t size) : data_(data), size_(size) {}
    bool empty() const { return size_ == 0; }
    size_t below(size_t bound) {
        if (size_ == 0) return 0;
        --size_;
        return *data_++ % bound;
    }
    template<class List>
    auto of(const List& list) {
        return list[below(std::size(list))];
    }

  private:
    const uint8_t* data_;
    size_t size_;
};

constexpr std::array kNumbers{"0",
                              "1",
                              "2",
                              "3",
                              "-1",
                              "5",
                              "17",
                              "1024",
                              "2147483648",
                              "1099511627776",
                              "9223372036854775807",
                              "-9223372036854775808",
                              "0.5",
                              "-0.0",
                              "1e-320",
                              "1e308",
                              "9e999",
                              "-9e999",
                              ":position",
                              ":sequence",
                              ":tokens",
                              "NULL",
                              "''",
                              "'[1, 2]'",
                              "'[1'",
                              "'[-1]'",
                              "x'0100000002000000'",
                              "x'01'",
                              "x.id",
                              "kv.position",
                              "c.item",
                              "w.rows",
                              "x.name"};
constexpr std::array kValues{"x.data", "x.data", "y.data", "y.data", "w.data",
                             "v.data", "kv.k",   "kv.v",   "w.data", "x.data"};

// What attention takes, and matrices of which each token chooses some.
constexpr std::array kOfCache{"x.data",    "kv.k", "kv.v", "kv.position",
                              ":position", "0.4",  "5",    "1.5"};
constexpr std::array kOfChoices{"x.data", "y.data", "c.item", "w.data", "2"};

std::string expression(Chooser& choose, int depth) {
    const size_t kind = choose.below(4);
    if (kind == 0) return choose.of(kNumbers);
    if (kind == 1 || depth == 0) return choose.of(kValues);
    const auto all = operators();
    const Operator& op = all[choose.below(all.size())];
    if (op.sql.empty()) return choose.of(kValues);
    std::string call = std::string(op.sql) + "(";
    const int count =
        min_args(op) +
        static_cast<int>(choose.below(static_cast<size_t>(max_args(op) - min_args(op)) + 1));
    for (int i = 0; i < count; ++i) {
        if (i > 0) call += ", ";
        // What usually stands there, or anything.
        if (choose.below(4) == 0)
            call += expression(choose, depth - 1);
        else if (op.locality == Locality::cache && static_cast<size_t>(i) < kOfCache.size())
            call += kOfCache[static_cast<size_t>(i)];
        else if (op.locality == Locality::choice && static_cast<size_t>(i) < kOfChoices.size())
            call += kOfChoices[static_cast<size_t>(i)];
        else
            call += i == 0   ? expression(choose, depth - 1)
                    : i == 1 ? choose.of(kValues)
                             : choose.of(kNumbers);
    }
    return call + ")";
}

std::string statement(Chooser& choose) {
    const auto id = [&] { return std::to_string(choose.below(16)); };
    std::string sql;
    switch (choose.below(4)) {
        case 0:
            sql = "SELECT " + expression(choose, 3);
            break;
        case 1:
            sql = "INSERT INTO kv(sequence, layer, position, k, v) SELECT " +
                  std::string(choose.of(kNumbers)) + ", 0, " + choose.of(kNumbers) + ", " +
                  expression(choose, 2) + ", " + expression(choose, 2);
            break;
        default:
            sql = "INSERT INTO slot(id, data) SELECT " + id() + ", " + expression(choose, 3);
    }
    sql += " FROM tensor x, tensor y, param w, param v";
    std::string where = " WHERE x.id = " + id() + " AND y.id = " + id() + " AND v.id = " + id();
    if (choose.below(2)) {
        sql += ", kv";
        where += " AND kv.sequence = " + std::string(choose.below(4) ? "0" : choose.of(kNumbers));
        if (choose.below(4) == 0)
            where += " AND kv.position >= " + std::string(choose.of(kNumbers));
    }
    if (choose.below(3) == 0) {
        sql += ", chosen c";
        where += " AND c.id = " + id() + " AND w.id = c.item + " + id();
    } else {
        where += choose.below(3) ? " AND w.id = " + std::to_string(choose.below(20))
                                 : " AND w.id BETWEEN " + id() + " AND " + id();
    }
    return sql + where + ";\n";
}

}  // namespace
}  // namespace llmsql::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace llmsql::fuzz;
    Chooser choose(data, size);
    static const std::string start[] = {plan_start("f16"), plan_start("q8")};
    std::string plan = start[choose.below(2)];
    // Where among the plan's own statements: before them nothing is stored, after them all is.
    const size_t at = choose.below(4) ? plan.size() : plan.find("INSERT INTO kv(");
    std::string added;
    for (int count = 0; count < 8 && !choose.empty(); ++count) added += statement(choose);
    plan.insert(at, added);
    if (run_plan(plan + std::string(kPlanEnd))) ++accepted;
    return 0;
}
