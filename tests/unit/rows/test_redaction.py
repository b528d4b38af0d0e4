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
from otel_obs.rows.redaction import PATTERNS, Redaction
from otel_obs.server import Gateway
from otel_obs.settings import REDACTED, Settings
from otel_obs.tenancy import Sender
from tests.builders import agent, chat, make_log, make_span
from tests.command import NO_SERVER
from tests.rows import RECEIVED_AT

ALL = Redaction(PATTERNS)
BODY = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH"
SECRETS = {
    "api_key": [
        f"sk-{BODY}", f"sk-ant-api03-{BODY}", f"sk-proj-{BODY}", f"sk_live_{BODY}", "AKIAIOSFODNN7EXAMPLE",
        f"AIza{BODY[:35]}", f"ghp_{BODY[:36]}", f"github_pat_{BODY}", f"glpat-{BODY[:20]}", "xoxb-123456789012-abcdef",
        f"hf_{BODY[:34]}", f"gsk_{BODY}", f"xai-{BODY}", f"r8_{BODY}", f"pplx-{BODY}", f"SG.{BODY[:22]}.{BODY}",
        f"oo_live_0123456789abcdef_{BODY}", f"npm_{BODY[:36]}", f"oo_0123456789abcdef_{BODY}", f"lsv2_pt_{BODY}",
        f"pcsk_{BODY}", f"dop_v1_{BODY}", f"dapi{'0123456789abcdef' * 2}", f"hvs.{BODY}", f"glsa_{BODY}",
        f"nvapi-{BODY}", f"ya29.{BODY}", f"hooks.slack.com/services/T0123/B0123/{BODY}", f"ATATT3{BODY}{BODY}",
    ],
    "token": [f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.{BODY}", f"Bearer {BODY}", f"bearer\t{BODY}"],
    "private_key": [
        f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\\n{BODY}", f"-----BEGIN OPENSSH PRIVATE KEY-----{BODY}",
    ],
    "email": [
        "dana@acme.example", "d.o'hara+x@mail.acme.co.uk".replace("'", ""), "jürgen@acme.example",
        "dana@münchen.example", "dana@mail.acme.museum",
    ],
    "card": [
        "4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "3782 822463 10005", "6011000990139424",
        "3056 930902 5904", "6304000000000000", "4222222222222",
    ],
    "phone": ["+1 (212) 555-0100", "+49 30 901820", "+447911123456", "212-555-0100", "(212) 555-0100", "1-800-555-0199",
              "+44 (0)20 7946 0958", "0049 30 901820", "212.555.0100"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "secret"), [(name, one) for name, found in SECRETS.items() for one in found])
@pytest.mark.parametrize("text", ["{}", "so {} it is", '{{"a": "{}", "b": 1}}', "(={})", "it is\\n{}\\n", "\\u00fc{} "])
def test_what_a_pattern_knows_is_taken_out(name: str, secret: str, text: str) -> None:
    for redact in (ALL, Redaction([name])):
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
        "password: required", "api_key: str = None", "secret_key=os.environ['X1']", "access_token: string",
        "max_tokens=1024", "cache_key=user_profile_v2", "next_page_token=abc123", "pwd && ls -l", "accesskey",
        "https://example.org:8080/a@b", "basic internationalization", "@types/node@18.0.0", "user@2.0.1", "a@b.c",
        "0012345678", "2026-11-25T00:49:30", "1,000,000", "00:11:22:33:44:55", "41111111111111111111111",
        "task-force-for-the-whole-of-the-company", "a risk-assessment-of-everything-there-is",
        "192.168.100.200:5432", "3.14159265358979", "SKU 4111-1111", "+1", "1 + 1234567",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert ALL(text) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("DB_PASSWORD=correct7horse", "DB_PASSWORD=[token]"),
        ('{"api_key": "abcd1234efgh5678"}', '{"api_key": "[token]"}'),
        ('{\\"client_secret\\": \\"8Q~abcdEFGH1234\\"}', '{\\"client_secret\\": \\"[token]\\"}'),
        ("AWS_SECRET_ACCESS_KEY = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AWS_SECRET_ACCESS_KEY = [token]"),
        ("AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;End",
         "AccountKey=[token];End"),
        ("postgresql://bob:s3cr3t@db.example/x", "postgresql://bob:[token]@db.example/x"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "Authorization: Basic [token]"),
    ],
)  # fmt: skip
def test_what_is_called_a_secret_is_taken_out_and_its_name_stays(text: str, found: str) -> None:
    assert ALL(text) == found


@pytest.mark.parametrize("secret", [one for found in SECRETS.values() for one in found if "PRIVATE KEY" not in one])
def test_json_stays_json(secret: str) -> None:
    for text in (f"so\n{secret}\n", f"\t{secret}", f"ü {secret}", f"a\\{secret}"):
        for is_ascii in (True, False):
            body = json.dumps([{"parts": [{"content": text}]}], ensure_ascii=is_ascii)

            assert secret not in json.dumps(json.loads(ALL(body)))


def test_a_card_number_stays_one_before_its_code() -> None:
    assert ALL("4111 1111 1111 1111 123") == "[card] 123"


def test_private_keys_end_where_they_end_or_not_at_all() -> None:
    key = f"-----BEGIN PRIVATE KEY-----\n{BODY}\n-----END PRIVATE KEY-----"

    assert ALL(f"a {key} b {key} c") == "a [private_key] b [private_key] c"
    assert ALL(f"a -----BEGIN PRIVATE KEY----- b {BODY}") == "a [private_key]"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", PATTERNS)
def test_no_text_takes_long(name: str) -> None:
    """A megabyte each: a pattern that is quadratic would take hours here, and the time-out end it."""
    parts = [
        "a", "@", "a@a.", "@a.a", "%+-", "sk-", "sk-a ", "ask-", "SG.", f"SG.{'a' * 64}", "eyJ", f"eyJ{'a' * 12}.",
        "Bearer ", "bearer  \t", "4", "4 ", "4111-1111-", "+1 (", "1-", "212-", "(212) ", "-----BEGIN ",
        "-----BEGIN PRIVATE KEY", "-----BEGIN A PRIVATE KEY-----END ", "ghp_", "\u00fc", "oo_live_", "\\n", "\\na",
        "\\n4", "\\", "://", "://a:", "://a:a", "password", "password=", "api_key: ", "secret_", "access_access_",
        "authorization: basic ", "authorization ", "00", "0049 ", "hooks.slack.com/services/", "\\u00fca@",
    ]  # fmt: skip
    for part in parts:
        assert isinstance(PATTERNS[name](part * (1_000_000 // len(part)) + "@a."), str)


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


def test_ids_and_names_keep_everything_but_credentials() -> None:
    """What is searched by stays; a name that people have is none of them."""
    span = make_span(
        agent(SECRET, **{"user.id": "dana@acme.example", "session.id": f"Bearer {BODY}",
                         "user.name": "dana@acme.example",
                         "enduser.id": "+49 30 901820", "gen_ai.agent.id": f"a {SECRET}", "tool.name": SECRET,
                         "gen_ai.conversation.id": f"at {SECRET}"}),
    )  # fmt: skip

    (rows,) = stored(mapping(REDACT="on"), span)

    assert SECRET not in str(rows)
    assert BODY not in str(rows)
    found = rows.event.context["attributes"]
    assert (rows.event.user_id, found["enduser.id"]) == ("dana@acme.example", "+49 30 901820")
    assert (found["user.name"], found["tool.name"], found["session.id"]) == ("[email]", "[api_key]", "Bearer [token]")
    assert rows.event.conversation_id == "at [api_key]"


def test_what_stands_under_the_name_of_a_secret_is_one_unless_it_is_words() -> None:
    """The SDK of Paid sends its own key as ``token``; instrumentations of HTTP send headers that are asked for."""
    secret = "p4id" + BODY[:12]
    span = make_span(
        agent("writer", **{"token": secret, "http.request.header.x-api-key": [secret], "db": {"password": secret},
                           "app.secret": "required", "access_token": "see the docs, page 4", "next.token": 983451234,
                           "gen_ai.token.type": "input1 2"}),
    )  # fmt: skip

    (rows,) = stored(mapping(REDACT="on"), span)
    (emails_only,) = stored(mapping(REDACT="email"), span)

    assert secret not in str(rows)
    found = rows.event.context["attributes"]
    assert (found["token"], found["http.request.header.x-api-key"]) == ("[token]", ["[token]"])
    assert found["db"] == {"password": "[token]"}
    assert (found["app.secret"], found["access_token"]) == ("required", "see the docs, page 4")
    assert (found["next.token"], found["gen_ai.token.type"]) == (983451234, "input1 2")
    assert emails_only.event.context["attributes"]["token"] == secret


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
