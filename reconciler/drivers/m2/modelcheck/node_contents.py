"""The contents of M2 nodes, by number, so that the states of the model checker stay small; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.core.canonical import encode_canonical
from reconciler.core.pointer_pattern import Pattern
from reconciler.core.secret import reveal
from reconciler.drivers.m2 import machine
from reconciler.drivers.m2.address_range import AddressRange, get_address_range
from reconciler.drivers.m2.caller_permissions import SETTING_PERMISSION, AccessTable
from reconciler.drivers.m2.choices import Choices, SettingAnswer
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.feed_topology import DiscoveryRing, find_ring
from reconciler.drivers.m2.risk import find_fields_not_running, find_restart_fields, has_immediate_change
from reconciler.drivers.m2.schema import Content, ExpectedSetting, LoadedSetting
from reconciler.drivers.m2.setting.diagnostics import get_items

STRANGER = "203.0.113.1"
"""An address for documentation (RFC 5737): only entries for everybody contain it."""

_ELSEWHERE = "changed by somebody else"


@dataclass(frozen=True, slots=True)
class NodeContent:
    """The content of a node.

    Args:
        node: its state, without its history.
        held: path -> SHA-256 of the files beside its setting.
    """

    node: machine.M2NodeState
    held: Mapping[str, str]


@dataclass(slots=True)
class NodeContents:
    """All contents that the nodes of one setup can have; what follows from a content is computed once.

    Args:
        unmanaged: the fields of these nodes that do not count.
    """

    unmanaged: tuple[Pattern, ...] = ()
    _all: list[NodeContent] = field(init=False, default_factory=list)
    _numbers: dict[tuple[Any, ...], int] = field(init=False, default_factory=dict)
    _contents: ContentCache = field(init=False)
    _known: dict[bytes, Content] = field(init=False, default_factory=dict)
    _tables: dict[int, AccessTable] = field(init=False, default_factory=dict)
    _rights: dict[tuple[int, str, Choices], frozenset[str]] = field(init=False, default_factory=dict)
    _open: dict[tuple[int, Choices], bool] = field(init=False, default_factory=dict)
    _rings: dict[int, DiscoveryRing | None] = field(init=False, default_factory=dict)
    _waits: dict[int, bool] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._contents = ContentCache(unmanaged=self.unmanaged)

    def package(self, content: Content, resources: Mapping[str, bytes] | None = None) -> machine.NodePackage:
        """A setting as it is sent, with secrets in clear."""
        text = encode_canonical(reveal(content.document))
        self._known.setdefault(text, content)
        return machine.NodePackage(text, dict(resources or {}))

    def number(self, node: machine.M2NodeState, held: Mapping[str, str]) -> int:
        """The number of a node's content, without its history."""
        bare = replace(node, history=(), reloads=0, up=True)
        packages = (bare.loaded.package if bare.loaded else None, bare.local, bare.repository)
        texts = (package.text if package else None for package in packages)
        key = (
            *texts,
            encode_canonical(bare.running) if bare.running is not None else None,
            encode_canonical(dict(held)),
        )
        if key not in self._numbers:
            self._numbers[key] = len(self._all)
            self._all.append(NodeContent(bare, held))
        return self._numbers[key]

    def begun(self, loaded: LoadedSetting | None, delivered: machine.M2NodeState) -> int:
        """The number of the content that a node shows now.

        Args:
            loaded: its answer; None where it has no setting.
            delivered: has the packages on its disk and in its repository.
        """
        if loaded is None:
            return self.number(delivered, {})
        package = self.package(loaded.content)
        result = machine.upload(delivered, package)
        local = delivered.local or package
        if isinstance(result, machine.ChangeRefused):
            # The node runs with a setting that `machine` refuses: M2's own rules are not all known.
            document = reveal(loaded.content.document)
            setting = machine.AcceptedSetting(document, package)
            node = replace(delivered, loaded=setting, running=document, local=local)
        else:
            node = replace(result.node, local=local)
        for name in loaded.waiting or ():
            # Where the node says that a field waits, and not the value in effect, any other stands for it.
            value = machine.lookup(loaded.running.document, name) if loaded.running else "as before"
            node = replace(node, running=machine.replace_at(node.running, name.split("."), value))
        return self.number(node, loaded.held or {})

    def wanted(self, content: Content) -> int:
        """The number of a new node's content after the delivery of a setting; it may refuse the setting."""
        node = machine.M2NodeState()
        result = machine.upload(node, self.package(content))
        return self.number(node if isinstance(result, machine.ChangeRefused) else result.node, {})

    def may_wait(self, before: int, after: int) -> bool:
        """Whether something waits for a restart, or would after a change."""
        old, new = self.running(before), self.running(after)
        return self.waiting(before) or (
            old is not None and new is not None and bool(find_restart_fields(old, new))
        )

    def port(self, number: int) -> Any:
        """The API port in a node's setting."""
        return machine.lookup(self._all[number].node.running, "env.management.api.port")

    def shape(self, number: int) -> NodeContent:
        """The content with a number."""
        return self._all[number]

    def loaded(self, number: int) -> Content | None:
        """The setting that a node accepted last."""
        node = self._all[number].node
        return self._content(node.loaded.package.text, node.loaded.document) if node.loaded else None

    def running(self, number: int) -> Content | None:
        """The setting that is in effect."""
        node = self._all[number].node
        return (
            self._content(encode_canonical(node.running), node.running) if node.running is not None else None
        )

    def foreign(self, number: int, wanted: Content) -> Iterator[tuple[str, int]]:
        """What somebody else may do: change a part without effect here, or deliver the desired setting."""
        shape = self._all[number]
        document = dict(shape.node.loaded.document if shape.node.loaded else reveal(wanted.document))
        meta = document.get("meta")
        document["meta"] = {**(meta if isinstance(meta, Mapping) else {}), "version": _ELSEWHERE}
        packages = {
            "changes the setting of": machine.NodePackage(encode_canonical(document)),
            "delivers what is wanted to": self.package(wanted),
        }
        for story, package in packages.items():
            result = machine.upload(shape.node, package)
            if isinstance(result, machine.ChangeAccepted):
                after = self.number(result.node, shape.held)
                if after != number:
                    yield story, after

    def restarted(self, number: int) -> int:
        """The number of the content after a restart."""
        shape = self._all[number]
        return self.number(machine.restart(shape.node), shape.held)

    def waiting(self, number: int) -> bool:
        """Whether something waits for a restart."""
        if number not in self._waits:
            self._waits[number] = bool(machine.find_waiting_fields(self._all[number].node))
        return self._waits[number]

    def rights(self, number: int, host: str, rule: Choices) -> frozenset[str]:
        """The permissions that a host holds."""
        key = (number, host, rule)
        if key not in self._rights:
            if number not in self._tables:
                self._tables[number] = AccessTable(self._all[number].node.running)
            self._rights[key] = self._tables[number].access(host, rule).permissions
        return self._rights[key]

    def repairable(self, number: int, rule: Choices) -> bool:
        """Whether anybody may deliver another setting: a listed address, or one that no entry contains."""
        key = (number, rule)
        if key not in self._open:
            listed = machine.lookup(self._all[number].node.running, "env.management.api.allowList")
            ranges = [found for _, entry in get_items(listed) if (found := get_address_range(entry))]
            callers = {STRANGER, *(str(AddressRange(one.version, one.low, one.low)) for one in ranges)}
            self._open[key] = any(
                SETTING_PERMISSION in self.rights(number, caller, rule) for caller in callers
            )
        return self._open[key]

    def ring(self, number: int) -> DiscoveryRing | None:
        """By what the node finds the other members of its cluster."""
        if number not in self._rings:
            running = self.running(number)
            self._rings[number] = find_ring(running.canonical) if running is not None else None
        return self._rings[number]

    def shown(self, number: int, rule: Choices) -> Content | None:
        """What `/setting/setting.json` shows."""
        service = rule.shown is SettingAnswer.SERVICE and self.waiting(number)
        return self.running(number) if service else self.loaded(number)

    def open_questions(
        self, number: int, rule: Choices, expected: ExpectedSetting, wanted: Content | None
    ) -> tuple[tuple[str, ...], Content | None]:
        """(fields that wait for a restart, the delivered setting where it is not shown), as in the client."""
        content, running, loaded = self.shown(number, rule), self.running(number), self.loaded(number)
        assert content is not None
        assert running is not None
        assert loaded is not None
        waiting = find_fields_not_running(running, content)
        if waiting or expected.is_met_by(content.fingerprint, content.unstamped):
            return waiting, None
        if wanted is not None and has_immediate_change(content, wanted):
            return (), None
        return find_fields_not_running(content, loaded), loaded

    def _content(self, text: bytes, document: Mapping[str, Any]) -> Content:
        if text not in self._known:
            self._known[text] = self._contents.of(document)
        return self._known[text]
