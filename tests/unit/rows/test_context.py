"""What of a span's attributes is kept beside its columns, and how long values are cut."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_obs.rows import context as context_module
from otel_obs.rows.context import MAX_VALUE_BYTES, bounded, cut, identifier, jsonable, without_media

LIMIT = 64 * 1024
PROSE = "What was said, at length. "
MEDIA = bytes(range(256)) * 16


def size_of(context: dict[str, Any]) -> int:
    return len(json.dumps(context, ensure_ascii=False, separators=(",", ":")).encode())


@given(st.text(), st.integers(min_value=0, max_value=40))
def test_a_text_is_cut_between_characters(text: str, limit: int) -> None:
    found = cut(text, limit)

    assert len(found.encode()) <= limit
    assert text.startswith(found)
    assert found == text or len(text[: len(found) + 1].encode()) > limit


@pytest.mark.parametrize("control", ["\x00", "\n", "\x1b", "\x7f", "\x85", "\x9b"], ids=ascii)
def test_an_id_has_no_control_characters(control: str) -> None:
    assert identifier(f"a{control}b") == "ab"


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, None), ("", None), ("  ", None), ("\n", None), ("é" * 150, "é" * 100), ("a b", "a b"), ("漢字", "漢字")],
)
def test_an_id_has_at_most_200_bytes_or_is_none(text: str | None, expected: str | None) -> None:
    assert identifier(text) == expected


def large_contexts() -> dict[str, dict[str, Any]]:
    return {
        "one large value": {"attributes": {"large": PROSE * 40_000}},
        "many values": {"attributes": {f"key.{number}": PROSE * 40 for number in range(1024)}},
        "long keys": {"attributes": {f"{number}{PROSE * 200}": number for number in range(1024)}},
        "four bytes a character": {"attributes": {"large": "😀" * 50_000}},
        "what JSON escapes": {"attributes": {"large": '"\\\n' * 50_000}},
        "a long list": {"attributes": {"list": list(range(100_000))}},
        "many events": {
            "events": [{"name": PROSE * 10, "attributes": {f"{key}{PROSE * 10}": PROSE for key in range(100)}}] * 1024
        },
        "many links": {"links": [{"trace_id": "a" * 32, "span_id": "b" * 16}] * 1024},
        "deep": {"attributes": {"deep": json.loads('{"a":[' * 15 + json.dumps(PROSE * 40_000) + "]}" * 15)}},
    }


@pytest.mark.parametrize("name", large_contexts())
def test_a_context_has_at_most_64_kib_and_says_that_it_was_cut(name: str) -> None:
    context = {"scope": {"name": "an instrumentation of some name"}, **large_contexts()[name], "flags": ["sanitized"]}

    found = bounded(context)

    assert size_of(found) <= LIMIT
    assert found["flags"] == ["sanitized", "truncated"]
    assert set(found) <= set(context)


@pytest.mark.parametrize("name", large_contexts())
def test_a_context_that_was_cut_still_names_its_scope(name: str) -> None:
    """Settling tells instrumentations apart by it."""
    scope = {"name": "opentelemetry.instrumentation.openai_v2", "version": "2.1b0"}

    assert bounded({"scope": scope, **large_contexts()[name]})["scope"] == scope


@pytest.mark.parametrize("many", [10, 300, 1000])
def test_small_values_survive_beside_a_large_one(many: int) -> None:
    small = {f"key.{number}": number for number in range(many)}

    found = bounded({"attributes": {"large": PROSE * 10_000, **small}})["attributes"]

    assert PROSE.startswith(found.pop("large")[: len(PROSE)])
    assert found == small


def test_a_context_that_fits_is_left_as_it_is() -> None:
    context = {"attributes": {"text": "x" * (LIMIT - 100)}, "flags": ["unfinished"]}

    assert bounded(context) == context


@pytest.mark.parametrize("size", [100, 1000, 4096], ids=lambda size: f"{size} bytes")
@pytest.mark.parametrize("kind", ["image/png", "application/vnd.x+json", "audio/wav;rate=8000"])
def test_a_data_url_becomes_media_type_size_and_hash(kind: str, size: int) -> None:
    encoded = base64.b64encode(MEDIA[:size]).decode()

    found = without_media(f'{{"url": "data:{kind};base64,{encoded}", "n": 1}}')

    assert encoded[:64] not in found
    assert kind.partition(";")[0] in found
    assert f"{size} bytes" in found
    assert found.startswith('{"url": "')
    assert found.endswith('", "n": 1}')


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode], ids=["standard", "for URLs"])
def test_long_base64_becomes_size_and_hash(encode: Any) -> None:
    encoded = encode(MEDIA).decode()

    found = without_media(f"before {encoded} after")

    assert encoded[:64] not in found
    assert f"{len(MEDIA)} bytes" in found
    assert found.startswith("before ")
    assert found.endswith(" after")


def test_equal_media_are_described_alike_and_others_are_not() -> None:
    urls = [f"data:image/png;base64,{base64.b64encode(media).decode()}" for media in (MEDIA, MEDIA, MEDIA[::-1])]

    one, same, other = map(without_media, urls)

    assert one == same != other


@pytest.mark.parametrize(
    "text",
    ["", "data:image/png;base64,", "no media;base64, here", PROSE * 1000, hashlib.sha256(b"").hexdigest()],
    ids=["nothing", "an empty URL", "words", "long prose", "a hash"],
)
def test_what_is_no_media_stays_as_it_is(text: str) -> None:
    assert without_media(text) == text


@pytest.mark.parametrize("size", [500, 100_000], ids=["short", "long"])
def test_an_ordinary_attribute_holds_no_media_either(size: int) -> None:
    encoded = base64.b64encode((MEDIA * 30)[:size]).decode()

    assert encoded[:64] not in json.dumps(jsonable({"url": f"data:image/png;base64,{encoded}"}))


def test_an_ordinary_value_is_cut_at_256_kib() -> None:
    found = jsonable(PROSE * 100_000)

    assert len(found) == MAX_VALUE_BYTES == 256 * 1024


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**63 - 1, 2**63 - 1),
        (0.1, 0.1),
        ("text", "text"),
        (b"\x00\xff", {"base64": "AP8="}),
        ([1, "a", [b"\x01"]], [1, "a", [{"base64": "AQ=="}]]),
        ({"a": {"b": None}}, {"a": {"b": None}}),
    ],
    ids=repr,
)
def test_values_are_kept_as_json_has_them(value: Any, expected: object) -> None:
    assert jsonable(value) == expected


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_a_context_is_never_taken_for_smaller_than_it_is(context: dict[str, Any]) -> None:
    assert context_module._at_most(context) >= size_of(context)


@pytest.mark.parametrize("length", [2048, 2049, 3100])
def test_base64_is_found_wherever_it_stands(length: int) -> None:
    for before in range(0, 2100, 13):
        text = f"{PROSE * 100}"[:before] + " " + "A" * length + " " + PROSE * 50

        assert "A" * 100 not in without_media(text)


@pytest.mark.parametrize("text", ["A" * 2047, f"{'A' * 2047} {'A' * 2047}", f"{'A' * 1024}-é{'A' * 2000}"])
def test_what_is_too_short_for_media_stays(text: str) -> None:
    assert without_media(text) == text
