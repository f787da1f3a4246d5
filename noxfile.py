"""The everyday checks on every Python that this machine has: ``nox``."""

from __future__ import annotations

import shutil

import nox

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["available", "tests"]


@nox.session(python=False)
def available(session: nox.Session) -> None:
    """Print which versions of Python run, and which are missing here."""
    missing = [version for version in PYTHONS if shutil.which(f"python{version}") is None]
    session.log("runs on: %s", ", ".join(sorted(set(PYTHONS) - set(missing))))
    session.log("not found here: %s", ", ".join(missing) or "none")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Install the package as users do, and run the everyday tests."""
    session.install("pip>=25.1")
    session.run_install(
        "python", "-m", "pip", "install", "-c", "constraints.txt", "-e", ".", "--group", "dev"
    )
    session.run("pytest", "-q", "-n", "auto", "-m", "not slow", *session.posargs)
