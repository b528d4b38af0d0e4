"""Whose span is it? What the credential, the span, its resource, the header and the settings each may say."""

from __future__ import annotations

import pytest

from otel_obs.settings import MAX_ID_BYTES
from otel_obs.tenancy import Sender, Tenant, TenantDefaults, TenantRefusedError, tenant_of

ORGANIZATION = "otel_obs.organization.id"
WORKSPACE = "otel_obs.workspace.id"
DEFAULTS = TenantDefaults(organization_id="by default", workspace_id="by default")


def tenant(
    attributes: dict[str, object] | None = None,
    resource: dict[str, object] | None = None,
    *,
    sender: Sender | None = None,
) -> Tenant:
    return tenant_of(attributes or {}, resource or {}, sender or Sender(), DEFAULTS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("credential", "span", "resource", "expected"),
    [
        ("key", "span", "resource", "key"),
        (None, "span", "resource", "span"),
        (None, None, "resource", "resource"),
        (None, None, None, "by default"),
        ("key", None, None, "key"),
    ],
)
def test_the_organization_is_the_first_that_is_named(
    credential: str | None, span: str | None, resource: str | None, expected: str
) -> None:
    found = tenant({ORGANIZATION: span}, {ORGANIZATION: resource}, sender=Sender(organization_id=credential))

    assert found.organization_id == expected


@pytest.mark.parametrize(
    ("span", "resource", "header", "expected", "known"),
    [
        ("span", "resource", "header", "span", True),
        (None, "resource", "header", "resource", True),
        (None, None, "header", "header", True),
        (None, None, None, "by default", False),
    ],
)
def test_the_workspace_is_the_first_that_is_named_and_a_default_is_not_known(
    span: str | None, resource: str | None, header: str | None, expected: str, known: bool
) -> None:
    found = tenant({WORKSPACE: span}, {WORKSPACE: resource}, sender=Sender(workspace_id=header))

    assert (found.workspace_id, found.workspace_known) == (expected, known)


def test_nobody_named_at_all_is_the_organization_and_workspace_called_default() -> None:
    found = tenant_of({}, {}, Sender(), TenantDefaults())

    assert (found.organization_id, found.workspace_id) == ("default", "default")


@pytest.mark.parametrize("named", [{}, {WORKSPACE: "bound"}], ids=["names none", "names the same"])
def test_a_bound_credential_writes_to_its_workspace(named: dict[str, object]) -> None:
    found = tenant(named, sender=Sender(organization_id="key", bound_workspace_id="bound", workspace_id="header"))

    assert (found.organization_id, found.workspace_id, found.workspace_known) == ("key", "bound", True)


@pytest.mark.parametrize("place", ["span", "resource"])
def test_a_bound_credential_may_not_write_to_another_workspace(place: str) -> None:
    named: dict[str, object] = {WORKSPACE: "another"}
    attributes, resource = (named, {}) if place == "span" else ({}, named)

    with pytest.raises(TenantRefusedError) as refused:
        tenant(attributes, resource, sender=Sender(organization_id="key", bound_workspace_id="bound"))

    assert refused.value.reason == "workspace_not_allowed"


def test_a_credential_that_is_not_bound_may_write_to_any_workspace_of_its_organization() -> None:
    found = tenant({ORGANIZATION: "another", WORKSPACE: "any"}, sender=Sender(organization_id="key"))

    assert (found.organization_id, found.workspace_id, found.organization_ignored) == ("key", "any", True)


@pytest.mark.parametrize(
    "named", [{}, {ORGANIZATION: "key"}, {ORGANIZATION: ""}], ids=["nobody", "the same", "nothing"]
)
def test_who_names_no_other_organization_is_not_overruled(named: dict[str, object]) -> None:
    assert not tenant(named, sender=Sender(organization_id="key")).organization_ignored
    assert not tenant({ORGANIZATION: "any"}).organization_ignored


@pytest.mark.parametrize("name", [ORGANIZATION, WORKSPACE])
@pytest.mark.parametrize("value", ["x" * 200, "é" * 100, "with space", "a/b:c|d", "; DROP TABLE spans", "漢字", "%s"])
def test_an_id_of_up_to_200_bytes_is_taken_as_it_is(name: str, value: str) -> None:
    assert len(value.encode()) <= MAX_ID_BYTES

    found = tenant({name: value})

    assert value in (found.organization_id, found.workspace_id)


@pytest.mark.parametrize("name", [ORGANIZATION, WORKSPACE])
@pytest.mark.parametrize("place", ["span", "resource"])
@pytest.mark.parametrize(
    "value",
    ["x" * 201, "é" * 101, "a\x00b", "a\nb", "a\x1bb", "a\x7fb", "a\x85b"],
    ids=["201 bytes", "202 bytes in 101 characters", "NUL", "newline", "escape", "delete", "next line"],
)
def test_an_id_too_long_or_with_control_characters_is_refused(name: str, place: str, value: str) -> None:
    named: dict[str, object] = {name: value}

    with pytest.raises(TenantRefusedError) as refused:
        tenant(named if place == "span" else {}, named if place == "resource" else {})

    assert refused.value.reason == "tenant_id_malformed"
    assert value not in str(refused.value)


@pytest.mark.parametrize("value", ["", None, 7, True, ["a"], b"a"], ids=repr)
def test_what_is_no_text_names_nobody(value: object) -> None:
    found = tenant(
        {ORGANIZATION: value, WORKSPACE: value}, {ORGANIZATION: "of the resource", WORKSPACE: "of the resource"}
    )

    assert (found.organization_id, found.workspace_id) == ("of the resource", "of the resource")
