#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The npm package, from its folder with this build's programs and libraries, or as it is installed where LLMSQL_INSTALLED
names its folder: bindings/node/test.js with whatever SQLites this Node.js has, its README, and its types. NODE_PATH may
lead to better-sqlite3 and typescript; LLMSQL_NODE to another Node.js."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ.get("LLMSQL_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
GGUF = SOURCE / "tests" / "fixtures" / "tiny-llama.gguf"
INSTALLED = os.environ.get("LLMSQL_INSTALLED")
PACKAGE = pathlib.Path(INSTALLED) if INSTALLED else SOURCE / "bindings" / "node"
NODE = os.environ.get("LLMSQL_NODE") or shutil.which("node")
WANTED = os.environ.get("LLMSQL_WANTED", "").split()  # told by who has seen to it that they are there


@unittest.skipIf(os.environ.get("LLMSQL_SANITIZED"), "Node.js does not load a sanitizer's runtime first")
@unittest.skipUnless(NODE, "Node.js is not installed")
class Package(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache")}
        if not INSTALLED:
            self.environment.setdefault("LLMSQL_BUILD", os.environ.get("LLMSQL_BUILD_DIR", str(SOURCE / "build")))

    def node(self, *arguments, **options):
        done = subprocess.run([NODE, *map(str, arguments)], capture_output=True, text=True, env=self.environment,
                              cwd=self.folder, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_functions(self):
        said = self.node(SOURCE / "bindings" / "node" / "test.js", PACKAGE, GGUF)
        tried = said.strip().split("\n")[-1]
        self.assertRegex(tried, r"\Atried: ")
        for module in WANTED:
            self.assertIn(module, tried)

    def test_readme(self):
        text = (PACKAGE / "README.md").read_text()
        shutil.copy(GGUF, self.folder / "model.gguf")
        (self.folder / "node_modules").mkdir()
        (self.folder / "node_modules" / "llmsql").symlink_to(PACKAGE.resolve())
        blocks = re.findall(r"^```js\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        self.assertEqual(len(blocks), 3)
        for block in blocks:
            module = re.search(r'require\("(better-sqlite3|node:sqlite)"\)', block)[1]
            there = subprocess.run([NODE, "-e", f'require("{module}")'], capture_output=True, env=self.environment, cwd=self.folder)
            self.assertTrue(there.returncode == 0 or module not in WANTED, there.stderr)
            if there.returncode == 0:
                self.assertTrue(self.node("-e", block))
        (shell,) = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        install, command = shell.strip().split("\n")
        self.assertRegex(install, r"^npm install \./llmsql-")  # scripts/check-fresh does it
        npx, name, *words = shlex.split(command)
        self.assertEqual((npx, name), ("npx", "llmsql"))
        program = (self.folder / "node_modules" / "llmsql" / json.loads((PACKAGE / "package.json").read_text())["bin"]["llmsql"])
        said = self.node(program, *words)  # which is what npx does
        self.assertTrue(said.startswith("The river"))

    def test_programs_end_as_they_end(self):
        for name in ("llmsql", "llmsqlc", "llmsql-run", "llmsql-import"):
            self.assertRegex(self.node(PACKAGE / "bin" / f"{name}.js", "--version"), rf"\A{name} \d")
        done = subprocess.run([NODE, PACKAGE / "bin" / "llmsql.js", "run"], capture_output=True, env=self.environment)
        self.assertEqual(done.returncode, 2)

    def test_what_is_exported_is_typed(self):
        typed = set(re.findall(r"^export (?:function|const|class) (\w+)", (PACKAGE / "index.d.ts").read_text(), re.MULTILINE))
        exported = set(json.loads(self.node("-e", f"console.log(JSON.stringify(Object.keys(require({json.dumps(str(PACKAGE))}))))")))
        self.assertEqual(typed, exported)

    def test_nothing_runs_when_it_is_installed(self):
        package = json.loads((PACKAGE / "package.json").read_text())
        self.assertFalse(package.get("scripts"))
        self.assertFalse(package.get("dependencies"))
        version = re.search(r"project\(llmsql VERSION (\S+)", (SOURCE / "CMakeLists.txt").read_text())[1]
        self.assertEqual(package["version"], version)


if __name__ == "__main__":
    unittest.main()
