"""Sessions: opened with the token, and slow to guess."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

# Wrong tokens are delayed one after the other: at most one guess per second.
WRONG_TOKEN_DELAY_S = 1.0
# Further guesses are rejected before they are compared.
MAX_WAITING_GUESSES = 10
MAX_SESSIONS = 200
SESSION_S = 12 * 3600.0


def new_secret() -> str:
    """Generate a secret of 256 bits."""
    return secrets.token_urlsafe(32)


def secrets_equal(a: str, b: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(a.encode("utf-8", "replace"), b.encode("utf-8", "replace"))


@dataclass(slots=True, kw_only=True)
class Session:
    """Session of a browser.

    ``csrf`` is the token in the forms of its pages, and ``notice`` is shown once, on the next page.
    """

    csrf: str = field(default_factory=new_secret)
    expires: float
    notice: str = ""
    is_error: bool = False
    closed: bool = False

    def flash(self, text: str, *, is_error: bool = False) -> None:
        self.notice, self.is_error = text, is_error

    def take_flash(self) -> tuple[str, bool]:
        """Return the notice and whether it is an error, and clear it."""
        flash = self.notice, self.is_error
        self.notice, self.is_error = "", False
        return flash


class TooManyGuessesError(Exception):
    """Too many wrong tokens are pending."""


class SessionStore:
    """Holds the token and the open sessions."""

    def __init__(self, token: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = token
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._delay_s = WRONG_TOKEN_DELAY_S
        self._waiting = 0
        self._one_at_a_time = asyncio.Lock()

    async def open(self, token: str) -> str | None:
        """Open a session and return its cookie; None for a wrong token, after a delay.

        Raises :class:`TooManyGuessesError`.
        """
        if self._waiting >= MAX_WAITING_GUESSES:
            raise TooManyGuessesError
        if not secrets_equal(token, self._token):
            await self._delay()
            return None
        cookie = new_secret()
        self._sessions[_key(cookie)] = Session(expires=self._clock() + SESSION_S)
        # The least recently used session ends first.
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return cookie

    def get(self, cookie: str) -> Session | None:
        """Return the session of a cookie. Each use extends it."""
        key = _key(cookie)
        session = self._sessions.get(key)
        if session is None:
            return None
        if self._clock() > session.expires:
            del self._sessions[key]
            return None
        session.expires = self._clock() + SESSION_S
        self._sessions.move_to_end(key)
        return session

    def close(self, cookie: str) -> None:
        """Close the session of a cookie."""
        if session := self._sessions.pop(_key(cookie), None):
            session.closed = True

    async def _delay(self) -> None:
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                await asyncio.sleep(self._delay_s)
        finally:
            self._waiting -= 1


def _key(cookie: str) -> str:
    # A hash: the time of a lookup must not reveal parts of another cookie.
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()
