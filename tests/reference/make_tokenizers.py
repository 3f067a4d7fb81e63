#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes tests/fixtures/tokenizers: small tokenizers, each trained on the texts of compare_tokens.py under the
normalizer, splitter and decoder of a family of models, and what Hugging Face's tokenizers make of the texts.

    make_tokenizers.py [FOLDER] [NAME…]     those of these names; others stay as they are

tokenizers.json.xz holds "texts", and under each name {"tokenizer": tokenizer.json's object, "ids": of each text}.
Needs tokenizers and, for a map of characters, sentencepiece.
"""

import json
import lzma
import pathlib
import sys

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers)

from compare_tokens import SCRIPTS, texts

FOLDER = pathlib.Path(__file__).parent.parent / "fixtures" / "tokenizers"
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?"
          r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
            r"|\s*[\r\n]+|\s+(?!\S)|\s+"]
SEED = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+")
KIMI = (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
POSSESSIVE = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
              r"|\s+(?!\S)|\s")
GROUPED = r"\d{1,3}(?=(?:\d{3})*\b)"


def split(regex, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(regex), behavior, invert)


def byte_level(**options):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, **options})


def bpe(splitter, normalizer=None, added=(), **options):
    """Byte-level BPE of 700 tokens."""
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = splitter
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(SCRIPTS * 2, trainers.BpeTrainer(
        vocab_size=700, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"]))
    tokenizer.add_tokens(list(added))
    return tokenizer


def sentencepiece_bpe(normalizer, splitter, alphabet=300, **options):
    tokenizer = Tokenizer(models.BPE(**{"unk_token": "<unk>", **options}))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokens = ["<unk>", "<s>", "</s>"]
    if options.get("byte_fallback"):
        tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(SCRIPTS * 2, trainers.BpeTrainer(
        vocab_size=900, show_progress=False, limit_alphabet=alphabet, special_tokens=tokens))
    made = json.loads(tokenizer.to_str())
    made["added_tokens"] = [each for each in made["added_tokens"] if not each["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(made))


def unigram(normalizer, splitter, byte_fallback=False):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokens = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(SCRIPTS * 2, trainers.UnigramTrainer(
        vocab_size=600, show_progress=False, special_tokens=tokens, unk_token="<unk>"))
    if byte_fallback:
        made = json.loads(tokenizer.to_str())
        made["model"]["vocab"] += [[f"<0x{byte:02X}>", 0.0] for byte in range(256)]
        made["model"]["byte_fallback"] = True
        tokenizer = Tokenizer.from_str(json.dumps(made))
    return tokenizer


def wordpiece(normalizer, splitter, **options):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", **options))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.train_from_iterator(SCRIPTS * 2, trainers.WordPieceTrainer(
        vocab_size=700, limit_alphabet=250, show_progress=False,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    return tokenizer


def fields(message):
    """(number, value) of a protobuf message."""
    at = 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        kind = key & 7
        if kind == 0:
            yield key >> 3, number()
            continue
        length = number() if kind == 2 else {1: 8, 5: 4}[kind]
        yield key >> 3, message[at:at + length]
        at += length


def character_map():
    """A map that SentencePiece compiles of some of NFKC's rules, and of sequences of characters."""
    import io
    import tempfile
    import unicodedata
    import sentencepiece
    rules = {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in
             [*range(0xff01, 0xff5f), *range(0xfb00, 0xfb07), *range(0x2160, 0x2180), *range(0x2460, 0x2474), 0xbd, 0x2126,
              0x212b, 0x3000, 0xa0, *range(0x2000, 0x200b), 0x33a5, 0x1e9b, *range(0xff66, 0xff9e)]}
    rules |= {"e\u0301": "é", "a\u030a": "å", "\t": " ", "\n": " ", "\u200b": "", "\u00ad": "", "ab": "AB"}
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        for source, target in rules.items():
            file.write(" ".join(f"{ord(c):X}" for c in source) + "\t" + " ".join(f"{ord(c):X}" for c in target) + "\n")
        file.flush()
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SCRIPTS), model_writer=model, vocab_size=900, model_type="bpe",
            hard_vocab_limit=False, normalization_rule_tsv=file.name, minloglevel=2, character_coverage=0.98)
    spec = dict(fields(model.getvalue()))[3]
    return dict(fields(spec))[2]


def tokenizers():
    spaces = "▁"
    marks = normalizers.Replace(" ", spaces)
    tools = [AddedToken("<think>", normalized=False), AddedToken("<tool_call>", normalized=True)]
    yield "gpt2", bpe(byte_level())
    yield "gpt2-prefix", bpe(byte_level(add_prefix_space=True))
    yield "smollm", bpe(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()]))
    yield "llama3", bpe(pre_tokenizers.Sequence([split(CL100K), byte_level(use_regex=False)]), ignore_merges=True)
    yield "qwen3", bpe(pre_tokenizers.Sequence([split(CL100K.replace("{1,3}", "")), byte_level(use_regex=False)]),
                       normalizers.NFC(), tools)
    yield "tekken", bpe(pre_tokenizers.Sequence([split(TEKKEN), byte_level(use_regex=False)]), ignore_merges=True)
    yield "gpt-oss", bpe(pre_tokenizers.Sequence([split(O200K), byte_level(use_regex=False)]), ignore_merges=True)
    yield "deepseek3", bpe(pre_tokenizers.Sequence([*map(split, DEEPSEEK), byte_level(use_regex=False)]))
    yield "seed", bpe(pre_tokenizers.Sequence([split(SEED), byte_level(use_regex=False)]))
    yield "cohere2", bpe(pre_tokenizers.Sequence([split(GROUPED), split(O200K), byte_level(use_regex=False)]),
                         normalizers.NFC())
    yield "inverted", bpe(pre_tokenizers.Sequence([split(r"[^\r\n]+|\r?\n", "removed", True), split(r"\d", "contiguous"),
                                                   split("[aeiou]", "merged_with_previous"),
                                                   split(r"[[:punct:]&&[^,]]|\s", "merged_with_next"),
                                                   byte_level(use_regex=False)]), normalizers.NFKC())
    yield "punctuation", bpe(pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), byte_level(),
                                                      ][:1] + [pre_tokenizers.Digits(False), byte_level()]),
                             normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(),
                                                   normalizers.Lowercase()]))
    # What stands behind ByteLevel cuts what it has made of the bytes: a raised two is one of them.
    yield "falcon", bpe(pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), byte_level(),
                                                 pre_tokenizers.Digits(False), split("[0-9][0-9][0-9]")]))
    yield "added", bpe(byte_level(), normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]), [
        AddedToken("quick", single_word=True, normalized=False), AddedToken("Fox", normalized=True),
        AddedToken("dog", lstrip=True, normalized=False), AddedToken("user", rstrip=True, normalized=False),
        AddedToken("print", lstrip=True, rstrip=True), AddedToken("==", normalized=False)])
    # The normalizer spells the bytes, and what cuts sees them spelled.
    yield "normalized-bytes", bpe(split("[ĠĊ]", "merged_with_next"), normalizers.Sequence([normalizers.NFC(),
                                                                                          normalizers.ByteLevel()]))
    yield "normalized-bytes-added", bpe(pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), pre_tokenizers.Digits(True)]),
                                        normalizers.Sequence([normalizers.Lowercase(), normalizers.ByteLevel()]),
                                        [AddedToken("quick", single_word=True), AddedToken("dog", lstrip=True),
                                         AddedToken("x", single_word=True), AddedToken("好", normalized=True)],
                                        ignore_merges=True)
    # What has no token is left out before others merge.
    yield "words-left-out", sentencepiece_bpe(None, pre_tokenizers.WhitespaceSplit(), unk_token=None)
    yield "kimi", bpe(pre_tokenizers.Sequence([split(KIMI), byte_level(use_regex=False)]))
    yield "possessive", bpe(pre_tokenizers.Sequence([split(POSSESSIVE), byte_level(use_regex=False)]))
    yield "classes", bpe(pre_tokenizers.Sequence([split(r"[[:punct:]]|\w+", "isolated"), pre_tokenizers.Whitespace(),
                                                  pre_tokenizers.Punctuation(), byte_level(use_regex=False)]), normalizers.NFKD())
    added = sentencepiece_bpe(normalizers.Sequence([normalizers.Prepend(spaces), marks]), None, byte_fallback=True, fuse_unk=True)
    added.add_tokens([AddedToken("▁▁", normalized=False), AddedToken("o'clock", normalized=True), AddedToken("user", lstrip=True)])
    yield "llama2-added", added
    yield "llama2", sentencepiece_bpe(normalizers.Sequence([normalizers.Prepend(spaces), marks]), None,
                                      byte_fallback=True, fuse_unk=True)
    yield "gemma", sentencepiece_bpe(marks, pre_tokenizers.Split(" ", "merged_with_previous"), byte_fallback=True,
                                     fuse_unk=True)
    yield "metaspace-first", sentencepiece_bpe(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
                                               byte_fallback=True)
    yield "metaspace-always", sentencepiece_bpe(normalizers.NFKC(), pre_tokenizers.Metaspace(), fuse_unk=True)
    yield "words", sentencepiece_bpe(normalizers.Strip(), pre_tokenizers.Whitespace(), fuse_unk=False)
    yield "bert", wordpiece(normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer())
    yield "bert-cased", wordpiece(normalizers.BertNormalizer(lowercase=False), pre_tokenizers.BertPreTokenizer(),
                                  max_input_chars_per_word=12)
    precompiled = normalizers.Precompiled(character_map())
    yield "t5", unigram(normalizers.Sequence([precompiled, normalizers.Replace(Regex(" {2,}"), " ")]),
                        pre_tokenizers.Metaspace())
    yield "xlm-roberta", unigram(precompiled, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(),
                                                                       pre_tokenizers.Metaspace()]))
    yield "albert", unigram(normalizers.Sequence([normalizers.Nmt(), normalizers.NFKD(), normalizers.StripAccents(),
                                                  normalizers.Lowercase()]),
                            pre_tokenizers.Metaspace(prepend_scheme="first"), byte_fallback=True)


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(exist_ok=True)
    file = folder / "tokenizers.json.xz"
    names = sys.argv[2:]
    made = json.loads(lzma.decompress(file.read_bytes())) if names else {"texts": list(texts(small=True))}
    for name, tokenizer in tokenizers():
        if names and name not in names:
            continue
        tokenizer.encode_special_tokens = True
        ids = [each.ids for each in tokenizer.encode_batch(made["texts"], add_special_tokens=False)]
        made[name] = {"tokenizer": json.loads(tokenizer.to_str()), "ids": ids}
        print(name, tokenizer.get_vocab_size(), sum(map(len, ids)))
    text = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
    file.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(file.stat().st_size)


if __name__ == "__main__":
    main()
