#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What an import makes of a source's chat template and of its special tokens.

The templates of tests/fixtures/chat-templates are our own writing of what published models' do;
expected.json is what jinja2 made of them (tests/reference/chat_templates.py --record). A template that
cannot be run is kept as text, and what the note says to do is done here."""

import json
import os
import pathlib
import re
import subprocess
import tomllib
import unittest

from programs import FIXTURES, MODELS, SOURCE, TemporaryFolder, rows, run

import chat_templates
import extension
import tiny_models

TEMPLATES = FIXTURES / "chat-templates"
LOOP = ("{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + "
        "'<|im_end|>' + '\\n' }}{% endfor %}")
ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
# Each has ChatML's expressions, and does something else; what they make of one message.
LOOKALIKES = {
    "thinking left out": LOOP.replace("message.content", "message.content.split('</think>')[-1]") + ASK,
    "a system message with braces": "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\n"
                                    "Use \\\\boxed{}.<|im_end|>\\n' }}{% endif %}" + LOOP + ASK,
    "a system message in a variable": "{% set own = 'Be a pirate.' %}{% if messages[0].role != 'system' "
                                      "%}{{ '<|im_start|>system\\n' + own + '<|im_end|>\\n' }}{% endif %}"
                                      + LOOP + ASK,
    "bos in front": "{{ bos_token }}" + LOOP + ASK,
    "an answer that thinks": LOOP + ASK.replace("{% endif", "{{ '<think>\\n' }}{% endif"),
    "no system role": LOOP.replace("{{", "{% if message.role == 'system' %}{{ raise_exception('no') }}"
                                         "{% endif %}{{", 1) + ASK,
    "a space": LOOP.replace("%}{{", "%} {{", 1) + ASK,
    "a line": LOOP + "\n\n" + ASK,
    "trimmed": LOOP.replace("message.content", "message.content | trim") + ASK,
    "another word": LOOP + ASK.replace("assistant", "Assistant"),
    "another order": ASK + LOOP,
    "raw": "{% raw %}" + LOOP + ASK + "{% endraw %}",
    "in a comment": "{#" + LOOP + ASK + "#}",
}

MADE = {
    'thinking left out': '<|im_start|>user\nb <|im_end|>\n<|im_start|>assistant\n',
    'a system message with braces': '<|im_start|>system\nUse \\boxed{}.<|im_end|>\n<|im_start|>user\n a</think>b <|im_end|>\n<|im_start|>assistant\n',
    'a system message in a variable': '<|im_start|>system\nBe a pirate.<|im_end|>\n<|im_start|>user\n a</think>b <|im_end|>\n<|im_start|>assistant\n',
    'bos in front': '<|begin_of_text|><|im_start|>user\n a</think>b <|im_end|>\n<|im_start|>assistant\n',
    'an answer that thinks': '<|im_start|>user\n a</think>b <|im_end|>\n<|im_start|>assistant\n<think>\n',
    'no system role': '<|im_start|>user\n a</think>b <|im_end|>\n<|im_start|>assistant\n',
    'a space': ' <|im_start|>user\n a</think>b <|im_end|>\n<|im_start|>assistant\n',
    'a line': '<|im_start|>user\n a</think>b <|im_end|>\n\n<|im_start|>assistant\n',
    'trimmed': '<|im_start|>user\na</think>b<|im_end|>\n<|im_start|>assistant\n',
    'another word': '<|im_start|>user\n a</think>b <|im_end|>\n<|im_start|>Assistant\n',
    'another order': '<|im_start|>assistant\n<|im_start|>user\n a</think>b <|im_end|>\n',
    'raw': "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    'in a comment': '',
}


class Folder(TemporaryFolder):
    def take(self, metadata, name="llama3", tensors=None, without=()):
        """Imports a tiny model; its [chat] and what was said."""
        gguf = tiny_models.write_gguf(name, self.folder / "m.gguf", metadata=metadata,
                                      tensors=tensors, without=without)
        self.db, self.toml = self.folder / "m.db", self.folder / "m.toml"
        said = run("LLMSQL_IMPORT", gguf, "-o", self.db, "--write-model", self.toml, "--graph-dir",
                   SOURCE / "graphs").stderr.decode()
        return tomllib.loads(self.toml.read_text())["chat"], said

    def meta(self, key):
        return dict(rows(self.db, "SELECT key, value FROM llm_meta")).get(key)

    def install(self):
        run("LLMSQLC", self.toml, "--graph-dir", SOURCE / "graphs", "--install", self.db)


class Templates(Folder):
    def query_of(self, text):
        metadata = tiny_models.with_special("llama3", {}) | {"tokenizer.chat_template": text}
        tokens = [chat_templates.EOS, chat_templates.BOS, *metadata["tokenizer.ggml.tokens"][2:]]
        return self.take(metadata | {"tokenizer.ggml.tokens": tokens})

    def test_templates_give_what_jinja_gives(self):
        expected = json.loads((TEMPLATES / "expected.json").read_text())
        names = {path.stem for path in TEMPLATES.glob("*.jinja")}
        self.assertEqual(names, set(expected["rendered"]))
        for name in sorted(names):
            text = (TEMPLATES / f"{name}.jinja").read_text()
            chat, said = self.query_of(text)
            with self.subTest(name):
                self.assertIn("template", chat, said)
                self.assertEqual(self.meta("tokenizer.chat_template"), text)
                for messages, want in zip(expected["conversations"], expected["rendered"][name],
                                          strict=True):
                    got = chat_templates.by_sql(chat["template"], messages)
                    self.assertEqual(None if isinstance(got, Exception) else got, want, messages)

    def test_what_a_message_becomes_is_said(self):
        _, said = self.query_of(LOOP + ASK)
        becomes = r'"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"'
        self.assertIn(f'chat: "Hi" becomes {becomes}\n', said)
        dry = run("LLMSQL_IMPORT", self.folder / "m.gguf", "--dry-run", "--graph-dir", SOURCE / "graphs").stdout.decode()
        self.assertIn(f'chat template: yes\na message "Hi" becomes: {becomes}\n', dry)
        _, said = self.query_of("\u00e9" * 1000 + "\x1b[31m" + LOOP)
        (line,) = re.findall("chat: .*", said)
        self.assertRegex(line, r'becomes "\u00e9{79,80} \u2026 \u00e9+\\u001b\[31m<\|im_start\|>.*"$')
        self.assertLess(len(line), 400)
        self.assertNotIn("chat: ", self.query_of("{% nosuch %}")[1])

    def test_a_template_of_conversations_with_tools_alone(self):
        text = "{% for tool in tools %}{{ tool.function.name }}{% endfor %}" + LOOP
        chat, said = self.query_of(text)
        self.assertIn("template", chat, said)
        self.install()
        done = self.run_chat(check=False)
        self.assertRegex(done.stderr.decode(), r"\Allmsql-run: [^\n]+line 1: 'NoneType' object is not iterable\n\Z")

    def test_what_looks_like_them_is_not_taken_for_them(self):
        for name, text in LOOKALIKES.items():
            with self.subTest(name):
                chat, said = self.query_of(text)
                self.assertNotIn("chat template", said.replace("which its vocabulary does not have", "")
                                 .replace("the source's chat template writes", ""))
                got = chat_templates.by_sql(chat["template"], [{"role": "user", "content": " a</think>b "}])
                self.assertEqual(got, MADE[name])

    def test_what_the_note_says_to_do_works(self):
        _, said = self.query_of("{% nosuch %}")
        self.assertRegex(said, r"note: the source's chat template is not one that llmsql can run: line 1: unknown tag 'nosuch'; ")
        self.assertRegex(said, r"write \[chat\] template in \S+m\.toml by hand")
        self.install()
        done = self.run_chat(check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.decode(), r"template is not one that llmsql can run.*\[chat\] template")
        self.assertNotIn(b"base model", done.stderr)
        with self.toml.open("a") as file:
            file.write("template = \"SELECT '<|eot_id|>' || role, content FROM message\"\n")
        self.install()
        self.run_chat()
        # It knows roles and texts: a conversation in JSON is refused, not passed over.
        conversation = self.folder / "conversation.json"
        conversation.write_text('[{"role": "user", "content": "hi"}]')
        done = subprocess.run([os.environ["LLMSQL_RUN"], self.db, "--render", conversation], capture_output=True)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"the chat section reads `message`", done.stderr)

    def test_the_model_file_that_the_note_names_has_a_template_that_works(self):
        chat, said = self.take(tiny_models.with_special(
            "llama3", {"<|eot_id|>": 3, "<|end_of_text|>": 3}, eos="<|end_of_text|>") |
            {"tokenizer.ggml.pre": "llama-bpe", "tokenizer.chat_template": "{% messages %}"})
        self.assertNotIn("template", chat)
        path = pathlib.Path(re.search(r"or copy the \[chat\] of (\S+)", said)[1])
        self.assertEqual(path.resolve().parent, (SOURCE / "models").resolve())
        theirs = path.read_text()
        ours = self.toml.read_text()
        self.toml.write_text(ours[:ours.index("[chat]")] + theirs[theirs.index("[chat]"):])
        self.install()
        self.run_chat()

    def run_chat(self, *options, check=True):
        arguments = [os.environ["LLMSQL_RUN"], self.db, "--chat", "-p", "hi", "-n", "2", *options]
        return subprocess.run(arguments, capture_output=True, check=check)

    def test_what_a_conversation_becomes_is_printed(self):
        self.query_of("{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ m.thinking }}{% endfor %}"
                      "{% if tools %}{{ tools[0].name }}{% endif %}{{ strftime_now('%d %b %Y') }}{{ mood }}"
                      "{% if add_generation_prompt %}<assistant>{% endif %}.\n\n")
        self.install()
        file = self.folder / "conversation.json"
        one = {"role": "user", "content": "Grüße <|eot_id|>"}

        def rendered(conversation, *options, check=True):
            file.write_text(json.dumps(conversation))
            return subprocess.run([os.environ["LLMSQL_RUN"], self.db, "--render", file, *options],
                                  capture_output=True, check=check)
        self.assertEqual(rendered([one], "--date", "2024-02-29").stdout.decode(),
                         chat_templates.BOS + "<user>Grüße <|eot_id|>29 Feb 2024<assistant>.\n")
        whole = {"messages": [one, {"role": "assistant", "content": None, "reasoning": "hm"}], "tools": [{"name": "t"}],
                 "mood": "!", "add_generation_prompt": False}
        self.assertEqual(rendered(whole, "--date", "2024-02-29 10:00:00").stdout.decode(),
                         chat_templates.BOS + "<user>Grüße <|eot_id|><assistant>Nonehmt29 Feb 2024!.\n")  # as with jinja2
        for conversation, options, status, what in ((1, (), 1, "a list of messages"), ([1], (), 1, "must be an object"),
                                                    ([one], ("--date", "soon"), 2, "is no date")):
            done = rendered(conversation, *options, check=False)
            self.assertEqual((done.returncode, done.stdout), (status, b""))
            self.assertRegex(done.stderr.decode(), rf"\Allmsql-run: [^\n]*{what}[^\n]*\n\Z")
        db = extension.connect(self.db)
        self.addCleanup(db.close)
        options = json.dumps({"temperature": 0, "n_predict": 4})
        answer, = db.execute("SELECT llm_reply(?, ?)", (json.dumps([one]), options)).fetchone()
        same, = db.execute("SELECT llm_generate(?, ?)", (one["content"], json.dumps(
            {"temperature": 0, "n_predict": 4, "chat": True}))).fetchone()
        self.assertEqual(answer, same)

    def test_variables_of_the_template_by_name(self):
        self.query_of("{{ a }}{{ b }}{{ c.d if c }}{% if not a %}!{% endif %}")
        self.install()
        file = self.folder / "conversation.json"
        file.write_text("[]")

        def rendered(*options, check=True):
            return subprocess.run([os.environ["LLMSQL_RUN"], self.db, "--render", file, *options],
                                  capture_output=True, check=check)
        self.assertEqual(rendered("--variable", "a=false", "--variable", "b=x=y", "--variable", 'c={"d": [1]}').stdout,
                         b"Falsex=y[1]!")
        file.write_text('{"messages": [], "a": 1}')
        self.assertEqual(rendered("--variable", "a=2", "--variable", "c={}").stdout, b"1")
        self.assertEqual(rendered("--variable", "a", check=False).returncode, 2)
        db = extension.connect(self.db)
        self.addCleanup(db.close)

        def answer(variables):
            return db.execute("SELECT llm_reply('[]', ?)", (json.dumps(
                {"temperature": 0, "n_predict": 4, "variables": variables}),)).fetchone()[0]
        self.assertNotEqual(answer({"b": "w", "c": {}}), answer({"b": "hk", "c": {}}))
        with self.assertRaisesRegex(Exception, "option 'variables': an object"):
            answer(1)

    def test_the_models_own_sampling_holds_where_nobody_names_another(self):
        _, said = self.query_of(LOOP)
        self.assertNotIn("sampling", said)
        metadata = tiny_models.with_special("llama3", {}) | {
            "general.sampling.temp": 0.0, "general.sampling.top_k": 7, "general.sampling.mirostat": 1}
        _, said = self.take(metadata)
        self.assertRegex(said, r"note: [^\n]*where nothing else is asked for: temperature 0, top_k 7\n")
        self.assertRegex(said, r"note: [^\n]*does not have: mirostat 1\n")
        self.assertEqual((self.meta("sampling.temperature"), self.meta("sampling.top_k")), ("0", "7"))
        self.install()

        def text(*options):
            return run("LLMSQL_RUN", self.db, "-p", "hi", "-n", "12", *options)
        own = text("-s", "1")
        self.assertRegex(own.stderr.decode(), r"note: sampling as the model says: [^\n]*top_k 7")
        self.assertEqual(own.stdout, text("--temp", "0").stdout)
        self.assertNotEqual(own.stdout, text("--temp", "3", "--top-k", "0", "-s", "1").stdout)
        self.assertNotIn(b"as the model says", text("--temp", "3", "--top-k", "0").stderr)
        db = extension.connect(self.db)
        self.addCleanup(db.close)
        same, info = db.execute("SELECT llm_generate('hi', '{\"n_predict\": 12}'), llm_info()").fetchone()
        self.assertEqual("hi" + same, own.stdout.decode().rstrip("\n"))
        self.assertEqual(json.loads(info)["sampling"], {"temperature": 0, "top_k": 7})

    def test_a_conversation_that_the_template_refuses(self):
        chat, _ = self.query_of((TEMPLATES / "mistral.jinja").read_text())
        self.assertIn("template", chat)
        self.install()
        self.run_chat()
        done = self.run_chat("--system", "Be brief.", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.decode(), r"\Allmsql-run: [^\n]+ refuses this conversation[^\n]+\n\Z")

    def test_a_conversation_that_thinks(self):
        """The longest query, in a plan's sandbox, over what the model said."""
        metadata = tiny_models.with_special("llama3", {"<|im_start|>": 3, "<|im_end|>": 3, "</think>": 4})
        says = metadata["tokenizer.ggml.tokens"].index("</think>")
        chat, _ = self.take(metadata | {"tokenizer.chat_template": (TEMPLATES / "qwen3.jinja").read_text()},
                            tensors=tiny_models.always("llama3", says))
        self.assertIn("template", chat)
        self.install()
        for _ in range(3):
            done = run("LLMSQL_RUN", self.db, "--chat", "--session", self.folder / "s.db", "-p", "hi",
                       "-n", "3", "--temp", "0")
            self.assertEqual(done.stdout.strip(), b"</think>" * 3)

    def test_marks_that_are_no_tokens(self):
        text = (TEMPLATES / "chatml.jinja").read_text()
        chat, said = self.query_of(text)
        self.assertIn("template", chat)
        self.assertRegex(said, r"note: .* writes <\|im_start\|>, <\|im_end\|>, which its vocabulary does "
                               "not have: .* only if llmsql-run --stop or the option 'stop' says so")
        self.install()
        self.run_chat("--stop", "<|im_end|>")
        _, said = self.take(tiny_models.with_special("llama3", {"<|im_start|>": 3, "<|im_end|>": 3}) |
                            {"tokenizer.chat_template": text})
        self.assertNotIn("note", said)

    def test_templates_that_cannot_be_kept(self):
        for text, why in (("x" * (1 << 20) + "y", "longer than 1 MB"), ("a\0b", "not text")):
            with self.subTest(why):
                chat, said = self.query_of(text)
                self.assertRegex(said, rf"chat template is {why}.*: left out; write \[chat\] template")
                self.assertEqual(said.count("note:"), 1)
                self.assertNotIn("template", chat)
                self.assertIsNone(self.meta("tokenizer.chat_template"))
                self.install()

    def test_published_models(self):
        for gguf, system in (("smollm2.gguf", "named SmolLM"),
                             ("qwen2.5-coder-0.5b.gguf", "You are Qwen, created by Alibaba Cloud.")):
            source = MODELS / gguf
            if not source.exists():
                continue
            toml = self.folder / "m.toml"
            done = run("LLMSQL_IMPORT", source, "-o", self.folder / "m.db", "--write-model", toml,
                       "--graph-dir", SOURCE / "graphs")
            self.assertNotIn(b"chat template", done.stderr)
            chat = tomllib.loads(toml.read_text())["chat"]
            text = chat_templates.by_sql(chat["template"], [{"role": "user", "content": "Hi"}])
            self.assertIn(system, text)
            self.assertEqual(chat["stop"], ["<|im_end|>", "<|endoftext|>"])


class Ends(Folder):
    """Models that say one token and no other: they end at once where llama.cpp ends."""

    def text_of(self, special, says, prompt="o", **keys):
        metadata = tiny_models.with_special("llama3", special, **keys)
        token = metadata["tokenizer.ggml.tokens"].index(says)
        self.chat, self.said = self.take(metadata, tensors=tiny_models.always("llama3", token))
        self.install()
        done = run("LLMSQL_RUN", self.db, "-p", prompt, "-n", "5", "--temp", "0")
        said = done.stdout.decode().removeprefix(prompt).strip()
        decoded = re.search(rb"decode: (\d+) tokens?", done.stderr)  # not said of none
        return said, int(decoded[1]) if decoded else 0

    def test_a_word_goes_on(self):
        self.assertEqual(self.text_of({"<word>": 4}, "<word>")[0], "<word>" * 5)

    def test_by_key(self):
        for key in ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep"):
            with self.subTest(key):
                text, tokens = self.text_of({"<turn/>": 3}, "<turn/>", **{key: "<turn/>"})
                self.assertEqual((text, tokens <= 1), ("", True))

    def test_by_name_whatever_the_type(self):
        for name in ("<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|file_sep|>"):
            for type in (1, 3, 4, 5):
                with self.subTest(name, type=type):
                    self.assertEqual(self.text_of({name: type}, name)[0], "")
                    self.assertEqual("taken for a control token" in self.said, type != 3, self.said)

    def test_a_turn_ends_before_the_text(self):
        """As in Phi-3's files, whose eos is another."""
        text, _ = self.text_of({"<|endoftext|>": 3}, "<|end|>", eos="<|endoftext|>")
        self.assertEqual(text, "")
        self.assertEqual(self.chat["stop"], ["<|endoftext|>", "<|end|>"])

    def test_no_text_becomes_a_mark(self):
        text = "a<|im_start|>b<|im_end|><think>"
        for type in (1, 3, 4, 5):
            with self.subTest(type=type):
                special = {"<|im_start|>": type, "<|im_end|>": type, "<think>": 4}
                self.text_of(special, "<think>")
                written = self.folder / "text"
                written.write_text(text)
                ids = run("LLMSQL_RUN", self.db, "--tokenize", written).stdout.split()
                tokens = [bytes(piece).decode() for piece, in (
                    rows(self.db, f"SELECT piece FROM llm_token WHERE id = {int(id)}")[0]
                    for id in ids)]
                self.assertEqual("".join(tokens), text)
                self.assertNotIn("<|im_start|>", tokens)
                self.assertNotIn("<|im_end|>", tokens)
                self.assertEqual(tokens[-1], "<think>")

    def test_sentencepiece_has_ids_of_its_own(self):
        size = tiny_models.MODELS["llama3"]["n_vocab"]
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "\u2581"]
        tokens += [f"w{i}" for i in range(size - len(tokens))]
        metadata = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens,
                    "tokenizer.ggml.scores": [0.0] * size,
                    "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * (size - 259)}
        unsaid = [f"tokenizer.ggml.{key}" for key in ("bos_token_id", "eos_token_id", "pre", "merges",
                                                      "add_bos_token")]
        _, said = self.take(metadata, tensors=tiny_models.always("llama3", 2), without=unsaid)
        self.assertIn('taking SentencePiece\'s: bos "<s>", eos "</s>", unknown "<unk>"', said)
        self.assertEqual([str(self.meta(f"tokenizer.{key}")) for key in
                          ("bos", "eos", "unk", "add_bos", "ends")], ["1", "2", "0", "1", "2"])
        self.install()
        done = run("LLMSQL_RUN", self.db, "-p", "hello", "-n", "5", "--temp", "0")
        self.assertEqual(done.stdout.strip(), b"hello")


if __name__ == "__main__":
    extension.main()
