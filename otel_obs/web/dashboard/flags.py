"""``/flags``: which features are on for whom, who changed that, and what each variant costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from otel_obs.analytics.spend import spend
from otel_obs.errors import InvalidQueryError, NotFoundError, PermissionDeniedError
from otel_obs.flags import store
from otel_obs.flags.model import Flag
from otel_obs.receiver.auth import ADMIN
from otel_obs.settings import is_identifier
from otel_obs.web.access import Api, Caller
from otel_obs.web.dashboard.forms import OwnForm
from otel_obs.web.dashboard.page import Page, Shown, address, desk_of, pages

MAX_FLAGS = 500
MAX_CHANGES = 50

router = pages()


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A flag in all its scopes."""

    name: str
    scopes: Sequence[Flag]

    @property
    def widest(self) -> Flag:
        """Return the scope that counts for most."""
        return self.scopes[0]


@router.get("/flags")
def listed(page: Shown, q: Annotated[str | None, Query(max_length=200)] = None) -> Response:
    """Show flags by name."""
    with page.read() as connection:
        found = store.listed(connection, limit=MAX_FLAGS)
    named: dict[str, list[Flag]] = {}
    for flag in found:
        if (q or "").lower() in flag.flag_name.lower():
            named.setdefault(flag.flag_name, []).append(flag)
    flags = [Named(name=name, scopes=scopes) for name, scopes in named.items()]
    return page.render("flags.html", flags=flags, q=q or "", is_cut=len(found) == MAX_FLAGS)


@router.get("/flags/flag")
def one(
    page: Shown,
    name: Annotated[str, Query(max_length=1000)],
    saved: Annotated[str | None, Query(pattern="^(saved|deleted)$")] = None,
) -> Response:
    """Show a flag: its scopes, its history, and what its variants cost."""
    return _shown(page, name, saved=saved)


def _shown(page: Page, name: str, *, saved: str | None = None) -> Response:
    if not is_identifier(name):
        raise NotFoundError
    flag_name = name
    with page.read() as connection:
        scopes = store.listed(connection, limit=MAX_FLAGS, flag_name=flag_name)
        costs = spend(connection, page.filters, ["flag_variant"], flag=flag_name)
    with page.desk.own() as connection:
        history = store.history(
            connection,
            limit=MAX_CHANGES,
            flag_name=flag_name,
            organization_id=page.caller.reader.organization_id,
        )
    history = [entry for entry in history if _may_see(page.caller, entry)]
    if not scopes and not history:
        raise NotFoundError
    return page.render(
        "flag.html",
        name=flag_name,
        scopes=[(flag, _may_edit(page, flag), _fields(flag)) for flag in scopes],
        costs=costs,
        history=[(entry, _differences(entry)) for entry in history],
        saved=saved,
        new_scopes=_scopes_for(page),
    )


@router.post("/flags")
def change(request: Request, form: OwnForm) -> Response:
    """Set or delete a flag in one scope, if nobody else did so since the page was loaded."""
    api: Api = request.app.state.api
    caller = api.authenticate(request, ADMIN)
    name = form.get("name", "").strip()
    scope = _scope(request, caller, form)
    if not is_identifier(name):
        raise InvalidQueryError("a flag's name: at most 200 bytes without control characters are expected")
    version = int(form["version"]) if form.get("version", "").isdecimal() else None
    said: dict[str, Any] = {
        "expected_version": version,
        "why": form.get("why", "").strip() or None,
        "actor": caller.actor,
    }
    with desk_of(request).own() as connection:
        if form.get("do") == "delete":
            store.delete_flag(connection, name, scope, **said)
        else:
            store.set_flag(connection, name, scope, _change(form), **said)
    query = {key: request.query_params.get(key) for key in ("organization_id", "workspace_id", "since", "until")}
    done = "deleted" if form.get("do") == "delete" else "saved"
    return RedirectResponse(address("/flags/flag", {**query, "name": name, "saved": done}), status_code=303)


def _scope(request: Request, caller: Caller, form: Mapping[str, str]) -> store.FlagScope:
    """Return the scope that a form means.

    Raises:
        PermissionDeniedError: whoever sends it may not change it.
    """
    del request
    kind = form.get("scope", "organization")
    workspace_id = form.get("workspace_id", "").strip() or None
    user_id = form.get("user_id", "").strip() or None
    if kind == "global":
        if caller.scopes is not None:
            raise PermissionDeniedError("a flag for everyone is changed with `otel-obs flags`")
        return store.FlagScope()
    own = caller.reader.workspace_id
    if own is not None and (kind not in ("workspace", "user") or (workspace_id or own) != own):
        raise PermissionDeniedError("this API key is bound to one workspace")
    return store.FlagScope(
        organization_id=caller.reader.organization_id,
        workspace_id=own or (workspace_id if kind in ("workspace", "user") else None),
        user_id=user_id if kind == "user" else None,
    )


def _change(form: Mapping[str, str]) -> store.Change:
    """Return what a form says of a flag.

    Raises:
        InvalidQueryError: it makes no sense.
    """
    variants, rollout = _object(form, "variants"), _object(form, "rollout")
    percent = form.get("percent", "").strip()
    if percent:
        try:
            rollout = {"on": float(percent)}
        except ValueError:
            raise InvalidQueryError("percent: a number is expected") from None
    return store.Change(
        is_enabled=form.get("is_enabled") == "on",
        variants=variants,
        rollout=rollout,
        killed=form.get("killed") == "on",
        description=form.get("description", "").strip(),
        owner=form.get("owner", "").strip(),
    )


def _object(form: Mapping[str, str], name: str) -> dict[str, Any]:
    text = form.get(name, "").strip()
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidQueryError(f'{name}: a JSON object is expected, such as {{"on": 25}}')
    return found


def _may_edit(page: Page, flag: Flag) -> bool:
    if not page.may_edit:
        return False
    if flag.organization_id is None:
        return page.caller.scopes is None
    own = page.caller.reader.workspace_id
    return own is None or flag.workspace_id == own


def _may_see(caller: Caller, entry: store.AuditEntry) -> bool:
    """Tell whether a change is one of a scope that *caller* may look at."""
    own = caller.reader.workspace_id
    where = (entry.after or entry.before or {}).get("workspace_id")
    return own is None or where is None or where == own


def _fields(flag: Flag) -> dict[str, str]:
    """Return the texts of a form for *flag*."""
    rollout = flag.rollout
    return {
        "variants": "" if flag.variants is None else json.dumps(dict(flag.variants), ensure_ascii=False),
        "rollout": "" if rollout is None else json.dumps(rollout),
        "description": flag.description or "",
        "owner": flag.owner or "",
    }


def _differences(entry: store.AuditEntry) -> list[tuple[str, str, str]]:
    """Return what a change changed: name, before, after."""
    before, after = entry.before or {}, entry.after or {}
    names = [name for name in {**before, **after} if name not in _NOT_TOLD]
    return [
        (_CALLED.get(name, name), _said(before.get(name)), _said(after.get(name)))
        for name in names
        if before.get(name) != after.get(name) and (before or after.get(name) or name == "is_enabled")
    ]


_NOT_TOLD = ("version", "flag_name", "updated_at", "organization_id")
_CALLED = {"is_enabled": "on", "workspace_id": "workspace", "user_id": "user"}


def _said(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _scopes_for(page: Page) -> list[tuple[str, str]]:
    """Return in which scopes whoever looks may set a flag."""
    if not page.may_edit:
        return []
    if page.caller.reader.workspace_id is not None:
        return [("workspace", f"workspace {page.caller.reader.workspace_id}"), ("user", "a user")]
    scopes = [
        ("organization", f"organization {page.caller.reader.organization_id}"),
        ("workspace", "a workspace"),
        ("user", "a user"),
    ]
    return [*scopes, ("global", "everyone")] if page.caller.scopes is None else scopes
