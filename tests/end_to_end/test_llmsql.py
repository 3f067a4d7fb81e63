#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""llmsql, one command: a model from the file as published to its text, by way of the cache. Which programs it
starts is seen by wrappers that note each call, and wait where a test says so."""

import fcntl
import os
import pathlib
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
import unittest

from programs import FIXTURES, SOURCE, TemporaryFolder, compile_model, import_gguf

from hf_folder import write_tiny

PROGRAMS = {"llmsql-import": "LLMSQL_IMPORT", "llmsqlc": "LLMSQLC", "llmsql-run": "LLMSQL_RUN"}
TEXT = ("-p", "The river", "-n", 8, "--temp", 0)
MIB = 1 << 20

# A call is noted by its name and arguments; where a file NAME.hold lies in the folder, it waits until that is gone.
# One that only looks at options is passed on.
WRAPPER = """#!/bin/sh
case " $* " in *" --check-options "*) exec "{program}" "$@";; esac
echo "{name} $*" >>"{folder}/calls"
while [ -e "{folder}/{name}.hold" ]; do sleep 0.02; done
if [ -e "{folder}/{name}.fails" ]; then cat "{folder}/{name}.fails" >&2; exit 1; fi
exec "{program}" "$@"
"""


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("nothing came of waiting")
        time.sleep(0.01)


class OneCommand(TemporaryFolder):
    def setUp(self):
        super().setUp()
        (self.folder / "bin").mkdir()
        self.llmsql = self.folder / "bin" / "llmsql"
        shutil.copy(os.environ["LLMSQL_COMMAND"], self.llmsql)
        for name, variable in PROGRAMS.items():
            wrapper = self.folder / "bin" / name
            wrapper.write_text(WRAPPER.format(name=name, folder=self.folder, program=os.environ[variable]))
            wrapper.chmod(0o755)
        self.gguf = self.folder / "tiny.gguf"
        shutil.copy(FIXTURES / "tiny-llama.gguf", self.gguf)
        self.cache = self.folder / "cache" / "llmsql"
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder),
                            "XDG_CACHE_HOME": str(self.folder / "cache")}
        self.machine(free=4096 * MIB)

    def machine(self, free, cgroup=None, root="machine"):
        """What the commands from here on find in /proc and /sys."""
        tree = self.folder / root
        shutil.rmtree(tree, ignore_errors=True)
        files = {"proc/meminfo": f"MemTotal: 9999999 kB\nMemAvailable: {free // 1024} kB\n", **(cgroup or {})}
        for name, text in files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(text)
        self.environment["LLMSQL_SYSTEM_ROOT"] = str(tree)

    def start(self, *arguments, **options):
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen([self.llmsql, *map(str, arguments)], env=self.environment, cwd=self.folder,
                                text=True, **options)

    def attempt(self, *arguments, **options):
        """(status, stdout, stderr)"""
        given = options.pop("input", None)
        if given is not None:
            options["stdin"] = subprocess.PIPE
        process = self.start(*arguments, **options)
        out, err = process.communicate(given, timeout=120)
        return process.returncode, out, err

    def succeed(self, *arguments, **options):
        status, out, err = self.attempt(*arguments, **options)
        self.assertEqual(status, 0, err)
        return out, err

    def refused(self, *arguments, status=1, **options):
        """The one line that says why."""
        got, out, err = self.attempt(*arguments, **options)
        self.assertEqual((got, out), (status, ""), err)
        self.assertRegex(err, r"\A[^\n]+\n\Z")
        return err

    def calls(self):
        """What has been called since this was asked last: imports, dry ones apart."""
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [line.split()[0] + (" --dry-run" if " --dry-run " in line else " --emit=memory"
                                   if "--emit=memory" in line else "") for line in lines]

    def entries(self):
        return [path for path in self.cache.iterdir() if len(path.name) == 32] if self.cache.exists() else []

    def expect_nothing_half_made(self):
        """After any command, the cache has whole entries alone."""
        for path in self.cache.iterdir() if self.cache.exists() else ():
            self.assertFalse(path.name.endswith(".new"), list(path.iterdir()) if path.is_dir() else path)
        for entry in self.entries():
            self.assertFalse((entry / "making").exists())
            subprocess.run([os.environ["LLMSQL_RUN"], entry / "model.db", "--verify"], check=True,
                           capture_output=True)


class Run(OneCommand):
    def test_the_second_time_nothing_is_imported_or_compiled(self):
        db, toml = import_gguf(self.gguf, "llama", "auto", self.folder)
        plan = compile_model(toml, self.folder / "own.sql")
        expected = subprocess.run([os.environ["LLMSQL_RUN"], plan, db, *map(str, TEXT)], capture_output=True,
                                  text=True, check=True).stdout
        out, err = self.succeed("run", self.gguf, *TEXT)
        self.assertEqual(out, expected)
        self.assertRegex(err, rf"\Allmsql: importing {self.gguf}: the copy takes about [\d.]+ [KM]iB in {self.cache}, "
                              r"where [\d.]+ .iB are free\n")
        self.assertRegex(err, r"\nllmsql: the run takes up to [\d.]+ MiB of memory at a context of \d+ "
                              r"\(4096.0 MiB are free\)\n")
        self.assertEqual(self.calls(), ["llmsql-import --dry-run", "llmsql-import", "llmsqlc --emit=memory", "llmsqlc",
                                        "llmsql-run"])
        (entry,) = self.entries()
        before = {path: path.stat().st_mtime_ns for path in entry.iterdir() if path.name != "used"}
        out, err = self.succeed("run", *TEXT, self.gguf)
        self.assertEqual(out, expected)
        self.assertNotIn("importing", err)
        self.assertEqual(self.calls(), ["llmsql-run"])
        self.assertEqual({path: path.stat().st_mtime_ns for path in entry.iterdir() if path.name != "used"}, before)
        # By another way to the same file, too.
        (self.folder / "link.gguf").symlink_to(self.gguf)
        self.succeed("run", "link.gguf", *TEXT)
        self.assertEqual(self.calls(), ["llmsql-run"])

    def test_options_make_others(self):
        self.succeed("run", self.gguf, *TEXT)
        self.calls()
        compiled = ["llmsqlc --emit=memory", "llmsqlc", "llmsql-run"]
        for options in (("-c", 64), ("--kv", "q8"), ("--sequences=2",)):
            self.succeed("run", self.gguf, *options, *TEXT)
            self.assertEqual(self.calls(), compiled, options)
        self.succeed("run", self.gguf, "--budget", "64MiB", *TEXT)
        self.assertEqual(self.calls(), ["llmsqlc", "llmsql-run"])
        for options in (("-c", 64), ("--kv", "q8"), ("--budget", "64MiB"), ("-s", 7)):
            self.succeed("run", self.gguf, *options, *TEXT)
            self.assertEqual(self.calls(), ["llmsql-run"], options)
        self.assertEqual(len(self.entries()), 1)
        self.succeed("run", self.gguf, "--weights", "q8", *TEXT)
        self.assertIn("llmsql-import", self.calls())
        self.assertEqual(len(self.entries()), 2)
        os.utime(self.gguf, (1, 1))
        self.succeed("run", self.gguf, *TEXT)
        self.assertIn("llmsql-import", self.calls())
        self.assertEqual(len(self.entries()), 3)

    def test_a_folder(self):
        write_tiny("qwen3", self.folder / "hf")
        self.succeed("run", "hf", *TEXT)
        self.calls()
        self.succeed("run", "hf/", *TEXT)
        self.assertEqual(self.calls(), ["llmsql-run"])
        config = self.folder / "hf" / "config.json"
        config.write_text(config.read_text() + " ")
        self.succeed("run", "hf", *TEXT)
        self.assertIn("llmsql-import", self.calls())

    def test_a_database(self):
        db, toml = import_gguf(self.gguf, "llama", "q8", self.folder)
        expected, _ = self.succeed("run", db, *TEXT)  # by the model file beside it
        self.assertEqual(self.calls(), ["llmsqlc --emit=memory", "llmsqlc", "llmsql-run"])
        self.assertEqual(self.succeed("run", db, *TEXT)[0], expected)
        self.assertEqual(self.calls(), ["llmsql-run"])
        other = toml.rename(self.folder / "other.toml")
        line = self.refused("run", db, *TEXT)
        self.assertIn(f"{db}: no plan is installed in it", line)
        self.assertIn("--model FILE", line)
        self.assertEqual(self.succeed("run", db, "--model", other, *TEXT)[0], expected)
        self.succeed("compile", other, "--install", db, "--context", 128)
        self.calls()
        self.assertEqual(self.succeed("run", db, *TEXT)[0], expected)
        self.assertEqual(self.calls(), ["llmsql-run"])

    def test_the_last_step_is_llmsql_run(self):
        status, out, err = self.attempt("run", self.gguf, "--nonsense")
        self.assertEqual((status, out), (2, ""))
        self.assertRegex(err, r"\Allmsql-run: [^\n]*--nonsense[^\n]*\n\Z")
        self.assertEqual(self.attempt("run", self.gguf, "--session", "/", *TEXT)[0], 1)
        process = self.start("run", self.gguf, stdin=subprocess.PIPE)  # a conversation
        comm = pathlib.Path(f"/proc/{process.pid}/comm")
        wait_for(lambda: comm.read_text() == "llmsql-run\n")
        self.assertIn("in use", self.succeed("cache", "ls")[0])
        self.assertIn("is in use", self.refused("cache", "rm", "--all"))
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        self.assertIn(process.returncode, (143, -signal.SIGTERM), err)
        self.succeed("cache", "rm", self.gguf)
        self.assertEqual(self.entries(), [])

    def test_two_at_once(self):
        hold = self.folder / "llmsql-import.hold"
        hold.touch()
        first = self.start("run", self.gguf, *TEXT)
        wait_for(lambda: (self.folder / "calls").exists())
        second = self.start("run", self.gguf, *TEXT)
        line = second.stderr.readline()
        self.assertRegex(line, rf"\Allmsql: another llmsql has {self.gguf} at hand: waiting")
        hold.unlink()
        one, two = first.communicate(timeout=60), second.communicate(timeout=60)
        self.assertEqual((first.returncode, second.returncode), (0, 0), one[1] + two[1])
        self.assertEqual(one[0], two[0])
        calls = self.calls()
        self.assertEqual(calls.count("llmsql-import"), 1)
        self.assertEqual(calls.count("llmsql-run"), 2)
        self.expect_nothing_half_made()


class Killed(OneCommand):
    def test_at_each_step(self):
        for name, calls in (("llmsql-import", 1), ("llmsqlc", 1), ("llmsql-run", 1)):
            with self.subTest(name):
                hold = self.folder / f"{name}.hold"
                hold.touch()
                process = self.start("run", self.gguf, *TEXT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                wait_for(lambda: (self.folder / "calls").exists()
                         and name in (self.folder / "calls").read_text())
                process.kill()
                process.wait()
                hold.unlink()
                self.calls()
                self.succeed("run", self.gguf, *TEXT)
                self.expect_nothing_half_made()
                self.succeed("cache", "rm", "--all")
                self.calls()

    def test_at_many_moments(self):
        for step in range(12):
            process = self.start("run", self.gguf, *TEXT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.01 * step)
            process.kill()
            process.wait()
        expected, _ = self.succeed("run", self.gguf, *TEXT)
        self.expect_nothing_half_made()
        self.assertEqual(self.succeed("run", self.gguf, *TEXT)[0], expected)
        self.assertEqual([path.name for path in self.entries()[0].iterdir() if path.suffix == ".db"], ["model.db"])

    def test_interrupted(self):
        """A signal reaches all processes of a group, or this one alone, which passes it on."""
        (self.folder / "llmsql-import.hold").touch()
        for number, whole in ((signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, False)):
            process = self.start("run", self.gguf, *TEXT, start_new_session=True)
            wait_for(lambda: (self.folder / "calls").exists())
            (os.killpg if whole else os.kill)(process.pid, number)
            process.communicate(timeout=60)
            self.assertEqual(process.returncode, 128 + number)
            self.calls()
            self.expect_nothing_half_made()
            self.assertEqual(self.entries(), [])

    def test_interrupted_at_many_moments(self):
        """No signal is lost, wherever it comes: a long answer ends."""
        long = ("run", self.gguf, "-p", "the", "-c", 32768, "--ignore-eos")
        self.succeed(*long, "-n", 1)
        for number in (signal.SIGINT, signal.SIGTERM):
            for step in range(8):
                process = self.start(*long, "-n", 32000, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(0.004 * step)
                process.send_signal(number)
                process.wait(timeout=60)
                self.assertIn(process.returncode, (-number, 128 + number))
        self.expect_nothing_half_made()


class Space(OneCommand):
    def test_more_than_the_limit(self):
        self.assertEqual(self.succeed("cache", "limit")[0], "64 GiB\n")
        self.assertEqual(self.succeed("cache", "limit", "10KB")[0], "10 KB\n")
        self.assertIn("llmsql cache limit SIZE", self.refused("run", self.gguf, *TEXT))
        self.assertEqual(self.calls(), ["llmsql-import --dry-run"])
        self.succeed("cache", "limit", "1GiB")
        self.succeed("run", self.gguf, *TEXT)
        (entry,) = self.entries()
        (out, _) = self.succeed("cache", "ls")
        self.assertRegex(out, rf"\A{entry.name[:8]} .* {self.gguf}\n.* of at most 1.00 GiB in {self.cache}\n\Z")
        _, said = self.succeed("cache", "limit", "0MB")
        self.assertRegex(said, rf"\Allmsql: {self.gguf} \([\d.]+ .iB\), not used for longest, has left the cache\n\Z")
        self.assertEqual(self.entries(), [])
        self.succeed("cache", "limit", "1GiB")
        self.succeed("run", self.gguf, *TEXT)
        _, said = self.succeed("cache", "rm", self.entries()[0].name[:6])
        self.assertRegex(said, rf"\Allmsql: {self.gguf} \([\d.]+ .iB\) has left the cache\n\Z")
        self.assertEqual(self.entries(), [])

    def test_names_of_the_cache(self):
        """A name that is too short to tell one from others removes none."""
        self.succeed("run", self.gguf, *TEXT)
        (made,) = self.entries()
        for other in ("0" * 32, "0" * 31 + "1"):
            shutil.copytree(made, self.cache / other)
        self.assertIn("'': is not in the cache", self.refused("cache", "rm", ""))
        self.assertIn("0000: 2 models in the cache begin so", self.refused("cache", "rm", "0000"))
        self.assertIn("--every: is no option", self.refused("cache", "rm", "--every", "0" * 32, status=2))
        self.assertEqual(len(self.entries()), 3)
        self.succeed("cache", "rm", "0" * 32)
        self.assertEqual(sorted(path.name for path in self.entries()), sorted([made.name, "0" * 31 + "1"]))
        self.succeed("cache", "rm", self.gguf)  # a source's are all of its copies
        self.assertEqual(self.entries(), [])

    def test_the_oldest_goes(self):
        self.succeed("run", self.gguf, *TEXT)
        self.succeed("run", self.gguf, "--weights", "q8", *TEXT)
        os.utime(next(entry / "used" for entry in self.entries()), (1, 1))
        oldest = min(self.entries(), key=lambda entry: (entry / "used").stat().st_mtime)
        size = sum(path.stat().st_size for entry in self.entries() for path in entry.iterdir())
        self.succeed("cache", "limit", f"{size + 1000000}")
        _, err = self.succeed("run", self.gguf, "--weights", "f32", *TEXT)
        self.assertIn("not used for longest, has left the cache", err)
        self.assertNotIn(oldest, self.entries())

    def test_a_full_disk(self):
        """Refused before anything is imported."""
        mounted = ("mkdir -p cache && mount -t tmpfs -o size=512k tmpfs cache && "
                   "bin/llmsql run tiny.gguf -p x; s=$?; ls cache/llmsql; exit $s")
        done = subprocess.run(["unshare", "-rm", "sh", "-c", mounted], cwd=self.folder, env=self.environment,
                              capture_output=True, text=True)
        if "unshare" in done.stderr or "mount:" in done.stderr:
            self.skipTest("no file system of one's own can be mounted here")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, rf"\Allmsql: {self.cache}: [\d.]+ .iB are needed for {self.gguf} and [\d.]+ .iB "
                                      r"are free: [^\n]+\n\Z")
        self.assertEqual(self.calls(), ["llmsql-import --dry-run"])
        self.assertNotIn(".new", done.stdout)

    def test_a_write_that_fails(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        status, out, err = self.attempt("run", self.gguf, *TEXT, preexec_fn=limit)
        self.assertEqual((status, out), (1, ""), err)
        self.assertEqual(len(err.splitlines()), 2, err)  # what it takes; that it could not be written
        self.assertEqual(self.entries(), [])
        self.expect_nothing_half_made()

    def test_a_folder_that_cannot_be_written(self):
        for place in ("/dev/null/cache", "/proc/cache"):
            self.environment["XDG_CACHE_HOME"] = place
            self.assertIn("XDG_CACHE_HOME", self.refused("run", self.gguf, *TEXT))
        del self.environment["XDG_CACHE_HOME"]
        self.succeed("run", self.gguf, *TEXT)
        self.assertTrue((self.folder / ".cache" / "llmsql").is_dir())
        del self.environment["HOME"]
        self.assertIn("XDG_CACHE_HOME", self.refused("run", self.gguf, *TEXT))


class Memory(OneCommand):
    def takes(self):
        _, err = self.succeed("run", self.gguf, *TEXT)
        return float(re.search(r"takes up to ([\d.]+) MiB", err)[1]) * MIB

    def test_a_budget_is_chosen_where_memory_is_short(self):
        takes = self.takes()
        expected, _ = self.succeed("run", self.gguf, *TEXT)
        self.calls()
        short = int(takes - MIB / 2)
        groups = {
            "machine": (short, None),
            "v2": (1 << 40, {"proc/self/mountinfo": "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
                             "proc/self/cgroup": "0::/a\n",
                             "sys/fs/cgroup/a/memory.max": f"{1 << 30}\n",
                             "sys/fs/cgroup/a/memory.current": f"{(1 << 30) - short}\n"}),
            "v1": (1 << 40, {"proc/self/mountinfo": "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
                             "proc/self/cgroup": "4:memory:/a\n",
                             "sys/fs/cgroup/memory/a/memory.limit_in_bytes": f"{1 << 30}\n",
                             "sys/fs/cgroup/memory/a/memory.usage_in_bytes": f"{(1 << 30) - short + 4096}\n",
                             "sys/fs/cgroup/memory/a/memory.stat": "total_inactive_file 1096\ntotal_active_file 3000\n"}),
        }
        for name, (free, files) in groups.items():
            with self.subTest(name):
                self.machine(free, files)
                out, err = self.succeed("run", self.gguf, *TEXT)
                self.assertEqual(out, expected)
                found = re.search(r"^llmsql: the run would take ([\d.]+) MiB of memory at a context of \d+, and ([\d.]+) "
                                  r"MiB are free: it runs within a budget of ([\d.]+) MiB \(--budget", err, re.MULTILINE)
                self.assertIsNotNone(found, err)
                self.assertAlmostEqual(float(found[2]) * MIB, short, delta=MIB / 8)
                self.assertLess(float(found[3]) * MIB, takes)
                # Of the tiny model only all that is free is enough. The first compiles that, the others find it.
                self.assertEqual(self.calls(), ["llmsqlc"] * (2 if name == "machine" else 1) + ["llmsql-run"])
                (plan,) = [path for path in self.entries()[0].glob("plan-*.sql")
                           if "budget" in path.read_text().split("--@")[0]]

    def test_too_little_for_any(self):
        self.succeed("run", self.gguf, *TEXT)
        self.calls()
        for free in (0, MIB, 8 * MIB):
            self.machine(free)
            line = self.refused("run", self.gguf, *TEXT)
            self.assertRegex(line, r"\Allmsql: the run would take [\d.]+ MiB of memory at a context of \d+, and [\d.]+ "
                                   r"MiB are free: ")
            self.assertNotIn("llmsql-run", self.calls())

    def test_a_budget_that_is_given_is_taken(self):
        self.machine(MIB)
        _, err = self.succeed("run", self.gguf, "--budget", "64MiB", *TEXT)
        self.assertNotIn("of memory", err)
        self.assertIn("--budget", self.refused("run", self.gguf, "--budget", "1MiB", *TEXT))
        self.assertIn("--budget", self.refused("run", self.gguf, "--budget", "lots", *TEXT, status=2))

    def test_a_budget_that_is_too_small_is_refused_before_anything_is_imported(self):
        self.succeed("import", self.gguf, "-o", "x.db", "--write-model", "x.toml")
        self.calls()
        for options in ((), ("--model", "x.toml")):
            with self.subTest(options):
                line = self.refused("run", self.gguf, "--budget", "1MiB", *options, *TEXT)
                self.assertRegex(line, r"\Allmsqlc: a budget of 1 MiB is too small for .* the smallest that works is ")
                self.assertEqual(self.calls(), ["llmsql-import --dry-run", "llmsqlc --emit=memory"])
                self.assertEqual(self.entries(), [])
                self.expect_nothing_half_made()


class OddSources(OneCommand):
    def test_each_gets_one_line(self):
        (self.folder / "empty").mkdir()
        (self.folder / "nothing.gguf").write_bytes(b"")
        (self.folder / "text.gguf").write_text("no model\n" * 100)
        (self.folder / "short.gguf").write_bytes(self.gguf.read_bytes()[:2000])
        with sqlite3.connect(self.folder / "other.db") as db:
            db.execute("CREATE TABLE t(a)")
        db.close()
        for name, says in (("missing.gguf", "no such"), ("empty", "config.json"), ("nothing.gguf", "GGUF"),
                           ("text.gguf", "GGUF"), ("short.gguf", "short.gguf"), ("other.db", "model"),
                           ("/dev/null", "/dev/null")):
            for command in ("run", "show", "verify", "bench", "prepare"):
                with self.subTest(f"{command} {name}"):
                    line = self.refused(command, name)
                    self.assertIn(name, line)
                    self.assertIn(says, line)
                    self.assertEqual(self.entries(), [])

    def test_command_lines(self):
        for words in ((), ("dance",), ("run",), ("run", "-p", "x"), ("run", "a", "b"), ("run", "a", "-c", "many"),
                      ("cache",), ("cache", "rm"), ("cache", "limit", "much"), ("cache", "dance"),
                      ("show", self.gguf, "--chat"), ("verify", self.gguf, "--chat"),
                      *(("run", self.gguf, f"{option}=") for option in ("--model", "--graph", "--name", "--budget"))):
            self.assertRegex(self.refused(*words, status=2), r"\Allmsql: .*\(llmsql --help lists the commands\)\n\Z")
        self.assertIn("not in the cache", self.refused("cache", "rm", "x.gguf"))
        line = self.refused(self.gguf, status=2)
        self.assertIn(f"'{self.gguf}': is no command: llmsql run {self.gguf} (", line)

    def test_help_fits_a_screen(self):
        pages = {"": self.succeed("help")[0]}
        commands = re.findall(r"^  (\w+)(?= [A-Zl])", pages[""], re.MULTILINE)
        self.assertEqual(sorted(commands), ["bench", "cache", "help", "prepare", "run", "show", "verify"])
        for name in commands:
            for words in ((name, "--help"), ("help", name), *([(name, "ls", "-h"), (name, "rm", "--help")] * (name == "cache"))):
                page = self.succeed(*words)[0]
                self.assertEqual(pages.setdefault(name, page), page)
        self.assertEqual(pages.pop("help"), pages[""])
        self.assertEqual(len(set(pages.values())), len(pages))
        for name, page in pages.items():
            with self.subTest(name):
                self.assertIn(f"Usage: llmsql {name or 'COMMAND'}", page)
                self.assertLessEqual(len(page.splitlines()), 24)
                self.assertLessEqual(max(map(len, page.splitlines())), 80)

    def test_options_are_looked_at_before_anything_is_made(self):
        for words, says in ((("--bad-option",), "--bad-option"), (("--temp", "hot"), "--temp"),
                            (("--continue",), "--session"), (("--kernels", "abacus"), "abacus"),
                            (("--plan", "other"), "--plan"), (("--trace-passes", 0), "--trace-passes"),
                            (("-p", "x", "--perplexity", "y"), "only one"), (("-f", "/nowhere/x"), "/nowhere/x"),
                            (("--render", "/nowhere/x"), "/nowhere/x"), (("--variable", "x"), "--variable"),
                            (("--kv", "q4"), "--kv"), (("--chunk", 0), "--chunk"), (("--sequences", "x"), "--sequences"),
                            (("--drafts", -1), "--drafts"), (("-t", 0), "-t"), (("--logits-rows", 1.5), "--logits-rows"),
                            (("--weights", "q99"), "--weights"), (("-t", 300, "--budget", "64MiB"), "-t")):
            with self.subTest(words):
                got, out, err = self.attempt("run", self.gguf, *words)
                self.assertIn(got, (1, 2))
                self.assertEqual(out, "")
                self.assertRegex(err, r"\A[^\n]+\n\Z")
                self.assertIn(says, err)
                self.assertEqual(self.entries(), [])
        # What stands behind an option that is not known was taken for its value.
        self.assertIn("--bad-option", self.refused("run", "--bad-option", self.gguf, status=2))
        self.assertIn("--bad-option", self.refused("run", self.gguf, "--bad-option", "-p", "x", status=2))
        self.assertIn("a source already", self.refused("run", self.gguf, "-p", "x", "y.gguf", status=2))
        for command in ("bench", "show", "prepare"):
            self.assertIn("--temp: is no option", self.refused(command, self.gguf, "-t", 2, "--temp", 0, status=2))
        self.assertEqual(self.entries(), [])
        # An input that can be read once is left for the run.
        self.assertTrue(self.succeed("run", self.gguf, "-f", "-", "-n", 2, input="The river")[0].startswith("The river"))


class Databases(OneCommand):
    def test_what_is_asked_of_one(self):
        self.succeed("import", self.gguf, "-o", "x.db", "--write-model", "x.toml")
        line = self.refused("run", "x.db", "--weights", "q8", *TEXT, status=2)
        self.assertIn("--weights: is of an import, and x.db is a database", line)
        self.succeed("compile", "x.toml", "--install", "x.db", "--context", 64)
        (self.folder / "x.toml").rename(self.folder / "y.toml")
        line = self.refused("run", "x.db", "-c", 32, *TEXT)
        self.assertIn("without -c the plan that is installed in the database", line)
        self.assertIn("--model FILE", line)
        self.succeed("run", "x.db", *TEXT)
        self.succeed("run", "x.db", "-c", 32, "--model", "y.toml", *TEXT)

    def test_a_model_file_by_its_name(self):
        """One of those that come with llmsql: here it is found, and is another model's."""
        line = self.refused("run", self.gguf, "--model", "qwen2", "--graph-dir", SOURCE / "graphs", *TEXT)
        self.assertIn("the graph qwen2 of", line)
        self.assertIn("models/qwen2.toml is for", line)


class OtherCommands(OneCommand):
    def test_steps_by_hand(self):
        self.succeed("import", self.gguf, "-o", "x.db", "--write-model", "x.toml")
        self.succeed("compile", "x.toml", "-o", "x.sql", "--context", 64)
        self.assertEqual(self.calls(), ["llmsql-import", "llmsqlc"])
        self.assertEqual(self.attempt("import", self.gguf)[0], 2)

    def test_show(self):
        self.succeed("import", self.gguf, "-o", "x.db", "--write-model", "x.toml")
        self.succeed("compile", "x.toml", "-o", "x.sql", "--context", 64)
        plan, _ = self.succeed("show", "x.sql")
        self.assertIn("context 64", plan)
        pages = [self.succeed("show", name, "-c", 64)[0] for name in (self.gguf, "x.db")]
        for page in pages:
            for line in (r"parameters: \d+", r"trained for texts of: ", r"tokenizer: \w+", r"chat template: ",
                         r"memory of a run: .* context 64 ", r"sum +\d+ "):
                self.assertRegex(page, rf"(?m)^{line}")
            self.assertIn("llama", page)
        self.assertEqual(*(re.search(r"^parameters: .*", page, re.MULTILINE)[0] for page in pages))
        self.assertRegex(pages[0], r"(?m)^its database: about [\d.]+ [KM]iB$")
        self.succeed("compile", "x.toml", "--install", "x.db", "--context", 96)
        self.assertRegex(self.succeed("show", "x.db")[0], r"plan 'default' installed in it:\n.*context 96")
        self.assertEqual(self.entries(), [])

    def test_what_an_import_takes_is_not_less_than_said(self):
        """And not much more: the estimate's slack is fixed and small."""
        for weights in ("auto", "q8", "f32"):
            out, _ = self.succeed("import", self.gguf, "--dry-run", "--weights", weights)
            said = int(re.search(r"^bytes: (\d+)$", out, re.MULTILINE)[1])
            self.succeed("import", self.gguf, "-o", "x.db", "--weights", weights)
            took = (self.folder / "x.db").stat().st_size
            self.assertLessEqual(took, said)
            self.assertLess(said, took * 1.1 + 2 * MIB)

    def test_show_where_nothing_can_be_written(self):
        self.environment["TMPDIR"] = "/proc"
        self.assertRegex(self.refused("show", self.gguf), r"\Allmsql: /proc: [^\n]+; set TMPDIR ")
        self.environment["TMPDIR"] = str(self.folder / "none")
        self.assertIn(f"{self.folder}/none: No such file", self.refused("show", self.gguf))

    def test_verify(self):
        self.succeed("verify", self.gguf)
        (entry,) = self.entries()
        with sqlite3.connect(entry / "model.db") as db:
            db.execute("UPDATE llm_tile SET data = zeroblob(length(data)) WHERE id = 1")
        db.close()
        # Bytes that no longer are what was written: nobody wrote to the file.
        stamp = (entry / "imported").read_text().split()[1]
        os.utime(entry / "model.db", ns=(0, int(stamp.replace(".", ""))))
        status, _, err = self.attempt("run", self.gguf, *TEXT)
        self.assertEqual(status, 1)
        self.assertIn(f"llmsql cache rm {entry.name[:8]} removes this copy", err)
        status, _, err = self.attempt("verify", self.gguf)
        self.assertEqual(status, 1)
        self.assertIn("has left it: the next run", err)
        self.assertEqual(self.entries(), [])
        self.succeed("run", self.gguf, *TEXT)

    def test_what_cannot_be_verified_stays(self):
        self.succeed("run", self.gguf, *TEXT)
        entries = self.entries()
        with open("/dev/full", "w") as full:
            status, _, err = self.attempt("verify", self.gguf, stdout=full)
        self.assertEqual((status, err), (1, "llmsql-run: standard output: No space left on device\n"))
        self.assertEqual(self.entries(), entries)
        # The same where a copy that was written to is compared before a run.
        with sqlite3.connect(entries[0] / "model.db") as db:
            db.execute("CREATE TABLE notes(a)")
        db.close()
        (self.folder / "llmsql-run.fails").write_text("llmsql-run: out of memory\n")
        status, _, err = self.attempt("run", self.gguf, *TEXT)
        self.assertEqual(status, 1)
        self.assertTrue(err.endswith("\nllmsql-run: out of memory\n"), err)
        (self.folder / "llmsql-run.fails").unlink()
        self.assertEqual(self.entries(), entries)
        self.assertIn("compared with its checksums", self.succeed("run", self.gguf, *TEXT)[1])

    def test_closed_descriptors(self):
        """No file gets the number of standard output or error, and so what is written there."""
        whole, _ = self.succeed("run", self.gguf, *TEXT)
        (entry,) = self.entries()
        for closed in ((1,), (1, 2), (0, 1, 2)):
            def close(closed=closed):
                for descriptor in closed:
                    os.close(descriptor)
            for command in (("run", self.gguf, *TEXT), ("prepare", self.gguf), ("show", self.gguf),
                            ("verify", self.gguf)):
                status, _, err = self.attempt(*command, preexec_fn=close)
                self.assertEqual(status, 1, (closed, command))
                if 2 not in closed:
                    self.assertRegex(err, "standard output.*(closed|Bad file descriptor)")
        for path in self.cache.glob("*lock"):
            self.assertEqual(path.read_bytes(), b"", path.name)
        self.assertEqual(self.entries(), [entry])
        self.succeed("cache", "rm", "--all")
        self.assertEqual(self.attempt("run", self.gguf, *TEXT, preexec_fn=lambda: os.close(2))[:2], (0, whole))
        self.succeed("verify", self.gguf)

    def test_a_copy_that_is_cut_off(self):
        whole, _ = self.succeed("run", self.gguf, *TEXT)
        (entry,) = self.entries()
        for damage in (lambda path: os.truncate(path, path.stat().st_size - 4096), os.unlink,
                       lambda path: os.truncate(path, 0)):
            damage(entry / "model.db")
            out, err = self.succeed("run", self.gguf, *TEXT)
            self.assertIn("in the cache is damaged: it is made anew", err)
            self.assertEqual(out, whole)

    def test_a_copy_that_was_written_to(self):
        whole, _ = self.succeed("run", self.gguf, *TEXT)
        (entry,) = self.entries()
        for damage in ("UPDATE llm_tile SET data = zeroblob(length(data)) WHERE id = 1",
                       "UPDATE llm_token SET piece = x'78' WHERE id = 290",
                       "PRAGMA application_id = 7", "PRAGMA user_version = 77", None):
            if damage is None:
                with open(entry / "model.db", "r+b") as file:
                    file.write(bytes(70000))
            else:
                with sqlite3.connect(entry / "model.db") as db:
                    db.execute(damage)
                db.close()
            out, err = self.succeed("run", self.gguf, *TEXT)
            self.assertIn("in the cache is damaged: it is made anew", err)
            self.assertEqual(out, whole)
        with open(entry / "model.toml", "a") as model:
            model.write("\n")
        self.assertIn("is damaged: it is made anew", self.succeed("run", self.gguf, *TEXT)[1])
        # What does no harm is compared once.
        with sqlite3.connect(entry / "model.db") as db:
            db.execute("CREATE TABLE notes(a)")
        db.close()
        for compared in (True, False):
            out, err = self.succeed("run", self.gguf, *TEXT)
            self.assertEqual(("compared with its checksums" in err, out), (compared, whole))
            self.assertNotIn("damaged", err)

    def test_a_plan_of_the_cache_that_is_damaged(self):
        whole, _ = self.succeed("run", self.gguf, *TEXT)
        (entry,) = self.entries()
        (plan,), (page,) = entry.glob("plan-*.sql"), entry.glob("memory-*.txt")
        made = {file: file.read_bytes() for file in (plan, page)}
        for file in made:
            for damage in (made[file][:-2000], b"", made[file].replace(b"0", b"1"), b"\xff" * 100):
                self.assertNotEqual(damage, made[file])
                file.write_bytes(damage)
                out, err = self.succeed("run", self.gguf, *TEXT)
                self.assertEqual(out, whole)
                self.assertRegex(err, "llmsql: (the plan|a page of the plan) in the cache is damaged: it is made anew\n")
                self.assertEqual(file.read_bytes(), made[file])
                self.assertNotIn("damaged", self.succeed("run", self.gguf, *TEXT)[1])
        self.expect_nothing_half_made()

    def test_folders_where_the_cache_has_files(self):
        whole, _ = self.succeed("run", self.gguf, *TEXT)
        (entry,) = self.entries()
        for pattern in ("plan-*.sql", "plan-*.checksum", "memory-*.txt", "memory-*.checksum", "imported", "model.toml",
                        "model.db", "source", "used"):
            (file,) = entry.glob(pattern)
            with self.subTest(file.name):
                file.unlink()
                file.mkdir()
                (file / "something").write_text("x")
                out, err = self.succeed("run", self.gguf, *TEXT)
                self.assertEqual(out, whole)
                if pattern not in ("source", "used"):  # which are told to people, and order the cache
                    self.assertIn("in the cache is damaged: it is made anew\n", err)
                    self.assertTrue(file.is_file())
                self.assertNotIn("damaged", self.succeed("run", self.gguf, *TEXT)[1])
        self.expect_nothing_half_made()
        # What cannot be made anew, as others may have it, is named.
        for file, options in ((entry / "compiling", ("-c", 64)), (self.cache / f"{entry.name}.lock", ()),
                              (self.cache / "lock", ("--weights", "q4"))):
            shutil.rmtree(self.cache)
            self.succeed("run", self.gguf, *TEXT)
            file.unlink()
            file.mkdir()
            self.assertIn(f"llmsql: {file}: Is a directory", self.attempt("run", self.gguf, *TEXT, *options)[2])

    def test_prepare(self):
        """For programs that open the model themselves: what run would give to llmsql-run."""
        found = dict(line.split(": ", 1) for line in self.succeed("prepare", self.gguf, "-c", 64)[0].splitlines())
        self.calls()
        text, _ = self.succeed("run", self.gguf, "-c", 64, *TEXT)
        self.assertEqual(self.calls(), ["llmsql-run"])  # nothing is made anew
        done = subprocess.run([os.environ["LLMSQL_RUN"], found["plan"], found["database"], *map(str, TEXT)],
                              capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, text)
        with open(found["lock"]) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            self.assertIn("in use", self.refused("cache", "rm", self.gguf))
        self.succeed("cache", "rm", self.gguf)
        db, toml = import_gguf(self.gguf, "llama", "auto", self.folder)
        subprocess.run([os.environ["LLMSQLC"], toml, "--install", db], check=True, capture_output=True)
        self.assertEqual(self.succeed("prepare", db)[0], f"database: {db}\nplan: \nlock: \n")
        self.assertIn("--top-k", self.refused("prepare", self.gguf, "--top-k", 4, status=2))

    def test_bench(self):
        out, _ = self.succeed("bench", self.gguf, "-c", 128)
        self.assertRegex(out, r"\Aprefill: \d+ tokens, [\d.]+ tok/s\ndecode: \d+ tokens, ")
        db, toml = import_gguf(self.gguf, "llama", "auto", self.folder)
        subprocess.run([os.environ["LLMSQLC"], toml, "-c", "40", "--install", db], check=True, capture_output=True)
        self.assertRegex(self.succeed("bench", db)[0], r"\Aprefill: \d+ tokens, [\d.]+ tok/s\ndecode: 10 tokens, ")

    def test_help_fits_a_screen(self):
        for words in (("--help",), ("help",), ("help", "run"), ("run", "--help"), ("help", "cache"),
                      ("cache", "--help"), ("help", "show"), ("bench", "--help"), ("show", "--help"), ("verify", "-h")):
            out, _ = self.succeed(*words)
            lines = out.splitlines()
            self.assertLessEqual(len(lines), 24, out)
            self.assertLessEqual(max(map(len, lines)), 80, out)
            self.assertIn("Usage: llmsql", out)
        self.assertRegex(self.succeed("--version")[0], r"\Allmsql \d+\.\d+\.\d+\n\Z")
        self.assertIn("Usage: llmsqlc", self.succeed("help", "compile")[0])


if __name__ == "__main__":
    unittest.main()
