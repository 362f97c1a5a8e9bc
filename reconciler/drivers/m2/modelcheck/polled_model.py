"""M2 nodes that poll, for the model checker: settings as numbers, and what mail proves of them; pure.

Planner, evidence, judgement and the way back are the real ones. Only the calls are left out: what a node sent
is put together as the store would give it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from reconciler.core.observation import Observation, Observed, Present
from reconciler.core.offers import Offer, OfferFeed
from reconciler.core.plan import Payload, Step
from reconciler.core.polled_model import (
    EDITED,
    FOREIGN,
    NEWER,
    NOTHING,
    WANTED,
    MailEvent,
    ModelMail,
    ModelOffer,
    OfferedChange,
)
from reconciler.core.secret import reveal
from reconciler.core.step_status import StepVerdict
from reconciler.drivers.m2 import machine, planner
from reconciler.drivers.m2.central_server.offered_parts import write_package
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.feed_rendering import polls_daily, polls_here
from reconciler.drivers.m2.judge import judge_delivery
from reconciler.drivers.m2.mail_evidence import EvidenceReader
from reconciler.drivers.m2.modelcheck.model import M2Model
from reconciler.drivers.m2.package import PackageCache
from reconciler.drivers.m2.schema import Content, LoadedSetting, M2Desired, NodeTarget
from reconciler.drivers.m2.setting.diagnostics import get_value
from reconciler.drivers.m2.shared_contents import SharedContents
from reconciler.drivers.m2.undo import undo_offer
from reconciler.ports.transport import MailItem, NodeLabel, NodeMail, OfferedContent
from reconciler.text.http_dates import format_http_date

_BEGUN: Final = datetime(2026, 1, 1, tzinfo=UTC)

_APART: Final = 10.0
"""Seconds between two calls of one node: they do not cross."""

_OLD: Final = 1_000_000.0
"""Seconds by which calls are older that do not count as fresh any more."""

_FRESH: Final = 100_000.0

_STAMP: Final = "fedcba9"
"""The stamp of the further commit."""


@dataclass(slots=True)
class M2PolledModel:
    """Some nodes of one cluster; see `core.polled_model.PolledModel`.

    Args:
        desired: of the plan, for these nodes only.
        before: what each of them shows.
        access: the model of nodes that are called: what a host may do on them.
    """

    desired: M2Desired
    before: Sequence[LoadedSetting]
    access: M2Model
    _contents: list[list[Content]] = field(init=False)
    _desired: dict[int, M2Desired] = field(init=False)
    _parts: dict[tuple[int, int], tuple[bytes, ...]] = field(init=False, default_factory=dict)
    _read: dict[tuple[int, ModelMail, bool], Observation[LoadedSetting]] = field(
        init=False, default_factory=dict
    )
    _steps: dict[OfferedChange, Step | None] = field(init=False, default_factory=dict)
    _planned: dict[tuple[int, ModelMail, int], OfferedChange | None] = field(init=False, default_factory=dict)
    _verdicts: dict[tuple[OfferedChange, ModelMail], StepVerdict] = field(init=False, default_factory=dict)
    _lost: dict[tuple[int, int, int], str] = field(init=False, default_factory=dict)
    _cache: PackageCache = field(init=False, default_factory=PackageCache)
    _shared: SharedContents = field(init=False)

    def __post_init__(self) -> None:
        fields = self.desired.targets[0].unmanaged if self.desired.targets else ()
        contents = ContentCache(unmanaged=fields)
        self._shared = SharedContents(contents)
        newer = [_change(target, is_stamped=self.desired.entry.is_stamped) for target in self.desired.targets]
        targets = tuple(
            replace(target, content=contents.of(document), payload=f"newer {target.payload}")
            for target, document in zip(self.desired.targets, newer, strict=True)
        )
        payloads = {
            target.payload: replace(self.desired.payloads[old.payload], document=target.content.document)
            for target, old in zip(targets, self.desired.targets, strict=True)
        }
        further = replace(self.desired, targets=targets, payloads={**self.desired.payloads, **payloads})
        self._desired = {WANTED: self.desired, NEWER: further}
        self._contents = [
            [
                shown.content,
                old.content,
                new.content,
                contents.of(_edit(shown.content, version="changed by hand")),
                contents.of(_edit(shown.content)),
            ]
            for shown, old, new in zip(self.before, self.desired.targets, targets, strict=True)
        ]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(target.node for target in self.desired.targets)

    def plan_node(self, node: int, mail: ModelMail, wanted: int) -> OfferedChange | None:
        key = (node, mail, wanted)
        if key not in self._planned:
            self._planned[key] = self._plan_node(node, mail, wanted)
        return self._planned[key]

    def _plan_node(self, node: int, mail: ModelMail, wanted: int) -> OfferedChange | None:
        seen = self._read_mail(node, mail)
        if not isinstance(seen, Present):
            return None
        desired = self._desired[wanted]
        name = self.names[node]
        own = replace(desired, targets=(desired.targets[node],))
        steps = planner.plan(own, Observed({name: seen})).steps
        if not steps:
            return None
        change = OfferedChange(node, self._find_content(node, seen.value.content), wanted)
        self._steps[change] = steps[0]
        return change

    def is_present(self, node: int, mail: ModelMail) -> bool:
        return isinstance(self._read_mail(node, mail), Present)

    def judge(self, change: OfferedChange, mail: ModelMail) -> StepVerdict:
        key = (change, mail)
        if key not in self._verdicts:
            step = self._steps[change]
            assert step is not None
            self._verdicts[key] = judge_delivery(step, self._read_mail(change.node, mail))
        return self._verdicts[key]

    def undo(self, change: OfferedChange, offer: ModelOffer) -> OfferedChange | None:
        step = self._steps[change]
        assert step is not None
        former = self._write_parts(change.node, offer.former)
        offered = OfferedContent(
            _make_offer(offer, ""),
            self._write_parts(change.node, offer.content),
            is_label_unique=True,
            former=former,
        )
        found = undo_offer(step, offered)
        if found is None:
            return None
        undo, payloads = found
        content = self._shared.contents.of(payloads[undo.payload].document)
        back = OfferedChange(
            change.node, change.after, self._find_content(change.node, content), is_undo=True
        )
        self._steps[back] = undo
        return back

    def is_accepted(self, node: int, content: int) -> bool:
        package = machine.NodePackage(self._write_text(node, content).encode())
        return isinstance(machine.parse_package(package), machine.AcceptedSetting)

    def find_lost_access(self, node: int, before: int, after: int) -> str:
        key = (node, before, after)
        if key not in self._lost:
            self._lost[key] = self._find_lost_access(node, before, after)
        return self._lost[key]

    def _find_lost_access(self, node: int, before: int, after: int) -> str:
        content, polling = self._contents[node][after], self.desired.entry.polling
        target = self.desired.targets[node]
        assert polling is not None
        if before != after and after not in (FOREIGN, EDITED):
            if not polls_here(content, polling, target.tokens):
                return "with this setting it does not poll this server any more"
            if not polls_daily(content):
                return "with this setting it polls too rarely to be taken back"
        host = self.access.find_lost_host(node, self._contents[node][before], content)
        return f"with this setting {host} cannot change it any more" if host else ""

    def _find_content(self, node: int, content: Content) -> int:
        """The number of a content; a new one for one that is not known yet."""
        known = self._contents[node]
        for number, one in enumerate(known):
            if one.fingerprint == content.fingerprint:
                return number
        known.append(content)
        return len(known) - 1

    def _write_text(self, node: int, content: int) -> str:
        return json.dumps(reveal(self._contents[node][content].document))

    def _write_parts(self, node: int, content: int) -> tuple[bytes, ...]:
        key = (node, content)
        if content == NOTHING:
            return ()
        if key not in self._parts:
            document = self._contents[node][content].document
            if content in self._desired:
                desired = self._desired[content]
                payload = desired.payloads[desired.targets[node].payload]
                payload = replace(payload, document=document)
            else:
                payload = Payload(document)
            self._parts[key] = write_package(payload, self._cache)
        return self._parts[key]

    def _read_mail(self, node: int, mail: ModelMail) -> Observation[LoadedSetting]:
        """What the mail of a node proves; each mail is read once, because most states share it."""
        key = (node, mail, bool(self.desired.resources))
        if key not in self._read:
            reader = EvidenceReader(_FRESH, self._shared, resources=bool(self.desired.resources))
            self._read[key] = reader.read(self._make_mail(node, mail))
        return self._read[key]

    def _make_mail(self, node: int, mail: ModelMail) -> NodeMail:
        count = len(mail.log)

        def age(index: int) -> float:
            return (count - index) * _APART + (_OLD if index < mail.old else 0.0)

        reports = [(index, event) for index, event in enumerate(mail.log) if event.is_report]
        items = {index: MailItem(self._write_report(node, event), age(index)) for index, event in reports}
        newest = reports[-1][0] if reports else None
        offers = []
        for offer in dict.fromkeys(one for one in (mail.newest, mail.last) if one is not None):
            took = next((index for index, event in enumerate(mail.log) if event.took == offer.date), None)
            about = next((index for index, event in reversed(reports) if event.about == offer.date), None)
            # Taken so long ago that nothing tells when: before everything that is known.
            since = age(took) if took is not None else age(0) + _APART
            label = self._get_label(node, offer.content)
            offers.append(
                OfferedContent(
                    _make_offer(offer, label),
                    self._write_parts(node, offer.content),
                    is_label_unique=bool(label) and self._is_unique(node, label),
                    former=self._write_parts(node, offer.former),
                    taken_age=since if offer.is_taken else None,
                    report=items[about] if about is not None else None,
                )
            )
        return NodeMail(
            items={"setting.feedback": items[newest]} if newest is not None else {},
            offers=tuple(offers),
            heard=age(count - 1) if count else None,
            label=self._find_label(node, mail, age),
            content=MailItem(self._write_text(node, mail.log[newest].content).encode(), age(newest))
            if newest is not None
            else None,
        )

    def _find_label(self, node: int, mail: ModelMail, age: Any) -> NodeLabel | None:
        polls = [
            (index, self._get_version(node, event.has))
            for index, event in enumerate(mail.log)
            if not event.is_report
        ]
        if not polls:
            return None
        index, text = polls[-1]
        other = next((age(one) for one, shown in reversed(polls) if shown != text), None)
        return NodeLabel(text, age(index), other)

    def _get_version(self, node: int, content: int) -> str:
        version = get_value(reveal(self._contents[node][content].document), ("meta", "version"))
        return "" if version is None else str(version)

    def _get_label(self, node: int, content: int) -> str:
        """The stamp of a content; empty if it is not one of this program."""
        return self._get_version(node, content) if self.desired.entry.is_stamped else ""

    def _is_unique(self, node: int, label: str) -> bool:
        given = [number for number in (WANTED, NEWER) if self._get_version(node, number) == label]
        return len(given) <= 1

    def _write_report(self, node: int, event: MailEvent) -> bytes:
        result = {
            "method": "deploy",
            "status": "ok" if event.is_ok else "it cannot be loaded",
            **(
                {"lastModified": format_http_date(_BEGUN + timedelta(seconds=event.about))}
                if event.about > 0
                else {}
            ),
        }
        body = {
            "messageVer": "1",
            "node": {"hostname": self.names[node]},
            "userdata": {"offer": str(event.about)} if event.about else None,
            "action": {"api": "/setting/upload", "event": "/env/management/server/apiPolling/setting"},
            "parameters": [{"url": "", "result": result}],
        }
        return json.dumps(body).encode()


def _make_offer(offer: ModelOffer, label: str) -> Offer:
    return Offer(
        id=str(offer.date),
        cluster="",
        node="",
        feed=OfferFeed.SETTING,
        run="",
        step="",
        revision="",
        label=label,
        last_modified=_BEGUN + timedelta(seconds=offer.date),
        opens=_BEGUN,
        closes=_BEGUN,
        taken=_BEGUN if offer.is_taken else None,
    )


def _change(target: NodeTarget, *, is_stamped: bool) -> dict[str, Any]:
    """The setting of a further commit: it differs in something that matters to nobody."""
    document = dict(reveal(target.content.document))
    meta = dict(document.get("meta") or {})
    # Without a stamp of this program, people often leave the version as it is: that is the worst case.
    document["meta"] = {**meta, "note": "a further commit", **({"version": _STAMP} if is_stamped else {})}
    return document


def _edit(content: Content, **changes: str) -> dict[str, Any]:
    """The setting after somebody has edited it by hand."""
    document = dict(reveal(content.document))
    document["meta"] = {**dict(document.get("meta") or {}), "note": "edited by hand", **changes}
    return document
