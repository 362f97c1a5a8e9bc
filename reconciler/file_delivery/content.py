"""What of a file is desired: the whole file, a span between two marker lines, or some keys; pure.

Each says how a file becomes the desired one, what differs, and how both look without secrets. What is not
ours survives byte by byte, and what has been rendered once is not changed by rendering it again.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from enum import StrEnum
from itertools import accumulate
from typing import Any, Final, TypeAlias

from reconciler.core.canonical import fingerprint
from reconciler.core.diff import Change, Op, diff_values
from reconciler.core.secret import MASK, Secret, mask, reveal
from reconciler.documents.key_values import Scalar, change_key_values, parse_key_values
from reconciler.documents.text_lines import BYTE_ORDER_MARK, LINE_END
from reconciler.errors import InputError
from reconciler.secrets.patterns import should_mask_key
from reconciler.secrets.redaction import LineRedactor
from reconciler.text.json_pointer import make_pointer

LINES: Final = "lines"
"""Part of the pointer of a change of lines: `/ENTRY/lines/NUMBER`, from 1, with lists of lines as values."""

_UNSAID: Final = re.compile(r"""[\s"':=]""")
"""What may stand otherwise in an earlier spelling of a line."""

_MOST_COMPARED: Final = 4_000
"""Lines up to which a difference is found line by line; more are one change from the first to the last."""


_REFERENCE: Final = re.compile(r"\$\{[^{}]*\}")


class Ownership(StrEnum):
    """What of a file belongs to the desired state."""

    FILE = "file"
    """All of it: any change by hand is drift."""

    KEYS = "keys"
    """Some keys: other lines, comments and the order of lines are left alone."""

    SPAN = "span"
    """The lines between two marker lines."""


class UnfitFile(ValueError):
    """A file cannot become the desired one; the text gives the reason, to follow "the file NAME"."""


Part: TypeAlias = str | Secret
"""A piece of a text; the pieces follow each other without anything between them."""


class FileContent(ABC):
    """The desired content of a file."""

    @abstractmethod
    def render(self, current: bytes | None) -> bytes:
        """The file as desired; the same bytes if nothing of it has to change.

        Args:
            current: its content; None if it does not exist.

        Raises:
            UnfitFile: what is not ours in it cannot be kept.
        """

    @abstractmethod
    def find_changes(self, current: bytes | None, entry: str) -> tuple[Change, ...]:
        """What differs from the desired content, for people; secrets are masked or of the type `Secret`.

        Args:
            current: its content, which `render` accepts.
            entry: name of the file, the first part of each pointer.
        """

    @abstractmethod
    def redact(self, current: bytes | None) -> Any:
        """What is ours of a content, as plain JSON without secrets, the same on every host."""

    @property
    @abstractmethod
    def secrets(self) -> Sequence[Secret]:
        """The secrets in the desired content."""

    def fingerprint(self, current: bytes | None) -> str:
        """Fingerprint of `redact`: for plans and comments, where nobody may test guesses of a secret."""
        return fingerprint(self.redact(current))

    @property
    def missing(self) -> Mapping[str, str]:
        """Name of a secret that is not known here -> why; such a content is never written."""
        return {_name_secret(one): one.missing for one in self.secrets if one.missing}

    def list_missing(self, entry: str) -> Iterator[tuple[str, str]]:
        """For each secret that is not known here, where it belongs, and why it is not known.

        Args:
            entry: name of the file.
        """
        return ((f"{name} of the file {entry}", why) for name, why in self.missing.items())

    @property
    def redactor(self) -> LineRedactor:
        """Masks the known secrets, and what looks like one, in lines."""
        return LineRedactor(str(one.value) for one in self.secrets if not one.missing)


def _name_secret(secret: Secret) -> str:
    """Its references alone: what surrounds them in an address would be masked together with them."""
    return " and ".join(dict.fromkeys(_REFERENCE.findall(secret.reference))) or str(secret)


@dataclass(frozen=True, slots=True)
class WholeFile(FileContent):
    """A file that is ours from its first to its last byte.

    Args:
        parts: its text.
    """

    parts: tuple[Part, ...]

    def render(self, current: bytes | None) -> bytes:
        # Without its secrets a content cannot be compared by bytes: it counts as equal if the rest is.
        if self.missing and current is not None and self.redact(current) == self.redact(_encode(self.parts)):
            return current
        return _encode(self.parts)

    def find_changes(self, current: bytes | None, entry: str) -> tuple[Change, ...]:
        wanted = _ShownText(self.parts)
        if current is None:
            return tuple(diff_lines([], [], wanted.lines, wanted.shown, entry))
        lines = _split_lines(current.decode("utf-8", "replace"))
        return tuple(
            diff_lines(lines, wanted.mask_lines(lines, self.redactor), wanted.lines, wanted.shown, entry)
        )

    def redact(self, current: bytes | None) -> Any:
        if current is None:
            return None
        lines = _split_lines(current.decode("utf-8", "replace"))
        return _join_masks(_ShownText(self.parts).mask_lines(lines, LineRedactor(())))

    @property
    def secrets(self) -> Sequence[Secret]:
        return [part for part in self.parts if isinstance(part, Secret)]


@dataclass(frozen=True, slots=True)
class OwnedSpan(FileContent):
    """The lines between two marker lines; the markers are ours too, and are added at the end if missing.

    Args:
        begin: the marker before them, such as `# begin reconciler`, without a line end.
        end: the marker after them.
        parts: the text between the markers.
    """

    begin: str
    end: str
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        markers = (self.begin, self.end)
        if self.begin == self.end or any(
            one != one.strip() or not one or LINE_END.search(one) for one in markers
        ):
            raise ValueError("a span needs two different marker lines without spaces around them")
        if {line.strip() for line in _split_lines(reveal_parts(self.parts))} & set(markers):
            raise ValueError("the text of a span must not contain its marker lines")

    def render(self, current: bytes | None) -> bytes:
        text = _decode(current)
        line_end = _find_line_end(text)
        body = reveal_parts(self.parts)
        if body and not body.endswith("\n"):
            body += "\n"
        body = line_end.join(body.split("\n"))
        span = self._find(text)
        if span is None:
            gap = line_end if text.removeprefix(BYTE_ORDER_MARK) and not text.endswith(("\n", "\r")) else ""
            return _to_bytes(f"{text}{gap}{self.begin}{line_end}{body}{self.end}{line_end}")
        found = text[slice(*span)]
        if self.missing and self._redact_body(found) == self._redact_body(body):
            return _to_bytes(text)
        return _to_bytes(text[: span[0]] + body + text[span[1] :])

    def find_changes(self, current: bytes | None, entry: str) -> tuple[Change, ...]:
        text = _decode(current)
        span = self._find(text)
        before = "" if span is None else text[: span[0]]
        wanted, found = _ShownText(self.parts), [] if span is None else _split_lines(text[slice(*span)])
        shown = wanted.mask_lines(found, self.redactor)
        # Line ends are those of the file, so only the rest of a line can differ.
        lines, desired = [line.rstrip("\r\n") for line in found], [line.rstrip("\n") for line in wanted.lines]
        above = len(_split_lines(before)) if span is not None else len(_split_lines(text)) + 1
        changes = tuple(diff_lines(lines, shown, desired, wanted.shown, entry, first=above + 1))
        if span is None and not changes:
            return (Change(make_pointer((entry, LINES, str(above))), Op.ADD, new=[self.begin, self.end]),)
        return changes

    def redact(self, current: bytes | None) -> Any:
        text = _decode(current)
        span = self._find(text)
        return None if span is None else self._redact_body(text[slice(*span)])

    @property
    def secrets(self) -> Sequence[Secret]:
        return [part for part in self.parts if isinstance(part, Secret)]

    def _redact_body(self, body: str) -> list[str]:
        return _join_masks(_ShownText(self.parts).mask_lines(_split_lines(body), LineRedactor(())))

    def _find(self, text: str) -> tuple[int, int] | None:
        """Offsets of the text between the markers; None if there are none.

        Raises:
            UnfitFile: one is missing, repeated, or they are in the other order.
        """
        found: dict[str, list[tuple[int, int]]] = {self.begin: [], self.end: []}
        start = len(BYTE_ORDER_MARK) if text.startswith(BYTE_ORDER_MARK) else 0
        for line in _iterate_lines(text, start):
            if (content := text[slice(*line)].strip()) in found:
                found[content].append(line)
        begins, ends = found[self.begin], found[self.end]
        if not begins and not ends:
            return None
        if len(begins) != 1 or len(ends) != 1 or ends[0] < begins[0]:
            raise UnfitFile(
                f"must have the line `{self.begin}` once and, after it, `{self.end}` once, or none of them"
            )
        return begins[0][1], ends[0][0]


@dataclass(frozen=True, slots=True)
class OwnedKeys(FileContent):
    """Some keys of a file of `key = value` lines; other lines survive.

    Args:
        values: key -> value; None for a key that must not be there.
    """

    values: Mapping[str, Scalar | Secret | None]
    _read: dict[bytes, Mapping[str, Scalar]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    def render(self, current: bytes | None) -> bytes:
        found = self._parse(current)
        wanted = {
            key: reveal(value)
            for key, value in self.values.items()
            # A secret that is not known here: whatever the file has may be it.
            if not (isinstance(value, Secret) and value.missing and key in found)
        }
        return _to_bytes(change_key_values(_decode(current), wanted))

    def find_changes(self, current: bytes | None, entry: str) -> tuple[Change, ...]:
        shown = self._select(self._parse(current), display=True)
        wanted = {
            key: Secret(value) if should_mask_key(key) and not isinstance(value, Secret) else value
            for key, value in self.values.items()
            if value is not None and not (isinstance(value, Secret) and value.missing and key in shown)
        }
        return diff_values(
            {entry: {key: shown[key] for key in shown if self._is_compared(key)}}, {entry: wanted}
        )

    def redact(self, current: bytes | None) -> Any:
        return None if current is None else mask(self._select(self._parse(current), display=False))

    @property
    def secrets(self) -> Sequence[Secret]:
        return [value for value in self.values.values() if isinstance(value, Secret)]

    def _is_compared(self, key: str) -> bool:
        value = self.values[key]
        return not (isinstance(value, Secret) and value.missing)

    def _select(self, found: Mapping[str, Scalar], *, display: bool) -> dict[str, Any]:
        """Our keys of a file; secrets by their key, by what is desired there, and if shown by their form."""
        redactor = self.redactor if display else LineRedactor(())
        shown: dict[str, Any] = {}
        for key in sorted(self.values.keys() & found.keys()):
            value, wanted = found[key], self.values[key]
            if isinstance(wanted, Secret):
                shown[key] = Secret(value) if display else MASK
            elif should_mask_key(key):
                shown[key] = Secret(value)
            else:
                shown[key] = redactor.redact_text(value) if isinstance(value, str) else value
        return shown

    def _parse(self, current: bytes | None) -> Mapping[str, Scalar]:
        content = current or b""
        if content not in self._read:
            try:
                values, _ = parse_key_values("", _decode(content))
            except InputError as error:
                problem = error.problems[0]
                raise UnfitFile(
                    f"cannot be read at line {problem.position.line}: {problem.message}"
                ) from error
            self._read.clear()
            self._read[content] = values
        return self._read[content]


def reveal_parts(parts: Sequence[Part]) -> str:
    """The text of some parts, with its secrets."""
    return "".join(str(reveal(part)) for part in parts)


def diff_lines(
    old: Sequence[str],
    shown_old: Sequence[str],
    new: Sequence[str],
    shown_new: Sequence[str],
    entry: str,
    *,
    first: int = 1,
) -> Iterator[Change]:
    """The changed lines, one change for lines that are together.

    Args:
        old: the lines as they are.
        shown_old: the same as they may be shown.
        new: the lines as they are desired.
        shown_new: the same as they may be shown.
        entry: name of the file.
        first: number of the first line.
    """
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    before, after = old[start : len(old) - end], new[start : len(new) - end]
    blocks = [("replace", 0, len(before), 0, len(after))]
    # Bounded: a hostile file could make a comparison of all its lines take minutes.
    if max(len(before), len(after)) <= _MOST_COMPARED:
        blocks = list(SequenceMatcher(None, before, after).get_opcodes())
    for kind, old_from, old_to, new_from, new_to in blocks:
        gone = list(shown_old[start + old_from : start + old_to])
        come = list(shown_new[start + new_from : start + new_to])
        if kind == "equal" or not (gone or come):
            continue
        if gone == come:
            gone = _add_line_ends(gone, before[old_from:old_to])
            come = _add_line_ends(come, after[new_from:new_to])
        pointer = make_pointer((entry, LINES, str(first + start + (new_from if come else old_from))))
        op = Op.REPLACE if gone and come else Op.REMOVE if gone else Op.ADD
        yield Change(pointer, op, old=gone or None, new=come or None)


def _add_line_ends(shown: Sequence[str], lines: Sequence[str]) -> list[str]:
    """Lines that look equal, with what ends them."""
    names = {"\n": "", "": " (without a line end)", "\r\n": " (ends with CR LF)", "\r": " (ends with CR)"}
    ends = (line[len(line.rstrip("\r\n")) :] for line in lines)
    return [f"{text}{names.get(end, '')}" for text, end in zip(shown, ends, strict=True)]


class _ShownText:
    """A desired text as lines, and how it and an earlier form of it are shown."""

    def __init__(self, parts: Sequence[Part]) -> None:
        texts = [str(reveal(part)) for part in parts]
        ends = list(accumulate(map(len, texts)))
        text = "".join(texts)
        self.lines = _split_lines(text)
        self.shown: list[str] = []
        self._prefixes: list[str] = []
        self._hides_all = False
        redactor = LineRedactor(())
        hidden = [
            (end - len(one), end, str(part))
            for part, one, end in zip(parts, texts, ends, strict=True)
            if isinstance(part, Secret) and one
        ]
        for start, stop in _iterate_lines(text):
            inside = [(max(a, start), min(b, stop), name) for a, b, name in hidden if a < stop and b > start]
            if not inside:
                self.shown.append(redactor.redact_text(text[start:stop].rstrip("\r\n")))
                continue
            prefix = text[start : inside[0][0]]
            # A secret without a name before it, or of several lines: no earlier line tells whether it had it.
            if prefix.strip() and "\n" not in text[inside[0][0] : inside[0][1]].rstrip("\n"):
                self._prefixes.append(prefix.rstrip())
            else:
                self._hides_all = True
            line, last = "", start
            for a, b, name in inside:
                line, last = f"{line}{text[last:a]}{name}", b
            self.shown.append((line + text[last:stop]).rstrip("\r\n"))

    def mask_lines(self, lines: Sequence[str], redactor: LineRedactor) -> list[str]:
        """Lines of an earlier form of the text, with secrets masked by where the desired text has some."""
        known = set(self.shown)
        return [self._mask(line, known, redactor) for line in lines]

    def _mask(self, line: str, known: set[str], redactor: LineRedactor) -> str:
        content = line.rstrip("\r\n")
        said = _UNSAID.sub("", content)
        for prefix in self._prefixes:
            if said.startswith(_UNSAID.sub("", prefix)):
                return f"{prefix} {MASK}"
        if self._hides_all and content and content not in known:
            return MASK
        return redactor.redact_text(content)


def _join_masks(lines: Sequence[str]) -> list[str]:
    """Lines without the number of hidden lines, which differs where a secret is not known."""
    return [
        line for index, line in enumerate(lines) if line != MASK or index == 0 or lines[index - 1] != MASK
    ]


def _encode(parts: Sequence[Part]) -> bytes:
    return _to_bytes(reveal_parts(parts))


def _to_bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # JSON can say half of a character
        raise UnfitFile("cannot have the desired text: a character of it is not complete") from None


def _decode(content: bytes | None) -> str:
    try:
        return (content or b"").decode("utf-8")
    except UnicodeDecodeError as error:
        line = (content or b"").count(b"\n", 0, error.start) + 1
        raise UnfitFile(f"is not UTF-8 text in line {line}") from None


def _iterate_lines(text: str, start: int = 0) -> Iterator[tuple[int, int]]:
    """Offsets of each line, with its line end."""
    while start < len(text):
        found = LINE_END.search(text, start)
        end = found.end() if found else len(text)
        yield start, end
        start = end


def _split_lines(text: str) -> list[str]:
    """The lines, each with its line end, so that a missing last one is a difference."""
    return [text[start:end] for start, end in _iterate_lines(text)]


def _find_line_end(text: str) -> str:
    found = LINE_END.search(text)
    return found[0] if found else "\n"
