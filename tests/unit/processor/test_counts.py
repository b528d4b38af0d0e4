"""What is said to the log is said once in a while."""

from __future__ import annotations

import pytest

from otel_obs.processor.counts import WARN_EVERY_S, Announcer


def test_a_line_of_one_kind_is_written_again_only_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now = [1000.0]
    announcer = Announcer(lambda: now[0])

    for second in range(45):
        now[0] = 1000.0 + second
        announcer.warn("spans are lost: %s", second)
        announcer.warn("something else")

    kept = [f"spans are lost: {second}" for second in range(0, 45, int(WARN_EVERY_S))]
    assert [line for line in caplog.messages if "lost" in line] == kept
    assert caplog.messages.count("something else") == len(kept)
