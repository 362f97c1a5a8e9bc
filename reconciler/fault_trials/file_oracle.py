"""The oracle of what all products have in common: the files of simulated machines, and their steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from reconciler.core.file_state import NO_FILE, compute_file_digest
from reconciler.core.plan import Step
from reconciler.file_delivery.steps import (
    RestoreArguments,
    StageArguments,
    SwitchArguments,
    is_file_step,
    read_file_arguments,
)
from reconciler.ports.simulated_machine import SimulatedMachine
from reconciler.ports.simulator import FILES_KEPT, NodeRequest, Oracle, RequestWay


class FileTruth(NamedTuple):
    """A file of a machine, with what lies beside it; as `SimulatedFile`."""

    content: bytes | None = None
    staged: bytes | None = None
    backup: bytes | None = None
    leftover: bytes | None = None


_Files: TypeAlias = Mapping[tuple[str, str], FileTruth]
"""Node and entry -> the file."""


class TrialState(NamedTuple):
    """The state of a cluster: as its product's oracle has it, and its files."""

    product: Any
    files: _Files


_NO_FILE = FileTruth()


class FileOracle(Oracle):
    """Judges files, and leaves everything else to the oracle of a product.

    Args:
        product: the oracle.
        list_machines: node -> its machine, of the nodes that have one.
    """

    def __init__(self, product: Oracle, list_machines: Callable[[], Mapping[str, SimulatedMachine]]) -> None:
        self._product = product
        self._list_machines = list_machines

    def state(self) -> TrialState:
        files = {
            (node, entry): FileTruth(file.content, file.staged, file.backup, file.leftover)
            for node, machine in self._list_machines().items()
            for entry, file in machine.files.items()
        }
        return TrialState(self._product.state(), files)

    def find_affected_node(self, node: str, request: NodeRequest) -> str:
        is_call = request.way in {RequestWay.HTTP, RequestWay.STREAM}
        return self._product.find_affected_node(node, request) if is_call else node

    def is_repetition(self, node: str, request: NodeRequest, before: TrialState, after: TrialState) -> bool:
        if request.way is not RequestWay.FILE:
            return self._product.is_repetition(node, request, before.product, after.product)
        old = before.files.get((node, request.target), _NO_FILE)
        if request.method == "stage":
            return request.body in {old.content, old.staged}
        return request.method == "discard" and old.staged is None and old.leftover is None

    def find_broken_invariant(
        self, node: str, request: NodeRequest, before: TrialState, after: TrialState
    ) -> tuple[str, str]:
        if request.way is RequestWay.FILE:
            old, new = (state.files.get((node, request.target), _NO_FILE) for state in (before, after))
            if words := _find_damage(request, old, new):
                return FILES_KEPT, f"{request.method} of {request.target} on {node} {words}"
        return self._product.find_broken_invariant(node, request, before.product, after.product)

    def is_effective(self, step: Step, seen: TrialState) -> bool:
        if not is_file_step(step):
            return self._product.is_effective(step, seen.product)
        own = read_file_arguments(step)
        file = seen.files.get((step.node, own.entry), _NO_FILE)
        has_content = compute_file_digest(file.content) == own.after
        match own:
            case StageArguments(before=before):
                # What lies beside another file than it was made for is of no use: its step has failed.
                is_staged = compute_file_digest(file.staged) == own.after
                return has_content or (is_staged and compute_file_digest(file.content) == before)
            case SwitchArguments() | RestoreArguments():
                return has_content
        return file.staged is None and file.leftover is None

    def list_differences(self) -> Sequence[str]:
        left = [
            f"content that nothing needs lies beside {entry} of {node}"
            for (node, entry), file in sorted(self.state().files.items())
            if file.staged is not None or file.leftover is not None
        ]
        return [*self._product.list_differences(), *left]

    def list_unmanageable_nodes(self, peer: str) -> Sequence[str]:
        return self._product.list_unmanageable_nodes(peer)


def _find_damage(request: NodeRequest, old: FileTruth, new: FileTruth) -> str:
    """How a call about a file has done what it must not do; empty if it has not."""
    if new.content == old.content:
        return ""
    wanted = request.headers.get("x-after", NO_FILE)
    if compute_file_digest(new.content) != wanted:
        return "left another content than it was asked for"
    if compute_file_digest(old.content) != request.headers.get("x-before", NO_FILE):
        return "replaced a content that somebody else had written"
    if request.method == "switch" and (new.content != old.staged or new.backup != old.content):
        return "put something in place that was not checked, or left no backup"
    if request.method not in {"switch", "restore"}:
        return "changed the file itself"
    return ""
