#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""libllmsql and what its hosts do: fork, recursion, other SQLites, many models; what it leaves alone."""

import contextlib
import ctypes
import json
import multiprocessing
import os
import pathlib
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from extension import LIBRARY, SANITIZED, connect, environment, interrupting, main, tiny, value
from programs import SOURCE, folder_of

GREEDY = json.dumps({"temperature": 0, "n_predict": 8})
ENDLESS = json.dumps({"temperature": 0, "n_predict": -1, "ignore_eos": True, "keep": 1})
GENERATE = "SELECT llm_generate('The river', ?)"


def loaded(model, **options):
    db = connect(check_same_thread=False, isolation_level=None, **options)
    db.execute("SELECT llm_load(?)", (str(model),))
    return db


def tasks():
    return len(os.listdir("/proc/self/task"))


def codes(db, sql, *arguments):
    """SQLite's result code of what must fail, and its message."""
    try:
        db.execute(sql, arguments).fetchall()
    except sqlite3.OperationalError as error:
        # Python 3.11 tells the code.
        return getattr(error, "sqlite_errorcode", None), str(error)
    raise AssertionError("no error")


class WithModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = folder_of(cls)
        cls.model = tiny(cls.folder)
        db = loaded(cls.model)
        cls.expected = value(db, GENERATE, GREEDY)
        db.close()


class Fork(WithModel):
    def in_child(self, body, leave=lambda: os._exit(0)):
        """Runs `body` in a child, which must end, and well."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            try:
                os.write(write, str(body()).encode() or b"?")
                leave()
            except SystemExit:
                raise
            except BaseException as error:
                os.write(write, f" raised {error}".encode())
            os._exit(3)
        os.close(write)
        status = os.waitpid(child, 0)[1]
        with os.fdopen(read) as said:
            said = said.read()
        self.assertEqual(status, 0, f"status {status} (14: it hung): {said}")
        return said

    def own(self):
        db = loaded(self.model)
        text = value(db, GENERATE, GREEDY)
        db.execute("SELECT llm_unload()")
        db.close()
        return text

    def test_a_child_of_an_idle_parent(self):
        db = loaded(self.model)
        self.addCleanup(db.close)
        stream = db.execute("SELECT piece FROM llm_stream('The river', ?)", (GREEDY,))
        stream.fetchone()
        value(db, GENERATE, GREEDY)
        self.assertEqual(self.in_child(self.own), self.expected)

        def parents():
            refused = [codes(db, GENERATE, GREEDY)[1], codes(db, "SELECT llm_unload()")[1]]
            with contextlib.suppress(sqlite3.OperationalError):
                stream.fetchall()
                refused.append("a stream went on")
            return refused

        said = self.in_child(parents)
        self.assertEqual(said.count("was opened before fork()"), 2, said)
        self.assertNotIn("went on", said)
        for close in (lambda: (stream.close(), db.close()), lambda: None):
            self.in_child(lambda: (close(), self.own())[1])
        # A child of the child.
        self.assertEqual(self.in_child(lambda: self.in_child(self.own)), self.expected)
        self.assertEqual(self.in_child(lambda: (self.own(), self.in_child(self.own))[1]),
                         self.expected)
        self.assertEqual(self.in_child(self.own, lambda: os.execv("/bin/true", ["true"])),
                         self.expected)
        stream.close()
        self.assertEqual(value(db, GENERATE, GREEDY), self.expected)

    @unittest.skipIf(SANITIZED, "AddressSanitizer of g++ 12 locks nothing at fork(): where another "
                                "thread is in its allocator, the child waits for that for good")
    def test_children_of_a_parent_that_generates_and_opens(self):
        stop = threading.Event()

        def generate():
            db = loaded(self.model)
            while not stop.is_set():
                value(db, "SELECT llm_generate('a', '{\"n_predict\": 50, \"ignore_eos\": true}')")
            db.close()

        def reopen():
            while not stop.is_set():
                loaded(self.model).close()

        threads = [threading.Thread(target=work) for work in (generate, generate, reopen)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(30):
                self.assertEqual(self.in_child(self.own), self.expected)
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def test_multiprocessing(self):
        db = loaded(self.model)
        self.addCleanup(db.close)
        value(db, GENERATE, GREEDY)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            results = [pool.apply_async(answer, (str(self.model),)) for _ in range(6)]
            self.assertEqual([result.get(60) for result in results], [self.expected] * 6)


def answer(model):
    db = loaded(model)
    text = value(db, GENERATE, GREEDY)
    db.close()
    return text


class Recursion(WithModel):
    QUERIES = {
        "batch": "SELECT 1, (SELECT answer FROM llm_batch((SELECT q FROM t), '{\"n_predict\": 1}'))",
        "stream": "SELECT 1, (SELECT group_concat(piece) FROM llm_stream((SELECT answer FROM "
                  "llm_batch((SELECT q FROM t))), '{\"n_predict\": 1}'))",
        "generate": "SELECT 1, llm_generate((SELECT answer FROM llm_batch((SELECT q FROM t))))",
        "chat": "SELECT 1, llm_chat('a', (SELECT answer FROM llm_batch((SELECT q FROM t))))",
        "logprob": "SELECT 1, llm_logprob((SELECT answer FROM llm_batch((SELECT q FROM t)))) || ''"}

    def test_recursion_ends_on_small_stacks(self):
        results = {}

        def recurse(kind):
            db = loaded(self.model)
            db.execute("CREATE TABLE t(q)")
            db.execute("INSERT INTO t VALUES (?)", (self.QUERIES[kind],))
            results[kind] = codes(db, "SELECT answer FROM llm_batch((SELECT q FROM t))")[1]
            self.assertEqual(value(db, GENERATE, GREEDY), self.expected)
            db.close()

        self.addCleanup(threading.stack_size, 0)
        for stack in (1024, 256):
            if SANITIZED and stack < 1024:
                continue  # its frames are several times as large
            for kind in self.QUERIES:
                threading.stack_size(stack << 10)
                results.clear()
                thread = threading.Thread(target=recurse, args=(kind,))
                thread.start()
                thread.join()
                self.assertIn("within each other's queries: more than", results[kind])

    def test_recursion_by_a_function_of_the_hosts(self):
        db = loaded(self.model)
        self.addCleanup(db.close)
        inner = "SELECT answer FROM llm_batch('SELECT 1, again()', '{\"n_predict\": 1}')"
        errors = []

        def again():
            try:
                return value(db, inner)
            except sqlite3.OperationalError as error:
                errors.append(str(error))
                return "a"

        db.create_function("again", 0, again)
        self.assertTrue(value(db, inner))
        self.assertIn("within each other's queries", errors[0])

    def test_two_levels_work(self):
        db = loaded(self.model)
        self.addCleanup(db.close)
        text = value(db, "SELECT answer FROM llm_batch('SELECT 1, llm_generate((SELECT answer FROM "
                         "llm_batch(''SELECT 1, ''''The river'''''')))')")
        self.assertIsInstance(text, str)


class Models(WithModel):
    def test_threads_that_come_to_the_same_share_one_model(self):
        db = loaded(self.model)
        self.addCleanup(db.close)
        cores = json.loads(value(db, "SELECT llm_info()"))["threads"]
        before = tasks()
        for threads in [*range(cores, cores + 20), 256, 0]:
            options = json.dumps({"temperature": 0, "n_predict": 8, "threads": threads})
            self.assertEqual(value(db, GENERATE, options), self.expected)
            self.assertEqual(tasks(), before)
        # Other numbers have others, but none is kept beside the one used last.
        for threads in range(1, cores + 1):
            options = json.dumps({"temperature": 0, "n_predict": 8, "threads": threads})
            self.assertEqual(value(db, GENERATE, options), self.expected)
            self.assertLessEqual(tasks(), before)
        self.assertEqual(value(db, "SELECT llm_unload()"), 1)
        info = json.loads(value(db, "SELECT llm_load(?, NULL, '{\"threads\": 256}')",
                                str(self.model)))
        self.assertEqual(info["threads"], cores)
        self.assertIn("option 'threads': a whole number from 0 to 256",
                      codes(db, "SELECT llm_generate('a', '{\"threads\": 257}')")[1])

    def test_models_that_are_not_used_are_let_go(self):
        db = connect()
        self.addCleanup(db.close)
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        for i in range(12):
            copy = pathlib.Path(holder.name) / f"{i}.db"
            shutil.copyfile(self.model, copy)
            options = json.dumps({"temperature": 0, "n_predict": 8, "model": str(copy)})
            self.assertEqual(value(db, GENERATE, options), self.expected)
        self.assertLessEqual(value(db, "SELECT llm_unload()"), 4)

    def test_a_model_that_is_replaced_is_opened_anew(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        model = pathlib.Path(holder.name) / "m.db"
        shutil.copyfile(self.model, model)
        db = loaded(model)
        self.addCleanup(db.close)
        self.assertEqual(value(db, GENERATE, GREEDY), self.expected)
        other = sqlite3.connect(shutil.copyfile(self.model, model.with_suffix(".new")))
        other.execute("UPDATE llm_meta SET value = 'another name' WHERE key = 'model'")
        other.execute("UPDATE llm_plan SET sql = replace(sql, '''tiny-llama''', '''another name''')")
        other.commit()
        other.close()
        os.replace(model.with_suffix(".new"), model)
        self.assertEqual(json.loads(value(db, "SELECT llm_info()"))["model"], "another name")
        os.remove(model)  # one that is gone is still there for who has it open
        self.assertEqual(value(db, GENERATE, GREEDY), self.expected)

    def test_opening_one_does_not_keep_others_waiting(self):
        """While a connection is asked, with its weights half open, whether it wants to be done."""
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        model = shutil.copyfile(self.model, pathlib.Path(holder.name) / "m.db")
        slow, same = connect(check_same_thread=False), connect()
        self.addCleanup(slow.close)
        self.addCleanup(same.close)
        before = tasks() + 1  # the thread that opens it
        opening, go_on = threading.Event(), threading.Event()

        def asked():
            if tasks() > before:  # the workers are there
                opening.set()
                go_on.wait(60)
            return 0

        slow.set_progress_handler(asked, 1)
        thread = threading.Thread(target=lambda: slow.execute("SELECT llm_load(?)", (str(model),)))
        thread.start()
        try:
            if not opening.wait(10):
                self.assertLessEqual(len(os.sched_getaffinity(0)), 1)
                self.skipTest("there is one core, and no workers to know it by")
            another = loaded(self.model)
            self.assertEqual(value(another, GENERATE, GREEDY), self.expected)
            another.close()
            calls = []
            same.set_progress_handler(lambda: calls.append(1) or len(calls) > 1000, 1)
            self.assertEqual(codes(same, "SELECT llm_load(?)", str(model))[1], "interrupted")
            same.set_progress_handler(None, 0)
        finally:
            go_on.set()
            thread.join()
        slow.set_progress_handler(None, 0)
        same.execute("SELECT llm_load(?)", (str(model),))
        self.assertEqual([value(db, GENERATE, GREEDY) for db in (slow, same)], [self.expected] * 2)


class Interrupts(WithModel):
    INTERRUPT = 9

    def interrupted(self, db, sql, *arguments):
        code, message = codes(db, sql, *arguments)
        self.assertEqual(message, "interrupted")
        self.assertIn(code, (None, self.INTERRUPT))

    def test_while_a_query_is_prepared(self):
        for prepared in ("SELECT count(*) FROM llm_batch('SELECT 1, a FROM q')",
                         "SELECT count(*) FROM llm_batch('SELECT 1, piece FROM llm_stream(''a'')')",
                         "SELECT count(*) FROM llm_stream('a')"):
            for moment in range(1, 40):
                db = loaded(self.model)
                db.execute("CREATE TABLE q(a)")
                calls = []

                def authorize(*_):
                    calls.append(1)
                    if len(calls) == moment:
                        db.interrupt()
                    return sqlite3.SQLITE_OK

                db.set_authorizer(authorize)
                try:
                    db.execute(prepared).fetchall()
                except sqlite3.OperationalError as error:
                    self.assertEqual(str(error), "interrupted", (prepared, moment))
                    self.assertIn(getattr(error, "sqlite_errorcode", None), (None, self.INTERRUPT))
                db.set_authorizer(None)
                self.assertEqual(value(db, GENERATE, GREEDY), self.expected)
                db.close()
                if len(calls) < moment:
                    break

    def test_while_another_has_the_turn(self):
        busy, waiting = loaded(self.model), loaded(self.model)
        self.addCleanup(busy.close)
        self.addCleanup(waiting.close)
        thread = threading.Thread(target=lambda: codes(busy, GENERATE, ENDLESS))
        thread.start()
        try:
            with interrupting(waiting, 0.05):
                for _ in range(5):
                    self.interrupted(waiting, GENERATE, ENDLESS)
        finally:
            with interrupting(busy, 0.05):
                thread.join()
        self.assertEqual(value(waiting, GENERATE, GREEDY), self.expected)

    def test_while_a_model_is_opened(self):
        # Each step of a statement of the host's asks its progress handler.
        for moment in range(1, 40):
            db = connect()
            calls = []
            db.set_progress_handler(lambda: calls.append(1) or len(calls) >= moment, 1)
            self.interrupted(db, "SELECT llm_load(?)", str(self.model))
            db.set_progress_handler(None, 0)
            self.assertEqual(json.loads(value(db, "SELECT llm_load(?)", str(self.model)))["context"],
                             128)
            db.close()


class LeftAlone(unittest.TestCase):
    """What belongs to the process is the host's."""

    SCRIPT = """
import ctypes, locale, os, resource, signal, sys
sys.path.insert(0, sys.argv[1])
from test_extension_hosts import *
sqlite = ctypes.CDLL("libsqlite3.so.0")
libc = ctypes.CDLL(None)
for name in ("sqlite3_soft_heap_limit64", "sqlite3_hard_heap_limit64"):
    getattr(sqlite, name).restype = ctypes.c_int64
    getattr(sqlite, name).argtypes = [ctypes.c_int64]
libc.setlocale.restype = ctypes.c_char_p
libc.setlocale.argtypes = [ctypes.c_int, ctypes.c_char_p]
libc.getenv.restype = ctypes.c_char_p

def status(*names):
    with open("/proc/self/status") as file:
        return [line for line in file if line.startswith(names)]

def state():
    actions = []
    for number in range(1, 65):
        action = ctypes.create_string_buffer(256)
        libc.sigaction(number, None, action)
        actions.append((action.raw[:16], action.raw[136:140]))  # handler, mask, flags: not what lies between
    mask = os.umask(0)
    os.umask(mask)
    return {"signals": actions, "status": status("SigBlk", "SigIgn", "Umask", "Cpus_allowed", "NoNewPrivs", "Seccomp", "THP"),
            "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, []), "umask": mask,
            "soft": sqlite.sqlite3_soft_heap_limit64(-1), "hard": sqlite.sqlite3_hard_heap_limit64(-1),
            "locale": libc.setlocale(6, None), "environment": [libc.getenv(name.encode()) for name in os.environ],
            "names": sorted(os.environ), "folder": os.getcwd(),
            "limits": [resource.getrlimit(i) for i in range(16)], "rounding": libc.fegetround(),
            "priority": os.getpriority(os.PRIO_PROCESS, 0), "scheduler": os.sched_getscheduler(0),
            "interval": signal.getitimer(signal.ITIMER_REAL),
            "threadsafe": sqlite.sqlite3_threadsafe(), "tiny": 5e-324 / 1}

os.umask(0o27)
signal.signal(signal.SIGTERM, lambda *_: None)
sqlite.sqlite3_soft_heap_limit64(1 << 33)
plain = sqlite3.connect(":memory:")
before = state()
db = loaded(sys.argv[2])
after = state()
assert after == before, {key: (before[key], after[key]) for key in before if after[key] != before[key]}
value(db, GENERATE, GREEDY)
db.execute("SELECT * FROM llm_stream('a', ?)", (GREEDY,)).fetchall()
db.execute("SELECT * FROM llm_batch('SELECT 1, ''a''', ?)", (GREEDY,)).fetchall()
codes(db, "SELECT llm_generate('')")
db.execute("SELECT llm_unload()")
after = state()
assert after == before, {key: (before[key], after[key]) for key in before if after[key] != before[key]}
# Another connection is not limited in what it may do, either.
length = plain.execute("SELECT length(zeroblob(300000000))").fetchone()[0]
assert length == 300000000
db.close()
assert state() == before, "closing"
"""

    def test_nothing_of_the_process_is_changed(self):
        with tempfile.TemporaryDirectory() as folder:
            script = pathlib.Path(folder) / "script.py"
            script.write_text(self.SCRIPT)
            done = subprocess.run([sys.executable, script, pathlib.Path(__file__).parent,
                                   tiny(folder)], env=environment(), capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))


class OtherSqlites(WithModel):
    def test_each_function_that_a_sqlite_may_lack(self):
        """Works, or says in one line why not; never a signal."""
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        done = subprocess.run([os.environ["LLMSQL_SQLITE_WITHOUT"], LIBRARY, self.model, holder.name],
                              capture_output=True, text=True, env=environment(), timeout=900)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("built with SQLITE_OMIT_AUTHORIZATION", done.stdout)
        self.assertIn("built with SQLITE_OMIT_VIRTUALTABLE", done.stdout)
        self.assertEqual(done.stdout.count("built with SQLITE_OMIT_INCRBLOB"), 6, done.stdout)
        self.assertNotIn("PROGRESS", done.stdout)
        self.assertGreater(done.stdout.count(" works\n"), 100)

    def test_all_functions_that_are_called_are_looked_for(self):
        taken = set(re.findall(r"(?:FUNCTION|OMITTED|DISPENSABLE)\((\w+)", (
            SOURCE / "sqlite/functions.h").read_text()))
        # What the importer calls besides is found where programs are linked.
        taken |= set(re.findall(r"FUNCTION\((vfs_\w+)\)", (SOURCE / "sqlite/linked.cpp").read_text()))
        for room in ("runtime", "sqlite", "database"):
            for path in (SOURCE / room).rglob("*.[ch]*"):
                if path.name != "linked.cpp":
                    self.assertNotIn("vfs_", path.read_text(), path)
        called = set()
        for room in ("runtime", "sqlite", "database", "importer", "compiler"):
            for path in (SOURCE / room).rglob("*.[ch]*"):
                if path.suffix in (".cpp", ".h"):
                    called |= set(re.findall(r"\bsqlite3_(\w+)\(", path.read_text()))
        renamed = {"interrupt": "interruptx", "threadsafe": "xthreadsafe"}
        called = {renamed.get(name, name) for name in called} - {"llmsql_init"}
        # Known to SQLite's table: the others are in comments, or of programs that link it.
        table = pathlib.Path("/usr/include/sqlite3ext.h").read_text()
        called = {name for name in called if re.search(rf"\(\*{name}\)", table)}
        self.assertEqual(called - taken, set())

    def test_two_libraries_in_one_process(self):
        if SANITIZED:
            self.skipTest("ASan does not go with a library's own scope")
        with open("/proc/self/maps") as maps:
            loadeds = [line.split()[-1] for line in maps if "libsqlite3" in line]
        if not loadeds:
            self.skipTest("this Python has its SQLite built in")
        script = """
import ctypes, sys
sys.path.insert(0, sys.argv[1])
from test_extension_hosts import *
library, model, expected, order = sys.argv[2:6]
other = ctypes.CDLL(library, mode=8)  # RTLD_DEEPBIND: its own functions are its own
for name in ("sqlite3_open", "sqlite3_enable_load_extension", "sqlite3_load_extension", "sqlite3_exec"):
    getattr(other, name).argtypes = None
def load_other():
    db, error = ctypes.c_void_p(), ctypes.c_char_p()
    assert other.sqlite3_open(b":memory:", ctypes.byref(db)) == 0
    other.sqlite3_enable_load_extension(db, 1)
    code = other.sqlite3_load_extension(db, LIBRARY.encode(), None, ctypes.byref(error))
    if code == 0:
        sql = f"SELECT llm_load('{model}'); SELECT llm_generate('The river')"
        code = other.sqlite3_exec(db, sql.encode(), None, None, ctypes.byref(error))
    return db, code, (error.value or b"").decode()
def load_own():
    try:
        db = loaded(model)
        assert value(db, GENERATE, GREEDY) == expected
        return db, 0, ""
    except sqlite3.OperationalError as error:
        return None, 1, str(error)
first, second = (load_own, load_other) if order == "own" else (load_other, load_own)
a, b = first(), second()
assert a[1] == 0, a
assert b[1] != 0 and "another SQLite library in this process" in b[2] and "\\n" not in b[2], b
if order == "own":
    assert value(a[0], GENERATE, GREEDY) == expected
    loaded(model).close()
else:
    error = ctypes.c_char_p()
    assert other.sqlite3_exec(a[0], b"SELECT llm_generate('The river')", None, None, ctypes.byref(error)) == 0
"""
        path = self.folder / "two.py"
        path.write_text(script)
        copy = shutil.copyfile(loadeds[0], self.folder / "libother.so")
        for order in ("own", "other"):
            done = subprocess.run([sys.executable, path, pathlib.Path(__file__).parent, copy,
                                   self.model, self.expected, order], capture_output=True, text=True,
                                  env=environment())
            self.assertEqual((done.returncode, done.stderr), (0, ""), order)


if __name__ == "__main__":
    main()
