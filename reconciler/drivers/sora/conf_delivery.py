"""What is to be done about the sora.conf of each node; pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.core.file_state import FilePlace
from reconciler.core.observation import Observed
from reconciler.core.secret import Secret, reveal
from reconciler.documents.key_values import change_key_values, parse_key_values
from reconciler.drivers.sora.node_commands import get_host
from reconciler.drivers.sora.schema import ConfDelivery, ConfTarget, NodeView, SoraCluster, SoraDesired
from reconciler.file_delivery.content import FileContent, OwnedKeys, Part, WholeFile
from reconciler.file_delivery.steps import FilePlan, FileWish, plan_file

OUTDATED_START = "outdated_start"
"""Fact of a node: text of the start of its process at the moment when its sora.conf was changed."""


def list_conf_places(entry: SoraCluster, conf: ConfDelivery) -> tuple[FilePlace, ...]:
    """The sora.conf of each node."""
    return tuple(FilePlace(conf.file, node.name, get_host(node.name)) for node in entry.nodes)


def plan_confs(desired: SoraDesired, observed: Observed[NodeView]) -> dict[str, FilePlan]:
    """Node -> the steps about its sora.conf, sorted by node."""
    conf = desired.entry.conf
    if conf is None:
        return {}
    found = {}
    for place in sorted(list_conf_places(desired.entry, conf), key=lambda one: one.node):
        started = observed.starts.get(place.node, "")
        wish = FileWish(
            cluster=desired.entry.name,
            place=place,
            content=make_content(desired.confs[place.node]),
            facts={OUTDATED_START: started} if started else {},
            settle=desired.entry.timeouts.settle,
            in_flight=desired.entry.timeouts.in_flight,
        )
        found[place.node] = plan_file(wish, observed.files.get(place.node, {}).get(conf.file))
    return found


def make_content(target: ConfTarget) -> FileContent:
    """What of the file is desired."""
    if target.base is None:
        return OwnedKeys(target.values)
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
