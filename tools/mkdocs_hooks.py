"""Hooks of mkdocs: the site has copies of the scripts that its theme would load from elsewhere.

``make docs`` fetches them from npm. Without Mermaid, a diagram is shown as its text; without the
shim for workers, the search works only where the site is served.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

MODULES = Path(".cache/docs/node_modules")
MERMAID = MODULES / "mermaid/dist/mermaid.min.js"
MERMAID_COPY = "assets/javascripts/mermaid.min.js"
COPIES = {
    MERMAID: MERMAID_COPY,
    # `extra.polyfills` in mkdocs.yml names this copy.
    MODULES / "iframe-worker/shim/index.js": "assets/javascripts/iframe-worker.js",
}
_DIAGRAM = '<pre class="mermaid">'


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Load Mermaid in a page that has a diagram."""
    if _DIAGRAM not in output:
        return output
    if not MERMAID.exists():
        # The theme would fetch Mermaid from another host for an element of this class.
        return output.replace(_DIAGRAM, "<pre>")
    source = os.path.relpath(MERMAID_COPY, Path(page.file.dest_uri).parent)
    # In the head, because the theme looks for Mermaid when it starts, at the end of the page.
    return output.replace("</head>", f'<script src="{source}"></script></head>', 1)


def on_post_build(*, config: Any, **_: Any) -> None:
    """Copy the scripts into the site."""
    for script, copy in COPIES.items():
        if script.exists():
            target = Path(config["site_dir"], copy)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(script, target)
