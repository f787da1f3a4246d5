"""Who may come in: whoever has the token gets a session; guessing is slow."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

WAIT_S = 1.0
"""How long the answer to a wrong token takes; wrong ones are answered one after the other."""
WAITING = 10
"""How many may wait for that. Others are sent away before anything is compared."""
SESSIONS = 200
SESSION_S = 12 * 3600.0


def fresh() -> str:
    """A secret that nobody guesses."""
    return secrets.token_urlsafe(32)


def same(one: str, other: str) -> bool:
    """Whether two secrets are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


@dataclass(slots=True, kw_only=True)
class Session:
    """A browser that came in. ``csrf`` stands in the forms of its pages; ``said`` is shown once,
    on the next page; ``over``: it has left."""

    csrf: str = field(default_factory=fresh)
    ends: float
    said: str = ""
    wrong: bool = False
    over: bool = False

    def tell(self, text: str, *, wrong: bool = False) -> None:
        self.said, self.wrong = text, wrong

    def told(self) -> tuple[str, bool]:
        """What is to be shown, once; and whether it is something that went wrong."""
        found = self.said, self.wrong
        self.said, self.wrong = "", False
        return found


class TooManyError(Exception):
    """Too many wrong tokens wait for their answers."""


class SessionStore:
    """Knows one token, and the sessions of those who had it."""

    def __init__(self, token: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = token
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._wait_s = WAIT_S
        self._waiting = 0
        self._one = asyncio.Lock()

    async def enter(self, token: str) -> str | None:
        """The cookie of a new session; ``None``, after a while, for a wrong token. Raises
        :class:`TooManyError`."""
        if self._waiting >= WAITING:
            raise TooManyError
        if not same(token, self._token):
            await self._delay()
            return None
        cookie = fresh()
        self._sessions[_key(cookie)] = Session(ends=self._clock() + SESSION_S)
        while len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)
        return cookie

    def session(self, cookie: str) -> Session | None:
        """The session of a cookie. Each use makes it last."""
        key = _key(cookie)
        found = self._sessions.get(key)
        if found is None:
            return None
        if self._clock() > found.ends:
            del self._sessions[key]
            return None
        found.ends = self._clock() + SESSION_S
        self._sessions.move_to_end(key)
        return found

    def leave(self, cookie: str) -> None:
        """The session is over."""
        if found := self._sessions.pop(_key(cookie), None):
            found.over = True

    async def _delay(self) -> None:
        self._waiting += 1
        try:
            async with self._one:
                await asyncio.sleep(self._wait_s)
        finally:
            self._waiting -= 1


def _key(cookie: str) -> str:
    """What is kept of a cookie: looking it up tells nothing of the others by its time."""
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()
