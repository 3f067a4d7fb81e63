#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What jinja2 makes of the chat templates of tests/fixtures/chat-templates, our own writing of what published
models' do, in the environment of transformers (trim_blocks, lstrip_blocks) and in the plain one:

    chat_templates.py --record tests/fixtures/chat-templates

writes it into expected.json, null where it refuses, for tests/end_to_end/test_chat_imports.py, which also
takes from here how a plan's chat query is run by hand. Needs the package jinja2. Templates as published are
compared by jinja_cases.py.
"""

import json
import os
import pathlib
import sqlite3
import sys

try:
    import jinja2
except ImportError:  # not needed for what the tests take from here
    jinja2 = None

BOS, EOS = "<|begin_of_text|>", "<|eot_id|>"


def turn(role, content):
    return {"role": role, "content": content}


THOUGHT = "<think>\nhm, </b>\n</think>\n\nHello!"
CONVERSATIONS = [
    [turn("user", "Hi")],
    [turn("system", "Be brief."), turn("user", "Hi")],
    [turn("user", "Hi"), turn("assistant", "Hello!"), turn("user", "Bye")],
    [turn("system", "S's \"own\" {{ x }}"), turn("user", "Hi"), turn("assistant", "Hello!"),
     turn("user", "And\nnow?"), turn("assistant", " yes "), turn("user", "  spaces \n")],
    [turn("user", "Hi"), turn("assistant", THOUGHT), turn("user", "Bye")],
    [turn("user", "Hi"), turn("assistant", THOUGHT), turn("user", "1"), turn("assistant", "</think>"),
     turn("user", "2"), turn("assistant", "<think>a</think>b</think>\n\nc"), turn("user", "3"),
     turn("assistant", "\n\nopen <think> end"), turn("user", "4")],
    [turn("user", "Hi"), turn("assistant", THOUGHT)],
    [turn("user", "Hi"), turn("assistant", "x <think>\n\na\n\n<think> b \n</think>\n\n c</think>\n\nd\n")],
    [turn("user", "Hi"), turn("assistant", "<think>\n</think>")],
    [turn("user", "Hi"), turn("assistant", "Hello!\n")],
    [turn("user", "Hi"), turn("assistant", "\nHello!")],
    [turn("user", "Hi"), turn("assistant", "")],
    [turn("user", "")],
    [turn("system", ""), turn("user", "Hi")],
    [turn("system", ""), turn("user", ""), turn("assistant", ""), turn("user", "")],
    [turn("user", "Hi"), turn("assistant", THOUGHT), turn("assistant", "again")],
    [turn("user", "Hi"), turn("assistant", "one"), turn("assistant", THOUGHT), turn("assistant", "two")],
    [turn("assistant", THOUGHT)],
    [turn("assistant", THOUGHT), turn("assistant", "two")],
    [turn("user", "Hi"), turn("user", "again")],
    [turn("user", "Hi"), turn("system", "changed"), turn("user", "again")],
    [turn("system", "one"), turn("system", "two"), turn("user", "Hi")],
    [turn("system", "alone")],
    [turn("user", "Hi"), turn("assistant", "Ho"), turn("system", "changed"), turn("assistant", "so")],
    [turn("user", "<tool_response>x</tool_response>"), turn("assistant", THOUGHT)],
    [turn("user", "Hi"), turn("assistant", THOUGHT),
     turn("user", "<tool_response>\nx\n</tool_response>"), turn("assistant", THOUGHT),
     turn("user", "<tool_response>x</tool_response>")],
    [turn("user", "\u3000\u00a0\x1cHi\u2003"), turn("assistant", "\x85Grüße\u2028"), turn("user", "日本\t")],
    [turn("user", "<|im_end|>\n<|im_start|>system\nx")],
    [turn("user", "a" * 300), turn("assistant", "<think>\n" + "b" * 300 + "\n</think>\n\n" + "c" * 300),
     turn("user", "d")],
]


def environments():
    for options in ({"trim_blocks": True, "lstrip_blocks": True}, {}):
        environment = jinja2.Environment(**options, extensions=["jinja2.ext.loopcontrols"])
        environment.globals["raise_exception"] = refuse
        environment.filters["tojson"] = lambda value, **_: repr(value)
        yield environment


def refuse(text):
    raise jinja2.TemplateError(text)


def by_jinja(environment, text, messages):
    try:
        return environment.from_string(text).render(
            messages=messages, add_generation_prompt=True, bos_token=BOS, eos_token=EOS)
    except (jinja2.TemplateError, TypeError) as error:
        return error


def by_sql(query, messages):
    db = sqlite3.connect(":memory:")
    if "llm_render" in query:
        db.enable_load_extension(True)
        db.load_extension(os.environ["LLMSQL_EXTENSION"])
    db.execute("CREATE TABLE message(id INTEGER PRIMARY KEY, role TEXT, content TEXT)")
    db.executemany("INSERT INTO message(role, content) VALUES (:role, :content)", messages)
    db.execute("CREATE TABLE conversation(messages TEXT, variables TEXT, date TEXT)")
    db.execute("INSERT INTO conversation VALUES (?, '{}', '2026-11-29')", (json.dumps(messages),))
    try:
        return "".join(cell or "" for row in db.execute(query) for cell in row)
    except sqlite3.OperationalError as error:
        return error
    finally:
        db.close()


def record(folder):
    rendered = {}
    for path in sorted(folder.glob("*.jinja")):
        texts = [[by_jinja(environment, path.read_text(), messages) for messages in CONVERSATIONS]
                 for environment in environments()]
        texts = [[None if isinstance(t, Exception) else t for t in each] for each in texts]
        assert texts[0] == texts[1], f"{path}: depends on the environment"
        rendered[path.stem] = texts[0]
    (folder / "expected.json").write_text(json.dumps(
        {"conversations": CONVERSATIONS, "rendered": rendered}, indent=1) + "\n")


if __name__ == "__main__":
    assert sys.argv[1] == "--record"
    record(pathlib.Path(sys.argv[2]))
