# SPDX-License-Identifier: MIT
"""Tests of tiny models of tests/fixtures/families: each is imported once, and compiled as a test asks for."""

import sys
import unittest

from programs import FIXTURES, SOURCE, compile_model, folder_of, run
from running import attempt

sys.path.insert(0, str(SOURCE / "tests" / "reference"))

from family_folder import read_recording, write_folder


class FamilyModels(unittest.TestCase):
    context = None  # tokens, by whoever derives from it

    @classmethod
    def setUpClass(cls):
        cls.folder = folder_of(cls)
        cls.made = {}

    def model(self, name):
        """Its database and its model file."""
        if name not in self.made:
            source = write_folder(read_recording(FIXTURES / "families" / f"{name}.json"), self.folder / name)
            db, toml = source.with_suffix(".db"), source.with_suffix(".toml")
            run("LLMSQL_IMPORT", source, "--graph-dir", SOURCE / "graphs", "--weights", "f32", "-o", db,
                "--write-model", toml)
            self.made[name] = db, toml
        return self.made[name]

    def compiled(self, name, *options):
        plan = self.folder / f"{name}-{abs(hash(options))}.sql"
        return compile_model(self.model(name)[1], plan, "--context", self.context, *options)

    def run_well(self, plan, db, *options):
        status, out, err = attempt(plan, db, *options)
        self.assertEqual(status, 0, err)
        return out, err
