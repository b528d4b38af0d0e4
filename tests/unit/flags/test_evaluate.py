from __future__ import annotations

import hashlib
from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_obs.flags.evaluate import FlagSet, bucket, evaluate
from otel_obs.flags.model import BUCKETS, Evaluation, Flag, Subject, row_of, shares_of

NOW = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
ALICE = Subject("acme", "research", "alice")
USERS = [f"user-{number}" for number in range(10_000)]


def flag(name: str = "new", *, on: bool = True, rollout: dict[str, Any] | None = None, **more: Any) -> Flag:
    return Flag(flag_name=name, is_enabled=on, shares=shares_of(rollout), **more)


def asked(*flags: Flag, who: Subject = ALICE, name: str = "new", now: datetime = NOW) -> Evaluation:
    return evaluate(FlagSet(flags), name, who, now)


SCOPES: dict[str, dict[str, Any]] = {
    "global": {},
    "organization": {"organization_id": "acme"},
    "workspace": {"organization_id": "acme", "workspace_id": "research"},
    "user": {"organization_id": "acme", "user_id": "alice"},
}


@pytest.mark.parametrize("wider", range(len(SCOPES)), ids=list(SCOPES))
@pytest.mark.parametrize("narrower", range(len(SCOPES)), ids=list(SCOPES))
def test_the_narrower_scope_decides(wider: int, narrower: int) -> None:
    if narrower <= wider:
        return
    rows = [
        flag(on=False, **list(SCOPES.values())[wider]),
        flag(on=True, **list(SCOPES.values())[narrower]),
    ]

    found = asked(*rows)

    assert (found.is_enabled, found.scope) == (True, list(SCOPES)[narrower])


def test_a_user_in_one_workspace_comes_before_the_user_everywhere() -> None:
    everywhere = flag(on=False, organization_id="acme", user_id="alice")
    here = flag(organization_id="acme", workspace_id="research", user_id="alice", version=7)

    assert asked(everywhere, here).version == 7


@pytest.mark.parametrize(
    "who",
    [Subject("other", "research", "alice"), Subject("acme", "sales", "bob"), Subject(None, None, "alice")],
    ids=["organization", "workspace-and-user", "nobody's"],
)
def test_rows_of_others_do_not_count(who: Subject) -> None:
    rows = [flag(**SCOPES["workspace"]), flag(**SCOPES["user"])]

    found = asked(*rows, who=who)

    assert (found.is_enabled, found.scope, found.reason) == (False, "default", "DEFAULT")


def test_a_flag_that_only_others_have_is_as_unknown_as_one_that_nobody_has() -> None:
    found = asked(flag(organization_id="other"))

    assert (found.error_code, asked(name="nobody's").error_code) == ("FLAG_NOT_FOUND", "FLAG_NOT_FOUND")


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([flag(on=False)], "off"),
        ([flag(starts_at=NOW + timedelta(seconds=1))], "not started"),
        ([flag(expires_at=NOW)], "expired"),
        ([flag(killed=True), flag(**SCOPES["user"])], "killed for global"),
        ([flag(prerequisites=("base",))], "prerequisite base is off"),
        ([flag(prerequisites=("base",)), flag("base", on=False)], "prerequisite base is off"),
        ([flag(prerequisites=("base",)), flag(**SCOPES["user"])], "prerequisite base is off"),
    ],
    ids=["off", "not-started", "expired", "killed-above", "no-prerequisite", "prerequisite-off", "inherited"],
)
def test_what_is_off_says_why(rows: list[Flag], why: str) -> None:
    found = asked(*rows)

    assert (found.is_enabled, found.value, found.variant, found.reason) == (False, False, "off", "DISABLED")
    assert found.message == why


def test_a_flag_is_on_from_its_start_to_before_its_expiry() -> None:
    row = flag(starts_at=NOW, expires_at=NOW + timedelta(hours=1))

    moments = [NOW - timedelta(microseconds=1), NOW, NOW + timedelta(minutes=59), NOW + timedelta(hours=1)]

    assert [asked(row, now=moment).is_enabled for moment in moments] == [False, True, True, False]


def test_prerequisites_that_lead_in_a_circle_are_off_and_come_to_an_end() -> None:
    circle = [flag("new", prerequisites=("b",)), flag("b", prerequisites=("c",)), flag("c", prerequisites=("new",))]

    assert not asked(*circle).is_enabled
    assert not asked(flag(prerequisites=("new",))).is_enabled


def test_prerequisites_without_a_circle_are_followed_each_once() -> None:
    """A ladder of diamonds has 2**20 paths."""
    rows = [flag("step-20")]
    for number in range(20):
        rows += [
            flag(f"step-{number}", prerequisites=(f"left-{number}", f"right-{number}")),
            flag(f"left-{number}", prerequisites=(f"step-{number + 1}",)),
            flag(f"right-{number}", prerequisites=(f"step-{number + 1}",)),
        ]

    assert asked(*rows, name="step-10").is_enabled
    assert not asked(*rows, name="step-0").is_enabled  # deeper than is followed


def test_the_bucket_of_a_user_never_changes() -> None:
    """Whoever changes these numbers moves every user of every rollout."""
    assert [bucket("new", user) for user in ("alice", "bob", "", "\u00e9\u4e2d", "\ud800")] == [
        _by_hand("new", "alice"), _by_hand("new", "bob"), _by_hand("new", ""), _by_hand("new", "\u00e9\u4e2d"),
        _by_hand("new", "\ud800"),
    ]  # fmt: skip
    assert (bucket("new", "alice"), bucket("other", "alice")) == (97956, 56047)


def _by_hand(name: str, user: str) -> int:
    digits = hashlib.sha256((name + "\n" + user).encode(errors="surrogatepass")).hexdigest()[:8]
    return int(digits, 16) * 100_000 // 2**32


@pytest.mark.parametrize("percent", [0, 0.001, 1, 12.5, 50, 99.999, 100])
def test_a_share_of_the_users_gets_it(percent: float) -> None:
    row = flag(rollout={"on": percent})

    on = sum(asked(row, who=Subject("acme", None, user)).is_enabled for user in USERS)

    assert abs(on / len(USERS) - percent / 100) < 0.015


@settings(max_examples=30, deadline=None)
@given(st.integers(0, BUCKETS), st.integers(0, BUCKETS))
def test_a_larger_share_takes_nobody_out(first: int, second: int) -> None:
    smaller, larger = sorted((first, second))
    users = USERS[:200]

    before = {
        user
        for user in users
        if asked(
            Flag(flag_name="new", is_enabled=True, shares=(("on", smaller),)), who=Subject("acme", None, user)
        ).is_enabled
    }
    after = {
        user
        for user in users
        if asked(
            Flag(flag_name="new", is_enabled=True, shares=(("on", larger),)), who=Subject("acme", None, user)
        ).is_enabled
    }

    assert before <= after


def test_variants_share_the_users_whatever_the_order_of_their_names() -> None:
    variants = {"off": "gpt-4o-mini", "b": "gpt-4o", "a": "claude"}
    row = flag(variants=variants, rollout={"b": 20, "a": 30})

    found = Counter(asked(row, who=Subject("acme", None, user)).value for user in USERS)

    assert found["claude"] / len(USERS) == pytest.approx(0.3, abs=0.015)
    assert found["gpt-4o"] / len(USERS) == pytest.approx(0.2, abs=0.015)
    assert found["gpt-4o-mini"] / len(USERS) == pytest.approx(0.5, abs=0.015)
    again = flag(variants=dict(reversed(variants.items())), rollout={"a": 30, "b": 20})
    assert [asked(row, who=Subject("acme", None, user)) for user in USERS[:50]] == [
        asked(again, who=Subject("acme", None, user)) for user in USERS[:50]
    ]


def test_a_rollout_needs_to_know_who_asks_unless_it_is_for_all_or_none() -> None:
    nobody = Subject("acme")

    assert asked(flag(rollout={"on": 50}), who=nobody).error_code == "TARGETING_KEY_MISSING"
    assert asked(flag(rollout={"on": 100}), who=nobody).is_enabled
    assert not asked(flag(rollout={"on": 0}), who=nobody).is_enabled


def test_a_narrower_scope_has_the_variants_of_the_wider_one() -> None:
    wide = flag(variants={"red": "#f00", "blue": "#00f"}, rollout={"red": 100})
    narrow = flag(rollout={"blue": 100}, **SCOPES["user"])

    found = asked(wide, narrow)

    assert (found.value, found.variant, found.is_enabled) == ("#00f", "blue", True)


def test_a_variant_that_is_false_is_not_on() -> None:
    row = flag(variants={"treatment": True, "control": False}, rollout={"control": 100})

    assert (asked(row).is_enabled, asked(row).value) == (False, False)


@pytest.mark.parametrize(
    ("variants", "rollout", "prerequisites"),
    [
        ([], None, None),
        ({}, None, None),
        ({"a": 1, "b": "two"}, None, None),
        ({"a": None}, None, None),
        (None, {"on": 101}, None),
        (None, {"on": -1}, None),
        (None, {"on": 0.0001}, None),
        (None, {"on": "many"}, None),
        (None, {"on": True}, None),
        (None, {"on": 60, "off": 60}, None),
        (None, 25, None),
        (None, None, "base"),
        (None, None, [1]),
        ({"a": 1, "b": 2}, None, None),
        ({"a": 1}, {"c": 100}, None),
    ],
)
def test_what_cannot_be_read_is_an_error_of_that_flag_alone(variants: Any, rollout: Any, prerequisites: Any) -> None:
    broken = row_of(
        ("new", True, None, None, None, variants, rollout, prerequisites, None, None, False, None, None, 1, NOW)
    )

    found = asked(broken, flag("other"))

    assert (found.reason, found.error_code, found.is_enabled) == ("ERROR", "PARSE_ERROR", False)
    assert asked(broken, flag("other"), name="other").is_enabled


def test_the_mark_of_an_organization_changes_when_an_answer_to_it_may_and_only_then() -> None:
    ours, theirs = flag(organization_id="acme"), flag(organization_id="other")
    timed = flag("timed", starts_at=NOW + timedelta(hours=1))
    before = FlagSet([ours, theirs, timed]).mark("acme", NOW)

    assert FlagSet([timed, theirs, ours]).mark("acme", NOW) == before
    assert FlagSet([ours, timed]).mark("acme", NOW + timedelta(minutes=59)) == before
    assert FlagSet([ours, timed]).mark("acme", NOW + timedelta(hours=1)) != before
    assert FlagSet([flag(organization_id="acme", version=2), theirs, timed]).mark("acme", NOW) != before
    assert FlagSet([theirs, timed]).mark("acme", NOW) != before
