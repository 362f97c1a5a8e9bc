"""M2's management API over HTTP: reading a node, and one call for each way of delivery (M2 manual, API).

The pages do not say whether `/setting/setting.json` shows the setting that was delivered last or the one in
effect. `/get/setting/running` and `/get/setting/artifact` show each, but need the permission `enableGet`:
without it, what waits for a restart is unknown, which is not the same as nothing.

A reading makes no call whose answer could change nothing:

- For a plan, the artifact decides only whether the desired setting was delivered already and waits. Where the
  node differs from it in a field that takes effect at once, it was not.
- For a step, only the setting that was planned from and the desired one count. If the artifact is one of
  them, it is what was delivered last, and no other reading can say otherwise. Whether this host may
  read and change the node was read for the plan.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
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
from reconciler.drivers.m2.changes import find_changes
from reconciler.drivers.m2.content import ContentTooLarge
from reconciler.drivers.m2.evidence import DocumentKind, classify_document, has_m2_metrics, is_refusal
from reconciler.drivers.m2.metrics import parse_metrics
from reconciler.drivers.m2.risk import find_fields_not_running, has_immediate_change
from reconciler.drivers.m2.schema import Content, ExpectedSetting, LoadedSetting
from reconciler.drivers.m2.shared_contents import SharedContents, share_pair
from reconciler.errors import NodeUnidentified, NodeUnreachable
from reconciler.ports.answer_text import describe_answer, describe_denial, suggest_answer_remedy
from reconciler.ports.driver import StepAnswer
from reconciler.ports.transport import Http, HttpAnswer, ReadingCall
from reconciler.text.one_line import LONGEST_NAME, LONGEST_SENTENCE

PRODUCT: Final = "M2's management API"

_SETTING: Final = "/setting/setting.json"
_RUNNING: Final = "/get/setting/running"
_ARTIFACT: Final = "/get/setting/artifact"

READS: Final = tuple(
    ReadingCall("GET", path)
    for path in (
        _SETTING,
        "/setting/download",
        _RUNNING,
        _ARTIFACT,
        "/metrics",
    )
)
"""The calls that only read; `/setting/deploy/local` changes a node, though its method is GET."""

_NO_EVIDENCE: Final = "any web server may answer so, and `/metrics` has no metric of M2"

_LARGE: Final = 256 * 1024
"""Bytes from which an answer is parsed outside the event loop."""

UNAUTHORIZED_STATUSES: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@dataclass(frozen=True, slots=True)
class Client:
    """The API of one node.

    Args:
        bases: URLs at which it may answer, the most probable first, without a slash at the end.
        timeout: seconds for one call.
        connect: seconds for its connection.
    """

    http: Http
    node: str
    bases: tuple[str, ...]
    timeout: float
    connect: float

    async def read(
        self,
        contents: SharedContents,
        *,
        expected: ExpectedSetting,
        resources: bool,
        trusted: bool = False,
        wanted: Content | None = None,
        planned: frozenset[str] = frozenset(),
    ) -> Observation[LoadedSetting]:
        """What the node shows; a failure is an observation.

        Args:
            contents: what other nodes showed.
            expected: the setting that it should have; where it has it, fewer calls are made.
            resources: whether to read the files in its package too.
            trusted: whether the fleet file confirms that a new node without a setting is at the first URL.
            wanted: the expected setting itself; fewer calls are made where the node cannot have been sent it.
            planned: for a step, the fingerprints of the setting before and after it; if one of them was
                delivered last, no other call is made.
        """
        found: list[Observation[LoadedSetting]] = []
        for base in self.bases:
            shown = await self._read_loaded(base, contents, expected, wanted, planned)
            if isinstance(shown, Absent):
                return shown
            if isinstance(shown, Present):
                loaded = shown.value
                # Files travel with their setting: the package of another setting says nothing about them.
                if resources and loaded.shows(expected):
                    held, unread = await self._read_package(base)
                    loaded = replace(loaded, held=held, unread=unread)
                return Present(loaded)
            found.append(shown)
        # Only the first URL: the confirmation is for the address in the fleet file, not for a stored one.
        if trusted and isinstance(found[0], Unidentified) and found[0].vacant:
            return Absent("it answered 404, and the fleet file has `first_delivery: true`")
        # Of several failures the one that says most about the node counts: a refusal says more than silence.
        kinds: tuple[type, ...] = (Unauthorized, Unidentified, Unreachable)
        return min(found, key=lambda answer: kinds.index(type(answer)))

    async def _read_loaded(
        self,
        base: str,
        contents: SharedContents,
        expected: ExpectedSetting,
        wanted: Content | None,
        planned: frozenset[str],
    ) -> Observation[LoadedSetting]:
        """What one URL shows, without its files."""
        if planned:
            delivered = await self._read_delivered(base, contents)
            if isinstance(delivered, Unreachable):
                return delivered
            if delivered is not None and delivered.fingerprint in planned:
                return Present(LoadedSetting(delivered, base, caller=self._find_caller()))
        shown = await self._read_setting(base, contents)
        if not isinstance(shown, Content):
            return shown
        waiting, asked, running = await self._read_restart_fields(base, shown, contents, expected, wanted)
        loaded = LoadedSetting.of(shown, base, waiting, asked, self._find_caller())
        return Present(replace(loaded, running=running) if running is not None else loaded)

    def _find_caller(self) -> str:
        """The address from which this host calls the node; asked after a call, whose connection shows it."""
        return self.http.local_address(self.bases[0])

    async def _read_delivered(self, base: str, contents: SharedContents) -> Content | Unreachable | None:
        """The setting that was delivered last, if the answer alone proves that it is an M2 node's."""
        try:
            answer = await self._get(base, _ARTIFACT)
        except NodeUnidentified:
            return None  # the next call tells what answers there
        except NodeUnreachable as error:
            return _describe_unreachable(error)
        if answer.status == HTTPStatus.OK:
            with suppress(ValueError):
                content = await _parse_content(contents, answer.body)
                if classify_document(content.document) is DocumentKind.SETTING:
                    return content
        return None

    async def _read_setting(
        self, base: str, contents: SharedContents
    ) -> Content | Observation[LoadedSetting]:
        """The setting that one URL shows, or what its answer means instead.

        Only documented answers count as a node's; see `evidence`.
        """
        url = f"{base}{_SETTING}"
        try:
            answer = await self._get(base, _SETTING)
        # Something answers that is not M2: another service may have the port.
        except NodeUnidentified as error:
            return Unidentified(error.reason, remedy=error.remedy)
        except NodeUnreachable as error:
            return _describe_unreachable(error)
        if answer.status in UNAUTHORIZED_STATUSES:
            return _describe_denial(url, answer)
        if answer.status == HTTPStatus.NOT_FOUND:
            return await self._judge_missing_setting(base, answer)
        if answer.status != HTTPStatus.OK:
            return _describe_refusal(url, answer)
        return await self._judge_setting(base, answer, contents)

    async def _judge_setting(
        self, base: str, answer: HttpAnswer, contents: SharedContents
    ) -> Content | Observation[LoadedSetting]:
        """What a 200 means: many servers answer every request with a JSON object."""
        url = f"{base}{_SETTING}"
        try:
            content = await _parse_content(contents, answer.body)
        except ContentTooLarge as error:
            return Unreachable(
                f"{answer.redact(str(error), LONGEST_SENTENCE)} ({url})",
                Liveness.ALIVE,
                remedy="look at what the URL shows: a setting of this size cannot be compared",
            )
        except ValueError as error:
            return Unidentified(
                describe_answer(url, answer, PRODUCT, answer.redact(str(error), LONGEST_SENTENCE)),
                remedy=suggest_answer_remedy(answer),
            )
        kind = classify_document(content.document)
        if kind is DocumentKind.SETTING or (kind is DocumentKind.POSSIBLE and await self._has_metrics(base)):
            return content
        reason = describe_answer(url, answer, PRODUCT, "it is not a setting of M2")
        return Unidentified(reason, remedy=suggest_answer_remedy(answer))

    async def _judge_missing_setting(self, base: str, answer: HttpAnswer) -> Absent | Unidentified:
        """What a 404 means: a node answers so before its first setting, and every other web server too."""
        if is_refusal(answer.body):
            return Absent("it answered 404 in M2's own form: no setting is loaded yet", base)
        if await self._has_metrics(base):
            return Absent("it answered 404 and shows M2's metrics: no setting is loaded yet", base)
        reason = describe_answer(f"{base}{_SETTING}", answer, PRODUCT, _NO_EVIDENCE)
        return Unidentified(reason, vacant=True, remedy=suggest_answer_remedy(answer))

    async def _has_metrics(self, base: str) -> bool:
        """The second evidence: whether the address shows metrics that only M2 has."""
        with suppress(NodeUnreachable):
            answer = await self._get(base, "/metrics")
            return answer.status == HTTPStatus.OK and has_m2_metrics(answer.body)
        return False

    async def _read_restart_fields(
        self,
        base: str,
        content: Content,
        contents: SharedContents,
        expected: ExpectedSetting,
        wanted: Content | None,
    ) -> tuple[tuple[str, ...] | None, Content | None, Content | None]:
        """(fields that wait, the setting delivered last, the one in effect), the two if not `content`.

        None for the fields where the node does not show them.
        """
        running = await self._read_further(base, _RUNNING, contents)
        if running is None:
            return None, None, None
        waiting = await self._find_waiting(base, running, content, contents)
        if waiting or expected.is_met_by(content.fingerprint, content.unstamped):
            return waiting, None, running if waiting else None
        # `content` equals what is in effect. Perhaps the node shows that instead of what was delivered, but
        # not of the wanted setting: had that been delivered, what applies at once would be in effect.
        if wanted is not None:
            now, then = share_pair(content, wanted)
            pair, known = (now.fingerprint, then.fingerprint), contents.contents.immediate
            if pair not in known:
                known[pair] = has_immediate_change(now, then)
            if known[pair]:
                return (), None, None
        asked = await self._read_further(base, _ARTIFACT, contents)
        if asked is None:
            return None, None, None
        return find_fields_not_running(content, asked), asked, None

    async def _find_waiting(
        self, base: str, running: Content, content: Content, contents: SharedContents
    ) -> tuple[str, ...]:
        """What waits for a restart, by the setting in effect and the one that is loaded."""
        waiting = find_fields_not_running(running, content)
        if all(not field.startswith("/") for field in waiting):
            return waiting
        # A value that moves by itself differs between any two readings, and waits for nothing.
        again = await self._read_further(base, _SETTING, contents)
        moving = set() if again is None else {change.pointer for change in find_changes(content, again)}
        return tuple(field for field in waiting if field not in moving)

    async def _read_further(self, base: str, path: str, contents: SharedContents) -> Content | None:
        """A setting at another path; None where it is not shown, which means unknown."""
        with suppress(NodeUnreachable, ValueError):
            answer = await self._get(base, path)
            if answer.status == HTTPStatus.OK:
                content = await _parse_content(contents, answer.body)
                # Any other object would differ from the setting in every place.
                if classify_document(content.document) is not DocumentKind.OTHER:
                    return content
        return None

    async def _read_package(self, base: str) -> tuple[Mapping[str, str] | None, str]:
        """(path -> SHA-256 of the files in the node's package, or None; why the package is unreadable)."""
        with suppress(NodeUnreachable):  # unknown
            answer = await self._get(base, "/setting/download")
            if answer.status == HTTPStatus.OK:
                try:
                    # Unpacking takes up to a second; the event loop serves other nodes meanwhile.
                    return await asyncio.to_thread(package.list_held_files, answer.body), ""
                except package.UnreadablePackage as error:
                    return None, answer.redact(str(error), LONGEST_NAME)
        return None, ""

    async def metrics(self) -> Mapping[str, float] | None:
        """The node's metrics by name; None where it does not show them."""
        for base in self.bases:
            with suppress(NodeUnreachable):  # the next URL may answer
                answer = await self._get(base, "/metrics")
                with suppress(ValueError):  # not metrics
                    return parse_metrics(answer.body) if answer.status == HTTPStatus.OK else None
                return None
        return None

    async def upload(
        self, payload: Payload, part: str, pack: Callable[[Payload], bytes] = package.pack_tgz
    ) -> StepAnswer:
        """Deliver a setting, with its resources if there are any.

        Args:
            payload: what to deliver.
            part: `api.multipartName` of the setting that the node has loaded.
            pack: makes the package of a payload.

        Raises:
            NodeError: see `_change`.
            SecretError: a secret in the payload is unknown here; nothing was sent.
        """
        refuse_missing_secrets(payload)
        kind, body = package.encode_body(payload, part, pack)
        return await self._change("POST", "/setting/upload", {"content-type": kind}, body)

    async def deploy_local(self) -> StepAnswer:
        """Make the node apply the file on its disk; errors as in `upload`."""
        return await self._change("GET", "/setting/deploy/local", {}, b"")

    async def checkout(self, method: str) -> StepAnswer:
        """Make the node check out its git repository and apply the setting in it; errors as in `upload`."""
        return await self._change(method, "/setting/deploy/checkout", {}, b"")

    async def _get(self, base: str, path: str) -> HttpAnswer:
        return await self.http.send(
            "GET", base + path, node=self.node, timeout=self.timeout, connect=self.connect
        )

    async def _change(self, method: str, path: str, headers: Mapping[str, str], content: bytes) -> StepAnswer:
        """Send one change, once.

        Raises:
            NodeUnreachable: no complete answer; the change may have taken effect.
            NodeUnauthorized: 401 or 403.
            NodeRefused: any other answer than 200 and `OK`.
        """
        # On a connection of its own: a kept connection that the node closes just then would leave it unknown
        # whether the change arrived.
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


def _describe_refusal(url: str, answer: HttpAnswer) -> Unreachable | Unidentified:
    """What an answer means that is neither a setting nor a denial."""
    if not is_refusal(answer.body):
        return Unidentified(describe_answer(url, answer, PRODUCT), remedy=suggest_answer_remedy(answer))
    # Of the node itself, by its form.
    words = f"{url} answered {answer.status} in M2's own form: {answer.quote(LONGEST_SENTENCE)}"
    return Unreachable(words, Liveness.ALIVE, remedy="look at the log of the node")


def _describe_denial(url: str, answer: HttpAnswer) -> Unauthorized:
    """A refusal of this host, by the node or by another server before it."""
    denied = "this host may not read its setting"
    if is_refusal(answer.body):
        return Unauthorized(f"{denied} ({answer.status} of {url})")
    return Unauthorized(describe_denial(url, answer, denied), remedy=suggest_answer_remedy(answer))


def _describe_unreachable(error: NodeUnreachable) -> Unreachable:
    if not error.closed:
        return Unreachable(error.reason, remedy=error.remedy)
    if "https://" in error.reason:
        causes = "the node's allowList has no entry for this host, or it asks for a client certificate"
        remedy = (
            "add this host to the node's allowList, or let it in without a certificate; else look at its log"
        )
        return Unreachable(f"{error.reason}; possible causes: {causes}", remedy=remedy)
    causes = "the node's allowList has no entry for this host, or the port expects TLS"
    remedy = "add this host to the node's allowList, or write https:// in its address; else look at its log"
    return Unreachable(f"{error.reason}; possible causes: {causes}", remedy=remedy)


async def _parse_content(contents: SharedContents, body: bytes) -> Content:
    if len(body) < _LARGE:
        return contents.read(body)
    # A large setting takes up to a second; the event loop serves other nodes meanwhile. One at a time: some
    # hundred of them at once would need more memory than the host has.
    async with contents.contents.large:
        return await asyncio.to_thread(contents.read, body)
