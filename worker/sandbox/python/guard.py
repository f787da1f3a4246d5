"""What a Python step can reach: the modules it may import, and the builtins it is given.

A guard against mistakes and against the obvious, not a security boundary: whoever is set on it
finds a way around inside one interpreter. What confines a hostile step is the run's process, with
its limits. Three rules:

1. A step imports the modules of :data:`ALLOWED_MODULES`, exactly as listed there, and those that
   the user allows, with everything under them.
2. A safe module comes as a view of its public names: the modules that it imports itself
   (``random._os``) stay hidden, and what a step assigns to it reaches nobody else.
3. What was refused ends the step, even where the step catches everything.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, NoReturn


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ALLOWED_MODULES: Final = _words(
    """
    __future__ abc array asyncio base64 binascii bisect calendar cmath collections collections.abc
    colorsys contextlib contextvars copy csv dataclasses datetime decimal difflib enum fractions
    functools graphlib hashlib heapq hmac html html.entities html.parser io ipaddress itertools
    json json.decoder json.encoder math numbers operator pprint random re reprlib secrets
    statistics string struct textwrap time types typing unicodedata urllib.parse uuid zlib zoneinfo
    """
)
"""The modules of the standard library that do no input or output."""

_PARTS: Final = {
    "asyncio": _words(
        """
        ALL_COMPLETED Barrier CancelledError Condition Event FIRST_COMPLETED FIRST_EXCEPTION
        Future InvalidStateError LifoQueue Lock PriorityQueue Queue QueueEmpty QueueFull Semaphore
        Task TaskGroup Timeout TimeoutError all_tasks as_completed create_task current_task gather
        iscoroutine iscoroutinefunction isfuture run shield sleep timeout timeout_at wait wait_for
        """
    ),
    "io": _words("BytesIO StringIO"),
    "types": _words("MappingProxyType SimpleNamespace"),
}
"""The modules of which only some names are harmless."""

REFUSED: Final = ("breakpoint", "compile", "eval", "exec", "input", "open")
_HIDDEN: Final = _words("copyright credits exit help license quit")

CAUGHT: Final = "__caught__"
"""The name under which a step's handlers report what they caught."""

FORBIDDEN: Final = _words(
    f"""
    __base__ __bases__ __builtins__ __closure__ __code__ __getattribute__ __globals__ __loader__
    __mro__ __self__ __spec__ __subclasses__ ag_code ag_frame cr_code cr_frame f_back f_builtins
    f_code f_globals f_locals gi_code gi_frame tb_frame {CAUGHT}
    """
)
"""The names through which a step would leave its namespace."""


class GuardViolation(BaseException):
    """A step tried what it may not; ``type`` is the error type that it is killed with.

    Not an ``Exception``, so that ``except Exception`` lets it through.
    """

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.type = type


def out_of_memory(error: object) -> bool:
    """Whether memory ran out. Inside CPython itself that can surface as a SystemError."""
    if isinstance(error, SystemError):
        return "without" in str(error)  # "error return without exception set"
    return isinstance(error, MemoryError)


@dataclass(frozen=True, slots=True, order=True)
class ForbiddenName:
    """A forbidden name in a step's source; ``line`` and ``offset`` (in bytes) as ``ast`` counts."""

    line: int
    offset: int
    name: str

    @property
    def message(self) -> str:
        return f"{self.name} is not available to a step"


def harden(tree: ast.Module) -> ForbiddenName | None:
    """Make every handler of a step report what it catches; return its first forbidden name."""
    found: list[ForbiddenName] = []
    for node in list(ast.walk(tree)):
        match node:
            case ast.ExceptHandler():
                node.body.insert(0, _report(node))
            case ast.Attribute(attr=name) | ast.Name(id=name) if name in FORBIDDEN:
                found.append(ForbiddenName(node.lineno, node.col_offset, name))
            case ast.MatchClass(kwd_attrs=names):
                bad = FORBIDDEN.intersection(names)
                found += (ForbiddenName(node.lineno, node.col_offset, name) for name in bad)
    return min(found, default=None)


def _report(handler: ast.ExceptHandler) -> ast.stmt:
    call = ast.Call(func=ast.Name(id=CAUGHT, ctx=ast.Load()), args=[], keywords=[])
    statement = ast.Expr(value=call)
    for node in (call.func, call, statement):
        ast.copy_location(node, handler)
    return statement


class Guard:
    """What one execution of a step is given. ``attempt`` is the first thing that ends it, even
    where the step caught it: a refusal, or memory that ran out."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self.attempt: BaseException | None = None
        self._allowed = allowed
        self._views: dict[str, ModuleType] = {}

    def builtins(self) -> dict[str, Any]:
        """The builtins of a step's module."""
        names = {
            name: value
            for name, value in vars(builtins).items()
            if not name.startswith("_") and name not in _HIDDEN
        }
        refused = {name: self._refused(name) for name in REFUSED}
        own = {
            "__build_class__": builtins.__build_class__,
            "__import__": self._import,
            "getattr": self._getattr,
            CAUGHT: self._caught,
        }
        return {**names, **refused, **own}

    # --- refusals -------------------------------------------------------------------------------

    def _refuse(self, type: str, message: str) -> NoReturn:
        refusal = GuardViolation(type, message)
        self.attempt = self.attempt or refusal
        raise refusal

    def _refused(self, name: str) -> Callable[..., NoReturn]:
        def refused(*_args: object, **_kwargs: object) -> NoReturn:
            self._refuse("SecurityError", f"{name}() is not available to a step")

        refused.__name__ = refused.__qualname__ = name
        return refused

    def _getattr(self, value: object, name: str, *default: object) -> Any:
        if name in FORBIDDEN:
            self._refuse("SecurityError", f"{name} is not available to a step")
        return getattr(value, name, *default)

    def _caught(self) -> None:
        """Called first in every handler of the step: what ends a step cannot be handled."""
        error = sys.exc_info()[1]
        if error is not None and (isinstance(error, GuardViolation) or out_of_memory(error)):
            self.attempt = self.attempt or error
            raise error

    # --- modules --------------------------------------------------------------------------------

    def _import(
        self,
        name: str,
        globals: object = None,
        locals: object = None,
        fromlist: object = (),
        level: int = 0,
    ) -> ModuleType | None:
        if isinstance(fromlist, list):
            # An extension module imports on behalf of the step (datetime: _strptime). It looks the
            # module up by itself, so the step that calls this gets nothing.
            builtins.__import__(name)
            return None
        if level or not isinstance(name, str):
            self._refuse("ImportError", "a step has no package: relative imports are not allowed")
        if isinstance(fromlist, tuple) and fromlist:
            return self._from(name, fromlist)
        return self._bind(name)

    def _from(self, name: str, wanted: tuple[str, ...]) -> ModuleType:
        if not self._is_open(name):
            for item in wanted:
                self._bind(f"{name}.{item}")
            return self._views[name]
        module = self._load(name)
        for item in wanted:
            if not hasattr(module, item) and self._is_open(f"{name}.{item}"):
                self._bind_if_any(f"{name}.{item}")
        return module

    def _bind_if_any(self, name: str) -> None:
        try:
            self._bind(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise

    def _bind(self, name: str) -> ModuleType:
        """Import a module and put it into its parents; return the outermost of them."""
        module = self._load(name)
        while "." in name:
            name, _, leaf = name.rpartition(".")
            parent = self._load(name) if self._is_open(name) else self._empty(name)
            setattr(parent, leaf, module)
            module = parent
        return module

    def _load(self, name: str) -> ModuleType:
        if not self._is_open(name):
            self._refuse("ImportError", f"module not allowed: {name}")
        builtins.__import__(name)
        module = sys.modules[name]
        return module if self._is_trusted(name) else self._view(module)

    def _is_open(self, name: str) -> bool:
        return name in ALLOWED_MODULES or self._is_trusted(name)

    def _is_trusted(self, name: str) -> bool:
        """Whether the user allows this module or a package that it lies in."""
        return any(f"{name}.".startswith(f"{entry}.") for entry in self._allowed)

    def _empty(self, name: str) -> ModuleType:
        return self._views.setdefault(name, ModuleType(name))

    def _view(self, module: ModuleType) -> ModuleType:
        name = module.__name__
        if name in self._views:
            return self._views[name]
        view = self._empty(name)
        public = (key for key in vars(module) if not key.startswith("_"))
        for key in _PARTS.get(name, public):
            value = getattr(module, key, None)
            if not isinstance(value, ModuleType):
                setattr(view, key, value)
            elif value.__name__ in ALLOWED_MODULES:
                setattr(view, key, self._view(value))
        return view
