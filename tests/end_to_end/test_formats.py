#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What earlier versions wrote: each plan, model database and session of tests/fixtures/formats either gives
what it gave then, or is refused in one line that names the command which renews it."""

import json
import lzma
import re
import sqlite3
import unittest

from programs import FIXTURES, TemporaryFolder
from running import attempt

FORMATS = FIXTURES / "formats"
# What makes each of the three anew.
RENEWS = re.compile(r"llmsql-import|llmsqlc|import the model again|compile the plan again|begin a new session")


class EarlierVersions(TemporaryFolder):
    def unpack(self, version):
        for file in version.glob("*.xz"):
            (self.folder / file.stem).write_bytes(lzma.decompress(file.read_bytes()))

    def test_there_are_some(self):
        self.assertTrue(list(FORMATS.glob("*/expected.json")))

    def test_each_runs_as_it_did_or_names_what_renews_it(self):
        for version in sorted(FORMATS.iterdir()):
            for what, case in json.loads((version / "expected.json").read_text()).items():
                with self.subTest(version=version.name, what=what):
                    self.unpack(version)  # anew: a session is written to
                    status, out, err = attempt(*case["arguments"], cwd=self.folder)
                    if status == 0:
                        self.assertEqual(out.decode(), case["output"])
                    else:
                        self.assertEqual(err.count("\n"), 1, err)
                        self.assertRegex(err, RENEWS)

    def test_a_version_to_come_is_refused_by_its_number(self):
        answer = ("-p", "a", "-n", 1)
        for file, arguments in {"plan.sql": ("plan.sql", "model.db", *answer),
                                "model.db": ("plan.sql", "model.db", *answer),
                                "session.db": ("model.db", "--session", "session.db", "--id", "text",
                                               *answer)}.items():
            self.unpack(max(FORMATS.iterdir()))
            if file == "plan.sql":
                plan = self.folder / file
                plan.write_text(re.sub(r"^-- llmsql plan \d+", "-- llmsql plan 9999", plan.read_text()))
            else:
                db = sqlite3.connect(self.folder / file)
                db.execute("PRAGMA user_version = 9999")
                db.close()
            status, _, err = attempt(*arguments, cwd=self.folder)
            self.assertNotEqual(status, 0, file)
            self.assertEqual(err.count("\n"), 1, err)
            self.assertIn(file, err)
            self.assertIn("9999", err)


if __name__ == "__main__":
    unittest.main()
