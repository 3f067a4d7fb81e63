#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Records what the PyPI package tokenizers makes of the texts of tests/fixtures/tokens/texts.txt with a
SentencePiece vocabulary as transformers converts it: that of tests/fixtures/tiny-gemma3.gguf, without
and with a space put in front of a text.

    record_hf_tokens.py                        writes tests/fixtures/tokens/hf-spm.txt, hf-spm-prefix.txt
    record_hf_tokens.py FOLDER LLMSQL_RUN DB   compares: an imported folder's tokens, text by text

Texts that are not UTF-8 have no ids here, and those with control tokens are left out: the library
recognises them everywhere, llmsql in markup alone. Needs the PyPI packages tokenizers and gguf.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"


def read_texts():
    escapes = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\"}

    def unescape(match):
        return bytes([int(match[1][1:], 16)]) if match[1][:1] == b"x" else escapes[match[1].decode()]

    for line in (FIXTURES / "tokens" / "texts.txt").read_bytes().split(b"\n"):
        if line and not line.startswith(b"#"):
            name, text = line.split(b": ", 1)
            yield name.decode(), re.sub(rb"\\(x[0-9a-f]{2}|[nrt\\])", unescape, text)


def encode_all(text_of_json):
    """{name: ids}, of the texts that can be compared."""
    import tokenizers
    tokenizer = tokenizers.Tokenizer.from_str(text_of_json)
    special = [t["content"] for t in json.loads(text_of_json)["added_tokens"] if t["special"]]
    made = {}
    for name, text in read_texts():
        if name.startswith(("invalid_", "markup:")) or any(s.encode() in text for s in special):
            continue
        made[name] = tokenizer.encode(text.decode()).ids
    return made


def record():
    import gguf
    from hf_folder import spm_tokenizer
    fields = gguf.GGUFReader(FIXTURES / "tiny-gemma3.gguf").fields
    tokens, kinds, scores = (fields["tokenizer.ggml." + key].contents()
                             for key in ("tokens", "token_type", "scores"))
    for prefix in False, True:
        ids = encode_all(json.dumps(spm_tokenizer(tokens, kinds, scores, prefix, 2)))
        (FIXTURES / "tokens" / f"hf-spm{'-prefix' * prefix}.txt").write_text(
            "".join(f"{name}: {' '.join(map(str, each))}\n" for name, each in ids.items()))


def compare(folder, program, db):
    texts, differ = dict(read_texts()), 0
    expected = encode_all((pathlib.Path(folder) / "tokenizer.json").read_text())
    for name, ids in expected.items():
        with tempfile.NamedTemporaryFile() as file:
            file.write(texts[name])
            file.flush()
            got = subprocess.run([program, db, "--tokenize", file.name], check=True,
                                 capture_output=True).stdout.decode().split()
        if got != list(map(str, ids)):
            differ += 1
            print(f"{name}:\n  tokenizers {ids}\n  llmsql     {' '.join(got)}")
    print(f"{len(expected)} texts, {differ} differ")


if __name__ == "__main__":
    compare(*sys.argv[1:]) if len(sys.argv) > 1 else record()
