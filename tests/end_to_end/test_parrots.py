#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Whole answers, marks and all, as models of three kinds write them (parrot.py): thinking and calls of tools are told
apart wherever an answer goes, and the history has of them what the template writes."""

import contextlib
import json
import os
import pathlib
import pty
import select
import sqlite3
import subprocess
import tempfile
import time
import unittest

from programs import TemporaryFolder

import extension
from parrot import CONTROL, DEFINED, Parrot

N = "{{ '\\n' }}"
LAST = ("{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
        "{% endif %}{% endfor %}")
THOUGHT_NOW = "m.role == 'assistant' and m.reasoning_content and loop.index0 > ns.last"


def control(*marks):
    return dict.fromkeys(marks, CONTROL)


def hermes(thought, calls):
    return f"<think>\n{thought}\n</think>\n\n" + "\n".join(
        f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>" for name, arguments in calls)


class Form:
    """How a kind of models writes: a chat template, marks, and answers."""

    def __init__(self, template, marks, end, said, called, keeps=False, parallel=True):
        self.template, self.marks, self.end, self.said, self.called = template, marks, end, said, called
        self.keeps = keeps  # the template writes what was thought before earlier answers, too
        self.parallel = parallel


FORMS = {
    "think": Form(
        LAST + "{% for m in messages %}<|im_start|>{{ m.role }}" + N + "{% if " + THOUGHT_NOW + " %}<think>" + N +
        "{{ m.reasoning_content }}" + N + "</think>" + N + N + "{% endif %}{{ m.content }}{% for c in m.tool_calls %}" + N +
        "<tool_call>" + N + "{{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}" + N + "</tool_call>"
        "{% endfor %}<|im_end|>" + N + "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant" + N +
        "{% if enable_thinking is defined and not enable_thinking %}<think>" + N + N + "</think>" + N + N +
        "{% endif %}{% endif %}",
        control("<|im_end|>", "<|im_start|>") | dict.fromkeys(["<think>", "</think>", "<tool_call>", "</tool_call>"], DEFINED),
        "<|im_end|>", lambda thought, text: f"<think>\n{thought}\n</think>\n\n{text}", hermes),
    "channels": Form(
        LAST + "<|start|>system<|message|>Thinking and its channels. Reasoning: {{ reasoning_effort or 'medium' }}<|end|>"
        "{% for m in messages %}{% if m.role == 'assistant' %}{% if " + THOUGHT_NOW + " %}<|start|>assistant<|channel|>analysis"
        "<|message|>{{ m.reasoning_content }}<|end|>{% endif %}{% for c in m.tool_calls %}<|start|>assistant to=functions."
        "{{ c.function.name }}<|channel|>commentary json<|message|>{{ c.function.arguments | tojson }}<|call|>{% endfor %}"
        "{% if m.content %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|end|>{% endif %}"
        "{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}",
        control("<|return|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|call|>"), "<|return|>",
        lambda thought, text: f"<|channel|>analysis<|message|>{thought}<|end|><|start|>assistant<|channel|>final<|message|>{text}",
        lambda thought, calls: f"<|channel|>analysis<|message|>{thought}<|end|><|start|>assistant<|channel|>commentary "
                               f"to=functions.{calls[0][0]} <|constrain|>json<|message|>{json.dumps(calls[0][1])}<|call|>",
        parallel=False),
    "brackets": Form(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% elif m.role == 'tool' %}"
        "[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]{% else %}{% if m.reasoning_content %}[THINK]{{ m.reasoning_content }}"
        "[/THINK]{% endif %}{{ m.content }}{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[ARGS]"
        "{{ c.function.arguments | tojson }}{% endfor %}{{ eos_token }}{% endif %}{% endfor %}",
        control("</s>", "<s>", "[INST]", "[/INST]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[ARGS]", "[THINK]",
                "[/THINK]"),
        "</s>", lambda thought, text: f"[THINK]{thought}[/THINK]{text}",
        lambda thought, calls: f"[THINK]{thought}[/THINK]" + "".join(
            f"[TOOL_CALLS]{name}[ARGS]{json.dumps(arguments)}" for name, arguments in calls), keeps=True),
}
CALLS = [("weather", {"city": "Z\u00fcrich \"x\"\n", "days": [1, None]}), ("time", {})]
GREEDY = {"temperature": 0, "n_predict": 300}
ASKED = {"role": "user", "content": "Q"}
ANSWERED = {"role": "assistant", "content": "Yes, yes.", "reasoning_content": "So it is."}
# Long enough that no answer lies where another one does.
AGAIN = {"role": "user", "content": "And now something else that takes longer to ask than all that was thought before it?"}


class Parrots(TemporaryFolder):
    def parrot(self, form, *lessons):
        self.made = Parrot(pathlib.Path(tempfile.mkdtemp(dir=self.folder)), form.template, form.marks, form.end)
        self.assertNotIn("note", self.made.imported)
        self.made.teach(*lessons)
        self.connection = extension.connect(self.made.db)
        self.addCleanup(self.connection.close)

    def value(self, sql, *values):
        return self.connection.execute(sql, values).fetchone()[0]

    def reply(self, conversation):
        return json.loads(self.value("SELECT llm_reply(?, ?)", json.dumps(conversation), json.dumps(GREEDY | {"message": True})))

    def conversing(self, form):
        self.parrot(form, ([ASKED], form.said("So it is.", "Yes, yes.")),
                    ([ASKED, ANSWERED, AGAIN], form.said("Or is it?", "No,\n\nno.")))

    def test_thinking_is_told_apart(self):
        for name, form in FORMS.items():
            with self.subTest(name):
                self.conversing(form)
                said = subprocess.run([os.environ["LLMSQL_RUN"], self.made.db, "--chat", "--temp", "0"], capture_output=True,
                                      input=f"Q\n{AGAIN['content']}\n".encode(), check=True).stdout.decode()
                self.assertEqual(said, "<think>\nSo it is.\n</think>\n\nYes, yes.\n<think>\nOr is it?\n</think>\n\nNo,\n\nno.\n")
                rows = self.connection.execute("SELECT piece, thinking FROM llm_stream('Q', ?)",
                                               (json.dumps(GREEDY | {"chat": True}),)).fetchall()
                self.assertEqual("".join(piece for piece, _ in rows), "Yes, yes.")
                self.assertEqual("".join(thinking for _, thinking in rows), "So it is.")
                self.assertEqual(self.reply([ASKED]), ANSWERED)
                file = self.folder / f"{name}.db"
                options = json.dumps(GREEDY | {"sessions": str(file)})
                self.assertEqual(self.value("SELECT llm_chat('a', 'Q', ?)", options), "Yes, yes.")
                self.assertEqual(self.value("SELECT llm_chat('a', ?, ?)", AGAIN["content"], options), "No,\n\nno.")
                with contextlib.closing(sqlite3.connect(file)) as session:
                    self.assertEqual(session.execute("SELECT text FROM thought").fetchall(), [("So it is.",), ("Or is it?",)])
                    read = [token for token, in session.execute("SELECT token FROM token ORDER BY position")]
                # What the model has read the second time.
                text = self.value("SELECT llm_detokenize(?)", json.dumps(read))
                self.assertEqual(text.count("So it is."), form.keeps)
                self.assertEqual(text.count("Or is it?"), 1)

    def test_calls_become_rows_and_their_results_are_read(self):
        for name, form in FORMS.items():
            with self.subTest(name):
                calls = CALLS if form.parallel else CALLS[:1]
                self.parrot(form, ([ASKED], form.called("I ask.", calls)))
                message = self.reply([ASKED])
                self.assertEqual((message["content"], message["reasoning_content"]), ("", "I ask."))
                for answer in (json.dumps(message), self.value("SELECT llm_reply(?, ?)", json.dumps([ASKED]), json.dumps(GREEDY))):
                    rows = self.connection.execute("SELECT name, arguments, error FROM llm_tool_calls(?)", (answer,)).fetchall()
                    self.assertEqual([(name, json.loads(arguments), error) for name, arguments, error in rows],
                                     [(*call, None) for call in calls])
                results = [{"role": "tool", "content": "21 degrees", "name": call["function"]["name"], "tool_call_id": call["id"]}
                           for call in message["tool_calls"]]
                told = [ASKED, message, *results]
                text = self.made.rendered(told)
                for wanted in ("I ask.", "21 degrees", *(call[0] for call in calls)):
                    self.assertIn(wanted, text)
                self.connection.close()
                self.made.teach((told, form.said("It is 21.", "Warm.")))
                self.connection = extension.connect(self.made.db)
                self.assertEqual(self.reply(told), {"role": "assistant", "content": "Warm.", "reasoning_content": "It is 21."})
                self.connection.close()

    def test_calls_that_a_template_leaves_out_stay_in_the_content(self):
        form = FORMS["think"]
        template = form.template.replace("m.tool_calls", "[]")
        called = form.called("I ask.", CALLS)
        for text, kept in ((form.template, False), (template, True)):
            self.parrot(Form(text, form.marks, form.end, form.said, form.called), ([ASKED], called))
            message = self.reply([ASKED])
            self.assertEqual(message["content"], called.split("</think>\n\n")[1] if kept else "")
            self.assertEqual(len(message["tool_calls"]), 2)
            self.assertEqual(self.value("SELECT count(*) FROM llm_tool_calls(?)", json.dumps(message)), 2)
            # Either way the model reads its calls.
            self.assertEqual(self.made.rendered([ASKED, message]).count("<tool_call>"), 2)
            self.connection.close()

    def terminal(self, *lines):
        """What a conversation of these lines shows."""
        process, terminal = pty.fork()
        if process == 0:
            os.environ.update(TERM="xterm", NO_COLOR="")
            os.execv(os.environ["LLMSQL_RUN"], [os.environ["LLMSQL_RUN"], str(self.made.db), "--temp", "0"])
        self.addCleanup(os.close, terminal)
        seen, answered = b"", 0
        deadline = time.monotonic() + 60
        lines = [*lines, "/bye"]
        with contextlib.suppress(OSError):  # its end is shut
            while time.monotonic() < deadline:
                if not select.select([terminal], [], [], 1)[0]:
                    continue
                more = os.read(terminal, 4096)
                if not more:
                    break
                seen += more
                while lines and seen.count(b"\n> ") > answered:
                    os.write(terminal, lines.pop(0).encode() + b"\n")
                    answered = seen.count(b"\n> ")
                    break
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), 0)
        return seen.replace(b"\r", b"").decode()

    def test_a_terminal_shows_it_dim_and_switches_it_off(self):
        for name, form in FORMS.items():
            with self.subTest(name):
                self.conversing(form)
                seen = self.terminal("Q", "/think off", "/think on", "/think maybe")
                self.assertIn("\x1b[2mSo it is.\x1b[22m\n\nYes, yes.\n", seen)
                # A template that only tells of thinking, in its texts, has no switch.
                self.assertEqual(seen.count("has no switch for it"), 0 if name == "think" else 2)
                self.assertEqual(seen.count("--variable reasoning_effort=low has it think less"), 2 if name == "channels" else 0)

    def test_a_switch_changes_what_the_model_reads(self):
        form = FORMS["think"]
        self.parrot(form, ({"messages": [ASKED], "enable_thinking": False}, "Just yes."))
        self.assertIn("> Q\nJust yes.\n", self.terminal("/think off", "Q"))


if __name__ == "__main__":
    extension.main()
