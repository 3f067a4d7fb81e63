#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The SQL chat templates of models/ against the Jinja templates that the models come with: a plan's
chat section, run by the sqlite3 module, must give what jinja2 gave (tests/fixtures/reference)."""

import json
import pathlib
import re
import sqlite3
import tempfile
import tomllib
import unittest

from programs import FIXTURES, SOURCE, compile_model

import chat_templates

# Those that carry one of our own templates of tests/fixtures/chat-templates.
OURS = {"qwen3-0.6b.toml": "qwen3", "qwen3-1.7b.toml": "qwen3", "qwen3-30b-a3b.toml": "qwen3"}
MODELS = {"smollm2-135m.toml": "smollm2", "qwen2.5-coder-0.5b.toml": "qwen2.5-coder-0.5b"}


def section(plan, name):
    """The text of one section of a plan."""
    return re.search(rf"^--@ {name}\b[^\n]*\n(.*?)^--@ ", plan, re.MULTILINE | re.DOTALL)[1]


class ChatTemplates(unittest.TestCase):
    def test_conversations(self):
        for toml, reference in MODELS.items():
            with tempfile.TemporaryDirectory() as folder:
                plan = compile_model(SOURCE / "models" / toml, pathlib.Path(folder) / "plan.sql")
                chat = section(plan.read_text(), "chat")
            recorded = json.loads((FIXTURES / "reference" / f"{reference}.json").read_text())
            for conversation in recorded["chat"]:
                with self.subTest(model=toml, opens=conversation["messages"][0]["role"]):
                    db = sqlite3.connect(":memory:")
                    db.execute("CREATE TABLE message(id INTEGER PRIMARY KEY, role TEXT, content TEXT)")
                    db.executemany("INSERT INTO message(role, content) VALUES (:role, :content)",
                                   conversation["messages"])
                    pieces = [piece for row in db.execute(chat) for piece in row]
                    db.close()
                    self.assertEqual("".join(p or "" for p in pieces), conversation["rendered"])


    def test_models_that_leave_thinking_out(self):
        expected = json.loads((FIXTURES / "chat-templates" / "expected.json").read_text())
        for toml, name in OURS.items():
            query = tomllib.loads((SOURCE / "models" / toml).read_text())["chat"]["template"]
            for messages, want in zip(expected["conversations"], expected["rendered"][name],
                                      strict=True):
                self.assertEqual(chat_templates.by_sql(query, messages), want, (toml, messages))


if __name__ == "__main__":
    unittest.main()
