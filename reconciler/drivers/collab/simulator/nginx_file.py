"""What nginx makes of its file: whether it accepts it, and where the balanced locations lead.

A reader of its own, for the same reason as in `loaded_files`, and strict: it refuses what `nginx -t`
refuses in the parts that matter here. Variables, includes and modules are not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from reconciler.drivers.collab.cluster_state import BalancerConfiguration
from reconciler.drivers.collab.simulator.loaded_files import InvalidFile

_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+) | (?P<comment>\#[^\n]*) | (?P<mark>[{};])
    | (?P<quoted>"(?:[^"\\]|\\.)*"(?=[ \t\r\n;{)]) | '(?:[^'\\]|\\.)*'(?=[ \t\r\n;{)]))
    | (?P<word>(?:\$\{|\\.|[^ \t\r\n;{}"'\\\#])(?:\$\{|\\.|[^ \t\r\n;{\\])*)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"""\\(["'\\trn])""")
_ESCAPED: Final = {"t": "\t", "r": "\r", "n": "\n"}
_LARGEST: Final = 1024 * 1024
_DEEPEST: Final = 20

_CONTEXTS: Final = {
    "events": ("main",),
    "http": ("main",),
    "upstream": ("http",),
    "location": ("server", "location"),
    "ip_hash": ("upstream",),
    "server": ("http", "upstream"),
    "listen": ("server",),
    "server_name": ("server",),
    "proxy_pass": ("location", "if", "limit_except"),
    "proxy_http_version": ("http", "server", "location"),
    "proxy_set_header": ("http", "server", "location"),
}
"""Directive -> where it may stand; of the others nothing is demanded."""

_COUNTS: Final = {
    "upstream": 1,
    "ip_hash": 0,
    "proxy_pass": 1,
    "proxy_http_version": 1,
    "proxy_set_header": 2,
}
"""Directive -> how many arguments it has; of others of `_CONTEXTS` any number."""

_VERSIONS: Final = frozenset({"1.0", "1.1", "2"})
"""Values of `proxy_http_version`."""

_ONCE: Final = frozenset({"ip_hash", "proxy_pass", "proxy_http_version"})


class Directive(NamedTuple):
    """One directive; `block` is None for one that ends with a semicolon."""

    name: str
    arguments: tuple[str, ...]
    block: tuple[Directive, ...] | None
    line: int


def read_nginx_file(content: bytes | None, upstream: str) -> BalancerConfiguration:
    """What nginx loads of its file.

    Args:
        content: of the main file, or of one that it includes in `http`; None if there is no file.
        upstream: name of the upstream with the servers.

    Raises:
        InvalidFile: nginx refuses it.
    """
    top = parse_nginx(content)
    names = {one.name for one in top}
    http = top
    if names & {"http", "events"}:
        _check_context(top, "main")
        if "events" not in names:
            raise InvalidFile('nginx: [emerg] no "events" section in configuration')
        http = tuple(inner for one in top if one.name == "http" for inner in one.block or ())
    else:
        _check_context(top, "http")
    servers, is_sticky = _read_upstreams(http, upstream)
    locations = _collect_locations(http)
    _check_targets(http, [one for place in locations.values() for one in place])
    assert content is not None
    return BalancerConfiguration(
        servers,
        is_sticky,
        _hands_on_handshake(locations.get("/socket.io/", ()), upstream),
        bool(_find_schemes(locations.get("/status", ()), f"{upstream}/status")),
        sha256(content).hexdigest(),
        _collect_headers(locations.get("/status", ()), http),
        is_tls="https" in _find_schemes(locations.get("/socket.io/", ()), f"{upstream}/socket.io/"),
    )


def parse_nginx(content: bytes | None) -> tuple[Directive, ...]:
    """The directives of a file.

    Raises:
        InvalidFile: it has another form.
    """
    if content is None or len(content) > _LARGEST:
        raise InvalidFile("nginx: [emerg] open() failed (2: No such file or directory)")
    try:
        tokens = _list_tokens(content.decode())
    except UnicodeDecodeError:
        raise InvalidFile("nginx: [emerg] the file is not text in UTF-8") from None
    return _parse_block(tokens, 0)


def _list_tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """Kind, text and line of each token."""
    place, line = 0, 1
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise InvalidFile(f'nginx: [emerg] unexpected "{text[place]}" in line {line}')
        kind = str(found.lastgroup)
        if kind not in {"space", "comment"}:
            yield kind, found[0], line
        line += found[0].count("\n")
        place = found.end()


def _parse_block(tokens: Iterator[tuple[str, str, int]], depth: int) -> tuple[Directive, ...]:
    found: list[Directive] = []
    words: list[str] = []
    if depth > _DEEPEST:
        raise InvalidFile("nginx: [emerg] too many nested blocks")
    for kind, text, line in tokens:
        if kind != "mark":
            words.append(_ESCAPE.sub(_replace_escape, text[1:-1] if kind == "quoted" else text))
            continue
        if text == "}":
            if words or not depth:
                raise InvalidFile(f'nginx: [emerg] unexpected "}}" in line {line}')
            return tuple(found)
        if not words:
            raise InvalidFile(f'nginx: [emerg] unexpected "{text}" in line {line}')
        block = _parse_block(tokens, depth + 1) if text == "{" else None
        found.append(Directive(words[0], tuple(words[1:]), block, line))
        words = []
    if words or depth:
        raise InvalidFile('nginx: [emerg] unexpected end of file, expecting ";" or "}"')
    return tuple(found)


def _replace_escape(found: re.Match[str]) -> str:
    return _ESCAPED.get(found[1], found[1])


def _check_context(directives: Sequence[Directive], context: str) -> None:
    seen: set[str] = set()
    for one in directives:
        if context not in _CONTEXTS.get(one.name, (context,)):
            raise InvalidFile(f'nginx: [emerg] "{one.name}" directive is not allowed here in line {one.line}')
        if one.name in _ONCE and one.name in seen:
            raise InvalidFile(f'nginx: [emerg] "{one.name}" directive is duplicate in line {one.line}')
        is_block = one.name in {"events", "http", "upstream", "location"} or (
            one.name == "server" and context == "http"
        )
        if is_block != (one.block is not None) and one.name in _CONTEXTS:
            raise InvalidFile(f'nginx: [emerg] directive "{one.name}" has no opening "{{" in line {one.line}')
        is_short = (one.name, context) == ("server", "upstream") and not one.arguments
        if is_short or len(one.arguments) != _COUNTS.get(one.name, len(one.arguments)):
            words = f'nginx: [emerg] invalid number of arguments in "{one.name}" directive in line {one.line}'
            raise InvalidFile(words)
        if one.name == "proxy_http_version" and one.arguments[0] not in _VERSIONS:
            raise InvalidFile(f'nginx: [emerg] invalid value "{one.arguments[0]}" in line {one.line}')
        seen.add(one.name)
        if one.block is not None:
            _check_context(one.block, one.name)


def _read_upstreams(http: Sequence[Directive], upstream: str) -> tuple[tuple[str, ...], bool]:
    found: tuple[tuple[str, ...], bool] = ((), False)
    seen: set[str] = set()
    for one in http:
        if one.name != "upstream":
            continue
        name, block = one.arguments[0] if one.arguments else "", one.block or ()
        if name in seen:
            raise InvalidFile(f'nginx: [emerg] duplicate upstream "{name}" in line {one.line}')
        seen.add(name)
        servers = [inner for inner in block if inner.name == "server"]
        if not servers:
            raise InvalidFile(f"nginx: [emerg] no servers are inside upstream in line {one.line}")
        if name == upstream:
            used = [server for server in servers if "down" not in server.arguments[1:]]
            places = tuple(_write_port(server.arguments[0]) for server in used if server.arguments)
            found = places, any(inner.name == "ip_hash" for inner in block)
    return found


def _write_port(place: str) -> str:
    return place if re.search(r":[0-9]+$", place) else f"{place}:80"


def _collect_locations(http: Sequence[Directive]) -> dict[str, tuple[Directive, ...]]:
    """Path -> what stands in its location, in the first server that has it."""
    found: dict[str, tuple[Directive, ...]] = {}
    for server in (one for one in http if one.name == "server"):
        here: set[tuple[str, ...]] = set()
        for one in server.block or ():
            if one.name != "location":
                continue
            if one.arguments in here:
                path = " ".join(one.arguments)
                raise InvalidFile(f'nginx: [emerg] duplicate location "{path}" in line {one.line}')
            here.add(one.arguments)
            found.setdefault(one.arguments[-1] if one.arguments else "", one.block or ())
    return found


def _check_targets(http: Sequence[Directive], directives: Sequence[Directive]) -> None:
    upstreams = {one.arguments[0] for one in http if one.name == "upstream" and one.arguments}
    for one in directives:
        if one.name != "proxy_pass":
            continue
        target = re.fullmatch(r"(https?)://([^/:$]+)(:[0-9]+)?(/.*)?", one.arguments[0])
        if target is None:
            if "$" not in one.arguments[0]:
                raise InvalidFile(f"nginx: [emerg] invalid URL prefix in line {one.line}")
        elif "." not in target[2] and target[2] != "localhost" and target[2] not in upstreams:
            words = f'nginx: [emerg] host not found in upstream "{target[2]}" in line {one.line}'
            raise InvalidFile(words)


def _hands_on_handshake(location: Sequence[Directive], upstream: str) -> bool:
    headers = {
        one.arguments[0].lower(): one.arguments[1:] for one in location if one.name == "proxy_set_header"
    }
    return (
        bool(_find_schemes(location, f"{upstream}/socket.io/"))
        and any(one.name == "proxy_http_version" and one.arguments == ("1.1",) for one in location)
        and headers.get("upgrade") == ("$http_upgrade",)
        and headers.get("connection") == ("upgrade",)
    )


def _collect_headers(location: Sequence[Directive], http: Sequence[Directive]) -> tuple[tuple[str, str], ...]:
    """The headers that a location adds; with none of its own, those of its server or else of `http`."""
    server = [inner for one in http if one.name == "server" for inner in one.block or ()]
    levels = (
        [one.arguments for one in level if one.name == "add_header"] for level in (location, server, http)
    )
    own = next(filter(None, levels), [])
    return tuple((words[0], words[1]) for words in own if len(words) > 1)


def _find_schemes(location: Sequence[Directive], target: str) -> set[str]:
    """The schemes with which a location passes requests on to a target."""
    return {
        scheme
        for scheme in ("http", "https")
        if any(one.name == "proxy_pass" and one.arguments == (f"{scheme}://{target}",) for one in location)
    }
