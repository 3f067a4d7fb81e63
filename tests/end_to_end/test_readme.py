#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The console sessions of the README and of docs/getting-started.md do what they show: each command
is run, and prints what stands below it. The plan's pieces that they quote are in the plan."""

import os
import pathlib
import re
import shlex
import subprocess
import tempfile
import unittest

from programs import MODELS, SOURCE, compile_model, compute_as_shown

PAGES = {name: (SOURCE / name).read_text() for name in ("README.md", "docs/getting-started.md")}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)


def perplexity(line):
    return float(line.removeprefix("perplexity: "))


class Readme(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)

    def test_console_sessions(self):
        if not (MODELS / "smollm2.gguf").exists():
            self.skipTest("downloads/smollm2.gguf is not there (scripts/fetch-models brings it)")
        compute_as_shown(self)
        programs = {f"build/bin/{name}": os.environ[variable] for name, variable in (
            ("llmsql", "LLMSQL_COMMAND"), ("llmsql-import", "LLMSQL_IMPORT"), ("llmsqlc", "LLMSQLC"),
            ("llmsql-run", "LLMSQL_RUN"))}
        programs["build/lib/libllmsql"] = os.environ["LLMSQL_EXTENSION"]
        for name in ("models", "graphs", "tests"):
            (self.folder / name).symlink_to(SOURCE / name)
        (self.folder / "downloads").symlink_to(MODELS)
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache")}
        for page in PAGES:
            self.session(page, programs, environment)

    def session(self, page, programs, environment):
        steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", "".join(blocks(page, "console")), re.MULTILINE)
        self.assertGreater(len(steps), 5)
        for command, shown in steps:
            with self.subTest(page=page, command=command):
                command = re.sub(r"\bbuild/(bin|lib)/[a-z-]+", lambda name: shlex.quote(programs[name[0]]), command)
                done = subprocess.run(command, shell=True, cwd=self.folder, capture_output=True, env=environment)
                self.assertEqual(done.returncode, 0, done.stderr.decode())
                if shown.startswith("perplexity: "):  # processors round each in their own way
                    self.assertAlmostEqual(perplexity(done.stdout.decode()), perplexity(shown),
                                           delta=0.01 * perplexity(shown))
                elif shown:
                    self.assertEqual(done.stdout.decode(), shown)

    def test_quoted_sql(self):
        plan = compile_model(SOURCE / "models" / "smollm2-135m.toml", self.folder / "plan.sql")
        for page in PAGES:
            (quoted,) = blocks(page, "sql")
            self.assertTrue(quoted in plan.read_text(), f"not in the plan:\n{quoted}")

    def test_quoted_graph(self):
        (quoted,) = blocks("docs/getting-started.md", "graph")
        graph = " ".join((SOURCE / "graphs" / "qwen2.graph").read_text().split())
        self.assertTrue(" ".join(quoted.split()) in graph, f"not in the graph:\n{quoted}")


if __name__ == "__main__":
    unittest.main()
