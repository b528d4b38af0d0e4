"""The pipelines of collector/, as the real Collector reads them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command import ROOT
from tests.fix_collector import PIPELINES, Certificates

NAMES = ("agent", "gateway", "kafka-producer", "kafka-consumer")
MANIFEST = ROOT / "collector" / "builder" / "manifest.yaml"
SENDER = ["authorization", "x-api-key", "x-otel-obs-workspace"]
"""The headers that say whose data it is."""
DELIBERATELY_DIFFERENT = {"kafka-consumer"}
"""What it reads was masked before it was written."""


def pipeline(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((PIPELINES / f"{name}.yaml").read_text())
    return found


def components(name: str) -> set[str]:
    """Return the types of the components that are in use, such as ``exporter/otlp_grpc``."""
    service = pipeline(name)["service"]
    kinds = [("extension", service["extensions"])]
    for parts in service["pipelines"].values():
        kinds += [(kind.removesuffix("s"), used) for kind, used in parts.items()]
    return {f"{kind}/{component.partition('/')[0]}" for kind, used in kinds for component in used}


def test_there_is_a_test_of_each_pipeline() -> None:
    assert {path.stem for path in PIPELINES.glob("*.yaml")} == {*NAMES, "kustomization"}


@pytest.mark.parametrize("name", NAMES)
def test_the_collector_takes_the_pipeline(name: str, otelcol: Path, certificates: Certificates, tmp_path: Path) -> None:
    done = subprocess.run(
        [otelcol, "validate", "--config", PIPELINES / f"{name}.yaml"],
        env={
            "OTELCOL_UPSTREAM": "localhost:4317",
            "OTELCOL_STORAGE": str(tmp_path),
            "OTELCOL_TLS_CERT": str(certificates.certificate),
            "OTELCOL_TLS_KEY": str(certificates.key),
            "OTELCOL_KAFKA_BROKERS": "[localhost:9092, localhost:9093]",
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr


def test_the_collector_consists_of_what_the_pipelines_use(otelcol: Path) -> None:
    listed = subprocess.run([otelcol, "components"], capture_output=True, text=True, check=True)
    built = yaml.safe_load(listed.stdout)

    names = {
        f"{kind}/{component['name']}"
        for kind in ("receiver", "processor", "exporter", "extension")
        for component in built[f"{kind}s"]
    }

    assert names == set().union(*(components(name) for name in NAMES))


def test_one_release_is_pinned() -> None:
    manifest = yaml.safe_load(MANIFEST.read_text())
    makefile = (ROOT / "Makefile").read_text()

    versions = [
        part["gomod"].split()
        for kind in ("receivers", "processors", "exporters", "extensions")
        for part in manifest[kind]
    ]

    release = re.search(r"^OTELCOL_RELEASE := (.*)$", makefile, re.MULTILINE)
    assert release
    assert manifest["dist"]["version"] == release[1]
    others = {module.rsplit("/", 1)[1]: version for module, version in versions if version != f"v{release[1]}"}
    assert others == {"headerssetterextension": "v0.148.0"}


@pytest.mark.parametrize("name", NAMES)
def test_what_was_acknowledged_outlives_the_process_and_any_outage(name: str) -> None:
    found = pipeline(name)

    assert found["extensions"]["file_storage"]["fsync"] is True
    assert found["extensions"]["file_storage"]["directory_permissions"] == "0700"
    for exporter in found["exporters"].values():
        assert exporter["retry_on_failure"]["max_elapsed_time"] == 0
        assert exporter["sending_queue"]["storage"] == "file_storage"


@pytest.mark.parametrize("name", NAMES)
def test_whose_it_is_survives_queue_and_batch(name: str) -> None:
    found = pipeline(name)

    for exporter, settings in found["exporters"].items():
        assert settings["sending_queue"]["batch"]["partition"]["metadata_keys"] == SENDER
        if exporter == "kafka":
            assert settings["include_metadata_keys"] == SENDER
        else:
            assert settings["auth"] == {"authenticator": "headers_setter"}
    for protocol in found["receivers"].get("otlp", {}).get("protocols", {}).values():
        assert protocol["include_metadata"] is True
    if "headers_setter" in found["extensions"]:
        headers = found["extensions"]["headers_setter"]["headers"]
        assert [(header["key"], header["from_context"]) for header in headers] == [(name, name) for name in SENDER]


@pytest.mark.parametrize("name", NAMES)
def test_memory_is_looked_at_first_and_health_can_be_asked_for(name: str) -> None:
    service = pipeline(name)["service"]

    assert "health_check" in service["extensions"]
    assert set(service["pipelines"]) == {"traces", "logs"}
    for parts in service["pipelines"].values():
        assert parts["processors"][0] == "memory_limiter"


def test_secrets_are_the_same_wherever_applications_send_to() -> None:
    senders = [pipeline(name) for name in NAMES if name not in DELIBERATELY_DIFFERENT]

    for found in senders:
        assert found["processors"] == senders[0]["processors"]
        for parts in found["service"]["pipelines"].values():
            assert "redaction" in parts["processors"]
    patterns = senders[0]["processors"]["redaction"]["blocked_values"]
    statements = senders[0]["processors"]["transform/status"]["trace_statements"]
    quoted = [pattern.replace("\\", "\\\\").replace('"', '\\"') for pattern in patterns]
    assert statements == [f'replace_pattern(span.status.message, "{pattern}", "****")' for pattern in quoted]


def test_names_of_tokens_are_not_names_of_secrets() -> None:
    masked = [re.compile(pattern) for pattern in pipeline("agent")["processors"]["redaction"]["blocked_key_patterns"]]
    kept = (
        "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "llm.token_count.prompt", "gen_ai.token.type",
        "otel_obs.organization.id", "session.id", "gen_ai.request.max_tokens", "llm.usage.total_tokens",
    )  # fmt: skip
    gone = (
        "api_key", "openai.api_key", "db.password", "http.request.header.authorization", "client_secret",
        "aws.access_token", "http.response.header.set-cookie",
    )  # fmt: skip

    assert not [name for name in kept if any(pattern.search(name) for pattern in masked)]
    assert [name for name in gone if any(pattern.search(name) for pattern in masked)] == list(gone)


def test_the_readme_lists_the_settings_that_there_are() -> None:
    texts = [(PIPELINES / f"{name}.yaml").read_text() for name in NAMES]
    readme = (ROOT / "collector" / "README.md").read_text()

    known = {name for text in texts for name in re.findall(r"\$\{env:(\w+)", text)}

    rows = [line.split("|")[1] for line in readme.splitlines() if line.startswith("| `OTELCOL_")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == known


def test_the_command_of_the_readme_validates(otelcol: Path) -> None:
    readme = (ROOT / "collector" / "README.md").read_text()
    (line,) = re.findall(r"^(OTELCOL_\w+=.* validate .*)$", readme, re.MULTILINE)

    done = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, check=False)

    assert str(otelcol.relative_to(ROOT)) in line
    assert done.returncode == 0, done.stderr
