"""Sora's API over HTTP: `POST /` with `x-sora-target`, its answers typed, its errors translated."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from reconciler.core.canonical import encode_canonical
from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.drivers.sora.schema import (
    LONGEST_ERROR,
    Channel,
    NodeRow,
    UnreadableAnswer,
    parse_channels,
    parse_nodes,
    parse_report,
)
from reconciler.errors import NodeError, NodeRefused, NodeUnauthorized, NodeUnidentified, NodeUnreachable
from reconciler.ports.answer_text import describe_answer, describe_denial, suggest_answer_remedy
from reconciler.ports.transport import Http, HttpAnswer, ReadingCall
from reconciler.text.urls import strip_url

INIT: Final = "Sora_20221221.InitCluster"
REGISTER: Final = "Sora_20211215.RegisterClusterNode"
LIST_NODES: Final = "Sora_20211215.ListClusterNodes"
LIST_CHANNELS: Final = "Sora_20211215.ListClusterChannels"
PURGE: Final = "Sora_20220629.PurgeClusterNode"
CHANGE_MODE: Final = "Sora_20211215.ChangeMode"
REPORT: Final = "Sora_20171010.GetStatsReport"

PRODUCT: Final = "Sora's API"

READS: Final = tuple(
    ReadingCall("POST", header=("x-sora-target", target)) for target in (LIST_NODES, LIST_CHANNELS, REPORT)
)
"""The calls by which a node is read; all calls have the same verb and URL."""

CORRECT: Final = "correct `api` in the fleet file"

_ERROR: Final = JsonLimits(size=1024 * 1024, values=10_000)
"""Bounds on the object of an error."""

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

    http: Http
    node: str
    api: str
    timeout: float
    connect: float = 0.0

    async def nodes(self) -> tuple[NodeRow, ...]:
        """ListClusterNodes, sorted by name."""
        answer = await self._call(LIST_NODES)
        try:
            rows = tuple(
                row.model_copy(update={"error": answer.redact(row.error, LONGEST_ERROR) or row.error})
                if row.error
                else row
                for row in parse_nodes(answer.body)
            )
        except UnreadableAnswer as error:
            words = f"cannot read its list of nodes: {answer.redact(str(error), MOST)}"
            raise self._make_unidentified(LIST_NODES, answer, words) from error
        # An empty list means "never initialised" and allows InitCluster: it must be proven to be from Sora.
        if not rows and not _has_sora_headers(answer) and not await self._is_sora():
            words = "an empty list, and its answer to GetStatsReport is not Sora's"
            raise self._make_unidentified(LIST_NODES, answer, words)
        return rows

    async def channels(self) -> tuple[Channel, ...]:
        """ListClusterChannels."""
        answer = await self._call(LIST_CHANNELS)
        try:
            return parse_channels(answer.body)
        except UnreadableAnswer as error:
            words = f"cannot read its list of channels: {answer.redact(str(error), MOST)}"
            raise self._make_unidentified(LIST_CHANNELS, answer, words) from error

    async def init(self, names: Sequence[str]) -> str:
        """InitCluster; what comes back is the answer, for the journal."""
        return _quote_answer(await self._call(INIT, {"node_name_list": list(names)}))

    async def register(self, contact: str) -> str:
        """RegisterClusterNode, sent to the joining node."""
        return _quote_answer(await self._call(REGISTER, {"contact_node_name": contact}))

    async def purge(self, target: str) -> str:
        """PurgeClusterNode, sent to a member that stays."""
        return _quote_answer(await self._call(PURGE, {"target_node_name": target}))

    async def change_mode(self, mode: str) -> str:
        """ChangeMode of this node."""
        return _quote_answer(await self._call(CHANGE_MODE, {"mode": mode}))

    async def clustered(self) -> bool | None:
        """Whether GetStatsReport shows the node in a cluster; None where it does not tell.

        Public documents: `cluster` holds `raft_state`, `raft_term` and `raft_commit_index`.
        """
        try:
            report = parse_report((await self._call(REPORT)).body)
        except NodeError:
            return None
        return None if report is None else bool(report.get("cluster"))

    async def count_channels(self) -> int:
        """How many channels the node owns, by its own list."""
        owners = (channel.owners for channel in await self.channels())
        return sum(any(owner.node_name == self.node for owner in own) for own in owners)

    async def count_connections(self) -> int | None:
        """How many connections the node has by GetStatsReport (public documents); None if not shown."""
        try:
            report = parse_report((await self._call(REPORT)).body)
        except NodeError:
            return None
        found = report.get("total_ongoing_connections") if report is not None else None
        return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None

    async def _is_sora(self) -> bool:
        """The second witness: whether another documented call is answered in a form that is Sora's.

        A server that answers `[]` to everything must not pass as a node that was never initialised. An error
        with an `error_type` is Sora's own, too: not every version knows the call.
        """
        try:
            return parse_report((await self._call(REPORT)).body) is not None
        except NodeRefused as error:
            return bool(error.code)
        except NodeError:
            return False

    async def _call(self, target: str, arguments: Mapping[str, Any] | None = None) -> HttpAnswer:
        """One call; an answer of 200.

        Raises:
            NodeUnreachable: no answer; `NodeUnidentified` where it is not from Sora's API.
            NodeUnauthorized: 401 or 403.
            NodeRefused: an error of Sora's own; `code` is its `error_type`.
        """
        headers = {"x-sora-target": target}
        if arguments is not None:
            headers["content-type"] = "application/json"
        try:
            answer = await self.http.send(
                "POST",
                self.api,
                node=self.node,
                timeout=self.timeout,
                connect=self.connect,
                headers=headers,
                content=b"" if arguments is None else encode_canonical(arguments),
            )
        except NodeUnidentified as error:
            raise NodeUnidentified(self.node, error.reason, remedy=error.remedy or CORRECT) from error
        if answer.status != HTTPStatus.OK:
            raise self._make_failure(answer, target)
        return answer

    def _make_unidentified(self, target: str, answer: HttpAnswer, why: str = "") -> NodeUnidentified:
        """An answer that is not Sora's."""
        words = f"{target.rpartition('.')[2]}: {describe_answer(self.api, answer, PRODUCT, why)}"
        return NodeUnidentified(self.node, words, remedy=suggest_answer_remedy(answer), status=answer.status)

    def _make_failure(
        self, answer: HttpAnswer, target: str
    ) -> NodeUnreachable | NodeUnauthorized | NodeRefused:
        status, call = answer.status, target.rpartition(".")[2]
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return NodeUnauthorized(
                self.node,
                describe_denial(self.api, answer, f"{call} is not allowed for this host"),
                remedy="allow this host to call the API",
            )
        code, reason = _read_error(answer)
        if status == HTTPStatus.BAD_REQUEST and code:
            words = f"{call} was refused: {code}{f' {reason}' if reason else ''}"
            # Such an error describes the cluster at this moment, such as a member that is away: try again
            # later.
            return NodeRefused(self.node, words, status=status, code=code, again=True)
        # Any HTTP server may answer 500; only headers of Sora show that it was the node.
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            if _has_sora_headers(answer):
                words = f"{call} failed inside the node (500)"
                return NodeRefused(self.node, words, status=status, remedy="check the node's log")
            return self._make_unidentified(target, answer, "unless Sora crashed: then its log says so")
        # Never followed: a redirect could send a change, or a request into the network, to any address.
        if status == HTTPStatus.TEMPORARY_REDIRECT:
            elsewhere = answer.redact(strip_url(answer.headers.get("location", "")), MOST)
            words = f"{call} was redirected to {elsewhere}"
            remedy = "correct `api` in the fleet file: cluster calls are never redirected"
            return NodeRefused(self.node, words, status=status, remedy=remedy)
        return self._make_unidentified(target, answer)


def _has_sora_headers(answer: HttpAnswer) -> bool:
    """Whether an answer allows browsers to send `x-sora-target`, as every documented answer does."""
    return "x-sora-target" in answer.headers.get("access-control-allow-headers", "").lower()


def _read_error(answer: HttpAnswer) -> tuple[str, str]:
    """`error_type` and `error_reason` of an error's body, bounded; empty if the body has another form."""
    try:
        value = read_json(answer.body, _ERROR)
    except JsonError:
        return "", ""
    code = value.get("error_type") if isinstance(value, dict) else None
    if not isinstance(code, str):
        return "", ""
    reason = value.get("error_reason")
    words = "" if reason is None else answer.redact(json.dumps(reason, ensure_ascii=False), MOST)
    return answer.redact(code, 100), words


def _quote_answer(answer: HttpAnswer) -> str:
    return f"200 {answer.quote(MOST)}".rstrip()
