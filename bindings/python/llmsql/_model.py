# SPDX-License-Identifier: MIT
"""Models that are open, and what is asked of them.

HOW IT WORKS. Everything is SQL on connections of the engine (_engine.py). A model has as many as its plan has sequences,
each used by one call at a time; who comes when all are in use waits. So threads share weights and passes, and memory
is what the plan was compiled for, however many threads there are.
"""

import fcntl
import json
import os
import threading
from contextlib import closing, contextmanager, suppress
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Union

from ._engine import Connection
from ._errors import Error
from ._programs import PathLike, options_of, run

Message = Mapping[str, Any]
"""What somebody says in a conversation: {"role": "user", "content": "Hi"}, and what else the chat template takes."""


class Token(NamedTuple):
    """A piece of an answer as it comes."""

    text: str
    """What can be shown of it; empty while a character is not whole."""
    token: Optional[int]
    """Its id; None of a last piece of text that was held back as a stop text might have begun there."""
    logprob: Optional[float]
    """The natural logarithm of the probability that the model gave it."""


def _options(values: Dict[str, Any]) -> str:
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return json.dumps(given)
    except TypeError as error:
        raise Error(f"options: {error}") from None


class _Connections:
    """Of one model: as many as it has sequences."""

    def __init__(self, database: str, plan: str, threads: int) -> None:
        self._load = (database, plan or None, json.dumps({"threads": threads} if threads else {}))
        self.begin()

    def begin(self) -> None:
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._idle: List[Connection] = []
        self._busy: Dict[Connection, int] = {}  # by which thread
        self.closed = False
        first = self._open()
        self._idle.append(first)
        self._most = max(1, int(json.loads(str(first.value("SELECT llm_info()")))["sequences"]))
        self._count = 1

    def _open(self) -> Connection:
        connection = Connection()
        try:
            connection.value("SELECT llm_load(?, ?, ?)", *self._load)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def taken(self) -> Iterator[Connection]:
        connection = self._take()
        try:
            yield connection
        finally:
            with self._changed:
                self._busy.pop(connection, None)
                if self.closed:
                    connection.close()
                else:
                    self._idle.append(connection)
                self._changed.notify()

    def _take(self) -> Connection:
        if self._process != os.getpid():  # forked: what is open is the parent's
            for connection in (*self._idle, *self._busy):
                connection.forget()
            self.begin()
        me = threading.get_ident()
        with self._changed:
            while True:
                if self.closed:
                    raise Error("the model is closed")
                if self._idle:
                    connection = self._idle.pop()
                    break
                if self._count < self._most:
                    self._count += 1
                    try:
                        connection = self._open()
                    except BaseException:
                        self._count -= 1
                        raise
                    break
                if all(owner == me for owner in self._busy.values()):
                    raise Error(f"all {self._most} sequences of the plan are taken by streams that this thread reads: close "
                                "one, or open the model with more (sequences=)")
                self._changed.wait()
            self._busy[connection] = me
        return connection

    def interrupt(self) -> None:
        for connection in tuple(self._busy):
            connection.interrupt()

    def close(self) -> None:
        if self._process != os.getpid():
            return
        with self._changed:
            self.closed = True
            for connection in self._idle:
                connection.close()
            self._idle.clear()
            self._changed.notify_all()


class Model:
    """A model that is open, for any number of threads. `Model.open` opens one; `close`, or the end of a `with` block,
    closes it.

    Options of how tokens are picked are the same in all methods, and llama.cpp's: `n_predict` (most tokens; -1: as many as
    there is room for), `temperature`, `top_k`, `top_p`, `min_p`, `repeat_penalty`, `seed`, `stop` (a text to stop at, or
    several), `ignore_eos`, `keep`, `context`. docs/sql-reference.md says what each is where it is not given.
    """

    database: str
    """The model database."""
    plan: Optional[str]
    """The file or name of the plan; None: the one that is installed in the database."""

    def __init__(self, database: str, plan: Optional[str], threads: int, lock: Optional[int]) -> None:
        self.database, self.plan, self._lock = database, plan, lock
        try:
            self._connections = _Connections(database, plan or "", threads)
        except BaseException:
            self._unlock()
            raise

    @classmethod
    def open(cls, path: PathLike, plan: Optional[str] = None, *, budget: Union[None, int, str] = None,
             context: Optional[int] = None, sequences: Optional[int] = None, kv: Optional[str] = None,
             threads: int = 0, weights: Optional[str] = None, model: Optional[PathLike] = None) -> "Model":
        """Opens a GGUF file, a Hugging Face folder or a model database.

        What is no model database is imported first, into the cache that `llmsql run` has as well (`llmsql cache ls`), and a
        plan compiled for it: for `context` positions, `sequences` texts at once, keys and values stored as `kv`, within a
        `budget` of memory, in bytes or as a text ("96MiB"). The budget bounds what llmsql adds to this process's resident
        set; without one it is what is free, where the model takes more. `plan` names a plan instead: a file, or one that is
        installed in the database. `weights` is how an import stores matrices, `model` a model's description for a database
        that has no plan in it and no such file beside it, `threads` how many compute (0: a thread a core).

            >>> with llmsql.Model.open(GGUF, budget="64MiB", context=128) as model:
            ...     model.info["context"]
            128
        """
        source = os.fspath(path)
        if plan is not None:
            for name, value in (("budget", budget), ("context", context), ("sequences", sequences), ("kv", kv),
                                ("weights", weights), ("model", model)):
                if value is not None:
                    raise Error(f"Model.open: {name} is settled when a plan is compiled, and one is named: leave one of them out")
            return cls(source, os.fspath(plan), threads, None)
        options = options_of(dict(budget=budget, context=context, sequences=sequences, kv=kv, weights=weights, model=model,
                                  threads=threads or None))
        for _ in range(3):
            said = run("llmsql", ["prepare", *options, "--", source])
            found = dict(line.split(": ", 1) for line in said.rstrip("\n").split("\n"))
            lock = _locked(found["lock"]) if found["lock"] else None
            # The cache may have dropped it in between.
            if not found["lock"] or (os.path.exists(found["lock"]) and os.path.exists(found["database"])):
                return cls(found["database"], found["plan"] or None, threads, lock)
            if lock is not None:
                os.close(lock)
        raise Error(f"{source}: the cache drops it again and again: llmsql cache limit says how much it holds")

    def generate(self, prompt: str, *, chat: Optional[bool] = None, system: Optional[str] = None,
                 n_predict: Optional[int] = None, temperature: Optional[float] = None, top_k: Optional[int] = None,
                 top_p: Optional[float] = None, min_p: Optional[float] = None, repeat_penalty: Optional[float] = None,
                 seed: Optional[int] = None, stop: Union[None, str, Sequence[str]] = None,
                 ignore_eos: Optional[bool] = None, keep: Optional[int] = None, context: Optional[int] = None) -> str:
        """Goes on with a text, and returns what comes after it. With `chat` the prompt is a message, put into the model's
        chat template with the `system` message.

            >>> model.generate("The river", n_predict=8, temperature=0)
            'erererererererer'
        """
        return self._text("SELECT llm_generate(?, ?)", prompt, _options(_picked(locals())))

    def stream(self, prompt: str, *, chat: Optional[bool] = None, system: Optional[str] = None,
               n_predict: Optional[int] = None, temperature: Optional[float] = None, top_k: Optional[int] = None,
               top_p: Optional[float] = None, min_p: Optional[float] = None, repeat_penalty: Optional[float] = None,
               seed: Optional[int] = None, stop: Union[None, str, Sequence[str]] = None,
               ignore_eos: Optional[bool] = None, keep: Optional[int] = None,
               context: Optional[int] = None) -> Iterator[Token]:
        """The tokens of what `generate` returns, as they come. An iteration that is left early ends the work.

            >>> for token in model.stream("The river", n_predict=3, temperature=0):
            ...     print(token.text, token.token)
            er 266
            er 266
            er 266
        """
        options = _options(_picked(locals()))
        sql = "SELECT token, piece, logprob FROM llm_stream(?, ?)"
        with self._connections.taken() as connection, closing(connection.rows(sql, prompt, options)) as rows:
            for token, text, logprob in rows:
                yield Token(text or "", token, logprob)  # type: ignore[arg-type]

    def batch(self, prompts: Sequence[str], *, chat: Optional[bool] = None, system: Optional[str] = None,
              n_predict: Optional[int] = None, temperature: Optional[float] = None, top_k: Optional[int] = None,
              top_p: Optional[float] = None, min_p: Optional[float] = None, repeat_penalty: Optional[float] = None,
              seed: Optional[int] = None, stop: Union[None, str, Sequence[str]] = None,
              ignore_eos: Optional[bool] = None, keep: Optional[int] = None, context: Optional[int] = None) -> List[str]:
        """What `generate` returns of each prompt, several in a pass where the plan has as many sequences.

            >>> model.batch(["The river", "A hill"], n_predict=4, temperature=0) == [
            ...     model.generate(prompt, n_predict=4, temperature=0) for prompt in ("The river", "A hill")]
            True
        """
        options = _options(_picked(locals()))
        listed = json.dumps(list(prompts)).replace("'", "''")
        with self._connections.taken() as connection:
            return [str(answer) for (answer,) in connection.rows(
                "SELECT answer FROM llm_batch(?, ?)", f"SELECT key, value FROM json_each('{listed}')", options)]

    def chat(self, messages: Union[str, Sequence[Message], Mapping[str, Any]], *, n_predict: Optional[int] = None,
             temperature: Optional[float] = None, top_k: Optional[int] = None, top_p: Optional[float] = None,
             min_p: Optional[float] = None, repeat_penalty: Optional[float] = None, seed: Optional[int] = None,
             stop: Union[None, str, Sequence[str]] = None, ignore_eos: Optional[bool] = None, keep: Optional[int] = None,
             context: Optional[int] = None) -> str:
        """The answer to a conversation that is given whole: what a user says, or a list of messages, or a mapping that has
        them as "messages", with "tools" and any variable of the chat template beside.

            >>> answer = model.chat([{"role": "user", "content": "Hi"}], n_predict=4, temperature=0)
            >>> answer == model.chat("Hi", n_predict=4, temperature=0)
            True
        """
        options = _options(_picked(locals()))
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        try:
            conversation = json.dumps(messages if isinstance(messages, Mapping) else list(messages))
        except TypeError as error:
            raise Error(f"the conversation: {error}") from None
        return self._text("SELECT llm_reply(?, ?)", conversation, options)

    def session(self, name: str = "default", file: Optional[PathLike] = None, *, system: Optional[str] = None) -> "Session":
        """A conversation that goes on. With `file` it is kept there, by its name, for other processes and `llmsql-run
        --session` too (docs/sessions.md)."""
        return Session(self, name, file, system)

    def tokenize(self, text: str) -> List[int]:
        """The ids of a text's tokens, with the one that starts a text, if the model wants it.

            >>> model.tokenize("The river")
            [87, 260, 35, 117, 108, 121, 266]
        """
        return [int(token) for token in json.loads(self._text("SELECT llm_tokenize(?)", text))]

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens. Control tokens have none.

            >>> model.detokenize(model.tokenize("The river"))
            'The river'
        """
        return self._text("SELECT llm_detokenize(?)", json.dumps(list(tokens)))

    def logprob(self, text: str, given: Optional[str] = None) -> Optional[float]:
        """The natural logarithm of the probability of a text, `given` what comes before; None where no token of it counts.

            >>> model.logprob(" flows", given="The river") < 0
            True
        """
        with self._connections.taken() as connection:
            return connection.value("SELECT llm_logprob(?, ?)", text, _options({"given": given}))  # type: ignore[return-value]

    @property
    def info(self) -> Dict[str, Any]:
        """What is open: model, plan, sizes, threads; and how many passes it has made, and of how many rows.

            >>> model.info["vocabulary"]
            300
        """
        found: Dict[str, Any] = json.loads(self._text("SELECT llm_info()"))
        return found

    def interrupt(self) -> None:
        """Ends, from another thread, what is under way: those calls raise `Interrupted`. Ctrl-C needs no such thing."""
        self._connections.interrupt()

    def close(self) -> None:
        """Closes it. Streams that are being read go on to their ends."""
        self._connections.close()
        self._unlock()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(Exception):  # the interpreter may be on its way out, or it was never opened
            self.close()

    def _text(self, sql: str, *values: Any) -> str:
        with self._connections.taken() as connection:
            return str(connection.value(sql, *values))

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


class Session:
    """A conversation that goes on: `Model.session` begins or continues one.

        >>> session = model.session(system="You are brief.")
        >>> first = session.say("Hi", n_predict=4, temperature=0)
        >>> [message["role"] for message in session.messages]
        ['system', 'user', 'assistant']
    """

    def __init__(self, model: Model, name: str, file: Optional[PathLike], system: Optional[str]) -> None:
        self.name = name
        self.file = None if file is None else os.fspath(file)
        self._model, self._system = model, system
        self._messages: List[Message] = [] if system is None else [{"role": "system", "content": system}]

    @property
    def messages(self) -> List[Message]:
        """What was said, where the conversation is not in a file."""
        if self.file is not None:
            raise Error(f"{self.file}: is where the conversation is: its table `message` has what was said")
        return list(self._messages)

    def say(self, message: str, *, n_predict: Optional[int] = None, temperature: Optional[float] = None,
            top_k: Optional[int] = None, top_p: Optional[float] = None, min_p: Optional[float] = None,
            repeat_penalty: Optional[float] = None, seed: Optional[int] = None,
            stop: Union[None, str, Sequence[str]] = None, ignore_eos: Optional[bool] = None, keep: Optional[int] = None,
            context: Optional[int] = None) -> str:
        """Says something, and returns the answer. What fails leaves the conversation as it was.

            >>> session = model.session("of mine", FOLDER / "talks.db")
            >>> answer = session.say("Hi", n_predict=4, temperature=0)
            >>> more = model.session("of mine", FOLDER / "talks.db").say("And?", n_predict=4, temperature=0)
        """
        options = _picked(locals())
        if self.file is not None:
            options.update(sessions=self.file, system=self._system)
            return self._model._text("SELECT llm_chat(?, ?, ?)", self.name, message, _options(options))
        said = [*self._messages, {"role": "user", "content": message}]
        answer = self._model.chat(said, **options)
        self._messages = [*said, {"role": "assistant", "content": answer}]
        return answer


_OF_PICKING = ("chat", "system", "n_predict", "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed", "stop", "ignore_eos",
               "keep", "context")


def _picked(arguments: Dict[str, Any]) -> Dict[str, Any]:
    """Of a method's arguments those that are options of picking tokens."""
    return {name: arguments[name] for name in _OF_PICKING if name in arguments}


def _locked(path: str) -> Optional[int]:
    """A descriptor with the shared lock by which the cache knows that an entry is used."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor
