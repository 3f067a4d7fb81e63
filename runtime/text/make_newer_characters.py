#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes runtime/text/newer_characters.inc: characters that Unicode has taken up since 14.0, which is PCRE2 10.42's, and
for each an older one of as many bytes, the same category and, where there is such, the same script.

    make_newer_characters.py > newer_characters.inc

Needs Python 3.11, whose own tables are Unicode 14's, and unicodedata2 of 15.1.0 and of 16.0.0 in folders called so, on
PYTHONPATH's first entry.
"""

import importlib.util
import pathlib
import sys
import unicodedata

ODD = {0x1b132: 0x1b001, 0x1b155: 0x1b000}  # small letters of Hiragana and Katakana: no case, their scripts'
# Those that older tables than Unicode 14's don't have either, which some steps of tokenizers go by.
RECENT = {(3, "Po"): 0x1b7d, (4, "Po"): 0x11fff, (4, "Pd"): 0x10ead, (3, "Mn"): 0xafa, (4, "Mn"): 0x11a01,
          (3, "Mc"): 0x1cf7, (4, "Mc"): 0x11930, (4, "Cf"): 0x13430}
# Marks that are not Alphabetic, and what stands for those.
PLAIN = [(0xcf3, 0xcf3), (0xece, 0xece), (0x10d6a, 0x10d6d), (0x10efd, 0x10eff), (0x113ce, 0x113d0), (0x113d2, 0x113d2),
         (0x113e1, 0x113e2), (0x11f41, 0x11f42), (0x11f5a, 0x11f5a), (0x13440, 0x13440), (0x13447, 0x13455), (0x1612f, 0x1612f),
         (0x1e4ec, 0x1e4ef), (0x1e5ee, 0x1e5ef)]
PLAIN_MARKS = {(3, "Mn"): 0xafd, (3, "Mc"): 0x1715, (4, "Mn"): 0x11a33, (4, "Mc"): 0x1193d}


def tables(version):
    (path,) = (pathlib.Path(sys.path[1]) / version).glob("unicodedata2*.so")
    spec = importlib.util.spec_from_file_location("unicodedata2", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.unidata_version == version
    return module


def script(data, code):
    return data.name(chr(code), "").replace("-", " ").split(" ")[0]


def main():
    assert unicodedata.unidata_version == "14.0.0"
    versions = [("15.1.0", 151), ("16.0.0", 160)]
    older = {}
    for code in range(0x800, 0x20010):
        if not 0xd800 <= code < 0xe000 and (category := unicodedata.category(chr(code))) not in ("Cn", "Co"):
            size = len(chr(code).encode())
            older.setdefault((size, category, script(unicodedata, code)), code)
    # Of no script in particular, none of an emoji's.
    plain = {"So": 0x1f800, "Lo": 0x10000, "Nd": 0x104a0, "Lm": 0x16b40}
    rows, seen = [], set()
    for version, number in versions:
        data = tables(version)
        for code in range(0x800, 0x110000):
            if 0xd800 <= code < 0xe000 or code in seen or unicodedata.category(chr(code)) != "Cn":
                continue
            category = data.category(chr(code))
            if category == "Cn":
                continue
            seen.add(code)
            size = len(chr(code).encode())
            name = script(data, code)
            is_plain = any(first <= code <= last for first, last in PLAIN)
            if category in ("So", "Lm"):
                name = None  # no script's
                older[size, "So", None], older[size, "Lm", None] = (0x31c0, 0x1d2c) if size == 3 else (0x1f800, 0x16b40)
            is_emoji = 0x1f6d0 <= code < 0x1f700 or 0x1fa70 <= code < 0x1fb00
            for_it = (0x2a700 if code == 0x2b739 else 0x30000 if 0x20000 <= code else ODD.get(code)) or (is_emoji and 0x1f300) or (is_plain and PLAIN_MARKS.get((size, category))) or RECENT.get((size, category)) or older.get((size, category, name)) or (
                0x2a700 if code == 0x2b739 else 0x30000 if 0x20000 <= code else plain.get(category) if size == 4 else None)
            if for_it is None:
                for_it = min((c for (s, k, _), c in older.items() if s == size and k == category), default=None)
            assert for_it, (hex(code), category)
            rows.append((code, number, for_it))
    runs = []
    for code, number, for_it in sorted(rows):
        if runs and runs[-1][1] == code - 1 and runs[-1][2:] == [number, for_it]:
            runs[-1][1] = code
        else:
            runs.append([code, code, number, for_it])
    print("// Written by make_newer_characters.py: first, last, the version of Unicode (151: 15.1) that has them, and what\n"
          "// stands for each.")
    line = ""
    for first, last, number, for_it in runs:
        item = f"{{0x{first:x}, 0x{last:x}, {number}, 0x{for_it:x}}}, "
        if len(line) + len(item) > 96:
            print(line.rstrip())
            line = ""
        line += item
    print(line.rstrip())


if __name__ == "__main__":
    main()
