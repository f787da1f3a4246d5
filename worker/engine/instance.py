"""One instance of the engine: calls, memory, limits, and the way back to its image."""

from __future__ import annotations

import ctypes
import os
import struct
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import wasmtime

from worker.engine.calls import MOST_FUEL, Bind, Trapped, checked, direct, direct_calls_work
from worker.engine.failures import (
    EngineFault,
    Interrupted,
    OutOfFuel,
    OutOfMemory,
    ScriptError,
)
from worker.engine.image import PAGE, Image, memory_at
from worker.engine.machine_code import MachineCode
from worker.engine.prepared_files import PreparedFiles, anonymous_file
from worker.engine.restore import CopiedMemory, MappedMemory, Memory, mapping_works
from worker.engine.ticker import Ticker
from worker.engine.values import Argument, Kind, Value, pack

MIB: Final = 1024 * 1024
WASM_PAGE: Final = 64 * 1024

SPARE_BYTES: Final = 4 * MIB
"""Zero pages at the end of a base image, so that a small run does not grow the memory."""

SLACK_BYTES: Final = 8 * MIB
"""Linear memory beyond the limit, for holes in the heap; with larger holes, a run is over it."""

KEEP_GROWN_BYTES: Final = 16 * MIB
"""An instance whose memory grew by more than this is not used again: memory never shrinks."""

STACK_MARGIN_BYTES: Final = 64 * 1024
"""What the engine may use of the stack beyond the limit of recursion."""

_RESULT = struct.Struct("<IIdII")
_ARGUMENTS_BYTES = 64 * 1024
_NEVER = 1 << 62
_HOST_FAILED = -1

Host = Callable[[int, bytes], bytes]
"""Receives an operation and bytes, and returns the reply."""


def no_host(operation: int, data: bytes) -> bytes:
    """Stand in for the host while images are made: no output, and clocks that stand still."""
    return b"" if operation == 0 else bytes(8)


@dataclass
class Runtime:
    """What all instances of a process share: the code, and the thread that ends calls in time.

    ``bind`` is the way to call an exported function.
    """

    code: MachineCode
    bind: Bind

    @classmethod
    def load(
        cls, files: PreparedFiles, settings: wasmtime.Config | None = None, *, metered: bool = False
    ) -> Runtime:
        """Load all that the engine reads from files: a confined process can read none later."""
        code = MachineCode.load(files, settings, metered=metered)
        return cls(code, direct if direct_calls_work(code, files) else checked)

    @cached_property
    def ticker(self) -> Ticker:
        """The ticker, whose thread is started by the first use."""
        return Ticker(self.code.engine.increment_epoch)

    def start_ticker(self) -> None:
        """Start the thread now, in a process that may start none later."""
        self.ticker  # noqa: B018

    def close(self) -> None:
        """End the thread of the ticker, if it was started; no call has a deadline any more."""
        if "ticker" in self.__dict__:
            self.ticker.close()

    @cached_property
    def maps(self) -> bool:
        """True where images are mapped over linear memory rather than copied into it."""
        return mapping_works()


class Instance:
    """An instance. It takes one call at a time, from one thread at a time."""

    def __init__(self, runtime: Runtime, image: Image | None = None, host: Host = no_host) -> None:
        """Start from an image, or from nothing (then it has to be booted)."""
        self.host = host
        self.is_usable = True
        self.peak_bytes = 0
        """The most that was in use since :meth:`limit_memory`, as of the last result."""
        self._runtime = runtime
        self.image = image
        self._failure: BaseException | None = None
        self._view = memoryview(b"")
        self._store = wasmtime.Store(runtime.code.engine)
        self._store.set_epoch_deadline(_NEVER)
        self._fuel = 0
        if runtime.code.metered:
            self.limit_fuel(MOST_FUEL)
        exports = self._instantiate()
        memory = exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self._memory = memory
        bind = runtime.bind
        self._functions = {
            name: bind(self._store, export)
            for name, export in exports.items()
            if isinstance(export, wasmtime.Func)
        }
        self._stack_pointer = exports["__stack_pointer"]
        self._address = ctypes.addressof(memory.data_ptr(self._store).contents)
        if image is None:
            self._boot()
        else:
            self._start_from(image)
        self._result_address = self._invoke("result_address")
        self._arguments, self._arguments_bytes = 0, 0

    def _instantiate(self) -> dict[str, Any]:
        linker = wasmtime.Linker(self._runtime.code.engine)
        i32 = wasmtime.ValType.i32()
        # The binding keeps the function until the store is freed, so it must not keep the store.
        method = weakref.WeakMethod(self._call_host)

        def call_host(*arguments: int) -> int:
            call = method()
            return _HOST_FAILED if call is None else call(*arguments)

        linker.define_func("host", "call", wasmtime.FuncType([i32] * 4, [i32]), call_host)
        exports = linker.instantiate(self._store, self._runtime.code.module).exports(self._store)
        return dict(exports.items())

    def _boot(self) -> None:
        self._invoke("_initialize")
        self._invoke("boot")

    def _start_from(self, image: Image) -> None:
        pages = (image.size - self.memory_bytes) // WASM_PAGE
        if pages > 0:
            self._memory.grow(self._store, pages)
        self._content: Memory = self._new_memory(image)

    def _new_memory(self, image: Image) -> Memory:
        if self._runtime.maps:
            mapped = MappedMemory(self._address)
            mapped.load(image)
            if self._memory.read(self._store, 0, WASM_PAGE) == image.view[:WASM_PAGE]:
                return mapped
        copied = CopiedMemory(self._address)
        copied.load(image)
        return copied

    # --- images -----------------------------------------------------------------------------------

    def snapshot(self) -> Image:
        """Return the image of the memory as it is now, between two calls."""
        self._release_arguments()
        if self.image is not None and self.memory_bytes == self.image.size:
            return self.image.derive(self.content(), self._content.written())
        descriptor = anonymous_file(self.image_bytes())
        try:
            return Image(descriptor)
        finally:
            os.close(descriptor)

    def image_bytes(self) -> bytes:
        """Return the content of a new base image, which later instances start from."""
        self._release_arguments()
        self._memory.grow(self._store, SPARE_BYTES // WASM_PAGE)
        return bytes(self.content())

    def content(self) -> memoryview:
        """Return a view of the linear memory, valid until the memory grows."""
        return memory_at(self._address, self.memory_bytes)

    def touch_image(self) -> int:
        """Have every page of the image count as resident memory; return the image's size."""
        assert self.image is not None
        self.content()[: self.image.size : PAGE].tobytes()
        return self.image.size

    def load(self, image: Image) -> bool:
        """Make this the instance of an image; false where it cannot become one (again)."""
        if not self._is_reusable(image):
            self.is_usable = False
            return False
        self.image = image
        self._content.load(image)
        self._clear_grown(image)
        return True

    def restore(self) -> bool:
        """Make the memory its image again, byte for byte; false where the instance is spent."""
        image = self.image
        assert image is not None
        if not self._is_reusable(image):
            self.is_usable = False
            return False
        self._content.restore()
        self._clear_grown(image)
        return True

    def _is_reusable(self, image: Image) -> bool:
        grown = self.memory_bytes - image.size
        # The allocator goes on behind a memory that grew, and so takes other instructions than
        # before: a count would depend on the runs before it.
        most = 0 if self._runtime.code.metered else KEEP_GROWN_BYTES
        return self.is_usable and self.image is not None and 0 <= grown <= most

    def _clear_grown(self, image: Image) -> None:
        if self.memory_bytes > image.size:
            self._content.clear(image.size, self.memory_bytes)
        self._arguments, self._arguments_bytes = 0, 0

    # --- limits -----------------------------------------------------------------------------------

    def limit_memory(self, limit_bytes: int) -> int:
        """Allow so many bytes beyond those in use now, which are returned, and count the peak."""
        limit_bytes = min(limit_bytes, 2**31)
        size = self.memory_bytes + limit_bytes + SLACK_BYTES
        self._store.set_limits(memory_size=min(size, 2**32))
        self.peak_bytes = self._invoke("limit", limit_bytes)
        return self.peak_bytes

    @property
    def memory_bytes(self) -> int:
        """The size of the linear memory."""
        return self._memory.data_len(self._store)

    @property
    def used_bytes(self) -> int:
        return self._invoke("memory_used")

    @property
    def is_exhausted(self) -> bool:
        """Memory was refused since :meth:`limit_memory`, whoever caught the error."""
        return bool(self._invoke("memory_exhausted"))

    def limit_fuel(self, fuel: int) -> None:
        """Count the instructions of calls from now on; after so many, :class:`OutOfFuel`."""
        self._fuel = fuel
        self._store.set_fuel(fuel)

    @property
    def fuel_used(self) -> int | None:
        """Instructions since :meth:`limit_fuel`; ``None`` where the code does not count them."""
        return self._fuel - self._store.get_fuel() if self._runtime.code.metered else None

    def deepen_stack(self, size_bytes: int) -> None:
        """Use a stack of this size from now on; this instance can have no image any more."""
        base = self._invoke("reserve", size_bytes)
        if not base:
            raise OutOfMemory("out of memory")
        self._stack_pointer.set_value(self._store, (base + size_bytes) & -16)
        self._invoke("limit_stack", size_bytes - STACK_MARGIN_BYTES)

    # --- calls ------------------------------------------------------------------------------------

    def evaluate(self, source: str, file: str = "<eval>") -> bool:
        """Evaluate a script into the register; false where it threw what is there now."""
        text, name = source.encode("utf-8", "surrogatepass") + b"\0", file.encode() + b"\0"
        at = self._put(text + name)
        kind = self._invoke("evaluate", at, len(text) - 1, at + len(text))
        self._result()
        return kind != Kind.THROWN

    def parse(self, source: str, *, module: bool) -> str | None:
        """Parse a source without running it; return its error and the error's trace, or None."""
        text = source.encode("utf-8", "surrogatepass") + b"\0"
        kind = self._invoke("parse", self._put(text), len(text) - 1, module)
        self._result()
        if kind != Kind.THROWN:
            return None
        return f"{self.call('read_register')}\n{self.call('read_property', 'stack')}"

    def call(self, function: str, *arguments: Argument) -> Value:
        """Call an exported function that takes packed values, and return its result."""
        if not arguments:
            return self._value(self._invoke(function))
        data = pack(*arguments)
        return self._value(self._invoke(function, self._put(data), len(data)))

    def _value(self, kind: int) -> Value:
        address, length, number = self._result()
        if kind == Kind.NUMBER:
            return int(number) if number.is_integer() else float(number)
        if kind in (Kind.STRING, Kind.THROWN):
            data = self._read(address, length)
            if kind == Kind.THROWN:
                raise ScriptError(data.decode("utf-8", "replace"))
            return data.decode("utf-8", "surrogatepass")
        return None if kind == Kind.NOTHING else kind == Kind.TRUE

    def _result(self) -> tuple[int, int, float]:
        address, length, number, exhausted, self.peak_bytes = _RESULT.unpack_from(
            self._view_to(self._result_address + _RESULT.size), self._result_address
        )
        if exhausted:
            raise OutOfMemory("out of memory")
        return address, length, number

    def _put(self, data: bytes) -> int:
        if len(data) > self._arguments_bytes:
            self._release_arguments()
            size = max(len(data), _ARGUMENTS_BYTES)
            self._arguments = self._invoke("reserve", size)
            if not self._arguments:
                raise OutOfMemory("out of memory")
            self._arguments_bytes = size
        self._write(self._arguments, data)
        return self._arguments

    def _release_arguments(self) -> None:
        if self._arguments:
            self._invoke("discard", self._arguments)
        self._arguments, self._arguments_bytes = 0, 0

    def _invoke(self, function: str, *arguments: int) -> int:
        if not self.is_usable:
            raise EngineFault("the instance cannot be used again")
        try:
            return self._functions[function](*arguments)
        except Trapped as trapped:
            # The engine was left in the middle of a call.
            self.is_usable = False
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure from None
            if trapped.is_out_of_fuel:
                raise OutOfFuel("the fuel is used up") from None
            if trapped.is_interrupt:
                raise Interrupted("the time is over") from None
            raise EngineFault(str(trapped)) from None

    def run_until(self, deadline_s: float) -> Deadline:
        """Return a context in which calls raise :class:`Interrupted` once the deadline passes."""
        return Deadline(self._runtime.ticker, self._store, deadline_s)

    def interrupt_after(self, seconds: float) -> Deadline:
        return self.run_until(time.monotonic() + seconds)

    # --- the host's side --------------------------------------------------------------------------

    def _call_host(self, operation: int, address: int, length: int, reply: int) -> int:
        # An exception must not cross the engine: it is kept here, and the engine traps.
        try:
            answer = self.host(operation, self._read(address, length))
            self._write(reply, answer)
        except BaseException as error:
            self._failure = error
            return _HOST_FAILED
        return len(answer)

    # Addresses come from the engine, which a script may have corrupted: each one is checked.

    def _read(self, address: int, length: int) -> bytes:
        address, length = address & 0xFFFFFFFF, length & 0xFFFFFFFF
        return bytes(self._view_to(address + length)[address : address + length])

    def _write(self, address: int, data: bytes) -> None:
        address &= 0xFFFFFFFF
        end = address + len(data)
        self._view_to(end)[address:end] = data

    def _view_to(self, end: int) -> memoryview:
        """Return a view of the memory up to an address at least."""
        # The memory never shrinks, so its size is asked for only where the last one is too small.
        if end > len(self._view):
            self._view = self.content()
            if end > len(self._view):
                raise EngineFault("the engine gave an address outside its memory")
        return self._view


class Deadline:
    """The context of :meth:`Instance.run_until`."""

    def __init__(self, ticker: Ticker, store: wasmtime.Store, deadline_s: float) -> None:
        self._ticker, self._store, self._deadline_s = ticker, store, deadline_s

    def __enter__(self) -> None:
        self._store.set_epoch_deadline(1)
        self._ticker.arm(self._deadline_s)

    def __exit__(self, *exc_info: object) -> None:
        self._ticker.disarm()
        self._store.set_epoch_deadline(_NEVER)
