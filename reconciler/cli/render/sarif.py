"""Problems in files as SARIF 2.1.0, which code scanning services read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from reconciler import __version__
from reconciler.cli.explanations import list_codes, read_page, read_title
from reconciler.cli.render.json import format_json
from reconciler.cli.render.problems import format_problem
from reconciler.diagnostic import Diagnostic, Position, Severity

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


def render_sarif(problems: Sequence[Diagnostic], prefix: str = "") -> str:
    """One SARIF run; its rules are the codes of the problems, with their explanation pages as help.

    Args:
        problems: of all files.
        prefix: the folder of the files within the repository, ending in `/`; empty for its top.
    """
    # A code may have two severities; the first problem decides, as the last one written wins.
    levels = {problem.code: _LEVELS[problem.severity] for problem in reversed(problems)}
    codes = sorted(levels)
    order = {code: index for index, code in enumerate(codes)}
    driver = {
        "name": "reconcile",
        "version": __version__,
        "rules": [_make_rule(code, levels[code]) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True}],
        "results": [_make_result(problem, order, prefix) for problem in problems],
    }
    return format_json({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _make_rule(code: str, level: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": code, "defaultConfiguration": {"level": level}}
    if code in list_codes():
        text = read_page(code)
        rule |= {"shortDescription": {"text": read_title(code)}, "help": {"text": text, "markdown": text}}
    return rule


def _make_result(problem: Diagnostic, order: Mapping[str, int], prefix: str) -> dict[str, Any]:
    location = _make_location(problem.position, prefix) if problem.position.file else {}
    if name := problem.pointer or problem.target:
        location["logicalLocations"] = [{"fullyQualifiedName": name}]
    related = [_make_location(position, prefix) for position in problem.related]
    return {
        "ruleId": problem.code,
        "ruleIndex": order[problem.code],
        "level": _LEVELS[problem.severity],
        "message": {"text": format_problem(problem)},
        "locations": [location],
        **({"relatedLocations": related} if related else {}),
    }


def _make_location(position: Position, prefix: str) -> dict[str, Any]:
    # A relative reference, whatever characters the path has.
    uri = quote((prefix + position.file).encode(errors="surrogatepass"), safe="/")
    physical: dict[str, Any] = {"artifactLocation": {"uri": uri}}
    if position.line:
        physical["region"] = {"startLine": position.line, "startColumn": position.column}
    return {"physicalLocation": physical}
