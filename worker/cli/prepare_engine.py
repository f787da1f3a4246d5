"""``worker engine``: prepare the engine before the first run needs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from worker.adaptors import cache
from worker.adaptors.names import COMMON, parse
from worker.cli.groups import LazyCommand, LazyGroup
from worker.cli.options import PATH, command, fuel, option
from worker.errors import MachineError
from worker.runner.prepare import Options, prepare
from worker.sandbox.protocol import INTL_LIBRARIES, USUAL_REALM, RealmContents
from worker.sinks.terminal_text import printable
from worker.util.cache_folder import root
from worker.workflow.load import load, workflow_names

SECTIONS = {
    "Commands": (
        LazyCommand(
            "prepare",
            "worker.cli.prepare_engine:prepare_engine",
            "Fill the cache of the engine, so that no run waits for it.",
        ),
    )
}


@click.group(cls=LazyGroup, sections=SECTIONS)
def engine() -> None:
    """Prepare the engine that executes JavaScript.

    The first run on a machine does the same by itself, and takes some seconds longer.

    \b
    Examples:
      worker engine prepare
    """


@command("prepare")
@option("--workflow-file", type=PATH, metavar="FILE",
        help="Also prepare the adaptors of this file's workflows together.")  # fmt: skip
@fuel
def prepare_engine(*, workflow_file: Path | None, counts_fuel: bool) -> int:
    """Fill the cache of the engine, so that no run waits for it.

    Compile the engine for this processor, and load its libraries, its locale data and each
    installed adaptor once. Run it while a container image is built, or after an update.

    \b
    Examples:
      worker engine prepare
      worker engine prepare --workflow-file project.yaml
      worker engine prepare --fuel
    """
    # It imports the engine itself, which the help of the command must not wait for.
    from worker.sandbox.realms import is_engine_prepared, prepare_realm

    for name, contents in {**dict(_usual_realms()), **dict(_realms_of(workflow_file))}.items():
        print(f"preparing {printable(name)}", file=sys.stderr)
        prepare_realm(contents)
    if counts_fuel:
        print("preparing the engine that counts instructions", file=sys.stderr)
        prepare_realm(RealmContents(metered=True))
    # A cache that is read-only can have been filled before, as in a container's image.
    if not is_engine_prepared():
        raise MachineError(f"cannot write the cache {root()}: each start prepares the engine anew")
    print("✓ the engine is prepared")
    return 0


def _usual_realms() -> Iterator[tuple[str, RealmContents]]:
    yield "the engine", USUAL_REALM
    yield "locale data", RealmContents(libraries=INTL_LIBRARIES)
    for adaptor in cache.installed():
        yield str(adaptor.specifier), realm_of(adaptor)


def realm_of(adaptor: cache.Adaptor) -> RealmContents:
    """Return the realm of a workflow that names this adaptor alone."""
    # A workflow always gets the installed common as well.
    common = cache.find(parse(COMMON))
    bundles = {(str(each.specifier), str(each.bundle)) for each in (adaptor, common) if each}
    return RealmContents(bundles=tuple(sorted(bundles)))


def _realms_of(file: Path | None) -> Iterator[tuple[str, RealmContents]]:
    if file is None:
        return
    for name in workflow_names(file) or [None]:
        workflow = load(file, workflow=name)
        yield f"workflow '{workflow.name}'", prepare(workflow, None, Options(), "").realm
