"""Compression of large messages alone: a small one takes longer to compress than to send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame, Opcode
from websockets.typing import ExtensionParameter

SMALL_BYTES: Final = 1024
# The defaults of websockets: they take 64 kB of memory for a connection, and zlib's own 300.
_WINDOW_BITS, _SETTINGS = 12, {"memLevel": 5}


class LargeMessageDeflate(PerMessageDeflate):
    """``permessage-deflate`` that leaves small messages as they are, as RFC 7692 allows."""

    def encode(self, frame: Frame) -> Frame:
        is_small = frame.fin and frame.opcode is not Opcode.CONT and len(frame.data) < SMALL_BYTES
        return frame if is_small else super().encode(frame)


class ClientCompression(ClientPerMessageDeflateFactory):
    """Compression that a client offers."""

    def __init__(self) -> None:
        super().__init__(
            server_max_window_bits=_WINDOW_BITS,
            client_max_window_bits=_WINDOW_BITS,
            compress_settings=_SETTINGS,
        )

    def process_response_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> LargeMessageDeflate:
        return _for_large(super().process_response_params(params, accepted_extensions))


class ServerCompression(ServerPerMessageDeflateFactory):
    """Compression that a server accepts."""

    def __init__(self) -> None:
        super().__init__(
            server_max_window_bits=_WINDOW_BITS,
            client_max_window_bits=_WINDOW_BITS,
            compress_settings=_SETTINGS,
        )

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], LargeMessageDeflate]:
        response, deflate = super().process_request_params(params, accepted_extensions)
        return response, _for_large(deflate)


def _for_large(deflate: PerMessageDeflate) -> LargeMessageDeflate:
    return LargeMessageDeflate(
        deflate.remote_no_context_takeover,
        deflate.local_no_context_takeover,
        deflate.remote_max_window_bits,
        deflate.local_max_window_bits,
        deflate.compress_settings,
    )
