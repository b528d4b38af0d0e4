"""Sealed bytes open where they were sealed, by whoever has the key, and nowhere else."""

from __future__ import annotations

import secrets
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_obs import sealing
from otel_obs.errors import ConfigurationError, KeysUnavailableError
from otel_obs.sealing import (
    ConfiguredKeys,
    DataKey,
    KeyService,
    SealedError,
    blinded,
    head_of,
    is_blinded,
    key_name_of,
    place_of,
    wrapper_of,
)

KEY = DataKey("a", bytes(range(32)))
PLACE = place_of("acme", "span_contents", "body", "1", "trace", "event", "input")
ids = st.text(st.characters(blacklist_categories=["Cc", "Cs"]), min_size=1, max_size=20)


@given(st.binary(max_size=2000), st.tuples(ids, ids, ids, ids))
def test_what_is_sealed_is_opened_again(plain: bytes, parts: tuple[str, str, str, str]) -> None:
    place = place_of(*parts)
    sealed = KEY.seal(plain, place)

    assert KEY.open(sealed, place) == plain
    assert key_name_of(sealed) == "a"
    assert len(plain) < 4 or plain not in sealed


def test_the_format_is_a_version_the_keys_name_a_nonce_and_the_ciphertext_with_its_tag() -> None:
    sealed = KEY.seal(b"four", PLACE)

    assert sealed.startswith(b"v1|a|")
    assert len(sealed) == 5 + 12 + 4 + 16


def test_two_seals_of_the_same_are_never_the_same() -> None:
    assert KEY.seal(b"same", PLACE) != KEY.seal(b"same", PLACE)


@given(st.tuples(ids, ids, ids, ids), st.tuples(ids, ids, ids, ids))
def test_two_places_never_have_one_name(one: tuple[str, str, str, str], other: tuple[str, str, str, str]) -> None:
    assert (place_of(*one) == place_of(*other)) == (one == other)


@pytest.mark.parametrize(
    "place",
    [
        place_of("others", "span_contents", "body", "1", "trace", "event", "input"),
        place_of("acme", "quarantine", "body", "1", "trace", "event", "input"),
        place_of("acme", "span_contents", "else", "1", "trace", "event", "input"),
        place_of("acme", "span_contents", "body", "1", "trace", "event", "output"),
        place_of("acme", "span_contents", "body", "2", "trace", "event", "input"),
    ],
    ids=["organization", "table", "column", "part", "time"],
)
def test_it_does_not_open_elsewhere(place: bytes) -> None:
    with pytest.raises(SealedError) as caught:
        KEY.open(KEY.seal(b"secret", PLACE), place)
    assert caught.value.reason == "undecryptable"


def opened(sealed: bytes) -> bytes:
    return DataKey(key_name_of(sealed), bytes(range(32))).open(sealed, PLACE)


@given(st.data())
def test_a_flipped_bit_or_a_cut_is_an_error(data: st.DataObject) -> None:
    sealed = bytearray(KEY.seal(b"something secret", PLACE))
    position = data.draw(st.integers(0, len(sealed) - 1))
    if data.draw(st.booleans()):
        sealed[position] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del sealed[position:]

    with pytest.raises(SealedError):
        opened(bytes(sealed))


@given(st.binary(max_size=40))
def test_any_bytes_have_the_name_of_a_key_or_are_an_error(garbage: bytes) -> None:
    try:
        name = key_name_of(garbage)
    except SealedError:
        return
    assert name


def test_another_key_does_not_open() -> None:
    with pytest.raises(SealedError):
        DataKey("a", secrets.token_bytes(32)).open(KEY.seal(b"secret", PLACE), PLACE)


def test_the_first_key_wraps_and_all_unwrap() -> None:
    old, new = ("old", secrets.token_bytes(32)), ("new", secrets.token_bytes(32))
    wrapped = ConfiguredKeys([old]).wrap(b"data key", PLACE)
    both = ConfiguredKeys([new, old])

    assert both.name == "new"
    assert both.unwrap("old", wrapped, PLACE) == b"data key"
    assert b"data key" not in wrapped
    with pytest.raises(KeyError):
        ConfiguredKeys([new]).unwrap("old", wrapped, PLACE)
    with pytest.raises(SealedError):
        both.unwrap("old", wrapped, PLACE + b"elsewhere")


def test_equal_hashes_stay_equal_for_one_organization_and_say_nothing_to_another() -> None:
    digest = "0123456789abcdef"

    assert blinded(b"one", digest) == blinded(b"one", digest) != blinded(b"two", digest)
    assert len(blinded(b"one", digest)) == len(digest)
    assert is_blinded(blinded(b"one", digest))
    assert not is_blinded(digest)


def test_without_keys_nothing_is_sealed() -> None:
    assert wrapper_of([]) is None


class Down:
    name = "kms"

    def wrap(self, key: bytes, place: bytes) -> bytes:
        raise TimeoutError(key, place)

    def unwrap(self, name: str, wrapped: bytes, place: bytes) -> bytes:
        raise (KeyError if name == "gone" else TimeoutError)(wrapped, place)


def test_a_key_service_that_fails_is_unavailable_and_its_message_says_no_key() -> None:
    service = KeyService(Down())

    with pytest.raises(KeysUnavailableError, match="TimeoutError") as caught:
        service.wrap(b"secret", PLACE)
    assert "secret" not in str(caught.value)
    assert caught.value.retryable
    with pytest.raises(KeysUnavailableError):
        service.unwrap("kms", b"", PLACE)
    with pytest.raises(KeyError):
        service.unwrap("gone", b"", PLACE)


@pytest.mark.parametrize("hook", ["nowhere:factory", "otel_obs.sealing:nothing", "json", "otel_obs.sealing:head_of"])
def test_a_hook_that_is_none_is_told(hook: str) -> None:
    with pytest.raises(ConfigurationError, match="OTEL_OBS_KMS_HOOK"):
        wrapper_of([("a", bytes(32))], hook)


def test_a_name_of_a_key_may_be_long() -> None:
    assert key_name_of(head_of("n" * 200) + b"x") == "n" * 200


class Hanging(Down):
    def __init__(self) -> None:
        self.go_on = threading.Event()

    def unwrap(self, name: str, wrapped: bytes, place: bytes) -> bytes:
        del place
        if name == "kms":
            self.go_on.wait(30)
        return wrapped


def test_a_key_service_that_hangs_is_not_waited_for_and_not_asked_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "SERVICE_WITHIN_S", 0.01)
    hanging = Hanging()
    service = KeyService(hanging)
    try:
        for _ in range(sealing.MAX_HANGING):
            with pytest.raises(KeysUnavailableError):
                service.unwrap("kms", b"", PLACE)
        with pytest.raises(KeysUnavailableError):
            service.unwrap("another", b"", PLACE)
    finally:
        hanging.go_on.set()


def test_what_configured_keys_wrapped_is_unwrapped_after_a_service_has_taken_over() -> None:
    before = ConfiguredKeys([("a", bytes(32))])
    wrapped = before.wrap(b"data key", PLACE)

    assert KeyService(Down(), before).unwrap("a", wrapped, PLACE) == b"data key"
