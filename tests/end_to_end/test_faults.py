#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The programs themselves while memory runs out and files fail, by a library that is preloaded: at points
far apart, which the programs of tests/faults/ do not skip. What those cannot see is how a program ends:
with one line and a status, whatever is left to say it with."""

import os
import shutil
import subprocess
import unittest

from programs import FIXTURES, SOURCE, run
from running import RunTest

# Points fail at 1 and then ever further apart: what lies between is much like what comes before.
GROWTH = 1.35


@unittest.skipIf(os.environ.get("LLMSQL_SANITIZED") == "1", "the sanitizers' allocator stands before")
class Faults(RunTest):
    def struck(self, kind, point, lasts, program, *arguments):
        """(status, stdout, stderr, the call that failed or None)"""
        report = self.folder / "report"
        report.unlink(missing_ok=True)
        environment = {**os.environ, "LD_PRELOAD": os.environ["LLMSQL_FAULTS_PRELOAD"], "LLMSQL_FAULT": kind,
                       "LLMSQL_FAULT_POINT": str(point), "LLMSQL_FAULT_REPORT": str(report)}
        if lasts:
            environment["LLMSQL_FAULT_LASTS"] = "1"
        try:
            done = subprocess.run([os.environ[program], *map(str, arguments)], capture_output=True, timeout=120,
                                  env=environment)
        except subprocess.TimeoutExpired:
            self.fail(f"it does not end: {program}, {kind}, point {point}{' and all after it' if lasts else ''}")
        call = report.read_text().strip() if report.exists() else "?"
        return done.returncode, done.stdout, done.stderr.decode(), None if call == "-" else call

    def everywhere(self, program, name, *arguments, before=lambda: None, after=lambda status, err: None):
        before()
        right = subprocess.run([os.environ[program], *map(str, arguments)], capture_output=True, check=True)
        after(0, "")
        for kind in "memory", "files":
            for lasts in False, True:
                point, points = 1, 0
                while True:
                    before()
                    status, out, err, call = self.struck(kind, point, lasts, program, *arguments)
                    with self.subTest(program=name, kind=kind, point=point, lasts=lasts, call=call):
                        self.assertIn(status, (0, 1, 2), err)  # 2: an argument seems to be none
                        if status == 0:  # it could do without
                            self.assertEqual(out, right.stdout)
                        elif kind == "memory" or call != "write" or err:
                            # Where nothing can be written, nothing can be said.
                            place = r"[^\n]+:\d+:\d+: error: [^\n]+\n[^\n]*\n *\^\n\Z"
                            self.assertRegex(err, rf"\A(?:{name}: note: [^\n]*\n)*(?:{name}: [^\n]+\n\Z|{place})")
                        after(status, err)
                    if not call:
                        break
                    points += 1
                    point = int(point * GROWTH) + 1
                self.assertGreater(points, 8)

    def test_importing(self):
        db, source = self.folder / "made.db", FIXTURES / "tiny-llama-quant.gguf"

        def before():
            for file in self.folder.glob("made.db*"):
                file.unlink()

        def after(status, _):
            left = {file.name for file in self.folder.glob("made.db*")}
            self.assertEqual("made.db" in left, status == 0)

        self.everywhere("LLMSQL_IMPORT", "llmsql-import", source, "--graph-dir", SOURCE / "graphs", "-o", db,
                        before=before, after=after)

    def test_a_thread_that_cannot_be_had(self):
        call, point = "", 0
        while call != "pthread_create":
            point += 1
            status, out, err, call = self.struck("files", point, True, "LLMSQL_IMPORT", FIXTURES / "tiny-llama-quant.gguf",
                                                 "--graph-dir", SOURCE / "graphs", "-o", self.folder / "made.db")
            self.assertIsNotNone(call, "no thread was wanted")
        self.assertEqual((status, out), (1, b""))
        self.assertEqual(err, "llmsql-import: cannot start a thread that waits for interruptions: Resource temporarily "
                              "unavailable; raise what limits memory or threads (ulimit -v, ulimit -u)\n")

    def test_compiling(self):
        toml, plan = self.db.with_suffix(".toml"), self.folder / "made.sql"
        right = self.plan.read_bytes()

        def after(status, _):
            if plan.exists():  # whole, or not there
                self.assertEqual(plan.read_bytes(), right)
            else:
                self.assertNotEqual(status, 0)

        self.everywhere("LLMSQLC", "llmsqlc", toml, "-o", plan, "--graph-dir", SOURCE / "graphs", "--context", 128,
                        "--chunk", 32, before=lambda: plan.unlink(missing_ok=True), after=after)

    def test_installing(self):
        toml, db, copy = self.db.with_suffix(".toml"), self.db, self.folder / "copy.db"
        arguments = toml, "--install", copy, "--graph-dir", SOURCE / "graphs", "--context", 128
        journal = self.folder / "copy.db-journal"

        def before():
            journal.unlink(missing_ok=True)
            shutil.copy(db, copy)

        def after(status, err):
            # What undoes it is run at once; where that cannot be, it is said.
            if journal.exists() and journal.stat().st_size:
                self.assertNotEqual(status, 0)
                self.assertIn(f"until {journal} has put it back", err)
            elif status != 0:
                self.assertEqual(copy.read_bytes(), db.read_bytes())
            run("LLMSQLC", *arguments)
            run("LLMSQL_RUN", copy, "--verify")

        self.everywhere("LLMSQLC", "llmsqlc", *arguments, before=before, after=after)

    def test_running(self):
        self.everywhere("LLMSQL_RUN", "llmsql-run", self.plan, self.db, "--tokenize", FIXTURES / "perplexity.txt")
        copy = self.folder / "copy.db"
        shutil.copy(self.db, copy)
        self.everywhere("LLMSQL_RUN", "llmsql-run", copy, "--verify")


if __name__ == "__main__":
    unittest.main()
