"""A program that makes one call to the machine of a simulated node: `machine_call URL OPERATION NAME …`.

`run` and `read` take a command, a node and `KEY=VALUE` for its values; `check` takes an entry of `files` and
the path of a content in the folder of its node. Status 0: it was performed; 1: it was refused; 255: there was
no answer. It imports nothing else of this package, so that it starts quickly.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

READ: Final = "read"
RUN: Final = "run"
CHECK: Final = "check"
"""Only the check of a file, for a host whose files are real ones."""

COMMAND_WAY: Final = "command"
FILE_WAY: Final = "file"

NO_ANSWER: Final = 255
"""The status for a call without an answer, as `ssh` has it."""

_TIMEOUT: Final = 60.0


def make_target(node: str, way: str, operation: str, name: str) -> str:
    """The path of a call."""
    return "/" + "/".join(quote(part, safe="") for part in (node, way, operation, name))


def make_call(arguments: Sequence[str]) -> int:
    """Make the call that the arguments describe; gives the exit status."""
    url, operation, name, subject, *values = arguments
    if operation == CHECK:
        path = Path(subject)
        node, way, content = path.parent.name, FILE_WAY, path.read_bytes()
    else:
        pairs = dict(value.split("=", 1) for value in values)
        node, way, content = subject, COMMAND_WAY, json.dumps(pairs).encode()
    status, said = _call(url, make_target(node, way, operation, name), content)
    if status == http.client.OK and not (operation == CHECK and said):
        sys.stdout.write(f"{said}\n")
        return 0
    sys.stderr.write(f"{said}\n")
    return 1 if status else NO_ANSWER


def _call(url: str, target: str, content: bytes) -> tuple[int, str]:
    """Status and text of the answer; status 0 without one."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT)
    try:
        connection.request("POST", target, content)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return 0, f"no answer of the simulation: {error}"
    finally:
        connection.close()
    try:
        shown = json.loads(body)
        return answer.status, str(shown.get("output", shown.get("reason", "")))
    except (ValueError, AttributeError):
        return answer.status if answer.status != http.client.OK else 0, body.decode("utf-8", "replace")


if __name__ == "__main__":
    sys.exit(make_call(sys.argv[1:]))
