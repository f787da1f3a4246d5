"""What pages load: style sheets and scripts that come with the package, kept in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from worker.view.graph.styles import style_sheet
from worker.view.report.status_css import colours

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    content: bytes
    type: str
    tag: str


def assets() -> dict[str, Asset]:
    """By their names."""
    found = {
        path.name: path.read_bytes()
        for path in sorted((Path(__file__).parent / "assets").iterdir())
        if path.suffix in _TYPES
    }
    found["tones.css"] = "\n".join(_tones()).encode()
    return {name: _asset(name, content) for name, content in found.items()}


def _asset(name: str, content: bytes) -> Asset:
    tag = hashlib.sha256(content).hexdigest()[:20]
    return Asset(content=content, type=_TYPES[Path(name).suffix], tag=f'"{tag}"')


def _tones() -> Iterator[str]:
    """The colours and fonts of pictures and statuses, by day and by night."""
    yield style_sheet()
    yield from colours(night=False)
    yield "@media screen and (prefers-color-scheme: dark) {"
    yield from colours(night=True)
    yield "}"


class StaticFiles:
    """Answers with assets. A browser asks again each time, and is told that nothing changed."""

    def __init__(self) -> None:
        self._assets = assets()

    async def get(self, request: Request) -> Response:
        found = self._assets.get(request.path_params["name"])
        if found is None:
            return PlainTextResponse("There is no such file.\n", 404)
        headers = {"etag": found.tag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == found.tag:
            return Response(status_code=304, headers=headers)
        return Response(found.content, media_type=found.type, headers=headers)
