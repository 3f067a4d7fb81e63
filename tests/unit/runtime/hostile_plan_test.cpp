// SPDX-License-Identifier: MIT
// A plan is a program from somebody else: what it may not do, and that it ends, whatever it says.
// tests/fuzz looks for what is missing here.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <functional>
#include <memory>
#include <random>

#include "common/error.h"
#include "plan/plan_file.h"
#include "runtime/program/program.h"
#include "runtime/program/text_functions.h"
#include "sqlite/statement.h"
#include "tests/unit/runtime/tiny_plan.h"
#include "tests/unit/says.h"

namespace llmsql {
namespace {

using test::kPlanEnd;
using test::plan_start;
using test::TemporaryFolder;
using test::tiny_model;
using test::TinyModel;

std::string whole_plan() {
    return plan_start() + std::string(kPlanEnd);
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const size_t at = text.find(from);
    if (at == std::string::npos) throw std::logic_error("not in the plan: " + from);
    return text.replace(at, from.size(), to);
}

// The whole plan with a statement at the start of a section.
std::string with_statement(const std::string& section, const std::string& statement) {
    const std::string plan = whole_plan();
    const size_t at = plan.find('\n', plan.find("--@ " + section)) + 1;
    return plan.substr(0, at) + statement + "\n" + plan.substr(at);
}

class HostilePlan : public ::testing::Test {
  protected:
    HostilePlan() {
        tiny_model().write(folder_ / "tiny.db");
        db_ = std::make_unique<ModelDb>(folder_ / "tiny.db");
    }

    // What running it all comes to: "plan.sql:12: …", or "".
    std::string error_of(const std::string& plan) {
        const auto path = folder_ / "plan.sql";
        test::write_text(path, plan + "--@ end " + count_of(plan) + "\n");
        try {
            ProgramOptions options;
            options.threads = 1;
            Program program(path, *db_, options);
            const std::vector<int32_t> tokens{3, 1, 4};
            program.forward(tokens, 0);
            program.logits(2, 1);
            program.forward(std::vector<int32_t>{1}, 3);
            const std::vector<ChatMessage> messages(6, {"user", "what is this?"});
            program.chat().render(messages);
            program.chat().stop_pieces();
        } catch (const Error& error) {
            const std::string message = error.what();
            EXPECT_EQ(message.find('\n'), std::string::npos) << message;
            const size_t name = message.find("plan.sql");
            return name == std::string::npos ? message : message.substr(name);
        }
        return "";
    }

    // How many statements the plan is told that it has, if it is told that it has 10^9.
    std::string count_of(const std::string& plan) {
        try {
            parse_plan(plan + "--@ end 1000000000\n", "plan.sql");
        } catch (const Error& error) {
            const std::string message = error.what();
            const size_t but = message.find(", but ");
            if (but != std::string::npos)
                return message.substr(but + 6, message.find(' ', but + 6) - but - 6);
        }
        return "0";  // it is refused for something else
    }

    // Of a statement put at the start of a section, without the place, which must be its line.
    std::string refusal_of(const std::string& section, const std::string& statement) {
        const std::string plan = with_statement(section, statement);
        const auto line =
            std::count(plan.begin(), plan.begin() + static_cast<long>(plan.find(statement)), '\n');
        const std::string place = "plan.sql:" + std::to_string(line + 1) + ": ";
        const std::string error = error_of(plan);
        EXPECT_TRUE(error.starts_with(place)) << statement << "\n" << error;
        return error.starts_with(place) ? error.substr(place.size()) : error;
    }

    TemporaryFolder folder_;
    std::unique_ptr<ModelDb> db_;
};

TEST_F(HostilePlan, TheTinyPlanItselfRuns) {
    EXPECT_EQ(error_of(whole_plan()), "");
    EXPECT_EQ(error_of(plan_start("q8") + std::string(kPlanEnd)), "");
}

// What nobody may do in any section.
TEST_F(HostilePlan, NoSectionReachesBeyondThePlan) {
    const struct {
        const char *statement, *error;
    } kCases[] = {
        {"ATTACH '/tmp/x.db' AS x;", "a plan may not do this here: ATTACH /tmp/x.db"},
        {"DETACH main;", "a plan may not do this here: DETACH main"},
        {"PRAGMA trusted_schema = 1;", "a plan may not do this here: PRAGMA trusted_schema"},
        {"SELECT * FROM pragma_database_list;", nullptr},
        {"SELECT 1 FROM pragma_table_list;", nullptr},
        {"SELECT count(*) FROM pragma_module_list, pragma_table_info('message');", nullptr},
        {"SELECT 1 FROM (SELECT 1 FROM pragma_function_list);", nullptr},
        {"SELECT EXISTS (SELECT 1 FROM sqlite_dbpage);", nullptr},
        {"SELECT value FROM json_each('[1]');", nullptr},
        {"SELECT 1 FROM json_each('[1]');", nullptr},
        {"SELECT 1 FROM main.pragma_table_list;", nullptr},
        {"SELECT 1 FROM temp.pragma_table_list;", nullptr},
        {"SELECT load_extension('x');", "a plan may not do this here: the function load_extension"},
        {"SELECT randomblob(1);", "a plan may not do this here: the function randomblob"},
        {"SELECT zeroblob(1000000000);", "a plan may not do this here: the function zeroblob"},
        {"SELECT 'a' GLOB 'b';", "a plan may not do this here: the function glob"},
        {"SELECT CURRENT_TIMESTAMP;",
         "a plan may not do this here: the function current_timestamp"},
        {"SELECT sqlite_version();", "a plan may not do this here: the function sqlite_version"},
        {"CREATE TABLE t(a);", nullptr},
        {"CREATE TEMP TABLE t(a);", nullptr},
        {"CREATE TEMP VIEW v AS SELECT 1;", nullptr},
        {"CREATE TEMP TRIGGER r INSERT ON message BEGIN SELECT 1; END;", nullptr},
        {"CREATE INDEX temp.i ON message(role);", nullptr},
        {"CREATE VIRTUAL TABLE temp.f USING fts5(a);", nullptr},
        {"CREATE VIRTUAL TABLE temp.param USING fts5(a);", nullptr},
        {"CREATE VIRTUAL TABLE main.kv USING llm_kv(context=1, type='f16', sequences=1);", nullptr},
        {"DROP TABLE param;", nullptr},
        {"ALTER TABLE message RENAME TO m;", nullptr},
        {"DELETE FROM message;", nullptr},
        {"UPDATE message SET role = 'x';", nullptr},
        {"INSERT INTO message(role) VALUES ('x');", nullptr},
        {"INSERT INTO temp.sqlite_master(name) VALUES ('x');", nullptr},
        {"UPDATE temp.sqlite_master SET sql = '';", nullptr},
        {"SELECT name FROM main.sqlite_master;",
         "a plan may not do this here: reading sqlite_master"},
        {"BEGIN;", "a plan may not do this here: a transaction statement BEGIN"},
        {"COMMIT;", "a plan may not do this here: a transaction statement COMMIT"},
        {"SAVEPOINT s;", "a plan may not do this here: SAVEPOINT BEGIN"},
        {"VACUUM INTO '/tmp/x.db';", "a plan may not do this here: VACUUM"},
        {"REINDEX;", "a plan may not do this here: REINDEX"},
        {"ANALYZE;", nullptr},
        {"EXPLAIN SELECT 1;", "a plan may not do this here: EXPLAIN"},
        {"EXPLAIN QUERY PLAN SELECT 1;", "a plan may not do this here: EXPLAIN"},
        {"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c) SELECT i FROM c;",
         "a plan may not do this: WITH; write the query where it is used"},
    };
    for (const std::string section : {"init", "forward", "logits", "chat", "stop"})
        for (const auto& c : kCases) {
            SCOPED_TRACE(section + ": " + c.statement);
            std::string refusal = refusal_of(section, c.statement);
            // In init a virtual table's row in the schema comes first.
            if (section == "init" && std::string_view(c.statement).starts_with("CREATE") &&
                std::string_view(c.statement).find("message") == std::string_view::npos)
                EXPECT_CONTAINS(refusal, "a plan may not do this here: ");
            else if (c.error)
                EXPECT_EQ(refusal, c.error);
            else
                // SQLite itself may be first: there is no such table, nothing may be attached.
                EXPECT_NE(refusal, "");
        }
}

// What belongs to another section.
TEST_F(HostilePlan, EachSectionHasItsOwnTablesAndFunctions) {
    const struct {
        const char *section, *statement, *error;
    } kCases[] = {
        {"init", "SELECT llm_shape(1);", "the function llm_shape"},
        {"init", "SELECT upper('a');", "the function upper"},
        {"init", "SELECT content FROM message;", "no such table: message"},
        {"forward", "SELECT upper('a');", "the function upper"},
        {"forward", "INSERT INTO tensor(id) VALUES (90);", "inserting into tensor"},
        {"forward", "INSERT INTO kv_layer(layer) VALUES (1);", "inserting into kv_layer"},
        {"forward", "SELECT content FROM message;", "no such table: message"},
        {"logits", "SELECT content FROM message;", "no such table: message"},
        // A table of which no column is named.
        {"forward", "SELECT 1 FROM message;", "no such table: message"},
        {"logits", "SELECT 1 FROM message;", "no such table: message"},
        {"chat", "SELECT 1 FROM tensor;", "no such table: tensor"},
        {"stop", "SELECT count(*) FROM param;", "no such table: param"},
        {"logits",
         "INSERT INTO kv(sequence, layer, position, k, v) SELECT 0, 0, 0, x.data, x.data FROM "
         "tensor x WHERE x.id = 1;",
         "inserting into kv"},
        {"chat", "SELECT llm_shape(id) FROM message;", "no such function: llm_shape"},
        {"chat", "SELECT id FROM tensor;", "no such table: tensor"},
        {"chat", "INSERT INTO slot(id) VALUES (1);", "no such table: slot"},
        {"stop", "SELECT id FROM param;", "no such table: param"},
    };
    for (const auto& c : kCases) {
        SCOPED_TRACE(c.statement);
        EXPECT_CONTAINS(refusal_of(c.section, c.statement),
                        std::string_view(c.error).starts_with("no such")
                            ? c.error
                            : "a plan may not do this here: " + std::string(c.error));
    }
}

TEST_F(HostilePlan, StatementsThatWouldNotEndAreEnded) {
    const std::string tensors =
        "SELECT 1 FROM tensor a, tensor b, tensor c, tensor d, tensor e, tensor f, tensor g, "
        "tensor "
        "h, tensor i";
    EXPECT_CONTAINS(refusal_of("forward", tensors + ";"),
                    "the statement does not end: it has taken");
    EXPECT_CONTAINS(refusal_of("logits", tensors + ";"),
                    "the statement does not end: it has taken");
    const std::string messages =
        "SELECT 1 FROM message a, message b, message c, message d, message e, message f, message "
        "g, "
        "message h, message i, message j, message k WHERE a.id < 0 OR k.id < 0;";
    EXPECT_CONTAINS(error_of(replaced(whole_plan(), "SELECT '<' || role", messages + "--")),
                    "the statement does not end: it has taken");
    // An insert of as many rows computes each.
    EXPECT_CONTAINS(refusal_of("logits",
                               "INSERT INTO slot(id, data) SELECT 12, llm_rows(x.data, 0, 1) FROM "
                               "tensor x, tensor a, tensor b WHERE x.id = 14;"),
                    "the statement stores more rows than there are tensors and cache layers");
}

// Each use of a common table expression is prepared anew: 2^30 of them here.
TEST_F(HostilePlan, StatementsThatWouldNotEndBeingPreparedAreRefused) {
    std::string sql = "wItH a0(x) AS (SELECT 1)";
    for (int i = 1; i <= 30; ++i)
        sql += fmt::format(", a{}(x) AS (SELECT p.x FROM a{} p, a{} q)", i, i - 1, i - 1);
    for (const char* section : {"init", "forward", "logits", "stop"})
        EXPECT_CONTAINS(refusal_of(section, sql + " SELECT x FROM a30;"),
                        "a plan may not do this: WITH");
    // A word in a text or a name is none.
    EXPECT_EQ(error_of(with_statement("stop", "SELECT 'with' AS \"with\", 1 AS without;")), "");
}

TEST_F(HostilePlan, TextsThatWouldFillTheMemoryAreRefused) {
    const auto chat = [&](const std::string& query) {
        return error_of(replaced(whole_plan(), "SELECT '<' || role", query + "; --"));
    };
    // SQLite gives NULL for it, newer ones an error; neither takes memory.
    const std::string wide = chat("SELECT printf('%1000000000d', 1)");
    EXPECT_TRUE(wide == "" || wide.ends_with("too big")) << wide;
    EXPECT_CONTAINS(chat("SELECT replace(printf('%1000000d', 1), ' ', printf('%1000d', 1))"),
                    "too big");
    EXPECT_CONTAINS(chat("SELECT instr(printf('%1000000d', 1), printf('%999999d', 2))"),
                    "instr: argument 2 is 999999 bytes long, in a plan it may be 1000");
    EXPECT_CONTAINS(chat("SELECT trim(printf('%1000000d', 1), printf('%999999d', 2))"),
                    "trim: argument 2 is 999999 bytes long");
    EXPECT_CONTAINS(chat("SELECT 'a' LIKE printf('%1000d', 1)"), "pattern too complex");
    EXPECT_CONTAINS(chat("SELECT printf('%4000000d', a.id) FROM message a, message b"),
                    "the chat comes to more than");
    // A row to sort is too long, or, where SQLite sorts pointers to rows, all of them are.
    const std::string sorted = chat(
        "SELECT DISTINCT printf('%3000000d', a.id + 10 * b.id + 100 * c.id) FROM message a, "
        "message b, message c ORDER BY 1 DESC");
    EXPECT_TRUE(sorted.ends_with("too big") || sorted.ends_with("more than 256 MiB")) << sorted;
    EXPECT_CONTAINS(
        chat("SELECT char(1, " + std::string(2000, '(') + "1" + std::string(2000, ')') + ")"),
        "brackets nest more than 100 deep");
    EXPECT_CONTAINS(
        chat("SELECT a.content FROM message a, message b, message c, message d, message "
             "e, message f, message g ORDER BY printf('%9000d', a.id)"),
        "too much memory");
    EXPECT_EQ(chat("SELECT 1 FROM message, (SELECT 1) ORDER BY 1"), "");
    std::string sum = "1";
    for (int i = 0; i < 300; ++i) sum += "+1";
    EXPECT_CONTAINS(chat("SELECT " + sum), "too large");
}

// Where SQLite and the reader of plans disagreed, a part of the text would silently not run.
TEST_F(HostilePlan, AStatementIsWhatStandsBetweenSemicolons) {
    EXPECT_CONTAINS(refusal_of("forward", "\f;"), "there is no statement here");
    const char* kWhole[] = {"SELECT ';' AS \";\", [;] FROM (SELECT 1 AS [;]);",
                            "SELECT 1 /* ; */ -- ;\n;", "SELECT 'it''s;';",
                            "SELECT `;` FROM (SELECT 1 AS `;`);"};
    for (const char* statement : kWhole)
        EXPECT_EQ(error_of(with_statement("stop", statement)), "") << statement;
}

TEST_F(HostilePlan, NumbersAtTheEdgesAreRefusedOrHarmless) {
    const auto edited = [&](const char* from, const std::string& to) {
        return error_of(replaced(whole_plan(), from, to));
    };
    for (const char* number :
         {"-1", "9223372036854775807", "-9223372036854775808", "9e999", "-9e999", "NULL", "'x'"}) {
        SCOPED_TRACE(number);
        EXPECT_NE(
            edited("llm_rope(q.data, :position,", "llm_rope(q.data, " + std::string(number) + ","),
            "");
        EXPECT_NE(
            edited("kv.position, :position, 0.4", "kv.position, " + std::string(number) + ", 0.4"),
            "");
        EXPECT_NE(edited("0.4, 5)", "0.4, " + std::string(number) + ")"), "");
        EXPECT_NE(edited("SELECT :sequence, 0, :position",
                         "SELECT " + std::string(number) + ", 0, :position"),
                  "");
        EXPECT_NE(
            edited("SELECT :sequence, 0, :position", "SELECT :sequence, 0, " + std::string(number)),
            "");
        EXPECT_NE(edited("llm_rows(x.data, :first, :rows)",
                         "llm_rows(x.data, :first, " + std::string(number) + ")"),
                  "");
        EXPECT_NE(
            edited("kv.position > :position - 36", "kv.position > " + std::string(number)) +
                edited("kv.position > :position - 36", "kv.position < " + std::string(number)),
            "no errorno error");
        EXPECT_NE(edited("c.item, w.data, 2)", "c.item, w.data, " + std::string(number) + ")"), "");
    }
    EXPECT_CONTAINS(edited("kv.position, :position, 0.4", "kv.position, 9223372036854775807, 0.4"),
                    "the position must be 0 to 1099511627776, not 9223372036854775807");
    EXPECT_CONTAINS(edited("kv.position > :position - 36", "kv.position > 9223372036854775806"),
                    "no cache block was selected");
}

TEST_F(HostilePlan, TablesOfImpossibleSizesAreRefused) {
    const auto edited = [&](const char* from, const char* to) {
        return error_of(replaced(whole_plan(), from, to));
    };
    EXPECT_CONTAINS(edited("arena=65536", "arena=9223372036854775807"), "is absurd");
    EXPECT_CONTAINS(edited("arena=65536", "arena=-1"), "is absurd");
    EXPECT_CONTAINS(edited("arena=65536", "arena=0"), "lies outside the arena");
    EXPECT_CONTAINS(edited("(1, 'x', 'f32', 16, 1, 24, 128, 0, NULL, 1)",
                           "(1, 'x', 'f32', 16, 1, 24, 128, 9223372036854775804, NULL, 1)"),
                    "lies outside the arena");
    EXPECT_CONTAINS(edited("(1, 'x', 'f32', 16, 1, 24, 128, 0, NULL, 1)",
                           "(1, 'x', 'f32', 16, 4294967296, 4294967296, 128, 0, NULL, 1)"),
                    "not absurd");
    EXPECT_CONTAINS(edited("(1, 'x', 'f32', 16, 1, 24, 128, 0, NULL, 1)",
                           "(1, 'x', 'f32', 16, 1, 24, 9223372036854775804, 0, NULL, 1)"),
                    "the stride is less than a row, or absurd");
    EXPECT_CONTAINS(edited("VALUES (0, 2, 6, 5)", "VALUES (0, 1048576, 1048576, 5)"),
                    "does not fit cache layer 0");
    EXPECT_CONTAINS(edited("VALUES (0, 2, 6, 5)", "VALUES (0, 2, 6, 9223372036854775807)"),
                    "the window is absurd");
    EXPECT_CONTAINS(edited("context=100", "context=9223372036854775807"), "must be 1 to 2^20");
    EXPECT_CONTAINS(edited("sequences=2", "sequences=-1"), "must be 1 to 1024");
}

// A tensor that lies where another does is refused to whoever reads what is no longer there.
TEST_F(HostilePlan, OverlappingTensorsCannotBeReadOverwritten) {
    const std::string over = "(8, 'a', 'f32', 16, 1, 24, 128, 0, NULL, 1)";
    EXPECT_CONTAINS(
        error_of(replaced(whole_plan(), "(8, 'a', 'f32', 16, 1, 24, 128, 8192, NULL, 1)", over)),
        "tensor 1 'x' is read before this pass has written it");
    EXPECT_CONTAINS(error_of(replaced(whole_plan(), "(2, 'h', 'q8', 16, 1, 24, 64, 2048, NULL, 1)",
                                      "(2, 'h', 'q8', 16, 1, 24, 64, 64, NULL, 1)")),
                    "would be overwritten while");
}

// A subquery's column used twice, in one used twice: 2^40 operators.
TEST_F(HostilePlan, ExpressionsThatGrowWithoutEndAreRefused) {
    std::string from = "(SELECT data AS d FROM tensor WHERE id = 14)";
    for (int i = 0; i < 40; ++i) from = "(SELECT llm_add(d, d) AS d FROM " + from + ")";
    EXPECT_CONTAINS(refusal_of("logits", "SELECT llm_stats(d) FROM " + from + ";"), "written out");
    EXPECT_CONTAINS(refusal_of("stop", "SELECT 1 FROM " + from + ";"), "written out");
    // Deep expressions that are within every bound of the text.
    std::string deep = "x.data";
    for (int i = 0; i < 14; ++i) deep = "llm_add(" + deep + ", " + deep + ")";
    EXPECT_NE(refusal_of("logits", "SELECT llm_shape(" + deep + ") FROM tensor x WHERE x.id = 14;"),
              "");
    std::string nested = "x.data";
    for (int i = 0; i < 20; ++i) nested = "llm_silu(" + nested + ")";
    EXPECT_EQ(error_of(with_statement(
                  "logits", "SELECT llm_stats(" + nested + ") FROM tensor x WHERE x.id = 14;")),
              "");
}

// What logits compute is computed again when they are wanted again.
TEST_F(HostilePlan, LogitsLeaveTheirPassAsItIs) {
    EXPECT_CONTAINS(refusal_of("logits",
                               "INSERT INTO slot(id, data) SELECT 14, llm_scale(x.data, 1.5) FROM "
                               "tensor x WHERE x.id = 14;"),
                    "is written by forward");
    // 24 values a row, of a model that has 30 tokens.
    tiny_model().write(folder_ / "tokens.db");
    sqlite3* raw = nullptr;
    sqlite3_open((folder_ / "tokens.db").c_str(), &raw);
    TinyModel::run(raw, "INSERT INTO llm_token(id, piece) VALUES (29, 'x')");
    sqlite3_close(raw);
    db_ = std::make_unique<ModelDb>(folder_ / "tokens.db");
    EXPECT_EQ(error_of(whole_plan()), "");
    EXPECT_CONTAINS(error_of(replaced(whole_plan(), "SELECT data FROM tensor WHERE id = 13",
                                      "SELECT data FROM tensor WHERE id = 12")),
                    "the logits are 24 wide, but the model has 30 tokens");
}

// Lists of tokens are not SQLite's memory, nor are tables of angles.
TEST_F(HostilePlan, EmbeddingsAreAsLongAsAPass) {
    std::string list = "[1";
    for (int i = 0; i < 20; ++i) list += ",1";
    EXPECT_CONTAINS(refusal_of("forward", "SELECT llm_shape(llm_embed(w.data, '" + list +
                                              "]')) FROM param w WHERE w.id = 1;"),
                    "a pass has 16 at most");
}

TEST_F(HostilePlan, NamesThatAreTooLongSayWhereTheyStand) {
    const std::string longest(60'000'000, 'a');
    const std::string plan = whole_plan();
    const size_t at = plan.find("model='") + 7;
    EXPECT_CONTAINS(error_of(plan.substr(0, at) + longest + plan.substr(at)),
                    "plan.sql:3: the statement is 600");
    EXPECT_CONTAINS(error_of(plan.substr(0, at) + longest.substr(0, 5000) + plan.substr(at)),
                    "plan.sql:3: a name of 50");
    EXPECT_CONTAINS(error_of(replaced(plan, "(1, 'x', 'f32'",
                                      "(1, '" + longest.substr(0, 3'000'000) + "', 'f32'")),
                    "bytes, it may have 4096");
}

// What asks for an interrupt is asked wherever a plan takes long, and ends it.
TEST_F(HostilePlan, InterruptsAreHeardWhereverAPlanTakesLong) {
    struct Stop {};
    const auto stops = [&](const std::string& plan, bool renders) {
        test::write_text(folder_ / "plan.sql", plan + "--@ end " + count_of(plan) + "\n");
        bool armed = false;
        ProgramOptions options;
        options.threads = 1;
        options.progress = [&] {
            if (armed) throw Stop();
        };
        armed = !renders;
        try {
            Program program(folder_ / "plan.sql", *db_, options);
            armed = true;
            program.forward(std::vector<int32_t>{3, 1, 4}, 0);
            program.chat().render(std::vector<ChatMessage>(6, {"user", "what is this?"}));
        } catch (const Stop&) {
            return true;
        }
        return false;
    };
    const auto chat = [&](const std::string& query) {
        return replaced(whole_plan(), "SELECT '<' || role", query + "; --");
    };
    const std::string text = "printf('%.*c', 4000000, 'a')", as(90, 'a');
    std::string set;  // of a thousand bytes
    for (int i = 0; i < 40; ++i) set += "bcdefghijklmnopqrstuvwxyz";
    for (const std::string& slow : {
             "length(rtrim(" + text + ", '" + set.substr(0, 990) + "a'))",
             "length(trim(" + text + ", '" + set.substr(0, 990) + "a'))",
             "(" + text + " LIKE '%" + as + "b%')",
             "(" + text + " LIKE '%" + as.substr(0, 40) + "_%" + as.substr(0, 40) + "b')",
             "length(replace(" + text + ", 'a', 'b'))",
             "instr(" + text + ", '" + std::string(999, 'a') + "b')",
         }) {
        std::string sum = slow;
        for (int i = 0; i < 15; ++i) sum += " + " + slow;
        EXPECT_TRUE(stops(chat("SELECT " + sum + " FROM message"), true)) << slow;
    }
    EXPECT_TRUE(stops(chat("SELECT count(*) FROM message a, message b, message c, message d, "
                           "message e, message f, message g, message h, message i, message j"),
                      true));
}

TEST_F(HostilePlan, BlocksAndChoicesCountOnce) {
    EXPECT_CONTAINS(error_of(replaced(whole_plan(), "FROM tensor q, kv\nWHERE q.id = 7 AND",
                                      "FROM tensor q, kv, tensor twice\nWHERE twice.id IN (1, 2) "
                                      "AND q.id = 7 AND")),
                    "the block of cache layer 0 at position 0 is selected twice");
    EXPECT_CONTAINS(error_of(replaced(whole_plan(), "chosen c, param w\nWHERE x.id = 9",
                                      "chosen c, param w, tensor twice\nWHERE twice.id IN (1, 2) "
                                      "AND x.id = 9")),
                    "comes twice");
}

Connection in_memory() {
    return Connection(":memory:", {.access = Access::make});
}

// SQLite's own functions are the reference.
TEST(TextFunctions, AgreeWithSqlites) {
    const Connection theirs = in_memory(), ours = in_memory();
    register_text_functions(ours.get());
    const auto value = [](const Connection& db, const std::string& sql) {
        Query query(db, "SELECT quote(" + sql + "), typeof(" + sql + ")");
        query.next();
        return query.as_text(0) + " " + query.as_text(1);
    };
    const std::vector<std::string> texts{
        "''",   "'a'",  "' a b '", "'aaaa'",        "'\xC3\xA4\xE2\x82\xAC a\xC3\xA4'",
        "NULL", "'ab'", "' '",     "'\xC3\xA4'",    "'abab'",
        "12",   "1.5",  "'a '",    "'\xE2\x82\xAC'"};
    for (const std::string& x : texts) {
        for (const std::string function : {"trim", "ltrim", "rtrim"}) {
            const std::string call = function + "(" + x + ")";
            EXPECT_EQ(value(ours, call), value(theirs, call)) << call;
        }
        for (const std::string& y : texts) {
            for (const std::string function : {"trim", "ltrim", "rtrim", "instr"}) {
                const std::string call = function + "(" + x + ", " + y + ")";
                EXPECT_EQ(value(ours, call), value(theirs, call)) << call;
            }
            for (const std::string& z : {texts[1], texts[2], texts[5]}) {
                // Before 3.46, SQLite left numbers numbers in which nothing is looked for.
                const std::string call = "replace(" + x + ", " + y + ", " + z + ")";
                EXPECT_EQ(value(ours, call), value(theirs, "CAST(" + call + " AS text)")) << call;
            }
        }
    }
    // Of two BLOBs bytes are counted; what is no UTF-8 is taken apart as SQLite does.
    const std::vector<std::string> bytes{"x'c3a4c3a461'",
                                         "x'61'",
                                         "x'a4'",
                                         "CAST(x'c3' AS text)",
                                         "CAST(x'a4c361a4' AS text)",
                                         "x''",
                                         "'a' || char(0) || 'b'",
                                         "char(0)",
                                         "CAST(x'61a461' AS text)",
                                         "1e3",
                                         "-7"};
    for (const std::string& x : bytes)
        for (const std::string& y : bytes)
            for (const std::string function : {"trim", "ltrim", "rtrim", "instr"}) {
                const std::string call = function + "(" + x + ", " + y + ")";
                EXPECT_EQ(value(ours, call), value(theirs, call)) << call;
            }
}

// Patterns of few letters, so that many match, and by more than one way.
TEST(TextFunctions, LikeAgreesWithSqlites) {
    const Connection theirs = in_memory(), ours = in_memory();
    register_text_functions(ours.get());
    std::mt19937 random(7);
    const std::vector<std::string> letters{"a", "b", "A", "%", "_", "!", "\xC3\xA4", "\xC3\x84"};
    const auto text = [&](size_t most, size_t kinds) {
        std::string made;
        for (size_t n = random() % (most + 1); n > 0; --n) made += letters[random() % kinds];
        return made;
    };
    const auto answer = [](const Connection& db, const std::string& x, const std::string& y,
                           bool escape) {
        Query query(db, escape ? "SELECT ? LIKE ? ESCAPE '!'" : "SELECT ? LIKE ?", x, y);
        query.next();
        return static_cast<int>(query.integer(0));
    };
    int matches = 0;
    for (int i = 0; i < 20000; ++i) {
        const std::string x = text(7, i % 2 ? 3 : letters.size()), y = text(6, letters.size());
        for (const bool escape : {false, true}) {
            const int expected = answer(theirs, x, y, escape);
            matches += expected;
            ASSERT_EQ(answer(ours, x, y, escape), expected) << x << " LIKE " << y << escape;
        }
    }
    EXPECT_GT(matches, 1000);
    for (const std::string sql :
         {"NULL LIKE 'a'", "'a' LIKE NULL", "'a' LIKE 'a' ESCAPE NULL", "12 LIKE '1_'",
          "'%' LIKE 'a%' ESCAPE 'a'", "'_' LIKE '__' ESCAPE '_'"}) {
        Query a(theirs, "SELECT quote(" + sql + ")"), b(ours, "SELECT quote(" + sql + ")");
        a.next();
        b.next();
        EXPECT_EQ(a.as_text(0), b.as_text(0)) << sql;
    }
    for (const std::string sql : {"'a' LIKE 'a' ESCAPE ''", "'a' LIKE 'a' ESCAPE 'ab'"}) {
        Query query(ours, "SELECT " + sql);
        EXPECT_THROW(query.next(), Error) << sql;
    }
}

// Work is counted, not time: pieces between which a call can be ended.
TEST(TextFunctions, TheirWorkGrowsWithTheText) {
    int64_t pieces = 0;
    const Connection db = in_memory();
    register_text_functions(db.get(), [&] { ++pieces; });
    std::string set = "a";
    for (int i = 0; i < 39; ++i) set += "bcdefghijklmnopqrstuvwxyz";
    const auto work = [&](const std::string& call) {
        pieces = 0;
        Query(db, "SELECT " + call).run();
        return pieces;
    };
    const std::string text = "printf('%.*c', 4000000, 'a')";
    for (const std::string function : {"trim", "ltrim", "rtrim"}) {
        EXPECT_GT(work(function + "(" + text + ", '" + set + "')"), 30);
        EXPECT_LT(work(function + "(" + text + ", '" + set + "')"), 130);
    }
    EXPECT_GT(work("instr(" + text + ", 'ab')"), 30);
    EXPECT_GT(work("replace(" + text + ", 'a', 'b')"), 30);
    EXPECT_GT(work("replace(" + text + ", 'b', '')"), 30);
    EXPECT_GT(work(text + " LIKE '%ab'"), 30);
    // Many '%' do not multiply.
    std::string many;
    for (int i = 0; i < 33; ++i) many += "a%_";
    EXPECT_LT(work("printf('%.*c', 100000, 'a') LIKE '%" + many + "b'"), 130);
}

// A model.db is somebody else's file, too.
class HostileDatabase : public ::testing::Test {
  protected:
    std::string error_after(const std::string& sql) {
        std::filesystem::remove(folder_ / "tiny.db");
        tiny_model().write(folder_ / "tiny.db");
        sqlite3* db = nullptr;
        sqlite3_open((folder_ / "tiny.db").c_str(), &db);
        TinyModel::run(db, sql);
        sqlite3_close(db);
        try {
            const ModelDb model(folder_ / "tiny.db");
        } catch (const Error& error) {
            EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
            return error.what();
        }
        return "";
    }
    TemporaryFolder folder_;
};

TEST_F(HostileDatabase, TablesThatArePrograms) {
    EXPECT_EQ(error_after("SELECT 1"), "");
    const std::string endless =
        " AS WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT i AS id, i AS "
        "key, i AS value, i AS param, i AS first_row, i AS checksums, i AS data FROM c";
    for (const std::string table :
         {"llm_meta", "llm_param", "llm_tile", "llm_token", "llm_merge"}) {
        EXPECT_CONTAINS(error_after("DROP TABLE " + table + "; CREATE VIEW " + table + endless),
                        table + " is a view, not a table; import the model again");
        EXPECT_CONTAINS(error_after("DROP TABLE " + table + "; CREATE VIRTUAL TABLE " + table +
                                    " USING rtree(a, b, c)"),
                        table + " is a virtual, not a table");
    }
    EXPECT_CONTAINS(
        error_after("ALTER TABLE llm_token RENAME TO old; CREATE VIEW LLM_Token AS SELECT "
                    "* FROM old"),
        "llm_token is a view");
    EXPECT_CONTAINS(error_after("ALTER TABLE llm_token ADD COLUMN x GENERATED ALWAYS AS "
                                "(printf('%1000000000d', id))"),
                    "the column x of llm_token is computed; import the model again");
    EXPECT_EQ(error_after("CREATE TRIGGER t INSERT ON llm_meta BEGIN SELECT 1; END"), "");
}

// Pages of a b-tree that lead to each other make tables without end; so does this, which is
// shorter.
TEST_F(HostileDatabase, StatementsThatDoNotEndAreEnded) {
    tiny_model().write(folder_ / "tiny.db");
    const ModelDb model(folder_ / "tiny.db");
    const std::string endless =
        "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT count(*) FROM c";
    for (int again = 0; again < 2; ++again) {
        try {
            Query(model.connection(), endless).run();
            FAIL();
        } catch (const Error& error) {
            EXPECT_SAYS(error.what(), "…tiny.db: … damaged (a table does not end); import … again");
        }
        // It counts what one run takes, not all of them.
        for (int run = 0; run < 1000; ++run)
            EXPECT_TRUE(Query(model.connection(), "SELECT count(*) FROM llm_tile").next());
    }
}

}  // namespace
}  // namespace llmsql
