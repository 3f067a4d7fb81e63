// SPDX-License-Identifier: MIT
// Makes one thing after another fail while an answer is generated into a session file, until there
// is nothing left to fail: writes, syncs, truncations, opens and deletes of its files, or
// allocations.
//
//   session_faults io|sqlite-memory|memory|open-sqlite-memory|open-memory PLAN DB FOLDER STRIDE
//
// Each failure must be an Error of one line or std::bad_alloc, or do no harm; afterwards the file
// must be whole, and what goes on from it must pick the tokens of an undisturbed run. The open-
// kinds do without a session and let opening the model fail too. Only every STRIDE-th point fails,
// so that a test can be short. Prints how many points failed.
// tests/end_to_end/test_session_faults.py runs it.
#include <sqlite3.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "common/error.h"
#include "runtime/generate/generator.h"
#include "runtime/program/program.h"
#include "runtime/session/session.h"
#include "runtime/text/tokenizer.h"

namespace {

// The fault: counts down, and is there when it comes to 0; from then on too, if it lasts.
std::atomic<int64_t> countdown{-1};
std::atomic<bool> lasts{false}, fired{false};
std::atomic<bool> in_new{false}, in_sqlite{false}, in_files{false};

bool fails_now() {
    if (fired && lasts) return true;
    if (countdown < 0 || --countdown != 0) return false;
    fired = true;
    return true;
}

void* allocate(std::size_t bytes, std::size_t alignment) {
    if (in_new && fails_now()) return nullptr;
    if (bytes == 0) bytes = 1;
    if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes);
    return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
    if (void* memory = allocate(bytes, alignment)) return memory;
    throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) {
    return allocate_or_throw(bytes, 0);
}
void* operator new[](std::size_t bytes) {
    return allocate_or_throw(bytes, 0);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
    return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return allocate(bytes, 0);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
    return allocate(bytes, 0);
}
// Not inlined: GCC 14 would find free() called for what new returned.
[[gnu::noinline]] void operator delete(void* memory) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}

namespace llmsql {
namespace {

// SQLite's allocator, failing.
sqlite3_mem_methods real_memory;

void wrap_sqlite_memory() {
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory);
    sqlite3_mem_methods methods = real_memory;
    methods.xMalloc = [](int bytes) -> void* {
        return in_sqlite && fails_now() ? nullptr : real_memory.xMalloc(bytes);
    };
    methods.xRealloc = [](void* memory, int bytes) -> void* {
        return in_sqlite && fails_now() ? nullptr : real_memory.xRealloc(memory, bytes);
    };
    sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
}

// SQLite's files, failing: those of the session, by their name.
struct File {
    sqlite3_file base;
    bool counts;
    sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

File* file_of(sqlite3_file* file) {
    return reinterpret_cast<File*>(file);
}

bool fails_now_at(sqlite3_file* file) {
    return in_files && file_of(file)->counts && fails_now();
}

bool is_of_session(const char* name) {
    return name && std::strstr(name, "session.db");
}

const sqlite3_io_methods kMethods = {
    1,
    [](sqlite3_file* file) {
        return file_of(file)->real()->pMethods->xClose(file_of(file)->real());
    },
    [](sqlite3_file* file, void* data, int bytes, sqlite3_int64 at) {
        if (fails_now_at(file)) return SQLITE_IOERR_READ;
        sqlite3_file* real = file_of(file)->real();
        return real->pMethods->xRead(real, data, bytes, at);
    },
    [](sqlite3_file* file, const void* data, int bytes, sqlite3_int64 at) {
        sqlite3_file* real = file_of(file)->real();
        if (!fails_now_at(file)) return real->pMethods->xWrite(real, data, bytes, at);
        // A full disk takes a part.
        real->pMethods->xWrite(real, data, bytes / 2, at);
        return SQLITE_FULL;
    },
    [](sqlite3_file* file, sqlite3_int64 size) {
        sqlite3_file* real = file_of(file)->real();
        return fails_now_at(file) ? SQLITE_IOERR_TRUNCATE : real->pMethods->xTruncate(real, size);
    },
    [](sqlite3_file* file, int flags) {
        sqlite3_file* real = file_of(file)->real();
        return fails_now_at(file) ? SQLITE_IOERR_FSYNC : real->pMethods->xSync(real, flags);
    },
    [](sqlite3_file* file, sqlite3_int64* size) {
        sqlite3_file* real = file_of(file)->real();
        return real->pMethods->xFileSize(real, size);
    },
    [](sqlite3_file* file, int level) {
        sqlite3_file* real = file_of(file)->real();
        return real->pMethods->xLock(real, level);
    },
    [](sqlite3_file* file, int level) {
        sqlite3_file* real = file_of(file)->real();
        return real->pMethods->xUnlock(real, level);
    },
    [](sqlite3_file* file, int* result) {
        sqlite3_file* real = file_of(file)->real();
        return real->pMethods->xCheckReservedLock(real, result);
    },
    [](sqlite3_file* file, int operation, void* argument) {
        sqlite3_file* real = file_of(file)->real();
        return real->pMethods->xFileControl(real, operation, argument);
    },
    [](sqlite3_file* file) {
        sqlite3_file* real = file_of(file)->real();
        return real->pMethods->xSectorSize(real);
    },
    [](sqlite3_file* file) {
        sqlite3_file* real = file_of(file)->real();
        return real->pMethods->xDeviceCharacteristics(real);
    },
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr};

sqlite3_vfs* real_vfs = nullptr;

void wrap_files() {
    real_vfs = sqlite3_vfs_find(nullptr);
    static sqlite3_vfs vfs = *real_vfs;
    vfs.zName = "failing";
    vfs.szOsFile = static_cast<int>(sizeof(File)) + real_vfs->szOsFile;
    vfs.xOpen = [](sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out) {
        File* self = file_of(file);
        std::memset(self, 0, sizeof *self);
        self->counts = is_of_session(name);
        if (fails_now_at(file)) return SQLITE_CANTOPEN;
        const int code = real_vfs->xOpen(real_vfs, name, self->real(), flags, out);
        if (self->real()->pMethods) self->base.pMethods = &kMethods;
        return code;
    };
    vfs.xDelete = [](sqlite3_vfs*, const char* name, int synchronise) {
        if (in_files && is_of_session(name) && fails_now()) return SQLITE_IOERR_DELETE;
        return real_vfs->xDelete(real_vfs, name, synchronise);
    };
    sqlite3_vfs_register(&vfs, 1);
}

struct Model {
    Model(const char* plan, const char* path)
        : db(path),
          program(plan, db, {.threads = 1}),
          tokenizer(db),
          generator(program, tokenizer, options(), [] { return false; }) {}

    static GenerateOptions options() {
        GenerateOptions options;
        options.predict = 70;
        options.ignore_end = true;
        options.keep = 8;
        options.seed = 11;
        options.stops = {"never this text"};
        return options;
    }

    ModelDb db;
    Program program;
    Tokenizer tokenizer;
    Generator generator;
};

const char* const kPrompt =
    "The river ran past the mill and the old bridge, where children fished in summer.";

/// What a fault may end in; "" where it did no harm. Anything else ends the test.
template<class Body>
std::string outcome(Body body) {
    try {
        body();
    } catch (const Error& error) {
        const std::string text = error.what();
        if (text.empty() || text.find('\n') != std::string::npos)
            throw std::logic_error("not one line: " + text);
        return text;
    } catch (const std::bad_alloc&) {
        return "out of memory";
    }
    return "";
}

SessionChoice choice_of(const std::filesystem::path& file) {
    SessionChoice choice;
    choice.file = file;
    choice.commit_every = 16;
    return choice;
}

/// Says the prompt, or goes on with its answer, to the end. The tokens of the answer.
std::vector<int32_t> run_session(Model& model, const std::filesystem::path& file) {
    model.generator.set_options(Model::options());
    Session session(choice_of(file), SessionKind::text, model.program, model.tokenizer,
                    model.generator);
    if (session.messages().empty())
        session.say(kPrompt);
    else if (session.unfinished())
        session.resume();
    else
        return {};  // whole
    while (session.next()) {
    }
    session.finish();
    return model.generator.answer();
}

/// The last answer's tokens, as the file has them; the file must be whole.
std::vector<int32_t> stored_answer(const std::filesystem::path& file) {
    sqlite3* raw = nullptr;
    if (sqlite3_open_v2(file.c_str(), &raw, SQLITE_OPEN_READWRITE, nullptr) != SQLITE_OK)
        throw std::logic_error("the file cannot be opened");
    const Connection db(raw);
    const Statement check = prepare(raw, "PRAGMA integrity_check", "test");
    if (!step(check.get(), "test") || column_text(check.get(), 0) != "ok")
        throw std::logic_error("integrity_check: " + column_text(check.get(), 0));
    const Statement answer = prepare(raw, "SELECT token FROM answer_token ORDER BY n", "test");
    std::vector<int32_t> tokens;
    while (step(answer.get(), "test")) tokens.push_back(sqlite3_column_int(answer.get(), 0));
    return tokens;
}

void arm(int64_t point, bool lasting) {
    fired = false;
    lasts = lasting;
    countdown = point;
}

void disarm() {
    countdown = -1;
    lasts = false;
}

/// Whether there was a point to fail at.
bool fail_in_session(Model& model, const std::filesystem::path& folder, int64_t point, bool lasting,
                     const std::vector<int32_t>& expected) {
    const std::filesystem::path file = folder / "session.db";
    std::filesystem::remove(file);
    std::filesystem::remove(file.string() + "-journal");
    model.generator.forget();
    arm(point, lasting);
    const std::string error = outcome([&] { run_session(model, file); });
    disarm();
    if (!fired && !error.empty()) throw std::logic_error("without a fault: " + error);
    model.generator.forget();
    const std::string again = outcome([&] { run_session(model, file); });
    if (!again.empty()) throw std::logic_error("afterwards: " + again + " (after: " + error + ")");
    if (stored_answer(file) != expected)
        throw std::logic_error("other tokens than an undisturbed run (after: " + error + ")");
    return fired;
}

bool fail_in_opening(const char* plan, const char* db, int64_t point,
                     const std::vector<int32_t>& expected) {
    std::vector<int32_t> answer;
    arm(point, false);
    const std::string error = outcome([&] {
        Model model(plan, db);
        model.generator.prefill(model.tokenizer.encode(kPrompt, true));
        while (model.generator.next()) {
        }
        answer = model.generator.answer();
    });
    disarm();
    if (!fired && !error.empty()) throw std::logic_error("without a fault: " + error);
    if (error.empty() && answer != expected)
        throw std::logic_error("other tokens than an undisturbed run");
    return fired;
}

int run(const std::string& kind, const char* plan, const char* db,
        const std::filesystem::path& folder, int64_t stride) {
    std::vector<int32_t> expected;
    Model model(plan, db);
    model.generator.prefill(model.tokenizer.encode(kPrompt, true));
    while (model.generator.next()) {
    }
    expected = model.generator.answer();
    in_files = kind == "io";
    in_sqlite = kind == "sqlite-memory" || kind == "open-sqlite-memory";
    in_new = kind == "memory" || kind == "open-memory";
    const bool opening = kind.starts_with("open-");
    int64_t points = 0;
    for (const bool lasting : {false, true}) {
        if (lasting && kind != "io") break;
        for (int64_t point = 1;; point += stride) {
            try {
                if (!(opening ? fail_in_opening(plan, db, point, expected)
                              : fail_in_session(model, folder, point, lasting, expected)))
                    break;
            } catch (const std::exception& error) {
                disarm();
                std::fprintf(stderr, "session_faults %s: point %lld%s: %s\n", kind.c_str(),
                             static_cast<long long>(point), lasting ? " and after" : "",
                             error.what());
                return 1;
            }
            ++points;
        }
    }
    std::printf("%lld\n", static_cast<long long>(points));
    return 0;
}

}  // namespace
}  // namespace llmsql

int main(int argc, char** argv) {
    if (argc != 6) {
        std::fprintf(stderr, "session_faults KIND PLAN DB FOLDER STRIDE\n");
        return 2;
    }
    llmsql::wrap_sqlite_memory();
    llmsql::wrap_files();
    try {
        return llmsql::run(argv[1], argv[2], argv[3], argv[4], std::atoll(argv[5]));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "session_faults: %s\n", error.what());
        return 1;
    }
}
