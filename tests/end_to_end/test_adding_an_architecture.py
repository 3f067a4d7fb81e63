#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/adding-an-architecture.md, steps 2 to 9 as they stand: the graph that they make of OLMo 2 is checked,
imported, compiled and run by the page's own commands, and gives the logits that transformers gave."""

import os
import re
import shlex
import subprocess
import sys
import unittest

import numpy as np

from programs import FIXTURES, SOURCE, TemporaryFolder, logits

PAGE = (SOURCE / "docs" / "adding-an-architecture.md").read_text()
PROGRAMS = {"build/bin/llmsql-import": "LLMSQL_IMPORT", "build/bin/llmsqlc": "LLMSQLC",
            "build/bin/llmsql-run": "LLMSQL_RUN", "python3": None}
GRAPHS = SOURCE / "graphs"


def step(number):
    return re.search(rf"^{number}\. \*\*.*?(?=^{number + 1}\. \*\*)", PAGE, re.MULTILINE | re.DOTALL)[0]


def blocks(number, language=""):
    """The step's blocks of code, as far left as the page's lists allow."""
    found = re.findall(rf"^   ```{language}\n(.*?)^   ```$", step(number), re.MULTILINE | re.DOTALL)
    return [re.sub(r"^   ", "", each, flags=re.MULTILINE) for each in found]


class Page(TemporaryFolder):
    def execute(self, line):
        """A command of the page, in the test's folder; the exit status and what was said."""
        words = shlex.split(line, comments=True)
        environment = dict(os.environ)
        while "=" in words[0]:
            name, value = words.pop(0).split("=")
            environment[name] = str(SOURCE / value)
        if words[0] in PROGRAMS:
            name = PROGRAMS[words[0]]
            words[0] = os.environ[name] if name else sys.executable
        words = [str(SOURCE / word) if word.startswith(("tests/", "graphs/")) else word for word in words]
        if ">" in words:
            *words, _, written = words
            with open(self.folder / written, "wb") as out:
                return subprocess.run(words, cwd=self.folder, stdout=out, check=True)
        return subprocess.run(words, cwd=self.folder, env=environment, capture_output=True)

    def succeed(self, line):
        done = self.execute(line)
        self.assertEqual(done.returncode, 0, f"{line}\n{(done.stderr or b'').decode(errors='replace')}")
        return (done.stdout or b"").decode(errors="replace")

    def write_graph(self, *steps):
        """The page's graph; with 5 and 6 the block and the loop become what these steps say."""
        graph, = (each for each in blocks(3) if "graph olmo2" in each)
        if 5 in steps:
            block, = blocks(5)
            graph, count = re.subn(r"^  block .*?^  }\n", lambda _: block, graph, flags=re.MULTILINE | re.DOTALL)
            self.assertEqual(count, 1)
        if 6 in steps:
            body, = blocks(6)
            graph, count = re.subn(r"^(    for l in layer {\n).*?(?=^    }\n)", lambda loop: loop[1] + body, graph,
                                   flags=re.MULTILINE | re.DOTALL)
            self.assertEqual(count, 1)
        (self.folder / "mine" / "olmo2.graph").write_text(graph)

    def test_steps(self):
        make, folder, _ = blocks(2, "sh")[0].splitlines()
        self.succeed(make)
        self.succeed(folder)
        (check,), (imported, compiled, ran) = (blocks(each, "sh")[0].splitlines() for each in (7, 8))
        self.write_graph()
        self.assertEqual(self.succeed(check), "mine/olmo2.graph: ok\n")
        refused = self.execute(imported)  # Llama's layers are not OLMo 2's
        self.assertNotEqual(refused.returncode, 0)
        self.write_graph(5, 6)
        self.assertEqual(self.succeed(check), "mine/olmo2.graph: ok\n")
        for line in imported, compiled, ran:
            self.succeed(line)
        self.succeed(blocks(9, "sh")[0].splitlines()[0])
        self.assertEqual(np.load(self.folder / "logits.npy").shape[0], 6)
        recorded = np.load(FIXTURES / "architectures" / "olmo2.npz")
        ours = logits(self.folder / "tiny.sql", self.folder / "tiny.db", recorded["tokens"], self.folder)
        self.assertLess(abs(ours[recorded["rows"]] - recorded["logits_kv_f16"]).max(), 1e-3)

    def test_a_copy(self):
        """Step 3's command takes all names of the graph that it copies."""
        (self.folder / "mine").mkdir()
        copying, = blocks(3, "sh")
        self.succeed(copying)
        copy, = (self.folder / "mine").iterdir()
        self.assertIsNone(re.search("seed", re.sub(r"//.*", "", copy.read_text()), re.IGNORECASE))
        self.assertEqual(self.succeed(f"build/bin/llmsqlc mine/{copy.name}"), f"mine/{copy.name}: ok\n")

    def test_parts_and_files_that_are_named(self):
        for name in set(re.findall(r"`((?:\w+/)*\w+\.(?:part|graph|py|cpp))`", PAGE)):
            if name.startswith(("mine/", "conversion/", "src/", "gguf-py/")) or name == "convert_hf_to_gguf.py":
                continue  # the reader's own, llama.cpp's
            with self.subTest(name):
                places = (SOURCE, GRAPHS, SOURCE / "tests" / "reference", SOURCE / "tests" / "end_to_end")
                self.assertTrue(any((place / name).exists() for place in places))


if __name__ == "__main__":
    unittest.main()
