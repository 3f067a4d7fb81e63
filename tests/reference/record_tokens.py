#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Records how two other tokenizers cut the texts of tests/fixtures/tokens/texts.txt.

  record_tokens.py LLAMA_TOKENIZE MODEL.gguf OUT.txt

Valid UTF-8 comes from llama.cpp's llama-tokenize. llama.cpp replaces invalid bytes, and Hugging
Face's tokenizers take none, so texts that aren't UTF-8 come from the slow tokenizer below, after it
has been checked against llama-tokenize on all the others: words from PyPI `tokenizers` (each
invalid byte seen as U+FFFD), then a naive merge over the GGUF's own tables. Needs gguf, tokenizers.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

from gguf import GGUFReader
from tokenizers import Regex, pre_tokenizers

TEXTS = pathlib.Path(__file__).parent.parent / "fixtures" / "tokens" / "texts.txt"

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
WORDS = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                       pre_tokenizers.ByteLevel(add_prefix_space=False)]),
    "qwen2": pre_tokenizers.Split(Regex(QWEN2), "isolated"),
}


def read_texts():
    escapes = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\"}

    def unescape(match):
        return bytes([int(match[1][1:], 16)]) if match[1][:1] == b"x" else escapes[match[1].decode()]

    for line in TEXTS.read_bytes().split(b"\n"):
        if line and not line.startswith(b"#"):
            name, text = line.split(b": ", 1)
            yield name.decode(), re.sub(rb"\\(x[0-9a-f]{2}|[nrt\\])", unescape, text)


def llama_tokenize(program, model, text, markup):
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        options = ["--ids", "--no-escape", "--log-disable"] + ([] if markup else ["--no-parse-special"])
        run = subprocess.run([program, "-m", model, "-f", file.name] + options, check=True,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return [int(token) for token in re.findall(rb"\d+", run.stdout)]


class SlowTokenizer:
    """Straight from the definitions, in quadratic time, without parsing control tokens."""

    def __init__(self, model):
        fields = GGUFReader(model).fields
        get = lambda key: fields["tokenizer.ggml." + key].contents() if "tokenizer.ggml." + key in fields else None
        self.byte_level = get("model") == "gpt2"
        self.pre = get("pre")
        pieces, self.kinds, self.scores = get("tokens"), get("token_type"), get("scores")
        self.start = get("bos_token_id") if get("add_bos_token") else None
        self.special = sorted((p for p, k in zip(pieces, self.kinds) if k == 4), key=len, reverse=True)
        self.ids = {piece: i for i, piece in enumerate(pieces)}
        if self.byte_level:
            self.ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(get("merges"))}
            # GPT-2's stand-ins: printable bytes are themselves, the others follow U+00FF.
            printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
            others = [byte for byte in range(256) if byte not in printable]
            self.stand_in = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}

    def encode(self, data):
        text = data.decode("utf-8", "surrogateescape")
        ids = [] if self.start is None else [self.start]
        for part in re.split("(" + "|".join(map(re.escape, self.special)) + ")", text) if self.special else [text]:
            if part in self.ids and self.kinds[self.ids[part]] == 4:
                ids.append(self.ids[part])
            elif part:
                ids += self.words(part) if self.byte_level else self.scored(part.replace(" ", "\u2581"))
        return ids

    def words(self, text):
        seen = re.sub("[\udc80-\udcff]", "\ufffd", text)
        ids = []
        for _, (begin, end) in WORDS[self.pre].pre_tokenize_str(seen):
            symbols = [self.stand_in[b] for b in text[begin:end].encode("utf-8", "surrogateescape")]
            while True:
                pairs = [(self.ranks[pair], i) for i, pair in enumerate(zip(symbols, symbols[1:]))
                         if pair in self.ranks]
                if not pairs:
                    break
                at = min(pairs)[1]
                symbols[at:at + 2] = [symbols[at] + symbols[at + 1]]
            ids += [self.ids[symbol] for symbol in symbols if symbol in self.ids]
        return ids

    def scored(self, text):
        usable = lambda piece: piece in self.ids and self.kinds[self.ids[piece]] in (1, 4, 5)
        symbols = list(text)
        while True:
            pairs = [(-self.scores[self.ids[a + b]], i) for i, (a, b) in enumerate(zip(symbols, symbols[1:]))
                     if usable(a + b)]
            if not pairs:
                break
            at = min(pairs)[1]
            symbols[at:at + 2] = [symbols[at] + symbols[at + 1]]
        ids = []
        for symbol in symbols:
            if usable(symbol):
                ids.append(self.ids[symbol])
            else:
                ids += [self.ids["<0x%02X>" % b] for b in symbol.encode("utf-8", "surrogateescape")]
        return ids


def main():
    program, model, out = sys.argv[1:]
    slow = SlowTokenizer(model)
    lines = []
    for name, text in read_texts():
        markup = name.startswith("markup:")
        if name.startswith("invalid_"):
            ids = slow.encode(text)
        else:
            ids = llama_tokenize(program, model, text, markup)
            if not markup and ids != slow.encode(text):
                print(f"{name}: llama-tokenize and the slow tokenizer differ\n {ids}\n {slow.encode(text)}")
        lines.append(f"{name}: {' '.join(map(str, ids))}\n")
    pathlib.Path(out).write_text("".join(lines))


if __name__ == "__main__":
    main()
