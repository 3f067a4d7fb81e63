#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares tokenizers with those that their models were made with, over odd texts of many kinds.

    compare_tokens.py TOKEN_LINES hf FOLDER…                  with Hugging Face's tokenizers
    compare_tokens.py TOKEN_LINES llama LIBLLAMA MODEL.gguf…  with llama.cpp's library
    compare_tokens.py --record FOLDER…                        prints what the ids of Hugging Face's hash to, or
                                                              of mistral-common's where the folder has tekken.json

TOKEN_LINES is the built program tests/tokens/token_lines.cpp. A FOLDER holds tokenizer.json; a GGUF
need not hold tensors. For each, the number of texts and of differences is printed, and the first
differences. Needs tokenizers, or llama.cpp's libllama.so.
"""

import ctypes
import hashlib
import json
import pathlib
import random
import subprocess
import sys
import tempfile

SCRIPTS = [
    "The quick brown fox isn't here; WE'LL see. It's 12 o'clock, don't you'Re",
    "Größe, naïve façade, œuvre, ĳsselmeer, ŉ, ﬁne ﬂuﬀ, ẞ İstanbul ıi",
    "Привет, как дела? Ёлка ёж", "Καλημέρα κόσμε, ΟΔΥΣΣΕΥΣ ςσ", "שלום עולם בְּרֵאשִׁית", "مرحبا بالعالم، كيف الحال؟ ١٢٣",
    "नमस्ते दुनिया, क्षत्रिय १२३", "வணக்கம் உலகம்", "สวัสดีชาวโลก ๑๒๓", "ສະບາຍດີ", "မင်္ဂလာပါ", "ជំរាបសួរ",
    "你好，世界。今天天气很好！２０２６年", "こんにちは世界、カタカナ ｶﾀｶﾅ がぎぐ", "안녕하세요 세계 각", "ᄀ" "ᅡ" "ᆨ decomposed",
    "გამარჯობა", "Բարեւ աշխարհ", "ሰላም ልዑል", "ᏣᎳᎩ", "ᠮᠣᠩᠭᠣᠯ", "བོད་ཡིག", "e\u0301e\u0327\u0301 a\u030a o\u0308\u0323",
    "\u1e9b\u0323 \u2126 \u212b \ufb01 \u2460 \u00bd \u2167 \u33a5 \uff21\uff42", "🙂👩‍👩‍👧‍👦🏳️‍🌈🇩🇪👍🏽 ❤️ ☃︎ 🧑🏿‍🚀",
    "x = {'a': [1, 2.5e-3], \"b\": None}\nfor i in range(10):\n\tprint(f\"{i:>5}\")  # comment\n",
    "#include <stdio.h>\r\nint main(void) {\r\n    return 0x1F & ~(1<<3);\r\n}\r\n", "<p class=\"a\">&nbsp;</p><!-- x -->",
    "SELECT * FROM t WHERE a <> 'b''c' -- d", "https://example.org/a?b=c&d=%20#e", "user@example.com +49-123 (0)456",
    "3.14159 1,000,000 12345678901234567890 0 00 007 1e10 ½ ² ³ Ⅷ ①", "MixedCase camelCase PascalCase SHOUTING snake_case kebab-case",
    "“quotes” ‘single’ «guillemets» — dash – en … ¿qué? ¡sí!", "a\u00a0b\u2003c\u3000d\u200be\u200dx\u2060f\ufeffg\u00adh",
    "zero\u0000byte \u0001\u0007\u001b[31m\u007f\u0085\u009f", "\u2028line\u2029para\u000bvt\u000cff", "I'LL I'Ve you'D he'S ''s 'S'm 'ſ",
    "<s></s><unk><pad><bos><eos><|im_start|>user<|im_end|><|endoftext|>[INST] [/INST]<0x41><0x0A>[CLS][SEP][MASK]",
    "<think>\nx\n</think>\n\n<tool_call>{}</tool_call> <|user|> <|python_tag|>", "▁a ▁▁b Ġc Ċ", "\ue000\uf8ff\U000f0000 \ufffd \ufffe \uffff",
    "𝒳𝕐𝟘 𐍈 𓀀 𠮷 𪚥 🀄", "ǅ ǆ Ǆ ǲ ᾈ ᾳ ŉ", "ﷺ ﷽ ㍿ ㎏", "ｈｅｌｌｏ　ｗｏｒｌｄ！", "aͣbͤcͨ Z̸̢̛̗̰͉̙͈̤̳̈́̑͌̂͑ͅa̵l̴g̷o̶", "\u180e\u1680\u202f\u205f",
    "Ω Å ſ K", "don’t l’été aujourd'hui", "C++ C# F# .NET a+b=c == != <= >= ->", "____ ---- **** #### ....", "hello.world,foo;bar:baz",
    # of Unicode 15.0, 15.1 and 16.0; then what became of classes and normal forms since 8
    "\U0001fae8\U0001fa77 \U0001fae9 \U00031350\U0002ebf0 \u1c89\u1c8a \ua7da\ua7db \U00010d50\U00010d70 \u2ffc \U0001e4d0\U0001e4f0 \U00011f43",
    "\u32ff \U0001fbf0 q\u0301\u1ac1\u0327 \u07fd \u2e52 \U00011fff \u166d \u24b6b \u00b2\u00bd \u0301start"]


def texts(seed=1, small=False):
    """Valid UTF-8, as str; small: some of each kind."""
    yield ""
    yield from SCRIPTS
    for text in SCRIPTS[::6] if small else SCRIPTS:
        yield " " + text
        yield text + " \n"
        yield text.replace(" ", "  ").replace("\n", "\r\n")
    for part in (" ", "\n", "\t", "\r\n", " \n", "\n ", "a", "A", "1", "!", "é", "好", "🙂", "\u0301", "ab ", "=", "-", "▁", "Ġ",
                 "\u3000", "'s", "\x00"):
        for count in (2, 3, 16) if small else (1, 2, 3, 4, 7, 16, 33, 200, 1000):
            yield part * count
            yield "x" + part * count
            yield part * count + "x"
    random.seed(seed)
    characters = sorted(set("".join(SCRIPTS))) + list(" \n\t'.,0a") * 12
    for _ in range(30 if small else 600):
        yield "".join(random.choice(characters) for _ in range(random.randrange(1, 40)))
    for _ in range(20 if small else 200):
        yield "".join(random.choice(SCRIPTS)[:random.randrange(1, 12)] + random.choice(["", " ", "\n", "  "])
                      for _ in range(random.randrange(1, 8)))
    for _ in range(20 if small else 300):
        yield "".join(chr(random.choice([random.randrange(0x20, 0x250), random.randrange(0x250, 0xd800),
                                         random.randrange(0xe000, 0xfffe), random.randrange(0x10000, 0x1fb00)]))
                      for _ in range(random.randrange(1, 30)))


def frames(all_texts):
    return b"".join(b"%d\n%s\n" % (len(text), text) for text in all_texts)


def ours(program, source, all_texts, *options):
    run = subprocess.run([program, source, *options], input=frames(all_texts), stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    if run.returncode != 0:
        raise RuntimeError(run.stderr.decode())
    return [[int(token) for token in line.split()] for line in run.stdout.split(b"\n")[:-1]]


def as_folder(folder, vocabulary):
    """What is missing of a model's folder round a tokenizer: a config.json and no tensors."""
    if not (folder / "config.json").exists():
        (folder / "config.json").write_text(json.dumps({"vocab_size": vocabulary}))
    if not (folder / "model.safetensors").exists():
        (folder / "model.safetensors").write_bytes((8).to_bytes(8, "little") + b"{}      ")


def differences(name, all_texts, mine, theirs):
    different = [i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b]
    print(f"{name}: {len(all_texts)} texts, {len(different)} different")
    for i in different[:8]:
        print("  text  ", repr(all_texts[i])[:200], "\n  ours  ", mine[i][:40], "\n  theirs", theirs[i][:40])
    return len(different)


def with_tokenizers(program, folder):
    """As `tokenizers` cuts a text in which nothing is a control token."""
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    all_texts = list(texts())
    theirs = [each.ids for each in tokenizer.encode_batch(all_texts, add_special_tokens=False)]
    with tempfile.TemporaryDirectory() as holder:
        mine_folder = pathlib.Path(holder)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            if (folder / file).exists():
                (mine_folder / file).write_bytes((folder / file).read_bytes())
        as_folder(mine_folder, 1 + max(tokenizer.get_vocab(True).values()))
        mine = ours(program, mine_folder, [text.encode() for text in all_texts])
    return differences(folder, all_texts, mine, theirs)


class ModelParams(ctypes.Structure):
    """llama.h's llama_model_params of autumn 2026."""
    _fields_ = [("devices", ctypes.c_void_p), ("overrides", ctypes.c_void_p), ("layers", ctypes.c_int32),
                ("split_mode", ctypes.c_int), ("load_mode", ctypes.c_int), ("lazy_mode", ctypes.c_int),
                ("main_gpu", ctypes.c_int32), ("split", ctypes.c_void_p), ("progress", ctypes.c_void_p),
                ("progress_data", ctypes.c_void_p), ("kv_overrides", ctypes.c_void_p),
                *((name, ctypes.c_bool) for name in ("vocab_only", "check", "extra", "no_host", "no_alloc", "mtp"))]


class Llama:
    def __init__(self, library):
        self.lib = ctypes.CDLL(str(library))
        self.lib.llama_model_default_params.restype = ModelParams
        self.lib.llama_model_load_from_file.argtypes = [ctypes.c_char_p, ModelParams]
        for name in ("llama_model_load_from_file", "llama_model_get_vocab"):
            getattr(self.lib, name).restype = ctypes.c_void_p
        self.lib.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
        self.lib.llama_tokenize.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p,
                                            ctypes.c_int32, ctypes.c_bool, ctypes.c_bool]
        self.quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        self.lib.llama_log_set.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self.lib.llama_log_set(ctypes.cast(self.quiet, ctypes.c_void_p), None)
        self.lib.llama_backend_init()

    def tokens(self, model, all_texts):
        params = self.lib.llama_model_default_params()
        params.vocab_only = True
        loaded = self.lib.llama_model_load_from_file(str(model).encode(), params)
        if not loaded:
            raise RuntimeError(f"llama.cpp does not load {model}")
        vocabulary = self.lib.llama_model_get_vocab(loaded)
        for text in all_texts:
            room = (ctypes.c_int32 * (2 * len(text) + 16))()
            count = self.lib.llama_tokenize(vocabulary, text, len(text), room, len(room), False, False)
            yield list(room[:count])


def record(folder):
    file = pathlib.Path(folder) / "tokenizer.json"
    if file.exists():
        from tokenizers import Tokenizer
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.encode_special_tokens = True
        ids = [each.ids for each in tokenizer.encode_batch(list(texts()), add_special_tokens=False)]
    else:
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer
        tokenizer = Tekkenizer.from_file(pathlib.Path(folder) / "tekken.json")
        ids = [tokenizer.encode(text, bos=False, eos=False) for text in texts()]
    lines = "".join(" ".join(map(str, each)) + "\n" for each in ids)
    print(folder, hashlib.sha256(lines.encode()).hexdigest())


def main():
    if sys.argv[1] == "--record":
        for folder in sys.argv[2:]:
            record(folder)
        return
    program, kind, *rest = sys.argv[1:]
    different = 0
    if kind == "hf":
        for folder in rest:
            different += with_tokenizers(program, pathlib.Path(folder))
    else:
        llama = Llama(rest[0])
        encoded = [text.encode() for text in texts()]
        for model in rest[1:]:
            try:
                mine = ours(program, model, encoded)
            except RuntimeError as error:
                print(model, error)
                continue
            different += differences(model, encoded, mine, list(llama.tokens(model, encoded)))
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
