"""How is the package built? With the modules of the hot path compiled by mypyc, where there is a C compiler.

A wheel has them compiled, an editable install has not. ``OTEL_OBS_COMPILE=1`` wants it in any case, and fails where it
cannot be; with ``0`` nothing is compiled. The source is in every wheel: tracebacks show it.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "OTEL_OBS_COMPILE"
COMPILED = (
    "otel_obs/dialects/*.py",
    "otel_obs/instrumentation/paths.py",
    "otel_obs/instrumentation/response.py",
    "otel_obs/instrumentation/usage.py",
    "otel_obs/model.py",
    "otel_obs/otlp/attributes.py",
    "otel_obs/otlp/decode.py",
    "otel_obs/otlp/decode_json.py",
    "otel_obs/otlp/sdk.py",
    "otel_obs/otlp/values.py",
    "otel_obs/pipeline/batching.py",
    "otel_obs/pipeline/clusters.py",
    "otel_obs/pipeline/identity.py",
    "otel_obs/pipeline/ingest.py",
    "otel_obs/pipeline/mapping.py",
    "otel_obs/pipeline/rounds.py",
    "otel_obs/pipeline/runs.py",
    "otel_obs/pipeline/settle.py",
    "otel_obs/pipeline/strangers.py",
    "otel_obs/pipeline/totals.py",
    "otel_obs/pipeline/tree.py",
    "otel_obs/pipeline/whole.py",
    "otel_obs/pricing/book.py",
    "otel_obs/pricing/catalog.py",
    "otel_obs/pricing/models.py",
    "otel_obs/pricing/price.py",
    "otel_obs/pricing/rows.py",
    "otel_obs/processor/buffer.py",
    "otel_obs/processor/wire.py",
    "otel_obs/remembering.py",
    "otel_obs/rows/build.py",
    "otel_obs/rows/context.py",
    "otel_obs/rows/masking.py",
    "otel_obs/rows/meaning.py",
    "otel_obs/rows/prefixes.py",
    "otel_obs/rows/redaction.py",
    "otel_obs/rows/report.py",
    "otel_obs/rows/summary.py",
    "otel_obs/tenancy.py",
)
"""What a span goes through from its bytes to its rows, and what an application's threads and its sender do for one most
often: reading a provider's answer, measuring and encoding spans. Rows themselves are not in it: who reads them from
disk asks for the types of their columns, which compiled named tuples do not know."""
_SETUP = """
from mypyc.build import mypycify
from setuptools import setup

options = ["--config-file=", "--ignore-missing-imports", "--python-version=3.10"]
setup(
    name="otel_obs",
    packages=[],
    py_modules=[],
    ext_modules=mypycify([*options, *{modules!r}], group_name="otel_obs", debug_level="0", multi_file=True),
)
"""
"""``--config-file=``: what other packages are there to be looked at changes nothing of what is made."""


class CompileHook(BuildHookInterface):  # type: ignore[type-arg]  # Any configuration
    """Compiles, and tells hatchling that the wheel is for this Python and this platform."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what compiling needs beside a C compiler."""
        return [] if os.environ.get(VARIABLE) == "0" else ["mypy[mypyc]>=2.4,<3"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile where that is wanted; what is made goes into the wheel, or beside the source that is installed."""
        asked, root, is_editable = os.environ.get(VARIABLE), Path(self.root), version == "editable"
        self._scratch = tempfile.TemporaryDirectory()
        scratch = Path(self._scratch.name)
        if is_editable:
            for stale in made_in(root):
                (root / stale).unlink()
        if asked == "0" or (is_editable and asked != "1"):
            return
        try:
            made = compiled(root, scratch)
        except NotCompiledError as error:
            if asked == "1":
                raise
            self.app.display_warning(f"otel_obs is built as pure Python, which is slower: {error}")
            return
        if is_editable:
            for path in made:
                shutil.copy(scratch / path, root / path)
        else:
            build_data.update(pure_python=False, infer_tag=True)
            build_data["force_include"].update({str(scratch / path): str(path) for path in made})

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Leave nothing behind."""
        del version, build_data, artifact_path
        self._scratch.cleanup()


class NotCompiledError(Exception):
    """There is no C compiler, or it cannot compile this."""


def compiled(root: Path, scratch: Path) -> list[Path]:
    """Compile the package of *root* in *scratch*; return what was made there.

    Raises:
        NotCompiledError: nothing was made.
    """
    shutil.copytree(root / "otel_obs", scratch / "otel_obs", ignore=shutil.ignore_patterns(*MADE, "__pycache__"))
    modules = sorted(path for pattern in COMPILED for path in scratch.glob(pattern) if path.name != "__init__.py")
    for module in modules:
        module.write_text(spelled_out(module.read_text(encoding="utf-8")), encoding="utf-8")
    names = [str(module.relative_to(scratch)) for module in modules]
    (scratch / "setup.py").write_text(_SETUP.format(modules=names))
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", "--parallel", str(os.cpu_count() or 1)]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotCompiledError((done.stderr or done.stdout).strip().rpartition("\n")[2])
    return made_in(scratch)


MADE = ("*.so", "*.pyd")


def made_in(folder: Path) -> list[Path]:
    """Return what compiling made in *folder*, relative to it."""
    found = [*folder.glob("otel_obs__mypyc*"), *(folder / "otel_obs").rglob("*")]
    return [path.relative_to(folder) for path in found if any(path.match(pattern) for pattern in MADE)]


def spelled_out(source: str) -> str:
    """Return *source* with the methods of each dataclass of ``otel_obs.frozen`` written out, on the same lines.

    What ``dataclasses`` writes when the program starts is interpreted; what stands in the source is compiled. And as a
    compiled object has no ``__dict__``, it has to say what it is copied and pickled with.
    """
    module = ast.parse(source)
    if not any(isinstance(node, ast.ImportFrom) and node.module == "otel_obs.frozen" for node in module.body):
        return source
    lines = [*source.replace("from otel_obs.frozen import", "from dataclasses import").split("\n"), "", ""]
    for found in module.body:
        if isinstance(found, ast.ClassDef):
            for decorator in filter(_is_frozen, found.decorator_list):
                lines[decorator.lineno - 1] = "@dataclass(init=False, unsafe_hash=True)"
                # The formatter leaves two empty lines after a class.
                after = found.end_lineno or 0
                lines[after : after + 2] = [f"    {method}" for method in _methods(found)]
    return "\n".join(lines)


def _is_frozen(decorator: ast.expr) -> bool:
    return (
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Name)
        and decorator.func.id == "dataclass"
        and any(option.arg == "frozen" for option in decorator.keywords)
    )


def _methods(found: ast.ClassDef) -> tuple[str, str]:
    names, parameters, assignments = [], [], []
    for field in found.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            name, kind, (value, make) = field.target.id, ast.unparse(field.annotation), _default(field)
            names.append(f"self.{name}, ")
            if make is None:
                parameters.append(f"{name}: {kind}" if value is None else f"{name}: {kind} = {ast.unparse(value)}")
                assignments.append(f"self.{name} = {name}")
            else:
                parameters.append(f"{name}: {kind} | None = None")
                assignments.append(f"self.{name} = {ast.unparse(make)}() if {name} is None else {name}")
    return (
        f"def __init__(self, {', '.join(parameters)}) -> None: {'; '.join(assignments)}",
        f"def __reduce__(self) -> tuple[object, ...]: return type(self), ({''.join(names)})",
    )


def _default(field: ast.AnnAssign) -> tuple[ast.expr | None, ast.expr | None]:
    """Return the default of *field*, and what makes one for each object; None for what it has not."""
    value = field.value
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "field":
        said = {option.arg: option.value for option in value.keywords}
        return said.get("default"), said.get("default_factory")
    return value, None
