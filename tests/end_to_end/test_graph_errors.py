#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What someone who writes a graph file is told: of slips that show in the file itself, of those that
show when a model is read by it, and of those that only the run shows. Each message says what is wrong,
where, and what to do."""

import os
import pathlib
import subprocess
import tempfile
import unittest

from programs import SOURCE, compile_model, run
from tiny_models import write_gguf  # tests/reference


class GraphErrors(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        (self.folder / "graphs").mkdir()

    def graph(self, name, *changes):
        """A copy of a graph file with some of its text replaced, each once."""
        text = (SOURCE / "graphs" / f"{name}.graph").read_text()
        for old, new in changes:
            self.assertIn(old, text)
            text = text.replace(old, new, 1)
        path = self.folder / "graphs" / f"{name}.graph"
        path.write_text(text)
        return path

    def says(self, expected, program, *arguments):
        """One message and a failure."""
        done = subprocess.run([os.environ[program], *map(str, arguments)], capture_output=True,
                              text=True)
        self.assertEqual(done.returncode, 1)
        said = done.stderr.replace(str(self.folder) + "/", "")
        self.assertIn(expected, said)
        return said

    def import_says(self, expected, model="qwen3", **changes):
        source = write_gguf(model, self.folder / f"{model}.gguf", **changes)
        return self.says(expected, "LLMSQL_IMPORT", source, "--graph-dir", self.folder / "graphs",
                         "-o", self.folder / "x.db")

    # ---- in the file itself

    def test_a_parameter_that_is_not_declared(self):
        path = self.graph("qwen3", ("    param ffn_up  ", "    // param ffn_up  "))
        self.says("error: block 'layer' has no 'ffn_up'", "LLMSQLC", path)

    def test_a_name_that_is_not_defined(self):
        path = self.graph("qwen3", ("rms_norm(x, l.ffn_norm, rms_eps)", "rms_norm(x, l.ffn_norm, rms_esp)"))
        said = self.says("error: unknown name 'rms_esp', did you mean 'rms_eps'?\n"
                         "      h = rms_norm(x, l.ffn_norm, rms_esp);\n", "LLMSQLC", path)
        self.assertRegex(said, r"\Agraphs/qwen3\.graph:\d+:35: error: ")

    def test_a_circle(self):
        path = self.graph("qwen3", ("dim d_ff    ", "dim d_ff = n_vocab    "),
                          ("dim n_vocab    ", "dim n_vocab = d_ff    "))
        self.says("error: 'd_ff' is defined by itself: d_ff -> n_vocab -> d_ff\n", "LLMSQLC", path)

    def test_shapes_that_do_not_go_together(self):
        path = self.graph("qwen3", ("linear(h, l.ffn_gate)) * linear(h, l.ffn_up)",
                                    "linear(h, l.ffn_gate)) * linear(h, l.attn_q)"))
        self.says("error: '*' takes equal shapes, not [T, d_ff] and [T, n_head*d_head]\n", "LLMSQLC", path)
        path = self.graph("qwen3", ("l.attn_output, l.attn_output_bias);\n", "l.ffn_down, l.attn_output_bias);\n"))
        self.says("error: linear: weight has the shape [d_model, d_ff], but must be [n, "
                  "n_head*d_head] to go with x [T, n_head*d_head]\n", "LLMSQLC", path)

    def test_an_operator_that_does_not_exist(self):
        path = self.graph("qwen3", ("silu(", "swish("))
        self.says("error: there is no operator 'swish'\n", "LLMSQLC", path)

    # ---- held against a source

    def test_a_key_that_is_misspelt(self):
        self.graph("qwen3", ('"{a}.feed_forward_length"', '"{a}.feed_forward_lenght"'))
        self.import_says("error: the source does not say what 'd_ff' is: looked for "
                         '"qwen3.feed_forward_lenght", did you mean \'qwen3.feed_forward_length\'?\n')

    def test_a_tensor_that_the_source_does_not_have(self):
        self.graph("qwen3", ('"blk.{i}.ffn_up.weight"', '"blk.{i}.ffn_upp.weight"'))
        self.import_says("qwen3.gguf: tensor blk.0.ffn_upp.weight is missing; the model needs it with "
                         "the shape [100, 72] (parameter layer.0.ffn_up), did you mean "
                         "'blk.0.ffn_up.weight'?\n")

    def test_a_tensor_of_another_shape(self):
        self.graph("qwen3", ("param ffn_gate    : [d_ff, ", "param ffn_gate    : [2 * d_ff, "),
                   ("param ffn_up      : [d_ff, ", "param ffn_up      : [2 * d_ff, "),
                   ("param ffn_down    : [d_model, d_ff]", "param ffn_down    : [d_model, 2 * d_ff]"))
        self.import_says("qwen3.gguf: tensor blk.0.ffn_gate.weight has the shape [100, 72], the model "
                         "needs [200, 72] (parameter layer.0.ffn_gate)\n")

    def test_stacked_matrices_of_another_number(self):
        self.graph("qwen3moe", ('"{a}.expert_count"', '"{a}.block_count"'),
                   ('require n_used <= n_expert, "a token uses some of the experts";', ""),
                   ('"{a}.expert_used_count"', '"{a}.block_count"'),
                   ('ignore @gguf("', 'ignore @gguf("qwen3moe.expert_count", "qwen3moe.expert_used_count", "'))
        self.import_says("tensor blk.0.ffn_gate_inp.weight has the shape [10, 72], the model needs [2, 72]",
                         "qwen3moe")

    def test_what_the_graph_requires(self):
        self.graph("qwen3")
        self.import_says("error: the graph requires d_rope == d_head, but d_rope = 64, d_head = 128: rotating only a "
                         "part of each head is not supported (numbers from the source's metadata)\n",
                         metadata={"qwen3.rope.dimension_count": 64})

    def test_what_the_source_says_otherwise(self):
        self.graph("qwen3")
        said = self.import_says("error: 'rope_is_known' is 1 in this graph, but not in the source: "
                                'qwen3.rope.scaling.type is "unheard" (numbers from the source\'s metadata)\n',
                                metadata={"qwen3.rope.scaling.type": "unheard"})
        self.assertRegex(said, r"graphs/positions\.part:\d+:7: error: ")
        said = self.import_says("error: 'v_is_as_wide' is 128 in this graph, but not in the source: "
                                "qwen3.attention.value_length is 64 ", metadata={"qwen3.attention.value_length": 64})
        self.assertRegex(said, r"graphs/qwen3\.graph:\d+:7: error: ")

    def test_a_text_where_a_number_is_needed(self):
        self.graph("qwen3")
        self.import_says("qwen3: the source's qwen3.rope.scaling.factor is the text \"2?\", but a number is "
                         "needed", metadata={"qwen3.rope.scaling.factor": "2\n"})

    def test_a_tensor_that_the_graph_does_not_use(self):
        self.graph("llama")
        said = self.import_says("llama3.gguf: 1 tensor of the source is not used by the graph llama: "
                                "outputs.weight; the model is another than the graph's\n", "llama3",
                                rename={"output.weight": "outputs.weight"})
        self.assertFalse((self.folder / "x.db").exists(), said)

    def test_an_architecture_without_a_graph(self):
        self.graph("llama")
        self.import_says("no graph file is for the GGUF architecture 'mamba9'",
                         metadata={"general.architecture": "mamba9"})

    # ---- shown by the run

    def test_more_choices_than_there_is_room_for(self):
        source = write_gguf("qwen3moe", self.folder / "m.gguf")
        db, toml = self.folder / "m.db", self.folder / "m.toml"
        run("LLMSQL_IMPORT", source, "-o", db, "--write-model", toml, "--graph-dir", SOURCE / "graphs")
        plan = compile_model(toml, self.folder / "m.sql")
        text = plan.read_text()
        plan.write_text(text.replace("llm_top(llm_softmax(shares.data), 3)",
                                     "llm_top(llm_softmax(shares.data), 4)"))
        self.says("llm_linear_each: token 0 of the pass has more than 3 choices", "LLMSQL_RUN", plan,
                  db, "-p", "a", "-n", 1)


if __name__ == "__main__":
    unittest.main()
