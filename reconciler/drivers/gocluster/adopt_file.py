"""The configuration files of live nodes as one template with values, and back; pure.

The files of all nodes are read as tokens, side by side. What all have is the text of the template. What is a
node's own name or address, its peers, or a setting of the library becomes a placeholder; a secret, and
whatever else differs, becomes a member of the file of values. Whether the template gives each file again is
proved by a plan, not here. What is read comes from machines that nobody has vouched for yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from pydantic import ValidationError

from reconciler.core.secret import Secret
from reconciler.drivers.gocluster.arguments import find_host
from reconciler.drivers.gocluster.desired_state import SECRET, SIGNING_KEY
from reconciler.drivers.gocluster.go_duration import format_go_duration, parse_go_duration
from reconciler.drivers.gocluster.schema import GoSettings
from reconciler.drivers.gocluster.template import Placeholder, Template, UnfitValue, find_value, render_piece
from reconciler.secrets.patterns import find_secret, should_mask_key
from reconciler.text.one_line import UNSEEN

_LARGEST: Final = 256 * 1024
"""Bytes of a file that is taken over."""

_PAIR: Final = re.compile(
    r"""(?P<key>[A-Za-z_][\w.\-]{0,60})["']?[ \t]{0,20}[:=][ \t]{0,20}"""
    r"""(?P<value>"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s,;"'{}\[\]#][^\s,;"'{}\[\]]*)"""
)
"""A key and its value in one line, in JSON, YAML, TOML or `key = value`."""

_PIECE: Final = r"\w+(?:[.:\-]\w+)*|[ \t]+|\r?\n|."
_HARMLESS: Final = re.compile(
    r"(?i)true|false|null|yes|no|on|off|[-+]?[0-9.]+|(?:[0-9.]+(?:ns|us|µs|ms|s|m|h))+|[^\s/]*/[\w./\-]*"
)
"""What no secret looks like, though its key may sound so: a duration, a number, a path."""

_TLS_NAMES: Final = frozenset({"tls", "enabletls", "usetls", "tlsenabled"})
_KEY_BEFORE: Final = re.compile(r"""([A-Za-z_][\w\-]{0,60})["']?[ \t]*[:=][^:=\n]*$""")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,14}")
_LONG: Final = 8
"""Characters from which a text that is once more in a file is the same secret, and no common word."""

_FEWEST_NANOSECONDS: Final = 1_000_000
"""A number that is a duration in nanoseconds is at least a millisecond."""

_EACH_NODE: Final = frozenset({"peers", "peer_addresses", "node.name", "node.addr"})
"""Placeholders whose value is another one on each node."""


class UnfitFiles(ValueError):
    """The files of the nodes cannot be one template; the text says why, one sentence without values."""


@dataclass(frozen=True, slots=True)
class AdoptedFiles:
    """The files of a cluster as it would be committed.

    Args:
        template: its text.
        values: node -> members of its file of values, secrets in clear; empty if there are none.
        entry: members of the cluster's entry that the files show.
        notes: what a person should look at, one sentence each.
    """

    template: str
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    entry: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Token:
    """A piece of one file.

    Args:
        kind: the placeholder that gives it; empty if none does.
        secret: key of the value, if it is a secret.
        value: of the secret.
    """

    text: str
    kind: str = ""
    secret: str = ""
    value: str = field(default="", repr=False)


def adopt_files(members: Mapping[str, str], contents: Mapping[str, bytes | None]) -> AdoptedFiles:
    """The template and values that give each node its file.

    Args:
        members: node -> its address, of all nodes.
        contents: node -> its file.

    Raises:
        UnfitFiles: a file is missing or no text, or the files are too different.
    """
    texts = {node: _decode(node, contents.get(node)) for node in sorted(members)}
    settings = _find_settings(list(texts.values()))
    tls = {found for text in texts.values() for found in _find_tls(text)}
    known = {**settings, "tls": tls == {"true"}} if len(tls) == 1 else dict(settings)
    columns = [_Tokenizer(node, members, settings).read(text) for node, text in texts.items()]
    if len({len(tokens) for tokens in columns}) > 1:
        raise UnfitFiles("the files of the nodes differ in more than single values, so no template gives all")
    draft = _Draft(tuple(texts), members)
    for column in zip(*columns, strict=True):
        draft.add(column)
    template = draft.make_text()
    _check_no_secret(template, draft.secrets)
    entry: dict[str, Any] = {"settings": settings} if settings else {}
    entry |= {"tls": True} if known.get("tls") else {}
    return AdoptedFiles(template, draft.values, entry, tuple(draft.list_notes()))


def find_address(node: str, addresses: Mapping[str, str], contents: Mapping[str, bytes | None]) -> str:
    """Where a node listens, by the files of the others; empty if they do not tell.

    Args:
        node: whose own API does not show it.
        addresses: node -> address, as far as known, of all members; of this one a guess.
        contents: node -> its file.
    """
    known = {address for name, address in addresses.items() if name != node}
    shown = {name: _list_addresses(content) for name, content in contents.items() if content}
    others = [found for name, found in shown.items() if name != node]
    if not others:
        return addresses.get(node, "") if addresses.get(node) in shown.get(node, ()) else ""
    found = set.intersection(*others) - known
    if addresses.get(node) in found:
        return addresses[node]
    own = found & shown.get(node, set())
    for candidates in (found, own):
        if len(candidates) == 1:
            return candidates.pop()
    return ""


def recover_values(template: Template, scope: Mapping[str, Any], text: str) -> dict[str, Any] | None:
    """The members of the file of values by which a template gives a text; None if no values do.

    Args:
        template: of the cluster.
        scope: of the node, as desired; what is not of `values` must stand in the text as it is there.
        text: the node's file.
    """
    found: dict[str, Any] = {}
    place = 0
    for index, piece in enumerate(template.pieces):
        if isinstance(piece, str) or not piece.name.startswith("values."):
            expected = piece if isinstance(piece, str) else _render(piece, scope)
            if not text.startswith(expected, place):
                return None
            place += len(expected)
            continue
        following = template.pieces[index + 1] if index + 1 < len(template.pieces) else ""
        ending = following if isinstance(following, str) else _render(following, scope)
        try:
            value, place = _read_value(piece, ending, text, place, find_value(scope, piece.name))
        except (ValueError, KeyError, RecursionError):
            return None
        if found.setdefault(piece.name, value) != value:
            return None
    return _nest(found) if place == len(text) else None


def _read_value(piece: Placeholder, ending: str, text: str, place: int, wanted: Any) -> tuple[Any, int]:
    """The value that stands at a place of a text, and where it ends.

    Raises:
        ValueError: none can be told.
    """
    if not piece.is_text:
        return json.JSONDecoder().raw_decode(text, place)
    # Up to the text that follows: the first time, since a value of one line rarely has it.
    end = text.index(ending, place) if ending else len(text)
    shown = text[place:end]
    if "\n" in shown or UNSEEN.search(shown):
        raise ValueError("a value of one line is expected")
    plain = wanted.value if isinstance(wanted, Secret) else wanted
    return (shown if isinstance(plain, str) else json.loads(shown)), end


def _render(piece: Placeholder, scope: Mapping[str, Any]) -> str:
    try:
        parts = render_piece(piece, scope)
    except (KeyError, UnfitValue):
        return "\0"
    return "".join(str(one.value) if isinstance(one, Secret) else one for one in parts)


def _nest(found: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in found.items():
        *path, last = name.split(".")[1:]
        place = nested
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return nested


def _decode(node: str, content: bytes | None) -> str:
    if content is None:
        raise UnfitFiles(f"{node} has no file")
    if len(content) > _LARGEST:
        raise UnfitFiles(f"the file of {node} is larger than {_LARGEST:,} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise UnfitFiles(f"the file of {node} is not UTF-8 text") from None
    if "\0" in text or text.startswith("\ufeff"):
        raise UnfitFiles(f"the file of {node} begins with a byte order mark, or has a zero byte")
    return text


def _list_addresses(content: bytes) -> set[str]:
    text = content[:_LARGEST].decode("utf-8", "replace")
    found = re.findall(
        r"(?<![\w.\-\[])(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_][0-9A-Za-z._\-]*):[0-9]{1,5}(?![\w:])", text
    )
    return {one for one in found if not one[0].isdigit() or one.count(".") or "[" in one}


def _plain(key: str) -> str:
    return re.sub(r"[\W_]", "", key).lower()


def _find_settings(texts: Sequence[str]) -> dict[str, str]:
    """Setting -> duration, of those that all files have with one value; empty if the library refuses them."""
    names = {_plain(name): name for name in GoSettings.model_fields}
    found: dict[str, set[str]] = {}
    for text in texts:
        for pair in _PAIR.finditer(text):
            if (name := names.get(_plain(pair["key"]))) and (duration := _read_duration(pair["value"])):
                found.setdefault(name, set()).add(duration)
    settings = {
        name: next(iter(found[name])) for name in GoSettings.model_fields if len(found.get(name, ())) == 1
    }
    try:
        GoSettings.model_validate(settings)
    except ValidationError:
        return {}
    return settings


def _read_duration(raw: str) -> str:
    """A duration of the file in the notation of Go; empty if it is none."""
    bare = raw.strip("\"'")
    if _NUMBER.fullmatch(bare):
        return format_go_duration(int(bare)) if int(bare) >= _FEWEST_NANOSECONDS else ""
    try:
        parse_go_duration(bare)
    except ValueError:
        return ""
    return bare


def _find_tls(text: str) -> Iterator[str]:
    for pair in _PAIR.finditer(text):
        if _plain(pair["key"]) in _TLS_NAMES and pair["value"] in {"true", "false"}:
            yield pair["value"]


def _check_no_secret(template: str, secrets: Mapping[str, str]) -> None:
    for number, line in enumerate(template.split("\n"), 1):
        what = find_secret("", line)
        where = next((key for text, key in secrets.items() if len(text) >= _LONG and text in line), "")
        if what or where:
            what = what or f"the value of `{where}` once more"
            raise UnfitFiles(f"line {number} has {what}, which cannot be written as a reference")


class _Tokenizer:
    """Reads the file of one node as tokens."""

    def __init__(self, node: str, members: Mapping[str, str], settings: Mapping[str, str]) -> None:
        peers = sorted((name, address) for name, address in members.items() if name != node)
        listed = json.dumps([{"name": name, "addr": address} for name, address in peers], ensure_ascii=False)
        whole = {**GoSettings().model_dump(), **settings}
        in_nanoseconds = {key: parse_go_duration(text) for key, text in whole.items()}
        exact = {
            "peers": listed if peers else "",
            "peer_addresses": json.dumps(dict(peers), ensure_ascii=False) if peers else "",
            "settings": json.dumps(whole),
            "settings_ns": json.dumps(in_nanoseconds),
        }
        own = {"node.addr": members[node], "node.host": find_host(members[node]), "node.name": node}
        forms = [(kind, re.escape(text)) for kind, text in exact.items() if text]
        forms += [(kind, rf"(?<![\w\-]){re.escape(text)}(?![\w\-])") for kind, text in own.items() if text]
        self._kinds = [kind for kind, _ in forms]
        self._pattern = re.compile("|".join([*(f"({form})" for _, form in forms), _PIECE]), re.DOTALL)
        self._settings = {_plain(name): name for name in settings}

    def read(self, text: str) -> list[_Token]:
        """The tokens of the file."""
        tokens: list[_Token] = []
        place = 0
        for begin, end, token in self._find_pairs(text):
            tokens += self._split(text[place:begin])
            tokens.append(token)
            place = end
        return tokens + self._split(text[place:])

    def _split(self, text: str) -> list[_Token]:
        return [
            _Token(one[0], self._kinds[one.lastindex - 1] if one.lastindex else "")
            for one in self._pattern.finditer(text)
        ]

    def _find_pairs(self, text: str) -> Iterator[tuple[int, int, _Token]]:
        """Secrets, settings and TLS, which are found by their key."""
        spans = [one.span() for one in self._pattern.finditer(text) if one.lastindex and len(one[0]) > 40]  # noqa: PLR2004
        for pair in _PAIR.finditer(text):
            key, raw = pair["key"], pair["value"]
            begin, end = pair.span("value")
            if any(first <= begin < last for first, last in spans):
                continue  # inside of what is one placeholder, such as all settings
            inner, is_json = _unquote(raw)
            if _is_secret(key, inner):
                if not is_json:
                    begin, end = (begin + 1, end - 1) if raw[0] in "\"'" else (begin, end)
                yield (
                    begin,
                    end,
                    _Token(text[begin:end], secret=f"{'' if is_json else 'text '}{key}", value=inner),
                )
            elif setting := self._settings.get(_plain(key)):
                if is_json:
                    yield begin, end, _Token(raw, f"settings.{setting}")
                elif _NUMBER.fullmatch(raw) and int(raw) >= _FEWEST_NANOSECONDS:
                    yield begin, end, _Token(raw, f"settings_ns.{setting}")
            elif _plain(key) in _TLS_NAMES and raw in {"true", "false"}:
                yield begin, end, _Token(raw, "tls")


def _unquote(raw: str) -> tuple[str, bool]:
    """The text of a value, and whether it stands there as JSON has it."""
    if raw[0] == '"':
        try:
            inner = json.loads(raw)
        except ValueError:
            return raw[1:-1], False
        # In another spelling it has to stand in the file as it is.
        return (inner, True) if json.dumps(inner, ensure_ascii=False) == raw else (raw[1:-1], False)
    return raw.strip("'"), False


def _is_secret(key: str, text: str) -> bool:
    if not text or _HARMLESS.fullmatch(text):
        return False
    return bool(find_secret(key, text)) or should_mask_key(key)


def _is_shared(plain: str) -> bool:
    """Whether a key is that of the secret of all nodes, by the name in the library or a usual one."""
    return plain == "authkey" or plain.removeprefix("shared").removeprefix("cluster") == SECRET


class _Draft:
    """The template while it is made, column by column."""

    def __init__(self, nodes: tuple[str, ...], members: Mapping[str, str]) -> None:
        self._nodes = nodes
        self._ports = [members[node].rpartition(":")[2] for node in nodes]
        self._pieces: list[tuple[str, bool]] = []
        self._line = ""
        self.values: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, str] = {}
        self._has_shared_secret = self._has_peers = False

    def add(self, column: Sequence[_Token]) -> None:
        """One token of each node."""
        first, texts = column[0], [one.text for one in column]
        kinds, is_equal = {one.kind for one in column}, len({one.text for one in column}) == 1
        if any(one.secret for one in column):
            self._add_secret(column)
        elif len(kinds) == 1 and first.kind and self._is_placeholder(first.kind, is_equal=is_equal):
            is_text = first.kind.startswith("node.")
            self._has_peers = self._has_peers or first.kind.startswith("peer")
            self._place(first.kind, is_text=is_text)
        elif is_equal:
            self._pieces.append((first.text, False))
            self._line = "" if "\n" in first.text else (self._line + first.text)[-200:]
        elif texts == self._ports:
            self._place("node.port", is_text=True)
        else:
            key = self._name(found[1] if (found := _KEY_BEFORE.search(self._line)) else "value")
            numbers = all(map(_NUMBER.fullmatch, texts))
            for node, text in zip(self._nodes, texts, strict=True):
                self.values.setdefault(node, {})[key] = int(text) if numbers else text
            self._place(f"values.{key}", is_text=True)

    def _is_placeholder(self, kind: str, *, is_equal: bool) -> bool:
        if kind in _EACH_NODE:
            return not is_equal or len(self._nodes) == 1
        return is_equal != (kind == "node.host")

    def _add_secret(self, column: Sequence[_Token]) -> None:
        mark = next(one.secret for one in column if one.secret)
        if any(one.secret != mark for one in column):
            raise UnfitFiles(
                f"`{mark.removeprefix('text ')}` is a secret in the file of one node and not of another"
            )
        is_text, written = mark.startswith("text "), mark.removeprefix("text ")
        plain, own = _plain(written), [one.value for one in column]
        wanted = SECRET if _is_shared(plain) else SIGNING_KEY if "signing" in plain else written
        key = next(
            (self.secrets[text] for text in own if self.secrets.get(text) == wanted), ""
        ) or self._name(wanted)
        self._has_shared_secret = self._has_shared_secret or key == SECRET
        for node, text in zip(self._nodes, own, strict=True):
            self.values.setdefault(node, {})[key] = text
            self.secrets[text] = key
        self._place(f"values.{key}", is_text=is_text)

    def _name(self, wanted: str) -> str:
        taken = set().union(*self.values.values()) if self.values else set()
        stem = re.sub(r"[^A-Za-z0-9_\-]", "_", wanted)
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        return name

    def _place(self, name: str, *, is_text: bool) -> None:
        self._pieces.append((f"{{{{{'text ' if is_text else ''}{name}}}}}", True))
        self._line += "x"

    def make_text(self) -> str:
        """The whole template; a name or an address in quotes is written as JSON."""
        text = ""
        for is_placeholder, pieces in groupby(self._pieces, key=lambda piece: piece[1]):
            own = "".join(piece for piece, _ in pieces)
            text += own if is_placeholder else own.replace("{{", "{{{{")
        # Both have only characters that JSON does not escape.
        return re.sub(r'"\{\{text (node\.(?:name|addr|host))\}\}"', r"{{\1}}", text)

    def list_notes(self) -> Iterator[str]:
        """What is left to a person."""
        if len(self._nodes) > 1 and not self._has_peers:
            yield "the files list the peers in a form that no placeholder has, so each node's are values"
        if not self._has_shared_secret:
            yield f"which value is the shared secret is not known: name it `{SECRET}` in the file of values"
