"""Versions that the parts of a cluster have in common, or the results would be others."""

from __future__ import annotations

import platform
from collections.abc import Mapping

import msgspec

from worker.adaptors.cache import installed
from worker.engine.machine_code import module_hash
from worker.errors import UsageError, WorkerError
from worker.sinks.terminal_text import shell_word
from worker.version import VERSION


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Versions of a process; ``engine`` and ``adaptors`` (hashes of their bundles) where runs are.

    ``problem`` is the reason why the adaptors cannot be listed.
    """

    worker: str
    python: str
    engine: str = ""
    adaptors: Mapping[str, str] = {}
    problem: str = ""


def describe_process() -> Environment:
    """Describe a process that executes no runs, which is a scheduler."""
    return Environment(worker=VERSION, python=".".join(platform.python_version_tuple()[:2]))


def describe_runner() -> Environment:
    """Describe a process that executes runs: with its engine and the installed adaptors."""
    try:
        adaptors = {str(adaptor.specifier): adaptor.sha256 for adaptor in installed()}
        problem = ""
    except UsageError as error:
        adaptors, problem = {}, str(error)
    return msgspec.structs.replace(
        describe_process(), engine=module_hash(), adaptors=adaptors, problem=problem
    )


def check_same(place: str, ours: Environment, theirs: object) -> None:
    """Raise :class:`WorkerError` where a part of the cluster has other versions than this process.

    ``theirs`` is an exception where that part could not answer.
    """
    remedy = f"install the same there: pip install 'workflow-worker[cluster]=={ours.worker}'"
    if not isinstance(theirs, Environment):
        raise WorkerError(f"{place} cannot import worker {ours.worker}: {theirs}\n{remedy}")
    for name in ("worker", "python", "engine"):
        their, our = getattr(theirs, name), getattr(ours, name)
        if their and their != our:
            raise WorkerError(
                f"{place} has {name} {their[:12]}, and this command {our[:12]}\n{remedy}"
                + (f", with Python {ours.python}" if name == "python" else "")
            )
    if theirs.engine:
        _check_adaptors(place, ours, theirs)


def _check_adaptors(place: str, ours: Environment, theirs: Environment) -> None:
    """Raise :class:`WorkerError` where other adaptors are installed, as `latest` differs then."""
    if theirs.problem:
        raise WorkerError(f"{place}: {theirs.problem}")
    for name in sorted({*ours.adaptors, *theirs.adaptors}):
        match ours.adaptors.get(name), theirs.adaptors.get(name):
            case str(), None:
                remedy = f"worker adaptors install {shell_word(name)}"
                raise WorkerError(f"{place} lacks the adaptor {name}\ninstall it there: {remedy}")
            case None, str():
                raise WorkerError(
                    f"{place} has the adaptor {name}, which this machine lacks\n"
                    f"install it here: worker adaptors install {shell_word(name)}"
                )
            case our, their if our != their:
                raise WorkerError(
                    f"{place} has another bundle of the adaptor {name}\n"
                    f"install it again on both: worker adaptors remove {shell_word(name)}"
                )
