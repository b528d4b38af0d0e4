"""Our processor and our exporter without a line of code, as OpenTelemetry lets one choose them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from otel_obs.postgres.pool import conninfo
from tests.command import NO_SERVER, environment
from tests.folders import files
from tests.programs import Destination, drain

APPLICATION = "from opentelemetry import trace\ntrace.get_tracer('app').start_span('one').end()"
ONLY_TRACES = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
QUICKLY = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"}
FILE = """
file_format: "1.0"
tracer_provider:
  processors:
    - batch:
        schedule_delay: 60000
        exporter:
          otel_obs:
            database_url: "{database_url}"
"""


def instrumented(**environ: str) -> str:
    """Run the application with ``opentelemetry-instrument``; return what it says on standard error."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable, "-c", APPLICATION],
        env=environment(**QUICKLY, **environ), check=True, timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    return done.stderr


def chosen(configurator: str) -> dict[str, str]:
    return {"OTEL_PYTHON_CONFIGURATOR": configurator} if configurator else {}


def stored(connection: psycopg.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM event_logs")]


@pytest.mark.parametrize("exporter", ["otlp_proto_http", "otlp_proto_grpc", "otel_obs_otlp"])
def test_the_configurator_puts_the_exporters_of_otlp_behind_the_processor(tmp_path: Path, exporter: str) -> None:
    destination = Destination()

    instrumented(
        OTEL_PYTHON_CONFIGURATOR="otel_obs",
        OTEL_TRACES_EXPORTER=exporter,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=destination.endpoint,
        OTEL_EXPORTER_OTLP_TRACES_TIMEOUT="1",
        OTEL_OBS_DATA_DIR=str(tmp_path),
        **ONLY_TRACES,
    )

    [folder] = (tmp_path / "spool").iterdir()
    assert folder.name.startswith("OTLPSpanExporter-")
    destination.start()
    drain(destination, folder)
    destination.stop()
    assert destination.names == ["one"]


@pytest.mark.parametrize("configurator", ["otel_obs", ""], ids=["reliable", "the SDK's own processor"])
def test_the_exporter_to_postgresql_is_chosen_by_its_name(
    database: str, connection: psycopg.Connection, tmp_path: Path, configurator: str
) -> None:
    instrumented(
        **chosen(configurator),
        OTEL_TRACES_EXPORTER="otel_obs",
        OTEL_OBS_DATABASE_URL=conninfo(database),
        OTEL_OBS_DATA_DIR=str(tmp_path),
        **ONLY_TRACES,
    )

    assert stored(connection) == ["one"]


@pytest.mark.parametrize("configurator", ["otel_obs", ""], ids=["reliable", "the SDK's own processor"])
def test_the_exporter_to_postgresql_stands_in_a_declarative_configuration(
    database: str, connection: psycopg.Connection, tmp_path: Path, configurator: str
) -> None:
    file = tmp_path / "otel.yaml"
    file.write_text(FILE.format(database_url=conninfo(database)))

    errors = instrumented(**chosen(configurator), OTEL_CONFIG_FILE=str(file), OTEL_OBS_DATA_DIR=str(tmp_path))

    assert "Traceback" not in errors
    assert stored(connection) == ["one"]


def test_a_batch_of_a_declarative_configuration_is_on_disk_while_postgresql_is_away(tmp_path: Path) -> None:
    file = tmp_path / "otel.yaml"
    file.write_text(FILE.format(database_url=NO_SERVER))

    instrumented(OTEL_PYTHON_CONFIGURATOR="otel_obs", OTEL_CONFIG_FILE=str(file), OTEL_OBS_DATA_DIR=str(tmp_path))

    assert files(tmp_path / "spool", "*.spool")
