from __future__ import annotations

import json

import pytest

from otel_obs.analytics.detail import Part
from otel_obs.web.dashboard.said import Message, messages, said


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("plain words", [Message("", "plain words")]),
        ('"quoted"', [Message("", "quoted")]),
        ([{"role": "user", "content": "hi"}], [Message("user", "hi")]),
        ([{"role": "user", "parts": [{"type": "text", "content": "hi"}]}], [Message("user", "hi")]),
        ([{"role": "user", "content": [{"type": "text", "text": "hi"}]}], [Message("user", "hi")]),
        ({"messages": [{"role": "user", "content": "hi"}]}, [Message("user", "hi")]),
        (
            [{"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}]}],
            [Message("assistant, reasoning", "hm")],
        ),
    ],
)
def test_messages_of_all_shapes_are_read(body: object, expected: list[Message]) -> None:
    assert messages(body if isinstance(body, str) else json.dumps(body)) == expected


@pytest.mark.parametrize(
    "body",
    [
        '{"a": 1}',
        "[1, 2]",
        "[]",
        "null",
        "3",
        '[{"role": "user", "content": null, "tool_calls": null}]',
        '[{"content": {"x": [1]}}]',
        '[{"role": 3, "parts": [null, 5]}]',
    ],
)
def test_what_is_no_message_is_shown_as_it_came(body: str) -> None:
    found = messages(body)

    assert found
    assert all(message.text for message in found)


def test_calls_of_tools_are_not_left_out() -> None:
    (call,) = messages('[{"role": "assistant", "content": "", "tool_calls": [{"name": "search"}]}]')

    assert call.is_code
    assert "search" in call.text


def test_what_went_in_stands_left_of_what_came_out() -> None:
    parts = [
        Part(part=name, body=None if name == "system" else "x", bytes=1, truncated=False, is_sealed=name == "system")
        for name in ("output", "system", "tool_result", "input")
    ]
    found = said(parts)

    assert [item.part for item in found.asked] == ["system", "input"]
    assert [item.part for item in found.answered] == ["output", "tool_result"]
    assert found.asked[0].is_sealed
    assert found.asked[0].messages == []
