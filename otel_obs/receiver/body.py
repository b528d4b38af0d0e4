"""The body of an HTTP request: what it is, and how much of it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from email.message import Message

from isal import isal_zlib  # reads what zlib reads, in half the time

from otel_obs.errors import DecodeError, RequestTooLargeError, UnsupportedMediaTypeError

READ_WITHIN_S = 30.0
"""A body that takes longer to come is not waited for."""

_PROTOBUF = "application/x-protobuf"
_JSON = "application/json"
_CHUNK = 1024 * 1024
_WINDOW_BITS = 15
_AS_GZIP = 16
_FLAGS, _KNOWN_FLAGS = 3, b"\x1f"
"""Where a gzip header has its flags, and the greatest that means anything: what has others must be refused, which
ISA-L leaves to us (https://www.rfc-editor.org/rfc/rfc1952#page-8)."""


class SlowBodyError(Exception):
    """The body did not come in time."""


def is_json(content_type: str | None) -> bool:
    """Tell whether the body is JSON rather than protobuf.

    Raises:
        UnsupportedMediaTypeError: it is neither.
    """
    message = Message()
    message["content-type"] = content_type or ""
    kind = message.get_content_type() if content_type else ""
    if kind == _PROTOBUF:
        return False
    charset = message.get_param("charset")
    if kind == _JSON and (charset is None or str(charset).lower() in {"utf-8", "utf8"}):
        return True
    raise UnsupportedMediaTypeError(f"content type must be {_PROTOBUF} or {_JSON} in UTF-8")


def window_bits(content_encoding: str | None) -> int | None:
    """Return how zlib and its like are to read the body; None if it is not compressed.

    Raises:
        UnsupportedMediaTypeError: the encoding is not one that OTLP/HTTP uses.
    """
    encoding = (content_encoding or "identity").strip().lower()
    if encoding in {"identity", ""}:
        return None
    if encoding == "gzip":
        return _WINDOW_BITS | _AS_GZIP
    if encoding == "deflate":
        return _WINDOW_BITS
    raise UnsupportedMediaTypeError("content encoding must be gzip, deflate or identity")


async def read(chunks: AsyncIterator[bytes], limit: int, came: Callable[[int], None] = lambda _: None) -> bytes:
    """Return the body that comes in *chunks*; *came* is told how much of it is here.

    Raises:
        RequestTooLargeError: it is longer than *limit* bytes.
        SlowBodyError: it did not come in time.
    """
    try:
        return await asyncio.wait_for(_joined(chunks, limit, came), READ_WITHIN_S)
    except asyncio.TimeoutError:
        raise SlowBodyError from None


async def _joined(chunks: AsyncIterator[bytes], limit: int, came: Callable[[int], None]) -> bytes:
    found = bytearray()
    async for chunk in chunks:
        came(len(chunk))
        found += chunk
        if len(found) > limit:
            raise RequestTooLargeError(f"the request is larger than {limit} bytes")
    return bytes(found)


def decompressed(data: bytes, wbits: int | None, limit: int) -> bytes:
    """Return *data* decompressed, all members of it, never more than *limit* bytes.

    Raises:
        DecodeError: it is not what its encoding says, it is cut off, or something follows it.
        RequestTooLargeError: it would be larger than *limit* bytes.
    """
    if wbits is None:
        return data
    found = bytearray()
    while True:
        if wbits & _AS_GZIP and data[_FLAGS : _FLAGS + 1] > _KNOWN_FLAGS:
            raise DecodeError("the body is not what its content encoding says")
        decoder = isal_zlib.decompressobj(wbits)
        data = _member(decoder, data, found, limit)
        if not data:
            return bytes(found)


def _member(decoder: isal_zlib.Decompress, data: bytes, found: bytearray, limit: int) -> bytes:
    """Append one member of *data* to *found*; return what follows it."""
    while not decoder.eof:
        try:
            found += decoder.decompress(data, _CHUNK)
        except isal_zlib.error:  # type: ignore[misc]  # its stub has an instance there
            raise DecodeError("the body is not what its content encoding says") from None
        if len(found) > limit:
            raise RequestTooLargeError(f"the request is larger than {limit} bytes")
        data = decoder.unconsumed_tail
        if not data and not decoder.eof and not _has_more(decoder, found, limit):
            raise DecodeError("the compressed body is cut off")
    return decoder.unused_data


def _has_more(decoder: isal_zlib.Decompress, found: bytearray, limit: int) -> bool:
    """Take what the decoder still holds; tell whether that was anything."""
    rest = decoder.flush(_CHUNK)
    found += rest
    if len(found) > limit:
        raise RequestTooLargeError(f"the request is larger than {limit} bytes")
    return bool(rest) or decoder.eof
