"""The realm on an instance of the engine: the interface that JavaScript steps use."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from worker.compiler.collections_name import COLLECTIONS
from worker.engine.failures import EvaluationError, OutOfMemory, ScriptError
from worker.engine.image import Image
from worker.engine.instance import Instance
from worker.engine.machine_code import module_hash
from worker.engine.shared import prepared_files, runtime
from worker.engine.values import REGISTER, Argument, Value

COMMON = "@openfn/language-common"
_SOURCES = Path(__file__).parent
_LANGUAGE = ("web", "collation")
_LIBRARIES = ("lodash", "date-fns", "jsonpath")
# inspect.js replaces Proxy, so it precedes what the realm gives out and freezes.
_SCRIPTS = (
    "language.js",
    "dates.js",
    "syntax_errors.js",
    "locale.js",
    "inspect.js",
    "realm.js",
)
# Collections use functions of common.
_BUILT_IN = {COMMON: "common.js", COLLECTIONS: "collections.js"}
_OUT_OF_MEMORY = {
    "type": "OomError",
    "name": "InternalError",
    "message": "out of memory",
    "frames": [],
    "details": {},
}

# The engine keeps all names and all shapes of objects in two tables. Where one has to grow, that
# writes each of its entries, all over the heap: ten times the work of a short run, in every run, if
# an image was taken just before. So there is room for so many when it is taken.
_ROOM = """{
  const kept = [];
  for (let i = 0; i < 5000; i++) kept.push({["room" + i]: 0});
}"""

MAX_REALM_BYTES = 512 * 1024 * 1024
"""Memory in which a realm must load. Its image holds as much on disk."""

MAX_LOADS = 10_000
"""Runs after which an instance is replaced by a new one."""

LOG, MONOTONIC_MS, DATE_MS = range(3)
_DOUBLE = struct.Struct("<d")


class Engine:
    """One instance with the realm in it, closed for jobs.

    ``log(level, source, text)``, ``now()`` (milliseconds of a clock that only goes forward) and
    ``date()`` (microseconds since the epoch) are all that the realm can call.
    """

    def __init__(self, image: Image | None = None, *, metered: bool = False) -> None:
        """Start from an image of the realm, by default the one without installed adaptors.

        A ``metered`` engine counts its instructions.
        """
        self._reset_host()
        self.runtime = runtime(metered=metered)
        self.instance = Instance(self.runtime, image or realm_image(), self._serve)
        self._loads = 0
        self._is_restored = True

    def _reset_host(self) -> None:
        self.log: Callable[[str, str, str], None] = lambda level, source, text: None
        self.now: Callable[[], float] = lambda: time.monotonic() * 1000
        self.date: Callable[[], int] = lambda: time.time_ns() // 1000
        self._seed: str | None = None

    def load(self, image: Image) -> None:
        """Make the memory that of an image, and forget the functions of the run before."""
        self._reset_host()
        if image is self.instance.image and self._is_restored:
            return
        self._is_restored = True
        if not self.instance.load(image):
            self._replace(image)

    def restore(self) -> None:
        """Remove from memory what a run left there."""
        self._loads += 1
        self._is_restored = True
        if self._loads >= MAX_LOADS or not self.instance.restore():
            self._replace(self.instance.image or realm_image())

    def _replace(self, image: Image) -> None:
        # The memory of the spent instance is freed before the new one needs as much.
        del self.instance
        self.instance = Instance(self.runtime, image, self._serve)
        self._loads = 0

    def _serve(self, operation: int, data: bytes) -> bytes:
        if operation == MONOTONIC_MS:
            return _DOUBLE.pack(self.now())
        if operation == DATE_MS:
            return _DOUBLE.pack(self.date() // 1000)
        level, source, text = _strings(data)
        self.log(level, source, json.loads(text))
        return b""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of the realm by its name."""
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(self._call, name)

    def _call(self, name: str, *arguments: Argument) -> Value:
        return self.instance.call("call_api", name, *arguments)

    def limit_memory(self, limit_bytes: int) -> int:
        """Let the heap, buffers included, grow so far beyond its size now, and return that."""
        self._is_restored = False
        return self.instance.limit_memory(limit_bytes)

    def seed(self, text: str) -> None:
        """Start the random numbers anew with the next step or conditions, which bring the seed."""
        self._seed = text

    def _take_seed(self) -> str | None:
        seed, self._seed = self._seed, None
        return seed

    def edges(self, *arguments: str | None) -> tuple[dict[str, Any], str | None]:
        """Evaluate conditions (with the arguments of the realm's ``edges``).

        Return what the realm reports, and the state that the conditions leave.
        """
        text = self._call("edges", *arguments, self._take_seed())
        report, _, changed = str(text).partition("\n")
        result: dict[str, Any] = json.loads(report)
        return result, (changed or None) if result["changed"] else arguments[-1]

    def step(self, *arguments: str) -> str | None:
        """Begin a step (with the arguments of the realm's ``begin``) and run its microtasks.

        Return its output, or ``None`` where it is not done, or has not simply succeeded. Raises
        :class:`ScriptError` where a microtask throws.
        """
        output = self.instance.call("step", *arguments, self._take_seed())
        assert output is None or isinstance(output, str)
        return output

    def run_pending(self) -> None:
        """Run every microtask. Raises ScriptError where one throws."""
        self.instance.call("drain")

    def drop_pending(self) -> None:
        """Forget the microtasks that wait to run, and the rejections that nobody handled."""
        self.instance.call("drop_pending")

    def take_rejection(self) -> str | None:
        """Take the first rejection that nobody handled, as text."""
        text = self.instance.call("take_rejection")
        assert text is None or isinstance(text, str)
        return text

    def evaluate(self, source: str, file: str) -> None:
        """Evaluate an expression into the realm's slot, under ``file`` in stack traces."""
        try:
            evaluated = self.instance.evaluate(source, file)
            self.instance.call("store_register", "value" if evaluated else "error")
            if not evaluated:
                raise EvaluationError(json.loads(str(self._call("thrown"))))
        except OutOfMemory:
            raise EvaluationError(dict(_OUT_OF_MEMORY)) from None

    def exports(self, adaptor: str) -> list[str]:
        """Return the names that an adaptor exports."""
        names: list[str] = json.loads(str(self._call("exports", adaptor)))
        return names

    def names(self, adaptors: Sequence[str], free: Sequence[str]) -> list[str]:
        """Return those of a job's free names that one of its adaptors gives it."""
        texts = (json.dumps(list(names)) for names in (adaptors, free))
        names: list[str] = json.loads(str(self._call("names", *texts)))
        return names


# --- images of the realm --------------------------------------------------------------------------


@cache
def realm_image() -> Image:
    """Return the image of the realm without installed adaptors."""
    return image_with({})


MakeImage = Callable[[Mapping[str, str], Sequence[str]], bytes]


def image_with(
    adaptors: Mapping[str, str], libraries: Sequence[str] = (), make: MakeImage | None = None
) -> Image:
    """Return the image of the realm with these bundles, by name and version of the adaptor.

    ``libraries`` are loaded besides those that every realm has. Where the image is not prepared,
    ``make`` makes its content, by default here.
    """
    files = prepared_files()
    key = _image_key(adaptors, libraries)
    make = make or (lambda adaptors, libraries: load_realm(adaptors, libraries).image_bytes())
    descriptor = files.get(f"image-{key}", lambda: make(adaptors, libraries))
    try:
        return Image(descriptor)
    finally:
        os.close(descriptor)


def is_image_prepared(adaptors: Mapping[str, str], libraries: Sequence[str] = ()) -> bool:
    """Return True where the image of the realm with these bundles is in the cache."""
    return prepared_files().has(f"image-{_image_key(adaptors, libraries)}")


def _image_key(adaptors: Mapping[str, str], libraries: Sequence[str]) -> str:
    digest = hashlib.sha256(f"{module_hash()} {_ROOM}".encode())
    for text in (
        *map(_read, _source_names(libraries)),
        *sorted(adaptors),
        *map(adaptors.get, sorted(adaptors)),
    ):
        digest.update(hashlib.sha256(str(text).encode()).digest())
    return digest.hexdigest()[:40]


def _source_names(libraries: Sequence[str]) -> tuple[str, ...]:
    names = (f"vendor/{name}.js" for name in (*_LANGUAGE, *_LIBRARIES, *libraries))
    return (*names, *_SCRIPTS, *_BUILT_IN.values())


def read_sources(libraries: Sequence[str] = ()) -> None:
    """Read the files that :func:`load_realm` needs, for a process that can read none later."""
    for name in _source_names(libraries):
        _read(name)


def load_realm(adaptors: Mapping[str, str], libraries: Sequence[str] = ()) -> Instance:
    """Make an instance with the realm in it, closed for jobs.

    Raises :class:`ScriptError` where a bundle throws, or uses more memory than it may.
    """
    instance = Instance(runtime())
    instance.limit_memory(MAX_REALM_BYTES)
    # What the language's own additions name stays in reach of them.
    _run(instance, "globalThis.__web = {__proto__: null}", "web")
    _run(instance, f"with (__web) {{{_read('vendor/web.js')}\n}}", "web")
    for name in (*_LANGUAGE[1:], *libraries):
        _run(instance, _read(f"vendor/{name}.js"), name)
    for name in _SCRIPTS:
        _run(instance, _read(name), name)
    # From here on nobody can make code from text, so the libraries that jobs use cannot either.
    instance.call("open_api")
    # Lexical names, as the global object that jobs and conditions can reach loses them.
    names = instance.call("call_api", "host_names")
    for name in _LIBRARIES:
        source = _read(f"vendor/{name}.js")
        _run(instance, f"(function (globalThis, {names}) {{{source}\n}})", name)
        instance.call("call_api", "library", REGISTER)
    for name, file in _BUILT_IN.items():
        _run(instance, f"(function ({names}) {{ return ({_read(file)}\n)}})", file)
        instance.call("call_api", "adaptor", name, REGISTER)
    instance.call("call_api", "freeze")
    for name, bundle in adaptors.items():
        _install(instance, name, bundle, str(names))
    _run(instance, _ROOM, "room")
    instance.call("call_api", "close")
    instance.call("collect")
    return instance


def _install(instance: Instance, name: str, bundle: str, host_names: str) -> None:
    # A text that is a script by itself cannot close the function around it, and so declares no
    # names that other bundles and jobs would see.
    error = instance.parse(bundle, module=False)
    if error is not None:
        raise ScriptError(f"{name}: {error}")
    parameters = f"Function, globalThis, {host_names}"
    _run(instance, f"(function ({parameters}) {{{bundle}\n}})", name)
    instance.call("call_api", "install", name, REGISTER)


def _run(instance: Instance, source: str, file: str) -> None:
    if not instance.evaluate(source, file):
        raise ScriptError(f"{file}: {instance.call('read_register')}")


@cache
def _read(name: str) -> str:
    return (_SOURCES / name).read_text("utf-8")


def _strings(data: bytes) -> list[str]:
    strings, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        strings.append(data[at + 4 : end].decode("utf-8", "replace"))
        at = end
    return strings
