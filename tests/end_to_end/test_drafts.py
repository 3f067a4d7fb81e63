#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Drafts: texts that repeat themselves come in fewer passes, and are the same to the last token."""

import random
import re
import signal
import subprocess
import unittest

import extension
from programs import compile_model
from running import DRAFTS, RunTest, attempt, start

REPEATING = "one two three four, one two three four, one two three four, one two"


class Drafts(RunTest):
    models = ("tiny-llama", "tiny-qwen2", "tiny-gemma3")

    def compiled(self, model, *options):
        plan = self.folder / f"{model}-{abs(hash(options))}.sql"
        return compile_model(self.made[model][1].with_suffix(".toml"), plan, "--context", 128, *options)

    def test_a_text_that_repeats_itself_comes_in_fewer_passes(self):
        options = ("-p", REPEATING, "-n", 60, "--temp", 0, "--ignore-eos")
        plain, _ = self.run_well(*options, "--drafts", 0, "--profile")
        right = 0
        for _ in range(12):  # how many are checked is a matter of time, but the first is in every run
            out, err = self.run_well(*options, "--profile")
            self.assertEqual(out, plain)
            found = DRAFTS.search(err)
            self.assertIsNotNone(found, err)
            passes = int(re.search(r"timing of decode: \d+ tokens?, (\d+) pass", err)[1])
            self.assertEqual(passes + int(found[2]), 59)  # each token is a pass's or a guess that was right
            right += int(found[2])
        self.assertGreater(right, 10)
        # It says nothing where it was not asked, or there are none.
        self.assertNotIn("drafts", self.run_well(*options)[1])
        self.assertNotIn("drafts", self.run_well(*options, "--drafts", 0, "--profile")[1])

    def test_the_text_is_the_same_whatever_the_options(self):
        random.seed(5)
        ways = (["-t", 1], ["-b", 3], ["--stop", "e"], ["--repeat-penalty", 1.3], ["--keep", 10],
                ["--top-k", 2], ["--top-p", 0.5], ["-c", 50], ["--io", "blob"])
        for model in self.models:
            plans = [self.made[model][0], self.compiled(model, "--kv", "q8", "--drafts", 3),
                     self.compiled(model, "--budget", "16MiB"), self.compiled(model, "--logits-rows", 2),
                     self.compiled(model, "--chunk", 4, "--drafts", 16), self.compiled(model, "--drafts", 20)]
            for plan in plans:
                for _ in range(3):
                    options = ["-p", random.choice((REPEATING, "A hill")), "-n", random.choice((7, 70, 150)),
                               "-s", random.randrange(100), "--temp", random.choice((0, 0.3, 1.2))]
                    for way in random.sample(ways, 3):
                        options += way
                    with self.subTest(plan=plan.name, options=options):
                        status, expected, err = attempt(plan, self.made[model][1], *options, "--drafts", 0)
                        self.assertEqual(status, 0, err)
                        self.assertEqual(attempt(plan, self.made[model][1], *options)[:2], (0, expected))

    def test_what_was_killed_goes_on_with_the_same_tokens(self):
        """A commit after each token: of what a pass has made, some may be kept and some not."""
        random.seed(6)
        options = ("-p", REPEATING, "-n", 50, "--temp", 0.4, "-s", 3, "--ignore-eos")
        expected, _ = self.run_well(*options, "--drafts", 0)
        killed = 0
        for n in range(12):
            session = ("--session", self.folder / f"killed{n}.db")
            process = start(self.plan, self.db, *session, *options, "--commit-every", 1 + n % 3,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            process.stdout.read(len(REPEATING) + random.randrange(1, len(expected) - len(REPEATING)))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            status, out, err = attempt(self.plan, self.db, *session, "--continue")
            if status == 1 and "is whole" in err:
                continue
            self.assertEqual(status, 0, err)
            self.assertEqual(out, expected)
            killed += 1
        self.assertGreater(killed, 0)

    def test_the_plan_says_how_many_and_what_they_cost(self):
        first = {}
        for drafts in (0, 8, 20):
            plan = self.compiled("tiny-llama", "--drafts", drafts)
            first[drafts] = plan.read_text().split("--@ init")[0]
        self.assertNotIn("drafts", first[0])
        for drafts in (8, 20):
            self.assertIn(f" · drafts {drafts}\n", first[drafts])
            self.assertIn(f" · logits rows {drafts + 1} · ", first[drafts])
            self.assertRegex(first[drafts], rf"\n-- drafts: up to {drafts} of a text in a pass; they take [\d.]+ \w+ "
                                            r"of memory\n")
        # Unless told: where it costs little.
        self.assertIn(" · drafts 8\n", self.made["tiny-llama"][0].read_text())
        self.assertIn("read", re.search(r"\n-- drafts: .*", self.compiled(
            "tiny-llama", "--budget", "16MiB", "--drafts", 8).read_text())[0])
        # No more than a pass has rows.
        self.assertIn(" · drafts 3\n", self.compiled("tiny-llama", "--chunk", 4).read_text())

    def test_more_than_the_plan_has_room_for_is_refused(self):
        status, out, err = attempt(self.plan, self.db, "-p", "a", "--drafts", 9)
        self.assertEqual((status, out), (1, b""))
        self.assertRegex(err, r"\Allmsql-run: --drafts: 9 tokens; the plan has room for 8, llmsqlc --drafts 9 [^\n]+\n\Z")
        for wrong in ("-1", "x", "1.5"):
            status, _, err = attempt(self.plan, self.db, "-p", "a", "--drafts", wrong)
            self.assertEqual(status, 2)
            self.assertRegex(err, r"\A[^\n]*--drafts[^\n]*\n\Z")

    def test_in_sql(self):
        plan = self.compiled("tiny-llama", "--sequences", 3, "--drafts", 8)
        info = extension.expect_same_with_drafts(
            self, self.db, plan, [REPEATING + " " * (i % 2) for i in range(7)], temperature=0.5)
        self.assertGreater(info["accepted"], 100)


if __name__ == "__main__":
    extension.main()
