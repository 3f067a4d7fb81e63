// SPDX-License-Identifier: MIT
// Makes one thing after another fail while something is done, until there is nothing left to fail:
//
//   faults SCENARIO memory|files|both [STRIDE [FIRST]]
//
// first once, then that and all that comes after it. A failure must be an Error of one line or
// std::bad_alloc, or do no harm; no file may be left open or lying about, what was there before
// must be whole, and the operation must succeed afterwards. Only every STRIDE-th point fails, so
// that a test can be short. Prints how many did. CONTRIBUTING.md, "Faults", says more.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <new>

#include "common/ending.h"
#include "common/error.h"
#include "tests/faults/memory.h"
#include "tests/faults/points.h"
#include "tests/faults/scenario.h"

namespace llmsql::faults {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kPatience = 120;  // seconds of one point: more counts as endless

const std::map<std::string, std::function<std::unique_ptr<Scenario>(const fs::path&)>> kScenarios{
    {"import-gguf", import_gguf},
    {"import-folder", import_folder},
    {"open-held", [](const fs::path& folder) { return open_model(folder, "held"); }},
    {"open-blob", [](const fs::path& folder) { return open_model(folder, "blob"); }},
    {"open-read", [](const fs::path& folder) { return open_model(folder, "read"); }},
    {"open-map", [](const fs::path& folder) { return open_model(folder, "map"); }},
    {"open-direct", [](const fs::path& folder) { return open_model(folder, "direct"); }},
    {"open-auto", [](const fs::path& folder) { return open_model(folder, "auto"); }},
    {"session-new", [](const fs::path& folder) { return keep_session(folder, false); }},
    {"session-begun", [](const fs::path& folder) { return keep_session(folder, true); }},
};

// Where the program ends without a word, this is what it was about.
char about[256] = "the first run";

void on_signal(int signal) {
    const char* what = signal == SIGALRM ? "does not end" : "ended the program";
    char text[400];
    const int length = std::snprintf(text, sizeof text, "faults: %s: %s\n", about, what);
    static_cast<void>(!::write(STDERR_FILENO, text, static_cast<size_t>(length)));
    ::signal(signal == SIGALRM ? SIGABRT : signal, SIG_DFL);
    ::raise(signal == SIGALRM ? SIGABRT : signal);
}

// A folder in memory, where there is such a file system: nothing here needs the disk.
class Folder {
  public:
    Folder() {
        const fs::path parent =
            fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path();
        std::string name = (parent / "llmsql-faults-XXXXXX").string();
        require(::mkdtemp(name.data()) != nullptr, "mkdtemp");
        path = name;
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
    fs::path path;
};

std::set<std::string> names_in(const fs::path& folder) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder))
        names.insert(entry.path().filename().string());
    return names;
}

size_t open_files() {
    const fs::directory_iterator files("/proc/self/fd");
    return static_cast<size_t>(std::distance(begin(files), end(files)));
}

/// What the operation ends in; "" if it succeeds. Anything but these ends the test.
std::string outcome(Scenario& scenario) {
    try {
        scenario.run();
    } catch (const Error& error) {
        const std::string text = error.what();
        require(!text.empty() && text.find('\n') == std::string::npos,
                "an error that is not one line: " + text);
        return text;
    } catch (const std::bad_alloc&) {
        return "out of memory";
    }
    return "";
}

struct Loop {
    Scenario& scenario;
    const fs::path& folder;
    unsigned kinds;
    std::set<std::string> names{};
    size_t files = 0;
    std::map<std::string, size_t> calls{};  // that failed, and how often

    /// What became of the operation.
    struct Struck {
        const char* call = nullptr;  // that failed
        bool kept = false;           // files that were to be removed
        std::string error;
    };

    void strike(long point, bool lasting, Struck& struck) {
        fault_arm(kinds, point, lasting ? 1 : 0);
        try {
            struck.error = outcome(scenario);
        } catch (...) {
            fault_disarm();
            throw;
        }
        fault_disarm();
        struck.call = fault_fired();
        struck.kept = fault_kept_files() != 0;
    }

    // In a process of its own, which may end.
    void strike_child(long point, bool lasting, Struck& struck) {
        constexpr int kNone = 50, kHarmless = 51, kError = 52, kWrong = 53;
        std::fflush(nullptr);
        const pid_t child = ::fork();
        require(child >= 0, "fork");
        if (child == 0) {
            end_well_without_memory("faults");
            std::freopen("/dev/null", "w", stderr);
            int status = kWrong;
            try {
                strike(point, lasting, struck);
                status = !struck.call ? kNone : struck.error.empty() ? kHarmless : kError;
            } catch (const std::exception&) {
            }
            std::_Exit(status);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        require(code == 1 || (code >= kNone && code <= kError),
                fmt::format("a child ends with {}", status));
        if (code != kNone)
            struck.call = code == 1 ? "an allocation in a destructor" : "an allocation";
        if (code == 1 || code == kError) struck.error = "out of memory";
    }

    /// Whether there was such a point.
    bool fails_at(long point, bool lasting) {
        scenario.prepare();
        ::alarm(kPatience);
        Struck struck;
        if ((kinds & FAULT_MEMORY) && scenario.may_end())
            strike_child(point, lasting, struck);
        else
            strike(point, lasting, struck);
        const char* call = struck.call;
        const bool kept = struck.kept;
        const std::string error = struck.error;
        try {
            require(call || error.empty(), "an error without a fault");
            for (const std::string& name : names_in(folder)) {
                if (names.contains(name) || scenario.may_leave(name)) continue;
                require(kept, name + " is left over");
                fs::remove(folder / name);  // it could not be
            }
            scenario.check(!error.empty());
            if (call) scenario.run_again();
            // What could not be closed has been now.
            require(open_files() == files, "a file is still open, or closed that was open");
        } catch (const std::exception& wrong) {
            throw std::logic_error(fmt::format("{} (it fails in {}: {})", wrong.what(),
                                               call ? call : "nothing",
                                               error.empty() ? "no error" : error));
        }
        if (call) ++calls[call];
        return call != nullptr;
    }
};

int run(const std::string& name, const std::string& kind, long stride, long first) {
    const Folder folder;
    const auto scenario = kScenarios.at(name)(folder.path);
    Loop loop{*scenario, folder.path,
              (kind == "files" ? 0u : FAULT_MEMORY) | (kind == "memory" ? 0u : FAULT_FILES)};
    // Once undisturbed, and once more: what is kept for good is then there.
    for (int i = 0; i < 2; ++i) {
        scenario->prepare();
        scenario->run();
        scenario->check(false);
    }
    loop.names = names_in(folder.path);
    loop.files = open_files();
    const auto start = std::chrono::steady_clock::now();
    long points = 0;
    for (const bool lasting : {false, true})
        for (long point = first;; point += stride) {
            std::snprintf(about, sizeof about, "%s, %s: point %ld%s", name.c_str(), kind.c_str(),
                          point, lasting ? " and all after it" : "");
            try {
                if (!loop.fails_at(point, lasting)) break;
            } catch (const std::exception& error) {
                std::fprintf(stderr, "faults: %s: %s\n", about, error.what());
                return 1;
            }
            ++points;
        }
    ::alarm(0);
    std::string calls;
    for (const auto& [call, count] : loop.calls) calls += fmt::format(" {}×{}", call, count);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    fmt::print("{}, {}: {} points, {:.1f} s:{}\n", name, kind, points, seconds.count(), calls);
    if (points > 0) return 0;
    std::fprintf(stderr, "faults: %s: there was nothing to fail\n", name.c_str());
    return 1;
}

}  // namespace
}  // namespace llmsql::faults

int main(int argc, char** argv) {
    using namespace llmsql::faults;
    if (argc < 3 || argc > 5 || !kScenarios.contains(argv[1])) {
        std::fprintf(stderr,
                     "usage: faults SCENARIO memory|files|both [STRIDE [FIRST]]; scenarios:");
        for (const auto& [name, make] : kScenarios) std::fprintf(stderr, " %s", name.c_str());
        std::fprintf(stderr, "\n");
        return 2;
    }
    for (const int signal : {SIGALRM, SIGABRT, SIGSEGV}) ::signal(signal, on_signal);
    prepare_memory();
    try {
        return run(argv[1], argv[2], argc > 3 ? std::atol(argv[3]) : 1,
                   argc > 4 ? std::atol(argv[4]) : 1);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "faults: %s: %s\n", about, error.what());
        return 1;
    }
}
