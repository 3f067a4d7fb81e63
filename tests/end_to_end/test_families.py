#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tiny models of whole families, as Hugging Face folders, give the logits that transformers gave
(tests/fixtures/families, recorded by tests/reference/check_family.py with keys and values as f16), in
passes of any length. And what a folder leaves out, or has too much of, is what transformers' classes make of it:
another folder that says the same gives the same database.
"""

import json
import os
import re
import subprocess
import sys
import unittest

import numpy as np

from programs import SOURCE, TemporaryFolder, rows, run, shown

sys.path.insert(0, str(SOURCE / "tests" / "reference"))

from family_folder import EVERY, FIXTURES, read_recording, unpack, weights, write_folder
from hf_folder import write_safetensors

GRAPHS = SOURCE / "graphs"
CONTEXT = 96  # the length of the recorded texts, which dynamic positions go by


class Families(TemporaryFolder):
    def logits(self, source, ids, chunks):
        db, model, plan = (self.folder / f"model.{end}" for end in ("db", "toml", "sql"))
        run("LLMSQL_IMPORT", source, "--graph-dir", GRAPHS, "--weights", "f32", "-o", db, "--write-model", model)
        run("LLMSQLC", model, "-o", plan, "--context", CONTEXT, "--graph-dir", GRAPHS)
        made = []
        for chunk in chunks:
            run("LLMSQL_RUN", plan, db, "--tokens", ",".join(map(str, ids)), "--logits", self.folder / "logits.npy",
                "--batch-size", chunk)
            made.append(np.load(self.folder / "logits.npy"))
        return made

    def test_logits(self):
        recordings = sorted(FIXTURES.glob("*-*.json"))
        self.assertGreater(len(recordings), 20)
        for path in recordings:
            with self.subTest(path.stem):
                recorded = read_recording(path)
                source = write_folder(recorded, self.folder / path.stem)
                whole, single = self.logits(source, recorded["ids"], (64, 5))
                self.assertTrue(np.array_equal(whole, single), "the logits depend on the pass")
                theirs = unpack(recorded)
                ours = whole[::EVERY]
                self.assertLess(abs(ours - theirs).max() / theirs.std(), 0.01)
                self.assertLessEqual((ours.argmax(1) != theirs.argmax(1)).sum(), 1)

    def test_as_much_is_read_as_is_expected_of_each_router(self):
        """Within the smallest budget no expert is held, so that whichever are chosen a token reads as much: what the plan
        says, if it knows how many of them the router chooses, and which layers have one."""
        db, model, plan = (self.folder / f"model.{end}" for end in ("db", "toml", "sql"))
        compiling = model, "-o", plan, "--context", CONTEXT, "--graph-dir", GRAPHS, "--drafts", 0, "--budget"
        routers = 0
        for path in sorted(FIXTURES.glob("*-*.json")):
            recorded = read_recording(path)
            if not any("expert" in key for key in recorded["config"]):
                continue
            with self.subTest(path.stem):
                source = write_folder(recorded, self.folder / path.stem)
                run("LLMSQL_IMPORT", source, "--graph-dir", GRAPHS, "--weights", "f32", "-o", db, "--write-model", model)
                refused = subprocess.run([os.environ["LLMSQLC"], *map(str, compiling), "1MiB"], capture_output=True)
                run("LLMSQLC", *compiling, re.search(rb'give --budget "([^"]+)"', refused.stderr)[1].decode())
                figures = re.search(r"read per pass (.+) expected, (.+) at most", plan.read_text())
                if not figures:
                    continue  # a model whose configuration has experts that no layer is of
                routers += 1
                expected, most = figures.groups()
                self.assertEqual(expected, most)
                done = run("LLMSQL_RUN", plan, db, "-p", "ab", "-n", 24, "--temp", 0, "--ignore-eos")
                self.assertEqual(shown(int(re.search(rb"(\d+) read per token", done.stderr)[1])), expected)
        self.assertGreater(routers, 30)


class Silence(TemporaryFolder):
    """What is compared is all that a model is: its parameters and numbers."""

    def folder_of(self, name, drop=(), tensors=None, rename=None, **changes):
        recorded = read_recording(FIXTURES / f"{name}.json")
        config = {key: value for key, value in recorded["config"].items() if key not in drop} | changes
        recorded |= {"config": rename(config) if rename else config}
        recorded["tensors"] = recorded["tensors"] + (tensors or [])
        self.count = getattr(self, "count", 0) + 1
        return write_folder(recorded, self.folder / f"hf{self.count}")

    def imported(self, source):
        """The model's parameters, its numbers, and what import said."""
        db, model = source.with_suffix(".db"), source.with_suffix(".toml")
        said = run("LLMSQL_IMPORT", source, "--graph-dir", GRAPHS, "--weights", "f32", "-o", db, "--write-model",
                   model, "--name", "m").stderr.decode()
        return rows(db, "SELECT p.name, t.data FROM llm_tile t JOIN llm_param p ON p.id = t.param "
                        "ORDER BY p.id, t.first_row"), model.read_text(), said

    def alike(self, one, other):
        ours, theirs = self.imported(one), self.imported(other)
        self.assertEqual(ours[0], theirs[0])
        self.assertEqual(ours[1], theirs[1])
        return ours[2]

    def refused(self, source, *needles):
        done = subprocess.run([os.environ["LLMSQL_IMPORT"], source, "--graph-dir", GRAPHS, "-o",
                               self.folder / "no.db"], capture_output=True)
        said = done.stderr.decode()
        self.assertEqual((done.returncode, said.count("\n")), (1, 1), said)
        for needle in needles:
            self.assertIn(needle, said)

    def test_positions_that_are_not_said(self):
        yarn = {"rope_type": "yarn", "rope_theta": 150000.0, "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
                "truncate": False, "original_max_position_embeddings": 4096}
        said = self.folder_of("gpt_oss-plain", rope_parameters=yarn)
        for changes in {}, {"rope_scaling": None}, {"rope_parameters": None}:
            self.alike(said, self.folder_of("gpt_oss-plain", drop=["rope_parameters"], **changes))
        yarn = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 16384,
                "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0,
                "llama_4_scaling_beta": 0.1}
        said = self.folder_of("ministral3-plain", rope_parameters=yarn)
        self.alike(said, self.folder_of("ministral3-plain", drop=["rope_parameters"]))
        old = {("type" if key == "rope_type" else key): value for key, value in yarn.items() if key != "rope_theta"}
        self.alike(said, self.folder_of("ministral3-plain", drop=["rope_parameters"], rope_theta=1e6,
                                        rope_scaling=old))
        theta = {"rope_type": "default", "rope_theta": 1e6}
        self.alike(self.folder_of("mixtral-plain", rope_parameters=theta),
                   self.folder_of("mixtral-plain", drop=["rope_parameters"]))

    def test_numbers_that_are_not_said(self):
        self.alike(self.folder_of("granitemoehybrid-experts"),
                   self.folder_of("granitemoehybrid-experts", drop=["num_experts_per_tok"]))
        self.alike(self.folder_of("gpt_oss-plain"),
                   self.folder_of("gpt_oss-plain", drop=["num_local_experts"], num_experts=4))
        self.alike(self.folder_of("exaone4-plain"), self.folder_of("exaone4-plain", drop=["layer_types"]))
        # What K-EXAONE's own configuration says besides.
        self.alike(self.folder_of("exaone_moe-plain"),
                   self.folder_of("exaone_moe-plain", is_moe_layer=[False, True, True], first_last_k_dense_replace=1))
        self.refused(self.folder_of("exaone_moe-plain", is_moe_layer=[True, True, True]), "is_moe_too")
        self.refused(self.folder_of("llama-plain", drop=["num_hidden_layers"]), "n_layer")
        self.refused(self.folder_of("ernie4_5_moe-plain", moe_norm_min=0.5), "moe_norm_min")
        self.refused(self.folder_of("llama-plain", model_type="mixtral"), "which class")

    def test_steps_that_are_bounded_below_alone(self):
        for name in ("mamba2-plain", "falcon_h1-plain", "granitemoehybrid-experts"):
            self.imported(self.folder_of(name, time_step_limit=[0.001, {"__float__": "Infinity"}]))

    def test_factors_that_nothing_can_be_multiplied_by(self):
        """Told when the model is imported, not when it runs into infinities, or into tokens without an expert."""
        ssm = [1.0] * 5
        for name, keys in (
                ("falcon_h1-plain", ("key_multiplier", "embedding_multiplier", "lm_head_multiplier", "attention_in_multiplier",
                                     "attention_out_multiplier", "ssm_in_multiplier", "ssm_out_multiplier")),
                ("glm4_moe-plain", ("routed_scaling_factor",)), ("deepseek_v3-plain", ("routed_scaling_factor",)),
                ("lfm2_moe-scaled", ("routed_scaling_factor",)), ("nemotron_h-experts", ("routed_scaling_factor",)),
                ("granite-plain", ("embedding_multiplier", "residual_multiplier", "attention_multiplier")),
                ("cohere-plain", ("logit_scale",))):
            for key in keys:
                for value, shown in ((2**63, "9.223372036854776e+18"), (0, "0"), (-1e30, "-1e+30"),
                                     (1e-60, "1e-60"))[:4 if key == "key_multiplier" else 2]:
                    self.refused(self.folder_of(name, **{key: value}), "must be a number from -65504 to 65504 other than 0",
                                 f"not {shown}")
        for place in range(5):
            self.refused(self.folder_of("falcon_h1-plain", ssm_multipliers=ssm[:place] + [0] + ssm[place + 1:]),
                         "other than 0, not 0")
        infinite = {"__float__": "Infinity"}
        self.refused(self.folder_of("falcon_h1-plain", key_multiplier=infinite), "scale: infinity is beyond what f32 holds")
        self.refused(self.folder_of("llama-plain", num_hidden_layers=infinite), "'n_layer' is infinity, but a dim is")
        self.refused(self.folder_of("llama-plain", hidden_size={"__float__": "-Infinity"}), "'d_model' is -infinity, but")

    def test_biases_that_flags_rule_out(self):
        for name, flag, tensor, size in (
                ("seed_oss-plain", "attention_bias", "model.layers.0.self_attn.o_proj.bias", 80),
                ("glm4-unbiased", "attention_bias", "model.layers.1.self_attn.q_proj.bias", 96),
                ("mamba2-biases", "use_conv_bias", "backbone.layers.0.mixer.conv1d.bias", 272),
                ("falcon_h1-before", "mamba_conv_bias", "model.layers.1.mamba.conv1d.bias", 112)):
            with self.subTest(name):
                said = self.alike(self.folder_of(name, tensors=[[tensor, [size], 0]]), self.folder_of(name))
                self.assertIn(f"left out, as config.json rules them out and transformers passes over them: 1 tensor: "
                              f"{tensor}\n", said)

    def test_a_head_of_its_own(self):
        name = "llama-plain"
        said = self.alike(self.folder_of(name, tie_word_embeddings=True), self.folder_of(name))
        self.assertIn("tie_word_embeddings is true, but lm_head.weight is not the embedding", said)
        self.alike(self.folder_of("nemotron_h-dense", tie_word_embeddings=True),
                   self.folder_of("nemotron_h-dense"))

    def part_of(self, name, architecture, kind, renamed, *others):
        """What import says of a model of more than text, of whose text part the tensors are renamed, beside others."""
        def whole(config):
            return {"architectures": [architecture], "model_type": kind, "text_config": config,
                    "vision_config": {"hidden_size": 4}, "tie_word_embeddings": config["tie_word_embeddings"]}
        recorded = read_recording(FIXTURES / f"{name}.json")
        source = self.folder_of(name, rename=whole)
        named = {renamed(each): weights(each, tuple(shape), around) for each, shape, around in recorded["tensors"]}
        named |= {other: np.zeros((4, 4), np.float32) for other in others}
        write_safetensors(source / "model.safetensors", {each: list(value.shape) for each, value in named.items()},
                          lambda each: named[each], "F32")
        return self.alike(source, self.folder_of(name))

    def test_the_text_part(self):
        said = self.part_of("ministral3-plain", "Mistral3ForConditionalGeneration", "mistral3",
                            lambda name: f"language_model.{name}", "vision_tower.a.weight")
        self.assertIn("of Mistral3ForConditionalGeneration the text part is imported; 1 tensor of other parts left out",
                      said)
        said = self.part_of("gemma3n_text-plain", "Gemma3nForConditionalGeneration", "gemma3n",
                            lambda name: name.replace("model.", "model.language_model.", 1),
                            "model.vision_tower.a.weight", "model.audio_tower.a.weight", "model.embed_audio.a.weight")
        self.assertIn("of Gemma3nForConditionalGeneration the text part is imported; 1 tensor of other parts left out",
                      said)
        self.part_of("mistral4-plain", "Mistral3ForConditionalGeneration", "mistral3",
                     lambda name: f"language_model.{name}", "vision_tower.a.weight")

    def test_the_text_part_without_an_object_of_its_own(self):
        def flat(config):
            text = {key: value for key, value in config.items()
                    if key not in ("architectures", "model_type", "rope_parameters", "layer_types")}
            return text | {"architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
                           "vision_config": {"hidden_size": 4}, "rope_theta": 10000.0,
                           "rope_scaling": {"type": "mrope", "mrope_section": [2, 4, 4]}}
        said = self.alike(self.folder_of("qwen2-window", rename=flat, tensors=[["visual.a.weight", [4, 4], 0]]),
                          self.folder_of("qwen2-window"))
        self.assertIn("of Qwen2_5_VLForConditionalGeneration the text part is imported; 1 tensor of other parts left "
                      "out", said)

    def test_as_python_writes_it(self):
        plain, other = self.folder_of("mamba2-plain"), self.folder_of("mamba2-plain", auto_map={})
        text = (other / "config.json").read_text()
        self.assertIn("__float__", text)
        config = json.loads(text) | {"time_step_limit": [0.0, float("inf")]}
        (other / "config.json").write_text(json.dumps(config))
        self.assertIn("Infinity]", (other / "config.json").read_text())
        self.alike(plain, other)


if __name__ == "__main__":
    unittest.main()
