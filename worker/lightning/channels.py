"""Client of Phoenix channels: one connection that is made again, and the channels on it.

After a reconnect every channel is joined again with the same parameters. Requests wait until
their channel is joined; those that were written and not answered fail as :class:`ReplyLost`, and
the caller decides about them.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast
from urllib.parse import urlencode

from websockets.asyncio.client import connect
from websockets.exceptions import (
    ConnectionClosedOK,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)

from worker.errors import reason_of
from worker.lightning.channel_errors import (
    ChannelClosed,
    ConnectionRefused,
    ReplyLost,
    RequestRefused,
)
from worker.lightning.compression import ClientCompression
from worker.lightning.message_connection import ClientMessages
from worker.lightning.pending_replies import PendingReplies
from worker.lightning.serializer import (
    ChannelFrame,
    FrameError,
    decode_frame,
    encode_frame,
    encode_json,
)
from worker.sinks.log import LeveledLogger
from worker.util.masking import hide_url_secrets
from worker.util.nesting import SIZE_LIMIT_BYTES

HEARTBEAT_S = 30.0
REJOIN_S = (1.0, 2.0, 5.0, 10.0)
MAX_RECONNECT_S = 30.0
OPEN_TIMEOUT_S = 20.0
_EMPTY = b"{}"
_SILENT = logging.Logger("silent", logging.CRITICAL + 1)


class ChannelTimings:
    """Times of the protocol in seconds, which tests shorten.

    ``reconnect_s`` is the unit of the waits before connecting again: once it, twice it, ...
    """

    def __init__(
        self,
        *,
        reply_s: float = 30.0,
        heartbeat_s: float = HEARTBEAT_S,
        reconnect_s: float = 1.0,
        rejoin_s: tuple[float, ...] = REJOIN_S,
    ) -> None:
        self.reply_s = reply_s
        self.heartbeat_s = heartbeat_s
        self.reconnect_s = reconnect_s
        self.rejoin_s = rejoin_s


class ChannelSocket:
    """The connection. :meth:`run` keeps it until it is cancelled."""

    def __init__(
        self,
        url: str,
        parameters: Mapping[str, str],
        log: LeveledLogger,
        timings: ChannelTimings | None = None,
    ) -> None:
        self._url = f"{url.rstrip('/')}/websocket?{urlencode({**parameters, 'vsn': '2.0.0'})}"
        self._shown_url = hide_url_secrets(url)
        self._log = log
        self.timings = timings or ChannelTimings()
        self._refs = itertools.count(1)
        self._pending = PendingReplies()
        self._channels: dict[str, Channel] = {}
        self._connection: ClientMessages | None = None
        self.connections = 0
        """The number of the connection: each has another."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.connected = asyncio.Event()

    def channel(
        self,
        topic: str,
        parameters: Mapping[str, Any],
        on_push: Callable[[str, Any], None] | None = None,
    ) -> Channel:
        """Create a channel that is not joined; ``on_push`` receives what the server pushes."""
        return Channel(self, topic, encode_json(parameters), on_push)

    async def run(self) -> None:
        """Connect, and connect again, until cancelled.

        Raises :class:`ConnectionRefused` if the first connection is refused as unauthorized.
        """
        tries, was_connected = 0, False
        try:
            while True:
                try:
                    async with self._connect() as connection:
                        tries, was_connected = 0, True
                        await self._serve(connection)
                except InvalidStatus as error:
                    self._check_status(error, was_connected)
                except InvalidURI:
                    # Its text has the whole address, with the token.
                    text = f"{self._shown_url} or where it redirects to is no valid address"
                    self._log.warning("lightning.disconnected", error=text)
                except (OSError, TimeoutError, WebSocketException) as error:
                    self._log.warning("lightning.disconnected", error=reason_of(error))
                tries += 1
                await asyncio.sleep(min(tries * self.timings.reconnect_s, MAX_RECONNECT_S))
        finally:
            self._lose("the connection is closed")
            self._pending.close()
            for task in self._tasks:
                task.cancel()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[ClientMessages]:
        # Dataclips and plans have no limit but memory, also after they are decompressed. Pings
        # would be answered by a server whose channels hang: the heartbeat checks these.
        connecting = connect(
            self._url,
            max_size=SIZE_LIMIT_BYTES,
            compression=None,
            extensions=[ClientCompression()],
            create_connection=cast(
                "type[ClientMessages]", partial(ClientMessages, on_message=self._on_message)
            ),
            ping_interval=None,
            open_timeout=OPEN_TIMEOUT_S,
            # The log of a worker must not hold a connection's token.
            logger=_SILENT,
        )
        async with connecting as connection:
            yield cast("ClientMessages", connection)

    def _check_status(self, error: InvalidStatus, was_connected: bool) -> None:
        status = error.response.status_code
        if status in (401, 403) and not was_connected:
            # No reconnect would help. After a first success it may be a proxy that restarts.
            raise ConnectionRefused(
                f"{self._shown_url} does not accept the worker's token (HTTP {status}): "
                "check the secret"
            ) from error
        self._log.warning("lightning.disconnected", error=f"HTTP {status}")

    async def _serve(self, connection: ClientMessages) -> None:
        self._connection = connection
        self.connections += 1
        self.connected.set()
        self._log.info("lightning.connected", url=self._shown_url)
        for channel in list(self._channels.values()):
            channel.rejoin()
        heartbeat = asyncio.create_task(self._heartbeat(connection))
        try:
            await connection.wait_closed()
            if not isinstance(ended := connection.protocol.close_exc, ConnectionClosedOK):
                raise ended
            self._log.warning("lightning.disconnected", error="closed by the server")
        finally:
            heartbeat.cancel()
            self._lose("the connection was lost")

    def _lose(self, reason: str) -> None:
        self._connection = None
        self.connected.clear()
        for channel in self._channels.values():
            channel.joined.clear()
        self._pending.lose(reason)

    def lose_replies(self, topic: str, reason: str) -> None:
        """Fail the requests of a topic that wait for a reply."""
        self._pending.lose(reason, topic)

    async def _heartbeat(self, connection: ClientMessages) -> None:
        wait_s = self.timings.heartbeat_s
        while True:
            await asyncio.sleep(wait_s)
            try:
                await self.request(None, self.new_ref(), "phoenix", "heartbeat", _EMPTY, wait_s)
            except (ReplyLost, RequestRefused):
                await connection.close(1000, "heartbeat timeout")
                return

    def new_ref(self) -> str:
        return str(next(self._refs))

    async def request(
        self,
        join_ref: str | None,
        ref: str,
        topic: str,
        event: str,
        payload: bytes,
        timeout_s: float,
    ) -> Any:
        """Send a request, and return the response.

        Raises :class:`ReplyLost` or :class:`RequestRefused`.
        """
        connection = self._connection
        if connection is None:
            raise ReplyLost("there is no connection", written=False)
        pending = self._pending.add(ref, topic, event, timeout_s)
        connection.post(encode_frame(join_ref, ref, topic, event, payload), pending.on_written)
        try:
            reply = await pending.future
        finally:
            self._pending.remove(ref)
        return _response(event, reply.payload)

    def send(self, join_ref: str | None, topic: str, event: str) -> None:
        """Send a message whose reply nobody waits for, if there is a connection."""
        if self._connection is not None:
            self._connection.post(encode_frame(join_ref, self.new_ref(), topic, event, _EMPTY))

    def add(self, channel: Channel) -> None:
        self._channels[channel.topic] = channel

    def remove(self, channel: Channel) -> None:
        if self._channels.get(channel.topic) is channel:
            del self._channels[channel.topic]

    def start(self, coroutine: Any) -> asyncio.Task[None]:
        """Run a task of a channel, which ends with the connection's."""
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _on_message(self, data: bytes, is_text: bool) -> None:
        try:
            frame = decode_frame(data, is_text=is_text)
        except FrameError as error:
            self._log.warning("frame.refused", error=str(error)[:500])
            return
        if frame.event in ("phx_reply", f"chan_reply_{frame.ref}"):
            self._pending.settle(frame)
        elif (channel := self._channels.get(frame.topic)) is not None:
            channel.on_frame(frame)


def _response(event: str, payload: Any) -> Any:
    if not isinstance(payload, dict):
        raise RequestRefused(event, payload)
    if payload.get("status") != "ok":
        raise RequestRefused(event, payload.get("response"))
    return payload.get("response")


class Channel:
    """A channel of the connection. ``joined`` is set while requests can be sent."""

    def __init__(
        self,
        socket: ChannelSocket,
        topic: str,
        parameters: bytes,
        on_push: Callable[[str, Any], None] | None,
    ) -> None:
        self.topic = topic
        self._socket = socket
        self._parameters = parameters
        self._on_push = on_push
        self._join_ref = ""
        self._was_joined = False
        self._failures = 0
        self._rejoining: asyncio.Task[None] | None = None
        self.joined = asyncio.Event()
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def join(self) -> None:
        """Join for the first time, once there is a connection.

        Raises :class:`RequestRefused` if the server refuses it.
        """
        # Before the reply, which an error of the channel may follow at once.
        self._socket.add(self)
        while not self._was_joined:
            await self._socket.connected.wait()
            try:
                await self._join()
            except ReplyLost:
                await asyncio.sleep(self._socket.timings.rejoin_s[0])

    async def _join(self) -> None:
        socket = self._socket
        number, failures = socket.connections, self._failures
        self._join_ref = ref = socket.new_ref()
        await socket.request(
            ref, ref, self.topic, "phx_join", self._parameters, socket.timings.reply_s
        )
        # The connection or the channel may be lost between the reply and this line.
        is_same = (number, failures) == (socket.connections, self._failures)
        if not is_same or not socket.connected.is_set():
            raise ReplyLost("the connection was lost")
        self._was_joined = True
        self.joined.set()

    def rejoin(self, delays_s: tuple[float, ...] = ()) -> None:
        """Join again after a delay, and again after the next, until it succeeds."""
        if not self._was_joined:
            # The first join tries again by itself.
            return
        if self._rejoining is not None:
            # One at a time: a reconnect must not add to the attempts of an earlier error.
            self._rejoining.cancel()
        self._rejoining = self._socket.start(self._rejoin(delays_s))

    async def _rejoin(self, delays_s: tuple[float, ...]) -> None:
        later = iter((*delays_s, *self._socket.timings.rejoin_s))
        delay_s = next(later) if delays_s else 0.0
        while not self.closed.done():
            await asyncio.sleep(delay_s)
            try:
                await self._join()
            except RequestRefused as error:
                self._close(f"the server refused to join it again: {error}")
            except ReplyLost:
                # Without a connection the next one starts another attempt.
                if not self._socket.connected.is_set():
                    return
                delay_s = next(later, self._socket.timings.rejoin_s[-1])
                continue
            return

    async def request(
        self, event: str, payload: bytes = _EMPTY, timeout_s: float | None = None
    ) -> Any:
        """Send a request as soon as the channel is joined, and return the response.

        Raises :class:`ReplyLost`, :class:`RequestRefused` or :class:`ChannelClosed`.
        """
        await self._until_joined()
        socket = self._socket
        if timeout_s is None:
            timeout_s = socket.timings.reply_s
        ref = socket.new_ref()
        return await socket.request(self._join_ref, ref, self.topic, event, payload, timeout_s)

    async def _until_joined(self) -> None:
        if self.joined.is_set():
            return
        joined = asyncio.ensure_future(self.joined.wait())
        try:
            await asyncio.wait((joined, self.closed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            joined.cancel()
        if self.closed.done():
            raise ChannelClosed(self.closed.result())

    def on_frame(self, frame: ChannelFrame) -> None:
        stale = frame.join_ref not in (None, self._join_ref)
        if frame.event == "phx_error" and not stale:
            self._fail()
            self.rejoin(self._socket.timings.rejoin_s)
        elif frame.event == "phx_close" and not stale:
            self._close("the server closed it")
        elif self._on_push is not None:
            self._on_push(frame.event, frame.payload)

    def _fail(self) -> None:
        self._failures += 1
        self.joined.clear()
        # The channel's process has died, and replies to what it received will not come.
        self._socket.lose_replies(self.topic, "the channel was lost")

    def _close(self, reason: str) -> None:
        if not self.closed.done():
            self.closed.set_result(reason)
        self._socket.remove(self)
        self._fail()

    def leave(self) -> None:
        """Leave the channel; nothing is sent where it is lost or closed."""
        self._socket.remove(self)
        if self._rejoining is not None:
            self._rejoining.cancel()
        if self.joined.is_set():
            self.joined.clear()
            self._socket.send(self._join_ref, self.topic, "phx_leave")
