"""What operators deploy maintenance with: units of systemd, manifests of Kubernetes."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_obs.cli.main import subcommand
from otel_obs.maintenance.slots import Schedule
from otel_obs.settings import PREFIX, SETTINGS

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = ROOT / "collector" / "deploy" / "systemd"
K8S = ROOT / "collector" / "deploy" / "k8s"
NAMES = {PREFIX + setting.name for setting in SETTINGS}
UNITS = sorted(SYSTEMD.glob("otel-obs-maintain*"))
MANIFESTS = sorted(K8S.glob("maintain-*.yaml"))


def _unit(path: Path) -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read_string(path.read_text())
    return found


def _accepted(arguments: list[str]) -> None:
    """Have the command read *arguments*; what it does not know is an error."""
    name, *rest = arguments
    subcommand(name).make_context(name, rest)


def _manifest(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def _pod(manifest: dict[str, Any]) -> dict[str, Any]:
    spec = manifest["spec"]
    if manifest["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    found: dict[str, Any] = spec["template"]["spec"]
    return found


def test_there_are_units_and_manifests_for_both_ways() -> None:
    assert [path.name for path in UNITS] == [
        "otel-obs-maintain-once.service", "otel-obs-maintain-once.timer", "otel-obs-maintain.service",
    ]  # fmt: skip
    assert [_manifest(path)["kind"] for path in MANIFESTS] == ["CronJob", "Deployment"]


@pytest.mark.parametrize("path", [path for path in UNITS if path.suffix == ".service"], ids=lambda path: path.name)
def test_a_service_runs_a_command_that_exists_with_settings_that_exist(path: Path) -> None:
    service = _unit(path)["Service"]
    program, *arguments = service["ExecStart"].split()

    assert Path(program).name == "otel-obs"
    _accepted(arguments)
    assert set(re.findall(r"OTEL_OBS_[A-Z_]+", path.read_text())) <= NAMES
    assert ("--once" in arguments) == (service["Type"] == "oneshot")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    for path in UNITS:
        text = re.sub(r"^(ExecStart=)\S+", rf"\1{sys.executable}", path.read_text(), flags=re.MULTILINE)
        (tmp_path / path.name).write_text(text)

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / path.name) for path in UNITS)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    told = [line for line in done.stderr.splitlines() if "otel-obs" in line]
    assert told == []


def test_the_timer_rings_when_the_daemon_would_run() -> None:
    timer = _unit(SYSTEMD / "otel-obs-maintain-once.timer")["Timer"]
    default = next(setting.default for setting in SETTINGS if setting.name == "RETENTION_SCHEDULE")

    assert (timer["OnCalendar"], timer["Persistent"]) == ("*-*-* 02:00:00 UTC", "true")
    assert default == "0 2 * * *"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_runs_a_command_that_exists_with_settings_that_exist(path: Path) -> None:
    manifest = _manifest(path)
    pod = _pod(manifest)
    (container,) = pod["containers"]
    env = {item["name"]: item for item in container["env"]}

    _accepted(container["args"])
    assert set(env) <= NAMES
    assert "valueFrom" in env["OTEL_OBS_DATABASE_URL"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    labels = manifest["metadata"]["labels"]
    assert manifest["spec"].get("selector", {"matchLabels": labels})["matchLabels"] == labels


def test_the_cron_job_runs_at_two_utc_and_never_twice() -> None:
    spec = _manifest(K8S / "maintain-cronjob.yaml")["spec"]

    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == ("0 2 * * *", "Etc/UTC", "Forbid")
    assert _pod({"kind": "CronJob", "spec": spec})["containers"][0]["args"][:2] == ["maintain", "--once"]


def test_the_deployment_is_asked_where_it_listens() -> None:
    (container,) = _pod(_manifest(K8S / "maintain-deployment.yaml"))["containers"]
    env = {item["name"]: item.get("value") for item in container["env"]}
    (port,) = container["ports"]

    assert env["OTEL_OBS_API_ENDPOINT"] == f"0.0.0.0:{port['containerPort']}"
    assert Schedule(env["OTEL_OBS_RETENTION_SCHEDULE"])
    probes = {name: container[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")}
    assert probes == {
        "livenessProbe": {"path": "/healthz", "port": port["name"]},
        "readinessProbe": {"path": "/readyz", "port": port["name"]},
    }
