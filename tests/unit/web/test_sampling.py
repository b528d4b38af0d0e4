"""What a tracestate says of sampling, by the examples of the specification."""

from __future__ import annotations

import pytest

from otel_obs.analytics.sampling import kept_share


@pytest.mark.parametrize(
    ("trace_state", "share"),
    [
        ("ot=th:0", 1.0),
        ("ot=th:8", 0.5),
        ("ot=th:c", 0.25),
        ("ot=th:4", 0.75),
        ("ot=th:e6666666666668", pytest.approx(0.1)),
        ("ot=th:fd70a4", pytest.approx(0.01, rel=1e-4)),
        ("ot=th:ffffffffffffff", 2**-56),
        ("ot=rv:6e6d1a75832a2f;th:c", 0.25),
        ("vendor=th:8,ot=p:8;th:c;x:1,b=2", 0.25),
        ("vendor=1, ot=th:c", 0.25),
    ],
)
def test_a_threshold_says_what_share_is_kept(trace_state: str, share: float) -> None:
    assert kept_share(trace_state) == share


@pytest.mark.parametrize(
    "trace_state",
    [
        None, "", "ot=rv:6e6d1a75832a2f", "ot=th:", "ot=th:xyz", "ot=th:fffffffffffffff", "ot=th:C", "rot=th:8",
        "a=ot;th:8", "ot=pth:8",
    ],
)  # fmt: skip
def test_what_is_no_threshold_says_nothing(trace_state: str | None) -> None:
    assert kept_share(trace_state) is None
