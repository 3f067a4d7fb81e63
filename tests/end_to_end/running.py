# SPDX-License-Identifier: MIT
"""What the tests of llmsql-run share: starting it, the tiny models, and the slow way of generating,
one process a token, that its output is compared with."""

import os
import re
import sqlite3
import subprocess
import unittest

from programs import FIXTURES, compile_model, folder_of, import_gguf, logits

GRAPHS = {"tiny-llama": "llama", "tiny-qwen2": "qwen2", "tiny-gemma3": "gemma3"}
STATISTICS = re.compile(r"prefill: (\d+) tokens?, \d+\.\d+ tok/s\n"
                        r"(?:decode: (\d+) tokens?, (?:\d+\.\d+ tok/s, \d+\.\d GB/s, )?"
                        r"peak RSS [1-9]\d*\.\d MiB\n)?\Z")
DRAFTS = re.compile(r"drafts: (\d+) checked, (\d+) right; (\d+\.\d+) tokens a pass\n")


def start(*arguments, **options):
    return subprocess.Popen([os.environ["LLMSQL_RUN"], *map(str, arguments)], **options)


def attempt(*arguments, stdin=b"", **options):
    """(exit status, stdout, stderr), whatever the status."""
    done = subprocess.run([os.environ["LLMSQL_RUN"], *map(os.fsdecode, map(to_bytes, arguments))],
                          input=stdin, capture_output=True, timeout=120, **options)
    return done.returncode, done.stdout, done.stderr.decode()


def to_bytes(argument):
    return argument if isinstance(argument, bytes) else str(argument).encode()


class RunTest(unittest.TestCase):
    """Tiny models at f32, imported and compiled once a file of tests, with a context of 128."""

    models = ("tiny-llama",)

    @classmethod
    def setUpClass(cls):
        cls.folder = folder_of(cls)
        cls.made = {}
        for name in cls.models:
            db, toml = import_gguf(FIXTURES / f"{name}.gguf", GRAPHS[name], "f32", cls.folder)
            plan = compile_model(toml, db.with_suffix(".sql"), "--context", 128, "--chunk", 32)
            cls.made[name] = plan, db
        cls.plan, cls.db = cls.made[cls.models[0]]

    def run_well(self, *arguments, **options):
        """(stdout, stderr) of a run of the first model that has to succeed."""
        status, out, err = attempt(self.plan, self.db, *arguments, **options)
        self.assertEqual(status, 0, err)
        return out, err

    def statistics(self, err):
        """(prefill tokens, decode tokens), which end every run that generates."""
        found = STATISTICS.search(err)
        self.assertIsNotNone(found, err)
        return int(found[1]), int(found[2] or 0)

    def tokens_of(self, text, model=None):
        plan, db = self.made[model or self.models[0]]
        file = self.folder / "text"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        status, out, err = attempt(db, "--tokenize", file)
        self.assertEqual(status, 0, err)
        self.assertRegex(out, rb"\A(\d+( \d+)*)?\n\Z")
        return [int(token) for token in out.split()]

    def text_of(self, tokens):
        with sqlite3.connect(self.db) as db:
            pieces = {id: piece for id, piece, kind in
                      db.execute("SELECT id, piece, kind FROM llm_token") if kind != 3}
        db.close()
        return b"".join(pieces.get(token, b"") for token in tokens).decode(errors="replace").encode()

    def likeliest(self, tokens):
        """The token that follows, by --logits."""
        return int(logits(self.plan, self.db, tokens, self.folder)[-1].argmax())

    def go_on(self, tokens, count, ends=(0, 2)):
        """Up to `count` likeliest tokens after `tokens`, without those that end a text."""
        tokens, answer = list(tokens), []
        while len(answer) < count:
            token = self.likeliest(tokens)
            if token in ends:
                break
            tokens.append(token)
            answer.append(token)
        return answer
