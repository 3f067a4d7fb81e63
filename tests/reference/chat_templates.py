#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Which of the chat templates in a folder llmsql-import takes, and whether what it takes gives what
Jinja gives: *.jinja, each put into a tiny GGUF, imported, its query run by the sqlite3 module over
conversations and compared with jinja2's text, in the environment of transformers (trim_blocks,
lstrip_blocks) and in the plain one. Those that aren't taken are listed with the fingerprint under
which importer/chat.cpp would know them.

    chat_templates.py FOLDER IMPORT [--all]
    chat_templates.py --record tests/fixtures/chat-templates

Needs the packages jinja2 and numpy; IMPORT is llmsql-import. Exit status 1 if a text differs. The
folder is the user's: templates of published models are theirs, and are not kept here. llama.cpp has
a collection, models/templates. --record writes what jinja2 makes of our own into expected.json,
null where it refuses, for tests/end_to_end/test_chat_imports.py.
"""

import json
import pathlib
import re
import sqlite3
import subprocess
import sys
import tempfile
import tomllib

try:
    import jinja2
except ImportError:  # not needed for what the tests take from here
    jinja2 = None

import tiny_models

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
    db.execute("CREATE TABLE message(id INTEGER PRIMARY KEY, role TEXT, content TEXT)")
    db.executemany("INSERT INTO message(role, content) VALUES (:role, :content)", messages)
    try:
        return "".join(cell or "" for row in db.execute(query) for cell in row)
    except sqlite3.OperationalError as error:
        return error
    finally:
        db.close()


def write_gguf(path, text):
    """A model with the template, whose bos and eos are BOS and EOS."""
    metadata = tiny_models.gguf_metadata("llama3-tied")
    tokens = [EOS, BOS, *metadata["tokenizer.ggml.tokens"][2:]]
    return tiny_models.write_gguf("llama3-tied", path, metadata={
        "tokenizer.ggml.tokens": tokens, "tokenizer.chat_template": text})


def imported(gguf, program, folder):
    """The query, if the template was taken, and the notes."""
    toml = folder / "m.toml"
    done = subprocess.run([program, gguf, "-o", folder / "m.db", "--write-model", toml],
                          capture_output=True, text=True, check=True)
    return tomllib.loads(toml.read_text())["chat"].get("template"), done.stderr


def differences(text, query):
    """(conversation, Jinja's text, the query's) where they differ; a conversation that Jinja refuses
    must be refused."""
    for environment in environments():
        for messages in CONVERSATIONS:
            want, got = by_jinja(environment, text, messages), by_sql(query, messages)
            if isinstance(want, Exception) and isinstance(got, Exception):
                continue
            if want != got:
                yield messages, want, got


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


def main():
    if sys.argv[1] == "--record":
        return record(pathlib.Path(sys.argv[2]))
    templates, program = pathlib.Path(sys.argv[1]), sys.argv[2]
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for path in sorted(templates.glob("*.jinja")):
            text = path.read_bytes().decode()
            query, said = imported(write_gguf(folder / "m.gguf", text), program, folder)
            if not query:
                fingerprint = re.search(r"fingerprint (\w+)", said)
                print(f"{path.name}: not taken ({fingerprint[1] if fingerprint else said})")
                continue
            found = list(differences(text, query))
            wrong += len(found)
            print(f"{path.name}: taken, {len(found)} differ")
            for messages, want, got in found if "--all" in sys.argv else found[:1]:
                print(f"  {messages}\n  Jinja: {want!r}\n  SQL:   {got!r}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
