#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes jinja/unicode_tables.inc: what Python's str methods know of characters, asked of Python itself.

    make_unicode_tables.py > unicode_tables.inc
"""

import sys
import unicodedata

BITS = ["isalpha", "isdecimal", "isdigit", "isnumeric", "isspace", "isprintable", "isupper", "islower"]


def flags(c):
    bits = sum(1 << i for i, name in enumerate(BITS) if getattr(c, name)())
    bits |= (unicodedata.category(c) == "Lt") << 8
    bits |= c.isidentifier() << 9
    bits |= ("a" + c).isidentifier() << 10
    # Skipped in looking for the letter that a final sigma follows.
    cased = c.isupper() or c.islower() or unicodedata.category(c) == "Lt"
    bits |= (not cased and ("A" + c + "\u03a3").lower()[-1] == "\u03c2") << 11
    return bits


def lines(items, width=96):
    line = ""
    for item in items:
        if len(line) + len(item) > width:
            print(line.rstrip())
            line = ""
        line += item + ", "
    print(line.rstrip())


def mapping(name, function):
    runs, long = [], []
    for code in range(sys.maxunicode + 1):
        c = chr(code)
        to = function(c)
        if to == c:
            continue
        if len(to) > 1:
            long.append((code, to))
            continue
        delta = ord(to) - code
        if runs and runs[-1][2] == delta:
            first, last, _, step = runs[-1]
            gap = code - last
            if gap <= 2 and (step == 0 or step == gap):
                runs[-1] = (first, code, delta, gap)
                continue
        runs.append((code, code, delta, 0))
    print(f"constexpr CaseRun k{name}Runs[] = {{")
    lines(f"{{{a}, {b}, {d}, {max(1, s)}}}" for a, b, d, s in runs)
    print("};")
    print(f"constexpr CaseLong k{name}Long[] = {{")
    lines("{%d, {%s}}" % (code, ", ".join(str(ord(x)) for x in to)) for code, to in long)
    print("};")


def main():
    print("// SPDX-License-Identifier: MIT")
    print(f"// Written by make_unicode_tables.py: Unicode {unicodedata.unidata_version}.")
    runs, last = [], None
    for code in range(sys.maxunicode + 1):
        bits = flags(chr(code))
        if bits != last:
            runs.append(f"{{{code}, {bits}}}")
            last = bits
    print("constexpr FlagRun kFlagRuns[] = {")
    lines(runs)
    print("};")
    for name, function in (("Upper", str.upper), ("Lower", str.lower), ("Title", str.title),
                           ("Fold", str.casefold)):
        mapping(name, function)


main()
