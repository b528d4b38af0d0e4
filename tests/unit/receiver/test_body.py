"""Compressed bodies are read as zlib reads them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_obs.errors import DecodeError, RequestTooLargeError
from otel_obs.receiver.body import decompressed, window_bits

LIMIT = 4 * 1024 * 1024
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


def by_zlib(data: bytes, encoding: str) -> bytes | None:
    """Return all members of *data*; None where there is anything wrong with them."""
    found = b""
    while True:
        decoder = zlib.decompressobj(31 if encoding == "gzip" else 15)
        try:
            found += decoder.decompress(data) + decoder.flush()
        except zlib.error:
            return None
        if not decoder.eof:
            return None
        data = decoder.unused_data
        if not data:
            return found


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_what_zlib_reads_is_read_and_what_it_refuses_is_refused(encoding: str, data: st.DataObject) -> None:
    members = st.binary(max_size=300).map(ENCODINGS[encoding])
    sent = bytearray(b"".join(data.draw(st.lists(st.one_of(members, members, st.binary(max_size=20)), max_size=3))))
    for place in data.draw(st.lists(st.integers(0, 600), max_size=2)):
        if place < len(sent):
            sent[place] ^= data.draw(st.integers(1, 255))
    whole = bytes(sent[: len(sent) - data.draw(st.sampled_from([0, 0, 1, 4, 9]))])

    try:
        found: bytes | None = decompressed(whole, window_bits(encoding), LIMIT)
    except DecodeError:
        found = None

    assert found == by_zlib(whole, encoding)


@pytest.mark.parametrize("flags", [0x20, 0x40, 0x80, 0xFF])
@pytest.mark.parametrize("before", [b"", gzip.compress(b"first")], ids=["first", "second"])
def test_gzip_with_flags_that_nobody_knows_is_refused(before: bytes, flags: int) -> None:
    member = bytearray(gzip.compress(b"what"))
    member[3] = flags

    with pytest.raises(DecodeError):
        decompressed(before + bytes(member), window_bits("gzip"), LIMIT)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("size", [1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1, LIMIT])
def test_a_body_of_several_blocks_is_whole(encoding: str, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    assert decompressed(ENCODINGS[encoding](body), window_bits(encoding), LIMIT) == body


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_body_that_becomes_too_large_is_refused(encoding: str) -> None:
    with pytest.raises(RequestTooLargeError):
        decompressed(ENCODINGS[encoding](bytes(100 * 1024 * 1024)), window_bits(encoding), LIMIT)
