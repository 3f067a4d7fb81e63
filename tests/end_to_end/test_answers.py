#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What is in an answer: thinking told apart, calls of tools as rows, and a loop of them in plain SQL.

The models say what they are told to (tiny_models.says): tokens of whole texts, one after the other."""

import contextlib
import json
import os
import pty
import re
import sqlite3
import subprocess
import unittest

from programs import SOURCE, run

import extension
import tiny_models
from test_chat_imports import Folder

CONTROL, DEFINED = 3, 4
GREEDY = {"temperature": 0, "n_predict": 40}
CHAT = ("{% for m in messages %}<|{{ m.role }}|>{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}"
        "{{ m.content }}{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}{% endfor %}")


class Answers(Folder):
    def model(self, said, ask="<|ask|>", template=None, kind=DEFINED, kinds=None, others=()):
        """A model whose answers are `said`: after each token that is read last, the texts; a text that is
        no other token is one of its own. `kinds` are those of marks."""
        said = said if isinstance(said, dict) else {ask: said}
        pieces = dict.fromkeys([*others, *(piece for first, texts in said.items() for piece in (first, *texts))])
        special = {piece: (kinds or {}).get(piece, kind) for piece in pieces}
        special |= {first: CONTROL for first in said if first not in (kinds or {})}
        metadata = tiny_models.with_special("llama3", special)
        tokens = metadata["tokenizer.ggml.tokens"]
        chains = [[tokens.index(piece) for piece in (first, *texts)] for first, texts in said.items()]
        template = template or CHAT + "{% if add_generation_prompt %}" + ask + "{% endif %}"
        self.take(metadata | {"tokenizer.chat_template": template},
                  tensors=tiny_models.says("llama3", *chains))
        self.install()
        self.connection = extension.connect(self.db)
        self.addCleanup(self.connection.close)

    def sql(self, sql, *values):
        return self.connection.execute(sql, values).fetchall()

    def value(self, sql, *values):
        return self.sql(sql, *values)[0][0]

    def said(self, *options, **arguments):
        return subprocess.run([os.environ["LLMSQL_RUN"], self.db, "--temp", "0", "-n", "40", *map(str, options)],
                              capture_output=True, check=True, **arguments).stdout.decode()

    def rendered(self, conversation):
        file = self.folder / "c.json"
        file.write_text(json.dumps(conversation))
        return run("LLMSQL_RUN", self.db, "--render", file).stdout.decode()


class Thinking(Answers):
    def check(self):
        """A model that thinks "So it is." and says "Yes, yes."."""
        ask = json.dumps([{"role": "user", "content": "Q"}])
        chat = json.dumps(GREEDY | {"chat": True})
        self.assertEqual(self.value("SELECT llm_reply(?, ?)", ask, json.dumps(GREEDY)), "Yes, yes.")
        self.assertEqual(self.value("SELECT llm_generate('Q', ?)", chat), "Yes, yes.")
        self.assertEqual(self.value("SELECT llm_generate('Q', ?)", json.dumps(GREEDY | {"chat": True, "thinking": True})),
                         "<think>\nSo it is.\n</think>\n\nYes, yes.")
        message = json.loads(self.value("SELECT llm_reply(?, ?)", ask, json.dumps(GREEDY | {"message": True})))
        self.assertEqual(message, {"role": "assistant", "content": "Yes, yes.", "reasoning_content": "So it is."})
        self.assertEqual(self.sql("SELECT answer FROM llm_batch('SELECT 1, ''Q'' UNION ALL SELECT 2, ''R''', ?)", chat),
                         [("Yes, yes.",), ("Yes, yes.",)])
        rows = self.sql("SELECT * FROM llm_stream('Q', ?)", chat)
        self.assertEqual("".join(row[1] for row in rows), "Yes, yes.")
        self.assertEqual("".join(row[3] for row in rows), "So it is.")
        self.assertFalse([row for row in rows if row[1] and row[3]])
        self.assertEqual(self.said("--chat", "-p", "Q"), "<think>\nSo it is.\n</think>\n\nYes, yes.\n")

        # The history has it apart, in memory and in a file, and the template decides.
        want = "<|user|>Q<|assistant|>(So it is.)Yes, yes.<|user|>R"
        self.assertEqual(self.value("SELECT llm_chat('a', 'Q', ?)", json.dumps(GREEDY)), "Yes, yes.")
        for options in (GREEDY, GREEDY | {"sessions": str(self.folder / "s.db")}):
            self.assertEqual(self.value("SELECT llm_chat('b', 'Q', ?)", json.dumps(options)), "Yes, yes.")
            self.assertEqual(self.value("SELECT llm_chat('b', 'R', ?)", json.dumps(options)), "Yes, yes.")
        session = sqlite3.connect(self.folder / "s.db")
        self.addCleanup(session.close)
        self.assertEqual(session.execute("SELECT n, text FROM thought").fetchall(), [(1, "So it is."), (3, "So it is.")])
        self.assertEqual([content for content, in session.execute("SELECT content FROM conversation")],
                         ["Q", "Yes, yes.", "R", "Yes, yes."])
        read = [token for token, in session.execute("SELECT token FROM token ORDER BY position")]
        text = self.value("SELECT llm_detokenize(?)", json.dumps(read))
        self.assertIn("(So it is.)Yes, yes.", text)
        session.execute("DELETE FROM session")
        self.assertEqual(session.execute("SELECT count(*) FROM thought").fetchone(), (0,))
        session.commit()
        self.assertTrue(self.rendered([{"role": "user", "content": "Q"}, message, {"role": "user", "content": "R"}])
                        .startswith(want))

    def test_marks_of_a_pair(self):
        for open_, close in (("<think>", "</think>"), ("[THINK]", "[/THINK]")):
            for kind in (CONTROL, DEFINED):
                with self.subTest(open_, kind=kind):
                    self.model([open_, "\nSo it", " is.\n", close, "\n\nYes,", " yes."], kinds={open_: kind, close: kind})
                    self.check()
                    (self.folder / "s.db").unlink()

    def test_marks_that_only_the_template_knows(self):
        for open_, close in (("<muse>", "</muse>"), ("<|inner|>", "<|outer|>"), ("[BEGIN]", "[END]")):
            template = ("{% for m in messages %}<|{{ m.role }}|>{% if m.reasoning_content %}" + open_ +
                        "\n{{ m.reasoning_content }}\n" + close + "\n{% endif %}{{ m.content }}{% endfor %}"
                        "{% if add_generation_prompt %}<|ask|>{% endif %}")
            for kind in (CONTROL, DEFINED):
                with self.subTest(open_, kind=kind):
                    self.model([open_, "So it", " is.\n", close, "\n\nYes,", " yes."], template=template,
                               kinds={open_: kind, close: kind})
                    self.assertEqual(self.said("--chat", "-p", "Q"), "<think>\nSo it is.\n</think>\n\nYes, yes.\n")
                    self.assertEqual(self.value("SELECT llm_chat('a', 'Q', ?)", json.dumps(GREEDY)), "Yes, yes.")
            # No tokens of their own. What stands in the template would become a control token, each part of it.
            with self.subTest(open_, text=True):
                self.model(["\n" + open_[:3], open_[3:] + "So it", " is." + close[:2], close[2:] + "\n\nYes,", " yes."],
                           template=template)
                self.assertEqual(self.said("--chat", "-p", "Q"), "<think>\nSo it is.\n</think>\n\nYes, yes.\n")

    def test_sequences_that_only_the_template_knows(self):
        """Marks that are usual by themselves: what is thought is told by several of them, and the words between."""
        tag = "{% macro tag(how, what) %}<|{{ how }}|>{{ what }}<|sep|>{% endmacro %}"
        template = (tag + "{% for m in messages %}{{ tag('open', m.role) }}{% if m.role == 'assistant' %}{{ tag('open', 'think') }}"
                    "{{ m.reasoning_content }}{{ tag('close', 'think') }}{{ tag('open', 'say') }}{{ m.content }}{{ tag('close', 'say') }}"
                    "{% else %}{{ m.content }}{% endif %}{{ tag('close', m.role) }}{% endfor %}"
                    "{% if add_generation_prompt %}{{ tag('open', 'assistant') }}<|ask|>{% endif %}")
        marks = {mark: CONTROL for mark in ("<|open|>", "<|close|>", "<|sep|>")}
        # Each token has one that follows it, so that a mark stands once.
        self.model({"<|ask|>": ["<|open|>", "think", "<|sep|>", "So it", " is.", "<|close|>"]}, kinds=marks, template=template)
        message = json.loads(self.value("SELECT llm_reply('[]', ?)", json.dumps(GREEDY | {"message": True})))
        self.assertEqual(message, {"role": "assistant", "content": "", "reasoning_content": "So it is."})

    def test_what_stands_around_messages_is_no_mark(self):
        self.model(["Yes."], template="{% for m in messages %}<|{{ m.role }}|>{% if m.reasoning_content %}"
                                      "{{ m.reasoning_content }}<|assistant|>{% endif %}{{ m.content }}{% endfor %}"
                                      "{% if add_generation_prompt %}<|assistant|><|ask|>{% endif %}")
        self.assertEqual(self.said("--chat", "-p", "Q"), "Yes.\n")

    def test_a_terminal_shows_it_dim(self):
        self.model(["<think>", "So it", " is.", "</think>", "Yes,", " yes."])

        def shown(**environment):
            ours, theirs = pty.openpty()
            process = subprocess.Popen([os.environ["LLMSQL_RUN"], self.db, "--chat", "-p", "Q", "--temp", "0", "-n", "40"],
                                       stdout=theirs, stderr=subprocess.DEVNULL, env=os.environ | environment)
            os.close(theirs)
            text = b""
            with contextlib.suppress(OSError):  # the other end is shut
                while more := os.read(ours, 4096):
                    text += more
            os.close(ours)
            self.assertEqual(process.wait(), 0)
            return text.replace(b"\r", b"")
        self.assertEqual(shown(TERM="xterm", NO_COLOR=""), b"\x1b[2mSo it is.\x1b[22m\n\nYes, yes.\n")
        for plain in ({"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}):
            self.assertEqual(shown(**plain), b"<think>\nSo it is.\n</think>\n\nYes, yes.\n")

    def test_a_mark_that_the_template_has_opened(self):
        self.model({"<think>": ["So it", " is.\n", "</think>", "\n\nYes,", " yes."]},
                   template=CHAT + "{% if add_generation_prompt %}<think>{% endif %}")
        self.check()
        # What ends within is all thinking.
        self.assertEqual(self.value("SELECT llm_generate('Q', '{\"temperature\": 0, \"chat\": true, \"n_predict\": 2}')"), "")

    def test_a_template_that_shuts_it(self):
        self.model({"</think>": ["Yes,", " yes."]}, others=["<think>"],
                   template=CHAT + "{% if add_generation_prompt %}<think></think>{% endif %}")
        self.assertEqual(self.said("--chat", "-p", "Q"), "Yes, yes.\n")

    def test_channels(self):
        marks = {mark: CONTROL for mark in ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>")}
        # Each token has one that follows it, so that these marks are one token each.
        self.model({"<|channel|>": ["analysis", "<|message|>", "So it", " is.", "<|end|>", "<|start|>"]},
                   kinds=marks, others=marks,
                   template=CHAT + "{% if add_generation_prompt %}<|start|>assistant<|channel|>{% endif %}")
        message = json.loads(self.value("SELECT llm_reply('[]', ?)", json.dumps(GREEDY | {"message": True})))
        self.assertEqual(message, {"role": "assistant", "content": "", "reasoning_content": "So it is."})

    def test_a_text_that_goes_on_is_as_it_is(self):
        self.model(["<think>", "So", "</think>", "Yes"])
        self.assertEqual(self.value("SELECT llm_generate('<|ask|>', ?)", json.dumps(GREEDY)), "")
        # Typed, the control token is a text; a defined one is itself.
        self.assertEqual(self.value("SELECT llm_generate('<think>', ?)", json.dumps(GREEDY)), "So</think>Yes")
        for option in ("thinking", "message"):
            with self.assertRaisesRegex(sqlite3.OperationalError, f"option '{option}' goes with 'chat'"):
                self.value("SELECT llm_generate('Q', ?)", json.dumps({option: True}))

    def test_an_interrupted_answer_goes_on_where_it_was(self):
        self.model(["<think>", "So", " it", " is.", "</think>", "Yes,", " yes."])
        session = ("--session", self.folder / "s.db", "--chat")
        self.said(*session, "-p", "Q")
        db = sqlite3.connect(self.folder / "s.db")
        (answered,), (read,) = (db.execute(f"SELECT count(*) FROM {table}").fetchone() for table in ("answer_token", "token"))
        prompt = read - (answered - 1)  # the token that ended it is not read
        for kept in range(answered - 1, -1, -1):
            db.execute("DELETE FROM answer_token WHERE n >= ?", (kept,))
            db.execute("DELETE FROM token WHERE position >= ?", (prompt + kept,))
            db.execute("UPDATE answer SET ending = NULL")
            db.execute("DELETE FROM thought")
            db.commit()
            out = subprocess.run([os.environ["LLMSQL_RUN"], self.db, "--session", self.folder / "s.db", "--continue"],
                                 capture_output=True, check=True).stdout.decode()
            self.assertEqual(out, "<think>\nSo it is.\n</think>\n\nYes, yes.\n")
            self.assertEqual(db.execute("SELECT text FROM thought").fetchall(), [("So it is.",)])
        db.close()


class Tools(Answers):
    # The mark, what the model says, and what kind of token the marks are.
    FORMS = {
        "hermes": (["<tool_call>", '\n{"name": "get", "arguments": ', '{"city": "Paris"}}\n', "</tool_call>"], DEFINED),
        "mistral": (["[TOOL_CALLS]", "get", "[ARGS]", '{"city": "Paris"}'], CONTROL),
        "lfm2": (["<|tool_call_start|>", '[get(city="Paris")]', "<|tool_call_end|>"], CONTROL),
        "deepseek": (["<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "get", "<｜tool▁sep｜>", '{"city": "Paris"}',
                      "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"], CONTROL),
        "gemma": (["<start_function_call>", "call:get{city:", "<escape>", "Paris<esc", "ape>}", "<end_function_call>"],
                  DEFINED),
        "python_tag": (["<|python_tag|>", '{"name": "get", "parameters": {"city": "Paris"}}'], CONTROL),
    }

    def test_calls_become_rows(self):
        for name, (said, kind) in self.FORMS.items():
            with self.subTest(name):
                self.model(said, kind=DEFINED, kinds={piece: kind for piece in said if re.fullmatch(r"<[^ ]+>|\[[A-Z_]+\]", piece)})
                text = self.value("SELECT llm_reply('[]', ?)", json.dumps(GREEDY))
                message = self.value("SELECT llm_reply('[]', ?)", json.dumps(GREEDY | {"message": True}))
                for answer in (text, message):
                    self.assertEqual(self.sql("SELECT name, arguments ->> 'city', error FROM llm_tool_calls(?)", answer),
                                     [("get", "Paris", None)], answer)
                self.assertEqual(json.loads(message)["content"], "")
                self.assertEqual(json.loads(message)["tool_calls"][0]["function"],
                                 {"name": "get", "arguments": {"city": "Paris"}})
                self.assertRegex(json.loads(message)["tool_calls"][0]["id"], r"\A[a-z0-9]{9}\Z")

    def test_gpt_oss(self):
        marks = {mark: CONTROL for mark in ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>")}
        self.model({"<|channel|>": ["commentary", " to=functions.get", "<|message|>", '{"city": "Paris"}', "<|call|>"]},
                   kinds=marks, others=marks,
                   template=CHAT + "{% if add_generation_prompt %}<|start|>assistant<|channel|>{% endif %}")
        message = self.value("SELECT llm_reply('[]', ?)", json.dumps(GREEDY | {"message": True}))
        self.assertEqual(self.sql("SELECT name, arguments FROM llm_tool_calls(?)", message),
                         [("get", '{"city":"Paris"}')])

    def test_what_is_malformed_stays_and_says_so(self):
        self.model(["Look: ", "<tool_call>", '{"name": "get", ', "</tool_call>"])
        message = self.value("SELECT llm_reply('[]', ?)", json.dumps(GREEDY | {"message": True}))
        (name, arguments, error, text), = self.sql("SELECT name, arguments, error, text FROM llm_tool_calls(?)", message)
        self.assertEqual((name, arguments, text), (None, None, '<tool_call>{"name": "get", </tool_call>'))
        self.assertIn("does not come to its end", error)
        self.assertEqual(json.loads(message)["content"], "Look: " + text)

    def test_the_tools_tell_which_arguments_are_texts(self):
        self.model(["<tool_call>", "<function=get><parameter=zip>10115</parameter>", "<parameter=n>2</parameter></function>",
                    "</tool_call>"])
        tools = [{"type": "function", "function": {"name": "get", "parameters": {
            "type": "object", "properties": {"zip": {"type": "string"}, "n": {"type": "integer"}}}}}]
        for tools, expected in ((tools, {"zip": "10115", "n": 2}), ([], {"zip": 10115, "n": 2})):
            conversation = json.dumps({"messages": [], "tools": tools})
            options = json.dumps(GREEDY | {"message": True})
            message = json.loads(self.value("SELECT llm_reply(?, ?)", conversation, options))
            self.assertEqual(message["tool_calls"][0]["function"]["arguments"], expected)
            text = self.value("SELECT llm_reply(?, ?)", conversation, json.dumps(GREEDY))
            (arguments,), = self.sql("SELECT arguments FROM llm_tool_calls(?, ?)", text, conversation)
            self.assertEqual(json.loads(arguments), expected)

    def test_json_that_is_an_answer_is_one(self):
        self.model(['{"name": "get", "parameters": {}}'])
        message = json.loads(self.value("SELECT llm_reply('[]', ?)", json.dumps(GREEDY | {"message": True})))
        self.assertNotIn("tool_calls", message)

    def test_the_loop_of_the_docs(self):
        """docs/tools.md, word for word, with a model that calls, and then tells."""
        self.model({"<|ask|>": ["<tool_call>", '\n{"name": "weather", "arguments": ', '{"city": "Paris"}}\n',
                                "</tool_call>"],
                    "<|tell|>": ["It is ", "sunny."]},
                   template=CHAT + "{% if tools %}{% endif %}{% if messages[-1].role == 'tool' %}<|tell|>"
                                   "{% else %}<|ask|>{% endif %}")
        page = (SOURCE / "docs/tools.md").read_text()
        blocks = re.findall(r"```sql\n(.*?)```", page, re.S)
        self.assertGreaterEqual(len(blocks), 4)
        results = []
        for block in blocks:
            for statement in re.split(r";\s*\n", block):
                if statement.strip():
                    results.append(self.sql(statement))
        self.assertEqual(results[-1], [("It is sunny.",)])
        conversation = self.sql("SELECT message ->> 'role', message ->> 'content' FROM turn ORDER BY id")
        self.assertEqual([role for role, _ in conversation], ["system", "user", "assistant", "tool", "assistant"])
        self.assertEqual(json.loads(conversation[3][1]), {"celsius": 21, "sky": "sunny"})

    def test_arguments_of_the_function(self):
        self.model(["Yes."])
        self.assertEqual(self.sql("SELECT * FROM llm_tool_calls(NULL)"), [])
        self.assertEqual(self.sql("SELECT * FROM llm_tool_calls('plain')"), [])
        deep = '{"role": "assistant", "tool_calls": ' + "[" * 100000
        self.assertEqual(self.sql("SELECT name FROM llm_tool_calls(?)", deep), [])
        with self.assertRaisesRegex(sqlite3.OperationalError, "the answer must be text"):
            self.sql("SELECT * FROM llm_tool_calls(1)")
        openai = json.dumps({"role": "assistant", "tool_calls": [
            {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]})
        self.assertEqual(self.sql("SELECT name, arguments, id FROM llm_tool_calls(?)", openai), [("f", '{"a":1}', "x")])


if __name__ == "__main__":
    extension.main()
