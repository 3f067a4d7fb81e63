# SPDX-License-Identifier: MIT
"""A Hugging Face folder and the GGUF that llama.cpp's converter makes of it, imported and compiled: what
check_family.py and true_shapes.py have alike, their options among it."""

import argparse
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

CONVERT = """
import importlib, pkgutil, sys
sys.path.insert(0, sys.argv[1])
sys.path.insert(1, sys.argv[1] + "/gguf-py")
sys.argv = sys.argv[1:]
import conversion, convert_hf_to_gguf
from conversion import base
for each in pkgutil.iter_modules(conversion.__path__): importlib.import_module("conversion." + each.name)
"""
# Whatever tokenizer an architecture has, this one is of bytes.
OF_BYTES = """
base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
vocabulary = base.TextModel._set_vocab_gpt2
def patch(cls):
    for each in cls.__subclasses__():
        if "set_vocab" in vars(each): each.set_vocab = lambda self: vocabulary(self)
        patch(each)
patch(base.ModelBase)
# Which calls itself without end for all but one kind of tensor.
from conversion import baichuan
splits = baichuan.BaichuanModel.modify_tensors
baichuan.BaichuanModel.modify_tensors = lambda self, data, name, bid: (
    splits if "W_pack" in name else base.TextModel.modify_tensors)(self, data, name, bid)
# Which it knows as a whole with an encoder alone.
conversion.TEXT_MODEL_MAP["Mistral4ForCausalLM"] = "mistral3"
base.ModelBase.register("Mistral4ForCausalLM")(conversion.get_model_class("Ministral3ForCausalLM"))
# Which asks for a key that transformers, by which configurations are read, has under another name.
from conversion import exaone
says = exaone.ExaoneModel.set_gguf_parameters
exaone.ExaoneModel.set_gguf_parameters = lambda self: (self.hparams.setdefault("activation_function", "silu"), says(self))
"""


def parser(doc, names):
    made = argparse.ArgumentParser(description=doc.split("\n\n")[0])
    made.add_argument("names", nargs="*", metavar=names)
    made.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/bin", help="where llmsql's programs are")
    made.add_argument("--converter", type=pathlib.Path, metavar="LLAMA_CPP", help="llama.cpp's source")
    return made


def run(*command):
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise RuntimeError(f"{pathlib.Path(command[0]).name}: {(done.stderr or done.stdout).strip()[-700:]}")
    return done


def is_well(title, check):
    """Prints what check() gives: a line, and what is wrong, which is whatever ends it, too, behind the title then."""
    try:
        line, problems = check()
    except RuntimeError as error:
        line, problems = title, [str(error)]
    print(line, flush=True)
    for problem in problems:
        print(f"  WRONG: {problem}", flush=True)
    return not problems


def convert(llama_cpp, folder, gguf, *options, of_bytes=True):
    """Makes a GGUF of the folder; with `of_bytes` of whatever tokenizer.json there is, which need not be one that the
    converter knows."""
    script = CONVERT + (OF_BYTES if of_bytes else "") + "convert_hf_to_gguf.main()"
    run(sys.executable, "-c", script, llama_cpp, folder, "--outfile", gguf, *options)


def imported(programs, source, work, name, weights):
    """The database and the model file of a folder or GGUF."""
    database, model = work / f"{name}.db", work / f"{name}.toml"
    run(programs / "llmsql-import", source, "--graph-dir", ROOT / "graphs", "--weights", weights, "-o", database,
        "--write-model", model)
    return database, model
