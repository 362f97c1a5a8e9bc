"""M2's management API over HTTP: what a node shows, and one call for each way of delivery.

What the product's pages leave open is read cautiously. `/setting/setting.json` may show the setting that
was asked for, or the one in effect; `/get/setting/running` and `/get/setting/artifact` tell them apart.
They need another permission (`enableGet`): without it, what waits for a restart is unknown, not nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from reconciler.core.observation import (
    Absent,
    Liveness,
    Observation,
    Present,
    Unauthorized,
    Unidentified,
    Unreachable,
)
from reconciler.core.plan import Payload, refuse_missing_secrets
from reconciler.drivers.m2 import package, responses
from reconciler.drivers.m2.content import ContentCache, ContentTooLarge
from reconciler.drivers.m2.evidence import DocumentKind, classify_document, has_m2_metrics, is_refusal
from reconciler.drivers.m2.metrics import parse_metrics
from reconciler.drivers.m2.risk import find_restart_fields
from reconciler.drivers.m2.schema import Content, ExpectedSetting, LoadedSetting
from reconciler.errors import NodeUnidentified, NodeUnreachable
from reconciler.ports.answer_text import describe_answer, describe_denial, suggest_port_check
from reconciler.ports.driver import StepAnswer
from reconciler.ports.transport import Http, HttpAnswer, ReadingCall
from reconciler.text.one_line import LONGEST_NAME, LONGEST_SENTENCE

PRODUCT: Final = "M2's management API"

READS: Final = tuple(
    ReadingCall("GET", path)
    for path in (
        "/setting/setting.json",
        "/setting/download",
        "/get/setting/running",
        "/get/setting/artifact",
        "/metrics",
    )
)
"""The calls by which a node is read; `/setting/deploy/local` changes a node, though its verb is GET."""

_NO_WITNESS: Final = "every web server answers so, and `/metrics` tells no metric of M2"

_LARGE: Final = 256 * 1024
"""Bytes from which an answer is read outside the event loop."""

BARRED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@dataclass(frozen=True, slots=True)
class Client:
    """One node's API.

    Args:
        bases: URLs at which it may answer, the likeliest first; no slash at their ends.
        timeout: seconds for one call.
        connect: seconds for its connection.
    """

    http: Http
    node: str
    bases: tuple[str, ...]
    timeout: float
    connect: float

    async def read(
        self, contents: ContentCache, *, expected: ExpectedSetting, resources: bool, trusted: bool = False
    ) -> Observation[LoadedSetting]:
        """What the node shows; a failure is an observation.

        Args:
            contents: remembers what other nodes showed.
            expected: the setting it should have; where it has it, less is asked.
            resources: whether to ask for the files in its package too.
            trusted: whether somebody has said that the first address is a node's which has no setting yet.
        """
        found: list[Observation[LoadedSetting]] = []
        caller = self.http.local_address(self.bases[0])
        for base in self.bases:
            shown = await self._shown(base, contents)
            if isinstance(shown, Absent):
                return shown
            if isinstance(shown, Content):
                waiting, asked = await self._waiting(base, shown, contents, expected)
                fingerprints = (asked.fingerprint, asked.unstamped) if asked else ("", "")
                here = expected.is_met_by(shown.fingerprint, shown.unstamped) or expected.is_met_by(
                    *fingerprints
                )
                held, unread = await self._held(base) if resources and here else (None, "")
                return Present(
                    LoadedSetting(
                        shown, base, waiting, fingerprints[0], held, caller, unread, fingerprints[1]
                    )
                )
            found.append(shown)
        if trusted and isinstance(found[0], Unidentified) and found[0].vacant:
            return Absent("it answered 404, and the fleet file says `first_delivery: true`")
        kinds: tuple[type, ...] = (Unauthorized, Unidentified, Unreachable)
        return min(found, key=lambda answer: kinds.index(type(answer)))

    async def _shown(self, base: str, contents: ContentCache) -> Content | Observation[LoadedSetting]:
        """The setting that one address shows, or what it answers instead.

        Nothing but the documented answers of a node says that a node is there; see `evidence`.
        """
        url = f"{base}/setting/setting.json"
        try:
            answer = await self._get(base, "/setting/setting.json")
        except NodeUnidentified as error:
            return Unidentified(f"{url}: {error.reason}; {suggest_port_check(url)}")
        except NodeUnreachable as error:
            return Unreachable(_likely(error))
        if answer.status in BARRED:
            return Unauthorized(_denied(url, answer))
        if answer.status == HTTPStatus.NOT_FOUND:
            return await self._without_setting(base, answer)
        if answer.status != HTTPStatus.OK:
            return Unidentified(describe_answer(url, answer, PRODUCT))
        return await self._with_setting(base, answer, contents)

    async def _with_setting(
        self, base: str, answer: HttpAnswer, contents: ContentCache
    ) -> Content | Observation[LoadedSetting]:
        """What a 200 means: many servers answer everything with some JSON object."""
        url = f"{base}/setting/setting.json"
        try:
            content = await _content(contents, answer.body)
        except ContentTooLarge as error:
            return Unreachable(answer.redact(str(error), LONGEST_SENTENCE), Liveness.ALIVE)
        except ValueError as error:
            return Unidentified(
                describe_answer(url, answer, PRODUCT, answer.redact(str(error), LONGEST_SENTENCE))
            )
        shape = classify_document(content.document)
        if shape is DocumentKind.SETTING or (
            shape is DocumentKind.POSSIBLE and await self._has_metrics(base)
        ):
            return content
        return Unidentified(describe_answer(url, answer, PRODUCT, "it is no setting of M2"))

    async def _without_setting(self, base: str, answer: HttpAnswer) -> Absent | Unidentified:
        """What a 404 means: every web server answers so, a node only before its first setting."""
        if is_refusal(answer.body):
            return Absent("it answered 404 in M2's own form: no setting is loaded yet", base)
        if await self._has_metrics(base):
            return Absent("it answered 404 and tells M2's metrics: no setting is loaded yet", base)
        words = describe_answer(f"{base}/setting/setting.json", answer, PRODUCT, _NO_WITNESS)
        return Unidentified(words, vacant=True)

    async def _has_metrics(self, base: str) -> bool:
        """The second witness: whether the address tells metrics that M2 alone has."""
        with suppress(NodeUnreachable):
            answer = await self._get(base, "/metrics")
            return answer.status == HTTPStatus.OK and has_m2_metrics(answer.body)
        return False

    async def _waiting(
        self, base: str, content: Content, contents: ContentCache, expected: ExpectedSetting
    ) -> tuple[tuple[str, ...] | None, Content | None]:
        """What waits for a restart, and the setting that was asked for, if apart."""
        running = await self._setting(base, "/get/setting/running", contents)
        if running is None:
            return None, None
        waiting = find_restart_fields(running, content)
        if waiting or expected.is_met_by(content.fingerprint, content.unstamped):
            return waiting, None
        asked = await self._setting(base, "/get/setting/artifact", contents)
        if asked is None:
            return None, None
        return find_restart_fields(content, asked), asked

    async def _setting(self, base: str, path: str, contents: ContentCache) -> Content | None:
        with suppress(NodeUnreachable, ValueError):  # not told: unknown
            answer = await self._get(base, path)
            if answer.status == HTTPStatus.OK:
                return await _content(contents, answer.body)
        return None

    async def _held(self, base: str) -> tuple[Mapping[str, str] | None, str]:
        """The files in the node's package, or None and why its package cannot be read."""
        with suppress(NodeUnreachable):  # not told: unknown
            answer = await self._get(base, "/setting/download")
            if answer.status == HTTPStatus.OK:
                try:
                    # unpacking takes up to a second, in which the event loop has to serve others
                    return await asyncio.to_thread(package.list_held_files, answer.body), ""
                except package.UnreadablePackage as error:
                    return None, answer.redact(str(error), LONGEST_NAME)
        return None, ""

    async def metrics(self) -> Mapping[str, float] | None:
        """What the node's `/metrics` says, by name; None where it does not tell."""
        for base in self.bases:
            with suppress(NodeUnreachable):  # perhaps at the next address
                answer = await self._get(base, "/metrics")
                with suppress(ValueError):  # no metrics
                    return parse_metrics(answer.body) if answer.status == HTTPStatus.OK else None
                return None
        return None

    async def upload(
        self, payload: Payload, part: str, pack: Callable[[Payload], bytes] = package.pack_tgz
    ) -> StepAnswer:
        """Deliver a setting, with its resources if there are any.

        Args:
            payload: what to deliver.
            part: `api.multipartName` of the setting the node has loaded now.
            pack: makes its package.

        Raises:
            NodeError: see `_change`.
            SecretError: a secret in it is not known here; nothing was sent.
        """
        refuse_missing_secrets(payload)
        kind, body = package.encode_body(payload, part, pack)
        return await self._change("POST", "/setting/upload", {"content-type": kind}, body)

    async def deploy_local(self) -> StepAnswer:
        """Have the node apply the file that lies on its disk."""
        return await self._change("GET", "/setting/deploy/local", {}, b"")

    async def checkout(self, method: str) -> StepAnswer:
        """Have the node pull its git repository and apply what it finds."""
        return await self._change(method, "/setting/deploy/checkout", {}, b"")

    async def _get(self, base: str, path: str) -> HttpAnswer:
        return await self.http.send(
            "GET", base + path, node=self.node, timeout=self.timeout, connect=self.connect
        )

    async def _change(self, method: str, path: str, headers: Mapping[str, str], content: bytes) -> StepAnswer:
        """One change; its answer is words. It goes over a connection of its own, and once only.

        Raises:
            NodeUnreachable: no whole answer.
            NodeUnauthorized: 401 or 403.
            NodeRefused: anything but 200 and `OK`.
        """
        answer = await self.http.send(
            method,
            self.bases[0] + path,
            node=self.node,
            timeout=self.timeout,
            connect=self.connect,
            headers={"connection": "close", **headers},
            content=content,
        )
        return responses.read_answer(self.node, path, answer)


async def _content(contents: ContentCache, body: bytes) -> Content:
    """The setting in an answer; a large one takes up to a second, in which the event loop serves others."""
    if len(body) < _LARGE:
        return contents.read(body)
    async with contents.large:
        return await asyncio.to_thread(contents.read, body)


def _denied(url: str, answer: HttpAnswer) -> str:
    """What a 401 or 403 means: in M2's own form the node's word, else perhaps another server's."""
    denied = "this host may not read its setting"
    if is_refusal(answer.body):
        return f"{denied} ({answer.status})"
    return describe_denial(url, answer, denied)


def _likely(error: NodeUnreachable) -> str:
    """Why there was no answer, with what is likely behind a connection that is closed at once."""
    if not error.closed:
        return error.reason
    return (
        f"{error.reason}, as a node may do to an address that its allowList does not name, or a port that "
        "speaks TLS to a request without it"
    )
