# SPDX-License-Identifier: MIT
"""Language models compiled to SQL, run on SQLite within a memory budget.

    >>> import llmsql
    >>> model = llmsql.Model.open(GGUF, budget="512MiB")
    >>> model.generate("The river", n_predict=8, temperature=0)
    'erererererererer'

`Model` needs nothing but this package. `load` brings the same functions into a SQLite connection of yours, where
they are SQL (docs/sql-reference.md says which there are):

    >>> import sqlite3
    >>> db = sqlite3.connect(":memory:")
    >>> llmsql.load(db)
    >>> _ = db.execute("SELECT llm_load(?, ?)", (model.database, model.plan))
    >>> db.execute("SELECT llm_token_count('The river')").fetchone()
    (7,)

Whatever is wrong is an `Error`, whose text is one line: what, where, and what to do.
"""

from ._errors import Error, Interrupted
from ._extension import load, loadable_path
from ._model import Message, Model, Session, Token
from ._programs import compile, import_gguf

__version__ = "0.1.0"
__all__ = ["Error", "Interrupted", "Message", "Model", "Session", "Token", "compile", "import_gguf", "load",
           "loadable_path"]
