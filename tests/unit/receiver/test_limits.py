"""How fast an organization may send, and how often a wrong key may be tried."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from otel_obs.errors import ObsError, RateLimitedError, TooManyAttemptsError
from otel_obs.postgres.keys import Attempted
from otel_obs.receiver.attempts import AT_ONCE, EVERY_S, NOTED_AT_ONCE, Attempts, address_of, site_of
from otel_obs.receiver.auth import Principal
from otel_obs.receiver.limits import BURST_S, RateLimits
from otel_obs.receiver.status import answer_to
from otel_obs.tenancy import Limits


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limits_of(clock: Clock, parts: int = 1, **limits: int) -> RateLimits:
    found = {"acme": Limits(**limits)}
    return RateLimits(lambda name: found.get(name, Limits()), "acme", parts, now=clock)


def taken(limits: RateLimits, clock: Clock, *, spans: int, seconds: int, every_s: float = 0.05) -> int:
    """Return how many spans are taken of requests of *spans* that come all the time."""
    found, until = 0, clock.now + seconds
    while clock.now < until:
        try:
            limits.take("acme", spans=spans, size=0)
            found += spans
        except RateLimitedError:
            pass
        clock.now += every_s
    return found


@pytest.mark.parametrize("spans", [1, 10, 100, 1000])
def test_over_time_no_more_than_the_rate_gets_in_and_requests_of_any_size_do(spans: int) -> None:
    clock = Clock()
    limits = limits_of(clock, max_spans_per_second=100)

    found = taken(limits, clock, spans=spans, seconds=100, every_s=spans / 1000)

    assert 100 * 100 * 0.95 <= found <= 100 * (100 + BURST_S) + spans


def test_several_processes_share_a_limit() -> None:
    clock = Clock()

    assert taken(limits_of(clock, parts=4, max_spans_per_second=100), clock, spans=1, seconds=100, every_s=0.01) < 2700


def test_who_is_in_debt_is_told_when_to_come_and_nothing_more_is_taken_of_it() -> None:
    clock = Clock()
    refused: list[ObsError] = []
    limits = limits_of(clock, max_bytes_per_second=1000)
    limits.refused = refused.append
    holder = Principal(key_id="k", organization_id="acme", scopes=frozenset())
    limits.admit(holder)
    limits.read(holder, 5000)

    for late, wait_s in ((0, 2), (2.5, 1)):
        clock.now = 1000.0 + late
        with pytest.raises(RateLimitedError) as told:
            limits.admit(None)
        answer = answer_to(told.value)
        assert (answer.http, answer.grpc, answer.retry_after_s, told.value.reason) == (429, 14, wait_s, "bytes")
    clock.now += 1
    limits.admit(holder)
    assert len(refused) == 2


def test_an_organization_takes_nothing_of_another_and_one_without_a_limit_is_never_asked() -> None:
    clock = Clock()
    limits = limits_of(clock, max_spans_per_second=1)
    limits.take("acme", spans=10, size=1)

    for _ in range(100):
        limits.take("others", spans=10**9, size=10**12)
    with pytest.raises(RateLimitedError):
        limits.take("acme", spans=1, size=1)


def test_a_limit_that_is_raised_counts_at_once() -> None:
    clock = Clock()
    found = {"acme": Limits(max_spans_per_second=1)}
    limits = RateLimits(found.__getitem__, now=clock)
    limits.take("acme", spans=1000, size=0)
    with pytest.raises(RateLimitedError):
        limits.take("acme", spans=1, size=0)

    found["acme"] = Limits(max_spans_per_second=100_000)
    clock.now += 1

    limits.take("acme", spans=1, size=0)


def failures(attempts: Attempts, count: int, address: str = "192.0.2.1", key: str = "") -> int:
    """Return how many of so many failures are told to be too many."""
    found = 0
    for _ in range(count):
        try:
            attempts.failed(address, key, "acme" if key else None)
        except TooManyAttemptsError:  # noqa: PERF203  # each is its own
            found += 1
    return found


def noted(attempts: Attempts) -> list[Attempted]:
    found: list[Attempted] = []
    attempts.write(found.extend)
    return found


def test_failures_of_an_address_are_limited_and_noted_once() -> None:
    clock = Clock()
    attempts = Attempts(clock)

    assert failures(attempts, AT_ONCE) == 0
    assert failures(attempts, 1000) == 1000
    (note,) = noted(attempts)
    assert (note.kind, note.name, note.address, note.organization_id) == ("address", "192.0.2.1", "192.0.2.1", None)
    assert note.failures == AT_ONCE + 1
    assert failures(attempts, 5, address="192.0.2.2") == 0
    clock.now += EVERY_S * 3
    assert failures(attempts, 5) == 2
    assert noted(attempts) == []


def test_failures_for_a_key_are_limited_wherever_they_come_from() -> None:
    attempts = Attempts(Clock())

    for number in range(AT_ONCE):
        assert failures(attempts, 1, address=f"192.0.2.{number}", key="k") == 0
    assert failures(attempts, 1, address="198.51.100.1", key="k") == 1
    assert failures(attempts, 1, address="198.51.100.1", key="other") == 0

    (note,) = noted(attempts)
    assert (note.kind, note.name, note.address, note.organization_id) == ("key", "k", "198.51.100.1", "acme")


def test_who_has_many_addresses_fills_no_audit_log_nor_memory() -> None:
    clock = Clock()
    attempts = Attempts(clock)

    for number in range(200):
        failures(attempts, AT_ONCE + 1, address=f"10.0.0.{number}")

    assert len(noted(attempts)) == NOTED_AT_ONCE
    for number in range(25_000):
        failures(attempts, 1, address=f"10.{number // 65536}.{number // 256 % 256}.{number % 256}")
    assert len(attempts._failing) <= 10_000


def test_a_note_that_cannot_be_written_is_written_later() -> None:
    attempts = Attempts(Clock())
    failures(attempts, AT_ONCE + 1)

    def away(_: Sequence[Attempted]) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        attempts.write(away)
    assert len(noted(attempts)) == 1


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"), ("", ""), ("no address", "no address"),
    ],
)  # fmt: skip
def test_a_network_of_ipv6_counts_as_one(address: str, site: str) -> None:
    assert site_of(address) == site


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("ipv4:192.0.2.1:5", [], (), "192.0.2.1"),
        ("ipv6:%5B::1%5D:5", [], (), "::1"),
        ("unix:", ["192.0.2.1"], ("127.0.0.1/32",), ""),
        ("ipv4:10.0.0.1:5", ["192.0.2.1"], (), "10.0.0.1"),
        ("ipv4:10.0.0.1:5", ["192.0.2.1"], ("10.0.0.0/8",), "192.0.2.1"),
        ("ipv4:10.0.0.1:5", ["203.0.113.9, 192.0.2.1", "10.0.0.2"], ("10.0.0.0/8",), "192.0.2.1"),
        ("ipv4:192.0.2.7:5", ["203.0.113.9"], ("10.0.0.0/8",), "192.0.2.7"),
    ],
)  # fmt: skip
def test_only_a_trusted_proxy_says_who_called(
    peer: str, forwarded: list[str], trusted: tuple[str, ...], address: str
) -> None:
    assert address_of(peer, forwarded, trusted) == address
