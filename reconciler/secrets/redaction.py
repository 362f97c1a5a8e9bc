"""Masks everything in values and texts that is secret or sounds so; pure.

Values of the type `core.secret.Secret` are masked by `core.secret.mask`, which this uses.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote

from reconciler.core.secret import MASK, Secret, find_secrets, mask
from reconciler.documents import json_parser
from reconciler.documents.document import parse_document
from reconciler.documents.value_offsets import ValueOffsets
from reconciler.errors import InputError
from reconciler.secrets.patterns import (
    PAIR_VALUES,
    assess_prospect,
    get_pair_name,
    is_reference,
    is_secret_key,
    mask_shapes,
    should_mask_key,
    should_mask_text,
)
from reconciler.secrets.scan import scan_value
from reconciler.text.json_pointer import make_pointer as pointer_of
from reconciler.text.json_pointer import resolve_pointer, split_pointer
from reconciler.text.json_values import is_object
from reconciler.text.one_line import UNSEEN
from reconciler.text.urls import strip_userinfo

_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\']|\'\')*\'', re.DOTALL)

_SETTING: Final = re.compile(
    r"""(?P<before>\s*(?:[#;]\s*)?["']?(?P<key>[\w.\-]+)["']?\s*[=:\s]\s*["']?)[^\s"'].*"""
)
"""A line that gives a key a value, also in a comment: `key = value`, `key: value`, `key value;`."""

_PLACEHOLDER: Final = re.compile(r"(\{\{[^{}\n]{1,200}\}\})")
_DOCUMENTS: Final = (".json", ".yaml", ".yml", ".conf")
_PAIR: Final = 2
_FEW: Final = 64
_LONGEST: Final = 256 * 1024

SHORTEST: Final = 4
"""Characters from which a known value is masked as a separate word: a shorter one is a part of words."""

FRAGMENT: Final = 8
"""Characters from which a known value is masked anywhere, and each part of it too."""

_LONGEST_CORE: Final = 64 * 1024
_BASE64_BYTES: Final = 3
_URL_SAFE: Final = str.maketrans("+/", "-_")
_VARIED: Final = 4
_MARKS: Final = b"x" * FRAGMENT
_MARKED: Final = re.compile(rb"x+")
_UNSEEN: Final = re.compile(rf"\s|{UNSEEN.pattern}")

_ARMOUR: Final = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]+-----")
_BEFORE: Final = re.compile(r"(?i)(?:basic|bearer|token|digest)\s+")
"""A beginning that many secrets share, and that is not secret."""

_SHORT: Final = 500
"""Characters of a text that is remembered with its masked form."""

_RECENT: Final = 512
"""Texts that one redactor remembers."""

Path = tuple[str, ...]
"""A place in a document: its keys, without indices, because items move."""


class Redactor:
    """Masks known values, and everything that looks like a secret, in texts from elsewhere.

    A value is found as it is; escaped for JSON, Python, HTML and URLs; in base64 and hexadecimal; with white
    space added or collapsed; in any case. So is every part of eight characters or more, because a quotation
    may be cut at either end.

    Args:
        known: values in plain text.
        shortest: characters of a known value at least; shorter ones are not masked.
    """

    def __init__(self, known: Iterable[str], *, shortest: int = SHORTEST) -> None:
        self._clear = frozenset(known)
        long = {form for clear in self._clear for form in _list_forms(clear) if len(form) >= shortest}
        # The longest first: if one value is a part of another, the rest of that would stay readable.
        self._known = sorted(long, key=lambda clear: (-len(clear), clear))
        self._shortest = shortest
        self._parts: frozenset[str] | None = None
        self._recent: dict[str, str] = {}

    def redact_text(self, text: str) -> str:
        """A text, such as the answer of a node or a line of a log, with secrets masked."""
        # A thousand nodes give the same short answers, and the log says the same of each.
        if (recent := self._recent.get(text)) is not None:
            return recent
        # Known values first: a format may match a part of one and leave the rest readable.
        masked = strip_userinfo(mask_shapes(self._mask_parts(self.values(text)), MASK))
        if len(text) <= _SHORT:
            if len(self._recent) >= _RECENT:
                self._recent.clear()
            self._recent[text] = masked
        return masked

    def values(self, text: str) -> str:
        """A text with the known values masked, and its URLs otherwise unchanged."""
        for clear in self._known:
            if len(clear) >= FRAGMENT or self._shortest < SHORTEST:
                text = text.replace(clear, MASK)
            elif clear in text:
                text = re.sub(rf"(?<!\w){re.escape(clear)}(?!\w)", MASK, text)
        return text

    def _mask_parts(self, text: str) -> str:
        """A text with parts of known values masked, whatever white space it has."""
        if not self._clear or len(text) < FRAGMENT:
            return text
        if self._parts is None:  # on demand: most redactors never see a text
            self._parts = frozenset(part for clear in self._clear for part in _list_parts(clear))
        return _mask_found(text, self._parts)


class LineRedactor:
    """Masks secrets in the lines of a configuration file, also the whole value of a key that sounds secret.

    Args:
        known: values in plain text.
    """

    def __init__(self, known: Iterable[str]) -> None:
        self._redactor = Redactor(known)

    def redact_text(self, text: str) -> str:
        """One line with secrets masked."""
        # A value may have spaces, which end it in a text of another kind.
        if (found := _SETTING.match(text)) and should_mask_key(found["key"].split(".")[-1]):
            return f"{found['before']}{MASK}"
        return self._redactor.redact_text(text)


class TokenRedactor:
    """Masks the tokens of nodes, which are many: each part of eight characters is one look-up.

    Args:
        tokens: in plain text, of letters, digits, dashes and underlines.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._tokens = tuple(tokens)
        self._parts: frozenset[str] | None = None

    def redact_text(self, text: str) -> str:
        """A text with the tokens and parts of them masked."""
        if self._parts is None:  # on demand: most passes quote nothing
            clear = (token.casefold() for token in self._tokens)
            self._parts = frozenset(
                token[start : start + FRAGMENT]
                for token in clear
                for start in range(len(token) - FRAGMENT + 1)
            )
        return _mask_found(text, self._parts)


SHAPES: Final = Redactor(())
"""Knows no values and masks what looks like a secret; use it before a text is cut, which hides the format."""


def _list_parts(clear: str) -> Iterator[str]:
    """Every part of `FRAGMENT` characters of a value, in each form in which it may be quoted."""
    for core in _find_cores(clear):
        for form in (*_list_forms(core), *_encode(core.encode("utf-8", "surrogatepass"))):
            plain = _UNSEEN.sub("", form).casefold()
            for start in range(len(plain) - FRAGMENT + 1):
                part = plain[start : start + FRAGMENT]
                if len(set(part)) >= _VARIED:  # a run of spaces or dashes is not a secret
                    yield part


def _find_cores(clear: str) -> Iterator[str]:
    """The secret parts of a value: without the armour of a key, the scheme of a header, the host of a URL."""
    if "://" in clear[:_FEW]:  # the rest of a URL is in every message about it
        password = clear.partition("://")[2].rpartition("@")[0].partition(":")[2]
        query = clear.partition("?")[2]
        found = {password, unquote(password), *(pair.partition("=")[2] for pair in query.split("&"))}
        yield from sorted(found | {value for _, value in parse_qsl(query)})
        return
    common = _BEFORE.match(clear)
    lines = clear[common.end() if common else 0 :][:_LONGEST_CORE].splitlines()
    yield "\n".join(line for line in lines if not _ARMOUR.fullmatch(line.strip()))


def _encode(data: bytes) -> Iterator[str]:
    """A value in base64, at each of the three alignments, and in hexadecimal."""
    yield data.hex()
    for ahead in range(_BASE64_BYTES):
        # After other bytes; the characters at both ends depend on the neighbours of the value.
        text = b64encode(bytes(ahead) + data).decode().rstrip("=")
        inner = text[2 if ahead else 0 : -1]
        yield inner
        yield inner.translate(_URL_SAFE)


def _mask_found(text: str, parts: frozenset[str]) -> str:
    """A text with the parts masked; each has `FRAGMENT` characters and no white space."""
    places = [place for place, one in enumerate(text) if not _UNSEEN.match(one)]
    plain = "".join(text[place] for place in places).casefold()
    if len(plain) != len(places):  # a few letters change their length with the case
        plain = "".join(text[place] for place in places).lower()[: len(places)]
    hidden = bytearray(len(plain))
    for at in range(len(plain) - FRAGMENT + 1):
        if plain[at : at + FRAGMENT] in parts:
            hidden[at : at + FRAGMENT] = _MARKS
    for run in reversed(list(_MARKED.finditer(hidden))):
        text = text[: places[run.start()]] + MASK + text[places[run.end() - 1] + 1 :]
    return text


def _list_forms(clear: str) -> set[str]:
    """The forms in which a value may be quoted."""
    lines = [line.strip() for line in clear.splitlines() if not _ARMOUR.fullmatch(line.strip())]
    found = {clear, " ".join(clear.split()), *(line for line in lines if len(line) >= FRAGMENT)}
    found |= {escape(one) for one in tuple(found)} | {quote(one, safe="") for one in tuple(found)}
    for one in (clear, *found):
        found |= {json.dumps(one)[1:-1], json.dumps(one, ensure_ascii=False)[1:-1], repr(one)[1:-1]}
    return found


def hide_by_key(key: str, value: Any) -> Any:
    """A plain value with a `Secret` for everything whose key, name or format says so.

    Args:
        key: of the value; items of a list have the key of the list.
        value: returned unchanged if nothing in it is secret.
    """
    return _hidden(value, key, within=False)


def _hidden(value: Any, key: str, *, within: bool) -> Any:
    """The same; `within` something that sounds secret, all scalars are secrets."""
    if is_object(value):
        return _hide_members(value, inside=within or is_secret_key(key))
    if isinstance(value, list | tuple):
        # Headers are often written as lists of a name and a value.
        if len(value) == _PAIR and all(isinstance(one, str) for one in value) and should_mask_key(value[0]):
            return [value[0], _hidden(value[1], value[0], within=True)]
        listed = [_hidden(item, key, within=within) for item in value]
        return listed if any(new is not old for new, old in zip(listed, value, strict=True)) else value
    if value is None or isinstance(value, bool | Secret) or value == "":
        return value
    if within or (should_mask_text(key, value) if isinstance(value, str) else should_mask_key(key)):
        return Secret(value)
    return value


def _hide_members(members: Mapping[Any, Any], *, inside: bool) -> Mapping[Any, Any]:
    """An object with its secrets hidden; the same object if it has none, which almost all have not."""
    pair, hidden = get_pair_name(members), {}
    for name, item in members.items():
        if pair and str(name).casefold() in PAIR_VALUES:
            new = _hidden(item, pair, within=True)
        else:
            new = _hidden(item, str(name), within=inside)
        if new is not item:
            hidden[name] = new
    return {**members, **hidden} if hidden else members


@dataclass(frozen=True, slots=True)
class RedactionMask:
    """What must be masked on both sides of a comparison of two documents.

    Args:
        places: of secrets, on either side.
        texts: secrets of at least `FRAGMENT` characters, to be masked at every place.
    """

    places: frozenset[Path] = frozenset()
    texts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, redaction_masks: Iterable[RedactionMask]) -> RedactionMask:
        """The union of several masks."""
        # Most parts of a document have no secrets, and then there is nothing to unite.
        listed = [one for one in redaction_masks if one.places or one.texts]
        if len(listed) <= 1:
            return listed[0] if listed else NO_MASK
        return cls(
            frozenset().union(*(one.places for one in listed)),
            frozenset().union(*(one.texts for one in listed)),
        )

    def hide(self, value: Any, path: Path = ()) -> Any:
        """A plain value with a `Secret` for everything to mask; unchanged if there is nothing.

        Args:
            value: plain, possibly with secrets.
            path: its place.
        """
        if not self.places and not self.texts:
            return value
        inside = any(path[:length] in self.places for length in range(1, len(path) + 1))
        return self._hidden(value, path, inside=inside)

    def _hidden(self, value: Any, path: Path, *, inside: bool) -> Any:
        if is_object(value):
            if any(self._quotes(str(key)) for key in value):
                return Secret(value)
            members = {
                key: self._hidden(item, own, inside=inside or own in self.places)
                for key, item in value.items()
                for own in ((*path, *_steps(key)),)
            }
            return members if any(members[key] is not value[key] for key in members) else value
        if isinstance(value, list | tuple):
            items = [self._hidden(item, path, inside=inside) for item in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        if value is None or isinstance(value, bool | Secret) or value == "":
            return value
        return Secret(value) if inside or (isinstance(value, str) and self._quotes(value)) else value

    def _quotes(self, value: str) -> bool:
        if len(value) < FRAGMENT or value in self.texts:
            return len(value) >= FRAGMENT
        if len(self.texts) <= _FEW:
            return any(text in value for text in self.texts)
        # A node may show any number of secrets: one look-up for each position, not one search for each text.
        heads: dict[str, list[str]] = {}
        for text in self.texts:
            heads.setdefault(text[:FRAGMENT], []).append(text)
        places = range(min(len(value), _LONGEST) - FRAGMENT + 1)
        return any(
            value.startswith(text, at) for at in places for text in heads.get(value[at : at + FRAGMENT], ())
        )


NO_MASK: Final = RedactionMask()
"""Masks nothing."""


def make_mask(value: Any) -> RedactionMask:
    """The mask for a plain value whose secrets are of the type `Secret`, as `hide_by_key` makes them."""
    places: set[Path] = set()
    texts: set[str] = set()
    for path, secret in find_secrets(value):
        places.add(tuple(step for part in path if isinstance(part, str) for step in _steps(part)))
        if isinstance(secret.value, str) and len(secret.value) >= FRAGMENT and not secret.missing:
            texts.add(secret.value)
    return RedactionMask(frozenset(places), frozenset(texts))


def _steps(key: str) -> Path:
    """A key as a part of a place; a number is left out, because it may be an index."""
    return () if str(key).isdigit() else (str(key),)


def mask_text(name: str, text: str) -> str:
    """A file with every text that looks secret masked; the number of lines stays.

    Args:
        name: of the file; its ending tells the format.
        text: its content, which can be parsed if it is a document.
    """
    if not name.lower().endswith(_DOCUMENTS):
        # A template: what stands between double braces is the name of a value.
        parts = _PLACEHOLDER.split(text)
        return "".join(part if index % 2 else mask_shapes(part, MASK) for index, part in enumerate(parts))
    document = parse_document(name, text.encode())
    found = {pointer: resolve_pointer(document.value, pointer) for pointer in scan_value(document.value)}
    for path, secret in find_secrets(hide_by_key("", document.value)):
        if isinstance(secret.value, str) and not is_reference(secret.value):
            found[pointer_of(path)] = secret.value
    if not found:
        return text
    tree = document.offsets or json_parser.locate_values(name, document.text)
    spans = {_find_span(document.text, tree, pointer, value) for pointer, value in found.items()}
    shown = document.text
    # From the end, so that the earlier offsets stay valid.
    for start, end in sorted(spans, reverse=True):
        hidden = shown[start:end]
        masked = f'"{MASK}"' if hidden.startswith(('"', "'")) else MASK
        shown = shown[:start] + masked + "\n" * hidden.count("\n") + shown[end:]
    return Redactor(found.values()).values(shown)


def _find_span(text: str, tree: ValueOffsets, pointer: str, value: str) -> tuple[int, int]:
    """Start and end of a text; if the end is unclear, the start of the next value."""
    start = tree.nearest(split_pointer(pointer))[0].start
    quoted = _QUOTED.match(text, start)
    if quoted:
        return quoted.span()
    if text.startswith(value, start):
        return start, start + len(value)
    return start, min((other for other in _list_starts(tree) if other > start), default=len(text))


def _list_starts(place: ValueOffsets) -> Iterator[int]:
    yield place.key
    for inner in (*(place.members or {}).values(), *(place.items or ())):
        yield from _list_starts(inner)


def mask_content(name: str, data: bytes) -> bytes:
    """The content of a file with everything that looks secret masked; unchanged if nothing does.

    Args:
        name: of the file; its ending tells the format.
        data: its bytes, of any format.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return data
    worth = assess_prospect(text)
    if not worth.keys and not worth.shapes:
        return data
    masked = mask_shapes(text, MASK)
    if name.lower().endswith(_DOCUMENTS):
        try:
            value = parse_document(name, data).value
        except InputError:
            return masked.encode()
        hidden = hide_by_key("", value)
        if hidden is not value or masked != text:
            return repr(mask(hidden)).encode("utf-8", "surrogatepass")
        return data
    return masked.encode() if masked != text else data
