"""Hooks of mkdocs: diagrams are drawn by a copy of Mermaid, as pages load nothing from elsewhere.

``make docs`` fetches Mermaid from npm. Where it is missing, a diagram is shown as its text.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

MERMAID = Path(".cache/docs/node_modules/mermaid/dist/mermaid.min.js")
TARGET = "assets/javascripts/mermaid.min.js"
_DIAGRAM = '<pre class="mermaid">'


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Load Mermaid in a page that has a diagram."""
    if _DIAGRAM not in output:
        return output
    if not MERMAID.exists():
        # The theme would fetch Mermaid from another host for an element of this class.
        return output.replace(_DIAGRAM, "<pre>")
    source = os.path.relpath(TARGET, Path(page.file.dest_uri).parent)
    # In the head, because the theme looks for Mermaid when it starts, at the end of the page.
    return output.replace("</head>", f'<script src="{source}"></script></head>', 1)


def on_post_build(*, config: Any, **_: Any) -> None:
    """Copy Mermaid into the site."""
    if MERMAID.exists():
        target = Path(config["site_dir"], TARGET)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(MERMAID, target)
