"""Requests that clients send in chunks, as they are too large for a message."""

from __future__ import annotations

from typing import Any, TypeVar

from worker.fleet.control.unit_of_work import RequestError, UnitOfWork
from worker.fleet.control.uploads import ChunkRefused, store_chunk, use_content
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.client_messages import Submit
from worker.fleet.messaging.trigger_messages import Deploy


def _owner(uow: UnitOfWork) -> str:
    """Return the owner of a client's chunks: the name that its replies go to, which is secret."""
    return f"clients/{uow.reply_to.removesuffix('/rsp').rpartition('/')[2]}"


def store_client_chunk(uow: UnitOfWork, chunk: wire.Chunk) -> Any:
    """Store a chunk of an order or of a project that is too large for a message."""
    try:
        store_chunk(uow, _owner(uow), chunk)
    except ChunkRefused as refusal:
        raise RequestError(refusal.code, str(refusal)) from refusal
    return {}


_Uploaded = TypeVar("_Uploaded", Submit, Deploy)


def uploaded_request(uow: UnitOfWork, type: type[_Uploaded], ref: wire.ContentRef) -> _Uploaded:
    """Return the request that a client has sent in chunks."""
    content = use_content(uow, _owner(uow), ref)
    if content is None:
        raise RequestError("missing", "chunks of the request are missing: send them again")
    try:
        request = wire.decode(type, content)
    except wire.WireError as error:
        raise RequestError("invalid", str(error)[:500]) from error
    if request.content is not None:
        raise RequestError("invalid", "a request in chunks refers to other chunks")
    return request
