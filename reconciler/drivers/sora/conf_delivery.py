"""What is to be done about the sora.conf of each node; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from reconciler.core.file_state import FilePlace
from reconciler.core.observation import Absent, Observed, Present, Stale
from reconciler.core.secret import Secret, reveal
from reconciler.diagnostic import Diagnostic
from reconciler.documents.key_values import change_key_values, parse_key_values
from reconciler.drivers.sora.conf_keys import (
    KEYS,
    derive_key_facts,
    list_released_keys,
    make_keys_fact,
    note_released_keys,
    read_file_keys,
)
from reconciler.drivers.sora.conf_result import find_conf_obstacle
from reconciler.drivers.sora.node_commands import fill_command, get_host
from reconciler.drivers.sora.schema import ConfDelivery, ConfTarget, NodeView, SoraCluster, SoraDesired
from reconciler.drivers.sora.steps import RESTARTED, STOPPED_FOR
from reconciler.file_delivery.content import FileContent, OwnedKeys, Part, WholeFile
from reconciler.file_delivery.node_starts import UNREAD_START
from reconciler.file_delivery.steps import FilePlan, FileWish, plan_file

OUTDATED_START = "outdated_start"
"""Fact of a node: text of the start of its process at the moment when its sora.conf was changed."""


def list_conf_places(entry: SoraCluster, conf: ConfDelivery) -> tuple[FilePlace, ...]:
    """The sora.conf of each node."""
    return tuple(FilePlace(conf.file, node.name, get_host(node.name)) for node in entry.nodes)


def list_nodes_with_start(desired: SoraDesired, observed: Observed[NodeView]) -> list[str]:
    """The nodes whose last start is read, if the cluster has a `restart`.

    Not of nodes that do not answer: their machine may be down, and a way to it would be waited for. One that
    a run of this host has stopped is to be started.
    """

    def is_read(name: str) -> bool:
        recalled = desired.recalled.get(name, {})
        is_stopped = bool(recalled.get(STOPPED_FOR) or recalled.get(RESTARTED))
        return is_stopped or isinstance(observed.nodes.get(name), Present | Absent | Stale)

    return [node.name for node in desired.entry.nodes if is_read(node.name)]


def plan_confs(desired: SoraDesired, observed: Observed[NodeView]) -> dict[str, FilePlan]:
    """Node -> the steps about its sora.conf, sorted by node."""
    conf = desired.entry.conf
    if conf is None:
        return {}
    found, restart = {}, desired.entry.restart
    for place in sorted(list_conf_places(desired.entry, conf), key=lambda one: one.node):
        started = observed.starts.get(place.node, "")
        reading = observed.files.get(place.node, {}).get(conf.file)
        current = read_file_keys(reading.value) if isinstance(reading, Present) else None
        facts = {OUTDATED_START: started or UNREAD_START} if restart is not None else {}
        keys: Mapping[str, bool] = {}
        released: Iterable[str] = ()
        findings: tuple[Diagnostic, ...] = ()
        if current is not None and desired.confs[place.node].base is None:
            keys = list_released_keys(desired, place.node)
            released = [key for key, is_added in keys.items() if is_added]
            facts[KEYS] = make_keys_fact(desired, place.node, current)
            findings = tuple(note_released_keys(desired, place.node, current))
        wish = FileWish(
            cluster=desired.entry.name,
            place=place,
            content=make_content(desired.confs[place.node], released),
            facts=facts,
            started=started,
            started_command=restart.started.command if restart is not None else "",
            started_values=fill_command(restart.started, place.node) if restart is not None else {},
            settle=desired.entry.timeouts.settle,
            in_flight=desired.entry.timeouts.in_flight,
        )
        file_plan = plan_file(wish, reading)
        if file_plan.is_changed and isinstance(reading, Present):
            node = desired.entry.node(place.node)
            assert node is not None
            obstacle = find_conf_obstacle(desired.entry, node, desired.confs[place.node], reading.value, keys)
            if obstacle is not None:
                file_plan, findings = FilePlan(), (*findings, obstacle)
        found[place.node] = replace(file_plan, findings=(*file_plan.findings, *findings))
    return found


def derive_conf_facts(desired: SoraDesired, observed: Observed[NodeView]) -> dict[str, dict[str, str]]:
    """Node -> which keys of its sora.conf are ours, for nodes whose file is as desired."""
    unchanged = [
        node
        for node, file_plan in plan_confs(desired, observed).items()
        if file_plan.digest is not None and not file_plan.is_changed and desired.confs[node].base is None
    ]
    return derive_key_facts(desired, observed, unchanged)


def make_content(target: ConfTarget, released: Iterable[str] = ()) -> FileContent:
    """What of the file is desired; without the keys that were released."""
    if target.base is None:
        return OwnedKeys({**dict.fromkeys(released), **target.values})
    return WholeFile(_split_secrets(target.base, target.values))


def _split_secrets(base: str, values: Mapping[str, object]) -> tuple[Part, ...]:
    """The text of the whole file, with each secret as a part of its own."""
    text = change_key_values(base, reveal(values))
    _, offsets = parse_key_values("", text)
    starts = {
        member.start: values[key]
        for key, member in (offsets.members or {}).items()
        if isinstance(values.get(key), Secret)
    }
    parts: list[Part] = []
    last = 0
    for start, secret in sorted(starts.items()):
        assert isinstance(secret, Secret)
        parts += [text[last:start], secret]
        last = start + len(str(secret.value))
    return (*parts, text[last:])
