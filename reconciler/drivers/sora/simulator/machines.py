"""What the machines of simulated Sora nodes have: their sora.conf, and the commands of their host; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from pydantic import ValidationError

from reconciler.core.command_reference import NamedCommand
from reconciler.documents.key_values import Scalar, parse_key_values
from reconciler.documents.model_errors import find_model_errors, translate_model_errors
from reconciler.drivers.sora.conf import SoraConfKeys, make_conf_targets
from reconciler.drivers.sora.conf_delivery import make_content
from reconciler.drivers.sora.schema import SoraCluster
from reconciler.errors import InputError
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import SimulatedCommand

EARLIER_VERSION: Final = "2023.2.0"
"""The version of simulated nodes that are to get one and do not have it yet."""


class CommandEffect(StrEnum):
    """What a command of the host does to a simulated node."""

    STOP = "stop"
    START = "start"
    RESTART = "restart"
    UPGRADE = "upgrade"
    SHOW_START = "show start"


class InvalidConf(ValueError):
    """A sora.conf with which Sora does not start; the text says why."""


def list_commands(entries: Iterable[SoraCluster]) -> dict[str, tuple[CommandEffect, SimulatedCommand]]:
    """Name -> what it does, of all commands that the clusters name."""
    found: dict[str, tuple[CommandEffect, SimulatedCommand]] = {}

    def add(command: NamedCommand | None, effect: CommandEffect, *more: str) -> None:
        if command is not None:
            reads = effect is CommandEffect.SHOW_START
            known = SimulatedCommand((*sorted(command.arguments), *more), reads=reads)
            found.setdefault(command.command, (effect, known))

    for entry in entries:
        add(entry.restart, CommandEffect.RESTART)
        add(entry.restart.started if entry.restart else None, CommandEffect.SHOW_START)
        add(entry.upgrade, CommandEffect.UPGRADE, "version")
        add(entry.start, CommandEffect.START)
        for command in (entry.stop, *(node.stop for node in entry.nodes)):
            add(command, CommandEffect.STOP)
    return found


def format_start(starts: int) -> str:
    """The text of a node's last start."""
    return f"start {starts}"


def make_installed_conf(node: str, *, temporary: bool) -> bytes:
    """The sora.conf that a person has written when the node was installed."""
    lines = ["# installed by hand", "signaling_port = 5000", "cluster = true", f"node_name = {node}"]
    lines += ["cluster_temporary_node = true"] if temporary else []
    return "".join(f"{line}\n" for line in lines).encode()


def make_files(
    current: ClusterInput, applied: ClusterInput | None, converged: Iterable[str]
) -> dict[str, dict[str, bytes]]:
    """Node -> entry of `files` -> the content that it starts with.

    Args:
        current: the nodes as their fleet file describes them.
        applied: the cluster of another fleet file that will be applied to them; its entries are there, too.
        converged: nodes that have the file that is desired for them.
    """
    found: dict[str, dict[str, bytes]] = {}
    wanted = make_conf_targets(current)
    entry = current.entry
    assert isinstance(entry, SoraCluster)
    later = applied.entry if applied is not None else None
    has_file = set(converged)
    for node in entry.nodes:
        installed = make_installed_conf(node.name, temporary=node.temporary)
        found[node.name] = {}
        if isinstance(later, SoraCluster) and later.conf is not None:
            found[node.name][later.conf.file] = installed
        if entry.conf is not None:
            content = make_content(wanted[node.name]) if node.name in wanted else None
            is_there = content is not None and node.name in has_file and not content.missing
            found[node.name][entry.conf.file] = (
                content.render(installed) if content is not None and is_there else installed
            )
    return found


def read_conf(content: bytes | None) -> Mapping[str, Scalar]:
    """The values that Sora starts with.

    Raises:
        InvalidConf: it does not start with them.
    """
    try:
        values, _ = parse_key_values("", (content or b"").decode())
        SoraConfKeys.model_validate(values)
    except InputError as error:
        problem = error.problems[0]
        raise InvalidConf(f"line {problem.position.line}: {problem.message}") from error
    except ValidationError as error:
        wrong = translate_model_errors(find_model_errors(error, SoraConfKeys, values), None, "")
        raise InvalidConf("; ".join(problem.message for problem in wrong)) from error
    except UnicodeDecodeError as error:
        raise InvalidConf("it is no UTF-8 text") from error
    return values
