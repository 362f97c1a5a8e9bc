"""Instances of Oracle Cloud Infrastructure, by the Core Services API."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import orjson

from reconciler.errors import InventoryError
from reconciler.inventory.cloud_calls import PageCounter, call_cloud
from reconciler.inventory.instances import InstanceCollector
from reconciler.text.one_line import quote_text

if TYPE_CHECKING:
    import httpx

    from reconciler.core.cloud_expressions import CloudExpression
    from reconciler.ports.inventory import Instance

_API: Final = "20160918"
_PAGE: Final = 100
_AT_ONCE: Final = 8
"""Network interfaces that are asked for at the same time."""

_ID: Final = re.compile(r"ocid1\.[a-z0-9]+\.[A-Za-z0-9._\-]{1,240}")
_NEXT: Final = "opc-next-page"


def get_oci_endpoint(region: str) -> str:
    """Where the Core Services of a region of the commercial realm are called."""
    return f"https://iaas.{region}.oraclecloud.com"


class OciClient:
    """The compartments of one account and region; implements `ports.inventory.InventoryClient`.

    Args:
        client: signs requests with the account's key.
        endpoint: where it is called.
        compartments: whose instances count.
        where: names the account in messages.
    """

    def __init__(
        self, client: httpx.AsyncClient, endpoint: str, compartments: Sequence[str], where: str
    ) -> None:
        self._client, self._endpoint, self._where = client, endpoint, where
        self._compartments = compartments

    async def list_instances(self, expression: CloudExpression) -> tuple[Instance, ...]:
        """See `ports.inventory.InventoryClient`.

        An instance counts if one of its free-form tags matches and its state is RUNNING; its address is the
        private one of its primary network interface.
        """
        found = InstanceCollector(self._where)
        for compartment in self._compartments:
            named = {
                self._get_id(one, "id"): str(_get(one, "displayName") or "")
                for one in await self._read_list(
                    "instances", {"compartmentId": compartment, "lifecycleState": "RUNNING"}
                )
                if _counts(one, expression)
            }
            if named:
                addresses = await self._read_addresses(compartment, named.keys())
                for instance, name in named.items():
                    found.add(instance, addresses[instance], name)
        return found.list_all()

    async def _read_addresses(self, compartment: str, instances: Any) -> Mapping[str, str]:
        """Instance -> the private address of its primary network interface.

        Raises:
            InventoryError: also if one has no primary interface: it runs, so the answer is not complete.
        """
        attached = await self._read_list("vnicAttachments", {"compartmentId": compartment})
        wanted = [
            (self._get_id(one, "instanceId"), self._get_id(one, "vnicId"))
            for one in attached
            if str(_get(one, "instanceId")) in instances
            and str(_get(one, "lifecycleState")).upper() == "ATTACHED"
        ]
        gate = asyncio.Semaphore(_AT_ONCE)

        async def read(vnic: str) -> Mapping[str, Any]:
            async with gate:
                return await self._read_object(f"vnics/{quote(vnic, safe='')}")

        cards = await asyncio.gather(*(read(vnic) for _, vnic in wanted))
        found = {
            instance: str(_get(card, "privateIp") or "")
            for (instance, _), card in zip(wanted, cards, strict=True)
            if _get(card, "isPrimary") is True
        }
        missing = sorted(set(instances) - {instance for instance, address in found.items() if address})
        if missing:
            raise InventoryError(
                f"{self._where} shows no primary network interface with a private address of the instance "
                f"{missing[0]}, which runs; the list is not complete"
            )
        return found

    async def _read_list(self, path: str, query: Mapping[str, str]) -> list[Mapping[str, Any]]:
        """All items of a list."""
        found: list[Mapping[str, Any]] = []
        pages, mark = PageCounter(self._where), ""
        while True:
            more = {"limit": str(_PAGE)} | ({"page": mark} if mark else {})
            value, mark = await self._read(f"{path}?{urlencode({**query, **more}, quote_via=quote)}")
            if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
                raise InventoryError(f"{self._where} gives an answer that is not a list of {path}")
            found += value
            if not mark:
                return found
            pages.check(mark)

    async def _read_object(self, path: str) -> Mapping[str, Any]:
        value, _ = await self._read(path)
        if not isinstance(value, dict):
            raise InventoryError(f"{self._where} gives an answer that is not an object")
        return value

    async def _read(self, path: str) -> tuple[Any, str]:
        """The value of an answer, and the mark of the next page; empty if it is the last."""
        request = self._client.build_request("GET", f"{self._endpoint}/{_API}/{path}")
        answer = await call_cloud(self._client, request, self._where)
        try:
            return orjson.loads(answer.body), answer.headers.get(_NEXT, "")
        except orjson.JSONDecodeError as error:
            raise InventoryError(f"{self._where} gives an answer that is cut or not JSON: {error}") from error

    def _get_id(self, value: Mapping[str, Any], key: str) -> str:
        found = _get(value, key)
        if not isinstance(found, str) or not _ID.fullmatch(found):
            raise InventoryError(f"{self._where} gives an invalid id for {key}: {quote_text(str(found))}")
        return found


def _get(value: Mapping[str, Any], key: str) -> Any:
    """A member, whatever the case of its name: the documents and the SDKs write it differently."""
    if key in value:
        return value[key]
    wanted = key.lower()
    return next((found for name, found in value.items() if name.lower() == wanted), None)


def _counts(instance: Mapping[str, Any], expression: CloudExpression) -> bool:
    tags = _get(instance, "freeformTags")
    if str(_get(instance, "lifecycleState")).upper() != "RUNNING" or not isinstance(tags, dict):
        return False
    return expression.matches({key: value for key, value in tags.items() if isinstance(value, str)})
