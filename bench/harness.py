# SPDX-License-Identifier: MIT
"""What the measurements of bench/ share: making databases, plans and llama.cpp's files, running a
program once with its peak memory and device bytes, and reading what it prints."""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MIB = 1 << 20
UNITS = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
SIZE = r"([\d.]+) (bytes|[kMGT]B)"


class BenchError(Exception):
    """What went wrong, in one line for the user."""


def fail(message):
    raise BenchError(message)


def main(body):
    """Runs a script's body; an error is one line and exit code 1."""
    program = pathlib.Path(sys.argv[0]).name
    for number in (signal.SIGTERM, signal.SIGHUP):  # so that `finally` still cleans up
        signal.signal(number, lambda got, _: sys.exit(128 + got))
    try:
        body()
    except BenchError as error:
        sys.exit(f"{program}: {error}")
    except OSError as error:
        sys.exit(f"{program}: {error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit(130)


def want_quiet():
    """Says so if others compute here: it slows programs down unequally, those most whose threads
    wait for each other spinning. Returns the load."""
    load = os.getloadavg()[0]
    if load > 0.5:
        note(f"the machine is not quiet (load {load:.1f}): ratios are not to be trusted")
    return load


def note(message):
    print(message, file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------
# Options

def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def mebibytes(text):
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is no number of MiB")
    return value


def listed(kind):
    def parse(text):
        return [kind(part) for part in text.split(",")]
    parse.__name__ = "comma-separated list"
    return parse


def weight_type(text):
    if not re.fullmatch(r"q8|q4|f16|f32", text):
        raise argparse.ArgumentTypeError(f"{text} is none of q8, q4, f16, f32")
    return text


def parser(description, runs):
    """The options that both measurements take."""
    result = argparse.ArgumentParser(description=description)
    add = result.add_argument
    add("--model", type=pathlib.Path, required=True, help="the model file (models/*.toml)")
    add("--gguf", type=pathlib.Path, required=True, help="its weights (scripts/fetch-models)")
    add("--weights", type=listed(weight_type), default="q8,q4",
        help='how "*" of the model file is stored, one database each (%(default)s)')
    add("--runs", type=positive, default=runs, help="rounds; medians are taken over them (%(default)s)")
    add("--tokens", type=positive, default=64, help="tokens to decode (%(default)s)")
    add("--context", type=positive, default=1024, help="context of the plans (%(default)s)")
    add("--threads", type=positive, default=2, help="threads of each program (%(default)s)")
    add("--prompt", default="Once upon a time", help="the prompt (%(default)s)")
    add("--io", help="how llmsql-run reads weights (its --io); without it, as it likes")
    add("--bin", type=pathlib.Path, default=ROOT / "build/bin",
        help="where llmsqlc and its like are (build/bin)")
    add("--llama", type=pathlib.Path,
        help="where llama-bench and llama-quantize are, to measure llama.cpp's Q8_0 too")
    add("--cache", type=pathlib.Path, default=ROOT / "downloads/bench",
        help="where what takes long to make is kept (downloads/bench)")
    add("--out", type=pathlib.Path, help="write all figures here as JSON")
    return result


# ---------------------------------------------------------------------------------------------
# Running a program

def run(command, enter_group=None, allow_failure=False):
    """Runs `command` to its end. Its peak memory and what it read from devices come from the kernel,
    not from the program. `enter_group`: called in the child before it becomes the program."""
    command = [str(part) for part in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                     preexec_fn=enter_group)
        except FileNotFoundError:
            fail(f"{command[0]} is not there: build it, or say where with --bin or --llama")
        except subprocess.SubprocessError:
            fail(f"{command[0]} could not be moved into the memory group")
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
        child.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    result = {"code": child.returncode, "out": texts[0], "err": texts[1],
              "rss": usage.ru_maxrss * 1024, "device_bytes": usage.ru_inblock * 512}
    if child.returncode != 0 and not allow_failure:
        fail(f"{' '.join(command)}: {last_words(result)}")
    return result


def last_words(result):
    if result["code"] < 0:
        name = signal.Signals(-result["code"]).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    lines = [line for line in result["err"].splitlines() if line.strip()]
    error = [line for line in lines if line.startswith("llmsql")] or lines[-1:]
    return error[0] if error else f"exit code {result['code']}"


def llmsql_run(options, plan, database, tokens, prompt=None, extra=(), **how):
    """One run of llmsql-run: adds tokens per second, and the peak memory as it says itself. `prompt`:
    a file, instead of options.prompt."""
    command = [options.bin / "llmsql-run", plan, database,
               *(["-f", prompt] if prompt else ["-p", options.prompt]), "-n", tokens,
               "--ignore-eos", "--temp", 0, "--drafts", 0, "-t", options.threads, *extra]
    result = run(command + (["--io", options.io] if options.io else []), **how)
    prefill = re.search(r"^prefill: (\d+) tokens?, ([\d.]+) tok/s", result["err"], re.M)
    line = re.search(r"^decode: (\d+) tokens?, (?:([\d.]+) tok/s.*)?peak RSS ([\d.]+) MiB", result["err"], re.M)
    if not line or not prefill:
        fail(f"llmsql-run printed no line 'decode: …, peak RSS …': {last_words(result)}")
    if int(line[1]) != tokens:
        fail(f"llmsql-run decoded {line[1]} tokens instead of {tokens}: is --context too small?")
    return result | {"rate": float(line[2] or 0), "own_rss": float(line[3]) * 2**20,
                     "prompt_tokens": int(prefill[1]), "prefill_rate": float(prefill[2])}


def timing(result):
    """What llmsql-run --profile=passes said of decoding: milliseconds a pass in all and by part, and counts."""
    head = re.search(r"^timing of decode: .*a pass: ([\d.]+) ms, (\d+) statements, (\d+) jobs\n"
                     r"((?:  .*\n)+)", result["err"], re.M)
    if not head:
        fail("llmsql-run --profile=passes printed no block 'timing of decode: …'")
    parts = re.findall(r"^  (\S.*?) +([\d.]+) ms", head[4], re.M)
    return {"pass": float(head[1]), "statements": int(head[2]), "shared": int(head[3]),
            "parts": {name: float(value) for name, value in parts}}


def llama_run(options, gguf, tokens, mapped=False, **how):
    """One run of llama-bench, decoding only. `mapped`: by mmap, used in place."""
    extra = []
    if mapped:  # the option's name depends on the version
        words = run([options.llama / "llama-bench", "--help"])["out"]
        extra = ["-lm", "mmap"] if "--load-mode" in words else ["-mmp", 1]
        extra += ["--repack", 0] if "--repack" in words else []
    return llama_bench(options, gguf, ["-p", 0, "-n", tokens, *extra], **how)


def llama_bench(options, gguf, arguments, **how):
    """One run of llama-bench, of one test: adds tokens per second."""
    bench = options.llama / "llama-bench"
    result = run([bench, "-m", gguf, "-t", options.threads, "-r", 1, "-o", "json", *arguments], **how)
    try:
        rate = float(json.loads(result["out"])[0]["avg_ts"])
    except (ValueError, LookupError, TypeError):
        fail(f"{bench} printed no JSON with avg_ts")
    return result | {"rate": rate}


# ---------------------------------------------------------------------------------------------
# What is run: models, databases, plans. Whatever takes long is kept in the cache folder.

def kept(target, source, make):
    """Makes `target` with make(path) unless it is there and was made of the same `source`."""
    stamp = pathlib.Path(f"{target}.json")
    wanted = json.dumps(source, indent=1)
    if target.is_file() and stamp.is_file() and stamp.read_text() == wanted:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    note(f"making {target} …")
    part = target.with_name("part-" + target.name)
    try:
        part.unlink(missing_ok=True)
        make(part)
        part.replace(target)
        stamp.write_text(wanted)
    finally:
        part.unlink(missing_ok=True)
    return target


def identity(file):
    if not file.is_file():
        fail(f"{file} is not there (scripts/fetch-models fetches models)")
    status = file.stat()
    return {"file": file.name, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def model_file(options, weights, folder, head=None):
    """A copy of the model file in `folder`, with "*" stored as `weights`; other patterns stay, but for
    those of embeddings and head, if `head` says how these are stored."""
    text, name = options.model.read_text(), f"{options.model.stem}-{weights}"
    line = f'"*" = "{weights}"'
    if head and head != weights:
        own_head = re.search(r'(?m)^present\s*=.*"output"', text)
        text = re.sub(r'(?m)^(token_embd|output)\s*=\s*"\w+"\n', "", text)
        line = f'token_embd = "{head}"\n' + (f'output = "{head}"\n' if own_head else "") + line
        name += f"-head-{head}"
    text, count = re.subn(r'(?m)^"\*"\s*=\s*"\w+"', line, text)
    if count != 1:
        fail(f'{options.model}: a line like "*" = "q8" was expected once, found {count} times')
    copy = folder / f"{name}.toml"
    copy.write_text(text)
    return copy


def database(options, model):
    def make(path):
        run([options.bin / "llmsql-import", options.gguf, "--model", model, "-o", path,
             "--graph-dir", graph_dir(options)])
    source = {"gguf": identity(options.gguf), "model": model.read_text()}
    return kept(options.cache / f"{model.stem}.db", source, make)


def imported(options, gguf, weights="auto"):
    """The database that importing makes of a GGUF, by default as it does without any option, and its
    model file."""
    program = options.bin / "llmsql-import"
    source = {"gguf": identity(gguf), "import": run([program, "--version"])["out"],
              "program": identity(program)}
    name = f"{gguf.stem}.published" if weights == "auto" else f"{gguf.stem}.{weights}"
    model = options.cache / f"{name}.toml"

    def make(path):
        model.unlink(missing_ok=True)
        run([program, gguf, "-o", path, "--write-model", model, "--weights", weights,
             "--graph-dir", ROOT / "graphs"])
    return kept(options.cache / f"{name}.db", source, make), model


def llama_gguf(options, kind="Q8_0", head=None):
    """llama.cpp's file of the same GGUF. `head`: the type of embeddings and head, if another."""
    name, source, extra = f"{options.model.stem}-llama-{kind.lower()}", {"gguf": identity(options.gguf)}, []
    if head and head != kind:
        name, source = f"{name}-head-{head.lower()}", source | {"head": head}
        extra = ["--token-embedding-type", head.lower(), "--output-tensor-type", head.lower()]

    def make(path):
        run([options.llama / "llama-quantize", "--allow-requantize", *extra, options.gguf, path, kind])
    return kept(options.cache / f"{name}.gguf", source, make)


def content_of(database):
    """{"head": the type of the matrix that makes logits, "bytes": what a pass reads of all parameters}."""
    with contextlib.closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT p.name, p.type, sum(length(t.data)) FROM llm_param p "
                          "JOIN llm_tile t ON t.param = p.id GROUP BY p.id").fetchall()
    kinds, sizes = {row[0]: row[1] for row in rows}, {row[0]: row[2] for row in rows}
    tied = "output" not in kinds
    rest = 0 if tied else sizes["token_embd"]  # of the embeddings, a pass reads single rows
    return {"head": kinds["token_embd" if tied else "output"], "bytes": sum(sizes.values()) - rest}


def graph_dir(options):
    return options.model.resolve().parent.parent / "graphs"


def compile_plan(options, model, budget, path, *extra):
    """Writes the plan for `budget` MiB (None: unbounded) to `path`. Returns the bytes that its header
    says a pass reads and the least that any could; {"refused": …} if the budget is too small."""
    command = [options.bin / "llmsqlc", model, "-o", path, "--context", options.context,
               "--graph-dir", graph_dir(options), *extra]
    if budget is not None:
        command += ["--budget", f"{budget:g}MiB", "--threads", options.threads]
    result = run(command, allow_failure=True)
    if result["code"] != 0:
        smallest = smallest_in(result)
        return {"refused": smallest} if smallest else fail(f"llmsqlc: {last_words(result)}")
    if budget is None:
        return {"read_per_pass": 0, "bound": 0}
    with open(path, encoding="utf-8") as plan:
        header = [plan.readline() for _ in range(2)][1]
    read = re.search(rf"read per pass {SIZE} \((?:optimum|at least) {SIZE}\)", header)
    if not read:
        fail(f"the plan's second line has no 'read per pass …': {header.strip()}")
    return {"read_per_pass": float(read[1]) * UNITS[read[2]], "bound": float(read[3]) * UNITS[read[4]]}


def smallest_budget(options, model):
    """The smallest budget in MiB that llmsqlc accepts for a model file."""
    with tempfile.TemporaryDirectory() as folder:
        result = run([options.bin / "llmsqlc", model, "-o", pathlib.Path(folder) / "plan.sql",
                      "--budget", "1MiB", "--context", options.context,
                      "--threads", options.threads], allow_failure=True)
    return smallest_in(result) or fail(f"llmsqlc named no smallest budget: {last_words(result)}")


def smallest_in(result):
    """Of an error of llmsqlc: the budget that it names as the smallest, in MiB."""
    named = re.search(r"smallest that works is ([\d.]+) ([MG])iB", result["err"])
    return named and float(named[1]) * (1 if named[2] == "M" else 1024)


# ---------------------------------------------------------------------------------------------
# Figures

def median(values):
    return statistics.median(values)


def ratio(rates, others):
    """The median of the rounds' ratios: drift from round to round falls out."""
    return median([a / b for a, b in zip(rates, others)])


def table(head, rows):
    """Markdown, the first column left, the others right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(load):
    """Where the figures come from; `load`: of want_quiet(), before the measurement."""
    cpu = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cpu[1] if cpu else platform.machine(), "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(memory / 2**30, 1), "kernel": platform.release(), "load": load,
            "date": datetime.date.today().isoformat()}


def settings(options):
    return {"model": options.model.stem, "gguf": options.gguf.name, "prompt": options.prompt,
            "tokens": options.tokens, "context": options.context, "threads": options.threads,
            "runs": options.runs, "io": options.io}


def connected(library, database, plan, threads):
    """A connection of SQLite's with the extension and a model loaded."""
    db = sqlite3.connect(":memory:", check_same_thread=False)
    db.enable_load_extension(True)
    db.load_extension(str(library))
    db.execute("SELECT llm_load(?, ?, ?)", (str(database), str(plan), json.dumps({"threads": int(threads)})))
    return db


def write_json(path, data):
    if path:
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def scratch():
    with tempfile.TemporaryDirectory(prefix="llmsql-bench-") as folder:
        yield pathlib.Path(folder)
