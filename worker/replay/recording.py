"""Recording of a run: a folder of text files that people can review.

``recording.json``  the ids, options and versions of the run
``workflow.json``   the workflow, as an execution plan
``journal.jsonl``   the events, with the names of dataclips in place of the dataclips
``http.jsonl``      the requests and replies, in the order in which the replies arrived
``clips/``          the dataclips, each named by the SHA-256 of its content

Everything is written as it happens, so that a run that crashes leaves a recording too. A reader
uses what is whole, and reports what is damaged.
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
from worker.core.events import (
    AnyEvent,
    Dataclip,
    RunComplete,
    dataclip_of,
    to_json,
    with_dataclip,
)
from worker.errors import LoadError, UsageError
from worker.sandbox.limits import Limits
from worker.sinks.journal import recover_journal
from worker.util.json import dumps
from worker.workflow.load import load
from worker.workflow.model import Workflow

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingHeader:
    """Description of the recorded run, in ``recording.json``.

    ``input`` names the dataclip that the run began with. ``limits`` are the fields of
    :class:`Limits`. ``credentials`` are masked, by name. ``origin`` is ``worker``, ``lightning`` or
    ``cli``; the last two are imports, and have no requests.
    """

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
    """Content of a recording, and a sentence for each damage."""

    folder: Path
    header: RecordingHeader
    workflow: Workflow
    input: Mapping[str, Any]
    events: tuple[AnyEvent, ...]
    exchanges: tuple[Exchange, ...]
    damage: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """True if the events reach the end of the run."""
        return bool(self.events) and isinstance(self.events[-1], RunComplete)


# --- writing --------------------------------------------------------------------------------------


class RecordingWriter:
    """Writes a recording while its run happens. ``json`` masks the secrets in JSON text."""

    def __init__(self, folder: Path, json: Callable[[str], str]) -> None:
        self._folder, self._json = folder, json
        # A recording is never overwritten: it may be the only trace of a failure.
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} exists and is not empty: choose another folder")
        try:
            (folder / "clips").mkdir(parents=True, exist_ok=True)
            self._journal: TextIO = (folder / "journal.jsonl").open("w", encoding="utf-8")
            self._http: TextIO = (folder / "http.jsonl").open("w", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {folder}: {error.strerror}") from error

    def begin(self, header: dict[str, Any], workflow: dict[str, Any], input: str) -> None:
        """Write the description of the run; ``input`` is JSON text."""
        (self._folder / "workflow.json").write_text(_readable(workflow), "utf-8")
        fields = {"format": FORMAT, **header, "input": self._write_dataclip(input)}
        (self._folder / "recording.json").write_text(_readable(fields), "utf-8")

    def receive(self, event: AnyEvent) -> None:
        dataclip = dataclip_of(event)
        if dataclip is not None:
            event = with_dataclip(event, Dataclip.of(self._write_dataclip(dataclip.text)))
        self._line(self._journal, self._json(to_json(event)))

    def exchange(self, exchange: Exchange) -> None:
        """Write a request and its reply."""
        fields = {
            "step": exchange.step,
            "execution": exchange.execution,
            "asked": exchange.sent_us,
            "arrived": exchange.arrived_us,
            "request": request_fields(exchange.request),
            "reply": reply_fields(exchange.reply),
        }
        self._line(self._http, dumps(fields))

    def close(self) -> None:
        self._journal.close()
        self._http.close()

    def _write_dataclip(self, text: str) -> str:
        # Named by its masked content: the name of a secret would let anybody check a guess of it.
        content = self._json(text).encode("utf-8", "surrogatepass")
        name = hashlib.sha256(content).hexdigest()
        file = self._folder / "clips" / f"{name}.json"
        # The output of a step is the input of the next, so that most dataclips come twice.
        if not file.exists():
            file.write_bytes(content)
        return name

    def _line(self, stream: TextIO, text: str) -> None:
        stream.write(text + "\n")
        # At once: the process may be killed before the run ends.
        stream.flush()


def _readable(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


# --- reading --------------------------------------------------------------------------------------


def read_recording(folder: Path) -> Recording:
    """Return the recording in a folder. Raises :class:`LoadError` if there is none.

    Damage to the journal, the requests or the dataclips is no error: see :class:`Recording`.
    """
    fields = _object(folder / "recording.json")
    if fields.get("format") != FORMAT:
        message = f"expected format {FORMAT} of recordings, found {fields.get('format')!r}"
        raise LoadError(message, file=str(folder / "recording.json"))
    # Unknown fields are ignored: a later version may have written them.
    known = {name: fields[name] for name in RecordingHeader.__dataclass_fields__ if name in fields}
    try:
        header = RecordingHeader(**known)
        _check(header)
    except (TypeError, ValueError) as error:
        raise LoadError(f"not a recording: {error}", file=str(folder)) from error
    damage: list[str] = []
    dataclips = _Dataclips(folder, damage)
    input = dataclips.text(header.input)
    return Recording(
        folder=folder,
        header=header,
        workflow=load(folder / "workflow.json"),
        input=_input(input),
        events=tuple(_events(folder / "journal.jsonl", dataclips, damage)),
        exchanges=tuple(_exchanges(folder / "http.jsonl", damage)),
        damage=tuple(damage),
    )


def _check(header: RecordingHeader) -> None:
    """Raise ``TypeError`` or ``ValueError`` for a header that no version has written."""
    texts = (header.run_id, header.workflow, header.fingerprint, header.input, header.origin)
    if not all(isinstance(text, str) for text in (*texts, header.start, header.end)):
        raise TypeError("expected texts")
    if not isinstance(header.credentials, dict) or not isinstance(header.adaptors, dict):
        raise TypeError("expected credentials and adaptors by name")
    if not all(isinstance(fields, dict) for fields in header.credentials.values()):
        raise TypeError("expected an object for each credential")
    # A replay runs within these limits, and a recording may have been edited by hand.
    limits = asdict(Limits(**header.limits))
    for name, value in limits.items():
        if value is not None and not (type(value) in (int, float) and 0 < value < 1e9):
            raise ValueError(f"invalid limit {name}: {value!r} (expected a positive number)")


def is_recording(folder: Path) -> bool:
    return (folder / "recording.json").is_file()


def _object(file: Path) -> dict[str, Any]:
    try:
        fields = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}", file=str(file)) from error
    except ValueError as error:
        raise LoadError(f"not JSON: {error}", file=str(file)) from error
    if not isinstance(fields, dict):
        raise LoadError("expected an object", file=str(file))
    return fields


def _input(text: str | None) -> dict[str, Any]:
    state = json.loads(text) if text else {}
    return state if isinstance(state, dict) else {}


class _Dataclips:
    """Dataclips by name. Each is read once, and checked against the hash that is its name."""

    def __init__(self, folder: Path, damage: list[str]) -> None:
        self._folder, self._damage = folder / "clips", damage
        self._known: dict[str, str | None] = {}

    def text(self, name: str) -> str | None:
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def _read(self, name: str) -> str | None:
        # The name comes from a file, and must not lead out of the folder.
        if not name.isalnum():
            self._damage.append(f"invalid name of a dataclip: {name[:80]!r}")
            return None
        try:
            content = (self._folder / f"{name}.json").read_bytes()
        except OSError:
            self._damage.append(f"dataclip {name[:12]} is missing")
            return None
        # A dataclip that was edited would make the replay differ, and nobody would see why.
        if hashlib.sha256(content).hexdigest() != name:
            self._damage.append(f"dataclip {name[:12]} was changed: its hash is another")
            return None
        return content.decode("utf-8", "surrogatepass")


def _events(file: Path, dataclips: _Dataclips, damage: list[str]) -> Iterator[AnyEvent]:
    try:
        journal = recover_journal(file)
    except OSError as error:
        damage.append(f"cannot read {file.name}: {error.strerror}")
        return
    damage += journal.damage
    for event in journal.events:
        yield _with_content(event, dataclips)


def _with_content(event: AnyEvent, dataclips: _Dataclips) -> AnyEvent:
    """Replace the name of a dataclip by its content."""
    dataclip = dataclip_of(event)
    if dataclip is None or not dataclip.text.startswith('"'):
        return event
    text = dataclips.text(json.loads(dataclip.text))
    return with_dataclip(event, None if text is None else Dataclip(text))


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
            damage.append(f"{file.name}:{number}: not an exchange, the rest is ignored: {error}")
            return


def _lines(file: Path, damage: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        lines = file.read_text("utf-8", "surrogatepass").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        damage.append(f"cannot read {file.name}: {error}")
        return
    for number, line in enumerate(lines if lines != [""] else (), start=1):
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            damage.append(f"{file.name}:{number}: cut off or damaged, the rest is ignored")
            return
        yield number, fields
