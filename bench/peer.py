# SPDX-License-Identifier: MIT
"""llama.cpp, the peer: fetched from PyPI and built, what its files hold, and what it says of a text."""

import pathlib
import re
import struct
import subprocess
import sys
import tarfile

import harness
from harness import fail, note

PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
FLAGS = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF",
         "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_BUILD_UI=OFF"]
# GCC 12 takes it that AMX's configuration is read in part, and does not write the rest: llama.cpp would end by an
# illegal instruction.
FLAGS_FOR_AMX = ["-DCMAKE_C_COMPILER=gcc", "-DCMAKE_CXX_COMPILER=g++", "-DCMAKE_CXX_FLAGS=-fno-dse -fno-tree-dse"]
PROGRAMS = ["llama-bench", "llama-completion", "llama-perplexity", "llama-quantize"]


def programs(cache):
    """The folder of llama.cpp's programs in `cache`, built there if it is not yet."""
    amx = FLAGS_FOR_AMX if "amx_int8" in pathlib.Path("/proc/cpuinfo").read_text() else []
    build = cache / f"llama.cpp-{VERSION}{'-amx' if amx else ''}"
    if all((build / "bin" / name).is_file() for name in PROGRAMS):
        return build / "bin"
    cache.mkdir(parents=True, exist_ok=True)
    source = fetched(cache)
    note(f"building {build} (some minutes) …")
    must(["cmake", "-S", source / "vendor/llama.cpp", "-B", build, "-G", "Ninja", *FLAGS, *amx])
    must(["cmake", "--build", build, "--parallel", "--target", *PROGRAMS])
    return build / "bin"


def fetched(cache):
    name = f"{PACKAGE.replace('-', '_')}-{VERSION}"
    archive, source = cache / f"{name}.tar.gz", cache / name
    if not archive.is_file():
        note(f"fetching {archive.name} …")
        must([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
              "--no-deps", f"--no-binary={PACKAGE}", "--dest", cache, f"{PACKAGE}=={VERSION}"])
    if not (source / "vendor/llama.cpp/CMakeLists.txt").is_file():
        try:
            with tarfile.open(archive) as content:
                content.extractall(cache)
        except tarfile.TarError as error:
            fail(f"{archive} is damaged ({error}): remove it")
    return source


def must(command):
    """Runs a command that is not measured; what it says goes to standard error."""
    command = [str(part) for part in command]
    try:
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode
    except FileNotFoundError:
        fail(f"{command[0]} is needed to build llama.cpp; or say where it is with --llama")
    if code != 0:
        fail(f"this failed: {' '.join(command)}")


# ---------------------------------------------------------------------------------------------
# What a GGUF holds

TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 12: "Q4_K",
         13: "Q5_K", 14: "Q6_K", 30: "BF16"}
VALUE_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9


def content_of(gguf):
    """{"head": the type of the matrix that makes logits, "bytes": what a pass reads of all tensors}."""
    kinds, sizes = {}, {}
    for name, kind, size in tensors(gguf):
        kinds[name], sizes[name] = TYPES.get(kind, f"type {kind}"), size
    if "token_embd.weight" not in kinds:
        fail(f"{gguf} holds no tensor token_embd.weight")
    tied = "output.weight" not in kinds
    head = "token_embd.weight" if tied else "output.weight"
    rest = 0 if tied else sizes["token_embd.weight"]  # of the embeddings, a pass reads single rows
    return {"head": kinds[head].lower(), "bytes": sum(sizes.values()) - rest}


def tensors(gguf):
    """(name, type, bytes) of each tensor of a GGUF file, from its header; bytes with padding."""
    with open(gguf, "rb") as file:
        def number(code):
            return struct.unpack("<" + code, file.read(struct.calcsize(code)))[0]

        def string():
            return file.read(number("Q")).decode()

        def skip(kind):
            if kind == STRING:
                file.seek(number("Q"), 1)
            elif kind == ARRAY:
                kind, count = number("I"), number("Q")
                if kind in VALUE_BYTES:
                    file.seek(count * VALUE_BYTES[kind], 1)
                else:
                    for _ in range(count):
                        skip(kind)
            else:
                file.seek(VALUE_BYTES[kind], 1)

        if file.read(4) != b"GGUF":
            fail(f"{gguf} is no GGUF file")
        number("I")  # the version
        count, values = number("Q"), number("Q")
        alignment = 32
        for _ in range(values):
            key, kind = string(), number("I")
            if key == "general.alignment":
                alignment = number("I")
            else:
                skip(kind)
        found = []
        for _ in range(count):
            name = string()
            file.seek(8 * number("I"), 1)
            kind, offset = number("I"), number("Q")
            found.append((offset, name, kind))
        data = -(-file.tell() // alignment) * alignment
    found.sort()
    ends = [offset for offset, _, _ in found[1:]] + [gguf.stat().st_size - data]
    return [(name, kind, end - offset) for (offset, name, kind), end in zip(found, ends)]


# ---------------------------------------------------------------------------------------------
# What it says of a text

def perplexity(options, gguf, text):
    """Of a text, in windows of 512; kept, as neither file nor program changes."""
    def make(path):
        result = harness.run([options.llama / "llama-perplexity", "-m", gguf, "-f", text, "-c", 512,
                              "-t", options.threads])
        said = re.search(r"Final estimate: PPL = ([\d.]+)", result["out"] + result["err"])
        path.write_text(said[1] if said else fail("llama-perplexity printed no 'Final estimate'"))
    source = {"gguf": harness.identity(gguf), "text": text.read_text(), "llama": str(options.llama)}
    return float(harness.kept(gguf.with_suffix(".perplexity"), source, make).read_text())


def completion(options, gguf, prompt, tokens, context):
    """The command that goes on with a prompt as llmsql-run does, and prints what comes after it."""
    return [options.llama / "llama-completion", "-m", gguf, "-p", prompt, "-n", tokens, "-c", context,
            "-t", options.threads, "-no-cnv", "--no-warmup", "--no-display-prompt", "--ignore-eos",
            "--temp", 0]
