"""What is known of the database, without waiting for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from otel_obs.errors import ObsError, SchemaTooNewError, SchemaTooOldError, StorageBrokenError, StorageUnavailableError
from otel_obs.pipeline import watch
from otel_obs.pipeline.watch import Watch
from tests.waiting import until


class Database:
    """Answers as it was told to; None: well."""

    def __init__(self, error: ObsError | None = None) -> None:
        self.error = error
        self.asked = 0
        self.silent = threading.Event()
        self.silent.set()

    def ask(self) -> None:
        self.asked += 1
        self.silent.wait(10)
        if self.error is not None:
            raise self.error


@pytest.fixture
def watching() -> Iterator[Callable[[Database], Watch]]:
    started: list[Watch] = []

    def start(database: Database) -> Watch:
        started.append(Watch(database.ask))
        started[-1].start()
        return started[-1]

    yield start
    for found in started:
        found.close()


def test_a_database_that_answers_is_fit(watching: Callable[[Database], Watch]) -> None:
    found = watching(Database())

    found.check()

    assert found.is_fit


@pytest.mark.parametrize("error", [StorageUnavailableError, SchemaTooOldError, SchemaTooNewError, StorageBrokenError])
def test_why_rows_cannot_be_written_is_told_until_they_can(
    error: type[ObsError], watching: Callable[[Database], Watch]
) -> None:
    database = Database(error("why"))
    found = watching(database)

    with pytest.raises(error, match="why"):
        found.check()

    database.error = None
    until(lambda: found.is_fit)
    found.check()


def test_a_database_that_never_answers_is_away(
    watching: Callable[[Database], Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "FIRST_ANSWER_WITHIN_S", 0.05)
    database = Database()
    database.silent.clear()
    found = watching(database)

    with pytest.raises(StorageUnavailableError, match="not answered"):
        found.check()

    database.silent.set()
    until(lambda: found.is_fit)


def test_what_a_writer_suspects_is_believed_until_the_database_was_asked(
    watching: Callable[[Database], Watch],
) -> None:
    database = Database()
    found = watching(database)
    found.check()
    asked = database.asked
    database.silent.clear()

    found.suspect(StorageUnavailableError("a writer saw it"))

    with pytest.raises(StorageUnavailableError, match="a writer saw it"):
        found.check()
    database.silent.set()
    until(lambda: found.is_fit)
    assert database.asked > asked


def test_an_outage_is_one_line_in_ten_seconds(
    watching: Callable[[Database], Watch], caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(StorageUnavailableError())
    found = watching(database)

    until(lambda: database.asked >= 4)
    for _ in range(100):
        found.suspect(StorageUnavailableError())

    assert [record.levelno for record in caplog.records if record.name == watch.__name__] == [logging.WARNING]


def test_whatever_asking_raises_is_an_answer(watching: Callable[[Database], Watch]) -> None:
    database = Database()
    database.error = RuntimeError("a secret")  # type: ignore[assignment]
    found = watching(database)

    with pytest.raises(StorageUnavailableError, match="RuntimeError") as raised:
        found.check()

    assert "secret" not in str(raised.value)
