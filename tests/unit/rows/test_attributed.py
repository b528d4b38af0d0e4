"""The quick way to hand down leaves every other column alone."""

from __future__ import annotations

from typing import Any

from otel_obs.rows.tables import INHERITED
from tests.builders import chat, make_span
from tests.rows import batch


def test_rows_with_another_attribution_are_what_replacing_each_column_gives() -> None:
    found = batch([make_span(chat(response_id="r1", more={"user.id": "ann"}))])
    values: dict[str, Any] = {column: f"another {column}" for column in INHERITED}

    event = found.events[0].attributed(tuple(values.values()), 21)
    call = found.calls[0].attributed(tuple(values.values()))

    assert event == found.events[0]._replace(inherited=21, **values)
    assert call == found.calls[0]._replace(**values)
