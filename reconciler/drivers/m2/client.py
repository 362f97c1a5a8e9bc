"""M2's management API over the wire: what a node shows, and one call for each way of delivery.

What the product's pages leave open is read cautiously. `/setting/setting.json` may show the setting that
was asked for, or the one in effect; `/get/setting/running` and `/get/setting/artifact` tell them apart.
They need another permission (`enableGet`): without it, what waits for a restart is unknown, not nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from reconciler.core.observation import Absent, Observation, Present, Unauthorized, Unreachable
from reconciler.core.plan import Payload
from reconciler.core.ports import Answer, Done, Wire
from reconciler.drivers.m2 import package
from reconciler.drivers.m2.content import Contents
from reconciler.drivers.m2.machine import RESTART_ONLY, lookup
from reconciler.drivers.m2.schema import Content, Loaded
from reconciler.errors import NodeRefused, NodeUnauthorized, NodeUnreachable

MOST: Final = 300
"""Characters of a node's own words in a message."""

CODES: Final[Mapping[str, str]] = {
    "E0001": "it found no file",
    "E0002": "it could not unpack the tgz",
    "E0003": "it could not load the setting",
    "E0004": "it does not accept the setting's content",
}
"""What a refused upload's codes mean (STON Edge Server's list, which M2 shares by all that is known)."""


@dataclass(frozen=True, slots=True)
class Client:
    """One node's API.

    Args:
        bases: URLs at which it may answer, the likeliest first; no slash at their ends.
        timeout: seconds for one call.
        connect: seconds for its connection.
    """

    wire: Wire
    node: str
    bases: tuple[str, ...]
    timeout: float
    connect: float

    async def read(
        self, contents: Contents, *, expected: str, resources: bool, caller: str = ""
    ) -> Observation[Loaded]:
        """What the node shows; a failure is an observation.

        Args:
            contents: remembers what other nodes showed.
            expected: fingerprint of the setting it should have; where it has it, less is asked.
            resources: whether to ask for the files in its package too.
            caller: the address this host calls from.
        """
        reason = ""
        for base in self.bases:
            try:
                answer = await self._get(base, "/setting/setting.json")
            except NodeUnreachable as error:
                reason = reason or error.reason
                continue
            return await self._shown(base, answer, contents, (expected, resources, caller))
        return Unreachable(reason)

    async def _shown(
        self, base: str, answer: Answer, contents: Contents, wish: tuple[str, bool, str]
    ) -> Observation[Loaded]:
        if answer.status == HTTPStatus.NOT_FOUND:
            return Absent("it answered 404: no setting is loaded yet")
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return Unauthorized(f"this host may not read its setting ({answer.status})")
        if answer.status != HTTPStatus.OK:
            return Unreachable(f"it answered {answer.status} to a read of its setting")
        try:
            content = contents.read(answer.body)
        except ValueError as error:
            return Unreachable(f"its answer is no setting: {error}")
        expected, resources, caller = wish
        waiting, asked = await self._waiting(base, content, contents, expected)
        held = await self._held(base) if resources else None
        return Present(Loaded(content, base, waiting, asked, held, caller))

    async def _waiting(
        self, base: str, content: Content, contents: Contents, expected: str
    ) -> tuple[tuple[str, ...] | None, str]:
        """What waits for a restart, and the fingerprint of the setting that was asked for, if apart."""
        running = await self._setting(base, "/get/setting/running", contents)
        if running is None:
            return None, ""
        waiting = _differing(running, content)
        if waiting or content.fingerprint == expected:
            return waiting, ""
        asked = await self._setting(base, "/get/setting/artifact", contents)
        if asked is None:
            return None, ""
        return _differing(content, asked), asked.fingerprint

    async def _setting(self, base: str, path: str, contents: Contents) -> Content | None:
        with suppress(NodeUnreachable, ValueError):  # not told: unknown
            answer = await self._get(base, path)
            if answer.status == HTTPStatus.OK:
                return contents.read(answer.body)
        return None

    async def _held(self, base: str) -> Mapping[str, str] | None:
        with suppress(NodeUnreachable):  # not told: unknown
            answer = await self._get(base, "/setting/download")
            if answer.status == HTTPStatus.OK:
                return package.held(answer.body)
        return None

    async def upload(self, payload: Payload, part: str) -> Done:
        """Deliver a setting, with its resources if there are any.

        Args:
            payload: what to deliver.
            part: `api.multipartName` of the setting the node has loaded now.
        """
        kind, body = package.body(payload, part)
        return await self._change("POST", "/setting/upload", {"content-type": kind}, body)

    async def deploy_local(self) -> Done:
        """Have the node apply the file that lies on its disk."""
        return await self._change("GET", "/setting/deploy/local")

    async def checkout(self, method: str) -> Done:
        """Have the node pull its git repository and apply what it finds."""
        return await self._change(method, "/setting/deploy/checkout")

    async def _get(self, base: str, path: str) -> Answer:
        return await self.wire.send(
            "GET", base + path, node=self.node, timeout=self.timeout, connect=self.connect
        )

    async def _change(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, content: bytes = b""
    ) -> Done:
        """One change; its answer is words.

        Raises:
            NodeUnreachable: no whole answer.
            NodeUnauthorized: 401 or 403.
            NodeRefused: anything but 200 and `OK`.
        """
        answer = await self.wire.send(
            method,
            self.bases[0] + path,
            node=self.node,
            timeout=self.timeout,
            connect=self.connect,
            headers=headers or {},
            content=content,
        )
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise NodeUnauthorized(
                self.node,
                f"this host may not change its setting ({answer.status})",
                remedy="give this host's address a role with enableSetting in the node's allowList",
            )
        said = _object(answer.body)
        if answer.status != HTTPStatus.OK or said.get("status", "OK") != "OK":
            raise _refusal(self.node, path, answer, said)
        return Done(f"{answer.status} {_clean(answer.body)}".rstrip(), _not_updated(said))


def _refusal(node: str, path: str, answer: Answer, said: Mapping[str, Any]) -> NodeRefused:
    words = _clean(str(said.get("result", "")).encode() or answer.body)
    code = next(iter(re.findall(r"\bE000[1-4]\b", words)), "")
    meaning = f": {CODES[code]}" if code else ""
    reason = f"it refused {path} with {answer.status}{meaning}{f' ({words})' if words else ''}"
    # a `Fail` behind a 200 is the node's own word, as an error code is
    said_so = code or ("Fail" if answer.status == HTTPStatus.OK else "")
    return NodeRefused(node, reason, status=answer.status, code=said_so, remedy="look at the node's log")


def _not_updated(said: Mapping[str, Any]) -> tuple[str, ...]:
    listed = said.get("notupdated")
    fields = listed if isinstance(listed, list) else []
    return tuple(str(item["field"]) for item in fields if isinstance(item, dict) and "field" in item)


def _differing(current: Content, asked: Content) -> tuple[str, ...]:
    if current.document is asked.document:
        return ()
    return tuple(
        name for name in RESTART_ONLY if lookup(current.document, name) != lookup(asked.document, name)
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _clean(body: bytes) -> str:
    line = re.sub(r"[\x00-\x20\x7f-\x9f]+", " ", body.decode("utf-8", "replace")).strip()
    return line if len(line) <= MOST else f"{line[: MOST - 1]}…"
