// SPDX-License-Identifier: MIT
// Runs a fuzz target without libFuzzer, so that any compiler will do: first every file of the
// corpus, then mutations of them until the time is over. It is blind to coverage; what it is for is
// CI. It takes libFuzzer's arguments of the same names:
//
//   gguf_fuzz [-max_total_time=SECONDS] [-seed=N] [-max_len=BYTES] FILE_OR_FOLDER…
//
// The input at which the program dies is left in crash-TARGET in the working folder.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <exception>
#include <iterator>
#include <random>
#include <vector>

#include "tests/fuzz/fuzz.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed)
    __attribute__((weak));

namespace {

using Input = std::vector<uint8_t>;

constexpr unsigned kLongest = 60;  // seconds of one input: more counts as endless

std::string crash_file;
const Input* running = nullptr;
std::mt19937 generator;
std::vector<Input> corpus;

void keep_input() {
    if (!running) return;
    const int file = ::open(crash_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0) return;
    const ssize_t written = ::write(file, running->data(), running->size());
    ::close(file);
    std::fprintf(stderr, "the input is in %s (%zd bytes)\n", crash_file.c_str(), written);
    running = nullptr;
}

void on_signal(int signal) {
    std::fprintf(stderr, "finding: %s\n",
                 signal == SIGALRM ? "an input that does not end" : "the program was aborted");
    keep_input();
    ::_exit(1);
}

void run(const Input& input) {
    running = &input;
    ::alarm(kLongest);
    LLVMFuzzerTestOneInput(input.data(), input.size());
    ::alarm(0);
    running = nullptr;
}

size_t below(size_t bound) {
    return std::uniform_int_distribution<size_t>(0, bound - 1)(generator);
}

void read_inputs(const std::filesystem::path& path) {
    if (std::filesystem::is_directory(path)) {
        std::vector<std::filesystem::path> files;
        for (const auto& entry : std::filesystem::directory_iterator(path))
            files.push_back(entry.path());
        std::ranges::sort(files);
        for (const auto& file : files) read_inputs(file);
        return;
    }
    std::ifstream file(path, std::ios::binary);
    if (!file) llmsql::fail("{}: cannot be read", path.string());
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

}  // namespace

// One change to `data`, which may grow to `most` bytes; its new size.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most) {
    if (size == 0) {
        if (most > 0) data[0] = static_cast<uint8_t>(below(256));
        return std::min<size_t>(most, 1);
    }
    const size_t at = below(size);
    const size_t left = size - at;
    switch (below(7)) {
        case 0:
            data[at] ^= static_cast<uint8_t>(1u << below(8));
            return size;
        case 1:
            data[at] = static_cast<uint8_t>(below(256));
            return size;
        case 2: {  // a number where limits lie
            static constexpr std::array<uint64_t, 10> kNumbers{0,
                                                               1,
                                                               0x7f,
                                                               0xffff,
                                                               0x7fffffff,
                                                               0xffffffff,
                                                               1 << 16,
                                                               ~uint64_t{0},
                                                               ~uint64_t{0} >> 1,
                                                               uint64_t{1} << 40};
            const size_t bytes = std::min(left, size_t{1} << below(4));
            const uint64_t number = kNumbers[below(kNumbers.size())] + below(3) - 1;
            std::memcpy(data + at, &number, bytes);
            return size;
        }
        case 3: {  // cut
            const size_t bytes = 1 + below(std::min<size_t>(left, 64));
            std::memmove(data + at, data + at + bytes, left - bytes);
            return size - bytes;
        }
        case 4: {  // repeat
            const size_t bytes = std::min(1 + below(std::min<size_t>(left, 64)), most - size);
            std::memmove(data + at + bytes, data + at, left);
            return size + bytes;
        }
        case 5: {  // a piece of another input
            const Input& other = corpus[below(corpus.size())];
            if (other.empty()) return size;
            const size_t from = below(other.size());
            const size_t bytes = std::min({1 + below(128), other.size() - from, left});
            std::memcpy(data + at, other.data() + from, bytes);
            return size;
        }
        default: {  // a piece of itself
            const size_t from = below(size);
            const size_t bytes = std::min({1 + below(64), size - from, left});
            std::memmove(data + at, data + from, bytes);
            return size;
        }
    }
}

int main(int argc, char** argv) {
    crash_file = "crash-" + std::filesystem::path(argv[0]).filename().string();
    double seconds = 0;
    unsigned seed = std::random_device()();
    size_t most = 64 << 10;
    try {
        for (int i = 1; i < argc; ++i) {
            const std::string argument = argv[i];
            const auto value = [&] { return std::stoul(argument.substr(argument.find('=') + 1)); };
            if (argument.starts_with("-max_total_time="))
                seconds = static_cast<double>(value());
            else if (argument.starts_with("-seed="))
                seed = static_cast<unsigned>(value());
            else if (argument.starts_with("-max_len="))
                most = value();
            else
                read_inputs(argument);
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
        return 1;
    }
    if (corpus.empty()) {
        std::fprintf(stderr, "%s: name a corpus\n", argv[0]);
        return 1;
    }
    generator.seed(seed);
    std::signal(SIGALRM, on_signal);
    std::signal(SIGABRT, on_signal);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_set_death_callback(keep_input);
#endif

    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    const auto since = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
    for (const Input& input : corpus) run(input);
    if (llmsql::fuzz::accepted == 0) {
        std::fprintf(stderr, "no input of the corpus is accepted any more: renew it\n");
        return 1;
    }
    uint64_t runs = corpus.size();
    Input input;
    for (; since() < seconds; ++runs) {
        const Input& chosen = corpus[below(corpus.size())];
        const size_t room = std::max(most, chosen.size());
        input.assign(chosen.begin(), chosen.end());
        size_t size = input.size();
        input.resize(room);
        for (size_t changes = size_t{1} << below(5); changes > 0; --changes)
            size = LLVMFuzzerCustomMutator && below(4) > 0
                       ? LLVMFuzzerCustomMutator(input.data(), size, room,
                                                 static_cast<unsigned>(generator()))
                       : LLVMFuzzerMutate(input.data(), size, room);
        input.resize(size);
        input.shrink_to_fit();  // so that what is read past its end is noticed
        run(input);
    }
    std::printf("%llu inputs, %llu accepted, %.1f s, seed %u\n",
                static_cast<unsigned long long>(runs),
                static_cast<unsigned long long>(llmsql::fuzz::accepted), since(), seed);
    return 0;
}
