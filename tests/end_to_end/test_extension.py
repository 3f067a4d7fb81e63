#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""libllmsql in SQLite's clients: what its functions give, what they refuse, how they end."""

import json
import math
import os
import pathlib
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time
import unittest

import numpy as np

from extension import (LIBRARY, SANITIZED, connect, environment, interrupting, main, shell, tiny,
                       value)
from programs import SOURCE, compile_model, folder_of, logits, run

GREEDY = {"temperature": 0, "n_predict": 12}
SAMPLED = {"temperature": 2, "top_k": 0, "top_p": 1, "min_p": 0, "seed": 7, "n_predict": 12}
PROMPTS = ["The river", "A", "Once upon a time there was a hill and a river, and " * 2, "one two",
           "hill", "zzz", "The  hill", "to be", "x = 1", "seven", "The river flows", "end"]


class WithModel(unittest.TestCase):
    """A tiny model with a plan installed, once a class."""

    @classmethod
    def setUpClass(cls):
        cls.folder = folder_of(cls)
        cls.model = tiny(cls.folder)


class Extension(WithModel):
    def setUp(self):
        self.db = connect(self.model)
        self.addCleanup(self.db.close)

    def generate(self, prompt, options, db=None):
        return value(db or self.db, "SELECT llm_generate(?, ?)", prompt, json.dumps(options))

    def refused(self, sql, *arguments):
        with self.assertRaises(sqlite3.OperationalError) as caught:
            self.db.execute(sql, arguments).fetchall()
        return str(caught.exception)

    def by_command_line(self, prompt, *options):
        out = run("LLMSQL_RUN", self.model, "-p", prompt, *options).stdout.decode()
        return out[len(prompt):].removesuffix("\n")

    def test_generates_what_the_command_line_does(self):
        for prompt in PROMPTS:
            with self.subTest(prompt=prompt):
                self.assertEqual(self.generate(prompt, GREEDY).removesuffix("\n"),
                                 self.by_command_line(prompt, "--temp", 0, "-n", 12))
        self.assertEqual(self.generate("The river", SAMPLED).removesuffix("\n"),
                         self.by_command_line("The river", "--temp", 2, "--top-k", 0, "--top-p", 1,
                                              "--min-p", 0, "--seed", 7, "-n", 12))

    def test_stream_is_the_same_text_with_its_probabilities(self):
        for options in (GREEDY, SAMPLED, dict(GREEDY, stop=["e"])):
            rows = self.db.execute("SELECT token, piece, logprob FROM llm_stream(?, ?)",
                                   ("The river", json.dumps(options))).fetchall()
            self.assertEqual("".join(piece for _, piece, _ in rows),
                             self.generate("The river", options))
            tokens = json.loads(value(self.db, "SELECT llm_tokenize('The river')"))
            plan = compile_model(self.model.with_suffix(".toml"), self.folder / "p.sql")
            for token, _, logprob in rows:
                if token is None:
                    continue
                row = logits(plan, self.model, tokens, self.folder)[-1].astype(np.float64)
                expected = row[token] - np.log(np.sum(np.exp(row - row.max()))) - row.max()
                self.assertAlmostEqual(logprob, expected, places=4)
                tokens.append(token)

    def test_streams_and_calls_do_not_disturb_each_other(self):
        alone = {prompt: self.generate(prompt, GREEDY) for prompt in PROMPTS[:2]}
        a = self.db.execute("SELECT piece FROM llm_stream(?, ?)", (PROMPTS[0], json.dumps(GREEDY)))
        b = self.db.execute("SELECT piece FROM llm_stream(?, ?)", (PROMPTS[1], json.dumps(GREEDY)))
        texts = ["", ""]
        for x, y in zip(a, b):
            texts[0] += x[0]
            texts[1] += y[0]
            self.generate("something else", dict(GREEDY, n_predict=1))
        self.assertEqual(texts, [alone[PROMPTS[0]], alone[PROMPTS[1]]])

    def test_batch_gives_the_answers_of_one_at_a_time(self):
        self.db.execute("CREATE TEMP TABLE question(id, text)")
        self.db.executemany("INSERT INTO question VALUES (?, ?)", enumerate(PROMPTS))
        for options in (GREEDY, SAMPLED, dict(GREEDY, stop="e"), dict(GREEDY, n_predict=1),
                        dict(GREEDY, together=3), dict(GREEDY, context=40, n_predict=-1),
                        dict(GREEDY, context=40, n_predict=90, keep=3, ignore_eos=True)):
            with self.subTest(options=options):
                prompts = [p for p in PROMPTS if len(p) < 60]
                rows = self.db.execute(
                    "SELECT id, answer, tokens FROM llm_batch('SELECT id, text FROM question "
                    "WHERE length(text) < 60 ORDER BY id', ?)", (json.dumps(options),)).fetchall()
                one = {k: v for k, v in options.items() if k != "together"}
                self.assertEqual([row[1] for row in rows],
                                 [self.generate(prompt, one) for prompt in prompts])
                self.assertEqual([row[0] for row in rows],
                                 [i for i, p in enumerate(PROMPTS) if len(p) < 60])
        table = self.db.execute("SELECT llm_generate(text, ?) FROM question", (json.dumps(GREEDY),))
        batch = self.db.execute("SELECT answer FROM llm_batch('SELECT id, text FROM question', ?)",
                                (json.dumps(GREEDY),))
        self.assertEqual(batch.fetchall(), table.fetchall())

    def test_calls_at_once_share_passes_as_far_as_there_are_sequences(self):
        """Counted, not timed: by one thread, whose streams are under way at once."""
        folder = self.folder / "sharing"
        folder.mkdir()
        model = tiny(folder, "tiny-llama", "llama", "--sequences", 4, "--chunk", 128, "--context", 300)
        options = {"temperature": 0, "n_predict": 40, "ignore_eos": True, "drafts": 0}
        dbs = [connect(model) for _ in range(5)]
        for db in dbs:
            self.addCleanup(db.close)

        def carried():
            info = json.loads(value(dbs[0], "SELECT llm_info()"))
            return info["passes"], info["rows"]

        def stream(db, prompt):
            return db.execute("SELECT piece FROM llm_stream(?, ?)", (prompt, json.dumps(options)))

        before = carried()
        prompts = [f"{word} is" for word in ("The river", "A hill", "My hat", "Our day")]
        streams = [stream(db, prompt) for db, prompt in zip(dbs, prompts)]
        with self.assertRaisesRegex(sqlite3.OperationalError, "all 4 sequences of the plan are taken"):
            value(dbs[4], "SELECT llm_generate('a')")
        self.assertIsInstance(value(dbs[4], "SELECT llm_tokenize('a')"), str)  # needs none
        pieces = list(zip(*streams))
        passes = carried()[0] - before[0]
        # Each has 40 tokens, and none goes ahead by more than 8: it is some 40 passes, not 160.
        self.assertTrue(40 <= passes <= 40 + 4 * 9, passes)
        for each in streams:
            each.close()
        self.assertEqual(["".join(row[i][0] for row in pieces) for i in range(4)],
                         [self.generate(prompt, options, dbs[0]) for prompt in prompts])

        # A text of more rows than a pass has, beside a running answer: half of each pass.
        running = stream(dbs[0], "The river")
        running.fetchone()
        text = "x y " * 70
        tokens = value(dbs[1], "SELECT llm_token_count(?)", text)
        self.assertGreater(tokens, 128)
        before = carried()
        value(dbs[1], "SELECT llm_logprob(?)", text)
        self.assertEqual(carried()[0] - before[0], -(-(tokens - 1) // 64))
        running.close()

    def test_batch_refuses_what_is_not_one_query_of_two_columns(self):
        for query in ("SELECT 1", "SELECT 1, 'a'; SELECT 2, 'b'", "", "DELETE FROM llm_meta",
                      "CREATE TABLE x(a, b)"):
            self.assertIn("one query that yields two columns",
                          self.refused("SELECT * FROM llm_batch(?)", query))
        self.assertIn("no such table", self.refused("SELECT * FROM llm_batch('SELECT a, b FROM c')"))
        self.assertIn("the prompt is empty",
                      self.refused("SELECT * FROM llm_batch(?)", "SELECT 1, ''"))
        self.assertIn("1 argument is needed", self.refused("SELECT * FROM llm_batch"))

    def test_batch_says_which_row_it_cannot_answer_after_those_before(self):
        self.db.execute("CREATE TEMP TABLE row(id, text)")
        self.db.executemany("INSERT INTO row VALUES (?, ?)", [
            (i, "The river" if i % 3 else None) for i in range(12)] + [("twelve", ""), (13, "hill")])
        cursor = self.db.execute("SELECT id, answer FROM llm_batch('SELECT id, text FROM row', ?)",
                                 (json.dumps(GREEDY),))
        answer = self.generate("The river", GREEDY)
        got = []
        with self.assertRaisesRegex(sqlite3.OperationalError,
                                    "llm_batch: id twelve: the prompt is empty"):
            for row in cursor:
                got.append(row)
        # Python steps on before it hands out a row: the last one before an error is lost in it.
        self.assertGreaterEqual(len(got), 11)
        self.assertEqual(got, [(i, answer if i % 3 else None) for i in range(12)][:len(got)])
        self.assertEqual(self.db.execute("SELECT * FROM llm_batch('SELECT 1, NULL UNION ALL SELECT "
                                         "2, NULL')").fetchall(), [(1, None, None), (2, None, None)])
        self.assertEqual(self.db.execute("SELECT * FROM llm_stream(NULL)").fetchall(), [])

    BAD_ROWS = [("", "the prompt is empty", "there is nothing to go on from"), (7, "must be text", "is the number 7"),
                (1.5, "must be text", "is the number 1.5"), (b"ab", "must be text", "a BLOB of 2 bytes"),
                ("x y " * 300, "the context holds 128", "begins 'x y x y")]

    def test_a_bad_row_is_named(self):
        for bad, wrong, shown in self.BAD_ROWS:
            for sql in ("SELECT llm_generate(?)", "SELECT * FROM llm_stream(?)",
                        "SELECT llm_generate(?, '{\"chat\": true}')",
                        "SELECT llm_chat('a', ?)", "SELECT llm_logprob(?)"):
                message = self.refused(sql, bad)
                thing = "message" if "chat('" in sql else "text" if "logprob" in sql else "prompt"
                for part in (wrong.replace("the prompt", f"the {thing}"), shown):
                    if not (part.startswith("the context") or "chat\"" in sql):
                        self.assertIn(part, message, sql)
                self.assertNotIn("\n", message)
        # Invalid UTF-8 comes as text, too.
        for function in ("llm_generate", "llm_logprob", "llm_tokenize", "llm_token_count"):
            self.assertIn("is not valid UTF-8: byte 0xFF at offset 1",
                          self.refused(f"SELECT {function}(CAST(x'41ff' AS TEXT))"))

    def test_on_error(self):
        self.db.execute("CREATE TEMP TABLE q(id, text)")
        texts = ["The river"]
        for bad, _, _ in self.BAD_ROWS:
            texts += [bad, "A hill", None]
        self.db.executemany("INSERT INTO q VALUES (?, ?)", enumerate(texts))
        good = [text if text in ("The river", "A hill") else None for text in texts]
        null = json.dumps(dict(GREEDY, on_error="null"))
        few = dict(GREEDY)
        expected = [text and self.generate(text, GREEDY) for text in good]
        self.assertEqual([row[0] for row in self.db.execute("SELECT llm_generate(text, ?) FROM q", (null,))],
                         expected)
        rows = self.db.execute("SELECT * FROM llm_batch('SELECT id, text FROM q', ?)", (null,)).fetchall()
        self.assertEqual([row[:2] for row in rows], list(enumerate(expected)))
        rows = self.db.execute("SELECT id, answer, tokens, error FROM llm_batch('SELECT id, text FROM q', ?)",
                               (json.dumps(dict(few, on_error="column")),)).fetchall()
        self.assertEqual([row[:2] for row in rows], list(enumerate(expected)))
        for (_, answer, tokens, error), text, fine in zip(rows, texts, good):
            self.assertEqual(error is None, fine is not None or text is None)
            self.assertEqual(tokens is None, answer is None)
        self.assertIn("the prompt is empty", rows[1][3])
        self.assertEqual([row[3] for row in self.db.execute(
            "SELECT id, answer, tokens, error FROM llm_batch('SELECT id, text FROM q', ?)", (null,))],
            [None] * len(texts))
        streams = self.db.execute("SELECT id, group_concat(piece, '') FROM q LEFT JOIN llm_stream(q.text, ?)"
                                  " GROUP BY id ORDER BY id", (null,)).fetchall()
        self.assertEqual(streams, list(enumerate(expected)))
        logprobs = [row[0] for row in self.db.execute(
            "SELECT llm_logprob(text, '{\"on_error\": \"null\"}') FROM q")]
        self.assertEqual([x is None for x in logprobs], [x is None for x in expected])
        self.assertIsNotNone(value(self.db, "SELECT llm_chat('on', 'The river', ?)", null))
        for bad, _, _ in self.BAD_ROWS:
            self.assertIsNone(value(self.db, "SELECT llm_chat('on', ?, ?)", bad, null))
        self.assertIsNotNone(value(self.db, "SELECT llm_chat('on', 'one two', ?)", null))
        # By default the row ends it, and is named.
        for options in (GREEDY, dict(GREEDY, on_error="fail")):
            self.assertEqual("llm_batch: id 1: the prompt is empty: there is nothing to go on from "
                             "(option 'on_error' passes over such rows)", self.refused(
                                 "SELECT * FROM llm_batch('SELECT id, text FROM q', ?)",
                                 json.dumps(options)))
        self.assertIn("llm_batch: id NULL: ", self.refused("SELECT * FROM llm_batch('SELECT NULL, 1')"))
        # What is wrong with more than a row is an error in any case.
        for sql, message in (
                ("SELECT llm_generate('', '{\"on_error\": \"nul\"}')", "option 'on_error': "),
                ("SELECT llm_generate('', '{\"on_error\": true}')", "option 'on_error': "),
                ("SELECT llm_generate('', '{\"on_error\": \"column\"}')", "llm_generate has no column"),
                ("SELECT llm_logprob('', '{\"on_error\": \"column\"}')", "llm_logprob has no column"),
                ("SELECT * FROM llm_stream('', '{\"on_error\": \"column\"}')", "llm_stream has no column"),
                ("SELECT llm_load('a', 'b', '{\"on_error\": \"null\"}')", "llm_load has no option"),
                ("SELECT llm_generate('', '{\"on_error\": \"null\", \"seed\": \"x\"}')", "option 'seed'"),
                ("SELECT llm_generate('a', '{\"on_error\": \"null\", \"model\": \"/nowhere\"}')",
                 "/nowhere"),
                ("SELECT llm_generate('a', '{\"on_error\": \"null\", \"context\": 129}')", "context is 128"),
                ("SELECT * FROM llm_batch('SELECT 1, a', '{\"on_error\": \"null\"}')", "no such column"),
                ("SELECT * FROM llm_batch('SELECT 1, abs(-9223372036854775808)', '{\"on_error\": \"null\"}')",
                 "integer overflow")):
            self.assertIn(message, self.refused(sql), sql)
        endless = json.dumps({"temperature": 0, "n_predict": -1, "ignore_eos": True, "keep": 1,
                              "on_error": "null"})
        with interrupting(self.db), self.assertRaisesRegex(sqlite3.OperationalError, "interrupted"):
            value(self.db, "SELECT llm_generate('a', ?)", endless)
        # Rows that are passed over are not kept in memory.
        count = self.db.execute("SELECT count(*), count(answer) FROM llm_batch('WITH RECURSIVE n(i) AS (SELECT 1 "
                                "UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i, iif(i % 5000, "
                                "iif(i % 2, NULL, char()), char(97)) FROM n', ?)", (null,)).fetchone()
        self.assertEqual(count, (20000, 4))

    def test_letting_go_of_a_model(self):
        expected = self.generate("The river", GREEDY)
        writer = sqlite3.connect(self.model, timeout=0)
        with self.assertRaisesRegex(sqlite3.OperationalError, "locked"):
            with writer:
                writer.execute("CREATE TABLE mine(a)")
        self.assertEqual(value(self.db, "SELECT llm_unload()"), 1)
        with writer:
            writer.execute("CREATE TABLE mine(a)")
            writer.execute("DROP TABLE mine")
        writer.close()
        self.assertEqual(self.generate("The river", GREEDY), expected)

    def test_tokens(self):
        for text in PROMPTS + ["", "é 漢字 \N{GRINNING FACE}"]:
            tokens = value(self.db, "SELECT llm_tokenize(?)", text)
            file = self.folder / "text"
            file.write_text(text)
            expected = run("LLMSQL_RUN", self.model, "--tokenize", file).stdout.split()
            self.assertEqual(json.loads(tokens), list(map(int, expected)))
            self.assertEqual(value(self.db, "SELECT llm_token_count(?)", text), len(expected))
        self.assertEqual(value(self.db, "SELECT llm_detokenize(llm_tokenize('The river'))").lstrip(),
                         "The river")

    def test_logprob_is_the_sum_over_a_text(self):
        text = "The river flows"
        tokens = json.loads(value(self.db, "SELECT llm_tokenize(?)", text))
        plan = compile_model(self.model.with_suffix(".toml"), self.folder / "p.sql")
        rows = logits(plan, self.model, tokens, self.folder).astype(np.float64)
        rows -= np.log(np.sum(np.exp(rows), axis=1, keepdims=True))
        expected = sum(rows[i][token] for i, token in enumerate(tokens[1:]))
        self.assertAlmostEqual(value(self.db, "SELECT llm_logprob(?)", text), expected, places=3)
        # The rule of the product, where a cut leaves tokens as they are.
        streamed = self.db.execute("SELECT sum(logprob), group_concat(piece, '') FROM "
                                   "llm_stream('The river', ?)", (json.dumps(GREEDY),)).fetchone()
        given = value(self.db, "SELECT llm_logprob(?, '{\"given\": \"The river\"}')", streamed[1])
        # Nothing before a text is the start of a text.
        self.assertEqual(value(self.db, "SELECT llm_logprob('The river', '{\"given\": \"\"}')"),
                         value(self.db, "SELECT llm_logprob('The river')"))
        # Nothing comes before its only token, so nothing has a probability: that of all texts is not 1.
        self.assertEqual(value(self.db, "SELECT llm_token_count('a')"), 1)
        self.assertIsNone(value(self.db, "SELECT llm_logprob('a')"))
        self.assertLess(value(self.db, "SELECT llm_logprob('a', '{\"given\": \"b\"}')"), 0)
        self.assertTrue(math.isfinite(given) and given < 0)

    def test_chat(self):
        expected = run("LLMSQL_RUN", self.model, "--chat", "-p", "The river", "--system", "Be brief",
                       "--temp", 0, "-n", 12).stdout.decode()
        options = dict(GREEDY, system="Be brief", chat=True)
        self.assertEqual(self.generate("The river", options).removesuffix("\n"),
                         expected.removesuffix("\n"))
        turns = ["The river", "A hill", "one two"]
        said = run("LLMSQL_RUN", self.model, "--temp", 0, "-n", 6,
                   input="\n".join(turns).encode()).stdout.decode()
        few = '{"temperature": 0, "n_predict": 6}'
        answers = [value(self.db, "SELECT llm_chat('a', ?, ?)", turn, few) for turn in turns]
        self.assertEqual("".join(a if a.endswith("\n") else a + "\n" for a in answers), said)
        self.assertIn("has begun without it",
                      self.refused("SELECT llm_chat('a', 'b', '{\"system\": \"c\"}')"))
        self.assertIn("the message is empty", self.refused("SELECT llm_chat('a', '')"))

    def test_chat_in_a_file_is_gone_on_with_by_anyone(self):
        few = {"temperature": 0, "n_predict": 6}
        file = self.folder / "chat.db"
        kept = json.dumps(dict(few, sessions=str(file)))
        turns = ["The river", "A hill", "one two", "end"]
        expected = [value(self.db, "SELECT llm_chat('b', ?, ?)", turn, json.dumps(few))
                    for turn in turns]
        other = connect(self.model)
        self.addCleanup(other.close)
        answers = [value(db, "SELECT llm_chat('b', ?, ?)", turn, kept)
                   for db, turn in zip((self.db, other, self.db), turns)]
        self.assertEqual(answers, expected[:3])
        said = run("LLMSQL_RUN", self.model, "--session", file, "--id", "b", "--chat", "-p", turns[3],
                   "--temp", 0, "-n", 6).stdout.decode()
        self.assertEqual(said.removesuffix("\n"), expected[3].removesuffix("\n"))
        self.assertIn("not a session file", self.refused(
            "SELECT llm_chat('b', 'c', ?)", json.dumps({"sessions": str(self.model)})))
        self.assertEqual(value(self.db, "SELECT llm_chat('c', ?, ?)", turns[0], kept), expected[0])

    def test_null_and_wrong_arguments(self):
        for call in ("llm_generate(NULL)", "llm_tokenize(NULL)", "llm_token_count(NULL)",
                     "llm_detokenize(NULL)", "llm_logprob(NULL)"):
            self.assertIsNone(value(self.db, f"SELECT {call}"), call)
        for sql, message in (
                ("SELECT llm_generate(1)", "the prompt must be text"),
                ("SELECT llm_generate(x'00')", "the prompt must be text"),
                ("SELECT llm_generate('')", "the prompt is empty: there is nothing to go on from"),
                ("SELECT llm_generate('a', 'b')", "the options must be a JSON object"),
                ("SELECT llm_generate('a', '{\"temperature\": 1e999}')", "after the key 'temperature', at '1e999'"),
                ("SELECT llm_generate('a', '{\"temperature\": NaN}')", "after the key 'temperature', at '"),
                ("SELECT llm_generate('a', '{\"temp\": 1}')", "llm_generate has no option 'temp': it takes n_predict"),
                ("SELECT llm_generate('a', '{\"given\": \"b\"}')", "llm_generate has no option 'given'"),
                ("SELECT llm_generate('a', '{\"seed\": 1, \"seed\": 2}')", "option 'seed' is given twice"),
                ("SELECT llm_logprob('a', '{\"n_predict\": 1}')", "it takes given, on_error, model, plan, threads"),
                *((f"SELECT llm_generate('a', '{{\"stop\": {stop}}}')",
                   "option 'stop': a text that is not empty, or an array of such, is wanted")
                  for stop in ('""', '["a", ""]', '1', '[[]]')),
                ("SELECT llm_chat('a', 'b', '{\"chat\": true}')", "llm_chat has no option 'chat'"),
                ("SELECT llm_load('a', 'b', '{\"seed\": 1}')", "llm_load has no option 'seed': it takes threads"),
                ("SELECT llm_generate('a', '{\"seed\": \"1\"}')", "option 'seed': a whole number from -1 to"),
                *((f"SELECT llm_generate('a', '{{\"{name}\": {given}}}')",
                   f"option '{name}': a {'whole ' if whole else ''}number from ")
                  for name, whole in (("n_predict", True), ("seed", True), ("top_k", True),
                                      ("context", True), ("keep", True), ("temperature", False),
                                      ("top_p", False), ("min_p", False), ("repeat_penalty", False))
                  for given in ("-1e300", "1e300", "-99999999999999999999", "null", "[1]", "\"1\"",
                                "true", *(("0.5", str(2**63), str(2**64 - 1)) if whole else ()))),
                ("SELECT llm_generate('a', '{\"top_k\": -2}')",
                 "option 'top_k': a whole number from -1 to 2147483647 is wanted, not -2"),
                ("SELECT llm_generate('a', '{\"temperature\": 1e400}')", "after the key 'temperature'"),
                ("SELECT llm_generate('a', '{\"threads\": 99999999999999999999}')", "option 'threads': a whole"),
                ("SELECT llm_generate('a', '{\"top_p\": 2}')", "option 'top_p': a number from 0 to 1 is wanted"),
                ("SELECT llm_generate('a', '{\"system\": \"b\"}')", "goes with 'chat'"),
                ("SELECT llm_generate('a', '{\"plan\": \"b\"}')", "there is no plan 'b' in it"),
                ("SELECT llm_generate('a', '{\"model\": \"/nowhere\"}')", "/nowhere"),
                ("SELECT llm_generate('a', '{\"context\": 129}')", "option 'context': 129 tokens; the plan's context is 128"),
                ("SELECT llm_generate(printf('%.1000c', 'x y '))", "tokens, the context holds 128"),
                ("SELECT llm_detokenize('{}')", "must be a JSON array"),
                ("SELECT llm_detokenize('[-1]')", "there is no token -1"),
                ("SELECT llm_detokenize('[99999999999999999999]')", "must be a JSON array"),
                ("SELECT llm_detokenize('[99999999999999]')", "there is no token 99999999999999"),
                ("SELECT llm_detokenize('[1e9]')", "must be a JSON array"),
                ("SELECT llm_detokenize('[1000000000]')", "there is no token 1000000000"),
                ("SELECT * FROM llm_stream", "1 argument is needed"),
                ("SELECT llm_chat('a', 'b', '{\"sessions\": \"\"}')", "option 'sessions': a file"),
                ("SELECT llm_load('')", "the model's path is empty"),
                ("SELECT llm_load('/nowhere')", "/nowhere")):
            with self.subTest(sql=sql):
                self.assertIn(message, self.refused(sql))
        # Nothing of that is left behind.
        self.assertEqual(self.generate("The river", GREEDY), self.generate("The river", GREEDY))

    def test_finding_the_model(self):
        expected = self.generate("The river", GREEDY)
        bare = connect()
        self.addCleanup(bare.close)
        with self.assertRaisesRegex(sqlite3.OperationalError, "no model: open or attach"):
            self.generate("The river", GREEDY, bare)
        bare.execute("ATTACH ? AS \"weights \"\" here\"", (str(self.model),))
        self.assertEqual(self.generate("The river", GREEDY, bare), expected)
        loaded = connect()
        self.addCleanup(loaded.close)
        info = json.loads(value(loaded, "SELECT llm_load(?)", str(self.model)))
        self.assertEqual((info["context"], info["sequences"], info["plans"]), (128, 8, ["default"]))
        self.assertEqual(self.generate("The river", GREEDY, loaded), expected)
        plan = compile_model(self.model.with_suffix(".toml"), self.folder / "other.sql",
                             "--context", 64)
        info = json.loads(value(loaded, "SELECT llm_load(?, ?, '{\"threads\": 1}')",
                                str(self.model), str(plan)))
        self.assertEqual((info["context"], info["threads"]), (64, 1))
        self.assertEqual(self.generate("The river", GREEDY, loaded), expected)
        with self.assertRaises(sqlite3.OperationalError):
            value(loaded, "SELECT llm_load('/nowhere')")
        self.assertEqual(json.loads(value(loaded, "SELECT llm_info()"))["context"], 64)

    def test_a_schema_cannot_call_it(self):
        bare = connect(self.folder / "schema.db")
        self.addCleanup(bare.close)
        bare.execute("CREATE VIEW v AS SELECT llm_generate('a')")
        bare.execute("CREATE VIEW w AS SELECT * FROM llm_stream('a')")
        bare.execute("CREATE VIEW x AS SELECT llm_version()")
        bare.execute("PRAGMA trusted_schema = 0")
        for view in "vw":
            with self.assertRaisesRegex(sqlite3.OperationalError, "unsafe use of"):
                bare.execute(f"SELECT * FROM {view}").fetchall()
        bare.execute("SELECT * FROM x").fetchall()

    def test_interrupts_are_heard(self):
        endless = json.dumps({"temperature": 0, "n_predict": -1, "ignore_eos": True, "keep": 1})
        for sql in ("SELECT llm_generate('a', ?)", "SELECT count(*) FROM llm_stream('a', ?)"):
            with interrupting(self.db), self.assertRaisesRegex(sqlite3.OperationalError, "interrupted"):
                value(self.db, sql, endless)
            calls = []
            self.db.set_progress_handler(lambda: calls.append(1) or len(calls) > 20, 500)
            with self.assertRaisesRegex(sqlite3.OperationalError, "interrupted"):
                value(self.db, sql, endless)
            self.db.set_progress_handler(None, 0)
        batch = json.dumps({"temperature": 0, "n_predict": 100, "ignore_eos": True})
        with interrupting(self.db), self.assertRaisesRegex(sqlite3.OperationalError, "interrupted"):
            value(self.db, "SELECT count(*) FROM llm_batch('WITH RECURSIVE n(i) AS (SELECT 1 UNION "
                           "ALL SELECT i + 1 FROM n) SELECT i, ''a'' FROM n', ?)", batch)
        with interrupting(self.db), self.assertRaisesRegex(sqlite3.OperationalError, "interrupted"):
            value(self.db, "SELECT llm_token_count(?)", "rivers of words " * 4_000_000)
        self.assertTrue(self.generate("The river", GREEDY))

    def test_interrupts_are_heard_at_whatever_moment(self):
        endless = json.dumps({"temperature": 0, "n_predict": -1, "ignore_eos": True, "keep": 1})
        self.db.create_function("stop", 0, self.db.interrupt)
        for function in ("llm_generate('a', ?)", "(SELECT count(*) FROM llm_stream('a', ?))"):
            # Before any statement of the call's own.
            with self.assertRaisesRegex(sqlite3.OperationalError, "^interrupted$"):
                value(self.db, f"SELECT max(stop(), {function})", endless)
            for moment in range(1, 60):
                calls = []
                self.db.set_progress_handler(lambda: calls.append(1) or len(calls) >= moment, 1)
                with self.assertRaisesRegex(sqlite3.OperationalError, "^interrupted$"):
                    value(self.db, f"SELECT {function}", endless)
                self.db.set_progress_handler(None, 0)
        self.assertTrue(self.generate("The river", GREEDY))

    def test_the_hosts_authorizer_and_schema_are_left_alone(self):
        expected = self.generate("The river", GREEDY)
        before = self.db.execute("SELECT * FROM sqlite_master").fetchall()
        seen = []

        def authorize(action, *arguments):
            seen.append((action, *arguments))
            return sqlite3.SQLITE_OK

        self.db.set_authorizer(authorize)
        self.assertEqual(self.generate("The river", dict(GREEDY, n_predict=12)), expected)
        self.db.set_authorizer(None)
        # What it sees is the statement, the question which databases there are, and the poll.
        self.assertTrue(all(action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, 33,
                                       sqlite3.SQLITE_PRAGMA, sqlite3.SQLITE_READ)
                            for action, *_ in seen), seen)
        self.assertEqual(self.db.execute("SELECT * FROM sqlite_temp_master").fetchall(), [])
        self.assertEqual(self.db.execute("SELECT * FROM sqlite_master").fetchall(), before)

    def test_connections_and_threads_at_once(self):
        expected = [self.generate(prompt, GREEDY) for prompt in PROMPTS]
        failures = []

        def work():
            try:
                db = connect(self.model)
                for _ in range(3):
                    for prompt, text in zip(PROMPTS, expected):
                        if self.generate(prompt, GREEDY, db) != text:
                            failures.append(prompt)
                db.close()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_a_writer_is_told_busy_while_it_is_open_and_not_after(self):
        self.generate("The river", GREEDY)
        writer = sqlite3.connect(self.model, timeout=0)
        with self.assertRaisesRegex(sqlite3.OperationalError, "locked"):
            with writer:
                writer.execute("CREATE TABLE note(a)")
        self.db.close()
        with writer:
            writer.execute("CREATE TABLE note(a)")
            writer.execute("DROP TABLE note")
        writer.close()

    def test_loading_again_and_again_leaves_nothing_open(self):
        self.db.close()  # so that each connection is the first to load it

        def cycle(times):
            for _ in range(times):
                db = connect(self.model)
                self.generate("The river", dict(GREEDY, n_predict=1), db)
                db.close()
            return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

        before = cycle(2)
        self.assertEqual(cycle(10), before)

    def test_under_load_without_growing(self):
        """8 connections that generate all the time: no error, and memory stays where it was."""
        seconds = float(os.environ.get("LLMSQL_LOAD_SECONDS", 20))
        stop = time.monotonic() + seconds
        failures, counts, sizes = [], [0] * 8, []
        expected = [self.generate(prompt, SAMPLED) for prompt in PROMPTS]

        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * 4096

        def work(number):
            try:
                while time.monotonic() < stop:
                    db = connect(self.model)
                    for _ in range(5):
                        i = (counts[number] + number) % len(PROMPTS)
                        if self.generate(PROMPTS[i], SAMPLED, db) != expected[i]:
                            failures.append(PROMPTS[i])
                        db.execute("SELECT count(*) FROM llm_batch('SELECT 1, ''a'' UNION ALL "
                                   "SELECT 2, ''b''', '{\"n_predict\": 4}')").fetchall()
                        counts[number] += 1
                    db.close()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(seconds / 40)
            sizes.append(resident())
        self.assertEqual(failures, [])
        self.assertTrue(all(count > 0 for count in counts), counts)
        early, late = max(sizes[:len(sizes) // 2]), max(sizes[len(sizes) // 2:])
        # Under ASan freed memory is kept back for a while, and takes room.
        self.assertLess(late - early, (256 if SANITIZED else 8) << 20, sizes)
        print(f"{sum(counts)} calls, {early >> 20} then {late >> 20} MiB", flush=True)


class Shell(WithModel):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.plan = compile_model(cls.model.with_suffix(".toml"), cls.folder / "plan.sql")

    def test_the_shell(self):
        out, err = shell(self.model, "SELECT llm_generate('The river', "
                                     "'{\"temperature\": 0, \"n_predict\": 5}') || '|';\n"
                                     "SELECT llm_generate('');\n")
        expected = run("LLMSQL_RUN", self.model, "-p", "The river", "--temp", 0, "-n", 5)
        self.assertEqual("The river" + out.rstrip("\n").removesuffix("|"),
                         expected.stdout.decode().removesuffix("\n"))
        self.assertIn("the prompt is empty: there is nothing to go on from", err)

    def test_a_plan_by_hand(self):
        """.read plan.sql is a pass; its tensors can be looked at; dropped, it can be read again."""
        tokens = [5, 9, 2, 7]
        last = int(self.plan.read_text().rsplit("SELECT data FROM tensor WHERE id = ")[-1]
                   .split(";")[0])
        script = f""".parameter set :tokens '{tokens}'
.parameter set :position 0
.parameter set :sequence 0
.parameter set :first 0
.parameter set :rows 4
.mode list
.read {self.plan}
SELECT 'logits', llm_shape(data), llm_stats(data) FROM tensor WHERE id = {last};
SELECT 'weight', llm_shape(data) FROM param WHERE id = 1;
"""
        again = "".join(f"DROP TABLE temp.{name};\n"
                        for name in ("slot", "tensor", "kv", "kv_layer", "param"))
        out, err = shell(self.model, script + again + script)
        self.assertEqual(err, "")
        expected = logits(self.plan, self.model, tokens, self.folder)
        lines = [line for line in out.splitlines() if line.startswith(("logits", "weight"))]
        self.assertEqual(len(lines), 4)
        self.assertEqual(lines[:2], lines[2:])
        _, shape, stats = lines[0].split("|")
        self.assertEqual(shape, f"f32[{expected.shape[0]}, {expected.shape[1]}]")
        stats = json.loads(stats)
        self.assertAlmostEqual(stats["min"], float(expected.min()), places=4)
        self.assertAlmostEqual(stats["max"], float(expected.max()), places=4)
        np.testing.assert_allclose(stats["first"], expected[0][:8], rtol=1e-5)

    def test_by_hand_errors_are_of_the_statement(self):
        out, err = shell(self.model, f".read {self.plan}\n")  # no parameters
        self.assertIn("llm_embed", err)
        self.assertIn("is read before this pass has written it", err)
        out, err = shell(":memory:", f".read {self.plan}\n")
        self.assertIn("no model: open or attach", err)

    def test_the_reference_is_the_declarations_and_its_examples_run(self):
        db = connect(self.model)
        self.addCleanup(db.close)
        path = SOURCE / "docs" / "sql-reference.md"
        page = [path.read_text().partition("## Functions\n")[0] + "## Functions\n",
                "<!-- From here on written by tests/end_to_end/test_extension.py with LLMSQL_WRITE=1, "
                "after runtime/extension/reference.cpp;\nresults are of a tiny model of random "
                "weights. -->\n"]
        for name, call, description, example in db.execute("SELECT * FROM llm_functions"):
            page.append(f"### `{call}`\n\n{description}\n")
            if example:
                out, err = shell(self.model, ".mode list\n" + example + "\n")
                self.assertEqual(err, "", name)
                page.append(f"```sql\n{example}\n```\n\n```\n{out.rstrip()}\n```\n")
        known = {row[0] for row in db.execute("SELECT name FROM llm_functions")}
        registered = {row[0] for row in db.execute(
            "SELECT DISTINCT name FROM pragma_function_list WHERE name LIKE 'llm\\_%' ESCAPE '\\'")}
        operators = set((SOURCE / "docs" / "operators.md").read_text().replace("(", " ")
                        .replace("`", " ").split())
        self.assertEqual(registered - known - operators, set())
        if os.environ.get("LLMSQL_WRITE"):
            path.write_text("\n".join(page))
        self.assertEqual(path.read_text(), "\n".join(page))


class Go(unittest.TestCase):
    SOURCE = """package main

import (
	"database/sql"
	"fmt"
	"log"
	"os"

	sqlite "github.com/mattn/go-sqlite3"
)

func main() {
	sql.Register("llmsql", &sqlite.SQLiteDriver{Extensions: []string{os.Args[1]}})
	db, err := sql.Open("llmsql", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	rows, err := db.Query("SELECT piece FROM llm_stream(?, ?)", os.Args[3], os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	for rows.Next() {
		var piece string
		if err := rows.Scan(&piece); err != nil {
			log.Fatal(err)
		}
		fmt.Print(piece)
	}
	if err := rows.Err(); err != nil {
		log.Fatal(err)
	}
}
"""

    def test_go(self):
        library = "/usr/share/gocode/src/github.com/mattn/go-sqlite3"
        go = shutil.which("go", path="/usr/lib/go/bin:" + os.environ["PATH"])
        if not go or not os.path.exists(library):
            self.skipTest("Debian's golang-go and golang-github-mattn-go-sqlite3-dev are not here")
        if SANITIZED:
            self.skipTest("Go's runtime and ASan's do not go together")
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            model = tiny(folder)
            (folder / "client.go").write_text(self.SOURCE)
            made = dict(environment(), GO111MODULE="off", GOPATH="/usr/share/gocode",
                        GOFLAGS="-tags=libsqlite3", GOCACHE=str(folder / "cache"))
            subprocess.run([go, "build", "-o", folder / "client", folder / "client.go"], check=True,
                           env=made)
            options = json.dumps(GREEDY)
            done = subprocess.run([folder / "client", LIBRARY, model, "The river", options],
                                  capture_output=True, text=True, timeout=120)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            db = connect(model)
            self.assertEqual(done.stdout, value(db, "SELECT llm_generate(?, ?)", "The river", options))
            db.close()
            done = subprocess.run([folder / "client", LIBRARY, model, "", options],
                                  capture_output=True, text=True, timeout=120)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("the prompt is empty", done.stderr)


if __name__ == "__main__":
    main()
