#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""llmsql-import from outside: what it writes from the tiny models, what it says to bad input, and
that nothing is left of an import that failed or was interrupted.

Of real models, those that scripts/fetch-models has brought, and SmolLM2-135M where LLMSQL_SMOLLM2
names it, are imported within 150 MB of memory."""

import os
import pathlib
import resource
import shutil
import signal
import struct
import subprocess
import time
import unittest

import numpy as np

from programs import FIXTURES, MODELS, SOURCE, TemporaryFolder, import_gguf, rows, run, run_and_measure

from model_db import read_model

GRAPHS = SOURCE / "graphs"
TINY = {"tiny-llama": "llama", "tiny-llama-quant": "llama", "tiny-llama-k": "llama",
        "tiny-llama-f16": "llama", "tiny-qwen2": "qwen2", "tiny-gemma3": "gemma3"}
LLAMA = FIXTURES / "tiny-llama.gguf"


def attempt(*arguments, **options):
    """Exit code and stderr of an import."""
    done = subprocess.run([os.environ["LLMSQL_IMPORT"], *map(str, arguments)], capture_output=True,
                          **options)
    return done.returncode, done.stderr.decode()


class Folder(TemporaryFolder):
    def names(self):
        return sorted(path.name for path in self.folder.iterdir())


class Tiny(Folder):
    def test_tables(self):
        for name, graph in TINY.items():
            with self.subTest(name):
                db, toml = import_gguf(FIXTURES / f"{name}.gguf", graph, "auto", self.folder)
                self.assertEqual(rows(db, "PRAGMA integrity_check"), [("ok",)])
                self.assertEqual(rows(db, "PRAGMA page_size"), [(65536,)])
                meta = dict(rows(db, "SELECT key, value FROM llm_meta"))
                self.assertEqual(meta["graph"], graph)
                self.assertEqual(meta["model"], name.removesuffix("-f16"))  # as a quantisation
                self.assertEqual(meta["source"], f"{name}.gguf")
                self.assertEqual(meta["tokenizer.kind"], "spm" if graph == "gemma3" else "bpe")
                (tokens,), = rows(db, "SELECT count(*) FROM llm_token")
                (embedding,), = rows(db, "SELECT rows FROM llm_param WHERE name = 'token_embd'")
                self.assertEqual(tokens, embedding)
                # Tiles lie in the order of the catalogue, without a gap.
                order = [param for param, in rows(db, "SELECT param FROM llm_tile ORDER BY id")]
                self.assertEqual(order, sorted(order))
                self.assertEqual(set(order), {id for id, in rows(db, "SELECT id FROM llm_param")})
                self.assertIn(f'graph = "{graph}"', toml.read_text())

    def test_a_name_that_is_no_text(self):
        source = os.path.join(os.fsencode(self.folder), b"bad\xffname.gguf")
        shutil.copy(LLAMA, source)
        toml = self.folder / "bad.toml"
        subprocess.run([os.environ["LLMSQL_IMPORT"], source, "-o", self.folder / "bad.db", "--write-model", toml],
                       check=True, capture_output=True)
        self.assertIn('name = "bad\ufffdname"', toml.read_text())

    def test_merges_make_what_they_say(self):
        db, _ = import_gguf(LLAMA, "llama", "auto", self.folder)
        pieces = dict(rows(db, "SELECT id, piece FROM llm_token"))
        merges = rows(db, 'SELECT "left", "right", merged FROM llm_merge')
        self.assertGreater(len(merges), 10)
        for left, right, merged in merges:
            self.assertEqual(pieces[left] + pieces[right], pieces[merged])

    def test_weights(self):
        """The same tensors stored in each way: equal where that is promised, close elsewhere."""
        source = FIXTURES / "tiny-llama-quant.gguf"
        exact, _ = read_model(import_gguf(source, "llama", "f32", self.folder)[0])
        for choice, bound in {"auto": 0, "f16": 2**-11, "q8": 1 / 250, "q4": 1 / 28}.items():
            weights, types = read_model(import_gguf(source, "llama", choice, self.folder)[0])
            self.assertEqual(weights.keys(), exact.keys())
            for name, values in weights.items():
                difference = np.abs(values - exact[name]).max()
                if values.ndim == 1:
                    self.assertEqual((types[name], difference), ("f32", 0), name)
                    continue
                if choice != "auto":
                    self.assertEqual(types[name], choice)
                spread = exact[name].max() - exact[name].min()
                self.assertLessEqual(difference, spread * bound, f"{name} as {choice}")
        self.assertEqual(set(types.values()), {"f32", "q4"})

    def test_a_written_model_file_imports_the_same(self):
        for name, graph in TINY.items():
            with self.subTest(name):
                source = FIXTURES / f"{name}.gguf"
                db, toml = import_gguf(source, graph, "auto", self.folder)
                again = self.folder / "again.db"
                run("LLMSQL_IMPORT", source, "--model", toml, "--graph-dir", GRAPHS, "-o", again)
                self.assertEqual(db.read_bytes(), again.read_bytes())

    def test_names_and_outputs(self):
        db = self.folder / "x.db"
        arguments = LLAMA, "--graph", GRAPHS / "llama.graph", "-o", db
        db.write_text("something else")
        code, said = attempt(*arguments)
        self.assertEqual((code, db.read_text()), (1, "something else"))
        self.assertIn("is there already and is not a database", said)
        db.unlink()
        self.assertEqual(attempt(*arguments)[0], 0)
        self.assertEqual(attempt(*arguments, "--name", "my model")[0], 0)
        self.assertEqual(rows(db, "SELECT value FROM llm_meta WHERE key = 'model'"), [("my model",)])
        self.assertEqual(self.names(), ["x.db"])
        code, said = attempt(*arguments)
        self.assertEqual(code, 0)
        self.assertRegex(said, r'^chat: "Hi" becomes ".*"\ntiny-llama: .*parameters, .*B → .*B, [0-9.]+ s\n$')


class BadInput(Folder):
    def refuse(self, expected, source, *arguments, code=1, **options):
        """The import fails with one line that says what is expected, and leaves no file."""
        before = self.names()
        got, said = attempt(source, *arguments, "-o", self.folder / "x.db", **options)
        self.assertIn(expected, said)
        self.assertEqual(got, code, said)
        if code == 1:
            self.assertRegex(said, r"\Allmsql-import: [^\n]*\n\Z")
        self.assertEqual(self.names(), before)

    def damaged(self, change):
        """A model that `change` has changed in place, or made another of."""
        content = bytearray(LLAMA.read_bytes())
        changed = change(content)
        path = self.folder / "bad.gguf"
        path.write_bytes(content if changed is None else changed)
        return path

    def test_sources(self):
        graph = "--graph", GRAPHS / "llama.graph"
        self.refuse("No such file", self.folder / "none.gguf", *graph)
        self.refuse("has no config.json", self.folder, *graph)
        self.refuse("is not a GGUF file", self.damaged(lambda c: b""), *graph)
        self.refuse("is not a GGUF file", self.damaged(lambda c: os.urandom(5000)), *graph)
        size = LLAMA.stat().st_size
        for cut in (10, 100, 2000, size // 2, size - 40):
            self.refuse(": ", self.damaged(lambda c: c[:cut]), *graph)

        def absurd(content):
            content[8:16] = struct.pack("<Q", 1 << 60)
        self.refuse("claims 1152921504606846976 tensors", self.damaged(absurd), *graph)

        def renamed(content):
            return content.replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_no.weight")
        self.refuse("blk.1.ffn_up.weight", self.damaged(renamed), *graph)

        def unknown_type(content):
            name = b"output_norm.weight"
            at = content.index(name) + len(name) + 4 + 8  # number of dimensions, dimension
            content[at:at + 4] = struct.pack("<I", 77)
        self.refuse("tensor output_norm.weight: unknown type 77", self.damaged(unknown_type), *graph)

        def other_shape(content):
            name = b"output_norm.weight"
            at = content.index(name) + len(name) + 4
            length, = struct.unpack_from("<Q", content, at)
            content[at:at + 8] = struct.pack("<Q", length - 8)
        self.refuse("tensor output_norm.weight has the shape [", self.damaged(other_shape), *graph)

        def not_a_number(content):
            content[-4:] = struct.pack("<f", float("nan"))
        self.refuse("has a value that", self.damaged(not_a_number), *graph, "--weights", "q8")

        def overlapping(content):
            names = b"blk.0.attn_norm.weight", b"blk.0.ffn_norm.weight"
            first, second = (content.index(name) + len(name) + 4 + 8 + 4 for name in names)
            content[second:second + 8] = content[first:first + 8]
        self.refuse("overlap", self.damaged(overlapping), *graph)

        def other_tokenizer(content):
            return content.replace(struct.pack("<Q", 4) + b"gpt2", struct.pack("<Q", 4) + b"rwkv")
        self.refuse('kind "rwkv"', self.damaged(other_tokenizer), *graph)

    def test_graphs_and_models(self):
        self.refuse("architecture", LLAMA, "--graph", GRAPHS / "qwen2.graph")
        self.refuse("No such file", LLAMA, "--graph", self.folder / "none.graph")
        self.refuse("No such file", LLAMA, "--model", self.folder / "none.toml")
        self.refuse("is of the architecture 'llama', but the graph gemma3", LLAMA,
                    "--model", SOURCE / "models" / "gemma3-270m.toml")
        smollm2 = SOURCE / "models" / "smollm2-135m.toml"
        self.refuse("the model needs", LLAMA, "--model", smollm2)
        other_pre = self.folder / "pre.toml"
        other_pre.write_text(smollm2.read_text().replace('pre = "smollm"', 'pre = "gpt2"'))
        self.refuse("says bpe/gpt2", LLAMA, "--model", other_pre, "--graph-dir", GRAPHS)

    def test_outputs(self):
        arguments = LLAMA, "--graph", GRAPHS / "llama.graph"
        for output, expected in {self.folder: "is a directory",
                                 self.folder / "no" / "x.db": "No such file"}.items():
            code, said = attempt(*arguments, "-o", output)
            self.assertEqual(code, 1)
            self.assertIn(expected, said)
        source = self.folder / "x.gguf"
        source.write_bytes(LLAMA.read_bytes())
        link = self.folder / "link.gguf"
        link.symlink_to(source)
        for output in source, link:
            code, said = attempt(source, *arguments[1:], "-o", output)
            self.assertEqual(code, 1)
            self.assertIn("is the source itself", said)
        self.assertEqual(source.read_bytes(), LLAMA.read_bytes())
        self.refuse("is a directory", *arguments, "--write-model", self.folder)
        self.refuse("cannot create", *arguments, "--write-model", self.folder / "no" / "x.toml")

    def test_a_full_disk(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000))
        self.refuse("x.db: cannot write: ", LLAMA, "--graph", GRAPHS / "llama.graph",
                    "--write-model", self.folder / "x.toml", preexec_fn=limit)

    def test_usage(self):
        graph = "--graph", GRAPHS / "llama.graph"
        self.refuse("excludes", LLAMA, *graph, "--model", "x.toml", code=2)
        self.refuse("--weights", LLAMA, *graph, "--weights", "q5", code=2)
        self.refuse("--weights: the one for all matrices comes after others", LLAMA, *graph, "--weights", "q8",
                    "--weights", "f16")
        self.refuse("--model excludes --weights", LLAMA, "--model", "x.toml", "--weights", "q8",
                    code=2)
        self.assertEqual(attempt(), (2, "llmsql-import: SRC is required (llmsql-import --help lists "
                                        "the options)\n"))
        self.assertEqual(attempt("--version")[0], 0)
        # What is not there is no misuse, whichever option names it: as a model file, a folder of graphs.
        self.refuse("--graph-dir /nowhere: there is no such folder", LLAMA, "--graph-dir", "/nowhere")
        self.refuse("/nowhere: No such file", LLAMA, "--graph", "/nowhere")
        for option in "--output", "--model", "--graph", "--graph-dir", "--write-model", "--name", "--ignore-key":
            self.assertEqual(attempt(LLAMA, *(() if option == "--output" else ("-o", self.folder / "x.db")), f"{option}="),
                             (2, f"llmsql-import: {option}: is empty (llmsql-import --help lists the options)\n"))

    def test_the_graph_is_found_by_the_architecture(self):
        for name in ("tiny-llama", "tiny-qwen2", "tiny-gemma3"):
            found, named = self.folder / "found.db", self.folder / "named.db"
            run("LLMSQL_IMPORT", FIXTURES / f"{name}.gguf", "--graph-dir", GRAPHS, "-o", found)
            run("LLMSQL_IMPORT", FIXTURES / f"{name}.gguf", "-o", named, "--graph",
                GRAPHS / f"{name.removeprefix('tiny-')}.graph")
            self.assertEqual(found.read_bytes(), named.read_bytes())


class Again(Folder):
    """Over a database that is there, and beside what a killed import has left."""

    def setUp(self):
        super().setUp()
        self.db, self.toml = self.folder / "x.db", self.folder / "x.toml"
        self.command = LLAMA, "-o", self.db, "--graph-dir", GRAPHS

    def note_of(self, *options):
        code, said = attempt(*self.command, *options)
        self.assertEqual(code, 0, said)
        *notes, last = said.splitlines()
        self.assertIn("parameters", last)
        return [note for note in notes if not note.startswith("chat: ")]

    def install(self, *options):
        run("LLMSQLC", self.toml, "--install", self.db, "--graph-dir", GRAPHS, "--context", 64, *options)

    def plans(self):
        if not rows(self.db, "SELECT 1 FROM sqlite_master WHERE name = 'llm_plan'"):
            return []
        return rows(self.db, "SELECT name, sql FROM llm_plan ORDER BY name")

    def test_plans_stay_where_they_fit(self):
        without = self.note_of("--weights", "q8", "--write-model", self.toml)
        self.assertEqual(self.plans(), [])
        self.install()
        self.install("--name", "it's", "--kv", "q8")
        before = self.plans()
        self.assertEqual([name for name, _ in before], ["default", "it's"])
        # Another name, or another file that says the same, has the same catalogue.
        for options in (["--weights", "q8"], ["--weights", "q8", "--name", "other"], ["--model", self.toml]):
            self.assertEqual(self.note_of(*options), without if "--name" in options else [])
            self.assertEqual(self.plans(), before)
            self.assertEqual(rows(self.db, "PRAGMA integrity_check"), [("ok",)])
            run("LLMSQL_RUN", self.db, "--plan", "it's", "-p", "a", "-n", 1)
        run("LLMSQL_RUN", self.db, "--verify")

    def test_plans_that_go_are_said(self):
        self.note_of("--weights", "q8", "--write-model", self.toml)
        known = self.note_of("--weights", "q8", "--write-model", self.toml)
        self.install()
        (note,) = self.note_of("--weights", "q4")
        self.assertIn("the plan 'default' that was installed in it is gone", note)
        self.assertIn(f"import with --write-model MODEL.toml, then llmsqlc MODEL.toml --install {self.db} ",
                      note)
        self.assertEqual(self.plans(), [])
        self.assertEqual(self.note_of("--weights", "q4"), [])
        # What the note says is done by just that.
        self.note_of("--weights", "q4", "--write-model", self.toml)
        self.install("--name", "mine")
        for options in ["--weights", "q8", "--write-model", self.toml], ["--model", self.toml]:
            notes = [note for note in self.note_of(*options) if note not in known]
            if options[0] == "--model":
                self.assertEqual(notes, [])
                break
            (note,) = notes
            self.assertIn("'mine'", note)
            command = note.split("others now: ")[1].removesuffix(" installs one anew").split()
            self.assertEqual(command, ["llmsqlc", str(self.toml), "--install", str(self.db), "--name",
                                       "mine"])
            run("LLMSQLC", *command[1:], "--graph-dir", GRAPHS)
            self.assertEqual([name for name, _ in self.plans()], ["mine"])
        self.install()
        notes = [note for note in self.note_of("--weights", "q4", "--write-model", self.toml)
                 if note not in known]
        self.assertEqual(len(notes), 1)
        self.assertIn("the plans 'default', 'mine' that were installed in it are gone", notes[0])

    def test_a_plan_installed_meanwhile_is_not_lost(self):
        """Whenever llmsqlc comes in between: the plan is there, or one of the two says no."""
        self.note_of("--weights", "q8", "--write-model", self.toml)
        for delay in range(0, 60, 4):
            self.install("--name", "first")
            process = subprocess.Popen([os.environ["LLMSQL_IMPORT"], *map(str, self.command), "--weights",
                                        "q8"], stderr=subprocess.PIPE)
            time.sleep(delay / 1000)
            installed = subprocess.run([os.environ["LLMSQLC"], self.toml, "--install", self.db,
                                        "--graph-dir", GRAPHS, "--name", f"at{delay}"],
                                       capture_output=True).returncode == 0
            _, said = process.communicate()
            if process.returncode == 0:
                names = [name for name, _ in self.plans()]
                self.assertIn("first", names)
                if installed:
                    self.assertIn(f"at{delay}", names)
            else:
                self.assertRegex(said, rb"installed in it meanwhile|is beside it|is writing to it")

    def killed(self):
        """The temporary file of an import that was killed when it had begun to write."""
        process = subprocess.Popen([os.environ["LLMSQL_IMPORT"], FIXTURES / "tiny-llama-k.gguf", "-o",
                                    self.db, "--graph-dir", GRAPHS, "--weights", "f32"],
                                   stderr=subprocess.DEVNULL)
        while not (left := [path for path in self.folder.glob("x.db?*")]) and process.poll() is None:
            pass
        process.kill()
        process.wait()
        return left[0] if left and left[0].exists() else self.killed()

    def test_what_a_killed_import_left_is_removed(self):
        for _ in range(10):
            self.db.unlink(missing_ok=True)
            self.killed()
            self.note_of()
            self.assertEqual(self.names(), ["x.db"])

    def test_what_is_not_a_dead_imports_stays(self):
        left = self.killed()
        # Names as a temporary file has them, and none of them the one that was left.
        like = [left.name[:-1] + last for last in "abcd" if last != left.name[-1]]
        others = {"x.db.backup": LLAMA.read_bytes(), like[0]: b"my notes",
                  left.name + "7": b"", ".x.db.abcdef": b"", "y" + left.name[1:]: left.read_bytes()}
        for name, content in others.items():
            (self.folder / name).write_bytes(content)
        folder = left.with_name(like[1])
        folder.mkdir()
        link = left.with_name(like[2])
        link.symlink_to(self.folder / ("y" + left.name[1:]))
        self.note_of()
        self.assertEqual(self.names(), sorted(["x.db", folder.name, link.name, *others]))
        for name, content in others.items():
            self.assertEqual((self.folder / name).read_bytes(), content)

    def test_a_living_imports_stays(self):
        # Two at once into one file: whoever comes last has it, and neither loses its own.
        for _ in range(5):
            both = [subprocess.Popen([os.environ["LLMSQL_IMPORT"], *map(str, self.command)],
                                     stderr=subprocess.PIPE) for _ in range(3)]
            for process in both:
                _, said = process.communicate()
                self.assertEqual(process.returncode, 0, said)
            self.assertEqual(self.names(), ["x.db"])
            self.assertEqual(rows(self.db, "PRAGMA integrity_check"), [("ok",)])


class Interrupted(Folder):
    def test_signals_leave_a_whole_model_or_none(self):
        """Whenever the signal comes: before the program listens, in the middle, at the end."""
        source = FIXTURES / "tiny-llama-k.gguf"
        db = self.folder / "x.db"
        command = [os.environ["LLMSQL_IMPORT"], source, "--graph", GRAPHS / "llama.graph",
                   "--weights", "f32", "-o", db]
        for sent in signal.SIGINT, signal.SIGTERM, signal.SIGKILL:
            for delay in range(0, 60, 3):
                process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
                time.sleep(delay / 1000)
                process.send_signal(sent)
                process.wait()
                left = self.names()
                if db in self.folder.iterdir():
                    self.assertEqual(rows(db, "PRAGMA integrity_check"), [("ok",)])
                    self.assertEqual(rows(db, "SELECT count(*) > 0 FROM llm_tile"), [(1,)])
                    left.remove("x.db")
                else:
                    self.assertNotEqual(process.returncode, 0)
                if sent != signal.SIGKILL:  # which may leave the temporary file
                    self.assertEqual(left, [])
                for path in self.folder.iterdir():
                    path.unlink()


class RealModels(Folder):
    def sources(self):
        if "LLMSQL_SMOLLM2" in os.environ:
            yield pathlib.Path(os.environ["LLMSQL_SMOLLM2"]), "smollm2-135m.toml"
        for toml in (SOURCE / "models").glob("*.toml"):
            gguf = MODELS / f"{toml.stem}.gguf"
            if gguf.exists():
                yield gguf, toml.name

    def test_memory(self):
        sources = list(self.sources())
        if not sources:
            self.skipTest("no real model is there (scripts/fetch-models brings some)")
        for gguf, toml in sources:
            with self.subTest(toml):
                db = self.folder / "x.db"
                _, peak = run_and_measure("LLMSQL_IMPORT", gguf, "--model", SOURCE / "models" / toml, "-o", db)
                if not os.environ.get("LLMSQL_SANITIZED"):  # sanitizers keep what is freed
                    self.assertLess(peak, 150e6)
                self.assertEqual(self.names(), ["x.db"])

    def test_where_little_memory_is_free(self):
        """Within a memory cgroup of 24 MiB the database is the same."""
        gguf, toml = next(((gguf, toml) for gguf, toml in self.sources() if toml == "smollm2-135m.toml"), (None, None))
        parent = pathlib.Path("/sys/fs/cgroup/memory")
        if not gguf or not (parent / "memory.limit_in_bytes").exists() or not os.access(parent, os.W_OK) \
                or os.environ.get("LLMSQL_SANITIZED"):
            self.skipTest("needs SmolLM2 and the right to make a memory cgroup (v1)")
        arguments = [gguf, "--model", SOURCE / "models" / toml, "-o"]
        self.assertEqual(attempt(*arguments, self.folder / "x.db")[0], 0)
        group = parent / f"llmsql-test-import-{os.getpid()}"
        group.mkdir()
        self.addCleanup(group.rmdir)
        (group / "memory.limit_in_bytes").write_text(str(24 << 20))
        code, said = attempt(*arguments, self.folder / "y.db",
                             preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())))
        self.assertEqual(code, 0, said)
        self.assertEqual((self.folder / "x.db").read_bytes(), (self.folder / "y.db").read_bytes())


if __name__ == "__main__":
    unittest.main()
