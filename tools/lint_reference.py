"""The list of lints in Markdown; `python -m tools.lint_reference` prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from reconciler.cli.explanations import read_title
from reconciler.desired.lints import CODES
from reconciler.drivers.registry import DRIVERS

_INTRODUCTION = """# Lints

Made from the program. Lints are warnings that know the field: what they point to is allowed, and probably not
meant. They stop nothing. `reconcile validate` shows all of them, a plan only a few. `reconcile explain CODE`
says what one means, why it matters and what to do.

One that is meant is silenced in the fleet file, where a reviewer sees it:

```yaml
lint:
  ignore:
    - {code: unserved-request, target: edge-seoul, reason: "the node that is asked shall answer"}
```

`target` is a cluster, or the path of a file or a pattern such as `edge/*.json`; without it the whole fleet is
meant. An entry that silences nothing is a warning of its own (`unused-ignore`), and so is one whose code is
none (`unknown-lint`). A lone `setting.json` has no fleet file, and there is no silencing without one."""


def lint_reference() -> str:
    """Every lint's code and meaning, by what it is about."""
    parts = [_INTRODUCTION, *_section("Any fleet", CODES)]
    for kind in sorted(DRIVERS):
        driver = DRIVERS[kind]
        if driver.lint_codes:
            parts += _section(f"Clusters of kind `{kind}`", driver.lint_codes)
    return "\n\n".join(parts) + "\n"


def _section(heading: str, codes: Iterable[str]) -> Iterator[str]:
    yield f"## {heading}"
    rows = [f"| `{code}` | {read_title(code)} |" for code in sorted(codes)]
    yield "\n".join(["| code | meaning |", "|---|---|", *rows])


if __name__ == "__main__":
    sys.stdout.write(lint_reference())
