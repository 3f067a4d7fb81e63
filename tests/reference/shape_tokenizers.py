# SPDX-License-Identifier: MIT
"""The tokenizers of the models that true_shapes.py makes. A shape's "tokenizer" is

    gguf:NAME        llama.cpp's models/ggml-vocab-NAME.gguf
    npm:PACKAGE      tokenizer.json of @lenml/PACKAGE
    mistral:FILE     a model of SentencePiece of the PyPI package mistral-common
    tekken           what transformers makes of its tekken.json

of which the last three are taken from a folder with unpacked packages. "renamed" has tokens of such a vocabulary
that the published one calls otherwise. Of whatever else, and of what that folder lacks, the tokenizer is one of bytes
with the tokens that the template spells <|so|> and those of "control"; the weights say how many tokens there are.
A text begins with "begins", if anything, and a turn ends with "ends".
"""

import json
import pathlib
import re
import shutil
import tempfile

from family_folder import FIXTURES
from hf_folder import added_token, bpe_tokenizer, byte_level, pre_tokenizer, split_by, spm_tokenizer, write_json
from make_tokenizers import CL100K

# How the vocabularies of llama.cpp are cut, as its src/llama-vocab.cpp quotes it from their tokenizer.json.
QWEN35 = CL100K.replace(r"\p{L}+", r"[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]+", r"[^\s\p{L}\p{M}\p{N}]+") \
    .replace("{1,3}", "")
SPLITTERS = {
    "gpt-2": pre_tokenizer("gpt2"), "starcoder": pre_tokenizer("smollm"), "command-r": pre_tokenizer("smollm"),
    "llama-bpe": pre_tokenizer("llama3"), "qwen2": pre_tokenizer("qwen2"),
    "qwen35": {"type": "Sequence", "pretokenizers": [split_by({"Regex": QWEN35}, "Isolated"),
                                                     byte_level(use_regex=False)]},
}
NFC = ("command-r", "qwen2", "qwen35")


def of_gguf(name, path, renamed, folder):
    import gguf
    fields = {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}
    tokens = [text for id, text in enumerate(fields["tokenizer.ggml.tokens"]) if text != f"[PAD{id}]"]
    kinds = [2 if text == "<unk>" else kind for text, kind in zip(tokens, fields["tokenizer.ggml.token_type"])]
    for id, text in renamed.items():
        tokens[id] = text
    if "tokenizer.ggml.merges" not in fields:
        scores = fields["tokenizer.ggml.scores"]
        count = 1 + max(id for id, kind in enumerate(kinds) if kind == 1)  # what is behind was added to the model
        write_sentencepiece(folder, tokens[:count], kinds, scores, True)
        return spm_tokenizer(tokens, kinds, scores, True, 1)
    merges = [tuple(each.split(" ")) for each in fields["tokenizer.ggml.merges"]]
    if name == "gemma-4":
        return spm_tokenizer(tokens, kinds, None, False, 2, merges)
    made = bpe_tokenizer(tokens, kinds, merges, "gpt2", True)
    return made | {"normalizer": {"type": "NFC"} if name in NFC else None, "pre_tokenizer": SPLITTERS[name]}


def of_npm(path, renamed, folder):
    made = json.loads(path.read_text())
    made["added_tokens"] += [added_token(id, text, True) for id, text in renamed.items()]
    made["model"]["vocab"] |= {text: id for id, text in renamed.items()}
    if made["model"]["byte_fallback"]:  # which is published with the model of SentencePiece that it was made of
        tokens = sorted(made["model"]["vocab"], key=made["model"]["vocab"].get)
        if "<0x09>" not in tokens:  # as transformers has Gemma's
            tokens[tokens.index("\t")] = "<0x09>"
        added = {each["content"]: each for each in made["added_tokens"]}
        kinds = [2 if text == "<unk>" else 6 if re.fullmatch("<0x..>", text) else 1 if text not in added else
                 3 if added[text]["special"] else 4 for text in tokens]
        ranks = {}
        for rank, pair in enumerate(made["model"]["merges"]):
            ranks.setdefault("".join(pair if isinstance(pair, list) else pair.split(" ")), -float(rank))
        write_sentencepiece(folder, tokens, kinds, [ranks.get(text, 0.0) for text in tokens], False)
    return made


def write_sentencepiece(folder, tokens, kinds, scores, space_prefix):
    from sentencepiece import sentencepiece_model_pb2
    model = sentencepiece_model_pb2.ModelProto()
    for text, kind, score in zip(tokens, kinds, scores):
        model.pieces.add(piece=text, score=score, type=kind)  # whose numbers are GGUF's
    model.trainer_spec.model_type = model.trainer_spec.BPE
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.vocab_size = len(tokens)
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = space_prefix
    model.normalizer_spec.remove_extra_whitespaces = False
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())


def of_sentencepiece(source, folder):
    import sentencepiece
    shutil.copy(source, folder / "tokenizer.model")
    model = sentencepiece.SentencePieceProcessor(str(source))
    ids = range(model.get_piece_size())
    kinds = [2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i) else 1 for i in ids]
    return spm_tokenizer([model.id_to_piece(i) for i in ids], kinds, [model.get_score(i) for i in ids], True, 1)


def of_tekken(source):
    import transformers
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(source, pathlib.Path(folder) / "tekken.json")
        made = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    return json.loads(made.backend_tokenizer.to_str())


def of_bytes(control):
    made = json.loads((FIXTURES / "tokenizer.json").read_text())
    first = 1 + max(token["id"] for token in made["added_tokens"])
    known = {token["content"] for token in made["added_tokens"]}
    made["added_tokens"] += [added_token(first + n, text, True)
                             for n, text in enumerate(dict.fromkeys(each for each in control if each not in known))]
    return made


def begun(made, begins):
    """A text begins with the token."""
    if begins:
        (id,) = [each["id"] for each in made["added_tokens"] if each["content"] == begins]
        first, text = {"SpecialToken": {"id": begins, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
        made["post_processor"] = {
            "type": "TemplateProcessing", "single": [first, text],
            "pair": [first, text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {begins: {"id": begins, "ids": [id], "tokens": [begins]}}}
    return made


def published(shape, options, folder):
    """The tokenizer that the shape names, None if it is not to be had, and what tokenizer_config.json says besides."""
    how, _, name = shape.get("tokenizer", "").partition(":")
    words = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if how == "gguf":
        path = options.converter / f"models/ggml-vocab-{name}.gguf"
        made = of_gguf(name, path, shape.get("renamed", {}), folder) if path.exists() else None
        return made and begun(made, shape.get("begins")), words
    packages = options.packages
    if not how or not packages:
        return None, words
    wanted = {"npm": f"{name}/**/tokenizer.json", "mistral": f"**/{name}", "tekken": "**/tekken_240911.json"}[how]
    source = next(packages.glob(wanted), None)
    if not source:
        return None, words
    if how == "mistral":
        return of_sentencepiece(source, folder), words
    if how == "tekken":
        return begun(of_tekken(source), shape["begins"]), words
    said = json.loads((source.parent / "tokenizer_config.json").read_text())
    words |= {key: said[key] for key in ("add_bos_token", "tokenizer_class") if key in said}
    return of_npm(source, shape.get("renamed", {}), folder), words


def write_tokenizer(shape, template, options, folder):
    """Writes the files of a tokenizer. Whether it is a published one, and the ids of the tokens that begin a text and
    end a turn."""
    begins, ends = shape.get("begins"), shape["ends"]
    made, words = published(shape, options, folder)
    of_its_own = made is not None
    if not of_its_own:
        spelled = sorted(set(re.findall(r"<\|\w+\|>", template or "")))
        made = begun(of_bytes([*([begins] if begins else []), ends, *shape.get("control", []), *spelled]), begins)
    words |= {"eos_token": ends, "bos_token": begins, "chat_template": template}
    write_json(folder / "tokenizer_config.json", {key: value for key, value in words.items() if value is not None})
    write_json(folder / "tokenizer.json", made)
    numbers = made["model"]["vocab"] | {token["content"]: token["id"] for token in made["added_tokens"]}
    return of_its_own, numbers[begins] if begins else None, numbers[ends]
