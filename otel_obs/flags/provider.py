"""An OpenFeature provider over the flags in this process (https://openfeature.dev/specification/sections/providers).

The targeting key is the user's id; the attribute ``workspace_id`` of the context names a workspace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from otel_obs.flags.evaluate import FlagSet
from otel_obs.flags.lookup import FIRST_WAIT_S, FlagLookup
from otel_obs.flags.model import Evaluation
from otel_obs.flags.snapshot import Event

_T = TypeVar("_T")
_Object = Sequence[FlagValueType] | Mapping[str, FlagValueType]


class FlagProvider(AbstractProvider):
    """Answers OpenFeature from memory; an error is in the answer, and nothing is raised."""

    def __init__(self, lookup: FlagLookup, organization_id: str) -> None:
        super().__init__()
        self._lookup = lookup
        self._organization_id = organization_id
        self._seen = FlagSet()
        self._is_ready = False
        self._unsubscribe: Callable[[], None] = lambda: None

    def get_metadata(self) -> Metadata:
        """Name the provider, as evaluations in telemetry do."""
        return Metadata(name="otel_obs")

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Wait for the flags, for two seconds at most.

        Raises:
            ProviderNotReadyError: they are not there; the provider says when they are.
        """
        del evaluation_context
        snapshot = self._lookup.snapshot
        self._unsubscribe()
        self._unsubscribe = snapshot.subscribe(self._told)
        if not snapshot.wait(FIRST_WAIT_S):
            raise ProviderNotReadyError("the flags cannot be read now")
        self._seen = snapshot.state.flags
        self._is_ready = True

    def shutdown(self) -> None:
        """Hear no more of changes; the flags belong to whoever made this provider."""
        self._unsubscribe()

    def _told(self, event: Event) -> None:
        state = self._lookup.snapshot.state
        if event == "changed":
            changed, self._seen = state.flags.changed(self._seen, self._organization_id), state.flags
            if not self._is_ready:
                self._is_ready = True
                self.emit_provider_ready(ProviderEventDetails())
            else:
                details = ProviderEventDetails(flags_changed=changed, metadata={"version": state.version})
                self.emit_provider_configuration_changed(details)
        elif event == "stale" and self._is_ready:
            self.emit_provider_stale(ProviderEventDetails(message="the database is away, the last flags go on"))
        elif event == "fresh" and self._is_ready:
            self.emit_provider_ready(ProviderEventDetails(message="the flags are up to date again"))

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Return the value of a flag that is on or off."""
        return self._resolve(flag_key, default_value, evaluation_context, _boolean)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Return the value of a flag of texts."""
        return self._resolve(flag_key, default_value, evaluation_context, _string)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Return the value of a flag of whole numbers."""
        return self._resolve(flag_key, default_value, evaluation_context, _integer)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Return the value of a flag of numbers."""
        return self._resolve(flag_key, default_value, evaluation_context, _float)

    def resolve_object_details(
        self, flag_key: str, default_value: _Object, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[_Object]:
        """Return the value of a flag of objects or arrays."""
        return self._resolve(flag_key, default_value, evaluation_context, _object)

    def _resolve(
        self,
        flag_key: str,
        default: _T,
        context: EvaluationContext | None,
        read: Callable[[Any], _T | None],
    ) -> FlagResolutionDetails[_T]:
        user_id = context.targeting_key if context is not None else None
        workspace_id = context.attributes.get("workspace_id") if context is not None else None
        found = self._lookup.evaluate(flag_key, user_id, workspace_id if isinstance(workspace_id, str) else None)
        metadata = self._metadata(found)
        if found.error_code is not None:
            return _failed(default, ErrorCode(found.error_code), found.message, metadata)
        if found.value is None:
            reason = Reason(found.reason)
            return FlagResolutionDetails(value=default, reason=reason, variant=found.variant, flag_metadata=metadata)
        value = read(found.value)
        if value is None:
            return _failed(default, ErrorCode.TYPE_MISMATCH, f"the value is a {type(found.value).__name__}", metadata)
        return FlagResolutionDetails(
            value=value, reason=Reason(found.reason), variant=found.variant, flag_metadata=metadata
        )

    def _metadata(self, found: Evaluation) -> dict[str, bool | int | float | str]:
        metadata: dict[str, bool | int | float | str] = {"scope": found.scope}
        if found.version is not None:
            metadata["version"] = found.version
        if found.owner is not None:
            metadata["owner"] = found.owner
        if self._lookup.snapshot.stale:
            metadata["stale"] = True
        return metadata


def _failed(
    default: _T, code: ErrorCode, message: str | None, metadata: Mapping[str, bool | int | float | str]
) -> FlagResolutionDetails[_T]:
    return FlagResolutionDetails(
        value=default, error_code=code, error_message=message, reason=Reason.ERROR, flag_metadata=metadata
    )


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _integer(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value == int(value) else None


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _object(value: Any) -> _Object | None:
    return value if isinstance(value, Mapping | list) else None
