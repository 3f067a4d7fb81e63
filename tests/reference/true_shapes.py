#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""One real model of each family with recurrent states, in its true shape: as wide and with as many heads and experts,
of random weights and as few layers as have each kind once. What transformers saves, and what llama.cpp's converter makes
of that, is imported, compiled within a budget, and goes on with a text and answers a message.

    true_shapes.py --converter LLAMA_CPP [--bin build/bin] [--work FOLDER] [--mistral-common FOLDER] [NAME …]

Prints a row for each model: what its tokenizer and chat template are, what was imported, the smallest budget, what a run
took of it and whether both sources give the same text. Exit status 1 if anything is refused, or takes more than its budget.
A model takes up to 25 GB of disk while it is looked at, and 15 GB of memory.

Sizes are transformers' defaults of the class where these are a published model's, else those of its config.json as
public repositories quote it. Tokenizers: those of Qwen3.5 and Qwen2 come with llama.cpp (models/ggml-vocab-*.gguf), Mistral's with the
PyPI package mistral-common, unpacked; for the others one of bytes, filled up to the model's number of tokens, with the
template's control tokens. Chat templates are llama.cpp's (models/templates).

Needs the PyPI packages numpy, torch, transformers, gguf and sentencepiece.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import torch
import transformers
from transformers.initialization import no_init_weights

from check_family import CONVERT, ROOT
from family_folder import FIXTURES
from hf_folder import added_token, bpe_tokenizer, byte_level, split_by, spm_tokenizer, write_json

CHATML = ["<|im_start|>", "<|im_end|>"]
MODELS = {
    "qwen35": dict(
        of="Qwen3.5-0.8B", kind="qwen3_5_text", tokenizer="qwen35", template="Qwen3.5-4B",
        config=dict(hidden_size=1024, intermediate_size=3584, num_attention_heads=8, num_key_value_heads=2,
                    linear_num_key_heads=16, linear_num_value_heads=16, tie_word_embeddings=True,
                    num_hidden_layers=2, layer_types=["linear_attention", "full_attention"]),
        saved=dict(full_attention_interval=2)),
    "qwen35moe": dict(
        of="Qwen3.5-35B-A3B", kind="qwen3_5_moe_text", tokenizer="qwen35", template="Qwen3.5-4B",
        config=dict(num_hidden_layers=2, layer_types=["linear_attention", "full_attention"]),
        saved=dict(full_attention_interval=2)),
    "qwen3next": dict(
        of="Qwen3-Next-80B-A3B", kind="qwen3_next", tokenizer="qwen2", template="Qwen-Qwen3-0.6B",
        config=dict(num_hidden_layers=2, layer_types=["linear_attention", "full_attention"]),
        saved=dict(full_attention_interval=2)),
    "lfm2": dict(
        of="LFM2-350M", kind="lfm2", template="LFM2.5-Instruct", ends="<|im_end|>", control=["<|startoftext|>"] + CHATML,
        config=dict(vocab_size=65536, hidden_size=1024, num_attention_heads=16, num_key_value_heads=8,
                    block_ff_dim=6656, block_auto_adjust_ff_dim=True, block_multiple_of=256, conv_L_cache=3,
                    rope_parameters={"rope_theta": 1000000.0, "rope_type": "default"},
                    num_hidden_layers=2, layer_types=["conv", "full_attention"])),
    "lfm2moe": dict(
        of="LFM2-8B-A1B", kind="lfm2_moe", template="LFM2-8B-A1B", ends="<|im_end|>",
        control=["<|startoftext|>"] + CHATML,
        config=dict(vocab_size=65536, hidden_size=2048, intermediate_size=7168, moe_intermediate_size=1792,
                    num_attention_heads=32, num_key_value_heads=8, num_dense_layers=1, num_experts=32,
                    num_experts_per_tok=4, tie_word_embeddings=True,
                    rope_parameters={"rope_theta": 1000000.0, "rope_type": "default"},
                    num_hidden_layers=2, layer_types=["conv", "full_attention"])),
    "granitehybrid": dict(
        of="Granite-4.0-H-Small", kind="granitemoehybrid", template="ibm-granite-granite-4.0",
        ends="<|end_of_text|>", control=["<|start_of_role|>", "<|end_of_role|>"],
        config=dict(vocab_size=100352, hidden_size=4096, intermediate_size=768, num_attention_heads=32,
                    num_key_value_heads=8, num_local_experts=72, num_experts_per_tok=10,
                    shared_intermediate_size=1536, mamba_d_state=128, mamba_d_conv=4, mamba_expand=2,
                    mamba_n_heads=128, mamba_d_head=64, mamba_n_groups=1, tie_word_embeddings=True,
                    embedding_multiplier=12.0, attention_multiplier=0.0078125, residual_multiplier=0.22,
                    logits_scaling=16.0, num_hidden_layers=2, layer_types=["mamba", "attention"]),
        saved=dict(layer_types=["mamba", "attention"])),
    "nemotron_h": dict(
        of="Nemotron-H-8B", kind="nemotron_h", template="NVIDIA-Nemotron-Nano-v2", ends="<SPECIAL_12>",
        control=["<SPECIAL_10>", "<SPECIAL_11>"],
        config=dict(num_hidden_layers=3, layers_block_type=["mamba", "mlp", "attention"])),
    "nemotron_h_moe": dict(
        of="Nemotron-3-Nano-30B-A3B", kind="nemotron_h", template="NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        ends="<|im_end|>", control=CHATML,
        config=dict(vocab_size=131072, hidden_size=2688, num_attention_heads=32, num_key_value_heads=2, head_dim=128,
                    mamba_num_heads=64, mamba_head_dim=64, ssm_state_size=128, n_groups=8, n_routed_experts=128,
                    num_experts_per_tok=6, moe_intermediate_size=1856, n_shared_experts=1,
                    moe_shared_expert_intermediate_size=3712, routed_scaling_factor=2.5, n_group=1, topk_group=1,
                    num_hidden_layers=3, layers_block_type=["mamba", "moe", "attention"])),
    "falcon-h1": dict(
        of="Falcon-H1-Tiny-90M", kind="falcon_h1", template=None, ends="<|end_of_text|>", control=[],
        config=dict(vocab_size=32768, hidden_size=512, intermediate_size=768, num_attention_heads=8,
                    num_key_value_heads=2, head_dim=64, mamba_d_ssm=768, mamba_n_heads=24, mamba_d_head=32,
                    mamba_d_state=64, mamba_n_groups=1, mamba_d_conv=4, mamba_expand=2, tie_word_embeddings=True,
                    num_hidden_layers=2)),
    "mamba2": dict(
        of="Mamba-Codestral-7B", kind="mamba2", tokenizer="mistral", template=None,
        config=dict(num_hidden_layers=2)),
}
# As llama.cpp's src/llama-vocab.cpp quotes it from Qwen3.5's tokenizer.json, and Qwen2's.
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}%s]+|\p{N}| ?[^\s\p{L}%s\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)"
        r"|\s+")


def qwen_tokenizer(path, marks):
    """A vocabulary of llama.cpp's as a tokenizer.json, and the token that ends a turn."""
    import gguf
    fields = {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    made = bpe_tokenizer(tokens, kinds, [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"]], "qwen2", True)
    made["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        split_by({"Regex": QWEN % (marks, marks)}, "Isolated"), byte_level(use_regex=False)]}
    return made, {"eos_token": "<|im_end|>"}


def byte_tokenizer(control, ends):
    made = json.loads((FIXTURES / "tokenizer.json").read_text())
    first = 1 + max(token["id"] for token in made["added_tokens"])
    made["added_tokens"] += [added_token(first + n, text, True) for n, text in enumerate([*control, ends])]
    return made, {"eos_token": ends}


def mistral_tokenizer(folder, target):
    import sentencepiece
    source = next(folder.rglob("mistral_instruct_tokenizer_240323.model.v3"))
    shutil.copy(source, target / "tokenizer.model")
    model = sentencepiece.SentencePieceProcessor(str(source))
    ids = range(model.get_piece_size())
    kinds = [2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i) else 1 for i in ids]
    made = spm_tokenizer([model.id_to_piece(i) for i in ids], kinds, [model.get_score(i) for i in ids], True, 1)
    return made, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}


def make_folder(model, options, folder):
    """What transformers saves of a random model, with a tokenizer and a template. Returns what these are."""
    config = transformers.AutoConfig.for_model(model["kind"], **model["config"])
    torch.set_default_dtype(torch.bfloat16)
    with no_init_weights():
        made = transformers.AutoModelForCausalLM.from_config(config)
    made.tie_weights()
    noise = torch.randn(1 << 22, dtype=torch.float32)
    parameters = 0
    with torch.no_grad():
        for name, tensor in made.named_parameters():
            parameters += tensor.numel()
            if name.endswith("A_log"):
                tensor.copy_(torch.linspace(1, 16, len(tensor)).log())
                continue
            if tensor.dim() == 1 and not name.endswith("bias"):
                tensor.fill_(0 if made.config.model_type.startswith("qwen3") and "linear_attn" not in name else 1)
                continue  # norms, of which Qwen3.5 and Qwen3-Next store what is added to 1; and D
            flat = tensor.view(-1)
            spread = 0.3 if tensor.dim() == 3 and tensor.shape[1] == 1 else 0.02
            for at in range(0, len(flat), len(noise)):
                part = flat[at:at + len(noise)]
                part.copy_(noise.roll(at % 104729)[:len(part)] * spread)
    made.save_pretrained(folder, max_shard_size="100GB")
    torch.set_default_dtype(torch.float32)
    saved = json.loads((folder / "config.json").read_text()) | model.get("saved", {})
    models = options.converter / "models"
    kind = model.get("tokenizer", "bytes")
    if kind == "mistral" and options.mistral_common:
        tokenizer, words = mistral_tokenizer(options.mistral_common, folder)
    elif kind.startswith("qwen"):
        tokenizer, words = qwen_tokenizer(models / f"ggml-vocab-{kind}.gguf", r"\p{M}" if kind == "qwen35" else "")
    else:
        kind = "bytes"
        tokenizer, words = byte_tokenizer(model.get("control", []), model.get("ends", "</s>"))
    template = models / "templates" / f"{model['template']}.jinja"
    if model["template"] and template.exists():
        words["chat_template"] = template.read_text()
    numbers = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    numbers |= tokenizer["model"]["vocab"] if isinstance(tokenizer["model"]["vocab"], dict) else {}
    saved["eos_token_id"] = numbers.get(words["eos_token"], 2)
    saved["bos_token_id"] = numbers.get(model["control"][0]) if "<|startoftext|>" in model.get("control", []) else \
        1 if kind == "mistral" else None
    if kind == "bytes" and saved["bos_token_id"]:
        words["bos_token"] = model["control"][0]
    write_json(folder / "config.json", saved)
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", words)
    return kind, "chat_template" in words, parameters


def run(*command):
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise RuntimeError(f"{pathlib.Path(command[0]).name}: {(done.stderr or done.stdout).strip()[-600:]}")
    return done


def convert(options, folder, gguf, kind, more):
    script = CONVERT if kind == "bytes" else re.sub(r"# Whatever tokenizer.*?(?=convert_hf_to_gguf.main)", "", CONVERT,
                                                    flags=re.DOTALL)
    run(sys.executable, "-c", script, options.converter, folder, "--outtype", "bf16", "--outfile", gguf,
        *more)


def look_at(source, options, work, speaks):
    """Imports it, finds the smallest budget and runs within it; what came of it."""
    database, toml, plan = (work / f"model.{end}" for end in ("db", "toml", "sql"))
    began = time.monotonic()
    run(options.bin / "llmsql-import", source, "--graph-dir", ROOT / "graphs", "--weights", "q8", "-o", database,
        "--write-model", toml)
    seconds = time.monotonic() - began
    budget = "1MiB"
    while True:
        compiled = subprocess.run([options.bin / "llmsqlc", toml, "-o", plan, "--context", "256", "--graph-dir",
                                   ROOT / "graphs", "--budget", budget], capture_output=True, text=True)
        if compiled.returncode == 0:
            break
        named = re.search(r'give --budget "([\d.]+ MiB)"', compiled.stderr)
        if not named or named[1] == budget:
            raise RuntimeError(f"llmsqlc: {compiled.stderr.strip()[-600:]}")
        budget = named[1]
    texts = []
    for extra in ([], ["--chat"]) if speaks else ([],):
        done = run(options.bin / "llmsql-run", plan, database, *extra, "-p", "The old river ran past", "-n", 12,
                   "--temp", 0, "--ignore-eos")
        peak = float(re.search(r"peak RSS ([\d.]+) MiB", done.stderr)[1])
        if peak > float(budget.split()[0]):
            raise RuntimeError(f"a run took {peak} MiB of a budget of {budget}")
        texts.append(done.stdout)
    size = database.stat().st_size / 1e9
    database.unlink()
    return dict(seconds=seconds, size=size, budget=budget, peak=peak, texts=texts)


def check(name, model, options, work):
    folder, gguf = work / "hf", work / "model.gguf"
    kind, speaks, parameters = make_folder(model, options, folder)
    row = f"{name} | {model['of']} | {parameters / 1e9:.2f} | {kind} | {model['template'] if speaks else 'none'}"
    problems = []
    from_folder = look_at(folder, options, work, speaks)
    row += f" | {from_folder['seconds']:.0f} s, {from_folder['size']:.2f} GB | {from_folder['budget']}" \
           f" | {from_folder['peak']} MiB"
    try:
        convert(options, folder, gguf, kind, ["--no-mtp"] if model["kind"].startswith("qwen") else [])
        shutil.rmtree(folder)
        from_gguf = look_at(gguf, options, work, speaks)
        same = from_gguf["texts"] == from_folder["texts"]
        row += f" | {from_gguf['budget']} | {'the same' if same else 'another'} text"
        if not same:
            problems.append(f"the folder's texts are {from_folder['texts']}, the GGUF's {from_gguf['texts']}")
    except RuntimeError as error:
        row += " | refused |"
        problems.append(str(error))
    return row, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/bin")
    parser.add_argument("--converter", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--mistral-common", type=pathlib.Path)
    options = parser.parse_args()
    failed = False
    print("name | model | 10⁹ weights | tokenizer | template | import | smallest budget | peak | GGUF's | texts")
    for name in options.names or MODELS:
        with tempfile.TemporaryDirectory(dir=options.work) as temporary:
            try:
                row, problems = check(name, MODELS[name], options, pathlib.Path(temporary))
            except RuntimeError as error:
                row, problems = name, [str(error)]
        print(row, flush=True)
        for problem in problems:
            failed = True
            print(f"  WRONG: {problem}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
