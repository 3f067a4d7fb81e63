// SPDX-License-Identifier: MIT
// Plans run by hand: tables that are made, dropped, rolled back, renamed and shown by statements
// that are still open, in any order. What comes is the right value or an error.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "common/error.h"
#include "runtime/program/plan_by_hand.h"
#include "runtime/program/table.h"
#include "sqlite/statement.h"
#include "tests/unit/runtime/tiny_model.h"

namespace llmsql {
namespace {

using test::random_values;
using test::TemporaryFolder;
using test::TinyModel;

constexpr int64_t kColumns = 24;

TinyModel small_model(const std::string& name) {
    TinyModel model;
    const uint32_t seed = name == "tiny" ? 1 : 7;
    model.add_matrix("embd", WeightType::f32, 50, kColumns, random_values(50 * kColumns, seed, 1));
    std::vector<float> factors;
    for (uint32_t i = 1; i <= kColumns / 2; ++i) factors.push_back(static_cast<float>(i * seed));
    model.add_vector("factors", factors);
    if (name != "tiny") return model;
    for (const char* matrix : {"a", "b", "c"})
        model.add_matrix(matrix, WeightType::q8, 32, kColumns, random_values(32 * kColumns, 3, 1));
    return model;
}

// Both models' files; that of `one` has fewer parameters.
struct Models {
    TemporaryFolder folder;
    std::map<std::string, std::filesystem::path> paths;
    std::map<std::string, std::string> catalogues;
    Models() {
        for (const std::string name : {"tiny", "one"}) {
            const TinyModel model = small_model(name);
            paths[name] = folder / (name + ".db");
            model.write(paths[name]);
            catalogues[name] = model.catalogue();
            sqlite3* db = nullptr;
            sqlite3_open(paths[name].c_str(), &db);
            TinyModel::run(db, "UPDATE llm_meta SET value = '" + name + "' WHERE key = 'model'");
            sqlite3_close(db);
        }
    }
};

// A host's connection with the tables on it, of the model named last.
struct Hand {
    const Models& models;
    std::string model = "tiny";
    std::optional<PlanByHand> state;
    sqlite3* db = nullptr;

    explicit Hand(const Models& models, const char* file = ":memory:") : models(models) {
        sqlite3_open(file, &db);
        state.emplace(
            db, [this] { return std::make_shared<const ModelDb>(this->models.paths.at(model)); });
        register_operators(db, state->operators);
        register_tables(db, *state);
    }
    ~Hand() { sqlite3_close_v2(db); }

    // The error, or nothing; the first row's first value in `value`.
    std::string run(const std::string& sql, std::string* value = nullptr) {
        const char* rest = sql.c_str();
        while (*rest) {
            sqlite3_stmt* raw = nullptr;
            if (sqlite3_prepare_v2(db, rest, -1, &raw, &rest) != SQLITE_OK)
                return sqlite3_errmsg(db);
            const Statement statement(raw);
            int code = SQLITE_DONE;
            bool first = true;
            while (raw && (code = sqlite3_step(raw)) == SQLITE_ROW)
                if (std::exchange(first, false) && value) *value = column_text(raw, 0);
            if (code != SQLITE_DONE) return sqlite3_errmsg(db);
        }
        return "";
    }
    std::string get(const std::string& sql) {
        std::string value;
        const std::string error = run(sql, &value);
        return error.empty() ? value : "error: " + error;
    }

    std::string param(const std::string& name, const std::string& schema = "temp") {
        std::string sql = "CREATE VIRTUAL TABLE " + schema + ".param USING llm_param(model='" +
                          name + "', catalogue='" + models.catalogues.at(name) +
                          "'); INSERT INTO param(id, name, type, rows, cols) VALUES "
                          "(1, 'embd', 'f32', 50, 24), (2, 'factors', 'f32', NULL, 12)";
        if (name == "tiny")
            sql +=
                ", (3, 'a', 'q8', 32, 24), (4, 'b', 'q8', 32, 24),"
                "(5, 'c', 'q8', 32, 24)";
        return sql + ";";
    }
};

std::string tensors(int64_t rows, const std::string& schema = "temp") {
    const std::string n = std::to_string(rows);
    return "CREATE VIRTUAL TABLE " + schema +
           ".tensor USING llm_tensor(arena=1048576);"
           "INSERT INTO tensor(id, name, type, rows, heads, width, stride, offset) VALUES "
           "(1, 'x', 'f32', " +
           n + ", 1, 24, 128, 0), (2, 'k', 'f32', " + n + ", 4, 6, 128, 65536), (3, 'y', 'f32', " +
           n + ", 1, 24, 128, 131072);";
}

const std::string kSlot = "CREATE VIRTUAL TABLE temp.slot USING llm_slot();";
const std::string kCache =
    "CREATE VIRTUAL TABLE temp.kv_layer USING llm_kv_layer();"
    "CREATE VIRTUAL TABLE temp.kv USING llm_kv(context=1024, type='f16', sequences=1);"
    "INSERT INTO kv_layer VALUES (0, 4, 6, 32);";

std::string tokens(int64_t count, int64_t first) {
    std::string text = "[";
    for (int64_t i = 0; i < count; ++i)
        text += fmt::format("{}{}", i ? "," : "", (first + i * 7) % 50);
    return text + "]";
}

std::string embed(const std::string& ids) {
    return "INSERT INTO slot SELECT 1, llm_embed(w.data, '" + ids + "') FROM param w WHERE w.id=1;";
}
const std::string kKeys =
    "INSERT INTO slot SELECT 2, llm_add(x.data, x.data) FROM tensor x WHERE x.id=1;";
std::string store(int64_t position) {
    return fmt::format("INSERT INTO kv SELECT 0, 0, {}, k.data, k.data FROM tensor k WHERE k.id=2;",
                       position);
}
std::string attend(int64_t position) {
    return fmt::format(
        "SELECT llm_stats(llm_attention(q.data, kv.k, kv.v, kv.position, {}, 0.5, 32)) "
        "FROM tensor q, kv WHERE q.id=2",
        position);
}

const Models& models() {
    static const Models all;
    return all;
}

TEST(ByHand, ACacheInUseTakesNoLongerPassesThanItHasRoomFor) {
    Hand hand(models()), other(models());
    ASSERT_EQ(hand.run(hand.param("tiny") + tensors(1) + kSlot + kCache + embed("[1]") + kKeys +
                       store(0)),
              "");
    ASSERT_EQ(hand.run("DROP TABLE tensor;" + tensors(128)), "");
    ASSERT_EQ(hand.run(embed(tokens(128, 0)) + kKeys), "");
    EXPECT_NE(hand.run(store(1)).find("DROP TABLE kv"), std::string::npos);
    ASSERT_EQ(hand.run("DROP TABLE kv; DROP TABLE kv_layer;" + kCache), "");
    ASSERT_EQ(other.run(other.param("tiny") + tensors(128) + kSlot + kCache), "");
    for (int64_t at = 0; at < 900; at += 128)
        for (Hand* each : {&hand, &other})
            ASSERT_EQ(each->run(embed(tokens(128, at)) + kKeys + store(at)), "");
    const std::string got = hand.get(attend(896));
    EXPECT_EQ(got.find("error"), std::string::npos) << got;
    EXPECT_EQ(got, other.get(attend(896)));
    // Shorter ones it does take.
    ASSERT_EQ(hand.run("DROP TABLE tensor;" + tensors(1) + embed("[3]") + kKeys + store(896)), "");
}

TEST(ByHand, ResidencyIsOfTheParametersThatItWasCheckedAgainst) {
    Hand hand(models());
    const std::string table =
        "CREATE VIRTUAL TABLE temp.residency USING "
        "llm_residency(budget=100000000, pool=1000000, windows=0, workers=2);";
    ASSERT_EQ(hand.run(hand.param("tiny") + table +
                       "INSERT INTO residency(param, first_tile, last_tile, held) VALUES "
                       "(5,0,0,0), (4,0,0,0), (3,0,0,0), (2,0,0,1), (1,0,0,1);"),
              "");
    ASSERT_EQ(hand.run("DROP TABLE param"), "");
    hand.model = "one";
    ASSERT_EQ(hand.run(hand.param("one") + tensors(4) + kSlot), "");
    EXPECT_NE(hand.run(embed("[1]")).find("residency"), std::string::npos);
    ASSERT_EQ(hand.run("DROP TABLE residency;" + table), "");
    EXPECT_NE(hand.run(embed("[1]")).find("residency"), std::string::npos) << "without rows";
    ASSERT_EQ(hand.run("INSERT INTO residency(param, first_tile, last_tile, held) "
                       "VALUES (2, 0, 0, 1), (1, 0, 0, 0);" +
                       embed("[1]")),
              "");
    EXPECT_NE(hand.run("INSERT INTO residency(param, first_tile, last_tile, held) "
                       "VALUES (1, 0, 0, 0)")
                  .find("before anything is computed"),
              std::string::npos);
    // A budget that what the tables take is beyond.
    ASSERT_EQ(hand.run("DROP TABLE residency; DROP TABLE param;" + hand.param("one") +
                       "CREATE VIRTUAL TABLE temp.residency USING "
                       "llm_residency(budget=1000000, pool=100000, windows=0, workers=2);"
                       "INSERT INTO residency(param, first_tile, last_tile, held) "
                       "VALUES (2, 0, 0, 1), (1, 0, 0, 0);"),
              "");
    EXPECT_NE(hand.run(embed("[1]")).find("more than its budget"), std::string::npos);
}

TEST(ByHand, WhatFailedOrWasRolledBackCanBeMadeAgain) {
    Hand hand(models());
    EXPECT_NE(hand.run("CREATE VIRTUAL TABLE temp.param USING llm_param(model='other', "
                       "catalogue='x')"),
              "");
    EXPECT_NE(hand.run("CREATE VIRTUAL TABLE temp.param USING llm_param(model='tiny', "
                       "catalogue='x', more=1)"),
              "");
    const std::string all = hand.param("tiny") + tensors(4) + kSlot + kCache;
    std::vector<Statement> open;  // of tables that go
    for (const char* end : {"ROLLBACK", "ROLLBACK TO a; RELEASE a"}) {
        ASSERT_EQ(hand.run("SAVEPOINT a;" + all + embed("[1]")), "");
        sqlite3_stmt* kept = nullptr;
        ASSERT_EQ(sqlite3_prepare_v2(hand.db, "SELECT id, data FROM tensor", -1, &kept, nullptr),
                  0);
        open.emplace_back(kept);
        ASSERT_EQ(sqlite3_step(kept), SQLITE_ROW);
        ASSERT_EQ(hand.run(end), "");
        while (sqlite3_step(kept) == SQLITE_ROW) {
        }
        EXPECT_NE(hand.run("SELECT * FROM tensor"), "");
        EXPECT_NE(hand.run("INSERT INTO slot VALUES (1, NULL)"), "");
        sqlite3_reset(kept);
    }
    ASSERT_EQ(hand.run(all + embed("[1]")), "");
    EXPECT_NE(hand.run(tensors(4, "main")).find("already"), std::string::npos);
    EXPECT_EQ(hand.get("SELECT count(*) FROM tensor"), "3");
}

TEST(ByHand, RowsGoWithTheirTransaction) {
    Hand hand(models());
    ASSERT_EQ(hand.run(hand.param("tiny") + tensors(4) + kSlot + kCache + embed("[1, 2]") + kKeys +
                       store(0)),
              "");
    const std::string before = hand.get("SELECT llm_stats(data) FROM tensor WHERE id = 1");
    ASSERT_EQ(hand.run("BEGIN; INSERT INTO tensor(id, name, type, rows, heads, width, stride, "
                       "offset) VALUES (9, 'z', 'f32', 4, 1, 24, 128, 262144);" +
                       store(2) + "ROLLBACK"),
              "");
    EXPECT_EQ(hand.get("SELECT count(*) FROM tensor"), "3");
    EXPECT_EQ(hand.get("SELECT llm_stats(data) FROM tensor WHERE id = 1"), before);
    EXPECT_NE(hand.run(store(4)), "") << "positions 2 and 3 have been rolled back";
    // A statement that fails takes its own rows along, and nothing else.
    EXPECT_NE(hand.run("INSERT INTO tensor(id, name, type, rows, heads, width, stride, offset) "
                       "VALUES (9, 'z', 'f32', 4, 1, 24, 128, 262144), (9, 'z', 'f32', 4, 1, 24, "
                       "128, 262144)"),
              "");
    EXPECT_EQ(hand.get("SELECT count(*) FROM tensor"), "3");
    ASSERT_EQ(hand.run("BEGIN;" + embed("[5]") + "SAVEPOINT a;" + embed("[6]") + "ROLLBACK TO a"),
              "");
    EXPECT_NE(hand.get("SELECT llm_stats(data) FROM tensor WHERE id = 1").find("error"),
              std::string::npos);
    ASSERT_EQ(hand.run(embed("[1, 2]") + "COMMIT"), "");
    EXPECT_EQ(hand.get("SELECT llm_stats(data) FROM tensor WHERE id = 1"), before);
}

TEST(ByHand, ACursorShowsWhatItWasOpenedOn) {
    Hand hand(models());
    ASSERT_EQ(hand.run(kCache + "INSERT INTO kv_layer VALUES (1, 4, 6, 0), (2, 4, 6, 0)"), "");
    sqlite3_stmt* raw = nullptr;
    ASSERT_EQ(sqlite3_prepare_v2(hand.db, "SELECT layer, width FROM kv_layer", -1, &raw, nullptr),
              0);
    const Statement open(raw);
    ASSERT_EQ(sqlite3_step(raw), SQLITE_ROW);
    ASSERT_EQ(hand.run("DROP TABLE kv"), "");
    for (int layer = 1; layer < 3; ++layer) {
        ASSERT_EQ(sqlite3_step(raw), SQLITE_ROW);
        EXPECT_EQ(sqlite3_column_int(raw, 0), layer);
        EXPECT_EQ(sqlite3_column_int(raw, 1), 6);
    }
    EXPECT_NE(hand.run("SELECT * FROM kv_layer"), "");
}

TEST(ByHand, TablesOutliveChangesOfTheSchema) {
    Hand hand(models());
    ASSERT_EQ(hand.run(hand.param("tiny") + tensors(4) + kSlot + embed("[1, 2]")), "");
    const std::string before = hand.get("SELECT llm_stats(data) FROM tensor WHERE id = 1");
    ASSERT_EQ(hand.run("BEGIN; CREATE TABLE other(x); CREATE TEMP TABLE more(x); ROLLBACK"), "");
    EXPECT_EQ(hand.get("SELECT llm_stats(data) FROM tensor WHERE id = 1"), before);
    ASSERT_EQ(hand.run("ALTER TABLE temp.tensor RENAME TO t"), "");
    EXPECT_EQ(hand.get("SELECT llm_stats(data) FROM t WHERE id = 1"), before);
    ASSERT_EQ(hand.run("ALTER TABLE temp.t RENAME TO tensor;" + embed("[3]")), "");
    // What DROP took is not there again because that is rolled back.
    ASSERT_EQ(hand.run("BEGIN; DROP TABLE tensor; ROLLBACK"), "");
    EXPECT_NE(hand.get("SELECT count(*) FROM tensor").find("DROP TABLE it"), std::string::npos);
    ASSERT_EQ(hand.run("DROP TABLE tensor;" + tensors(4) + embed("[1, 2]")), "");
    EXPECT_EQ(hand.get("SELECT llm_stats(data) FROM tensor WHERE id = 1"), before);
}

TEST(ByHand, WhatADropTookIsNamedWhoeverMissesIt) {
    const std::string uses[] = {
        store(0),
        attend(0),
        "SELECT * FROM kv",
        "SELECT * FROM kv_layer",
        embed("[1]"),
        "SELECT * FROM tensor",
        "SELECT * FROM param",
        "INSERT INTO residency VALUES (1, 0, 0, 1, 0)",
        "SELECT * FROM residency",
        "SELECT * FROM chosen WHERE id = 1",
    };
    const std::map<std::string, std::vector<int>> of{{"kv", {0, 1, 2, 3}},
                                                     {"tensor", {0, 1, 4, 5, 9}},
                                                     {"param", {4, 6, 7}},
                                                     {"residency", {4, 8}}};
    for (const auto& [table, which] : of)
        for (const char* end : {"ROLLBACK", "ROLLBACK TO a"})
            for (const int use : which) {
                Hand hand(models());
                hand.model = "one";
                ASSERT_EQ(
                    hand.run(hand.param("one") + tensors(4) + kSlot + kCache +
                             "CREATE VIRTUAL TABLE temp.chosen USING llm_chosen();"
                             "CREATE VIRTUAL TABLE temp.residency USING llm_residency("
                             "budget=100000000, pool=65536, workers=1, windows=0);"
                             "INSERT INTO residency(param, first_tile, last_tile, held, chosen) "
                             "VALUES (1, 0, 0, 1, 0), (2, 0, 0, 1, 0);"),
                    "");
                if (table == "kv" || table == "tensor") {
                    ASSERT_EQ(hand.run(embed("[1, 2]") + kKeys + store(0)), "");
                }
                ASSERT_EQ(hand.run("BEGIN; SAVEPOINT a; DROP TABLE " + table + ";" + end), "");
                const std::string said = hand.run(uses[static_cast<size_t>(use)]);
                EXPECT_NE(said.find("rows of the table " + table + " are gone"), std::string::npos)
                    << table << ", " << end << ", " << uses[static_cast<size_t>(use)] << ": "
                    << said;
            }
}

TEST(ByHand, AnglesAreOfTheFactorsThatAreThere) {
    Hand hand(models()), other(models());
    const std::string rope =
        "SELECT llm_stats(llm_rope(llm_embed(w.data, '[1]'), 5, 10000.0, f.data)) "
        "FROM param w, param f WHERE w.id = 1 AND f.id = 2";
    ASSERT_EQ(hand.run(hand.param("tiny")), "");
    ASSERT_EQ(hand.get(rope).find("error"), std::string::npos);
    ASSERT_EQ(hand.run("DROP TABLE param"), "");
    hand.model = other.model = "one";
    ASSERT_EQ(hand.run(hand.param("one")), "");
    ASSERT_EQ(other.run(other.param("one")), "");
    EXPECT_EQ(hand.get(rope), other.get(rope));
}

// The statements of a random walk. Each may fail, by one line.
class Walk {
  public:
    explicit Walk(uint32_t seed) : random_(seed) { connect(); }
    ~Walk() { close(); }

    void step() {
        const std::string schema = below(8) ? "temp" : "main";
        static const char* const kTables[] = {"param", "tensor",   "slot",     "chosen",
                                              "kv",    "kv_layer", "residency"};
        const std::string table = kTables[below(7)];
        const int64_t rows = int64_t{1} << below(6);
        switch (below(33)) {
            case 0:
                hand_->model = below(2) ? "tiny" : "one";
                return run(hand_->param(below(8) ? hand_->model : "tiny", schema));
            case 1:
                return run(tensors(rows, schema));
            case 2:
                return run(kSlot + kCache + "INSERT INTO kv_layer VALUES (1, 4, 6, 0)");
            case 3:
                return run("CREATE VIRTUAL TABLE " + schema +
                           ".kv USING llm_kv(context=256, "
                           "type='q8', sequences=2); INSERT INTO kv_layer VALUES (0, 4, 6, 16)");
            case 4:
                return run("CREATE VIRTUAL TABLE " + schema +
                           ".residency USING llm_residency("
                           "budget=100000000, pool=1000000, windows=0, workers=2)");
            case 5:
                return run(
                    "INSERT INTO residency(param, first_tile, last_tile, held) "
                    "SELECT id, 0, 0, id < 3 FROM param ORDER BY id");
            case 6:
            case 7:
                return run("DROP TABLE " + schema + "." + table);
            case 8:
                return run(below(2) ? "BEGIN" : "SAVEPOINT a");
            case 9:
                return run(below(2) ? "COMMIT" : "RELEASE a");
            case 10:
                return run(below(2) ? "ROLLBACK" : "ROLLBACK TO a");
            case 11:
                return run("CREATE TABLE main.other(x); DROP TABLE main.other");
            case 12:
                return run("ALTER TABLE " + schema + "." + table + " RENAME TO t; ALTER TABLE " +
                           schema + ".t RENAME TO " + table);
            case 13:
                return run("DELETE FROM " + table + "; UPDATE " + table + " SET id = 1");
            case 14:
            case 15:
                return open(table);
            case 16:
            case 17:
            case 18:
                return go_on();
            case 19:
                if (below(20) == 0) connect();
                return;
            case 20:
                return run(
                    "CREATE VIRTUAL TABLE temp.chosen USING llm_chosen();"
                    "SELECT count(*) FROM chosen WHERE id = 1");
            case 21:
                return run(
                    "INSERT INTO tensor(id, name, type, rows, heads, width, stride, offset) "
                    "VALUES (" +
                    fmt::format("{}, 'z', 'f32', {}, 1, 24, 128, 262144)", below(9), rows));
            case 22:
            case 23: {
                const auto count = static_cast<int64_t>(1 + below(static_cast<uint32_t>(rows)));
                last_tokens_ = tokens(count, below(50));
                return write(1, embed(last_tokens_),
                             "SELECT llm_stats(llm_embed(w.data, '" + last_tokens_ + "'))");
            }
            case 24:
                return double_it();
            case 25:
                return run(store(static_cast<int64_t>(position_)), &position_, rows);
            case 26:
            case 27:  // all that a plan has, as far as it is not there
                run(hand_->param(hand_->model));
                run(tensors(rows));
                run(kSlot);
                return run(kCache);
            case 28:
                return run(attend(static_cast<int64_t>(below(64))));
            default:
                return look(1 + static_cast<int64_t>(below(2)));
        }
    }

    int right = 0, errors = 0;

  private:
    uint32_t below(uint32_t n) { return static_cast<uint32_t>(random_() % n); }

    void connect() {
        close();
        hand_ = std::make_unique<Hand>(models());
        expected_.clear();
        position_ = 0;
    }
    // With statements alive, which are finalised later.
    void close() {
        if (!hand_) return;
        sqlite3_close_v2(std::exchange(hand_->db, nullptr));
        open_.clear();
        hand_.reset();
    }

    void run(const std::string& sql) {
        const std::string error = hand_->run(sql);
        errors += !error.empty();
        ASSERT_EQ(error.find('\n'), std::string::npos) << error;
    }
    void run(const std::string& sql, uint64_t* position, int64_t rows) {
        if (hand_->run(sql).empty())
            *position += static_cast<uint64_t>(rows);
        else if (below(4) == 0)
            *position = 0;
    }

    // A value of the present model, as another connection computes it.
    std::string reference(const std::string& select) {
        static std::map<std::pair<std::string, std::string>, std::string> known;
        std::string& value = known[{hand_->model, select}];
        if (!value.empty()) return value;
        Hand fresh(models());
        fresh.model = hand_->model;
        EXPECT_EQ(fresh.run(fresh.param(fresh.model)), "");
        return value = fresh.get(select + " FROM param w WHERE w.id = 1");
    }
    void write(int64_t id, const std::string& sql, const std::string& select) {
        const std::string model = hand_->state->params ? hand_->state->params->model : "";
        if (!hand_->run(sql).empty()) return;
        const std::string before = std::exchange(hand_->model, model);
        expected_[id] = reference(select);
        hand_->model = before;
        written_[id] = {last_tokens_, model};
    }
    void double_it() {
        if (!hand_->run(kKeys).empty()) return;
        ASSERT_TRUE(written_.contains(1));
        const auto [ids, model] = written_[1];
        const std::string before = std::exchange(hand_->model, model);
        const std::string value = "llm_embed(w.data, '" + ids + "')";
        expected_[2] = reference("SELECT llm_stats(llm_add(" + value + ", " + value + "))");
        hand_->model = before;
    }
    // Shapes may be written otherwise.
    static std::string without_shape(const std::string& stats) {
        return stats.substr(stats.find("\"min\""));
    }
    void look(int64_t id) {
        const std::string got =
            hand_->get(fmt::format("SELECT llm_stats(data) FROM tensor WHERE id = {}", id));
        if (got.empty() || got.starts_with("error")) {
            ++errors;
            return;
        }
        ++right;
        ASSERT_TRUE(expected_.contains(id));
        ASSERT_EQ(without_shape(got), without_shape(expected_[id]));
    }

    void open(const std::string& table) {
        const std::string sqls[] = {"SELECT * FROM " + table,
                                    embed(tokens(2, below(50))),
                                    store(0),
                                    attend(1),
                                    "SELECT llm_stats(data) FROM tensor",
                                    "SELECT llm_shape(data) FROM param"};
        sqlite3_stmt* raw = nullptr;
        sqlite3_prepare_v2(hand_->db, sqls[below(6)].c_str(), -1, &raw, nullptr);
        if (!raw) return;
        open_.emplace_back(raw);
        // It may write a tensor at any time, of which nothing is known then.
        if (!sqlite3_stmt_readonly(raw)) open_.pop_back();
        if (open_.size() > 6) open_.erase(open_.begin());
    }
    void go_on() {
        if (open_.empty()) return;
        sqlite3_stmt* statement = open_[below(static_cast<uint32_t>(open_.size()))].get();
        if (sqlite3_step(statement) != SQLITE_ROW || below(9) == 0) sqlite3_reset(statement);
    }

    std::mt19937 random_;
    std::unique_ptr<Hand> hand_;
    std::vector<Statement> open_;
    std::map<int64_t, std::string> expected_;
    std::map<int64_t, std::pair<std::string, std::string>> written_;
    std::string last_tokens_;
    uint64_t position_ = 0;
};

TEST(ByHand, AnyOrderOfStatementsGivesTheRightValueOrAnError) {
    int right = 0, errors = 0;
    for (uint32_t seed = 0; seed < 12; ++seed) {
        SCOPED_TRACE(seed);
        Walk walk(seed);
        for (int i = 0; i < 400 && !::testing::Test::HasFatalFailure(); ++i) walk.step();
        right += walk.right;
        errors += walk.errors;
    }
    EXPECT_GT(right, 20);
    EXPECT_GT(errors, 20);
}

}  // namespace
}  // namespace llmsql
