#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hugging Face folders from outside: the tiny models of tests/reference/tiny_models.py as transformers
saves them are imported to what their GGUFs are imported to, so that what is recorded from transformers
holds for them; what their tokenizers make of texts; what is said to folders that don't hold together;
and that a model of gigabytes goes through in little memory.
"""

import json
import os
import shutil
import subprocess
import unittest

import numpy as np

from programs import (FIXTURES, SOURCE, TemporaryFolder, compile_model, import_gguf, logits, rows, run,
                      run_and_measure)

from hf_folder import (encoded, safetensors_header, spm_tokenizer, tiny_config, write_json,
                       write_tiny, write_weights)
from model_db import read_model
from record_hf_tokens import read_texts
from tiny_models import MODELS, weights_of, write_gguf

GRAPHS = SOURCE / "graphs"


def attempt(*arguments):
    """Exit code and stderr of an import."""
    done = subprocess.run([os.environ["LLMSQL_IMPORT"], *map(str, arguments), "--graph-dir", GRAPHS],
                          capture_output=True)
    return done.returncode, done.stderr.decode()


class Folder(TemporaryFolder):
    def imported(self, source, *options):
        db = self.folder / f"{source.name}.db"
        run("LLMSQL_IMPORT", source, "--graph-dir", GRAPHS, "-o", db, *options)
        return db


class SameAsGguf(Folder):
    """The folder's tables and the GGUF's, which test_architectures.py holds against transformers."""

    def both(self, name, weights, **options):
        gguf = write_gguf(name, self.folder / f"{name}.gguf")
        hf = write_tiny(name, self.folder / "hf", **options)
        return (self.imported(gguf, "--weights", weights, "--name", name),
                self.imported(hf, "--weights", weights, "--name", name))

    def compare(self, gguf, hf):
        for table in "llm_param", "llm_token", "llm_merge":
            self.assertEqual(rows(gguf, f"SELECT * FROM {table}"), rows(hf, f"SELECT * FROM {table}"))
        query = ("SELECT key, value FROM llm_meta "  # the tiny GGUFs have no template, and no GGUF says NFC
                 "WHERE key NOT IN ('source', 'tokenizer.chat_template', 'tokenizer.takes_right', 'tokenizer.unicode') AND "
                 "key NOT LIKE 'digest.%' AND key NOT LIKE 'tokenizer.normalize.%'")
        self.assertEqual(rows(gguf, query), rows(hf, query))
        ours, theirs = read_model(hf)[0], read_model(gguf)[0]
        for name, values in theirs.items():
            if name == "rope_factors":  # numbers in one, a tensor of f32 in the other
                np.testing.assert_allclose(ours[name], values, rtol=1e-6)
            elif "norm" in name and "gemma" in str(gguf):  # stored less 1, which rounds
                np.testing.assert_allclose(ours[name], values, rtol=1e-6)
            else:
                self.assertEqual(ours[name].tobytes(), values.tobytes(), name)

    def test_every_architecture(self):
        for name in MODELS:
            for version in 4, 5:
                with self.subTest(model=name, version=version):
                    self.compare(*self.both(name, "f32", version=version))
                shutil.rmtree(self.folder / "hf")

    def test_every_weight_type(self):
        for weights in "q8", "q4", "f16":
            with self.subTest(weights):
                self.compare(*self.both("qwen3", weights))
            shutil.rmtree(self.folder / "hf")

    def test_shards_and_old_merges(self):
        self.compare(*self.both("llama3", "q8", shards=3, pairs=False))

    def test_narrow_types(self):
        """F16 and BF16 are what their values say, and `auto` keeps them."""
        for type in "F16", "BF16":
            hf = write_tiny("llama3-tied", self.folder / type, type=type)
            made, types = read_model(self.imported(hf))
            exact = weights_of("llama3-tied")["model.layers.0.mlp.up_proj.weight"]
            bits = np.frombuffer(encoded(exact, type), "<u2")
            values = bits.view("<f2").astype(np.float32) if type == "F16" else \
                (bits.astype(np.uint32) << 16).view(np.float32)
            self.assertEqual(types["layer.0.ffn_up"], type.lower())
            np.testing.assert_array_equal(made["layer.0.ffn_up"].ravel(), values)

    def test_logits(self):
        """From config.json to logits, against what transformers computes."""
        for name in "llama3", "gemma3-256":
            with self.subTest(name):
                hf = write_tiny(name, self.folder / name)
                toml = self.folder / f"{name}.toml"
                db = self.imported(hf, "--weights", "f32", "--write-model", toml)
                plan = compile_model(toml, self.folder / "plan.sql", "--context", 128)
                recorded = np.load(FIXTURES / "architectures" / f"{name}.npz")
                ours = logits(plan, db, recorded["tokens"], self.folder)[recorded["rows"]]
                self.assertLess(np.abs(ours - recorded["logits_kv_f16"]).max(), 1e-3)

    def test_a_written_model_file_imports_the_same(self):
        hf, toml = write_tiny("llama3", self.folder / "hf"), self.folder / "x.toml"
        first = self.imported(hf, "--weights", "q4", "--write-model", toml).read_bytes()
        text = toml.read_text()
        self.assertIn('name = "hf"', text)
        self.assertIn('stop = ["<|end|>"]', text)
        run("LLMSQL_IMPORT", hf, "--model", toml, "--graph-dir", GRAPHS, "-o", self.folder / "y.db")
        self.assertEqual(first, (self.folder / "y.db").read_bytes())


class Tokens(Folder):
    def test_sentencepiece_by_rank(self):
        """A SentencePiece vocabulary as tokenizer.json has it, its merges ranked, against the ids that
        the tokenizers library gave for it (tests/reference/record_hf_tokens.py)."""
        gguf, _ = import_gguf(FIXTURES / "tiny-gemma3.gguf", "gemma3", "f32", self.folder)
        pieces, kinds, scores = zip(*rows(gguf, "SELECT piece, kind, score FROM llm_token ORDER BY id"))
        tokens = [piece.decode() for piece in pieces]
        for prefix in False, True:
            hf = write_tiny("gemma3-256", self.folder / f"prefix-{prefix}")
            (hf / "model.safetensors").unlink()
            shapes = {key: w.shape for key, w in weights_of("gemma3-256").items()}
            width = shapes["model.embed_tokens.weight"][1]
            shapes["model.embed_tokens.weight"] = (len(tokens), width)
            write_weights(hf, shapes, lambda name: np.zeros(shapes[name]), "BF16")
            write_json(hf / "config.json", {**tiny_config("gemma3-256", 5), "vocab_size": len(tokens)})
            write_json(hf / "tokenizer.json", spm_tokenizer(tokens, kinds, scores, prefix, 2))
            write_json(hf / "tokenizer_config.json", {"bos_token": "<bos>", "eos_token": "<eos>"})
            db = self.imported(hf)
            self.assertGreater(rows(db, "SELECT count(*) FROM llm_merge")[0][0], 50)
            recorded = (FIXTURES / "tokens" / f"hf-spm{'-prefix' * prefix}.txt").read_text()
            expected = dict(line.split(":", 1) for line in recorded.splitlines())
            compared = 0
            for name, text in read_texts():
                if name not in expected:
                    continue
                file = self.folder / "text"
                file.write_bytes(text)
                ids = subprocess.run([os.environ["LLMSQL_RUN"], db, "--tokenize", file], check=True,
                                     capture_output=True).stdout.decode().split()
                self.assertEqual(ids, expected[name].split(), name)
                compared += 1
            self.assertGreater(compared, 15)


class BadFolders(Folder):
    def setUp(self):
        super().setUp()
        self.hf = write_tiny("llama3", self.folder / "hf", shards=2)
        self.before = sorted(path.name for path in self.folder.iterdir())

    def refuse(self, expected, *options):
        code, said = attempt(self.hf, "-o", self.folder / "x.db", *options)
        self.assertIn(expected, said)
        self.assertEqual(code, 1)
        said = [line for line in said.splitlines() if not line.startswith("llmsql-import: note: ")]
        self.assertTrue(said[0].startswith("llmsql-import: "), said)
        if ".graph:" not in said[0]:  # which shows the line of the graph below
            self.assertEqual(len(said), 1, said)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), self.before)

    def change(self, file, **changes):
        value = {**json.loads((self.hf / file).read_text()), **changes}
        write_json(self.hf / file, {k: v for k, v in value.items() if v != "gone"})

    def single(self, **changes):
        """All weights in one file, some changed or, where None, left out."""
        for path in self.hf.glob("model*"):
            path.unlink()
        weights = {k: w for k, w in {**weights_of("llama3"), **changes}.items() if w is not None}
        write_weights(self.hf, {key: w.shape for key, w in weights.items()}, weights.get, "F32")

    def test_weights(self):
        shard = self.hf / "model-00002-of-00002.safetensors"
        whole = shard.read_bytes()
        for cut in 0, 5, 100, len(whole) // 2, len(whole) - 1:
            shard.write_bytes(whole[:cut])
            self.refuse("model-00002-of-00002.safetensors: ")
        shard.unlink()
        self.refuse("model-00002-of-00002.safetensors: is missing")
        up = "model.layers.1.mlp.up_proj.weight"
        self.single(**{up: None})
        self.refuse(f"tensor {up} is missing")
        self.single(**{up: np.zeros((3, 80), np.float32)})
        self.refuse(f"tensor {up} has the shape [3, 80], the model needs [100, 80]")
        self.single(**{"model.layers.1.mlp.extra.weight": np.zeros(100, np.float32)})
        self.refuse("1 tensor of the source is not used by the graph llama: "
                    "model.layers.1.mlp.extra.weight; the model is another than the graph's")
        self.single(**{up: np.full((100, 80), np.nan, np.float32)})
        self.refuse(f"tensor {up}: row 0 has a value that is not a finite number", "--weights", "q4")
        self.single(**{"model.layers.1.self_attn.rotary_emb.inv_freq": np.zeros(32, np.float32)})
        self.assertEqual(attempt(self.hf, "-o", self.folder / "x.db")[0], 0)

    def test_configuration(self):
        self.change("config.json", hidden_size="gone")
        self.refuse("hidden_size")
        self.change("config.json", hidden_size=80, architectures=["BertModel"])
        self.refuse("BertModel")
        self.change("config.json", architectures=["LlamaForCausalLM"], tie_word_embeddings=True)
        self.assertEqual(attempt(self.hf, "-o", self.folder / "x.db")[0], 0)
        (self.folder / "x.db").unlink()
        self.change("config.json", tie_word_embeddings=False, vocab_size=299)
        self.refuse("has the shape [300, 80], the model needs [299, 80]")
        self.change("config.json", vocab_size=300, hidden_act="gelu")
        self.refuse("error: 'gate_is_silu' is 1 in this graph, but not in the source: hidden_act is \"gelu\"")
        self.change("config.json", hidden_act="silu", rms_norm_eps="1e-5")
        self.refuse("the source's rms_norm_eps is the text \"1e-5\", but a number is needed")
        self.change("config.json", rms_norm_eps=None)
        self.refuse("the source does not say what 'rms_eps' is: looked for \"rms_norm_eps\"\n")
        (self.hf / "config.json").write_text("{" * 100000)
        self.refuse("config.json: ")
        (self.hf / "config.json").unlink()
        self.refuse("has no config.json, so it is not a Hugging Face model's folder")

    def test_what_the_graph_does_otherwise(self):
        """Keys that would change the computation, of every graph: each is refused, none ignored."""
        kinds = ["sliding_attention"] * 5 + ["full_attention"] + ["sliding_attention"]
        for name, changes, expected in (
                ("qwen3", dict(hidden_act="relu"), 'hidden_act is "relu"'),
                ("qwen3", dict(rope_scaling={"type": "linear", "factor": 2}), "says rope_scaling and rope_parameters"),
                ("qwen3", dict(rope_parameters={"type": "other"}), 'rope_parameters.rope_type is "other"'),
                ("qwen3", dict(partial_rotary_factor=0.5), "partial_rotary_factor is 0.5"),
                ("qwen3", dict(layer_types=["full_attention", "sliding_attention"]),
                 "'is_windowed' of layer 1 is 0 in this graph, but not in the source: layer_types.1 is"),
                ("olmo2", dict(rope_parameters={"rope_type": "proportional"}), 'rope_type is "proportional"'),
                ("olmoe", dict(hidden_act="gelu"), 'hidden_act is "gelu"'),
                ("phi3", dict(rope_parameters={"type": "longrope"}), "has no list rope_scaling.short_factor"),
                ("qwen3moe", dict(hidden_act="gelu"), 'hidden_act is "gelu"'),
                ("gemma3-256", dict(hidden_activation="gelu"), 'hidden_activation is "gelu"'),
                ("gemma3-256", dict(use_bidirectional_attention=True), "use_bidirectional_attention is 1"),
                ("gemma3-256", dict(layer_types=kinds[1:] + ["chunked_attention"]),
                 "'is_known' of layer 6 is 1 in this graph, but not in the source: layer_types.6 is"),
                ("gemma3-256", dict(layer_types=kinds, hidden_activation="gelu_pytorch_tanh"), None)):
            with self.subTest(name, **changes):
                shutil.rmtree(self.hf)
                write_tiny(name, self.hf)
                self.change("config.json", **changes)
                if expected:
                    self.refuse(expected)
                else:
                    self.assertEqual(attempt(self.hf, "-o", self.folder / "x.db")[0], 0)

    def test_tokenizer(self):
        whole = (self.hf / "tokenizer.json").read_text()
        (self.hf / "tokenizer.json").write_text(whole[:len(whole) // 2])
        self.refuse("tokenizer.json: is not valid JSON")
        (self.hf / "tokenizer.json").write_text(whole)
        model = json.loads(whole)["model"]
        self.change("tokenizer.json", model={**model, "type": "WordLevel"})
        self.refuse("WordLevel")
        (self.hf / "tokenizer.json").unlink()
        self.refuse("tokenizer.json: is missing")

    def test_outputs(self):
        code, said = attempt(self.hf, "-o", self.hf)
        self.assertEqual(code, 1)
        self.assertIn("is the source itself", said)
        shard = self.hf / "model-00002-of-00002.safetensors"
        before = shard.read_bytes()
        code, said = attempt(self.hf, "-o", shard)
        self.assertEqual(code, 1)
        self.assertIn("is there already and is not a database", said)
        self.assertEqual(shard.read_bytes(), before)


class Memory(Folder):
    def test_two_gigabytes(self):
        """A sparse file of zeros: 2.1 GB, of which a vocabulary of 2^18 is half and one layer's
        feed-forward the rest."""
        hf = write_tiny("llama3", self.folder / "hf")
        vocabulary, width, ff = 1 << 18, 1024, 43520
        shapes = {key: tuple({100: ff, 80: width, 300: vocabulary}.get(n, n) for n in w.shape)
                  for key, w in weights_of("llama3").items() if key != "lm_head.weight"}
        sizes = {key: ("F32", shape, 4 * int(np.prod(shape))) for key, shape in shapes.items()}
        header = safetensors_header(sizes)
        with open(hf / "model.safetensors", "wb") as file:
            file.write(header)
            file.truncate(len(header) + sum(size for *_, size in sizes.values()))
        self.assertGreater((hf / "model.safetensors").stat().st_size, 2e9)
        config = tiny_config("llama3", 5)
        write_json(hf / "config.json",
                   {**config, "hidden_size": width, "intermediate_size": ff,
                    "vocab_size": vocabulary, "tie_word_embeddings": True})
        # As many tokens and merges as the largest tokenizer there is.
        tokenizer = json.loads((hf / "tokenizer.json").read_text())
        vocab, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
        letters = [chr(ord("a") + i) for i in range(26)]
        words = list(letters)
        while len(words) < vocabulary - 400:
            longer = [w + c for w in words[-26**3:] for c in letters]
            words += longer
        for word in words[:vocabulary - 400]:
            if word not in vocab:
                vocab[word] = len(vocab) + 2
                merges.append([word[:-1], word[-1]])
        write_json(hf / "tokenizer.json", tokenizer)
        _, peak = run_and_measure("LLMSQL_IMPORT", hf, "--graph-dir", GRAPHS, "--weights", "q4", "-o", self.folder / "x.db")
        if not os.environ.get("LLMSQL_SANITIZED"):  # sanitizers keep what is freed
            self.assertLess(peak, 200e6)


if __name__ == "__main__":
    unittest.main()
