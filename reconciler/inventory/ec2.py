"""Instances of AWS EC2, by `DescribeInstances` of its Query API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from reconciler.errors import InventoryError
from reconciler.inventory.cloud_calls import PageCounter, call_cloud
from reconciler.inventory.instances import InstanceCollector
from reconciler.inventory.xml_answer import InvalidXml, XmlElement, parse_xml
from reconciler.text.one_line import quote_text

if TYPE_CHECKING:
    import httpx

    from reconciler.core.cloud_expressions import CloudExpression
    from reconciler.ports.inventory import Instance

RUNNING: Final = "16"
"""State of an instance that runs."""

_VERSION: Final = "2016-11-15"
_PAGE: Final = 1000
_ID: Final = re.compile(r"i-[0-9a-f]{8,32}")
_ANSWER: Final = "DescribeInstancesResponse"
_FORM: Final = "application/x-www-form-urlencoded; charset=utf-8"


def get_ec2_endpoint(region: str) -> str:
    """Where EC2 of a region is called."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://ec2.{region}.{domain}"


class Ec2Client:
    """EC2 of one account and region; implements `ports.inventory.InventoryClient`.

    Args:
        client: signs requests with the account's keys.
        endpoint: where it is called.
        where: names the account in messages.
    """

    def __init__(self, client: httpx.AsyncClient, endpoint: str, where: str) -> None:
        self._client, self._endpoint, self._where = client, endpoint, where

    async def list_instances(self, expression: CloudExpression) -> tuple[Instance, ...]:
        """See `ports.inventory.InventoryClient`.

        An instance counts if it has one of the tags, its state is 16 and called running in any case, and it
        has a private IP address.
        """
        found, pages, mark = InstanceCollector(self._where), PageCounter(self._where), ""
        while True:
            root = await self._read_page(expression, mark)
            for reservation in root.list_items("reservationSet"):
                for instance in reservation.list_items("instancesSet"):
                    self._add(instance, expression, found)
            mark = root.get_text("nextToken")
            if not mark:
                return found.list_all()
            pages.check(mark)

    async def _read_page(self, expression: CloudExpression, mark: str) -> XmlElement:
        form = {"Action": "DescribeInstances", "Version": _VERSION, "MaxResults": str(_PAGE)}
        # Only the keys: filters with values cannot be joined by "or". What counts is decided here.
        form |= {"Filter.1.Name": "instance-state-name", "Filter.1.Value.1": "running"}
        form |= {"Filter.2.Name": "tag-key"}
        keys = dict.fromkeys(_escape_filter(one.key) for one in expression.tags)
        form |= {f"Filter.2.Value.{number}": key for number, key in enumerate(keys, 1)}
        if mark:
            form["NextToken"] = mark
        request = self._client.build_request(
            "POST", f"{self._endpoint}/", content=urlencode(form).encode(), headers={"content-type": _FORM}
        )
        answer = await call_cloud(self._client, request, self._where)
        try:
            root = parse_xml(answer.body)
        except InvalidXml as error:
            raise InventoryError(f"{self._where} gives an answer that is cut or not XML: {error}") from error
        if root.name != _ANSWER or root.find("reservationSet") is None:
            raise InventoryError(f"{self._where} gives an answer that is not a list of instances")
        return root

    def _add(self, instance: XmlElement, expression: CloudExpression, found: InstanceCollector) -> None:
        """Add an instance if it counts."""
        state, name = instance.get_text("instanceState", "code"), instance.get_text("instanceState", "name")
        tags = {one.get_text("key"): one.get_text("value") for one in instance.list_items("tagSet")}
        address, number = instance.get_text("privateIpAddress"), instance.get_text("instanceId")
        # The tests of M2's manual: both, because the nodes count an instance by both.
        runs = state == RUNNING and name.lower() == "running"
        if not runs or not address or not expression.matches(tags):
            return
        if not _ID.fullmatch(number):
            raise InventoryError(f"{self._where} lists an instance without a valid id: {quote_text(number)}")
        found.add(number, address, tags.get("Name", ""))


def _escape_filter(text: str) -> str:
    """A tag's key as a filter that means it exactly: `*` and `?` stand for other characters there."""
    return re.sub(r"([\\*?])", r"\\\1", text)
