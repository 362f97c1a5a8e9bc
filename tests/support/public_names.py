"""The public interface of the program as names, one a line: what `docs/releases.md` promises to keep."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reconciler.api.enrolment import Enroller
from reconciler.api.operator import Operator
from reconciler.api.reader import Reader
from reconciler.api.reconciler import Reconciler
from reconciler.cli.options import ENVIRONMENT
from reconciler.cli.schema_table import SCHEMAS
from reconciler.exit_status import ExitStatus
from reconciler.server.json_api.openapi import make_api_document

ROOT = Path(__file__).parents[2]
READ = {"fleet", "host", "setting", "collab-config", "sora-conf"}
"""Schemas of files that people write: a key that becomes required breaks them. In what the program writes,
one that is no longer required breaks its readers."""


def list_public_names() -> set[str]:
    """All names of the public interface as they are now."""
    return {
        *_commands(),
        *(f"exit status {status.value} {status.name}" for status in ExitStatus),
        *(f"variable {name}" for name in ENVIRONMENT),
        *_schema_names(),
        *_metrics(),
        *_operations(),
        *_python_names(),
    }


def _commands() -> Iterator[str]:
    """From docs/cli.md, which another test holds against the program."""
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    for part in re.split(r"^## `", page, flags=re.MULTILINE)[1:]:
        command, text = part.split("`", 1)
        yield f"command {command}"
        for row in re.findall(r"^\| `(.+?)` \|", text, re.MULTILINE):
            value = row.partition("<")[2].rstrip(">")
            for name in re.findall(r"--?[a-z][\w-]*|^[A-Z]+", row.partition("<")[0]):
                yield f"command {command}: {name}"
                choices = value.split("\\|") if "|" in value else ()
                yield from (f"command {command}: {name} {choice}" for choice in choices)


def _schema_names() -> Iterator[str]:
    for name, make in SCHEMAS.items():
        schema = make()
        yield from (f"{name} {line}" for line in _keys(schema, schema, "", (), reads=name in READ))


def _keys(
    whole: dict[str, Any], schema: dict[str, Any], path: str, above: tuple[str, ...], *, reads: bool
) -> Iterator[str]:
    """The keys of a schema by their paths; a schema within itself is followed once."""
    reference = schema.get("$ref")
    if reference and reference not in above:
        target = whole["$defs"][reference.rsplit("/", 1)[-1]]
        yield from _keys(whole, target, path, (*above, reference), reads=reads)
    for value in schema.get("enum", ()):
        yield f"{path} = {value}"
    if "then" in schema:  # keys of one kind of cluster
        kind = schema["if"].get("properties", {}).get("kind", {}).get("const")
        place = f"{path.removesuffix('[]')}[{kind}]" if kind else path
        yield from _keys(whole, schema["then"], place, above, reads=reads)
    for inner in (one for key in ("anyOf", "oneOf", "allOf") for one in schema.get(key, ())):
        yield from _keys(whole, inner, path, above, reads=reads)
    required = set(schema.get("required", ()))
    for key, inner in schema.get("properties", {}).items():
        yield f"{path}/{key}"
        if reads and key not in required:
            yield f"{path}/{key} may be left out"
        if not reads and key in required:
            yield f"{path}/{key} is always there"
        yield from _keys(whole, inner, f"{path}/{key}", above, reads=reads)
    for key, step in (("items", "[]"), ("additionalProperties", "*")):
        if isinstance(inner := schema.get(key), dict):
            yield from _keys(whole, inner, f"{path}/{step}", above, reads=reads)


def _metrics() -> Iterator[str]:
    """From the table of docs/monitoring.md, which another test holds against what the watch serves."""
    page = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    for name, labels in re.findall(r"^\| `(reconciler_\w+)` \|([^|]*)\|", page, re.MULTILINE):
        yield f"metric {name}"
        yield from (f"metric {name} {label}" for label in re.findall(r"`(\w+)`", labels))


def _operations() -> Iterator[str]:
    for path, item in make_api_document()["paths"].items():
        for method in item.keys() & {"get", "post", "put", "delete", "patch"}:
            yield f"API {method.upper()} {path}"
            for param in item[method].get("parameters", ()):
                yield f"API {method.upper()} {path} {param.get('name', param.get('$ref'))}"


def _python_names() -> Iterator[str]:
    """The classes of docs/api.md with their methods and parameters."""
    for one in (Reader, Reconciler, Operator, Enroller):
        for name, member in inspect.getmembers(one):
            if not name.startswith("_") and callable(member):
                yield f"python {one.__name__}.{name}"
                parameters = list(inspect.signature(member).parameters)[1:]
                yield from (f"python {one.__name__}.{name} {parameter}" for parameter in parameters)
        yield from (f"python {one.__name__} {name}" for name in inspect.signature(one).parameters)
