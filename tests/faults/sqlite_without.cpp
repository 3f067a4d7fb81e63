// SPDX-License-Identifier: MIT
// A host of the extension whose SQLite lacks one function after the other, as if it had been built
// without: each must make it work, or say in one line why it does not.
//
//   sqlite_without LIBRARY MODEL FOLDER
//
// Prints a line for each function of SQLite's table: its number, and what came of it. Each is tried
// in a process of its own. Exits 1 if any of them ended by a signal, hung, or said nothing, or more
// than a line.
#include <dlfcn.h>
#include <signal.h>
#include <sqlite3ext.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#undef sqlite3_open
#undef sqlite3_exec
#undef sqlite3_free
#undef sqlite3_close
#undef sqlite3_errmsg
#undef sqlite3_auto_extension

extern "C" {
int sqlite3_open(const char*, sqlite3**);
int sqlite3_exec(sqlite3*, const char*, int (*)(void*, int, char**, char**), void*, char**);
void sqlite3_free(void*);
int sqlite3_close(sqlite3*);
int sqlite3_auto_extension(void (*)());
}

namespace {

const sqlite3_api_routines* sqlite = nullptr;

// SQLite hands its table to what it takes for an extension.
int take_table(sqlite3*, char**, const sqlite3_api_routines* api) {
    sqlite = api;
    return SQLITE_OK;
}

bool is_one_line(const char* text) {
    return text && *text && !std::strchr(text, '\n');
}

// 0: everything worked; 1: something did not, and said why; 2: something did not, and did not.
int try_all(sqlite3* db, const std::string& model, const std::string& folder, std::string& said) {
    const std::string few = "\"temperature\": 0, \"n_predict\": 3";
    const std::string statements[] = {
        "SELECT llm_version()",
        "SELECT llm_load('" + model + "')",
        "SELECT llm_generate('The river', '{" + few + "}')",
        "SELECT count(*) FROM llm_stream('The river', '{" + few + "}')",
        "SELECT count(*) FROM llm_batch('SELECT 1, ''a'' UNION ALL SELECT 2, ''''', '{" + few +
            ", \"on_error\": \"column\"}')",
        "SELECT llm_chat('a', 'b', '{" + few + "}')",
        "SELECT llm_chat('a', 'b', '{" + few + ", \"sessions\": \"" + folder + "/s.db\"}')",
        "SELECT llm_chat('a', 'c', '{" + few + ", \"sessions\": \"" + folder + "/s.db\"}')",
        "SELECT llm_detokenize(llm_tokenize('The river')), llm_token_count('a')",
        "SELECT llm_logprob('The river'), llm_info()",
        "SELECT count(*) FROM llm_functions",
        "CREATE VIRTUAL TABLE temp.tensor USING llm_tensor(arena=4096)",
        "SELECT llm_unload()"};
    int worst = 0;
    for (const std::string& sql : statements) {
        char* message = nullptr;
        if (sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &message) == SQLITE_OK) continue;
        if (worst == 0) said = message ? message : "";
        worst = std::max(worst, is_one_line(message) ? 1 : 2);
        sqlite3_free(message);
    }
    return worst;
}

// In a process of its own.
int without(size_t missing, const char* library, const char* model, const std::string& folder) {
    alarm(60);
    sqlite3* db = nullptr;
    sqlite3_open(":memory:", &db);
    static sqlite3_api_routines table;
    std::memcpy(&table, sqlite, sizeof table);
    std::memset(reinterpret_cast<char*>(&table) + missing * sizeof(void*), 0, sizeof(void*));
    void* const opened = dlopen(library, RTLD_NOW);
    if (!opened) {
        std::printf("%s\n", dlerror());
        return 2;
    }
    const auto start = reinterpret_cast<int (*)(sqlite3*, char**, const sqlite3_api_routines*)>(
        dlsym(opened, "sqlite3_llmsql_init"));
    char* message = nullptr;
    const int code = start(db, &message, &table);
    if (code != SQLITE_OK && code != SQLITE_OK_LOAD_PERMANENTLY) {
        std::printf("%zu refused: %s\n", missing, message ? message : "");
        return is_one_line(message) ? 0 : 2;
    }
    std::string said;
    const int worst = try_all(db, model, folder, said);
    std::printf("%zu %s%s\n", missing, worst == 0 ? "works" : "in part: ", said.c_str());
    sqlite3_close(db);
    return worst == 2 ? 2 : 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) return 2;
    sqlite3_auto_extension(reinterpret_cast<void (*)()>(take_table));
    sqlite3* db = nullptr;
    sqlite3_open(":memory:", &db);
    sqlite3_close(db);
    if (!sqlite) return 2;
    int failures = 0;
    // The last is beyond what any version has today: nothing is missing then.
    const size_t count = offsetof(sqlite3_api_routines, uri_key) / sizeof(void*);
    for (size_t missing = 0; missing <= count; ++missing) {
        const std::string folder = std::string(argv[3]) + "/" + std::to_string(missing);
        if (system(("mkdir -p '" + folder + "'").c_str()) != 0) return 2;
        std::fflush(stdout);
        const pid_t child = fork();
        if (child == 0) {
            const int failed = without(missing, argv[1], argv[2], folder);
            std::fflush(stdout);
            _exit(failed);
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (WIFSIGNALED(status)) std::printf("%zu SIGNAL %d\n", missing, WTERMSIG(status));
        if (status != 0) ++failures;
    }
    std::printf("%d failed\n", failures);
    return failures == 0 ? 0 : 1;
}
