#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What scripts/demo, scripts/test and scripts/install-dependencies say and do where packages are missing, apt fails,
or there is no network: with programs that only note how they were called in place of apt, sudo, cmake and ctest. And what
scripts/package makes of a build."""

import os
import pathlib
import runpy
import shutil
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ.get("LLMSQL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
REAL = ("awk", "bash", "cat", "dirname", "env", "grep", "mkdir", "mktemp", "rm", "uname")
NOBODY = 65534


class Scripts(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        self.folder.chmod(0o777)  # whoever runs the scripts
        shutil.copytree(SOURCE / "scripts", self.folder / "scripts")
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        for name in REAL:
            (self.bin / name).symlink_to(shutil.which(name))
        self.calls = self.folder / "calls"
        self.calls.touch()
        self.calls.chmod(0o666)
        self.program("nproc", "echo 2")
        # Of all packages there are two.
        self.program("dpkg-query", 'case "$3" in g++ | cmake) echo "install ok installed" ;; *) exit 1 ;; esac')
        self.program("apt-get", 'echo "noise of apt"')

    def program(self, name, text):
        """A program of this name that notes its call, then does what the shell text says."""
        path = self.bin / name
        path.write_text(f'#!{shutil.which("bash")}\necho "{name} $*" >>{self.calls}\n{text}\n')
        path.chmod(0o755)

    def run_script(self, *words, root=True):
        """(status, stdout, stderr), by root if the tests are run by root and it is to be, otherwise by somebody else."""
        identity = {} if root or os.geteuid() else {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        done = subprocess.run([self.bin / "bash", self.folder / "scripts" / words[0], *words[1:]], capture_output=True,
                              text=True, env={"PATH": str(self.bin), "TMPDIR": str(self.folder)},
                              cwd=self.folder, stdin=subprocess.DEVNULL, **identity)
        return done.returncode, done.stdout, done.stderr

    def called(self, program):
        return [line for line in self.calls.read_text().split("\n") if line.startswith(program + " ")]

    def asks(self, *words):
        status, _, err = self.run_script(*words, root=False)
        self.assertEqual(status, 1)
        line = err.rstrip("\n").split("\n")[-1]
        self.assertIn("ask for apt-get install --no-install-recommends ", line)
        packages = line.split("--no-install-recommends ")[1].split()
        self.assertIn("ninja-build", packages)
        self.assertNotIn("cmake", packages)  # which is there
        self.assertEqual("libgtest-dev" in packages, "test" in words[0] or "tests" in words)
        self.assertEqual([line for line in self.called("apt-get") if "--assume-no" not in line], [])
        return err

    def test_without_sudo_one_line_says_what_to_ask_for(self):
        for words in (("install-dependencies",), ("install-dependencies", "tests"), ("demo",), ("test",)):
            with self.subTest(words):
                self.assertEqual(self.asks(*words).count("\n"), 1)

    def test_without_the_right_to_sudo_too(self):
        self.program("sudo", 'echo "somebody is not in the sudoers file." >&2; exit 1')
        self.asks("install-dependencies")

    def may_install(self):
        """Whoever runs the tests may do as root does."""
        self.program("sudo", '"$@"')

    def test_apt_is_heard_only_if_it_fails(self):
        self.may_install()
        self.assertEqual(self.run_script("install-dependencies"), (0, "", ""))
        self.assertEqual(sum(" install " in line and "ninja-build" in line for line in self.called("apt-get")), 1)
        self.program("apt-get", 'echo "noise of apt"; echo "no such package" >&2; [[ $* != *" install "* ]]')
        status, out, err = self.run_script("install-dependencies")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("no such package\n", err)
        self.assertIn("apt-get install --no-install-recommends ", err.rstrip("\n").split("\n")[-1])
        self.assertEqual([path.name for path in self.folder.glob("llmsql-apt.*")], [])

    def test_nothing_is_asked_of_apt_where_all_is_there(self):
        self.program("dpkg-query", 'echo "install ok installed"')
        self.program("apt-get", "exit 1")
        self.assertEqual(self.run_script("install-dependencies", "tests", root=False), (0, "", ""))
        self.assertEqual(self.run_script("install-dependencies", "--describe", root=False)[1].split()[0], "nothing")
        self.assertEqual(self.called("apt-get"), [])

    def test_what_would_be_installed(self):
        for says, expected in (
                ("0 upgraded, 110 newly installed, 0 to remove and 3 not upgraded.\nNeed to get 1 kB of archives.\n"
                 "After this operation, 628 MB of additional disk space will be used.", "110 packages, 628 MB of disk"),
                ("0 upgraded, 7 newly installed, 0 to remove and 0 not upgraded.\n"
                 "  Space needed: 2490 kB / 78 GB available", "7 packages, 2490 kB of disk")):
            self.program("apt-get", f'echo "{says}"; exit 1')  # it is told not to go on
            self.assertEqual(self.run_script("install-dependencies", "--describe", root=False), (0, expected + "\n", ""))
        self.program("apt-get", 'echo "E: Unable to locate package ninja-build" >&2; exit 100')
        self.assertIn("packages", self.run_script("install-dependencies", "--describe")[1])

    def test_first_line_says_what_will_happen(self):
        self.program("apt-get", 'echo "0 upgraded, 110 newly installed"; '
                                'echo "After this operation, 628 MB of additional disk space will be used."; exit 1')
        for script in ("demo", "test"):
            _, out, _ = self.run_script(script, root=False)
            self.assertRegex(out.split("\n")[0], rf"\A{script}: installs 110 packages, 628 MB of disk; builds .*minutes")
            self.assertIn("98 MB", out.split("\n")[0])

    def presets(self, *words, fetching="exit 0"):
        """What scripts/test runs of CMake and CTest, and what it says besides."""
        self.may_install()
        for name in ("cmake", "ctest"):
            self.program(name, "")
        (self.folder / "scripts/fetch-models").write_text(f"#!{shutil.which('bash')}\n{fetching}\n")
        self.calls.write_text("")
        status, _, err = self.run_script("test", *words)
        self.assertEqual(status, 0, err)
        return [" ".join(line.split()[:3]) for line in self.called("cmake") + self.called("ctest")], err

    def test_the_parts_of_the_tests(self):
        def part(preset):
            return ["cmake --preset " + preset, "cmake --build --preset", "ctest --preset " + preset]
        further = part("sanitize") + part("tsan") + ["ctest --preset release"]  # emulator and browser
        self.assertEqual(sorted(self.presets()[0]), sorted(part("release")))
        self.assertEqual(sorted(self.presets("--further")[0]), sorted(part("release")[:2] + further))
        self.assertEqual(sorted(self.presets("--all")[0]), sorted(part("release") + further))
        status, out, err = self.run_script("test", "--al")
        self.assertEqual((status, out), (2, ""))
        self.assertEqual(err, "test: '--al' is neither --all nor --further\n")

    def test_what_only_the_further_part_needs_is_installed_for_it_alone(self):
        for words, expected in (((), False), (("--further",), True), (("--all",), True)):
            with self.subTest(words):
                self.presets(*words)
                installed = [line for line in self.called("apt-get") if " install -y" in line]
                self.assertEqual([("qemu-user" in line, "libgtest-dev" in line) for line in installed],
                                 [(expected and os.uname().machine == "x86_64", True)])

    def test_what_cannot_be_installed_is_said(self):
        status, out, err = self.run_script("install-dependencies", "test")
        self.assertEqual((status, out), (2, ""))
        self.assertEqual(err, "install-dependencies: 'test' is neither 'tests' nor 'further', "
                              "which is all it can be told to add\n")

    def test_without_a_network_the_other_tests_run(self):
        usual, _ = self.presets()
        ran, err = self.presets(fetching="echo 'fetch-models: no network' >&2; exit 1")
        self.assertEqual(ran, usual)
        self.assertIn("fetch-models: no network\ntest: note: ", err)

    def test_a_failing_test_fails_the_whole(self):
        self.presets()
        self.program("ctest", "exit 8")
        self.assertEqual(self.run_script("test")[0], 8)


class Package(unittest.TestCase):
    @unittest.skipUnless(all(map(shutil.which, ("cc", "strip"))), "there is no compiler")
    def test_what_is_packaged_does_not_tell_where_it_was_built(self):
        stamp = runpy.run_path(str(SOURCE / "scripts" / "package"))["stamp"]
        linked, stripped = set(), set()
        for _ in range(2):
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "program"
                (path.with_suffix(".c")).write_text("int main(void) { return 0; }\n")
                subprocess.run(["cc", "-g", "-Wl,--build-id=sha1", "program.c", "-o", path], cwd=folder, check=True)
                for files, act in ((linked, lambda: None), (stripped, lambda: stamp("strip", path))):
                    act()
                    subprocess.run(["strip", "-s", "-o", f"{path}.stripped", path], check=True)
                    files.add(pathlib.Path(f"{path}.stripped").read_bytes())
        self.assertEqual((len(linked), len(stripped)), (2, 1))


if __name__ == "__main__":
    unittest.main()
