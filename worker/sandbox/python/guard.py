"""Guard of Python steps: limits the modules and builtins that a step can use.

It protects from mistakes and obvious attacks and is no security boundary: inside one interpreter a
determined author finds a way around it. The run's process, with its limits, confines a hostile
step. Three rules:

1. A step imports the modules of :data:`ALLOWED_MODULES`, exactly as listed there, and those that
   the user allows, with everything under them.
2. A safe module is replaced by a view of its public names: the modules that it imports itself
   (``random._os``) stay hidden, and a step's assignments to it affect no other step.
3. A violation ends the step, even where the step catches every exception.
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
"""Modules of the standard library that do no input or output."""

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
"""Names that a step may use of modules that are not safe as a whole."""

FORBIDDEN_BUILTINS: Final = ("breakpoint", "compile", "eval", "exec", "input", "open")
_HIDDEN: Final = _words("copyright credits exit help license quit")

CAUGHT: Final = "__caught__"
"""Name of the function that a step's handlers call first."""

FORBIDDEN: Final = _words(
    f"""
    __base__ __bases__ __builtins__ __closure__ __code__ __getattribute__ __globals__ __loader__
    __mro__ __self__ __spec__ __subclasses__ ag_code ag_frame cr_code cr_frame f_back f_builtins
    f_code f_globals f_locals gi_code gi_frame tb_frame {CAUGHT}
    """
)
"""Names that lead from a step's objects to the interpreter's own."""


class GuardViolation(BaseException):
    """A forbidden action of a step; ``type`` is the type of the error that kills the run."""

    # Not an Exception, so that ``except Exception`` lets it through.

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.type = type


def out_of_memory(error: object) -> bool:
    # Inside CPython a failed allocation can surface as a SystemError.
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
    """Add a check to every exception handler of a step, in place; return its first forbidden name.

    The check raises a violation again, so that no handler can suppress one.
    """
    forbidden: list[ForbiddenName] = []
    for node in list(ast.walk(tree)):
        match node:
            case ast.ExceptHandler():
                node.body.insert(0, _check_caught(node))
            case ast.Attribute(attr=name) | ast.Name(id=name) if name in FORBIDDEN:
                forbidden.append(ForbiddenName(node.lineno, node.col_offset, name))
            case ast.MatchClass(kwd_attrs=names):
                bad = FORBIDDEN.intersection(names)
                forbidden += (ForbiddenName(node.lineno, node.col_offset, name) for name in bad)
    return min(forbidden, default=None)


def _check_caught(handler: ast.ExceptHandler) -> ast.stmt:
    call = ast.Call(func=ast.Name(id=CAUGHT, ctx=ast.Load()), args=[], keywords=[])
    statement = ast.Expr(value=call)
    for node in (call.func, call, statement):
        ast.copy_location(node, handler)
    return statement


def is_allowed(name: str, allowed: frozenset[str]) -> bool:
    """Return True for a module that a step may import, where the user allows some modules."""
    return name in ALLOWED_MODULES or _is_under(name, allowed)


def _is_under(name: str, allowed: frozenset[str]) -> bool:
    # The dots keep an allowed "yaml" from allowing "yamllint".
    return any(f"{name}.".startswith(f"{entry}.") for entry in allowed)


class Guard:
    """Guards one execution of a step.

    ``fatal`` is the first exception that ends the step even where it was caught: a violation, or
    memory that ran out.
    """

    def __init__(self, allowed: frozenset[str]) -> None:
        self.fatal: BaseException | None = None
        self._allowed = allowed
        self._views: dict[str, ModuleType] = {}

    def builtins(self) -> dict[str, Any]:
        """Return the builtins of a step; a call of a forbidden one ends the run."""
        names = {
            name: value
            for name, value in vars(builtins).items()
            if not name.startswith("_") and name not in _HIDDEN
        }
        forbidden = {name: self._forbidden(name) for name in FORBIDDEN_BUILTINS}
        own = {
            "__build_class__": builtins.__build_class__,
            "__import__": self._import,
            "getattr": self._getattr,
            CAUGHT: self._caught,
        }
        return {**names, **forbidden, **own}

    # --- violations -----------------------------------------------------------------------------

    def _violate(self, type: str, message: str) -> NoReturn:
        violation = GuardViolation(type, message)
        self.fatal = self.fatal or violation
        raise violation

    def _forbidden(self, name: str) -> Callable[..., NoReturn]:
        def forbidden(*_args: object, **_kwargs: object) -> NoReturn:
            self._violate("SecurityError", f"{name}() is not available to a step")

        forbidden.__name__ = forbidden.__qualname__ = name
        return forbidden

    def _getattr(self, value: object, name: str, *default: object) -> Any:
        if name in FORBIDDEN:
            self._violate("SecurityError", f"{name} is not available to a step")
        return getattr(value, name, *default)

    def _caught(self) -> None:
        """Raise the exception that a handler of the step caught again, if it is fatal."""
        error = sys.exc_info()[1]
        if error is not None and (isinstance(error, GuardViolation) or out_of_memory(error)):
            self.fatal = self.fatal or error
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
            # An extension module imports on behalf of the step (datetime: _strptime). It takes the
            # module from sys.modules, so a step that imitates such a call gets nothing.
            builtins.__import__(name)
            return None
        if level or not isinstance(name, str):
            self._violate("ImportError", "a step has no package: relative imports are not allowed")
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
        """Import a module and set it on its parents; return the outermost of them."""
        module = self._load(name)
        while "." in name:
            name, _, leaf = name.rpartition(".")
            parent = self._load(name) if self._is_open(name) else self._empty(name)
            setattr(parent, leaf, module)
            module = parent
        return module

    def _load(self, name: str) -> ModuleType:
        if not self._is_open(name):
            self._violate("ImportError", f"module not allowed: {name}")
        builtins.__import__(name)
        module = sys.modules[name]
        return module if self._is_trusted(name) else self._view(module)

    def _is_open(self, name: str) -> bool:
        return is_allowed(name, self._allowed)

    def _is_trusted(self, name: str) -> bool:
        return _is_under(name, self._allowed)

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
            # Modules inside a module are views too, or assigning to them would affect other steps.
            if not isinstance(value, ModuleType):
                setattr(view, key, value)
            elif value.__name__ in ALLOWED_MODULES:
                setattr(view, key, self._view(value))
        return view
