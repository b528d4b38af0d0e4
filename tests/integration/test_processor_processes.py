"""Whatever makes processes, and however they end, no span is lost and none is sent twice."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from otel_obs.postgres.pool import conninfo
from tests.folders import files
from tests.programs import HTTP, Destination, drain, ended, heard, program, source, started
from tests.waiting import until

GRPC = "OTLPSpanExporter(endpoint, insecure=True, timeout=2)"
GRPC_IMPORT = "from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter"


@pytest.fixture
def destination() -> Iterator[Destination]:
    found = Destination()
    found.start()
    yield found
    found.stop()


def saved(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


WSGI = """
work('import')
say('ready')

def app(environ, start_response):
    work(environ['PATH_INFO'])
    start_response('200 OK', [('Content-Length', '0')])
    return []
"""


@pytest.mark.parametrize(
    ("preload", "is_there", "exporter"),
    [
        (True, True, HTTP),
        (True, False, f"lambda: {HTTP}"),
        (False, True, HTTP),
    ],
    ids=["preload", "preload, away", "no preload"],
)
def test_workers_of_gunicorn_lose_nothing_and_send_nothing_of_their_master(
    destination: Destination, tmp_path: Path, preload: bool, is_there: bool, exporter: str
) -> None:
    if not is_there:
        destination.stop()
    saved(tmp_path, "web.py", source(destination, tmp_path / "spool", WSGI, exporter=exporter))
    paths = [f"/{number}" for number in range(20)]
    imports = 1 if preload else 2
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        os.set_inheritable(number, True)  # its one argument
        command = ["-m", "gunicorn", "web:app", "--workers=2", f"--bind=fd://{number}", "--log-level=warning"]
        server = subprocess.Popen(
            [sys.executable, *command, *(["--preload"] if preload else [])],
            cwd=tmp_path, pass_fds=[number], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for _ in range(imports):
            heard(server, "ready")
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lambda path: got(listening.getsockname()[1], path), paths)) == {200}
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=120)

    assert "Traceback" not in errors
    if not is_there:
        assert destination.names == []
        destination.start()
        drain(destination, tmp_path / "spool")
    assert destination.counted == Counter([*paths, *["import"] * imports])


def got(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


CELERY = """
from celery import Celery
app = Celery('tasks', broker='filesystem://')
app.conf.broker_transport_options = {{
    'data_folder_in': {queue!r}, 'data_folder_out': {queue!r}, 'control_folder': {queue!r},
    'polling_interval': 0.05,
}}

@app.task(name='work')
def task(name):
    work(name)

if sys.argv[1] == 'send':
    for name in sys.argv[2:]:
        app.send_task('work', [name])
elif sys.argv[1:] == ['serve']:
    app.worker_main(['worker', '--pool=prefork', '--concurrency=1', '--max-tasks-per-child=1', '--loglevel=error',
                     '--without-gossip', '--without-mingle', '--without-heartbeat'])
"""


def test_a_worker_of_celery_that_ends_after_its_task_loses_nothing(destination: Destination, tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    code = source(destination, tmp_path / "spool", CELERY.format(queue=str(tmp_path / "queue")))
    tasks = [sys.executable, str(saved(tmp_path, "tasks.py", code))]
    worker = started([*tasks, "serve"], tmp_path)
    try:
        assert ended(started([*tasks, "send", "one", "two"], tmp_path))[0] == 0
        until(lambda: set(destination.names) == {"one", "two"})
        destination.stop()
        assert ended(started([*tasks, "send", "three"], tmp_path))[0] == 0
        until(lambda: files(tmp_path / "spool", "*.spool"))
    finally:
        worker.terminate()
        _, errors = ended(worker)

    assert "Traceback" not in errors
    destination.start()
    drain(destination, tmp_path / "spool")
    assert destination.counted == {"one": 1, "two": 1, "three": 1}


MULTIPROCESSING = """
if __name__ == '__main__':
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    context = multiprocessing.get_context('{method}')
    work('parent')
    child = context.Process(target=work, args=('process',))
    child.start()
    child.join()
    with context.Pool(2) as pool:
        pool.map(work, ['pool 1', 'pool 2', 'pool 3'])
    pool.join()
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        list(executor.map(work, ['executor 1', 'executor 2']))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_lose_nothing(destination: Destination, tmp_path: Path, method: str) -> None:
    code = source(destination, tmp_path / "spool", MULTIPROCESSING.format(method=method))

    exit_code, errors = ended(started([sys.executable, str(saved(tmp_path, "program.py", code))]))

    assert (exit_code, "Traceback" in errors) == (0, False)
    names = ["parent", "process", "pool 1", "pool 2", "pool 3", "executor 1", "executor 2"]
    assert destination.counted == Counter(names)


def test_two_hundred_forks_amid_spans_of_other_threads_end_without_a_deadlock(
    destination: Destination, tmp_path: Path
) -> None:
    body = (
        "ended, stop = [], threading.Event()\n"
        "def busy():\n"
        "    while not stop.wait(0.0005):\n"
        "        work(f'busy {len(ended)}'); ended.append(1)\n"
        "thread = threading.Thread(target=busy); thread.start()\n"
        "codes = set()\n"
        "for number in range(200):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        work(f'child {number}')\n"
        "        os._exit(0 if processor.force_flush() else 1)\n"
        "    codes.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "stop.set(); thread.join()\n"
        "say(f'{codes} {len(ended)}')\n"
    )

    process = program(destination, tmp_path, body, limits="schedule_delay_s=0.001, max_batch_spans=5")

    assert process.stdout is not None
    codes, _, busy = process.stdout.readline().strip().partition(" ")
    assert ended(process)[0] == 0
    assert codes == "{0}"
    drain(destination, tmp_path)
    assert destination.counted == Counter(
        [f"child {number}" for number in range(200)] + [f"busy {number}" for number in range(int(busy))]
    )


def test_a_fork_that_ends_by_os_exit_without_a_flush_loses_its_spans_and_only_its_own(
    destination: Destination, tmp_path: Path
) -> None:
    body = (
        "work('parent')\npid = os.fork()\n"
        "if pid == 0:\n    work('lost')\n    os._exit(0)\n"
        "os.waitpid(pid, 0)"
    )  # fmt: skip

    assert ended(program(destination, tmp_path, body))[0] == 0

    assert destination.names == ["parent"]


def test_threads_that_go_on_while_the_program_ends_harm_nothing(destination: Destination, tmp_path: Path) -> None:
    body = (
        "def busy(number):\n"
        "    while True:\n        work(f'thread {number}')\n        time.sleep(0.001)\n"
        "for number in range(3):\n"
        "    threading.Thread(target=busy, args=(number,), daemon=True).start()\n"
        "work('main')\ntime.sleep(0.05)"
    )

    code, errors = ended(program(destination, tmp_path, body, limits="schedule_delay_s=0.01"))

    assert (code, errors) == (0, "")
    assert destination.counted["main"] == 1


def test_spans_of_a_provider_that_nobody_refers_to_any_more_arrive(destination: Destination, tmp_path: Path) -> None:
    body = (
        "import gc\n"
        "def local():\n"
        "    mine = ReliableSpanProcessor(OTLPSpanExporter(endpoint), spool=spool, limits=processor.limits)\n"
        "    local_provider = TracerProvider(shutdown_on_exit=False)\n"
        "    local_provider.add_span_processor(mine)\n"
        "    local_provider.get_tracer('local').start_span('one').end()\n"
        "local(); gc.collect()"
    )

    assert ended(program(destination, tmp_path, body))[0] == 0

    assert destination.names == ["one"]


@pytest.mark.parametrize("error", ["SystemExit(3)", "RuntimeError('no')"])
def test_an_exporter_that_raises_while_the_program_ends_costs_no_span(
    destination: Destination, tmp_path: Path, error: str
) -> None:
    before = f"class Broken(OTLPSpanExporter):\n    def export(self, spans): raise {error}\n    shutdown = export"

    code, errors = ended(program(destination, tmp_path, "work('one')", before=before, exporter="Broken(endpoint)"))

    assert (code, "Traceback" in errors) == (0, False)
    drain(destination, tmp_path)
    assert destination.names == ["one"]


def test_a_handler_that_an_event_loop_has_of_sigterm_is_called_once(destination: Destination, tmp_path: Path) -> None:
    body = (
        "import asyncio\n"
        "async def main():\n"
        "    stopping, calls = asyncio.Event(), []\n"
        "    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: (calls.append(1), stopping.set()))\n"
        "    to = OTLPSpanExporter(endpoint, timeout=1)\n"
        "    again = ReliableSpanProcessor(to, spool=spool, limits=processor.limits)\n"
        "    provider.add_span_processor(again)\n"
        "    work('one'); say('ready')\n"
        "    await stopping.wait()\n"
        "    again.shutdown()\n"
        "    await asyncio.sleep(0.1)\n"
        "    say(f'{len(calls)} call')\n"
        "asyncio.run(main())"
    )
    process = program(destination, tmp_path, body)
    heard(process, "ready")

    process.terminate()

    heard(process, "1 call")
    assert ended(process)[0] == 0
    assert destination.names == ["one", "one"]


class GrpcDestination(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP/gRPC server that can go away and come back."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._port = 0
        self.start()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()

    def Export(  # noqa: N802  # the service's name for it
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        del context
        for resource_spans in request.resource_spans:
            for scope_spans in resource_spans.scope_spans:
                self.names += [span.name for span in scope_spans.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


def test_the_stock_exporter_over_grpc_is_carried_through_an_outage_and_forks(tmp_path: Path) -> None:
    over_grpc = GrpcDestination()
    body = (
        "work('before'); say(str(processor.flush().exported))\n"
        "sys.stdin.readline()\n"
        "work('during'); result = processor.flush(10); say(f'{result.complete} {result.spooled}')\n"
        "sys.stdin.readline()\n"
        "codes = set()\n"
        "for number in range(5):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        work(f'child {number}')\n"
        "        os._exit(0 if processor.flush().exported else 1)\n"
        "    codes.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "say(str(codes))"
    )
    places = Destination()
    code = source(places, tmp_path, body, before=GRPC_IMPORT, exporter=GRPC, limits="schedule_delay_s=0.05")
    code = code.replace(places.endpoint, over_grpc.endpoint)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    try:
        heard(process, "1")
        over_grpc.stop()
        print(file=process.stdin, flush=True)
        heard(process, "True 1")
        over_grpc.start()
        print(file=process.stdin, flush=True)
        heard(process, "{0}")
        assert ended(process)[0] == 0
    finally:
        process.kill()
        with process:  # what it left is of no interest to other tests
            over_grpc.stop()

    waiting = files(tmp_path, "*.spool")
    assert Counter(over_grpc.names) + Counter(["during"] * len(waiting)) == Counter(
        ["before", "during", *[f"child {number}" for number in range(5)]]
    )


def test_forked_children_write_to_postgresql_over_connections_of_their_own(
    destination: Destination, tmp_path: Path, database: str, connection: psycopg.Connection
) -> None:
    body = (
        "work('parent'); codes = set()\n"
        "assert processor.force_flush()\n"
        "for number in range(4):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        work(f'child {number}')\n"
        "        os._exit(0 if processor.flush().exported else 1)\n"
        "    codes.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "work('parent again')\n"
        "say(f'{codes} {processor.flush().exported}')"
    )
    process = program(
        destination,
        tmp_path,
        body,
        before="from otel_obs.exporter import PostgresSpanExporter",
        exporter=f"PostgresSpanExporter({conninfo(database)!r})",
    )

    heard(process, "{0} 2")
    assert ended(process)[0] == 0
    names = [name for (name,) in connection.execute("SELECT name FROM event_logs ORDER BY name")]
    assert names == ["child 0", "child 1", "child 2", "child 3", "parent", "parent again"]
