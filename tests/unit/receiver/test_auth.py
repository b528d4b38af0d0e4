"""Who is asking?  Keys in headers, what they allow, and what is known of them while the store is up, slow or down."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from otel_obs.errors import (
    KeyStoreUnavailableError,
    ObsError,
    PermissionDeniedError,
    TooManyAttemptsError,
    UnauthenticatedError,
)
from otel_obs.postgres.keys import StoredKey, new_key, presented
from otel_obs.receiver import known_keys
from otel_obs.receiver.auth import Authenticator, key_in, principal_of
from otel_obs.receiver.known_keys import KnownKeys

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=timezone.utc)
KEY, HELD = new_key()
OTHER, UNKNOWN = new_key()
GOOD = StoredKey(id=HELD.id, hash=HELD.hash, organization_id="acme", scopes=frozenset({"ingest"}))
SCANNER = re.compile(r"\boo_[0-9a-z]{16}_[0-9A-Za-z]{49}\b")


class Store:
    """Keeps keys in memory; does what it is told to, and remembers what it was asked."""

    def __init__(self, *keys: StoredKey) -> None:
        self.keys = {key.id: key for key in keys}
        self.asked: list[set[str]] = []
        self.touched: list[Mapping[str, datetime]] = []
        self.is_down = False
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.was_asked = threading.Event()

    def find(self, ids: Collection[str]) -> dict[str, StoredKey]:
        self.asked.append(set(ids))
        self.was_asked.set()
        assert self.may_answer.wait(20)
        if self.is_down:
            raise ConnectionError(KEY)
        return {key_id: self.keys[key_id] for key_id in ids if key_id in self.keys}

    def touch(self, used_at: Mapping[str, datetime]) -> None:
        self.touched.append(dict(used_at))


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Asking:
    """An authenticator over a store, and the clock of both."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Clock()
        self.refused: list[ObsError] = []
        self.authenticator = Authenticator(
            KnownKeys(store, clock=self.clock), refused=self.refused.append, now=lambda: NOW
        )
        self.authenticator.start()

    def ask(self, key: str = KEY, scope: str = "ingest") -> str:
        """Return the organization of *key*."""
        return self.authenticator.authenticate([("x-api-key", key)], scope).organization_id

    def answer(self, key: str = KEY) -> object:
        """Return the organization of *key*, or the class of the error."""
        try:
            return self.ask(key)
        except ObsError as error:
            return type(error)

    def pass_by(self, seconds: float) -> None:
        self.clock.now += seconds


@pytest.fixture
def start() -> Iterator[Callable[..., Asking]]:
    started: list[Asking] = []

    def start(*keys: StoredKey) -> Asking:
        started.append(Asking(Store(*keys)))
        return started[-1]

    yield start
    for asking in started:
        asking.store.may_answer.set()
        asking.authenticator.close()


def test_a_new_key_is_found_by_scanners_and_holds_256_random_bits() -> None:
    keys = {new_key()[0] for _ in range(200)}

    assert len(keys) == 200
    assert all(SCANNER.fullmatch(key) for key in keys)
    assert 62**43 >= 2**256


def test_what_is_kept_of_a_key_is_its_hash_and_its_id() -> None:
    assert HELD.hash == hashlib.sha256(KEY.encode()).digest()
    assert KEY.split("_")[1] == HELD.id
    assert presented(KEY) == HELD


@pytest.mark.parametrize(
    "text",
    [
        "", "oo_", KEY[:-1], KEY + "0", KEY.upper(), " " + KEY, KEY + "\n", KEY[:-1] + "é", KEY[:25] + "_" + KEY[26:],
        KEY[:30] + ("a" if KEY[30] != "a" else "b") + KEY[31:],
        KEY[:3] + ("a" if KEY[3] != "a" else "b") + KEY[4:],
    ],
    ids=["empty", "prefix", "cut off", "longer", "upper case", "space", "line end", "not ASCII", "underscore", "slip",
         "slip in the id"],
)  # fmt: skip
def test_what_cannot_be_a_key_is_known_without_asking(text: str) -> None:
    assert presented(text) is None


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", f"Bearer {KEY}")],
        [("authorization", f"bearer   {KEY} ")],
        [("x-api-key", KEY)],
        [("x-api-key", KEY), ("authorization", f"Bearer {KEY}")],
        [("authorization", "Basic dXNlcjpwYXNz"), ("x-api-key", KEY)],
        [("x-api-key", KEY), ("x-api-key", KEY), ("trace-bin", b"\x00")],
        [("authorization", f"Bearer {KEY}"), ("x-api-key", "")],
        [("authorization", ""), ("x-api-key", KEY)],
    ],
    ids=["bearer", "spaces", "x-api-key", "both", "beside a proxy's", "twice", "beside an empty x-api-key",
         "beside an empty authorization"],
)  # fmt: skip
def test_a_key_comes_in_either_header(headers: list[tuple[str, str | bytes]]) -> None:
    assert key_in(headers) == HELD


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", KEY)],
        [("authorization", f"Basic {KEY}")],
        [("authorization", "Bearer")],
        [("authorization", f"Bearer {KEY}"), ("x-api-key", OTHER)],
        [("x-api-key", KEY), ("x-api-key", OTHER)],
        [("x-api-key", "k\xff\x00")],
        [("x-api-key", KEY.encode())],
    ],
    ids=["none", "empty", "no scheme", "another scheme", "no token", "two", "two of a name", "noise", "bytes"],
)
def test_without_exactly_one_key_nobody_is_asking(headers: list[tuple[str, str | bytes]]) -> None:
    with pytest.raises(UnauthenticatedError):
        key_in(headers)


def test_a_key_says_organization_workspace_and_scopes() -> None:
    found = principal_of(replace(GOOD, workspace_id="w", is_bound=True), now=NOW)

    assert (found.organization_id, found.workspace_id, found.scopes) == ("acme", "w", frozenset({"ingest"}))


SECOND = timedelta(seconds=1)
REFUSED: dict[str, tuple[StoredKey, type[ObsError]]] = {
    "revoked": (replace(GOOD, revoked_at=NOW - SECOND), UnauthenticatedError),
    "expired": (replace(GOOD, expires_at=NOW), UnauthenticatedError),
    "of a deleted organization": (replace(GOOD, organization_id=None), PermissionDeniedError),
    "of a deleted organization, revoked": (replace(GOOD, organization_id=None, revoked_at=NOW), PermissionDeniedError),
    "of a deleted workspace": (replace(GOOD, is_bound=True), PermissionDeniedError),
    "without the scope": (replace(GOOD, scopes=frozenset({"read", "flags", "admin"})), PermissionDeniedError),
}


@pytest.mark.parametrize(("key", "error"), REFUSED.values(), ids=REFUSED)
def test_a_key_that_allows_nothing_here_is_refused_and_counted(
    key: StoredKey, error: type[ObsError], start: Callable[..., Asking]
) -> None:
    asking = start(key)

    with pytest.raises(error):
        asking.ask()

    assert [type(found) for found in asking.refused] == [error]


def test_a_key_expires_at_its_time_and_not_before() -> None:
    assert principal_of(replace(GOOD, expires_at=NOW + SECOND), now=NOW).organization_id == "acme"


def test_one_of_several_scopes_is_enough(start: Callable[..., Asking]) -> None:
    asking = start(GOOD)

    found = asking.authenticator.authenticate([("x-api-key", KEY)], "read", "ingest")

    assert found.key_id == HELD.id


def test_a_wrong_secret_is_told_the_same_as_an_unknown_key(start: Callable[..., Asking]) -> None:
    of_a_wrong_secret = start(replace(GOOD, hash=bytes(32)))
    of_an_unknown_key = start()

    for asking in (of_a_wrong_secret, of_an_unknown_key):
        with pytest.raises(UnauthenticatedError):
            asking.ask()

    assert str(of_a_wrong_secret.refused[0]) == str(of_an_unknown_key.refused[0])


def test_neither_a_key_nor_its_hash_is_in_what_is_printed() -> None:
    printed = f"{HELD!r} {GOOD!r} {principal_of(GOOD, now=NOW)!r}"

    assert KEY.split("_")[2] not in printed
    assert repr(HELD.hash) not in printed
    assert HELD.id in printed


def test_a_known_key_asks_the_store_once(start: Callable[..., Asking]) -> None:
    asking = start(GOOD)

    for _ in range(50):
        asking.ask()

    assert asking.store.asked == [{HELD.id}]


def test_an_unknown_key_asks_the_store_once_in_five_seconds(start: Callable[..., Asking]) -> None:
    asking = start()
    for _ in range(50):
        with pytest.raises((UnauthenticatedError, TooManyAttemptsError)):
            asking.ask()
    asked = len(asking.store.asked)

    asking.store.keys[HELD.id] = GOOD
    asking.pass_by(known_keys.MISSING_FRESH_S + 0.1)

    assert asked == 1
    assert asking.ask() == "acme"


def test_many_guesses_at_once_wait_for_few_questions(start: Callable[..., Asking]) -> None:
    asking = start()
    asking.store.may_answer.clear()
    refused: list[object] = []

    guesses = [threading.Thread(target=lambda: refused.append(asking.answer(new_key()[0]))) for _ in range(40)]
    guesses[0].start()
    assert asking.store.was_asked.wait(10)
    for thread in guesses[1:]:
        thread.start()
    asking.store.may_answer.set()
    for thread in guesses:
        thread.join()

    assert set(refused) <= {UnauthenticatedError, KeyStoreUnavailableError}
    assert len(refused) == 40
    assert len(asking.store.asked) < 20


def test_guesses_do_not_push_known_keys_out(start: Callable[..., Asking], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_keys, "MAX_MISSING", 10)
    monkeypatch.setattr(known_keys, "MAX_KNOWN", 10)
    asking = start(GOOD)
    asking.ask()

    for _ in range(50):
        with pytest.raises(UnauthenticatedError):
            asking.ask(new_key()[0])
    asked = len(asking.store.asked)
    asking.ask()

    assert len(asking.store.asked) == asked
    assert len(asking.authenticator._keys._missing) == 10


def test_the_keys_used_longest_ago_are_forgotten_first(
    start: Callable[..., Asking], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_keys, "MAX_KNOWN", 2)
    made = [new_key() for _ in range(3)]
    asking = start(*(replace(GOOD, id=held.id, hash=held.hash) for _, held in made))

    for number in (0, 1, 0, 2):
        asking.ask(made[number][0])
    asked = len(asking.store.asked)
    asking.ask(made[0][0])

    assert len(asking.store.asked) == asked
    asking.ask(made[1][0])
    assert len(asking.store.asked) == asked + 1


def test_a_revocation_counts_within_thirty_seconds(start: Callable[..., Asking]) -> None:
    asking = start(GOOD)
    asking.ask()
    asking.store.keys[HELD.id] = replace(GOOD, revoked_at=NOW)

    asking.pass_by(29)

    with pytest.raises(UnauthenticatedError, match="revoked"):
        asking.ask()


def test_known_keys_are_asked_for_again_before_they_are_old(start: Callable[..., Asking]) -> None:
    asking = start(GOOD)
    asking.ask()

    asking.pass_by(known_keys.REFRESH_S)
    asking.answer(OTHER)

    assert asking.store.asked[-1] == {HELD.id, UNKNOWN.id}


def test_a_key_that_is_gone_from_the_store_is_refused(start: Callable[..., Asking]) -> None:
    asking = start(GOOD)
    asking.ask()
    asking.store.keys.clear()

    asking.pass_by(29)

    with pytest.raises(UnauthenticatedError):
        asking.ask()


def test_while_the_store_is_down_a_known_key_goes_on(start: Callable[..., Asking]) -> None:
    asking = start(GOOD)
    asking.ask()
    asking.store.is_down = True

    for _ in range(5):
        asking.pass_by(3600)

        assert asking.ask() == "acme"


def test_while_the_store_is_down_an_unknown_key_is_told_to_come_again(start: Callable[..., Asking]) -> None:
    asking = start(GOOD)
    asking.store.is_down = True

    with pytest.raises(KeyStoreUnavailableError) as told:
        asking.ask()

    assert told.value.retryable


def test_a_key_that_was_not_there_before_the_store_went_down_is_not_called_wrong(
    start: Callable[..., Asking],
) -> None:
    asking = start(GOOD)
    with pytest.raises(UnauthenticatedError):
        asking.ask(OTHER)
    asking.store.is_down = True
    with pytest.raises(KeyStoreUnavailableError):
        asking.ask()

    with pytest.raises(KeyStoreUnavailableError):
        asking.ask(OTHER)


def test_while_the_store_is_down_a_wrong_secret_of_a_known_key_is_still_wrong(start: Callable[..., Asking]) -> None:
    asking = start(replace(GOOD, hash=bytes(32)))
    with pytest.raises(UnauthenticatedError):
        asking.ask()
    asking.store.is_down = True
    asking.pass_by(3600)

    with pytest.raises(UnauthenticatedError):
        asking.ask()


def test_while_the_store_is_down_a_key_expires_all_the_same() -> None:
    key = replace(GOOD, expires_at=NOW + SECOND)
    store, clock, now = Store(key), Clock(), [NOW]
    authenticator = Authenticator(KnownKeys(store, clock=clock), now=lambda: now[0])
    authenticator.start()
    try:
        authenticator.authenticate([("x-api-key", KEY)], "ingest")
        store.is_down = True
        clock.now += 3600
        now[0] += SECOND

        with pytest.raises(UnauthenticatedError, match="expired"):
            authenticator.authenticate([("x-api-key", KEY)], "ingest")
    finally:
        authenticator.close()


def test_a_store_that_hangs_counts_as_down_after_a_second(start: Callable[..., Asking]) -> None:
    asking = start(GOOD)
    asking.ask()
    asking.store.was_asked.clear()
    asking.store.may_answer.clear()
    answers: list[object] = []
    waiting = threading.Thread(target=lambda: answers.append(asking.answer(OTHER)))
    waiting.start()
    assert asking.store.was_asked.wait(10)

    asking.pass_by(3600)

    assert asking.ask() == "acme"
    assert asking.answer(new_key()[0]) is KeyStoreUnavailableError
    waiting.join()
    assert answers == [KeyStoreUnavailableError]


def test_the_store_is_asked_again_until_it_answers(start: Callable[..., Asking]) -> None:
    asking = start(GOOD)
    asking.store.is_down = True
    with pytest.raises(KeyStoreUnavailableError):
        asking.ask()
    asking.store.is_down = False
    asking.store.was_asked.clear()

    asking.pass_by(known_keys.RETRY_S)

    assert asking.store.was_asked.wait(10)
    until = time.monotonic() + 20
    while asking.answer() != "acme":
        assert time.monotonic() < until


def test_what_the_store_says_when_it_fails_is_not_logged(
    start: Callable[..., Asking], caplog: pytest.LogCaptureFixture
) -> None:
    asking = start(GOOD)
    asking.store.is_down = True

    with pytest.raises(KeyStoreUnavailableError):
        asking.ask()

    assert "ConnectionError" in caplog.text
    assert KEY not in caplog.text


def test_what_can_be_decided_at_once_is(start: Callable[..., Asking]) -> None:
    asking = start(GOOD)
    headers = [("x-api-key", KEY)]

    assert asking.authenticator.at_once(headers, "ingest") is None
    asking.ask()
    found = asking.authenticator.at_once(headers, "ingest")

    assert found is not None
    assert found.organization_id == "acme"
    with pytest.raises(UnauthenticatedError):
        asking.authenticator.at_once([], "ingest")
    with pytest.raises(PermissionDeniedError):
        asking.authenticator.at_once(headers, "admin")


def test_the_time_of_use_is_written_once_and_not_for_refused_requests(start: Callable[..., Asking]) -> None:
    asking = start(GOOD)
    for _ in range(50):
        asking.ask()
    with pytest.raises(PermissionDeniedError):
        asking.ask(scope="admin")
    with pytest.raises(UnauthenticatedError):
        asking.ask(OTHER)

    before = list(asking.store.touched)
    asking.authenticator.close()

    assert before == []
    assert asking.store.touched == [{HELD.id: NOW}]
