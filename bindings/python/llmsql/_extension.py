# SPDX-License-Identifier: MIT
"""The loadable extension, for connections of sqlite3, apsw and pysqlite3."""

import atexit
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any, Dict

from . import _files
from ._errors import Error

# One copy of the library serves one SQLite. Modules that bring another SQLite than the first get a copy of the file.
_copies: Dict[str, str] = {}
_mutex = threading.Lock()


def loadable_path() -> str:
    """The path of the loadable extension, as SQLite's load_extension() wants it.

        >>> llmsql.loadable_path().endswith("libllmsql")
        True
    """
    return str(_files.library("libllmsql"))[: -len(".so")]


def load(connection: Any) -> None:
    """Loads the extension into a connection of sqlite3, apsw or pysqlite3. Whether extensions may be loaded is afterwards as
    it was, or no.

        >>> db = sqlite3.connect(":memory:")
        >>> llmsql.load(db)
        >>> db.execute("SELECT llm_version()").fetchone()
        ('0.1.0',)
    """
    load_extension = _method(connection, "load_extension", "loadextension")
    enable = _method(connection, "enable_load_extension", "enableloadextension")
    module = type(connection).__module__
    with _mutex:
        path = _copies.get(module, loadable_path())
        try:
            _load(load_extension, enable, path)
        except Exception as error:
            if "load a copy of the file for each" not in str(error):
                raise Error(f"{path}: {error}") from None
            path = _copies[module] = _copy()
            try:
                _load(load_extension, enable, path)
            except Exception as again:
                raise Error(f"{path}: {again}") from None


def _method(connection: Any, *names: str) -> Any:
    for name in names:
        if hasattr(connection, name):
            return getattr(connection, name)
    if not hasattr(connection, "execute") and not hasattr(connection, "cursor"):
        raise Error(f"llmsql.load: a connection of sqlite3, apsw or pysqlite3 is wanted, not {type(connection).__name__}")
    raise Error(f"llmsql.load: the {type(connection).__module__.split('.')[0]} of this Python was built without loadable extensions: "
                "connect by apsw or pysqlite3 (pip install apsw), or use llmsql.Model, which needs neither")


def _load(load_extension: Any, enable: Any, path: str) -> None:
    try:
        return load_extension(path)
    except Exception as error:
        if "not authorized" not in str(error):
            raise
    enable(True)
    try:
        load_extension(path)
    finally:
        enable(False)


def _copy() -> str:
    folder = tempfile.mkdtemp(prefix="llmsql-")
    atexit.register(shutil.rmtree, folder, True)
    shutil.copy(loadable_path() + ".so", folder)
    return str(Path(folder) / "libllmsql")
