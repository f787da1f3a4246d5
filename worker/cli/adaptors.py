"""``worker adaptors``: install real adaptors, list and remove them."""

from __future__ import annotations

from pathlib import Path

import click

from worker.adaptors import cache
from worker.adaptors.cache import Adaptor
from worker.adaptors.install import install as install_all
from worker.adaptors.names import Specifier, parse, parse_or_none
from worker.cli.groups import LazyCommand, LazyGroup
from worker.cli.options import PATH, command, option
from worker.cli.progress import print_stage
from worker.errors import UsageError
from worker.sinks.terminal_text import printable
from worker.util.json import dumps
from worker.workflow.load import load, workflow_names
from worker.workflow.model import Language

SECTIONS = {
    "Commands": (
        LazyCommand("install", "worker.cli.adaptors:install", "Install adaptors from npm."),
        LazyCommand("list", "worker.cli.adaptors:list_installed", "List the installed adaptors."),
        LazyCommand("remove", "worker.cli.adaptors:remove", "Remove adaptors."),
    )
}


@click.group(cls=LazyGroup, sections=SECTIONS)
def adaptors() -> None:
    """Install real adaptors from npm, list and remove them.

    Installing needs Node and npm; running workflows does not.

    \b
    Examples:
      worker adaptors install --workflow-file project.yaml
      worker adaptors list
    """


@command()
@click.argument("specifiers", nargs=-1, metavar="ADAPTOR...")
@option("--workflow-file", type=PATH, metavar="FILE", deprecated_names=["--project"],
        help="Install the adaptors that the workflows of this file name.")  # fmt: skip
def install(*, specifiers: tuple[str, ...], workflow_file: Path | None) -> int:
    """Install adaptors from npm.

    They are bundled for the sandbox and kept in the cache. The version that @latest resolves to is
    written to adaptors.lock.json, beside the workflow file.

    \b
    Examples:
      worker adaptors install @openfn/language-http@7.2.10 fhir@5.0.15
      worker adaptors install --workflow-file project.yaml
    """
    wanted = [parse(text) for text in specifiers]
    if workflow_file is not None:
        wanted += [specifier for specifier in named_by(workflow_file) if specifier not in wanted]
    if not wanted:
        raise UsageError("expected the names of adaptors, or --workflow-file FILE")
    # They import the engine itself, which the help of the command must not wait for.
    from worker.cli.prepare_engine import realm_of
    from worker.sandbox.realms import prepare_realm

    # The lock stays beside the file that it belongs to.
    folder = workflow_file.parent if workflow_file is not None else Path()
    for adaptor in install_all(wanted, folder, print_stage):
        print(f"✓ {printable(str(adaptor.specifier))}  {_size(adaptor)}")
        print_stage(f"preparing {adaptor.specifier} for its first run")
        prepare_realm(realm_of(adaptor))
    return 0


def named_by(file: Path) -> list[Specifier]:
    """Return the adaptors that the JavaScript steps of a file name, each once."""
    names = workflow_names(file) or [None]
    steps = [step for name in names for step in load(file, workflow=name).steps]
    specifiers = [
        parse_or_none(text)
        for step in steps
        if step.language is Language.JAVASCRIPT
        for text in step.adaptors
    ]
    return sorted({specifier for specifier in specifiers if specifier is not None})


@command("list")
@option("--json", "as_json", is_flag=True, help="Print one adaptor a line, as JSON.")
def list_installed(*, as_json: bool) -> int:
    """List the installed adaptors.

    \b
    Examples:
      worker adaptors list
      worker adaptors list --json | jq .version
    """
    installed = cache.installed()
    if as_json:
        for adaptor in installed:
            fields = ("name", "version", "licence", "size", "integrity", "sha256")
            print(dumps({name: getattr(adaptor, name) for name in fields}))
        return 0
    if not installed:
        print("no adaptors are installed (worker adaptors install http@latest)")
        return 0
    width = max(len(str(adaptor.specifier)) for adaptor in installed)
    for adaptor in installed:
        name, licence = printable(str(adaptor.specifier)), printable(adaptor.licence)
        print(f"{name:<{width}}  {_size(adaptor):>9}  {licence}")
    return 0


@command()
@click.argument("specifiers", nargs=-1, required=True, metavar="ADAPTOR...")
def remove(*, specifiers: tuple[str, ...]) -> int:
    """Remove adaptors.

    A name without a version removes all of its versions.

    \b
    Examples:
      worker adaptors remove http@7.2.10
      worker adaptors remove fhir
    """
    for text in specifiers:
        removed = cache.remove(text)
        if not removed:
            raise UsageError(
                f"the adaptor '{printable(text)}' is not installed (see worker adaptors list)"
            )
        for adaptor in removed:
            print(f"removed {printable(str(adaptor.specifier))}")
    return 0


def _size(adaptor: Adaptor) -> str:
    return f"{adaptor.size / 1024:,.0f} kB"
