"""Several workers' metrics as one's."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from otel_obs.receiver.metrics import GatewayMetrics
from otel_obs.receiver.summed import Summed, exposition


def metrics(*, up: bool, lag_s: float, stored: int, reason: str) -> GatewayMetrics:
    found = GatewayMetrics()
    found.watch("otel_obs_database_up", "Is it?", lambda: up)
    found.watch("otel_obs_lag_seconds", "How old is it?", lambda: lag_s)
    found.watch("otel_obs_spool_bytes", "How much is it?", lambda: 100)
    found.stored.inc(stored)
    found.rejected.labels(reason).inc()
    found.commit_seconds.observe(0.2)
    return found


def lines(summed: Summed) -> dict[str, str]:
    text = exposition(summed.families(), CollectorRegistry()).decode()
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def test_counts_are_added_up_and_of_states_the_worst_is_told() -> None:
    summed = Summed()
    summed.heard(0, metrics(up=True, lag_s=3, stored=5, reason="a").families())
    summed.heard(1, metrics(up=False, lag_s=7, stored=6, reason="a").families())

    found = lines(summed)

    assert found["otel_obs_records_stored_total"] == "11.0"
    assert found['otel_obs_records_rejected_total{reason="a"}'] == "2.0"
    assert found['otel_obs_commit_seconds_bucket{le="0.25"}'] == "2.0"
    assert found["otel_obs_commit_seconds_count"] == "2.0"
    assert (found["otel_obs_database_up"], found["otel_obs_lag_seconds"]) == ("0.0", "7.0")
    assert found["otel_obs_spool_bytes"] == "200.0"
    assert found["otel_obs_workers"] == "2.0"


def test_what_ended_still_counts_and_holds_nothing() -> None:
    summed = Summed()
    summed.heard(0, metrics(up=True, lag_s=3, stored=5, reason="a").families())
    summed.heard(1, metrics(up=False, lag_s=7, stored=6, reason="b").families())

    for stored in (1, 2):  # it falls twice
        summed.ended(1)
        summed.heard(1, metrics(up=True, lag_s=0, stored=stored, reason="b").families())

    found = lines(summed)
    assert found["otel_obs_records_stored_total"] == "14.0"
    assert found['otel_obs_records_rejected_total{reason="b"}'] == "3.0"
    assert (found["otel_obs_database_up"], found["otel_obs_lag_seconds"]) == ("1.0", "3.0")
    assert found["otel_obs_spool_bytes"] == "200.0"


def test_the_sums_do_not_change_what_was_heard() -> None:
    summed = Summed()
    summed.heard(0, metrics(up=True, lag_s=0, stored=5, reason="a").families())

    assert lines(summed) == lines(summed)
