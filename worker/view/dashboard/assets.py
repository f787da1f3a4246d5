"""Style sheets and scripts of the package, served from memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from worker.view.graph.themes import dark_style_sheet, style_sheet
from worker.view.report.status_css import status_rules

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    content: bytes
    media_type: str
    etag: str


def assets() -> dict[str, Asset]:
    """Load all files by name."""
    files = {
        path.name: path.read_bytes()
        for path in sorted((Path(__file__).parent / "assets").iterdir())
        if path.suffix in _TYPES
    }
    files["theme.css"] = "\n".join(_theme()).encode()
    return {name: _asset(name, content) for name, content in files.items()}


def _asset(name: str, content: bytes) -> Asset:
    digest = hashlib.sha256(content).hexdigest()[:20]
    return Asset(content=content, media_type=_TYPES[Path(name).suffix], etag=f'"{digest}"')


def _theme() -> Iterator[str]:
    """Yield the colors and fonts of graphs and statuses, for both themes."""
    yield style_sheet(dark=False)
    yield from status_rules(dark=False)
    dark = "\n".join([dark_style_sheet(), *status_rules(dark=True)])
    # The system's theme, unless the switch of the page has chosen one.
    yield "@media screen and (prefers-color-scheme: dark) {"
    yield f":root:not([data-theme='light']) {{\n{dark}\n}}\n}}"
    yield f"@media screen {{\n:root[data-theme='dark'] {{\n{dark}\n}}\n}}"


class StaticFiles:
    """Serves assets; browsers revalidate them by ETag on each request."""

    def __init__(self) -> None:
        self._assets = assets()

    async def get(self, request: Request) -> Response:
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            return PlainTextResponse("File not found.\n", 404)
        # Revalidated each time: after an upgrade no browser mixes old scripts with new pages.
        headers = {"etag": asset.etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == asset.etag:
            return Response(status_code=304, headers=headers)
        return Response(asset.content, media_type=asset.media_type, headers=headers)
