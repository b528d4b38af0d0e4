"""What can go wrong, and may the sender try again?

The docstring of each class is its default message; ``retryable`` is the one bit
that decides the answer (OTLP: https://opentelemetry.io/docs/specs/otlp/#failures).
"""

from __future__ import annotations

from typing import ClassVar


class ObsError(Exception):
    """Something went wrong in otel_obs."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().partition("\n")[0])


class ConfigurationError(ObsError):
    """A setting or an option has a value that cannot be used."""


class DecodeError(ObsError):
    """The body is not OTLP: it cannot be read at all."""


class RequestTooLargeError(ObsError):
    """The request is larger than this server accepts."""


class UnsupportedMediaTypeError(ObsError):
    """The content type or content encoding is not one that OTLP/HTTP uses."""


class UnauthenticatedError(ObsError):
    """A valid API key is required, as `Authorization: Bearer KEY` or as `x-api-key: KEY`."""


class PermissionDeniedError(ObsError):
    """This API key does not allow that."""


class InvalidQueryError(ObsError):
    """What is asked for makes no sense."""


class RedactionFailedError(ObsError):
    """The redaction hook did not say what of the content may be stored."""


class SearchTooLongError(ObsError):
    """The search takes too long to be written into one file: ask for a shorter period, or page through JSON."""


class NotFoundError(ObsError):
    """There is no such thing, or none that you may see."""


class KeyStoreUnavailableError(ObsError):
    """API keys cannot be looked up now; send it again later."""

    retryable = True


class KeysUnavailableError(ObsError):
    """The keys that content is sealed with cannot be had now; send it again later."""

    retryable = True


class QueueFullError(ObsError):
    """More is waiting to be stored than this process may hold; send it again later."""

    retryable = True


class RateLimitedError(ObsError):
    """The organization sends more than it may; send it again later."""

    retryable = True

    def __init__(self, message: str | None = None, *, reason: str = "", retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.reason = reason
        """Of what there was too much: ``spans`` or ``bytes``."""
        self.retry_after_s = retry_after_s


class TooManyAttemptsError(ObsError):
    """Too many requests with invalid API keys came from this address, or for this key; wait a while."""


class StorageUnavailableError(ObsError):
    """PostgreSQL cannot be reached, or is not accepting writes."""

    retryable = True


class StorageBrokenError(ObsError):
    """PostgreSQL refuses what this program does, whatever the data: an operator has to look."""

    retryable = True


class StorageRejectedError(ObsError):
    """PostgreSQL refuses this data; sending it again will not help."""


class FlagConflictError(ObsError):
    """Somebody else has changed this flag meanwhile: read it again."""


class BudgetConflictError(ObsError):
    """Somebody else has changed this budget meanwhile: read it again."""


class WebhookError(ObsError):
    """The receiver of a webhook cannot be reached, or cannot take it now."""

    retryable = True


class WebhookRefusedError(ObsError):
    """The receiver of a webhook does not accept it, or may not be called."""


class SchemaTooOldError(ObsError):
    """The database schema is older than this program; run `otel-obs migrate`."""

    retryable = True


class SchemaTooNewError(ObsError):
    """The database schema is newer than this program; upgrade otel_obs."""


class MigrationChangedError(ObsError):
    """A migration that was applied has a different content now."""


class UnsafeReaderError(ObsError):
    """Row-level security does not bind the role that tenants' reads run as."""


class ClockDisagreesError(ObsError):
    """This host and the database do not agree what time it is."""


class LeaseLostError(ObsError):
    """Somebody else runs maintenance by now."""

    retryable = True


class LegalHoldError(ObsError):
    """The organization is under legal hold: nothing of it may be deleted."""


class UnknownTenantError(ObsError):
    """There is no such organization, workspace or user."""


class EmbeddedPostgresError(ObsError):
    """The embedded PostgreSQL cannot be started here."""
