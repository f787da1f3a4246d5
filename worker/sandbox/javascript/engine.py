"""JavaScript engine: one QuickJS context with the realm loaded, and the calls into it.

The Python binding evaluates text under one fixed file name and does not report unhandled
rejections. The C interface of QuickJS does both; the binding's shared object exports it, so ctypes
calls it there.
"""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _quickjs

STACK_BYTES = 2 * 1024 * 1024
_TAG_EXCEPTION = 6

COMMON = "@openfn/language-common"


class _Value(ctypes.Structure):
    _fields_ = [("payload", ctypes.c_uint64), ("tag", ctypes.c_int64)]


class _Object(ctypes.Structure):
    """Memory layout of the binding's Object."""

    _fields_ = [
        ("header", ctypes.c_byte * object.__basicsize__),
        ("runtime_data", ctypes.c_void_p),
        ("value", _Value),
    ]


class _Context(ctypes.Structure):
    """Memory layout of the binding's Context."""

    _fields_ = [
        ("header", ctypes.c_byte * object.__basicsize__),
        ("runtime", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
    ]


_TRACKER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, _Value, _Value, ctypes.c_bool, ctypes.c_void_p)


def _library() -> ctypes.PyDLL:
    # PyDLL keeps the GIL: callbacks of the binding expect to hold it.
    lib = ctypes.PyDLL(_quickjs.__file__)
    pointer = ctypes.c_void_p
    lib.JS_Eval.restype = _Value
    lib.JS_Eval.argtypes = [
        pointer,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_char_p,
        ctypes.c_int,
    ]
    lib.JS_GetException.restype = _Value
    lib.JS_GetException.argtypes = [pointer]
    lib.JS_SetPropertyStr.argtypes = [pointer, _Value, ctypes.c_char_p, _Value]
    lib.JS_UpdateStackTop.argtypes = [pointer]
    lib.JS_ToCStringLen2.restype = pointer
    lib.JS_ToCStringLen2.argtypes = [pointer, pointer, _Value, ctypes.c_bool]
    lib.JS_FreeCString.argtypes = [pointer, pointer]
    lib.JS_SetHostPromiseRejectionTracker.restype = None
    lib.JS_SetHostPromiseRejectionTracker.argtypes = [pointer, _TRACKER, pointer]
    return lib


class EngineError(Exception):
    """Source text that cannot be evaluated; ``report`` is the realm's description of the error."""

    def __init__(self, report: dict[str, Any]) -> None:
        super().__init__(report["message"])
        self.report = report


class Rejections:
    """Rejected promises that have no handler (yet)."""

    def __init__(self, lib: ctypes.PyDLL, context: _Context) -> None:
        self._lib = lib
        self._open: dict[int, str] = {}
        self._callback = _TRACKER(self._track)
        lib.JS_SetHostPromiseRejectionTracker(context.runtime, self._callback, None)

    def _track(
        self, context: int, promise: _Value, reason: _Value, handled: bool, _opaque: int
    ) -> None:
        if handled:
            self._open.pop(promise.payload, None)
        else:
            self._open[promise.payload] = self._text(context, reason)

    def _text(self, context: int, reason: _Value) -> str:
        text = self._lib.JS_ToCStringLen2(context, None, reason, False)
        if not text:
            return "a value that cannot be read"
        try:
            return ctypes.string_at(text).decode("utf-8", "replace")
        finally:
            self._lib.JS_FreeCString(context, text)

    def take(self) -> str | None:
        """Return the text of the first rejection without a handler, and forget all."""
        text = next(iter(self._open.values()), None)
        self._open.clear()
        return text


class Engine:
    """One QuickJS context with the realm in it, closed for jobs.

    The realm can call ``log(level, source, text)``, ``now()`` (milliseconds of a monotonic clock)
    and ``date()`` (microseconds since the epoch), and nothing else. They are attributes that a run
    sets after the fork: the zygote, which loads the realm, has no run to log for.
    """

    def __init__(self, adaptors: Mapping[str, str] | None = None) -> None:
        """Load the realm and ``adaptors``: the text of bundles by adaptor (``http@7.2.10``)."""
        self.log: Callable[[str, str, str], None] = lambda level, source, text: None
        self.now: Callable[[], float] = lambda: time.monotonic() * 1000
        self.date: Callable[[], int] = lambda: time.time_ns() // 1000
        self._context = _quickjs.Context()
        self._context.set_max_stack_size(STACK_BYTES)
        self._lib = _library()
        self._raw = _Context.from_address(id(self._context))
        self.rejections = Rejections(self._lib, self._raw)
        self._load(adaptors or {})

    def _load(self, adaptors: Mapping[str, str]) -> None:
        for name in ("web", "lodash", "date-fns", "jsonpath"):
            self._context.eval(_read(f"vendor/{name}.js"))
        self._context.add_callable("__log", self._handle_log)
        self._context.add_callable("__now", lambda: self.now())
        # A float, as the binding truncates an int to 32 bits.
        self._context.add_callable("__date", lambda: float(self.date() // 1000))
        realm = self._context.eval(_read("realm.js"))
        host = self._context.eval("({log: __log, now: __now, date: __date})")
        # The realm keeps them in its closure; jobs must not find them.
        for name in ("__log", "__now", "__date"):
            self._context.eval(f"delete globalThis.{name}")
        self.api = realm(host)
        method = self._context.eval("(api, name) => api[name]")
        self._methods = {name: method(self.api, name) for name in _METHODS}
        self._call("adaptor", COMMON, self._context.eval(_read("common.js")))
        for name, bundle in adaptors.items():
            self._context.eval(bundle)
            self._call("install", name)
        self._slot = self._call("slot")
        self._call("close")
        # Collected before the figure is taken, so that a run's limit does not count the garbage.
        self._context.gc()
        self._realm_bytes = int(self._context.memory()["malloc_size"])

    def _handle_log(self, level: str, source: str, text: str) -> None:
        self.log(level, source, json.loads(text))

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._methods[name](*arguments)

    def __getattr__(self, name: str) -> Any:
        """Return a method of the realm by its name."""
        try:
            return self._methods[name]
        except KeyError:
            raise AttributeError(name) from None

    def limit_memory(self, limit: int) -> None:
        """Limit the heap, buffers included, to ``limit`` bytes beyond the realm's own."""
        self._context.set_memory_limit(self._realm_bytes + limit)

    def run_pending(self) -> None:
        """Run all microtasks. Raises the binding's JSException where one throws."""
        run = self._context.execute_pending_job
        while run():
            pass

    def evaluate(self, source: str, file: str) -> None:
        """Evaluate an expression into the realm's slot, under ``file`` in stack traces."""
        text = source.encode("utf-8", "surrogatepass")
        # The stack limit counts from here; ctypes enters at another depth than the binding does.
        self._lib.JS_UpdateStackTop(self._raw.runtime)
        value = self._lib.JS_Eval(self._raw.context, text, len(text), file.encode(), 0)
        slot = _Object.from_address(id(self._slot)).value
        if value.tag != _TAG_EXCEPTION:
            self._lib.JS_SetPropertyStr(self._raw.context, slot, b"value", value)
            return
        thrown = self._lib.JS_GetException(self._raw.context)
        self._lib.JS_SetPropertyStr(self._raw.context, slot, b"error", thrown)
        raise EngineError(json.loads(self._call("thrown")))

    def exports(self, adaptor: str) -> list[str]:
        """List the names that an adaptor exports."""
        names: list[str] = json.loads(self._call("exports", adaptor))
        return names

    def names(
        self, adaptors: Sequence[str], free: Sequence[str], called: Sequence[str]
    ) -> list[str]:
        """List those of a job's free names that one of its adaptors exports."""
        arguments = (json.dumps(list(texts)) for texts in (adaptors, free, called))
        names: list[str] = json.loads(self._call("names", *arguments))
        return names


_METHODS = (
    "adaptor", "begin", "calls", "caught", "choose", "close", "condition", "due", "edges",
    "errored", "evaluated", "exports", "failed", "fire", "install", "job", "names", "output",
    "poll", "reply", "seed", "slot", "thrown",
)  # fmt: skip


def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text("utf-8")
