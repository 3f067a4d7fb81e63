#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What cmake --install and cpack make: everything in its place, programs that find their graphs wherever
they are put, manual pages and completions that say what the programs do."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

from programs import FIXTURES, SOURCE

from hf_folder import write_tiny

BUILD = pathlib.Path(os.environ["LLMSQL_BUILD_DIR"])
SANITIZED = os.environ.get("LLMSQL_SANITIZED") == "1"
PROGRAMS = ("llmsqlc", "llmsql-run", "llmsql-import")


def succeed(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode:
        raise AssertionError(f"{command} exited with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def examples(text, program):
    """The arguments of each example in a --help."""
    (section,) = re.findall(r"^examples:\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    lines = [shlex.split(re.split(r"\s{2,}", line.strip())[0]) for line in section.split("\n")]
    assert all(words[0] == program for words in lines), lines
    return [words[1:] for words in lines]


class Installed:
    """What holds of a folder in which llmsql has been installed: `root` / bin, share, …"""

    def program(self, name, *arguments, **options):
        """Run from elsewhere, with nothing in the environment that could help it."""
        return succeed(self.root / "bin" / name, *arguments, cwd=self.folder, env={}, **options)

    def test_places(self):
        for path in ("share/llmsql/graphs/llama.graph", "share/llmsql/models/smollm2-135m.toml",
                     "share/doc/llmsql/README.md", "share/doc/llmsql/copyright",
                     "share/doc/llmsql/docs/architecture.md",
                     "share/zsh/site-functions/_llmsql",
                     *(f"share/fish/vendor_completions.d/{name}.fish" for name in (*PROGRAMS, "llmsql")),
                     *(f"share/bash-completion/completions/{name}" for name in (*PROGRAMS, "llmsql"))):
            self.assertTrue((self.root / path).is_file(), path)
        self.assertEqual(sorted(p.name for p in (self.root / "bin").iterdir()), sorted((*PROGRAMS, "llmsql")))
        self.assertEqual(len(list(self.root.glob("lib*/**/libllmsql.so"))), 1)
        self.assertEqual({p.name for p in (self.root / "share/llmsql/graphs").iterdir()},
                         {p.name for kind in ("graph", "part") for p in (SOURCE / "graphs").glob(f"*.{kind}")})

    def test_a_model_from_file_to_text(self):
        """The graph is found without being named: by import, for a model made by it, for a shipped one."""
        self.program("llmsql-import", FIXTURES / "tiny-llama.gguf", "--weights", "f32", "-o", "tiny.db",
                     "--write-model", "tiny.toml")
        self.program("llmsqlc", "tiny.toml", "-o", "tiny.sql", "--context", 64)
        text = self.program("llmsql-run", "tiny.sql", "tiny.db", "-p", "The river", "-n", 8, "--temp", 0)
        self.assertTrue(text.startswith("The river"))
        self.program("llmsqlc", "tiny.toml", "--install", "tiny.db", "--context", 64)
        self.assertEqual(self.program("llmsql-run", "tiny.db", "-p", "The river", "-n", 8, "--temp", 0), text)
        plan = self.program("llmsqlc", self.root / "share/llmsql/models/smollm2-135m.toml", "--emit=sql")
        self.assertEqual(plan, succeed(os.environ["LLMSQLC"], SOURCE / "models/smollm2-135m.toml", "--emit=sql"))

    def test_examples(self):
        """What --help, and so the manual pages, show as examples is typed as it stands, in the folder of somebody
        who has nothing but the sources of the models that they name."""
        shown = {name: examples(self.program(name, "--help"), name) for name in PROGRAMS}
        self.assertTrue(all(len(lines) > 3 for lines in shown.values()), shown)
        shutil.copy(FIXTURES / "tiny-qwen2.gguf", self.folder / "qwen2.gguf")
        write_tiny("qwen3", self.folder / "Qwen2.5-0.5B")

        def run(name, lines):
            for words in lines:
                with self.subTest(" ".join((name, *words))):
                    self.program(name, *words, stdin=subprocess.DEVNULL)

        installing = [words for words in shown["llmsqlc"] if "--install" in words]
        run("llmsqlc", [words for words in shown["llmsqlc"] if words not in installing])
        # The shipped model file is of half a billion weights: in its place one of the tiny model, from here on.
        self.program("llmsql-import", "qwen2.gguf", "-o", "tiny.db", "--weights", "q8", "--write-model", "tiny.toml")
        shipped = self.root / "share/llmsql/models/qwen2.toml"
        self.addCleanup(shipped.write_text, shipped.read_text())
        shutil.copy(self.folder / "tiny.toml", shipped)
        run("llmsql-import", shown["llmsql-import"])
        run("llmsql-import", [words for words in shown["llmsql-import"] if "--model" in words])  # its qwen2.db
        run("llmsqlc", installing)
        self.program("llmsqlc", "models/qwen2.toml", "-o", "plan.sql")
        (self.folder / "qwen2.db").rename(self.folder / "model.db")
        run("llmsql-run", shown["llmsql-run"])

    def test_shipped_models_are_found_by_name(self):
        names = [path.name for path in (self.root / "share/llmsql/models").iterdir()]
        self.assertEqual(set(names), {path.name for path in (SOURCE / "models").glob("*.toml")})
        for name in names:
            self.assertTrue(self.program("llmsqlc", f"models/{name}", "--emit=graph"))
        text = self.program("llmsqlc", "models/smollm2-135m.toml", "--emit=graph")
        for named in ("smollm2-135m.toml", "smollm2-135m"):
            self.assertEqual(self.program("llmsqlc", named, "--emit=graph"), text)
        (self.folder / "smollm2-135m.toml").write_text("name =\n")  # one's own goes first
        done = subprocess.run([self.root / "bin/llmsqlc", "smollm2-135m.toml", "--emit=graph"],
                              cwd=self.folder, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertTrue(done.stderr.startswith("smollm2-135m.toml:1:"), done.stderr)

    def test_help_fits_a_terminal(self):
        for name in PROGRAMS:
            text = self.program(name, "--help")
            self.assertRegex(self.program(name, "--version"), rf"\A{name} \d+\.\d+\.\d+\n\Z")
            for line in text.split("\n"):
                self.assertLessEqual(len(line), 80, line)
            # Every option has its explanation, and begins as the others do.
            for option, explanation in re.findall(r"^  (-.*?)(?:  +|\n +)(\S+)", text, re.MULTILINE):
                self.assertRegex(explanation, r"\A[a-z0-9]", f"{name} {option}")
            self.assertIn("\nexamples:\n", text)

    def complete(self, *words):
        """What bash proposes for the last word."""
        function = "_llmsql_command" if words[0] == "llmsql" else "_llmsql"
        script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); '
                  f'{function} "$1" "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD - 1]}}"; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        file = self.root / "share/bash-completion/completions" / words[0]
        program = self.root / "bin" / words[0]
        out = succeed("bash", "-c", script, "bash", file, program, *words[1:], cwd=self.folder, env=self.shell_environment())
        return sorted(out.split())

    def shell_environment(self):
        return {"PATH": f"{self.root / 'bin'}:{os.environ['PATH']}", "HOME": str(self.folder), "LC_ALL": "C.UTF-8",
                "XDG_CACHE_HOME": str(self.folder / ".cache")}

    def complete_in_fish(self, *words):
        """What fish proposes for the last word, without what it says of each."""
        line = " ".join(words)
        out = succeed("fish", "--no-config", "-c", f"set -p fish_complete_path {self.root / 'share/fish/vendor_completions.d'}; "
                      f"complete -C '{line}'", cwd=self.folder, env=self.shell_environment())
        return sorted({proposed.split("\t")[0] for proposed in out.splitlines()})

    def complete_in_zsh(self, *words):
        """What the function gives zsh to choose from for the last word."""
        script = ("compadd() { [[ $1 == -- ]] && shift; print -l -- ${(M)@:#$PREFIX*}; }; _files() { print FILES; }; "
                  "_describe() { print -l -- ${(M)${(@)${(@P)2}%%:*}:#$PREFIX*}; }; "
                  "_arguments() { [[ ${@[-1]} == -- ]] && print HELP; }; _call_program() { shift; eval \"$@\"; }; "
                  f"complete() {{ source {self.root / 'share/zsh/site-functions/_llmsql'}; }}; "
                  "words=(\"$@\"); CURRENT=$#; PREFIX=${@[-1]}; service=$1; complete")
        out = succeed("zsh", "-f", "-c", script, "zsh", *words, cwd=self.folder, env=self.shell_environment())
        return sorted(set(out.split()))

    COMMANDS = ["bench", "cache", "compile", "help", "import", "prepare", "run", "show", "verify"]

    def expect_completions_of_llmsql(self, complete, files):
        """In a shell: of commands, of what they take, and of the models in the cache."""
        self.assertEqual([word for word in complete("llmsql", "") if word not in ("--help", "--version")], self.COMMANDS)
        self.assertEqual(complete("llmsql", "sh"), ["show"])
        self.assertEqual(complete("llmsql", "cache", ""), ["limit", "ls", "rm"])
        self.assertEqual(complete("llmsql", "help", "b"), ["bench"])
        self.assertEqual([word for word in self.COMMANDS if word != "help"], complete("llmsql", "help", ""))
        options = {name: set(complete("llmsql", name, "-")) for name in ("run", "show", "bench", "verify", "prepare")}
        for name in options:
            page = self.program("llmsql", "help", name)
            page = re.sub(r"\b(as|are) [a-z-]+( run)?('s)?[:\s]+[a-z-]+ --help", "", page.partition("examples:")[0])
            told = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", page.partition("Usage")[2]))
            self.assertGreater(len(told), 3)
            self.assertLessEqual(told - {"--help"}, options[name], name)
            if name != "run":
                self.assertLessEqual(options[name], told | {"-h", "--help"}, name)
        self.assertIn("--temp", options["run"])
        self.assertNotIn("-import", options["run"])
        self.assertEqual(complete("llmsql", "import", "--wr"), ["--write-model"])
        self.assertEqual(complete("llmsql", "compile", "--em"), ["--emit"])
        self.assertEqual(complete("llmsql", "run", "--kv", ""), ["f16", "q8"])
        self.assertEqual(complete("llmsqlc", "--kv", ""), ["f16", "q8"])
        for name in ("a.gguf", "b.txt"):
            (self.folder / name).touch()
        self.assertEqual(complete("llmsql", "run", ""), files)
        # A model in the cache is removed by its name.
        self.assertNotIn("--everything", complete("llmsql", "cache", "rm", ""))
        shutil.copy(FIXTURES / "tiny-llama.gguf", self.folder / "tiny.gguf")
        succeed(self.root / "bin" / "llmsql", "run", self.folder / "tiny.gguf", "-p", "The river", "-n", "1", env=self.shell_environment())
        (entry,) = (path.name for path in (self.folder / ".cache" / "llmsql").iterdir() if re.fullmatch("[0-9a-f]{32}", path.name))
        self.assertIn(entry[:8], complete("llmsql", "cache", "rm", ""))
        self.assertEqual(complete("llmsql", "cache", "rm", entry[:3]), [entry[:8]])

    def test_completions_of_llmsql_in_bash(self):
        self.expect_completions_of_llmsql(self.complete, ["a.gguf"])

    @unittest.skipUnless(shutil.which("fish"), "fish is not installed")
    def test_completions_in_fish(self):
        self.expect_completions_of_llmsql(self.complete_in_fish, ["a.gguf", "b.txt"])
        for name in PROGRAMS:  # each without the others having been loaded
            self.assertEqual(self.complete_in_fish(name, "--vers"), ["--version"])

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_completions_in_zsh(self):
        self.expect_completions_of_llmsql(self.complete_in_zsh, ["FILES"])
        for name in PROGRAMS:
            self.assertEqual(self.complete_in_zsh(name, "--vers"), ["HELP"])

    def test_completions(self):
        for name in PROGRAMS:
            options = set(re.findall(r"(?:^  |, )(--?[a-z][a-z-]*)", "\n".join(
                line for line in self.program(name, "--help").split("\n") if line.startswith("  -")), re.MULTILINE))
            self.assertGreater(len(options), 8)
            self.assertEqual(set(self.complete(name, "-")), options)
        for name, option, others in (("llmsqlc", "--emit", ("tiny.toml",)), ("llmsqlc", "--kv", ()),
                                     ("llmsql-import", "--weights", ("a.gguf", "-o", "a.db")),
                                     ("llmsql-run", "--io", ())):
            values = self.complete(name, option, "")
            if name == "llmsql-run":
                text = self.program(name, "--help")
                self.assertTrue(all(value in text for value in values))
                continue
            refusal = subprocess.run([self.root / "bin" / name, *others, option, "zzz"], capture_output=True,
                                     text=True).stderr
            named = re.search(r"\{([^}]*)\}|a type is wanted, (.*), or PATTERN", refusal)
            self.assertEqual(values, sorted(re.split(r",\s*| and ", named[1] or named[2])), refusal)
        self.assertEqual(self.complete("llmsqlc", "--emit", "=", "s"), ["schedule", "sql"])
        for name in ("a.sql", "b.db", "c.toml", "d.gguf"):
            (self.folder / name).touch()
        self.assertEqual(self.complete("llmsql-run", ""), ["a.sql", "b.db"])
        self.assertEqual(self.complete("llmsqlc", "c"), ["c.toml"])
        self.assertEqual(self.complete("llmsql-import", ""), ["d.gguf"])
        self.assertEqual(self.complete("llmsql-run", "--temp", ""), [])
        self.assertEqual(self.complete("llmsql-run", "--chat", "a"), ["a.sql"])

    @unittest.skipIf(SANITIZED, "no manual pages are made under the sanitizers")
    @unittest.skipUnless(shutil.which("help2man"), "help2man is not installed")
    def test_manual_pages(self):
        for name in PROGRAMS:
            page = (self.root / f"share/man/man1/{name}.1").read_text()
            options = re.findall(r"^  -.*?(--[a-z][a-z-]*)", self.program(name, "--help"), re.MULTILINE)
            for option in options:
                self.assertIn(option.replace("-", "\\-"), page)
            self.assertRegex(page, rf'\.SH NAME\n{name} \\- [a-z]')
            self.expect_page(page)

    def expect_page(self, page):
        self.assertNotIn(str(BUILD), page)
        self.assertIn('\n.SH "SEE ALSO"\n', page)
        if shutil.which("groff"):
            done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=page, capture_output=True, text=True)
            self.assertEqual(done.stderr, "")

    @unittest.skipIf(SANITIZED, "no manual pages are made under the sanitizers")
    @unittest.skipUnless(shutil.which("help2man"), "help2man is not installed")
    def test_the_manual_page_of_llmsql(self):
        """It has what help says of each command."""
        page = (self.root / "share/man/man1/llmsql.1").read_text()
        self.expect_page(page)
        sections = dict(re.findall(r'^\.SS "llmsql (\w+)"\n(.*?)(?=^\.S[SH] )', page, re.MULTILINE | re.DOTALL))
        self.assertEqual(sorted(sections), ["bench", "cache", "prepare", "run", "show", "verify"])
        for name, section in sections.items():
            text = re.sub(r"\\&|^\.\w+ ?", "", section.replace("\\-", "-"), flags=re.MULTILINE).split()
            wanted = re.sub(r"^(Usage|examples): ?", "", self.program("llmsql", "help", name), flags=re.MULTILINE).split()
            self.assertEqual([word for word in text if word != "Examples:"], wanted, name)
        for name in ("ENVIRONMENT", "FILES", '"EXIT STATUS"', "EXAMPLES"):
            self.assertIn(f"\n.SH {name}\n", page)


class InFolder(Installed, unittest.TestCase):
    """cmake --install, and the whole then moved to another place."""

    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(holder.cleanup)
        first = pathlib.Path(holder.name) / "first" / "usr"
        succeed("cmake", "--install", BUILD, "--prefix", first)
        cls.root = pathlib.Path(holder.name) / "moved"
        first.rename(cls.root)

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)


@unittest.skipIf(SANITIZED, "no package is made under the sanitizers")
@unittest.skipUnless(all(map(shutil.which, ("dpkg-deb", "dpkg-shlibdeps", "file"))), "dpkg-dev or file is not installed")
class DebianPackage(Installed, unittest.TestCase):
    """cpack -G DEB, unpacked."""

    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(holder.cleanup)
        folder = pathlib.Path(holder.name)
        succeed("cpack", "-G", "DEB", "-B", folder, "--config", BUILD / "CPackConfig.cmake", cwd=folder)
        (cls.package,) = folder.glob("llmsql_*.deb")
        succeed("dpkg-deb", "-x", cls.package, folder / "unpacked")
        cls.root = folder / "unpacked" / "usr"

    setUp = InFolder.setUp

    def test_its_description(self):
        fields = dict(re.findall(r"^(\S+): (.*)$", succeed("dpkg-deb", "-f", self.package), re.MULTILINE))
        self.assertEqual(fields["Package"], "llmsql")
        for library in ("libsqlite3-0", "libc6", "libpcre2-8-0", r"libutf8proc\d"):
            self.assertRegex(fields["Depends"], rf"(^|, ){library}\b")
        self.assertRegex(fields["Maintainer"], r"\A[^<>]+ <[^<>@\s]+@[^<>@\s]+>\Z")
        self.assertNotIn("localhost", fields["Maintainer"])
        self.assertEqual((self.root / "share/doc/llmsql/copyright").read_text(), (SOURCE / "LICENSE").read_text())
        listed = succeed("dpkg-deb", "-c", self.package)
        self.assertEqual([line for line in listed.split("\n") if line and not re.search(r" \./usr/| \./$", line)], [])
        self.assertEqual([line for line in listed.split("\n") if line and not re.match(r"\S+ root/root ", line)], [])


@unittest.skipIf(SANITIZED, "no package is made under the sanitizers")
class NothingToPackageWith(unittest.TestCase):
    """Without the programs that tell what a package depends on there is no package: not one that depends on
    nothing, nor one of an earlier run."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        self.programs = self.folder / "bin"
        self.programs.mkdir()

    def packaged_with(self, *programs):
        """cpack where the only programs are these."""
        for name in programs:
            (self.programs / name).symlink_to("/bin/true")
        return subprocess.run([shutil.which("cpack"), "-G", "DEB", "-B", self.folder,
                               "--config", BUILD / "CPackConfig.cmake", "-D", "CMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF"],
                              cwd=self.folder, env={"PATH": str(self.programs)}, capture_output=True, text=True)

    def test_it_is_said_and_none_is_left(self):
        for there in ((), ("dpkg-shlibdeps",), ("file",)):
            with self.subTest(there=there):
                for name in ("llmsql_0.1.0_amd64.deb", "llmsql_0.0.9_amd64.deb"):
                    (self.folder / name).write_text("an earlier one")
                done = self.packaged_with(*there)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("apt-get install dpkg-dev file", done.stderr)
                self.assertEqual(list(self.folder.glob("*.deb")), [])
                for program in self.programs.iterdir():
                    program.unlink()


if __name__ == "__main__":
    unittest.main()
