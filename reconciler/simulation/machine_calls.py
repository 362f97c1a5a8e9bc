"""Calls to the machines of simulated nodes, files and commands: their wire format, and what they do.

A call is a POST to `/NODE/WAY/OPERATION/NAME` of the machine endpoint. Its body has the content of
a file, or the values of a command as a JSON object; the digests of a switch are headers.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import unquote

from reconciler.core.file_state import FilePlace, FileState
from reconciler.errors import NodeRefused, NodeUnreachable
from reconciler.file_delivery.simulated_machines import SimulatedFiles
from reconciler.ports.simulator import NodeRequest, Reply, RequestWay, SimulatedCluster, refuse_command
from reconciler.ports.transport import refuse_file
from reconciler.simulation.machine_call import CHECK, READ
from reconciler.simulation.node_server import CLOSED

MACHINE_WAYS: Final = frozenset({RequestWay.COMMAND, RequestWay.FILE})

FULL_DISK: Final = "cannot be written aside: No space left on device"

_JSON: Final = {"Content-Type": "application/json"}
_REFUSED: Final = 409
_READING: Final = frozenset({READ, CHECK})


def parse_call(request: NodeRequest) -> tuple[str, NodeRequest]:
    """The node that a call is for, and the request to it.

    Raises:
        ValueError: it has another form.
    """
    parts = [unquote(part) for part in request.target.split("/")]
    if len(parts) != 5 or parts[0]:  # noqa: PLR2004  (the empty text before the first slash, and four parts)
        raise ValueError("the path must be /NODE/WAY/OPERATION/NAME")
    _, node, way, operation, name = parts
    return node, replace(request, method=operation, target=name, way=RequestWay(way))


def is_machine_change(request: NodeRequest) -> bool:
    """Whether a call may change something."""
    return request.method not in _READING


def describe_machine_call(request: NodeRequest) -> str:
    """The purpose of a call, in a few words."""
    kind = "command" if request.way is RequestWay.COMMAND else "file"
    return f"{request.method} the {kind} {request.target}"


def read_command_values(request: NodeRequest) -> Mapping[str, str]:
    """The values of a command; without any where they have another form."""
    try:
        values = json.loads(request.body or b"{}")
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in values.items()} if isinstance(values, dict) else {}


def perform_machine_call(
    served: SimulatedCluster,
    node: str,
    request: NodeRequest,
    *,
    is_full: bool = False,
    torn: int | None = None,
) -> Reply:
    """Perform a call and give its answer.

    Args:
        served: the cluster of the node.
        node: its name.
        request: from `parse_call`.
        is_full: whether the disk of the machine is full.
        torn: number of bytes after which the connection breaks that a content comes by.
    """
    try:
        if request.way is RequestWay.COMMAND:
            return 200, _JSON, json.dumps({"output": _run_command(served, node, request)}).encode()
        return 200, _JSON, json.dumps(_call_file(served, node, request, is_full=is_full, torn=torn)).encode()
    except NodeRefused as error:
        return make_machine_refusal(error)
    except NodeUnreachable:
        return CLOSED, {}, b""


def make_machine_refusal(error: NodeRefused) -> Reply:
    """The answer to a call that is refused."""
    shown = {"reason": error.reason, "code": error.code, "remedy": error.remedy, "again": error.again}
    return _REFUSED, _JSON, json.dumps(shown).encode()


def _run_command(served: SimulatedCluster, node: str, request: NodeRequest) -> str:
    known = served.commands.get(request.target)
    if known is not None and request.method == READ and not known.reads:
        raise refuse_command(node, f"the command {request.target!r} does more than read")
    return served.run_command(node, request.target, read_command_values(request))


def _call_file(
    served: SimulatedCluster, node: str, request: NodeRequest, *, is_full: bool, torn: int | None
) -> Any:
    place, machine = FilePlace(request.target, node), served.get_machine(node)
    if machine is None:
        raise refuse_file(place, "is not in `files` of the host configuration")

    def check(place: FilePlace, content: bytes) -> str:
        return served.check_file(node, place.entry, content)

    files = SimulatedFiles({node: machine}, check=check)
    if request.method == READ:
        return _write_state(_finish(files.read(place)))
    if request.method == CHECK:
        return {"output": check(place, request.body)}
    if is_full:
        raise refuse_file(place, FULL_DISK)
    if torn is not None and request.target in machine.files:
        if request.method != "stage":
            raise NodeUnreachable(node, "the connection broke")
        machine.files[request.target].broken = torn
    return {"output": _finish(_change_file(files, place, request))}


def _change_file(files: SimulatedFiles, place: FilePlace, request: NodeRequest) -> Coroutine[Any, Any, str]:
    digests = {"before": request.headers.get("x-before", ""), "after": request.headers.get("x-after", "")}
    match request.method:
        case "stage":
            return files.stage(place, request.body)
        case "switch":
            return files.switch(place, **digests)
        case "restore":
            return files.restore(place, **digests)
        case "discard":
            return files.discard(place)
    raise refuse_file(place, f"knows no operation {request.method!r}")


def _finish(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing: the files of a simulated machine are in memory."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    work.close()
    raise AssertionError("a simulated file waited for something")


def _write_state(state: FileState) -> dict[str, Any]:
    content = None if state.content is None else base64.b64encode(state.content).decode("ascii")
    return {
        "content": content,
        "staged": state.staged,
        "backup": state.backup,
        "leftover": state.leftover,
    }


def read_state(shown: Mapping[str, Any]) -> FileState:
    """The reading of a file, from the answer to a call.

    Raises:
        ValueError: it has another form.
    """
    try:
        content = None if shown["content"] is None else base64.b64decode(shown["content"], validate=True)
        return FileState(content, str(shown["staged"]), str(shown["backup"]), bool(shown["leftover"]))
    except (KeyError, TypeError) as error:
        raise ValueError("no state of a file") from error
