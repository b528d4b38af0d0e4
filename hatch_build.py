"""How is the package built? With the modules of the hot path compiled by mypyc, where there is a C compiler.

A wheel has them compiled, an editable install has not. ``OTEL_OBS_COMPILE=1`` wants it in any case, and fails where it
cannot be; with ``0`` nothing is compiled. The source stays in the wheel: it is what is read, and what other Pythons run.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "OTEL_OBS_COMPILE"
COMPILED = (
    "otel_obs/dialects/*.py",
    "otel_obs/model.py",
    "otel_obs/otlp/attributes.py",
    "otel_obs/otlp/decode.py",
    "otel_obs/otlp/decode_json.py",
    "otel_obs/otlp/values.py",
    "otel_obs/pipeline/identity.py",
    "otel_obs/pipeline/ingest.py",
    "otel_obs/pipeline/mapping.py",
    "otel_obs/pipeline/runs.py",
    "otel_obs/pipeline/settle.py",
    "otel_obs/pipeline/totals.py",
    "otel_obs/pipeline/tree.py",
    "otel_obs/pipeline/whole.py",
    "otel_obs/pricing/book.py",
    "otel_obs/pricing/catalog.py",
    "otel_obs/pricing/models.py",
    "otel_obs/pricing/price.py",
    "otel_obs/pricing/rows.py",
    "otel_obs/remembering.py",
    "otel_obs/rows/build.py",
    "otel_obs/rows/context.py",
    "otel_obs/rows/masking.py",
    "otel_obs/rows/meaning.py",
    "otel_obs/rows/prefixes.py",
    "otel_obs/rows/redaction.py",
    "otel_obs/rows/report.py",
    "otel_obs/rows/summary.py",
    "otel_obs/rows/tables.py",
    "otel_obs/tenancy.py",
)
"""What a span goes through from its bytes to its rows."""


def spelled_out(source: str) -> str:
    """Return *source* with the ``__init__`` of each dataclass of ``otel_obs.frozen`` written out, on the same lines.

    What ``dataclasses`` writes when the program starts is interpreted; what stands in the source is compiled.
    """
    module = ast.parse(source)
    if not any(isinstance(node, ast.ImportFrom) and node.module == "otel_obs.frozen" for node in module.body):
        return source
    lines = [*source.replace("from otel_obs.frozen import", "from dataclasses import").split("\n"), ""]
    for found in module.body:
        if isinstance(found, ast.ClassDef):
            for decorator in found.decorator_list:
                options = _options(decorator)
                if options.pop("frozen", None) is not None:
                    kept = "".join(f", {name}=True" for name in options if name == "kw_only")
                    lines[decorator.lineno - 1] = f"@dataclass(init=False, unsafe_hash=True{kept})"
                    # The formatter leaves two empty lines after a class.
                    lines[found.end_lineno or 0] = f"    {_init(found, kw_only='kw_only' in options)}"
    return "\n".join(lines)


def _options(decorator: ast.expr) -> dict[str, ast.expr]:
    if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "dataclass":
        return {option.arg: option.value for option in decorator.keywords if option.arg is not None}
    return {}


def _init(found: ast.ClassDef, *, kw_only: bool) -> str:
    parameters, assignments = ["self", *(["*"] if kw_only else [])], []
    for field in found.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            name, kind, value, make = field.target.id, ast.unparse(field.annotation), *_default(field)
            if make is None:
                parameters.append(f"{name}: {kind}" if value is None else f"{name}: {kind} = {ast.unparse(value)}")
                assignments.append(f"self.{name} = {name}")
            else:
                parameters.append(f"{name}: {kind} | None = None")
                assignments.append(f"self.{name} = {ast.unparse(make)}() if {name} is None else {name}")
    return f"def __init__({', '.join(parameters)}) -> None: {'; '.join(assignments)}"


def _default(field: ast.AnnAssign) -> tuple[ast.expr | None, ast.expr | None]:
    """Return the default of *field*, and what makes one for each object; None for what it has not."""
    value = field.value
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "field":
        said = {option.arg: option.value for option in value.keywords}
        return said.get("default"), said.get("default_factory")
    return value, None
