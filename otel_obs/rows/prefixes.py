"""Which beginnings does a prompt share with others?  Hashes of its first kilobytes, as providers cache beginnings.

Tools, system prompt and messages are one text in that order, which is the order in which providers cache them. Few
lengths are enough: what two prompts share is then known to be at least so long, and never overestimated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from otel_obs.model import Content

LENGTHS = tuple(kib * 1024 for kib in (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128))
"""Bytes; the first is about 1,024 tokens, below which no provider caches."""
_ORDER = {"tools": 0, "system": 1, "input": 2}


def prefix_hashes(contents: Iterable[Content]) -> list[str] | None:
    """Return a hash of each beginning of the prompt that is as long as ``LENGTHS`` say; None for a short one."""
    parts = [content for content in contents if content.part in _ORDER]
    if sum(len(content.body) for content in parts) < LENGTHS[0]:
        return None
    text = bytearray()
    for content in sorted(parts, key=lambda content: _ORDER[content.part]):
        text += content.part.encode() + b"\x00" + content.body[: LENGTHS[-1]].encode(errors="replace")
        if len(text) >= LENGTHS[-1]:
            break
    digest, hashed, found = hashlib.sha256(), 0, []
    for length in LENGTHS:
        if length > len(text):
            break
        digest.update(text[hashed:length])
        hashed = length
        found.append(digest.copy().hexdigest()[:16])
    return found or None
