"""Spans are at their destination or on disk, whatever happens to the destination and to the process."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_obs.exporter import PostgresSpanExporter
from otel_obs.postgres import schema
from otel_obs.postgres.embedded import EmbeddedPostgres
from otel_obs.postgres.pool import conninfo
from otel_obs.processor import Limits, ReliableSpanProcessor, otlp
from otel_obs.processor.encoding import decode
from otel_obs.processor.place import spool_folder
from otel_obs.processor.wire import encode
from tests.fix_postgres import short_folder, until_stopped
from tests.folders import files
from tests.programs import PATIENT, Destination, drain, ended, heard, program
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

QUICK = Limits(schedule_delay_s=0.05, slow_call_s=0.2, shutdown_timeout_s=5)


class Switchable(InMemorySpanExporter):
    """An exporter in memory that fails, raises or hangs on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.error: BaseException | None = None
        self.may_return = threading.Event()
        self.may_return.set()
        self.called = threading.Event()
        self.instrumented: list[bool] = []
        self.batches: list[int] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.called.set()
        self.instrumented.append(is_instrumentation_enabled())
        self.may_return.wait(60)
        if self.error is not None:
            raise self.error
        if self.away:
            return SpanExportResult.FAILURE
        self.batches.append(len(spans))
        return super().export(spans)

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.get_finished_spans()]


class Application:
    """What an application does: it ends spans."""

    def __init__(
        self,
        exporter: SpanExporter | Callable[[], SpanExporter],
        spool: Path | bool,
        limits: Limits = QUICK,
    ) -> None:
        self.processor = ReliableSpanProcessor(exporter, spool=spool, limits=limits, on_sigterm=False)
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.processor)
        self.tracer = self.provider.get_tracer("tests")

    def work(self, *names: str) -> None:
        for name in names:
            with self.tracer.start_as_current_span(name):
                pass


@pytest.fixture
def destination() -> Iterator[Destination]:
    found = Destination()
    found.start()
    yield found
    found.stop()


@pytest.fixture
def exporter() -> Iterator[Switchable]:
    found = Switchable()
    yield found
    found.may_return.set()


@pytest.fixture
def started() -> Iterator[list[Application]]:
    found: list[Application] = []
    yield found
    for application in found:
        application.provider.shutdown()


@pytest.fixture
def application(exporter: Switchable, tmp_path: Path, started: list[Application]) -> Application:
    started.append(Application(exporter, tmp_path))
    return started[0]


def numbered(count: int, first: int = 0) -> list[str]:
    return [f"{number:05}" for number in range(first, first + count)]


def test_a_burst_of_ten_thousand_spans_arrives_whole_and_in_order(
    application: Application, exporter: Switchable
) -> None:
    application.work(*numbered(10_000))

    assert application.provider.force_flush()
    assert exporter.names == numbered(10_000)
    assert max(exporter.batches) <= 512


def test_spans_are_sent_without_a_flush(application: Application, exporter: Switchable) -> None:
    application.work("one")

    until(lambda: exporter.names == ["one"])


def test_unsampled_spans_are_not_sent(application: Application, exporter: Switchable) -> None:
    span = ReadableSpan("unsampled", SpanContext(1, 2, False, TraceFlags(0)))

    application.processor.on_end(span)

    assert application.processor.flush().accepted == 0
    assert exporter.names == []


def test_while_the_destination_is_away_spans_are_on_disk_and_a_flush_says_so(
    application: Application, exporter: Switchable, tmp_path: Path
) -> None:
    exporter.away = True
    application.work(*numbered(3))

    result = application.processor.flush()

    assert result.complete
    assert (result.exported, result.spooled, result.waiting) == (0, 3, 0)
    assert files(tmp_path, "*.spool")


def test_once_it_is_back_they_are_sent_oldest_first(application: Application, exporter: Switchable) -> None:
    exporter.away = True
    for name in numbered(5):
        application.work(name)
        assert application.provider.force_flush()
    exporter.away = False

    until(lambda: len(exporter.names) == 5)
    assert exporter.names == numbered(5)
    assert application.processor.counts.drained == 5


def test_without_a_disk_a_flush_admits_that_spans_are_in_memory_only(
    exporter: Switchable, started: list[Application]
) -> None:
    application = Application(exporter, spool=False)
    started.append(application)
    exporter.away = True
    application.work("one")

    assert not application.provider.force_flush(200)
    exporter.away = False
    until(lambda: exporter.names == ["one"])
    assert application.provider.force_flush()


def test_without_a_place_for_the_spool_nothing_is_lost_as_long_as_there_is_memory(
    exporter: Switchable, tmp_path: Path, started: list[Application]
) -> None:
    (tmp_path / "file").write_text("")
    application = Application(exporter, tmp_path / "file")
    started.append(application)
    exporter.away = True
    application.work("one")
    assert not application.provider.force_flush(200)

    exporter.away = False

    until(lambda: exporter.names == ["one"])


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_an_exporter_that_raises_is_a_destination_that_is_away(
    application: Application, exporter: Switchable, error: BaseException
) -> None:
    exporter.error = error
    application.work("one")
    assert application.processor.flush().spooled == 1

    exporter.error = None

    until(lambda: exporter.names == ["one"])


def test_a_flush_returns_though_the_exporter_hangs_and_what_it_holds_is_on_disk(
    application: Application, exporter: Switchable
) -> None:
    exporter.may_return.clear()
    application.work(*numbered(2000))
    exporter.called.wait()

    result = application.processor.flush(5)

    assert not exporter.may_return.is_set()
    assert result.complete
    assert result.spooled == 2000


def test_what_went_to_disk_meanwhile_is_not_sent_twice(application: Application, exporter: Switchable) -> None:
    exporter.may_return.clear()
    application.work(*numbered(600))
    exporter.called.wait()
    assert application.processor.flush(5).spooled == 600

    exporter.may_return.set()

    until(lambda: len(exporter.names) >= 600)
    assert application.provider.force_flush()
    application.work("last")
    assert application.provider.force_flush()
    until(lambda: "last" in exporter.names)
    assert Counter(exporter.names) == Counter([*numbered(600), "last"])


def test_a_slow_call_holds_nothing_back_in_memory(application: Application, exporter: Switchable) -> None:
    exporter.may_return.clear()
    application.work(*numbered(600))

    until(lambda: application.processor.counts.spooled == 600)


def test_what_finds_no_room_is_counted_and_one_flush_and_one_line_say_so(
    exporter: Switchable, started: list[Application], caplog: pytest.LogCaptureFixture
) -> None:
    exporter.may_return.clear()
    application = Application(exporter, spool=False, limits=Limits(max_queue_spans=10))
    started.append(application)

    application.work(*numbered(50))
    exporter.may_return.set()
    first, second = application.processor.flush(), application.processor.flush()

    assert (first.complete, first.lost, first.dropped) == (False, 40, {"queue_full": 40})
    assert first.accepted == 10
    assert (second.complete, second.lost) == (True, 0)
    assert len([line for line in caplog.messages if "lost" in line]) == 1


def test_the_queue_is_bounded_in_bytes(exporter: Switchable, started: list[Application]) -> None:
    exporter.may_return.clear()
    application = Application(exporter, spool=False, limits=Limits(max_queue_bytes=1_000_000))
    started.append(application)

    for _ in range(20):
        with application.tracer.start_as_current_span("large") as span:
            span.set_attribute("gen_ai.input.messages", "x" * 100_000)
    exporter.may_return.set()

    assert application.processor.flush().accepted == 9
    assert application.processor.counts.dropped == {"queue_full": 11}


def test_exporting_is_not_instrumented(application: Application, exporter: Switchable) -> None:
    application.work("one")
    application.provider.force_flush()

    assert exporter.instrumented == [False]
    assert is_instrumentation_enabled()


def test_after_shutdown_spans_are_counted_and_nothing_is_raised(application: Application, exporter: Switchable) -> None:
    application.work("before")
    application.processor.shutdown()
    application.processor.shutdown()

    application.work("after")

    assert exporter.names == ["before"]
    assert application.processor.counts.dropped == {"after_shutdown": 1}


def test_shutdown_does_not_wait_for_an_exporter_that_hangs(
    application: Application, exporter: Switchable, tmp_path: Path
) -> None:
    exporter.may_return.clear()
    application.work(*numbered(3))
    exporter.called.wait()

    application.processor.shutdown()

    assert not exporter.may_return.is_set()
    assert application.processor.counts.spooled == 3
    assert files(tmp_path, "*.spool")


def test_a_span_may_end_while_the_garbage_collector_runs_in_the_queue(
    application: Application, exporter: Switchable
) -> None:
    with application.processor._workers.buffer.lock:
        application.work("inner")

    assert application.provider.force_flush()
    assert exporter.names == ["inner"]


def test_a_span_that_the_destination_refuses_does_not_stop_the_others(
    destination: Destination, tmp_path: Path, started: list[Application]
) -> None:
    destination.refused_name = "poison"
    application = Application(OTLPSpanExporter(destination.endpoint), tmp_path)
    started.append(application)
    application.work(*numbered(10), "poison", *numbered(10, 10))
    assert application.processor.flush().spooled == 21

    def more() -> bool:
        application.work("later")
        return application.processor.counts.dropped == {"refused": 1}

    until(more)
    until(lambda: set(numbered(20)) <= set(destination.names))
    assert Counter(name for name in destination.names if name != "later") == Counter(numbered(20))


def rich_span() -> ReadableSpan:
    exported = InMemorySpanExporter()
    provider = TracerProvider(
        resource=Resource({"service.name": "app", "list": ["a", "b"]}, "https://schema/resource"),
        span_limits=SpanLimits(max_span_attributes=6, max_events=2),
        shutdown_on_exit=False,
    )
    processor = ReliableSpanProcessor(exported, spool=False, on_sigterm=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("scope", "1.2", "https://schema/scope", {"scope": 1})
    other = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1))
    with (
        tracer.start_as_current_span("parent"),
        tracer.start_as_current_span("child", kind=SpanKind.CLIENT, links=[Link(other, {"why": "retry"})]) as span,
    ):
        for number in range(8):
            span.set_attribute(f"a{number}", number)
        span.set_attributes({"text": "grün", "yes": True, "half": 0.5, "many": [1, 2], "raw": b"\0\1"})
        for number in range(3):
            span.add_event(f"event {number}", {"n": number}, timestamp=1000 + number)
        span.set_status(Status(StatusCode.ERROR, "broken"))
    provider.shutdown()
    return exported.get_finished_spans()[0]


def test_the_exporter_with_an_encoder_of_its_own_sends_what_opentelemetrys_sends(destination: Destination) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    spans = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    with provider.get_tracer("tests").start_as_current_span("one", attributes={"a": 1}) as span:
        span.add_event("event")

    for exporter in (OTLPSpanExporter(destination.endpoint), otlp.OTLPSpanExporter(destination.endpoint)):
        assert exporter.export(spans.get_finished_spans()) is SpanExportResult.SUCCESS

    assert destination.requests[0] == destination.requests[1]


def test_a_span_is_the_same_after_it_was_on_disk() -> None:
    span = rich_span()
    span._context = SpanContext(
        span.context.trace_id, span.context.span_id, False, TraceFlags(1), TraceState([("vendor", "x")])
    )
    body = encode([span])

    [again] = decode(body)

    assert ExportTraceServiceRequest.FromString(encode([again])) == ExportTraceServiceRequest.FromString(body)
    assert (again.dropped_attributes, again.dropped_events) == (span.dropped_attributes, span.dropped_events)
    assert dict(again.attributes or {}) == dict(span.attributes or {})
    assert (again.parent and again.parent.span_id) == (span.parent and span.parent.span_id)


def test_another_credential_has_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OTEL_OBS_DATA_DIR", str(tmp_path))

    def folder(key: str) -> Path | None:
        return spool_folder(OTLPSpanExporter("http://127.0.0.1:1/v1/traces", headers={"authorization": key}), None)

    assert folder("a") == folder("a")
    assert folder("a") != folder("b")
    assert spool_folder(OTLPSpanExporter(), "billing") == tmp_path / "spool" / "billing"


@pytest.mark.parametrize("is_there", [True, False], ids=["there", "away"])
def test_a_program_that_just_ends_loses_nothing(destination: Destination, tmp_path: Path, is_there: bool) -> None:
    if not is_there:
        destination.stop()

    code, errors = ended(program(destination, tmp_path, "work('one', 'two')"))

    assert (code, "Traceback" in errors) == (0, False)
    if not is_there:
        assert destination.names == []
        destination.start()
        drain(destination, tmp_path)
    assert destination.names == ["one", "two"]


def test_spans_that_end_while_the_program_ends_arrive(destination: Destination, tmp_path: Path) -> None:
    before = "import atexit; atexit.register(lambda: work('late')); atexit.register(lambda: work('later'))"

    code, errors = ended(program(destination, tmp_path, "work('in time')", before=before))

    assert (code, "Traceback" in errors) == (0, False)
    assert destination.names == ["in time", "later", "late"]


@pytest.mark.parametrize("is_there", [True, False], ids=["there", "away"])
def test_sigterm_ends_a_program_after_its_spans_are_safe(
    destination: Destination, tmp_path: Path, is_there: bool
) -> None:
    if not is_there:
        destination.stop()
    process = program(destination, tmp_path, "work('one', 'two'); say('ready'); signal.pause(); signal.pause()")
    heard(process, "ready")

    process.terminate()

    code, errors = ended(process)
    assert (code, "Traceback" in errors) == (-signal.SIGTERM, False)
    if not is_there:
        destination.start()
        drain(destination, tmp_path)
    assert destination.names == ["one", "two"]


def test_a_handler_of_sigterm_that_was_there_before_is_called_after_the_spans_are_safe(
    destination: Destination, tmp_path: Path
) -> None:
    process = program(
        destination,
        tmp_path,
        "work('one'); say('ready')\nwhile True: time.sleep(0.01)",
        before="def stop(*_):\n    say(f'stopped, {processor.counts.exported} sent'); sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, stop)",
    )
    heard(process, "ready")

    process.terminate()

    heard(process, "stopped, 1 sent")
    assert ended(process)[0] == 7


def test_a_second_sigterm_ends_the_program_at_once(destination: Destination, tmp_path: Path) -> None:
    body = (
        "def hang(spans):\n    say('hanging')\n    time.sleep(3600)\n"
        "processor._place.current().export = hang\n"
        "work('one'); say('ready')\nwhile True: time.sleep(0.01)"
    )
    process = program(destination, tmp_path, body, limits=PATIENT + ", slow_call_s=3600, shutdown_timeout_s=3600")
    heard(process, "ready")
    process.terminate()
    heard(process, "hanging")

    process.terminate()

    assert ended(process)[0] == -signal.SIGTERM


def test_a_program_that_ignores_sigterm_goes_on_to_do_so(destination: Destination, tmp_path: Path) -> None:
    process = program(
        destination,
        tmp_path,
        "say('ready'); sys.stdin.readline(); say(signal.getsignal(signal.SIGTERM).name)",
        before="signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    )
    heard(process, "ready")

    heard(process, "SIG_IGN")
    assert ended(process)[0] == 0


def test_what_a_flush_has_confirmed_survives_kill_9(destination: Destination, tmp_path: Path) -> None:
    destination.stop()
    body = (
        "for number in range(1000000):\n    work(f'{number:05}')\n"
        "    if number % 5 == 4: say(str(processor.force_flush()) + ' ' + str(number + 1))"
    )
    confirmed = 0
    for turn in range(3):
        process = program(destination, tmp_path, body.replace("'{number:05}'", f"'{turn}-{{number:05}}'"))
        assert process.stdout is not None
        for _ in range(5 + 7 * turn):
            assert process.stdout.readline().startswith("True ")
        process.kill()
        rest = process.stdout.read().splitlines()
        process.communicate()
        assert all(line.startswith("True ") for line in rest[:-1])
        confirmed += 5 * (5 + 7 * turn + len(rest[:-1]))

    destination.start()
    drain(destination, tmp_path)

    by_process = [[name for name in destination.names if name.startswith(f"{turn}-")] for turn in range(3)]
    assert sum(map(len, by_process)) >= confirmed
    for turn, names in enumerate(by_process):
        assert names == [f"{turn}-{number:05}" for number in range(len(names))]


def test_a_child_of_multiprocessing_loses_nothing_and_sends_nothing_of_its_parents(
    destination: Destination, tmp_path: Path
) -> None:
    body = (
        "import multiprocessing\nwork('parent')\n"
        "child = multiprocessing.get_context('fork').Process(target=work, args=('child',))\n"
        "child.start(); child.join(); say(str(child.exitcode))"
    )

    process = program(destination, tmp_path, body)

    heard(process, "0")
    ended(process)
    assert destination.counted == {"parent": 1, "child": 1}


def test_forked_children_that_flush_or_just_exit_lose_nothing(destination: Destination, tmp_path: Path) -> None:
    body = (
        "work('parent 1')\nchildren = []\n"
        "for number in range(20):\n"
        "    work(*[f'busy {number}'] * 100)\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        work(f'child {number}')\n"
        "        if number % 2: sys.exit(0)\n"
        "        os._exit(0 if processor.force_flush() else 1)\n"
        "    children.append(pid)\n"
        "say(str({os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children}))\n"
    )

    process = program(destination, tmp_path, body, limits="schedule_delay_s=0.001, max_batch_spans=7")

    heard(process, "{0}")
    assert "Traceback" not in ended(process)[1]
    drain(destination, tmp_path)
    expected = {f"child {number}": 1 for number in range(20)} | {f"busy {number}": 100 for number in range(20)}
    assert destination.counted == expected | {"parent 1": 1}


def test_a_callable_makes_an_exporter_for_each_process(exporter: Switchable, tmp_path: Path) -> None:
    made = multiprocessing.get_context("fork").SimpleQueue()

    def make() -> SpanExporter:
        made.put(os.getpid())
        return exporter

    application = Application(make, tmp_path)
    application.work("parent")
    assert application.provider.force_flush()
    pid = os.fork()
    if pid == 0:
        application.work("child")
        os._exit(0 if application.provider.force_flush() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    application.provider.shutdown()

    assert [made.get(), made.get()] == [os.getpid(), pid]


@pytest.mark.timeout(300)  # a busy machine starts PostgreSQL slowly
def test_spans_survive_an_outage_of_postgresql(started: list[Application], tmp_path: Path) -> None:
    with short_folder() as folder:
        server = EmbeddedPostgres(folder, durable=False)
        with server as uri:
            schema.migrate(uri)
            application = Application(PostgresSpanExporter(uri), tmp_path)
            started.append(application)
            application.work("before")
            assert application.provider.force_flush()
        until_stopped(folder)
        application.work(*numbered(20))
        outage = application.processor.flush(10)
        with EmbeddedPostgres(folder, durable=False) as uri, psycopg.connect(conninfo(uri)) as connection:
            application.work("after")

            def stored() -> list[str]:
                with connection.transaction():
                    return [name for (name,) in connection.execute("SELECT name FROM event_logs ORDER BY name")]

            until(lambda: len(stored()) == 22, 120)
            assert stored() == [*numbered(20), "after", "before"]
            application.provider.shutdown()

    assert outage.complete
    assert (outage.exported + outage.spooled, outage.waiting) == (21, 0)
    assert application.processor.counts.dropped == {}


def test_on_end_does_not_log_what_a_span_holds(
    application: Application, exporter: Switchable, caplog: pytest.LogCaptureFixture
) -> None:
    exporter.error = ValueError("secret prompt")
    with caplog.at_level(logging.DEBUG), application.tracer.start_as_current_span("secret name"):
        pass
    application.processor.flush()

    assert "secret" not in caplog.text
