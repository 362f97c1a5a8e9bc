"""Changes values in the text of a JSON or YAML file and leaves every other character as it is.

The parser gives the offsets of all values. Edits are applied to a tree that remembers the node of the text
for each value; values without a node are written as replacements in the text. The result is parsed and must
equal exactly the wanted value: a wrong replacement is an error, never a wrong file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from reconciler.documents.document import KEY_VALUE_SUFFIX, YAML_SUFFIXES, parse_document
from reconciler.documents.edit import REMOVED, Edit
from reconciler.documents.key_values import change_key_values
from reconciler.documents.text_lines import BYTE_ORDER_MARK, LINE_END, find_line_end
from reconciler.documents.value_nodes import (
    MemberNode,
    ValueNode,
    read_json_nodes,
    read_yaml_nodes,
    walk_nodes,
)
from reconciler.documents.value_text import TextStyle
from reconciler.errors import InputError, UsageError
from reconciler.text.json_pointer import make_pointer

_INDENT: Final = re.compile(r"[\r\n]([ \t]+)[^\s]")
_STEP: Final = 2


def apply_text_edits(name: str, text: str, edits: Sequence[Edit]) -> str:
    """The text of a file after the edits, one after the other.

    Args:
        name: of the file; its suffix decides between JSON and YAML.
        text: what `document.parse_document` takes; a byte order mark stays.
        edits: what to change.

    Raises:
        UsageError: the text cannot be changed without changing other values.
    """
    if PurePosixPath(name).suffix == KEY_VALUE_SUFFIX:
        return _edit_key_values(name, text, edits)
    is_json = PurePosixPath(name).suffix.lower() not in YAML_SUFFIXES
    mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
    body = text.removeprefix(mark)
    root = (
        read_json_nodes(body) if is_json else read_yaml_nodes(body, parse_document(name, text.encode()).value)
    )
    item = EditedValue.of(root)
    for edit in edits:
        item = _apply_edit(item, edit)
    after = mark + _TextRewriter(body, _detect_style(body, root, is_json=is_json), root, item).text()
    _check_result(name, after, item.plain(), edits)
    return after


def _edit_key_values(name: str, text: str, edits: Sequence[Edit]) -> str:
    """The text of a file of `key = value` lines after the edits."""
    changed = {str(edit.path[0]): None if edit.value is REMOVED else edit.value for edit in edits}
    wanted = {**parse_document(name, text.encode()).value, **changed}
    after = change_key_values(text, changed)
    _check_result(name, after, {key: value for key, value in wanted.items() if value is not None}, edits)
    return after


def _check_result(name: str, after: str, wanted: Any, edits: Sequence[Edit]) -> None:
    """Check that the new text has exactly the wanted value."""
    # Files are written by people in every possible style: a case that fails must not reach the repository.
    try:
        if _is_same_json(parse_document(name, after.encode()).value, wanted):
            return
    except InputError:
        pass
    places = ", ".join(dict.fromkeys(make_pointer(edit.path) or "the whole" for edit in edits[:3]))
    raise UsageError(
        f"cannot change {places} in {name} without changing other text",
        remedy="change the file by hand, or write these values in a simpler form; nothing was written",
    )


def _is_same_json(one: Any, other: Any) -> bool:
    """Whether two plain values are the same JSON; in Python, true == 1 and 1 == 1.0, in a file not."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@dataclass(slots=True, eq=False)
class EditedValue:
    """A value while it is being edited.

    Args:
        content: members, items or a scalar.
        node: the node of the text that it is; None for a new value.
        slot: the node that it replaces or is; None for an additional value.
    """

    content: dict[str, EditedValue] | list[EditedValue] | Any
    node: ValueNode | None = None
    slot: ValueNode | None = None

    @classmethod
    def of(cls, node: ValueNode) -> EditedValue:
        """The value of a node of the text; an alias is opened only when it is edited."""
        if node.target is not None or node.entries is None:
            return cls(node.plain() if node.target is not None else node.value, node, node)
        if node.is_list:
            return cls([cls.of(entry.node) for entry in node.entries], node, node)
        return cls({entry.name: cls.of(entry.node) for entry in node.entries}, node, node)

    @classmethod
    def new(cls, value: Any, slot: ValueNode | None = None) -> EditedValue:
        """A value that the text does not have yet."""
        content: Any = value
        if isinstance(value, Mapping):
            content = {str(key): cls.new(one) for key, one in value.items()}
        elif isinstance(value, list | tuple):
            content = [cls.new(one) for one in value]
        return cls(content, None, slot)

    def plain(self) -> Any:
        """The value as data."""
        if self.node is not None and self.node.target is not None:
            return self.content
        if isinstance(self.content, dict):
            return {key: item.plain() for key, item in self.content.items()}
        return [item.plain() for item in self.content] if isinstance(self.content, list) else self.content

    def open(self) -> None:
        """Replace an alias by a copy of its value, so that the edit changes this place only."""
        if self.node is not None and self.node.target is not None:
            self.content, self.node = EditedValue.new(self.content).content, None


def _apply_edit(root: EditedValue, edit: Edit) -> EditedValue:
    """The root after an edit."""
    if not edit.path:
        return EditedValue.new(edit.value, root.slot)
    *way, last = edit.path
    part = root
    for key in way:
        part.open()
        if isinstance(part.content, list):
            part = part.content[int(key)]
            continue
        if str(key) not in part.content:
            if edit.value is REMOVED:
                return root
            part.content[str(key)] = EditedValue.new({})
        part = part.content[str(key)]
    part.open()
    if isinstance(part.content, list):
        index = int(last)
        if edit.value is REMOVED:
            part.content.pop(index)
        elif index == len(part.content):
            part.content.append(EditedValue.new(edit.value))
        else:
            part.content[index] = EditedValue.new(edit.value, part.content[index].slot)
        return root
    key = str(last)
    if edit.value is REMOVED:
        part.content.pop(key, None)
    else:
        old = part.content.get(key)
        part.content[key] = EditedValue.new(edit.value, old.slot if old else None)
    return root


def _detect_style(text: str, root: ValueNode, *, is_json: bool) -> TextStyle:
    """The style of a file: its line ends, and its indentation of objects and lists."""
    ends = LINE_END.search(text)
    indent = _INDENT.search(text)
    steps, dashes = [_STEP], [_STEP]
    blocks = () if is_json else (node for node in walk_nodes(root) if node.entries and not node.is_flow)
    for node in blocks:
        for entry in () if node.is_list else node.entries or ():
            inner = entry.node
            if inner.entries and not inner.is_flow:
                further = _get_column(text, inner.entries[0].start) - _get_column(text, entry.start)
                (dashes if inner.is_list else steps).append(further)
    unit = indent[1] if indent and is_json else " " * max(steps[min(1, len(steps) - 1)], 1)
    return TextStyle(is_json, unit, dashes[min(1, len(dashes) - 1)], ends[0] if ends else "\n")


def _find_line_start(text: str, offset: int) -> int:
    """Where the line of an offset begins."""
    return max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1


def _get_column(text: str, offset: int) -> int:
    return offset - _find_line_start(text, offset)


@dataclass(slots=True)
class _TextRewriter:
    """Collects the replacements in a text and applies them."""

    body: str
    style: TextStyle
    root: ValueNode
    item: EditedValue
    replacements: list[tuple[int, int, str]] = field(default_factory=list)
    kept: dict[int, EditedValue] = field(default_factory=dict)

    def text(self) -> str:
        """The text with all replacements."""
        self._note_kept(self.item)
        self._write_entry(MemberNode("", self.root.start, self.root.start, self.root), self.item)
        parts, at = list[str](), 0
        for start, end, words in sorted(self.replacements, key=lambda cut: cut[:2]):
            # A removal may begin inside the one before it: no character is copied twice.
            parts += (self.body[at : max(at, start)], words)
            at = max(at, end)
        return "".join((*parts, self.body[at:]))

    def _put(self, start: int, end: int, words: str) -> None:
        self.replacements.append((start, end, words))

    def _note_kept(self, item: EditedValue) -> None:
        """Note the values that are still at the nodes of the text."""
        if item.slot is not None:
            self.kept[id(item.slot)] = item
        parts = item.content.values() if isinstance(item.content, dict) else item.content
        for part in parts if isinstance(item.content, dict | list) else ():
            if isinstance(part, EditedValue):
                self._note_kept(part)

    def _write_entry(self, entry: MemberNode, item: EditedValue) -> None:
        """Write the value in the place of a node, if it changed."""
        node = entry.node
        if node.target is not None:  # the alias stays if its anchor still has this value
            now = self.kept.get(id(node.target))
            if now is None or not _is_same_json(now.plain(), item.plain()):
                self._replace(entry, item)
        elif item.node is None:
            self._replace(entry, item)
        elif node.entries is not None:
            self._write_members(entry, item)

    def _write_members(self, entry: MemberNode, item: EditedValue) -> None:
        """Write the changes within an object or a list that stays."""
        node, entries = entry.node, entry.node.entries or []
        members = list(item.content.items() if isinstance(item.content, dict) else enumerate(item.content))
        # By identity: entries may have equal values, and an index changes with every removal.
        placed = {id(one.slot): one for _, one in members if one.slot is not None}
        new = [(str(name), one.plain()) for name, one in members if one.slot is None]
        kept = [one for one in entries if id(one.node) in placed]
        # Without an entry that stays, there is no place and no style for new ones.
        if entries and not kept:
            self._replace(entry, item)
            return
        for one in kept:
            self._write_entry(one, placed[id(one.node)])
        for index, one in enumerate(entries):
            if id(one.node) not in placed:
                self._remove(node, index, first=one.start < kept[0].start)
        if new:
            self._add(node, kept, new)

    def _replace(self, entry: MemberNode, item: EditedValue) -> None:
        """Write another value in the place of a node."""
        node, value = entry.node, item.plain()
        text, style = self.body, self.style
        is_spread = not node.entries or bool(LINE_END.search(text, node.start, node.end))
        quotes = node.style or ("plain" if node.entries is None and isinstance(node.value, str) else "")
        words = style.one_line(value, style=quotes, quotes_names=_has_quoted_names(text, node))
        if style.is_json and isinstance(value, dict | list) and value and is_spread:
            words = style.pretty(value, self._get_margin(node.start))
        if node.entries is not None and not node.is_flow and entry.name_end > entry.start:
            # A block starts on its own line; the value that replaces it goes on the line of the name.
            colon = text.index(":", entry.name_end) + 1
            first, last = _find_line_start(text, node.start), find_line_end(text, node.end)
            if first > colon:
                self._put(colon, colon, f" {words}")
                self._put(_find_previous_end(text, first), last, "")
                return
        if node.style in {"|", ">"} and text[node.start : node.end].endswith(("\n", "\r")):
            words += style.end
        gap = " " if node.start == node.end and not text[node.start - 1 : node.start].isspace() else ""
        self._put(node.start, node.end, gap + words)

    def _remove(self, node: ValueNode, index: int, *, first: bool) -> None:
        """Remove an entry; in a block, with the comment lines directly above it, which describe it."""
        entries, text = node.entries or [], self.body
        entry = entries[index]
        if node.is_flow:
            following = entries[index + 1].start if index + 1 < len(entries) else entry.node.end
            before = entries[index - 1].node.end if index else entry.start
            self._put(*((entry.start, following) if first else (before, entry.node.end)), "")
            return
        start = _find_line_start(text, entry.start)
        end = find_line_end(text, _skip_line_ends(text, entry.start, entry.node.end))
        if text[start : entry.start].strip():  # the first of a block that begins behind a dash
            following = entries[index + 1].start
            near = not text[end:following].strip() and len(LINE_END.findall(text[end:following])) == 1
            self._put(entry.start, following if near else end, "")
            return
        while index and start:
            above = _find_line_start(text, _find_previous_end(text, start))
            if not text[above:start].lstrip().startswith("#"):
                break
            start = above
        if behind := LINE_END.match(text, end):
            self._put(start, behind.end(), "")
        else:
            self._put(_find_previous_end(text, start), end, "")

    def _add(self, node: ValueNode, kept: Sequence[MemberNode], new: Sequence[tuple[str, Any]]) -> None:
        """Write new entries after those that stay."""
        if not node.is_flow:
            end = _skip_line_ends(self.body, kept[-1].start, self._kept_end(kept[-1].node))
            at, indent = find_line_end(self.body, end), _get_column(self.body, kept[0].start)
            rows = self._render_rows(node, kept[-1].node, new)
            self._put(at, at, "".join(f"{self.style.end}{' ' * indent}{row}" for row in rows))
        elif kept:
            self._add_between_brackets(node, kept, new)
        else:
            self._fill_brackets(node, new)

    def _kept_end(self, node: ValueNode) -> int:
        """The end of the last part of a node that stays; removed parts after it take their lines along."""
        item = self.kept.get(id(node))
        if node.entries and not node.is_flow and item is not None and item.node is node:
            left = next((one.node for one in reversed(node.entries) if id(one.node) in self.kept), None)
            return node.end if left is None else self._kept_end(left)
        return node.end

    def _render_rows(
        self, node: ValueNode, beside: ValueNode, new: Sequence[tuple[str, Any]]
    ) -> Iterator[str]:
        """The lines of new entries of a block, written as the one beside them."""
        quoted = _has_quoted_names(self.body, beside)
        for name, value in new:
            if not node.is_list:
                yield from self.style.member(name, value)
            elif isinstance(value, dict | list) and not beside.is_flow:
                yield from self.style.item(value, is_block=True)
            else:
                yield f"- {self.style.one_line(value, quotes_names=quoted)}"

    def _fill_brackets(self, node: ValueNode, new: Sequence[tuple[str, Any]]) -> None:
        """Write the first entries of an object or a list between brackets."""
        margin = self._get_margin(node.start)
        inner = margin + self.style.unit
        words = self._render_members(node, new, inner if self.style.is_json else None)
        if self.style.is_json:
            end = self.style.end
            text = ",".join(f"{end}{inner}{one}" for one in words) + end + margin
        else:
            text = ", ".join(words)
        self._put(node.start + 1, node.end - 1, text)

    def _add_between_brackets(
        self, node: ValueNode, kept: Sequence[MemberNode], new: Sequence[tuple[str, Any]]
    ) -> None:
        text, at = self.body, kept[-1].node.end
        if not LINE_END.search(text, node.start, kept[0].start):
            self._put(at, at, "".join(f", {one}" for one in self._render_members(node, new, None)))
            return
        margin = self._get_margin(kept[0].start)
        words = self._render_members(node, new, margin if self.style.is_json else None)
        line = find_line_end(text, at)
        rest = text[at:line].strip()
        own = not rest or rest == "," or rest.lstrip(" \t,").startswith("#")
        if not own or kept[-1] is not (node.entries or kept)[-1]:  # a bracket or what goes away is behind it
            line, rest = at, ""
        self._put(at, at, "" if rest.startswith(",") else ",")
        self._put(line, line, ",".join(f"{self.style.end}{margin}{one}" for one in words))

    def _render_members(
        self, node: ValueNode, new: Sequence[tuple[str, Any]], margin: str | None
    ) -> list[str]:
        """New entries as written between brackets; with a margin, each may have several lines."""
        style, quoted = self.style, _has_quoted_names(self.body, node)
        words = []
        for name, value in new:
            if margin is not None and isinstance(value, dict | list) and value:
                shown = style.pretty(value, margin)
            else:
                shown = style.one_line(value, quotes_names=quoted)
            words.append(shown if node.is_list else f"{style.name(name, quoted=quoted)}: {shown}")
        return words

    def _get_margin(self, offset: int) -> str:
        """The white space at the beginning of a line."""
        line = self.body[_find_line_start(self.body, offset) : offset]
        return line[: len(line) - len(line.lstrip(" \t"))]


def _skip_line_ends(text: str, start: int, end: int) -> int:
    """An offset on the last line of an entry: what ends a block's text is part of it, and no line more."""
    while end > start and text[end - 1] in "\r\n":
        end -= 1
    return end


def _find_previous_end(text: str, line: int) -> int:
    """Where the line before one that begins here ends, before what ends it."""
    if text[:line].endswith("\r\n"):
        return line - 2
    return max(line - 1, 0)


def _has_quoted_names(text: str, node: ValueNode) -> bool:
    """Whether the names of an object between brackets are in quotes."""
    entries = node.entries if node.is_flow and not node.is_list else None
    return bool(entries) and text[entries[0].start] == '"' if entries else False
