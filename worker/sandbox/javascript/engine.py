"""QuickJS, held close: one context with the realm loaded, and the few calls that cross into it.

The binding evaluates text under one fixed name and tells nobody of unhandled rejections. Both are
in the engine's C interface, which the same shared object exports, so ctypes reaches them there.
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
    """The layout of the binding's Object: behind the header, its runtime and its value."""

    _fields_ = [
        ("header", ctypes.c_byte * object.__basicsize__),
        ("runtime_data", ctypes.c_void_p),
        ("value", _Value),
    ]


class _Context(ctypes.Structure):
    """The layout of the binding's Context: behind the header, its runtime and its context."""

    _fields_ = [
        ("header", ctypes.c_byte * object.__basicsize__),
        ("runtime", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
    ]


_TRACKER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, _Value, _Value, ctypes.c_bool, ctypes.c_void_p)


def _library() -> ctypes.PyDLL:
    # PyDLL keeps the GIL: the binding's own bookkeeping of it knows nothing of these calls.
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
    """The engine could not evaluate a text; ``report`` is the realm's description of why."""

    def __init__(self, report: dict[str, Any]) -> None:
        super().__init__(report["message"])
        self.report = report


class Rejections:
    """Promises that were rejected and that nobody handles (yet)."""

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
        """The text of the first rejection that nobody handled, once."""
        text = next(iter(self._open.values()), None)
        self._open.clear()
        return text


class Engine:
    """One QuickJS context with the realm in it, closed for jobs.

    ``log(level, source, text)``, ``now()`` (milliseconds of a clock that only goes forward) and
    ``date()`` (microseconds since the epoch) are all that the realm can call; they can be set
    later, as the zygote that loads the realm has nobody to log to.
    """

    def __init__(self, adaptors: Mapping[str, str] | None = None) -> None:
        """``adaptors`` are bundles by the names and versions of the adaptors (``http@7.2.10``)."""
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
        self._context.add_callable("__log", self._hear)
        self._context.add_callable("__now", lambda: self.now())
        # A float, as the binding cuts an int down to 32 bits.
        self._context.add_callable("__date", lambda: float(self.date() // 1000))
        realm = self._context.eval(_read("realm.js"))
        host = self._context.eval("({log: __log, now: __now, date: __date})")
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
        self._context.gc()
        self._realm_bytes = int(self._context.memory()["malloc_size"])

    def _hear(self, level: str, source: str, text: str) -> None:
        self.log(level, source, json.loads(text))

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._methods[name](*arguments)

    def __getattr__(self, name: str) -> Any:
        """The realm's methods by name."""
        try:
            return self._methods[name]
        except KeyError:
            raise AttributeError(name) from None

    def limit_memory(self, limit: int) -> None:
        """Let the heap, buffers included, grow by ``limit`` bytes beyond the realm's own."""
        self._context.set_memory_limit(self._realm_bytes + limit)

    def run_pending(self) -> None:
        """Run every microtask. Raises the binding's JSException where one throws."""
        run = self._context.execute_pending_job
        while run():
            pass

    def evaluate(self, source: str, file: str) -> None:
        """Evaluate an expression into the realm's slot, under ``file`` in stack traces."""
        text = source.encode("utf-8", "surrogatepass")
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
        """The names that an adaptor exports."""
        found: list[str] = json.loads(self._call("exports", adaptor))
        return found

    def names(
        self, adaptors: Sequence[str], free: Sequence[str], called: Sequence[str]
    ) -> list[str]:
        """Those of a job's free names that one of its adaptors gives it."""
        texts = (json.dumps(list(names)) for names in (adaptors, free, called))
        found: list[str] = json.loads(self._call("names", *texts))
        return found


_METHODS = (
    "adaptor", "begin", "calls", "caught", "choose", "close", "condition", "due", "errored",
    "exports", "failed", "fire", "install", "job", "judge", "judged", "names", "output", "poll",
    "reply", "seed", "slot", "thrown",
)  # fmt: skip


def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text("utf-8")
