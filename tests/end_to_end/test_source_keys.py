#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a source says beyond what a graph reads: keys that change nothing pass, every other ends the
import and is named, --ignore-key passes over one and is remembered. And that import stores no model
of which no plan can be made, whatever numbers the source has."""

import os
import shutil
import signal
import subprocess
import time
import unittest
import unittest.mock

import numpy as np

from programs import SOURCE, TemporaryFolder, rows, run

from hf_folder import tiny_config, write_json, write_tiny
from tiny_models import EPS, MODELS, gguf_metadata, gguf_tensors, write_gguf

GRAPHS = SOURCE / "graphs"
ONE_EACH = ["llama3", "qwen3", "gemma3-256", "olmo2", "phi3", "qwen3moe", "olmoe"]

# What llama.cpp's converter (conversion/*.py) writes beside what tiny_models.py does.
CONVERTED = {
    "llama": {"rope.dimension_count": 64, "vocab_size": 300},
    "phi3": {"rope.scaling.original_context_length": 4096, "rope.dimension_count": 32},
    "gemma3": {"attention.value_length": 256},
}

# Of a GGUF: what would change the model, and what changes nothing. 16 and 80 stand for the
# width of a head and of llama3's model.
FOREIGN = {
    "residual_scale": 0.22, "embedding_scale": 12.0, "logit_scale": 0.0625, "attention.scale": 0.5,
    "attention.clamp_kqv": 8.0, "attention.causal": False, "use_parallel_residual": True,
    "expert_shared_count": 8, "attention.sliding_window": 4096, "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0, "leading_dense_block_count": 1, "nextn_predict_layers": 1,
    "full_attention_interval": 4, "attention.layer_norm_epsilon": 0.25, "tensor_data_layout": "mine",
    "expert_weights_scale": 2.5, "attention.sliding_window_pattern": [1, 0], "rope.dimension_sections":
    [8, 8, 0, 0], "vocab_size": 12, "a.new.key": 0, "rope.scaling.alpha": 1000.0, "ssm.state_size": 16,
    "pooling_type": 3,
}
NEUTRAL = {
    "rope.scale_linear": 1.0, "rope.scaling.attn_factor": 1.0, "attention.value_length": 64,
    "residual_scale": 1.0, "embedding_scale": 1.0, "logit_scale": 1.0, "attention.scale": 0.125,
    "attention.clamp_kqv": 0.0, "attention.causal": True, "use_parallel_residual": False,
    "expert_count": 0, "attention.sliding_window": 0, "final_logit_softcapping": 0.0,
    "rope.scaling.yarn_beta_fast": 32.0, "rope.scaling.yarn_ext_factor": -1.0,
    "leading_dense_block_count": 0, "attention.layer_norm_epsilon": EPS, "rope.scaling.type": "none",
    "tensor_data_layout": "Meta AI original pth", "attention.sliding_window_pattern": [0, 0],
    "context_length": 77, "rope.scaling.finetuned": True, "attention.head_count": [4, 4],
    "attention.head_count_kv": [1, 1],
}

# What config.json has beside in files as they are published, of transformers 4 and 5.
PUBLISHED = {
    "_name_or_path": "somewhere/model", "torch_dtype": "bfloat16", "transformers_version": "4.51.0",
    "use_cache": True, "pretraining_tp": 1, "initializer_range": 0.02, "attention_dropout": 0.0,
    "is_llama_config": True, "rope_interleaved": False, "pad_token_id": None, "mlp_bias": False,
    "transformers.js_config": {"dtype": "q4", "kv_cache_dtype": {"q4f16": "float16"}},
    "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}, "embd_pdrop": 0.0,
    "resid_pdrop": 0.0, "output_router_logits": False, "router_aux_loss_coef": 0.001,
    "cache_implementation": "hybrid", "unsloth_fixed": True, "attn_logit_softcapping": None,
    "quantization_config": None, "id2label": {"0": "LABEL_0"}, "pruned_heads": {}, "top_k": 50,
}
OF_FAMILY = {
    "qwen3": {"max_window_layers": 28, "use_sliding_window": False, "sliding_window": 4096,
              "layer_types": ["full_attention"] * 2},
    "qwen3moe": {"max_window_layers": 28, "use_sliding_window": False, "sliding_window": None},
    "phi3": {"original_max_position_embeddings": 4096},
    "olmoe": {"clip_qkv": None},
    "gemma3": {"layer_types": (["sliding_attention"] * 5 + ["full_attention"] +
                               ["sliding_attention"]), "use_bidirectional_attention": False,
               "final_logit_softcapping": None},
}
FOREIGN_HF = {
    "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "logits_scaling": 8.0,
    "attention_multiplier": 1.0, "no_rope_layers": [1, 0], "logit_scale": 0.0625,
    "use_qk_norm": True, "qk_layernorm": True, "model_type": "mistral", "layer_norm_eps": 0.5,
    "use_parallel_residual": True, "rope_interleaved": True, "hidden_act": 5,
    "layer_types": ["full_attention", "chunked_attention"], "attention_chunk_size": 8192,
    "num_experts": 4, "clip_qkv": 8.0, "final_logit_softcapping": 30.0, "sliding_window": 128,
    "rope_theta": 77.0, "vision_config": {"hidden_size": 4}, "is_encoder_decoder": True,
    "compression_config": {"bits": 4}, "a_new_key": False,
}


def attempt(*arguments):
    """Exit code and stderr of an import."""
    done = subprocess.run([os.environ["LLMSQL_IMPORT"], *map(str, arguments)], capture_output=True)
    return done.returncode, done.stderr.decode()


class Folder(TemporaryFolder):
    def names(self):
        return sorted(path.name for path in self.folder.iterdir())

    def imports(self, source, *options):
        db = self.folder / "m.db"
        status, said = attempt(source, "-o", db, "--graph-dir", GRAPHS, *options)
        self.assertEqual(status, 0, said)
        return db

    def refused(self, source, *needles, options=()):
        status, said = attempt(source, "-o", self.folder / "no.db", "--graph-dir", GRAPHS, *options)
        self.assertEqual(status, 1, said)
        for needle in needles:
            self.assertIn(needle, said)
        self.assertFalse((self.folder / "no.db").exists())
        return said

    def gguf(self, name, keys, own=True, **options):
        kind = MODELS[name]["architecture"]
        keys = {f"{kind}.{key}" if own else key: value for key, value in keys.items()}
        return write_gguf(name, self.folder / "m.gguf", metadata=keys, **options)

    def hf(self, name, changes, version=5):
        folder = self.folder / "hf"
        if not folder.exists():
            write_tiny(name, folder)
        config = tiny_config(name, version) | changes
        write_json(folder / "config.json", config)
        return folder


class Ggufs(Folder):
    def test_what_converters_write(self):
        for name in ONE_EACH:
            with self.subTest(name):
                self.imports(self.gguf(name, CONVERTED.get(MODELS[name]["architecture"], {})))

    def test_neutral(self):
        for key, value in NEUTRAL.items():
            with self.subTest(key):
                self.imports(self.gguf("llama3", {key: value}))

    def test_foreign(self):
        for key, value in FOREIGN.items():
            with self.subTest(key):
                self.refused(self.gguf("llama3", {key: value}), f"llama.{key} = ", "--ignore-key NAME")

    def test_read_and_not_supported(self):
        for key, value, said in (("attention.value_length", 128, "llama.attention.value_length is 128"),
                                 ("rope.scale_linear", 8.0, "rope.scale_linear) and by rope_freqs.weight"),
                                 ("rope.scaling.attn_factor", 2.0, "a magnitude (attn_factor"),
                                 ("rope.scaling.yarn_ext_factor", 0.5, "yarn_ext_factor = 0.5")):
            with self.subTest(key):
                self.refused(self.gguf("llama3", {key: value}), said)

    def test_infinities_are_no_neutral_values(self):
        for key in ("residual_scale", "logit_scale", "attention.scale", "vocab_size"):
            for value in float("inf"), float("-inf"), float("nan"):
                self.refused(self.gguf("llama3", {key: value}), f"llama.{key} = ", "--ignore-key NAME")

    def test_all_at_once(self):
        said = self.refused(self.gguf("llama3", FOREIGN))
        self.assertEqual(said.count("\n"), 1)
        self.assertEqual(said.count(" = "), 6)
        self.assertIn(f"and {len(FOREIGN) - 6} more", said)

    def test_what_is_read_is_not_said_to_be_unread(self):
        for value in float("nan"), float("inf"), -1.0:
            said = self.refused(self.gguf("llama3", {"attention.layer_norm_rms_epsilon": value}))
            self.assertNotIn("does not read", said)
            self.assertEqual(said.count("\n"), 1)
        for value in float("nan"), float("inf"):
            said = self.refused(self.gguf("llama3", {"rope.freq_base": value}))
            self.assertNotIn("does not read", said)
        said = self.refused(self.gguf("llama3", {"rope.scale_linear": float("nan")}), "must be a finite number")
        self.assertNotIn("does not read", said)

    def test_two_faults_are_one_line(self):
        said = self.refused(self.gguf("llama3", {"attention.head_count": 3,
                                                 "residual_scale": 0.5},
                                      without=["llama.attention.key_length"]),
                            "llama.residual_scale = 0.5", ": error: ", "; also, ")
        self.assertEqual(said.count("\n"), 1)
        said = self.refused(self.gguf("llama3", {"attention.head_counts": 4}, without=[
            "llama.attention.head_count", "llama.embedding_length"]),
                            "; also, ", "(and 1 more)", "head_counts = 4")
        self.assertEqual(said.count("\n"), 1)

    def test_factors_of_positions(self):
        tensors = gguf_tensors("llama3")
        for value, said in ((0.0, "its element 3 is 0, but the graph divides by it"),
                            (-1.0, "its element 3 is -1, but"), (float("nan"), "not a finite number"),
                            (float("inf"), "not a finite number")):
            factors = tensors["rope_freqs.weight"].copy()
            factors[3] = value
            for options in [], ["--weights", "q8"]:
                self.refused(self.gguf("llama3", {}, tensors=tensors | {"rope_freqs.weight": factors}),
                             "tensor rope_freqs.weight", said, options=options)
        toml = self.folder / "m.toml"
        self.imports(self.gguf("llama3", {}), "--write-model", toml)
        status, said = attempt(self.gguf("llama3", {}, tensors=tensors | {
            "rope_freqs.weight": np.zeros_like(factors)}), "-o", self.folder / "no.db", "--model", toml,
                               "--graph-dir", GRAPHS)
        self.assertEqual(status, 1)
        self.assertIn("rope_freqs.weight", said)
        # Norms may have any weights.
        zero = np.zeros_like(tensors["output_norm.weight"])
        self.imports(self.gguf("llama3", {}, tensors=tensors | {"output_norm.weight": zero}))

    def test_ids_of_tokens(self):
        for key in ("bos", "eos", "eot", "eom", "unknown", "fim_pad"):
            for value, said in (("</s>", 'is the text "</s>", a number is needed'),
                                (1.5, "is 1.5, which is no token's id"), (float("nan"), "there are 300 tokens"),
                                (-1.0, "there are 300 tokens")):
                self.refused(self.gguf("llama3", {f"tokenizer.ggml.{key}_token_id": value}, own=False),
                             f"tokenizer.ggml.{key}_token_id", said)

    def test_of_experts(self):
        for name, norm in ("qwen3moe", True), ("olmoe", False):
            self.imports(self.gguf(name, {"expert_weights_norm": norm, "expert_gating_func": 1}))
            self.refused(self.gguf(name, {"expert_weights_norm": not norm}), "expert_weights_norm")
            self.refused(self.gguf(name, {"expert_gating_func": 2}), "expert_gating_func")
            self.refused(self.gguf(name, {"expert_weights_scale": 2.5}), "expert_weights_scale")

    def test_gemmas_window(self):
        self.imports(self.gguf("gemma3-256", {"attention.sliding_window_pattern": 6}))
        self.refused(self.gguf("gemma3-256", {"attention.sliding_window": 0}), "window")

    def test_gemmas_largest(self):
        """Of 62 layers: attention scales by the model's width, not the heads', as llama.cpp knows."""
        largest = MODELS["gemma3-256"] | {"n_layer": 62, "d_head": 16, "d_model": 40, "n_head": 2}
        with unittest.mock.patch.dict(MODELS, {"largest": largest}):
            self.imports(self.gguf("largest", {}), "--write-model", self.folder / "l.toml")
        self.assertIn("\nquery_scalar = 20\n", (self.folder / "l.toml").read_text())

    def test_other_prefixes_pass(self):
        self.imports(self.gguf("llama3", {"general.license": "mit", "clip.scale": 3}, own=False))

    def test_lists(self):
        self.refused(self.gguf("llama3", {"attention.head_count_kv": [1, 2]}),
                     "is an array, a number is needed")
        self.refused(self.gguf("llama3", {"attention.head_count_kv": [1, 1, 1]}), "2 layers")
        self.refused(self.gguf("llama3", {"attention.head_count_kv": ["1", "1"]}),
                     "an array of strings, a number is needed")

    def test_edges_of_numbers(self):
        """Whatever a number is: import says one line, or llmsqlc takes what it wrote."""
        edges = [float("nan"), float("inf"), -1.0, 0.0, 1e-45, 3e38, 0, 2**32 - 1]
        for name in ONE_EACH:
            kind = MODELS[name]["architecture"]
            known = gguf_metadata(name)
            numbers = [key for key, value in known.items() if key.startswith(kind + ".")]
            numbers += [f"{kind}.rope.freq_base_swa", f"{kind}.rope.scaling.factor"]
            if name not in ("llama3", "qwen3moe"):
                numbers = [key for key in numbers if "eps" in key or "window" in key]
            for key in numbers:
                for value in edges:
                    source = self.gguf(name, {key: value}, own=False)
                    db, toml = self.folder / "e.db", self.folder / "e.toml"
                    status, said = attempt(source, "-o", db, "--graph-dir", GRAPHS, "--write-model", toml)
                    if status == 0:
                        plan = self.folder / "e.sql"
                        run("LLMSQLC", toml, "-o", plan, "--graph-dir", GRAPHS, "--context", 64)
                        if "norm" in key or "freq" in key:
                            done = subprocess.run([os.environ["LLMSQL_RUN"], plan, db, "--tokens", "1,2",
                                                   "--logits", self.folder / "l.npy"], capture_output=True)
                            self.assertNotIn(b"must", done.stderr, (key, value))
                    else:
                        self.assertEqual(status, 1, (key, value, said))
                        self.assertFalse(db.exists() or toml.exists())
                    for made in db, toml:
                        made.unlink(missing_ok=True)


class HuggingFace(Folder):
    def test_published(self):
        for name in ONE_EACH:
            for version in 4, 5:
                shutil.rmtree(self.folder / "hf", ignore_errors=True)
                with self.subTest(name, version=version):
                    own = OF_FAMILY.get(MODELS[name]["architecture"], {})
                    self.imports(self.hf(name, PUBLISHED | own, version))

    def test_foreign(self):
        for key, value in FOREIGN_HF.items():
            with self.subTest(key):
                self.refused(self.hf("llama3", {key: value}), key)

    def test_layers_of_other_kinds(self):
        self.refused(self.hf("qwen3", {"layer_types": ["full_attention", "linear_attention"]}),
                     "layer_types.1")
        self.refused(self.hf("qwen3", {"layer_types": ["full_attention"] * 3}), "layer_types")
        self.refused(self.hf("qwen3", {"layer_types": ["full_attention"]}), "layer_types")

    def test_two_spellings(self):
        same = MODELS["llama3"]["rope_theta"]
        self.imports(self.hf("llama3", {"rope_theta": same}))
        self.refused(self.hf("llama3", {"rope_theta": same * 2}), "rope_theta")

    def test_rotary_objects(self):
        theta = {"rope_theta": 10000.0}
        for rope, needle in (({"factor": 8.0, "low_freq_factor": 1.0}, "rope_type"),
                             ({"rope_type": "llama3", "factor": 8.0}, "low_freq_factor"),
                             ({"rope_type": "default", "attention_factor": 2.0}, "attention_factor")):
            self.refused(self.hf("llama3", {"rope_parameters": rope | theta}), needle)
        # Transformers takes the length of the context, and passes over a factor that goes with no type.
        for rope in {"rope_type": "yarn", "factor": 8.0}, {"rope_type": "default", "factor": 8.0}:
            self.imports(self.hf("llama3", {"rope_parameters": rope | theta}))

    def test_windows(self):
        """Llama's transformers class has none, Mistral's has, and one of its own where nothing is said."""
        self.refused(self.hf("llama3", {"sliding_window": 64}), "window")
        plain = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
                 "architectures": ["MistralForCausalLM"], "model_type": "mistral"}
        for said, window in ({"sliding_window": 64}, 64), ({"sliding_window": None}, 0), ({}, 4096):
            db = self.imports(self.hf("llama3", plain | said), "--write-model", self.folder / "w.toml")
            self.assertIn(f"\nwindow = {window}\n", (self.folder / "w.toml").read_text())

    def test_defaults_of_classes(self):
        config = tiny_config("qwen3moe", 5)
        del config["norm_topk_prob"]
        folder = self.hf("qwen3moe", {})
        write_json(folder / "config.json", config)
        self.imports(folder, "--write-model", self.folder / "d.toml")
        self.assertIn("\nnormalised = 0\n", (self.folder / "d.toml").read_text())

    def test_lists(self):
        self.refused(self.hf("llama3", {"num_key_value_heads": [1, 1]}),
                     "num_key_value_heads is an array, a number is needed")
        self.refused(self.hf("llama3", {"rms_norm_eps": {"value": 1e-5}}),
                     "rms_norm_eps is an object, a number is needed")

    def test_computed_without_bound(self):
        started = time.monotonic()
        self.refused(self.hf("llama3", {"head_dim": 2147483648}), "elements")
        self.assertLess(time.monotonic() - started, 30)


class Copies(Folder):
    """A graph renamed for an architecture that it knows nothing of."""

    def copy(self, name, hf):
        text = (GRAPHS / "llama.graph").read_text()
        text = text.replace('"llama.', f'"{name}.').replace('graph llama @gguf("llama")',
                                                           f'graph {name} @gguf("{name}")')
        text = text.replace('@hf("LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM", '
                            '"InternLM3ForCausalLM", "IQuestCoderForCausalLM")', f'@hf("{hf}")')
        graph = self.folder / f"{name}.graph"
        graph.write_text(text)
        run("LLMSQLC", graph)
        return graph

    def test_copies(self):
        for name, hf, config in (
                ("granite", "GraniteForCausalLM",
                 {"embedding_multiplier": 1.0, "residual_multiplier": 1.0, "logits_scaling": 1.0,
                  "attention_multiplier": 1.0}),
                ("smollm3", "SmolLM3ForCausalLM", {"no_rope_layers": [1, 0], "no_rope_layer_interval": 4}),
                ("cohere", "CohereForCausalLM", {"logit_scale": 0.0625, "layer_norm_eps": 1e-5}),
                ("stablelm", "StableLmForCausalLM", {"layer_norm_eps": 1e-5})):
            plain = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
            folder = self.hf("llama3", {"architectures": [hf], "model_type": name} | plain | config)
            graph = self.copy(name, hf)
            neutral = {"embedding_multiplier", "residual_multiplier", "logits_scaling"}
            self.refused(folder, *(f"{key} = " for key in config if key not in neutral),
                         options=["--graph", graph])

    def test_declared(self):
        folder = self.hf("llama3", {"a_key": 3, "an_object": {"a": {"b": 1}}})
        graph = self.folder / "llama.graph"
        text = (GRAPHS / "llama.graph").read_text()
        graph.write_text(text.replace("  param token_embd", '  ignore @hf("a_key", "an_object");\n\n'
                                      "  param token_embd", 1))
        self.imports(folder, "--graph", graph)
        self.assertIn('ignore @hf("a_key", "an_object");',
                      run("LLMSQLC", graph, "--emit=ast").stdout.decode())


class Ignored(Folder):
    def test_is_remembered(self):
        source = self.gguf("llama3", {"rope.scale_linear": 8.0})
        db, toml = self.folder / "i.db", self.folder / "i.toml"
        run("LLMSQL_IMPORT", source, "-o", db, "--write-model", toml, "--graph-dir", GRAPHS,
            "--ignore-key", "llama.rope.scale_linear", "--weights", "f32")
        said = "llama.rope.scale_linear = 8"
        self.assertEqual(rows(db, "SELECT value FROM llm_meta WHERE key = 'ignored'"), [(said,)])
        self.assertIn(said, run("LLMSQL_RUN", "--verify", db).stdout.decode())
        page = self.folder / "i.html"
        run("LLMSQLC", toml, "--emit=html", "-o", page, "--graph-dir", GRAPHS)
        self.assertIn(said, page.read_text())
        run("LLMSQLC", toml, "--install", db, "--graph-dir", GRAPHS)
        run("LLMSQL_RUN", db, "-p", "et", "-n", 2, f'--profile=html:{page.with_name("r.html")}')
        self.assertIn(said, page.with_name("r.html").read_text())
        again = self.folder / "again.db"  # with the model file
        run("LLMSQL_IMPORT", source, "-o", again, "--model", toml, "--graph-dir", GRAPHS,
            "--ignore-key", "llama.rope.scale_linear")

    def test_counts_as_absent(self):
        folder = self.hf("llama3", {"sliding_window": 64, "an_object": {"a": 1, "b": {"c": 2}}})
        self.imports(folder, "--ignore-key", "sliding_window", "--ignore-key", "an_object",
                     "--write-model", self.folder / "i.toml")
        self.assertIn("\nwindow = 0\n", (self.folder / "i.toml").read_text())

    def test_of_a_model_file(self):
        source = self.gguf("llama3", {})
        self.imports(source, "--write-model", self.folder / "i.toml")
        self.refused(self.gguf("llama3", {"residual_scale": 0.5}), "llama.residual_scale = 0.5",
                     options=["--model", self.folder / "i.toml"])

    def test_what_import_goes_by(self):
        self.refused(self.hf("llama3", {}), "cannot be passed over",
                     options=["--ignore-key", "tie_word_embeddings"])

    def test_no_such_key(self):
        source = self.gguf("llama3", {"rope.scale_linear": 8.0})
        self.refused(source, "has no such key", "did you mean 'llama.rope.scale_linear'?",
                     options=["--ignore-key", "llama.rope.scale_linea"])
        self.refused(self.hf("llama3", {}), "has no such key", options=["--ignore-key", "rope"])


class Pointers(Folder):
    TEXT = "version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 98362432\n" % 0
    SAID = "is a Git LFS pointer in place of the file: git lfs pull brings the file"

    def test_gguf(self):
        source = self.folder / "m.gguf"
        source.write_text(self.TEXT)
        self.refused(source, "m.gguf: " + self.SAID)

    def test_folder(self):
        for name in "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json":
            folder = self.hf("llama3", {})
            (folder / name).write_text(self.TEXT)
            self.refused(folder, f"{name}: " + self.SAID)
            shutil.rmtree(folder)
        write_tiny("llama3", self.folder / "hf", shards=2)
        (self.folder / "hf" / "model.safetensors.index.json").write_text(self.TEXT)
        self.refused(self.folder / "hf", "index.json: " + self.SAID)


class Contexts(Folder):
    def test_is_kept_and_said(self):
        for source in self.gguf("llama3", {"context_length": 300}), \
                self.hf("llama3", {"max_position_embeddings": 300}):
            toml = self.folder / "c.toml"
            db = self.imports(source, "--write-model", toml)
            self.assertEqual(rows(db, "SELECT value FROM llm_meta WHERE key = 'context'"), [(300,)])
            plans = []
            for text in toml.read_text(), toml.read_text().replace("context = 300\n", ""):
                toml.write_text(text)
                done = run("LLMSQLC", toml, "-o", self.folder / "c.sql", "--context", 301,
                           "--graph-dir", GRAPHS)
                plans.append((self.folder / "c.sql").read_bytes())
                self.assertEqual(b"trained for" in done.stderr, "context = 300" in text)
            self.assertEqual(*plans)


    def test_what_is_no_number_is_refused(self):
        for value in "4096", [1, 2]:
            self.refused(self.gguf("llama3", {"context_length": value}), "llama.context_length")
            self.refused(self.hf("llama3", {"max_position_embeddings": value}), "max_position_embeddings")

    def test_what_is_no_length_is_said(self):
        for value in 0, 0.5:
            for source in self.gguf("llama3", {"context_length": value}), \
                    self.hf("llama3", {"max_position_embeddings": value}):
                key = "max_position_embeddings" if source.is_dir() else "llama.context_length"
                db = self.folder / "c.db"
                status, said = attempt(source, "-o", db, "--graph-dir", GRAPHS)
                self.assertEqual(status, 0, said)
                self.assertRegex(said, rf"note: .*: says {key} = .*, which is no length of texts")
                self.assertEqual(rows(db, "SELECT value FROM llm_meta WHERE key = 'context'"), [])
                status, said = attempt(source, "-o", db, "--graph-dir", GRAPHS, "--ignore-key", key)
                self.assertEqual((status, said.count("length of texts")), (0, 0), said)


class Names(Folder):
    def test_equal_catalogues_run(self):
        source = self.gguf("llama3", {})
        toml = self.folder / "one.toml"
        db = self.imports(source, "--name", "one", "--write-model", toml, "--weights", "f32")
        plan, session = self.folder / "one.sql", self.folder / "s.session"
        run("LLMSQLC", toml, "-o", plan, "--graph-dir", GRAPHS)
        run("LLMSQL_RUN", plan, db, "-p", "et", "-n", 2, "--session", session)
        toml.write_text(toml.read_text().replace('name = "one"', 'name = "two"'))
        run("LLMSQLC", toml, "-o", plan, "--graph-dir", GRAPHS)
        done = run("LLMSQL_RUN", plan, db, "-p", "et", "-n", 2, "--temp", 0)
        self.assertIn("a model of another name, 'one'", done.stderr.decode())
        run("LLMSQL_RUN", plan, db, "-p", "et", "-n", 2, "--session", session)
        done = run("LLMSQLC", toml, "--install", db, "--graph-dir", GRAPHS)
        self.assertIn("a model of another name, 'one'", done.stderr.decode())
        run("LLMSQL_RUN", db, "-p", "et", "-n", 2)
        toml.write_text(toml.read_text().replace('"f32"', '"q8"'))
        refused = subprocess.run([os.environ["LLMSQLC"], toml, "--install", db, "--graph-dir", GRAPHS],
                                 capture_output=True)
        self.assertIn(b"catalogue", refused.stderr)


class Interrupted(Folder):
    def test_wherever_it_is(self):
        """By one signal and by two: a whole model or none, and no file that is half made."""
        source = self.gguf("llama3", {"tokenizer.chat_template": "{{ x['role'] }}\\n" * 200000},
                           own=False)
        for delay in 0.0, 0.02, 0.05, 0.1, 0.2, 0.4:
            for times in 1, 2:
                process = subprocess.Popen([os.environ["LLMSQL_IMPORT"], source, "-o",
                                            self.folder / "x.db", "--graph-dir", GRAPHS, "--write-model",
                                            self.folder / "x.toml"], stderr=subprocess.PIPE)
                time.sleep(delay)
                for _ in range(times):
                    process.send_signal(signal.SIGINT)
                process.communicate(timeout=20)
                self.assertIn(process.returncode, (0, 130, -signal.SIGINT))
                made = {"x.db", "x.toml"} if process.returncode == 0 else set()
                self.assertEqual(set(self.names()) - {"m.gguf"}, made)
                for name in made:
                    (self.folder / name).unlink()


if __name__ == "__main__":
    unittest.main()
