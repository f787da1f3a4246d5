"""Sessions: opened with a token or a link, and slow to guess."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

# Responses to wrong tokens are delayed one after the other.
WRONG_TOKEN_DELAY_S = 1.0
# Further wrong tokens are refused at once. A right one never waits: any web page can send wrong
# ones in the name of its visitor, and must not lock that visitor out.
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
    A ``read_only`` session has no actions. ``ended`` ends its streams.
    """

    csrf: str = field(default_factory=new_secret)
    expires: float
    read_only: bool = False
    by_link: bool = False
    notice: str = ""
    is_error: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    streams: int = 0

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
    """Holds the tokens and the open sessions.

    ``read_token`` opens sessions without actions. ``link`` is a secret for an address: it opens
    sessions until one of them is closed, so that it is worthless in the browser's history.
    """

    def __init__(
        self,
        token: str,
        *,
        read_token: str = "",
        link: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._token = token
        self._read_token = read_token
        self._link = link
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._delay_s = WRONG_TOKEN_DELAY_S
        self._waiting = 0
        self._one_at_a_time = asyncio.Lock()

    async def open(self, token: str) -> str | None:
        """Open a session and return its cookie; None for a wrong token, after a delay.

        Raises :class:`TooManyGuessesError`.
        """
        session = self._new_session(token)
        if session is None:
            await self._delay()
            return None
        cookie = new_secret()
        self._sessions[_key(cookie)] = session
        # The least recently used session ends first.
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)[1].ended.set()
        return cookie

    def _new_session(self, token: str) -> Session | None:
        expires = self._clock() + SESSION_S
        if secrets_equal(token, self._token):
            return Session(expires=expires)
        if self._link and secrets_equal(token, self._link):
            return Session(expires=expires, by_link=True)
        if self._read_token and secrets_equal(token, self._read_token):
            return Session(expires=expires, read_only=True)
        return None

    def get(self, cookie: str) -> Session | None:
        """Return the session of a cookie. Each use extends it."""
        key = _key(cookie)
        session = self._sessions.get(key)
        if session is None:
            return None
        if not self.is_open(session):
            self.close(cookie)
            return None
        session.expires = self._clock() + SESSION_S
        self._sessions.move_to_end(key)
        return session

    def is_open(self, session: Session) -> bool:
        return not session.ended.is_set() and self._clock() <= session.expires

    def close(self, cookie: str) -> None:
        """Close the session of a cookie, and revoke the link that opened it."""
        if session := self._sessions.pop(_key(cookie), None):
            session.ended.set()
            if session.by_link:
                self._link = ""

    async def _delay(self) -> None:
        if self._waiting >= MAX_WAITING_GUESSES:
            raise TooManyGuessesError
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                await asyncio.sleep(self._delay_s)
        finally:
            self._waiting -= 1


def _key(cookie: str) -> str:
    # A hash: the time of a lookup must not reveal parts of another cookie.
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()
