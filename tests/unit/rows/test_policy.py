"""Whose content is kept, of which traces, and what is left of it where it is masked."""

from __future__ import annotations

import itertools
import json
import secrets
from dataclasses import replace
from typing import Any

import pytest

from otel_obs.model import Decoded, Rejected, Span
from otel_obs.pipeline import recorded
from otel_obs.pipeline.accepted import PROTOBUF, ROWS, Accepted
from otel_obs.pipeline.ingest import Received, receive, under_rules
from otel_obs.rows.masking import masked
from otel_obs.rows.policy import KEEP, ContentRule, Policies, Rules, rule_of
from otel_obs.tenancy import Limits, Sender, TenantDefaults
from tests.builders import agent, chat, make_span
from tests.rows import MAPPING, RECEIVED_AT

CANARY = "the-canary-of-a-prompt-that-nobody-may-read"
SAID = json.dumps([
    {"role": "user", "parts": [{"type": "text", "content": f"say {CANARY}"}]},
    {"role": "assistant", "parts": [{"type": "tool_call", "id": CANARY, "name": "get_weather",
                                     "arguments": {"city": CANARY, "name": "Dana", "days": 4711, "exact": True}}]},
])  # fmt: skip
CONTENT = {"gen_ai.input.messages": SAID, "gen_ai.output.messages": SAID, "gen_ai.system_instructions": CANARY}
RULES = ("store", "drop", "mask", "sample:0", "sample:0.5", "sample:50", "sample:100")


def stored(rules: Rules, *spans: Span, sender: Sender | None = None) -> Received:
    mapping = replace(MAPPING, rules=lambda: rules)
    return receive(Decoded(spans=list(spans)), sender or Sender(organization_id="acme"), RECEIVED_AT, mapping)


def said(workspace: str | None = "blue", trace_id: str = "1" * 32) -> Span:
    named = {} if workspace is None else {"otel_obs.workspace.id": workspace}
    return make_span(agent("writer", **CONTENT, **named), trace_id=trace_id)


def rules(organization: str | None = None, base: str = "store", **workspaces: str) -> Rules:
    policies = Policies(
        {} if organization is None else {"acme": organization},
        {("acme", workspace): rule for workspace, rule in workspaces.items()},
    )
    return Rules(policies, rule_of(base))


@pytest.mark.parametrize("text", RULES)
def test_a_rule_says_what_it_keeps(text: str) -> None:
    share = {"store": 1.0, "drop": 0.0, "mask": 1.0}.get(text)

    found = rule_of(text)

    assert found.share == (float(text.partition(":")[2]) / 100 if share is None else share)
    assert found.is_masked == (text == "mask")
    assert found.keeps_all == (text in ("store", "sample:100"))


@pytest.mark.parametrize("text", ["Store", "sample", "sample:", "sample:101", "sample:-1", "sample:1e1", "keep"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        rule_of(text)


def test_the_strictest_of_setting_organization_and_workspace_holds() -> None:
    for found in itertools.product(RULES, repeat=3):
        setting, organization, workspace = map(rule_of, found)
        of = rules(found[1], base=found[0], blue=found[2])

        strictest = setting.stricter(organization).stricter(workspace)
        assert of.of("acme", "blue") == strictest
        assert of.of("acme", "green") == setting.stricter(organization)
        assert of.of("others", "blue") == setting
        assert of.anywhere_in("acme") == of.anywhere_in(None) == strictest


def test_all_of_a_trace_and_all_gateways_agree_on_a_sample_and_a_larger_one_holds_the_smaller() -> None:
    traces = [secrets.token_hex(16) for _ in range(2000)]
    chosen = {
        percent: {trace for trace in traces if rule_of(f"sample:{percent}").keeps(trace)} for percent in (1, 10, 50)
    }

    assert chosen[1] < chosen[10] < chosen[50]
    assert 120 < len(chosen[10]) < 290
    # Traces that a sampler kept by the digits of their ids are a sample of all of ours.
    kept = [trace for trace in traces if trace[16:] < "4"]
    assert any(trace in chosen[50] for trace in kept)
    assert any(trace not in chosen[50] for trace in kept)


def test_without_rules_content_is_as_it_was_sent() -> None:
    found = stored(rules(), said())

    assert CANARY in str(found)
    assert found.keeps_as_sent
    assert found.records[0].event.context.get("flags") is None


@pytest.mark.parametrize("text", ["drop", "mask", "sample:0"])
def test_what_is_not_kept_is_in_no_row_and_what_is_searched_by_is(text: str) -> None:
    span = said()
    plain = stored(rules(), span).records[0]

    (found,) = stored(rules(blue=text), span).records

    assert CANARY not in str(found)
    assert "Dana" not in str(found)
    assert "4711" not in str(found)
    assert found.event._replace(context={}) == plain.event._replace(context={})
    assert found.event.context["flags"] == ["content_masked" if text == "mask" else "content_dropped"]
    assert found.run is not None
    assert plain.run is not None
    assert found.run == plain.run._replace(
        input_context=found.run.input_context, output_summary=found.run.output_summary
    )
    if text == "mask":
        assert [(row.part, row.bytes) for row in found.contents] == [(row.part, row.bytes) for row in plain.contents]
        assert found.run.input_context is not None
    else:
        assert found.contents == ()
        assert (found.run.input_context, found.run.output_summary) == (None, None)


def test_calls_keep_model_tokens_and_cost() -> None:
    span = make_span(chat(more=CONTENT))

    ((found,), (plain,)) = stored(rules("drop"), span).records, stored(rules(), span).records

    assert found.call == plain.call
    assert found.call is not None
    assert found.call.cost_usd is not None


def test_what_a_guardrail_flagged_is_content() -> None:
    span = make_span({"gen_ai.operation.name": "guardrail", "otel_obs.guardrail.name": "g",
                      "otel_obs.guardrail.flagged_reference": CANARY})  # fmt: skip

    for text in ("drop", "mask"):
        (found,) = stored(rules(text), span).records

        assert CANARY not in str(found)
        assert found.check is not None
        assert found.check.guardrail_name == "g"
        assert (found.check.flagged_reference is None) == (text == "drop")


def test_masked_content_keeps_its_shape() -> None:
    found = json.loads(masked(SAID))

    digest = found[1]["parts"][0]["id"]
    assert digest.startswith(f"[masked: {len(CANARY)} characters; sha256 ")
    assert found == [
        {"role": "user", "parts": [{"type": "text", "content": found[0]["parts"][0]["content"]}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": digest, "name": "get_weather", "arguments":
         {"city": digest, "name": "[masked: 4 characters]", "days": 0, "exact": True}}]},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "yes", CANARY, f"{{{CANARY}", f'"{CANARY}"', "[" * 5000, '{"a": ' * 200 + "1" + "}" * 200]
)
def test_any_text_can_be_masked(text: str) -> None:
    assert CANARY not in masked(text)


def test_keys_that_are_no_names_are_content_too() -> None:
    assert CANARY not in masked(json.dumps({f"a {CANARY}!": 1, "role": CANARY, "type": CANARY, "name": CANARY}))


def test_what_was_masked_on_its_way_is_not_masked_again() -> None:
    of = rules("mask")
    found = stored(of, said())

    assert under_rules(found, replace(MAPPING, rules=lambda: of)) == found


def test_a_span_that_names_no_workspace_may_be_of_any() -> None:
    of = rules(secret="drop")

    assert CANARY in str(stored(of, said("blue")))
    assert CANARY not in str(stored(of, said(None)))
    assert CANARY in str(stored(of, said(None), sender=Sender(organization_id="acme", workspace_id="blue")))
    assert CANARY in str(stored(of, said(None), sender=Sender(organization_id="others")))


def test_a_request_rests_as_it_was_sent_only_if_nothing_in_it_may_be_under_a_rule() -> None:
    of = rules(blue="mask")

    assert not stored(of, said("green")).keeps_as_sent
    assert stored(of, said("green"), sender=Sender(organization_id="others")).keeps_as_sent
    assert not stored(of, said("green"), sender=Sender()).keeps_as_sent


@pytest.mark.parametrize("organization", ["acme", None])
def test_of_what_is_refused_nothing_is_kept_where_it_may_be_under_a_rule(organization: str | None) -> None:
    mapping = replace(MAPPING, rules=lambda: rules(blue="drop"))
    decoded = Decoded(rejected=[Rejected("trace_id:absent", "traces", CANARY.encode())])

    (found,) = receive(decoded, Sender(organization_id=organization), RECEIVED_AT, mapping).quarantined

    assert (found.payload, found.format) == (b"", "")


@pytest.mark.parametrize("encoding", [ROWS, PROTOBUF])
def test_what_was_on_disk_comes_under_the_rules_of_when_it_leaves(encoding: str) -> None:
    body = recorded.to_bytes(stored(rules(), said()))
    accepted = Accepted(
        signal="traces", encoding=encoding, body=body, sender=Sender(organization_id="acme"), defaults=TenantDefaults(),
        received_at=RECEIVED_AT, records=1,
    )  # fmt: skip

    found = accepted.received(replace(MAPPING, rules=lambda: rules("mask")))

    assert CANARY not in str(found)
    assert len(found.records) + len(found.quarantined) == 1


def test_policies_are_remembered_as_they_are() -> None:
    found = Policies({"acme": "drop"}, {("acme", "a b"): "sample:0.5"}, {"acme": Limits(max_bytes_per_day=7)})

    assert Policies.from_json(json.loads(json.dumps(found.as_json()))) == found
    bad: list[dict[str, Any]] = [
        {"organizations": {"acme": "perhaps"}, "workspaces": [], "limits": {}},
        {},
        {"organizations": []},
    ]
    for broken in bad:
        with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
            Policies.from_json(broken)


def test_rules_that_keep_all_cost_nothing() -> None:
    of: Any = Rules()

    assert of.keeps_all
    assert of.of("acme", "blue") is of.anywhere_in("acme") is KEEP
    assert not rules(blue="sample:99").keeps_all
    assert ContentRule(1.0).keeps("")
