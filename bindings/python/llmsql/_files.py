# SPDX-License-Identifier: MIT
"""Where the package's programs and libraries lie."""

import os
import pathlib

from ._errors import Error

# A development tree has them elsewhere: LLMSQL_BUILD names its build folder, with bin/ and lib/ in it.
_ROOT = pathlib.Path(os.environ.get("LLMSQL_BUILD") or pathlib.Path(__file__).resolve().parent)


def _there(path):
    if not path.exists():
        raise Error(f"{path}: is not there: install the package anew")
    return path


def library(name):
    return _there(_ROOT / "lib" / f"{name}.so")


def program(name):
    return _there(_ROOT / "bin" / name)
