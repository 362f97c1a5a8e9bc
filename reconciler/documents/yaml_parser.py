"""YAML with the offsets of every value, as strict as JSON: core scalars, text as names, no duplicates.

One parser, libyaml's, gives both values and offsets, so they cannot differ. Anchors and aliases are read;
merge keys, tags of programming languages and several documents in a file are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from reconciler.documents.json_stack import DEEPEST
from reconciler.documents.problem_list import ProblemList
from reconciler.documents.value_offsets import ValueOffsets
from reconciler.documents.yaml_errors import report_yaml_error
from reconciler.documents.yaml_scalars import (
    InvalidScalar,
    make_unknown_tag_error,
    read_plain_scalar,
    read_tagged_scalar,
)
from reconciler.errors import InputError
from reconciler.text.json_pointer import make_pointer
from reconciler.text.one_line import quote_text
from reconciler.text.suggestions import find_nearest

MOST_VALUES = 1_000_000
"""How many values a file may have, each alias counted with all values of its anchor.

Otherwise a file of ten lines, each an alias of the line before ten times, would mean ten billion values.
"""

_COLLECTION_TAGS = (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_UNPRINTABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = {"\x85": r"\N", "\u2028": r"\L", "\u2029": r"\P"}
_OLD_BREAKS = re.compile(f"[{''.join(_ESCAPES)}]")
# libyaml, if PyYAML was built with it; its parser in Python gives the same events, but slowly.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HALF = re.compile("[\ud800-\udfff]")
_NO_MERGE = "write the members in full, or use an alias for the whole value"


@dataclass(slots=True)
class _OpenCollection:
    """A mapping or sequence being read, or the document around them."""

    value: Any
    offsets: ValueOffsets
    anchor: str | None = None
    size_before: int = 0
    is_name: bool = False
    """Whether it is in the place of a mapping's name."""
    wants_name: bool = False
    """Whether the next value is a name of this mapping."""
    name: str | None = None
    name_start: int = 0


@dataclass(slots=True)
class _Anchor:
    """The value of an anchor; `size` counts the values in it."""

    value: Any
    offsets: ValueOffsets
    size: int


_MOST_GUESSES = 5
"""Problems of a file up to which a misspelt anchor gets a suggestion."""


def parse_yaml(name: str, text: str) -> tuple[Any, ValueOffsets]:
    """The value of a text and the offsets of everything in it.

    Raises:
        InputError: it is not YAML, or JSON cannot express it; with all problems.
    """
    composer = _Composer(name, text)
    composer.run()
    if composer.problem_list.problems:
        raise InputError(composer.problem_list.problems)
    return composer.values[0], composer.all_offsets[0]


class _Composer:
    """Takes libyaml's events one by one; the outermost frame collects the documents."""

    def __init__(self, name: str, text: str) -> None:
        self.text = text
        self.problem_list = ProblemList(name, text, self._pointer)
        self.values: list[Any] = []
        self.all_offsets: list[ValueOffsets] = []
        self.open = [_OpenCollection(self.values, ValueOffsets(0, 0, items=self.all_offsets))]
        self.anchors: dict[str, _Anchor] = {}
        self.size = 0
        self.is_stopped = False

    def run(self) -> None:
        """Read the whole text, or up to the first error of libyaml."""
        for found in _UNPRINTABLE.finditer(self.text):
            message = f"the file contains the control character U+{ord(found[0]):04X}"
            remedy = "remove it, or write it as an escape"
            self.problem_list.add(found.start(), "control-character", message, remedy)
        # libyaml ends a line at these, as YAML 1.1 did; a reviewer sees one line, and may miss a key in it.
        for found in _OLD_BREAKS.finditer(self.text):
            char = found[0]
            message = f"invisible line break U+{ord(char):04X}"
            remedy = f"remove it, or write `{_ESCAPES[char]}` inside double quotes"
            self.problem_list.add(found.start(), "hidden-line", message, remedy)
        if self.problem_list.problems:
            return
        loader = _LOADER(self.text)
        try:
            while not self.is_stopped and loader.check_event():
                event = loader.get_event()
                take = _HANDLERS.get(type(event))
                if take is not None:
                    take(self, event)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            report_yaml_error(error, self.problem_list)
        finally:
            loader.dispose()
        if not self.values and not self.problem_list.problems:
            self.problem_list.add(0, "empty-file", "the file contains no value", "write a YAML document")

    def start_document(self, event: Any) -> None:
        """A document begins; only one may."""
        if self.values:
            message = "a second document starts here"
            self._stop(event.start_mark.index, "second-document", message, "keep one document in each file")

    def scalar(self, event: Any) -> None:
        """A text, a number or a literal."""
        start = event.start_mark.index
        wants_name = self.open[-1].wants_name
        value, words = None, event.value
        try:
            value = self._read_scalar(event, start, is_name=wants_name)
        except InvalidScalar as bad:
            words = None
            self.problem_list.add(start, *bad.args)
        offsets = ValueOffsets(start, start)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchor(value, offsets, 1)
        if wants_name:
            self._name(start, value, words)
        else:
            self._attach(value, offsets)

    def start_collection(self, event: Any) -> None:
        """A mapping or sequence begins."""
        start = event.start_mark.index
        is_name = self.open[-1].wants_name
        if is_name:
            message = "a list or mapping cannot be a name"
            self.problem_list.add(start, "name-not-text", message, "use text as the name")
        if len(self.open) > DEEPEST:
            message = f"lists and mappings are nested more than {DEEPEST} levels deep"
            self._stop(start, "too-deep", message, "reduce the nesting")
            return
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in _COLLECTION_TAGS:
            self.problem_list.add(start, *make_unknown_tag_error(event.tag).args)
        value: Any = {} if is_mapping else []
        offsets = ValueOffsets(start, start, {} if is_mapping else None, None if is_mapping else [])
        before = self.size
        if not is_name:
            self._attach(value, offsets)
        self.open.append(
            _OpenCollection(value, offsets, event.anchor, before, is_name=is_name, wants_name=is_mapping)
        )

    def end_collection(self, event: Any) -> None:
        """The innermost mapping or sequence ends."""
        ended = self.open.pop()
        if ended.anchor is not None:
            self.anchors[ended.anchor] = _Anchor(ended.value, ended.offsets, self.size - ended.size_before)
        if ended.is_name:
            self._name(event.start_mark.index, None)

    def alias(self, event: Any) -> None:
        """An alias: the value of its anchor again."""
        start = event.start_mark.index
        anchor = self.anchors.get(event.anchor)
        # Every later recursion over such a value would be endless.
        if any(frame.anchor == event.anchor for frame in self.open):
            message = f"the alias `*{event.anchor}` refers to a value that contains it"
            self.problem_list.add(start, "alias-loop", message, "write the value in full")
            anchor = None
        elif anchor is None:
            message = f"no anchor `&{event.anchor}` is defined before this alias"
            # The search takes time in proportion to the number of anchors.
            guesses = len(self.problem_list.problems) < _MOST_GUESSES
            known = find_nearest(event.anchor, self.anchors) if guesses else ""
            remedy = (
                f"did you mean `*{known}`?" if known else "define the anchor first, or put the text in quotes"
            )
            self.problem_list.add(start, "unknown-alias", message, remedy)
        anchor = anchor or _Anchor(None, ValueOffsets(start, start), 1)
        if self.open[-1].wants_name:
            self._name(start, anchor.value, f"*{event.anchor}" if event.anchor in self.anchors else None)
            return
        self.size += anchor.size - 1
        self._attach(anchor.value, ValueOffsets(start, start, anchor.offsets.members, anchor.offsets.items))

    def _attach(self, value: Any, offsets: ValueOffsets) -> None:
        # Aliases share memory, so the file itself is small; a later recursion visits every copy.
        self.size += 1
        if self.size > MOST_VALUES:
            message = f"the file has more than {MOST_VALUES} values, aliases included"
            self._stop(offsets.start, "too-large", message, "use fewer aliases, or several files")
            return
        parent = self.open[-1]
        if parent.offsets.items is not None:
            parent.value.append(value)
            parent.offsets.items.append(offsets)
            return
        parent.wants_name = True
        if parent.offsets.members is not None and parent.name is not None:
            offsets.key = parent.name_start
            parent.value[parent.name] = value
            parent.offsets.members[parent.name] = offsets

    def _name(self, start: int, value: Any, words: str | None = None) -> None:
        """Set the name of the next member; without `words`, a problem was already reported."""
        frame = self.open[-1]
        frame.wants_name, frame.name, frame.name_start = False, None, start
        if isinstance(value, str):
            frame.name = value
            if frame.offsets.members and (first := frame.offsets.members.get(value)):
                self.problem_list.add_duplicate(start, f"{quote_text(value)} in this mapping", first.key)
        elif words is not None:
            message = f"the name {quote_text(words)} is not text" if words else "the name is empty"
            self.problem_list.add(start, "name-not-text", message, f'write `"{words}"`')

    def _read_scalar(self, event: Any, start: int, *, is_name: bool) -> Any:
        words = event.value
        if is_name and words == "<<" and event.implicit[0]:
            message = "merge keys are not supported: `<<` is not part of YAML 1.2"
            raise InvalidScalar("merge-key", message, _NO_MERGE)
        # libyaml takes `[?x]` for `[{x: null}]`
        if is_name and words and self.text[start - 1 : start] == "?":
            message = "a question mark is directly before the name"
            raise InvalidScalar("question-mark", message, "put it and the text after it in quotes")
        if event.tag is not None:
            return read_tagged_scalar(event.tag, words)
        if not words.isascii() and _HALF.search(words):
            message = "the text contains half of a surrogate pair"
            raise InvalidScalar("bad-escape", message, "write the character itself")
        return read_plain_scalar(words) if event.implicit[0] else words

    def _stop(self, offset: int, code: str, message: str, remedy: str) -> None:
        self.problem_list.add(offset, code, message, remedy)
        self.is_stopped = True

    def _pointer(self) -> str:
        parts: list[str | int] = []
        for depth, frame in enumerate(self.open[1:], 2):
            last = depth == len(self.open)
            if frame.offsets.items is not None:
                parts.append(len(frame.offsets.items) - (not last))
            elif frame.name is not None and not (last and frame.wants_name):
                parts.append(frame.name)
        return make_pointer(parts)


_HANDLERS: Mapping[type, Callable[[_Composer, Any], None]] = {
    yaml.DocumentStartEvent: _Composer.start_document,
    yaml.ScalarEvent: _Composer.scalar,
    yaml.SequenceStartEvent: _Composer.start_collection,
    yaml.MappingStartEvent: _Composer.start_collection,
    yaml.SequenceEndEvent: _Composer.end_collection,
    yaml.MappingEndEvent: _Composer.end_collection,
    yaml.AliasEvent: _Composer.alias,
}
