#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sessions while disks are full, files cannot be written and memory runs out: at one point after
another, until none is left (tests/faults/session_faults.cpp)."""

import os
import subprocess
import tempfile
import unittest

from running import RunTest

# Failing at every point takes minutes: LLMSQL_EVERY_FAULT=1. Else at these many-th ones; the sanitizers
# are slower.
SANITIZED = os.environ.get("LLMSQL_SANITIZED") == "1"
STRIDES = {"io": 1, "sqlite-memory": 23, "memory": 61, "open-sqlite-memory": 101, "open-memory": 61}


class Faults(RunTest):
    models = ("tiny-llama", "tiny-gemma3")

    def fails_everywhere(self, kind, model="tiny-llama", least=1):
        stride = STRIDES[kind] * (3 if SANITIZED else 1)
        if os.environ.get("LLMSQL_EVERY_FAULT") == "1":
            stride = 1
        # In memory where there is such a folder: nothing here needs the disk, and syncing is slow.
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
            done = subprocess.run([os.environ["LLMSQL_SESSION_FAULTS"], kind,
                                   *map(str, self.made[model]), folder, str(stride)],
                                  capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])
        print(f"{kind}, {model}: {int(done.stdout)} points")
        self.assertGreater(int(done.stdout), least)

    def test_files(self):
        self.fails_everywhere("io", least=30)
        self.fails_everywhere("io", "tiny-gemma3", least=30)

    def test_memory_of_sqlite(self):
        self.fails_everywhere("sqlite-memory")

    def test_memory(self):
        self.fails_everywhere("memory")

    def test_opening_without_memory(self):
        self.fails_everywhere("open-sqlite-memory")
        self.fails_everywhere("open-memory")


if __name__ == "__main__":
    unittest.main()
