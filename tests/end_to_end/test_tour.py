#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/tour.md: its session in the sqlite3 shell is typed in, and gives what stands there; its
statements are the plan's. With LLMSQL_WRITE=1 the results are written into it."""

import os
import pathlib
import re
import tempfile
import unittest

import extension
from programs import MODELS, SOURCE, compile_model, compute_as_shown, run

PAGE = SOURCE / "docs" / "tour.md"
BLOCK = re.compile(r"^```sqlite\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+")


def steps(block):
    """[(input, as it is typed; result)]"""
    parts = re.findall(r"^(sqlite> .*\n(?:   \.\.\.> .*\n)*)((?:(?!sqlite> ).*\n)*)", block, re.MULTILINE)
    return [(typed, result) for typed, result in parts]


def plain(typed):
    return re.sub(r"^(sqlite>|   \.\.\.>) ", "", typed, flags=re.MULTILINE)


class Tour(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        if not (MODELS / "smollm2.gguf").exists():
            self.skipTest("downloads/smollm2.gguf is not there (scripts/fetch-models brings it)")
        compute_as_shown(self)

    def test_session(self):
        text = PAGE.read_text()
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            db, toml = folder / "smollm2.db", SOURCE / "models" / "smollm2-135m.toml"
            run("LLMSQL_IMPORT", MODELS / "smollm2.gguf", "--model", toml, "-o", db)
            plan = compile_model(toml, folder / "plan.sql", "--install", db)
            (folder / "init.sql").write_text(plan.read_text().partition("--@ forward")[0])
            inputs = [plain(typed) for block in BLOCK.findall(text) for typed, _ in steps(block)]
            script = "".join(f"{each}.print -- end of {i}\n" for i, each in enumerate(inputs))
            script = (".mode list\n" + script.replace("build/lib/libllmsql", extension.LIBRARY)
                      .replace(" plan.sql", f" {plan}").replace(" init.sql", f" {folder / 'init.sql'}"))
            out, err = extension.shell(db, script)
            statements = plan.read_text()
            for each in inputs:
                if each.startswith("INSERT"):
                    self.assertIn(each, statements)
        # An error's text stands where it happened, without the line in the script.
        errors = iter(re.sub(r"near line \d+", "", line) for line in err.splitlines())
        results = []
        for i in range(len(inputs)):
            result, _, out = out.partition(f"-- end of {i}\n")
            results.append(result)
        self.assertEqual(out, "")
        self.assertFalse([each for each in results if "-- end of" in each])
        expected = [result for block in BLOCK.findall(text) for _, result in steps(block)]
        for i, result in enumerate(expected):
            if result.startswith("Runtime error"):
                results[i] = next(errors).replace(" :", ":") + "\n"
        self.assertEqual(list(errors), [])
        if os.environ.get("LLMSQL_WRITE"):
            left = iter(results)
            text = BLOCK.sub(lambda match: "```sqlite\n" + "".join(
                typed + next(left) for typed, _ in steps(match[1])) + "```", text)
            PAGE.write_text(text)
            expected = results
        # Processors round each in their own way.
        for typed, got, shown in zip(inputs, results, expected):
            self.assertEqual(NUMBER.sub("#", got), NUMBER.sub("#", shown), typed)
            for a, b in zip(NUMBER.findall(got), NUMBER.findall(shown)):
                self.assertAlmostEqual(float(a), float(b), delta=0.02 + 0.02 * abs(float(b)))


if __name__ == "__main__":
    extension.main()
