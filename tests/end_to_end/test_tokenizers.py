#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tokenizers as tokenizer.json has them give the ids that Hugging Face's tokenizers give: small ones, trained
under the normalizer, splitter and decoder of many families (tests/reference/make_tokenizers.py), over odd
texts."""

import json
import lzma
import os
import subprocess
import unittest

from programs import FIXTURES, TemporaryFolder

TOKEN_LINES = os.environ["LLMSQL_TOKEN_LINES"]


def as_folder(folder, tokenizer, vocabulary):
    """A model's folder with nothing in it but a tokenizer."""
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "config.json").write_text(json.dumps({"vocab_size": vocabulary}))
    (folder / "model.safetensors").write_bytes((8).to_bytes(8, "little") + b"{}      ")
    return folder


def vocabulary_of(tokenizer):
    vocab = tokenizer["model"]["vocab"]
    ids = vocab.values() if isinstance(vocab, dict) else range(len(vocab))
    return 1 + max([*ids, *(each["id"] for each in tokenizer["added_tokens"])])


def run(source, texts, *options):
    lines = b"".join(b"%d\n%s\n" % (len(text), text) for text in texts)
    return subprocess.run([TOKEN_LINES, source, *options], input=lines, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=600)


class Tokenizers(TemporaryFolder):
    @classmethod
    def setUpClass(cls):
        made = json.loads(lzma.decompress((FIXTURES / "tokenizers" / "tokenizers.json.xz").read_bytes()))
        cls.texts = made.pop("texts")
        cls.made = made

    def test_each_gives_the_recorded_ids(self):
        self.assertGreater(len(self.made), 20)
        for name, case in self.made.items():
            with self.subTest(name):
                folder = as_folder(self.folder / name, case["tokenizer"], vocabulary_of(case["tokenizer"]))
                done = run(folder, [text.encode() for text in self.texts])
                self.assertEqual(done.returncode, 0, done.stderr.decode())
                ids = [[int(token) for token in line.split()] for line in done.stdout.split(b"\n")[:-1]]
                # A control token's name in a text is text here; the others' models may know it as a piece.
                names = [token["content"] for token in case["tokenizer"]["added_tokens"] if token["special"]]
                different = [(text, ours, theirs) for text, ours, theirs in zip(self.texts, ids, case["ids"], strict=True)
                             if ours != theirs and not any(name in text for name in names)]
                self.assertEqual(different, [])

    def refused(self, name, change):
        tokenizer = json.loads(json.dumps(self.made[name]["tokenizer"]))
        change(tokenizer)
        done = run(as_folder(self.folder / "refused", tokenizer, vocabulary_of(tokenizer)), [b"a" * 300])
        self.assertNotEqual(done.returncode, 0)
        error = done.stderr.decode()
        self.assertEqual(error.count("\n"), 1, error)
        return error

    def test_what_is_refused_says_which_part_it_is(self):
        def splitter(regex):
            def change(tokenizer):
                tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = regex
            return change

        self.assertIn("pre_tokenizer", self.refused("llama3", splitter("(a")))
        self.assertIn("match limit", self.refused("llama3", splitter("(a+)+[bc]")))
        self.assertIn("pre_tokenizer): a step UnicodeScripts", self.refused(
            "gemma", lambda t: t.update(pre_tokenizer={"type": "UnicodeScripts"})))
        self.assertIn("normalizer): a step ByteLevel", self.refused(
            "bert", lambda t: t.update(normalizer={"type": "ByteLevel"})))
        self.assertIn("dropout", self.refused("gpt2", lambda t: t["model"].update(dropout=0.1)))
        self.assertIn("WordLevel", self.refused("gpt2", lambda t: t["model"].update(type="WordLevel")))
        self.assertIn("map of characters is damaged", self.refused(
            "t5", lambda t: t.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "////fwAA"})))


if __name__ == "__main__":
    unittest.main()
