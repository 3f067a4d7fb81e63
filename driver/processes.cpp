// SPDX-License-Identifier: MIT
// fork, exec, wait. See processes.h.
#include "driver/processes.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "common/error.h"
#include "common/files.h"

namespace llmsql::driver {
namespace {

namespace fs = std::filesystem;

volatile sig_atomic_t child = 0, taken = 0;

/// A terminal sends its signals to the child too; those of a process are passed on.
void pass_on(int signal, siginfo_t* sent, void*) {
    taken = signal;
    const bool by_terminal = sent->si_code == SI_KERNEL && signal != SIGTERM && signal != SIGHUP;
    if (child > 0 && !by_terminal) ::kill(child, signal);
}

/// How signals are taken while a child runs; afterwards as before. They wait until it has been
/// started, so that none is lost between.
class ChildSignals {
  public:
    ChildSignals() {
        taken = 0;
        sigset_t ours;
        sigemptyset(&ours);
        for (const int signal : kSignals) sigaddset(&ours, signal);
        ::sigprocmask(SIG_BLOCK, &ours, &mask_);
        for (size_t i = 0; i < kSignals.size(); ++i) {
            struct sigaction now {};
            now.sa_sigaction = pass_on;
            now.sa_flags = SA_SIGINFO;
            ::sigaction(kSignals[i], nullptr, &before_[i]);
            if (before_[i].sa_handler != SIG_IGN) ::sigaction(kSignals[i], &now, nullptr);
        }
    }
    ChildSignals(const ChildSignals&) = delete;
    ChildSignals& operator=(const ChildSignals&) = delete;
    ~ChildSignals() { restore(); }

    void started() const { ::sigprocmask(SIG_SETMASK, &mask_, nullptr); }

    /// In the child too, which is async-signal-safe.
    void restore() const {
        for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
        started();
    }

  private:
    static constexpr std::array kSignals = {SIGINT, SIGQUIT, SIGTERM, SIGHUP};
    sigset_t mask_{};
    std::array<struct sigaction, kSignals.size()> before_{};
};

std::vector<char*> argv_of(const std::string& name, const std::vector<std::string>& arguments) {
    std::vector<char*> argv{const_cast<char*>(name.c_str())};
    for (const std::string& argument : arguments)
        argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    return argv;
}

struct Pipe {
    Descriptor reader, writer;
};

Pipe make_pipe(Channel channel) {
    if (channel == Channel::passed) return {Descriptor(), Descriptor()};
    if (channel == Channel::dropped)
        return {Descriptor(), Descriptor(::open("/dev/null", O_WRONLY | O_CLOEXEC))};
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) fail("a pipe: {}", std::strerror(errno));
    return {Descriptor(ends[0]), Descriptor(ends[1])};
}

void read_all(const Pipe& output, const Pipe& errors, Ended& ended) {
    std::array<pollfd, 2> watched = {pollfd{output.reader.get(), POLLIN, 0},
                                     pollfd{errors.reader.get(), POLLIN, 0}};
    while (watched[0].fd >= 0 || watched[1].fd >= 0) {
        if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) return;
        for (size_t i = 0; i < watched.size(); ++i) {
            if (watched[i].fd < 0 || watched[i].revents == 0) continue;
            char bytes[4096];
            const ssize_t count = ::read(watched[i].fd, bytes, sizeof bytes);
            if (count > 0)
                (i == 0 ? ended.output : ended.errors).append(bytes, static_cast<size_t>(count));
            else if (count == 0 || errno != EINTR)
                watched[i].fd = -1;
        }
    }
}

}  // namespace

fs::path program(const std::string& name) {
    std::error_code none;
    const fs::path self = fs::read_symlink("/proc/self/exe", none);
    const fs::path place = self.parent_path() / name;
    if (!none && fs::exists(place, none)) return place;
    fail("{}: is not there; llmsql is installed with {} beside it", place.string(), name);
}

Ended run_program(const std::string& name, const std::vector<std::string>& arguments,
                  Channel output, Channel errors) {
    const fs::path path = program(name);
    Pipe out = make_pipe(output), err = make_pipe(errors);
    const std::vector<char*> argv = argv_of(name, arguments);
    const pid_t parent = ::getpid();
    const ChildSignals signals;
    const pid_t pid = ::fork();
    if (pid < 0) fail("{}: cannot be started: {}", path.string(), std::strerror(errno));
    if (pid == 0) {
        signals.restore();
        std::signal(SIGXFSZ, SIG_DFL);
        ::prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (::getppid() != parent) ::_exit(1);  // killed between
        if (out.writer.get() >= 0) ::dup2(out.writer.get(), STDOUT_FILENO);
        if (err.writer.get() >= 0) ::dup2(err.writer.get(), STDERR_FILENO);
        ::execv(path.c_str(), argv.data());
        ::_exit(127);
    }
    child = pid;
    signals.started();
    out.writer = Descriptor();
    err.writer = Descriptor();
    Ended ended;
    read_all(out, err, ended);
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) fail("{}: {}", path.string(), std::strerror(errno));
    child = 0;
    ended.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    if (taken != 0 && ended.status == 0) ended.status = 128 + taken;  // too late for the child
    if (ended.status == 127) fail("{}: cannot be run", path.string());
    return ended;
}

void become_program(const std::string& name, const std::vector<std::string>& arguments) {
    const fs::path path = program(name);
    std::fflush(nullptr);
    std::signal(SIGXFSZ, SIG_DFL);  // main() ignores it, and what is ignored stays so
    ::execv(path.c_str(), argv_of(name, arguments).data());
    fail("{}: cannot be run: {}", path.string(), std::strerror(errno));
}

}  // namespace llmsql::driver
