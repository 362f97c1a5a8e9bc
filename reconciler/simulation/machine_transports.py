"""The transports to the files and commands of simulated nodes, for trials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from reconciler.core.file_state import FilePlace, FileState
from reconciler.errors import NodeRefused, NodeUnreachable
from reconciler.ports.simulator import RequestWay
from reconciler.ports.transport import Commands, Files, Http, Transports
from reconciler.simulation.machine_call import READ, RUN, make_target
from reconciler.simulation.machine_calls import read_state

TIMEOUT: Final = 60.0
"""Seconds after which a call to a machine is given up, the default of the host configuration."""


def add_machines(transports: Transports, url: str, *, timeout: float = TIMEOUT) -> Transports:
    """The same transports, with the files and commands of simulated nodes in place of those of this host.

    Args:
        transports: of this host.
        url: of the machine endpoint of the simulation; empty if its nodes have neither.
        timeout: seconds after which a call is given up.
    """
    if not url:
        return transports
    http = transports.http
    return replace(
        transports, commands=MachineCommands(url, http, timeout), files=MachineFiles(url, http, timeout)
    )


class _MachineWay:
    """The way to the machine endpoint of a simulation.

    Args:
        url: of the endpoint, without a path.
        http: sends the calls.
        timeout: seconds after which a call is given up.
    """

    def __init__(self, url: str, http: Http, timeout: float) -> None:
        self._url = url
        self._http = http
        self._timeout = timeout

    async def call(
        self,
        node: str,
        way: RequestWay,
        operation: str,
        name: str,
        *,
        content: bytes = b"",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Mapping[str, Any]:
        """The answer to a call.

        Raises:
            NodeRefused: the machine refuses it.
            NodeUnreachable: there was no answer.
        """
        target = make_target(node, way, operation, name)
        answer = await self._http.send(
            "POST", self._url + target, node=node, timeout=self._timeout, headers=headers, content=content
        )
        try:
            shown = json.loads(answer.body)
        except ValueError:
            shown = None
        if answer.status == 200 and isinstance(shown, dict):  # noqa: PLR2004
            return shown
        if isinstance(shown, dict):
            code, again = str(shown.get("code", "")), bool(shown.get("again"))
            remedy = str(shown.get("remedy", ""))
            raise NodeRefused(
                node, str(shown.get("reason", "")), status=0, code=code, remedy=remedy, again=again
            )
        # The program on the machine has failed somehow, as if a connection broke: its effect is unknown.
        raise NodeUnreachable(node, f"its machine did not complete {operation} {name}", sign="alive")


class MachineCommands(Commands):
    """The commands of a host for simulated nodes; see `_MachineWay`."""

    def __init__(self, url: str, http: Http, timeout: float = TIMEOUT) -> None:
        self._way = _MachineWay(url, http, timeout)

    async def run(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        output = await self._call(RUN, command, values, node)
        return f"the command {command} ended with status 0: {output}"

    async def read(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        try:
            return await self._call(READ, command, values, node)
        except NodeRefused as error:
            if error.code == "COMMAND":
                raise
            raise NodeUnreachable(node, error.reason, sign="alive") from error

    async def _call(self, operation: str, command: str, values: Mapping[str, str], node: str) -> str:
        content = json.dumps(dict(values)).encode()
        shown = await self._way.call(node, RequestWay.COMMAND, operation, command, content=content)
        return str(shown.get("output", ""))


class MachineFiles(Files):
    """The files of simulated nodes; see `_MachineWay`."""

    def __init__(self, url: str, http: Http, timeout: float = TIMEOUT) -> None:
        self._way = _MachineWay(url, http, timeout)

    async def read(self, place: FilePlace) -> FileState:
        shown = await self._call(place, "read")
        try:
            return read_state(shown)
        except ValueError:
            raise NodeUnreachable(place.node, f"the file {place.entry} was not read to its end") from None

    async def stage(self, place: FilePlace, content: bytes) -> str:
        return str((await self._call(place, "stage", content)).get("output", ""))

    async def switch(self, place: FilePlace, *, before: str, after: str) -> str:
        headers = {"x-before": before, "x-after": after}
        return str((await self._call(place, "switch", headers=headers)).get("output", ""))

    async def restore(self, place: FilePlace, *, before: str, after: str) -> str:
        headers = {"x-before": before, "x-after": after}
        return str((await self._call(place, "restore", headers=headers)).get("output", ""))

    async def discard(self, place: FilePlace) -> str:
        return str((await self._call(place, "discard")).get("output", ""))

    async def _call(
        self,
        place: FilePlace,
        operation: str,
        content: bytes = b"",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Mapping[str, Any]:
        return await self._way.call(
            place.node, RequestWay.FILE, operation, place.entry, content=content, headers=headers
        )
