"""Is it on?  The way from a program's question to an answer that is mostly one look into a dictionary.

Answers that are the same for everybody stand by the flag's name; others, as they are asked for, by name, user and
workspace. Flags with a start or an expiry are worked out each time. Both tables are thrown away when flags change,
and once a minute: what is then asked for anew was used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from otel_obs.flags.evaluate import evaluate
from otel_obs.flags.model import Evaluation, Subject
from otel_obs.flags.snapshot import Event, Snapshot, State

_log = logging.getLogger(__name__)

FIRST_WAIT_S = 2.0
"""The first question waits so long for the flags; without them it gets its default."""
MAX_ANSWERS = 50_000
"""Answers that are remembered."""
_Key = tuple[str, str | None, str | None]


class _Tables:
    """Answers that hold as long as one state does."""

    __slots__ = ("answers", "enabled", "same_for_all", "state")

    def __init__(self, state: State) -> None:
        self.state = state
        self.same_for_all: dict[str, bool | None] = {}
        """None: it depends on who asks."""
        self.enabled: dict[_Key, bool] = {}
        self.answers: dict[_Key, Evaluation] = {}


class FlagLookup:
    """Flags as one organization, or one workspace of it, sees them."""

    def __init__(
        self,
        snapshot: Snapshot,
        organization_id: str,
        workspace_id: str | None = None,
        *,
        evaluated: Callable[[Evaluation, str | None], None] | None = None,
    ) -> None:
        """Tell *evaluated* of each answer, and for whom it was; then no answer comes without work."""
        self.snapshot = snapshot
        self._organization_id = organization_id
        self._workspace_id = workspace_id
        self._evaluated = evaluated
        self._warned = False
        self._first_wait_s = FIRST_WAIT_S
        self._take(State())
        self._unsubscribe = snapshot.subscribe(self._told)

    def is_enabled(
        self, flag_name: str, user_id: str | None = None, workspace_id: str | None = None, *, default: bool = False
    ) -> bool:
        """Tell whether a flag is on; *default* where there is none for this user, or it is not known. Never raises."""
        try:
            found = self._same_for_all[flag_name]
            return self._enabled[flag_name, user_id, workspace_id] if found is None else found
        except (KeyError, TypeError):
            return self._decide(flag_name, user_id, workspace_id, default=default)

    def evaluate(self, flag_name: str, user_id: str | None = None, workspace_id: str | None = None) -> Evaluation:
        """Return the whole answer: variant, value, reason. Never raises."""
        try:
            return self._evaluate(flag_name, user_id, workspace_id)
        except Exception as error:  # noqa: BLE001  # a flag must not break who asks for it
            self._warn(error)
            return Evaluation(
                flag_name=flag_name, is_enabled=False, value=None, variant=None, reason="ERROR", scope="default",
                version=None, error_code="GENERAL", message=type(error).__name__,
            )  # fmt: skip

    def get_flags(self, user_id: str | None = None, workspace_id: str | None = None) -> dict[str, bool]:
        """Return for each flag that counts for a user whether it is on; that is no use of any. Never raises."""
        try:
            if not self._tables.state.is_loaded:
                self._load()
            flags, now = self._tables.state.flags, datetime.now(tz=timezone.utc)
            who = Subject(self._organization_id, workspace_id or self._workspace_id, user_id)
            found = (evaluate(flags, name, who, now) for name in flags.names(self._organization_id))
            return {answer.flag_name: answer.is_enabled for answer in found if answer.scope != "default"}
        except Exception as error:  # noqa: BLE001  # a flag must not break who asks for it
            self._warn(error)
            return {}

    def close(self) -> None:
        """Hear no more of changes."""
        self._unsubscribe()

    def _told(self, event: Event) -> None:
        if event in ("changed", "touched"):
            self._take(self.snapshot.state)

    def _take(self, state: State) -> None:
        tables = _Tables(state)
        self._tables, self._same_for_all, self._enabled = tables, tables.same_for_all, tables.enabled

    def _decide(self, flag_name: str, user_id: str | None, workspace_id: str | None, *, default: bool) -> bool:
        found = self.evaluate(flag_name, user_id, workspace_id)
        if found.scope == "default" or found.reason == "ERROR":
            return default
        return found.is_enabled

    def _evaluate(self, flag_name: str, user_id: str | None, workspace_id: str | None) -> Evaluation:
        if not self._tables.state.is_loaded:
            self._load()
        tables, key = self._tables, (flag_name, user_id, workspace_id)
        found = tables.answers.get(key)
        if found is None:
            who = Subject(self._organization_id, workspace_id or self._workspace_id, user_id)
            found = evaluate(tables.state.flags, flag_name, who, datetime.now(tz=timezone.utc))
            self.snapshot.used(flag_name, self._organization_id)
            self._remember(tables, key, found)
        if self._evaluated is not None:
            self._evaluated(found, user_id)
        return found

    def _load(self) -> None:
        timeout_s, self._first_wait_s = self._first_wait_s, 0.0
        if self.snapshot.wait(timeout_s):
            self._take(self.snapshot.state)

    def _remember(self, tables: _Tables, key: _Key, found: Evaluation) -> None:
        flags = tables.state.flags
        if found.scope == "default" or found.reason == "ERROR" or not flags.is_timeless(found.flag_name):
            return
        if len(tables.answers) >= MAX_ANSWERS:
            tables.answers.clear()
            tables.enabled.clear()
        tables.answers[key] = found
        if self._evaluated is not None:
            return
        tables.enabled[key] = found.is_enabled
        is_the_same = flags.is_the_same_for_all(found.flag_name, self._organization_id)
        tables.same_for_all[found.flag_name] = found.is_enabled if is_the_same else None

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            _log.warning("a flag cannot be evaluated, its default holds: %s", type(error).__name__)


def attributes_of(found: Evaluation, user_id: str | None, *, set_id: str, default: Any = None) -> dict[str, Any]:
    """Return the attributes of a ``feature_flag.evaluation`` event.

    https://opentelemetry.io/docs/specs/semconv/feature-flags/feature-flags-events/
    """
    attributes: dict[str, Any] = {
        "feature_flag.key": found.flag_name,
        "feature_flag.result.variant": found.variant,
        "feature_flag.result.reason": found.reason.lower(),
        "feature_flag.context.id": user_id,
        "feature_flag.provider.name": "otel_obs",
        "feature_flag.set.id": set_id,
        "feature_flag.version": None if found.version is None else str(found.version),
        "error.type": None if found.error_code is None else found.error_code.lower(),
        "feature_flag.error.message": found.message if found.error_code else None,
    }
    if found.variant is None and isinstance(default, bool | int | float | str):
        attributes["feature_flag.result.value"] = default
    return {name: value for name, value in attributes.items() if value is not None}
