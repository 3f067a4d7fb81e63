// SPDX-License-Identifier: MIT
// Writing a plan into a model database. See install.h. The one place in compiler/ that knows
// SQLite.
#include "compiler/install/install.h"

#include <sqlite3.h>

#include <memory>

#include "common/error.h"
#include "common/files.h"
#include "common/model_format.h"

namespace llmsql::compiler {
namespace {

struct Closer {
    void operator()(sqlite3* db) const { sqlite3_close(db); }
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Connection = std::unique_ptr<sqlite3, Closer>;
using Statement = std::unique_ptr<sqlite3_stmt, Closer>;

class Database {
  public:
    explicit Database(const std::string& name) : name_(name) {
        sqlite3* raw = nullptr;
        const int code =
            sqlite3_open_v2(sqlite_name(name).c_str(), &raw, SQLITE_OPEN_READWRITE, nullptr);
        db_.reset(raw);
        if (code != SQLITE_OK) refuse();
        sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
        sqlite3_db_config(raw, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
        sqlite3_db_config(raw, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
        sqlite3_busy_timeout(raw, 1000);
    }

    // The first column of the first row as text; empty if there is none.
    std::string run(const char* sql, std::initializer_list<const std::string*> values = {}) {
        sqlite3_stmt* raw = nullptr;
        if (sqlite3_prepare_v2(db_.get(), sql, -1, &raw, nullptr) != SQLITE_OK) refuse();
        const Statement statement(raw);
        int index = 0;
        for (const std::string* value : values)
            if (sqlite3_bind_text64(raw, ++index, value->data(), value->size(), SQLITE_STATIC,
                                    SQLITE_UTF8) != SQLITE_OK)
                refuse();
        const int code = sqlite3_step(raw);
        if (code != SQLITE_ROW && code != SQLITE_DONE) refuse();
        if (code == SQLITE_DONE || sqlite3_column_type(raw, 0) == SQLITE_NULL) return {};
        const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(raw, 0));
        return {text, static_cast<size_t>(sqlite3_column_bytes(raw, 0))};
    }

    // Whether another file has its name by now, or none has.
    bool has_moved() const {
        int moved = 0;
        return sqlite3_file_control(db_.get(), "main", SQLITE_FCNTL_HAS_MOVED, &moved) ==
                   SQLITE_OK &&
               moved != 0;
    }

  private:
    [[noreturn]] void refuse() const {
        const int code = sqlite3_errcode(db_.get()) & 0xff;
        if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
            fail("{}: the database is in use: end the programs that run it, then install again",
                 name_);
        if (code == SQLITE_NOTADB) not_ours();
        fail("{}: cannot install the plan: {}", name_, sqlite3_errmsg(db_.get()));
    }

  public:
    [[noreturn]] void not_ours() const {
        fail("{}: not a model database (llmsql-import makes one)", name_);
    }

  private:
    std::string name_;
    Connection db_;
};

}  // namespace

void install_plan(const std::filesystem::path& path, const std::string& name,
                  const std::string& sql, const PlanIdentity& identity) {
    require_readable_file(path);
    Database db(path.string());
    if (db.run("PRAGMA application_id") != std::to_string(kModelApplicationId) ||
        db.run("PRAGMA user_version") != std::to_string(kModelFormatVersion))
        db.not_ours();
    db.run("BEGIN IMMEDIATE");
    const std::string model = db.run("SELECT value FROM llm_meta WHERE key = 'model'");
    const std::string catalogue = db.run("SELECT value FROM llm_meta WHERE key = 'catalogue'");
    // Equal catalogues are of the same parameters, stored alike, whatever the models are called.
    if (catalogue != identity.catalogue)
        fail(
            "{}: holds the model '{}' (catalogue {}), but the plan is for '{}' (catalogue {}): "
            "install it in the database that was imported with its model file",
            path.string(), model, catalogue, identity.model, identity.catalogue);
    db.run(kPlanTable);
    db.run("INSERT OR REPLACE INTO llm_plan(name, sql) VALUES (?, ?)", {&name, &sql});
    db.run("COMMIT");
    if (db.has_moved())
        fail(
            "{}: was replaced while the plan was being installed, by an import perhaps: install it "
            "again",
            path.string());
    if (model != identity.model)
        report(
            fmt::format("llmsqlc: note: {} holds a model of another name, '{}', with the same "
                        "parameters as '{}'\n",
                        printable(path.string()), printable(model), printable(identity.model)));
}

}  // namespace llmsql::compiler
