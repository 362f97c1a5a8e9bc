"""M2's central server: the routes below a node's path, see `ports.central_server`; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.core.offers import Offer
from reconciler.drivers.m2.central_server import feeds, openapi, report_reader
from reconciler.drivers.m2.central_server.mail_secrets import list_mail_secrets
from reconciler.ports.central_server import (
    CentralServer,
    InboundAnswer,
    InboundRequest,
    NodeRoute,
    PollHeaders,
    ReceivedReport,
)
from reconciler.ports.transport import NodeMail


class M2CentralServer(CentralServer):
    """What M2's nodes poll, download and report.

    Assumed where M2's pages say nothing:

    - A poll without `If-Modified-Since`, or with one that is no date, is a first poll.
    - A report is answered with 204. Repeated reports are accepted.
    - A report is recognised by `action.api`, since the pages give several reports the same URL. `event` may
      have any text: for polling, no name of a connection is documented.
    - `userdata` of a report is that of the last feed. After `tgzPolling`, which has none, `lastModified`
      shows which offer a report is about.
    """

    routes = (feeds.SETTING, feeds.TGZ_SETTING, feeds.PACKAGE, feeds.PURGE, feeds.REPORT)

    def read_poll(self, headers: Mapping[str, str]) -> PollHeaders:
        return feeds.read_poll_headers(headers)

    def answer_poll(self, request: InboundRequest, offer: Offer, parts: Sequence[bytes]) -> InboundAnswer:
        if request.route == feeds.PURGE:
            return feeds.answer_purge_poll(request, offer, parts)
        if request.route == feeds.TGZ_SETTING:
            return feeds.answer_package(offer, parts)
        return feeds.answer_setting_poll(request, offer, parts)

    def answer_download(self, request: InboundRequest, offer: Offer, parts: Sequence[bytes]) -> InboundAnswer:
        return feeds.answer_package(offer, parts)

    def read_report(self, request: InboundRequest) -> ReceivedReport:
        return report_reader.read_report_body(request.body)

    def is_own_feed(self, body: bytes) -> bool:
        return report_reader.is_feed(body)

    def list_secrets(self, mail: NodeMail) -> frozenset[str]:
        return list_mail_secrets(mail)

    def describe(self, route: NodeRoute) -> Mapping[str, Any]:
        return openapi.describe_route(route)


CENTRAL_SERVER = M2CentralServer()
"""The one that the driver gives."""
