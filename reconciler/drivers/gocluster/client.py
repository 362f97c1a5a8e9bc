"""The HTTP API of the library: two reading calls, each answer typed, each error translated.

The API has no login of its own. Each `GET /api/v1/cluster/NAME` leaks a read lock in the process, and then
its AddNode, RemoveNode and UpdateSettings freeze. So reading is opt-in (`observe`), and each caller reads a
node as seldom as it can. The admin calls are not used: none of them does anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from reconciler.drivers.gocluster.view import (
    LONGEST_ERROR,
    NodeView,
    RefusedView,
    UnreadableView,
    parse_managers,
    parse_view,
)
from reconciler.errors import NodeUnauthorized, NodeUnidentified
from reconciler.ports.answer_text import describe_answer, describe_denial, suggest_answer_remedy
from reconciler.ports.transport import Http, HttpAnswer, ReadingCall

ROOT: Final = "/api/v1/cluster"

PRODUCT: Final = "the cluster API of the Go library"

READS: Final = (ReadingCall("GET", ROOT), ReadingCall("GET", f"{ROOT}/{{}}"))
"""The calls by which a node is read; an admin call has more parts in its path."""

CORRECT: Final = "correct `api` or the name of the node in the fleet file: both are those of one process"


@dataclass(frozen=True, slots=True)
class Client:
    """One node's API.

    Args:
        node: name of the node, which is also that of its manager in the process.
        api: scheme, host and port.
        timeout: seconds for one call.
        connect: seconds for its connection; 0 for no bound of its own.
    """

    http: Http
    node: str
    api: str
    timeout: float
    connect: float = 0.0

    async def read_view(self) -> NodeView:
        """The peers that the node shows.

        Raises:
            NodeUnreachable: no answer; `NodeUnidentified` if it is not from this node's manager.
            NodeUnauthorized: 401 or 403.
        """
        url = self._make_url(f"{ROOT}/{self.node}")
        answer = await self._get(url)
        try:
            return parse_view(answer.body)
        except RefusedView as error:
            why = f"the process has no manager {self.node}: {answer.redact(str(error), LONGEST_ERROR)}"
            words = describe_answer(url, answer, PRODUCT, why)
            raise NodeUnidentified(self.node, words, remedy=CORRECT, status=answer.status) from error
        except UnreadableView as error:
            why = f"the answer {answer.redact(str(error), LONGEST_ERROR)}"
            raise self._make_unidentified(url, answer, why) from error

    async def read_managers(self) -> tuple[str, ...]:
        """The managers of the process; this call leaves no lock.

        Raises:
            NodeUnreachable: as `read_view`.
            NodeUnauthorized: 401 or 403.
        """
        url = self._make_url(ROOT)
        answer = await self._get(url)
        try:
            return parse_managers(answer.body)
        except (RefusedView, UnreadableView) as error:
            why = f"the answer {answer.redact(str(error), LONGEST_ERROR)}"
            raise self._make_unidentified(url, answer, why) from error

    def _make_url(self, path: str) -> str:
        return f"{self.api.rstrip('/')}{path}"

    async def _get(self, url: str) -> HttpAnswer:
        try:
            answer = await self.http.send(
                "GET", url, node=self.node, timeout=self.timeout, connect=self.connect
            )
        except NodeUnidentified as error:
            raise NodeUnidentified(
                self.node, error.reason, remedy=error.remedy or "correct `api` in the fleet file"
            ) from error
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            # Of a proxy before it: the library asks for a cookie at admin calls only.
            raise NodeUnauthorized(
                self.node,
                describe_denial(url, answer, "reading the cluster is not allowed for this host"),
                remedy="allow this host to call the API",
            )
        if answer.status != HTTPStatus.OK:
            raise self._make_unidentified(url, answer)
        return answer

    def _make_unidentified(self, url: str, answer: HttpAnswer, why: str = "") -> NodeUnidentified:
        words = describe_answer(url, answer, PRODUCT, why)
        return NodeUnidentified(self.node, words, remedy=suggest_answer_remedy(answer), status=answer.status)
