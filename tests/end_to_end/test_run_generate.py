#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""llmsql-run -p: what it prints, when it stops, and that it does what --logits says."""

import re
import signal
import subprocess
import unittest

from running import STATISTICS, RunTest, start

PROMPT = "The river"


class Generate(RunTest):
    def test_greedy_is_the_likeliest_token_each_time(self):
        out, err = self.run_well("-p", PROMPT, "-n", 12, "--temp", 0)
        tokens = self.tokens_of(PROMPT)
        expected = self.text_of(self.go_on(tokens, 12))
        self.assertEqual(out.rstrip(b"\n"), (PROMPT.encode() + expected).rstrip(b"\n"))
        self.assertEqual(self.statistics(err), (len(tokens), 12))

    def test_passes_and_threads_change_nothing(self):
        prompt = PROMPT * 8
        first, _ = self.run_well("-p", prompt, "-n", 8, "--temp", 0)
        for batch in (1, 7, 1000):
            for threads in (1, 2):
                out, _ = self.run_well("-p", prompt, "-n", 8, "--temp", 0, "-b", batch, "-t", threads)
                self.assertEqual(out, first)

    def test_seed(self):
        def run(*options):
            return self.run_well("-p", PROMPT, "-n", 20, "--ignore-eos", *options)[0]
        any_token = ("--temp", 3, "--top-k", 0, "--top-p", 1, "--min-p", 0)
        self.assertEqual(run("--seed", 5, *any_token), run("--seed", 5, *any_token))
        self.assertNotEqual(run("--seed", 5, *any_token), run("--seed", 6, *any_token))
        self.assertNotEqual(run(*any_token), run(*any_token))
        self.assertEqual(run("--top-k", 1), run("--temp", 0))
        self.assertEqual(run("--min-p", 1), run("--temp", 0))
        self.assertEqual(run("--top-p", 0), run("--temp", 0))
        self.assertNotEqual(run("--temp", 0, "--repeat-penalty", 1000), run("--temp", 0))

    def test_prompt_from_a_file(self):
        file = self.folder / "prompt.txt"
        file.write_text(PROMPT + "\n")
        self.assertEqual(self.run_well("-f", file, "-n", 5, "--temp", 0)[0],
                         self.run_well("-p", PROMPT, "-n", 5, "--temp", 0)[0])

    def test_timing_adds_up(self):
        options = ("-p", PROMPT, "-n", 9, "--temp", 0, "--ignore-eos", "-b", 2, "--drafts", 0)
        plain, _ = self.run_well(*options)
        out, err = self.run_well(*options, "--profile=passes")
        self.assertEqual(out, plain)
        blocks = re.findall(r"^timing of (\w+): (\d+) tokens, (\d+) passes; a pass: (\d+\.\d+) ms, "
                            r"(\d+) statements, \d+ jobs\n((?:  .*\n)+)", err, re.MULTILINE)
        tokens = len(self.tokens_of(PROMPT))
        self.assertEqual([block[:3] for block in blocks],
                         [("prefill", str(tokens), str(-(-tokens // 2))), ("decode", "8", "8")])
        for *_, milliseconds, statements, lines in blocks:
            self.assertGreater(int(statements), 10)
            parts = re.findall(r"^  (\D+?) +(\d+\.\d+) ms +(\d+\.\d+) %$", lines, re.MULTILINE)
            self.assertEqual([name for name, _, _ in parts], ["computing", "reading", "SQL", "hand-offs",
                                                              "sampling and text"])
            self.assertAlmostEqual(sum(float(part[1]) for part in parts), float(milliseconds), delta=0.01)
            self.assertAlmostEqual(sum(float(part[2]) for part in parts), 100, delta=0.1)

    def test_no_tokens_wanted(self):
        out, err = self.run_well("-p", PROMPT, "-n", 0)
        self.assertEqual(out, PROMPT.encode() + b"\n")
        self.assertEqual(self.statistics(err)[1], 0)

    def test_stop_text_is_not_printed(self):
        options = ("-p", PROMPT, "-n", 80, "--temp", 5, "--top-k", 0,
                   "--top-p", 1, "--min-p", 0, "--seed", 1, "--ignore-eos")
        whole = self.run_well(*options)[0][len(PROMPT):].decode()
        # Stop texts are bytes of tokens; what was printed instead of broken ones can't be one.
        stops = {whole[at:at + 1 + at % 4] for at in range(len(whole))}
        stops = sorted(stop for stop in stops if stop.isascii() and stop.isprintable())
        self.assertGreater(len(stops), 10)
        for stop in stops[::len(stops) // 10]:
            with self.subTest(stop=stop):
                out, err = self.run_well(*options, "--stop", "never in it", "--stop", stop)
                before = whole[:whole.index(stop)]
                self.assertEqual(out.decode().rstrip("\n"), (PROMPT + before).rstrip("\n"))

    def test_end_tokens_end_the_text_unless_ignored(self):
        # At this temperature every token is about as likely, 2 of 300 end a text.
        options = ("-p", PROMPT, "-n", 600, "--temp", 1000, "--top-k", 0, "--top-p", 1, "--min-p", 0,
                   "--keep", 1, "--seed", 1)
        self.assertLess(self.statistics(self.run_well(*options)[1])[1], 600)
        out, err = self.run_well(*options, "--ignore-eos")
        self.assertEqual(self.statistics(err)[1], 600)
        for piece in (b"<|endoftext|>", b"<|im_end|>", b"<|im_start|>"):
            self.assertNotIn(piece, out)
        out.decode()  # whole characters, although bytes came in any order

    def test_a_full_context_stops(self):
        size = len(self.tokens_of(PROMPT)) + 10
        out, err = self.run_well("-p", PROMPT, "--temp", 0, "--ignore-eos", "-c", size)
        # The last token is picked when the context is full; it needs no place in it.
        self.assertEqual(self.statistics(err)[1], 11)
        self.assertIn(f"stopped: the context of {size} tokens is full", err)
        self.assertTrue(out.startswith(
            self.run_well("-p", PROMPT, "--temp", 0, "--ignore-eos", "-n", 10)[0].rstrip(b"\n")))

    def test_keep_forgets_the_older_half_and_recomputes(self):
        for keep in (0, 3, -1):
            context = 16
            out, err = self.run_well("-p", PROMPT, "--temp", 0, "-n", 22, "-c", context, "--keep", keep)
            held = self.tokens_of(PROMPT)
            kept = len(held) if keep < 0 else keep
            answer = []
            while len(answer) < 22 and (token := self.likeliest(held)) not in (0, 2):
                answer.append(token)
                if len(held) == context:
                    newer = (context - kept) // 2
                    held = held[:kept] + held[context - newer:]
                held.append(token)
            self.assertGreater(len(answer), context)  # or the context was never full
            self.assertEqual(out.rstrip(b"\n"), (PROMPT.encode() + self.text_of(answer)).rstrip(b"\n"))

    def test_keep_without_room(self):
        size = len(self.tokens_of(PROMPT)) + 3
        _, err = self.run_well("-p", PROMPT, "-c", size, "--keep", size, "--temp", 0, "--ignore-eos")
        self.assertIn("--keep leaves nothing to forget", err)

    def endless(self, **options):
        return start(self.plan, self.db, "-p", PROMPT, "--ignore-eos", "--keep", 4,
                     stderr=subprocess.PIPE, **options)

    def test_interrupt(self):
        for sent, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            process = self.endless(stdout=subprocess.PIPE)
            process.stdout.read(200)
            process.send_signal(sent)
            out, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, status)
            self.assertRegex(err.decode(), STATISTICS)
            self.assertTrue(out.endswith(b"\n"))
            out.decode()

    def test_reader_goes_away(self):
        process = self.endless(stdout=subprocess.PIPE)
        process.stdout.read(50)
        process.stdout.close()
        self.assertEqual(process.stderr.read(), b"")
        self.assertEqual(process.wait(timeout=60), 128 + signal.SIGPIPE)
        process.stderr.close()

    def test_output_can_not_be_written(self):
        with open("/dev/full", "wb") as full:
            process = self.endless(stdout=full)
            _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertRegex(err.decode(), r"\Allmsql-run: standard output: [^\n]+\n\Z")


if __name__ == "__main__":
    unittest.main()
