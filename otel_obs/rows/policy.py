"""How much of whose content is kept, and what is left of rows whose content is not.

An operator's setting, an organization and a workspace may each have a rule; the strictest holds. A rule is a share of
traces whose content is kept, and whether it is masked. Which traces these are is told by a hash of their id: all spans
of a trace and all gateways agree, and a sampler that chooses by the id's own digits leaves no bias.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from otel_obs.rows.build import RecordRows
from otel_obs.rows.masking import digest_of, masked
from otel_obs.rows.summary import input_context, summary
from otel_obs.rows.tables import AgentRunRow, ContentRow
from otel_obs.settings import CONTENT_RULE
from otel_obs.tenancy import Limits

DROPPED, MASKED = "content_dropped", "content_masked"
"""Flags of events whose content a rule does not keep."""


@dataclass(frozen=True, slots=True)
class ContentRule:
    """What of content is kept."""

    share: float = 1.0
    """Of all traces, those whose content is kept: from 0 to 1."""
    is_masked: bool = False
    """Kept without what it says."""

    @property
    def keeps_all(self) -> bool:
        """Tell whether content is kept as it is."""
        return self.share >= 1 and not self.is_masked

    def stricter(self, other: ContentRule) -> ContentRule:
        """Return what both allow."""
        return ContentRule(min(self.share, other.share), self.is_masked or other.is_masked)

    def keeps(self, trace_id: str) -> bool:
        """Tell whether content of the trace is kept, masked or not."""
        if self.share >= 1 or self.share <= 0:
            return self.share > 0
        return int.from_bytes(hashlib.sha256(trace_id.encode()).digest()[:7], "big") < self.share * 2**56


KEEP = ContentRule()


def rule_of(text: str | None) -> ContentRule:
    """Return what *text* says: ``store``, ``drop``, ``mask`` or ``sample:PERCENT``; None says ``store``.

    Raises:
        ValueError: it says nothing of the kind.
    """
    if text is None or text == "store":
        return KEEP
    if not re.fullmatch(CONTENT_RULE, text):
        raise ValueError(text)
    if text == "mask":
        return ContentRule(is_masked=True)
    return ContentRule(0.0 if text == "drop" else float(text.partition(":")[2]) / 100)


@dataclass(frozen=True, slots=True)
class Policies:
    """What holds for whom, as of one moment."""

    organizations: Mapping[str, str] = field(default_factory=dict)
    """Organization -> its rule, where it has one."""
    workspaces: Mapping[tuple[str, str], str] = field(default_factory=dict)
    limits: Mapping[str, Limits] = field(default_factory=dict)
    """Organization -> its own limits, where it has some."""

    def as_json(self) -> dict[str, Any]:
        """Return it as ``from_json`` reads it."""
        return {
            "organizations": dict(self.organizations),
            "workspaces": [[*key, rule] for key, rule in self.workspaces.items()],
            "limits": {name: limits.as_json() for name, limits in self.limits.items()},
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Policies:
        """Return what ``as_json`` said.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it did not.
        """
        policies = cls(
            dict(found["organizations"]),
            {(organization, workspace): rule for organization, workspace, rule in found["workspaces"]},
            {name: Limits(**limits) for name, limits in found["limits"].items()},
        )
        Rules(policies)
        return policies


class Rules:
    """What holds for whom, with the operator's setting: asked for each span."""

    def __init__(self, policies: Policies | None = None, base: ContentRule = KEEP) -> None:
        """Make it.

        Raises:
            ValueError: a rule says nothing.
        """
        found = policies or Policies()
        self._base = base
        organizations = {name: base.stricter(rule_of(rule)) for name, rule in found.organizations.items()}
        workspaces = {key: rule_of(rule) for key, rule in found.workspaces.items()}
        own: dict[str, list[ContentRule]] = {}
        for (organization, _), rule in workspaces.items():
            own.setdefault(organization, []).append(rule)
        self._organizations = organizations
        self._workspaces = {key: organizations.get(key[0], base).stricter(rule) for key, rule in workspaces.items()}
        self._anywhere = {
            name: _strictest((organizations.get(name, base), *rules)) for name, rules in own.items()
        } | {name: rule for name, rule in organizations.items() if name not in own}  # fmt: skip
        self._strictest = _strictest((base, *self._anywhere.values()))
        self.keeps_all = self._strictest.keeps_all

    def of(self, organization_id: str, workspace_id: str) -> ContentRule:
        """Return the rule of a workspace."""
        found = self._workspaces.get((organization_id, workspace_id))
        return self._organizations.get(organization_id, self._base) if found is None else found

    def anywhere_in(self, organization_id: str | None) -> ContentRule:
        """Return the strictest rule of an organization's workspaces, or of all there are: for who names none."""
        if organization_id is None:
            return self._strictest
        return self._anywhere.get(organization_id, self._base)


def _strictest(rules: Iterable[ContentRule]) -> ContentRule:
    return reduce(ContentRule.stricter, rules)


def restricted(rows: RecordRows, rule: ContentRule) -> RecordRows:
    """Return *rows* with what *rule* keeps of their content; an event that lost some says so."""
    if rule.keeps_all or not _has_content(rows):
        return rows
    event = rows.event
    if not rule.keeps(event.trace_id or event.event_id):
        return _flagged(_without_content(rows), DROPPED)
    if not rule.is_masked or MASKED in event.context.get("flags", ()):
        return rows
    contents = tuple(map(_masked_row, rows.contents))
    check = rows.check
    if check is not None and check.flagged_reference is not None:
        check = check._replace(flagged_reference=masked(check.flagged_reference))
    return _flagged(replace(rows, contents=contents, check=check, run=_masked_run(rows.run, contents)), MASKED)


def _has_content(rows: RecordRows) -> bool:
    if rows.contents or (rows.check is not None and rows.check.flagged_reference is not None):
        return True
    return rows.run is not None and (rows.run.input_context is not None or rows.run.output_summary is not None)


def _without_content(rows: RecordRows) -> RecordRows:
    run, check = rows.run, rows.check
    return replace(
        rows,
        contents=(),
        run=None if run is None else run._replace(input_context=None, output_summary=None),
        check=None if check is None else check._replace(flagged_reference=None),
    )


def _masked_row(row: ContentRow) -> ContentRow:
    body = row.body or ""
    is_short = row.bytes == len(body.encode())
    return row._replace(body=masked(body), sha256=digest_of(body) if is_short else row.sha256, truncated=False)


def _masked_run(run: AgentRunRow | None, contents: tuple[ContentRow, ...]) -> AgentRunRow | None:
    if run is None:
        return None
    said = {row.part: row.body or "" for row in contents}
    return run._replace(
        input_context=input_context(said["input"]) if said.get("input") else None,
        output_summary=summary(said["output"]) if said.get("output") else None,
    )


def _flagged(rows: RecordRows, flag: str) -> RecordRows:
    context = rows.event.context
    flags = [item for item in context.get("flags", ()) if item not in (DROPPED, MASKED)]
    return replace(rows, event=rows.event._replace(context={**context, "flags": [*flags, flag]}))
