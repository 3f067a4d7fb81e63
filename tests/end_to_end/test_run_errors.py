#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bad input to llmsql-run: one clear line, the right exit status, no file left behind."""

import os
import pathlib
import resource
import signal
import subprocess
import time
import unittest

from running import RunTest, attempt, start


class Errors(RunTest):
    def check(self, arguments, status, message, **options):
        with self.subTest(arguments=arguments):
            before = sorted(self.folder.iterdir())
            got, out, err = attempt(*arguments, **options)
            self.assertEqual(got, status, err)
            self.assertEqual(out, b"")
            self.assertRegex(err, r"\Allmsql-run: [^\n]+\n\Z")
            self.assertIn(message, err)
            self.assertEqual(sorted(self.folder.iterdir()), before)

    def test_command_line(self):
        both = (self.plan, self.db)
        for arguments, message in (
                ((), "a database is needed"),
                ((*both, "--plan", "a"), "--plan names a plan that is installed"),
                ((*both, "third"), "third"),
                ((*both, "--nonsense"), "--nonsense"),
                ((*both, "-n", "many"), "many"),
                ((*both, "-n", "-2"), "-n: "),
                ((*both, "-p"), "--prompt"),
                ((*both, "-p", "a", "-f", "b"), "only one of"),
                ((*both, "-p", "a", "--perplexity", "b"), "only one of"),
                ((*both, "-p", "a", "--system", "b"), "--system goes with --chat"),
                ((*both, "--chat", "--perplexity", "b"), "--chat goes with"),
                ((*both, "--tokens", "1"), "belong together"),
                ((*both, "--logits", "x.npy"), "belong together"),
                ((*both, "--tokens", "1,,2", "--logits", "x.npy"), "'1,,2' is not a list"),
                ((*both, "--tokens", "-1", "--logits", "x.npy"), "'-1' is not a list"),
                ((*both, "--tokens", "99999999999", "--logits", "x.npy"), "is not a list"),
                ((*both, "-p", "a", "--stop", ""), "--stop: an empty text stands everywhere"),
                ((*both, "-p", "a", "--stop", "b", "--stop="), "--stop: an empty text stands everywhere"),
                ((*both, "-p", "a", "--kernels", "foo"), "there are no kernels 'foo' for this processor; it has portable"),
                ((*both, "-p", "a", "--io", "foo"), "--io: read, map"),
                ((*both, "--chat", "-p", "a", "--date", "today"), "'today' is no date"),
                ((*both, "--temp", "-1"), "--temp"),
                ((*both, "--top-p", "1.5"), "--top-p"),
                ((*both, "--min-p", "nan"), "--min-p"),
                ((*both, "--repeat-penalty", "0"), "--repeat-penalty"),
                ((*both, "--seed", "-5"), "--seed"),
                ((*both, "-t", "0"), "-t"), ((*both, "-b", "0"), "-b"), ((*both, "-c", "0"), "-c"),
                ((*both, "--keep", "-2"), "--keep"),
                ((*both, "-t", "1", "-t", "1"), "--threads: is given 2 times, once is enough"),
                ((*both, "--seed", "1", "-s", "2", "-s", "3"), "--seed: is given 3 times"),
                ((*both, "-p", "a", "-p", "b"), "--prompt: is given 2 times"),
                ((*both, "-n"), "--predict: a value is missing"),
                (("--tokenize", "x"), "which database?")):
            self.check(arguments, 2, message)

    def test_the_environment_names_kernels(self):
        options = ("-p", "a", "-n", 2, "--temp", 0)
        expected = self.run_well(*options, "--kernels", "portable", "--profile")
        got = self.run_well(*options, "--profile", env={**os.environ, "LLMSQL_KERNELS": "portable"})
        self.assertEqual(got[0], expected[0])
        for _, err in (expected, got):
            self.assertIn(", portable, ", err)
        status, out, err = attempt(self.plan, self.db, *options, env={**os.environ, "LLMSQL_KERNELS": "foo"})
        self.assertEqual((status, out), (2, b""))
        self.assertRegex(err, r"\A[^\n]*LLMSQL_KERNELS: there are no kernels 'foo'[^\n]*\n\Z")

    def test_conversations_that_are_none(self):
        """The conversation is named, not the plan, which has no part in it."""
        for given, message in (
                (b"", "is not valid JSON: at byte 1"), (b"null", "must be a list of messages"), (b"{}", "has no 'messages'"),
                (b"[7]", "a message must be an object"), (b'[{"role": "user", "content": NaN}]', "is not valid JSON"),
                (b'[{"role": "user", "content": "\xff"}]', "is not valid UTF-8: byte 0xFF at offset 30"),
                (b"[" * 100000, "nested deeper"), (b'[{"role": "user", "content": "x"}] x', "after its end"),
                (b'["%s"]' % (b"x" * 5_000_000), "is too long for a chat")):
            file = self.folder / "conversation.json"
            file.write_bytes(given)
            self.check((self.plan, self.db, "--render", file), 1, message)
            self.assertRegex(attempt(self.plan, self.db, "--render", file)[2], r"\Allmsql-run: \S*/conversation.json: ")
            self.assertRegex(attempt(self.plan, self.db, "--render", "-", stdin=given)[2],
                             r"\Allmsql-run: standard input: ")
            file.unlink()
        # What a template makes of a conversation has its place in the plan.
        self.assertRegex(attempt(self.plan, self.db, "--render", "-", stdin=b'[{"role": "user", "content": 7}]')[2],
                         r"\Allmsql-run: \S+\.sql:\d+: ")

    def test_numbers(self):
        """One line names the option, what it takes and what was given; SQL's options go by the same
        table (test_extension.py)."""
        huge = ("99999999999999999999", str(2**64 - 1), str(2**63), "-99999999999999999999", "1e300",
                "1e3", "0.5", "1.", "1.01", "abc", "", " 1", "0x10", "nan")
        for option, wanted in (("-n", "from -1 to 2147483647"), ("-c", "from 1 to 2147483647"),
                               ("-b", "from 1 to 2147483647"), ("--keep", "from -1 to 2147483647"),
                               ("--seed", f"from -1 to {2**63 - 1}"), ("-t", "from 1 to 256"),
                               ("--top-k", "from -1 to 2147483647")):
            for given in huge:
                self.check((self.plan, self.db, option, given), 2,
                           f"{option}: a whole number {wanted} is wanted, not {given.strip()}"[:-1])
        for option in ("--temp", "--top-p", "--min-p", "--repeat-penalty"):
            for given in ("1e400", "1e31", "nan", "inf", "-0.1", "abc", "", "1,5"):
                self.check((self.plan, self.db, option, given), 2, f"{option}: a number from ")
        for options in (("--session", "s.db", "--commit-every", "99999999999999999999"),
                        ("--trace", "x", "--trace-passes", "0"), ("--trace", "compare:x", "--tolerance", "-1")):
            self.check((self.plan, self.db, *options), 2, f"{options[2]}: a ")
        for options, said in ((("--profile=none",), "--profile: 'none' is none of text, passes, db:FILE"),
                              (("--profile=db:",), "--profile: a file is needed behind db:"),
                              (("--profile=db:a", "--profile=db:b"), "--profile: there can be one db:FILE"),
                              (("--profile=html:-",), "--profile: a file is needed behind html:"),
                              (("--profile", "db:a"), "--profile db:a is written --profile=db:a"),
                              (("--profile=db:a", "--trace", "db:./a"), "./a cannot be two things at once"),
                              (("--trace", ""), "--trace: which step?"),
                              (("--trace=", "--top-k", "3"), "--trace: which step?"),
                              (("--session=", "--chat"), "--session: is empty"),
                              *(((f"--{name}=",), f"--{name}: is empty")
                                for name in ("plan", "id", "fork", "file", "render", "perplexity", "tokenize", "logits")),
                              (("--trace", "0", "--trace", "1"), "--trace: there can be one STEP")):
            self.check((self.plan, self.db, *options), 2, said)
        # The ends of a range are in it; 1.0 is a whole number, as JSON and SQL may write it.
        self.run_well("-p", "a", "-n", "1.0", "--seed", 2**63 - 1, "--top-k", "-1", "--temp", "+1e30")

    def test_outputs_are_looked_at_before_the_run(self):
        if os.geteuid() == 0:
            target = pathlib.Path("/proc/self/run.html")  # nothing can be made there
        else:
            folder = self.folder / "closed"
            folder.mkdir(mode=0o500)
            target = folder / "run.html"
        status, out, err = attempt(self.plan, self.db, "-p", "a", "-n", 4, f"--profile=html:{target}")
        self.assertEqual((status, out), (1, b""))
        self.assertIn("run.html", err)

    def test_no_figures_of_nothing(self):
        for arguments in (("-p", "a", "-n", "0"), ("--chat", "-p", "a", "-n", "0")):
            err = self.run_well(*arguments)[1]
            self.assertNotIn("decode", err)
        self.assertEqual(self.run_well(stdin=b"")[1], "")
        err = self.run_well("-p", "a", "-n", "1", "--profile=passes")[1]
        self.assertRegex(err, r"decode: 1 token, peak RSS ")
        for nonsense in (" 0 tokens", " 0.00 tok/s", "nan", "inf", "1 passes", " 1 tokens"):
            self.assertNotIn(nonsense, err)

    def test_help_and_version(self):
        status, out, err = attempt("--version")
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, rb"\Allmsql-run \d+\.\d+\.\d+\n\Z")
        status, out, err = attempt("--help")
        self.assertEqual((status, err), (0, ""))
        self.assertIn(b"--repeat-penalty", out)

    def test_prompts(self):
        both = (self.plan, self.db)
        empty = self.folder / "empty"
        empty.write_bytes(b"\n")
        latin = self.folder / "latin"
        latin.write_bytes(b"caf\xe9\n")
        long = self.folder / "long"
        long.write_text("word " * 200)
        word = self.folder / "word"
        word.write_bytes(b"a" * 1_000_000)
        for arguments, message in (
                (("-p", ""), "the prompt is empty"),
                (("--chat", "-p", ""), "the prompt is empty"),
                (("-f", empty), f"{empty}: the prompt is empty: there is nothing to go on from"),
                (("-f", "/dev/null"), "/dev/null: the prompt is empty: there is nothing to go on from"),
                (("--chat", "-f", "/dev/null"), "/dev/null: the prompt is empty"),
                (("-f", "/dev/zero"), "/dev/zero: more than 64 MiB: put it into a file"),
                (("-f", latin), f"{latin}: the prompt is not valid UTF-8: byte 0xE9 at offset 3"),
                (("--perplexity", latin, "-c", 16), f"{latin} is not valid UTF-8: byte 0xE9 at offset 3"),
                (("-p", b"caf\xe9"), "byte 0xE9 at offset 3"),
                (("--chat", "-p", b"\xff"), "not valid UTF-8"),
                (("--chat", "--system", b"\xff", "-p", "a"), "the system message is not valid UTF-8"),
                (("-f", long), "tokens, the context holds 128"),
                (("--chat", "-f", long), "tokens, the context holds 128"),
                (("--chat", "--keep", 4, "-f", long), "the context holds 128"),
                (("-f", word), "the prompt is 1000000 bytes, "),
                (("--chat", "--keep", 4, "-f", word), "a message is 1000000 bytes, "),
                (("-p", "one two three", "-c", 2),
                 "tokens, the context holds 2: shorten it, or raise -c (the plan's is 128)"),
                (("-p", "a", "-c", 129), "the plan's context is 128"),
                (("-f", self.folder), "is a directory"),
                (("-f", self.folder / "missing"), "No such file")):
            self.check((*both, *arguments), 1, message)
        # A line that does not end, of a pipe.
        status, out, err = attempt(*both, stdin=b"a" * (65 << 20))
        self.assertEqual((status, out, err), (1, b"", "llmsql-run: standard input: a line is longer than 64 MiB\n"))

    def test_files(self):
        garbage = self.folder / "garbage"
        garbage.write_bytes(os.urandom(70000))
        cut = self.folder / "cut.db"
        cut.write_bytes(self.db.read_bytes()[:30000])
        for plan, db, message in (("missing.sql", self.db, "missing.sql: No such file"),
                                  (self.plan, "missing.db", "missing.db: No such file"),
                                  (self.folder, self.db, "is a directory"),
                                  (self.plan, self.folder, "is a directory"),
                                  (garbage, self.db, "garbage"),
                                  (self.plan, garbage, "garbage"),
                                  (self.plan, cut, "cut.db"),
                                  (self.db, self.plan, "")):
            self.check((plan, db, "-p", "a"), 1, message)
        self.check((self.db, "--tokenize", self.folder / "missing"), 1, "No such file")
        self.check((garbage, "--tokenize", garbage), 1, "garbage")

    def test_logits_leave_no_partial_file(self):
        both = (self.plan, self.db)
        out = self.folder / "out.npy"
        for tokens, file, message in (("1,300", out, "there is no token 300"),
                                      (",".join(["1"] * 129), out, "the context holds 128"),
                                      ("1", self.folder, "is a directory"),
                                      ("1", self.folder / "missing" / "out.npy", "No such file")):
            self.check((*both, "--tokens", tokens, "--logits", file), 1, message)

    def test_old_spellings_work_and_are_said(self):
        for options, now in ((("--timing",), "--profile=passes"),
                             (("--profile-db", self.folder / "o.db"), "--profile=db:"),
                             (("--profile-html", self.folder / "o.html"), "--profile=html:"),
                             (("--trace-db", self.folder / "t.db"), "--trace=db:"),
                             (("--compare", self.folder / "t.db"), "--trace=compare:")):
            err = self.run_well("-p", "a", "-n", "1", *options)[1]
            self.assertIn(f"{options[0]} is written {now}", err)
            self.assertTrue(all(path.stat().st_size for path in options[1:]))

    def test_what_could_not_be_written_leaves_no_temporary(self):
        def no_room():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        for arguments in (("--tokens", "1,2", "--logits", self.folder / "out.npy"),
                          ("-p", "a", "-n", 2, f'--profile=db:{self.folder / "out.db"}'),
                          ("-p", "a", "-n", 2, f'--trace=db:{self.folder / "out.db"}')):
            before = sorted(self.folder.iterdir())
            status, _, err = attempt(self.plan, self.db, *arguments, preexec_fn=no_room)
            self.assertEqual(status, 1, err)
            self.assertIn(f"llmsql-run: {str(arguments[-1]).split(':')[-1]}: ", err)
            self.assertEqual(sorted(self.folder.iterdir()), before)

    def test_a_signal_while_tokenising_or_waiting_for_a_prompt(self):
        word = self.folder / "word"
        word.write_bytes(b"a" * 20_000_000)
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for arguments in ((self.db, "--tokenize", word), (self.plan, self.db, "-f", pipe),
                              (self.plan, self.db, "-f", "-")):
                with self.subTest(sent=sent, arguments=arguments):
                    process = start(*arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE)
                    time.sleep(0.3)  # it is at work; before that, a signal ends it all the same
                    process.send_signal(sent)
                    out, err = process.communicate(timeout=60)
                    self.assertIn(process.returncode, (128 + sent, -sent))
                    self.assertEqual((out, err), (b"", b""))

    def test_closed_output(self):
        file = self.folder / "some.txt"
        file.write_text("some text")
        process = start(self.db, "--tokenize", file, stderr=subprocess.PIPE,
                        preexec_fn=lambda: os.close(1))
        _, err = process.communicate(timeout=60)
        self.assertEqual((process.returncode, err), (1, b"llmsql-run: standard output is closed\n"))

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full")
    def test_help_that_can_not_be_written(self):
        for name in ("llmsql-run", "llmsqlc", "llmsql-import"):
            for option in ("--help", "--version"):
                with self.subTest(name=name, option=option), open("/dev/full", "wb") as full:
                    done = subprocess.run([os.environ[name.replace("-", "_").upper()], option],
                                          stdout=full, stderr=subprocess.PIPE, timeout=60)
                    self.assertEqual((done.returncode, done.stderr.decode()),
                                     (1, f"{name}: standard output: No space left on device\n"))

    def test_tokenize(self):
        file = self.folder / "text"
        file.write_bytes(bytes(range(128)) * 3)
        status, out, err = attempt(self.db, "--tokenize", file)
        self.assertEqual((status, err), (0, ""))
        self.assertGreater(len(out.split()), 128)
        file.write_bytes(b"")
        self.assertEqual(attempt(self.db, "--tokenize", file), (0, b"\n", ""))
        # llama.cpp would make U+FFFD of them, and others' tokenizers refuse them.
        for text, what in ((b"\xff", "byte 0xFF at offset 0"), (b"a\xed\xa0\x80", "byte 0xED at offset 1"),
                           (b"ab\xc3", "byte 0xC3 at offset 2"), (b"a\xc0\xafb", "byte 0xC0 at offset 1")):
            file.write_bytes(text)
            self.check((self.db, "--tokenize", file), 1, f"{file} is not valid UTF-8: {what}")


if __name__ == "__main__":
    unittest.main()
