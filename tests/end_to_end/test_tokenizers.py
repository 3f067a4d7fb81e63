#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tokenizers as tokenizer.json has them give the ids that Hugging Face's tokenizers give: small ones, trained
under the normalizer, splitter and decoder of many families (tests/reference/make_tokenizers.py), over odd
texts. And Mistral's tekken.json."""

import base64
import json
import lzma
import os
import random
import re
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
        self.assertIn("normalizer): a step ByteLevel before a model WordPiece", self.refused(
            "bert", lambda t: t.update(normalizer={"type": "ByteLevel"})))
        self.assertIn("normalizer): a step NFC behind a step ByteLevel", self.refused(
            "normalized-bytes", lambda t: t["normalizer"]["normalizers"].reverse()))
        self.assertIn("dropout", self.refused("gpt2", lambda t: t["model"].update(dropout=0.1)))
        self.assertIn("WordLevel", self.refused("gpt2", lambda t: t["model"].update(type="WordLevel")))
        self.assertIn("map of characters is damaged", self.refused(
            "t5", lambda t: t.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "////fwAA"})))


class Tekken(TemporaryFolder):
    """Mistral's own form, whose program merges by the rank of what a pair makes."""
    PIECES = [b"ab", b"ba", b"aba", b"bb", b"abab", b" a", b"aa", b"aaaa", b"aab", "é".encode(), "éa".encode(), "\u597d".encode(),
              "\u597d\u597d".encode(), b"  ", b"    ", b"[I", b"never merged", b"bab", b"\xf0\x9f", "\U0001f642".encode(), b"beyond"]
    SPECIAL = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    PATTERN = r" ?\w+|\s+|[^\s\w]+"

    def setUp(self):
        super().setUp()
        self.vocab = [bytes([byte]) for byte in range(256)] + self.PIECES
        special = [{"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(self.SPECIAL)]
        self.file = {"config": {"pattern": self.PATTERN, "num_vocab_tokens": len(self.vocab), "version": "v13",
                                "default_vocab_size": 8 + len(self.vocab) - 1, "default_num_special_tokens": 8},
                     "vocab": [{"rank": rank, "token_bytes": base64.b64encode(piece).decode(), "token_str": None}
                               for rank, piece in enumerate(self.vocab)],
                     "special_tokens": special}
        self.ranks = {piece: rank for rank, piece in enumerate(self.vocab[:-1])}

    def as_folder(self):
        folder = self.folder / "tekken"
        folder.mkdir(exist_ok=True)
        (folder / "tekken.json").write_text(json.dumps(self.file))
        (folder / "config.json").write_text(json.dumps({"vocab_size": 300}))
        (folder / "model.safetensors").write_bytes((8).to_bytes(8, "little") + b"{}      ")
        return folder

    def expected(self, text):
        ids = []
        for word in re.findall(self.PATTERN, text):
            word = word.encode()
            parts = [word] if word in self.ranks else [bytes([byte]) for byte in word]
            while True:
                ranks = [self.ranks.get(a + b, 1 << 30) for a, b in zip(parts, parts[1:])]
                if not ranks or min(ranks) == 1 << 30:
                    break
                at = ranks.index(min(ranks))
                parts[at:at + 2] = [parts[at] + parts[at + 1]]
            ids += [8 + self.ranks[part] for part in parts]
        return ids

    def ids(self, texts, *options):
        done = run(self.as_folder(), [text.encode() for text in texts], *options)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return [[int(token) for token in line.split()] for line in done.stdout.split(b"\n")[:-1]]

    def test_words_become_the_ids_that_its_ranks_say(self):
        choose = random.Random(3)
        alphabet = "aaaabbb  é\u597d\U0001f642[]I\nc"
        texts = ["", "abab", "ababa", "aaaaaaa", " a", "    ", "never merged", "[INST]a</s><s>", "beyond", "<SPECIAL_5>"]
        texts += ["".join(choose.choices(alphabet, k=choose.randrange(1, 30))) for _ in range(2000)]
        for text, ids in zip(texts, self.ids(texts), strict=True):
            self.assertEqual(ids, self.expected(text), text)

    def test_special_tokens_stand_in_markup_alone(self):
        self.assertEqual(self.ids(["<s>[INST]ab[/INST]</s><SPECIAL_7>"], "--markup"), [[1, 3, 8 + 256, 4, 2, 7]])
        self.assertFalse({1, 3, 4, 2, 7} & set(self.ids(["<s>[INST]ab[/INST]</s><SPECIAL_7>"])[0]))

    def test_a_hostile_expression_is_an_error(self):
        self.file["config"]["pattern"] = "(a+)+[bc]"
        done = run(self.as_folder(), [b"a" * 300])
        self.assertEqual((done.returncode != 0, done.stderr.count(b"\n")), (True, 1))
        self.assertIn(b"match limit", done.stderr)


if __name__ == "__main__":
    unittest.main()
