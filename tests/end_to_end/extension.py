# SPDX-License-Identifier: MIT
"""What the tests of the loadable extension share: connections that have loaded it.

Under AddressSanitizer the library needs ASan's runtime first in the process: tests that load it
start themselves anew with it (see main())."""

import contextlib
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import threading
import unittest

from programs import FIXTURES, SOURCE, import_gguf, run

LIBRARY = os.environ["LLMSQL_EXTENSION"]
SANITIZED = bool(os.environ.get("LLMSQL_SANITIZED"))


def asan():
    """ASan's runtime, and C++'s, which it looks for exceptions in when it starts."""
    return " ".join(subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True,
                                   check=True).stdout.strip()
                    for name in ("libasan.so", "libstdc++.so"))


def environment():
    """Of a process that is to load the library. What Python, or a shell, leaks is not ours."""
    if not SANITIZED:
        return dict(os.environ)
    return dict(os.environ, LD_PRELOAD=asan(), ASAN_OPTIONS="detect_leaks=0")


def main():
    if SANITIZED and "libasan" not in os.environ.get("LD_PRELOAD", ""):
        os.execve(sys.executable, [sys.executable, *sys.argv], environment())
    unittest.main()


def connect(database=":memory:", **options):
    db = sqlite3.connect(database, **options)
    db.enable_load_extension(True)
    db.load_extension(LIBRARY)
    db.enable_load_extension(False)
    return db


def expect_same_with_drafts(test, model_db, plan, prompts, temperature):
    """A plan with room for 8 drafts gives the answers that there are without, one by one and in a batch; llm_info() of it all."""
    db = connect()
    test.addCleanup(db.close)
    db.execute("SELECT llm_load(?, ?)", (str(model_db), str(plan)))
    db.execute("CREATE TABLE question(id INTEGER PRIMARY KEY, prompt)")
    db.executemany("INSERT INTO question(prompt) VALUES (?)", [(prompt,) for prompt in prompts])

    def answers(sql, **options):
        options = {"n_predict": 40, "temperature": temperature, "seed": 4, "ignore_eos": True} | options
        return [answer for (answer,) in db.execute(sql, (json.dumps(options),))]

    def info():
        return json.loads(db.execute("SELECT llm_info()").fetchone()[0])

    one = "SELECT llm_generate(prompt, ?) FROM question ORDER BY id"
    batch = "SELECT answer FROM llm_batch('SELECT id, prompt FROM question ORDER BY id', ?)"
    expected = answers(one, drafts=0)
    none = info()
    test.assertEqual((none["drafts"], none["drafted"], none["accepted"]), (8, 0, 0))
    test.assertEqual(answers(one), expected)
    test.assertEqual(answers(batch), expected)
    test.assertEqual(answers(batch, drafts=2), expected)
    after = info()
    test.assertGreaterEqual(after["drafted"], after["accepted"])
    return after


@contextlib.contextmanager
def interrupting(db, pause=0.1):
    """Interrupts whatever runs, again and again: one before a statement begins is lost."""
    over = threading.Event()

    def interrupt():
        while not over.wait(pause):
            db.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def value(db, sql, *arguments):
    return db.execute(sql, arguments).fetchone()[0]


def shell(database, script):
    """(stdout, stderr) of the sqlite3 shell with the library loaded."""
    done = subprocess.run(["sqlite3", "-batch", str(database)], text=True, capture_output=True,
                          input=f".load {LIBRARY}\n{script}", env=environment(), timeout=300)
    return done.stdout, done.stderr


def tiny(folder, name="tiny-llama", graph="llama", *options):
    """A tiny model with a plan installed: its database."""
    db, toml = import_gguf(FIXTURES / f"{name}.gguf", graph, "f32", pathlib.Path(folder))
    usual = {"--context": 128, "--chunk": 32, "--sequences": 8}
    run("LLMSQLC", toml, "--install", db, "--graph-dir", SOURCE / "graphs", *options,
        *(part for option in usual.items() if option[0] not in options for part in option))
    return db
