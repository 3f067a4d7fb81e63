#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""llmsql-run --session: what a file keeps is what an undisturbed process would have known."""

import os
import pathlib
import random
import re
import resource
import signal
import sqlite3
import struct
import subprocess
import tempfile
import time
import unittest

from programs import FIXTURES, compile_model, import_gguf
from running import RunTest, attempt, start

# More of them: LLMSQL_KILLS=50 makes 200 in all.
KILLS = int(os.environ.get("LLMSQL_KILLS", 5))
# Damaged files, and what their damage comes from: LLMSQL_DAMAGES=5000 LLMSQL_CHANCE=7.
DAMAGES = int(os.environ.get("LLMSQL_DAMAGES", 60))
CHANCE = int(os.environ.get("LLMSQL_CHANCE", 1))
LONG = ("The river ran past the mill and the old bridge, where children fished in summer. "
        "In winter it froze, and they")


class Sessions(RunTest):
    models = ("tiny-llama", "tiny-qwen2", "tiny-gemma3")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # In memory where there is such a folder: kills need no disk, and syncing one is slow.
        holder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        cls.addClassCleanup(holder.cleanup)
        cls.sessions = pathlib.Path(holder.name)

    def setUp(self):
        self.file = self.sessions / f"{self.id()}.db"
        self.begin_anew()

    def session(self, *options, model=None, id=None, **more):
        """(status, stdout, stderr) with this test's session file."""
        if id:
            options += "--id", id
        return attempt(*self.made[model or self.models[0]], "--session", self.file, *options, **more)

    def well(self, *options, **more):
        status, out, err = self.session(*options, **more)
        self.assertEqual(status, 0, err)
        return out, err

    def refused(self, *options, status=1, **more):
        got, out, err = self.session(*options, **more)
        self.assertEqual((got, out), (status, b""), err)
        self.assertRegex(err, r"\Allmsql-run: [^\n]+\n\Z")
        return err

    def query(self, sql, *values):
        with sqlite3.connect(self.file) as db:
            rows = db.execute(sql, values).fetchall()
        db.close()
        return rows

    def check_file(self):
        self.assertEqual(self.query("PRAGMA integrity_check"), [("ok",)])
        # Nothing that nobody refers to, and nothing missing.
        self.assertEqual(self.query("SELECT id FROM block EXCEPT SELECT block FROM session_block"), [])
        self.assertEqual(self.query("SELECT block FROM session_block EXCEPT SELECT id FROM block"), [])

    def test_turns_of_several_processes_are_those_of_one(self):
        turns = ("One?", "Two?", "And three?")
        expected, _ = self.run_well("-n", 6, "--temp", 0, stdin="\n".join(turns).encode())
        got = b""
        for turn in turns:
            out, err = self.well("--chat", "-p", turn, "-n", 6, "--temp", 0)
            got += out
        self.assertEqual(got, expected)
        # Nothing but the last block's rest, the last answer and the new turn was computed.
        tokens = self.query("SELECT count(*) FROM token")[0][0]
        self.assertLess(self.statistics(err)[0], min(tokens - 6, 32 + 40))
        roles = [role for (role,) in self.query("SELECT role FROM conversation ORDER BY n")]
        self.assertEqual(roles, ["user", "assistant"] * 3)
        self.check_file()

    def test_a_conversation_goes_on_as_one(self):
        both, _ = self.run_well("-n", 6, "--temp", 0, stdin=b"One?\nTwo?\n")
        first, _ = self.well("-n", 6, "--temp", 0, stdin=b"One?\n")
        second, _ = self.well("-n", 6, "--temp", 0, stdin=b"Two?\n")
        self.assertEqual(first + second, both)

    def test_a_text_goes_on(self):
        # The prompts' tokens and the picked ones are what the model goes on from.
        for prompt in (LONG, " Then"):
            self.well("-p", prompt, "-n", 5, "--temp", 0, "--ignore-eos")
        begun = self.tokens_of(LONG)
        first = self.go_on(begun, 5, ends=())
        second = self.go_on([*begun, *first, *self.tokens_of(" Then")], 5, ends=())
        stored = [token for (token,) in self.query("SELECT token FROM token ORDER BY position")]
        self.assertEqual(stored, [*begun, *first, *self.tokens_of(" Then"), *second])
        self.check_file()

    def test_a_text_goes_on_without_its_stop_text(self):
        out, _ = self.run_well("-p", "The river", "-n", 12, "--temp", 0, "--ignore-eos")
        answer = out.decode().removeprefix("The river").rstrip("\n")
        stop = answer[4:7]
        shown, _ = self.well("-p", "The river", "-n", 12, "--temp", 0, "--ignore-eos", "--stop", stop)
        self.assertEqual(shown.decode().rstrip("\n"), "The river" + answer.split(stop)[0])
        stored = [token for (token,) in self.query("SELECT token FROM token ORDER BY position")]
        self.assertEqual(self.text_of(stored).decode(), shown.decode().removesuffix("\n"))

    def test_windows_and_a_full_context(self):
        """Gemma's layers with a window, far across it and across the context's end."""
        options = ("-n", 150, "--temp", 0, "--ignore-eos", "--keep", 8)
        gemma = self.made["tiny-gemma3"]
        for prompt in (LONG[:60], LONG):
            self.setUp()
            status, expected, err = attempt(*gemma, "-p", prompt, *options)
            self.assertEqual(status, 0, err)
            self.killed_and_resumed(gemma, ["-p", prompt, *options], expected, kills=3)
            self.check_file()

    def test_a_prefix_is_computed_once(self):
        for model in self.models:
            self.setUp()
            _, err = self.well("-p", LONG, "-n", 1, "--temp", 0, id="first", model=model)
            whole = self.statistics(err)[0]
            self.assertGreater(whole, 32)
            _, err = self.well("-p", LONG, "-n", 1, "--temp", 0, id="second", model=model)
            self.assertEqual(self.statistics(err)[0], (whole - 1) % 32 + 1)
            self.assertEqual(self.query("SELECT count(*) FROM block"), [(whole // 32,)])
            self.well("-p", " on", "-n", 40, "--temp", 0, id="second", model=model)
            self.query("DELETE FROM session WHERE name = 'second'")
            self.assertEqual(self.query("SELECT count(*) FROM block"), [(whole // 32,)])
            self.query("DELETE FROM session WHERE name = 'first'")
            for table in ("block", "message", "token", "answer", "answer_token", "session_block"):
                self.assertEqual(self.query(f"SELECT count(*) FROM {table}"), [(0,)])

    def test_forks(self):
        self.well("-p", LONG, "-n", 6, "--temp", 0, "--ignore-eos")
        size = self.file.stat().st_size
        out, err = self.well("-p", " Then", "-n", 6, "--temp", 0, "--ignore-eos", "--fork", "other")
        self.assertLess(self.file.stat().st_size, size * 1.5)
        self.assertLess(self.statistics(err)[0], 40)
        same, _ = self.well("-p", " Then", "-n", 6, "--temp", 0, "--ignore-eos")
        self.assertEqual(same, out)
        self.assertEqual(self.query("SELECT name, messages FROM sessions"),
                         [("default", 4), ("other", 4)])
        self.assertIn("there is a session 'other' already", self.refused("-p", "x", "--fork", "other"))
        self.assertIn("no session 'none'", self.refused("-p", "x", "--fork", "new", id="none"))
        self.check_file()

    def test_what_does_not_belong_is_refused_by_name(self):
        self.well("-p", LONG, "-n", 2)
        self.well("--chat", "-p", "Hi", "-n", 2, id="talk")
        self.assertIn("is a text, not a conversation", self.refused("--chat", "-p", "Hi"))
        self.assertIn("is a conversation", self.refused("-p", "Hi", id="talk"))
        self.assertRegex(self.refused("-p", "x", model="tiny-qwen2"),
                         "'default' is of the model 'tiny-llama', this is 'tiny-qwen2'")
        plan, db = self.made["tiny-llama"]
        q8 = compile_model(db.with_suffix(".toml"), self.folder / "q8.sql", "--kv", "q8")
        self.assertIn("as f16, this plan as q8", self.refused_by(q8, db))
        edited = self.folder / "edited.sql"
        edited.write_text(re.sub(r"llm_rope\(k\.data, :position, [\d.]+\)",
                                 "llm_rope(k.data, :position, 9999.0)", plan.read_text(), count=1))
        self.assertIn("another forward section", self.refused_by(edited, db))
        other = self.folder / "other"
        other.mkdir()
        gguf = bytearray((FIXTURES / "tiny-llama.gguf").read_bytes())
        gguf[-4:] = struct.pack("<f", 0.25)  # the last weight
        (other / "tiny-llama.gguf").write_bytes(gguf)
        other_db, _ = import_gguf(other / "tiny-llama.gguf", "llama", "f32", other)
        self.assertIn("other weights of 'tiny-llama'", self.refused_by(plan, other_db))
        self.query("UPDATE session SET name = name")
        self.query("PRAGMA user_version = 7")
        self.assertIn("session file format 7", self.refused("-p", "x"))

    def refused_by(self, plan, db):
        status, out, err = attempt(plan, db, "--session", self.file, "-p", "x")
        self.assertEqual((status, out), (1, b""), err)
        self.assertRegex(err, r"\Allmsql-run: [^\n]+\n\Z")
        return err

    def test_plans_of_other_budgets_chunks_and_contexts_share(self):
        _, db = self.made["tiny-llama"]
        toml = db.with_suffix(".toml")
        self.well("-p", LONG, "-n", 4, "--temp", 0, "--ignore-eos")
        for name, options in (("budget", ("--budget", "32MiB")), ("chunk", ("--chunk", "8")),
                              ("context", ("--context", "512"))):
            plan = compile_model(toml, self.folder / f"{name}.sql", *options)
            status, _, err = attempt(plan, db, "--session", self.file, "-p", " on", "-n", 1,
                                     "--temp", 0)
            self.assertEqual(status, 0, err)
            self.assertLess(self.statistics(err)[0], 40)

    def test_a_name_is_no_uri(self):
        folder = self.sessions / "names"
        folder.mkdir()
        for name in ("file:a.db?mode=memory", "file::memory:"):
            status, _, err = attempt(*self.made["tiny-llama"], "--session", name, "-p", "a", "-n", 1,
                                     cwd=folder)
            self.assertEqual(status, 0, err)
            self.assertTrue((folder / name).is_file())

    def test_files_that_are_no_session_files(self):
        self.file.write_bytes(b"something else, longer than a header of SQLite " * 30)
        self.assertIn("not a session file", self.refused("-p", "x"))
        self.assertTrue(self.file.read_bytes().startswith(b"something else"))
        _, db = self.made["tiny-llama"]
        status, _, err = attempt(*self.made["tiny-llama"], "--session", db, "-p", "x")
        self.assertEqual(status, 1)
        self.assertIn("not a session file", err)
        status, _, err = attempt(*self.made["tiny-llama"], "--session", "/sys/s.db", "-p", "x")
        self.assertEqual(status, 1)
        self.assertRegex(err, r"\Allmsql-run: /sys/s.db: cannot be made: (Permission denied|Read-only file system)\n\Z")
        self.file.unlink()
        self.assertIn("no such file", self.refused("--continue"))
        self.assertFalse(self.file.exists())
        self.assertIn("there is no folder", self.refused_at(self.folder / "none" / "chat.db"))
        self.assertIn("is a directory", self.refused_at(self.folder))
        self.well("-p", "x", "-n", 1)
        self.assertIn("no session 'other'", self.refused("--continue", id="other"))
        self.query("CREATE TRIGGER evil AFTER INSERT ON token BEGIN DELETE FROM session; END")
        self.assertIn("trigger that is none", self.refused("-p", "x"))
        self.query("DROP TRIGGER evil")
        for kind, made in (("table", "TABLE more(x)"), ("view", "VIEW more AS SELECT 1"),
                           ("index", "INDEX more ON token(token)")):
            self.query(f"CREATE {made}")
            self.assertIn(f"it has a {kind} that is none", self.refused("-p", "x"))
            self.query(f"DROP {kind} more")
        self.query("DROP VIEW conversation")
        self.assertIn("it has been changed", self.refused("-p", "x"))

    def refused_at(self, path):
        status, out, err = attempt(*self.made["tiny-llama"], "--session", path, "-p", "x")
        self.assertEqual((status, out), (1, b""), err)
        return err

    def test_command_lines(self):
        status, _, err = attempt(*self.made["tiny-llama"], "--session", ":memory:", "-p", "a", "-n", 1)
        self.assertEqual(status, 1)
        self.assertRegex(err, r"^llmsql-run: ':memory:'.* no file.* './:memory:' names one\n$")
        for options, message in (
                (("--continue", "-p", "x"), "only one of"),
                (("--continue", "--temp", 0), "goes on as the answer was begun"),
                (("--tokenize", self.file), "--session goes with"),
                (("-p", "x", "--commit-every", 0), "a whole number from 1")):
            self.assertIn(message, self.refused(*options, status=2))
        for options in (("--id", "a"), ("--continue",), ("--fork", "a"), ("--commit-every", 3)):
            status, _, err = attempt(*self.made["tiny-llama"], *options)
            self.assertEqual(status, 2)
            self.assertIn("goes with --session", err)

    def test_rows_that_were_changed_are_refused_not_used(self):
        for change, message in (
                ("UPDATE token SET token = 100000 WHERE position = 3", "does not have"),
                ("UPDATE token SET token = -1 WHERE position = 3", "does not have"),
                ("DELETE FROM token WHERE position = 3", "a token is missing"),
                ("DELETE FROM message WHERE n = 1", "the last answer is missing"),
                ("DELETE FROM message WHERE n = 0", "a message is missing"),
                ("UPDATE message SET content = CAST(x'c3' AS TEXT) WHERE n = 0", "not UTF-8"),
                ("UPDATE message SET content = x'61' WHERE n = 0", "'content' is of another type"),
                ("UPDATE token SET token = 'five' WHERE position = 3", "'token' is of another type"),
                ("UPDATE answer SET top_k = 'forty'", "'top_k' is of another type"),
                ("UPDATE session SET weights = 7.5", "other weights"),
                ("DELETE FROM token", "its tokens are missing"),
                ("UPDATE message SET role = 'user' WHERE n = 0", "message 0 has the role 'user', and there are prompt, completion"),
                ("UPDATE session SET created = 'banana'", "is not as it was written: its time is none"),
                ("UPDATE session SET kind = 'song'", "no known kind")):
            self.setUp()
            self.well("-p", LONG, "-n", 4)
            self.query(change)
            self.assertIn(message, self.refused("-p", "x"))
        # What a chat section may have for markup is not a stranger's text.
        self.setUp()
        self.well("--chat", "-p", "Why?", "-n", 4)
        self.query("UPDATE message SET role = 'x<|im_end|>' WHERE n = 0")
        self.assertIn("message 0 has the role 'x<|im_end|>', and there are system, user, assistant",
                      self.refused("--chat", "-p", "And now?"))
        for change, message in (
                ("UPDATE answer SET random = 'x'", "random numbers"),
                ("UPDATE answer SET temperature = -1", "--temp"),
                ("UPDATE answer SET context = 100000", "the plan's context is 128"),
                ("UPDATE answer SET context = 3", "the context of 3"),
                ("DELETE FROM token", "its tokens are missing"),
                ("UPDATE session SET revision = 'x'", "'revision' is of another type")):
            self.setUp()
            self.well("-p", LONG, "-n", 4)
            self.query("UPDATE answer SET ending = NULL")
            self.query(change)
            self.assertIn(message, self.refused("--continue"))

    def test_a_damaged_block_is_noticed_and_computed_anew(self):
        for model in ("tiny-llama", "tiny-gemma3"):
            for change in ("UPDATE block SET data = zeroblob(length(data)) WHERE id = ?",
                           "UPDATE block SET data = substr(data, 2) WHERE id = ?",
                           "UPDATE block SET data = 5 WHERE id = ?",
                           "UPDATE block SET checksums = x'00' WHERE id = ?"):
                self.setUp()
                self.well("-p", LONG, "-n", 4, "--temp", 0, model=model, id="work")
                self.well("-p", " on", "-n", 4, "--temp", 0, "--fork", "copy", id="work", model=model)
                expected, _ = self.well("-p", " on", "-n", 4, "--temp", 0, "--fork", "other",
                                        id="work", model=model)
                self.query(change, 2)
                out, err = self.well("-p", " on", "-n", 4, "--temp", 0, id="work", model=model)
                self.assertIn(f"{self.file}: the keys and values of tokens 32 to 63 are damaged", err)
                self.assertEqual(out, expected)
                # It is whole again, for all that refer to it.
                _, err = self.well("-p", " on", "-n", 4, "--temp", 0, id="copy", model=model)
                self.assertNotIn("damaged", err)
                self.check_file()

    def test_blocks_that_are_missing_or_no_blocks_cost_no_session(self):
        for change in ("DELETE FROM block", "DELETE FROM block WHERE id = 2",
                       "DELETE FROM session_block", "DELETE FROM session_block WHERE n = 1",
                       "UPDATE session_block SET n = -1 WHERE n = 1",
                       "UPDATE session_block SET n = 9223372036854775807 WHERE n = 1",
                       "UPDATE session_block SET n = 'x' WHERE n = 1",
                       "UPDATE session_block SET block = 9223372036854775807",
                       "UPDATE session_block SET block = 'x' WHERE n = 0",
                       "UPDATE session_block SET block = x'00'",
                       "UPDATE session_block SET block = 2.5",
                       "UPDATE block SET key = 'x' || id", "UPDATE block SET key = -id",
                       "UPDATE block SET checksums = 'x'", "UPDATE block SET checksums = 7",
                       "UPDATE block SET id = 0 WHERE id = 1; UPDATE session_block SET block = 0 WHERE block = 1",
                       "UPDATE block SET id = -5 WHERE id = 1; UPDATE session_block SET block = -5 WHERE block = 1",
                       "UPDATE block SET id = 0 WHERE id = 1", "UPDATE block SET id = -id",
                       "UPDATE block SET id = 9223372036854775807 WHERE id = 1"):
            with self.subTest(change):
                self.setUp()
                self.well("-p", LONG, "-n", 4, "--temp", 0, id="work")
                self.well("-p", " on", "-n", 4, "--temp", 0, "--fork", "copy", id="work")
                expected, _ = self.well("-p", " on", "-n", 4, "--temp", 0, "--fork", "other", id="work")
                for each in change.split("; "):
                    self.query(each)
                for name in ("work", "copy"):
                    self.assertEqual(self.well("-p", " on", "-n", 4, "--temp", 0, id=name)[0],
                                     expected if name == "work" else self.of_copy(expected))
                self.assertEqual(self.query("PRAGMA integrity_check"), [("ok",)])

    def of_copy(self, expected):
        """What a copy that is one answer further says; computed once, of a file of its own."""
        if not hasattr(self, "copy_says"):
            kept, self.file = self.file, self.sessions / f"{self.id()}.reference.db"
            self.begin_anew()
            self.well("-p", LONG, "-n", 4, "--temp", 0)
            self.assertEqual(self.well("-p", " on", "-n", 4, "--temp", 0)[0], expected)
            self.copy_says, _ = self.well("-p", " on", "-n", 4, "--temp", 0)
            self.file.unlink()
            self.file = kept
        return self.copy_says

    def test_numbers_at_their_edges(self):
        least, most = -(1 << 63), (1 << 63) - 1
        expected = self.run_well("-p", LONG, "-n", 9, "--temp", 0, "--ignore-eos")[0]
        first = None
        for sql in ("UPDATE session SET revision = ?", "UPDATE session SET id = ?1"):
            for edge in (least, -1, 0, most):
                with self.subTest(sql, edge=edge):
                    self.setUp()
                    first, _ = self.well("-p", LONG, "-n", 4, "--temp", 0, "--ignore-eos")
                    if "id" in sql.split("=")[0]:
                        for table in ("message", "token", "answer", "answer_stop", "answer_token",
                                      "session_block"):
                            self.query(f"UPDATE {table} SET session = ?", edge)
                    self.query(sql, edge)
                    for _ in range(2):
                        self.well("-p", " on", "-n", 4, "--temp", 0)
                    self.assertEqual(self.query("SELECT count(*) FROM session"), [(1,)])
                    self.check_file()
        self.assertTrue(expected.startswith(first.rstrip()), (expected, first))
        for column in ("keep", "predict", "context", "keep_option", "top_k", "ignore_end"):
            for edge in (least, -1, 0, most):
                with self.subTest(column, edge=edge):
                    self.setUp()
                    self.well("-p", LONG, "-n", 4, "--temp", 0)
                    self.query("UPDATE answer SET ending = NULL, predict = 6")
                    self.query(f"UPDATE answer SET {column} = ?", edge)
                    status, _, err = self.session("--continue")
                    self.assertIn(status, (0, 1), err)
                    if status:
                        self.assertRegex(err, r"\Allmsql-run: [^\n]+\n\Z")

    def test_changed_bytes_and_cut_files_end_in_a_line_or_do_no_harm(self):
        for message in ("Why?", "And then?"):
            self.well("--chat", "-p", message, "-n", 12, "--temp", 0)
        whole = self.file.read_bytes()
        chance = random.Random(CHANCE)
        for n in range(DAMAGES):
            damaged = bytearray(whole)
            if n % 4 == 0:
                damaged = damaged[:chance.randrange(len(whole))]
            else:  # half of them where the schema and the smaller tables are
                for _ in range(chance.choice((1, 1, 4, 40))):
                    damaged[chance.randrange(chance.choice((8192, len(whole))))] = chance.randrange(256)
            self.file.write_bytes(damaged)
            with self.subTest(n=n, seed=CHANCE):
                status, _, err = self.session("--chat", "-p", "So?", "-n", 2)
                self.assertIn(status, (0, 1), err)
                # A line a block that is computed anew, and one if that was not all.
                self.assertRegex(err, r"\A(llmsql-run: [^\n]+ computing them anew\n)*" +
                                 (r"llmsql-run: [^\n]+\n\Z" if status else "prefill"))
            self.begin_anew()

    def test_a_new_prompt_keeps_what_there_is(self):
        expected, _ = self.run_well("--chat", "-p", "Why?", "-n", 40, "--temp", 0, "--ignore-eos")
        self.well("--chat", "-p", "Why?", "-n", 40, "--temp", 0, "--ignore-eos")
        # As after a kill when 20 tokens had been committed.
        self.query("UPDATE answer SET ending = NULL")
        self.query("DELETE FROM answer_token WHERE n >= 20")
        self.query("DELETE FROM token WHERE position >= (SELECT max(position) FROM token) - 19")
        self.assertEqual(self.query("SELECT unfinished FROM sessions"), [(1,)])
        self.well("--chat", "-p", "And?", "-n", 4, "--temp", 0)
        kept = self.query("SELECT content FROM message WHERE n = 1")[0][0]
        self.assertTrue(expected.decode().startswith(kept), kept)
        self.assertLess(len(kept), len(expected) - 5)
        # What had no answer at all is dropped.
        self.query("UPDATE answer SET ending = NULL")
        self.query("DELETE FROM answer_token")
        _, err = self.well("--chat", "-p", "So?", "-n", 4, "--temp", 0)
        self.assertIn("no answer yet", err)
        asked = [content for (content,) in self.query("SELECT content FROM message WHERE role = 'user'")]
        self.assertEqual(asked, ["Why?", "So?"])

    def test_a_state_of_random_numbers_that_is_none(self):
        self.well("-p", "The river", "-n", 8, "--seed", 1)
        self.query("UPDATE answer SET ending = NULL")
        (good,), = self.query("SELECT random FROM answer")
        for bad in "q", "", "1 2 3", good[:-30], good + " q":
            self.query("UPDATE answer SET random = ?", bad)
            self.assertIn("the value of 'random' in its row of the table answer is no state",
                          self.refused("--continue"))
        self.query("UPDATE answer SET random = ?", good)
        self.well("--continue")

    def test_continue_where_nothing_is_left(self):
        out, _ = self.well("-p", "The river", "-n", 8, "--temp", 0)
        again, err = self.well("--continue")
        self.assertEqual(again, out)
        self.assertIn("whole already", err)

    def test_a_file_at_the_limit_of_its_size_is_an_error_and_goes_on(self):
        options = ("--chat", "-p", "Go on.", "-n", 90, "--seed", 5, "--temp", 1.5, "--ignore-eos",
                   "--keep", 8)
        expected, _ = self.run_well(*options)
        limit = 216 << 10
        status, _, err = attempt(*self.made["tiny-llama"], "--session", self.file, *options,
                                 "--commit-every", 1, preexec_fn=lambda: resource.setrlimit(
                                     resource.RLIMIT_FSIZE, (limit, limit)))
        self.assertEqual(status, 1, err)
        self.assertRegex(err, r"^llmsql-run: .*\n$")
        out, _ = self.well("--continue")
        self.assertEqual(out, expected)

    def test_interrupt_and_continue(self):
        options = ("--chat", "-p", "Go on.", "-n", 90, "--seed", 5, "--temp", 1.5, "--ignore-eos",
                   "--keep", 8)
        expected, _ = self.run_well(*options)
        process = start(*self.made["tiny-llama"], "--session", self.file, *options,
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(40)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertIn(process.returncode, (130, 0))
        out, _ = self.well("--continue")
        self.assertEqual(out, expected)

    def test_two_at_once_notice_each_other(self):
        self.well("--chat", "-p", "Hi", "-n", 2)
        process = start(*self.made["tiny-llama"], "--session", self.file, "-n", 2,
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(b"One?\n")
        process.stdin.flush()
        self.assertNotEqual(process.stdout.read(1), b"")
        while not self.query("SELECT 1 FROM message WHERE n = 3 AND "
                             "NOT (SELECT unfinished FROM sessions)"):
            time.sleep(0.01)
        self.well("--chat", "-p", "Two?", "-n", 2)
        _, err = process.communicate(b"Three?\n", timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"another program goes on with the session 'default'", err)
        self.assertEqual(self.query("SELECT content FROM message WHERE role = 'user'"),
                         [("Hi",), ("One?",), ("Two?",)])

    def answering(self, least):
        """A program that answers "First" without end, once its answer has so many tokens in the file."""
        maker = start(*self.made["tiny-llama"], "--session", self.file, "--chat", "-p", "First", "-n",
                      1000000, "--ignore-eos", "--keep", 8, "--commit-every", 1000000,
                      stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(maker.communicate)
        self.addCleanup(maker.kill)
        while not (self.file.exists() and self.query("SELECT 1 FROM sqlite_master") and
                   self.query("SELECT 1 FROM message") and
                   self.query("SELECT count(*) >= ? FROM answer_token", least)[0][0]):
            time.sleep(0.01)
        return maker

    def test_an_answer_in_the_making_is_nobody_elses(self):
        # At once as well as later, when it has tokens.
        for least in (0, 1):
            self.begin_anew()
            maker = self.answering(least)
            for options in (("--chat", "-p", "Second", "-n", 2), ("--continue",)):
                self.assertIn("is in use: another program is answering in it", self.refused(*options))
            self.assertEqual(self.query("SELECT content FROM message WHERE n <> 1"), [("First",)])
            # Another session of the file is another.
            self.well("--chat", "-p", "Hi", "-n", 2, id="other")
            self.assertIsNone(maker.poll())
            # One that is dead has let go of it.
            maker.kill()
            maker.wait()
            _, _, err = self.session("--chat", "-p", "Second", "-n", 2)
            self.assertNotIn("in use", err)
            if not least:
                self.assertIn("no answer yet: it is dropped", err)
                self.assertEqual(self.query("SELECT content FROM message WHERE session = 1 AND n = 0"),
                                 [("Second",)])

    def test_a_copy_of_a_session_in_use_is_another(self):
        maker = self.answering(0)
        self.well("--chat", "-p", "Hi", "-n", 2, "--fork", "copy")
        self.assertIsNone(maker.poll())
        self.assertEqual(self.query("SELECT content FROM message WHERE session = 1 AND n = 0"),
                         [("First",)])

    def test_of_several_that_begin_at_once_none_loses_a_message(self):
        for round in range(6):
            self.begin_anew()
            kind = (["--chat", "-p"], ["-p"])[round % 2]
            started = [start(*self.made["tiny-llama"], "--session", self.file, "-n", 100, "--temp", 0,
                             "--ignore-eos", *kind, f"Message {number}", stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE) for number in range(4)]
            taken = set()
            for number, process in enumerate(started):
                out, err = process.communicate(timeout=120)
                self.assertIn(process.returncode, (0, 1), err)
                self.assertNotIn(b"dropped", err)
                if process.returncode == 0:
                    taken.add(f"Message {number}")
                else:
                    self.assertEqual(out, b"")
                    self.assertRegex(err, rb"\Allmsql-run: [^\n]+\n\Z")
            self.assertGreaterEqual(len(taken), 1)
            said = [content for (content,) in self.query(
                "SELECT content FROM message WHERE role IN ('user', 'prompt')")]
            self.assertEqual((len(said), set(said)), (len(taken), taken))
            self.check_file()

    # Killed at any moment.

    def killed_and_resumed(self, made, options, expected, kills):
        """Runs and resumes, killed so many times at random moments; whatever comes to its end must
        print `expected`, and begins anew."""
        begun = time.monotonic()
        self.assertEqual(self.killed_after(60, made, options), expected)
        length = time.monotonic() - begun
        self.begin_anew()
        arguments = options
        killed = 0
        while killed < kills:
            out = self.killed_after(random.uniform(0, length), made, arguments)
            if out is None:
                killed += 1
            else:
                self.assertEqual(out, expected)
                self.check_file()
                self.begin_anew()
            begun = self.file.exists() and self.query("SELECT 1 FROM sqlite_master") and \
                self.query("SELECT 1 FROM session")
            if begun:
                self.check_file()
            arguments = ["--continue"] if begun else options
        status, out, err = attempt(*made, "--session", self.file, *arguments)
        self.assertEqual(status, 0, err)
        self.assertEqual(out, expected)

    def killed_after(self, seconds, made, arguments):
        """What it has printed, or None if it was killed."""
        process = start(*made, "--session", self.file, "--commit-every", 3, *arguments,
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        self.assertIn(process.returncode, (0, -signal.SIGKILL), err)
        return out if process.returncode == 0 else None

    def begin_anew(self):
        for suffix in ("", "-journal"):
            self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)

    def test_killed_at_random_moments(self):
        random.seed(7)
        runs = (("tiny-llama", ("--temp", 0)), ("tiny-llama", ("--seed", 3, "--temp", 1)),
                ("tiny-qwen2", ("--seed", 4, "--temp", 1)), ("tiny-gemma3", ("--seed", 5, "--temp", 1)))
        for model, sampling in runs:
            self.setUp()
            options = ["-p", LONG, "-n", 300, "--ignore-eos", "--keep", 8, *sampling]
            made = self.made[model]
            status, expected, err = attempt(*made, *options)
            self.assertEqual(status, 0, err)
            self.killed_and_resumed(made, options, expected, KILLS)


if __name__ == "__main__":
    unittest.main()
