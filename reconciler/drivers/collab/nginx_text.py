"""The directives of an nginx file with their places in its text, read as nginx itself reads them; pure.

With places, a directive can be replaced where it stands: everything that people wrote around it stays.
"""

# A reader of our own, because the library for it (crossplane) gives lines and no columns, and would have to
# be installed on every host that plans. Tests compare both readings.

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from reconciler.file_delivery.content import UnfitFile

_LARGEST: Final = 256 * 1024
_MOST_DEPTH: Final = 50
_SPACES: Final = " \t\r\n"
_BARE: Final = re.compile(r"(?:\$\{|\\.|[^\s;{\\])(?:\$\{|\\.|[^ \t\r\n;{\\])*+", re.DOTALL)
_QUOTED: Final = {
    '"': re.compile(r'"((?:\\.|[^"\\])*+)"', re.DOTALL),
    "'": re.compile(r"'((?:\\.|[^'\\])*+)'", re.DOTALL),
}
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED: Final = {"t": "\t", "r": "\r", "n": "\n", '"': '"', "'": "'", "\\": "\\"}
_PLAIN: Final = re.compile(r"[^\s;{}\"'\\#$]+|\$[a-z_]+")
_LUA: Final = "_by_lua_block"


class _Token(NamedTuple):
    """A word, or one of `;`, `{` and `}` outside of words.

    Args:
        text: without quotes and escapes.
        start: offset in the text.
        end: after it.
        is_word: whether it is not one of the three.
    """

    text: str
    start: int
    end: int
    is_word: bool


@dataclass(slots=True)
class PlacedDirective:
    """One directive.

    Args:
        words: its name and arguments, without quotes.
        start: offset of its name.
        end: after its `;` or `}`.
        body: offset after its `{`; 0 for one without a block.
        children: the directives of its block.
    """

    words: tuple[str, ...]
    start: int
    end: int = 0
    body: int = 0
    children: list[PlacedDirective] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name."""
        return self.words[0]

    def find(self, name: str) -> Iterator[PlacedDirective]:
        """The directives of its block with a name."""
        return (one for one in self.children if one.name == name)


def parse_nginx_file(content: bytes) -> tuple[str, PlacedDirective]:
    """The text of a file, and its directives as the children of one without a name.

    Raises:
        UnfitFile: nginx would not take it either, or a bound is exceeded.
    """
    if len(content) > _LARGEST:
        raise UnfitFile(
            f"has {len(content)} bytes, and only files of up to {_LARGEST} are read; move what is not of "
            "this cluster into files of its own, and `include` them"
        )
    text = content.decode("utf-8", "surrogateescape")  # a comment may be in any encoding
    return text, parse_text(text)


def parse_text(text: str) -> PlacedDirective:
    """The directives of a text, as the children of one without a name.

    Raises:
        UnfitFile: as for `parse_nginx_file`.
    """
    root = PlacedDirective(("",), 0, len(text))
    opened = [root]
    words: list[_Token] = []
    for token in _walk_tokens(text):
        if token.is_word:
            words.append(token)
            continue
        _check_place(text, token, words, opened)
        if token.text == "}":
            opened.pop().end = token.end
            continue
        found = PlacedDirective(tuple(word.text for word in words), words[0].start, token.end)
        opened[-1].children.append(found)
        words = []
        if token.text == "{":
            found.body = token.end
            opened.append(found)
    if words:
        raise _make_error(text, words[0].start, f"`{words[0].text[:40]}` has no `;` and no block")
    if len(opened) > 1:
        raise _make_error(text, opened[-1].start, f"the block of `{opened[-1].name[:40]}` has no end")
    return root


def _check_place(
    text: str, token: _Token, words: Sequence[_Token], opened: Sequence[PlacedDirective]
) -> None:
    """Check that a `;`, `{` or `}` may stand where it stands."""
    if (token.text == "}") == bool(words) or (token.text == "}" and len(opened) == 1):
        raise _make_error(text, token.start, f"unexpected `{token.text}`")
    if token.text == "{" and words[0].text.endswith(_LUA):
        name = words[0].text[:40]
        why = f"the Lua code of `{name}` is not read by this program; write it into a file of its own, and"
        raise _make_error(text, words[0].start, f"{why} `{name.removesuffix('_block')}_file PATH;` here")
    if token.text == "{" and len(opened) >= _MOST_DEPTH:
        raise _make_error(text, token.start, f"more than {_MOST_DEPTH} blocks within each other")


def _walk_tokens(text: str) -> Iterator[_Token]:
    place, size = 0, len(text)
    while place < size:
        char = text[place]
        if char in _SPACES:
            place += 1
        elif char == "#":
            end = text.find("\n", place)
            place = size if end < 0 else end
        elif char in ";{}":
            yield _Token(char, place, place + 1, is_word=False)
            place += 1
        elif char in _QUOTED:
            found = _QUOTED[char].match(text, place)
            if found is None:
                raise _make_error(text, place, "a quote is not closed")
            if text[found.end() : found.end() + 1] not in {*_SPACES, ";", "{", ")"}:
                raise _make_error(text, found.end(), "a quoted word is not followed by a space")
            yield _Token(_unescape(found[1]), place, found.end(), is_word=True)
            place = found.end()
        else:
            bare = _BARE.match(text, place)
            if bare is None:
                raise _make_error(text, place, "a backslash at the end")
            yield _Token(_unescape(bare[0]), place, bare.end(), is_word=True)
            place = bare.end()


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[0]), text) if "\\" in text else text


def quote_word(word: str) -> str:
    """A word as text of a file."""
    if _PLAIN.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def count_line(text: str, offset: int) -> int:
    """The number of the line of an offset, from 1."""
    return text.count("\n", 0, offset) + 1


def _make_error(text: str, offset: int, why: str) -> UnfitFile:
    return UnfitFile(f"cannot be read at line {count_line(text, offset)}: {why}")


class Replacement(NamedTuple):
    """One replacement in a text."""

    start: int
    end: int
    text: str


def replace_parts(text: str, edits: Sequence[Replacement]) -> str:
    """The text with all replacements, which do not overlap; of two at one place the first one comes first."""
    parts: list[str] = []
    last = 0
    for edit in sorted(edits, key=lambda one: one.start):
        parts += [text[last : edit.start], edit.text]
        last = max(last, edit.end)
    return "".join((*parts, text[last:]))


def remove_directive(text: str, directive: PlacedDirective) -> Replacement:
    """The removal of a directive: with its line if nothing else stands there; a comment after it stays."""
    start, end = directive.start, directive.end
    line = text.rfind("\n", 0, start) + 1
    after = text.find("\n", end)
    after = len(text) if after < 0 else after + 1
    if not text[line:start].strip() and not text[end:after].strip():
        return Replacement(line, after, "")
    if text[line:start].strip():
        before = text[line:start]
        return Replacement(line + len(before.rstrip(" \t")), end, "")
    while text[end : end + 1] in {" ", "\t"}:
        end += 1
    return Replacement(start, end, "")


def insert_lines(
    text: str, block: PlacedDirective, after: PlacedDirective | None, lines: Sequence[str]
) -> Replacement:
    """The insertion of directives into a block, in its layout.

    Args:
        text: of the file.
        block: that gets them.
        after: the directive behind which they come; None for the beginning of the block.
        lines: directives, each on one line.
    """
    offset = after.end if after is not None else block.body
    if "\n" not in text[block.body : block.end]:  # a block on one line stays one
        return Replacement(
            offset, offset, "".join(f" {line.strip()}" for line in lines) + ("" if after else " ")
        )
    sample = after or (block.children[0] if block.children else None)
    indent = get_indent(text, sample) if sample is not None else f"{get_indent(text, block)}    "
    end_of_line = text.find("\n", offset)
    end_of_line = len(text) if end_of_line < 0 else end_of_line
    end = "\r\n" if "\r\n" in text else "\n"
    # Behind a comment at the end of the line, unless another directive begins on it.
    rest = text[offset:end_of_line].strip()
    if not rest or rest.startswith("#"):
        offset = end_of_line + 1
        return Replacement(offset, offset, "".join(f"{indent}{line}{end}" for line in lines))
    return Replacement(offset, offset, "".join(f"{end}{indent}{line}" for line in lines))


def get_indent(text: str, directive: PlacedDirective) -> str:
    """The white space at the beginning of the line of a directive."""
    line = text.rfind("\n", 0, directive.start) + 1
    found = text[line : directive.start]
    return found[: len(found) - len(found.lstrip(" \t"))]
