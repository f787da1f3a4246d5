"""Attacks by a package of npm while it is installed. Each test says what the package tries."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import worker
from tests.support.fake_adaptors import store_bundle
from tests.support.real_adaptors import needs_npm, real_adaptors  # noqa: F401
from worker.adaptors import cache, install, lock
from worker.adaptors.lock import LockedVersion
from worker.adaptors.names import Specifier, parse
from worker.errors import UsageError

EVIL = Specifier(name="@evil/adaptor", version="1.0.0")
OPTIONS_OF_OLDER_NPM = tuple(name for name in install._NPM_OPTIONS if "--allow-" not in name)
SECRET = '{"token": "t0ken-of-the-user"}'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as npm leaves it, two levels below a file of the user."""
    (tmp_path / "creds.json").write_text(SECRET)
    package = tmp_path / "work" / "node_modules" / "@evil" / "adaptor"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"name": "@evil/adaptor", "main": "index.js"}')
    (package / "here.json").write_text('{"ok": 1}')
    return tmp_path / "work"


def bundle(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Bundle a package of one file; return the bundle."""
    (folder / "node_modules" / "@evil" / "adaptor" / "index.js").write_text(source)
    tools = install._toolchain(lambda line: None)
    monkeypatch.setattr(cache, "root", lambda: folder / "cache")
    monkeypatch.setattr(cache, "root_path", lambda: str(folder / "cache"))
    package = install._Package(specifier=EVIL, integrity="", licence="", overrides={})
    return install._bundle(package, folder, tools).bundle.read_text("utf-8")


PATHS = {
    "a path upwards": "module.exports.f = require('../../../../creds.json')",
    "an absolute path": "module.exports.f = require('{absolute}')",
    "an import": "import f from '../../../../creds.json'; export { f }",
    "a guarded import": "try { module.exports.f = require('../../../../creds.json') } catch {}",
    "a link to a file": "module.exports.f = require('./link.json')",
    "a link to a folder": "module.exports.f = require('./up/creds.json')",
    "a dependency that is a link": "module.exports.f = require('linked/creds.json')",
    "an import at run time": "module.exports.f = () => import('../../../../creds.json')",
}


@needs_npm
@pytest.mark.slow
@pytest.mark.parametrize("source", PATHS.values(), ids=PATHS)
def test_a_package_imports_a_file_of_the_user(
    source: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to get a file into the bundle, whose content jobs then send away."""
    package = folder / "node_modules" / "@evil" / "adaptor"
    (package / "link.json").symlink_to(folder.parent / "creds.json")
    (package / "up").symlink_to(folder.parent)
    (folder / "node_modules" / "linked").symlink_to(folder.parent)
    with pytest.raises(UsageError, match="from outside of it") as raised:
        bundle(folder, source.format(absolute=folder.parent / "creds.json") if "{absolute}" in source else source, monkeypatch)  # fmt: skip
    assert "t0ken" not in str(raised.value)


@needs_npm
@pytest.mark.slow
def test_a_package_imports_its_own_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an attack: modules of Node that the tool chain replaces are not the package's either."""
    source = "module.exports.f = () => [require('./here.json'), require('util').inspect]"
    assert "ok" in bundle(folder, source, monkeypatch)


@needs_npm
@pytest.mark.slow
def test_a_package_that_is_not_installed_is_absent_where_it_is_required(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not an attack: a package of queries requires the driver of each database that it knows."""
    source = "module.exports.f = () => require('mariadb/callback').createPool()"
    assert "mariadb/callback" in bundle(folder, source, monkeypatch)
    with pytest.raises(UsageError, match="Could not resolve"):
        bundle(folder, "import driver from 'mariadb'; export { driver }", monkeypatch)


@needs_npm
@pytest.mark.slow
def test_a_package_is_too_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "MAX_BUNDLE_BYTES", 10_000)
    with pytest.raises(UsageError, match="too large"):
        bundle(folder, f"module.exports.f = '{'x' * 20_000}'", monkeypatch)


@needs_npm
@pytest.mark.slow
def test_a_package_has_scripts(tmp_path: Path) -> None:
    """Tries to run a program while npm installs it."""
    source, folder = tmp_path / "source", tmp_path / "work"
    source.mkdir()
    folder.mkdir()
    names = ("preinstall", "install", "postinstall", "prepare", "prepack")
    scripts = dict.fromkeys(names, f"touch {tmp_path / 'ran'}")
    manifest = {"name": EVIL.name, "version": "1.0.0", "scripts": scripts}
    (source / "package.json").write_text(json.dumps(manifest))
    install._npm_install(Specifier(name=EVIL.name, version=f"file:{source}"), folder, {})
    assert (folder / "node_modules" / EVIL.name).exists()
    assert not (tmp_path / "ran").exists()


@needs_npm
@pytest.mark.slow
@pytest.mark.parametrize("options", [install._NPM_OPTIONS, OPTIONS_OF_OLDER_NPM])
def test_a_package_depends_on_a_repository(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to run a program by the .npmrc of a repository, which npm reads when it prepares it."""
    monkeypatch.setattr(install, "_NPM_OPTIONS", options)
    names = ("source", "repository", "other", "work")
    source, repository, other, folder = (tmp_path / name for name in names)
    for path in (source, repository, other, folder):
        path.mkdir()
    program = repository / "program.sh"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\nexit 1\n")
    program.chmod(0o755)
    # The program is called when npm fetches what the repository itself depends on.
    (repository / ".npmrc").write_text("git=./program.sh\nignore-scripts=false\n")
    depends = {"dependencies": {"other": f"git+file://{other}"}}
    manifest = {"name": "repository", "version": "1.0.0", "scripts": {"prepare": "./program.sh"}}
    (repository / "package.json").write_text(json.dumps(manifest | depends))
    (other / "package.json").write_text('{"name": "other", "version": "1.0.0"}')
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for path in (repository, other):
        for words in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-qm", "x")):
            subprocess.run(["git", *words], cwd=path, check=True)
    depends = {"dependencies": {"repository": f"git+file://{repository}"}}
    manifest = {"name": EVIL.name, "version": "1.0.0"}
    (source / "package.json").write_text(json.dumps(manifest | depends))
    subprocess.run(["npm", "pack", "--silent"], cwd=source, check=True, capture_output=True)
    (packed,) = source.glob("*.tgz")
    with pytest.raises(UsageError, match="npm"):
        install._npm_install(Specifier(name=EVIL.name, version=f"file:{packed}"), folder, {})
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_another_package_has_the_locked_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to be used in the place of the package that a project has locked."""
    monkeypatch.setattr(cache, "root", lambda: tmp_path / "cache")
    monkeypatch.setattr(cache, "root_path", lambda: str(tmp_path / "cache"))
    store_bundle(str(EVIL), "globalThis.__adaptor = { fn: (f) => f };")
    step = {"id": "a", "adaptor": "@evil/adaptor@latest", "expression": "fn((state) => state)"}
    file = tmp_path / "flow.json"
    file.write_text(json.dumps({"workflow": {"steps": [step]}}))
    latest = str(parse("@evil/adaptor@latest"))
    lock.write(tmp_path, {latest: LockedVersion(version="1.0.0", integrity="sha512-test")})
    assert worker.run(worker.load(file), {}).status == "success"
    lock.write(tmp_path, {latest: LockedVersion(version="1.0.0", integrity="sha512-other")})
    with pytest.raises(UsageError, match="not the one in"):
        worker.run(worker.load(file), {})
