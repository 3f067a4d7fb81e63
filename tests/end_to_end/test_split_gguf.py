#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Models split over several GGUF files: imported as the whole is, whichever part is named; and what
is said where the parts are not those of one model."""

import os
import re
import struct
import subprocess
import unittest

from programs import FIXTURES, SOURCE, TemporaryFolder, rows, run

import gguf_files
from gguf_files import I32, U16, Gguf, part_name, parts_of, write_parts

GRAPHS = "--graph-dir", SOURCE / "graphs"
LLAMA = FIXTURES / "tiny-llama-quant.gguf"


class Split(TemporaryFolder):
    def setUp(self):
        super().setUp()
        self.whole = Gguf(LLAMA)
        self.db = self.folder / "x.db"

    def tables(self, source):
        """What an import makes of a source: all rows, and the name it gives the model."""
        run("LLMSQL_IMPORT", source, *GRAPHS, "-o", self.db)
        meta = dict(rows(self.db, "SELECT key, value FROM llm_meta WHERE key <> 'digest.llm_meta'"))
        tables = [rows(self.db, f"SELECT * FROM {table}") for table in
                  ("llm_param", "llm_tile", "llm_token", "llm_merge")]
        return tables, meta, self.db.read_bytes()

    def refuse(self, source, expected):
        done = subprocess.run([os.environ["LLMSQL_IMPORT"], source, *map(str, GRAPHS), "-o", self.db],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, r"\Allmsql-import: [^\n]*\n\Z")
        self.assertRegex(done.stderr, expected)
        self.assertFalse(self.db.exists())


class Together(Split):
    def test_the_file_taken_apart_is_the_file(self):
        self.assertEqual(Gguf(self.whole.write(self.folder / "x.gguf")).content(),
                         self.whole.content())

    def test_parts_are_read_as_the_whole(self):
        tables, meta, _ = self.tables(LLAMA)
        largest = max(len(tensor.data) for tensor in self.whole.tensors) + 32
        for number, cut in enumerate([{"most_tensors": 5}, {"most_tensors": 1},
                                      {"most_bytes": largest},
                                      {"most_tensors": 7, "none_in_first": True}]):
            parts = parts_of(self.whole, **cut)
            self.assertGreater(len(parts), 2)
            paths = write_parts(parts, self.folder, f"m{number}")
            contents = set()
            for named in [paths[0], paths[1], paths[-1]]:
                got, got_meta, content = self.tables(named)
                contents.add(content)
                self.assertEqual(got, tables)
                self.assertEqual(got_meta, {**meta, "model": f"m{number}", "source": paths[0].name})
            self.assertEqual(len(contents), 1)

    def test_names(self):
        paths = write_parts(parts_of(self.whole, most_tensors=9), self.folder, "Some-Model-IQ3_XXS")
        self.assertEqual(self.tables(paths[1])[1]["model"], "some-model")
        # Links, as a cache has them that keeps files under other names.
        links = self.folder / "links"
        links.mkdir()
        for number, path in enumerate(paths):
            (links / path.name).symlink_to(path.rename(self.folder / f"blob{number}"))
        self.assertEqual(self.tables(links / paths[1].name)[1]["source"], paths[0].name)

    def test_one_part_is_a_whole(self):
        (part,) = parts_of(self.whole, most_tensors=1000)
        tables, meta, _ = self.tables(LLAMA)
        for name in part_name("m", 0, 1), "any.gguf":
            got, got_meta, _ = self.tables(part.write(self.folder / name))
            self.assertEqual(got, tables)


class Apart(Split):
    def setUp(self):
        super().setUp()
        self.parts = parts_of(self.whole, most_tensors=-(-len(self.whole.tensors) // 3))
        self.assertEqual(len(self.parts), 3)

    def write(self):
        return write_parts(self.parts, self.folder, "m")

    def test_missing(self):
        for gone in range(3):
            for named in {0, 1, 2} - {gone}:
                paths = self.write()
                paths[gone].unlink()
                self.refuse(paths[named], re.escape(f"{paths[gone]}: is missing: it is part {gone + 1} of "
                                                    f"the 3 of the model that {paths[named]} belongs to"))

    def test_named_otherwise(self):
        paths = self.write()
        for number, path in enumerate(paths):
            other = path.rename(self.folder / "other.gguf")
            self.refuse(other, rf"is part {number + 1} of 3 of a model, but its name does not end in "
                               rf"-0000{number + 1}-of-00003.gguf")
            other.rename(path)
        for wrong in "m-00002-of-00002.gguf", "m-00002-of-00004.gguf":
            other = paths[1].rename(self.folder / wrong)
            self.refuse(other, "says that its model has 3 parts, by its name there are [24]")
            other.rename(paths[1])
        for wrong in "m-00000-of-00003.gguf", "m-00004-of-00003.gguf", "m-2-of-3.gguf", "m.gguf.part2":
            other = paths[1].rename(self.folder / wrong)
            self.refuse(other, "is part 2 of 3 of a model, but its name does not end in")
            other.rename(paths[1])

    def test_mixed_up(self):
        paths = self.write()
        paths[1].rename(self.folder / "aside")
        paths[2].rename(paths[1])
        (self.folder / "aside").rename(paths[2])
        for named in paths[:2]:
            self.refuse(named, "m-00002-of-00003.gguf: says that it is part 3 of 3, its name that it "
                               "is part 2")
        paths = self.write()
        paths[0].write_bytes(paths[1].read_bytes())
        for named in paths:
            self.refuse(named, "m-00001-of-00003.gguf: says that it is part 2 of 3")

    def test_no_part(self):
        self.parts[1].keys = {}
        paths = self.write()
        for named in paths[0], paths[2]:
            self.refuse(named, "m-00002-of-00003.gguf: is no part of a split model")
        paths[1].write_bytes(b"something else")
        self.refuse(paths[0], "m-00002-of-00003.gguf: is not a GGUF file")

    def test_counts(self):
        for key, type, value, expected in [
                ("split.count", U16, struct.pack("<H", 4), "says that its model has 4 parts"),
                ("split.count", I32, struct.pack("<i", -1), "split.count is -1: the file is damaged"),
                ("split.no", gguf_files.STRING, gguf_files.string("1"), "a number is needed"),
                ("split.tensors.count", I32, struct.pack("<i", 9),
                 "its metadata split.tensors.count is another than that of .*m-00001")]:
            self.setUp()
            self.parts[1].set(key, type, value)
            self.refuse(self.write()[0], "m-00002-of-00003.gguf: .*" + expected)
        self.setUp()
        for part in self.parts:
            part.set("split.tensors.count", I32, struct.pack("<i", len(self.whole.tensors) + 1))
        self.refuse(self.write()[1], rf"its 3 parts have {len(self.whole.tensors)} tensors, but the "
                                     rf"model has {len(self.whole.tensors) + 1}")
        self.setUp()
        self.parts[0].set("split.count", U16, struct.pack("<H", 65535))
        self.refuse(self.write()[0], "claims to be split into 65535 parts")

    def test_tensors_in_two_parts(self):
        twice = self.parts[0].tensors[0]
        self.parts[2].tensors.append(twice)
        self.refuse(self.write()[0], rf"m-00003-of-00003.gguf: the tensor {twice.name} is in "
                                     r".*m-00001-of-00003.gguf too")

    def test_different_models(self):
        self.parts[2].set("general.architecture", gguf_files.STRING, gguf_files.string("qwen2"))
        self.refuse(self.write()[0], "m-00003-of-00003.gguf: its metadata general.architecture is another")
        # Cut at another place.
        other = parts_of(self.whole, most_tensors=-(-len(self.whole.tensors) // 3) - 1)
        self.parts[2] = other[2]
        self.parts[2].set("split.count", U16, struct.pack("<H", 3))
        self.refuse(self.write()[0], "m-00003-of-00003.gguf: the tensor .* is in .*00002-of-00003.gguf too")

    def test_the_part_that_a_tensor_is_in_is_named(self):
        tensor = self.parts[2].tensors[-1]
        tensor.shape = (*tensor.shape[:-1], tensor.shape[-1] // 2)
        tensor.data = tensor.data[:len(tensor.data) // 2]
        self.refuse(self.write()[1], rf"m-00003-of-00003.gguf: tensor {tensor.name} has the shape")

    def test_damage_in_each_part(self):
        for number in range(3):
            for cut in 3, 100, 2000, -40:
                paths = self.write()
                content = paths[number].read_bytes()
                paths[number].write_bytes(content[:cut])
                for named in paths:
                    self.refuse(named, "m-0000[123]-of-00003.gguf: ")


if __name__ == "__main__":
    unittest.main()
