"""Sora's API over the wire: `POST /` with `x-sora-target`, its answers typed, its errors translated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from reconciler.core.observation import Sign
from reconciler.core.plain import encode
from reconciler.core.ports import Answer, Wire
from reconciler.drivers.sora.schema import Channel, NodeRow, Unreadable, parse_channels, parse_nodes
from reconciler.errors import NodeRefused, NodeUnauthorized, NodeUnreachable

INIT: Final = "Sora_20221221.InitCluster"
REGISTER: Final = "Sora_20211215.RegisterClusterNode"
LIST_NODES: Final = "Sora_20211215.ListClusterNodes"
LIST_CHANNELS: Final = "Sora_20211215.ListClusterChannels"
PURGE: Final = "Sora_20220629.PurgeClusterNode"
CHANGE_MODE: Final = "Sora_20211215.ChangeMode"

MOST: Final = 300
"""Characters of a node's own words in a message."""


@dataclass(frozen=True, slots=True)
class Client:
    """One node's API.

    Args:
        node: the node's name, for errors.
        api: its address.
        timeout: seconds for one call.
        connect: seconds for its connection; 0 for no bound of its own.
    """

    wire: Wire
    node: str
    api: str
    timeout: float
    connect: float = 0.0

    async def nodes(self) -> tuple[NodeRow, ...]:
        """ListClusterNodes, sorted by name."""
        body = await self._call(LIST_NODES)
        try:
            return parse_nodes(body)
        except Unreadable as error:
            words = f"its list of nodes is not readable: {error}"
            raise NodeUnreachable(self.node, words, sign=Sign.ALIVE) from error

    async def channels(self) -> tuple[Channel, ...]:
        """ListClusterChannels."""
        body = await self._call(LIST_CHANNELS)
        try:
            return parse_channels(body)
        except Unreadable as error:
            words = f"its list of channels is not readable: {error}"
            raise NodeUnreachable(self.node, words, sign=Sign.ALIVE) from error

    async def init(self, names: Sequence[str]) -> str:
        """InitCluster; what comes back is the answer, for the journal."""
        return _words(await self._call(INIT, {"node_name_list": list(names)}))

    async def register(self, contact: str) -> str:
        """RegisterClusterNode, sent to the joining node."""
        return _words(await self._call(REGISTER, {"contact_node_name": contact}))

    async def purge(self, target: str) -> str:
        """PurgeClusterNode, sent to a member that stays."""
        return _words(await self._call(PURGE, {"target_node_name": target}))

    async def change_mode(self, mode: str) -> str:
        """ChangeMode of this node."""
        return _words(await self._call(CHANGE_MODE, {"mode": mode}))

    async def _call(self, target: str, arguments: Mapping[str, Any] | None = None) -> bytes:
        """One call; the body of a 200.

        Raises:
            NodeUnreachable: no answer, or one that is not from Sora's API.
            NodeUnauthorized: 401 or 403.
            NodeRefused: an error of Sora's own; `code` is its `error_type`.
        """
        headers = {"x-sora-target": target}
        if arguments is not None:
            headers["content-type"] = "application/json"
        answer = await self.wire.send(
            "POST",
            self.api,
            node=self.node,
            timeout=self.timeout,
            connect=self.connect,
            headers=headers,
            content=b"" if arguments is None else encode(arguments),
        )
        if answer.status != HTTPStatus.OK:
            raise self._failure(answer, target.rpartition(".")[2])
        return answer.body

    def _failure(self, answer: Answer, call: str) -> NodeUnreachable | NodeUnauthorized | NodeRefused:
        status = answer.status
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return NodeUnauthorized(
                self.node,
                f"{call} is not allowed for this host ({status})",
                remedy="let this host call the API",
            )
        code, reason = _error(answer.body)
        if status == HTTPStatus.BAD_REQUEST and code:
            words = f"{call} was refused: {code}{f' {reason}' if reason else ''}"
            return NodeRefused(self.node, words, status=status, code=code)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            words = f"{call} failed inside the node (500)"
            return NodeRefused(self.node, words, status=status, remedy="look at the node's log")
        if status == HTTPStatus.TEMPORARY_REDIRECT:
            words = f"{call} was redirected to {_bare(answer.headers.get('location', ''))}"
            remedy = "correct `api` in the fleet file: calls about a cluster are never redirected"
            return NodeRefused(self.node, words, status=status, remedy=remedy)
        words = f"{call} was answered with {status}, which is not what Sora's API answers"
        remedy = "correct `api` in the fleet file"
        return NodeUnreachable(self.node, words, remedy=remedy, sign=Sign.ALIVE)


def _error(body: bytes) -> tuple[str, str]:
    """`error_type` and `error_reason` of an error's body, capped; empty where it is none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    code = value.get("error_type") if isinstance(value, dict) else None
    if not isinstance(code, str):
        return "", ""
    reason = value.get("error_reason")
    return _clean(code, 100), "" if reason is None else _clean(json.dumps(reason, ensure_ascii=False), MOST)


def _words(body: bytes) -> str:
    return f"200 {_clean(body.decode('utf-8', 'replace'), MOST)}".rstrip()


def _clean(text: str, most: int) -> str:
    """Text of a node on one line without control characters, no longer than `most`."""
    line = re.sub(r"[\x00-\x20\x7f-\x9f]+", " ", text).strip()
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _bare(url: str) -> str:
    """A URL without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        place = f"{host}:{parts.port}" if parts.port else host
    except ValueError:
        return "another address"
    return _clean(urlunsplit((parts.scheme, place, parts.path, "", "")), MOST) or "another address"
