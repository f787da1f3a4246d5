"""Calls of exported functions: checked ones by wasmtime's Python interface, and direct ones.

A checked call asks for the function's type and converts each value anew, which takes 15 us where
the call itself takes 1. A direct call uses ``wasmtime_func_call_unchecked`` of wasmtime's C
interface, which the Python package does not wrap. It is used only if a check at the start succeeds.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable
from typing import Any

import wasmtime

from worker.engine.machine_code import MachineCode, code_key, load_module
from worker.engine.prepared_files import PreparedFiles

Function = Callable[..., int]
Bind = Callable[[wasmtime.Store, wasmtime.Func], Function]

_INTERRUPT = wasmtime.TrapCode.INTERRUPT.value
_OUT_OF_FUEL = wasmtime.TrapCode.OUT_OF_FUEL.value
_RAW_VALUE_BYTES = 16
MOST_FUEL = 2**62
"""Fuel of a store whose calls are not limited: a century of instructions."""
_MASK = 0xFFFFFFFF  # results are addresses, sizes and small numbers, all of 32 bits

_CHECK = """(module
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "nothing"))
  (func (export "loop") (loop br 0)))"""


class Trapped(Exception):
    """The engine trapped in the middle of a call."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.is_interrupt = code == _INTERRUPT
        self.is_out_of_fuel = code == _OUT_OF_FUEL


def checked(store: wasmtime.Store, function: wasmtime.Func) -> Function:
    """Return a function that calls an exported one, of integers, by the public interface."""

    def call(*arguments: int) -> int:
        try:
            return (function(store, *arguments) or 0) & _MASK
        except wasmtime.Trap as trap:
            code = trap.trap_code
            raise Trapped(str(trap), None if code is None else code.value) from None
        except wasmtime.WasmtimeError as error:
            raise Trapped(str(error)) from None

    return call


def direct(store: wasmtime.Store, function: wasmtime.Func) -> Function:
    """Return a function that calls an exported one, of integers, without checks."""
    library: Any = wasmtime._bindings
    call_unchecked = library.dll.wasmtime_func_call_unchecked
    count = max(len(function.type(store).params), 1)
    values = (ctypes.c_int64 * (count * _RAW_VALUE_BYTES // 8))()
    trap = ctypes.POINTER(library.wasm_trap_t)()
    context, trap_address = store._context(), ctypes.byref(trap)
    target = ctypes.byref(function._func)
    values_address = ctypes.cast(values, ctypes.POINTER(library.wasmtime_val_raw_t))

    def call(*arguments: int) -> int:
        for index, argument in enumerate(arguments):
            values[2 * index] = argument
        error = call_unchecked(context, target, values_address, count, trap_address)
        if error:
            raise Trapped("wasmtime refused the call")
        if trap:
            code = _code_and_free(library, trap)
            raise Trapped(f"trap {code}", code)
        return int(values[0]) & _MASK

    return call


def _code_and_free(library: Any, trap: Any) -> int:
    code = ctypes.c_uint8(255)
    library.dll.wasmtime_trap_code(trap, ctypes.byref(code))
    library.dll.wasm_trap_delete(trap)
    ctypes.memset(ctypes.byref(trap), 0, ctypes.sizeof(trap))
    return code.value


def _check_module(code: MachineCode, files: PreparedFiles) -> wasmtime.Module:
    def prepare() -> bytes:
        return bytes(wasmtime.Module(code.engine, _CHECK).serialize())

    key = hashlib.sha256(f"{code_key(metered=code.metered)} {_CHECK}".encode()).hexdigest()[:40]
    descriptor = files.get(f"check-{key}", prepare)
    try:
        return load_module(code.engine, descriptor)
    finally:
        os.close(descriptor)


def direct_calls_work(code: MachineCode, files: PreparedFiles) -> bool:
    """Check direct calls on a small module: a result, no result, and an interrupt.

    The module is compiled once, into prepared files.
    """
    try:
        module = _check_module(code, files)
        store = wasmtime.Store(code.engine)
        store.set_epoch_deadline(1)
        if code.metered:
            store.set_fuel(MOST_FUEL)
        exports = wasmtime.Instance(store, module, []).exports(store)
        functions = [exports[name] for name in ("add", "nothing", "loop")]
        add, nothing, loop = (direct(store, function) for function in functions)  # type: ignore[arg-type]
        nothing()
        if (add(2, 40), add(-1, 3)) != (42, 2):
            return False
        code.engine.increment_epoch()
        loop()
    except Trapped as trapped:
        return trapped.is_interrupt
    except (AttributeError, TypeError, ctypes.ArgumentError, wasmtime.WasmtimeError):
        return False
    return False
