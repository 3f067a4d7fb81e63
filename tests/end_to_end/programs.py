# SPDX-License-Identifier: MIT
"""What the end-to-end tests share: the programs under test, and models made with them.

Where the programs are is told by CTest through LLMSQL_IMPORT, LLMSQLC and LLMSQL_RUN, the source by
LLMSQL_SOURCE_DIR, downloaded models by LLMSQL_MODELS_DIR.
"""

import os
import pathlib
import re
import sqlite3
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

import numpy as np

SOURCE = pathlib.Path(os.environ.get("LLMSQL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
MODELS = pathlib.Path(os.environ.get("LLMSQL_MODELS_DIR", SOURCE / "downloads"))
FIXTURES = SOURCE / "tests" / "fixtures"

sys.path.insert(0, str(SOURCE / "tests" / "reference"))


def compute_as_shown(test):
    """What documents show, AVX2's kernels computed: others may choose another word where two are nearly as likely."""
    if not re.search(r"^flags.*\bavx2\b", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE):
        test.skipTest("this processor has no AVX2, with which documents were written")
    environment = unittest.mock.patch.dict(os.environ, LLMSQL_KERNELS="avx2")
    environment.start()
    test.addCleanup(environment.stop)


def run(variable, *arguments, **options):
    """Runs the program that the environment variable names; fails with its stderr."""
    program = os.environ.get(variable)
    if not program:
        raise RuntimeError(f"{variable} is not set: run this test by ctest, or set it to a program")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, **options)
    if done.returncode != 0:
        raise AssertionError(f"{variable} {' '.join(map(str, arguments))}\nexited with "
                             f"{done.returncode}: {done.stderr.decode(errors='replace')}")
    return done


def shown(bytes):
    """Bytes as a plan's header shows them."""
    unit, name = (1000, "kB") if bytes < 1_000_000 else (1_000_000, "MB")
    tenths = (bytes + unit // 20) // (unit // 10)
    return f"{bytes} bytes" if bytes < 1000 else f"{tenths // 10}.{tenths % 10} {name}"


# Started by a small process, as the system counts the most memory of who starts a program as that program's, too: with
# NumPy this one is as large as the smallest budgets.
STARTER = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ,
                       file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status) and 1)
"""


def run_and_measure(variable, *arguments):
    """(stderr, peak resident set in bytes) of a run that has to succeed."""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", STARTER, os.environ[variable], *map(str, arguments)],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{variable} failed: {done.stderr}")
    return done.stderr, int(done.stdout)


def rows(db, query):
    connection = sqlite3.connect(f"file:{db}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


class TemporaryFolder(unittest.TestCase):
    """Each test has an empty folder of its own."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)


def folder_of(tests):
    """An empty folder that the tests of a class share, and which goes when they have ended."""
    holder = tempfile.TemporaryDirectory()
    tests.addClassCleanup(holder.cleanup)
    return pathlib.Path(holder.name)


def import_gguf(gguf, graph, weights, folder):
    """Imports a GGUF with --graph; returns the paths of the database and of the model file."""
    db, toml = folder / f"{gguf.stem}.{weights}.db", folder / f"{gguf.stem}.{weights}.toml"
    run("LLMSQL_IMPORT", gguf, "--graph", SOURCE / "graphs" / f"{graph}.graph", "--weights", weights,
        "-o", db, "--write-model", toml)
    return db, toml


def compile_model(toml, plan, *options):
    run("LLMSQLC", toml, "-o", plan, "--graph-dir", SOURCE / "graphs", *options)
    return plan


def logits(plan, db, tokens, folder, *options):
    """f32 [len(tokens), n_vocab]"""
    out = folder / "logits.npy"
    run("LLMSQL_RUN", plan, db, "--tokens", ",".join(map(str, tokens)), "--logits", out, *options)
    result = np.load(out)
    out.unlink()
    return result
