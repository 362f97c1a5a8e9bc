"""The part of an nginx file that is a cluster's: its upstream and its two locations.

Ours are the directives that the documents show: `ip_hash` and `server` of the upstream, and in the locations
those that pass requests on. Everything else, such as parameters of a server, time limits, comments and
layout, is people's and stays byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.core.diff import Change
from reconciler.core.secret import Secret
from reconciler.drivers.collab.nginx_text import (
    PlacedDirective,
    Replacement,
    count_line,
    get_indent,
    insert_lines,
    parse_nginx_file,
    parse_text,
    quote_word,
    remove_directive,
    replace_parts,
)
from reconciler.file_delivery.content import FileContent, UnfitFile, diff_lines
from reconciler.secrets.redaction import LineRedactor, Redactor

MARKER_HEADER: Final = "X-Reconcile-Upstream"
"""Header of `/status` through the load balancer by which its loaded file is known."""

SOCKET: Final = "/socket.io/"
STATUS: Final = "/status"

_TARGET: Final = re.compile(r"\s*[a-z]+_pass\s")
"""Beginning of a line that says where requests go."""

_Words = tuple[str, ...]

_METHODS: Final = frozenset({"ip_hash", "least_conn", "hash", "random", "least_time", "round_robin"})
"""How an upstream chooses a server: one of these at most counts."""

_HARMLESS: Final = ("mime.types", "fastcgi_params", "proxy_params", "uwsgi_params", "scgi_params")
"""Ends of included files that define no upstream and no location."""

_WITHOUT_SERVER: Final = frozenset({"down", "backup"})
"""Parameters by which a server gets no clients; `backup` does not go with `ip_hash`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxSpan(FileContent):
    """The upstream of a cluster with exactly its servers, and the locations `/socket.io/` and `/status`.

    Args:
        upstream: its name.
        servers: `host:port` of each server, in the order in which new ones are written.
        marker: text of `MARKER_HEADER` in answers of `/status`, by which the loaded file is known.
        scheme: `https` if the servers speak TLS.
    """

    upstream: str
    servers: tuple[str, ...]
    marker: str
    scheme: str = "http"
    _read: dict[bytes, tuple[str, PlacedDirective]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    def render(self, current: bytes | None) -> bytes:
        if current is None or not current.strip():
            raise UnfitFile(f"does not exist or is empty; write a `server` block, and in it {self._sample()}")
        text, root = self._parse(current)
        site = self._find_site(text, root)
        edits = [*self._edit_upstream(text, site)]
        for server in site.servers:
            for path, wanted in self._list_locations().items():
                edits += self._edit_location(text, server, path, wanted)
        if not edits:
            return current
        rendered = replace_parts(text, edits)
        self._compare(root, rendered)
        return rendered.encode("utf-8", "surrogateescape")

    def find_changes(self, current: bytes | None, entry: str) -> tuple[Change, ...]:
        old, new = (
            one.decode("utf-8", "replace").splitlines() for one in (current or b"", self.render(current))
        )
        # People's directives beside ours may have secrets.
        shown_old, shown_new = ([_redact_line(line) for line in lines] for lines in (old, new))
        return tuple(diff_lines(old, shown_old, new, shown_new, entry))

    def redact(self, current: bytes | None) -> Any:
        if current is None:
            return None
        _, root = self._parse(current)
        return [list(words) for words in sorted(self._list_own(root))]

    @property
    def secrets(self) -> Sequence[Secret]:
        return ()

    def _parse(self, current: bytes) -> tuple[str, PlacedDirective]:
        if current not in self._read:
            found = parse_nginx_file(current)
            self._read.clear()
            self._read[current] = found
        return self._read[current]

    def _list_locations(self) -> dict[str, tuple[_Words, ...]]:
        """Path of each location -> our directives in it."""
        return {
            SOCKET: (
                ("proxy_http_version", "1.1"),
                ("proxy_set_header", "Upgrade", "$http_upgrade"),
                ("proxy_set_header", "Connection", "upgrade"),
                ("proxy_pass", f"{self.scheme}://{self.upstream}{SOCKET}"),
            ),
            STATUS: (
                ("proxy_pass", f"{self.scheme}://{self.upstream}{STATUS}"),
                ("add_header", MARKER_HEADER, self.marker, "always"),
            ),
        }

    # Where ours is.

    def _find_site(self, text: str, root: PlacedDirective) -> _Site:
        """The blocks that have ours, or that get it.

        Raises:
            UnfitFile: it is not clear where ours belongs.
        """
        name = (self.upstream,)
        scopes = _list_scopes(root)
        upstreams = [one for scope in scopes for one in scope.find("upstream") if one.words[1:] == name]
        if len(upstreams) > 1:
            lines = _list_lines(text, upstreams)
            raise UnfitFile(f"has `upstream {self.upstream}` more than once, in lines {lines}; keep one")
        servers = self._choose_servers(text, [one for scope in scopes for one in scope.find("server")])
        site = _Site(servers, upstreams[0] if upstreams else None)
        is_whole = bool(upstreams) and all(
            _find_location(text, server, path) for server in servers for path in (SOCKET, STATUS)
        )
        hidden = [
            one.words[-1]
            for block in (*scopes, *servers)
            for one in block.find("include")
            if not one.words[-1].endswith(_HARMLESS)
        ]
        if not is_whole and hidden:
            raise UnfitFile(
                f"does not have all of ours, which may be in what it includes ({hidden[0]}): name that file "
                f"in the host configuration, or write into this one {self._sample()}"
            )
        return site

    def _choose_servers(self, text: str, servers: Sequence[PlacedDirective]) -> tuple[PlacedDirective, ...]:
        with_sockets = [one for one in servers if _find_location(text, one, SOCKET)]
        ours = [
            one
            for one in with_sockets
            if (found := _find_location(text, one, SOCKET))
            and any(_leads_to(inner, self.upstream, SOCKET) for inner in found.find("proxy_pass"))
        ]
        if ours:
            return tuple(ours)  # such as one for http and one for https
        candidates = with_sockets or servers
        if not candidates:
            raise UnfitFile(f"has no `server` block; write one, and in it {self._sample()}")
        if len(candidates) > 1:
            raise UnfitFile(
                "has several `server` blocks that could have the cluster's locations, in lines "
                f"{_list_lines(text, candidates)}; write into one of them {self._sample()}"
            )
        return (candidates[0],)

    def _sample(self) -> str:
        return f"`location {SOCKET} {{ proxy_pass {self.scheme}://{self.upstream}{SOCKET}; }}`"

    # Our directives.

    def _edit_upstream(self, text: str, site: _Site) -> Iterator[Replacement]:
        block = site.upstream
        if block is None:
            indent = get_indent(text, site.servers[0])
            end = "\r\n" if "\r\n" in text else "\n"
            lines = ["ip_hash;", *(f"server {quote_word(one)};" for one in self.servers)]
            whole = [f"upstream {self.upstream} {{", *(f"    {line}" for line in lines), "}", ""]
            start = site.servers[0].start
            yield Replacement(start, start, end.join([whole[0], *(f"{indent}{line}" for line in whole[1:])]))
            return
        missing = list(self.servers)
        has_method, last = False, None
        for one in block.children:
            if one.name == "server":
                yield from self._edit_server(text, one, missing)
            elif one.name in _METHODS:
                if one.words == ("ip_hash",) and not has_method:
                    has_method = True
                else:
                    yield remove_directive(text, one)
        if not has_method:
            yield insert_lines(text, block, None, ["ip_hash;"])
        if missing:
            last = block.children[-1] if block.children else None
            yield insert_lines(text, block, last, [f"server {quote_word(one)};" for one in missing])

    def _edit_server(self, text: str, one: PlacedDirective, missing: list[str]) -> Iterator[Replacement]:
        address, parameters = one.words[1] if len(one.words) > 1 else "", one.words[2:]
        if address not in missing:
            yield remove_directive(text, one)
            return
        missing.remove(address)
        if kept := [word for word in parameters if word not in _WITHOUT_SERVER]:
            if len(kept) == len(parameters):
                return
        elif not parameters:
            return
        yield Replacement(one.start, one.end, f"{' '.join(map(quote_word, ('server', address, *kept)))};")

    def _edit_location(
        self, text: str, server: PlacedDirective, path: str, wanted: Sequence[_Words]
    ) -> Iterator[Replacement]:
        block = _find_location(text, server, path)
        if block is None:
            yield self._insert_location(text, server, path, wanted)
            return
        if not any(block.find("proxy_pass")) and block.children:
            raise UnfitFile(
                f"has a `location {path}` in line {count_line(text, block.start)} that passes nothing on; "
                "the cluster needs it: move what it does to another path"
            )
        missing = list(wanted)
        for one in block.children:
            key = _get_key(one.words)
            own = next((words for words in wanted if _get_key(words) == key), None)
            if own is None:
                continue
            if own not in missing:
                yield remove_directive(text, one)
                continue
            missing.remove(own)
            if one.words != own:
                yield Replacement(one.start, one.end, _write(own))
        if missing:
            last = block.children[-1] if block.children else None
            yield insert_lines(text, block, last, [_write(words) for words in missing])

    def _insert_location(
        self, text: str, server: PlacedDirective, path: str, wanted: Sequence[_Words]
    ) -> Replacement:
        """A new location at the end of the server's block."""
        inner = get_indent(text, server.children[0]) if server.children else f"{get_indent(text, server)}    "
        step = inner.removeprefix(get_indent(text, server)) or "    "
        lines = [f"location {path} {{", *(f"{step}{_write(words)}" for words in wanted), "}"]
        last = server.children[-1] if server.children else None
        if "\n" not in text[server.body : server.end]:
            return insert_lines(text, server, last, [" ".join(line.strip() for line in lines)])
        return insert_lines(text, server, last, lines)

    # What was written, read again.

    def _compare(self, before: PlacedDirective, rendered: str) -> None:
        """Check that the new text has exactly ours, and of all else exactly what was there.

        Raises:
            UnfitFile: it has not.
        """
        # People write in every possible style: a case that fails must not reach their load balancer.
        after = parse_text(rendered)
        if [*_list_others(before, self.upstream)] != [*_list_others(after, self.upstream)]:
            raise UnfitFile("cannot be changed without changing other directives; change it by hand")
        found = set(self._list_own(after))
        wanted = {("upstream", "ip_hash"), *(("upstream", "server", one) for one in self.servers)}
        wanted |= {(path, *words) for path, own in self._list_locations().items() for words in own}
        if found != wanted:
            raise UnfitFile("cannot be changed so that it has ours; change it by hand")

    def _list_own(self, root: PlacedDirective) -> Iterator[_Words]:
        """Our directives of a file, each with where it stands; of servers only the address."""
        for scope in _list_scopes(root):
            for block in scope.find("upstream"):
                if block.words[1:] == (self.upstream,):
                    for one in block.children:
                        if one.name == "server" or one.name in _METHODS:
                            yield ("upstream", *one.words[:2])
        wanted = self._list_locations()
        for path, block in _list_own_locations(root, self.upstream):
            keys = {_get_key(words) for words in wanted[path]}
            for one in block.children:
                if _get_key(one.words) in keys:
                    yield (path, *one.words)


@dataclass(frozen=True, slots=True)
class _Site:
    """The blocks that have ours.

    Args:
        servers: with the locations; several only if they have them already.
        upstream: None if there is none yet.
    """

    servers: tuple[PlacedDirective, ...]
    upstream: PlacedDirective | None


def read_servers(current: bytes | None, upstream: str) -> tuple[str, ...]:
    """`host:port` of each server of an upstream that gets clients, in the file's order; empty without it.

    Raises:
        UnfitFile: the file cannot be parsed.
    """
    _, root = parse_nginx_file(current or b"")
    return tuple(
        one.words[1]
        for scope in _list_scopes(root)
        for block in scope.find("upstream")
        if block.words[1:] == (upstream,)
        for one in block.find("server")
        if len(one.words) > 1 and not _WITHOUT_SERVER & set(one.words[2:])
    )


def read_marker(current: bytes | None) -> str:
    """The text of `MARKER_HEADER` in a file; empty without one.

    Raises:
        UnfitFile: the file cannot be parsed.
    """
    _, root = parse_nginx_file(current or b"")
    key = ("add_header", MARKER_HEADER.lower())
    found = (one.words[2:] for one in _walk(root) if _get_key(one.words) == key)
    return next((words[0] for words in found if words), "")


def read_scheme(current: bytes | None, upstream: str) -> str:
    """How a file passes requests on to an upstream, `http` or `https`; empty if it does not.

    Raises:
        UnfitFile: the file cannot be parsed.
    """
    _, root = parse_nginx_file(current or b"")
    found = (
        one.words[1].partition(":")[0]
        for path, block in _list_own_locations(root, upstream)
        for one in block.find("proxy_pass")
        if _leads_to(one, upstream, path)
    )
    return next(found, "")


def _redact_line(line: str) -> str:
    """A line of a file with secrets masked: `proxy_pass` and its like name a target, no password."""
    is_target = _TARGET.match(line) is not None
    return Redactor(()).redact_text(line) if is_target else LineRedactor(()).redact_text(line)


def _list_scopes(root: PlacedDirective) -> list[PlacedDirective]:
    """Where upstreams and servers stand: in `http`, or in the file itself where that is included there."""
    return [root, *root.find("http")]


def _list_lines(text: str, directives: Sequence[PlacedDirective]) -> str:
    return ", ".join(str(count_line(text, one.start)) for one in directives)


def _find_location(text: str, server: PlacedDirective, path: str) -> PlacedDirective | None:
    modifiers = {(), ("=",), ("^~",)}
    found = [one for one in server.find("location") if one.words[-1] == path and one.words[1:-1] in modifiers]
    if len(found) > 1:
        lines = _list_lines(text, found)
        raise UnfitFile(f"has `location {path}` more than once in one server, in lines {lines}; keep one")
    return found[0] if found else None


def _list_own_locations(root: PlacedDirective, upstream: str) -> Iterator[tuple[str, PlacedDirective]]:
    """Path and block of the locations that pass requests on to an upstream at the documented paths."""
    for scope in _list_scopes(root):
        for server in scope.find("server"):
            for block in server.find("location"):
                path = block.words[-1]
                if path in {SOCKET, STATUS} and any(
                    _leads_to(one, upstream, path) for one in block.find("proxy_pass")
                ):
                    yield path, block


def _leads_to(proxy_pass: PlacedDirective, upstream: str, path: str) -> bool:
    return proxy_pass.words[1:] in {(f"{scheme}://{upstream}{path}",) for scheme in ("http", "https")}


def _list_others(
    block: PlacedDirective, upstream: str, around: tuple[_Words, ...] = ()
) -> Iterator[tuple[_Words, ...]]:
    """Every directive that is not ours, with the blocks around it."""
    has_ours = _is_own_block(block, upstream)
    for one in block.children:
        is_own = has_ours and (
            (one.name == "server" or one.name in _METHODS)
            if block.name == "upstream"
            else _get_key(one.words) in _OWN_KEYS
        )
        if is_own:
            continue
        if not _is_own_block(one, upstream):
            yield (*around, one.words)
        yield from _list_others(one, upstream, (*around, one.words))


def _is_own_block(block: PlacedDirective, upstream: str) -> bool:
    is_location = block.name == "location" and block.words[-1] in {SOCKET, STATUS}
    return is_location or block.words == ("upstream", upstream)


def _walk(block: PlacedDirective) -> Iterator[PlacedDirective]:
    for one in block.children:
        yield one
        yield from _walk(one)


def _get_key(words: _Words) -> _Words:
    """What two directives have in common of which one alone can be there."""
    if words[0] in {"proxy_set_header", "add_header"}:
        return (words[0], words[1].lower() if len(words) > 1 else "")
    return words[:1]


_OWN_KEYS: Final = frozenset(
    {
        *(("proxy_http_version",), ("proxy_pass",), ("proxy_set_header", "upgrade")),
        *(("proxy_set_header", "connection"), ("add_header", MARKER_HEADER.lower())),
    }
)


def _write(words: _Words) -> str:
    if words == ("proxy_set_header", "Connection", "upgrade"):
        return 'proxy_set_header Connection "upgrade";'  # as the documents write it
    return f"{' '.join(map(quote_word, words))};"
