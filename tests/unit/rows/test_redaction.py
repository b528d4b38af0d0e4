"""What is taken out of texts before anything is stored, what stays, and that no text takes long."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_obs.errors import ConfigurationError
from otel_obs.model import Decoded, Rejected, Span
from otel_obs.pipeline import hook, recorded
from otel_obs.pipeline.hook import MAX_STUCK, hook_named
from otel_obs.pipeline.ingest import Mapping, receive
from otel_obs.pipeline.mapping import mapping_of
from otel_obs.pricing.catalog import default_catalog
from otel_obs.receiver.export import Sent
from otel_obs.rows.build import RecordRows
from otel_obs.rows.redaction import PATTERNS, redact_by
from otel_obs.server import Gateway
from otel_obs.settings import REDACTED, Settings
from otel_obs.tenancy import Sender
from tests.builders import agent, chat, make_log, make_span
from tests.command import NO_SERVER
from tests.rows import RECEIVED_AT

ALL = redact_by(PATTERNS)
BODY = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH"
SECRETS = {
    "api_key": [
        f"sk-{BODY}", f"sk-ant-api03-{BODY}", f"sk-proj-{BODY}", f"sk_live_{BODY}", "AKIAIOSFODNN7EXAMPLE",
        f"AIza{BODY[:35]}", f"ghp_{BODY[:36]}", f"github_pat_{BODY}", f"glpat-{BODY[:20]}", "xoxb-123456789012-abcdef",
        f"hf_{BODY[:34]}", f"gsk_{BODY}", f"xai-{BODY}", f"r8_{BODY}", f"pplx-{BODY}", f"SG.{BODY[:22]}.{BODY}",
        f"oo_live_0123456789abcdef_{BODY}", f"npm_{BODY[:36]}",
    ],
    "token": [f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.{BODY}", f"Bearer {BODY}", f"bearer\t{BODY}"],
    "private_key": [
        f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\\n{BODY}", f"-----BEGIN OPENSSH PRIVATE KEY-----{BODY}",
    ],
    "email": ["dana@acme.example", "d.o'hara+x@mail.acme.co.uk".replace("'", ""), "jürgen@acme.example"],
    "card": ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "3782 822463 10005", "6011000990139424"],
    "phone": ["+1 (212) 555-0100", "+49 30 901820", "+447911123456", "212-555-0100", "(212) 555-0100"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "secret"), [(name, one) for name, found in SECRETS.items() for one in found])
@pytest.mark.parametrize("text", ["{}", "so {} it is", '{{"a": "{}", "b": 1}}', "(={})"])
def test_what_a_pattern_knows_is_taken_out(name: str, secret: str, text: str) -> None:
    for redact in (ALL, redact_by([name])):
        found = redact(text.format(secret))

        assert f"[{name}]" in found
        assert secret not in found
        assert BODY not in found


@pytest.mark.parametrize(
    "text",
    [
        "gpt-4o-mini-2024-07-18", "claude-sonnet-4-20250514", "chatcmpl-9xYz0123456789abcdef",
        "2026-11-25T04:07:39.123Z",
        "a risk-based, task-oriented desk-top", "1700000000000000000", "4111111111111112", "0.4111111111111111",
        "the bearer of news", "@staticmethod", "a@b", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "10.0.0.1:4317",
        "1 + 2 = 3",
        "4bf92f3577b34da6a3ce929d0e0e4736", "-----BEGIN CERTIFICATE-----", "sk-short", "100 200 3000", "2.5.4-rc.1",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert ALL(text) == text


def test_a_card_number_stays_one_before_its_code() -> None:
    assert ALL("4111 1111 1111 1111 123") == "[card] 123"


def test_private_keys_end_where_they_end_or_not_at_all() -> None:
    key = f"-----BEGIN PRIVATE KEY-----\n{BODY}\n-----END PRIVATE KEY-----"

    assert ALL(f"a {key} b {key} c") == "a [private_key] b [private_key] c"
    assert ALL(f"a -----BEGIN PRIVATE KEY----- b {BODY}") == "a [private_key]"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", PATTERNS)
def test_no_text_takes_long(name: str) -> None:
    """A third of a megabyte each: a pattern that is quadratic would take minutes here, and the time-out end it."""
    parts = [
        "a", "@", "a@", "a.", "a@a.", "@a.a", "%+-", "sk-", "sk-a ", "SG.", f"SG.{'a' * 64}", "eyJ", f"eyJ{'a' * 12}.",
        "Bearer ", "bearer  \t", "4", "4 ", "4111 ", "4111-1111-", "+1", "+1 (", "1-", "212-", "(212) ", "-----BEGIN ",
        "-----BEGIN PRIVATE KEY", "-----BEGIN A PRIVATE KEY-----END ", "-----END PRIVATE KEY-----", "ghp_", "\u00fc",
        "oo_live_",
    ]  # fmt: skip
    for part in parts:
        for end in ("", "@", "@a.", "!"):
            text = part * (300_000 // len(part)) + end
            assert isinstance(PATTERNS[name](text), str)


def test_each_pattern_can_be_chosen() -> None:
    assert set(REDACTED) == set(PATTERNS)
    assert Settings.from_env({"OTEL_OBS_REDACT": "email, card"}).redact == {"email", "card"}
    assert Settings.from_env({"OTEL_OBS_REDACT": "on"}).redact == set(PATTERNS)
    with pytest.raises(ConfigurationError, match="emails"):
        Settings.from_env({"OTEL_OBS_REDACT": "emails"})


def mapping(**settings: str) -> Mapping:
    return mapping_of(Settings.from_env({}, settings), default_catalog())


def stored(of: Mapping, *spans: Span) -> list[RecordRows]:
    return list(receive(Decoded(spans=list(spans)), Sender(), RECEIVED_AT, of).records)


SECRET = f"sk-{BODY}"
ASKED = json.dumps(
    [{"role": "user", "parts": [{"type": "text", "content": f"my key is {SECRET}, call +1 212 555 0100"}]}]
)


def test_secrets_are_in_no_row_and_ids_models_and_tokens_are() -> None:
    span = make_span(
        agent("writer", **{"gen_ai.input.messages": ASKED, "gen_ai.output.messages": ASKED, "url.full": f"/?k={SECRET}",
                           "user.id": "dana@acme.example", "user.email": "dana@acme.example",
                           "deep": {"list": [SECRET, 7]}}),
        resource={"service.name": "shop", "process.command_args": ["run", SECRET]},
    )  # fmt: skip
    call = make_span(chat(more={"gen_ai.input.messages": ASKED}))
    guarded = make_span({"gen_ai.operation.name": "guardrail", "otel_obs.guardrail.name": "g",
                         "otel_obs.guardrail.flagged_reference": SECRET})  # fmt: skip

    rows = stored(mapping(REDACT="on"), span, call, guarded)

    assert SECRET not in str(rows)
    assert "555 0100" not in str(rows)
    event = rows[0].event
    assert event.user_id == event.context["attributes"]["user.id"] == "dana@acme.example"
    assert event.context["attributes"]["user.email"] == "[email]"
    assert event.context["attributes"]["deep"] == {"list": ["[api_key]", 7]}
    assert rows[0].run is not None
    assert "[api_key]" in str(rows[0].run.input_context)
    assert rows[1].call is not None
    assert (rows[1].call.model_name, rows[1].call.input_tokens) == (
        stored(mapping(), call)[0].call.model_name, stored(mapping(), call)[0].call.input_tokens,  # type: ignore[union-attr]
    )  # fmt: skip
    (body,) = [row.body for row in rows[1].contents if row.part == "input"]
    assert body is not None
    assert json.loads(body)[0]["parts"][0]["content"] == "my key is [api_key], call [phone]"


def test_logs_are_redacted_and_refused_spans_keep_no_payload() -> None:
    found = receive(
        Decoded(logs=[make_log({}, body=f"failed for dana@acme.example with {SECRET}")],
                rejected=[Rejected("x", "traces", SECRET.encode())]),
        Sender(), RECEIVED_AT, mapping(REDACT="on"),
    )  # fmt: skip

    assert SECRET not in str(found)
    assert found.records[0].event.name == "failed for [email] with [api_key]"
    assert [(item.payload, item.format) for item in found.quarantined] == [(b"", "")]


def test_without_the_setting_nothing_is_touched() -> None:
    span = make_span(chat(more={"gen_ai.input.messages": ASKED}))

    assert SECRET in str(stored(mapping(), span))


def shout(text: str) -> str:
    return text.upper()


def fail(text: str) -> str:
    raise RuntimeError(text)


def give_nothing(_: str) -> str:
    return None  # type: ignore[return-value]


RELEASE = threading.Event()


def hang(text: str) -> str:
    RELEASE.wait(60)
    return text


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(hook, "WAIT_S", 0.05)
    RELEASE.clear()
    yield
    RELEASE.set()


def test_a_hook_has_the_last_word() -> None:
    span = make_span(chat(more={"gen_ai.input.messages": "say sk-nothing to dana@acme.example"}))

    (rows,) = stored(mapping(REDACT="on", REDACT_HOOK=f"{__name__}:shout"), span)

    assert [row.body for row in rows.contents] == ["SAY SK-NOTHING TO [EMAIL]"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", ["fail", "give_nothing", "hang"])
def test_a_hook_that_fails_costs_the_content_and_nothing_else(name: str, caplog: pytest.LogCaptureFixture) -> None:
    span = make_span(agent("writer", **{"gen_ai.input.messages": ASKED}))

    (rows,) = stored(mapping(REDACT_HOOK=f"{__name__}:{name}"), span)

    assert rows.contents == ()
    assert rows.event.context["flags"] == ["redaction_failed"]
    assert rows.event.node_name == "writer"
    assert SECRET not in str(rows)
    assert SECRET not in caplog.text


@pytest.mark.usefixtures("impatient")
def test_a_hook_that_hangs_is_not_asked_for_ever_and_asked_again_when_it_is_back() -> None:
    of = mapping(REDACT_HOOK=f"{__name__}:hang")
    span = make_span(chat(more={"gen_ai.input.messages": ASKED}))
    before = threading.active_count()

    for _ in range(MAX_STUCK + 5):
        assert stored(of, span)[0].contents == ()

    assert threading.active_count() <= before + MAX_STUCK
    RELEASE.set()
    until = time.monotonic() + 30
    while not stored(of, span)[0].contents:
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["", "nothing", "no.such.module:f", f"{__name__}:missing", f"{__name__}:BODY"])
def test_a_hook_that_is_none_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(ConfigurationError, match="OTEL_OBS_REDACT_HOOK"):
        hook_named(name)


def test_what_is_kept_on_disk_is_redacted(tmp_path: Path) -> None:
    settings = Settings.from_env(
        {}, {"DATA_DIR": str(tmp_path), "REDACT": "on", **{f"{n}_ENDPOINT": "127.0.0.1:0" for n in ("GRPC", "HTTP")}}
    )
    gateway = Gateway(settings, NO_SERVER)
    gateway.start()
    try:
        span = make_span(chat(more={"gen_ai.input.messages": ASKED}))
        sent = Sent(signal="traces", is_json=True, body=ASKED.encode(), sender=Sender())
        gateway.export(Decoded(spans=[span]), sent)
    finally:
        gateway.stop()

    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"[api_key]" in kept
    assert SECRET.encode() not in kept


def test_redacted_rows_come_back_from_disk_as_they_went() -> None:
    of = mapping(REDACT="on")
    found = receive(Decoded(spans=[make_span(chat(more={"gen_ai.input.messages": ASKED}))]), Sender(), RECEIVED_AT, of)

    assert recorded.from_bytes(recorded.to_bytes(found)) == found
