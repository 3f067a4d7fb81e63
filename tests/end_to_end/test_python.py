#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The Python package, from its folder with this build's programs and libraries, or as it is installed where
LLMSQL_INSTALLED says so: its examples, its README, and what they promise."""

import contextlib
import doctest
import importlib
import inspect
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest

SOURCE = pathlib.Path(os.environ.get("LLMSQL_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
GGUF = SOURCE / "tests" / "fixtures" / "tiny-llama.gguf"
INSTALLED = bool(os.environ.get("LLMSQL_INSTALLED"))
if not INSTALLED:
    sys.path.insert(0, str(SOURCE / "bindings" / "python"))
    os.environ.setdefault("LLMSQL_BUILD", os.environ.get("LLMSQL_BUILD_DIR", str(SOURCE / "build")))
SANITIZED = bool(os.environ.get("LLMSQL_SANITIZED"))
if SANITIZED:
    sys.exit(0)  # a sanitizer's runtime must be the first library of a process; test_extension.py sees to that

CACHE = tempfile.TemporaryDirectory()
os.environ["XDG_CACHE_HOME"] = CACHE.name
unittest.addModuleCleanup(CACHE.cleanup)

import llmsql  # noqa: E402

GREEDY = dict(n_predict=8, temperature=0)
LOADS_EXTENSIONS = hasattr(sqlite3.Connection, "enable_load_extension")


def connections():
    """Of each module that is here and can load extensions: its name, and how to connect."""
    if LOADS_EXTENSIONS:
        yield "sqlite3", lambda: sqlite3.connect(":memory:")
    with contextlib.suppress(ImportError):
        apsw = importlib.import_module("apsw")
        yield "apsw", lambda: apsw.Connection(":memory:")
    with contextlib.suppress(ImportError):
        pysqlite3 = importlib.import_module("pysqlite3")
        if hasattr(pysqlite3.Connection, "enable_load_extension"):
            yield "pysqlite3", lambda: pysqlite3.connect(":memory:")


def first(db, sql, *values):
    return list(db.execute(sql, values))[0][0]


class Case(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)

    def open(self, path=GGUF, **options):
        model = llmsql.Model.open(path, **{"context": 128, **options})
        self.addCleanup(model.close)
        return model

    def child(self, code, *arguments, **options):
        """A process of its own that runs code with this module's names."""
        program = f"import sys; sys.path.insert(0, {str(SOURCE / 'tests' / 'end_to_end')!r})\nfrom test_python import *\n"
        process = subprocess.Popen([sys.executable, "-c", program + textwrap.dedent(code), *map(str, arguments)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        self.addCleanup(process.__exit__, None, None, None)
        self.addCleanup(process.kill)  # first, where a test has failed
        return process

    def output(self, code, *arguments):
        process = self.child(code, *arguments)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, err)
        return out.strip()


class Examples(Case):
    def test_of_docstrings(self):
        names = {"llmsql": llmsql, "sqlite3": sqlite3, "GGUF": GGUF, "FOLDER": self.folder, "model": self.open()}
        finder, tried, documented = doctest.DocTestFinder(), 0, set()
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        modules = [llmsql] + [importlib.import_module(f"llmsql.{name}") for name in ("_extension", "_programs", "_model")]
        for module in modules:
            for example in finder.find(module, extraglobs=names):
                if not LOADS_EXTENSIONS and "llmsql.load(db)" in example.docstring:
                    continue
                tried += len(example.examples)
                documented |= {example.name} if example.examples else set()
                runner.run(example)
        self.assertEqual(runner.summarize(verbose=False).failed, 0)
        self.assertGreater(tried, 20)
        for name in llmsql.__all__:
            if name != "Message":  # a type's other name
                self.assertTrue(getattr(llmsql, name).__doc__, name)
        for name in ("generate", "stream", "chat", "batch", "tokenize", "detokenize", "logprob", "open", "info"):
            self.assertIn(f"llmsql._model.Model.{name}", documented)

    def test_of_the_readme(self):
        text = (SOURCE / "bindings" / "python" / "README.md").read_text()
        blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        self.assertEqual(len(blocks), 3)
        shutil.copy(GGUF, self.folder / "model.gguf")
        order = [blocks[2], blocks[0], *(blocks[1:2] if LOADS_EXTENSIONS else [])]  # the last makes what the second opens
        for block in order:
            done = subprocess.run([sys.executable, "-c", block], cwd=self.folder, capture_output=True, text=True,
                                  env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
            self.assertEqual(done.returncode, 0, done.stderr)
        (shell,) = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        install, command = shell.strip().split("\n")
        self.assertRegex(install, r"^pip install \./llmsql-")  # scripts/check-fresh does it
        self.assertTrue(command.startswith("llmsql run "))
        programs = pathlib.Path(sys.executable).parent
        if not INSTALLED:  # what pip makes of pyproject.toml's [project.scripts]
            programs = self.folder / "bin"
            programs.mkdir()
            (programs / "llmsql").write_text(f"#!{sys.executable}\nfrom llmsql import _programs\n_programs.llmsql()\n")
            (programs / "llmsql").chmod(0o755)
        done = subprocess.run(command, shell=True, cwd=self.folder, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path),
                                   "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"})
        self.assertEqual(done.stdout.strip(), "The river" + self.open(self.folder / "model.gguf").generate("The river", **GREEDY),
                         done.stderr)


class Methods(Case):
    def test_answers_are_those_of_sql(self):
        model = self.open(sequences=4)
        text = model.generate("The river", **GREEDY)
        self.assertEqual("".join(token.text for token in model.stream("The river", **GREEDY)), text)
        self.assertEqual(model.batch(["The river", "It's a hill"], **GREEDY), [text, model.generate("It's a hill", **GREEDY)])
        self.assertEqual(model.generate("Hi", chat=True, system="Be brief.", **GREEDY),
                         model.chat([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], **GREEDY))
        self.assertLess(model.logprob("The river"), 0)
        self.assertIsNone(model.logprob("a"))
        self.assertEqual(model.detokenize(model.tokenize("déjà vu\0!")), "déjà vu\0!")
        for name, connect in connections():
            with self.subTest(name):
                db = connect()
                llmsql.load(db)
                first(db, "SELECT llm_load(?, ?)", model.database, model.plan)
                self.assertEqual(first(db, "SELECT llm_generate('The river', ?)", json.dumps(GREEDY)), text)
                db.close()

    def test_a_session_is_a_conversation(self):
        model = self.open(sequences=2)
        turns = ("Hi", "And then?", "Why?")
        memory = model.session(system="Be brief.")
        answers = [memory.say(turn, n_predict=4, temperature=0) for turn in turns]
        file = self.folder / "talks.db"
        said = [model.session("a", file, system="Be brief.").say(turn, n_predict=4, temperature=0) for turn in turns]
        self.assertEqual(answers, said)
        self.assertEqual([message["role"] for message in memory.messages],
                         ["system", "user", "assistant", "user", "assistant", "user", "assistant"])
        with self.assertRaisesRegex(llmsql.Error, "temperature"):
            memory.say("Hi", temperature=-1)
        self.assertEqual(len(memory.messages), 7)

    def test_threads_share_a_plan(self):
        for sequences in (1, 3):
            model = self.open(sequences=sequences)
            prompts = [f"The river {n}" for n in range(6)]
            expected = [model.generate(prompt, **GREEDY) for prompt in prompts]
            answers = [None] * len(prompts)

            def work(n):
                answers[n] = model.generate(prompts[n], **GREEDY)

            threads = [threading.Thread(target=work, args=(n,)) for n in range(len(prompts))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(answers, expected)
            self.assertLessEqual(model._connections._count, sequences)

    def test_streams_that_are_left_give_their_places_back(self):
        model = self.open()
        stream = model.stream("The river", n_predict=50)
        next(stream)
        with self.assertRaisesRegex(llmsql.Error, "sequences of the plan are taken by streams"):
            model.generate("The river", **GREEDY)
        stream.close()
        self.assertTrue(model.generate("The river", **GREEDY))

    def test_a_child_of_fork_has_a_connection_of_its_own(self):
        model = self.open()
        expected = model.generate("The river", **GREEDY)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writing, model.generate("The river", **GREEDY).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading) as file:
            self.assertEqual(file.read(), expected)
        os.waitpid(child, 0)
        self.assertEqual(model.generate("The river", **GREEDY), expected)

    def test_versions_agree(self):
        version = re.search(r"project\(llmsql VERSION (\S+)", (SOURCE / "CMakeLists.txt").read_text())[1]
        self.assertEqual(llmsql.__version__, version)
        self.assertEqual(self.open().info["version"], version)
        self.assertIn(f'\nversion = "{version}"\n', (SOURCE / "bindings" / "python" / "pyproject.toml").read_text())

    def test_typed(self):
        self.assertTrue((pathlib.Path(llmsql.__file__).parent / "py.typed").exists())
        for name in ("generate", "stream", "chat", "batch"):
            signature = inspect.signature(getattr(llmsql.Model, name))
            for parameter in list(signature.parameters.values())[1:]:
                self.assertIsNot(parameter.annotation, inspect.Parameter.empty, (name, parameter))


class Mistakes(Case):
    def assert_says(self, part, function, *arguments, **options):
        with self.assertRaises(llmsql.Error) as caught:
            function(*arguments, **options)
        self.assertIn(part, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))

    def test_of_files_and_budgets(self):
        self.assert_says("none.gguf", llmsql.Model.open, self.folder / "none.gguf")
        (self.folder / "text.gguf").write_text("no model")
        self.assert_says("text.gguf", llmsql.Model.open, self.folder / "text.gguf")
        self.assert_says("budget", llmsql.Model.open, GGUF, budget="1MiB", context=128)
        self.assert_says("budget", llmsql.Model.open, GGUF, budget="many", context=128)
        self.assert_says("settled when a plan is compiled", llmsql.Model.open, GGUF, "plan.sql", budget="64MiB")
        self.assert_says("none.db", llmsql.Model.open, self.folder / "none.db", "plan.sql")

    def test_of_options_and_texts(self):
        model = self.open()
        self.assert_says("temperature", model.generate, "The river", temperature=-1)
        self.assert_says("n_predict", model.generate, "The river", n_predict="many")
        self.assert_says("options:", model.generate, "The river", stop=object())
        self.assert_says("empty", model.generate, "")
        self.assert_says("a text is wanted", model.generate, 1.5)
        self.assert_says("surrogate", model.generate, "\ud800")
        self.assert_says("the context", model.generate, "The river " * 200)
        self.assert_says("the conversation", model.chat, [object()])
        self.assert_says("", model.detokenize, [10**9])
        model.close()
        model.close()
        self.assert_says("closed", model.generate, "The river")

    def test_load_of_what_it_cannot_be_loaded_into(self):
        self.assert_says("a connection of sqlite3, apsw or pysqlite3 is wanted", llmsql.load, object())

        class Connection:
            def execute(self):
                pass

        Connection.__module__ = "sqlite3"
        self.assert_says("was built without loadable extensions", llmsql.load, Connection())

    def test_load_leaves_it_as_it_was(self):
        for name, connect in connections():
            if name == "apsw":
                continue
            with self.subTest(name):
                def may_load(db):
                    try:
                        db.load_extension(llmsql.loadable_path())
                    except Exception as error:
                        return "not authorized" not in str(error)
                    return True

                before, db = may_load(connect()), connect()
                llmsql.load(db)
                self.assertEqual(may_load(db), before)


class Interrupts(Case):
    ENDLESS = "n_predict=-1, ignore_eos=True, keep=4"

    def test_control_c(self):
        process = self.child(f"""
            signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have what runs in the background ignore it
            model = llmsql.Model.open(GGUF, context=128)
            print("ready", flush=True)
            try:
                model.generate("The river", {self.ENDLESS})
            except KeyboardInterrupt:
                print("heard")
            print(len(model.generate("The river", n_predict=4)) > 0)
            """)
        self.assertEqual(process.stdout.readline(), "ready\n")
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertEqual((out, process.returncode), ("heard\nTrue\n", 0), err)

    def test_what_a_handler_raises(self):
        self.assertEqual(self.output(f"""
            class Enough(Exception): pass
            def handler(*_): raise Enough()
            signal.signal(signal.SIGALRM, handler)
            model = llmsql.Model.open(GGUF, context=128)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            try:
                for token in model.stream("The river", {self.ENDLESS}): pass
            except Enough:
                print("raised")
            """), "raised")

    def test_from_another_thread_which_runs_meanwhile(self):
        model = self.open()
        ended, counted = [], 0

        def work():
            try:
                model.generate("The river", n_predict=-1, ignore_eos=True, keep=4)
            except llmsql.Interrupted as error:
                ended.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        end = time.monotonic() + 60
        while thread.is_alive() and time.monotonic() < end:
            counted += 1  # the interpreter is not held while it computes
            if counted > 1000:
                model.interrupt()
            thread.join(0.0001)
        self.assertFalse(thread.is_alive())
        self.assertEqual(ended, ["interrupted"])
        self.assertGreater(counted, 1000)


class TwoImages(Case):
    """The engine and the extension in one process, each with a SQLite: what one locks, the other's closing must not drop."""

    WRITER = """
import sqlite3, sys
try:
    with sqlite3.connect(sys.argv[1], timeout=0) as db:
        db.execute("CREATE TABLE intruder(a)")
    print("wrote")
except sqlite3.OperationalError as error:
    print(error)
"""

    def other_writer(self, path):
        done = subprocess.run([sys.executable, "-c", self.WRITER, str(path)], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def database(self):
        db = llmsql.import_gguf(GGUF, self.folder / "model.db", write_model=self.folder / "model.toml")
        llmsql.compile(self.folder / "model.toml", install=db, context=128)
        return db

    def test_a_model_is_read_by_both_and_written_by_nobody(self):
        path = self.database()
        model = llmsql.Model.open(path)
        expected = model.generate("The river", **GREEDY)
        # Another SQLite opens and closes the file, which drops all POSIX locks that this process has on it.
        other = sqlite3.connect(path)
        other.execute("SELECT count(*) FROM llm_meta").fetchone()
        other.close()
        self.assertEqual(self.other_writer(path), "database is locked")
        for name, connect in connections():
            with self.subTest(name):
                db = connect()
                llmsql.load(db)
                first(db, "SELECT llm_load(?)", path)
                self.assertEqual(first(db, "SELECT llm_generate('The river', ?)", json.dumps(GREEDY)), expected)
                db.close()
                self.assertEqual(self.other_writer(path), "database is locked")
        self.assertEqual(model.generate("The river", **GREEDY), expected)
        model.close()
        self.assertEqual(self.other_writer(path), "wrote")

    def test_a_session_file_is_used_by_one_at_a_time(self):
        model = self.open(self.database(), sequences=2)
        file = self.folder / "talks.db"
        for name, connect in connections():
            with self.subTest(name):
                db = connect()
                llmsql.load(db)
                first(db, "SELECT llm_load(?)", model.database)
                chat, count = "SELECT llm_chat(?, 'Hi', ?)", itertools.count()
                options = json.dumps(dict(GREEDY, sessions=str(file)))
                self.assertTrue(first(db, chat, f"their {next(count)}", options))  # nobody has it open
                # While one is answering, the other is refused, in whichever conversation; whichever comes first.
                said, ends = [], []

                def answer():
                    while not ends:
                        try:
                            model.session(f"ours {next(count)}", file).say("Hi", n_predict=-1, ignore_eos=True, keep=4)
                        except llmsql.Error as error:
                            if "another copy of llmsql in this process has it open" not in str(error):
                                ends.append(str(error))

                thread = threading.Thread(target=answer)
                thread.start()
                end = time.monotonic() + 60
                while not said and time.monotonic() < end:
                    try:
                        first(db, chat, f"their {next(count)}", options)
                    except Exception as error:  # each module has its own
                        said.append(str(error))
                while thread.is_alive() and time.monotonic() < end:
                    model.interrupt()
                    thread.join(0.05)
                self.assertEqual(ends, ["interrupted"])
                self.assertEqual(len(said), 1)
                self.assertIn("another copy of llmsql in this process has it open", said[0])
                db.close()


class Budget(Case):
    def test_it_bounds_what_is_added_to_the_process(self):
        """Measured as the peak of the resident set, from before the library is loaded; the context is filled."""
        for budget in (24, 40):
            added = int(self.output("""
                import ctypes, json, fcntl, subprocess
                def resident(name):
                    for line in open("/proc/self/status"):
                        if line.startswith(name + ":"):
                            return int(line.split()[1])
                subprocess.run(["true"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                open("/proc/self/clear_refs", "w").write("5")
                before = resident("VmRSS")
                model = llmsql.Model.open(GGUF, budget=f"{sys.argv[1]}MiB", context=512, sequences=2)
                model.batch(["The river " * 40, "A hill " * 40], n_predict=200, ignore_eos=True)
                model.generate("The river", n_predict=-1)
                print(resident("VmHWM") - before)
                """, budget))
            self.assertLess(added, budget << 10)
            self.assertGreater(added, 1 << 10)  # something was measured


if __name__ == "__main__":
    unittest.main()
