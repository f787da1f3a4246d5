"""The documentation as a site: it builds, has all commands, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.support.browser import checked_page, chromium
from worker.cli.main import cli

ROOT = Path(__file__).parents[2]
SEARCH = ROOT / ".cache/docs/node_modules/iframe-worker"
pytest.importorskip("mkdocs", reason="needs mkdocs (make docs)")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    line = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--quiet",
        "--strict",
        "--site-dir",
        str(folder),
    ]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_reference_has_every_command(site: Path) -> None:
    page = (site / "reference/command-line.html").read_text()
    headings = re.findall(r'<h[2-4] id="([\w-]+)"', page)
    assert sorted(headings) == sorted(f"worker{name}" for name in command_names(cli))


def command_names(command: click.Command, name: str = "") -> Iterator[str]:
    yield name
    if isinstance(command, click.Group):
        context = click.Context(command)
        for subname in command.list_commands(context):
            subcommand = command.get_command(context, subname)
            assert subcommand is not None
            yield from command_names(subcommand, f"{name}-{subname}")


@pytest.mark.browser
@pytest.mark.skipif(not SEARCH.exists(), reason="needs the scripts of the site (make docs)")
def test_no_page_requests_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    # All have the same template: some are opened, and one whose diagrams a script draws.
    drawn = [page for page in pages if 'class="mermaid"' in page.read_text("utf-8")]
    with (
        chromium() as browser,
        checked_page(browser, lambda url: url.startswith(("file://", "data:", "blob:"))) as checked,
    ):
        for page in pages[::10]:
            checked.page.goto(page.as_uri())
        checked.page.goto(drawn[0].as_uri(), wait_until="networkidle")
        # The search loads its index when it is used.
        checked.page.goto((site / "index.html").as_uri())
        # On a narrow page the field is behind a button.
        checked.page.set_viewport_size({"width": 1400, "height": 900})
        checked.page.click("input.md-search__input")
        checked.page.keyboard.type("lease")
        checked.page.wait_for_selector(".md-search-result__item")
        requests = [text for text in checked.violations if text.startswith("request")]
        assert not requests
