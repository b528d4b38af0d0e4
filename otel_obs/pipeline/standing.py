"""What holds for each tenant now, as this process last heard it, and what it took from each since.

One thread asks the database every few seconds. While the database is away, what was last heard holds; a file keeps it
for the next process, for a gateway that starts meanwhile takes requests in too. Where nothing was ever heard, the
operator's settings hold alone: what is then on disk comes under what tenants decided before it gets to the database.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import date, datetime, timezone
from pathlib import Path
from threading import Lock

from otel_obs.rows.build import RecordRows
from otel_obs.rows.policy import ContentRule, Policies, Rules
from otel_obs.rows.usage import Added, Used, size_of, used_up
from otel_obs.tenancy import Limits

_log = logging.getLogger(__name__)

MAX_PENDING = 100_000
"""Workspaces and days that are counted here while they cannot be written."""


def _today() -> date:
    return datetime.now(tz=timezone.utc).date()


class Standing:
    """The rules and limits in force, and the usage that is not written yet."""

    def __init__(
        self,
        base: ContentRule,
        limits: Limits,
        file: Path | None = None,
        *,
        today: Callable[[], date] = _today,
    ) -> None:
        self._base = base
        self._defaults = limits
        self._file = file
        self._today = today
        self._lock = Lock()
        self._policies = _kept(file)
        self.is_known = self._policies is not None
        """Whether the database, or a file that remembers it, was ever heard."""
        self._apply(self._policies or Policies())
        self._pending: dict[tuple[str, date, str], tuple[int, int, int]] = {}
        self._used: dict[str, Used] = {}
        self._since: dict[tuple[str, date], int] = {}

    def _apply(self, policies: Policies) -> None:
        self._rules = Rules(policies, self._base)
        self._limits = {name: own.over(self._defaults) for name, own in policies.limits.items()}

    def rules(self) -> Rules:
        """Return whose content is kept."""
        return self._rules

    def limits(self, organization_id: str) -> Limits:
        """Return what an organization may send."""
        return self._limits.get(organization_id, self._defaults)

    @property
    def is_limited(self) -> bool:
        """Tell whether anybody is."""
        return bool(self._limits) or any(self._defaults.as_json().values())

    def learn(self, policies: Policies) -> None:
        """Let *policies* hold from now on, and remember them for the next process."""
        if self.is_known and policies == self._policies:
            return
        try:
            self._apply(policies)
        except ValueError as error:
            _log.error("a rule for content cannot be read, what was known before holds: %s", error)
            return
        self._policies, self.is_known = policies, True
        if self._file is not None:
            _keep(self._file, policies)

    def took(self, records: Collection[RecordRows]) -> None:
        """Count what was accepted."""
        day = self._today()
        tenants: dict[tuple[str, str], list[RecordRows]] = {}
        for record in records:
            tenants.setdefault(record.event[:2], []).append(record)
        for (organization_id, workspace_id), found in tenants.items():
            self._add(organization_id, day, workspace_id, (len(found), size_of(found), 0))

    def dropped(self, organization_id: str, count: int) -> None:
        """Count what was not stored, because a quota was used up."""
        self._add(organization_id, self._today(), "", (0, 0, count))

    def _add(self, organization_id: str, day: date, workspace_id: str, counts: tuple[int, int, int]) -> None:
        key = (organization_id, day, workspace_id)
        with self._lock:
            if key not in self._pending and len(self._pending) >= MAX_PENDING:
                return
            known = self._pending.get(key, (0, 0, 0))
            self._pending[key] = (known[0] + counts[0], known[1] + counts[1], known[2] + counts[2])
            self._since[organization_id, day] = self._since.get((organization_id, day), 0) + counts[1]

    def used_up(self, organization_id: str) -> str | None:
        """Return which quota of an organization is used up, as a sentence; None if none is."""
        limits = self.limits(organization_id)
        if not limits.max_bytes_per_day and not limits.max_stored_bytes:
            return None
        day = self._today()
        with self._lock:
            used = self._used.get(organization_id, Used(day=day))
            since = self._since.get((organization_id, day), 0)
        today = used.bytes_today if used.day == day else 0
        return used_up(limits, today + since, used.stored_bytes + since)

    def exchange(self, exchange: Callable[[Collection[Added], Collection[str], date], Mapping[str, Used]]) -> None:
        """Write what was counted, and hear what all gateways counted of those that have quotas.

        *exchange* does both in one transaction, and raises where it cannot: then the next one writes it.
        """
        with self._lock:
            pending, self._pending = self._pending, {}
            counted, self._since = self._since, {}
        organizations = {key[0] for key in pending} | set(self._used) | set(self._limits)
        asked = [name for name in organizations if self._has_quota(name)]
        try:
            found = exchange([Added(*key, *counts) for key, counts in pending.items()], asked, self._today())
        except BaseException:
            with self._lock:
                for key, counts in pending.items():
                    later = self._pending.get(key, (0, 0, 0))
                    self._pending[key] = (later[0] + counts[0], later[1] + counts[1], later[2] + counts[2])
                for since, size in counted.items():
                    self._since[since] = self._since.get(since, 0) + size
            raise
        with self._lock:
            self._used = dict(found)

    def _has_quota(self, organization_id: str) -> bool:
        limits = self.limits(organization_id)
        return bool(limits.max_bytes_per_day or limits.max_stored_bytes)


def _kept(file: Path | None) -> Policies | None:
    if file is None:
        return None
    try:
        return Policies.from_json(json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("what tenants decided cannot be read from %s: %s", file, type(error).__name__)
        return None


def _keep(file: Path, policies: Policies) -> None:
    half = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
            json.dump(policies.as_json(), opened)
        half.replace(file)
    except OSError as error:
        _log.warning("what tenants decided cannot be kept in %s: %s", file, error.strerror)
        with suppress(OSError):
            half.unlink()
