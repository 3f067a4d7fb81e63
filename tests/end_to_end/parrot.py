# SPDX-License-Identifier: MIT
"""Models that say what they are told to, word for word: whole answers with marks of thinking and of calls, as
models write them that are too large for a test.

A parrot is a GPT-2 whose layers do nothing: what it says next is up to the position alone, since each has an
embedding of its own. So each answer is laid where its conversation's tokens end."""

import json
import os
import subprocess

import numpy as np

from programs import SOURCE, run

import tiny_models

CONTROL, DEFINED = 3, 4
WIDTH, POSITIONS = 128, 1024


def codes(count):
    """Vectors that hardly resemble each other."""
    return np.where(tiny_models.values("parrot", count * WIDTH).reshape(count, WIDTH) < 0, -1, 1).astype(np.float32)


class Parrot:
    def __init__(self, folder, template, marks, end):
        """`marks` are tokens of their own, {text: kind}; `end`, one of them, ends an answer."""
        self.folder, self.template, self.marks = folder, template, dict(marks)
        self.tokens = [*self.marks, *tiny_models.byte_alphabet(), "ab"]
        self.end = self.tokens.index(end)
        self.db, self.toml = folder / "parrot.db", folder / "parrot.toml"
        self.says = {}  # position: token
        self.make()

    def make(self):
        count = len(self.tokens)
        code = codes(count)
        position = np.zeros((POSITIONS, WIDTH), np.float32)
        for at in range(POSITIONS):
            position[at] = code[self.says.get(at, self.end)]
        zeros = {"attn_qkv.weight": (3 * WIDTH, WIDTH), "attn_qkv.bias": (3 * WIDTH,), "attn_output.weight": (WIDTH, WIDTH),
                 "attn_output.bias": (WIDTH,), "ffn_up.weight": (WIDTH, WIDTH), "ffn_up.bias": (WIDTH,),
                 "ffn_down.weight": (WIDTH, WIDTH), "ffn_down.bias": (WIDTH,), "attn_norm.bias": (WIDTH,),
                 "ffn_norm.bias": (WIDTH,)}
        ones = {"attn_norm.weight": (WIDTH,), "ffn_norm.weight": (WIDTH,)}
        tensors = {"token_embd.weight": np.zeros((count, WIDTH), np.float32), "position_embd.weight": position,
                   **{f"blk.0.{name}": np.zeros(shape, np.float32) for name, shape in zeros.items()},
                   **{f"blk.0.{name}": np.ones(shape, np.float32) for name, shape in ones.items()},
                   "output_norm.weight": np.ones(WIDTH, np.float32), "output_norm.bias": np.zeros(WIDTH, np.float32),
                   "output.weight": code}
        llama = tiny_models.gguf_metadata("llama3")
        metadata = {"general.architecture": "gpt2", "general.name": "parrot", "gpt2.context_length": POSITIONS,
                    "gpt2.embedding_length": WIDTH, "gpt2.block_count": 1, "gpt2.attention.head_count": 4,
                    "gpt2.feed_forward_length": WIDTH, "gpt2.attention.layer_norm_epsilon": 1e-5,
                    "tokenizer.ggml.tokens": self.tokens, "tokenizer.ggml.merges": ["a b"], "tokenizer.ggml.pre": "gpt-2",
                    "tokenizer.ggml.token_type": [*self.marks.values(), *[1] * 257],
                    "tokenizer.ggml.eos_token_id": self.end, "tokenizer.chat_template": self.template}
        without = [key for key in llama if key.startswith("llama.") or key == "tokenizer.ggml.bos_token_id"]
        gguf = tiny_models.write_gguf("llama3", self.folder / "parrot.gguf", metadata=metadata, tensors=tensors, without=without)
        self.imported = run("LLMSQL_IMPORT", gguf, "-o", self.db, "--write-model", self.toml, "--graph-dir",
                            SOURCE / "graphs").stderr.decode()
        run("LLMSQLC", self.toml, "--graph-dir", SOURCE / "graphs", "--install", self.db, "--context", POSITIONS)

    def tokens_of(self, markup):
        text = markup.encode()
        lines = subprocess.run([os.environ["LLMSQL_TOKEN_LINES"], self.db, "--markup"], check=True, capture_output=True,
                               input=b"%d\n%s\n" % (len(text), text)).stdout
        return [int(token) for token in lines.split()]

    def rendered(self, conversation, *options):
        file = self.folder / "conversation.json"
        file.write_text(json.dumps(conversation))
        return run("LLMSQL_RUN", self.db, "--render", file, *options).stdout.decode()

    def teach(self, *lessons, options=()):
        """Of each, (conversation, answer): the answer, marks and all, follows the conversation. No two
        conversations are of one length."""
        for conversation, answer in lessons:
            start = len(self.tokens_of(self.rendered(conversation, *options))) - 1
            said = [*self.tokens_of(answer), self.end]
            assert not set(range(start, start + len(said))) & set(self.says), "two answers at one place"
            self.says |= {start + i: token for i, token in enumerate(said)}
        self.make()
