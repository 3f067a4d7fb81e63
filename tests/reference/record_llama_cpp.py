#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Records what llama.cpp makes of a real model: tests/fixtures/reference/NAME.json with greedy
continuations, chat prompts and the perplexity of tests/fixtures/perplexity.txt.

    record_llama_cpp.py NAME MODEL.gguf LLAMA_BIN

NAME is the model's name in downloads/ (smollm2, …), LLAMA_BIN the folder of llama.cpp's programs
(llama-perplexity and llama-quantize). Needs the PyPI packages llama-cpp-python, gguf, jinja2 and
numpy. After recording, the continuations are checked
against numpy_model.py (teacher-forced) and differences printed.
"""

import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import gguf
import jinja2
import llama_cpp
import numpy as np

from make_tiny import FIXTURES
from numpy_model import forward, load_gguf

CONTINUATION = 24
PROMPTS = {
    "English": "The three primary colours are",
    "story": "Once upon a time there was a lighthouse keeper who",
    "code": "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "German": "Die Hauptstadt von Frankreich ist",
    "numbers": "2, 4, 6, 8, 10, 12,",
    "list": "Things to pack for a week by the sea:\n1. Swimsuit\n2. Towel\n3.",
}
CHATS = [
    [{"role": "user", "content": "Why is the sky blue?"}],
    [{"role": "system", "content": "You answer in one short sentence."},
     {"role": "user", "content": "What is 12 * 12?"},
     {"role": "assistant", "content": "12 * 12 is 144."},
     {"role": "user", "content": "And in Python?\n\n    print(12 * 12)  # na\u00efve\n"}],
]


def greedy(model, prompt_tokens, end_tokens):
    """(ids, gaps): up to CONTINUATION tokens, and how far the chosen logit is above the second."""
    model.reset()
    model.eval(prompt_tokens)
    ids, gaps = [], []
    while len(ids) < CONTINUATION:
        logits = model.scores[model.n_tokens - 1]
        second, first = np.sort(logits)[-2:]
        ids.append(int(logits.argmax()))
        gaps.append(round(float(first - second), 4))
        if ids[-1] in end_tokens:
            break
        model.eval([ids[-1]])
    return ids, gaps


def render(template, messages):
    """As transformers renders chat templates."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(messages=messages, add_generation_prompt=True,
                                                    tools=None)


def perplexity(programs, path):
    run = subprocess.run([f"{programs}/llama-perplexity", "-m", path, "-f",
                          FIXTURES / "perplexity.txt", "-c", "512", "-t", "2"],
                         capture_output=True, text=True, check=True)
    return float(re.search(r"Final estimate: PPL = ([0-9.]+)", run.stdout + run.stderr)[1])


def perplexity_f32(programs, path):
    """Of the same weights written out as F32: llama.cpp without its rounding of activations."""
    with tempfile.TemporaryDirectory() as folder:
        expanded = f"{folder}/f32.gguf"
        subprocess.run([f"{programs}/llama-quantize", "--allow-requantize", path, expanded, "F32"],
                       capture_output=True, check=True)
        return perplexity(programs, expanded)


def main():
    name, path, programs = sys.argv[1:]
    reader = gguf.GGUFReader(path)
    field = lambda key: reader.fields[key].contents() if key in reader.fields else None
    add_bos = bool(field("tokenizer.ggml.add_bos_token"))
    end_tokens = {field("tokenizer.ggml.eos_token_id")}
    template = field("tokenizer.chat_template")

    model = llama_cpp.Llama(path, n_ctx=512, n_threads=2, logits_all=True, verbose=False)
    tokenize = lambda text, special: model.tokenize(text.encode(), add_bos=add_bos, special=special)
    record = {"model": pathlib.Path(path).name,
              "sha256": hashlib.file_digest(open(path, "rb"), "sha256").hexdigest(),
              "perplexity": {}, "greedy": [], "chat": []}
    for kind, prompt in PROMPTS.items():
        tokens = tokenize(prompt, False)
        ids, gaps = greedy(model, tokens, end_tokens)
        record["greedy"].append({"kind": kind, "prompt": prompt, "tokens": tokens,
                                 "continuation": ids, "gaps": gaps,
                                 "text": model.detokenize(ids, special=True).decode(errors="replace")})
    for messages in CHATS if template else []:
        rendered = render(template, messages)
        tokens = tokenize(rendered, True)
        ids, gaps = greedy(model, tokens, end_tokens)
        record["chat"].append({"messages": messages, "rendered": rendered, "tokens": tokens,
                               "continuation": ids, "gaps": gaps,
                               "text": model.detokenize(ids).decode(errors="replace")})

    text = (FIXTURES / "perplexity.txt").read_text()
    record["perplexity"] = {"text": "perplexity.txt", "context": 512,
                            "tokens": len(tokenize(text, False)), "value": perplexity(programs, path),
                            "value_f32": perplexity_f32(programs, path)}

    out = FIXTURES / "reference" / f"{name}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(dump(record))

    config, weights = load_gguf(path)
    for item in record["greedy"] + record["chat"]:
        prompt, ids = item["tokens"], item["continuation"]
        rows = slice(len(prompt) - 1, len(prompt) - 1 + len(ids))
        logits = forward(config, weights, prompt + ids, rows=rows)
        for step in np.flatnonzero(logits.argmax(axis=-1) != ids):
            gap = logits[step].max() - logits[step][ids[step]]
            print(f"{name}: {item['text'][:20]!r} step {step}: NumPy chooses another token, by "
                  f"{gap:.3f}; llama.cpp's gap is {item['gaps'][step]}")
    print(f"{name}: recorded, perplexity {record['perplexity']['value']}")


def dump(record):
    """JSON with one line a list of numbers."""
    text = json.dumps(record, indent=1, ensure_ascii=False)
    return re.sub(r"\[[-0-9.,\s]+\]", lambda m: re.sub(r"\s+", " ", m[0]), text) + "\n"


if __name__ == "__main__":
    main()
