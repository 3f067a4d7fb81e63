# SPDX-License-Identifier: MIT
"""The command-line programs, as functions and as the package's scripts."""

import os
import subprocess
import sys
from typing import Dict, List, Optional, Sequence, Union

from . import _files
from ._errors import Error

PathLike = Union[str, "os.PathLike[str]"]


def run(name: str, arguments: Sequence[str]) -> str:
    """The output of a program that has to succeed; Error with the line in which it says what is wrong."""
    try:
        done = subprocess.run([str(_files.program(name)), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    except OSError as error:
        raise Error(f"{name}: cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().split("\n")[-1]
        raise Error(said or f"{name}: was ended by signal {-done.returncode}")
    return done.stdout.decode(errors="surrogateescape")


def options_of(values: Dict[str, object]) -> List[str]:
    """What command lines say for keyword arguments: of None nothing, of True the option alone, of a list one each."""
    options: List[str] = []
    for name, value in values.items():
        option = "--" + name.replace("_", "-")
        for each in value if isinstance(value, (list, tuple)) else (value,):
            if each is True:
                options.append(option)
            elif each is not None and each is not False:
                options.append(f"{option}={os.fspath(each) if hasattr(each, '__fspath__') else each}")
    return options


def import_gguf(source: PathLike, output: PathLike, *, weights: Optional[str] = None, write_model: Optional[PathLike] = None,
                model: Optional[PathLike] = None, graph: Optional[PathLike] = None,
                ignore_key: Union[None, str, Sequence[str]] = None) -> str:
    """Makes a model database of a GGUF file, or of a Hugging Face folder, and returns its path.

    `weights` is how matrices are stored (`llmsql-import --help` lists the types); `write_model` names a file for the
    model's description, of which `compile` makes plans.

        >>> llmsql.import_gguf(GGUF, FOLDER / "model.db", write_model=FOLDER / "model.toml") == str(FOLDER / "model.db")
        True
    """
    run("llmsql-import", [*options_of(dict(weights=weights, write_model=write_model, model=model, graph=graph,
                                           ignore_key=ignore_key, output=output)), "--", os.fspath(source)])
    return os.fspath(output)


def compile(model: PathLike, output: Optional[PathLike] = None, *, install: Optional[PathLike] = None,  # noqa: A001
            budget: Union[None, int, str] = None, context: Optional[int] = None, sequences: Optional[int] = None,
            kv: Optional[str] = None, chunk: Optional[int] = None, threads: Optional[int] = None) -> str:
    """Compiles a model's description into a plan, an SQL program, and returns its path: `output`, or with `install` a
    model database that gets it. Without either, the plan's text is returned.

    `budget` is the most memory that a run takes, in bytes or as a text ("96MiB"); what does not work within it is an
    Error that says the smallest that would.

        >>> db = llmsql.import_gguf(GGUF, FOLDER / "model.db", write_model=FOLDER / "model.toml")
        >>> plan = llmsql.compile(FOLDER / "model.toml", FOLDER / "plan.sql", budget="64MiB", context=128)
        >>> llmsql.compile(FOLDER / "model.toml", budget="1MiB")
        Traceback (most recent call last):
        llmsql._errors.Error: llmsqlc: ...
    """
    text = run("llmsqlc", [*options_of(dict(budget=budget, context=context, sequences=sequences, kv=kv, chunk=chunk,
                                            threads=threads, install=install, output=output,
                                            emit="sql" if output is None and install is None else None)),
                           "--", os.fspath(model)])
    return text if output is None and install is None else os.fspath(output if output is not None else install)


def _become(name: str) -> None:
    path = str(_files.program(name))
    try:
        os.execv(path, [path, *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"{name}: cannot be run: {error.strerror}")


def llmsql() -> None:
    """The script llmsql."""
    _become("llmsql")


def llmsqlc() -> None:
    """The script llmsqlc."""
    _become("llmsqlc")


def llmsql_run() -> None:
    """The script llmsql-run."""
    _become("llmsql-run")


def llmsql_import() -> None:
    """The script llmsql-import."""
    _become("llmsql-import")
