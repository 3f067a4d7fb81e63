# SPDX-License-Identifier: MIT
"""llmsqlc from the outside: what it writes and where, what it refuses and how."""

import os
import pathlib
import stat
import subprocess
import tempfile
import threading
import unittest

SOURCE = pathlib.Path(os.environ.get("LLMSQL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
MODELS = sorted((SOURCE / "models").glob("*.toml"))


def llmsqlc(*arguments, **options):
    return subprocess.run([os.environ["LLMSQLC"], *map(str, arguments)], capture_output=True,
                          timeout=60, **options)


class Llmsqlc(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def succeed(self, *arguments, **options):
        done = llmsqlc(*arguments, **options)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return done.stdout

    def refuse(self, code, *arguments, **options):
        done = llmsqlc(*arguments, **options)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stdout, b"")
        return done.stderr.decode()

    def test_every_shipped_model(self):
        self.assertGreater(len(MODELS), 3)
        for number, model in enumerate(MODELS):
            with self.subTest(model.name):
                plan = self.folder / "plan.sql"
                self.assertEqual(self.succeed(model, "-o", plan), b"")
                text = plan.read_bytes()
                self.assertTrue(text.startswith("-- llmsql plan 1 · ".encode()))
                lines = text.decode().splitlines()
                self.assertRegex(lines[-1], r"^--@ end \d+$")
                # The same again, to the byte, whatever the way out, or the folder and the locale.
                german = {**os.environ, "LC_ALL": "de_DE.UTF-8", "TZ": "Asia/Tokyo"}
                ways = (lambda: self.succeed(model, "-o", "-"), lambda: self.succeed(model, "--emit=sql"),
                        lambda: self.succeed(model.name, "--emit", "sql", cwd=model.parent, env=german))
                self.assertEqual(ways[number % 3](), text)

    def test_sizes(self):
        model = MODELS[0]
        text = self.succeed(model, "--emit=sql", "-c", 96, "--chunk", 8, "--logits-rows", 2).decode()
        self.assertIn("· context 96 · chunk 8 · logits rows 2 · drafts 1\n", text)
        self.assertIn("llm_kv(context=96, ", text)
        text = self.succeed(model, "--emit=sql", "--context", 5).decode()
        self.assertIn("· context 5 · chunk 5 · logits rows 5 · drafts 4\n", text)

    def test_types_of_the_cache(self):
        f16 = self.succeed(MODELS[0], "--emit=sql").decode()
        self.assertEqual(self.succeed(MODELS[0], "--emit=sql", "--kv", "f16").decode(), f16)
        q8 = self.succeed(MODELS[0], "--emit=sql", "--kv=q8").decode()
        changed = [(a, b) for a, b in zip(f16.splitlines(), q8.splitlines()) if a != b]
        # The header's bytes, the table, and the captions of what is stored in it.
        self.assertEqual(changed[1][0].replace("type='f16'", "type='q8'"), changed[1][1])
        for before, after in changed[2:]:
            self.assertTrue(before.startswith("-- cache "), before)
            self.assertEqual(before.replace("  f16[", "  q8["), after)
        self.assertGreater(len(changed), 2)
        for wrong in ("q9", "Q8", "f32", ""):
            message = self.refuse(2, MODELS[0], "--emit=sql", f"--kv={wrong}")
            self.assertIn("--kv", message)
            self.assertIn("{f16,q8}", message)

    def test_other_forms(self):
        page = self.succeed("--emit=operators")
        self.assertEqual(page, (SOURCE / "docs" / "operators.md").read_bytes())
        model = SOURCE / "models" / "smollm2-135m.toml"
        graph = self.succeed(model, "--emit=graph").decode()
        self.assertRegex(graph, r"(?m)^v\d+ = rms_norm\(v\d+, layer\.3\.attn_norm, ")
        ast = self.folder / "llama.graph"  # a graph is in a file of its name
        ast.write_bytes(self.succeed(model, "--emit=ast"))
        self.assertEqual(self.succeed(ast), f"{ast}: ok\n".encode())
        self.assertEqual(self.succeed(ast, "--emit=ast"), ast.read_bytes())

    def test_a_graph_alone(self):
        for graph in (SOURCE / "graphs").glob("*.graph"):
            self.assertEqual(self.succeed(graph), f"{graph}: ok\n".encode())
        bad = self.folder / "bad.graph"
        bad.write_text("graph bad {\n  dim 7;\n}\n")
        self.assertRegex(self.refuse(1, bad), rf"^{bad}:2:\d+: error: ")

    def test_where_graphs_are_looked_for(self):
        # Under another name: the programs find the source's own graphs by themselves.
        text = next(m for m in MODELS if m.name == "smollm2-135m.toml").read_text()
        text = text.replace('graph = "llama"', 'graph = "mine"')
        graph = (SOURCE / "graphs" / "llama.graph").read_bytes().replace(b"graph llama", b"graph mine")
        models, graphs, other = (self.folder / name for name in ("models", "graphs", "other"))
        for folder in (models, graphs, other):
            folder.mkdir()
        model = models / "m.toml"
        model.write_text(text)
        expected = self.succeed(SOURCE / "models" / "smollm2-135m.toml", "--emit=sql")
        expected = expected.replace(" · llama · ".encode(), " · mine · ".encode())
        self.assertIn("mine.graph", self.refuse(1, model, "--emit=sql"))
        for place, options in ((models, []), (graphs, []), (other, ["--graph-dir", other])):
            (place / "mine.graph").write_bytes(graph)
            self.assertEqual(self.succeed(model, "--emit=sql", *options), expected)
            self.assertEqual(self.succeed("m.toml", "--emit=sql", *options, cwd=models), expected)
            self.succeed(model, "--emit=ast", *options)
            (place / "mine.graph").unlink()
        self.assertEqual(self.refuse(1, model, "--emit=sql", "--graph-dir", "/no/where"),
                         "llmsqlc: --graph-dir /no/where: there is no such folder\n")

    def test_errors_leave_nothing_behind(self):
        bad = self.folder / "bad.toml"
        bad.write_text('name = "x"\nname = "y"\n')
        plan = self.folder / "plan.sql"
        self.assertRegex(self.refuse(1, bad, "-o", plan), rf"^{bad}:2:\d+: error: ")
        before = "-- llmsql plan 1 · before\n"
        plan.write_text(before)
        self.refuse(1, bad, "-o", plan)
        self.assertEqual(plan.read_text(), before)
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["bad.toml", "plan.sql"])

        missing = self.folder / "missing.toml"
        self.assertEqual(self.refuse(1, missing, "-o", plan),
                         f"llmsqlc: {missing}: No such file or directory\n")
        self.assertIn("is a directory", self.refuse(1, self.folder, "-o", plan))
        for start, kind in ((b"SQLite format 3\0", "a database"), (b"GGUF\3\0\0\0", "a GGUF file")):
            (self.folder / "model").write_bytes(start + bytes(1 << 21))
            self.assertIn(f"this is {kind}; a model file is compiled ('llmsql-import SRC -o MODEL.db --write-model",
                          self.refuse(1, self.folder / "model", "-o", plan))
        self.assertIn("is a directory", self.refuse(1, MODELS[0], "-o", self.folder))
        self.assertRegex(self.refuse(1, MODELS[0], "-o", self.folder / "no" / "plan.sql"),
                         r"^llmsqlc: .*No such file or directory\n$")

    def test_a_device_or_pipe_is_written_to(self):
        self.succeed(MODELS[0], "-o", "/dev/null")
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/null").st_mode))
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        got = []
        reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
        reader.start()
        self.succeed(MODELS[0], "-o", pipe)
        reader.join(10)
        self.assertEqual(got, [self.succeed(MODELS[0], "--emit=sql")])
        if os.path.exists("/dev/full"):
            self.assertEqual(self.refuse(1, MODELS[0], "-o", "/dev/full"),
                             "llmsqlc: /dev/full: cannot write: No space left on device\n")

    def test_usage(self):
        for arguments in ([], [MODELS[0]], ["--emit=nothing", MODELS[0]],
                          [MODELS[0], "-o", "x", "--context", "0"],
                          [MODELS[0], "-o", "x", "--context", "1048577"],
                          [MODELS[0], "-o", "x", "--chunk", "many"], [MODELS[0], "-o"],
                          [MODELS[0], MODELS[1], "-o", "x"], ["--frobnicate"],
                          ["x.graph", "-o", "x"], ["x.graph", "--emit=sql"]):
            with self.subTest(arguments):
                message = self.refuse(2, *arguments, cwd=self.folder)
                self.assertRegex(message, r"\Allmsqlc: [^\n]+ \(llmsqlc --help lists the options\)\n\Z")
        for option in "--output", "--install", "--name", "--explain", "--graph-dir":
            self.assertEqual(self.refuse(2, MODELS[0], *(() if option == "--output" else ("-o", "x")), f"{option}=",
                                         cwd=self.folder),
                             f"llmsqlc: {option}: is empty (llmsqlc --help lists the options)\n")
        self.assertEqual(list(self.folder.iterdir()), [])
        for option, most in (("--context", 1 << 20), ("--threads", 256), ("--chunk", 4096),
                             ("--logits-rows", 4096), ("--sequences", 64)):
            for given in "0", "-1", str(most + 1), "many", "1.5", "", str(2**64):
                self.assertEqual(
                    self.refuse(2, MODELS[0], "-o", "x", f"{option}={given}", cwd=self.folder)
                    .replace(" (llmsqlc --help lists the options)", ""),
                    f"llmsqlc: {option}: a whole number from 1 to {most} is wanted, not {given}\n"
                    if given else self.refuse(2, MODELS[0], "-o", "x", f"{option}=", cwd=self.folder)
                    .replace(" (llmsqlc --help lists the options)", ""))
        for given in "-5", "much", "5 elephants":
            self.assertEqual(
                self.refuse(2, MODELS[0], "-o", "x", f"--budget={given}", cwd=self.folder),
                f"llmsqlc: --budget: {given}: this must be a size, such as 96MiB, 1.5GiB, 100MB or "
                "100000000 (llmsqlc --help lists the options)\n")
        self.assertIn("llmsqlc: --context: is given 2 times, once is enough",
                      self.refuse(2, MODELS[0], "-o", "x", "--context", "5", "--context", "6",
                                  cwd=self.folder))
        self.assertRegex(self.succeed("--version"), rb"^llmsqlc \d+\.\d+\.\d+\n$")
        self.assertIn(b"--context", self.succeed("--help"))


if __name__ == "__main__":
    unittest.main()
