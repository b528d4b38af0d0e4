"""How much may wait is OpenTelemetry's to say, and a slip of the pen changes nothing."""

from __future__ import annotations

import pytest

from otel_obs.processor import Limits


def test_opentelemetrys_variables_are_followed() -> None:
    found = Limits.from_env(
        {
            "OTEL_BSP_MAX_QUEUE_SIZE": "100",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": " 10 ",
            "OTEL_BSP_SCHEDULE_DELAY": "250",
        }
    )

    assert found == Limits(max_queue_spans=100, max_batch_spans=10, schedule_delay_s=0.25)


@pytest.mark.parametrize("value", ["", "0", "-1", "many"])
def test_a_variable_that_cannot_be_used_changes_nothing(value: str, caplog: pytest.LogCaptureFixture) -> None:
    assert Limits.from_env({"OTEL_BSP_MAX_QUEUE_SIZE": value}) == Limits()
    assert ("OTEL_BSP_MAX_QUEUE_SIZE" in caplog.text) == bool(value)


def test_a_limit_that_lets_nothing_through_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="max_queue_bytes=0"):
        Limits(max_queue_bytes=0)
