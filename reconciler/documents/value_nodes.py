"""The start and end of every value of a text, for edits that leave the rest unchanged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from reconciler.documents.json_tokens import skip_blank

_PROPERTIES: Final = re.compile(r"(?:[&!][^\s\[\]{},]*[ \t]*)*")
_DASHED: Final = re.compile(r".*-[ \t]*(?:#.*)?")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DECODER: Final = json.JSONDecoder()


@dataclass(slots=True, eq=False)
class ValueNode:
    """One value of a text.

    Args:
        start: of its first character, behind an anchor and a tag.
        end: behind its last one; of a block behind that of its last entry.
        value: of a scalar.
        style: the quote or the mark of a block scalar; empty for plain words.
        entries: of an object or a list; None for a scalar.
        is_list: whether it is a list.
        is_flow: whether it is between brackets.
        target: the node that an alias refers to.
    """

    start: int
    end: int
    value: Any = None
    style: str = ""
    entries: list[MemberNode] | None = None
    is_list: bool = False
    is_flow: bool = False
    target: ValueNode | None = None

    def plain(self) -> Any:
        """The value as data."""
        if self.target is not None:
            return self.target.plain()
        if self.entries is None:
            return self.value
        if self.is_list:
            return [entry.node.plain() for entry in self.entries]
        return {entry.name: entry.node.plain() for entry in self.entries}


@dataclass(slots=True, eq=False)
class MemberNode:
    """A member of an object, or an item of a list.

    Args:
        name: of a member; empty for an item.
        start: of the name, of a dash, or of an item between brackets.
        name_end: behind the name.
        node: its value.
    """

    name: str
    start: int
    name_end: int
    node: ValueNode


def read_json_nodes(text: str) -> ValueNode:
    """The nodes of a text that `json_parser.parse_json` takes."""
    return _read_json_node(text, skip_blank(text, 0))


def _read_json_node(text: str, start: int) -> ValueNode:
    if text[start] not in "{[":
        value, end = _DECODER.raw_decode(text, start)
        return ValueNode(start, end, value, '"' if isinstance(value, str) else "")
    node = ValueNode(start, start, entries=[], is_list=text[start] == "[", is_flow=True)
    at = skip_blank(text, start + 1)
    while text[at] not in "]}":
        name, begin, name_end = "", at, at
        if not node.is_list:
            name, name_end = _DECODER.raw_decode(text, at)
            at = skip_blank(text, skip_blank(text, name_end) + 1)
        item = _read_json_node(text, at)
        assert node.entries is not None
        node.entries.append(MemberNode(name, begin, name_end, item))
        at = skip_blank(text, item.end)
        at = skip_blank(text, at + 1) if text[at] == "," else at
    node.end = at + 1
    return node


def read_yaml_nodes(text: str, plain: Any) -> ValueNode:
    """The nodes of a text that `yaml_parser.parse_yaml` takes.

    Args:
        text: without a byte order mark.
        plain: the whole value from that parser, which decides what words without quotes mean.
    """
    reader = _Reader(text)
    loader = _LOADER(text)
    try:
        while loader.check_event():
            reader.take(loader.get_event())
    finally:
        loader.dispose()
    (root,) = reader.done
    _set_values(root, plain)
    return root


def _set_values(node: ValueNode, plain: Any) -> None:
    if node.target is not None:
        return
    if node.entries is None:
        node.value = plain
        return
    for index, entry in enumerate(node.entries):
        _set_values(entry.node, plain[index if node.is_list else entry.name])


@dataclass(slots=True)
class _Reader:
    """Takes the events of libyaml one by one."""

    text: str
    done: list[ValueNode] = field(default_factory=list)
    open: list[tuple[ValueNode, str]] = field(default_factory=list)
    names: list[tuple[str, int, int] | None] = field(default_factory=list)
    anchors: dict[str, ValueNode] = field(default_factory=dict)

    def take(self, event: Any) -> None:
        begin, end = event.start_mark.index, event.end_mark.index
        if isinstance(event, yaml.AliasEvent):
            target = self.anchors[event.anchor]
            self._add_node(ValueNode(begin, end, target.value, target=target), begin)
        elif isinstance(event, yaml.ScalarEvent):
            start = self._skip_properties(event, begin, end)
            node = ValueNode(start, end, event.value, event.style or "")
            # In a mapping, libyaml gives names and values in turn, as the same kind of event.
            if self.open and not self.open[-1][0].is_list and self.names[-1] is None:
                self.names[-1] = (event.value, begin, end)
                if event.anchor:
                    self.anchors[event.anchor] = node
                return
            self._add_node(node, begin, event.anchor)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            is_list = isinstance(event, yaml.SequenceStartEvent)
            start = self._skip_properties(event, begin, end) if event.flow_style else begin
            node = ValueNode(start, end, entries=[], is_list=is_list, is_flow=bool(event.flow_style))
            self._add_node(node, begin, event.anchor)
            self.open.append((node, event.anchor or ""))
            self.names.append(None)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            node, _ = self.open.pop()
            self.names.pop()
            assert node.entries is not None
            if node.is_flow:
                node.end = end
            elif node.entries:
                node.start, node.end = node.entries[0].start, node.entries[-1].node.end

    def _add_node(self, node: ValueNode, begin: int, anchor: str | None = None) -> None:
        if anchor:
            self.anchors[anchor] = node
        if not self.open:
            self.done.append(node)
            return
        parent = self.open[-1][0]
        assert parent.entries is not None
        if parent.is_list:
            start = begin if parent.is_flow else self._find_dash(begin)
            parent.entries.append(MemberNode("", start, start, node))
            return
        named = self.names[-1]
        if named is None:  # an alias as a name
            assert node.target is not None
            self.names[-1] = (node.target.value, node.start, node.end)
            return
        self.names[-1] = None
        parent.entries.append(MemberNode(*named, node))

    def _skip_properties(self, event: Any, begin: int, end: int) -> int:
        if event.anchor is None and event.tag is None:
            return int(begin)
        found = _PROPERTIES.match(self.text, begin, end)
        return found.end() if found else int(begin)

    def _find_dash(self, begin: int) -> int:
        """The offset of the dash before an item of a block."""
        # libyaml gives no position for it: search back over blank lines and comments before the item.
        stop = begin
        while True:
            line = max(self.text.rfind("\n", 0, stop), self.text.rfind("\r", 0, stop)) + 1
            words = self.text[line:stop]
            if words.rstrip().endswith("-"):
                return line + len(words.rstrip()) - 1
            if stop != begin and _DASHED.fullmatch(words) and not words.lstrip().startswith("#"):
                return line + words.partition(" #")[0].rstrip().rindex("-")
            if line == 0:
                return begin
            stop = line - 1


def walk_nodes(node: ValueNode) -> Iterator[ValueNode]:
    """A node and all below it, aliases not followed."""
    yield node
    for entry in node.entries or ():
        yield from walk_nodes(entry.node)
