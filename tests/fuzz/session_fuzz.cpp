// SPDX-License-Identifier: MIT
// Fuzz target: a session file, damaged or edited. Its last answer is resumed, something is
// said in it, and it is forked, as llmsql-run and llm_chat do.
#include <sqlite3.h>

#include <cstring>
#include <iterator>
#include <random>

#include "runtime/session/session.h"
#include "tests/faults/tiny_model_open.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace llmsql;

const fuzz::Folder& folder() {
    static const fuzz::Folder made;
    return made;
}

faults::OpenTinyModel& model() {
    static faults::OpenTinyModel opened([] {
        faults::write_tiny_files(folder() / "", false);
        return folder() / "";
    }());
    return opened;
}

void generate(Session& session) {
    for (int i = 0; i < 5; ++i)
        if (!session.next()) {
            session.finish();
            return;
        }
}

// Opens the session three times over, as three programs would one after the other. True if nothing
// was refused.
bool use(const std::filesystem::path& file) {
    SessionChoice choice;
    choice.file = file;
    choice.commit_every = 2;
    bool all = true;
    SessionKind kind = SessionKind::text;
    all &= fuzz::answers([&] {
        Session session(choice, std::nullopt, model().program, model().program.chat(),
                        model().tokenizer, *model().generator);
        kind = session.kind();
        if (session.unfinished() && session.resume()) generate(session);
        session.answer();
    });
    all &= fuzz::answers([&] {
        model().generator->set_options(faults::tiny_options(3));
        Session session(choice, kind, model().program, model().program.chat(), model().tokenizer,
                        *model().generator);
        if (session.say("abc d")) generate(session);
    });
    all &= fuzz::answers([&] {
        choice.fork = "copy";
        const Session session(choice, std::nullopt, model().program, model().program.chat(),
                              model().tokenizer, *model().generator);
        static_cast<void>(session.messages().size());
    });
    return all;
}

struct Edited {
    const char* name;
    const char* key;
    std::vector<const char*> columns;
};

const std::vector<Edited> kTables{
    {"session",
     "id",
     {"id", "name", "kind", "model", "weights", "forward", "kv", "created", "changed", "revision"}},
    {"message", "session, n", {"session", "n", "role", "content"}},
    {"token", "session, position", {"session", "position", "token"}},
    {"answer",
     "session",
     {"session", "ending", "keep", "random", "predict", "context", "keep_option", "ignore_end",
      "temperature", "top_k", "top_p", "min_p", "repeat_penalty"}},
    {"answer_stop", "session, n", {"session", "n", "text"}},
    {"answer_token", "session, n", {"session", "n", "token"}},
    {"block", "id", {"id", "key", "checksums", "data"}},
    {"session_block", "session, n", {"session", "n", "block"}},
};

// Values that a program would not have written, some made of those that it has.
const std::vector<std::string> kValues{"NULL",
                                       "0",
                                       "-1",
                                       "1",
                                       "2",
                                       "49",
                                       "50",
                                       "2147483647",
                                       "2147483648",
                                       "9223372036854775807",
                                       "-9223372036854775808",
                                       "1e308",
                                       "-0.5",
                                       "9e999",
                                       "''",
                                       "'x'",
                                       "x''",
                                       "x'ff00'",
                                       "'chat'",
                                       "'user'",
                                       "'system'",
                                       "'assistant'",
                                       "'limit'",
                                       "char(10, 27)",
                                       "zeroblob(70000)",
                                       "CAST(x'c3' AS TEXT)",
                                       "{0} + 1",
                                       "-{0}",
                                       "substr({0}, 1, 3)",
                                       "substr({0}, 2)",
                                       "{0} || {0}",
                                       "CAST({0} AS TEXT)",
                                       "CAST({0} AS BLOB)"};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const auto file = folder().write("session.db", fuzz::text_of(data, size));
    std::filesystem::remove(folder() / "session.db-journal");
    model().forget();
    if (use(file)) ++fuzz::accepted;
    return 0;
}

// A value of a table is another one, or a row is gone: what flipping bits of a database finds by
// chance alone.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
    std::mt19937 random(seed);
    const auto below = [&](size_t bound) { return random() % bound; };
    if (below(4) == 0) return LLVMFuzzerMutate(data, size, most);
    const auto file = folder().write("edited.db", fuzz::text_of(data, size));
    const Edited& table = kTables[below(kTables.size())];
    const std::string column = table.columns[below(table.columns.size())];
    const std::string value = fmt::format(fmt::runtime(kValues[below(kValues.size())]), column);
    const std::string row = fmt::format("({}) = (SELECT {} FROM {} LIMIT 1 OFFSET {})", table.key,
                                        table.key, table.name, below(40));
    const std::string sql = below(8) == 0 ? fmt::format("DELETE FROM {} WHERE {}", table.name, row)
                                          : fmt::format("UPDATE OR IGNORE {} SET {} = {} WHERE {}",
                                                        table.name, column, value, row);
    sqlite3* db = nullptr;
    bool edited = sqlite3_open(file.c_str(), &db) == SQLITE_OK;
    for (const std::string& statement : {std::string("PRAGMA journal_mode = MEMORY"), sql})
        edited =
            edited && sqlite3_exec(db, statement.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK;
    edited = edited && sqlite3_changes(db) > 0;
    sqlite3_close(db);
    std::ifstream read(file, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(read), {}};
    if (!edited || bytes.size() > most) return LLVMFuzzerMutate(data, size, most);
    std::memcpy(data, bytes.data(), bytes.size());
    return bytes.size();
}
