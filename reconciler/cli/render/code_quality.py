"""Problems in files as a Code Quality report of GitLab, which merge requests show."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from reconciler.cli.render.json import format_json
from reconciler.cli.render.problems import format_problem
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.json_pointer import format_pointer

_SEVERITIES: Final = {Severity.ERROR: "critical", Severity.WARNING: "minor", Severity.NOTE: "info"}


def render_code_quality(problems: Sequence[Diagnostic], prefix: str = "") -> str:
    """A list with one entry for each problem, with a fingerprint that stays when lines move.

    GitLab compares the reports of two branches by fingerprint, and shows only one of several equal ones. So a
    fingerprint has no line, and counts the problems that are equal otherwise.

    Args:
        problems: of all files; those of no file are left out, since GitLab requires a path.
        prefix: the folder of the files within the repository, ending in `/`; empty for its top.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    entries = []
    for problem in problems:
        if not problem.position.file:
            continue
        message = re.sub(r"[0-9]+", "0", problem.message)  # it may name other lines
        key = (prefix + problem.position.file, problem.code, format_pointer(problem.pointer), message)
        entries.append(_make_entry(problem, key, seen[key]))
        seen[key] += 1
    return format_json(entries)


def _make_entry(problem: Diagnostic, key: tuple[str, ...], number: int) -> dict[str, Any]:
    text = "\0".join((*key, str(number)))
    return {
        "description": format_problem(problem),
        "check_name": problem.code,
        "fingerprint": hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest(),
        "severity": _SEVERITIES[problem.severity],
        # A problem of the whole file stands at its first line: GitLab requires one.
        "location": {"path": key[0], "lines": {"begin": max(problem.position.line, 1)}},
    }
