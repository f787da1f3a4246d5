"""A recording on disk: a folder that people can read and review.

``recording.json``  which run of which workflow, with which options, by which versions
``workflow.json``   the workflow, as an execution plan
``journal.jsonl``   the events; a dataclip stands in them by its name
``http.jsonl``      the requests and replies, in the order in which the replies arrived
``clips/``          the dataclips, each named by the SHA-256 of its content

Everything is written as it happens, so a run that dies leaves what was seen of it. What is damaged
is told, and what is whole is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from worker.adaptors.http.exchange import (
    Exchange,
    ExchangeError,
    HttpRequest,
    reply_fields,
    reply_of,
    request_fields,
)
from worker.adaptors.http.exchange import body_of as _body_of
from worker.core.events import AnyEvent, RunComplete, event_clip, event_fields, from_dict
from worker.errors import LoadError, UsageError
from worker.sandbox.limits import Limits
from worker.util.json import dumps
from worker.workflow.load import load
from worker.workflow.model import Workflow

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a recording says of its run. ``limits`` are the fields of :class:`Limits`;
    ``credentials`` are stand-ins, by name. ``origin`` is ``worker``, ``lightning`` or ``cli``:
    only the first knows the requests."""

    run_id: str
    workflow: str
    fingerprint: str
    input: str
    start: str = ""
    end: str = ""
    limits: Mapping[str, Any] = field(default_factory=dict)
    credentials: Mapping[str, Any] = field(default_factory=dict)
    adaptors: Mapping[str, str] = field(default_factory=dict)
    origin: str = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recording that was read. ``damage`` says what could not be, in words."""

    folder: Path
    header: Header
    workflow: Workflow
    input: Mapping[str, Any]
    events: tuple[AnyEvent, ...]
    exchanges: tuple[Exchange, ...]
    damage: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return bool(self.events) and isinstance(self.events[-1], RunComplete)


# --- writing --------------------------------------------------------------------------------------


class Writer:
    """Writes a recording as its run happens. ``json`` scrubs JSON text."""

    def __init__(self, folder: Path, json: Callable[[str], str]) -> None:
        self._folder, self._json = folder, json
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} exists and is not empty: choose another folder")
        try:
            (folder / "clips").mkdir(parents=True, exist_ok=True)
            self._journal: TextIO = (folder / "journal.jsonl").open("w", encoding="utf-8")
            self._http: TextIO = (folder / "http.jsonl").open("w", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{folder} cannot be written: {error.strerror}") from error

    def begin(self, header: dict[str, Any], workflow: dict[str, Any], input: str) -> None:
        """Write down which run it is; ``input`` is JSON text."""
        (self._folder / "workflow.json").write_text(_readable(workflow), "utf-8")
        fields = {"format": FORMAT, **header, "input": self._clip(input)}
        (self._folder / "recording.json").write_text(_readable(fields), "utf-8")

    def receive(self, event: AnyEvent) -> None:
        fields = event_fields(event)
        if (named := event_clip(event)) is not None:
            name, clip = named
            fields[name] = None if clip is None else self._clip(clip.text)
        self._line(self._journal, self._json(dumps(fields)))

    def exchange(self, one: Exchange) -> None:
        fields = {"step": one.step, "execution": one.execution, "asked": one.sent_us}
        fields |= {"arrived": one.arrived_us, "request": request_fields(one.request)}
        self._line(self._http, dumps({**fields, "reply": reply_fields(one.reply)}))

    def close(self) -> None:
        self._journal.close()
        self._http.close()

    def _clip(self, text: str) -> str:
        content = self._json(text).encode("utf-8", "surrogatepass")
        name = hashlib.sha256(content).hexdigest()
        file = self._folder / "clips" / f"{name}.json"
        if not file.exists():
            file.write_bytes(content)
        return name

    def _line(self, stream: TextIO, text: str) -> None:
        stream.write(text + "\n")
        stream.flush()


def _readable(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


# --- reading --------------------------------------------------------------------------------------


def read(folder: Path) -> Recording:
    """A recording. Raises :class:`LoadError` where there is none, or not enough of one."""
    fields = _object(folder / "recording.json")
    if fields.get("format") != FORMAT:
        message = f"expected format {FORMAT} of recordings, found {fields.get('format')!r}"
        raise LoadError(message, file=str(folder / "recording.json"))
    known = {name: fields[name] for name in Header.__dataclass_fields__ if name in fields}
    try:
        header = Header(**known)
        _check(header)
    except (TypeError, ValueError) as error:
        raise LoadError(f"not a recording: {error}", file=str(folder)) from error
    damage: list[str] = []
    clips = _Clips(folder, damage)
    input = clips.text(header.input)
    return Recording(
        folder=folder,
        header=header,
        workflow=load(folder / "workflow.json"),
        input=_input(input),
        events=tuple(_events(folder / "journal.jsonl", clips, damage)),
        exchanges=tuple(_exchanges(folder / "http.jsonl", damage)),
        damage=tuple(damage),
    )


def _check(header: Header) -> None:
    """Raise ``TypeError`` or ``ValueError`` for what no recording of ours says."""
    texts = (header.run_id, header.workflow, header.fingerprint, header.input, header.origin)
    if not all(isinstance(one, str) for one in (*texts, header.start, header.end)):
        raise TypeError("expected texts")
    if not isinstance(header.credentials, dict) or not isinstance(header.adaptors, dict):
        raise TypeError("expected credentials and adaptors by name")
    if not all(isinstance(one, dict) for one in header.credentials.values()):
        raise TypeError("expected what each credential holds")
    limits = asdict(Limits(**header.limits))
    for name, value in limits.items():
        if value is not None and not (type(value) in (int, float) and 0 < value < 1e9):
            raise ValueError(f"the limit {name} is {value!r}")


def is_recording(folder: Path) -> bool:
    return (folder / "recording.json").is_file()


def _object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}", file=str(file)) from error
    except ValueError as error:
        raise LoadError(f"not JSON: {error}", file=str(file)) from error
    if not isinstance(found, dict):
        raise LoadError("expected an object", file=str(file))
    return found


def _input(text: str | None) -> dict[str, Any]:
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


class _Clips:
    """Dataclips by name, each read once and held to its name."""

    def __init__(self, folder: Path, damage: list[str]) -> None:
        self._folder, self._damage = folder / "clips", damage
        self._known: dict[str, str | None] = {}

    def text(self, name: str) -> str | None:
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def _read(self, name: str) -> str | None:
        if not name.isalnum():
            self._damage.append(f"a dataclip has the impossible name {name[:80]!r}")
            return None
        try:
            content = (self._folder / f"{name}.json").read_bytes()
        except OSError:
            self._damage.append(f"the dataclip {name[:12]} is missing")
            return None
        if hashlib.sha256(content).hexdigest() != name:
            self._damage.append(f"the dataclip {name[:12]} is not what it was")
            return None
        return content.decode("utf-8", "surrogatepass")


def _events(file: Path, clips: _Clips, damage: list[str]) -> Iterator[AnyEvent]:
    """The events up to the first that is not whole."""
    last: AnyEvent | None = None
    for number, fields in _lines(file, damage):
        try:
            last = _event(fields, clips)
        except ValueError as error:
            damage.append(f"{file.name}:{number}: {error}; what follows is left out")
            return
        yield last
    if not isinstance(last, RunComplete):
        damage.append(f"{file.name} ends before its run does")


def _event(fields: dict[str, Any], clips: _Clips) -> AnyEvent:
    from worker.core.events import Dataclip

    for name in ("output_dataclip", "final_state"):
        if isinstance(fields.get(name), str):
            text = clips.text(fields[name])
            fields[name] = None if text is None else Dataclip(text)
    return from_dict(fields)


def _exchanges(file: Path, damage: list[str]) -> Iterator[Exchange]:
    for number, fields in _lines(file, damage):
        try:
            request = fields["request"]
            yield Exchange(
                step=fields["step"],
                execution=int(fields["execution"]),
                sent_us=int(fields["asked"]),
                arrived_us=int(fields["arrived"]),
                request=HttpRequest(
                    method=request["method"],
                    url=request["url"],
                    headers=tuple((name, value) for name, value in request["headers"]),
                    body=_body_of(request),
                    redirects=request["redirects"],
                ),
                reply=reply_of(fields["reply"]),
            )
        except (KeyError, TypeError, ValueError, ExchangeError) as error:
            damage.append(f"{file.name}:{number}: no exchange ({error}); what follows is left out")
            return


def _lines(file: Path, damage: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        lines = file.read_text("utf-8", "surrogatepass").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        damage.append(f"{file.name} cannot be read: {error}")
        return
    for number, line in enumerate(lines if lines != [""] else (), start=1):
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            damage.append(f"{file.name}:{number}: cut off or damaged; what follows is left out")
            return
        yield number, fields
