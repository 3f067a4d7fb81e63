#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares jinja/ with Python's jinja2, set up as transformers 5 sets it up for chat templates.

    jinja_cases.py --record tests/fixtures/jinja     what jinja2 makes of the snippets below, and of the
                                                     templates of tests/fixtures/chat-templates over the
                                                     conversations below (as hashes)
    jinja_cases.py --compare PROGRAM FOLDER…         renders every *.jinja of the folders with both
    jinja_cases.py --fuzz PROGRAM COUNT [SEED]       the same of templates made at random

PROGRAM is jinja_lines (tests/jinja). Needs jinja2 and transformers. The folders are the user's: published
templates are not kept here. llama.cpp has a collection, models/templates. Exit status 1 if something
differs; what one of both refuses and the other doesn't, differs.
"""

import copy
import datetime
import hashlib
import json
import pathlib
import random
import resource
import subprocess
import sys
import warnings

warnings.simplefilter("ignore")
NOW = datetime.datetime(2026, 11, 29, 8, 30, 5)
BOS, EOS = "<|begin_of_text|>", "<|eot_id|>"


# ---- conversations

def turn(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, id=None, type="function"):
    made = {"type": type, "function": {"name": name, "arguments": arguments}}
    return made | ({"id": id} if id else {})


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Tells the weather of a place.\nNow.", "parameters": {
        "type": "object", "required": ["place"], "properties": {
            "place": {"type": "string", "description": "A \"place\", <b>any</b>"},
            "days": {"type": "integer", "description": "How many", "default": 1},
            "unit": {"type": "string", "enum": ["C", "F"], "nullable": True},
            "more": {"type": "array", "items": {"type": "string"}},
            "deep": {"type": "object", "properties": {"x": {"type": ["number", "null"]}}}}},
    "return": {"type": "string"}}}
TIME = {"type": "function", "function": {"name": "get_time", "description": "Uhrzeit für Zürich 日本",
                                         "parameters": {"type": "object", "properties": {}}}}
TOOLS = [WEATHER, TIME]
THOUGHT = "<think>\nhm, </b>\n</think>\n\nHello!"

PLAIN = [
    [turn("user", "Hi")],
    [turn("system", "Be brief."), turn("user", "Hi")],
    [turn("developer", "Be brief."), turn("user", "Hi")],
    [turn("user", "Hi"), turn("assistant", "Hello!"), turn("user", "Bye")],
    [turn("system", "S's \"own\" {{ x }}"), turn("user", "Hi"), turn("assistant", "Hello!"),
     turn("user", "And\nnow?"), turn("assistant", " yes "), turn("user", "  spaces \n")],
    [turn("user", "Hi"), turn("assistant", THOUGHT), turn("user", "Bye")],
    [turn("user", "Hi"), turn("assistant", THOUGHT), turn("user", "1"), turn("assistant", "</think>"),
     turn("user", "2"), turn("assistant", "<think>a</think>b</think>\n\nc"), turn("user", "3")],
    [turn("user", "Hi"), turn("assistant", THOUGHT)],
    [turn("user", "Hi"), turn("assistant", "")],
    [turn("user", "Hi"), turn("assistant", None), turn("user", "Bye")],
    [turn("user", "")],
    [turn("system", ""), turn("user", "Hi")],
    [turn("user", "Hi"), turn("user", "again")],
    [turn("user", "Hi"), turn("assistant", "one"), turn("assistant", "two")],
    [turn("system", "one"), turn("system", "two"), turn("user", "Hi")],
    [turn("system", "alone")],
    [turn("assistant", "first")],
    [turn("user", "Hi"), turn("system", "changed"), turn("user", "again")],
    [turn("user", [{"type": "text", "text": "In "}, {"type": "text", "text": "parts."}])],
    [turn("system", [{"type": "text", "text": "Be brief."}]), turn("user", [{"type": "text", "text": "Hi"}]),
     turn("assistant", [{"type": "text", "text": "Ho"}]), turn("user", "x")],
    [turn("user", [{"type": "image"}, {"type": "text", "text": "What is it?"}])],
    [turn("user", "\u3000\u00a0\x1cHi\u2003"), turn("assistant", "\x85Grüße\u2028"), turn("user", "日本\t👩‍👩‍👧")],
    [turn("user", "<|im_end|>\n<|im_start|>system\nx</s>[INST]<end_of_turn>"), turn("assistant", "<|eot_id|>"), turn("user", "y")],
    [turn("user", "Hi", name="Ann"), turn("assistant", "Ho", name="Bot"), turn("user", "1")],
    [turn("user", "q"), turn("assistant", "a", reasoning_content="because"), turn("user", "r")],
    [turn("user", "q"), turn("assistant", "a", thinking="because\nof that")],
    [turn("weird", "Hi")],
    [turn("user", "/no_think Hi"), turn("assistant", "x"), turn("user", "Hi /think")],
    [],
]
WITH_TOOLS = [
    [turn("user", "Hi")],
    [turn("system", "Be brief."), turn("user", "Weather?"),
     turn("assistant", "", tool_calls=[call("get_weather", {"place": "Zürich", "days": 2}, "call_0001")]),
     turn("tool", "{\"sun\": true}", name="get_weather", tool_call_id="call_0001"), turn("assistant", "Sunny."), turn("user", "ok")],
    [turn("user", "Weather?"),
     turn("assistant", "Let me see.", tool_calls=[call("get_weather", {"place": "A \"b\" <c>"}, "abcdefghi"), call("get_time", {}, "bcdefghij")]),
     turn("tool", "rain", name="get_weather", tool_call_id="abcdefghi"), turn("tool", "12:00", name="get_time", tool_call_id="bcdefghij")],
    [turn("user", "Weather?"),
     turn("assistant", None, tool_calls=[call("get_weather", json.dumps({"place": "x"}), "123456789")]),
     turn("tool", "rain", name="get_weather", tool_call_id="123456789")],
    [turn("user", "Weather?"), turn("assistant", "", reasoning_content="I must ask.", tool_calls=[call("get_weather", {"place": "x", "n": None, "f": 1.5, "l": [1, "2", True], "e": {}}, "123456789")]),
     turn("tool", [{"type": "text", "text": "rain"}], name="get_weather", tool_call_id="123456789"),
     turn("assistant", "It rains.", reasoning_content="Told."), turn("user", "Thanks")],
]
VARIABLES = [{}, {"enable_thinking": False}, {"enable_thinking": True, "reasoning_effort": "high"}]


def cases():
    """(messages, tools, variables) of every kind."""
    for messages in PLAIN:
        for ask in (True, False):
            yield messages, None, {"add_generation_prompt": ask}
    for messages in PLAIN[:8] + PLAIN[20:25]:
        for more in VARIABLES[1:]:
            yield messages, None, {"add_generation_prompt": True, **more}
    for messages in WITH_TOOLS:
        for more in VARIABLES:
            yield messages, TOOLS, {"add_generation_prompt": True, **more}
        yield messages, TOOLS, {"add_generation_prompt": False}
        yield messages, None, {"add_generation_prompt": True}
    yield PLAIN[0], [], {"add_generation_prompt": True}
    yield PLAIN[0], None, {"add_generation_prompt": True, "documents": [{"title": "T", "text": "x"}]}


def variables_of(messages, tools, more):
    """What apply_chat_template hands to a template."""
    chat = []
    for message in messages:
        message = {key: value for key, value in message.items() if value is not None or key == "content"}
        thought = next((message[key] for key in ("reasoning_content", "thinking", "reasoning") if key in message), None)
        if thought is not None:
            message = {"thinking": thought, **message, "reasoning_content": thought}
        chat.append(message)
    return {"bos_token": BOS, "eos_token": EOS, "messages": chat, "tools": tools, "documents": None, **more}


# ---- both

def by_jinja(template, variables):
    """(text, None) or (None, error)."""
    from transformers.utils import chat_template_utils

    class Frozen(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return NOW

    chat_template_utils.datetime = Frozen
    try:
        made = chat_template_utils._cached_compile_jinja_template(template).render(**copy.deepcopy(variables))
        made.encode()
        return made, None
    except Exception as error:  # whatever jinja2 and Python raise
        return None, f"{type(error).__name__}: {error}"


class Ours:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, template, variables, **more):
        line = json.dumps({"template": template, "variables": variables, "now": NOW.isoformat(), **more})
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the program has died of {line}")
        answer = json.loads(answer)
        return answer.get("text"), answer.get("error")


def compare(program, folders):
    ours, wrong, equal, refused = Ours(program), 0, 0, 0
    paths = sorted(path for folder in folders for path in pathlib.Path(folder).glob("*.jinja"))
    for path in paths:
        template, found = path.read_bytes().decode(), []
        for messages, tools, more in cases():
            variables = variables_of(messages, tools, more)
            want, got = by_jinja(template, variables), ours(template, variables)
            if want[0] == got[0]:
                equal += 1
                refused += want[0] is None
            else:
                found.append((variables, want, got))
        wrong += len(found)
        if found:
            print(f"{path.name}: {len(found)} differ")
            variables, want, got = found[0]
            print(f"  {json.dumps(variables, ensure_ascii=False)[:600]}\n  jinja2: {want}\n  ours:   {got}"[:3000])
    print(f"{len(paths)} templates: {equal} the same ({refused} refused by both), {wrong} differ")
    return wrong


# ---- snippets

SNIPPET_VARIABLES = {
    "n": 5, "f": 2.5, "s": "Hello World", "u": "Grüße, straße ΑΣ", "e": "", "t": True, "z": None,
    "l": [3, 1, 2], "w": ["b", "A", "c", "B"], "d": {"b": 1, "a": 2, "C": 3}, "html": "<a href='x'>\"&\"</a>",
    "m": [{"role": "user", "content": "x", "n": 2}, {"role": "assistant", "content": "y", "n": 1},
          {"role": "user", "content": "z"}],
    "nested": {"a": {"b": [1, {"c": "deep"}]}, "items": "mine", "x-y": 1}, "big": 9007199254740993,
    "floats": [0.1, 1e16, 1e-5, 123456789.123, 1.0, -0.0], "text": "one two  three\nfour\tfive\r\nsix",
}
REFUSED = "!refused here!"
SNIPPETS = pathlib.Path(__file__).with_name("jinja_snippets.txt")


def snippets():
    """Parted by lines of ====; what begins with REFUSED is refused here, whatever jinja2 makes of it."""
    return [part for part in SNIPPETS.read_bytes().decode().split("\n====\n")]


def record(folder):
    folder = pathlib.Path(folder)
    made = []
    for snippet in snippets():
        text, error = by_jinja(snippet, SNIPPET_VARIABLES)
        if snippet.startswith(REFUSED):
            snippet, text, error = snippet.removeprefix(REFUSED), None, "refused here"
        made.append([snippet, text] if error is None else [snippet, None, error])
    lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in made)
    (folder / "snippets.json").write_text(
        "{\"variables\": " + json.dumps(SNIPPET_VARIABLES, ensure_ascii=False) + ",\n\"snippets\": [\n" + lines + "\n]}\n")
    templates = pathlib.Path(__file__).parent.parent / "fixtures" / "chat-templates"
    rendered = {}
    for path in sorted(templates.glob("*.jinja")):
        texts = [by_jinja(path.read_bytes().decode(), variables_of(*case))[0] for case in cases()]
        rendered[path.stem] = [None if text is None else hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts]
    all_variables = [variables_of(*case) for case in cases()]
    (folder / "templates.json").write_text(
        "{\"variables\": [\n" + ",\n".join(json.dumps(each, ensure_ascii=False) for each in all_variables) +
        "\n],\n\"rendered\": {\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in rendered.items()) + "\n}}\n")


# ---- templates at random

class Maker:
    """Templates of what templates are made of; most are right, some are not."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.names = list(SNIPPET_VARIABLES) + ["missing"]

    def pick(self, *of):
        return self.random.choice(of)

    def few(self, make, most=3, least=0):
        return [make() for _ in range(self.random.randint(least, most))]

    def constant(self):
        return self.pick("0", "1", "2", "-1", "10", "3.5", "1e3", "true", "false", "none", "'a'", "'Ab c'", "''", "'é'",
                         "', '", "'\\n'", "'%s-%s'", "'{} {x}'", "[]", "{}", "[1, 2, 3]", "['x', 'y']", "{'k': 'v', 'a': 1}",
                         "(1, 2)", "()", "'0x1f'", "' 12 '", "'1.5'", "'user'", "'b'", "range(4)")

    def expression(self, depth=3):
        if depth <= 0:
            return self.pick(self.constant(), self.random.choice(self.names), self.random.choice(self.names))
        e = lambda: self.expression(depth - 1)  # noqa: E731
        kind = self.random.randint(0, 21)
        if kind <= 2:
            return self.expression(0)
        if kind == 3:
            return f"{e()} {self.pick('+', '-', '*', '/', '//', '%', '~', '~', '+')} {e()}"
        if kind == 4:
            return f"({e()})"
        if kind == 5:
            return f"{e()} {self.pick('==', '!=', '<', '>', '<=', '>=', 'in', 'not in')} {e()}"
        if kind == 6:
            return f"{e()} {self.pick('and', 'or')} {e()}"
        if kind == 7:
            return f"{self.pick('not', '-', '+', 'not')} {e()}"
        if kind == 8:
            return f"{e()} if {e()}" + (f" else {e()}" if self.random.random() < 0.8 else "")
        if kind == 9:
            return f"({e()}).{self.pick('role', 'content', 'a', 'items', 'n', 'x', 'real')}"
        if kind == 10:
            return f"({e()})[{self.pick('0', '-1', '1', chr(39) + 'a' + chr(39), chr(39) + 'content' + chr(39), e())}]"
        if kind == 11:
            bound = lambda: self.pick("", "", "0", "1", "-1", "2", "-2", "n")  # noqa: E731
            return f"({e()})[{bound()}:{bound()}{self.pick('', ':', ':-1', ':2', ':' + bound())}]"
        if kind in (12, 13, 14):
            return f"{self.pick(e(), '(' + e() + ')')} | {self.filter(depth - 1)}"
        if kind == 15:
            return f"{e()} is {self.pick('', 'not ')}{self.test(depth - 1)}"
        if kind in (16, 17):
            return f"({self.pick('s', 'u', 'text', 'w[0]', e())}).{self.method(depth - 1)}"
        if kind == 18:
            return "[" + ", ".join(self.few(e)) + "]"
        if kind == 19:
            return "{" + ", ".join(f"{self.pick(chr(39) + 'a' + chr(39), chr(39) + 'k' + chr(39), '1', e())}: {e()}" for _ in range(self.random.randint(0, 2))) + "}"
        if kind == 20:
            return self.pick(f"range({e()})", f"range({e()}, {e()})", f"dict(a={e()})", f"namespace(x={e()}).x",
                             f"cycler({e()}, {e()}).next()", f"dict({e()})", f"mac({e()})", f"mac({e()}, b={e()})", f"joiner({e()})()")
        return f"({self.pick('d', 'nested', 'm[0]', e())}).{self.pick('items()', 'keys()', 'values()', 'get(' + e() + ')', 'get(' + e() + ', ' + e() + ')', 'copy()')}"

    def arguments(self, *kinds):
        return "(" + ", ".join(kinds) + ")" if kinds else ""

    def filter(self, depth):
        e = lambda: self.expression(depth - 1)  # noqa: E731
        return self.pick(
            "abs", f"attr({self.pick(chr(39) + 'a' + chr(39), e())})", f"batch({e()})|list", f"batch(2, {e()})|list", "capitalize",
            f"center({self.pick('20', e())})", f"default({e()})", f"default({e()}, true)", "d", "dictsort",
            f"dictsort({self.pick('true', 'by=' + chr(39) + 'value' + chr(39), 'reverse=true')})", "escape", "e", "filesizeformat", "first", "float", f"float({e()})",
            f"format({e()})", f"format({e()}, {e()})", "forceescape", f"groupby({self.pick(chr(39) + 'role' + chr(39), '0')})|map('list')|list|string",
            f"groupby('role')|map('first')|list", "indent", f"indent({self.pick('2', 'first=true', chr(39) + '> ' + chr(39), '2, true, true')})", "int", f"int({e()})", f"int(0, {self.pick('16', '2', '0')})",
            "items|list", "join", f"join({e()})", f"join(',', attribute={self.pick(chr(39) + 'role' + chr(39), '0')})", "last", "length", "count", "list", "lower",
            f"map('{self.pick('upper', 'length', 'string', 'int', 'first', 'tojson')}')|list", f"map(attribute='{self.pick('role', 'n', 'a.b', '0')}')|list", f"map(attribute='n', default={e()})|list",
            f"map('default', {e()})|list", "max", "min", f"max(attribute='{self.pick('role', 'n')}')", f"reject('{self.pick('odd', 'string', 'none', 'defined')}')|list", "select|list",
            f"select('{self.pick('odd', 'string', 'number', 'mapping')}')|list", f"selectattr('{self.pick('n', 'role')}')|list", f"selectattr('role', 'equalto', {self.pick(chr(39) + 'user' + chr(39), e())})|list",
            f"rejectattr('role', '{self.pick('eq', 'in', '==')}', {e()})|list", f"replace({e()}, {e()})", f"replace('l', 'L', {self.pick('1', '2', e())})", "reverse|list", "reverse", "round",
            f"round({self.pick('1', '2', '-1', '0, ' + chr(39) + 'ceil' + chr(39), '1, ' + chr(39) + 'floor' + chr(39))})", "safe", f"slice({self.pick('2', '3', e())})|list", "sort", f"sort({self.pick('true', 'case_sensitive=true', 'attribute=' + chr(39) + 'role' + chr(39), 'attribute=' + chr(39) + 'role,content' + chr(39))})", "string",
            "sum", f"sum(start={e()})", f"sum(attribute='n', start={e()})", "title", "tojson", f"tojson(indent={self.pick('2', '0', 'none', e())})", "tojson(sort_keys=true)", "tojson(ensure_ascii=true)", "tojson(separators=(',', ':'))",
            "trim", f"trim({e()})", f"truncate({self.pick('5', '5, true', '8, false, ' + chr(39) + '..' + chr(39), '5, true, ' + chr(39) + chr(39) + ', 0')})", "unique|list", "upper", "urlencode", "wordcount", "xmlattr", "nosuch", "length()", "join(',')|upper")

    def test(self, depth):
        e = lambda: self.expression(depth - 1)  # noqa: E731
        return self.pick("defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping", "sequence", "iterable",
                         "callable", "odd", "even", f"divisibleby({e()})", "divisibleby 2", "lower", "upper", f"eq({e()})", f"ne {self.constant()}", f"lt({e()})", f"ge({e()})",
                         f"in({e()})", f"sameas({self.pick('true', 'none', 'false')})", "escaped", "filter", "test", f"equalto({e()})", "nosuch", f"greaterthan {self.constant()}")

    def method(self, depth):
        e = lambda: self.expression(depth - 1)  # noqa: E731
        return self.pick("upper()", "lower()", "title()", "capitalize()", "swapcase()", "casefold()", "strip()", f"strip({e()})", "lstrip()", "rstrip()", f"lstrip({self.constant()})", f"rstrip({self.constant()})",
                         "split()", f"split({e()})", f"split({self.constant()}, 1)", f"rsplit({self.constant()}, 1)", "split(none, 1)", "rsplit(none, 1)", f"startswith({e()})", f"endswith({e()})", "startswith(('H', 'G'))", f"replace({e()}, {e()})",
                         f"replace({self.constant()}, 'X', 1)", f"find({e()})", f"rfind({e()})", f"count({e()})", f"index({e()})", f"join({e()})", "splitlines()", "splitlines(true)", f"partition({e()})", f"rpartition({self.constant()})",
                         "isdigit()", "isalpha()", "isupper()", "islower()", "isspace()", "isalnum()", "istitle()", f"center({self.pick('15', e())})", "center(9, '*')", "ljust(14, '.')", f"rjust({self.pick('14', e())})", f"zfill({self.pick('8', e())})",
                         f"format({e()})", f"format({e()}, x={e()})", f"removeprefix({e()})", f"removesuffix({self.constant()})", "expandtabs()", "expandtabs(3)", "isidentifier()", "isascii()", "isnumeric()", "encode", "nosuch()", "append(1)", "pop()")

    def space(self):
        return self.pick("", "", "", " ", "\n", "\n  ", "  \n", "a", " b ", "\n\n", "é\n", "\t")

    def tag(self, content):
        return "{%" + self.pick("", "", "", "-", "+") + " " + content + " " + self.pick("", "", "", "-", "+") + "%}"

    def body(self, depth):
        return "".join(self.space() + self.statement(depth) for _ in range(self.random.randint(1, 3))) + self.space()

    def target(self):
        return self.pick("x", "x", "y", "n", "s", "a, b", "ns.x", "loop_value", "x, ns.y", "missing")

    def statement(self, depth=3):
        e = lambda: self.expression(self.random.randint(0, 3))  # noqa: E731
        kind = self.random.randint(0, 19 if depth > 0 else 8)
        if kind <= 5:
            return "{{" + self.pick("", "", "-") + " " + self.pick(e(), e(), self.pick("x", "y", "n", "ns.x", "loop.index", "i", "a")) + " " + self.pick("", "", "-") + "}}"
        if kind == 6:
            return self.tag(f"set {self.target()} = {e()}")
        if kind == 7:
            return "{#" + self.pick("", "-") + " c " + self.pick("", "-") + "#}"
        if kind == 8:
            return self.pick(self.space(), "{{ mac(1) }}", "{{ ns }}", "{% print 1, 'a' %}", "{{ x }}", "{{ caller }}")
        b = lambda: self.body(depth - 1)  # noqa: E731
        if kind in (9, 10, 11):
            middle = "".join(self.tag(f"elif {e()}") + b() for _ in range(self.random.randint(0, 1)))
            if self.random.random() < 0.5:
                middle += self.tag("else") + b()
            return self.tag(f"if {e()}") + b() + middle + self.tag("endif")
        if kind in (12, 13, 14):
            over = self.pick("l", "w", "m", "range(3)", "d", "d.items()", "nested", "s", "m | selectattr('n')", "missing", e())
            loop_body = b() + self.pick("", "{{ loop.index }}", "{{ loop.last }}{{ loop.first }}", "{{ loop.revindex }}/{{ loop.length }}", "{{ loop.previtem }}|{{ loop.nextitem }}",
                                        "{{ loop.cycle('a', 'b') }}", "{{ loop.changed(i) }}", "{% if loop.index == 2 %}{% break %}{% endif %}", "{% if loop.first %}{% continue %}{% endif %}", "{{ loop.depth }}")
            otherwise = self.tag("else") + b() if self.random.random() < 0.3 else ""
            recursive = ""
            if self.random.random() < 0.1:
                recursive, loop_body = " recursive", loop_body + "{% if loop.depth < 3 %}{{ loop([1, 2]) }}{% endif %}"
            test = f" if {e()}" if self.random.random() < 0.3 else ""
            return self.tag(f"for {self.pick('i', 'i', 'x', 'k, v', 'n')} in {over}{test}{recursive}") + loop_body + otherwise + self.tag("endfor")
        if kind == 15:
            return (self.tag(f"macro {self.pick('mac', 'mac', 'other')}({self.pick('a', 'a, b=1', 'a=n, b=a', '', 'x, y=none')})") + b() +
                    self.pick("", "{{ caller() }}", "{{ varargs }}{{ kwargs }}", "{{ a }}{{ b }}") + self.tag("endmacro"))
        if kind == 16:
            return self.tag(self.pick("call mac(1)", "call(q) mac(2)", "call other()")) + b() + self.tag("endcall")
        if kind == 17:
            return self.tag(f"set {self.pick('x', 'y', 'n')}{self.pick('', ' | upper', ' | trim')}") + b() + self.tag("endset")
        if kind == 18:
            return self.pick(self.tag(f"filter {self.pick('upper', 'trim', 'indent(2)', 'replace(' + chr(39) + 'a' + chr(39) + ', ' + chr(39) + 'b' + chr(39) + ') | trim')}") + b() + self.tag("endfilter"),
                             self.tag(f"with {self.pick('x', 'q', 'n')} = {e()}") + b() + self.tag("endwith"),
                             "{% raw %} {{ x }} {% endraw %}")
        return self.tag("generation") + b() + self.tag("endgeneration")

    def template(self):
        start = self.pick("", "{% set ns = namespace(x=1, y=2) %}", "{%- set ns = namespace(x='a') -%}\n", "{% set ns = namespace() %}{% macro mac(a, b=2) %}<{{ a }},{{ b }}>{% endmacro %}")
        if self.random.random() < 0.5:
            return start + "{{ " + self.expression(self.random.randint(1, 4)) + " }}"
        return start + self.body(2)


def unlike_by_nature(want, got):
    """What is refused here though jinja2 takes it: texts that differ from run to run in Python, and what
    jinja/ says it does not support."""
    if got[1] is None:
        return want[0] is not None and " object at 0x" in want[0]
    return any(said in got[1] for said in ("differ from run to run", "not supported", "64 bits", "would be escaped", "too deeply",
                                          "cannot be sliced"))  # of a constant: '' there, at compile time


def fuzz(program, count, seed):
    # A template made at random may ask for any number of characters: beyond this, jinja2 refuses too.
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    ours, differ, same, refused, skipped = Ours(program), 0, 0, 0, 0
    for i in range(count):
        template = Maker(seed * 1_000_000 + i).template()
        got = ours(template, SNIPPET_VARIABLES)
        want = by_jinja(template, SNIPPET_VARIABLES)
        if want[0] == got[0]:
            same += 1
            refused += want[0] is None
        elif unlike_by_nature(want, got):
            skipped += 1
        else:
            differ += 1
            if differ <= 40:
                print(f"{i}: {template!r}\n  jinja2: {want}\n  ours:   {got}")
    print(f"{count} templates: {same} the same ({refused} refused by both), {skipped} refused here alone, {differ} differ")
    return differ


def main():
    if sys.argv[1] == "--record":
        return record(sys.argv[2])
    if sys.argv[1] == "--compare":
        sys.exit(1 if compare(sys.argv[2], sys.argv[3:]) else 0)
    sys.exit(1 if fuzz(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 1) else 0)


if __name__ == "__main__":
    main()
