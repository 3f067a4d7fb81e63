# SPDX-License-Identifier: MIT
"""SQL on connections of libllmsql_engine, a library with llmsql's functions and a SQLite of its own.

HOW IT WORKS. The library is called through ctypes, which lets other threads of Python run meanwhile. Of Ctrl-C, or any
signal whose handler raises, Python hears between two of its own instructions alone; so on the main thread the
connection asks it, every so many steps, by resuming a generator that does nothing: what is raised there ends the
statement, and is raised again once it has ended. (A generator, as it is resumed within its `try`: a function would be
interrupted before it gets there.)
"""

import ctypes
import functools
import threading
from typing import Any, Generator, Optional, Tuple, Union

from . import _files
from ._errors import Error, Interrupted

Value = Union[None, int, float, str]
"""What SQL takes and gives; floats it only gives."""

_ROW, _DONE, _INTERRUPTED = 100, 101, 9
_INTEGER, _REAL, _NULL = 1, 2, 5
_STEPS = 500  # between two questions: a few each pass
_ASK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_NOBODY = _ASK()

_library: Optional[ctypes.CDLL] = None
_mutex = threading.Lock()


def _engine() -> ctypes.CDLL:
    global _library
    with _mutex:
        if _library is None:
            path = _files.library("libllmsql_engine")
            try:
                library = ctypes.CDLL(str(path))
            except OSError as error:
                raise Error(f"{path}: cannot be loaded: {error}") from None
            pointer, integer, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
            for name, result, *arguments in (
                    ("open", integer, ctypes.POINTER(pointer), ctypes.POINTER(pointer)),
                    ("free", None, pointer), ("close", None, pointer), ("interrupt", None, pointer),
                    ("ask", None, pointer, integer, _ASK, pointer), ("error", text, pointer),
                    ("prepare", integer, pointer, text, integer, ctypes.POINTER(pointer)),
                    ("bind_null", integer, pointer, integer),
                    ("bind_integer", integer, pointer, integer, ctypes.c_longlong),
                    ("bind_text", integer, pointer, integer, text, ctypes.c_ulonglong),
                    ("step", integer, pointer), ("column_count", integer, pointer),
                    ("column_type", integer, pointer, integer), ("column_integer", ctypes.c_longlong, pointer, integer),
                    ("column_real", ctypes.c_double, pointer, integer),
                    ("column_text", pointer, pointer, integer, ctypes.POINTER(integer)),
                    ("finalize", integer, pointer)):
                function = getattr(library, f"llmsql_{name}")
                function.restype, function.argtypes = result, arguments
            _library = library
    return _library


class Connection:
    """Used by one thread at a time, but for `interrupt`."""

    def __init__(self) -> None:
        self._engine = _engine()
        self._raised: Optional[BaseException] = None
        self._mutex = threading.Lock()  # of the handle, which another thread may interrupt
        self._ask = _ASK(functools.partial(next, self._listen()))
        handle, error = ctypes.c_void_p(), ctypes.c_void_p()
        if self._engine.llmsql_open(ctypes.byref(handle), ctypes.byref(error)) != 0:
            said = ctypes.string_at(error.value).decode(errors="replace") if error.value else "out of memory"
            self._engine.llmsql_free(error)
            raise Error(said)
        self._handle: Optional[int] = handle.value

    def close(self) -> None:
        with self._mutex:
            handle, self._handle = self._handle, None
        if handle:
            self._engine.llmsql_close(handle)

    def forget(self) -> None:
        """Closes nothing: it is another process's."""
        self._handle = None

    def interrupt(self) -> None:
        with self._mutex:
            if self._handle:
                self._engine.llmsql_interrupt(self._handle)

    def value(self, sql: str, *values: Value) -> Value:
        """The first column of the first row."""
        rows = self.rows(sql, *values)
        try:
            for row in rows:
                return row[0]
            return None
        finally:
            rows.close()

    def rows(self, sql: str, *values: Value) -> Generator[Tuple[Value, ...], None, None]:
        engine, statement = self._engine, ctypes.c_void_p()
        code = sql.encode()
        self._check(engine.llmsql_prepare(self._handle, code, len(code), ctypes.byref(statement)))
        try:
            for index, value in enumerate(values, 1):
                self._check(self._bind(statement, index, value))
            while self._step(statement):
                yield tuple(self._column(statement, column) for column in range(engine.llmsql_column_count(statement)))
        finally:
            engine.llmsql_finalize(statement)

    def _listen(self) -> Generator[int, None, None]:
        while True:
            try:
                while True:
                    yield 0 if self._raised is None else 1
            except GeneratorExit:
                raise
            except BaseException as raised:  # by a signal's handler
                self._raised = raised

    def _step(self, statement: Any) -> bool:
        hears = threading.current_thread() is threading.main_thread()
        self._raised = None
        self._engine.llmsql_ask(self._handle, _STEPS if hears else 0, self._ask if hears else _NOBODY, None)
        code = self._engine.llmsql_step(statement)
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised
        if code == _ROW:
            return True
        if code != _DONE:
            self._check(code)
        return False

    def _check(self, code: int) -> None:
        if code == 0:
            return
        said = (self._engine.llmsql_error(self._handle) or b"").decode(errors="replace")
        raise (Interrupted if code == _INTERRUPTED else Error)(said)

    def _bind(self, statement: Any, index: int, value: Value) -> int:
        if value is None:
            return self._engine.llmsql_bind_null(statement, index)
        if isinstance(value, int):
            return self._engine.llmsql_bind_integer(statement, index, value)
        if isinstance(value, str):
            try:
                text = value.encode()
            except UnicodeEncodeError:
                raise Error("a text has half of a surrogate pair in it, which is no character") from None
            return self._engine.llmsql_bind_text(statement, index, text, len(text))
        raise Error(f"a text is wanted, not {type(value).__name__}")

    def _column(self, statement: Any, column: int) -> Value:
        kind = self._engine.llmsql_column_type(statement, column)
        if kind == _NULL:
            return None
        if kind == _INTEGER:
            return self._engine.llmsql_column_integer(statement, column)
        if kind == _REAL:
            return self._engine.llmsql_column_real(statement, column)
        size = ctypes.c_int()
        text = self._engine.llmsql_column_text(statement, column, ctypes.byref(size))
        return ctypes.string_at(text, size.value).decode(errors="replace") if text else ""
