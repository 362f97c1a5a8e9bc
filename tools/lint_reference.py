"""The list of lints in Markdown; `python -m tools.lint_reference` prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from reconciler.cli.explanations import read_title
from reconciler.desired.lints import CODES
from reconciler.drivers.registry import DRIVERS

_INTRODUCTION = """# Lints

**For** committers whose files get a warning.

Generated from the program. A lint is a warning about something that is allowed, but probably a mistake. Lints stop
nothing. `reconcile validate` shows all of them, a plan only a few. `reconcile explain CODE` says what one means, why it
matters and what to do.

If something is intended, silence its lint in the fleet file, where a reviewer sees it:

```yaml
lint:
  ignore:
    - {code: unserved-request, target: edge-seoul, reason: "this node must answer itself"}
```

`target` is a cluster, the path of a file, or a pattern such as `edge/*.json`; without it, the entry is for the whole
fleet. An entry that silences nothing is a warning (`unused-ignore`), and so is an entry with an unknown code
(`unknown-lint`). Lints can be silenced only in a fleet file; a single `setting.json` has none."""


def lint_reference() -> str:
    """Code and meaning of every lint, by product."""
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
