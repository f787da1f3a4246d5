"""Samples of inputs that ``worker fuzz`` reads: dataclips, recordings, or a JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.errors import LoadError, UsageError
from worker.fuzzing.from_schema import draw_samples
from worker.replay.recording import is_recording, read_recording
from worker.testing.from_recording import case_fields
from worker.workflow.documents.document import parse_json, read_document, read_text
from worker.workflow.documents.near_files import suggest_file

_SIZE_LIMIT_BYTES = 100 * 2**20
_SCHEMA_SAMPLES = 50
# What a fuzzed run takes from a case; the rest is about the one run of the case.
_CONTEXT_KEYS = (
    *("at", "timeout", "memory", "start_at", "stop_after"),
    *("credentials", "http", "steps", "collections"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs, and the ``context`` of their runs: replies, credentials, scripts of a recording."""

    inputs: list[Mapping[str, Any]] = field(default_factory=list)
    context: dict[str, Any] = field(default_factory=dict)


def read_samples(sources: Sequence[Path], seed: int) -> Samples:
    """Read the inputs of files, and of the files below folders.

    Raises :class:`UsageError` where there is none. ``seed`` is for inputs drawn from a schema.
    """
    samples = Samples()
    for file in _files(sources):
        if is_recording(file):
            recording = read_recording(file)
            samples.inputs.append(recording.input)
            samples.context.update(samples.context or _context_of(case_fields(recording)))
        else:
            samples.inputs.extend(_dataclips(file, seed))
    if not samples.inputs:
        raise UsageError(f"there is no input in {', '.join(map(str, sources))}")
    return samples


def _files(sources: Sequence[Path]) -> Iterator[Path]:
    for source in sources:
        if source.is_dir() and not is_recording(source):
            files = sorted((*source.rglob("*.json"), *source.rglob("*.jsonl")))
            yield from (file for file in files if file.is_file())
        elif source.exists():
            yield source
        else:
            raise UsageError(f"{source}: there is no such file or folder{suggest_file(source)}")


def _dataclips(file: Path, seed: int) -> Iterator[dict[str, Any]]:
    text = read_text(file, _SIZE_LIMIT_BYTES)
    if file.suffix == ".jsonl":
        values = [parse_json(line, str(file)) for line in text.splitlines() if line.strip()]
    else:
        content = parse_json(text, str(file))
        if _is_schema(content):
            yield from draw_samples(content, _SCHEMA_SAMPLES, seed)
            return
        values = content if isinstance(content, list) else [content]
    for value in values:
        if not isinstance(value, dict):
            raise UsageError(
                f"{file}: expected inputs as JSON objects, found {type(value).__name__}"
            )
        yield value


def _is_schema(content: Any) -> bool:
    if not isinstance(content, dict):
        return False
    described = content.get("type") == "object" and isinstance(content.get("properties"), dict)
    return "$schema" in content or described


# --- the context of the runs ----------------------------------------------------------------------


def read_context(file: Path) -> dict[str, Any]:
    """Read the replies, credentials and scripts of the first case of a file."""
    root = read_document(file).root
    cases = root.get("cases") if isinstance(root, dict) else None
    if not isinstance(cases, list) or not cases or not isinstance(cases[0], dict):
        raise LoadError("expected a file of cases, with a first case", file=str(file))
    if "matrix" in cases[0]:
        raise UsageError(f"{file}: the first case has a matrix, so it is several cases")
    defaults = root.get("defaults") or {}
    context = _context_of({**defaults, **cases[0]})
    scripts = {**(defaults.get("steps") or {}), **(cases[0].get("steps") or {})}
    stubs = [*(cases[0].get("http") or []), *(defaults.get("http") or [])]
    context |= {"steps": scripts} if scripts else {}
    context |= {"http": stubs} if stubs else {}
    return context


def _context_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    context = {key: fields[key] for key in _CONTEXT_KEYS if key in fields}
    if "http" in context:
        context["http"] = list(_repeating(context["http"]))
    # As JSON, for the writer of cases makes anchors of values that occur twice.
    return dict(json.loads(json.dumps(context, default=str)))


def _repeating(stubs: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Let the last reply to each request repeat: another input can cause more requests."""
    last = {json.dumps(stub.get("request"), default=str): stub for stub in stubs}
    for stub in stubs:
        if any(stub is other for other in last.values()):
            yield {key: value for key, value in stub.items() if key != "times"}
        else:
            yield dict(stub)
