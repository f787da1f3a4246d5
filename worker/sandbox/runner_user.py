"""The user whose rights processes of runs have, where the worker is started by root."""

from __future__ import annotations

import os
import re

from worker.errors import UsageError

VARIABLE = "WORKER_RUN_AS"
_USER = re.compile(r"(\d{1,9})(?::(\d{1,9}))?", re.ASCII)


def runner_user() -> tuple[int, int] | None:
    """Return the user and group that are configured, by their numbers; ``None`` for our own.

    Raises :class:`UsageError` for anything else, and where this process cannot change its user.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return None
    match = _USER.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise UsageError(f"{VARIABLE}: expected UID or UID:GID, such as 10001, found '{text}'")
    if os.geteuid() != 0:
        raise UsageError(f"{VARIABLE} needs root, and this is the user {os.geteuid()}")
    return int(match[1]), int(match[2] or match[1])


def become(user: int, group: int) -> None:
    """Give up all rights but those of a user and a group, for good."""
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
