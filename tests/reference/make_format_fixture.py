#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes a folder of tests/fixtures/formats: a model database, plans and a session file as the programs of one
version write them, and what that version answers with them.

    tests/reference/make_format_fixture.py BUILD_FOLDER NAME [TYPE… | wide]

Of given types, by GGUF's numbers (40, NVFP4), a model each whose matrices are of that type, no more than a few
kilobytes, in place of the usual one; `wide`: a model whose feed-forward is so wide that its tiles are cut by the
pages of model.db, which test_formats.py imports anew to compare. NAME is the day and the commit. Made once for each change of a format, before the change lands, and never
again: tests/end_to_end/test_formats.py holds every later version to it.
"""

import json
import lzma
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[2]

# Portable kernels round alike on every processor. Sampled, since a tiny random model's greedy text is one
# token over and over.
ANSWER = ["--temp", "1.2", "-s", "7", "--kernels", "portable", "-t", "1"]
TRIES = {
    "a plan": ["plan.sql", "model.db", "-p", "The river", "-n", "24", *ANSWER],
    "a plan with a budget": ["budget.sql", "model.db", "-p", "The river", "-n", "24", *ANSWER],
    "a text scored": ["plan.sql", "model.db", "--perplexity", "text.txt", "-c", "64",
                      "--kernels", "portable", "-t", "1"],
    "an installed plan": ["model.db", "--chat", "-p", "A hill", "-n", "12", *ANSWER],
    "a conversation gone on with":
        ["model.db", "--session", "session.db", "--chat", "-p", "And?", "-n", "12", *ANSWER],
    "a text gone on with":
        ["model.db", "--session", "session.db", "--id", "text", "-p", " and", "-n", "12", *ANSWER],
    "an answer that a kill has cut":
        ["model.db", "--session", "session.db", "--id", "cut", "--continue", "--kernels", "portable",
         "-t", "1"],
}


def main():
    programs, name = pathlib.Path(sys.argv[1]).resolve() / "bin", sys.argv[2]
    target = SOURCE / "tests" / "fixtures" / "formats" / name
    target.mkdir(parents=True)
    if sys.argv[3:] == ["wide"]:
        return make_wide(programs, target)
    if len(sys.argv) > 3:
        return make_types(programs, target, map(int, sys.argv[3:]))

    with tempfile.TemporaryDirectory() as folder:
        def run(program, *arguments):
            return subprocess.run([programs / program, *arguments], cwd=folder, check=True,
                                  stdout=subprocess.PIPE).stdout.decode()

        graphs = ["--graph-dir", SOURCE / "graphs", "--context", "128"]
        run("llmsql-import", SOURCE / "tests/fixtures/tiny-llama-k.gguf", *graphs[:2],
            "-o", "model.db", "--write-model", "model.toml")
        text = (SOURCE / "tests/fixtures/perplexity.txt").read_bytes()[:1000]
        (pathlib.Path(folder) / "text.txt").write_bytes(text)
        run("llmsqlc", "model.toml", *graphs, "-o", "plan.sql")
        run("llmsqlc", "model.toml", *graphs, "--budget", "24MiB", "-o", "budget.sql")
        run("llmsqlc", "model.toml", *graphs, "--install", "model.db")
        session = ["--session", "session.db"]
        run("llmsql-run", "model.db", *session, "--chat", "-p", "A question", "-n", "40", *ANSWER)
        run("llmsql-run", "model.db", *session, "--id", "text", "-p", "Once upon", "-n", "30", *ANSWER)
        run("llmsql-run", "model.db", *session, "--id", "cut", "-p", "Cut here", "-n", "20", *ANSWER)
        cut_off(pathlib.Path(folder) / "session.db")
        files = {name: (pathlib.Path(folder) / name).read_bytes()
                 for name in ("model.db", "plan.sql", "budget.sql", "session.db", "text.txt")}
        expected = {what: {"arguments": arguments, "output": run("llmsql-run", *arguments)}
                    for what, arguments in TRIES.items()}
    write(target, files, expected)


def make_types(programs, target, types):
    sys.path.insert(0, str(SOURCE / "tests/end_to_end"))
    from gguf_files import Gguf, Tensor, bytes_of
    files, expected = {"text.txt": (SOURCE / "tests/fixtures/perplexity.txt").read_bytes()[:300]}, {}
    for type in types:
        gguf = Gguf(SOURCE / "tests/fixtures/tiny-llama-k.gguf")
        for tensor in [tensor for tensor in gguf.tensors if len(tensor.shape) == 2]:
            tensor.type = type  # strips are alike, so that they take little room
            strip = random.Random(tensor.shape[0]).choices(range(1, 62), k=16 * bytes_of(type, tensor.shape[0]))
            tensor.data = (bytes(strip) * tensor.shape[1])[:bytes_of(type, tensor.weights())]
            if type == 34:  # d, so that nothing gets large
                tensor.data = b"".join(tensor.data[at:at + 52] + struct.pack("<e", 0.02)
                                       for at in range(0, len(tensor.data), 54))
            if type == 40:
                gguf.tensors.append(Tensor(tensor.name.removesuffix("weight") + "scale", (1,), 0,
                                           struct.pack("<f", 0.03)))
        with tempfile.TemporaryDirectory() as folder:
            def run(program, *arguments):
                return subprocess.run([programs / program, *arguments], cwd=folder, check=True,
                                      stdout=subprocess.PIPE).stdout.decode()

            graphs = ["--graph-dir", SOURCE / "graphs"]
            model, plan = f"{type}.db", f"{type}.sql"
            run("llmsql-import", gguf.write(pathlib.Path(folder) / "x.gguf"), *graphs, "-o", model,
                "--write-model", "x.toml")
            run("llmsqlc", "x.toml", *graphs, "--context", "128", "-o", plan)
            (pathlib.Path(folder) / "text.txt").write_bytes(files["text.txt"])
            tries = {f"{type}: {what}": [plan if it == "plan.sql" else model if it == "model.db" else it
                                         for it in TRIES[what]] for what in ("a plan", "a text scored")}
            expected |= {what: {"arguments": arguments, "output": run("llmsql-run", *arguments)}
                         for what, arguments in tries.items()}
            files |= {name: (pathlib.Path(folder) / name).read_bytes() for name in (model, plan)}
    write(target, files, expected)


def make_wide(programs, target):
    sys.path.insert(0, str(SOURCE / "tests/end_to_end"))
    from gguf_files import wide_llama
    files, expected = {"text.txt": (SOURCE / "tests/fixtures/perplexity.txt").read_bytes()[:300]}, {}
    with tempfile.TemporaryDirectory() as folder:
        def run(program, *arguments):
            return subprocess.run([programs / program, *arguments], cwd=folder, check=True,
                                  stdout=subprocess.PIPE).stdout.decode()

        graphs = ["--graph-dir", SOURCE / "graphs"]
        gguf = wide_llama(SOURCE / "tests/fixtures/tiny-llama-k.gguf", 12, 4864)
        run("llmsql-import", gguf.write(pathlib.Path(folder) / "wide.gguf"), *graphs, "-o", "model.db",
            "--write-model", "x.toml")
        run("llmsqlc", "x.toml", *graphs, "--context", "128", "-o", "plan.sql")
        run("llmsqlc", "x.toml", *graphs, "--context", "128", "--budget", "14MiB", "-o", "budget.sql")
        (pathlib.Path(folder) / "text.txt").write_bytes(files["text.txt"])
        for what in ("a plan", "a plan with a budget", "a text scored"):
            expected[what] = {"arguments": TRIES[what], "output": run("llmsql-run", *TRIES[what])}
        files |= {name: (pathlib.Path(folder) / name).read_bytes() for name in ("model.db", "plan.sql", "budget.sql")}
    write(target, files, expected)


def write(target, files, expected):
    for file, content in files.items():
        (target / (file + ".xz")).write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
    (target / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


def cut_off(file):
    """As a kill during the answer would have left it: without an ending, its last picks lost."""
    import sqlite3
    db = sqlite3.connect(file)
    with db:
        id_, = db.execute("SELECT id FROM session WHERE name = 'cut'").fetchone()
        db.execute("UPDATE answer SET ending = NULL WHERE session = ?", (id_,))
    db.close()


if __name__ == "__main__":
    main()
